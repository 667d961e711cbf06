//! How the endpoints of what runs stand, for people: read from their states when somebody asks, so that it costs nothing
//! while nobody does.

use std::collections::BTreeMap;
use std::time::Instant;

use sluice_config::Timestamp;
use sluice_config::endpoints::{Breaker, Ejection, Endpoint, Endpoints, Health, Pool, Source};
use sluice_config::name::ZoneName;
use sluice_config::validated;
use sluice_proxy_core::breaker::{self, State};
use sluice_proxy_core::health::{Cause, Standing};
use sluice_proxy_core::service::Candidate;

use crate::live::{Live, ServiceEntry};
use crate::resolve::Board;

/// Every pool, or those of one service; also those that have no endpoint yet. `board`: what is known of sources.
///
/// # Errors
/// There is no such service: the names of those that there are.
pub(crate) fn told(
    live: &Live,
    board: Option<&Board>,
    only: Option<&str>,
    now: Instant,
    at: Timestamp,
) -> Result<Endpoints, Vec<String>> {
    let clock = Clock { now, wall: at };
    let services = live.document.services.iter().zip(&live.services);
    let named = services.filter(|(service, _)| only.is_none_or(|only| service.name.as_str() == only));
    let names = live.document.services.iter().map(|service| &service.name);
    if only.is_some_and(|only| names.clone().all(|name| name.as_str() != only)) {
        return Err(names.map(ToString::to_string).collect());
    }
    let pools = named.flat_map(|(service, entry)| pools((service, entry), board, live.zone.as_ref(), clock));
    Ok(Endpoints { revision: live.id, at, pools: pools.collect() })
}

/// In the order of regions, then versions.
fn pools(
    (service, entry): (&validated::Service, &ServiceEntry),
    board: Option<&Board>,
    zone: Option<&ZoneName>,
    clock: Clock,
) -> Vec<Pool> {
    let versions = service.versions.iter().enumerate();
    let written = versions.flat_map(|(version, one)| one.pools.iter().map(move |pool| ((pool.region, version), pool)));
    let of_sources = |pool: &validated::Pool| -> Vec<Source> {
        board.map(|board| pool.sources.iter().map(|source| board.told(&source.query)).collect()).unwrap_or_default()
    };
    let told = |here, written| Pool { sources: of_sources(written), ..pool(service, entry, here, clock) };
    let mut pools: BTreeMap<_, _> = written.map(|(here, written)| (here, told(here, written))).collect();
    for candidate in entry.core.candidates(zone) {
        if let Some(pool) = pools.get_mut(&(candidate.region, candidate.version)) {
            let told = endpoint(&candidate, service.breaker.endpoint.is_some(), clock);
            pool.healthy += usize::from(candidate.endpoint.standing() != Standing::Out);
            pool.eligible += usize::from(told.eligible);
            pool.endpoints.push(told);
        }
    }
    let panics = entry.core.panics().unwrap_or_default();
    for ((region, version), pool) in &mut pools {
        pool.panic = panics.get(region * entry.core.versions() + version).copied().unwrap_or_default();
    }
    pools.into_values().collect()
}

fn pool(service: &validated::Service, entry: &ServiceEntry, (region, version): (usize, usize), clock: Clock) -> Pool {
    let view = entry.core.pool_state(region, version).view();
    Pool {
        service: service.name.clone(),
        version: entry.core.version(version).clone(),
        region: entry.core.regions()[region].name.clone(),
        in_flight: view.in_flight,
        limit: view.limit,
        healthy: 0,
        panic: false,
        eligible: 0,
        breaker: breaker(&view.breaker, service.breaker.pool.is_some(), clock),
        endpoints: Vec::new(),
        sources: Vec::new(),
    }
}

fn endpoint(candidate: &Candidate<'_>, has_breaker: bool, clock: Clock) -> Endpoint {
    let state = candidate.endpoint;
    let view = state.view(clock.now);
    let ejection = view.ejected.map(|ejected| Ejection {
        until: clock.at(ejected.until),
        times: view.ejections,
        reason: ejected.cause.as_str().to_owned(),
    });
    Endpoint {
        address: state.id().address,
        zone: candidate.zone.map(ToString::to_string),
        weight: candidate.weight,
        level: candidate.offer.level,
        health: Health { standing: view.standing.as_str().to_owned(), cause: view.fault.map(fault) },
        ejection,
        breaker: breaker(&view.breaker, has_breaker, clock),
        in_flight: view.in_flight,
        limit: view.limit,
        latency_us: view.latency.map(|time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX)),
        force: view.force,
        eligible: candidate.obstacle.is_none(),
        obstacle: candidate.obstacle.map(|obstacle| obstacle.as_str().to_owned()),
    }
}

fn fault(cause: Cause) -> String {
    if let Cause::Status(status) = cause { format!("status {status}") } else { cause.as_str().to_owned() }
}

/// Nothing where there is none, and none is held.
fn breaker(view: &breaker::View, is_asked_for: bool, clock: Clock) -> Option<Breaker> {
    let force = view.forced;
    let reason = view.reason.filter(|_| view.state != State::Closed);
    let told = Breaker {
        state: view.state.as_str().to_owned(),
        reason: reason.map(|reason| reason.as_str().to_owned()),
        admits: view.admits,
        until: view.until.map(|until| clock.at(until)),
        force,
    };
    (is_asked_for || force.is_some() || view.state != State::Closed).then_some(told)
}

/// One moment by both clocks.
#[derive(Debug, Clone, Copy)]
struct Clock {
    now: Instant,
    wall: Timestamp,
}

impl Clock {
    /// A moment that is not past.
    fn at(self, moment: Instant) -> Timestamp {
        self.wall.after(moment.saturating_duration_since(self.now))
    }
}
