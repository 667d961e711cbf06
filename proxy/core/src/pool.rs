//! What belongs to the pool of a version in a region rather than to a revision: its breaker, its room, and the bookkeeping of its
//! ejections.
//!
//! The breaker is the same machine as an endpoint's, over all attempts that go to the pool: it sees a service that fails
//! as a whole, where every endpoint by itself would have to be tried. While it is open the pool counts as empty, so that
//! the version's requests go where its policy says.
//!
//! Time reaches a pool by [`crate::service::Service::tick`]. Most pools have nothing that time would change, so each knows when it is
//! due next, and whatever makes something due earlier says so.
//!
//! Invariants: the offer follows from the circuit; the in-flight count equals the number of flights to its endpoints; the
//! pulse is advanced after the offer was stored.

use std::fmt;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rand::Rng;
use sluice_config::name::{RegionName, ServiceName, VersionName};

use crate::breaker::{self, Circuit, Gate, Pass, State, Transition};
use crate::change::{Change, Subject, Turn};
use crate::endpoint::{Barrier, EndpointId, FULL, Offer, Pulse};
use crate::health::Standing;
use crate::latency::Epoch;
use crate::outlier::{Cause, Suppressed};
use crate::policies::Policies;
use crate::sample::Sample;

/// Which pool. The order is by service, version, region.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PoolId {
    /// Of the document.
    pub service: ServiceName,
    /// Of the service.
    pub version: VersionName,
    /// Of the document.
    pub region: RegionName,
}

impl fmt::Display for PoolId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.service, self.version, self.region)
    }
}

impl From<&EndpointId> for PoolId {
    fn from(id: &EndpointId) -> Self {
        Self { service: id.service.clone(), version: id.version.clone(), region: id.region.clone() }
    }
}

/// The state of one pool, shared by the revisions that name it.
#[derive(Debug)]
pub struct PoolState {
    id: PoolId,
    gate: Gate,
    state: AtomicU8,
    watch: Mutex<Watch>,
    /// Held while it is decided whether one more endpoint may be ejected: two at once could be one too many.
    ejecting: Mutex<()>,
    suppressed: [[AtomicU64; Suppressed::ALL.len()]; Cause::ALL.len()],
    /// Nanoseconds of the moment at which time changes something.
    due: AtomicU64,
    epoch: Epoch,
    pulse: Arc<Pulse>,
}

#[derive(Debug, Default)]
struct Watch {
    circuit: Circuit,
    window: Option<Duration>,
    next_sweep: Option<Instant>,
}

/// A pool for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// Of all attempts that go to it.
    pub breaker: breaker::View,
    /// Requests that its endpoints are answering.
    pub in_flight: u32,
    /// Most of them at once.
    pub limit: Option<u32>,
}

impl PoolState {
    pub(crate) fn new(id: PoolId, pulse: Arc<Pulse>) -> Self {
        Self {
            id,
            gate: Gate::default(),
            state: AtomicU8::new(State::Closed as u8),
            watch: Mutex::default(),
            ejecting: Mutex::default(),
            suppressed: Default::default(),
            due: AtomicU64::new(0),
            epoch: Epoch::default(),
            pulse,
        }
    }

    /// Which one.
    #[must_use]
    pub const fn id(&self) -> &PoolId {
        &self.id
    }

    /// What it may be given, as far as it is not for its endpoints to say. One atomic load; a change advances the pulse.
    #[must_use]
    pub fn offer(&self) -> Offer {
        let barrier = (self.state() == State::Open).then_some(Barrier::Breaker);
        Offer { standing: Standing::Verified, barrier, level: FULL }
    }

    /// Of its breaker. One atomic load.
    #[must_use]
    pub fn state(&self) -> State {
        match self.state.load(Ordering::Acquire) {
            0 => State::Closed,
            1 => State::Open,
            _ => State::HalfOpen,
        }
    }

