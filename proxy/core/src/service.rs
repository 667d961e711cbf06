//! Holds what the choice of a service's endpoint needs, prepared once for a revision: names, weights and pools.
//!
//! Which versions a region's requests are split over is a matter of the document: those with a weight above 0 and
//! endpoints there. Health does not change the split, since a version whose endpoints are out is reached in another
//! region before its share goes to the baseline. Regions with the same versions share one split, so in the common
//! document, where every version is everywhere, a service has one, and its windows hold over all regions together.
//!
//! Invariants: pools are in the order of regions, then versions; a pool without endpoints is empty, not absent.

use std::sync::Arc;

use sluice_config::name::{ServiceName, VersionName};
use sluice_config::validated::{self, Capability, Region, Role, StickyKey};

use crate::endpoint::{Barrier, Endpoint, EndpointId, Offer, Pulse, Registry};
use crate::health::Standing;
use crate::place::Placement;
use crate::policies::Policies;
use crate::pool::{PoolId, PoolState};
use crate::split::{Shares, Ticket};

mod govern;

/// A service of one revision.
#[derive(Debug)]
pub struct Service {
    pub(crate) name: ServiceName,
    pub(crate) regions: Arc<[Region]>,
    pub(crate) versions: Vec<Version>,
    pub(crate) pools: Vec<Vec<Member>>,
    pub(crate) splits: Vec<Shares>,
    pub(crate) split_of: Vec<Option<usize>>,
    pub(crate) fallbacks: Vec<usize>,
    pub(crate) baseline: usize,
    pub(crate) pulse: Arc<Pulse>,
    pub(crate) states: Vec<Arc<PoolState>>,
    pub(crate) policies: Policies,
    sticky: Option<StickyKey>,
}

#[derive(Debug)]
pub(crate) struct Version {
    pub(crate) name: VersionName,
    pub(crate) weight: u32,
    pub(crate) ticket: Ticket,
}

/// An endpoint and its weight in a pool of this revision.
#[derive(Debug)]
pub struct Member {
    /// Its state, shared by revisions.
    pub endpoint: Arc<Endpoint>,
    /// Share of the pool's requests.
    pub weight: u32,
}

/// The identities of all endpoints of these services, each with whether it is health checked: what
/// [`Registry::carry`] wants.
pub fn identities<'a>(
    regions: &'a [Region],
    services: &'a [validated::Service],
) -> impl Iterator<Item = (EndpointId, bool)> + 'a {
    services.iter().flat_map(move |service| {
        let checked = service.health_check.is_some();
        let pools = service.versions.iter().flat_map(|version| version.pools.iter().map(move |pool| (version, pool)));
        pools.flat_map(move |(version, pool)| {
            let id = move |endpoint| identity(regions, service, version, pool, endpoint);
            pool.endpoints.iter().map(move |endpoint| (id(endpoint), checked))
        })
    })
}

fn identity(
    regions: &[Region],
    service: &validated::Service,
    version: &validated::Version,
    pool: &validated::Pool,
    endpoint: &validated::Endpoint,
) -> EndpointId {
    EndpointId {
        service: service.name.clone(),
        version: version.name.clone(),
        region: regions[pool.region].name.clone(),
        address: endpoint.address,
    }
}

impl Service {
    /// The service as the document has it, with the endpoints of a registry carried for that document.
    ///
    /// # Panics
    /// If the registry lacks one of the service's endpoints.
    #[must_use]
    pub fn new(regions: &Arc<[Region]>, service: &validated::Service, registry: &Registry) -> Self {
        let versions: Vec<Version> = service.versions.iter().map(|version| Version::new(service, version)).collect();
        let pools = pools(regions, service, registry);
        let (splits, split_of) = splits(&versions, &pools);
        let pulse = registry.pulse(&service.name).map(Arc::clone).unwrap_or_default();
        let service = Self {
            name: service.name.clone(),
            regions: Arc::clone(regions),
            baseline: baseline(&versions),
            versions,
            pools,
            splits,
            split_of,
            fallbacks: fallbacks(regions),
            states: states(regions, service, registry, &pulse),
            pulse,
            policies: Policies::from(service),
            sticky: match &service.split {
                validated::Split::Random => None,
                validated::Split::Sticky(key) => Some(key.clone()),
            },
        };
        service.adopt();
        service
    }

