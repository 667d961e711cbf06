//! Decides which endpoint of a pool answers: smooth weighted round robin.
//!
//! nginx's algorithm (`ngx_http_upstream_get_peer`): each eligible endpoint gains its weight, the highest is chosen and
//! pays the sum of the weights. Weights 5, 1, 1 give `a a b a c a a` and not five in a row, and an endpoint left out
//! for a while comes back without a burst. Each worker has its own state and starts at a random phase: many workers, or
//! many proxies started together, would otherwise send their first requests to the same endpoint.
//!
//! Who is eligible: `Verified` ones; `Unprobed` ones only while the pool has none verified, tried or not; `Out` never;
//! weight 0 never.
//!
//! Invariants: a pick changes the sum of leads by nothing; with equal weights each run of n picks has each endpoint
//! once.

use rand::Rng;

use crate::health::Standing;

/// Why this endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Its turn among the verified ones.
    Verified,
    /// Its turn among those not yet probed: the pool has none verified.
    Unprobed,
}

impl Reason {
    /// Of a pool whose best endpoints have this standing; none if all are out.
    #[must_use]
    pub const fn of(best: Standing) -> Option<Self> {
        match best {
            Standing::Verified => Some(Self::Verified),
            Standing::Unprobed => Some(Self::Unprobed),
            Standing::Out => None,
        }
    }

    /// A stable name for metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Unprobed => "unprobed",
        }
    }
}

/// Phases are random fractions of a weight, so weights are scaled to leave room for them.
const SCALE: u32 = 16;

/// The state of one pool's round robin. One per worker.
#[derive(Debug, Clone, Default)]
pub struct RoundRobin {
    /// How far each endpoint is ahead of its turn; the highest is next.
    lead: Vec<i64>,
}

impl RoundRobin {
    /// A round robin over endpoints of these weights, at a random phase.
    pub fn new(weights: impl Iterator<Item = u32>, rng: &mut impl Rng) -> Self {
        Self { lead: weights.map(|weight| phase(weight, rng)).collect() }
    }

    /// A round robin that goes on from an older one: `origin` tells for each of the new endpoints its old index.
    pub fn carry(
        weights: impl Iterator<Item = u32>,
        old: &Self,
        origin: impl Fn(usize) -> Option<usize>,
        rng: &mut impl Rng,
    ) -> Self {
        let lead = |(new, weight)| match origin(new) {
            Some(at) => old.lead[at],
            None => phase(weight, rng),
        };
        Self { lead: weights.enumerate().map(lead).collect() }
    }

    /// The next endpoint: `weight` gives each one's weight, 0 for those that are not eligible. None if all are 0.
    /// O(endpoints), allocates nothing.
    pub fn next(&mut self, weight: impl Fn(usize) -> u32) -> Option<usize> {
        let (mut total, mut best, mut highest) = (0, None, i64::MIN);
        for (at, lead) in self.lead.iter_mut().enumerate() {
            let weight = i64::from(weight(at)) << SCALE;
            if weight == 0 {
                continue;
            }
            total += weight;
            *lead += weight;
            if *lead > highest {
                (highest, best) = (*lead, Some(at));
            }
        }
        self.lead[best?] -= total;
        best
    }
}

