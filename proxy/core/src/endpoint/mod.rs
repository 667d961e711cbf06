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

mod offer;
mod registry;

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sluice_config::name::{RegionName, ServiceName, VersionName};

use self::offer::Word;
pub use self::offer::{Advice, Barrier, FULL, Force, Offer};
pub use self::registry::Registry;
use crate::health::{Health, Policy, Reason, Standing, Transition, Verdict};
use crate::latency::{self, Latency};

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

    fn advance(&self) {
        self.0.fetch_add(1, Ordering::Release);
    }
}

/// The state of one endpoint, shared by the revisions that name it.
#[derive(Debug)]
pub struct Endpoint {
    id: EndpointId,
    in_flight: AtomicU32,
    /// Most requests at once; `u32::MAX`: no cap.
    cap: AtomicU32,
    word: AtomicU32,
    latency: Latency,
    watch: Mutex<Watch>,
    pulse: Arc<Pulse>,
}

#[derive(Debug)]
struct Watch {
    checked: bool,
    health: Health,
    force: Option<Force>,
    advice: Advice,
}

impl Watch {
    fn offer(&self) -> Offer {
        let standing = self.health.standing();
        match self.force {
            Some(Force::In) => Offer { standing: Standing::Verified, barrier: None, level: FULL },
            Some(Force::Out) => Offer { standing, barrier: Some(Barrier::Forced), level: self.advice.level },
            None => {
                let barrier = self.advice.draining.then_some(Barrier::Draining);
                Offer { standing, barrier, level: self.advice.level }
            }
        }
    }
}

impl Endpoint {
    /// A new endpoint of a service with a health check: `Unprobed`.
    #[must_use]
    pub fn checked(id: EndpointId, pulse: Arc<Pulse>) -> Self {
        Self::new(id, pulse, true)
    }

    /// A new endpoint of a service without a health check: always `Verified`.
    #[must_use]
    pub fn unchecked(id: EndpointId, pulse: Arc<Pulse>) -> Self {
        Self::new(id, pulse, false)
    }

    fn new(id: EndpointId, pulse: Arc<Pulse>, checked: bool) -> Self {
        let standing = if checked { Standing::Unprobed } else { Standing::Verified };
        let watch = Watch { checked, health: Health::new(standing), force: None, advice: Advice::default() };
        Self {
            id,
            in_flight: AtomicU32::new(0),
            cap: AtomicU32::new(u32::MAX),
            word: AtomicU32::new(Word::new(watch.offer(), standing, false).0),
            latency: Latency::default(),
            watch: Mutex::new(watch),
            pulse,
        }
    }

    /// Which one.
    #[must_use]
    pub const fn id(&self) -> &EndpointId {
        &self.id
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

    /// Requests that it is answering now, over all workers and revisions.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Whether [`Self::has_room`] can be false. One atomic load; a change advances the pulse.
    #[must_use]
    pub fn is_capped(&self) -> bool {
        self.word().is_capped()
    }

    /// Whether one more request may be sent to it now. Another worker may take the room first: only [`Self::begin`] knows.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.in_flight() < self.cap.load(Ordering::Relaxed)
    }

    /// Counts a request as in flight until the guard is dropped; none if there is no room.
    #[must_use]
    pub fn begin(self: &Arc<Self>) -> Option<Flight> {
        let cap = self.cap.load(Ordering::Relaxed);
        if cap == u32::MAX {
            self.in_flight.fetch_add(1, Ordering::Relaxed);
        } else {
            let more = |count: u32| (count < cap).then_some(count + 1);
            self.in_flight.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        }
        Some(Flight { endpoint: Arc::clone(self) })
    }

    /// How long it takes to answer: a peak-sensitive moving average, at least the time for which it wants to be left
    /// alone. None before its first answer.
    #[must_use]
    pub fn latency(&self, now: Instant) -> Option<Duration> {
        self.latency.read(latency::DECAY, now)
    }

    /// Sets the most requests at once.
    pub fn set_cap(&self, cap: Option<u32>) {
        let watch = self.watch();
        self.cap.store(cap.unwrap_or(u32::MAX), Ordering::Relaxed);
        self.publish(&watch);
    }

    /// Takes an operator's word, or takes it back.
    pub fn force(&self, force: Option<Force>) {
        let mut watch = self.watch();
        watch.force = force;
        self.publish(&watch);
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
        self.publish(&watch);
    }

    /// Takes one probe's verdict; answers with the change of standing, if it made one. A verdict that arrives after the
    /// health check was removed changes nothing.
    pub fn step(&self, verdict: Verdict, policy: &Policy) -> Option<Transition> {
        let mut watch = self.watch();
        if !watch.checked {
            return None;
        }
        let transition = watch.health.step(verdict, policy)?;
        self.publish(&watch);
        Some(transition)
    }

    /// Says whether the service has a health check now; answers with the change of standing, if that made one.
    pub fn set_checked(&self, checked: bool) -> Option<Transition> {
        let mut watch = self.watch();
        watch.checked = checked;
        let from = watch.health.standing();
        if checked || from == Standing::Verified {
            return None;
        }
        watch.health = Health::new(Standing::Verified);
        self.publish(&watch);
        Some(Transition { from, to: Standing::Verified, reason: Reason::Unchecked })
    }

    fn watch(&self) -> MutexGuard<'_, Watch> {
        // A panic between two plain stores leaves nothing half done.
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn word(&self) -> Word {
        Word(self.word.load(Ordering::Acquire))
    }

    fn publish(&self, watch: &Watch) {
        let capped = self.cap.load(Ordering::Relaxed) != u32::MAX;
        let word = Word::new(watch.offer(), watch.health.standing(), capped);
        if self.word.swap(word.0, Ordering::Release) != word.0 {
            self.pulse.advance();
        }
    }
}

/// One request in flight to an endpoint; dropping it ends the count.
#[derive(Debug)]
pub struct Flight {
    endpoint: Arc<Endpoint>,
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
        self.endpoint.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
