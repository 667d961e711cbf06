//! What Prometheus sees. One recording point, read by a scrape.
//!
//! Whoever compiles a revision asks [`Metrics`] for handles by label and keeps them; requests write to handles and never
//! name a label. The same labels give the same handle as long as anybody holds it and ten minutes more, so counters go
//! on over revisions.
//!
//! Labels come from documents, and a document may be large: label sets have a budget of series. Routes may use three
//! quarters of it; past that a request is counted without its route (`other`), and past the whole budget without
//! anything (`other` in every label). Both are counted, none is lost from the sums. Series by reason or result are
//! bounded by the code and stand outside the budget.

mod collect;
mod family;
mod key;
mod keyed;
mod outside;
mod overload;
mod pools;
mod series;
mod shard;
mod upstream;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use prometheus::process_collector::ProcessCollector;
use prometheus::{Registry, TextEncoder};
use sluice_config::name::{ListenerName, ServiceName, VersionName};
use sluice_config::value::{Digest, RevisionId};
use sluice_config::wire::PoolReport;
use sluice_proxy_core::endpoint::Endpoint;
use sluice_proxy_core::pool::PoolState;

pub use self::key::{PoolKey, RequestKey};
pub use self::outside::{ControlSeries, KeepSeries};
pub use self::overload::OverloadSeries;
pub use self::series::{
    DocumentSeries, InFlight, ListenerSeries, OpenConnection, PoolSeries, RequestSeries, ServiceSeries, VersionSeries,
};
pub use self::upstream::{Connect, OpenUpstream, UpstreamSeries};

use crate::resolve::Board;

use self::collect::Collector;
use self::key::{OTHER, VersionKey, other_version};
use self::keyed::Keyed;
use self::pools::Retired;
use self::shard::Tally;

/// The series budget where nobody asks for another: a scrape of about a megabyte.
pub const SERIES_BUDGET: usize = 10_000;

/// How long choices of a split are gathered before their shares are told.
const WINDOW: Duration = Duration::from_secs(30);

/// Rules that a request can break, and room for more: none may be told as another because many were broken. Only this count
/// has so much room; most are kept for each service or pool.
const RULES: usize = 128;

/// The revision that runs, as metrics tell it.
#[derive(Debug)]
pub struct Running {
    /// Its number.
    pub revision: RevisionId,
    /// Of its content.
    pub digest: Digest,
    /// When it was swapped in.
    pub applied: SystemTime,
    /// For every version: the share (0 to 1) that its weight asks for.
    pub shares: Vec<(Arc<VersionSeries>, f64)>,
    /// Every endpoint.
    pub endpoints: Vec<Arc<Endpoint>>,
    /// Every pool that has endpoints, with how many requests wait for it.
    pub pools: Vec<(Arc<PoolState>, Arc<AtomicUsize>)>,
}

/// The end of a certificate that a listener shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expiry {
    /// Of the document.
    pub listener: ListenerName,
    /// The path of its file, as the document has it.
    pub certificate: String,
    /// In seconds since 1970.
    pub at: i64,
}

/// Everything that is counted. Clones are the same metrics.
#[derive(Debug, Clone)]
pub struct Metrics {
    shared: Arc<Shared>,
    registry: Registry,
}

#[derive(Debug)]
struct Shared {
    workers: usize,
    budget: usize,
    state: Mutex<State>,
    requests_refused: Tally<RULES>,
    bodies_refused: Tally,
    nominations_ignored: AtomicU64,
    ended_by_client: Tally,
    overload: Arc<OverloadSeries>,
    upstream: Arc<UpstreamSeries>,
    revisions_refused: AtomicU64,
    probes_delayed: AtomicU64,
    document: OnceLock<Arc<DocumentSeries>>,
    control: OnceLock<Arc<ControlSeries>>,
    keep: OnceLock<Arc<KeepSeries>>,
    discovery: OnceLock<Arc<Board>>,
    log_dropped: OnceLock<Arc<AtomicU64>>,
    /// Taken, and refused.
    certificates_read: [AtomicU64; 2],
    draining: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    requests: Keyed<RequestKey, RequestSeries>,
    pools: Keyed<PoolKey, PoolSeries>,
    services: Keyed<Option<ServiceName>, ServiceSeries>,
    versions: Keyed<VersionKey, VersionSeries>,
    listeners: Keyed<Option<ListenerName>, ListenerSeries>,
    running: Option<Running>,
    /// Of the running revision's endpoints, how many are told.
    endpoints: usize,
    certificates: Vec<Expiry>,
    series_refused: u64,
    window: Option<Instant>,
    retired: Retired,
}

