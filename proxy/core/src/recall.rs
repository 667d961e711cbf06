//! Decides what a proxy starts with from its own disk, and what it does not start again.
//!
//! A proxy keeps the last revisions that it ran. At its start the newest of them that is whole is what it runs, so that
//! it serves before it has found its control plane, or without one. Two things may be wrong with it. The file may be
//! damaged: then the next older one is taken. And the revision itself may end the process: it was sound, it ran, and the
//! process crashed; started again from disk it would crash again, for ever, and no control plane could help, because
//! the process does not live long enough to ask. So each start notes in a journal which revision it turned to and whether
//! the process left in order. **Two starts in a row that turned to the same revision and did not leave in order, the
//! second of them begun at most [`CRASH_WINDOW`] ago: that revision is parked**, and the one before it is started.
//!
//! Why two and not one: a machine that loses its power, or an operator's `kill -9`, is not the revision's doing. Why the
//! window is taken from the beginning of the second start: when a process crashed is not known, only that it was before
//! the next one began, so this is the most that can be said of the distance of the two crashes.
//!
//! **A parked digest is refused when it is sent again**, so that the control plane hears of it and does not undo the
//! fallback. It is lifted when another content that the control plane sent runs (somebody has changed something), or
//! when the process is stopped in order and started again (somebody wants it tried). There is no other switch: both are
//! what an operator does anyway, and both are visible.
//!
//! A fallback needs something to fall back to. When no other revision is whole, the newest is started again, parked or
//! not: a proxy that serves between crashes is better than one that does not serve, and if every revision crashes it is
//! not the revision.
//!
//! # Invariants
//! - What is started first is the newest whole revision that is not parked, if there is one.
//! - Nothing damaged is started.
//! - After a start that left in order nothing is parked.
//! - If a whole revision exists, something is started.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sluice_config::Timestamp;
use sluice_config::value::Digest;

/// The second of two crashes counts when its start began at most so long ago.
pub const CRASH_WINDOW: Duration = Duration::from_secs(60);

/// How many past starts are remembered.
const REMEMBERED: usize = 4;

/// One start of the process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Boot {
    /// When it began.
    pub began: Timestamp,
    /// The revision that it ran or tried last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on: Option<Digest>,
    /// Whether it left in order.
    pub left: bool,
}

/// What is remembered of past starts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Journal {
    /// The oldest first; the last is that of this process once it has begun.
    pub boots: Vec<Boot>,
    /// What is not run until something changes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parked: Vec<Digest>,
}

impl Journal {
    /// A process begins, with these digests parked.
    pub fn begin(&mut self, now: Timestamp, parked: Vec<Digest>) {
        self.boots.push(Boot { began: now, on: None, left: false });
        let over = self.boots.len().saturating_sub(REMEMBERED);
        self.boots.drain(..over);
        self.parked = parked;
    }

    /// From now on the process runs or tries this.
    pub fn turn(&mut self, to: Option<Digest>) {
        if let Some(boot) = self.boots.last_mut() {
            boot.on = to;
        }
    }

    /// The process leaves in order.
    pub fn leave(&mut self) {
        if let Some(boot) = self.boots.last_mut() {
            boot.left = true;
        }
    }

    /// What both of the last two starts crashed on, if they did so close together.
    fn crashed_twice(&self, now: Timestamp) -> Option<Digest> {
        let [.., first, second] = self.boots.as_slice() else { return None };
        let crashed = !first.left && !second.left && first.on == second.on;
        let close = now.since(second.began) <= CRASH_WINDOW;
        second.on.filter(|_| crashed && close)
    }
}

/// Why a proxy starts with what it starts with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The newest that it ran.
    Newest,
    /// So many newer ones are damaged.
    Damaged(usize),
    /// What is newer has crashed the process twice.
    Crashed(Digest),
    /// Everything that is whole is parked: what crashed is started again, for want of anything else.
    NothingElse,
    /// Nothing is kept that is whole.
    Nothing,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Newest => f.write_str("it is the newest that this proxy ran"),
            Self::Damaged(count) => write!(f, "newer files are damaged: {count}"),
            Self::Crashed(digest) => {
                write!(f, "the process has crashed twice within a minute on the revision with the digest {digest}")
            }
            Self::NothingElse => {
                f.write_str("it has crashed this process, but there is no other revision to fall back to")
            }
            Self::Nothing => f.write_str("no revision is kept on this disk"),
        }
    }
}

/// What to do at the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recall {
    /// Which of the kept revisions to try, by their place, in this order.
    pub order: Vec<usize>,
    /// Why the first of them.
    pub reason: Reason,
    /// What is refused when the control plane sends it.
    pub parked: Vec<Digest>,
}

/// Decides on the kept revisions, the newest first: the digest of each, or nothing for one that is damaged.
#[must_use]
pub fn recall(kept: &[Option<Digest>], journal: &Journal, now: Timestamp) -> Recall {
    let mut parked = parked(journal, now);
    let whole = kept.iter().enumerate().filter_map(|(place, digest)| Some((place, (*digest)?)));
    let (held_back, free): (Vec<_>, Vec<_>) = whole.partition(|(_, digest)| parked.contains(digest));
    let places = |of: &[(usize, Digest)]| of.iter().map(|(place, _)| *place).collect();
    if let Some((first, _)) = free.first() {
        return Recall { order: places(&free), reason: reason(&kept[..*first]), parked };
    }
    // What runs for want of anything else must not be refused when it is sent.
    parked.retain(|digest| !kept.contains(&Some(*digest)));
    let reason = if held_back.is_empty() { Reason::Nothing } else { Reason::NothingElse };
    Recall { order: places(&held_back), reason, parked }
}

