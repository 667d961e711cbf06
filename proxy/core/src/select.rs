//! Decides which endpoint an attempt goes to: placement, then split, then pick, then what stands in for an empty pool.
//!
//! The first attempt is placed in a region, then given one of that region's versions, then an endpoint of that pool. If
//! the pool has none to offer, the version counts more than the region: the same version in another region (the primary
//! first, then by weight), then the baseline version, in the region of the placement and then in the others. A user who
//! was given a version keeps it through the loss of a region; only when the version is nowhere does its share move to
//! the baseline. A retry goes the same way from the pool of the attempt before, and never to an endpoint that was
//! tried; a pool in which two endpoints have failed the request comes after all others. A route that names a version is never answered by another.
//!
//! Regions that may stand in serve the capability and are active with a weight above 0; a standby only while no active
//! region can answer at all.
//!
//! A [`Selector`] belongs to one worker and one service. It keeps what it read of endpoints until the service's pulse
//! advances, so the common request reads one atomic number and no endpoint: no lock, no allocation.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use rand::Rng;
use sluice_config::name::{RegionName, VersionName};
use sluice_config::validated::Capability;

use crate::endpoint::Endpoint;
use crate::health::Standing;
use crate::pick::{self, RoundRobin};
use crate::place::{self, Placement};
use crate::service::{Member, Service};
use crate::split::{self, Strata};

/// What a request wants of its endpoint.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// Of the region.
    pub capability: Capability,
    /// What identifies the user, if the split is sticky and the request has it.
    pub sticky_key: Option<&'a [u8]>,
    /// The version that the route names.
    pub version: Option<usize>,
    /// The attempt before, in the same revision.
    pub previous: Option<Choice>,
    /// Endpoints that must not be chosen again.
    pub tried: &'a [Spot],
}

/// Where an endpoint is in a service of one revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Spot {
    /// Index into the regions.
    pub region: usize,
    /// Index into the versions.
    pub version: usize,
    /// Index into the pool.
    pub endpoint: usize,
}

/// The endpoint of an attempt, and why this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// Where it is.
    pub spot: Spot,
    /// Why this region.
    pub region: place::Reason,
    /// Why this version.
    pub version: split::Reason,
    /// Why this endpoint.
    pub endpoint: pick::Reason,
}

impl Choice {
    /// The endpoint's state, in the service that was chosen from.
    #[must_use]
    pub fn endpoint<'a>(&self, service: &'a Service) -> &'a Arc<Endpoint> {
        &service.pool(self.spot.region, self.spot.version)[self.spot.endpoint].endpoint
    }
}

/// Why there is no endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// No region that serves the capability has an endpoint that may take traffic.
    NoRegion,
    /// Neither the version nor the baseline has an endpoint left that may take traffic and was not tried.
    Exhausted,
}

impl Refusal {
    /// A stable name for metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoRegion => "no_region",
            Self::Exhausted => "exhausted",
        }
    }
}

/// What one worker knows of one service.
#[derive(Debug, Clone)]
pub struct Selector {
    seen: Option<u64>,
    /// Per capability: for any version, then for each version that a route may name.
    placements: Vec<Placement>,
    splits: Vec<Strata>,
    pools: Vec<Pool>,
}

#[derive(Debug, Clone)]
struct Pool {
    robin: RoundRobin,
    /// Those of the best standing; 0 for the rest.
    weights: Vec<u32>,
    /// Of the endpoints with a weight.
    best: Standing,
}

/// So many failed endpoints of one pool are enough to doubt the others: a region dies as a whole more often than two of
/// its endpoints die apart, and a request has few attempts.
const DOUBTED: usize = 2;

const CAPABILITIES: [Capability; 3] = [Capability::Read, Capability::Write, Capability::Admin];

impl Selector {
    /// For a service that this worker has not served yet.
    pub fn new(service: &Service, rng: &mut impl Rng) -> Self {
        let placements =
            (0..CAPABILITIES.len() * (service.versions() + 1)).map(|_| Placement::new(service.regions.len()));
        Self {
            seen: None,
            placements: placements.collect(),
            splits: service.splits.iter().cloned().map(Strata::new).collect(),
            pools: service.pools.iter().map(|members| Pool::new(members, rng)).collect(),
        }
    }

    /// For the next revision of a service: splits, placements and round robins go on where the old ones were, by the
    /// names of versions and regions and the addresses of endpoints. O(n log n) in the endpoints.
    pub fn carry(&self, old: &Service, new: &Service, rng: &mut impl Rng) -> Self {
        let origins = Origins::of(old, new);
        Self {
            seen: None,
            placements: self.carry_placements(old, new, &origins),
            splits: self.carry_splits(old, new, &origins),
            pools: self.carry_pools(old, new, &origins, rng),
        }
    }

