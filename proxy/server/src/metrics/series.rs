//! The handles that the data plane writes to. Every write is a relaxed atomic addition: no lock, no label, no allocation.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use sluice_proxy_core::grpc::Code;
use sluice_proxy_core::health::{Standing, Verdict};
use sluice_proxy_core::histogram::Histogram;

use super::shard::{Sharded, Tally};

/// The values of the label `class`, in the order of the counters.
pub(super) const CLASSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "none"];

/// The status of an answer that turns a connection into a tunnel.
const SWITCHING_PROTOCOLS: u16 = 101;

/// How the document's file stands, as its source says: written by the control plane, which knows no metrics.
#[derive(Debug)]
pub struct DocumentSeries {
    accepted: AtomicBool,
    /// Whether this proxy runs what is wanted.
    fits: AtomicBool,
    refused: AtomicU64,
}

impl Default for DocumentSeries {
    /// Of a file whose document runs: a process does not begin with another.
    fn default() -> Self {
        Self { accepted: AtomicBool::new(true), fits: AtomicBool::new(true), refused: AtomicU64::new(0) }
    }
}

impl DocumentSeries {
    /// From now on this proxy runs what is wanted, or has refused it.
    pub(crate) fn fit(&self, fits: bool) {
        self.fits.store(fits, Relaxed);
    }

    /// From now on what the file holds is accepted or not, and so many of its texts have been refused since the start.
    pub fn set(&self, accepted: bool, refused: u64) {
        self.accepted.store(accepted, Relaxed);
        self.refused.store(refused, Relaxed);
    }

    pub(super) fn accepted(&self) -> bool {
        self.accepted.load(Relaxed) && self.fits.load(Relaxed)
    }

    pub(super) fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }
}

/// The requests of one (route, service, version, region).
#[derive(Debug)]
pub struct RequestSeries {
    classes: Sharded<[AtomicU64; CLASSES.len()]>,
    pool: Arc<PoolSeries>,
}

impl RequestSeries {
    pub(super) fn new(workers: usize, pool: Arc<PoolSeries>) -> Self {
        Self { classes: Sharded::new(workers), pool }
    }

    /// Counts a request that ended: `status` is that of the head sent to the client, nothing if none was sent; `elapsed`
    /// goes into the latencies of the pool, except that of a tunnel (101), which is a life and no latency. `worker` is the number of the calling worker: any is right, its own is fast.
    /// Three relaxed additions.
    pub fn record(&self, worker: usize, status: Option<u16>, elapsed: Duration) {
        self.classes.of(worker)[class(status)].fetch_add(1, Relaxed);
        if status == Some(SWITCHING_PROTOCOLS) {
            return;
        }
        let micros = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
        self.pool.latency.of(worker).record(micros);
    }

    /// Counts a call of gRPC by its status.
    pub fn called(&self, code: Code) {
        self.pool.calls.add(code.as_str());
    }

    pub(super) fn counts(&self) -> [u64; CLASSES.len()] {
        let count = |class: usize| self.classes.iter().map(|part| part[class].load(Relaxed)).sum();
        std::array::from_fn(count)
    }
}

/// The place of a status among [`CLASSES`]; a status outside 100 to 599 is told as `none`.
const fn class(status: Option<u16>) -> usize {
    match status {
        Some(status @ 100..=599) => status as usize / 100 - 1,
        Some(_) | None => CLASSES.len() - 1,
    }
}

/// One (service, version, region): its latencies and what its probes found.
#[derive(Debug)]
pub struct PoolSeries {
    latency: Sharded<Histogram>,
    calls: Tally,
    probes: Tally,
    probe_micros: AtomicU64,
    transitions: Tally,
    ejections: Tally,
    endpoint_breakers: Tally,
    pool_breakers: Tally,
    moved: Tally,
    waited: Tally,
    panics: AtomicBool,
}

impl PoolSeries {
    pub(super) fn new(workers: usize) -> Self {
        Self {
            latency: Sharded::new(workers),
            calls: Tally::default(),
            probes: Tally::default(),
            probe_micros: AtomicU64::new(0),
            transitions: Tally::default(),
            ejections: Tally::default(),
            endpoint_breakers: Tally::default(),
            pool_breakers: Tally::default(),
            moved: Tally::default(),
            waited: Tally::default(),
            panics: AtomicBool::new(false),
        }
    }

    /// Counts a request that this pool could not take, by where it went.
    pub fn gave_away(&self, to: &'static str) {
        self.moved.add(to);
    }

    /// Counts a request that had to wait for room, by how that ended.
    pub fn waited(&self, end: &'static str) {
        self.waited.add(end);
    }

