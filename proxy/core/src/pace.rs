//! Decides when a client is too slow to be waited for any longer.
//!
//! A deadline without a byte is not enough: a byte now and then keeps it away for ever, and a thousand such clients hold
//! a thousand connections, buffers and endpoints. A deadline for a whole body is too much: how long an honest upload takes
//! depends on its size and on the network. So what is asked for is a rate, and only of time in which the client is what
//! is waited for: an origin that is slow to take or to answer costs its client nothing.
//!
//! The rule is a bucket of patience. It holds `grace` at the start and never more; a second of waiting takes a second out
//! of it, and `rate` bytes that moved put a second back. Empty, the client is cut off. An average since the beginning, which
//! is what others take, has a hole: one fast megabyte at the start pays for an hour of nothing.
//!
//! What has moved is looked at once a second, because asking costs a system call; and at the moment when it matters.
//!
//! Invariants: a client that moves at least `rate` in every stretch of `grace` is never cut off; one that moves nothing
//! is, after `grace` of waiting; time in which somebody else is waited for never counts.

use std::time::{Duration, Instant};

/// Between two looks at what has moved.
const LOOK: Duration = Duration::from_secs(1);

/// How fast a client must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Demand {
    /// Bytes per second, above 0. Absent: any speed will do.
    pub rate: Option<u64>,
    /// How far it may fall behind.
    pub grace: Duration,
}

impl Demand {
    /// Any speed will do.
    pub const NONE: Self = Self { rate: None, grace: Duration::ZERO };
}

/// One direction of one client.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// The time spent waiting that no byte has paid for yet.
    spent: Duration,
    /// Since when the client is waited for, as far as `spent` does not know.
    since: Option<Instant>,
    /// The last look, and what had moved by then.
    looked: Option<(Instant, u64)>,
}

impl Default for Pace {
    fn default() -> Self {
        Self::new()
    }
}

impl Pace {
    /// Of a client that has not been waited for yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { spent: Duration::ZERO, since: None, looked: None }
    }

    /// Whether the client was waited for when [`Pace::wait`] was last called.
    #[must_use]
    pub const fn waits(&self) -> bool {
        self.since.is_some()
    }

    /// The client is waited for from now on, or somebody else is. To be called whenever nothing can be done. `moved`:
    /// all bytes that the client has moved so far. Answers with whether some did since the last look.
    pub fn wait(&mut self, demand: Demand, now: Instant, waiting: bool, moved: impl FnOnce() -> u64) -> bool {
        self.count(now);
        self.since = waiting.then_some(now);
        let stale = self.looked.is_none_or(|(at, _)| now.saturating_duration_since(at) >= LOOK);
        waiting && stale && self.look(demand, now, moved())
    }

    /// Looks at what has moved. Answers with whether something has since the last look.
    pub fn look(&mut self, demand: Demand, now: Instant, moved: u64) -> bool {
        self.count(now);
        let before = self.looked.replace((now, moved)).map_or(moved, |(_, moved)| moved);
        let fresh = moved.saturating_sub(before);
        self.spent = self.spent.saturating_sub(worth(fresh, demand.rate));
        fresh > 0
    }

    /// When patience ends if nothing moves; nothing while the client is not waited for, or any speed will do.
    #[must_use]
    pub fn until(&self, demand: Demand) -> Option<Instant> {
        demand.rate?;
        self.since?.checked_add(demand.grace.saturating_sub(self.spent))
    }

    fn count(&mut self, now: Instant) {
        if let Some(since) = self.since {
            self.spent += now.saturating_duration_since(since);
            self.since = Some(now.max(since));
        }
    }
}

