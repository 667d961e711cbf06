//! The compiled form of a revision that the proxy runs: every name an index, every metric a handle, every endpoint with
//! the state it had before. Immutable; a new revision is compiled off the path and swapped in as a whole.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use sluice_config::name::{ListenerName, ServiceName};
use sluice_config::validated::{self, Balancer, Capability, Region, Retries, Session, Timeouts};
use sluice_config::value::RevisionId;
use sluice_config::{UnusableFile, Validated};
use sluice_proxy_core::endpoint::{Endpoint, EndpointId, Registry};
use sluice_proxy_core::retry::Floor;
use sluice_proxy_core::route::{BadRegex, RouteTable};
use sluice_proxy_core::select::Spot;
use sluice_proxy_core::service::{self, Service};

use crate::client::Identity;
use crate::metrics::{Metrics, RequestKey, RequestSeries, ServiceSeries, VersionSeries};
use crate::probe::Target;
use crate::upstream::{Peer, Reach};

/// A revision that runs.
#[derive(Debug)]
pub struct Live {
    pub(crate) id: RevisionId,
    pub(crate) document: Arc<Validated>,
    pub(crate) table: RouteTable,
    pub(crate) routes: Vec<RouteEntry>,
    pub(crate) services: Vec<ServiceEntry>,
    /// For requests that no route matches.
    pub(crate) unrouted: Arc<RequestSeries>,
    /// For each listener.
    pub(crate) identities: BTreeMap<ListenerName, Arc<Identity>>,
    pub(crate) registry: Registry,
    peers: BTreeMap<EndpointId, Arc<Peer>>,
}

/// What a route leads to.
#[derive(Debug)]
pub(crate) struct RouteEntry {
    pub(crate) name: Arc<str>,
    pub(crate) service: usize,
    pub(crate) version: Option<usize>,
    pub(crate) capability: Option<Capability>,
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
    /// What may always be sent again, over all workers and over revisions.
    pub(crate) floor: Arc<Floor>,
    pub(crate) series: Arc<ServiceSeries>,
    pub(crate) versions: Vec<Arc<VersionSeries>>,
    /// For each region and version, by the pool's order.
    peers: Vec<Vec<Arc<Peer>>>,
}

impl ServiceEntry {
    /// Whom to dial for this spot.
    pub(crate) fn peer(&self, spot: &Spot) -> &Arc<Peer> {
        &self.peers[spot.region * self.core.versions() + spot.version][spot.endpoint]
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

/// Compiles a proven document. Files that it names are read, relative ones from `folder`. `before` lends the states of endpoints that both revisions name; what it compiled stays
/// as it is, so that a revision that is given up after all has changed nothing.
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
    let floors: BTreeMap<&ServiceName, &Arc<Floor>> =
        before.iter().flat_map(|live| &live.services).map(|service| (service.core.name(), &service.floor)).collect();
    let services = document.services.iter().zip(&reaches).map(|(service, reach)| {
        let floor = floors.get(&service.name).map_or_else(|| Arc::new(Floor::new(Instant::now())), |it| Arc::clone(it));
        compile_service(&regions, service, (reach, floor), &registry, &peers, metrics)
    });
    let services: Vec<ServiceEntry> = services.collect();
    Ok(Live {
        id,
        table,
        routes: document.routes.iter().map(|route| compile_route(&document, route, metrics)).collect(),
        services,
        unrouted: metrics.requests(&RequestKey::default()),
        identities: document.listeners.iter().map(|one| (one.name.clone(), Arc::new(one.into()))).collect(),
        registry,
        peers,
        document,
    })
}

impl Live {
    /// What is probed while this revision runs.
    pub(crate) fn targets(&self) -> Vec<Target> {
        let checks =
            self.document.services.iter().filter_map(|service| Some((&service.name, service.health_check.as_ref()?)));
        let checks: BTreeMap<_, _> = checks.collect();
        let target = |peer: &Arc<Peer>| {
            let check = checks.get(&peer.endpoint.id().service)?;
            let (endpoint, reach) = (Arc::clone(&peer.endpoint), Arc::clone(&peer.reach));
            Some(Target { endpoint, check: (*check).clone(), reach })
        };
        self.peers.values().filter_map(target).collect()
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

fn carry_peers(
    registry: &Registry,
    reaches: &BTreeMap<&ServiceName, &Arc<Reach>>,
    before: Option<&Live>,
) -> BTreeMap<EndpointId, Arc<Peer>> {
    let peer = |endpoint: &Arc<Endpoint>| {
        let id = endpoint.id();
        let reach = reaches[&id.service];
        let known = before.and_then(|live| live.peers.get(id)).filter(|known| Arc::ptr_eq(&known.reach, reach));
        known.cloned().unwrap_or_else(|| Arc::new(Peer::new(Arc::clone(endpoint), Arc::clone(reach))))
    };
    registry.iter().map(|endpoint| (endpoint.id().clone(), peer(endpoint))).collect()
}

fn compile_service(
    regions: &Arc<[Region]>,
    service: &validated::Service,
    (reach, floor): (&Arc<Reach>, Arc<Floor>),
    registry: &Registry,
    peers: &BTreeMap<EndpointId, Arc<Peer>>,
    metrics: &Metrics,
) -> ServiceEntry {
    let core = Service::new(regions, service, registry);
    let pools = (0..regions.len()).flat_map(|region| (0..core.versions()).map(move |version| (region, version)));
    let pool = |(region, version)| {
        let members = core.pool(region, version).iter();
        members.map(|member| Arc::clone(&peers[member.endpoint.id()])).collect()
    };
    ServiceEntry {
        peers: pools.map(pool).collect(),
        reach: Arc::clone(reach),
        timeouts: service.timeouts.clone(),
        balancer: service.balancer.clone(),
        session: service.session.clone(),
        retries: service.retries.clone(),
        floor,
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
        series,
        unplaced: metrics.requests(&key),
        versions: service.versions.len(),
    }
}
