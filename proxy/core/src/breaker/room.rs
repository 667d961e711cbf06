//! How many requests an endpoint or a pool takes at once: its limit, and the trials of a half-open breaker. No lock.
//!
//! Trials are counted apart from all requests in flight: what was sent before the breaker opened may hang for hours, and
//! would leave no room for a trial. Each half-open time is a round with a number, so that a trial of an earlier one that
//! ends late frees no place in this one, and says nothing in it.
//!
//! Invariants: within a round as many trials run as there are passes of the round; a limit is never exceeded by what it
//! admits.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// One request's place. A round of 0 is no trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pass {
    round: u16,
}

impl Pass {
    pub(crate) const fn is_trial(self) -> bool {
        self.round != 0
    }
}

#[derive(Debug)]
pub(crate) struct Room {
    in_flight: AtomicU32,
    limit: AtomicU32,
    trials: AtomicU64,
}

impl Default for Room {
    fn default() -> Self {
        let none = Trials { round: 1, admitted: ANY, running: 0 };
        Self { in_flight: AtomicU32::new(0), limit: AtomicU32::new(u32::MAX), trials: AtomicU64::new(none.pack()) }
    }
}

/// As many as want to.
const ANY: u32 = (1 << 24) - 1;

#[derive(Clone, Copy)]
struct Trials {
    round: u16,
    admitted: u32,
    running: u32,
}

impl Trials {
    const fn of(word: u64) -> Self {
        Self { round: (word >> 48) as u16, admitted: (word >> 24) as u32 & ANY, running: word as u32 & ANY }
    }

    const fn pack(self) -> u64 {
        (self.round as u64) << 48 | (self.admitted as u64) << 24 | self.running as u64
    }

    const fn has_room(self) -> bool {
        self.admitted == ANY || self.running < self.admitted
    }

    const fn next_round(self, admitted: u32) -> Self {
        let round = if self.round == u16::MAX { 1 } else { self.round + 1 };
        Self { round, admitted, running: 0 }
    }
}

impl Room {
    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    pub(crate) fn limit(&self) -> Option<u32> {
        Some(self.limit.load(Relaxed)).filter(|limit| *limit != u32::MAX)
    }

    pub(crate) fn set_limit(&self, limit: Option<u32>) {
        self.limit.store(limit.unwrap_or(u32::MAX), Relaxed);
    }

    /// Whether it can be full.
    pub(crate) fn is_capped(&self) -> bool {
        self.limit().is_some() || self.trials().admitted != ANY
    }

    pub(crate) fn has_room(&self) -> bool {
        self.in_flight() < self.limit.load(Relaxed) && self.trials().has_room()
    }

    /// Whether all places for trials are taken.
    pub(crate) fn is_full_of_trials(&self) -> bool {
        !self.trials().has_room()
    }

    pub(crate) fn enter(&self) -> Option<Pass> {
        let pass = self.enter_trial()?;
        let limit = self.limit.load(Relaxed);
        if limit == u32::MAX {
            self.in_flight.fetch_add(1, Relaxed);
            return Some(pass);
        }
        let more = |count: u32| (count < limit).then_some(count + 1);
        if self.in_flight.fetch_update(Relaxed, Relaxed, more).is_err() {
            self.leave_trial(pass);
            return None;
        }
        Some(pass)
    }

    pub(crate) fn leave(&self, pass: Pass) {
        self.in_flight.fetch_sub(1, Relaxed);
        self.leave_trial(pass);
    }

    /// Whether the pass is of the round that runs.
    pub(crate) fn is_current(&self, pass: Pass) -> bool {
        let trials = self.trials();
        trials.admitted != ANY && trials.round == pass.round
    }

    /// Sets how many trials are admitted at once; none ends the round.
    pub(crate) fn admit(&self, trials: Option<u32>) {
        let next = |word| {
            let now = Trials::of(word);
            let next = match (now.admitted, trials.map(|count| count.min(ANY - 1))) {
                (ANY, None) => return None,
                (ANY, Some(count)) => now.next_round(count),
                (_, None) => Trials { admitted: ANY, running: 0, ..now },
                (_, Some(count)) => Trials { admitted: count, ..now },
            };
            Some(next.pack())
        };
        let _ = self.trials.fetch_update(Relaxed, Relaxed, next);
    }

