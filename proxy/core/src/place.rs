//! Decides which region answers a request: among the active regions that serve its capability and have an endpoint of
//! the service that may take traffic, by their weights, in exact shares.
//!
//! A region that cannot take part is passed over and its share is spread over the rest by their weights: a request must
//! not be sent where it can only fail, and drawing again until an eligible one comes up would make the shares of the
//! rest inexact. A standby region takes a request only when no active region can, the first of the document first:
//! standbys have no weights, and one at a time keeps the others cold. Weight 0 is never chosen.
//!
//! Each capability has its own state: reads and writes see different regions, and one state over both would be
//! unbalanced at every change between them.

use rand::Rng;
use sluice_config::validated::{Capability, Region, Role};

use crate::split::{Shares, Strata};

/// Why this region.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// By weight, with every active region that serves the capability eligible.
    Weighted,
    /// By weight, while an active region that serves the capability has no endpoint that may take traffic.
    Spilled,
    /// No active region is eligible.
    Standby,
    /// The version has no endpoint left in the region where the request was placed, or where it was tried.
    Elsewhere,
    /// Where the attempt before was.
    Kept,
}

impl Reason {
    /// A stable name for metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Weighted => "weighted",
            Self::Spilled => "spilled",
            Self::Standby => "standby",
            Self::Elsewhere => "elsewhere",
            Self::Kept => "kept",
        }
    }
}

/// The kind of request that a method makes: GET, HEAD and OPTIONS read, every other method writes.
#[must_use]
pub fn capability_of(method: &str) -> Capability {
    match method {
        "GET" | "HEAD" | "OPTIONS" => Capability::Read,
        _ => Capability::Write,
    }
}

/// Whether the region takes part in the weighted choice for this capability.
#[must_use]
pub fn takes_part(region: &Region, capability: Capability) -> bool {
    region.role != Role::Standby && region.weight.get() > 0 && region.capabilities.serves(capability)
}

/// The state of the placement for one capability of one service. One per worker.
#[derive(Debug, Clone)]
pub struct Placement {
    strata: Strata,
    reason: Reason,
    standby: Option<usize>,
}

impl Placement {
    /// A placement over these regions that has not begun; no region is eligible before [`Placement::fit`].
    #[must_use]
    pub fn new(regions: usize) -> Self {
        let strata = Strata::new(Shares::of(std::iter::repeat_n(0, regions)));
        Self { strata, reason: Reason::Weighted, standby: None }
    }

    /// A placement with the credits of an older one: `origin` tells for each of the new regions its old index.
    #[must_use]
    pub fn carry(regions: &[Region], old: &Self, origin: impl Fn(usize) -> Option<usize>) -> Self {
        let weights = regions.iter().enumerate().map(|(at, region)| {
            let took_part = origin(at).is_some_and(|was| old.strata.shares().share(was) > 0.0);
            if took_part { region.weight.get() } else { 0 }
        });
        let weights: Vec<u32> = weights.collect();
        let strata = Strata::carry(Shares::of(weights.into_iter()), &old.strata, origin);
        Self { strata, reason: old.reason, standby: None }
    }

    /// Takes note of which regions have an endpoint that may take traffic. Call it when that changes. O(regions),
    /// allocates nothing.
    pub fn fit(&mut self, regions: &[Region], capability: Capability, available: impl Fn(usize) -> bool) {
        let weight = |at: usize, region: &Region| {
            if takes_part(region, capability) && available(at) { region.weight.get() } else { 0 }
        };
        self.strata.fit(regions.iter().enumerate().map(|(at, region)| weight(at, region)));
        let active = regions.iter().filter(|region| takes_part(region, capability)).count();
        self.reason = if self.strata.shares().members() == active { Reason::Weighted } else { Reason::Spilled };
        self.standby = regions.iter().enumerate().position(|(at, region)| {
            region.role == Role::Standby && region.capabilities.serves(capability) && available(at)
        });
    }

    /// Whether this region may answer what was placed in another: an active one that takes part or, while none is
    /// eligible, the standby whose turn it is.
    #[must_use]
    pub fn may_stand_in(&self, index: usize, region: &Region, capability: Capability) -> bool {
        match self.strata.shares().members() {
            0 => self.standby == Some(index),
            _ => takes_part(region, capability),
        }
    }

