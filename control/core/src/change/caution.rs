//! What an operator should know who laid an override, though it was done.
//!
//! What is discovered only proxies know: of a pool with sources no more is said than what they report, which is how many
//! endpoints there are and how many of them may get requests, and not which.

use std::net::SocketAddr;

use sluice_config::Validated;
use sluice_config::name::ServiceName;
use sluice_config::overlay::{Action, BreakerForce, Circuit, EndpointForce, Force};
use sluice_config::validated::{Pool, Service};
use sluice_config::value::Weight;

use super::Head;
use crate::ingest::PoolStanding;

/// What the operator who laid the head's override should know. `standing`: how the pool stands by reports, if any tells of it.
#[must_use]
pub fn caution(head: &Head, standing: impl FnOnce(&EndpointForce) -> Option<PoolStanding>) -> Option<String> {
    let laid = head.revision.overlay.overrides.get(&head.revision.id)?;
    match &laid.action {
        Action::Freeze => None,
        Action::Endpoint(force) => of_endpoint(&head.effective(), force, standing),
        Action::Breaker(force) => of_breaker(head, force),
    }
}

fn of_endpoint(
    live: &Validated,
    force: &EndpointForce,
    standing: impl FnOnce(&EndpointForce) -> Option<PoolStanding>,
) -> Option<String> {
    let EndpointForce { service, version, region, address, to } = force;
    let of_version = service_of(live, service)?.versions.iter().find(|one| one.name == *version)?;
    let pool = of_version.pools.iter().find(|pool| live.regions[pool.region].name == *region)?;
    let name = format!("{service}/{version} in {region}");
    let weight = pool.endpoints.iter().find(|one| one.address == *address).map(|one| one.weight);
    let first = match to {
        Force::Out => rest(pool, &name, *address, standing(force)),
        Force::In => (weight == Some(Weight::ZERO))
            .then(|| format!("the weight of {address} of {name} is 0, so it gets nothing all the same")),
    };
    let unknown = weight.is_none().then(|| {
        format!(
            "{address} is not written down, and whether a source of {name} finds it is not known here: \
             `sluice get endpoints {service}` shows what a proxy has found"
        )
    });
    let told: Vec<String> = first.into_iter().chain(unknown).collect();
    (!told.is_empty()).then(|| told.join("; "))
}

/// What is left of a pool of which an operator holds out this address, if that is little.
fn rest(pool: &Pool, name: &str, address: SocketAddr, standing: Option<PoolStanding>) -> Option<String> {
    const GOES: &str = "what it had goes where the service's fallback says, or is refused";
    match (left(pool), standing) {
        (0, _) if pool.sources.is_empty() => {
            Some(format!("no endpoint of {name} is left that may get requests: {GOES}"))
        }
        (_, Some(PoolStanding { endpoints, healthy: 0 })) => {
            Some(format!("by the last report none of the {endpoints} endpoints of {name} may get requests: {GOES}"))
        }
        (_, Some(PoolStanding { endpoints, healthy: 1 })) => Some(format!(
            "by the last report only one of the {endpoints} endpoints of {name} may get requests; if that was \
             {address}, none is left: {GOES}"
        )),
        (0, None) => Some(format!(
            "no endpoint that is written down for {name} is left, and no node has reported what its sources find"
        )),
        (_, Some(_) | None) => None,
    }
}

/// How many endpoints that are written down no operator holds out.
fn left(pool: &Pool) -> usize {
    let is_out = |address| pool.forces.endpoints.get(address) == Some(&Force::Out);
    pool.endpoints.iter().filter(|one| one.weight > Weight::ZERO && !is_out(&one.address)).count()
}

fn of_breaker(head: &Head, force: &BreakerForce) -> Option<String> {
    let breakers = &service_of(&head.written, &force.service)?.breaker;
    let (has_one, whose) = match force.address {
        Some(_) => (breakers.endpoint.is_some(), "endpoints"),
        None => (breakers.pool.is_some(), "pools"),
    };
    let is_idle = force.to == Circuit::Closed && !has_one && !holds_open(head, force);
    is_idle.then(|| {
        format!("{} has no breaker of its {whose}, so there is none that could open: this holds nothing", force.service)
    })
}

/// Whether another override holds open what this one is about.
fn holds_open(head: &Head, force: &BreakerForce) -> bool {
    head.revision.overlay.overrides.values().any(|one| {
        let Action::Breaker(other) = &one.action else { return false };
        let overlaps = other.region.is_none() || force.region.is_none() || other.region == force.region;
        overlaps && *other == BreakerForce { region: other.region.clone(), to: Circuit::Open, ..force.clone() }
    })
}

fn service_of<'a>(document: &'a Validated, name: &ServiceName) -> Option<&'a Service> {
    document.services.iter().find(|one| one.name == *name)
}
