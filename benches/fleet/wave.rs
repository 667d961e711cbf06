//! From a change to the last node that runs it.

use std::time::{Duration, Instant};

use sluice_benches::Times;
use sluice_harness::fleet::{Proxy, control, proxy};
use sluice_harness::{Api, Document, Origin, Subscribers, free_address};

/// Real proxies, each a process. Their goal is 500 ms.
pub(crate) fn real(sluice: &str, count: usize, shifts: usize) {
    let origins = [Origin::start("v1"), Origin::start("v2")];
    let control = control(sluice).alone().start();
    let head = control.api().apply(shop(&origins));
    let began = Instant::now();
    let spawn = |number| proxy(&control, &format!("node-{number}")).listener("web").without_access_log().spawn();
    let mut proxies: Vec<Proxy> = (1..=count).map(spawn).collect();
    proxies.iter_mut().for_each(Proxy::wait_ready);
    control.api().wait_applied(head);
    println!(
        "{count} proxies ran the first revision {:.1} s after the first was started",
        began.elapsed().as_secs_f64()
    );
    follow(&control.api(), &format!("{count} proxies"), shifts, Duration::from_millis(500));
}

/// Connections that acknowledge at once. Their goal is 2 s.
pub(crate) fn simulated(sluice: &str, count: usize, shifts: usize) {
    let origins = [Origin::start("v1"), Origin::start("v2")];
    let control = control(sluice).alone().start();
    let head = control.api().apply(shop(&origins));
    let _subscribers = Subscribers::connect(control.admin(), count);
    control.api().wait_applied(head);
    follow(&control.api(), &format!("{count} simulated subscribers"), shifts, Duration::from_secs(2));
}

fn shop([one, two]: &[Origin; 2]) -> Document {
    let document = Document::new().listener("web", free_address(), "").region("here", "").service("shop", "");
    let document =
        document.version("v1", 95, &[("here", &[one.address()])]).version("v2", 5, &[("here", &[two.address()])]);
    document.route("{ path: / }", "service: shop")
}

/// Shifts again and again; each time waits until every node runs it.
fn follow(api: &Api, who: &str, shifts: usize, goal: Duration) {
    let (mut committed, mut applied) = (Times::default(), Times::default());
    for number in 0..shifts {
        let began = Instant::now();
        // No two in a row ask for the same.
        let revision = api.shift("shop", &[("v2", &format!("{}%", 10 + number % 80))]);
        committed.add(began.elapsed());
        let told = api.wait_applied(revision);
        applied.add(began.elapsed());
        assert_eq!(told["applied"], told["heard"], "{told}");
    }
    println!("{}", committed.line(&format!("shift to committed and answered, {who}"), None));
    println!("{}", applied.line(&format!("shift to applied, {who}"), Some(goal)));
}