    /// Unique in the document.
    #[must_use]
    pub const fn name(&self) -> &ServiceName {
        &self.name
    }

    /// What identifies a user, if the split is sticky.
    #[must_use]
    pub const fn sticky(&self) -> Option<&StickyKey> {
        self.sticky.as_ref()
    }

    /// All regions of the document.
    #[must_use]
    pub fn regions(&self) -> &[Region] {
        &self.regions
    }

    /// How many versions it has.
    #[must_use]
    pub const fn versions(&self) -> usize {
        self.versions.len()
    }

    /// A version's name.
    #[must_use]
    pub fn version(&self, index: usize) -> &VersionName {
        &self.versions[index].name
    }

    /// A version's share of new requests by its weight, 0 to 1.
    #[must_use]
    pub fn share(&self, version: usize) -> f64 {
        let total: u64 = self.versions.iter().map(|version| u64::from(version.weight)).sum();
        f64::from(self.versions[version].weight) / total.max(1) as f64
    }

    /// The version with the largest weight; of equals the first.
    #[must_use]
    pub const fn baseline(&self) -> usize {
        self.baseline
    }

    /// The endpoints of a version in a region; may be empty.
    #[must_use]
    pub fn pool(&self, region: usize, version: usize) -> &[Member] {
        &self.pools[self.pool_index(region, version)]
    }

    pub(crate) const fn pool_index(&self, region: usize, version: usize) -> usize {
        region * self.versions.len() + version
    }

    /// What belongs to that pool whatever its endpoints are.
    #[must_use]
    pub fn pool_state(&self, region: usize, version: usize) -> &Arc<PoolState> {
        &self.states[self.pool_index(region, version)]
    }

    /// What the document asks of endpoints and pools.
    #[must_use]
    pub const fn policies(&self) -> &Policies {
        &self.policies
    }

    /// For each endpoint whether it may be chosen now for this capability, by a route that names this version if any.
    /// For people: allocates, and reads every endpoint.
    #[must_use]
    pub fn explain(&self, capability: Capability, pinned: Option<usize>) -> Vec<Candidate<'_>> {
        let reached = |version: usize| match pinned {
            Some(pinned) => version == pinned,
            None => self.versions[version].weight > 0,
        };
        let available =
            |region: usize| (0..self.versions()).any(|v| reached(v) && self.best(region, v) < Standing::Out);
        let turn = self.standby_turn(capability, available);
        let mut candidates = Vec::new();
        for (at, members) in self.pools.iter().enumerate() {
            let (region, version) = (at / self.versions(), at % self.versions());
            let unreached = || (!reached(version)).then_some(Obstacle::NotReached);
            let obstacle = self.obstacle(region, capability, turn).or_else(unreached);
            candidates.extend(self.stand(region, version, members, obstacle));
        }
        candidates
    }

    /// For each endpoint whether something of its own speaks against it now, whatever a request asks for. For people.
    #[must_use]
    pub fn candidates(&self) -> Vec<Candidate<'_>> {
        let pools = self.pools.iter().enumerate();
        let candidates = pools.flat_map(|(at, members)| {
            let (region, version) = (at / self.versions(), at % self.versions());
            self.stand(region, version, members, None)
        });
        candidates.collect()
    }

    /// The endpoints of a pool as they stand, where this speaks against all of them.
    fn stand<'a>(
        &'a self,
        region: usize,
        version: usize,
        members: &'a [Member],
        outer: Option<Obstacle>,
    ) -> impl Iterator<Item = Candidate<'a>> {
        let (best, state) = (self.best(region, version), self.pool_state(region, version));
        let of_pool = if state.offer().barrier.is_some() {
            Some(Obstacle::PoolBreaker)
        } else {
            (!state.has_room()).then_some(Obstacle::PoolFull)
        };
        members.iter().map(move |member| Candidate::new(region, version, member, best, (outer, of_pool)))
    }

    /// The standby that answers, if no active region can.
    fn standby_turn(&self, capability: Capability, available: impl Fn(usize) -> bool) -> Option<usize> {
        let mut placement = Placement::new(self.regions.len());
        placement.fit(&self.regions, capability, available);
        placement.standby_turn()
    }

    fn obstacle(&self, region: usize, capability: Capability, turn: Option<usize>) -> Option<Obstacle> {
        let Region { role, weight, capabilities, .. } = &self.regions[region];
        if !capabilities.serves(capability) {
            return Some(Obstacle::Capability);
        }
        match role {
            Role::Standby => (turn != Some(region)).then_some(Obstacle::Standby),
            Role::Primary | Role::Secondary => (weight.get() == 0).then_some(Obstacle::RegionWeight),
        }
    }

    fn best(&self, region: usize, version: usize) -> Standing {
        if self.pool_state(region, version).offer().barrier.is_some() {
            return Standing::Out;
        }
        let offers = self.pool(region, version).iter().filter(|member| member.weight > 0);
        let offers = offers.map(|member| member.endpoint.offer()).filter(|offer| offer.barrier.is_none());
        offers.map(|offer| offer.standing).min().unwrap_or(Standing::Out)
    }
}

