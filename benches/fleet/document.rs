//! A large document: its size on the way to a proxy, that of one changed weight, and what it costs to take it.

use std::sync::Arc;
use std::time::Instant;

use sluice_benches::{Times, document};
use sluice_config::value::RevisionId;
use sluice_config::{Environment, validate};
use sluice_harness::Subscribers;
use sluice_harness::fleet::control;
use sluice_proxy::live::compile;
use sluice_proxy::metrics::{Metrics, SERIES_BUDGET};

/// How often each step is done.
const TIMES: usize = 10;

/// The sizes on the wire, and the times of each step.
pub(crate) fn measure(sluice: &str, routes: usize) {
    let text = document(routes);
    println!("document of {routes} routes: {} bytes of YAML", text.len());
    on_the_wire(sluice, &text);
    in_process(&text);
}

fn on_the_wire(sluice: &str, text: &str) {
    let control = control(sluice).alone().start();
    let mut applied = Times::default();
    let began = Instant::now();
    control.api().apply(text);
    applied.add(began.elapsed());
    let subscribers = Subscribers::connect(control.admin(), 1);
    let mut shifted = Times::default();
    for number in 1..=TIMES {
        let began = Instant::now();
        let revision = control.api().shift("s0", &[("v2", &format!("{number}%"))]);
        control.api().wait_applied(revision);
        shifted.add(began.elapsed());
    }
    let sizes = subscribers.sizes(1 + TIMES);
    println!("order with the whole document: {} bytes", sizes[0]);
    let weights: Vec<String> = sizes[1..].iter().map(ToString::to_string).collect();
    println!("orders with one changed weight: {} bytes", weights.join(", "));
    println!("{}", applied.line("large document put, to committed and answered", None));
    println!("{}", shifted.line("shift in it to applied, 1 simulated subscriber", None));
}

fn in_process(text: &str) {
    let (mut proof, mut first, mut next) = (Times::default(), Times::default(), Times::default());
    let metrics = Metrics::new(1, SERIES_BUDGET);
    for _ in 0..TIMES {
        let began = Instant::now();
        let document = Arc::new(validate(text, &Environment::empty()).expect("the document of the bench is sound"));
        proof.add(began.elapsed());
        let run = |before| {
            let began = Instant::now();
            let live = compile(RevisionId(1), Arc::clone(&document), before, &metrics, std::path::Path::new(""));
            (live.expect("it has no regular expressions"), began.elapsed())
        };
        let (live, took) = run(None);
        first.add(took);
        next.add(run(Some(&live)).1);
    }
    println!("{}", proof.line("large document read and proven", None));
    println!("{}", first.line("compiled as the first revision", None));
    println!("{}", next.line("compiled as the next revision", None));
}