impl Metrics {
    /// Metrics that `workers` threads write to without meeting, with room for about `series_budget` series.
    #[must_use]
    pub fn new(workers: usize, series_budget: usize) -> Self {
        let shared = Arc::new(Shared {
            workers,
            budget: series_budget,
            state: Mutex::default(),
            requests_refused: Tally::default(),
            bodies_refused: Tally::default(),
            nominations_ignored: AtomicU64::new(0),
            ended_by_client: Tally::default(),
            overload: Arc::default(),
            upstream: Arc::new(UpstreamSeries::new(workers)),
            revisions_refused: AtomicU64::new(0),
            probes_delayed: AtomicU64::new(0),
            document: OnceLock::new(),
            control: OnceLock::new(),
            keep: OnceLock::new(),
            discovery: OnceLock::new(),
            log_dropped: OnceLock::new(),
            certificates_read: Default::default(),
            draining: AtomicBool::new(false),
        });
        let registry = Registry::new();
        let own = registry.register(Box::new(Collector::new(Arc::clone(&shared))));
        own.and_then(|()| registry.register(Box::new(ProcessCollector::for_self())))
            .expect("an empty registry takes two collectors whose names differ");
        Self { shared, registry }
    }

    /// The requests of these labels.
    #[must_use]
    pub fn requests(&self, key: &RequestKey) -> Arc<RequestSeries> {
        let mut state = self.shared.state();
        let workers = self.shared.workers;
        state.request(key, self.shared.budget, workers)
    }

    /// The pool of these labels.
    #[must_use]
    pub fn pool(&self, key: &PoolKey) -> Arc<PoolSeries> {
        self.shared.state().pool(key, self.shared.budget, self.shared.workers)
    }

    /// The service of this name.
    #[must_use]
    pub fn service(&self, name: &ServiceName) -> Arc<ServiceSeries> {
        let mut state = self.shared.state();
        let room = state.room(self.shared.budget, SERVICE_LINES);
        let State { services, series_refused, .. } = &mut *state;
        let keys = [(Some(name.clone()), room), (OTHER.parse().ok(), true)];
        resolve(services, keys, series_refused, || ServiceSeries::new(self.shared.workers))
    }

    /// This version of this service.
    #[must_use]
    pub fn version(&self, service: &ServiceName, version: &VersionName) -> Arc<VersionSeries> {
        let mut state = self.shared.state();
        let room = state.room(self.shared.budget, VERSION_LINES);
        let State { versions, series_refused, .. } = &mut *state;
        let keys = [((Some(service.clone()), Some(version.clone())), room), (other_version(), true)];
        resolve(versions, keys, series_refused, || VersionSeries::new(self.shared.workers))
    }

    /// The listener of this name.
    #[must_use]
    pub fn listener(&self, name: &ListenerName) -> Arc<ListenerSeries> {
        let mut state = self.shared.state();
        let room = state.room(self.shared.budget, LISTENER_LINES);
        let State { listeners, series_refused, .. } = &mut *state;
        let keys = [(Some(name.clone()), room), (OTHER.parse().ok(), true)];
        resolve(listeners, keys, series_refused, ListenerSeries::default)
    }

    /// The connections to endpoints.
    #[must_use]
    pub fn upstream(&self) -> Arc<UpstreamSeries> {
        Arc::clone(&self.shared.upstream)
    }

    /// Counts a request that was refused before it had a route. `reason` is a stable name in snake case.
    pub fn refused(&self, reason: &'static str) {
        self.shared.requests_refused.add(reason);
    }

    /// Counts a request whose body broke the rules of its framing, and was broken off. `reason` as above.
    pub fn body_refused(&self, reason: &'static str) {
        self.shared.bodies_refused.add(reason);
    }

