//! Decides by a key: the same key goes to the same endpoint while that may take it.
//!
//! The table is Maglev's (Eisenbud and others, "Maglev: A Fast and Reliable Software Network Load Balancer", 2016): every
//! endpoint has its own order of all seats, and they take the next free one by turns, here by weighted ones
//! ([`Turns::in_step`]), since the paper's rounds would need as many as the heaviest weight is above the lightest.
//! A ring of as good a balance is larger and slower to search; rendezvous alone is O(n) per request.
//!
//! The table is made once for a revision, over all endpoints of the pool, and shared by all workers. Who is eligible
//! changes nothing in it: a key has a sequence of seats, and goes to the first whose endpoint may take it. So an
//! endpoint that falls out moves its own keys and no other, evenly over the rest, and gets exactly them back when it
//! returns. Building the table anew, as others do, moves some keys of the healthy ones, too, each time. An endpoint that
//! takes a part of its weight (it warms up, or says so) keeps that part of its keys, decided by the key, so that more
//! weight only adds keys.
//!
//! Bounded load (Mirrokni, Thorup, Zadimoghaddam, 2016): an endpoint with more than its part of the requests in
//! flight, times the bound, is passed over. The bound is at least 100 %, so not all can be above it.
//!
//! The hash (XXH3) gives the same table and the same seats on every machine.

use std::sync::Arc;

use rand::Rng;
use sluice_config::percentage::Percentage;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::turns::Turns;
use super::{By, Crowd, Picked};

/// Seats of a table: a prime, so that any step meets every seat. One size for all pools, since another size would move nearly
/// every key when a pool grows over the threshold. With more than some hundred endpoints their shares differ by whole
/// seats: at 10,000 by up to a sixth.
pub const SEATS: usize = 65_537;

/// Seats of a key that are tried. With one endpoint in ten able to take it, one key in a thousand meets none.
const PROBES: u64 = 64;

/// Keys that an endpoint keeps when it keeps all.
const WHOLE: u64 = 1 << 32;

/// Which endpoint has which seat. Shared by workers.
#[derive(Debug, PartialEq, Eq)]
pub struct Table {
    seats: Vec<u32>,
    seeds: Vec<u64>,
    weights: Vec<u32>,
}

/// The hash of what a request is led by.
#[must_use]
pub fn hash(key: &[u8]) -> u64 {
    xxh3_64(key)
}

impl Table {
    /// The table of endpoints with these identities and weights; 0 has no seat. Their order does not matter. Where there is
    /// but one to sit, one seat does.
    /// O(seats × log endpoints): some milliseconds.
    #[must_use]
    pub fn build<'a>(members: impl Iterator<Item = (&'a [u8], u32)>) -> Self {
        let (seeds, weights): (Vec<u64>, Vec<u32>) = members.map(|(name, weight)| (xxh3_64(name), weight)).unzip();
        if weights.iter().filter(|weight| **weight > 0).count() < 2 {
            let seats = weights.iter().position(|weight| *weight > 0).map(|at| at as u32).into_iter().collect();
            return Self { seats, seeds, weights };
        }
        let mut order: Vec<u32> = (0..seeds.len() as u32).collect();
        order.sort_unstable_by_key(|at| seeds[*at as usize]);
        let sorted: Vec<u32> = order.iter().map(|at| weights[*at as usize]).collect();
        let mut turns = Turns::in_step(&sorted);
        let mut walks: Vec<Walk> = order.iter().map(|at| Walk::of(seeds[*at as usize])).collect();
        let mut seats = vec![u32::MAX; SEATS];
        for _ in 0..SEATS {
            let turn = turns.next(|_| true).expect("two have a weight");
            let seat = walks[turn].find(|seat| seats[*seat] == u32::MAX);
            seats[seat.expect("a walk meets every seat, and one is free")] = order[turn];
        }
        Self { seats, seeds, weights }
    }

    /// Of which endpoints and weights it is.
    #[must_use]
    pub fn is_of<'a>(&self, members: impl Iterator<Item = (&'a [u8], u32)>) -> bool {
        members.map(|(name, weight)| (xxh3_64(name), weight)).eq(self
            .seeds
            .iter()
            .copied()
            .zip(self.weights.iter().copied()))
    }

    fn owner(&self, hash: u64) -> usize {
        self.seats[((u128::from(hash) * self.seats.len() as u128) >> 64) as usize] as usize
    }
}

/// All seats in an endpoint's own order.
struct Walk {
    at: usize,
    step: usize,
}

impl Walk {
    fn of(seed: u64) -> Self {
        let part = |salt| xxh3_64_with_seed(&seed.to_le_bytes(), salt) as usize;
        Self { at: part(1) % SEATS, step: part(2) % (SEATS - 1) + 1 }
    }
}

impl Iterator for Walk {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let here = self.at;
        self.at = (self.at + self.step) % SEATS;
        Some(here)
    }
}