    /// Takes whether the pool panics, and says whether that is new.
    pub fn panic(&self, panics: bool) -> bool {
        self.panics.swap(panics, Relaxed) != panics
    }

    pub(super) fn panics(&self) -> bool {
        self.panics.load(Relaxed)
    }

    /// Counts an ejection of an endpoint by its reason.
    pub fn ejected(&self, reason: &'static str) {
        self.ejections.add(reason);
    }

    /// Counts a change of an endpoint's breaker by what it became.
    pub fn endpoint_breaker(&self, to: &'static str) {
        self.endpoint_breakers.add(to);
    }

    /// Counts a change of the pool's breaker by what it became.
    pub fn pool_breaker(&self, to: &'static str) {
        self.pool_breakers.add(to);
    }

    /// Counts a probe by what it found, and how long that took.
    pub fn probed(&self, verdict: Verdict, took: Duration) {
        self.probe_micros.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Relaxed);
        self.probes.add(match verdict {
            Verdict::Good => "good",
            Verdict::Bad(cause) => cause.as_str(),
        });
    }

    /// Counts a change of an endpoint's standing by what it became.
    pub fn moved(&self, to: Standing) {
        self.transitions.add(to.as_str());
    }

    /// The latencies of all workers.
    pub(super) fn latency(&self) -> Histogram {
        let total = Histogram::default();
        self.latency.iter().for_each(|part| total.merge(part));
        total
    }

    pub(super) fn calls(&self) -> Vec<(&'static str, u64)> {
        self.calls.read()
    }

    pub(super) fn probes(&self) -> Vec<(&'static str, u64)> {
        self.probes.read()
    }

    /// The time of all probes, in seconds.
    pub(super) fn probe_seconds(&self) -> f64 {
        self.probe_micros.load(Relaxed) as f64 / 1e6
    }

    pub(super) fn moved_away(&self) -> Vec<(&'static str, u64)> {
        self.moved.read()
    }

    pub(super) fn waits(&self) -> Vec<(&'static str, u64)> {
        self.waited.read()
    }

    pub(super) fn ejections(&self) -> Vec<(&'static str, u64)> {
        self.ejections.read()
    }

    /// Of endpoints, and of the pool.
    pub(super) fn breakers(&self) -> [(&'static str, Vec<(&'static str, u64)>); 2] {
        [("endpoint", self.endpoint_breakers.read()), ("pool", self.pool_breakers.read())]
    }

    pub(super) fn transitions(&self) -> Vec<(&'static str, u64)> {
        self.transitions.read()
    }
}

/// One service: what is in flight, what failed, what was tried again.
#[derive(Debug)]
pub struct ServiceSeries {
    in_flight: Sharded<AtomicI64>,
    failures: Tally,
    retries: Tally,
    retries_refused: Tally,
}

impl ServiceSeries {
    pub(super) fn new(workers: usize) -> Self {
        Self {
            in_flight: Sharded::new(workers),
            failures: Tally::default(),
            retries: Tally::default(),
            retries_refused: Tally::default(),
        }
    }

    /// Counts a request as in flight until the guard is dropped.
    #[must_use]
    pub fn begin(&self, worker: usize) -> InFlight<'_> {
        let count = self.in_flight.of(worker);
        count.fetch_add(1, Relaxed);
        InFlight(count)
    }

    /// Counts a failed request by the stable name of its reason.
    pub fn failed(&self, reason: &'static str) {
        self.failures.add(reason);
    }

    /// Counts another attempt by the stable name of what ended the one before.
    pub fn retried(&self, reason: &'static str) {
        self.retries.add(reason);
    }

    /// Counts an attempt that was not followed by another, by the stable name of the reason.
    pub fn retry_refused(&self, reason: &'static str) {
        self.retries_refused.add(reason);
    }

    pub(super) fn in_flight(&self) -> i64 {
        self.in_flight.sum()
    }

    pub(super) fn failures(&self) -> Vec<(&'static str, u64)> {
        self.failures.read()
    }

    pub(super) fn retries_refused(&self) -> Vec<(&'static str, u64)> {
        self.retries_refused.read()
    }

    pub(super) fn retries(&self) -> Vec<(&'static str, u64)> {
        self.retries.read()
    }
}

/// One request in flight; dropping it ends the count.
#[derive(Debug)]
pub struct InFlight<'a>(&'a AtomicI64);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// One version of a service: how often the split chose it, and how often it should.
#[derive(Debug)]
pub struct VersionSeries {
    choices: Sharded<AtomicU64>,
    /// Choices when the window began.
    before: AtomicU64,
    configured: Share,
    observed: Share,
}

impl VersionSeries {
    pub(super) fn new(workers: usize) -> Self {
        Self {
            choices: Sharded::new(workers),
            before: AtomicU64::new(0),
            configured: Share::default(),
            observed: Share::default(),
        }
    }

