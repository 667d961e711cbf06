//! Decides from probe verdicts whether an endpoint may take traffic, and when it is probed next.
//!
//! An endpoint is out after `failure_threshold` bad probes in a row and back after `recovery_threshold` good ones in a
//! row. Streaks rather than ratios: a probe stream is slow, and a ratio over enough probes to mean anything reacts
//! minutes late. Two thresholds rather than one: an endpoint at its limit would flap between them.
//!
//! A new endpoint is `Unprobed`. One good probe makes it `Verified`, since nothing speaks against it yet. It takes
//! `failure_threshold` bad ones to take it out, not one: an unprobed endpoint gets traffic only where nothing verified
//! exists, so keeping it costs nothing while there is a choice, and where there is none a single lost probe during a
//! start must not turn "perhaps" into a refusal.
//!
//! Invariants: a verdict against the current streak resets it; at most one of the two streaks is above 0; `Unprobed` is
//! never entered again; a transition is reported exactly when the standing changes.

use std::time::{Duration, Instant};

use rand::Rng;
use sluice_config::validated::HealthCheck;

/// Whether an endpoint may take traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Standing {
    /// Proven good, or of a service without a health check.
    Verified = 0,
    /// Not proven either way: takes traffic only where no verified endpoint exists.
    Unprobed = 1,
    /// Proven bad: takes none.
    Out = 2,
}

impl Standing {
    /// A stable name for metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Unprobed => "unprobed",
            Self::Out => "out",
        }
    }
}

/// What one probe found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// A final status of 200 to 299 within the timeout.
    Good,
    /// Anything else.
    Bad(Cause),
}

/// Why a probe was bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// Nobody listens.
    Refused,
    /// The connection failed for another reason.
    Unreachable,
    /// The TLS handshake failed.
    Tls,
    /// Not over within the probe's timeout.
    Timeout,
    /// The connection ended before the head of an answer.
    Reset,
    /// The answer was no HTTP.
    Malformed,
    /// Another final status.
    Status(u16),
}

impl Cause {
    /// A stable name for metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::Reset => "reset",
            Self::Malformed => "malformed",
            Self::Status(_) => "status",
        }
    }
}

/// The numbers of a health check that decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Between the starts of two probes of one endpoint.
    pub interval: Duration,
    /// Bad probes in a row that take an endpoint out.
    pub failure_threshold: u32,
    /// Good probes in a row that bring it back.
    pub recovery_threshold: u32,
}

impl From<&HealthCheck> for Policy {
    fn from(check: &HealthCheck) -> Self {
        Self {
            interval: check.interval,
            failure_threshold: check.failure_threshold,
            recovery_threshold: check.recovery_threshold,
        }
    }
}

/// A change of standing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transition {
    /// Before.
    pub from: Standing,
    /// After.
    pub to: Standing,
    /// Why.
    pub reason: Reason,
}

/// Why a standing changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The first probe of a new endpoint was good.
    FirstGood,
    /// So many good probes in a row.
    Recovered(u32),
    /// So many bad probes in a row, and the last one's cause.
    Failed(u32, Cause),
    /// The service no longer has a health check.
    Unchecked,
}

/// What is known of one endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Health {
    standing: Standing,
    good: u32,
    bad: u32,
}

impl Health {
    /// Nothing known yet, in this standing.
    #[must_use]
    pub const fn new(standing: Standing) -> Self {
        Self { standing, good: 0, bad: 0 }
    }

    /// Whether it may take traffic.
    #[must_use]
    pub const fn standing(&self) -> Standing {
        self.standing
    }

    /// Takes one probe's verdict; answers with the change of standing, if it made one.
    pub fn step(&mut self, verdict: Verdict, policy: &Policy) -> Option<Transition> {
        let (to, reason) = match verdict {
            Verdict::Good => (Standing::Verified, self.count_good(policy)?),
            Verdict::Bad(cause) => (Standing::Out, self.count_bad(cause, policy)?),
        };
        let transition = Transition { from: self.standing, to, reason };
        *self = Self::new(to);
        Some(transition)
    }

    fn count_good(&mut self, policy: &Policy) -> Option<Reason> {
        self.bad = 0;
        match self.standing {
            Standing::Verified => None,
            Standing::Unprobed => Some(Reason::FirstGood),
            Standing::Out => {
                self.good = self.good.saturating_add(1);
                (self.good >= policy.recovery_threshold).then_some(Reason::Recovered(self.good))
            }
        }
    }

    fn count_bad(&mut self, cause: Cause, policy: &Policy) -> Option<Reason> {
        self.good = 0;
        match self.standing {
            Standing::Out => None,
            Standing::Verified | Standing::Unprobed => {
                self.bad = self.bad.saturating_add(1);
                (self.bad >= policy.failure_threshold).then_some(Reason::Failed(self.bad, cause))
            }
        }
    }
}