    /// The standby that answers; none while an active region can.
    #[must_use]
    pub fn standby_turn(&self) -> Option<usize> {
        self.standby.filter(|_| self.strata.shares().members() == 0)
    }

    /// The share of new requests that a region answers, 0 to 1.
    #[must_use]
    pub fn share(&self, region: usize) -> f64 {
        match self.standby_turn() {
            Some(turn) => f64::from(u8::from(turn == region)),
            None => self.strata.shares().share(region),
        }
    }

    /// The region that answers the next request; none if no region can.
    pub fn choose(&mut self, rng: &mut impl Rng) -> Option<(usize, Reason)> {
        match self.strata.choose(rng) {
            Some(region) => Some((region, self.reason)),
            None => self.standby_turn().map(|region| (region, Reason::Standby)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;
    use crate::fixture::{ALL, READ, region, regions};

    fn shares(placement: &mut Placement, seed: u64) -> [u32; 3] {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut counts = [0; 3];
        (0..1000).for_each(|_| counts[placement.choose(&mut rng).unwrap().0] += 1);
        counts
    }

    fn placement(regions: &[Region], capability: Capability, available: [bool; 3]) -> Placement {
        let mut placement = Placement::new(regions.len());
        placement.fit(regions, capability, |at| available[at]);
        placement
    }

    #[test]
    fn methods_read_or_write() {
        assert!(["GET", "HEAD", "OPTIONS"].iter().all(|method| capability_of(method) == Capability::Read));
        assert!(["POST", "DELETE", "get", "PURGE"].iter().all(|method| capability_of(method) == Capability::Write));
    }

    #[test]
    fn weights_hold_and_a_standby_waits() {
        let mut placement = placement(&regions(), Capability::Read, [true; 3]);
        assert_eq!(shares(&mut placement, 1), [700, 300, 0]);
        assert_eq!(placement.choose(&mut StdRng::seed_from_u64(1)).unwrap().1, Reason::Weighted);
    }

    #[test]
    fn a_lost_region_spills_and_a_standby_is_the_last_resort() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut choose = |available| placement(&regions(), Capability::Read, available).choose(&mut rng);
        assert_eq!(choose([false, true, true]), Some((1, Reason::Spilled)));
        assert_eq!(choose([false, false, true]), Some((2, Reason::Standby)));
        assert_eq!(choose([false, false, false]), None);
    }

    #[test]
    fn a_region_that_cannot_write_is_no_loss_to_writes() {
        let regions = [region("a", Role::Primary, 70, ALL), region("b", Role::Secondary, 30, READ)];
        let mut placement = Placement::new(2);
        placement.fit(&regions, Capability::Write, |_| true);
        assert_eq!(placement.choose(&mut StdRng::seed_from_u64(1)), Some((0, Reason::Weighted)));
    }

    proptest! {
        /// A region is chosen only if it serves the capability, has a weight and an endpoint; a standby only if none
        /// does.
        #[test]
        fn only_the_eligible_are_chosen(
            rows in prop::collection::vec((0_usize..3, 0_u32..3, any::<bool>(), any::<bool>()), 1..6),
            masks in prop::collection::vec(any::<u8>(), 1..20),
            seed: u64,
        ) {
            let role = |at: usize| [Role::Primary, Role::Secondary, Role::Standby][at];
            let regions: Vec<Region> = rows.iter().enumerate().map(|(at, (kind, weight, write, _))| {
                region(&format!("r{at}"), role(*kind), *weight, if *write { ALL } else { READ })
            }).collect();
            let mut placement = Placement::new(regions.len());
            let mut rng = StdRng::seed_from_u64(seed);
            for mask in &masks {
                let up = |at: usize| mask & (1 << at) != 0;
                placement.fit(&regions, Capability::Write, up);
                let active: Vec<usize> = (0..regions.len()).filter(|at| up(*at) && takes_part(&regions[*at], Capability::Write)).collect();
                let chosen = placement.choose(&mut rng);
                match chosen {
                    Some((at, Reason::Standby)) => {
                        prop_assert!(active.is_empty() && up(at) && regions[at].role == Role::Standby && regions[at].capabilities.write);
                    }
                    Some((at, _)) => prop_assert!(active.contains(&at)),
                    None => prop_assert!(active.is_empty()),
                }
            }
        }
    }
}