    /// Counts a choice of this version by the split. Requests whose route names the version are none.
    pub fn chosen(&self, worker: usize) {
        self.choices.of(worker).fetch_add(1, Relaxed);
    }

    pub(super) fn choices(&self) -> u64 {
        self.choices.sum()
    }

    /// Begins a window; answers with the choices in the one that ends.
    pub(super) fn turn(&self) -> u64 {
        let now = self.choices();
        now - self.before.swap(now, Relaxed)
    }

    pub(super) const fn configured(&self) -> &Share {
        &self.configured
    }

    pub(super) const fn observed(&self) -> &Share {
        &self.observed
    }
}

/// A fraction from 0 to 1 that may be absent.
#[derive(Debug)]
pub(super) struct Share(AtomicU64);

impl Default for Share {
    fn default() -> Self {
        Self(AtomicU64::new(f64::NAN.to_bits()))
    }
}

impl Share {
    pub(super) fn set(&self, share: Option<f64>) {
        self.0.store(share.unwrap_or(f64::NAN).to_bits(), Relaxed);
    }

    pub(super) fn get(&self) -> Option<f64> {
        let share = f64::from_bits(self.0.load(Relaxed));
        (!share.is_nan()).then_some(share)
    }
}

/// One listener's connections.
#[derive(Debug, Default)]
pub struct ListenerSeries {
    open: AtomicI64,
    accepted: AtomicU64,
    handshakes: Tally,
    rejected: Tally,
    h2_cuts: Tally,
}

impl ListenerSeries {
    /// Counts a TLS handshake by the stable name of its end.
    pub fn shook(&self, end: &'static str) {
        self.handshakes.add(end);
    }

    pub(super) fn handshakes(&self) -> Vec<(&'static str, u64)> {
        self.handshakes.read()
    }

    /// Counts a connection as accepted, and as open until the guard is dropped.
    #[must_use]
    pub fn accepted(self: &Arc<Self>) -> OpenConnection {
        self.accepted.fetch_add(1, Relaxed);
        self.open.fetch_add(1, Relaxed);
        OpenConnection(Arc::clone(self))
    }

    /// A connection was closed for want of a good PROXY protocol header. `reason` is a stable name.
    pub fn rejected(&self, reason: &'static str) {
        self.rejected.add(reason);
    }

    pub(super) fn rejections(&self) -> Vec<(&'static str, u64)> {
        self.rejected.read()
    }

    /// Counts a connection of HTTP/2 that was cut, by the stable name of the reason.
    pub fn h2_cut(&self, reason: &'static str) {
        self.h2_cuts.add(reason);
    }

    pub(super) fn h2_cuts(&self) -> Vec<(&'static str, u64)> {
        self.h2_cuts.read()
    }

    /// Connections open now.
    #[must_use]
    pub fn open(&self) -> u64 {
        u64::try_from(self.open.load(Relaxed)).unwrap_or(0)
    }

    pub(super) fn total(&self) -> u64 {
        self.accepted.load(Relaxed)
    }
}

/// One open connection; dropping it ends the count.
#[derive(Debug)]
pub struct OpenConnection(Arc<ListenerSeries>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_counted_by_its_class() {
        let series = RequestSeries::new(2, Arc::new(PoolSeries::new(2)));
        let statuses = [Some(101), Some(200), Some(299), Some(301), Some(404), Some(599), None, Some(99), Some(600)];
        for (worker, status) in statuses.into_iter().enumerate() {
            series.record(worker, status, Duration::from_millis(1));
        }
        assert_eq!(series.counts(), [1, 2, 1, 1, 1, 3]);
        assert_eq!(series.pool.latency().count(), 8, "a tunnel has no latency");
        assert_eq!(series.pool.latency().sum_micros(), 8_000);
    }

    #[test]
    fn guards_end_their_counts() {
        let service = ServiceSeries::new(2);
        let first = service.begin(0);
        let second = service.begin(7);
        assert_eq!(service.in_flight(), 2);
        drop((first, second));
        assert_eq!(service.in_flight(), 0);
        let listener = Arc::new(ListenerSeries::default());
        let open = listener.accepted();
        assert_eq!((listener.open(), listener.total()), (1, 1));
        drop(open);
        assert_eq!((listener.open(), listener.total()), (0, 1));
    }

    #[test]
    fn a_share_is_absent_until_it_is_set() {
        let share = Share::default();
        assert_eq!(share.get(), None);
        share.set(Some(0.0));
        assert_eq!(share.get(), Some(0.0));
        share.set(None);
        assert_eq!(share.get(), None);
    }
}