    /// Counts fields that a client named in Connection and that went on all the same.
    pub fn nominations_ignored(&self, count: usize) {
        self.shared.nominations_ignored.fetch_add(count as u64, Relaxed);
    }

    /// The process is told to leave.
    pub fn drain(&self) {
        self.shared.draining.store(true, Relaxed);
    }

    /// Client connections open now, on all listeners. O(listeners).
    #[must_use]
    pub fn open_connections(&self) -> u64 {
        self.shared.state().listeners.iter().map(|(_, listener)| listener.open()).sum()
    }

    /// Counts a request that ended by what its client did or did not do. `reason` is a stable name in snake case.
    pub fn ended_by_client(&self, reason: &'static str) {
        self.shared.ended_by_client.add(reason);
    }

    /// Counts a probe that had to wait for its turn.
    pub(crate) fn probe_delayed(&self) {
        self.shared.probes_delayed.fetch_add(1, Relaxed);
    }

    /// How full the process is.
    #[must_use]
    pub fn overload(&self) -> Arc<OverloadSeries> {
        Arc::clone(&self.shared.overload)
    }

    /// Counts a revision that did not fit to run.
    pub fn revision_refused(&self) {
        self.shared.revisions_refused.fetch_add(1, Relaxed);
    }

    /// Tells how the document's file stands. The first call counts; a process has one document. Without a call nothing
    /// is told of it.
    pub fn tell_document(&self, document: Arc<DocumentSeries>) {
        // A second document is refused by the cell itself.
        let _ = self.shared.document.set(document);
    }

    /// Tells how it stands with the control plane. The first call counts; without a call nothing is told of it.
    pub fn tell_control(&self, control: Arc<ControlSeries>) {
        // A second one is refused by the cell itself.
        let _ = self.shared.control.set(control);
    }

    /// Tells how writing the last known good goes. The first call counts; without a call nothing is told of it.
    pub fn tell_keep(&self, keep: Arc<KeepSeries>) {
        // A second one is refused by the cell itself.
        let _ = self.shared.keep.set(keep);
    }

    /// Tells what is known of the sources of endpoints. The first call counts; without a call nothing is told of them.
    pub(crate) fn tell_discovery(&self, board: Arc<Board>) {
        // A second one is refused by the cell itself.
        let _ = self.shared.discovery.set(board);
    }

    /// What each pool has answered since the process began: never less than before. O(series).
    #[must_use]
    pub fn pools(&self) -> Vec<PoolReport> {
        pools::read(&self.shared.state())
    }

    /// Tells this count as the lost lines of the access log. The first call counts; a process has one access log.
    pub fn count_lost_lines(&self, lost: Arc<AtomicU64>) {
        // A second log is refused by the cell itself.
        let _ = self.shared.log_dropped.set(lost);
    }

    /// A revision runs from now on: its number, shares and endpoints take the place of the last one's.
    pub fn publish(&self, running: Running) {
        self.shared.state().publish(running, self.shared.budget);
    }

    /// Tells these certificates in place of the last ones.
    pub fn tell_certificates(&self, all: Vec<Expiry>) {
        let mut state = self.shared.state();
        state.certificates.clear();
        let room = self.shared.budget.saturating_sub(state.reserved());
        state.series_refused += all.len().saturating_sub(room) as u64;
        state.certificates.extend(all.into_iter().take(room));
    }

    /// Counts a certificate or an authority whose files have changed: whether it was taken, or refused.
    pub fn certificate_read(&self, taken: bool) {
        self.shared.certificates_read[usize::from(!taken)].fetch_add(1, Relaxed);
    }

    /// To be called about once a second: ends windows of splits and forgets series that nobody holds.
    pub fn tick(&self, now: Instant) {
        self.shared.state().tick(now);
    }