/// The state of one pool: a table, and who may be picked.
#[derive(Debug, Clone)]
pub struct Maglev {
    table: Arc<Table>,
    bound: Option<Percentage>,
    weights: Vec<u32>,
    total: u64,
    /// How many keys of 2^32 each endpoint keeps.
    kept: Vec<u64>,
    /// Those that no key is to be led to, though they have seats.
    foreign: Vec<bool>,
}

impl Maglev {
    /// Over this table.
    #[must_use]
    pub fn new(table: Arc<Table>, bound: Option<Percentage>) -> Self {
        let foreign = vec![false; table.weights.len()];
        Self { table, bound, weights: Vec::new(), total: 0, kept: Vec::new(), foreign }
    }

    /// Leads no key to the endpoints of which this says so: their keys belong to the others, and are not passed over.
    pub(super) fn leave_out(&mut self, foreign: impl Iterator<Item = bool>) {
        self.foreign.clear();
        self.foreign.extend(foreign);
    }

    /// Takes the weights from now on. The endpoint with the most of its weight keeps all of its keys.
    pub(super) fn fit(&mut self, weights: &[u32]) {
        self.weights.clear();
        self.weights.extend_from_slice(weights);
        self.total = weights.iter().map(|weight| u64::from(*weight)).sum();
        let whole = || weights.iter().zip(&self.table.weights).map(|(now, whole)| (u64::from(*now), u64::from(*whole)));
        let (most, of) = whole().fold((0, 1), |best, part| if part.0 * best.1 > best.0 * part.1 { part } else { best });
        let kept = |(now, whole): (u64, u64)| {
            let kept = u128::from(now) * u128::from(of) * u128::from(WHOLE);
            (kept / (u128::from(whole) * u128::from(most)).max(1)) as u64
        };
        self.kept.clear();
        self.kept.extend(whole().map(kept));
    }

    /// The endpoint of the next request; one at random if it has no key. O(1) while most may, O(n) at worst.
    pub(super) fn pick(&self, crowd: &impl Crowd, key: Option<u64>, rng: &mut impl Rng) -> Option<Picked> {
        let hash = key.unwrap_or_else(|| rng.next_u64());
        let within = |at: usize| crowd.may(at) && self.is_within(at, crowd);
        let bounded = self.bound.and_then(|_| self.lead(hash, within));
        // If those within the bound may not, one above it is better than none.
        let (at, home) = bounded.or_else(|| self.lead(hash, |at| crowd.may(at)))?;
        let by = match key {
            None => By::Weight,
            Some(_) if home && bounded.is_some() == self.bound.is_some() => By::Key,
            Some(_) => By::NextKey,
        };
        Some(Picked { at, by })
    }

    /// Whether one more request keeps it within its part of all in flight, times the bound. The parts add up to more than
    /// there are requests, so it holds for one at least.
    fn is_within(&self, at: usize, crowd: &impl Crowd) -> bool {
        let Some(bound) = self.bound else { return true };
        let all = u128::from(crowd.total()) + 1;
        let part = u128::from(bound.get()) * all * u128::from(self.weights[at]);
        u128::from(crowd.in_flight(at)) < part.div_ceil(100 * u128::from(self.total))
    }

    /// The first endpoint on a key's way that may take it, and whether it is the first of all.
    fn lead(&self, hash: u64, may: impl Fn(usize) -> bool) -> Option<(usize, bool)> {
        if self.total == 0 {
            return None;
        }
        let mut home = true;
        for probe in 0..PROBES {
            let at = self.table.owner(mix(hash, probe));
            if self.keeps(at, hash) && may(at) {
                return Some((at, home));
            }
            home &= self.foreign[at];
        }
        self.search(hash, may).map(|at| (at, false))
    }

    fn keeps(&self, at: usize, hash: u64) -> bool {
        mix(hash, self.table.seeds[at]) >> 32 < self.kept[at]
    }

    /// Weighted rendezvous: as steady as the table, and needs no luck.
    fn search(&self, hash: u64, may: impl Fn(usize) -> bool) -> Option<usize> {
        let score = |at: usize| {
            let u = ((mix(hash, !self.table.seeds[at]) >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
            -f64::from(self.weights[at]) / libm::log(u)
        };
        let open = (0..self.weights.len()).filter(|at| self.weights[*at] > 0 && may(*at));
        open.map(|at| (score(at), at)).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, at)| at)
    }
}

/// SplitMix64's output function: every bit of the answer depends on every bit of both.
const fn mix(hash: u64, salt: u64) -> u64 {
    let mut z = hash ^ salt.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A service has a table for each of its pools, and may have thousands of them.
    #[test]
    fn a_pool_of_one_endpoint_takes_no_room_for_a_table() {
        let seats = |weights: &[u32]| {
            let names: Vec<[u8; 1]> = (0..weights.len() as u8).map(|at| [at]).collect();
            Table::build(names.iter().map(|name| &name[..]).zip(weights.iter().copied())).seats
        };
        assert_eq!(seats(&[0, 7, 0]), [1]);
        assert!(seats(&[0]).is_empty());
        assert_eq!(seats(&[0, 7, 1]).len(), SEATS);
    }
}