fn phase(weight: u32, rng: &mut impl Rng) -> i64 {
    let span = u64::from(weight) << SCALE;
    ((u128::from(rng.next_u64()) * u128::from(span)) >> 64) as i64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;
    use rand::seq::SliceRandom;

    use super::*;

    fn robin(weights: &[u32], seed: u64) -> RoundRobin {
        RoundRobin::new(weights.iter().copied(), &mut StdRng::seed_from_u64(seed))
    }

    #[test]
    fn picks_of_the_heaviest_are_spread_out() {
        let weights = [5, 1, 1];
        let mut robin = RoundRobin { lead: vec![0; 3] };
        let picks: Vec<_> = (0..7).map(|_| robin.next(|at| weights[at]).unwrap()).collect();
        assert_eq!(picks, [0, 0, 1, 0, 2, 0, 0]);
    }

    #[test]
    fn workers_start_at_different_endpoints() {
        let mut firsts = [0; 10];
        for seed in 0..1000 {
            firsts[robin(&[1; 10], seed).next(|_| 1).unwrap()] += 1;
        }
        // Five standard deviations of a binomial count.
        assert!(firsts.iter().all(|count| (53..=147).contains(count)), "{firsts:?}");
    }

    #[test]
    fn nothing_eligible_is_no_pick() {
        assert_eq!(robin(&[1, 2], 1).next(|_| 0), None);
        assert_eq!(robin(&[], 1).next(|_| 1), None);
    }

    proptest! {
        /// With equal weights every run of n picks, from the first, has each endpoint once.
        #[test]
        fn equal_endpoints_take_turns(n in 1_usize..50, weight in 1_u32..=1_000_000, seed: u64) {
            let mut robin = robin(&vec![weight; n], seed);
            for _ in 0..3 {
                let mut round: Vec<_> = (0..n).map(|_| robin.next(|_| weight).unwrap()).collect();
                round.sort_unstable();
                prop_assert!(round.into_iter().eq(0..n));
            }
        }

        /// Every window holds each endpoint's share within 3 (the balance error of smooth weighted round robin and of a
        /// random phase), whatever the weights.
        #[test]
        fn windows_hold_their_share(weights in prop::collection::vec(1_u32..=1000, 2..40), seed: u64) {
            let mut robin = robin(&weights, seed);
            let total = f64::from(weights.iter().sum::<u32>());
            let (mut off, mut low, mut high) = (vec![0.0; weights.len()], vec![0.0_f64; weights.len()], vec![0.0_f64; weights.len()]);
            for _ in 0..2000 {
                let picked = robin.next(|at| weights[at]).unwrap();
                for at in 0..weights.len() {
                    off[at] += f64::from(u8::from(at == picked)) - f64::from(weights[at]) / total;
                    (low[at], high[at]) = (low[at].min(off[at]), high[at].max(off[at]));
                }
            }
            prop_assert!(low.iter().zip(&high).all(|(low, high)| high - low < 3.0), "{low:?} {high:?}");
        }

        /// What is not eligible is never picked, and something is picked whenever something is eligible.
        #[test]
        fn only_the_eligible_are_picked(masks in prop::collection::vec(prop::collection::vec(0_u32..3, 8), 1..100), seed: u64) {
            let mut robin = robin(&[1; 8], seed);
            for mask in &masks {
                let picked = robin.next(|at| mask[at]);
                prop_assert_eq!(picked.is_none(), mask.iter().all(|weight| *weight == 0));
                prop_assert!(picked.is_none_or(|at| mask[at] > 0));
            }
        }

        /// An endpoint that was left out comes back without a burst: it is picked no more than its share and 3.
        #[test]
        fn a_return_is_no_burst(n in 2_usize..20, away in 0_u32..500, seed: u64) {
            let mut robin = robin(&vec![1; n], seed);
            (0..away).for_each(|_| { robin.next(|at| u32::from(at > 0)); });
            let picks = (0..10 * n).filter(|_| robin.next(|_| 1) == Some(0)).count();
            prop_assert!((7..=13).contains(&picks), "{picks}");
        }

        /// A swap that keeps the endpoints goes on in turn. No two are at the same phase here:
        /// between such the order of the list decides, and it has changed.
        #[test]
        fn a_swap_goes_on_in_turn(n in 1_usize..20, steps in 0_usize..50, seed: u64) {
            let mut lead: Vec<_> = (0..n as i64).collect();
            lead.shuffle(&mut StdRng::seed_from_u64(seed));
            let mut old = RoundRobin { lead };
            (0..steps).for_each(|_| { old.next(|_| 1); });
            let reversed = |at: usize| Some(n - 1 - at);
            let mut new = RoundRobin::carry(std::iter::repeat_n(1, n), &old, reversed, &mut StdRng::seed_from_u64(seed));
            for _ in 0..2 * n {
                prop_assert_eq!(new.next(|_| 1).map(|at| n - 1 - at), old.next(|_| 1));
            }
        }
    }
}