/// One endpoint, and whether it may be chosen.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// Index into the regions.
    pub region: usize,
    /// Index into the versions.
    pub version: usize,
    /// Its state.
    pub endpoint: &'a Arc<Endpoint>,
    /// Share of its pool's requests.
    pub weight: u32,
    /// As it was read. What may be given to it now.
    pub offer: Offer,
    /// Why it is not chosen; none if it may be.
    pub obstacle: Option<Obstacle>,
}

/// Why an endpoint is not chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Obstacle {
    /// Its region does not serve this kind of request.
    Capability,
    /// Its region has weight 0.
    RegionWeight,
    /// Its region is a standby whose turn it is not: an active region, or a standby before it, can answer.
    Standby,
    /// Its version has weight 0, or is not the one that the route names.
    NotReached,
    /// Its own weight is 0.
    Weight,
    /// Not yet probed, while its pool has a verified one.
    Unprobed,
    /// Probed and bad.
    Out,
    /// An operator holds it out.
    Forced,
    /// It was worse than the others of its pool.
    Ejected,
    /// Its breaker is open.
    Breaker,
    /// It has said that it wants nothing new.
    Draining,
    /// It answers as many requests as it may at once.
    Full,
    /// The breaker of its pool is open.
    PoolBreaker,
    /// Its pool answers as many requests as it may at once.
    PoolFull,
}

impl From<Barrier> for Obstacle {
    fn from(barrier: Barrier) -> Self {
        match barrier {
            Barrier::Forced => Self::Forced,
            Barrier::Ejected => Self::Ejected,
            Barrier::Breaker => Self::Breaker,
            Barrier::Draining => Self::Draining,
        }
    }
}

impl Obstacle {
    /// A stable name for people and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Capability => "capability",
            Self::RegionWeight => "region_weight",
            Self::Standby => "standby",
            Self::NotReached => "not_reached",
            Self::Weight => "weight",
            Self::Unprobed => "unprobed",
            Self::Out => "out",
            Self::Forced => "forced",
            Self::Ejected => "ejected",
            Self::Breaker => "breaker",
            Self::Draining => "draining",
            Self::Full => "full",
            Self::PoolBreaker => "pool_breaker",
            Self::PoolFull => "pool_full",
        }
    }
}

impl<'a> Candidate<'a> {
    /// What speaks against its region or version is told first, then what does against itself, then what does against its pool.
    fn new(
        region: usize,
        version: usize,
        member: &'a Member,
        best: Standing,
        (outer, of_pool): (Option<Obstacle>, Option<Obstacle>),
    ) -> Self {
        let offer = member.endpoint.offer();
        let own = match offer.standing {
            _ if offer.barrier.is_some() => offer.barrier.map(Obstacle::from),
            _ if member.weight == 0 || offer.level == 0 => Some(Obstacle::Weight),
            Standing::Out => Some(Obstacle::Out),
            Standing::Unprobed if best == Standing::Verified => Some(Obstacle::Unprobed),
            Standing::Unprobed | Standing::Verified => (!member.endpoint.has_room()).then_some(Obstacle::Full),
        };
        let obstacle = outer.or(own).or(of_pool);
        Self { region, version, endpoint: &member.endpoint, weight: member.weight, offer, obstacle }
    }
}

