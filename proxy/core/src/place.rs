//! Decides which region answers a request: among the active regions that serve its capability and have an endpoint of the
//! service that may take traffic, by their weights, in exact shares.
//!
//! A region that cannot take part is passed over and its share is spread over the rest by their weights: a request must
//! not be sent where it can only fail, and drawing again until an eligible one comes up would make the shares of the rest
//! inexact. A standby region takes a request only when no active region can, the first of the document first: standbys
//! have no weights, and one at a time keeps the others cold. Weight 0 is never chosen.
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

    /// The region that answers the next request; none if no region can.
    pub fn choose(&mut self, rng: &mut impl Rng) -> Option<(usize, Reason)> {
        match self.strata.choose(rng) {
            Some(region) => Some((region, self.reason)),
            None => self.standby.map(|region| (region, Reason::Standby)),
        }
    }
}
