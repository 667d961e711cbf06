//! Whether each service has somewhere to go.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;

use super::balance;
use super::judge::{Judge, repeated, section};
use super::{discovery, health_check, retries};
use crate::name::VersionName;
use crate::problem::{Code, Path, quote};
use crate::schema::endpoint as written_endpoint;
use crate::schema::endpoint::Endpoints;
use crate::schema::origin as written_origin;
use crate::schema::service as written;
use crate::schema::split as written_split;
use crate::schema::version as written_version;
use crate::validated::{
    ClientCertificate, Connections, Endpoint, Forces, OriginTls, Pool, Protocol, Query, Region, Service, Source, Split,
    StickyKey, Timeouts, Version,
};
use crate::value::Weight;

pub(super) fn resolve(judge: &mut Judge<'_>, services: &[written::Service], regions: &[Region]) -> Vec<Service> {
    judge.unique_names(&section("services"), "service", services.iter().map(|service| service.name.as_str()));
    let regions = Regions::new(judge, regions);
    let all = services.iter().enumerate();
    all.map(|(index, service)| resolve_one(judge, section("services").item(index), service, &regions)).collect()
}

/// Whether it is known in which regions the service has endpoints.
pub(super) fn is_placed(judge: &Judge<'_>, index: usize, service: &written::Service, regions: &HashSet<&str>) -> bool {
    let path = section("services").item(index);
    let is_known = |endpoints: &Endpoints| match endpoints {
        Endpoints::Here(list) => !list.is_empty(),
        Endpoints::ByRegion(lists) => !lists.is_empty() && lists.keys().all(|name| regions.contains(name.as_str())),
    };
    let mut lists = service.versions.iter().flatten().map(|version| &version.endpoints).chain(&service.endpoints);
    // Beside the one that is there, the other was hardly meant by an unknown field.
    let is_whole = match (&service.versions, &service.endpoints) {
        (Some(_), _) => !judge.gaps.lost(&path, "versions"),
        (None, endpoints) => endpoints.is_some(),
    };
    is_whole && lists.all(is_known)
}

/// The regions by name.
struct Regions<'a> {
    all: &'a [Region],
    places: HashMap<&'a str, usize>,
    /// What is written in place of names that are lost.
    lost: Vec<Option<String>>,
}

impl<'a> Regions<'a> {
    fn new(judge: &Judge<'_>, all: &'a [Region]) -> Self {
        let list = section("regions");
        let lost = judge.gaps.lost_names(&list, all.len());
        let named = all.iter().enumerate().rev().filter(|(place, _)| !judge.is_lost(&list, *place, "name"));
        Self { all, places: named.map(|(place, region)| (region.name.as_str(), place)).collect(), lost }
    }

    /// The first region that has a name.
    fn first(&self) -> Option<&'a Region> {
        self.all.iter().find(|region| self.places.contains_key(region.name.as_str()))
    }
}

fn resolve_one(judge: &mut Judge<'_>, path: Path, service: &written::Service, regions: &Regions<'_>) -> Service {
    let health_check = service.health_check.as_ref().map(|check| health_check::resolve(judge, &path, service, check));
    let versions = resolve_versions(judge, &path, service, regions);
    let connections = resolve_connections(judge, &path, service);
    let balance = balance::resolve(judge, &path, service);
    let timeouts = &service.timeouts;
    let discovery = discovery::resolve(judge, &path, service);
    let retries = retries::resolve(judge, &path, &service.retries, timeouts);
    Service {
        name: service.name.clone(),
        split: resolve_split(&service.split),
        balancer: balance.balancer,
        slow_start: balance.slow_start,
        zones: balance.zones,
        session: balance.session,
        panic: balance.panic,
        outlier_ejection: balance.outlier_ejection,
        breaker: balance.breaker,
        limits: balance.limits,
        fallback: balance.fallback,
        protocol: service.protocol,
        tls: service.tls.as_ref().map(resolve_tls),
        connections,
        health_check,
        discovery,
        timeouts: Timeouts {
            connect: timeouts.connect.0,
            per_try: timeouts.per_try.0,
            idle: timeouts.idle.0,
            total: timeouts.total.0,
            tunnel_idle: timeouts.tunnel_idle.0,
        },
        retries,
        versions,
    }
}

fn resolve_tls(tls: &written_origin::OriginTls) -> OriginTls {
    let pair =
        |pair: &written_origin::ClientCertificate| ClientCertificate { cert: pair.cert.clone(), key: pair.key.clone() };
    OriginTls {
        server_name: tls.server_name.to_ascii_lowercase(),
        ca: tls.ca.clone(),
        client_certificate: tls.client_certificate.as_ref().map(pair),
    }
}

/// Requests that share a connection when none is said.
const STREAMS: u32 = 100;

