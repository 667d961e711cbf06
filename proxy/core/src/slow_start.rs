//! Decides how much of its weight an endpoint gets while it is new or just back.
//!
//! From a floor at the start of the window to all of it at the end, in equal steps by time: caches fill and code is compiled by
//! serving, so an endpoint needs some traffic to warm up, and all of it at once is what it cannot bear. Steps and not
//! each moment, since every change makes all workers look at the endpoints again.
//!
//! Not at the start of the process: all endpoints are as warm as they were, and holding all of them back holds back
//! nobody. For the same reason a pool in which every endpoint is warming up gives all of them their whole weight: see
//! [`crate::service`].
//!
//! Invariants: a level never falls while the ramp goes on; it is the floor at least, and full at the end of the window.

use std::time::{Duration, Instant};

use sluice_config::validated::SlowStart;

use crate::endpoint::FULL;

/// In how many steps a level rises.
const STEPS: u32 = 20;

/// How far one endpoint is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ramp {
    /// Warm.
    #[default]
    Over,
    /// It begins at the next tick: whoever made it eligible knew no time.
    Due,
    /// Rising since then.
    Since(Instant),
}

impl Ramp {
    /// The level that time makes it: begins what is due, ends what is over. True if it has just ended.
    pub fn step(&mut self, policy: Option<&SlowStart>, now: Instant) -> bool {
        let was = *self;
        *self = match (was, policy) {
            (Self::Over, _) | (_, None) => Self::Over,
            (Self::Due, Some(_)) => Self::Since(now),
            (Self::Since(since), Some(policy)) if now.saturating_duration_since(since) >= policy.window => Self::Over,
            (Self::Since(_), Some(_)) => was,
        };
        was != Self::Over && *self == Self::Over
    }

    /// The part of its weight that counts now, in thousandths.
    #[must_use]
    pub fn level(&self, policy: Option<&SlowStart>, now: Instant) -> u16 {
        match (*self, policy) {
            (Self::Over, _) | (_, None) => FULL,
            (Self::Due, Some(policy)) => floor(policy),
            (Self::Since(since), Some(policy)) => risen(policy, now.saturating_duration_since(since)),
        }
    }

    /// When its level changes next.
    #[must_use]
    pub fn due(&self, policy: Option<&SlowStart>, now: Instant) -> Option<Instant> {
        let policy = policy?;
        match *self {
            Self::Over => None,
            Self::Due => Some(now),
            Self::Since(since) => {
                let step = (policy.window / STEPS).max(Duration::from_nanos(1));
                let passed = now.saturating_duration_since(since).as_nanos() / step.as_nanos();
                Some(since + step.mul_f64(passed as f64 + 1.0))
            }
        }
    }
}

/// The level that it begins with, in thousandths.
pub(crate) fn floor(policy: &SlowStart) -> u16 {
    (policy.floor.ppm() / 1000) as u16
}

fn risen(policy: &SlowStart, since: Duration) -> u16 {
    let window = policy.window.as_nanos().max(1);
    let step = (since.as_nanos() * u128::from(STEPS) / window).min(u128::from(STEPS)) as u32;
    let floor = u32::from(floor(policy));
    (floor + (u32::from(FULL) - floor) * step / STEPS) as u16
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use sluice_config::share::Share;

    use super::*;
    use crate::fixture::start;

    fn policy() -> SlowStart {
        SlowStart { window: Duration::from_secs(30), floor: Share::from_ppm(100_000).unwrap() }
    }

    #[test]
    fn a_level_rises_from_the_floor_to_all_of_it() {
        let (policy, now) = (policy(), start());
        let mut ramp = Ramp::Due;
        assert_eq!(ramp.level(Some(&policy), now), 100);
        assert!(!ramp.step(Some(&policy), now));
        let level = |seconds| ramp.level(Some(&policy), now + Duration::from_secs(seconds));
        assert_eq!([0, 3, 15, 27, 29, 30].map(level), [100, 190, 550, 910, 955, FULL]);
        assert!(ramp.step(Some(&policy), now + policy.window), "the end is told");
        assert!(!ramp.step(Some(&policy), now + policy.window), "once");
    }

    #[test]
    fn a_policy_that_goes_away_holds_nothing_back() {
        let mut ramp = Ramp::Since(start());
        assert_eq!(ramp.level(None, start()), FULL);
        assert!(ramp.step(None, start()));
        assert_eq!(ramp, Ramp::Over);
    }

    proptest! {
        /// A level never falls and is full at the end, whatever the window; it changes only when it is due. Fails without
        /// the end in `risen` or with another step in `due`.
        #[test]
        fn a_level_never_falls(millis in 1_u64..600_000, floor in 0_u16..=FULL, times in prop::collection::vec(0_u64..60_000, 1..50)) {
            let policy = SlowStart { window: Duration::from_millis(millis), floor: Share::from_ppm(u32::from(floor) * 1000).unwrap() };
            let (begin, mut now, mut before) = (start(), start(), 0);
            let (mut ramp, mut due) = (Ramp::Since(begin), begin);
            for after in times {
                now += Duration::from_millis(after);
                prop_assert!(ramp.level(Some(&policy), now) >= before, "also before the step");
                ramp.step(Some(&policy), now);
                let level = ramp.level(Some(&policy), now);
                prop_assert!(level >= before && level >= floor);
                prop_assert!(level == before || now + Duration::from_micros(1) >= due || before == 0);
                prop_assert!(now < begin + policy.window || level == FULL);
                before = level;
                due = ramp.due(Some(&policy), now).unwrap_or(now);
            }
        }
    }
}
