//! Decides by turns: smooth weighted round robin, in O(log n).
//!
//! Each endpoint has a request due in every stretch of `1/p` picks, `p` its share. A request may be served from the pick
//! in which its stretch starts, and of those that may, the one whose stretch ends first is (EEVDF: Stoica and Abdel-Wahab
//! 1995; WF²Q: Bennett and Zhang 1996). Weights 8, 1, 1 therefore spread. Deadlines alone (Envoy's scheduler) would send a
//! heavy endpoint far ahead of its share before a light one's first deadline; nginx's rule is as smooth as this one, but
//! looks at every endpoint on every pick.
//!
//! # Why the bound holds
//! The credit of an endpoint is its share of the picks so far minus what it got. Serving only what has started keeps
//! it above -1, serving by the deadline keeps it below 1, so every window of picks holds an endpoint's share within
//! [`BOUND`]. For requests of one pick each, the earliest deadline keeps every deadline if the requests due within
//! `m` picks, `F(m) = sum of max(0, floor(x + m p))` over the credits `x`, are at most `m`, for every `m` (`x = 0` is such a
//! state, as `sum of floor(m p) <= m`).
//!
//! # Phases
//! Many workers, or many proxies started together, must not send their first requests to the same endpoint, nor all run to
//! one that returns. Of a newcomer's stretch a random part `1 - u` is left, and its request of that stretch counts as
//! served or not: as many are unserved as the sum of what is left, rounded down, and those are the ones with the latest
//! deadlines. Of those due within `m` picks then at most as many are unserved as the sum of what is left of them, which is
//! at most their share of the picks: newcomers keep `F(m) <= m`, as all other stretches grow by what newcomers take. With
//! equal weights each run of n picks, from the first, has each endpoint once.
//!
//! # Change
//! New weights keep credits. Those that leave give theirs up: the sum is brought back to 0 by shrinking the heavier side, so
//! a window across a change is off by what was given up, less than 1. An endpoint that is passed over, since it is full or
//! was tried, gives up its turn; it does not come back with a claim to all that it missed. If nothing has started, the
//! next to start is served.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use rand::Rng;

/// How far, in requests, a window of picks may be from an endpoint's share of it.
pub const BOUND: f64 = 2.0;

/// So many endpoints are passed over before it is looked whether any has room: while all are full, a pick must not
/// take them out of their order one by one.
const PATIENCE: usize = 8;

/// The state of one pool's round robin. One per worker.
#[derive(Debug, Clone, Default)]
pub struct Turns {
    /// When each endpoint's next stretch starts, counted in picks.
    starts: Vec<f64>,
    /// How long a stretch is; 0 while it has none.
    periods: Vec<f64>,
    /// Picks since the last fit.
    now: f64,
    /// By start, those that start later than in this pick.
    waiting: BinaryHeap<Event>,
    /// By deadline.
    started: BinaryHeap<Event>,
    passed: Vec<u32>,
}

/// Ordered so that the earliest is the greatest.
#[derive(Debug, Clone, Copy)]
struct Event {
    time: f64,
    at: u32,
}

impl Turns {
    /// Turns that begin together and in order: for what must be the same everywhere.
    #[must_use]
    pub fn in_step(weights: &[u32]) -> Self {
        let mut turns = Self { starts: vec![0.0; weights.len()], ..Self::default() };
        turns.set_periods(weights);
        turns
    }

    /// Turns that go on from these for `count` endpoints: `origin` tells for each its old index. They need a fit.
    #[must_use]
    pub fn carry(&self, count: usize, origin: impl Fn(usize) -> Option<usize>) -> Self {
        let of = |values: &[f64]| (0..count).map(|new| origin(new).map_or(0.0, |at| values[at])).collect();
        let (starts, periods) = (of(&self.starts), of(&self.periods));
        Self { starts, periods, now: self.now, ..Self::default() }
    }

