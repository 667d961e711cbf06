//! How the endpoints of what runs stand, for people: read from their states when somebody asks, so that it costs nothing
//! while nobody does.

use std::time::Instant;

use sluice_config::endpoints::{Endpoint, Endpoints, Health, Pool};
use sluice_config::validated;
use sluice_config::{Timestamp, overlay};
use sluice_proxy_core::endpoint::Force;
use sluice_proxy_core::health::Standing;
use sluice_proxy_core::service::Candidate;

use crate::live::{Live, ServiceEntry};

/// Every pool, or those of one service.
///
/// # Errors
/// There is no such service: the names of those that there are.
pub(crate) fn told(live: &Live, only: Option<&str>, now: Instant, at: Timestamp) -> Result<Endpoints, Vec<String>> {
    let services = live.document.services.iter().zip(&live.services);
    let named = services.filter(|(service, _)| only.is_none_or(|only| service.name.as_str() == only));
    let pools: Vec<Pool> = named.flat_map(|(service, entry)| pools(service, entry, now)).collect();
    if only.is_some() && pools.is_empty() {
        return Err(live.document.services.iter().map(|service| service.name.to_string()).collect());
    }
    Ok(Endpoints { revision: live.id, at, pools })
}

fn pools(service: &validated::Service, entry: &ServiceEntry, now: Instant) -> Vec<Pool> {
    let mut pools: Vec<Pool> = Vec::new();
    let mut place = None;
    for candidate in entry.core.candidates() {
        if place != Some((candidate.region, candidate.version)) {
            place = Some((candidate.region, candidate.version));
            pools.push(Pool {
                service: service.name.clone(),
                version: entry.core.version(candidate.version).clone(),
                region: entry.core.regions()[candidate.region].name.clone(),
                in_flight: 0,
                healthy: 0,
                eligible: 0,
                breaker: None,
                endpoints: Vec::new(),
            });
        }
        if let Some(pool) = pools.last_mut() {
            let told = endpoint(&candidate, now);
            pool.in_flight = pool.in_flight.saturating_add(told.in_flight);
            pool.healthy += usize::from(candidate.endpoint.standing() != Standing::Out);
            pool.eligible += usize::from(told.eligible);
            pool.endpoints.push(told);
        }
    }
    pools
}

fn endpoint(candidate: &Candidate<'_>, now: Instant) -> Endpoint {
    let state = candidate.endpoint;
    Endpoint {
        address: state.id().address,
        zone: None,
        weight: candidate.weight,
        level: candidate.offer.level,
        health: Health { standing: state.standing().as_str().to_owned(), cause: None },
        ejection: None,
        breaker: None,
        in_flight: state.in_flight(),
        latency_us: state.latency(now).map(|time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX)),
        force: state.forced().map(force),
        eligible: candidate.obstacle.is_none(),
        obstacle: candidate.obstacle.map(|obstacle| obstacle.as_str().to_owned()),
    }
}

const fn force(force: Force) -> overlay::Force {
    match force {
        Force::In => overlay::Force::In,
        Force::Out => overlay::Force::Out,
    }
}
