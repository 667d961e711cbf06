//! Documents for tests, built from the types that validation makes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sluice_config::validated::{
    Balancer, Breakers, Capabilities, Capability, Connections, Discovery, Endpoint, Fallback, Forces, HealthCheck,
    HostMatch, Match, PathMatch, Pool, Priority, Probe, Protocol, Region, Retries, Role, Route, Service, ServiceLimits,
    Split, TcpProbe, Timeouts, ValueMatch, Version,
};
use sluice_config::value::Weight;

use crate::endpoint::Registry;
use crate::health::{Cause, Policy, Verdict};
use crate::select::Ask;
use crate::service;

pub(crate) const ALL: Capabilities = Capabilities { read: true, write: true, admin: true };
pub(crate) const READ: Capabilities = Capabilities { read: true, write: false, admin: false };
pub(crate) const POLICY: Policy = Policy {
    interval: Duration::from_secs(5),
    interval_in_doubt: Duration::from_secs(2),
    interval_without_traffic: None,
    failure_threshold: 3,
    recovery_threshold: 2,
    unsteady_threshold: Some(6),
};

#[expect(
    clippy::disallowed_methods,
    reason = "an instant cannot be made of nothing; every other one is counted from it"
)]
pub(crate) fn start() -> Instant {
    Instant::now()
}

pub(crate) fn region(name: &str, role: Role, weight: u32, capabilities: Capabilities) -> Region {
    Region { name: name.parse().unwrap(), role, weight: Weight::new(weight).unwrap(), capabilities }
}

/// Three regions: a primary at 70, a secondary at 30, a standby.
pub(crate) fn regions() -> Arc<[Region]> {
    Arc::new([
        region("east", Role::Primary, 70, ALL),
        region("west", Role::Secondary, 30, ALL),
        region("spare", Role::Standby, 0, ALL),
    ])
}

/// A version with so many endpoints in each of these regions.
pub(crate) fn version(name: &str, weight: u32, regions: &[(usize, u16)]) -> Version {
    let pools = regions.iter().map(|(region, count)| pool(name, *region, *count)).collect();
    Version { name: name.parse().unwrap(), weight: Weight::new(weight).unwrap(), pools }
}

fn pool(version: &str, region: usize, count: u16) -> Pool {
    let network = [10, version.bytes().last().unwrap(), u8::try_from(region).unwrap(), 1];
    let address = |port| SocketAddr::from((network, 8000 + port));
    let endpoint = |port| Endpoint { address: address(port), weight: Weight::new(1).unwrap(), zone: None };
    Pool { region, endpoints: (0..count).map(endpoint).collect(), sources: Vec::new(), forces: Forces::default() }
}

pub(crate) fn health_check() -> HealthCheck {
    HealthCheck {
        probe: Probe::Tcp(TcpProbe { send: None, expect: None }),
        port: None,
        agent: false,
        interval: POLICY.interval,
        interval_in_doubt: POLICY.interval_in_doubt,
        interval_without_traffic: POLICY.interval_without_traffic,
        timeout: Duration::from_secs(2),
        failure_threshold: POLICY.failure_threshold,
        recovery_threshold: POLICY.recovery_threshold,
        unsteady_threshold: POLICY.unsteady_threshold,
    }
}

pub(crate) fn shop(checked: bool, versions: Vec<Version>) -> Service {
    Service {
        name: "shop".parse().unwrap(),
        split: Split::Random,
        balancer: Balancer::RoundRobin,
        slow_start: None,
        zones: None,
        session: None,
        panic: None,
        outlier_ejection: None,
        breaker: Breakers::default(),
        limits: ServiceLimits::default(),
        fallback: Fallback::OtherRegion,
        health_check: checked.then(health_check),
        discovery: Discovery::default(),
        protocol: Protocol::Http1,
        tls: None,
        connections: Connections { idle: 256, idle_timeout: Duration::from_secs(50), streams: 100 },
        timeouts: Timeouts {
            connect: Duration::from_secs(2),
            per_try: None,
            idle: None,
            total: None,
            tunnel_idle: None,
        },
        retries: Retries::default(),
        versions,
    }
}

/// What a first attempt of a request that says nothing of itself wants.
pub(crate) fn ask() -> Ask<'static> {
    Ask::plain(Capability::Read, start())
}

/// A compiled service and the registry that it shares with the revision before.
pub(crate) fn compile(regions: &Arc<[Region]>, service: &Service, old: &Registry) -> (service::Service, Registry) {
    let registry = old.carry(service::identities(regions, std::slice::from_ref(service)));
    (service::Service::new(regions, service, &registry), registry)
}

/// Makes all endpoints of a pool verified, or takes them out.
pub(crate) fn set(service: &service::Service, region: usize, version: usize, good: bool) {
    let verdict = if good { Verdict::Good } else { Verdict::Bad(Cause::Timeout) };
    for member in service.pool(region, version) {
        for _ in 0..POLICY.failure_threshold {
            member.endpoint.step(verdict, &POLICY);
        }
    }
}

pub(crate) fn route(host: HostMatch, path: PathMatch) -> Route {
    let matches = Match { host, path, methods: Vec::new(), headers: Vec::new(), query: Vec::new() };
    Route { name: String::new(), matches, service: 0, version: None, capability: None, priority: Priority::Normal }
}

pub(crate) fn value(name: &str, value: Option<&str>) -> ValueMatch {
    ValueMatch { name: name.to_owned(), value: value.map(str::to_owned) }
}