    fn enter_trial(&self) -> Option<Pass> {
        if self.trials().admitted == ANY {
            return Some(Pass { round: 0 });
        }
        let more = |word| {
            let trials = Trials::of(word);
            match trials {
                Trials { admitted: ANY, .. } => Some(word),
                Trials { running, .. } if trials.has_room() => Some(Trials { running: running + 1, ..trials }.pack()),
                Trials { .. } => None,
            }
        };
        let before = Trials::of(self.trials.fetch_update(Relaxed, Relaxed, more).ok()?);
        Some(Pass { round: if before.admitted == ANY { 0 } else { before.round } })
    }

    fn leave_trial(&self, pass: Pass) {
        if !pass.is_trial() {
            return;
        }
        let less = |word| {
            let trials = Trials::of(word);
            let is_mine = trials.admitted != ANY && trials.round == pass.round;
            is_mine.then(|| Trials { running: trials.running.saturating_sub(1), ..trials }.pack())
        };
        let _ = self.trials.fetch_update(Relaxed, Relaxed, less);
    }

    fn trials(&self) -> Trials {
        Trials::of(self.trials.load(Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_trial_of_an_earlier_round_frees_no_place() {
        let room = Room::default();
        room.admit(Some(1));
        let old = room.enter().unwrap();
        room.admit(None);
        room.admit(Some(1));
        assert!(!room.is_current(old));
        let new = room.enter().unwrap();
        room.leave(old);
        assert!(room.is_full_of_trials() && room.enter().is_none());
        room.leave(new);
        assert!(room.has_room());
        assert_eq!(room.in_flight(), 0);
    }

    #[test]
    fn workers_share_a_limit_exactly() {
        let room = Room::default();
        room.set_limit(Some(100));
        let entered = std::thread::scope(|scope| {
            let enter = || (0..1000).filter(|_| room.enter().is_some()).count();
            let workers: Vec<_> = (0..4).map(|_| scope.spawn(enter)).collect();
            workers.into_iter().map(|worker| worker.join().unwrap()).sum::<usize>()
        });
        assert_eq!((entered, room.in_flight()), (100, 100));
    }

    proptest! {
        /// What was admitted is never above the cap that held then, and all places are free in the end. Fails if a full
        /// limit keeps the trial's place, or if a place is freed in another round.
        #[test]
        fn caps_hold(steps in prop::collection::vec((0_u8..5, 0_u32..5), 1..200)) {
            let room = Room::default();
            let (mut passes, mut round) = (Vec::new(), Vec::new());
            for (kind, number) in steps {
                match kind {
                    0 => room.set_limit((number > 0).then_some(number)),
                    1 => {
                        if !room.trials().has_room() || room.trials().admitted != ANY { room.admit(Some(number + 1)); }
                        else { round.clear(); room.admit(Some(number + 1)); }
                    }
                    2 => { room.admit(None); round.clear(); }
                    3 => {
                        let has_room = room.has_room();
                        let pass = room.enter();
                        prop_assert_eq!(pass.is_some(), has_room);
                        if let Some(pass) = pass {
                            prop_assert!(room.limit().is_none_or(|limit| room.in_flight() <= limit));
                            passes.push(pass);
                            if pass.is_trial() { round.push(passes.len() - 1); }
                            prop_assert!(!pass.is_trial() || room.trials().running <= room.trials().admitted);
                        }
                    }
                    _ => if let Some(pass) = passes.pop() {
                        round.retain(|at| *at != passes.len());
                        room.leave(pass);
                    }
                }
                prop_assert_eq!(room.in_flight() as usize, passes.len());
                prop_assert_eq!(room.trials().running as usize, round.len());
            }
        }
    }
}
