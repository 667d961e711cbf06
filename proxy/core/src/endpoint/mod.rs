//! What belongs to an endpoint rather than to a revision: what it may be given and why, and what it is doing now.
//!
//! An endpoint is (service, version, region, address) and never its weight: a changed weight is the same endpoint with
//! all it has been through. [`Registry::carry`] hands the states of one revision to the next by that identity, so both
//! revisions share them while requests of the old one end. A document that drops an endpoint and a later one that
//! brings it back make a new one.
//!
//! A health check that comes or goes: an endpoint that served unchecked stays `Verified` when a check is added, and is
//! taken out by it like any other; starting over as `Unprobed` would pile a pool's traffic onto whichever endpoint
//! answered its first probe. When the check goes, the endpoint is `Verified` at once, and late verdicts change nothing.
//!
//! Readers do not watch endpoints one by one: each change of an [`Offer`] advances the service's [`Pulse`], and a worker
//! looks at the endpoints again when the pulse is not what it last saw. So the common request reads one number that
//! nobody writes.
//!
//! Invariants: the offer follows from what the lock guards; the in-flight count equals the number of live
//! [`Flight`]s; the pulse is advanced after the offer was stored.

mod govern;
mod offer;
mod registry;
mod view;
mod watch;

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sluice_config::name::{RegionName, ServiceName, VersionName};
pub use sluice_config::overlay::Force;

use self::offer::Word;
pub use self::offer::{Advice, Barrier, FULL, Offer};
pub use self::registry::Registry;
pub use self::view::View;
use self::watch::Watch;
use crate::breaker::{self, Gate, Pass, State};
use crate::change::Change;
use crate::health::{Health, Policy, Reason, Standing, Transition, Verdict};
use crate::latency::{self, Latency};
use crate::outlier;
use crate::pool::{PoolId, PoolState};
use crate::slow_start::Ramp;

/// Which endpoint. The order is by service, version, region, address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointId {
    /// Of the document.
    pub service: ServiceName,
    /// Of the service.
    pub version: VersionName,
    /// Of the document.
    pub region: RegionName,
    /// Where it listens.
    pub address: SocketAddr,
}

impl fmt::Display for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}/{}", self.service, self.version, self.region, self.address)
    }
}

/// Advances whenever an endpoint of one service changes its offer.
#[derive(Debug, Default)]
pub struct Pulse(AtomicU64);

impl Pulse {
    /// How often it has advanced. What was read from endpoints before an equal number is still so.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    pub(crate) fn advance(&self) {
        self.0.fetch_add(1, Ordering::Release);
    }
}

/// The state of one endpoint, shared by the revisions that name it.
#[derive(Debug)]
pub struct Endpoint {
    id: EndpointId,
    pool: Arc<PoolState>,
    word: AtomicU32,
    gate: Gate,
    /// Whether it was given a request since somebody asked.
    used: AtomicBool,
    attempts: outlier::Tally,
    latency: Latency,
    /// Milliseconds.
    latency_decay: AtomicU32,
    watch: Mutex<Watch>,
    pulse: Arc<Pulse>,
}

impl Endpoint {
    /// A new endpoint of a service with a health check: `Unprobed`. In a pool of its own.
    #[must_use]
    pub fn checked(id: EndpointId, pulse: Arc<Pulse>) -> Self {
        let pool = Arc::new(PoolState::new(PoolId::from(&id), Arc::clone(&pulse)));
        Self::new(id, pool, pulse, Watch::new(true, false))
    }

    /// A new endpoint of a service without a health check: always `Verified`. In a pool of its own.
    #[must_use]
    pub fn unchecked(id: EndpointId, pulse: Arc<Pulse>) -> Self {
        let pool = Arc::new(PoolState::new(PoolId::from(&id), Arc::clone(&pulse)));
        Self::new(id, pool, pulse, Watch::new(false, false))
    }

    fn new(id: EndpointId, pool: Arc<PoolState>, pulse: Arc<Pulse>, watch: Watch) -> Self {
        Self {
            id,
            pool,
            word: AtomicU32::new(Word::new(watch.facts(false)).0),
            gate: Gate::default(),
            used: AtomicBool::new(false),
            attempts: outlier::Tally::default(),
            latency: Latency::default(),
            latency_decay: AtomicU32::new(millis(latency::DECAY)),
            watch: Mutex::new(watch),
            pulse,
        }
    }

    /// Which one.
    #[must_use]
    pub const fn id(&self) -> &EndpointId {
        &self.id
    }

    /// Of which pool.
    #[must_use]
    pub const fn pool(&self) -> &Arc<PoolState> {
        &self.pool
    }

    /// What it may be given. One atomic load.
    #[must_use]
    pub fn offer(&self) -> Offer {
        self.word().offer()
    }

