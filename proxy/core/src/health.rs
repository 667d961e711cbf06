//! Decides from probe verdicts whether an endpoint may take traffic.
//!
//! An endpoint is out after `failure_threshold` bad probes in a row and back after `recovery_threshold` good ones in a
//! row. Streaks rather than ratios: a probe stream is slow, and a ratio over enough probes to mean anything reacts
//! minutes late. Two thresholds rather than one: an endpoint at its limit would flap between them.
//!
//! Streaks alone never see an endpoint that fails two of three: each good probe makes the streak begin again, for ever. So
//! there is a third threshold: it is also out when `unsteady_threshold` of its last ten probes were bad, in a row or not.
//! Who goes out like that comes back when that is no longer so *and* the good probes in a row are there: two good ones
//! prove nothing of an endpoint that has them between its bad ones. A plain outage is another matter. It counts in the
//! ten only with the bad probes that ended the traffic, however long it lasts: else the first stray loss after an outage
//! of a minute would end the traffic again.
//!
//! A new endpoint is `Unprobed`. One good probe makes it `Verified`, since nothing speaks against it yet. It takes
//! `failure_threshold` bad ones to take it out, not one: an unprobed endpoint gets traffic only where nothing verified
//! exists, so keeping it costs nothing while there is a choice, and where there is none a single lost probe during a
//! start must not turn "perhaps" into a refusal.
//!
//! [`Found`] says when an endpoint is probed next, [`Ceiling`] when it is the turn of a probe that is due, [`Word`] what an
//! endpoint may say of itself.
//!
//! Invariants: a verdict against the current streak resets it; at most one of the two streaks is above 0; `Unprobed` is
//! never entered again; a transition is reported exactly when the standing changes.

mod ceiling;
mod timing;
mod word;

use std::time::Duration;

use sluice_config::validated::HealthCheck;

use crate::grpc::Code;

pub use ceiling::{Ceiling, is_late, stretch};
pub use timing::{Found, first_probe, next_probe};
pub use word::Word;

/// How many of the last probes the unsteady threshold counts among.
pub const WINDOW: u32 = 10;

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
    /// What the health check asks for, within its timeout.
    Good,
    /// Anything else.
    Bad(Cause),
}

impl From<Result<(), Cause>> for Verdict {
    fn from(found: Result<(), Cause>) -> Self {
        match found {
            Ok(()) => Self::Good,
            Err(cause) => Self::Bad(cause),
        }
    }
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
    /// A final status that the health check does not name.
    Status(u16),
    /// The answer does not hold the text that it must.
    Text,
    /// The call of gRPC ended with this status.
    Grpc(Code),
    /// The health service answered, and not with SERVING.
    NotServing,
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
            Self::Text => "text",
            Self::Grpc(_) => "grpc_status",
            Self::NotServing => "not_serving",
        }
    }
}

/// The numbers of a health check that decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Between the starts of two probes of one endpoint.
    pub interval: Duration,
    /// The same while the last probe contradicts the standing.
    pub interval_in_doubt: Duration,
    /// The same while the endpoint is verified and has no traffic; absent: the interval.
    pub interval_without_traffic: Option<Duration>,
    /// Bad probes in a row that take an endpoint out.
    pub failure_threshold: u32,
    /// Good probes in a row that bring it back.
    pub recovery_threshold: u32,
    /// Bad probes among the last [`WINDOW`] that take an endpoint out; absent: no number of them does.
    pub unsteady_threshold: Option<u32>,
}

impl Default for Policy {
    /// That of a health check which says no more than what is asked.
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(5),
            interval_in_doubt: Duration::from_secs(2),
            interval_without_traffic: None,
            failure_threshold: 3,
            recovery_threshold: 2,
            unsteady_threshold: Some(6),
        }
    }
}

impl From<&HealthCheck> for Policy {
    fn from(check: &HealthCheck) -> Self {
        Self {
            interval: check.interval,
            interval_in_doubt: check.interval_in_doubt,
            interval_without_traffic: check.interval_without_traffic,
            failure_threshold: check.failure_threshold,
            recovery_threshold: check.recovery_threshold,
            unsteady_threshold: check.unsteady_threshold,
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
    /// So many bad probes among the last [`WINDOW`], and the last one's cause.
    Unsteady(u32, Cause),
    /// The service no longer has a health check.
    Unchecked,
}

impl Reason {
    /// A stable name for logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FirstGood => "first_good",
            Self::Recovered(_) => "recovered",
            Self::Failed(..) => "failed",
            Self::Unsteady(..) => "unsteady",
            Self::Unchecked => "unchecked",
        }
    }
}

