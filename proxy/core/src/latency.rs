//! How long an endpoint takes to answer: a peak-sensitive moving average, shared by all workers in one number for balancers
//! and one for people.
//!
//! Finagle's and Linkerd's peak EWMA: an answer slower than the average becomes the average at once, a faster one moves
//! it by how much time has passed, and while nothing is heard it decays towards 0. So a stall is seen with its first
//! answer, one lucky answer does not hide it, and an endpoint that was slow is tried again. A plain average would need
//! many slow answers to see a stall, and weighting by the count of answers would forget fastest where most is sent.
//!
//! A failure counts as a slow answer (a penalty), since failing fast is no virtue. An endpoint that names a time after
//! which it may be asked again counts as that slow until then. All that is a load to balance by and no time that anything
//! took, so people are shown another average ([`Latency::answers`]): of answers alone, without the decay. A failure moves it
//! only where more time was waited than answers take.
//!
//! Invariants: never above the slowest of what was noted; between two notes it never rises; time that goes back changes
//! nothing but what is noted. What is shown is never above the slowest answer or wait.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// How much of the past counts, unless a policy says otherwise: after this time a third of an average is left.
pub const DECAY: Duration = Duration::from_secs(10);

/// The longest time that an endpoint may ask to be left alone.
pub const MAX_BUSY: Duration = Duration::from_secs(300);

/// Instants as numbers, counted from the first that is asked for.
#[derive(Debug, Default)]
pub(crate) struct Epoch(OnceLock<Instant>);

impl Epoch {
    pub(crate) fn nanos(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(*self.0.get_or_init(|| now));
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }
}

/// The average of one endpoint.
#[derive(Debug, Default)]
pub struct Latency {
    epoch: Epoch,
    /// Milliseconds of the last note in the upper half, the average in microseconds as a float in the lower. 0: nothing yet.
    average: AtomicU64,
    /// The same, of what is shown.
    answers: AtomicU64,
    /// Nanoseconds until which the endpoint wants to be left alone.
    busy: AtomicU64,
}

impl Latency {
    /// Takes the time of one answer, or what a failure counts as. Lock-free.
    pub fn note(&self, took: Duration, decay: Duration, now: Instant) {
        self.take(&self.average, took, decay, now);
    }

    /// Takes the time of one answer for what is shown. Lock-free.
    pub fn note_answer(&self, took: Duration, decay: Duration, now: Instant) {
        self.take(&self.answers, took, decay, now);
    }

    /// Takes the time after which an attempt had failed, for what is shown. An endpoint that never answered has no time of
    /// answers. Lock-free.
    pub fn note_wait(&self, waited: Duration, now: Instant) {
        let stamp = self.stamp(now);
        let waited = waited.as_secs_f32() * 1e6;
        let next = |word| (word > 0 && waited > unpack(word).1).then(|| pack(stamp, waited));
        // An error where it says nothing of answers.
        let _ = self.answers.fetch_update(Relaxed, Relaxed, next);
    }

    /// What is shown: the average as the last answer, or the last longer wait, has left it; none before the first answer.
    #[must_use]
    pub fn answers(&self) -> Option<Duration> {
        let word = self.answers.load(Relaxed);
        (word > 0).then(|| Duration::from_secs_f32(unpack(word).1 / 1e6))
    }

    /// Takes that an answer that never came would have taken longer: it can only raise the average. Lock-free.
    pub fn note_longer(&self, took: Duration, decay: Duration, now: Instant) {
        if self.read(decay, now).is_none_or(|average| average < took) {
            self.note(took, decay, now);
        }
    }

    /// The endpoint wants to be left alone for so long.
    pub fn keep_away(&self, wait: Duration, now: Instant) {
        let until = self.epoch.nanos(now).saturating_add(wait.min(MAX_BUSY).as_nanos() as u64);
        self.busy.fetch_max(until, Relaxed);
    }

    /// The average now, at least the time for which the endpoint wants to be left alone; none before the first note.
    #[must_use]
    pub fn read(&self, decay: Duration, now: Instant) -> Option<Duration> {
        let word = self.average.load(Relaxed);
        let busy = self.busy(now);
        if word == 0 {
            return busy;
        }
        let (stamp, average) = unpack(word);
        let micros = average * fade(stamp, self.stamp(now), decay);
        Some(Duration::from_secs_f32(micros / 1e6).max(busy.unwrap_or_default()))
    }

    /// For how much longer the endpoint wants to be left alone.
    #[must_use]
    pub fn busy(&self, now: Instant) -> Option<Duration> {
        let until = self.busy.load(Relaxed);
        (until > 0)
            .then(|| until.saturating_sub(self.epoch.nanos(now)))
            .filter(|left| *left > 0)
            .map(Duration::from_nanos)
    }

    fn take(&self, average: &AtomicU64, took: Duration, decay: Duration, now: Instant) {
        let stamp = self.stamp(now);
        let took = took.as_secs_f32() * 1e6;
        let next = |word| Some(pack(stamp, merge(word, took, stamp, decay)));
        // Always Ok, since there is always a next.
        let _ = average.fetch_update(Relaxed, Relaxed, next);
    }

    /// Milliseconds; starts again after 49 days, when an endpoint unheard of since then looks freshly heard of.
    fn stamp(&self, now: Instant) -> u32 {
        (self.epoch.nanos(now) / 1_000_000) as u32
    }
}