    /// Takes the weights from now on; 0 is not eligible. O(n), and O(m log m) in the newcomers.
    pub fn fit(&mut self, weights: &[u32], rng: &mut impl Rng) {
        self.starts.resize(weights.len(), 0.0);
        self.periods.resize(weights.len(), 0.0);
        let credits = self.credits(weights, rng);
        for (start, credit) in self.starts.iter_mut().zip(credits) {
            *start = credit;
        }
        shrink(&mut self.starts);
        self.now = 0.0;
        let total = total(weights);
        for (start, weight) in self.starts.iter_mut().zip(weights).filter(|(_, weight)| **weight > 0) {
            *start *= -total / f64::from(*weight);
        }
        self.set_periods(weights);
    }

    fn credits(&self, weights: &[u32], rng: &mut impl Rng) -> Vec<f64> {
        let mut newcomers = Vec::new();
        let mut credits = vec![0.0; weights.len()];
        for (at, weight) in weights.iter().enumerate().filter(|(_, weight)| **weight > 0) {
            if self.periods[at] > 0.0 {
                credits[at] = (self.now - self.starts[at]) / self.periods[at];
            } else {
                let left = 1.0 - unit(rng);
                newcomers.push((left / f64::from(*weight), left, at));
            }
        }
        newcomers.sort_unstable_by(|a: &(f64, f64, usize), b| a.0.total_cmp(&b.0));
        let unserved = newcomers.iter().map(|(_, left, _)| left).sum::<f64>() as usize;
        let served = newcomers.len() - unserved;
        for (rank, (_, left, at)) in newcomers.into_iter().enumerate() {
            credits[at] = if rank < served { -left } else { 1.0 - left };
        }
        credits
    }

    fn set_periods(&mut self, weights: &[u32]) {
        let total = total(weights);
        let period = |weight: &u32| if *weight > 0 { total / f64::from(*weight) } else { 0.0 };
        self.periods.clear();
        self.periods.extend(weights.iter().map(period));
        let (mut waiting, mut started) =
            (std::mem::take(&mut self.waiting).into_vec(), std::mem::take(&mut self.started).into_vec());
        waiting.clear();
        started.clear();
        // No pick may allocate, wherever the endpoints happen to be.
        waiting.reserve(weights.len());
        started.reserve(weights.len());
        self.passed.reserve(weights.len());
        for at in (0..weights.len()).filter(|at| weights[*at] > 0) {
            let (start, period) = (self.starts[at], self.periods[at]);
            if start < self.now + 1.0 {
                started.push(Event { time: start + period, at: at as u32 });
            } else {
                waiting.push(Event { time: start, at: at as u32 });
            }
        }
        (self.waiting, self.started) = (waiting.into(), started.into());
    }

    /// The endpoint whose turn it is, of those that `may`; none if there is none. O(log n), and as much for each that is
    /// passed over.
    pub fn next(&mut self, may: impl Fn(usize) -> bool) -> Option<usize> {
        let found = loop {
            let Some(at) = self.pop() else { break None };
            if may(at) {
                break Some(at);
            }
            self.passed.push(at as u32);
            if self.passed.len() == PATIENCE && !self.any(&may) {
                break None;
            }
        };
        while let Some(at) = self.passed.pop() {
            self.serve(at as usize);
        }
        self.serve(found?);
        self.now += 1.0;
        found
    }

    /// Those that were passed over are in no heap.
    fn any(&self, may: impl Fn(usize) -> bool) -> bool {
        self.started.iter().chain(&self.waiting).any(|event| may(event.at as usize))
    }

    fn pop(&mut self) -> Option<usize> {
        if self.started.is_empty() {
            self.now = self.now.max(self.waiting.peek()?.time);
        }
        while let Some(event) = self.waiting.peek().filter(|event| event.time < self.now + 1.0) {
            self.started.push(Event { time: event.time + self.periods[event.at as usize], at: event.at });
            self.waiting.pop();
        }
        self.started.pop().map(|event| event.at as usize)
    }