    /// The endpoint of the next attempt. O(endpoints of the pool + versions + regions); after a change of standing,
    /// once O(endpoints of the service).
    ///
    /// # Errors
    /// When no endpoint may be chosen.
    pub fn choose(&mut self, service: &Service, ask: &Ask<'_>, rng: &mut impl Rng) -> Result<Choice, Refusal> {
        self.refresh(service);
        let start = match ask.previous {
            Some(previous) => Start::after(&previous, ask),
            None => self.start(service, ask, rng)?,
        };
        self.descend(service, ask, start).ok_or(Refusal::Exhausted)
    }

    fn start(&mut self, service: &Service, ask: &Ask<'_>, rng: &mut impl Rng) -> Result<Start, Refusal> {
        let at = placement_index(service, ask.capability, ask.version);
        let (region, why_region) = self.placements[at].choose(rng).ok_or(Refusal::NoRegion)?;
        let (version, why_version) = self.split(service, region, ask, rng).ok_or(Refusal::NoRegion)?;
        Ok(Start { region, version, why_region, why_version, doubt: false })
    }

    fn split(
        &mut self,
        service: &Service,
        region: usize,
        ask: &Ask<'_>,
        rng: &mut impl Rng,
    ) -> Option<(usize, split::Reason)> {
        if let Some(version) = ask.version {
            return Some((version, split::Reason::Pinned));
        }
        let strata = &mut self.splits[service.split_of[region]?];
        match ask.sticky_key {
            Some(key) => {
                let there = (0..service.versions()).filter(|at| strata.shares().share(*at) > 0.0);
                let version = split::rendezvous(there.map(|at| (at, service.versions[at].ticket)), key);
                Some((version?, split::Reason::Sticky))
            }
            None => Some((strata.choose(rng)?, split::Reason::Random)),
        }
    }

    /// The first endpoint on the way from the start, in pools that are not doubted; if there is none, in any.
    fn descend(&mut self, service: &Service, ask: &Ask<'_>, start: Start) -> Option<Choice> {
        if ask.tried.len() < DOUBTED {
            return self.descend_pools(service, ask, start, false);
        }
        self.descend_pools(service, ask, start, true).or_else(|| self.descend_pools(service, ask, start, false))
    }

    /// Its pool, its version elsewhere, the baseline.
    fn descend_pools(&mut self, service: &Service, ask: &Ask<'_>, start: Start, doubt: bool) -> Option<Choice> {
        let start = Start { doubt, ..start };
        if let Some(choice) = self.descend_version(service, ask, start) {
            return Some(choice);
        }
        if ask.version.is_some() || start.version == service.baseline {
            return None;
        }
        let why_version = split::Reason::Baseline;
        self.descend_version(service, ask, Start { version: service.baseline, why_version, ..start })
    }

    fn descend_version(&mut self, service: &Service, ask: &Ask<'_>, start: Start) -> Option<Choice> {
        if let Some(choice) = self.pick(service, ask, start) {
            return Some(choice);
        }
        let at = placement_index(service, ask.capability, ask.version);
        let why_region = place::Reason::Elsewhere;
        service.fallbacks.iter().filter(|region| **region != start.region).find_map(|region| {
            let may = self.placements[at].may_stand_in(*region, &service.regions[*region], ask.capability);
            may.then(|| self.pick(service, ask, Start { region: *region, why_region, ..start })).flatten()
        })
    }

    fn pick(&mut self, service: &Service, ask: &Ask<'_>, start: Start) -> Option<Choice> {
        let Start { region, version, why_region, why_version, doubt } = start;
        let of_pool = |spot: &&Spot| (spot.region, spot.version) == (region, version);
        if doubt && ask.tried.iter().filter(of_pool).count() >= DOUBTED {
            return None;
        }
        let index = service.pool_index(region, version);
        let Pool { robin, weights, best } = &mut self.pools[index];
        let why_endpoint = pick::Reason::of(*best)?;
        let spot = |endpoint| Spot { region, version, endpoint };
        let endpoint = if ask.tried.is_empty() {
            robin.next(|at| weights[at])?
        } else {
            robin.next(|at| if ask.tried.contains(&spot(at)) { 0 } else { weights[at] })?
        };
        Some(Choice { spot: spot(endpoint), region: why_region, version: why_version, endpoint: why_endpoint })
    }

    fn refresh(&mut self, service: &Service) {
        // Read before the standings: a change in between is then seen at the next request.
        let now = service.pulse.now();
        if self.seen == Some(now) {
            return;
        }
        for (pool, members) in self.pools.iter_mut().zip(&service.pools) {
            pool.refresh(members);
        }
        for capability in CAPABILITIES {
            for version in std::iter::once(None).chain((0..service.versions()).map(Some)) {
                self.refit(service, capability, version);
            }
        }
        self.seen = Some(now);
    }

    fn refit(&mut self, service: &Service, capability: Capability, version: Option<usize>) {
        let pools = &self.pools;
        let usable = |region, version| pools[service.pool_index(region, version)].best < Standing::Out;
        let reached = |region| {
            let mut weighted = (0..service.versions()).filter(|at| service.versions[*at].weight > 0);
            weighted.any(|at| usable(region, at))
        };
        let available = |region| version.map_or_else(|| reached(region), |at| usable(region, at));
        let at = placement_index(service, capability, version);
        self.placements[at].fit(&service.regions, capability, available);
    }