/// Of faster answers within one millisecond only the first counts, however many there are.
fn merge(word: u64, took: f32, now: u32, decay: Duration) -> f32 {
    let (stamp, average) = unpack(word);
    let kept = fade(stamp, now, decay);
    if took >= average { took } else { average * kept + took * (1.0 - kept) }
}

/// How much of what was true then is true now.
fn fade(then: u32, now: u32, decay: Duration) -> f32 {
    let age = now.wrapping_sub(then);
    // An earlier instant than the last one noted.
    let age = if age > u32::MAX / 2 { 0 } else { age };
    libm::expf(-(age as f32) / 1e3 / decay.as_secs_f32().max(1e-3))
}

fn pack(stamp: u32, micros: f32) -> u64 {
    // Above 0, so that a note is told from none.
    u64::from(stamp) << 32 | u64::from(micros.max(f32::MIN_POSITIVE).to_bits())
}

const fn unpack(word: u64) -> (u32, f32) {
    ((word >> 32) as u32, f32::from_bits(word as u32))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fixture::start;

    const MS: Duration = Duration::from_millis(1);

    fn near(left: Option<Duration>, right: Duration) -> bool {
        left.is_some_and(|left| left.abs_diff(right) <= right / 1000 + Duration::from_micros(1))
    }

    #[test]
    fn a_stall_is_seen_with_its_first_answer_and_fades() {
        let (latency, now) = (Latency::default(), start());
        assert_eq!(latency.read(DECAY, now), None);
        (0..100).for_each(|at| latency.note(5 * MS, DECAY, now + at * MS));
        assert!(near(latency.read(DECAY, now + 99 * MS), 5 * MS));
        latency.note(800 * MS, DECAY, now + 100 * MS);
        assert!(near(latency.read(DECAY, now + 100 * MS), 800 * MS));
        latency.note(5 * MS, DECAY, now + 101 * MS);
        assert!(latency.read(DECAY, now + 101 * MS).unwrap() > 799 * MS, "one fast answer does not hide it");
        let third = (800.0 * (-1.0_f64).exp()) as u32;
        assert!(latency.read(DECAY, now + 100 * MS + DECAY).unwrap().abs_diff(third * MS) < 5 * MS);
    }

    #[test]
    fn an_answer_that_never_came_only_raises_the_average() {
        let (latency, now) = (Latency::default(), start());
        latency.note(100 * MS, DECAY, now);
        latency.note_longer(5 * MS, DECAY, now + MS);
        assert!(latency.read(DECAY, now + MS).unwrap() > 99 * MS, "an impatient client makes nobody fast");
        latency.note_longer(900 * MS, DECAY, now + 2 * MS);
        assert!(near(latency.read(DECAY, now + 2 * MS), 900 * MS));
    }

    #[test]
    fn an_endpoint_that_names_a_time_is_as_slow_as_that_until_then() {
        let (latency, now) = (Latency::default(), start());
        latency.note(MS, DECAY, now);
        latency.keep_away(Duration::from_secs(4), now);
        assert_eq!(latency.read(DECAY, now + Duration::from_secs(1)), Some(Duration::from_secs(3)));
        assert_eq!(latency.busy(now + Duration::from_secs(4)), None);
        latency.keep_away(Duration::from_secs(86_400), now);
        assert_eq!(latency.busy(now), Some(MAX_BUSY));
    }

    #[test]
    fn what_is_shown_is_what_answers_took() {
        let (latency, now) = (Latency::default(), start());
        latency.note_wait(30 * MS, now);
        assert_eq!(latency.answers(), None, "it never answered");
        latency.note_answer(5 * MS, DECAY, now);
        latency.note(5000 * MS, DECAY, now);
        latency.keep_away(5000 * MS, now);
        latency.note_wait(MS, now);
        assert!(near(latency.answers(), 5 * MS), "failing fast says nothing of answers");
        assert!(near(latency.read(DECAY, now), 5000 * MS));
        latency.note_wait(300 * MS, now + MS);
        assert!(near(latency.answers(), 300 * MS), "no answer comes sooner");
        latency.note_answer(5 * MS, DECAY, now + 5 * DECAY);
        assert!(latency.answers().unwrap() < 8 * MS, "what it was long ago hardly counts: {:?}", latency.answers());
    }

    proptest! {
        /// An average lies within what was noted and never rises by itself. Fails without the comparison in `merge`
        /// (a stall would be averaged away) and without the decay in `read` (it would never fall).
        #[test]
        fn an_average_is_within_what_was_noted(
            notes in prop::collection::vec((0_u64..50_000, 1_u64..60_000_000), 1..60), wait in 0_u64..100_000,
        ) {
            let (latency, mut now, mut slowest) = (Latency::default(), start(), Duration::ZERO);
            for (after, micros) in notes {
                let took = Duration::from_micros(micros);
                (now, slowest) = (now + Duration::from_millis(after), slowest.max(took));
                latency.note(took, DECAY, now);
                let read = latency.read(DECAY, now).unwrap();
                prop_assert!(near(Some(read.min(took)), took), "{read:?} after {took:?}");
                prop_assert!(read <= slowest.mul_f64(1.001) + MS);
            }
            let (before, after) = (latency.read(DECAY, now).unwrap(), latency.read(DECAY, now + Duration::from_millis(wait)).unwrap());
            prop_assert!(after <= before);
            prop_assert!(wait < 100 || after < before);
        }
    }
}
