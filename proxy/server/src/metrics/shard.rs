//! Numbers that many workers write and a scrape reads: one cache line per worker, so that no worker waits for another's.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

/// Two lines of 64 bytes, because processors fetch lines in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Padded<T>(T);

/// One `T` for each worker.
#[derive(Debug)]
pub(super) struct Sharded<T>(Box<[Padded<T>]>);

impl<T: Default> Sharded<T> {
    pub(super) fn new(workers: usize) -> Self {
        // A power of two makes the choice of a shard one AND.
        Self((0..workers.max(1).next_power_of_two()).map(|_| Padded::default()).collect())
    }
}

impl<T> Sharded<T> {
    /// The part of this worker. Any number is accepted; sharing a part costs speed and nothing else.
    pub(super) fn of(&self, worker: usize) -> &T {
        &self.0[worker & (self.0.len() - 1)].0
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|padded| &padded.0)
    }
}

impl Sharded<AtomicU64> {
    pub(super) fn sum(&self) -> u64 {
        self.iter().map(|part| part.load(Relaxed)).sum()
    }
}

impl Sharded<AtomicI64> {
    /// Parts may be below zero while one worker ends what another began; the sum, read between the two, is floored at 0.
    pub(super) fn sum(&self) -> i64 {
        self.iter().map(|part| part.load(Relaxed)).sum::<i64>().max(0)
    }
}

/// Counts by a name out of a set that the code bounds, without a lock. Names past the first `NAMES` count as `other`.
#[derive(Debug)]
pub(super) struct Tally<const NAMES: usize = 32> {
    named: [Named; NAMES],
    other: AtomicU64,
}

impl<const NAMES: usize> Default for Tally<NAMES> {
    fn default() -> Self {
        Self { named: std::array::from_fn(|_| Named::default()), other: AtomicU64::new(0) }
    }
}

#[derive(Debug, Default)]
struct Named {
    name: OnceLock<&'static str>,
    count: AtomicU64,
}

impl<const NAMES: usize> Tally<NAMES> {
    /// One more of `name`. O(names).
    pub(super) fn add(&self, name: &'static str) {
        self.add_many(name, 1);
    }

    /// So many more of `name`. O(names).
    pub(super) fn add_many(&self, name: &'static str, count: u64) {
        let slot = self.named.iter().find(|slot| *slot.name.get_or_init(|| name) == name);
        slot.map_or(&self.other, |slot| &slot.count).fetch_add(count, Relaxed);
    }

    /// Every name seen, with its count.
    pub(super) fn read(&self) -> Vec<(&'static str, u64)> {
        let named = self.named.iter().filter_map(|slot| Some((*slot.name.get()?, slot.count.load(Relaxed))));
        let other = self.other.load(Relaxed);
        named.chain((other > 0).then_some(("other", other))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: usize = 32;

    #[test]
    fn every_worker_number_has_a_part_and_parts_do_not_share_lines() {
        let sharded = Sharded::<AtomicU64>::new(3);
        for worker in 0..100 {
            sharded.of(worker).fetch_add(1, Relaxed);
        }
        assert_eq!(sharded.sum(), 100);
        assert_eq!(sharded.iter().map(|part| part.load(Relaxed)).collect::<Vec<_>>(), [25; 4]);
        let (first, second) = (std::ptr::from_ref(sharded.of(0)) as usize, std::ptr::from_ref(sharded.of(1)) as usize);
        assert_eq!(first.abs_diff(second), 128);
    }

    #[test]
    fn a_gauge_ended_on_another_worker_still_adds_up() {
        let gauge = Sharded::<AtomicI64>::new(2);
        gauge.of(0).fetch_add(5, Relaxed);
        gauge.of(1).fetch_sub(3, Relaxed);
        assert_eq!(gauge.sum(), 2);
        gauge.of(1).fetch_sub(9, Relaxed);
        assert_eq!(gauge.sum(), 0);
    }

    #[test]
    fn names_are_told_apart_until_there_are_too_many() {
        let tally = Tally::<NAMES>::default();
        tally.add("reset");
        tally.add("timeout");
        tally.add("reset");
        assert_eq!(tally.read(), [("reset", 2), ("timeout", 1)]);
        let many: Vec<&'static str> = (0..NAMES).map(|i| &*format!("reason_{i}").leak()).collect();
        for name in &many {
            tally.add(name);
        }
        assert_eq!(tally.read().last(), Some(&("other", 2)));
        assert_eq!(tally.read().iter().map(|(_, count)| count).sum::<u64>(), 3 + NAMES as u64);
    }

    #[test]
    fn threads_that_meet_on_a_new_name_make_one_entry() {
        let tally = Tally::<NAMES>::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1000).for_each(|i| tally.add(["a", "b", "c"][i % 3])));
            }
        });
        let mut read = tally.read();
        read.sort_unstable();
        assert_eq!(read, [("a", 1336), ("b", 1332), ("c", 1332)]);
    }
}