/// What is known of one endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Health {
    standing: Standing,
    good: u32,
    bad: u32,
    recent: Recent,
    /// It went out with too many bad ones among the last, and has to prove more than a streak.
    unsteady: bool,
}

impl Health {
    /// Nothing known yet, in this standing.
    #[must_use]
    pub const fn new(standing: Standing) -> Self {
        Self { standing, good: 0, bad: 0, recent: Recent(0), unsteady: false }
    }

    /// Whether it may take traffic.
    #[must_use]
    pub const fn standing(&self) -> Standing {
        self.standing
    }

    /// Forgets what earlier probes found, but not what followed from it: something else is asked now.
    pub const fn ask_anew(&mut self) {
        *self = Self::new(self.standing);
    }

    /// Takes one probe's verdict; answers with the change of standing, if it made one.
    pub fn step(&mut self, verdict: Verdict, policy: &Policy) -> Option<Transition> {
        let (to, reason) = match verdict {
            Verdict::Good => (Standing::Verified, self.count_good(policy)?),
            Verdict::Bad(cause) => (Standing::Out, self.count_bad(cause, policy)?),
        };
        let transition = Transition { from: self.standing, to, reason };
        let unsteady = to == Standing::Out && self.is_unsteady(policy);
        *self = Self { recent: self.recent, unsteady, ..Self::new(to) };
        Some(transition)
    }

    fn is_unsteady(&self, policy: &Policy) -> bool {
        policy.unsteady_threshold.is_some_and(|most| self.recent.bad() >= most)
    }

    fn count_good(&mut self, policy: &Policy) -> Option<Reason> {
        self.bad = 0;
        self.recent.push(false);
        match self.standing {
            Standing::Verified => None,
            Standing::Unprobed => Some(Reason::FirstGood),
            Standing::Out => {
                self.good = self.good.saturating_add(1);
                let proven = self.good >= policy.recovery_threshold && !(self.unsteady && self.is_unsteady(policy));
                proven.then_some(Reason::Recovered(self.good))
            }
        }
    }

    fn count_bad(&mut self, cause: Cause, policy: &Policy) -> Option<Reason> {
        let goes_on = self.standing == Standing::Out && !self.unsteady && self.recent.ends_bad();
        if !goes_on {
            self.recent.push(true);
        }
        self.good = 0;
        if self.standing == Standing::Out {
            return None;
        }
        self.bad = self.bad.saturating_add(1);
        match self.bad >= policy.failure_threshold {
            true => Some(Reason::Failed(self.bad, cause)),
            false if self.is_unsteady(policy) => Some(Reason::Unsteady(self.recent.bad(), cause)),
            false => None,
        }
    }
}

/// The last [`WINDOW`] probes, a bit for each: 1 is bad. The newest is the lowest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Recent(u16);

impl Recent {
    const fn push(&mut self, bad: bool) {
        self.0 = (self.0 << 1 | bad as u16) & ((1 << WINDOW) - 1);
    }

    const fn bad(self) -> u32 {
        self.0.count_ones()
    }

