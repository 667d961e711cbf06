//! Decides when an endpoint is probed next.
//!
//! What is in doubt is asked sooner: while the last probe contradicts the standing, the answer that settles the matter is
//! worth more than any other, and with the usual numbers a dead endpoint is out after 9 s instead of 15. What is verified
//! and has no traffic may be asked later, since nobody would notice. An endpoint that is out has no traffic because it is
//! out, and one that is unproven because it is unproven: to ask those later would keep them waiting for its own reason, so
//! they are asked at the interval.
//!
//! Each wait is jittered by up to a tenth either way so that probes of many endpoints, and of many proxies, do not march in
//! step.
//!
//! Invariants: doubt comes before idleness; a wait is within a tenth of one of the three intervals.

use std::time::{Duration, Instant};

use rand::Rng;

use super::{Policy, Standing, Verdict};

/// What is known of an endpoint after a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// What the probe found.
    pub verdict: Verdict,
    /// What the endpoint counts as after it.
    pub standing: Standing,
    /// Whether it had a request since the probe before.
    pub traffic: bool,
}

impl Found {
    /// Whether the probe contradicts the standing.
    const fn in_doubt(&self) -> bool {
        match self.verdict {
            Verdict::Good => !matches!(self.standing, Standing::Verified),
            Verdict::Bad(_) => !matches!(self.standing, Standing::Out),
        }
    }

    /// The interval until the next probe, without jitter.
    #[must_use]
    pub fn interval(&self, policy: &Policy) -> Duration {
        if self.in_doubt() {
            return policy.interval_in_doubt;
        }
        let is_idle = !self.traffic && self.standing == Standing::Verified;
        policy.interval_without_traffic.filter(|_| is_idle).unwrap_or(policy.interval)
    }
}

/// When an endpoint is probed after a probe that began at `begun`.
pub fn next_probe(begun: Instant, found: &Found, policy: &Policy, rng: &mut impl Rng) -> Instant {
    let interval = found.interval(policy);
    begun + interval - interval / 10 + fraction(interval / 5, rng)
}

/// When a new endpoint is probed first: within a tenth of an interval. At once would send all probes of a new revision
/// in one burst; later would leave the endpoint unproven, and traffic on the first few proven ones, for longer.
pub fn first_probe(now: Instant, policy: &Policy, rng: &mut impl Rng) -> Instant {
    now + fraction(policy.interval / 10, rng)
}

fn fraction(of: Duration, rng: &mut impl Rng) -> Duration {
    of.mul_f64(f64::from(rng.next_u32()) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;
    use crate::fixture::{POLICY, start};
    use crate::health::Cause;

    const CALM: Found = Found { verdict: Verdict::Good, standing: Standing::Verified, traffic: true };
    const BAD: Verdict = Verdict::Bad(Cause::Timeout);

    #[test]
    fn doubt_comes_before_idleness() {
        let idle = Duration::from_secs(60);
        let policy = Policy { interval_without_traffic: Some(idle), ..POLICY };
        let (regular, doubt) = (policy.interval, policy.interval_in_doubt);
        let interval = |verdict, standing, traffic| Found { verdict, standing, traffic }.interval(&policy);
        use Standing::{Out, Unprobed, Verified};
        assert_eq!(interval(Verdict::Good, Verified, true), regular);
        assert_eq!(interval(Verdict::Good, Verified, false), idle);
        assert_eq!(interval(BAD, Verified, false), doubt);
        assert_eq!(interval(BAD, Unprobed, false), doubt);
        assert_eq!(interval(Verdict::Good, Out, false), doubt);
        assert_eq!(interval(BAD, Out, false), regular, "it has no traffic because it is out");
        assert_eq!(Found { traffic: false, ..CALM }.interval(&POLICY), regular, "the setting is off");
    }

    proptest! {
        /// Probes are one of the intervals apart within a tenth, and a first probe comes within a tenth of one. Fails when
        /// the jitter is taken from another interval than the one that is waited.
        #[test]
        fn probes_are_jittered_by_a_tenth(
            seed: u64, millis in 10_u64..3_600_000, divisor in 1_u32..10, good: bool, out: bool, traffic: bool,
        ) {
            let (now, mut rng) = (start(), StdRng::seed_from_u64(seed));
            let interval = Duration::from_millis(millis);
            let policy = Policy {
                interval, interval_in_doubt: interval / divisor, interval_without_traffic: Some(interval * divisor), ..POLICY
            };
            let verdict = if good { Verdict::Good } else { BAD };
            let standing = if out { Standing::Out } else { Standing::Verified };
            let found = Found { verdict, standing, traffic };
            let expected = match (good == out, good && !out && !traffic) {
                (true, _) => policy.interval_in_doubt,
                (false, true) => interval * divisor,
                (false, false) => interval,
            };
            let wait = next_probe(now, &found, &policy, &mut rng).duration_since(now);
            let rounding = Duration::from_nanos(2);
            prop_assert!(wait + rounding >= expected * 9 / 10 && wait <= expected * 11 / 10 + rounding);
            prop_assert!(first_probe(now, &policy, &mut rng).duration_since(now) <= interval / 10);
        }
    }

    #[test]
    fn jitter_uses_its_whole_span() {
        let (now, mut rng) = (start(), StdRng::seed_from_u64(1));
        let waits: Vec<_> = (0..1000).map(|_| next_probe(now, &CALM, &POLICY, &mut rng).duration_since(now)).collect();
        assert!(waits.iter().min().unwrap() < &Duration::from_millis(4520));
        assert!(waits.iter().max().unwrap() > &Duration::from_millis(5480));
    }
}
