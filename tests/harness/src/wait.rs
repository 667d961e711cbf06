//! Waiting for something to become true, with a deadline.

use std::time::{Duration, Instant};

/// How long anything may take before a suite calls it failed. Generous: suites share cores with builds.
pub const DEADLINE: Duration = Duration::from_secs(20);

const PERIOD: Duration = Duration::from_millis(5);

/// What `probe` finds, as soon as it finds something.
///
/// # Panics
/// When it found nothing within [`DEADLINE`]; `what` is told.
pub fn until<T>(what: &str, probe: impl FnMut() -> Option<T>) -> T {
    until_by(what, DEADLINE, probe)
}

/// As [`until`], with a deadline of its own.
///
/// # Panics
/// When it found nothing in time; `what` is told.
pub fn until_by<T>(what: &str, deadline: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(start.elapsed() < deadline, "not within {deadline:?}: {what}");
        pass(PERIOD);
    }
}

/// Lets time pass while something else is at work, such as load that is to run for so long. Never in place of a
/// condition.
#[allow(clippy::disallowed_methods, reason = "this thread serves no connection")]
pub fn pass(time: Duration) {
    std::thread::sleep(time);
}
