//! What the process gave up, and the limits that made it.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};

use super::shard::Tally;

/// No limit.
const NONE: u64 = u64::MAX;

/// How full the process is.
#[derive(Debug)]
pub struct OverloadSeries {
    level: AtomicU8,
    connections: AtomicU64,
    memory: AtomicU64,
    shed: Tally,
}

impl Default for OverloadSeries {
    fn default() -> Self {
        let none = || AtomicU64::new(NONE);
        Self { level: AtomicU8::new(0), connections: none(), memory: none(), shed: Tally::default() }
    }
}

impl OverloadSeries {
    /// Counts what was given up. `reason` is a stable name in snake case.
    pub fn shed(&self, reason: &'static str, count: u64) {
        self.shed.add_many(reason, count);
    }

    /// What is given up now: 0 is nothing.
    pub fn set_level(&self, level: u8) {
        self.level.store(level, Relaxed);
    }

    /// How many connections may be open; nothing for no limit.
    pub fn allow_connections(&self, most: Option<u64>) {
        self.connections.store(most.unwrap_or(NONE), Relaxed);
    }

    /// How much memory may be used, in bytes; nothing for no limit.
    pub fn allow_memory(&self, most: Option<u64>) {
        self.memory.store(most.unwrap_or(NONE), Relaxed);
    }

    pub(super) fn level(&self) -> u8 {
        self.level.load(Relaxed)
    }

    pub(super) fn connections(&self) -> Option<u64> {
        Some(self.connections.load(Relaxed)).filter(|most| *most != NONE)
    }

    pub(super) fn memory(&self) -> Option<u64> {
        Some(self.memory.load(Relaxed)).filter(|most| *most != NONE)
    }

    pub(super) fn given_up(&self) -> Vec<(&'static str, u64)> {
        self.shed.read()
    }
}
