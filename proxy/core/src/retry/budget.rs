//! How much work origins may be asked to do twice.
//!
//! Attempts bound what one request costs; a budget bounds what all of them cost together. Without it three attempts
//! treble the load of an origin that fails because it has too much. A request that an origin may have got already is
//! sent again only while such requests are less than a share of the service's requests of the last [`SPAN`] seconds; a
//! service with few requests has a floor of so many in each second beside it.
//!
//! The share is kept by each worker for its own requests ([`Budget`]): the shares of the parts add up to the share of the
//! whole, and counting a request touches nothing that another worker writes to. The floor cannot be divided (a
//! sixty-fourth of three a second is none), so it is one for the service in the process ([`Floor`]), touched only when a
//! retry is wanted and the worker's share is spent. The obvious other rule, a floor for each worker, would let a large
//! machine send sixty-four times as many as the document says. Each proxy of a fleet has its own budget.
//!
//! A token bucket that each request fills would forget nothing: an hour of good traffic would pay for a storm. The window
//! forgets, in steps of a second.
//!
//! Invariants: whenever a retry is paid from the share, those so paid in the window, it included, are at most the share
//! of the requests in the window; from the floor at most `min_per_second` are paid in each second; time that goes back
//! changes nothing.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use sluice_config::share::Share;
use sluice_config::validated::RetryBudget;

/// Seconds that the share looks back on, the current one included.
pub const SPAN: usize = 10;

/// The share of one worker and one service.
#[derive(Debug, Clone)]
pub struct Budget {
    begun: Instant,
    /// The second that the newest event is in, counted from `begun`.
    second: u64,
    requests: [u32; SPAN],
    retries: [u32; SPAN],
}

/// What one service may always send again, over all workers.
#[derive(Debug)]
pub struct Floor {
    begun: Instant,
    /// The second in the upper half, what was taken in it in the lower.
    taken: AtomicU64,
}

impl Budget {
    /// Nothing has happened yet.
    #[must_use]
    pub const fn new(now: Instant) -> Self {
        Self { begun: now, second: 0, requests: [0; SPAN], retries: [0; SPAN] }
    }

    /// A request begins. O(1).
    pub fn note(&mut self, now: Instant) {
        let slot = self.advance(now);
        self.requests[slot] = self.requests[slot].saturating_add(1);
    }

    /// Pays for one retry, if the share or the floor allows it.
    pub fn take(&mut self, policy: &RetryBudget, floor: &Floor, now: Instant) -> bool {
        self.take_share(policy.ratio, now) || floor.take(policy.min_per_second, now)
    }

    fn take_share(&mut self, ratio: Share, now: Instant) -> bool {
        let slot = self.advance(now);
        let sum = |counts: &[u32; SPAN]| counts.iter().copied().map(u64::from).sum::<u64>();
        let allowed = sum(&self.requests) * u64::from(ratio.ppm()) / u64::from(Share::WHOLE.ppm());
        let has = sum(&self.retries) < allowed;
        self.retries[slot] += u32::from(has);
        has
    }

    /// Forgets what is too old, and gives the slot of this moment.
    fn advance(&mut self, now: Instant) -> usize {
        let second = now.saturating_duration_since(self.begun).as_secs().max(self.second);
        let passed = second - self.second;
        if passed > 0 {
            for old in (self.second + 1..=second).take(SPAN) {
                let slot = slot(old);
                (self.requests[slot], self.retries[slot]) = (0, 0);
            }
            self.second = second;
        }
        slot(second)
    }
}

const fn slot(second: u64) -> usize {
    (second % SPAN as u64) as usize
}

impl Floor {
    /// Nothing was taken yet.
    #[must_use]
    pub const fn new(now: Instant) -> Self {
        Self { begun: now, taken: AtomicU64::new(0) }
    }