impl Version {
    fn new(service: &validated::Service, version: &validated::Version) -> Self {
        let weight = version.weight.get();
        Self { name: version.name.clone(), weight, ticket: Ticket::new(&service.name, &version.name, weight) }
    }
}

fn pools(regions: &[Region], service: &validated::Service, registry: &Registry) -> Vec<Vec<Member>> {
    let versions = service.versions.len();
    let mut pools: Vec<Vec<Member>> = (0..regions.len() * versions).map(|_| Vec::new()).collect();
    for (at, version) in service.versions.iter().enumerate() {
        for pool in &version.pools {
            let member = |endpoint: &validated::Endpoint| {
                let id = identity(regions, service, version, pool, endpoint);
                let state = registry.find(&id).expect("the registry was carried for this document");
                Member { endpoint: Arc::clone(state), weight: endpoint.weight.get() }
            };
            pools[pool.region * versions + at] = pool.endpoints.iter().map(member).collect();
        }
    }
    pools
}

/// In the order of pools. Of a pool without endpoints a state that nobody changes.
fn states(
    regions: &[Region],
    service: &validated::Service,
    registry: &Registry,
    pulse: &Arc<Pulse>,
) -> Vec<Arc<PoolState>> {
    let ids = regions.iter().flat_map(|region| {
        let id = |version: &validated::Version| PoolId {
            service: service.name.clone(),
            version: version.name.clone(),
            region: region.name.clone(),
        };
        service.versions.iter().map(id)
    });
    let state = |id: PoolId| {
        registry.find_pool(&id).map_or_else(|| Arc::new(PoolState::new(id, Arc::clone(pulse))), Arc::clone)
    };
    ids.map(state).collect()
}

/// The different splits over the versions, and for each region which one its requests take.
fn splits(versions: &[Version], pools: &[Vec<Member>]) -> (Vec<Shares>, Vec<Option<usize>>) {
    let mut splits: Vec<Shares> = Vec::new();
    let split_of = pools.chunks(versions.len()).map(|row| {
        let there = versions.iter().zip(row).map(|(version, pool)| (version.weight, !pool.is_empty()));
        let shares = split(there);
        if shares.members() == 0 {
            return None;
        }
        let known = splits.iter().position(|split| *split == shares);
        Some(known.unwrap_or_else(|| {
            splits.push(shares);
            splits.len() - 1
        }))
    });
    let split_of = split_of.collect();
    (splits, split_of)
}

/// The split of a region, over the versions' weights and whether they have endpoints there.
fn split(versions: impl ExactSizeIterator<Item = (u32, bool)>) -> Shares {
    Shares::of(versions.map(|(weight, there)| if there { weight } else { 0 }))
}

/// The share of a service's new requests of one kind that each pool is meant to get: while every endpoint may take traffic,
/// from routes that name no version. By regions, then versions. All 0 when no region serves them. For people: allocates.
#[must_use]
pub fn intended(regions: &[Region], service: &validated::Service, capability: Capability) -> Vec<Vec<f64>> {
    let has = |version: &validated::Version, region| version.pools.iter().any(|pool| pool.region == region);
    let row = |region| split(service.versions.iter().map(|version| (version.weight.get(), has(version, region))));
    let splits: Vec<Shares> = (0..regions.len()).map(row).collect();
    let mut placement = Placement::new(regions.len());
    placement.fit(regions, capability, |region| splits[region].members() > 0);
    let part = |region: usize, version| placement.share(region) * splits[region].share(version);
    (0..regions.len())
        .map(|region| (0..service.versions.len()).map(|version| part(region, version)).collect())
        .collect()
}

fn baseline(versions: &[Version]) -> usize {
    let heavier = |best: usize, at: usize| if versions[at].weight > versions[best].weight { at } else { best };
    (0..versions.len()).fold(0, heavier)
}

/// The regions in the order in which they stand in for another: the primary, then by weight, standbys last.
fn fallbacks(regions: &[Region]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..regions.len()).collect();
    order.sort_by_key(|at| {
        let region = &regions[*at];
        let rank = match region.role {
            Role::Primary => 0,
            Role::Secondary => 1,
            Role::Standby => 2,
        };
        (rank, std::cmp::Reverse(region.weight))
    });
    order
}

#[cfg(test)]
mod tests;
