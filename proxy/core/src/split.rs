//! Decides which version answers a request: at random in exact shares, or by a user's key.
//!
//! # Exact shares
//! A coin per request drifts: after 10,000 requests at 1 % a canary has had anything from 70 to 130. Here every version
//! has a stratum of `1/w` requests, one request in each stratum is its, and its place in the stratum is random, so the
//! count is exact and a client cannot predict its turn.
//!
//! The state is a credit `x_v` per version (fixed point, [`ONE`] is one request): share received minus requests served.
//! The credits add up to 0. Per request `y = x + w`. A version with `y >= 1` is due and must be chosen; otherwise each
//! version whose stratum has begun and is unserved (`y > 0`) is a candidate. A point placed evenly in the stratum that
//! was not met so far falls into this slot with probability `m / (1 - (y - m))`, `m = min(y, w)`: that is the chance of
//! each candidate; the version with the largest share takes what is left. The chosen one pays 1.
//!
//! # Why the bound holds
//! Choosing only `y > 0` keeps `x > -1`; choosing what is due keeps `x < 1`. So each prefix is within 1 of its share
//! and each window within 2. That needs at most one version due at a time, now and later: with
//! `F(m) = sum of max(0, floor(x_v + m w_v))`, the number of requests due within `m` slots, `F(m) <= m` for every `m`.
//! (Intervals that begin later are no danger: in `(a, b]` a version has at most `floor(x + b w) - ceil(x + a w)`
//! requests that are both begun and due, which add up to at most `b - a`.) Since the values `x_v + m w_v` add up to
//! `m`, their positive part is `m + N(m)` with `N(m) = sum of max(0, -x_v - m w_v)`, so `N(m) < 1` proves `F <= m` from
//! `m` on; `N` never rises. For up to three versions `F(m) <= m` always holds: with one negative value `N < 1`, with
//! two the single positive one is below `m + 1`. For more, a random choice stands only if `F(m) <= m` can be shown
//! afterwards: it can break only at a slot where a version other than the largest falls due (between those `m - F(m)`
//! does not fall, since the largest alone has at most one request per slot), so those slots are looked at in turn until
//! `N < 1`. If it cannot be shown within [`LOOKAHEAD`] of them, the version that is due soonest is chosen instead: for
//! unit jobs the earliest deadline keeps whatever can be kept.
//!
//! # Change
//! New shares keep the credits. A version that leaves, or is not eligible, gives its credit up: the sum is brought back
//! to 0 by shrinking the side that is too heavy, and with more than three versions all are shrunk until `N(1) < 1`
//! under the new shares. Both only move credits towards 0, so the bounds hold; a window across such a change may be off
//! by the credit that was given up, less than 1, and across a change of shares alone of up to three versions by
//! nothing.
//!
//! # Sticky
//! Weighted rendezvous: of all versions the one with the largest `-w / ln(u)`, `u` a hash of the key and the version. A
//! version's score depends on nothing but its own weight and name, so raising a weight only moves users into it, and a
//! version at 0 moves nobody. A ring or a range of buckets would reshuffle neighbours. The hash (XXH3) and the
//! logarithm (libm, not the platform's) give the same answer on every machine.

use rand::Rng;
use sluice_config::name::{ServiceName, VersionName};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// One request, in the fixed point of credits. 2^48 tells 1 ppm of twelve versions from its neighbours to 10^-7.
pub const ONE: i64 = 1 << 48;

/// How many slots are examined before a random choice among more than three versions is given up. The first or second
/// nearly always decides; the bound keeps the worst case linear in the number of versions.
pub const LOOKAHEAD: usize = 16;

/// Why this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The route names it.
    Pinned,
    /// By its share.
    Random,
    /// By the user's key.
    Sticky,
    /// The version that the request was given has no endpoint left.
    Baseline,
    /// As in the attempt before.
    Kept,
}

impl Reason {
    /// A stable name for metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pinned => "pinned",
            Self::Random => "random",
            Self::Sticky => "sticky",
            Self::Baseline => "baseline",
            Self::Kept => "kept",
        }
    }
}

/// Shares in fixed point: they add up to [`ONE`], or all are 0.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shares {
    weights: Vec<u32>,
    parts: Vec<i64>,
    largest: usize,
    members: usize,
}

impl Shares {
    /// The shares of these weights. What rounding leaves goes to the largest.
    #[must_use]
    pub fn of(weights: impl ExactSizeIterator<Item = u32>) -> Self {
        let zeros = vec![0; weights.len()];
        let mut shares = Self { parts: vec![0; zeros.len()], weights: zeros, largest: 0, members: 0 };
        shares.refit(weights);
        shares
    }

    /// Takes the shares of these weights, as many as before, and says whether that changed any. Allocates nothing.
    fn refit(&mut self, weights: impl Iterator<Item = u32>) -> bool {
        let mut changed = false;
        for (known, weight) in self.weights.iter_mut().zip(weights) {
            changed |= std::mem::replace(known, weight) != weight;
        }
        if changed {
            self.members = self.weights.iter().filter(|weight| **weight > 0).count();
            self.largest = first_largest(&self.weights);
            self.normalise();
        }
        changed
    }

