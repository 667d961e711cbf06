//! How many requests came in each of the last seconds.

use std::time::Duration;

use sluice_config::timestamp::Timestamp;

/// The grain of rates, and how often each node must report at least for them to be right.
pub const SLOT: Duration = Duration::from_secs(5);
const SLOT_MILLIS: u64 = 5_000;
/// How many slots a rate is over at most.
const MOST: u64 = 12;
/// Besides those: the present one, and the one before it, which not every node has told of.
const SLOTS: usize = 16;

/// The last slots of one service.
#[derive(Debug, Clone)]
pub(super) struct Ring {
    slots: [f64; SLOTS],
    /// The first slot that was ever counted in.
    first: u64,
    /// The newest.
    last: u64,
}

const fn slot(at: Timestamp) -> u64 {
    at.millis() / SLOT_MILLIS
}

impl Ring {
    pub(super) const fn new(from: Timestamp) -> Self {
        Self { slots: [0.0; SLOTS], first: slot(from), last: slot(from) }
    }

    /// Adds what came between two moments, evenly.
    pub(super) fn add(&mut self, count: u64, from: Timestamp, to: Timestamp) {
        self.advance(slot(to));
        let (from, to) = (from.millis().min(to.millis()), to.millis());
        let span = (to - from) as f64;
        for at in (from / SLOT_MILLIS).max(self.oldest())..=to / SLOT_MILLIS {
            let (begin, end) = (from.max(at * SLOT_MILLIS), to.min((at + 1) * SLOT_MILLIS));
            let part = if to == from { 1.0 } else { (end - begin) as f64 / span };
            self.slots[at as usize % SLOTS] += count as f64 * part;
        }
    }

    pub(super) fn rate(&self, over: Duration, now: Timestamp) -> Option<f64> {
        let end = slot(now).saturating_sub(1);
        let length = u64::try_from(over.as_millis()).unwrap_or(u64::MAX) / SLOT_MILLIS;
        let begin = end.saturating_sub(length.clamp(1, MOST)).max(self.first);
        if begin >= end {
            return None;
        }
        let held = begin.max(self.oldest())..end.min(self.last + 1);
        let sum: f64 = held.map(|at| self.slots[at as usize % SLOTS]).sum();
        Some(sum / ((end - begin) as f64 * SLOT.as_secs_f64()))
    }

    /// Whether anything of it can still be in a rate.
    pub(super) const fn is_live(&self, now: Timestamp) -> bool {
        slot(now) < self.last + SLOTS as u64
    }

    /// The oldest slot that is held.
    const fn oldest(&self) -> u64 {
        self.last.saturating_sub(SLOTS as u64 - 1)
    }

    fn advance(&mut self, to: u64) {
        let new = (self.last + 1).max(to.saturating_sub(SLOTS as u64 - 1))..=to;
        new.for_each(|at| self.slots[at as usize % SLOTS] = 0.0);
        self.last = self.last.max(to);
    }
}