    fn carry_placements(&self, old: &Service, new: &Service, origins: &Origins) -> Vec<Placement> {
        let mut placements = Vec::with_capacity(CAPABILITIES.len() * (new.versions() + 1));
        for capability in CAPABILITIES {
            for version in std::iter::once(None).chain((0..new.versions()).map(Some)) {
                let was = version.map_or(Some(None), |at: usize| origins.versions[at].map(Some));
                placements.push(match was {
                    Some(was) => {
                        let old = &self.placements[placement_index(old, capability, was)];
                        Placement::carry(&new.regions, old, |at| origins.regions[at])
                    }
                    None => Placement::new(new.regions.len()),
                });
            }
        }
        placements
    }

    /// A split goes on from that of the first of its regions that had one.
    fn carry_splits(&self, old: &Service, new: &Service, origins: &Origins) -> Vec<Strata> {
        let carried = new.splits.iter().enumerate().map(|(at, shares)| {
            let regions = (0..new.regions.len()).filter(|region| new.split_of[*region] == Some(at));
            let was = regions.filter_map(|region| origins.regions[region]).find_map(|region| old.split_of[region]);
            match was {
                Some(was) => Strata::carry(shares.clone(), &self.splits[was], |version| origins.versions[version]),
                None => Strata::new(shares.clone()),
            }
        });
        carried.collect()
    }

    fn carry_pools(&self, old: &Service, new: &Service, origins: &Origins, rng: &mut impl Rng) -> Vec<Pool> {
        let carried = new.pools.iter().enumerate().map(|(at, members)| {
            let (region, version) = (at / new.versions(), at % new.versions());
            match (origins.regions[region], origins.versions[version]) {
                (Some(region), Some(version)) => {
                    let was = old.pool_index(region, version);
                    self.pools[was].carry(&old.pools[was], members, rng)
                }
                (None, _) | (_, None) => Pool::new(members, rng),
            }
        });
        carried.collect()
    }
}

/// Where the way to an endpoint begins, and why there.
#[derive(Clone, Copy)]
struct Start {
    region: usize,
    version: usize,
    why_region: place::Reason,
    why_version: split::Reason,
    /// Pools in which endpoints have failed this request are passed over.
    doubt: bool,
}

impl Start {
    fn after(previous: &Choice, ask: &Ask<'_>) -> Self {
        let why_version = if ask.version.is_some() { split::Reason::Pinned } else { split::Reason::Kept };
        let Spot { region, version, .. } = previous.spot;
        Self { region, version, why_region: place::Reason::Kept, why_version, doubt: false }
    }
}

impl Pool {
    fn new(members: &[Member], rng: &mut impl Rng) -> Self {
        Self::with(RoundRobin::new(members.iter().map(|member| member.weight), rng), members.len())
    }

    fn with(robin: RoundRobin, members: usize) -> Self {
        Self { robin, weights: vec![0; members], best: Standing::Out }
    }

    fn carry(&self, old: &[Member], new: &[Member], rng: &mut impl Rng) -> Self {
        let address = |member: &Member| member.endpoint.id().address;
        let known: BTreeMap<SocketAddr, usize> =
            old.iter().enumerate().map(|(at, member)| (address(member), at)).collect();
        let origin = |at: usize| known.get(&address(&new[at])).copied();
        let weights = new.iter().map(|member| member.weight);
        Self::with(RoundRobin::carry(weights, &self.robin, origin, rng), new.len())
    }

    /// Reads each standing once: two readings could disagree and leave nobody.
    fn refresh(&mut self, members: &[Member]) {
        self.best = Standing::Out;
        for (at, member) in members.iter().enumerate() {
            let standing = member.endpoint.standing();
            self.weights[at] = 0;
            if member.weight > 0 && standing <= self.best {
                if standing < self.best {
                    self.weights[..at].fill(0);
                    self.best = standing;
                }
                self.weights[at] = member.weight;
            }
        }
    }
}

/// For each region and version of a new revision, its index in the old one.
struct Origins {
    regions: Vec<Option<usize>>,
    versions: Vec<Option<usize>>,
}

impl Origins {
    fn of(old: &Service, new: &Service) -> Self {
        let region = |name: &RegionName| old.regions.iter().position(|region| region.name == *name);
        let version = |name: &VersionName| old.versions.iter().position(|version| version.name == *name);
        Self {
            regions: new.regions.iter().map(|now| region(&now.name)).collect(),
            versions: new.versions.iter().map(|now| version(&now.name)).collect(),
        }
    }
}

fn placement_index(service: &Service, capability: Capability, version: Option<usize>) -> usize {
    let row = match capability {
        Capability::Read => 0,
        Capability::Write => 1,
        Capability::Admin => 2,
    };
    row * (service.versions() + 1) + version.map_or(0, |at| at + 1)
}

#[cfg(test)]
mod tests;