/// The waiting that these bytes pay for.
fn worth(bytes: u64, rate: Option<u64>) -> Duration {
    let nanos = rate.map_or(0, |rate| u128::from(bytes) * 1_000_000_000 / u128::from(rate.max(1)));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fixture::start;

    const DEMAND: Demand = Demand { rate: Some(100), grace: Duration::from_secs(10) };

    const fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn silence_is_borne_for_the_grace_and_a_byte_now_and_then_buys_little() {
        let begun = start();
        let mut pace = Pace::new();
        pace.wait(DEMAND, begun, true, || 0);
        assert_eq!(pace.until(DEMAND), Some(begun + seconds(10)));
        // One byte a second: of each second a hundredth is paid for.
        let mut second = 0;
        while pace.until(DEMAND).unwrap() > begun + seconds(second) {
            second += 1;
            pace.wait(DEMAND, begun + seconds(second), true, || second);
        }
        assert_eq!(second, 11);
    }

    #[test]
    fn who_is_not_waited_for_loses_nothing() {
        let begun = start();
        let mut pace = Pace::new();
        pace.wait(DEMAND, begun, true, || 0);
        pace.wait(DEMAND, begun + seconds(4), false, || 0);
        assert_eq!(pace.until(DEMAND), None);
        pace.wait(DEMAND, begun + seconds(1_000), true, || 0);
        assert_eq!(pace.until(DEMAND), Some(begun + seconds(1_006)));
    }

    /// A fast beginning pays for what it was waited for, not for an hour of nothing.
    #[test]
    fn patience_is_never_more_than_the_grace() {
        let begun = start();
        let mut pace = Pace::new();
        pace.wait(DEMAND, begun, true, || 0);
        pace.wait(DEMAND, begun + seconds(5), true, || 1_000_000);
        assert_eq!(pace.until(DEMAND), Some(begun + seconds(15)));
    }

    #[test]
    fn without_a_rate_there_is_no_end_and_movement_is_still_seen() {
        let begun = start();
        let (mut pace, demand) = (Pace::new(), Demand { rate: None, ..DEMAND });
        assert!(!pace.wait(demand, begun, true, || 7), "the first look has nothing to compare with");
        assert!(pace.wait(demand, begun + seconds(1), true, || 8));
        assert!(!pace.look(demand, begun + seconds(2), 8));
        assert_eq!(pace.until(demand), None);
    }

    #[test]
    fn movement_is_not_asked_for_more_than_once_a_second() {
        let begun = start();
        let mut pace = Pace::new();
        let mut asked = 0;
        for step in 0..1_000 {
            pace.wait(DEMAND, begun + Duration::from_millis(step * 10), true, || {
                asked += 1;
                0
            });
        }
        assert_eq!(asked, 10);
    }

    proptest! {
        /// Whatever the pattern of waiting: with the rate in every second of it, nobody is cut off.
        #[test]
        fn who_keeps_the_rate_is_never_cut_off(waits in prop::collection::vec((1_u64..=9_000, any::<bool>()), 1..60)) {
            let (mut pace, mut now, mut moved) = (Pace::new(), start(), 0);
            pace.wait(DEMAND, now, true, || moved);
            for (millis, waiting) in waits {
                let was = pace.waits();
                now += Duration::from_millis(millis);
                moved += if was { millis / 10 + 1 } else { 0 };
                if pace.until(DEMAND).is_some_and(|until| until <= now) {
                    pace.look(DEMAND, now, moved);
                    prop_assert!(pace.until(DEMAND).is_some_and(|until| until > now));
                }
                pace.wait(DEMAND, now, waiting, || moved);
                prop_assert!(pace.until(DEMAND).is_none_or(|until| until > now));
            }
        }

        /// And who moves less than half of it is, within twice the grace of waiting.
        #[test]
        fn who_trickles_is_cut_off(steps in prop::collection::vec(100_u64..3_000, 80)) {
            let (mut pace, mut now, mut moved) = (Pace::new(), start(), 0);
            let start = now;
            pace.wait(DEMAND, now, true, || moved);
            for millis in steps {
                now += Duration::from_millis(millis);
                moved += millis / 20;
                pace.wait(DEMAND, now, true, || moved);
                if pace.until(DEMAND).is_some_and(|until| until <= now) {
                    break;
                }
            }
            prop_assert!(now - start <= seconds(25), "after {:?}", now - start);
        }
    }
}