    fn take(&self, most: u32, now: Instant) -> bool {
        let second = now.saturating_duration_since(self.begun).as_secs() & u64::from(u32::MAX);
        let taken = self.taken.fetch_update(Relaxed, Relaxed, |state| {
            let (last, count) = (state >> 32, state & u64::from(u32::MAX));
            let count = if second > last { 0 } else { count };
            (count < u64::from(most)).then_some(last.max(second) << 32 | (count + 1))
        });
        taken.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::fixture::start;

    const NOTHING: RetryBudget = RetryBudget { ratio: Share::NONE, min_per_second: 0 };

    fn percent(percent: u32) -> Share {
        Share::from_ppm(percent * 10_000).unwrap()
    }

    #[test]
    fn a_fifth_of_the_requests_may_be_sent_again() {
        let (now, policy) = (start(), RetryBudget { ratio: percent(20), ..NOTHING });
        let (mut budget, floor) = (Budget::new(now), Floor::new(now));
        (0..100).for_each(|_| budget.note(now));
        let taken = (0..100).filter(|_| budget.take(&policy, &floor, now)).count();
        assert_eq!(taken, 20);
        assert!(budget.take(&RetryBudget { ratio: percent(21), ..NOTHING }, &floor, now));
    }

    #[test]
    fn the_window_forgets_both_requests_and_retries() {
        let (begin, policy) = (start(), RetryBudget { ratio: percent(10), ..NOTHING });
        let (mut budget, floor) = (Budget::new(begin), Floor::new(begin));
        (0..100).for_each(|_| budget.note(begin));
        assert_eq!((0..100).filter(|_| budget.take(&policy, &floor, begin)).count(), 10);
        let later = begin + Duration::from_secs(SPAN as u64);
        assert!(!budget.take(&policy, &floor, later), "an hour of good traffic pays for nothing");
        (0..10).for_each(|_| budget.note(later));
        assert!(budget.take(&policy, &floor, later) && !budget.take(&policy, &floor, later));
        budget.note(begin + Duration::from_secs(1 << 40));
        assert_eq!(budget.requests.iter().sum::<u32>(), 1);
    }

    #[test]
    fn the_floor_is_one_for_all_workers() {
        let (now, policy) = (start(), RetryBudget { min_per_second: 3, ..NOTHING });
        let floor = Floor::new(now);
        let workers = |at: Instant| {
            std::thread::scope(|scope| {
                let one = || (0..100).filter(|_| Budget::new(now).take(&policy, &floor, at)).count();
                let all: Vec<_> = (0..4).map(|_| scope.spawn(one)).collect();
                all.into_iter().map(|one| one.join().unwrap()).sum::<usize>()
            })
        };
        assert_eq!(workers(now), 3);
        assert_eq!(workers(now + Duration::from_millis(999)), 0);
        assert_eq!(workers(now + Duration::from_secs(1)), 3);
        assert_eq!(workers(now), 0, "time that goes back gives nothing");
    }

    #[derive(Debug, Clone)]
    enum Event {
        Request,
        Retry,
        Pass(u64),
    }

    fn events() -> impl Strategy<Value = Vec<Event>> {
        let event = prop_oneof![
            8 => Just(Event::Request),
            8 => Just(Event::Retry),
            2 => (0_u64..4_000).prop_map(Event::Pass),
            1 => (0_u64..40_000).prop_map(Event::Pass),
        ];
        prop::collection::vec(event, 0..400)
    }

    proptest! {
        /// Against a plain list of all that happened: at each paid retry, those of the window are within the share of the
        /// window's requests, or within the floor of the second.
        #[test]
        fn the_budget_holds_in_every_window(events in events(), ratio in 0_u32..=100, least in 0_u32..5) {
            let (begin, policy) = (start(), RetryBudget { ratio: percent(ratio), min_per_second: least });
            let (mut budget, floor) = (Budget::new(begin), Floor::new(begin));
            let (mut millis, mut requests, mut shares, mut floors) = (0, Vec::new(), Vec::new(), Vec::new());
            for event in events {
                let now = begin + Duration::from_millis(millis);
                let second = millis / 1_000;
                let recent = |all: &[u64]| all.iter().filter(|at| second - **at < SPAN as u64).count() as u64;
                match event {
                    Event::Pass(more) => millis += more,
                    Event::Request => {
                        requests.push(second);
                        budget.note(now);
                    }
                    Event::Retry => {
                        let has = (recent(&shares) + 1) * 100 <= recent(&requests) * u64::from(ratio);
                        let has_floor = floors.iter().filter(|at| **at == second).count() < least as usize;
                        prop_assert_eq!(budget.take(&policy, &floor, now), has || has_floor);
                        if has {
                            shares.push(second);
                        } else if has_floor {
                            floors.push(second);
                        }
                    }
                }
            }
        }
    }
}