    /// Requests that its endpoints are answering now, over all workers and revisions.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.gate.room.in_flight()
    }

    /// Whether [`Self::has_room`] can be false.
    #[must_use]
    pub fn is_capped(&self) -> bool {
        self.gate.room.is_capped()
    }

    /// Whether one more request may be sent to it now.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.gate.room.has_room()
    }

    /// For people: takes a lock.
    #[must_use]
    pub fn view(&self) -> View {
        View { breaker: self.watch().circuit.view(), in_flight: self.in_flight(), limit: self.gate.room.limit() }
    }

    /// How many ejections for this cause did not happen for that reason.
    #[must_use]
    pub fn suppressed(&self, cause: Cause, why: Suppressed) -> u64 {
        self.suppressed[cause as usize][why as usize].load(Ordering::Relaxed)
    }

    /// Takes an operator's word about its breaker, or takes it back.
    pub fn force_breaker(&self, force: Option<breaker::Force>, now: Instant) -> Option<Change> {
        let mut watch = self.watch();
        let told = watch.circuit.force(force, now);
        self.settle(&watch, told)
    }

    pub(crate) fn enter(&self) -> Option<Pass> {
        self.gate.room.enter()
    }

    pub(crate) fn leave(&self, pass: Pass) {
        self.gate.room.leave(pass);
    }

    pub(crate) fn adopt(&self, policies: &Policies) {
        self.gate.room.set_limit(policies.pool_requests);
        let window = policies.pool_breaker.as_ref().map(|policy| policy.window);
        let mut watch = self.watch();
        if watch.window != window {
            watch.window = window;
            self.gate.forget();
        }
    }

    /// Counts one attempt that went to it.
    pub(crate) fn note(
        &self,
        pass: Pass,
        sample: &Sample,
        policies: &Policies,
        now: Instant,
        rng: &mut impl Rng,
    ) -> Option<Change> {
        let policy = policies.pool_breaker.as_ref()?;
        let event = self.gate.note(self.state(), pass, sample, policy, now)?;
        let mut watch = self.watch();
        let told = watch.circuit.step(event, policy, now, rng);
        self.settle(&watch, told)
    }

    /// Takes the time, for its breaker.
    pub(crate) fn tick(&self, policies: &Policies, now: Instant, rng: &mut impl Rng) -> Option<Change> {
        let mut watch = self.watch();
        let told = self.gate.tick(&mut watch.circuit, policies.pool_breaker.as_ref(), now, rng);
        self.settle(&watch, told)
    }

    /// Whether the endpoints are to be compared now; if so, not again for an interval.
    pub(crate) fn takes_sweep(&self, interval: Duration, now: Instant) -> bool {
        let mut watch = self.watch();
        let next = *watch.next_sweep.get_or_insert(now + interval);
        let is_due = now >= next;
        let next = if is_due { now + interval } else { next.min(now + interval) };
        watch.next_sweep = Some(next);
        self.schedule(Some(next));
        is_due
    }

    pub(crate) fn deciding(&self) -> MutexGuard<'_, ()> {
        self.ejecting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an ejection for this cause that did not happen for that reason.
    pub fn suppress(&self, cause: Cause, why: Suppressed) {
        self.suppressed[cause as usize][why as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Whether time changes something now; if so, nothing is due until somebody says so again.
    pub(crate) fn takes_turn(&self, now: Instant) -> bool {
        let is_due = self.due.load(Ordering::Relaxed) <= self.epoch.nanos(now);
        if is_due {
            self.due.store(u64::MAX, Ordering::Relaxed);
        }
        is_due
    }

    /// Time changes something then.
    pub(crate) fn schedule(&self, at: Option<Instant>) {
        if let Some(at) = at {
            self.due.fetch_min(self.epoch.nanos(at), Ordering::Relaxed);
        }
    }

    /// Somebody should look at it soon.
    pub(crate) fn wake(&self) {
        self.due.store(0, Ordering::Relaxed);
    }

    fn settle(&self, watch: &Watch, told: Option<Transition>) -> Option<Change> {
        self.gate.admit(&watch.circuit, false);
        self.schedule(watch.circuit.due());
        let told = told?;
        if told.to == State::Closed {
            self.gate.forget();
        }
        self.state.store(told.to as u8, Ordering::Release);
        self.pulse.advance();
        Some(Change { subject: Subject::Pool(self.id.clone()), turn: Turn::Breaker(told) })
    }

    fn watch(&self) -> MutexGuard<'_, Watch> {
        // A panic between two plain stores leaves nothing half done.
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
