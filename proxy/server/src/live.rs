//! The compiled form of a revision that the proxy runs: every name an index, every metric a handle, every endpoint with
//! the state it had before. Immutable; a new revision is compiled off the path and swapped in as a whole.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize};
use std::time::Instant;

use sluice_config::name::{ListenerName, ServiceName, ZoneName};
use sluice_config::validated::{
    self, Balancer, Capability, Forces, Priority, Region, Retries, ServiceLimits, Session, Timeouts,
};
use sluice_config::value::RevisionId;
use sluice_config::{UnusableFile, Validated};
use sluice_proxy_core::change::Change;
use sluice_proxy_core::endpoint::{Endpoint, EndpointId, Registry};
use sluice_proxy_core::pool::{PoolId, PoolState};
use sluice_proxy_core::retry::Floor;
use sluice_proxy_core::route::{BadRegex, RouteTable};
use sluice_proxy_core::select::Spot;
use sluice_proxy_core::service::{self, Service};

use crate::client::Identity;
use crate::metrics::{Metrics, PoolSeries, RequestKey, RequestSeries, ServiceSeries, VersionSeries};
use crate::pending::Pending;
use crate::probe::Target;
use crate::upstream::{Peer, Reach};

type Peers = BTreeMap<EndpointId, Arc<Peer>>;
type Pendings = BTreeMap<PoolId, Arc<Pending>>;

/// A revision that runs.
#[derive(Debug)]
pub struct Live {
    pub(crate) id: RevisionId,
    /// Where this proxy is, if it was told.
    pub(crate) zone: Option<ZoneName>,
    pub(crate) document: Arc<Validated>,
    pub(crate) table: RouteTable,
    pub(crate) routes: Vec<RouteEntry>,
    pub(crate) services: Vec<ServiceEntry>,
    /// For requests that no route matches.
    pub(crate) unrouted: Arc<RequestSeries>,
    /// For each listener.
    pub(crate) identities: BTreeMap<ListenerName, Arc<Identity>>,
    pub(crate) registry: Registry,
    peers: Peers,
    pendings: Pendings,
}

/// What a route leads to.
#[derive(Debug)]
pub(crate) struct RouteEntry {
    pub(crate) name: Arc<str>,
    pub(crate) service: usize,
    pub(crate) version: Option<usize>,
    pub(crate) capability: Option<Capability>,
    pub(crate) priority: Priority,
    /// One for each region and version.
    series: Vec<Arc<RequestSeries>>,
    /// For requests that were not placed.
    pub(crate) unplaced: Arc<RequestSeries>,
    versions: usize,
}

impl RouteEntry {
    /// Where a request that was answered from this spot is recorded.
    pub(crate) fn series(&self, spot: &Spot) -> &Arc<RequestSeries> {
        &self.series[spot.region * self.versions + spot.version]
    }
}

/// A service as exchanges use it.
#[derive(Debug)]
pub(crate) struct ServiceEntry {
    pub(crate) core: Service,
    reach: Arc<Reach>,
    pub(crate) timeouts: Timeouts,
    pub(crate) balancer: Balancer,
    pub(crate) session: Option<Session>,
    pub(crate) retries: Retries,
    pub(crate) limits: ServiceLimits,
    pub(crate) lasting: Arc<Lasting>,
    pub(crate) series: Arc<ServiceSeries>,
    pub(crate) versions: Vec<Arc<VersionSeries>>,
    /// For each region and version, by the pool's order.
    peers: Vec<Vec<Arc<Peer>>>,
    /// For each region and version: who waits for it.
    pendings: Vec<Arc<Pending>>,
    /// For each region and version.
    pool_series: Vec<Arc<PoolSeries>>,
}

/// What of a service lives over workers and revisions, besides its endpoints.
#[derive(Debug)]
pub(crate) struct Lasting {
    /// What may always be sent again.
    pub(crate) floor: Floor,
    /// Attempts under way that follow another one.
    pub(crate) retrying: AtomicU32,
}

impl Lasting {
    fn new() -> Arc<Self> {
        Arc::new(Self { floor: Floor::new(Instant::now()), retrying: AtomicU32::new(0) })
    }
}

impl ServiceEntry {
    /// Whom to dial for this spot.
    pub(crate) fn peer(&self, spot: &Spot) -> &Arc<Peer> {
        &self.peers[spot.region * self.core.versions() + spot.version][spot.endpoint]
    }

    /// Who waits for this pool.
    pub(crate) fn pending(&self, (region, version): (usize, usize)) -> &Arc<Pending> {
        &self.pendings[region * self.core.versions() + version]
    }

    /// What is counted of this pool.
    pub(crate) fn pool_series(&self, (region, version): (usize, usize)) -> &PoolSeries {
        &self.pool_series[region * self.core.versions() + version]
    }

    /// Wakes who waits where there is room, whatever made it.
    pub(crate) fn wake(&self) {
        for (at, pending) in self.pendings.iter().enumerate().filter(|(_, pending)| pending.len() > 0) {
            if self.core.has_room(at / self.core.versions(), at % self.core.versions()) {
                pending.wake();
            }
        }
    }