fn resolve_connections(judge: &mut Judge<'_>, path: &Path, service: &written::Service) -> Connections {
    let connections = &service.connections;
    let is_known = !judge.gaps.lost(path, "protocol");
    if connections.streams.is_some() && service.protocol == Protocol::Http1 && is_known {
        let path = path.clone().field("connections").field("streams");
        let hint = "write `protocol: http2` beside it, or leave it out".to_owned();
        let message = "the service speaks HTTP/1.1, where requests do not share a connection";
        judge.report(Code::Conflict, path, message, Some(hint));
    }
    Connections {
        idle: connections.idle,
        idle_timeout: connections.idle_timeout.0,
        streams: connections.streams.unwrap_or(STREAMS),
    }
}

fn resolve_split(split: &written_split::Split) -> Split {
    match split {
        written_split::Split::Random => Split::Random,
        written_split::Split::Sticky(key) => Split::Sticky(match key {
            written_split::StickyKey::Header(name) => StickyKey::Header(name.to_ascii_lowercase()),
            written_split::StickyKey::Cookie(name) => StickyKey::Cookie(name.clone()),
            written_split::StickyKey::ClientAddress => StickyKey::ClientAddress,
        }),
    }
}

fn resolve_versions(
    judge: &mut Judge<'_>,
    path: &Path,
    service: &written::Service,
    regions: &Regions<'_>,
) -> Vec<Version> {
    match (&service.versions, &service.endpoints) {
        (Some(versions), None) => resolve_written(judge, &path.clone().field("versions"), versions, regions),
        (None, Some(endpoints)) => {
            let pools = resolve_pools(judge, path.clone().field("endpoints"), endpoints, regions);
            vec![Version { name: VersionName::implied(), weight: Weight::HUNDRED, pools }]
        }
        (Some(_), Some(_)) => {
            let hint = "`endpoints` is short for one version: move them into `versions`".to_owned();
            let message = "a service has `versions` or `endpoints`, not both";
            judge.report(Code::Conflict, path.clone().field("endpoints"), message, Some(hint));
            Vec::new()
        }
        (None, None) if judge.gaps.lost(path, "versions") || judge.gaps.lost(path, "endpoints") => Vec::new(),
        (None, None) => {
            let hint =
                "write `endpoints: [\"10.0.0.1:8080\"]`, or `versions` if there is something to shift".to_owned();
            let message = "the service has neither `versions` nor `endpoints`";
            judge.report(Code::MissingField, path.clone(), message, Some(hint));
            Vec::new()
        }
    }
}

fn resolve_written(
    judge: &mut Judge<'_>,
    list: &Path,
    versions: &[written_version::Version],
    regions: &Regions<'_>,
) -> Vec<Version> {
    judge.unique_names(list, "version", versions.iter().map(|version| version.name.as_str()));
    let weights = versions.iter().enumerate().map(|(index, version)| (index, version.weight));
    if all_zero(judge, list, weights) {
        let hint = "give at least one version a weight above 0".to_owned();
        judge.report(Code::AllWeightsZero, list.clone(), "the weights of all versions are 0", Some(hint));
    }
    let version = |(index, version): (usize, &written_version::Version)| Version {
        name: version.name.clone(),
        weight: version.weight,
        pools: resolve_pools(judge, list.clone().item(index).field("endpoints"), &version.endpoints, regions),
    };
    versions.iter().enumerate().map(version).collect()
}

fn resolve_pools(judge: &mut Judge<'_>, path: Path, endpoints: &Endpoints, regions: &Regions<'_>) -> Vec<Pool> {
    let mut pools = match endpoints {
        Endpoints::Here(list) => {
            if list.is_empty() {
                return Vec::new();
            }
            if regions.all.len() > 1 {
                let name = regions.first().map_or("REGION", |region| region.name.as_str());
                let hint = format!("write a list for each region: {{ {name}: [..] }}");
                judge.report(
                    Code::Conflict,
                    path.clone(),
                    "with several regions it must be said where endpoints are",
                    Some(hint),
                );
            }
            vec![resolve_pool(judge, &path, 0, list)]
        }
        Endpoints::ByRegion(lists) => {
            let pool = |(name, list): (&String, &Vec<_>)| {
                let path = path.clone().field(name);
                let Some(region) = regions.places.get(name.as_str()) else {
                    report_undeclared(judge, path, name, regions);
                    return None;
                };
                Some(resolve_pool(judge, &path, *region, list))
            };
            lists.iter().filter_map(pool).collect()
        }
    };
    pools.sort_by_key(|pool| pool.region);
    pools
}

