//! Decides by chance, in proportion to weight: the random balancer, and where others get their candidates from.
//!
//! Vose's alias method ("A linear algorithm for generating random numbers with a given distribution", 1991): every
//! endpoint has a slot; a slot is its owner's up to a threshold and another's above it. One random number finds slot
//! and side, so a draw is O(1) for any weights. A search in running sums would be O(log n), and drawing evenly and
//! rejecting by weight takes as many draws as the heaviest weight is above the mean.
//!
//! Arithmetic is on integers: slots are filled exactly, so that an endpoint of weight 0 has no part in any, and no
//! rounding can leave a slot without an owner.

use rand::Rng;

use super::DRAWS;

/// Pools up to this size are searched for a second candidate where chance does not find one: there it is the rule, not
/// the exception, that one endpoint has most of the weight.
const SMALL: usize = 32;

/// An alias table.
#[derive(Debug, Clone, Default)]
pub struct Draw {
    weights: Vec<u32>,
    total: u64,
    /// How much of each slot, of `total`, is its owner's.
    own: Vec<u64>,
    /// Whose the rest is.
    alias: Vec<u32>,
    /// Slots that are not exactly full; of no meaning between fits.
    open: Vec<u32>,
}

impl Draw {
    /// Takes the weights from now on. O(n); allocates only for a larger pool than before.
    pub fn fit(&mut self, weights: &[u32]) {
        self.weights.clear();
        self.weights.extend_from_slice(weights);
        self.total = weights.iter().map(|weight| u64::from(*weight)).sum();
        let count = weights.len() as u64;
        self.own.clear();
        self.own.extend(weights.iter().map(|weight| u64::from(*weight) * count));
        self.alias.clear();
        self.alias.extend(0..count as u32);
        self.level();
    }

    /// Fills every slot that is too small from one that is too large. The small ones are a stack at the front of `open`,
    /// the large ones one at its end.
    fn level(&mut self) {
        let Self { total, own, alias, open, .. } = self;
        open.resize(own.len(), 0);
        let (mut small, mut large) = (0, own.len());
        for (at, part) in own.iter().enumerate() {
            if part < total {
                open[small] = at as u32;
                small += 1;
            } else if part > total {
                large -= 1;
                open[large] = at as u32;
            }
        }
        while small > 0 && large < own.len() {
            let (to, from) = (open[small - 1] as usize, open[large] as usize);
            alias[to] = from as u32;
            own[from] -= *total - own[to];
            small -= 1;
            large += usize::from(own[from] <= *total);
            if own[from] < *total {
                open[small] = from as u32;
                small += 1;
            }
        }
    }

    /// The weight of an endpoint; 0 while it is not eligible.
    #[must_use]
    pub fn weight(&self, at: usize) -> u32 {
        self.weights[at]
    }

    /// An endpoint in proportion to weight; none if no weight is above 0. O(1).
    pub fn draw(&self, rng: &mut impl Rng) -> Option<usize> {
        if self.total == 0 {
            return None;
        }
        let spot = u128::from(rng.next_u64()) * self.own.len() as u128;
        let slot = (spot >> 64) as usize;
        let height = (((spot & u128::from(u64::MAX)) * u128::from(self.total)) >> 64) as u64;
        Some(if height < self.own[slot] { slot } else { self.alias[slot] as usize })
    }

    /// An endpoint in proportion to weight among those that `may`; none if there is none. O(1) while most may.
    pub fn allowed(&self, may: impl Fn(usize) -> bool, rng: &mut impl Rng) -> Option<usize> {
        for _ in 0..DRAWS {
            let at = self.draw(rng)?;
            if may(at) {
                return Some(at);
            }
        }
        self.search(may, rng)
    }

    /// One that `may` and is another than `first`. In a large pool in which nearly all weight is that of those that may not,
    /// none is found.
    pub fn another(&self, first: usize, may: impl Fn(usize) -> bool, rng: &mut impl Rng) -> Option<usize> {
        let may = |at: usize| at != first && may(at);
        for _ in 0..DRAWS {
            let at = self.draw(rng)?;
            if may(at) {
                return Some(at);
            }
        }
        if self.weights.len() <= SMALL { self.search(may, rng) } else { None }
    }

    /// Looks at every endpoint once, and keeps each with the chance of its part of the weight so far.
    fn search(&self, may: impl Fn(usize) -> bool, rng: &mut impl Rng) -> Option<usize> {
        let (mut total, mut kept) = (0, None);
        for (at, weight) in self.weights.iter().enumerate().filter(|(at, weight)| **weight > 0 && may(*at)) {
            total += u64::from(*weight);
            if below(total, rng) < u64::from(*weight) {
                kept = Some(at);
            }
        }
        kept
    }
}

/// Evenly from 0 to below `bound`.
fn below(bound: u64, rng: &mut impl Rng) -> u64 {
    ((u128::from(rng.next_u64()) * u128::from(bound)) >> 64) as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    fn draw(weights: &[u32]) -> Draw {
        let mut draw = Draw::default();
        draw.fit(weights);
        draw
    }

    proptest! {
        /// The slots give every endpoint exactly its weight, and one of weight 0 nothing. Fails with a giver that is
        /// not put back among the small ones.
        #[test]
        fn slots_hold_exact_weights(weights in prop::collection::vec(prop_oneof![Just(0), 1_u32..10, 1_u32..=1_000_000_000], 0..60)) {
            let draw = draw(&weights);
            let mut held = vec![0_u64; weights.len()];
            for (slot, own) in draw.own.iter().enumerate() {
                let own = (*own).min(draw.total);
                held[slot] += own;
                held[draw.alias[slot] as usize] += draw.total - own;
            }
            let wanted: Vec<u64> = weights.iter().map(|weight| u64::from(*weight) * weights.len() as u64).collect();
            prop_assert_eq!(held, wanted);
        }

        /// Something is drawn whenever something may be, however little its weight. Fails without the search.
        #[test]
        fn what_may_be_drawn_is_found(weights in prop::collection::vec(0_u32..1000, 1..50), mask: u64, seed: u64) {
            let mut rng = StdRng::seed_from_u64(seed);
            let may = |at: usize| mask & (1 << at) != 0;
            let open = (0..weights.len()).any(|at| weights[at] > 0 && may(at));
            let drawn = draw(&weights).allowed(may, &mut rng);
            prop_assert_eq!(drawn.is_some(), open);
            prop_assert!(drawn.is_none_or(|at| weights[at] > 0 && may(at)));
        }
    }

    /// The search is in proportion to weight as the draw is.
    #[test]
    fn a_search_is_in_proportion() {
        let (draw, mut rng) = (draw(&[1, 0, 2, 7, 5]), StdRng::seed_from_u64(1));
        let mut counts = [0; 5];
        (0..10_000).for_each(|_| counts[draw.search(|at| at != 4, &mut rng).unwrap()] += 1);
        // Five standard deviations of a binomial count.
        let near = |count: i32, share: f64| (f64::from(count) - share * 1e4).abs() < 5.0 * (share * 1e4).sqrt();
        assert!(near(counts[0], 0.1) && near(counts[2], 0.2) && near(counts[3], 0.7), "{counts:?}");
    }
}
