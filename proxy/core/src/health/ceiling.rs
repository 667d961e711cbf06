//! Decides when a probe may begin, so that all probes of the process together keep below a stated rate.
//!
//! Probes are proxies times endpoints, and nobody adds that up before an origin does. So there is a ceiling, and a probe
//! that is due takes the next free slot: slots are one rate's share of a second apart. A bucket of tokens, the obvious
//! other rule, saves up what is not used and spends it in a burst, which is what a start or a reload makes of it: every
//! new endpoint is due within the same tenth of an interval. Nothing is saved up here.
//!
//! Whoever waits, waits in the order of coming (the shell's queue is fair), so where more is asked for than the ceiling
//! admits, every endpoint's interval grows by the same factor, and none is forgotten.
//!
//! Invariants: in each second, wherever it begins, no more slots than the rate; a slot is never before it is asked for; the
//! first one after a pause is at once.

use std::time::{Duration, Instant};

/// Hands out the slots.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ceiling {
    free: Option<Instant>,
}

impl Ceiling {
    /// The slot of a probe that asks at `now`: when it may begin. `rate` is in probes a second; absent: there is no ceiling.
    pub fn admit(&mut self, rate: Option<u32>, now: Instant) -> Instant {
        let Some(rate) = rate.filter(|rate| *rate > 0) else {
            self.free = None;
            return now;
        };
        let slot = self.free.map_or(now, |free| free.max(now));
        self.free = Some(slot + apart(rate));
        slot
    }
}

/// Rounded up: rounded down, some seconds would have one slot too many.
fn apart(rate: u32) -> Duration {
    Duration::from_nanos(1_000_000_000_u64.div_ceil(u64::from(rate)))
}

/// By how much intervals grow when the ceiling admits less than is asked for, as a factor above 1. `intervals` are of all
/// endpoints that are probed.
#[must_use]
pub fn stretch(rate: Option<u32>, intervals: impl Iterator<Item = Duration>) -> Option<f64> {
    let wanted: f64 = intervals.map(|interval| interval.as_secs_f64().recip()).sum();
    rate.map(|rate| wanted / f64::from(rate)).filter(|factor| *factor > 1.0)
}

/// Whether a probe that was due has waited so long that its endpoint is found out noticeably later: for more than a tenth of
/// the interval, which is what the jitter takes or gives anyway.
#[must_use]
pub fn is_late(waited: Duration, interval: Duration) -> bool {
    waited > interval / 10
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fixture::start;

    #[test]
    fn nothing_is_saved_up_and_a_pause_costs_nothing() {
        let (mut ceiling, now) = (Ceiling::default(), start());
        let millis = |count| Duration::from_millis(count);
        assert_eq!(ceiling.admit(Some(100), now), now);
        assert_eq!(ceiling.admit(Some(100), now), now + millis(10));
        assert_eq!(ceiling.admit(Some(100), now + millis(15)), now + millis(20));
        let later = now + Duration::from_secs(60);
        assert_eq!(ceiling.admit(Some(100), later), later);
        assert_eq!(ceiling.admit(Some(100), later), later + millis(10));
        assert_eq!(ceiling.admit(None, later), later);
        assert_eq!(ceiling.admit(Some(100), later), later, "what was promised under another ceiling is forgotten");
    }

    #[test]
    fn what_is_asked_for_in_vain_stretches_every_interval() {
        let thousand = |seconds| std::iter::repeat_n(Duration::from_secs(seconds), 1_000);
        assert_eq!(stretch(Some(500), thousand(2)), None);
        assert_eq!(stretch(Some(500), thousand(1)), Some(2.0));
        assert_eq!(stretch(Some(500), thousand(1).chain(thousand(2))), Some(3.0));
        assert_eq!(stretch(None, thousand(1)), None);
        let interval = Duration::from_secs(5);
        assert!(!is_late(Duration::from_millis(500), interval) && is_late(Duration::from_millis(501), interval));
    }

    proptest! {
        /// The ceiling holds in every second. Fails without rounding up, and when slots that were not used are saved up.
        #[test]
        fn no_second_has_more_slots_than_the_rate(
            rate in 1_u32..2_000, waits in prop::collection::vec(prop_oneof![Just(0_u64), 0_u64..3_000, 0_u64..3_000_000], 1..400),
        ) {
            let (mut ceiling, mut now) = (Ceiling::default(), start());
            let mut slots = Vec::new();
            for wait in waits {
                now += Duration::from_micros(wait);
                let slot = ceiling.admit(Some(rate), now);
                prop_assert!(slot >= now);
                slots.push(slot);
            }
            for (at, slot) in slots.iter().enumerate() {
                let within = slots[at..].iter().take_while(|other| **other < *slot + Duration::from_secs(1)).count();
                prop_assert!(within <= rate as usize, "{within} of {rate}");
            }
        }

        /// Nobody waits for nothing: while probes are due, slots follow each other without a gap. Fails when a slot is
        /// counted from the moment of asking.
        #[test]
        fn the_ceiling_is_reached(rate in 1_u32..2_000, count in 1_u32..500) {
            let (mut ceiling, now) = (Ceiling::default(), start());
            let slots: Vec<Instant> = (0..count).map(|_| ceiling.admit(Some(rate), now)).collect();
            let last = *slots.last().unwrap();
            prop_assert_eq!(last - now, apart(rate) * (count - 1));
        }
    }
}
