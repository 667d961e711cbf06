//! Counts how the attempts of the last seconds went, by all workers, without a lock.
//!
//! A ring of [`BUCKETS`] buckets, each a tenth of the span. A bucket is begun by whoever counts into it first; its number
//! and its count are one atomic number, so that beginning it and counting cannot come between each other. The window
//! is therefore between nine and ten tenths of the span long. A list of events would be exact and would need a lock and
//! memory for each; one count that fades would remember a burst for longer than the span.
//!
//! Invariants: what one worker counts alone is exact; with several, an event may count for a bucket later than its own;
//! time that goes back by less than a bucket loses nothing.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::latency::Epoch;

/// How many parts a span has.
pub const BUCKETS: usize = 10;

/// How many attempts went how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// All.
    pub total: u32,
    /// That failed.
    pub failed: u32,
    /// That were slow, failed or not.
    pub slow: u32,
}

/// The counts of a span up to now.
#[derive(Debug, Default)]
pub struct Window {
    epoch: Epoch,
    buckets: [Bucket; BUCKETS],
}

/// In each the bucket's number in the upper half and its count in the lower.
#[derive(Debug, Default)]
struct Bucket {
    total: AtomicU64,
    failed: AtomicU64,
    slow: AtomicU64,
}

impl Window {
    /// Counts one attempt. The span must be that of all other calls since the last [`Self::clear`].
    pub fn note(&self, failed: bool, slow: bool, span: Duration, now: Instant) {
        let number = self.number(span, now);
        let bucket = &self.buckets[number as usize % BUCKETS];
        count(&bucket.total, number);
        if failed {
            count(&bucket.failed, number);
        }
        if slow {
            count(&bucket.slow, number);
        }
    }

    /// What was counted within the span.
    #[must_use]
    pub fn counts(&self, span: Duration, now: Instant) -> Counts {
        let number = self.number(span, now);
        let sum = |of: fn(&Bucket) -> &AtomicU64| {
            self.buckets.iter().map(|bucket| recent(of(bucket).load(Relaxed), number)).fold(0, u32::saturating_add)
        };
        Counts { total: sum(|it| &it.total), failed: sum(|it| &it.failed), slow: sum(|it| &it.slow) }
    }

    /// Forgets all.
    pub fn clear(&self) {
        for Bucket { total, failed, slow } in &self.buckets {
            [total, failed, slow].into_iter().for_each(|count| count.store(0, Relaxed));
        }
    }

    /// Of the bucket of this moment. The first is past the ring, so that a number of 0 is that of an empty bucket.
    fn number(&self, span: Duration, now: Instant) -> u32 {
        let width = (span.as_nanos() as u64 / BUCKETS as u64).max(1);
        (self.epoch.nanos(now) / width) as u32 + 2 * BUCKETS as u32
    }
}

fn count(cell: &AtomicU64, number: u32) {
    let seen = cell.load(Relaxed);
    if numbered(seen) == number {
        cell.fetch_add(1, Relaxed);
        return;
    }
    let begin = |word| match numbered(word) {
        known if known == number => Some(word + 1),
        // A round later: this event is too old to count. Further ahead it is of another span, which no event of this one meets.
        later if later > number && later - number <= BUCKETS as u32 => None,
        _ => Some(u64::from(number) << 32 | 1),
    };
    let _ = cell.fetch_update(Relaxed, Relaxed, begin);
}

/// The count of a bucket, if it is in the window or begun by a worker whose clock is a little ahead.
const fn recent(word: u64, number: u32) -> u32 {
    let known = numbered(word);
    let is_recent = known <= number + 1 && known + BUCKETS as u32 > number;
    if is_recent { word as u32 } else { 0 }
}

const fn numbered(word: u64) -> u32 {
    (word >> 32) as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fixture::start;

    const SPAN: Duration = Duration::from_secs(10);

    #[test]
    fn what_was_cleared_is_forgotten() {
        let (window, now) = (Window::default(), start());
        window.note(true, true, SPAN, now);
        assert_eq!(window.counts(SPAN, now), Counts { total: 1, failed: 1, slow: 1 });
        window.clear();
        assert_eq!(window.counts(SPAN, now), Counts::default());
    }

    /// Late requests of a revision with a shorter span must not make the window deaf to those of the next one.
    #[test]
    fn another_span_does_not_outlive_its_requests() {
        let (window, begin) = (Window::default(), start());
        assert_eq!(window.counts(SPAN, begin), Counts::default());
        let now = begin + Duration::from_secs(86_400);
        (0..10).for_each(|at| window.note(true, false, SPAN / 10, now + Duration::from_millis(100 * at)));
        let later = now + SPAN;
        (0..10).for_each(|at| window.note(true, false, SPAN, later + Duration::from_secs(at)));
        assert_eq!(window.counts(SPAN, later + Duration::from_secs(9)).total, 10);
    }

    #[test]
    fn workers_lose_nothing_between_them() {
        let (window, now) = (Window::default(), start());
        std::thread::scope(|scope| {
            for worker in 0..4_u64 {
                let window = &window;
                let note = move || {
                    (0..10_000).for_each(|at| window.note(worker == 0, false, SPAN, now + Duration::from_micros(at)))
                };
                scope.spawn(note);
            }
        });
        assert_eq!(
            window.counts(SPAN, now + Duration::from_millis(10)),
            Counts { total: 40_000, failed: 10_000, slow: 0 }
        );
    }

    proptest! {
        /// The counts are those of a list of all events, of which those count whose tenth is one of the last ten. Fails
        /// if a bucket is counted into without being begun anew, or if buckets that are too old are summed.
        #[test]
        fn counts_equal_a_list_of_events(
            events in prop::collection::vec((0_u64..4000, any::<bool>(), any::<bool>()), 1..300), millis in 10_u64..60_000,
        ) {
            let (window, begin, span) = (Window::default(), start(), Duration::from_millis(millis));
            let width = span.as_nanos() as u64 / 10;
            // The first call counts the buckets from there.
            prop_assert_eq!(window.counts(span, begin), Counts::default());
            let (mut now, mut list) = (begin, Vec::new());
            for (after, failed, slow) in events {
                now += Duration::from_millis(after);
                window.note(failed, slow, span, now);
                let tenth = |at: Instant| (at - begin).as_nanos() as u64 / width;
                list.push((tenth(now), failed, slow));
                let within: Vec<_> = list.iter().filter(|(at, ..)| at + 10 > tenth(now)).collect();
                let expected = Counts {
                    total: within.len() as u32,
                    failed: within.iter().filter(|(_, failed, _)| *failed).count() as u32,
                    slow: within.iter().filter(|(.., slow)| *slow).count() as u32,
                };
                prop_assert_eq!(window.counts(span, now), expected);
            }
        }
    }
}