fn report_undeclared(judge: &mut Judge<'_>, path: Path, name: &str, regions: &Regions<'_>) {
    if judge.gaps.is_lost(&section("regions")) || judge.may_be_lost(name, &regions.lost) {
        return;
    }
    let names = regions.all.iter().map(|region| region.name.as_str());
    let nearest = judge.suggestions.hint(name, names.filter(|name| regions.places.contains_key(name)));
    let hint = nearest.unwrap_or_else(|| "declare it under `regions`".to_owned());
    judge.report_key(Code::UndeclaredRegion, path, format!("the region {} is not declared", quote(name)), hint);
}

fn resolve_pool(judge: &mut Judge<'_>, path: &Path, region: usize, list: &[written_endpoint::Endpoint]) -> Pool {
    let members: Vec<_> = list.iter().enumerate().map(|(at, one)| member(judge, &path.clone().item(at), one)).collect();
    let address = |(at, member): (usize, &Member)| match member {
        Member::Endpoint(endpoint) => Some((at, endpoint.address)),
        Member::Source(_) | Member::Unknown => None,
    };
    let addresses = members.iter().enumerate().filter_map(address);
    let addresses = addresses.filter(|(index, _)| !judge.is_lost(path, *index, "address"));
    for (later, first, address) in repeated::<SocketAddr>(addresses) {
        let other = judge.place(path.clone().item(first));
        let message = format!("the endpoint {address} is already {other}");
        let hint = "remove it; a larger share is a larger weight".to_owned();
        judge.report(Code::DuplicateEndpoint, path.clone().item(later), message, Some(hint));
    }
    refuse_twice(judge, path, &members);
    let weights = members.iter().map(Member::weight).enumerate();
    if all_zero(judge, path, weights) {
        let hint = "give at least one endpoint a weight above 0".to_owned();
        judge.report(Code::AllWeightsZero, path.clone(), "the weights of all endpoints are 0", Some(hint));
    }
    let (mut endpoints, mut sources) = (Vec::new(), Vec::new());
    for member in members {
        match member {
            Member::Endpoint(endpoint) => endpoints.push(endpoint),
            Member::Source(source) => sources.push(source),
            Member::Unknown => {}
        }
    }
    Pool { region, endpoints, sources, forces: Forces::default() }
}

/// What one item of a pool's list means.
enum Member {
    Endpoint(Endpoint),
    Source(Source),
    /// It was refused.
    Unknown,
}

impl Member {
    /// As far as the document says it.
    const fn weight(&self) -> Weight {
        match self {
            Self::Endpoint(endpoint) => endpoint.weight,
            Self::Source(source) => source.weight,
            Self::Unknown => Weight::ONE,
        }
    }
}

fn member(judge: &mut Judge<'_>, path: &Path, written: &written_endpoint::Endpoint) -> Member {
    match written {
        written_endpoint::Endpoint::Address(address) => {
            Member::Endpoint(Endpoint { address: address.0, weight: Weight::ONE, zone: None })
        }
        written_endpoint::Endpoint::Weighted(endpoint) => Member::Endpoint(Endpoint {
            address: endpoint.address.0,
            weight: endpoint.weight,
            zone: endpoint.zone.clone(),
        }),
        written_endpoint::Endpoint::Named(named) => {
            discovery::named(judge, path, named).map_or(Member::Unknown, Member::Source)
        }
        written_endpoint::Endpoint::Listed(list) => Member::Source(Source {
            query: Query::File { path: list.file.clone() },
            weight: Weight::ONE,
            zone: list.zone.clone(),
        }),
    }
}

/// Refuses each source that is in the pool already.
fn refuse_twice(judge: &mut Judge<'_>, path: &Path, members: &[Member]) {
    let query = |(at, member): (usize, &'_ Member)| match member {
        Member::Source(source) => Some((at, source.query.clone())),
        Member::Endpoint(_) | Member::Unknown => None,
    };
    let known: Vec<(usize, Query)> = members.iter().enumerate().filter_map(query).collect();
    let is_lost =
        |at: usize| ["dns", "port", "srv", "family", "file"].iter().any(|field| judge.is_lost(path, at, field));
    let known: Vec<_> = known.iter().filter(|(at, _)| !is_lost(*at)).map(|(at, query)| (*at, query)).collect();
    for (later, first, query) in repeated(known.into_iter()) {
        let other = judge.place(path.clone().item(first));
        let message = format!("the source {query} is already {other}");
        judge.report(Code::DuplicateEndpoint, path.clone().item(later), message, Some("remove it".to_owned()));
    }
}

/// Whether no item of a list has a weight above 0, as far as all of them are known.
fn all_zero(judge: &Judge<'_>, list: &Path, mut weights: impl Iterator<Item = (usize, Weight)>) -> bool {
    !judge.gaps.is_lost(list)
        && weights.all(|(index, weight)| weight == Weight::ZERO && !judge.is_lost(list, index, "weight"))
}
