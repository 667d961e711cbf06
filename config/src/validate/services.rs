//! Whether each service has somewhere to go.

use std::collections::HashMap;
use std::net::SocketAddr;

use super::judge::{Judge, repeated, section};
use crate::name::VersionName;
use crate::problem::{Code, Path, quote};
use crate::schema::endpoint as written_endpoint;
use crate::schema::endpoint::Endpoints;
use crate::schema::health_check as written_check;
use crate::schema::service as written;
use crate::schema::split as written_split;
use crate::schema::version as written_version;
use crate::validated::{Endpoint, HealthCheck, HttpProbe, Pool, Region, Service, Split, StickyKey, Timeouts, Version};
use crate::value::Weight;

pub(super) fn resolve(judge: &mut Judge<'_>, services: &[written::Service], regions: &[Region]) -> Vec<Service> {
    judge.unique_names(&section("services"), "service", services.iter().map(|service| service.name.as_str()));
    let regions = Regions::new(regions);
    let all = services.iter().enumerate();
    all.map(|(index, service)| resolve_one(judge, section("services").item(index), service, &regions)).collect()
}

/// The regions by name.
struct Regions<'a> {
    all: &'a [Region],
    places: HashMap<&'a str, usize>,
}

impl<'a> Regions<'a> {
    fn new(all: &'a [Region]) -> Self {
        Self {
            all,
            places: all.iter().enumerate().rev().map(|(place, region)| (region.name.as_str(), place)).collect(),
        }
    }
}

fn resolve_one(judge: &mut Judge<'_>, path: Path, service: &written::Service, regions: &Regions<'_>) -> Service {
    let health_check = service.health_check.as_ref().map(|check| resolve_check(judge, &path, check));
    let versions = resolve_versions(judge, &path, service, regions);
    let timeouts = &service.timeouts;
    Service {
        name: service.name.clone(),
        split: resolve_split(&service.split),
        health_check,
        timeouts: Timeouts {
            connect: timeouts.connect.0,
            per_try: timeouts.per_try.0,
            idle: timeouts.idle.0,
            total: timeouts.total.0,
            tunnel_idle: timeouts.tunnel_idle.0,
        },
        versions,
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

fn resolve_check(judge: &mut Judge<'_>, service: &Path, check: &written_check::HealthCheck) -> HealthCheck {
    let (interval, timeout) = (check.interval.0, check.timeout.0);
    if timeout > interval {
        let path = service.clone().field("health_check").field("timeout");
        let write = crate::duration::write;
        let message = format!("the timeout {} is longer than the interval {}", write(timeout), write(interval));
        let hint =
            "a probe must be over before the next one starts: raise the interval or lower the timeout".to_owned();
        judge.report(Code::TimeoutAboveInterval, path, message, Some(hint));
    }
    HealthCheck {
        http: HttpProbe { path: check.http.path.clone(), host: check.http.host.clone() },
        interval,
        timeout,
        failure_threshold: check.failure_threshold,
        recovery_threshold: check.recovery_threshold,
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
    if versions.iter().all(|version| version.weight == Weight::ZERO) {
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
            if regions.all.len() > 1 && !judge.gaps.regions {
                let hint = format!("write a list for each region: {{ {}: [..] }}", regions.all[0].name);
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
    if judge.gaps.regions {
        return;
    }
    let nearest = judge.suggestions.hint(name, regions.all.iter().map(|region| region.name.as_str()));
    let hint = nearest.unwrap_or_else(|| "declare it under `regions`".to_owned());
    judge.report_key(Code::UndeclaredRegion, path, format!("the region {} is not declared", quote(name)), hint);
}

fn resolve_pool(judge: &mut Judge<'_>, path: &Path, region: usize, list: &[written_endpoint::Endpoint]) -> Pool {
    let endpoint =
        |endpoint: &written_endpoint::Endpoint| Endpoint { address: endpoint.address().0, weight: endpoint.weight() };
    let endpoints: Vec<Endpoint> = list.iter().map(endpoint).collect();
    let addresses = endpoints.iter().map(|endpoint| endpoint.address);
    for (later, first, address) in repeated::<SocketAddr>(addresses) {
        let other = judge.place(path.clone().item(first));
        let message = format!("the endpoint {address} is already {other}");
        let hint = "remove it; a larger share is a larger weight".to_owned();
        judge.report(Code::DuplicateEndpoint, path.clone().item(later), message, Some(hint));
    }
    if endpoints.iter().all(|endpoint| endpoint.weight == Weight::ZERO) {
        let hint = "give at least one endpoint a weight above 0".to_owned();
        judge.report(Code::AllWeightsZero, path.clone(), "the weights of all endpoints are 0", Some(hint));
    }
    Pool { region, endpoints }
}