    /// Everything, in the text format of Prometheus (version 0.0.4). O(series), some microseconds each.
    #[must_use]
    pub fn text(&self) -> String {
        TextEncoder::new()
            .encode_to_string(&self.registry.gather())
            .expect("a registry gives out named families with at least one metric, into a string")
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Each change is complete in itself; a panic between two leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The series that one label set costs.
const REQUEST_LINES: usize = series::CLASSES.len();
const POOL_LINES: usize = collect::BOUNDS.len() + 3;
const SERVICE_LINES: usize = 1;
const VERSION_LINES: usize = 3;
const LISTENER_LINES: usize = 2;
const ENDPOINT_LINES: usize = 7;
const POOL_STATE_LINES: usize = 3;

impl State {
    fn request(&mut self, key: &RequestKey, budget: usize, workers: usize) -> Arc<RequestSeries> {
        if let Some(known) = self.requests.find(key) {
            return known;
        }
        let pool = self.pool(&key.pool(), budget, workers);
        let (with_route, without) = (self.room(budget / 4 * 3, REQUEST_LINES), self.room(budget, REQUEST_LINES));
        let keys = [(key.clone(), with_route), (key.without_route(), without), (RequestKey::other(), true)];
        resolve(&mut self.requests, keys, &mut self.series_refused, || RequestSeries::new(workers, pool))
    }

    fn pool(&mut self, key: &PoolKey, budget: usize, workers: usize) -> Arc<PoolSeries> {
        let keys = [(key.clone(), self.room(budget, POOL_LINES)), (PoolKey::other(), true)];
        resolve(&mut self.pools, keys, &mut self.series_refused, || PoolSeries::new(workers))
    }

    fn room(&self, limit: usize, lines: usize) -> bool {
        self.reserved() + lines <= limit
    }

    fn reserved(&self) -> usize {
        self.requests.len() * REQUEST_LINES
            + self.pools.len() * POOL_LINES
            + self.services.len() * SERVICE_LINES
            + self.versions.len() * VERSION_LINES
            + self.listeners.len() * LISTENER_LINES
            + self.endpoints * ENDPOINT_LINES
            + self.running.as_ref().map_or(0, |running| running.pools.len()) * POOL_STATE_LINES
            + self.certificates.len()
    }

    fn publish(&mut self, running: Running, budget: usize) {
        self.versions.iter().for_each(|(_, series)| series.configured().set(None));
        for (series, share) in &running.shares {
            series.configured().set(Some(*share));
        }
        self.endpoints = 0;
        let endpoints = running.endpoints.len();
        self.running = Some(running);
        let room = budget.saturating_sub(self.reserved()) / ENDPOINT_LINES;
        self.endpoints = endpoints.min(room);
        self.series_refused += (endpoints - self.endpoints) as u64;
    }

    fn tick(&mut self, now: Instant) {
        self.retired.requests(self.requests.expire(now));
        self.retired.pools(self.pools.expire(now));
        self.services.expire(now);
        self.versions.expire(now);
        self.listeners.expire(now);
        let began = *self.window.get_or_insert(now);
        if now.saturating_duration_since(began) >= WINDOW {
            self.window = Some(now);
            self.turn_window();
        }
    }

    /// Tells each version's share of its service's choices in the window that ends.
    fn turn_window(&self) {
        let turned: Vec<_> =
            self.versions.iter().map(|((service, _), series)| (service, series, series.turn())).collect();
        // Versions of one service stand side by side.
        for siblings in turned.chunk_by(|one, next| one.0 == next.0) {
            let all: u64 = siblings.iter().map(|(.., choices)| choices).sum();
            for (_, series, choices) in siblings {
                series.observed().set((all > 0).then(|| *choices as f64 / all as f64));
            }
        }
    }
}

/// The series of the first key that is known or has room. A series made for anything but the first key, or found there,
/// counts as refused.
fn resolve<K: Ord, S, const N: usize>(
    keyed: &mut Keyed<K, S>,
    keys: [(K, bool); N],
    refused: &mut u64,
    make: impl FnOnce() -> S,
) -> Arc<S> {
    let mut first = true;
    for (key, room) in keys {
        if !std::mem::take(&mut first) {
            *refused += 1;
        }
        if let Some(known) = keyed.find(&key) {
            return known;
        }
        if room {
            let series = Arc::new(make());
            keyed.insert(key, Arc::clone(&series));
            return series;
        }
    }
    unreachable!("the last key always has room")
}

#[cfg(test)]
mod tests;
