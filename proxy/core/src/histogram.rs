//! Keeps a distribution of times in fixed memory: the only histogram of the project.
//!
//! Buckets are log-linear: one per microsecond below 16, then 16 equal ones for each doubling, up to 134 s. Any value is
//! known within 1/16 of itself and a quantile, told as the middle of its bucket, within 1/32. Fixed buckets rather than
//! an adaptive sketch: recording is two shifts and two relaxed additions, and histograms of workers, nodes and times
//! merge by addition without loss.
//!
//! Invariants: buckets are the same in every process and release; counts never fall; `count` equals the sum of buckets
//! as read, so a reader beside a writer still sees a cumulative distribution that ends at its own count.

use std::sync::atomic::{AtomicU64, Ordering};

/// log2 of the buckets in each doubling.
const BITS: u32 = 4;
const LINEAR: u64 = 1 << BITS;
/// The highest power of two that is told apart: 2^26 us is 67 s, so the last bucket ends at 134 s.
const TOP: u32 = 26;

/// How many buckets there are.
pub const BUCKETS: usize = ((TOP - BITS + 2) as usize) << BITS;

/// The largest value told apart, in microseconds; larger ones are counted as this.
pub const MAX_MICROS: u64 = (1 << (TOP + 1)) - 1;

/// A distribution of times. 3 KiB.
#[derive(Debug)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    sum: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: [const { AtomicU64::new(0) }; BUCKETS], sum: AtomicU64::new(0) }
    }
}

impl Histogram {
    /// Counts a time in microseconds. Two relaxed atomic additions.
    pub fn record(&self, micros: u64) {
        self.buckets[bucket(micros)].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(micros, Ordering::Relaxed);
    }

    /// Adds all of another's counts to this one.
    pub fn merge(&self, other: &Self) {
        for (mine, theirs) in self.buckets.iter().zip(&other.buckets) {
            let count = theirs.load(Ordering::Relaxed);
            if count > 0 {
                mine.fetch_add(count, Ordering::Relaxed);
            }
        }
        self.sum.fetch_add(other.sum_micros(), Ordering::Relaxed);
    }

    /// How many times were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).sum()
    }

    /// The sum of all times in microseconds, exact. It wraps after 584,000 years of waiting.
    #[must_use]
    pub fn sum_micros(&self) -> u64 {
        self.sum.load(Ordering::Relaxed)
    }

    /// The time in microseconds that a share of `q` (0 to 1) of all times does not exceed, within 1/32; none while empty.
    #[must_use]
    pub fn quantile(&self, q: f64) -> Option<u64> {
        let count = self.count();
        let rank = ((q.clamp(0.0, 1.0) * count as f64).ceil() as u64).max(1);
        let at = self.cumulative().position(|(_, below)| below >= rank)?;
        Some(lower(at).midpoint(upper(at)))
    }

    /// For each bucket, in order: the largest value in it, in microseconds, and how many values were not above that.
    pub fn cumulative(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.buckets.iter().enumerate().scan(0, |below, (at, bucket)| {
            *below += bucket.load(Ordering::Relaxed);
            Some((upper(at), *below))
        })
    }
}

/// The bucket of a value.
fn bucket(micros: u64) -> usize {
    let value = micros.min(MAX_MICROS);
    if value < LINEAR {
        return value as usize;
    }
    let shift = value.ilog2() - BITS;
    (u64::from(shift + 1) * LINEAR + (value >> shift) - LINEAR) as usize
}

/// The smallest value in a bucket.
const fn lower(at: usize) -> u64 {
    let (row, column) = (at as u64 / LINEAR, at as u64 % LINEAR);
    if row == 0 { column } else { (LINEAR + column) << (row - 1) }
}

/// The largest value in a bucket.
const fn upper(at: usize) -> u64 {
    lower(at + 1) - 1
}