    /// What its health checks say, whatever else does. One atomic load.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.word().health()
    }

    /// The state of its breaker. One atomic load.
    #[must_use]
    pub fn breaker(&self) -> State {
        self.word().breaker()
    }

    /// Whether it is ejected, whatever else keeps it out. One atomic load.
    #[must_use]
    pub fn is_ejected(&self) -> bool {
        self.word().is_ejected()
    }

    /// Requests that it is answering now, over all workers and revisions.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.gate.room.in_flight()
    }

    /// Whether [`Self::has_room`] can be false. One atomic load; a change advances the pulse.
    #[must_use]
    pub fn is_capped(&self) -> bool {
        self.word().is_capped()
    }

    /// Whether one more request may be sent to it now, as far as it is not for its pool to say. Another worker may take the room
    /// first: only [`Self::begin`] knows.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.gate.room.has_room()
    }

    /// Counts a request as in flight until the guard is dropped; none if it or its pool has no room.
    #[must_use]
    pub fn begin(self: &Arc<Self>) -> Option<Flight> {
        let of_pool = self.pool.enter()?;
        let Some(own) = self.gate.room.enter() else {
            self.pool.leave(of_pool);
            return None;
        };
        // Read first: workers that share an endpoint seldom write here.
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
        Some(Flight { endpoint: Arc::clone(self), own, of_pool })
    }

    /// Whether it was given a request since this was last asked. Its probes ask.
    pub fn take_traffic(&self) -> bool {
        self.used.swap(false, Ordering::Relaxed)
    }

    /// How slow it is to balance by: a peak-sensitive moving average, in which a failure counts as its penalty, at least the
    /// time for which it wants to be left alone. None before its first answer or failure, and where the balancer does not look at
    /// it. [`Self::answers`] is for people.
    #[must_use]
    pub fn latency(&self, now: Instant) -> Option<Duration> {
        self.latency.read(Duration::from_millis(self.latency_decay.load(Ordering::Relaxed).into()), now)
    }

    /// How long its answers take: a peak-sensitive moving average of what they took, and of longer waits in vain. None before
    /// its first answer.
    #[must_use]
    pub fn answers(&self) -> Option<Duration> {
        self.latency.answers()
    }

    /// Takes an operator's word, or takes it back.
    pub fn force(&self, force: Option<Force>) {
        let mut watch = self.watch();
        watch.force = force;
        self.publish(&mut watch);
    }

    /// Takes an operator's word about its breaker, or takes it back.
    pub fn force_breaker(&self, force: Option<breaker::Force>, now: Instant) -> Option<Change> {
        let mut watch = self.watch();
        let told = watch.circuit.force(force, now);
        self.settle(&mut watch, told)
    }

    /// The operator's word.
    #[must_use]
    pub fn forced(&self) -> Option<Force> {
        self.watch().force
    }

    /// Takes what the endpoint says of itself.
    pub fn advise(&self, advice: Advice) {
        let mut watch = self.watch();
        watch.advice = Advice { level: advice.level.min(FULL), ..advice };
        self.publish(&mut watch);
    }

    /// The health check asks something else from now on: what its probes have found is forgotten, the standing is not.
    pub fn ask_anew(&self) {
        self.watch().health.ask_anew();
    }

    /// Takes one probe's verdict; answers with the change of standing, if it made one. A verdict that arrives after the
    /// health check was removed changes nothing. That it ends an ejection or begins a slow start is told by the next tick.
    pub fn step(&self, verdict: Verdict, policy: &Policy) -> Option<Transition> {
        let mut watch = self.watch();
        if !watch.checked {
            return None;
        }
        let transition = watch.health.step(verdict, policy);
        watch.fault = match verdict {
            Verdict::Good => None,
            Verdict::Bad(cause) => Some(cause),
        };
        watch.count_probe(verdict == Verdict::Good, policy.recovery_threshold);
        self.publish(&mut watch);
        transition
    }

    /// Says whether the service has a health check now; answers with the change of standing, if that made one.
    pub fn set_checked(&self, checked: bool) -> Option<Transition> {
        let mut watch = self.watch();
        watch.checked = checked;
        watch.fault = watch.fault.filter(|_| checked);
        let from = watch.health.standing();
        if checked || from == Standing::Verified {
            return None;
        }
        watch.health = Health::new(Standing::Verified);
        self.publish(&mut watch);
        Some(Transition { from, to: Standing::Verified, reason: Reason::Unchecked })
    }

    /// For people: takes a lock.
    #[must_use]
    pub fn view(&self, now: Instant) -> View {
        let watch = self.watch();
        View {
            offer: self.offer(),
            standing: watch.health.standing(),
            fault: watch.fault,
            force: watch.force,
            advice: watch.advice,
            breaker: watch.circuit.view(),
            ejected: watch.ejections.running(),
            ejections: watch.ejections.times(),
            warming: watch.ramp != Ramp::Over,
            in_flight: self.in_flight(),
            limit: self.gate.room.limit(),
            latency: self.answers(),
            busy: self.latency.busy(now),
        }
    }

    fn watch(&self) -> MutexGuard<'_, Watch> {
        // A panic between two plain stores leaves nothing half done.
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn word(&self) -> Word {
        Word(self.word.load(Ordering::Acquire))
    }

    fn publish(&self, watch: &mut Watch) {
        watch.notice_readiness();
        self.gate.admit(&watch.circuit, watch.force == Some(Force::In));
        let word = Word::new(watch.facts(self.gate.room.is_capped()));
        if self.word.swap(word.0, Ordering::Release) != word.0 {
            self.pulse.advance();
            self.pool.wake();
        }
    }
}

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

/// One request in flight to an endpoint; dropping it ends the count.
#[derive(Debug)]
pub struct Flight {
    endpoint: Arc<Endpoint>,
    own: Pass,
    of_pool: Pass,
}

impl Flight {
    /// To which endpoint.
    #[must_use]
    pub const fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.endpoint.gate.room.leave(self.own);
        self.endpoint.pool.leave(self.of_pool);
    }
}

#[cfg(test)]
mod tests;