/// When an endpoint is probed after a probe that started at `now`: an interval later, jittered by up to a tenth either
/// way so that probes of many endpoints, and of many proxies, do not march in step.
pub fn next_probe(now: Instant, policy: &Policy, rng: &mut impl Rng) -> Instant {
    let fifth = policy.interval / 5;
    now + policy.interval - policy.interval / 10 + fraction(fifth, rng)
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

    const GOOD: Verdict = Verdict::Good;
    const BAD: Verdict = Verdict::Bad(Cause::Timeout);

    fn after(standing: Standing, verdicts: &[Verdict]) -> Standing {
        let mut health = Health::new(standing);
        verdicts.iter().for_each(|verdict| {
            health.step(*verdict, &POLICY);
        });
        health.standing()
    }

    #[test]
    fn thresholds_count_in_a_row() {
        assert_eq!(after(Standing::Verified, &[BAD, BAD]), Standing::Verified);
        assert_eq!(after(Standing::Verified, &[BAD, BAD, GOOD, BAD, BAD]), Standing::Verified);
        assert_eq!(after(Standing::Verified, &[BAD, BAD, BAD]), Standing::Out);
        assert_eq!(after(Standing::Out, &[GOOD]), Standing::Out);
        assert_eq!(after(Standing::Out, &[GOOD, BAD, GOOD]), Standing::Out);
        assert_eq!(after(Standing::Out, &[GOOD, GOOD]), Standing::Verified);
    }

    #[test]
    fn one_good_probe_proves_a_new_endpoint_and_one_bad_does_not_condemn_it() {
        assert_eq!(after(Standing::Unprobed, &[GOOD]), Standing::Verified);
        assert_eq!(after(Standing::Unprobed, &[BAD, BAD]), Standing::Unprobed);
        assert_eq!(after(Standing::Unprobed, &[BAD, BAD, BAD]), Standing::Out);
    }

    #[test]
    fn a_transition_tells_its_reason() {
        let mut health = Health::new(Standing::Verified);
        let transitions: Vec<_> =
            [BAD, BAD, BAD, BAD, GOOD, GOOD].iter().filter_map(|v| health.step(*v, &POLICY)).collect();
        let out = Transition { from: Standing::Verified, to: Standing::Out, reason: Reason::Failed(3, Cause::Timeout) };
        let back = Transition { from: Standing::Out, to: Standing::Verified, reason: Reason::Recovered(2) };
        assert_eq!(transitions, [out, back]);
    }

    proptest! {
        /// A standing changes only after its threshold of equal verdicts in a row, and always then; every change is
        /// told.
        #[test]
        fn a_standing_follows_from_the_last_verdicts(
            verdicts in prop::collection::vec(any::<bool>(), 1..200), failure_threshold in 1_u32..6, recovery_threshold in 1_u32..6,
        ) {
            let policy = Policy { failure_threshold, recovery_threshold, ..POLICY };
            let mut health = Health::new(Standing::Unprobed);
            for end in 1..=verdicts.len() {
                let before = health.standing();
                let verdict = if verdicts[end - 1] { GOOD } else { BAD };
                let told = health.step(verdict, &policy);
                let run = verdicts[..end].iter().rev().take_while(|good| **good == verdicts[end - 1]).count() as u32;
                let expected = match (before, verdict) {
                    (Standing::Unprobed, Verdict::Good) => Standing::Verified,
                    (Standing::Out, Verdict::Good) if run >= recovery_threshold => Standing::Verified,
                    (Standing::Verified | Standing::Unprobed, Verdict::Bad(_)) if run >= failure_threshold => Standing::Out,
                    (unchanged, _) => unchanged,
                };
                prop_assert_eq!(health.standing(), expected);
                prop_assert_eq!(told.map(|transition| (transition.from, transition.to)), (before != expected).then_some((before, expected)));
            }
        }

        /// Probes are an interval apart within a tenth, and a first probe comes within a tenth of one.
        #[test]
        fn probes_are_jittered_by_a_tenth(seed: u64, millis in 1_u64..3_600_000) {
            let (now, mut rng) = (start(), StdRng::seed_from_u64(seed));
            let policy = Policy { interval: Duration::from_millis(millis), ..POLICY };
            let wait = next_probe(now, &policy, &mut rng).duration_since(now);
            prop_assert!(wait >= policy.interval * 9 / 10 && wait <= policy.interval * 11 / 10);
            prop_assert!(first_probe(now, &policy, &mut rng).duration_since(now) <= policy.interval / 10);
        }
    }

    #[test]
    fn jitter_uses_its_whole_span() {
        let (now, mut rng) = (start(), StdRng::seed_from_u64(1));
        let waits: Vec<_> = (0..1000).map(|_| next_probe(now, &POLICY, &mut rng).duration_since(now)).collect();
        assert!(waits.iter().min().unwrap() < &Duration::from_millis(4520));
        assert!(waits.iter().max().unwrap() > &Duration::from_millis(5480));
    }
}
