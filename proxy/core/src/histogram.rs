//! Keeps a distribution of times in fixed memory: the only histogram of the project.
//!
//! Buckets are log-linear: one per microsecond below 16, then 16 equal ones for each doubling, up to 134 s. Any value
//! is known within 1/16 of itself and a quantile, told as the middle of its bucket, within 1/32. Fixed buckets rather
//! than an adaptive sketch: recording is two shifts and two relaxed additions, and histograms of workers, nodes and
//! times merge by addition without loss.
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

    /// Adds to the bucket at this place, as [`buckets`](Self::buckets) tells it. Tells whether there is such a bucket.
    pub fn add(&self, at: u16, count: u64) -> bool {
        let bucket = self.buckets.get(usize::from(at));
        bucket.is_some_and(|bucket| {
            bucket.fetch_add(count, Ordering::Relaxed);
            true
        })
    }

    /// Every bucket that is not empty: its place and its count. What passes between processes.
    pub fn buckets(&self) -> impl Iterator<Item = (u16, u64)> + '_ {
        let counts = self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed));
        (0_u16..).zip(counts).filter(|(_, count)| *count > 0)
    }

    /// How many times were counted. Counts of others may be absurd, so sums stop at the largest number.
    #[must_use]
    pub fn count(&self) -> u64 {
        let counts = self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed));
        counts.fold(0, u64::saturating_add)
    }

    /// The sum of all times in microseconds, exact. It wraps after 584,000 years of waiting.
    #[must_use]
    pub fn sum_micros(&self) -> u64 {
        self.sum.load(Ordering::Relaxed)
    }

    /// The time in microseconds that a share of `q` (0 to 1) of all times does not exceed, within 1/32; none while
    /// empty.
    #[must_use]
    pub fn quantile(&self, q: f64) -> Option<u64> {
        let count = self.count();
        let rank = ((q.clamp(0.0, 1.0) * count as f64).ceil() as u64).max(1);
        let at = self.cumulative().position(|(_, below)| below >= rank)?;
        Some(lower(at).midpoint(upper(at)))
    }

    /// For each bucket, in order: the largest value in it, in microseconds, and how many values were not above that.
    pub fn cumulative(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.buckets.iter().enumerate().scan(0_u64, |below, (at, bucket)| {
            *below = below.saturating_add(bucket.load(Ordering::Relaxed));
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(values: &[u64]) -> Histogram {
        let histogram = Histogram::default();
        values.iter().for_each(|value| histogram.record(*value));
        histogram
    }

    #[test]
    fn buckets_meet_without_gap_or_overlap() {
        for at in 0..BUCKETS {
            assert_eq!(bucket(lower(at)), at);
            assert_eq!(bucket(upper(at)), at);
            assert_eq!(lower(at + 1), upper(at) + 1);
        }
        assert_eq!((upper(BUCKETS - 1), bucket(u64::MAX)), (MAX_MICROS, BUCKETS - 1));
        // 100 s are told apart.
        assert!(bucket(100_000_000) < bucket(110_000_000));
    }

    #[test]
    fn an_empty_one_has_no_quantile() {
        assert_eq!(Histogram::default().quantile(0.5), None);
    }

    proptest! {
        /// A quantile is within 1/32 of the value at its rank.
        #[test]
        fn quantiles_are_within_their_error(mut values in prop::collection::vec(0..=MAX_MICROS, 1..300), q in 0.0..=1.0_f64) {
            let found = of(&values).quantile(q).unwrap();
            values.sort_unstable();
            let rank = ((q * values.len() as f64).ceil() as usize).max(1);
            let exact = values[rank - 1];
            prop_assert!(found.abs_diff(exact) * 32 <= exact.max(found), "{found} for {exact}");
        }

        /// Merging loses nothing: the same as one histogram of all.
        #[test]
        fn merging_is_recording_together(a in prop::collection::vec(any::<u32>(), 0..100), b in prop::collection::vec(any::<u32>(), 0..100)) {
            let wide = |values: &[u32]| values.iter().copied().map(u64::from).collect::<Vec<_>>();
            let merged = of(&wide(&a));
            merged.merge(&of(&wide(&b)));
            let together = of(&wide(&[a, b].concat()));
            prop_assert!(merged.cumulative().eq(together.cumulative()));
            prop_assert_eq!((merged.count(), merged.sum_micros()), (together.count(), together.sum_micros()));
        }

        /// What is told of the buckets makes the same distribution elsewhere.
        #[test]
        fn buckets_can_be_passed_on(values in prop::collection::vec(any::<u64>(), 0..100)) {
            let (told, made) = (of(&values), Histogram::default());
            prop_assert!(told.buckets().all(|(at, count)| count > 0 && made.add(at, count)));
            prop_assert!(told.cumulative().eq(made.cumulative()));
            prop_assert!(!made.add(BUCKETS as u16, 1));
        }

        /// The cumulative counts never fall, count exactly what is not above their bound, and end at the count.
        #[test]
        fn cumulative_counts_are_exact(values in prop::collection::vec(0..=MAX_MICROS, 0..100)) {
            let histogram = of(&values);
            for (bound, below) in histogram.cumulative() {
                prop_assert_eq!(below, values.iter().filter(|value| **value <= bound).count() as u64);
            }
            prop_assert_eq!(histogram.cumulative().last().unwrap().1, histogram.count());
        }
    }
}
