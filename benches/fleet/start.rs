//! From the start of a process to its first answer, by its last known good alone.

use std::time::{Duration, Instant};

use sluice_benches::Times;
use sluice_harness::fleet::{control, proxy};
use sluice_harness::wait::{DEADLINE, pass};
use sluice_harness::{Document, Origin, free_address};

/// Between two attempts to be answered.
const RETRY: Duration = Duration::from_millis(1);

/// Starts a proxy again and again while its control plane is away. The goal is 500 ms.
pub(crate) fn measure(sluice: &str, starts: usize) {
    let origin = Origin::start("v1");
    let mut control = control(sluice).alone().start();
    let head = control.api().apply(Document::simple(free_address(), origin.address()));
    let mut proxy = proxy(&control, "node-1").listener("web").without_access_log().start();
    control.api().wait_applied(head);
    control.kill();
    let mut times = Times::default();
    for _ in 0..starts {
        // In order: a proxy that crashes again and again on one revision goes back to the one before.
        assert!(proxy.terminate().success(), "the proxy leaves in order: {}", proxy.stderr());
        let began = Instant::now();
        proxy.spawn();
        while proxy.answer("web") != "v1" {
            assert!(began.elapsed() < DEADLINE, "no answer in time: {}", proxy.stderr());
            pass(RETRY);
        }
        times.add(began.elapsed());
    }
    println!("{}", times.line("start from last known good to the first 200", Some(Duration::from_millis(500))));
}