    /// Its next stretch begins where this one ends, but not in the past: what was not used is not owed.
    fn serve(&mut self, at: usize) {
        let start = &mut self.starts[at];
        *start = (*start + self.periods[at]).max(self.now - self.periods[at]);
        self.waiting.push(Event { time: *start, at: at as u32 });
    }
}

impl Ord for Event {
    fn cmp(&self, other: &Self) -> Ordering {
        other.time.total_cmp(&self.time).then(other.at.cmp(&self.at))
    }
}

impl PartialOrd for Event {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Event {}

/// Shrinks the heavier side of credits so that they add up to 0. That newcomers leave less than one request too few is as
/// it should be.
fn shrink(credits: &mut [f64]) {
    let above: f64 = credits.iter().filter(|credit| **credit > 0.0).sum();
    let below: f64 = -credits.iter().filter(|credit| **credit < 0.0).sum::<f64>();
    if above > below {
        credits.iter_mut().filter(|credit| **credit > 0.0).for_each(|credit| *credit *= below / above);
    } else if below > above + 1.0 {
        credits.iter_mut().filter(|credit| **credit < 0.0).for_each(|credit| *credit *= above / below);
    }
}

fn total(weights: &[u32]) -> f64 {
    weights.iter().map(|weight| f64::from(*weight)).sum()
}

/// Evenly from 0 to below 1.
fn unit(rng: &mut impl Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    fn turns(weights: &[u32], rng: &mut StdRng) -> Turns {
        let mut turns = Turns::default();
        turns.fit(weights, rng);
        turns
    }

    fn seeded(weights: &[u32], seed: u64) -> Turns {
        turns(weights, &mut StdRng::seed_from_u64(seed))
    }

    /// How far windows of picks were from each endpoint's share: the most that its credit moved up or down.
    struct Windows {
        credit: Vec<f64>,
        low: Vec<f64>,
        high: Vec<f64>,
    }

    impl Windows {
        fn new(count: usize) -> Self {
            Self { credit: vec![0.0; count], low: vec![0.0; count], high: vec![0.0; count] }
        }

        fn note(&mut self, picked: usize, weights: &[u32]) {
            let total = total(weights);
            for (at, credit) in self.credit.iter_mut().enumerate() {
                *credit += f64::from(weights[at]) / total - f64::from(u8::from(at == picked));
                self.low[at] = self.low[at].min(*credit);
                self.high[at] = self.high[at].max(*credit);
            }
        }

        fn error(&self) -> f64 {
            self.high.iter().zip(&self.low).map(|(high, low)| high - low).fold(0.0, f64::max)
        }
    }

    #[test]
    fn picks_of_the_heaviest_are_spread_out() {
        for seed in 0..100 {
            let mut turns = seeded(&[8, 1, 1], seed);
            let picks: Vec<usize> = (0..200).map(|_| turns.next(|_| true).unwrap()).collect();
            let run = picks.chunk_by(|a, b| a == b).filter(|run| run[0] == 0).map(<[usize]>::len).max().unwrap();
            let light =
                picks.chunk_by(|a, b| (*a == 0) == (*b == 0)).filter(|run| run[0] != 0).map(<[usize]>::len).max();
            assert!(run <= 8 && light <= Some(2), "{picks:?}");
        }
    }

    #[test]
    fn workers_start_at_different_endpoints() {
        let mut firsts = [0; 10];
        for seed in 0..1000 {
            firsts[seeded(&[1; 10], seed).next(|_| true).unwrap()] += 1;
        }
        // Five standard deviations of a binomial count.
        assert!(firsts.iter().all(|count| (53..=147).contains(count)), "{firsts:?}");
    }

    #[test]
    fn nothing_eligible_is_no_pick() {
        assert_eq!(seeded(&[0, 0], 1).next(|_| true), None);
        assert_eq!(seeded(&[], 1).next(|_| true), None);
        assert_eq!(seeded(&[1; 100], 1).next(|_| false), None);
    }

    fn a_pool() -> impl Strategy<Value = Vec<u32>> {
        let weight = prop_oneof![Just(1_u32), 1_u32..=10, 1_u32..=1000, 1_u32..=1_000_000_000];
        prop::collection::vec(weight, 2..60)
    }

    proptest! {
        /// With equal weights every run of n picks, from the first, has each endpoint once. Fails if any others than those
        /// with the latest deadlines are unserved.
        #[test]
        fn equal_endpoints_take_turns(n in 1_usize..50, weight in 1_u32..=1_000_000, seed: u64) {
            let mut turns = seeded(&vec![weight; n], seed);
            for _ in 0..3 {
                let mut round: Vec<_> = (0..n).map(|_| turns.next(|_| true).unwrap()).collect();
                round.sort_unstable();
                prop_assert!(round.into_iter().eq(0..n));
            }
        }

        /// The bound of the module, from any random phase. Fails if endpoints may be served before their stretch starts
        /// (deadlines alone), and if newcomers are not gone through by deadline.
        #[test]
        fn windows_hold_their_share(weights in a_pool(), seed: u64) {
            let mut turns = seeded(&weights, seed);
            let mut windows = Windows::new(weights.len());
            (0..3000).for_each(|_| windows.note(turns.next(|_| true).unwrap(), &weights));
            prop_assert!(windows.error() < BOUND + 1e-6, "{}", windows.error());
        }

        /// New weights keep the turns: over any changes of weights above 0, windows are within the bound of the sum of the
        /// shares of each time, and 1. Fails with a fit that starts anew.
        #[test]
        fn new_weights_reset_nothing(
            steps in prop::collection::vec((prop::array::uniform8(1_u32..=1000), 1_usize..30), 1..40), seed: u64,
        ) {
            let mut rng = StdRng::seed_from_u64(seed);
            let mut turns = turns(&steps[0].0, &mut rng);
            let mut windows = Windows::new(8);
            for (weights, picks) in &steps {
                turns.fit(weights, &mut rng);
                (0..*picks).for_each(|_| windows.note(turns.next(|_| true).unwrap(), weights));
            }
            prop_assert!(windows.error() < BOUND + 1.0, "{}", windows.error());
        }

        /// Newcomers take nothing from the others but their share: the bound holds through their coming.
        /// Fails if all of them start at once.
        #[test]
        fn a_coming_is_no_burst(weights in a_pool(), from in 1_usize..60, before in 0_usize..200, seed: u64) {
            let mut rng = StdRng::seed_from_u64(seed);
            let first: Vec<u32> = weights.iter().enumerate().map(|(at, weight)| if at < from { *weight } else { 0 }).collect();
            let mut turns = turns(&first, &mut rng);
            let mut windows = Windows::new(weights.len());
            (0..before).for_each(|_| windows.note(turns.next(|_| true).unwrap(), &first));
            turns.fit(&weights, &mut rng);
            (0..1000).for_each(|_| windows.note(turns.next(|_| true).unwrap(), &weights));
            prop_assert!(windows.error() < BOUND + 1e-6, "{}", windows.error());
        }

        /// One that was away, out of the pool or only full, comes back to its share. Fails if a turn that was passed over
        /// is still owed.
        #[test]
        fn a_return_is_no_burst(n in 2_usize..20, away in 0_u32..500, full: bool, seed: u64) {
            let mut rng = StdRng::seed_from_u64(seed);
            let mut turns = turns(&vec![1; n], &mut rng);
            let mut less = vec![1; n];
            less[0] = 0;
            // Whether one is full is asked at each pick: no fit hides what it was owed.
            if !full { turns.fit(&less, &mut rng); }
            (0..away).for_each(|_| { turns.next(|at| at > 0); });
            if !full { turns.fit(&vec![1; n], &mut rng); }
            let picks = (0..10 * n).filter(|_| turns.next(|_| true) == Some(0)).count();
            prop_assert!((8..=12).contains(&picks), "{picks}");
        }

        /// While others come and go, an endpoint is off by no more than the bound and what each of them gives up.
        #[test]
        fn changes_stay_small(
            weights in prop::collection::vec(1_u32..=100, 3..30), changes in prop::collection::vec(1_usize..30, 1..30), seed: u64,
        ) {
            let mut rng = StdRng::seed_from_u64(seed);
            let (mut now, mut turns) = (weights.clone(), turns(&weights, &mut rng));
            let mut credit = 0.0_f64;
            let (mut low, mut high, mut bound) = (0.0_f64, 0.0_f64, BOUND);
            for change in changes {
                let at = 1 + change % (weights.len() - 1);
                bound += f64::from(u8::from(now[at] > 0));
                now[at] = if now[at] == 0 { weights[at] } else { 0 };
                turns.fit(&now, &mut rng);
                for _ in 0..change {
                    credit += f64::from(now[0]) / total(&now) - f64::from(u8::from(turns.next(|_| true) == Some(0)));
                    (low, high) = (low.min(credit), high.max(credit));
                }
            }
            prop_assert!(high - low < bound, "{} of {bound}", high - low);
        }

        /// What is not eligible is never picked, and something is picked whenever something may be. Fails if the search
        /// ends at `PATIENCE` without looking.
        #[test]
        fn only_the_eligible_are_picked(
            steps in prop::collection::vec((prop::collection::vec(0_u32..3, 40), any::<u64>()), 1..40), seed: u64,
        ) {
            let mut rng = StdRng::seed_from_u64(seed);
            let mut turns = Turns::default();
            for (weights, mask) in &steps {
                turns.fit(weights, &mut rng);
                let may = |at: usize| mask & (1 << at) != 0;
                let open = |at: usize| weights[at] > 0 && may(at);
                for _ in 0..5 {
                    let picked = turns.next(may);
                    prop_assert_eq!(picked.is_some(), (0..40).any(open));
                    prop_assert!(picked.is_none_or(open));
                }
            }
        }

        /// A swap that keeps the endpoints goes on in turn, in whatever order they are.
        #[test]
        fn a_swap_goes_on_in_turn(n in 1_usize..20, steps in 0_usize..50, seed: u64) {
            let mut rng = StdRng::seed_from_u64(seed);
            let mut old = turns(&vec![1; n], &mut rng);
            (0..steps).for_each(|_| { old.next(|_| true); });
            let mut new = old.carry(n, |at| Some(n - 1 - at));
            new.fit(&vec![1; n], &mut rng);
            for _ in 0..2 * n {
                prop_assert_eq!(new.next(|_| true).map(|at| n - 1 - at), old.next(|_| true));
            }
        }
    }

    proptest! {
        // Few cases of many are as bad as that.
        #![proptest_config(ProptestConfig::with_cases(3000))]

        /// Whatever came and went, with the last weights windows hold their share as from the start. Fails if what leavers
        /// give up is not shrunk away: all are late then, and deadlines alone decide.
        #[test]
        fn changes_are_over_when_they_are_over(
            heavy in 1_u32..40, others in 2_usize..10, changes in prop::collection::vec(1_usize..8, 30..80), seed: u64,
        ) {
            let mut rng = StdRng::seed_from_u64(seed);
            let mut weights = vec![1; others + 1];
            weights[0] = heavy;
            let mut turns = turns(&weights, &mut rng);
            for picks in changes {
                // Who was just served is ahead of its share: it leaves and comes back.
                let mut less = weights.clone();
                (0..picks).filter_map(|_| turns.next(|_| true)).filter(|at| *at > 0).for_each(|at| less[at] = 0);
                turns.fit(&less, &mut rng);
                turns.fit(&weights, &mut rng);
            }
            let mut windows = Windows::new(weights.len());
            (0..1000).for_each(|_| windows.note(turns.next(|_| true).unwrap(), &weights));
            prop_assert!(windows.error() < BOUND + 1e-6, "{}", windows.error());
        }
    }
}
