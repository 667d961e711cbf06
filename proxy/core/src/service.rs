//! Holds what the choice of a service's endpoint needs, prepared once for a revision: names, weights and pools.
//!
//! Which versions a region's requests are split over is a matter of the document: those with a weight above 0 and
//! endpoints there. Health does not change the split, since a version whose endpoints are out is reached in another
//! region before its share goes to the baseline. Regions with the same versions share one split, so in the common
//! document, where every version is everywhere, a service has one, and its windows hold over all regions together.
//!
//! A pool whose endpoints are all still to be discovered counts as there: what is found later must not change a split.
//!
//! Invariants: pools are in the order of regions, then versions; a pool without endpoints is empty, not absent.

mod explain;
mod govern;

use std::net::SocketAddr;
use std::sync::Arc;

use sluice_config::name::{RegionName, ServiceName, VersionName, ZoneName};
use sluice_config::validated::{self, Balancer, Capability, Fallback, Panic, Region, Role, StickyKey, Zones};

pub use self::explain::{Candidate, Obstacle};
use self::govern::Protection;
use crate::balance::maglev::Table;
use crate::endpoint::{Endpoint, EndpointId, Pulse, Registry};
use crate::place::Placement;
use crate::policies::Policies;
use crate::pool::{PoolId, PoolState};
use crate::select::Spot;
use crate::split::{Shares, Ticket};
use crate::sticky;
use crate::supply::Supply;

/// A service of one revision.
#[derive(Debug)]
pub struct Service {
    pub(crate) name: ServiceName,
    pub(crate) regions: Arc<[Region]>,
    pub(crate) versions: Vec<Version>,
    pub(crate) pools: Vec<Vec<Member>>,
    /// For pools whose requests are led by a key.
    pub(crate) tables: Vec<Option<Arc<Table>>>,
    pub(crate) splits: Vec<Shares>,
    pub(crate) split_of: Vec<Option<usize>>,
    pub(crate) fallbacks: Vec<usize>,
    pub(crate) baseline: usize,
    pub(crate) pulse: Arc<Pulse>,
    pub(crate) states: Vec<Arc<PoolState>>,
    protections: Vec<Protection>,
    pub(crate) policies: Policies,
    pub(crate) balancer: Balancer,
    pub(crate) zones: Option<Zones>,
    pub(crate) panic: Option<Panic>,
    pub(crate) fallback: Fallback,
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
    /// Where in its region it is, if that was said.
    pub zone: Option<ZoneName>,
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
        let service = Self::after(None, regions, service, registry);
        service.adopt();
        service
    }

    /// As [`Self::new`], after an older revision of the same service: what took long to prepare there and is still true is not
    /// prepared again. Changes nothing that the older one shares; call [`Self::adopt`] when it is to run.
    ///
    /// # Panics
    /// If the registry lacks one of the service's endpoints.
    #[must_use]
    pub fn after(
        old: Option<&Self>,
        regions: &Arc<[Region]>,
        service: &validated::Service,
        registry: &Registry,
    ) -> Self {
        let versions: Vec<Version> = service.versions.iter().map(|version| Version::new(service, version)).collect();
        let pools = pools(regions, service, registry);
        let is_led = service.session.is_some() || matches!(service.balancer, Balancer::Maglev { .. });
        let table = |(at, members): (usize, &Vec<Member>)| {
            let (region, version) = (&regions[at / versions.len()].name, &versions[at % versions.len()].name);
            (is_led && !members.is_empty()).then(|| table(old.and_then(|old| old.table(region, version)), members))
        };
        let (splits, split_of) = splits(&versions, service, regions.len());
        let pulse = registry.pulse(&service.name).map(Arc::clone).unwrap_or_default();
        Self {
            tables: pools.iter().enumerate().map(table).collect(),
            protections: pools.iter().map(|_| Protection::default()).collect(),
            balancer: service.balancer.clone(),
            zones: service.zones,
            panic: service.panic,
            fallback: service.fallback,
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
        }
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

    /// What belongs to that pool whatever its endpoints are.
    #[must_use]
    pub fn pool_state(&self, region: usize, version: usize) -> &Arc<PoolState> {
        &self.states[self.pool_index(region, version)]
    }

    /// Whether any endpoint that may be picked from this pool has room. O(endpoints).
    #[must_use]
    pub fn has_room(&self, region: usize, version: usize) -> bool {
        let (supply, state) = (self.supply(region, version), self.pool_state(region, version));
        let is_picked = |member: &Member| supply.weight(member.weight, member.endpoint.offer()) > 0;
        let members = self.pool(region, version);
        state.has_room() && members.iter().any(|member| is_picked(member) && member.endpoint.has_room())
    }

    /// Whether this endpoint may be picked from its pool now. O(endpoints).
    #[must_use]
    pub fn may_pick(&self, spot: &Spot) -> bool {
        let member = &self.pool(spot.region, spot.version)[spot.endpoint];
        self.supply(spot.region, spot.version).weight(member.weight, member.endpoint.offer()) > 0
    }

    fn supply(&self, region: usize, version: usize) -> Supply {
        let offers = self.pool(region, version).iter().map(|member| (member.weight, member.endpoint.offer()));
        Supply::of(self.pool_state(region, version).offer(), offers, self.panic)
    }

    /// What the document asks of endpoints and pools.
    #[must_use]
    pub const fn policies(&self) -> &Policies {
        &self.policies
    }

    fn table(&self, region: &RegionName, version: &VersionName) -> Option<&Arc<Table>> {
        let region = self.regions.iter().position(|known| known.name == *region)?;
        let version = self.versions.iter().position(|known| known.name == *version)?;
        self.tables[self.pool_index(region, version)].as_ref()
    }

    pub(crate) const fn pool_index(&self, region: usize, version: usize) -> usize {
        region * self.versions.len() + version
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
                Member { endpoint: Arc::clone(state), weight: endpoint.weight.get(), zone: endpoint.zone.clone() }
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

/// The older table, if it is of the same endpoints.
fn table(old: Option<&Arc<Table>>, members: &[Member]) -> Arc<Table> {
    let names: Vec<([u8; 18], u32)> =
        members.iter().map(|member| (bytes(member.endpoint.id().address), member.weight)).collect();
    let named = || names.iter().map(|(name, weight)| (&name[..], *weight));
    match old.filter(|old| old.is_of(named())) {
        Some(old) => Arc::clone(old),
        None => Arc::new(Table::build(named())),
    }
}

/// The same on every machine.
fn bytes(address: SocketAddr) -> [u8; 18] {
    let (mut bytes, (ip, _)) = ([0; 18], sticky::address(address.ip()));
    bytes[..16].copy_from_slice(&ip);
    bytes[16..].copy_from_slice(&address.port().to_be_bytes());
    bytes
}

/// The different splits over the versions, and for each region which one its requests take.
fn splits(versions: &[Version], service: &validated::Service, regions: usize) -> (Vec<Shares>, Vec<Option<usize>>) {
    let mut splits: Vec<Shares> = Vec::new();
    let has = |version: &validated::Version, region| version.pools.iter().any(|pool| pool.region == region);
    let split_of = (0..regions).map(|region| {
        let there = versions.iter().zip(&service.versions);
        let there = there.map(|(version, written)| (version.weight, has(written, region)));
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
