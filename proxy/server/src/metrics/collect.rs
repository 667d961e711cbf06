//! Reads every number once per scrape.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Instant, SystemTime};

use prometheus::core::Desc;
use prometheus::proto::MetricFamily;
use sluice_proxy_core::breaker;
use sluice_proxy_core::endpoint::{Endpoint, FULL};
use sluice_proxy_core::health::Standing;
use sluice_proxy_core::histogram::Histogram;
use sluice_proxy_core::outlier::{Cause, Suppressed};
use sluice_proxy_core::pool::PoolState;

use super::family::{self, Output};
use super::series::{CLASSES, RequestSeries};
use crate::resolve::Row;

use super::{PoolKey, RequestKey, Running, Shared, State, other_version};

/// Upper bounds of the exported buckets, in seconds: steps of about 2.5 from a fast answer to a given-up one, with the
/// usual objectives of 0.25, 0.5, 1 and 2.5 s among them.
pub(super) const BOUNDS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];

/// Sources of endpoints that are told of; the others only by the endpoints that they bring.
const SOURCES: usize = 1_000;

#[derive(Debug)]
pub(super) struct Collector {
    shared: Arc<Shared>,
    descs: Vec<Desc>,
    /// For each of [`BOUNDS`], the bucket of ours that ends nearest to it.
    nearest: [usize; BOUNDS.len()],
}

impl Collector {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let ends: Vec<u64> = Histogram::default().cumulative().map(|(last, _)| last + 1).collect();
        let distance = |bound: f64, bucket: usize| (ends[bucket] as f64 / 1e6 - bound).abs();
        let nearest = |bound| (0..ends.len()).min_by(|a, b| distance(bound, *a).total_cmp(&distance(bound, *b)));
        Self {
            shared,
            descs: family::ALL.iter().map(|family| family.desc()).collect(),
            nearest: BOUNDS.map(|bound| nearest(bound).expect("a histogram has buckets")),
        }
    }

    fn latency(&self, out: &mut Output, key: &PoolKey, latency: &Histogram) {
        let below: Vec<u64> = latency.cumulative().map(|(_, below)| below).collect();
        let buckets: Vec<_> = BOUNDS.iter().zip(self.nearest).map(|(bound, bucket)| (*bound, below[bucket])).collect();
        let count = below.last().copied().unwrap_or(0);
        let sum = latency.sum_micros() as f64 / 1e6;
        out.histogram(&family::REQUEST_DURATION, &key.labels(), &buckets, count, sum);
    }

    fn pools(&self, out: &mut Output, state: &State) {
        for (key, series) in state.pools.iter() {
            let [service, version, region] = key.labels();
            self.latency(out, key, &series.latency());
            for (status, count) in series.calls() {
                out.counter(&family::GRPC_CALLS, &[service, version, region, status], count);
            }
            for (result, count) in series.probes() {
                out.counter(&family::PROBES, &[service, version, region, result], count);
            }
            if series.probe_seconds() > 0.0 {
                out.seconds(&family::PROBE_SECONDS, &[service, version, region], series.probe_seconds());
            }
            out.gauge(&family::POOL_PANIC, &[service, version, region], if series.panics() { 1.0 } else { 0.0 });
            for (reason, count) in series.ejections() {
                out.counter(&family::EJECTIONS, &[service, version, region, reason], count);
            }
            for (of, changes) in series.breakers() {
                for (to, count) in changes {
                    out.counter(&family::BREAKER_TRANSITIONS, &[service, version, region, of, to], count);
                }
            }
            for (to, count) in series.moved_away() {
                out.counter(&family::REQUESTS_MOVED, &[service, version, region, to], count);
            }
            for (result, count) in series.waits() {
                out.counter(&family::POOL_WAITED, &[service, version, region, result], count);
            }
            for (to, count) in series.transitions() {
                out.counter(&family::HEALTH_TRANSITIONS, &[service, version, region, to], count);
            }
        }
    }
}

impl prometheus::core::Collector for Collector {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut out = Output::default();
        let state = self.shared.state();
        self.pools(&mut out, &state);
        state.requests.iter().for_each(|(key, series)| requests(&mut out, key, series));
        services(&mut out, &state);
        versions(&mut out, &state);
        listeners(&mut out, &state);
        if let Some(running) = &state.running {
            revision(&mut out, running);
            running.pools.iter().for_each(|(one, waiting)| pool(&mut out, one, waiting.load(Relaxed)));
            running.endpoints[..state.endpoints].iter().for_each(|one| endpoint(&mut out, one));
        }
        process_wide(&mut out, &self.shared);
        bounds(&mut out, &self.shared);
        outside(&mut out, &self.shared);
        if let Some(board) = self.shared.discovery.get() {
            board.rows(SOURCES).iter().for_each(|row| source(&mut out, row));
        }
        out.counter(&family::METRICS_SERIES_REFUSED, &[], state.series_refused);
        let series = out.series() + 1;
        out.gauge(&family::METRICS_SERIES, &[], series as f64);
        out.finish()
    }
}