    fn normalise(&mut self) {
        let total: i64 = self.weights.iter().map(|weight| i64::from(*weight)).sum();
        let mut rest = if total > 0 { ONE } else { 0 };
        for (part, weight) in self.parts.iter_mut().zip(&self.weights) {
            *part = (i128::from(*weight) * i128::from(ONE) / i128::from(total.max(1))) as i64;
            rest -= *part;
        }
        if let Some(part) = self.parts.get_mut(self.largest) {
            *part += rest;
        }
    }

    /// The share of one version, 0 to 1.
    #[must_use]
    pub fn share(&self, index: usize) -> f64 {
        self.parts.get(index).map_or(0.0, |part| *part as f64 / ONE as f64)
    }

    /// The version with the largest share; of equals the first.
    #[must_use]
    pub const fn largest(&self) -> usize {
        self.largest
    }

    /// How many have a share above 0.
    #[must_use]
    pub const fn members(&self) -> usize {
        self.members
    }
}

/// The state of one random split. One per worker: it is changed by every request.
#[derive(Debug, Clone, Default)]
pub struct Strata {
    shares: Shares,
    credits: Vec<i64>,
}

impl Strata {
    /// A split that has not begun.
    #[must_use]
    pub fn new(shares: Shares) -> Self {
        Self { credits: vec![0; shares.parts.len()], shares }
    }

    /// A split with the credits of an older one: `origin` tells for each of the new versions its old index.
    #[must_use]
    pub fn carry(shares: Shares, old: &Self, origin: impl Fn(usize) -> Option<usize>) -> Self {
        let credits = (0..shares.parts.len()).map(|new| origin(new).map_or(0, |at| old.credits[at])).collect();
        let parts = |new: usize| origin(new).map_or(0, |at| old.shares.parts[at]);
        let same = (0..shares.parts.len()).all(|new| shares.parts[new] == parts(new));
        let mut strata = Self { shares, credits };
        if !same {
            strata.settle();
        }
        strata
    }

    /// Splits by these weights from now on, as many as before; 0 is not eligible. O(versions), allocates nothing.
    pub fn fit(&mut self, weights: impl Iterator<Item = u32>) {
        if self.shares.refit(weights) {
            self.settle();
        }
    }

    /// The shares in force.
    #[must_use]
    pub const fn shares(&self) -> &Shares {
        &self.shares
    }

    /// The version that answers the next request; none if no weight is above 0. O(versions), allocates nothing.
    pub fn choose(&mut self, rng: &mut impl Rng) -> Option<usize> {
        if self.shares.members < 2 {
            return (self.shares.members == 1).then_some(self.shares.largest);
        }
        for (credit, part) in self.credits.iter_mut().zip(&self.shares.parts) {
            *credit += part;
        }
        let chosen = self.due().unwrap_or_else(|| self.choose_freely(rng));
        self.credits[chosen] -= ONE;
        Some(chosen)
    }

    fn due(&self) -> Option<usize> {
        self.credits.iter().position(|credit| *credit >= ONE)
    }

    fn choose_freely(&mut self, rng: &mut impl Rng) -> usize {
        let drawn = self.draw(unit(rng));
        if self.shares.members <= 3 {
            return drawn;
        }
        self.credits[drawn] -= ONE;
        let kept = self.keeps_bounds();
        self.credits[drawn] += ONE;
        if kept { drawn } else { self.soonest_due() }
    }

    /// The candidate at `point` (0 to 1) of the chances laid end to end, the largest version's last.
    fn draw(&self, point: f64) -> usize {
        let largest = self.shares.largest;
        let total: f64 = (0..self.credits.len()).filter(|at| *at != largest).map(|at| self.chance(at)).sum();
        let open = self.credits[largest] > 0;
        let mut left = if open { point * total.max(1.0) } else { point * total };
        let mut last = largest;
        for at in (0..self.credits.len()).filter(|at| *at != largest && self.credits[*at] > 0) {
            left -= self.chance(at);
            last = at;
            if left < 0.0 {
                return at;
            }
        }
        if open { largest } else { last }
    }

    /// The chance that a point of this version's unserved stratum falls into this slot.
    fn chance(&self, at: usize) -> f64 {
        let (credit, part) = (self.credits[at], self.shares.parts[at]);
        let met = credit.min(part);
        if met <= 0 { 0.0 } else { met as f64 / (ONE - (credit - met)) as f64 }
    }

    /// Whether `F(m) <= m` for all `m` can be shown from the credits after a choice.
    fn keeps_bounds(&self) -> bool {
        let mut slot = 0;
        for _ in 0..LOOKAHEAD {
            let Some(next) = self.next_deadline(slot) else { return true };
            slot = next;
            if self.overdrawn(slot) < i128::from(ONE) {
                return true;
            }
            if self.due_within(slot) > slot {
                return false;
            }
        }
        false
    }

