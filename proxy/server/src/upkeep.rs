//! Tells the core the time, and everybody else what it has changed: ejections and breakers that end, levels that rise,
//! endpoints that are compared.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use sluice_proxy_core::change::{Change, Subject, Turn};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::live::Live;
use crate::metrics::{Metrics, PoolKey};

/// How often time is told. An ejection or an open breaker lasts at most so much longer than it should.
const PERIOD: Duration = Duration::from_millis(100);

/// Runs for as long as the process does.
pub(crate) async fn run(current: Arc<ArcSwapOption<Live>>, metrics: Metrics) -> Infallible {
    let mut period = interval(PERIOD);
    period.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        period.tick().await;
        if let Some(live) = &*current.load() {
            tick(live, &metrics);
        }
    }
}

fn tick(live: &Live, metrics: &Metrics) {
    let now = Instant::now().into_std();
    for service in &live.services {
        service.core.tick(now, &mut rand::rng()).iter().for_each(|change| tell(change, metrics));
        service.wake();
    }
}

/// Counts and logs a change.
pub(crate) fn tell(change: &Change, metrics: &Metrics) {
    let (pool, address) = match &change.subject {
        Subject::Endpoint(id) => (PoolKey::from(id), Some(id.address)),
        Subject::Pool(id) => (PoolKey::from(id), None),
    };
    let series = metrics.pool(&pool);
    match change.turn {
        Turn::Ejected { cause, .. } => series.ejected(cause.as_str()),
        Turn::Breaker(_) if address.is_some() => series.endpoint_breaker(change.turn.to()),
        Turn::Breaker(_) => series.pool_breaker(change.turn.to()),
        Turn::Returned(_) | Turn::Warming | Turn::Warm => {}
    }
    log(change);
}

fn log(change: &Change) {
    let (subject, turn) = (&change.subject, &change.turn);
    let (what, from, to, reason) = (turn.as_str(), turn.from(), turn.to(), turn.reason());
    let kind = if matches!(subject, Subject::Pool(_)) { "pool" } else { "endpoint" };
    let is_bad = matches!(turn, Turn::Ejected { .. }) || to == "open";
    if is_bad {
        tracing::warn!(%subject, what, from, to, reason, "{kind} is kept out for a while");
    } else {
        tracing::info!(%subject, what, from, to, reason, "{kind} has changed");
    }
}