    const fn ends_bad(self) -> bool {
        self.0 & 1 == 1
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fixture::POLICY;

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

    #[test]
    fn a_streak_that_always_breaks_does_not_hide_a_sick_endpoint() {
        let course = [BAD, BAD, GOOD, BAD, BAD, GOOD, BAD, BAD];
        assert_eq!(after(Standing::Verified, &course[..7]), Standing::Verified);
        assert_eq!(after(Standing::Verified, &course), Standing::Out);
        let mut health = Health::new(Standing::Verified);
        let told: Vec<_> = course.iter().filter_map(|v| health.step(*v, &POLICY)).map(|one| one.reason).collect();
        assert_eq!(told, [Reason::Unsteady(6, Cause::Timeout)]);
        let off = Policy { unsteady_threshold: None, ..POLICY };
        let mut health = Health::new(Standing::Verified);
        assert!(course.iter().all(|verdict| health.step(*verdict, &off).is_none()), "the threshold is off");
    }

    /// The ten are [B B G B B G B B G G] after two good ones: six of them are bad still.
    #[test]
    fn an_unsteady_endpoint_has_to_prove_more_than_a_streak() {
        let mut health = Health::new(Standing::Verified);
        [BAD, BAD, GOOD, BAD, BAD, GOOD, BAD, BAD].iter().for_each(|verdict| {
            health.step(*verdict, &POLICY);
        });
        assert_eq!([GOOD, GOOD].map(|verdict| health.step(verdict, &POLICY)), [None, None]);
        assert_eq!(health.recent.bad(), 6);
        let back = health.step(GOOD, &POLICY).unwrap();
        assert_eq!((back.to, back.reason), (Standing::Verified, Reason::Recovered(3)));
    }

    #[test]
    fn an_outage_counts_once_however_long_it_is() {
        let mut health = Health::new(Standing::Verified);
        (0..50).for_each(|_| {
            health.step(BAD, &POLICY);
        });
        assert_eq!((health.standing(), health.recent.bad()), (Standing::Out, 3));
        [GOOD, GOOD, BAD, BAD].iter().for_each(|verdict| {
            health.step(*verdict, &POLICY);
        });
        assert_eq!((health.standing(), health.recent.bad()), (Standing::Verified, 5));
    }

    #[test]
    fn another_question_keeps_the_standing_and_nothing_else() {
        let mut health = Health::new(Standing::Verified);
        [BAD, BAD].iter().for_each(|verdict| {
            health.step(*verdict, &POLICY);
        });
        health.ask_anew();
        assert_eq!(health, Health::new(Standing::Verified));
    }

    /// The same from the whole course of verdicts, without a state but the standing.
    #[derive(Default)]
    struct Model {
        ten: Vec<bool>,
        course: Vec<bool>,
        since: usize,
        unsteady: bool,
    }

    impl Model {
        fn bad(&self) -> u32 {
            self.ten.iter().rev().take(10).filter(|bad| **bad).count() as u32
        }

        fn step(&mut self, standing: Standing, bad: bool, policy: &Policy) -> Standing {
            let outage = standing == Standing::Out && !self.unsteady && bad && self.ten.last() == Some(&true);
            self.ten.extend((!outage).then_some(bad));
            self.course.push(bad);
            let run = self.course[self.since..].iter().rev().take_while(|one| **one == bad).count() as u32;
            let unsteady = policy.unsteady_threshold.is_some_and(|most| self.bad() >= most);
            let to = match (standing, bad) {
                (Standing::Unprobed, false) => Standing::Verified,
                (Standing::Out, false) if run >= policy.recovery_threshold && !(self.unsteady && unsteady) => {
                    Standing::Verified
                }
                (Standing::Verified | Standing::Unprobed, true) if run >= policy.failure_threshold || unsteady => {
                    Standing::Out
                }
                (unchanged, _) => unchanged,
            };
            if to != standing {
                (self.since, self.unsteady) = (self.course.len(), to == Standing::Out && unsteady);
            }
            to
        }
    }

    proptest! {
        /// A standing changes exactly by the three thresholds, and every change is told. Fails without the third threshold,
        /// without what an unsteady endpoint has to prove, and when an outage counts with all of its probes.
        #[test]
        fn a_standing_follows_from_the_last_verdicts(
            verdicts in prop::collection::vec(prop::bool::weighted(0.6), 1..300),
            failure_threshold in 1_u32..6, recovery_threshold in 1_u32..6, unsteady in 0_u32..10,
        ) {
            let unsteady_threshold = (unsteady > 0).then_some(unsteady);
            let policy = Policy { failure_threshold, recovery_threshold, unsteady_threshold, ..POLICY };
            let (mut health, mut model) = (Health::new(Standing::Unprobed), Model::default());
            for good in verdicts {
                let before = health.standing();
                let told = health.step(if good { GOOD } else { BAD }, &policy);
                let expected = model.step(before, !good, &policy);
                prop_assert_eq!(health.standing(), expected);
                prop_assert_eq!(health.recent.bad(), model.bad());
                prop_assert_eq!(told.map(|transition| (transition.from, transition.to)), (before != expected).then_some((before, expected)));
            }
        }

        /// Whatever came before, an endpoint that is good from now on is verified after ten more probes at the latest, and
        /// one that is bad is out. Fails when what an unsteady endpoint must prove can never be proven.
        #[test]
        fn what_is_so_for_long_is_known(
            verdicts in prop::collection::vec(any::<bool>(), 0..100), failure_threshold in 1_u32..=10, recovery_threshold in 1_u32..=10,
            unsteady in 1_u32..=10, good: bool,
        ) {
            let policy = Policy { failure_threshold, recovery_threshold, unsteady_threshold: Some(unsteady), ..POLICY };
            let mut health = Health::new(Standing::Unprobed);
            let verdict = |good| if good { GOOD } else { BAD };
            for verdict in verdicts.into_iter().map(verdict).chain(std::iter::repeat_n(verdict(good), 10)) {
                health.step(verdict, &policy);
            }
            prop_assert_eq!(health.standing(), if good { Standing::Verified } else { Standing::Out });
        }
    }
}