    /// The first slot after `slot` in which a version other than the largest falls due.
    fn next_deadline(&self, slot: i64) -> Option<i64> {
        let others = (0..self.credits.len()).filter(|at| *at != self.shares.largest && self.shares.parts[*at] > 0);
        others
            .map(|at| {
                let (credit, part) = (i128::from(self.credits[at]), i128::from(self.shares.parts[at]));
                let due = (credit + i128::from(slot) * part).div_euclid(i128::from(ONE)).max(0) + 1;
                let missing = due * i128::from(ONE) - credit;
                (missing + part - 1).div_euclid(part) as i64
            })
            .min()
    }

    /// `N(slot)`: how far the versions below 0 will be below it.
    fn overdrawn(&self, slot: i64) -> i128 {
        self.at_slot(slot).map(|value| (-value).max(0)).sum()
    }

    /// `F(slot)`: requests due within so many slots.
    fn due_within(&self, slot: i64) -> i64 {
        self.at_slot(slot).map(|value| value.div_euclid(i128::from(ONE)).max(0) as i64).sum()
    }

    fn at_slot(&self, slot: i64) -> impl Iterator<Item = i128> + '_ {
        let pairs = self.credits.iter().zip(&self.shares.parts);
        pairs.map(move |(credit, part)| i128::from(*credit) + i128::from(slot) * i128::from(*part))
    }

    /// The candidate whose stratum ends soonest.
    fn soonest_due(&self) -> usize {
        let candidates = (0..self.credits.len()).filter(|at| self.credits[*at] > 0);
        let sooner = |a: &usize, b: &usize| self.time_left(*a, *b).cmp(&self.time_left(*b, *a));
        candidates.min_by(sooner).expect("credits add up to 1 before a choice, so one is above 0")
    }

    /// What is missing of `at`'s stratum, times `other`'s share: comparable with the same the other way round.
    fn time_left(&self, at: usize, other: usize) -> i128 {
        i128::from(ONE - self.credits[at]) * i128::from(self.shares.parts[other])
    }

    /// Makes the credits fit the shares: none where there is no share, sum 0, and bounds that can be kept.
    fn settle(&mut self) {
        for (credit, part) in self.credits.iter_mut().zip(&self.shares.parts) {
            if *part == 0 {
                *credit = 0;
            }
        }
        self.balance();
        while self.shares.members > 3 && self.overdrawn(1) >= i128::from(ONE) {
            self.credits.iter_mut().for_each(|credit| *credit -= *credit / 8);
            self.balance();
        }
    }

    /// Shrinks the heavier side so that the credits add up to 0.
    fn balance(&mut self) {
        let excess: i64 = self.credits.iter().sum();
        let sign = excess.signum();
        let side: i64 = self.credits.iter().map(|credit| (credit * sign).max(0)).sum();
        let mut rest = excess.abs();
        let owed = rest;
        for credit in self.credits.iter_mut().filter(|credit| **credit * sign > 0) {
            let cut = (i128::from(*credit * sign) * i128::from(owed) / i128::from(side)) as i64;
            *credit -= cut * sign;
            rest -= cut;
        }
        for credit in self.credits.iter_mut().filter(|credit| **credit * sign > 0) {
            let cut = rest.min(*credit * sign);
            *credit -= cut * sign;
            rest -= cut;
        }
    }
}

/// What a sticky split knows of one version.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ticket {
    seed: u64,
    weight: u32,
}

impl Ticket {
    /// Of this version of this service, with its weight.
    #[must_use]
    pub fn new(service: &ServiceName, version: &VersionName, weight: u32) -> Self {
        let salt = xxh3_64(service.as_str().as_bytes());
        Self { seed: xxh3_64_with_seed(version.as_str().as_bytes(), salt), weight }
    }

    fn score(self, key: &[u8]) -> f64 {
        // 53 bits and a half: never 0, never 1.
        let u = ((xxh3_64_with_seed(key, self.seed) >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
        -f64::from(self.weight) / libm::log(u)
    }
}

/// The index of the version that this user has; none if no weight is above 0. O(versions), allocates nothing.
pub fn rendezvous(tickets: impl Iterator<Item = (usize, Ticket)>, key: &[u8]) -> Option<usize> {
    let mut best = None;
    for (index, ticket) in tickets.filter(|(_, ticket)| ticket.weight > 0) {
        let score = ticket.score(key);
        if best.is_none_or(|(_, highest)| score > highest) {
            best = Some((index, score));
        }
    }
    best.map(|(index, _)| index)
}

fn first_largest(weights: &[u32]) -> usize {
    weights.iter().enumerate().fold(0, |best, (at, weight)| if *weight > weights[best] { at } else { best })
}

/// Evenly from 0 to below 1.
fn unit(rng: &mut impl Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests;