    /// Every endpoint of every pool.
    pub(crate) fn endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        self.peers.iter().flatten().map(|peer| peer.endpoint.as_ref())
    }
}

/// Why a proven document cannot run here.
#[derive(Debug)]
pub enum Uncompiled {
    /// A route's regular expression cannot be compiled.
    Route(BadRegex),
    /// Files that it names cannot be used.
    Files(Vec<UnusableFile>),
}

impl fmt::Display for Uncompiled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Route(error) => write!(f, "{error}"),
            Self::Files(files) => {
                let told: Vec<_> = files.iter().map(ToString::to_string).collect();
                f.write_str(&told.join("\n"))
            }
        }
    }
}

impl std::error::Error for Uncompiled {}

/// Compiles a proven document. Files that it names are read, relative ones from `folder`. `before` lends the states of endpoints
/// that both revisions name; what it compiled stays as it is, so that a revision that is given up after all has changed nothing.
///
/// # Errors
/// For a route whose regular expression cannot be compiled, and for files that cannot be used.
pub fn compile(
    id: RevisionId,
    document: Arc<Validated>,
    before: Option<&Live>,
    metrics: &Metrics,
    folder: &Path,
) -> Result<Live, Uncompiled> {
    let table = RouteTable::build(&document.routes).map_err(Uncompiled::Route)?;
    let reaches = Reach::all(&document, folder, before).map_err(Uncompiled::Files)?;
    let regions: Arc<[Region]> = document.regions.clone().into();
    let empty = Registry::default();
    let known = before.map_or(&empty, |live| &live.registry);
    let registry = known.carry(service::identities(&regions, &document.services));
    let by_name: BTreeMap<_, _> = document.services.iter().map(|service| &service.name).zip(&reaches).collect();
    let peers = carry_peers(&registry, &by_name, before);
    let pendings = carry_pendings(&registry, before);
    let old: BTreeMap<&ServiceName, &ServiceEntry> =
        before.iter().flat_map(|live| &live.services).map(|service| (service.core.name(), service)).collect();
    let services = document.services.iter().zip(&reaches).map(|(service, reach)| {
        let old = old.get(&service.name).copied();
        compile_service(&regions, (service, old), reach, &registry, (&peers, &pendings), metrics)
    });
    let services: Vec<ServiceEntry> = services.collect();
    Ok(Live {
        id,
        zone: None,
        table,
        routes: document.routes.iter().map(|route| compile_route(&document, route, metrics)).collect(),
        services,
        unrouted: metrics.requests(&RequestKey::default()),
        identities: document.listeners.iter().map(|one| (one.name.clone(), Arc::new(one.into()))).collect(),
        registry,
        peers,
        pendings,
        document,
    })
}

impl Live {
    /// What is probed while this revision runs.
    pub(crate) fn targets(&self) -> Vec<Target> {
        let checks =
            self.document.services.iter().filter_map(|service| Some((&service.name, service.health_check.as_ref()?)));
        let checks: BTreeMap<_, _> = checks.map(|(service, check)| (service, Arc::new(check.clone()))).collect();
        let target = |peer: &Arc<Peer>| {
            let check = Arc::clone(checks.get(&peer.endpoint.id().service)?);
            let (endpoint, reach) = (Arc::clone(&peer.endpoint), Arc::clone(&peer.reach));
            Some(Target { endpoint, check, reach })
        };
        self.peers.values().filter_map(target).collect()
    }

    /// Holds what operators hold, and lets go what they do not hold any more; answers with what that changed of breakers. Not a
    /// part of compiling: states are shared with what runs, and a revision that is given up must leave nothing behind.
    pub(crate) fn enforce(&self, now: Instant) -> Vec<Change> {
        for (service, entry) in self.document.services.iter().zip(&self.services) {
            for endpoint in entry.endpoints() {
                endpoint.set_checked(service.health_check.is_some());
            }
            entry.core.adopt();
        }
        self.peers.values().for_each(|peer| peer.limit_connections());
        let held = self.held();
        let mut changes = Vec::new();
        for endpoint in self.registry.iter() {
            let id = endpoint.id();
            let forces = held.get(&PoolId::from(id));
            endpoint.force(forces.and_then(|forces| forces.endpoints.get(&id.address)).copied());
            let of_breaker = forces.and_then(|forces| forces.breakers.get(&id.address)).copied();
            changes.extend(endpoint.force_breaker(of_breaker, now));
        }
        for pool in self.registry.pools() {
            let force = held.get(pool.id()).and_then(|forces| forces.breaker);
            changes.extend(pool.force_breaker(force, now));
        }
        changes
    }

