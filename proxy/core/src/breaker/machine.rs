//! The breaker itself: one pure machine, for endpoints and for pools.

use std::time::{Duration, Instant};

use rand::Rng;
use sluice_config::validated::Breaker;

use super::{Event, Force, Reason, State, Transition, View};

/// The state of one breaker.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Circuit {
    phase: Phase,
    /// How often it opened since it was last closed for long.
    opened: u32,
    /// For how long it was open last.
    wait: Duration,
    forced: Option<Force>,
    reason: Option<Reason>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Closed {
        /// None: as long as it is known.
        since: Option<Instant>,
    },
    Open {
        until: Instant,
    },
    HalfOpen {
        successes: u32,
        /// Places given because nothing was heard of the others.
        lost: u32,
        /// Whether every place was taken at the last look.
        full: bool,
        /// Since when that is so and no trial has succeeded; when it was looked, if a place was free.
        since: Instant,
    },
}

impl Default for Phase {
    fn default() -> Self {
        Self::Closed { since: None }
    }
}

impl Phase {
    const fn half_open(now: Instant) -> Self {
        Self::HalfOpen { successes: 0, lost: 0, full: false, since: now }
    }
}

/// How often within an open time it is looked whether every place for trials is taken: by so much silence may be longer.
const LOOKS: u32 = 10;

impl Circuit {
    /// As it is for requests.
    #[must_use]
    pub const fn state(&self) -> State {
        match (self.forced, self.phase) {
            (Some(Force::Closed), _) | (None, Phase::Closed { .. }) => State::Closed,
            (Some(Force::Open), _) | (None, Phase::Open { .. }) => State::Open,
            (None, Phase::HalfOpen { .. }) => State::HalfOpen,
        }
    }

    /// How many trials it admits at once; none unless it is half-open.
    #[must_use]
    pub fn admits(&self) -> Option<u32> {
        match self.phase {
            Phase::HalfOpen { successes, lost, .. } if self.forced.is_none() => {
                Some(successes.saturating_add(lost).saturating_add(1))
            }
            Phase::HalfOpen { .. } | Phase::Closed { .. } | Phase::Open { .. } => None,
        }
    }

    /// When it wants to be told the time; none while time changes nothing.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        match self.phase {
            Phase::Open { until } if self.forced.is_none() => Some(until),
            Phase::HalfOpen { full, since, .. } if self.forced.is_none() => {
                // Silence begins when the last place is taken, which nobody tells: it is looked for.
                Some(since + if full { self.patience() } else { self.patience() / LOOKS })
            }
            Phase::Open { .. } | Phase::HalfOpen { .. } | Phase::Closed { .. } => None,
        }
    }

    /// For people.
    #[must_use]
    pub fn view(&self) -> View {
        let until = match self.phase {
            Phase::Open { until } => Some(until).filter(|_| self.forced.is_none()),
            Phase::Closed { .. } | Phase::HalfOpen { .. } => None,
        };
        let Self { opened, forced, reason, .. } = *self;
        View { state: self.state(), reason, until, admits: self.admits(), opened, forced }
    }

    /// Takes an event; answers with the change of state, if it made one. While an operator's word holds, nothing does.
    pub fn step(&mut self, event: Event, policy: &Breaker, now: Instant, rng: &mut impl Rng) -> Option<Transition> {
        if self.forced.is_some() {
            return None;
        }
        match (self.phase, event) {
            (Phase::Closed { since }, Event::Tripped(cause)) => {
                self.opened = if self.was_brief(since, now) { self.opened } else { 0 };
                self.open(Reason::Tripped(cause), policy, now, rng)
            }
            (Phase::Open { until }, Event::Time { .. }) if now >= until => {
                self.enter(Phase::half_open(now), Reason::Waited)
            }
            (Phase::HalfOpen { .. }, Event::Failure) => self.open(Reason::TrialFailed, policy, now, rng),
            (Phase::HalfOpen { successes, lost, .. }, Event::Success) => {
                let successes = successes.saturating_add(1);
                if successes >= policy.close_after {
                    return self.enter(Phase::Closed { since: Some(now) }, Reason::Recovered(successes));
                }
                self.phase = Phase::HalfOpen { successes, lost, full: false, since: now };
                None
            }
            (Phase::HalfOpen { successes, lost, full: was_full, since }, Event::Time { full }) => {
                if !(full && was_full) {
                    self.phase = Phase::HalfOpen { successes, lost, full, since: now };
                } else if now.saturating_duration_since(since) >= self.patience() {
                    self.phase = Phase::HalfOpen { successes, lost: lost.saturating_add(1), full: false, since: now };
                }
                None
            }
            (Phase::Closed { .. }, Event::Success | Event::Failure | Event::Time { .. })
            | (Phase::Open { .. }, _)
            | (Phase::HalfOpen { .. }, Event::Tripped(_)) => None,
        }
    }

    /// Takes an operator's word, or takes it back: what was forced open is tried first.
    pub fn force(&mut self, force: Option<Force>, now: Instant) -> Option<Transition> {
        let from = self.state();
        match (self.forced, force) {
            (Some(Force::Open), None) => self.phase = Phase::half_open(now),
            (Some(Force::Closed), None) => self.phase = Phase::Closed { since: Some(now) },
            (_, Some(_)) | (None, None) => {}
        }
        self.forced = force;
        self.changed(from, if force.is_some() { Reason::Forced } else { Reason::Released })
    }

    /// The service has no breaker any more: closes it, unless an operator says otherwise.
    pub fn remove(&mut self) -> Option<Transition> {
        (self.opened, self.wait) = (0, Duration::ZERO);
        self.enter(Phase::default(), Reason::Removed)
    }

    /// For how long trials may say nothing before another is admitted. One that an operator opened has no open time.
    fn patience(&self) -> Duration {
        self.wait.max(Duration::from_secs(1))
    }

    /// Whether it was closed for less time than it was open before: then it is still the same trouble.
    fn was_brief(&self, since: Option<Instant>, now: Instant) -> bool {
        since.is_some_and(|since| now.saturating_duration_since(since) < self.wait)
    }

    fn open(&mut self, reason: Reason, policy: &Breaker, now: Instant, rng: &mut impl Rng) -> Option<Transition> {
        self.wait = open_time(policy, self.opened, rng);
        self.opened = self.opened.saturating_add(1);
        self.enter(Phase::Open { until: now + self.wait }, reason)
    }

    fn enter(&mut self, phase: Phase, reason: Reason) -> Option<Transition> {
        let from = self.state();
        self.phase = phase;
        self.changed(from, reason)
    }

    fn changed(&mut self, from: State, reason: Reason) -> Option<Transition> {
        let to = self.state();
        if from == to {
            return None;
        }
        self.reason = Some(reason);
        Some(Transition { from, to, reason })
    }
}

/// Doubled with each time that it opened before, jittered by up to a fifth, never above the limit.
fn open_time(policy: &Breaker, opened: u32, rng: &mut impl Rng) -> Duration {
    let grown =
        policy.open_time.saturating_mul(1_u32.checked_shl(opened).unwrap_or(u32::MAX)).min(policy.max_open_time);
    let jitter = 0.8 + 0.4 * f64::from(rng.next_u32()) / f64::from(u32::MAX);
    grown.mul_f64(jitter).min(policy.max_open_time)
}