impl PoolKey {
    fn labels(&self) -> [&str; 3] {
        [
            self.service.as_ref().map_or("", |name| name.as_str()),
            self.version.as_ref().map_or("", |name| name.as_str()),
            self.region.as_ref().map_or("", |name| name.as_str()),
        ]
    }
}

fn requests(out: &mut Output, key: &RequestKey, series: &RequestSeries) {
    let pool = key.pool();
    let [service, version, region] = pool.labels();
    let route = key.route.as_deref().unwrap_or("");
    // All classes from the start: a rate sees the first failure only as a step from 0.
    for (class, count) in CLASSES.iter().zip(series.counts()) {
        out.counter(&family::REQUESTS, &[route, service, version, region, class], count);
    }
}

fn services(out: &mut Output, state: &State) {
    for (name, series) in state.services.iter() {
        let service = name.as_ref().map_or("", |name| name.as_str());
        out.gauge(&family::REQUESTS_IN_FLIGHT, &[service], series.in_flight() as f64);
        for (reason, count) in series.failures() {
            out.counter(&family::FAILURES, &[service, reason], count);
        }
        for (reason, count) in series.retries() {
            out.counter(&family::RETRIES, &[service, reason], count);
        }
        for (reason, count) in series.retries_refused() {
            out.counter(&family::RETRIES_REFUSED, &[service, reason], count);
        }
    }
}

fn versions(out: &mut Output, state: &State) {
    // Shares of several services together mean nothing.
    let folded = (state.series_refused > 0).then(other_version);
    for (key @ (service, version), series) in state.versions.iter() {
        let service = service.as_ref().map_or("", |name| name.as_str());
        let version = version.as_ref().map_or("", |name| name.as_str());
        let labels = [service, version];
        out.counter(&family::SPLIT_CHOICES, &labels, series.choices());
        if folded.as_ref() == Some(key) {
            continue;
        }
        if let Some(share) = series.configured().get() {
            out.gauge(&family::SPLIT_CONFIGURED, &labels, share);
        }
        if let Some(share) = series.observed().get() {
            out.gauge(&family::SPLIT_OBSERVED, &labels, share);
        }
    }
}

fn listeners(out: &mut Output, state: &State) {
    for (name, series) in state.listeners.iter() {
        let listener = name.as_ref().map_or("", |name| name.as_str());
        out.gauge(&family::CONNECTIONS, &[listener], series.open() as f64);
        out.counter(&family::CONNECTIONS_TOTAL, &[listener], series.total());
        for (result, count) in series.handshakes() {
            out.counter(&family::TLS_HANDSHAKES, &[listener, result], count);
        }
        for (reason, count) in series.h2_cuts() {
            out.counter(&family::H2_CUT, &[listener, reason], count);
        }
        for (reason, count) in series.rejections() {
            out.counter(&family::PROXY_PROTOCOL_REJECTED, &[listener, reason], count);
        }
    }
    for expiry in &state.certificates {
        let labels = [expiry.listener.as_str(), &expiry.certificate];
        out.gauge(&family::CERTIFICATE_EXPIRY, &labels, expiry.at as f64);
    }
}

fn revision(out: &mut Output, running: &Running) {
    out.gauge(&family::REVISION, &[], running.revision.0 as f64);
    out.gauge(&family::REVISION_INFO, &[&running.digest.to_string()], 1.0);
    out.gauge(&family::REVISION_APPLIED, &[], since_1970(running.applied));
}

fn endpoint(out: &mut Output, endpoint: &Endpoint) {
    let id = endpoint.id();
    let address = id.address.to_string();
    let labels = [id.service.as_str(), id.version.as_str(), id.region.as_str(), &address];
    let standing = endpoint.standing();
    let is = |wanted| if standing == wanted { 1.0 } else { 0.0 };
    out.gauge(&family::ENDPOINT_HEALTHY, &labels, is(Standing::Verified));
    out.gauge(&family::ENDPOINT_UNPROBED, &labels, is(Standing::Unprobed));
    out.gauge(&family::ENDPOINT_IN_FLIGHT, &labels, f64::from(endpoint.in_flight()));
    out.gauge(&family::ENDPOINT_EJECTED, &labels, if endpoint.is_ejected() { 1.0 } else { 0.0 });
    out.gauge(&family::ENDPOINT_BREAKER, &labels, circuit(endpoint.breaker()));
    let offer = endpoint.offer();
    let level = if offer.is_eligible() { f64::from(offer.level) / f64::from(FULL) } else { 0.0 };
    out.gauge(&family::ENDPOINT_LEVEL, &labels, level);
    if let Some(latency) = endpoint.answers() {
        out.gauge(&family::ENDPOINT_LATENCY, &labels, latency.as_secs_f64());
    }
}