    /// What operators hold, by pool.
    fn held(&self) -> BTreeMap<PoolId, &Forces> {
        let mut held = BTreeMap::new();
        for service in &self.document.services {
            for version in &service.versions {
                for pool in version.pools.iter().filter(|pool| !pool.forces.is_empty()) {
                    let region = self.document.regions[pool.region].name.clone();
                    let id = PoolId { service: service.name.clone(), version: version.name.clone(), region };
                    held.insert(id, &pool.forces);
                }
            }
        }
        held
    }

    /// Every pool, with how many requests wait for it.
    pub(crate) fn pools(&self) -> Vec<(Arc<PoolState>, Arc<AtomicUsize>)> {
        let waiting = |pool: &Arc<PoolState>| self.pendings[pool.id()].count_of_waiting();
        self.registry.pools().map(|pool| (Arc::clone(pool), waiting(pool))).collect()
    }

    /// How each service is reached.
    pub(crate) fn reaches(&self) -> impl Iterator<Item = (&ServiceName, &Arc<Reach>)> {
        self.services.iter().map(|service| (service.core.name(), &service.reach))
    }

    /// Looks again at the files that services name. Blocks.
    pub(crate) fn refresh_files(&self) {
        self.reaches().for_each(|(service, reach)| reach.refresh(service.as_str()));
    }

    /// Marks the endpoints that `next` does not name, or reaches in another way, so that their connections are not kept.
    pub(crate) fn retire(&self, next: &Self) {
        let stays = |id, peer| next.peers.get(id).is_some_and(|next| Arc::ptr_eq(next, peer));
        let gone = self.peers.iter().filter(|(id, peer)| !stays(*id, *peer));
        gone.for_each(|(_, peer)| peer.retire());
    }
}

fn carry_peers(registry: &Registry, reaches: &BTreeMap<&ServiceName, &Arc<Reach>>, before: Option<&Live>) -> Peers {
    let peer = |endpoint: &Arc<Endpoint>| {
        let id = endpoint.id();
        let reach = reaches[&id.service];
        let known = before.and_then(|live| live.peers.get(id)).filter(|known| Arc::ptr_eq(&known.reach, reach));
        let seats = || before.and_then(|live| live.peers.get(id)).map(|peer| peer.seats()).unwrap_or_default();
        known.cloned().unwrap_or_else(|| Arc::new(Peer::new(Arc::clone(endpoint), Arc::clone(reach), seats())))
    };
    registry.iter().map(|endpoint| (endpoint.id().clone(), peer(endpoint))).collect()
}

fn carry_pendings(registry: &Registry, before: Option<&Live>) -> Pendings {
    let known = |id: &PoolId| before.and_then(|live| live.pendings.get(id)).cloned();
    let ids = registry.pools().map(|pool| pool.id().clone());
    ids.map(|id| (id.clone(), known(&id).unwrap_or_default())).collect()
}

fn compile_service(
    regions: &Arc<[Region]>,
    (service, old): (&validated::Service, Option<&ServiceEntry>),
    reach: &Arc<Reach>,
    registry: &Registry,
    (peers, pendings): (&Peers, &Pendings),
    metrics: &Metrics,
) -> ServiceEntry {
    let core = Service::after(old.map(|old| &old.core), regions, service, registry);
    let pools = || (0..regions.len()).flat_map(|region| (0..core.versions()).map(move |version| (region, version)));
    let pool = |(region, version)| {
        let members = core.pool(region, version).iter();
        members.map(|member| Arc::clone(&peers[member.endpoint.id()])).collect()
    };
    let pending = |id: &PoolId| pendings.get(id).map(Arc::clone).unwrap_or_default();
    ServiceEntry {
        peers: pools().map(pool).collect(),
        pool_series: pools()
            .map(|(region, version)| metrics.pool(&core.pool_state(region, version).id().into()))
            .collect(),
        pendings: pools().map(|(region, version)| pending(core.pool_state(region, version).id())).collect(),
        reach: Arc::clone(reach),
        timeouts: service.timeouts.clone(),
        balancer: service.balancer.clone(),
        session: service.session.clone(),
        retries: service.retries.clone(),
        lasting: old.map_or_else(Lasting::new, |old| Arc::clone(&old.lasting)),
        limits: service.limits,
        series: metrics.service(&service.name),
        versions: service.versions.iter().map(|version| metrics.version(&service.name, &version.name)).collect(),
        core,
    }
}

fn compile_route(document: &Validated, route: &validated::Route, metrics: &Metrics) -> RouteEntry {
    let service = &document.services[route.service];
    let key =
        RequestKey { route: Some(route.name.clone()), service: Some(service.name.clone()), ..RequestKey::default() };
    let mut series = Vec::with_capacity(document.regions.len() * service.versions.len());
    for region in &document.regions {
        for version in &service.versions {
            let (version, region) = (Some(version.name.clone()), Some(region.name.clone()));
            series.push(metrics.requests(&RequestKey { version, region, ..key.clone() }));
        }
    }
    RouteEntry {
        name: route.name.as_str().into(),
        service: route.service,
        version: route.version,
        capability: route.capability,
        priority: route.priority,
        series,
        unplaced: metrics.requests(&key),
        versions: service.versions.len(),
    }
}
