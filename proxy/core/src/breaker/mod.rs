//! Decides when an endpoint, or a whole pool, is given no requests for a while, and how it gets them back.
//!
//! Closed, requests flow and are counted. The breaker opens after so many failures in a row, at a ratio of failures or at a
//! ratio of slow calls over a window; a streak sees a dead endpoint within a handful of requests, ratios see a sick one
//! that still answers some. Only a failure or a slow call opens it: a success that fills up the least volume says nothing
//! against the endpoint. Open, it waits; after that, half-open, it admits trials: one at once, and one more with each
//! success, as TCP begins. A timer that closes it would send everything to an endpoint that is still down, and one trial
//! at a time would keep a large endpoint nearly idle for long after it is well. A failed trial opens it again, for twice as
//! long up to a limit. Times are jittered, so that many proxies do not try at once.
//!
//! A trial may never end (a hung origin without timeouts, a tunnel). After an open time in which every place was taken
//! and no trial said anything, one more place is given: silence does not condemn, since some answers take long, and it
//! never holds the breaker half-open for good. Time is counted from the first look that finds every place taken: a trial
//! that began just before has not been silent for longer.
//!
//! Only trials speak while it is half-open: requests that were sent before it opened still fail then.
//!
//! Invariants: an open breaker becomes half-open at its time, whatever happens; half-open it admits at once at most one,
//! the successes and one for each silent open time; the open time is within a fifth of its due and never above its limit;
//! every change has a reason; an operator's word holds until it is taken back.

mod machine;
mod room;

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Instant;

use rand::Rng;
pub use sluice_config::overlay::Circuit as Force;
use sluice_config::share::Share;
use sluice_config::validated::Breaker;

pub use self::machine::Circuit;
pub(crate) use self::room::{Pass, Room};
use crate::sample::{Class, Sample};
use crate::window::{Counts, Window};

/// Whether a call is one that should not take so long.
fn is_slow(policy: &Breaker, sample: &Sample) -> bool {
    policy.slow.is_some_and(|slow| sample.took.is_some_and(|took| took > slow.after))
}

/// What a trial with this ending says. A slow one is a failure where slow calls open the breaker: it would open at once
/// again.
fn verdict(policy: &Breaker, sample: &Sample) -> Event {
    if sample.class.is_failure() || is_slow(policy, sample) { Event::Failure } else { Event::Success }
}

/// Whether traffic flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum State {
    /// It flows.
    Closed = 0,
    /// None does.
    Open = 1,
    /// Trials do.
    HalfOpen = 2,
}

impl State {
    /// A stable name for metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// What a breaker is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// What was counted is enough to open it.
    Tripped(Cause),
    /// A trial succeeded.
    Success,
    /// A trial failed.
    Failure,
    /// Time has passed, and whether every place for trials is taken.
    Time {
        /// Whether another trial would find no place.
        full: bool,
    },
}

/// What was too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// So many failures in a row.
    Consecutive(u32),
    /// So many failures of so many requests.
    Ratio(u32, u32),
    /// So many slow calls of so many requests.
    Slow(u32, u32),
}

/// Why a breaker changed its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// What was counted opened it.
    Tripped(Cause),
    /// A trial failed.
    TrialFailed,
    /// It was open for its time.
    Waited,
    /// So many trials succeeded.
    Recovered(u32),
    /// An operator said so.
    Forced,
    /// An operator took that back.
    Released,
    /// The service has no breaker any more.
    Removed,
}

impl Reason {
    /// A stable name for metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tripped(Cause::Consecutive(_)) => "consecutive_failures",
            Self::Tripped(Cause::Ratio(..)) => "failure_ratio",
            Self::Tripped(Cause::Slow(..)) => "slow_ratio",
            Self::TrialFailed => "trial_failed",
            Self::Waited => "waited",
            Self::Recovered(_) => "recovered",
            Self::Forced => "forced",
            Self::Released => "released",
            Self::Removed => "removed",
        }
    }
}

/// A change of state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transition {
    /// Before.
    pub from: State,
    /// After.
    pub to: State,
    /// Why.
    pub reason: Reason,
}