fn pool(out: &mut Output, pool: &PoolState, waiting: usize) {
    let key = PoolKey::from(pool.id());
    let [service, version, region] = key.labels();
    out.gauge(&family::POOL_BREAKER, &key.labels(), circuit(pool.state()));
    out.gauge(&family::POOL_IN_FLIGHT, &key.labels(), f64::from(pool.in_flight()));
    out.gauge(&family::POOL_PENDING, &key.labels(), waiting as f64);
    for cause in Cause::ALL {
        for why in Suppressed::ALL {
            let count = pool.suppressed(cause, why);
            if count > 0 {
                let labels = [service, version, region, cause.as_str(), why.as_str()];
                out.counter(&family::EJECTIONS_SUPPRESSED, &labels, count);
            }
        }
    }
}

const fn circuit(state: breaker::State) -> f64 {
    match state {
        breaker::State::Closed => 0.0,
        breaker::State::HalfOpen => 1.0,
        breaker::State::Open => 2.0,
    }
}

fn process_wide(out: &mut Output, shared: &Shared) {
    out.gauge(&family::BUILD_INFO, &[env!("CARGO_PKG_VERSION")], 1.0);
    out.gauge(&family::UPSTREAM_CONNECTIONS, &["idle"], shared.upstream.idle() as f64);
    for (protocol, open) in shared.upstream.open() {
        out.gauge(&family::UPSTREAM_OPEN, &[protocol], open as f64);
    }
    for (result, count) in shared.upstream.connects() {
        out.counter(&family::UPSTREAM_CONNECTS, &[result], count);
    }
    out.counter(&family::PROBES_DELAYED, &[], shared.probes_delayed.load(Relaxed));
    out.gauge(&family::DRAINING, &[], if shared.draining.load(Relaxed) { 1.0 } else { 0.0 });
    for (reason, count) in shared.requests_refused.read() {
        out.counter(&family::REQUESTS_REFUSED, &[reason], count);
    }
    for (reason, count) in shared.bodies_refused.read() {
        out.counter(&family::BODIES_REFUSED, &[reason], count);
    }
    out.counter(&family::NOMINATIONS_IGNORED, &[], shared.nominations_ignored.load(Relaxed));
    let document = shared.document.get();
    if let Some(document) = document {
        out.gauge(&family::DOCUMENT_ACCEPTED, &[], if document.accepted() { 1.0 } else { 0.0 });
    }
    let texts = document.map_or(0, |document| document.refused());
    out.counter(&family::REVISIONS_REFUSED, &[], texts + shared.revisions_refused.load(Relaxed));
    for (result, count) in ["ok", "refused"].iter().zip(&shared.certificates_read) {
        out.counter(&family::CERTIFICATE_RELOADS, &[result], count.load(Relaxed));
    }
    let lost = shared.log_dropped.get().map_or(0, |lost| lost.load(Relaxed));
    out.counter(&family::ACCESS_LOG_DROPPED, &[], lost);
}

/// What is given up, and the limits that make it.
fn bounds(out: &mut Output, shared: &Shared) {
    for (reason, count) in shared.ended_by_client.read() {
        out.counter(&family::REQUESTS_ENDED_BY_CLIENT, &[reason], count);
    }
    let overload = &shared.overload;
    out.gauge(&family::OVERLOAD_LEVEL, &[], f64::from(overload.level()));
    for (reason, count) in overload.given_up() {
        out.counter(&family::SHED, &[reason], count);
    }
    if let Some(most) = overload.connections() {
        out.gauge(&family::CONNECTIONS_LIMIT, &[], most as f64);
    }
    if let Some(most) = overload.memory() {
        out.gauge(&family::MEMORY_LIMIT, &[], most as f64);
    }
}

/// What the process knows of its control plane and its disk.
fn outside(out: &mut Output, shared: &Shared) {
    if let Some(control) = shared.control.get() {
        out.gauge(&family::CONTROL_CONNECTED, &[], if control.connected() { 1.0 } else { 0.0 });
        if let Some(silence) = control.silent_for(Instant::now()) {
            out.gauge(&family::CONTROL_SILENCE, &[], silence.as_secs_f64());
        }
    }
    if let Some(keep) = shared.keep.get() {
        for (result, count) in keep.writes() {
            out.counter(&family::KEEP_WRITES, &[result], count);
        }
        if let Some(newest) = keep.newest() {
            out.gauge(&family::KEEP_TIMESTAMP, &[], since_1970(newest));
        }
    }
}

/// What is known of one source of endpoints.
fn source(out: &mut Output, row: &Row) {
    let source = row.source.as_str();
    for (result, count) in &row.results {
        out.counter(&family::DISCOVERY_ANSWERS, &[source, result], *count);
    }
    out.counter(&family::DISCOVERY_CHANGES, &[source], row.changes);
    out.counter(&family::DISCOVERY_DROPPED, &[source], row.dropped);
    out.gauge(&family::DISCOVERY_ENDPOINTS, &[source], row.endpoints as f64);
    if let Some(age) = row.age {
        out.gauge(&family::DISCOVERY_AGE, &[source], age.as_secs_f64());
    }
}

fn since_1970(moment: SystemTime) -> f64 {
    moment.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