/// Why what is newer is not started.
fn reason(newer: &[Option<Digest>]) -> Reason {
    match newer.iter().flatten().next() {
        Some(crashed) => Reason::Crashed(*crashed),
        None if newer.is_empty() => Reason::Newest,
        None => Reason::Damaged(newer.len()),
    }
}

fn parked(journal: &Journal, now: Timestamp) -> Vec<Digest> {
    if journal.boots.last().is_none_or(|boot| boot.left) {
        return Vec::new();
    }
    let mut parked = journal.parked.clone();
    parked.extend(journal.crashed_twice(now).filter(|digest| !journal.parked.contains(digest)));
    parked
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000_000);

    fn digest(number: u8) -> Digest {
        Digest::of(&[number])
    }

    fn boot(seconds_ago: u64, on: u8, left: bool) -> Boot {
        Boot { began: Timestamp::from_millis(NOW.millis() - seconds_ago * 1_000), on: Some(digest(on)), left }
    }

    fn journal(boots: &[Boot]) -> Journal {
        Journal { boots: boots.to_vec(), parked: Vec::new() }
    }

    fn of(kept: &[Option<u8>], journal: &Journal) -> Recall {
        let kept: Vec<Option<Digest>> = kept.iter().map(|number| number.map(digest)).collect();
        recall(&kept, journal, NOW)
    }

    #[test]
    fn the_newest_that_is_whole_is_started() {
        let none = Journal::default();
        assert_eq!(of(&[Some(3), Some(2), Some(1)], &none).order, [0, 1, 2]);
        assert_eq!(of(&[Some(3), Some(2)], &none).reason, Reason::Newest);
        let damaged = of(&[None, None, Some(1)], &none);
        assert_eq!((damaged.order, damaged.reason), (vec![2], Reason::Damaged(2)));
        assert_eq!(of(&[None], &none).reason, Reason::Nothing);
        assert_eq!(of(&[], &none).order, [0; 0]);
    }

    #[test]
    fn two_crashes_within_a_minute_on_one_revision_park_it() {
        let found = of(&[Some(3), Some(2)], &journal(&[boot(80, 3, false), boot(20, 3, false)]));
        assert_eq!((found.order, found.reason), (vec![1], Reason::Crashed(digest(3))));
        assert_eq!(found.parked, [digest(3)]);
    }

    #[test]
    fn other_ends_are_no_two_crashes() {
        for boots in [
            vec![boot(20, 3, false)],
            vec![boot(80, 3, true), boot(20, 3, false)],
            vec![boot(80, 3, false), boot(20, 3, true)],
            vec![boot(80, 2, false), boot(20, 3, false)],
            vec![boot(80, 3, false), boot(61, 3, false)],
        ] {
            let found = of(&[Some(3), Some(2)], &journal(&boots));
            assert_eq!((found.order, found.parked), (vec![0, 1], vec![]), "{boots:?}");
        }
    }

    #[test]
    fn what_crashes_before_it_is_ever_kept_is_parked_too() {
        let crashes = journal(&[boot(30, 4, false), boot(20, 4, false)]);
        let found = of(&[Some(3)], &crashes);
        assert_eq!((found.order, found.reason, found.parked), (vec![0], Reason::Newest, vec![digest(4)]));
        let found = of(&[], &crashes);
        assert_eq!((found.reason, found.parked), (Reason::Nothing, vec![digest(4)]));
    }

    #[test]
    fn without_anything_else_what_crashed_is_started_again_and_not_refused() {
        let found = of(&[Some(3), None], &journal(&[boot(30, 3, false), boot(20, 3, false)]));
        assert_eq!((found.order, found.reason, found.parked), (vec![0], Reason::NothingElse, vec![]));
    }

    #[test]
    fn what_is_parked_stays_so_until_the_process_left_in_order() {
        let mut journal = journal(&[boot(80, 3, false), boot(20, 3, false)]);
        let parked = of(&[Some(3), Some(2)], &journal).parked;
        journal.begin(NOW, parked);
        journal.turn(Some(digest(2)));
        assert_eq!(of(&[Some(3), Some(2)], &journal).parked, [digest(3)], "after a crash on another revision");
        journal.leave();
        assert_eq!(of(&[Some(3), Some(2)], &journal).order, [0, 1]);
    }

    fn boots() -> impl Strategy<Value = Vec<Boot>> {
        prop::collection::vec(
            (0_u64..120, 0_u8..4, any::<bool>()).prop_map(|(ago, on, left)| boot(ago, on, left)),
            0..6,
        )
    }

    proptest! {
        #[test]
        fn what_is_started_is_whole_and_something_is_if_anything_is(
            kept in prop::collection::vec(prop::option::of(0_u8..4), 0..4),
            boots in boots(),
            parked in prop::collection::vec(0_u8..4, 0..3),
        ) {
            let journal = Journal { boots: boots.clone(), parked: parked.into_iter().map(digest).collect() };
            let found = of(&kept, &journal);
            prop_assert!(found.order.iter().all(|place| kept[*place].is_some()));
            prop_assert_eq!(found.order.is_empty(), kept.iter().all(Option::is_none));
            prop_assert!(found.order.is_sorted());
            let started = found.order.first().and_then(|place| kept[*place]).map(digest);
            prop_assert!(started.is_none_or(|digest| !found.parked.contains(&digest)), "nothing refused runs");
            if boots.last().is_some_and(|boot| boot.left) {
                prop_assert!(found.parked.is_empty());
            }
        }

        #[test]
        fn a_journal_does_not_grow(count in 0_usize..20) {
            let mut journal = Journal::default();
            (0..count).for_each(|_| journal.begin(NOW, Vec::new()));
            prop_assert!(journal.boots.len() <= REMEMBERED);
        }
    }
}