/// A breaker for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View {
    /// As it is for requests.
    pub state: State,
    /// Why; none as long as it never changed.
    pub reason: Option<Reason>,
    /// Until when it is open.
    pub until: Option<Instant>,
    /// How many trials it admits at once, while it is half-open.
    pub admits: Option<u32>,
    /// How often it opened since it was last closed for long.
    pub opened: u32,
    /// The operator's word.
    pub forced: Option<Force>,
}

/// Whether what was counted opens a closed breaker, asked after a failure or a slow call.
#[must_use]
pub fn judge(policy: &Breaker, streak: u32, counts: Counts) -> Option<Cause> {
    let Counts { total, failed, slow } = counts;
    if policy.consecutive_failures.is_some_and(|most| streak >= most) {
        return Some(Cause::Consecutive(streak));
    }
    let reaches = |part: u32, ratio: Share| {
        let enough = total > 0 && total >= policy.min_requests;
        enough && u64::from(part) * u64::from(Share::WHOLE.ppm()) >= u64::from(total) * u64::from(ratio.ppm())
    };
    if policy.failure_ratio.is_some_and(|ratio| reaches(failed, ratio)) {
        return Some(Cause::Ratio(failed, total));
    }
    policy.slow.filter(|rule| slow > 0 && reaches(slow, rule.ratio)).map(|_| Cause::Slow(slow, total))
}

/// What requests meet before any lock: room for one more, and what is counted for the circuit behind the lock.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    pub(crate) room: Room,
    tally: Tally,
}

impl Gate {
    /// Counts one attempt; answers with what the circuit must be told, if anything.
    pub(crate) fn note(
        &self,
        state: State,
        pass: Pass,
        sample: &Sample,
        policy: &Breaker,
        now: Instant,
    ) -> Option<Event> {
        if sample.class == Class::Unanswered && !is_slow(policy, sample) {
            return None;
        }
        match state {
            State::Closed => self.tally.note(sample, policy, now).map(Event::Tripped),
            State::HalfOpen => self.room.is_current(pass).then(|| verdict(policy, sample)),
            State::Open => None,
        }
    }

    /// What time says, to a circuit that has a policy or none.
    pub(crate) fn tick(
        &self,
        circuit: &mut Circuit,
        policy: Option<&Breaker>,
        now: Instant,
        rng: &mut impl Rng,
    ) -> Option<Transition> {
        match policy {
            Some(policy) => circuit.step(Event::Time { full: self.room.is_full_of_trials() }, policy, now, rng),
            None => circuit.remove(),
        }
    }

    /// Makes room as the circuit says. While `open_to_all`, as many as want to.
    pub(crate) fn admit(&self, circuit: &Circuit, open_to_all: bool) {
        self.room.admit(circuit.admits().filter(|_| !open_to_all));
    }

    /// Forgets what was counted: failures of before count no more once the breaker has closed, nor with another window.
    pub(crate) fn forget(&self) {
        self.tally.clear();
    }
}

/// What a closed breaker counts, by all workers without a lock.
#[derive(Debug, Default)]
struct Tally {
    streak: AtomicU32,
    window: Window,
}

impl Tally {
    /// Counts one attempt; answers with what opens the breaker, if that does.
    fn note(&self, sample: &Sample, policy: &Breaker, now: Instant) -> Option<Cause> {
        let (failed, slow) = (sample.class.is_failure(), is_slow(policy, sample));
        let windowed = policy.failure_ratio.is_some() || policy.slow.is_some();
        if windowed {
            self.window.note(failed, slow, policy.window, now);
        }
        // A call that was given up is no success that would end a streak.
        let streak = if sample.class == Class::Unanswered { 0 } else { run(&self.streak, failed) };
        if !failed && !slow {
            return None;
        }
        let counts = if windowed { self.window.counts(policy.window, now) } else { Counts::default() };
        judge(policy, streak, counts)
    }

    fn clear(&self) {
        self.streak.store(0, Relaxed);
        self.window.clear();
    }
}

/// The length of a streak of failures after one more attempt. A success writes only when there was a streak.
pub(crate) fn run(streak: &AtomicU32, failed: bool) -> u32 {
    if failed {
        return streak.fetch_add(1, Relaxed).saturating_add(1);
    }
    if streak.load(Relaxed) != 0 {
        streak.store(0, Relaxed);
    }
    0
}

#[cfg(test)]
mod tests;
