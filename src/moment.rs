//! The present, and how long ago something was, for people.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sluice_config::Timestamp;
use sluice_config::duration;

/// What time it is.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// The time between two moments, as exact as a person wants it: `12s`, `3m`, `2h5m`, `4d`.
pub(crate) fn between(earlier: Timestamp, later: Timestamp) -> String {
    short(later.since(earlier))
}

/// How long it is until a moment; a breath before it, or after, is no `0s`.
pub(crate) fn left(now: Timestamp, until: Timestamp) -> String {
    let left = until.since(now);
    if left < Duration::from_secs(1) { "less than 1s".to_owned() } else { short(left) }
}

/// A time, as exact as a person wants it.
pub(crate) fn short(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..600 => duration::write(Duration::from_secs(seconds)),
        600..172_800 => duration::write(Duration::from_secs(seconds / 60 * 60)),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_as_exactly_as_they_matter() {
        let told = |seconds: u64| short(Duration::from_secs(seconds));
        assert_eq!([0, 59, 60, 90, 601].map(told), ["0s", "59s", "1m", "1m30s", "10m"]);
        assert_eq!([7_265, 172_799, 172_800].map(told), ["2h1m", "47h59m", "2d"]);
        let moment = Timestamp::from_millis(1_000_000);
        assert_eq!(between(moment, moment.after(Duration::from_millis(5_999))), "5s");
        assert_eq!(between(moment.after(Duration::from_secs(5)), moment), "0s", "clocks differ");
        assert_eq!(left(moment, moment.after(Duration::from_millis(999))), "less than 1s");
        assert_eq!(left(moment.after(Duration::from_secs(5)), moment), "less than 1s", "it is due");
        assert_eq!(left(moment, moment.after(Duration::from_secs(1))), "1s");
    }
}
