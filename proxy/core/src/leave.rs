//! Decides how a process leaves: what it still does, what it waits for, and when it stops to wait.
//!
//! A process that is told to leave goes through at most three phases. It **waits** for the delay: it accepts and serves as
//! before, and only says that it is not ready, so that a balancer that asks every few seconds sends nothing new before
//! the listeners are closed. It **drains** until the deadline: no new connection, and what is there ends with its
//! request. What is left then is **cut**. It has left as soon as nothing is left, whatever the phase.
//!
//! A further signal cuts at once, in every phase: who asks twice does not want to wait. It does not only end the delay,
//! because then a third would be needed, and a supervisor's last word before it kills is worth more than a linger.
//!
//! The deadline is counted from the end of the delay: it is the time that a client gets, and a balancer's is another.
//! A successor (an upgrade) accepts already, so that nobody has to hear of it first: then there is no delay.
//!
//! # Invariants
//! - Phases only go forward: waiting, draining, cutting, left.
//! - Every phase but the last ends by itself: at its deadline, or, when cut, with the last connection.
//! - Nothing is cut before the deadline unless a second signal asks for it.

use std::time::{Duration, Instant};

/// What a process that leaves does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It serves as before, until then.
    Waiting(Instant),
    /// It accepts nothing new, and ends what is there, until then.
    Draining(Instant),
    /// What is left is cut off.
    Cutting,
    /// Nothing is left.
    Left,
}

/// What may happen to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Time has passed.
    Tick,
    /// It is told to leave once more.
    Told,
    /// No connection is left, and none can come.
    Empty,
}

/// A process on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leave {
    phase: Phase,
    deadline: Duration,
}

impl Leave {
    /// It is told to leave now. Without a delay it drains at once.
    #[must_use]
    pub fn begin(delay: Duration, deadline: Duration, now: Instant) -> Self {
        let phase = if delay.is_zero() { draining(deadline, now) } else { Phase::Waiting(after(now, delay)) };
        Self { phase, deadline }
    }

    /// What it does now.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// When [`Event::Tick`] is due; absent: never.
    #[must_use]
    pub const fn due(&self) -> Option<Instant> {
        match self.phase {
            Phase::Waiting(until) | Phase::Draining(until) => Some(until),
            Phase::Cutting | Phase::Left => None,
        }
    }

    /// What it does after this has happened. O(1).
    pub fn step(&mut self, event: Event, now: Instant) -> Phase {
        self.phase = match (self.phase, event) {
            (Phase::Left, _) | (Phase::Draining(_) | Phase::Cutting, Event::Empty) => Phase::Left,
            (Phase::Cutting | Phase::Waiting(_) | Phase::Draining(_), Event::Told) => Phase::Cutting,
            (Phase::Waiting(until), Event::Tick) if now >= until => draining(self.deadline, now),
            (Phase::Draining(until), Event::Tick) if now >= until => Phase::Cutting,
            // While it waits it is never empty: a connection can still come.
            (phase @ (Phase::Waiting(_) | Phase::Draining(_) | Phase::Cutting), Event::Tick | Event::Empty) => phase,
        };
        self.phase
    }
}

fn draining(deadline: Duration, now: Instant) -> Phase {
    Phase::Draining(after(now, deadline))
}

/// The furthest moment that there is, for a time that leads beyond it.
fn after(now: Instant, time: Duration) -> Instant {
    /// A century, which no process outlives.
    const FAR: Duration = Duration::from_secs(100 * 365 * 86_400);
    now.checked_add(time).or_else(|| now.checked_add(FAR)).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fixture::start;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_deadline_begins_after_the_delay() {
        let now = start();
        let mut leave = Leave::begin(5 * SECOND, 30 * SECOND, now);
        assert_eq!(leave.phase(), Phase::Waiting(now + 5 * SECOND));
        assert_eq!(leave.step(Event::Tick, now + 4 * SECOND), Phase::Waiting(now + 5 * SECOND));
        assert_eq!(leave.step(Event::Empty, now + 4 * SECOND), Phase::Waiting(now + 5 * SECOND), "one may still come");
        assert_eq!(leave.step(Event::Tick, now + 5 * SECOND), Phase::Draining(now + 35 * SECOND));
        assert_eq!(leave.step(Event::Tick, now + 34 * SECOND), Phase::Draining(now + 35 * SECOND));
        assert_eq!(leave.step(Event::Tick, now + 35 * SECOND), Phase::Cutting);
        assert_eq!(leave.step(Event::Empty, now + 36 * SECOND), Phase::Left);
    }

    #[test]
    fn who_is_empty_leaves_early_and_who_is_told_twice_cuts() {
        let now = start();
        let mut leave = Leave::begin(Duration::ZERO, 30 * SECOND, now);
        assert_eq!(leave.step(Event::Empty, now), Phase::Left);
        for delay in [Duration::ZERO, SECOND] {
            let mut leave = Leave::begin(delay, 30 * SECOND, now);
            assert_eq!(leave.step(Event::Told, now), Phase::Cutting);
            assert_eq!(leave.step(Event::Told, now), Phase::Cutting);
        }
    }

    fn rank(phase: Phase) -> u8 {
        match phase {
            Phase::Waiting(_) => 0,
            Phase::Draining(_) => 1,
            Phase::Cutting => 2,
            Phase::Left => 3,
        }
    }

    proptest! {
        #[test]
        fn phases_go_forward_and_nothing_is_cut_early(
            delay in 0_u64..20,
            deadline in 1_u64..60,
            events in prop::collection::vec((0_u64..10, 0_u8..8), 0..40),
        ) {
            let begun = start();
            let mut now = begun;
            let mut leave = Leave::begin(Duration::from_secs(delay), Duration::from_secs(deadline), now);
            let mut told = false;
            for (passed, event) in events {
                now += Duration::from_secs(passed);
                let event = match event { 0 => Event::Told, 1 => Event::Empty, _ => Event::Tick };
                told |= event == Event::Told;
                let before = rank(leave.phase());
                let after = rank(leave.step(event, now));
                prop_assert!(after >= before);
                let early = now < begun + Duration::from_secs(delay + deadline);
                prop_assert!(told || !early || leave.phase() != Phase::Cutting);
                prop_assert_eq!(leave.due().is_none(), after >= 2);
            }
            if let Some(due) = leave.due() {
                leave.step(Event::Tick, due);
                let last = leave.due().unwrap_or(due);
                leave.step(Event::Tick, last);
                prop_assert_eq!(leave.phase(), Phase::Cutting, "it ends by itself");
            }
        }
    }
}
