//! What belongs to an endpoint rather than to a revision: its in-flight count and its health.
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
//! Readers do not watch endpoints one by one: each change of standing advances the service's [`Pulse`], and a worker
//! looks at the endpoints again when the pulse is not what it last saw. So the common request reads one number that
//! nobody writes.
//!
//! Invariants: the atomic standing equals the health machine's; the in-flight count equals the number of live
//! [`Flight`]s; the pulse is advanced after the standing was stored.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sluice_config::name::{RegionName, ServiceName, VersionName};

use crate::health::{Health, Policy, Reason, Standing, Transition, Verdict};

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

/// Advances whenever an endpoint of one service changes its standing.
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

/// The whole of an endpoint's weight, in thousandths.
const FULL: u16 = 1_000;

/// What an endpoint says of itself in the answers to its health checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Advice {
    /// The part of its weight that it wants, in thousandths; more than 1000 counts as that.
    pub level: u16,
    /// It wants nothing new.
    pub draining: bool,
}

impl Default for Advice {
    fn default() -> Self {
        Self { level: FULL, draining: false }
    }
}

/// The state of one endpoint, shared by the revisions that name it.
#[derive(Debug)]
pub struct Endpoint {
    id: EndpointId,
    in_flight: AtomicU32,
    traffic: AtomicU64,
    standing: AtomicU8,
    watch: Mutex<Watch>,
    pulse: Arc<Pulse>,
}

#[derive(Debug)]
struct Watch {
    checked: bool,
    health: Health,
    advice: Advice,
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
        Self {
            id,
            in_flight: AtomicU32::new(0),
            traffic: AtomicU64::new(0),
            standing: AtomicU8::new(standing as u8),
            watch: Mutex::new(Watch { checked, health: Health::new(standing), advice: Advice::default() }),
            pulse,
        }
    }

    /// Which one.
    #[must_use]
    pub const fn id(&self) -> &EndpointId {
        &self.id
    }

    /// Whether it may take traffic. One atomic load.
    #[must_use]
    pub fn standing(&self) -> Standing {
        match self.standing.load(Ordering::Acquire) {
            0 => Standing::Verified,
            1 => Standing::Unprobed,
            _ => Standing::Out,
        }
    }

    /// Requests that it is answering now, over all workers and revisions.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Requests that it was ever given.
    #[must_use]
    pub fn traffic(&self) -> u64 {
        self.traffic.load(Ordering::Relaxed)
    }

    /// Counts a request as in flight until the guard is dropped.
    #[must_use]
    pub fn begin(self: &Arc<Self>) -> Flight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        self.traffic.fetch_add(1, Ordering::Relaxed);
        Flight { endpoint: Arc::clone(self) }
    }

    /// Takes one probe's verdict; answers with the change of standing, if it made one. A verdict that arrives after the
    /// health check was removed changes nothing.
    pub fn step(&self, verdict: Verdict, policy: &Policy) -> Option<Transition> {
        let mut watch = self.watch();
        if !watch.checked {
            return None;
        }
        let transition = watch.health.step(verdict, policy)?;
        self.publish(transition.to);
        Some(transition)
    }

    /// Takes what the endpoint says of itself.
    pub fn advise(&self, advice: Advice) {
        self.watch().advice = Advice { level: advice.level.min(FULL), ..advice };
    }

    /// What the endpoint last said of itself.
    #[must_use]
    pub fn advice(&self) -> Advice {
        self.watch().advice
    }

    /// The health check asks something else from now on: what its probes have found is forgotten, the standing is not.
    pub fn ask_anew(&self) {
        self.watch().health.ask_anew();
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
        self.publish(Standing::Verified);
        Some(Transition { from, to: Standing::Verified, reason: Reason::Unchecked })
    }

    fn watch(&self) -> MutexGuard<'_, Watch> {
        // A panic between two plain stores leaves nothing half done.
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, standing: Standing) {
        self.standing.store(standing as u8, Ordering::Release);
        self.pulse.advance();
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

/// All endpoints of one revision, by identity.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    endpoints: BTreeMap<EndpointId, Arc<Endpoint>>,
    pulses: BTreeMap<ServiceName, Arc<Pulse>>,
}

impl Registry {
    /// The registry of the next revision: the states of those `wanted` that were known, new ones for the rest. With
    /// each identity comes whether its service has a health check. States that are not wanted live on only while
    /// requests hold them. Known endpoints learn at once whether they are still checked, so call it for a revision that
    /// will run. O(n log n).
    #[must_use]
    pub fn carry(&self, wanted: impl IntoIterator<Item = (EndpointId, bool)>) -> Self {
        let mut next = Self::default();
        for (id, checked) in wanted {
            let pulse = next.pulse_from(self, &id.service);
            let endpoint = match self.endpoints.get(&id) {
                Some(known) => {
                    known.set_checked(checked);
                    Arc::clone(known)
                }
                None => Arc::new(Endpoint::new(id.clone(), pulse, checked)),
            };
            next.endpoints.insert(id, endpoint);
        }
        next
    }

    /// The state of this endpoint.
    #[must_use]
    pub fn find(&self, id: &EndpointId) -> Option<&Arc<Endpoint>> {
        self.endpoints.get(id)
    }

    /// The pulse that all endpoints of this service advance.
    #[must_use]
    pub fn pulse(&self, service: &ServiceName) -> Option<&Arc<Pulse>> {
        self.pulses.get(service)
    }

    /// All endpoints, in the order of their identities.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Endpoint>> {
        self.endpoints.values()
    }

    fn pulse_from(&mut self, old: &Self, service: &ServiceName) -> Arc<Pulse> {
        if let Some(pulse) = self.pulses.get(service) {
            return Arc::clone(pulse);
        }
        let pulse = old.pulses.get(service).map(Arc::clone).unwrap_or_default();
        self.pulses.insert(service.clone(), Arc::clone(&pulse));
        pulse
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fixture::POLICY;
    use crate::health::Cause;

    const BAD: Verdict = Verdict::Bad(Cause::Refused);

    fn id(service: u8, address: u8) -> EndpointId {
        EndpointId {
            service: format!("s{service}").parse().unwrap(),
            version: "v1".parse().unwrap(),
            region: "east".parse().unwrap(),
            address: SocketAddr::from(([10, 0, 0, address], 80)),
        }
    }

    fn registry(checked: bool) -> (Registry, Arc<Endpoint>) {
        let registry = Registry::default().carry([(id(1, 1), checked)]);
        let endpoint = Arc::clone(registry.find(&id(1, 1)).unwrap());
        (registry, endpoint)
    }

    #[test]
    fn an_identity_reads_well() {
        assert_eq!(id(1, 1).to_string(), "s1/v1/east/10.0.0.1:80");
    }

    #[test]
    fn an_unchecked_endpoint_is_verified_whatever_a_probe_says() {
        let (_, endpoint) = registry(false);
        (0..9).for_each(|_| assert_eq!(endpoint.step(BAD, &POLICY), None));
        assert_eq!(endpoint.standing(), Standing::Verified);
    }

    #[test]
    fn a_check_that_goes_brings_its_endpoints_back() {
        let (old, endpoint) = registry(true);
        (0..3).for_each(|_| {
            endpoint.step(BAD, &POLICY);
        });
        assert_eq!(endpoint.standing(), Standing::Out);
        let new = old.carry([(id(1, 1), false)]);
        assert_eq!(endpoint.standing(), Standing::Verified);
        assert_eq!(endpoint.step(BAD, &POLICY), None, "a late verdict changes nothing");
        assert!(Arc::ptr_eq(new.find(&id(1, 1)).unwrap(), &endpoint));
    }

    #[test]
    fn a_check_that_comes_takes_out_only_what_fails_it() {
        let (old, endpoint) = registry(false);
        let _new = old.carry([(id(1, 1), true)]);
        assert_eq!(endpoint.standing(), Standing::Verified);
        let told: Vec<_> = (0..3).filter_map(|_| endpoint.step(BAD, &POLICY)).collect();
        assert_eq!(told.iter().map(|t| (t.from, t.to)).collect::<Vec<_>>(), [(Standing::Verified, Standing::Out)]);
    }

    #[test]
    fn a_pulse_advances_with_each_change_of_its_service_only() {
        let registry = Registry::default().carry([(id(1, 1), true), (id(1, 2), true), (id(2, 1), true)]);
        let pulse = |service: &str| registry.pulse(&service.parse().unwrap()).unwrap().now();
        registry.find(&id(1, 2)).unwrap().step(Verdict::Good, &POLICY);
        registry.find(&id(1, 2)).unwrap().step(Verdict::Good, &POLICY);
        assert_eq!((pulse("s1"), pulse("s2")), (1, 0));
    }

    proptest! {
        /// Guarantee 5: state belongs to the identity. What two revisions share has one state and one pulse; the rest
        /// is new.
        #[test]
        fn states_are_carried_by_identity(
            before in prop::collection::btree_set((0_u8..3, 0_u8..10), 0..20),
            after in prop::collection::btree_set((0_u8..3, 0_u8..10), 0..20),
        ) {
            let wanted = |ids: &std::collections::BTreeSet<(u8, u8)>| ids.iter().map(|(s, a)| (id(*s, *a), true)).collect::<Vec<_>>();
            let old = Registry::default().carry(wanted(&before));
            let flights: Vec<Flight> = old.iter().map(Endpoint::begin).collect();
            old.iter().for_each(|endpoint| { endpoint.step(Verdict::Good, &POLICY); });
            let new = old.carry(wanted(&after));
            prop_assert_eq!(new.iter().count(), after.len());
            for (service, address) in &after {
                let endpoint = new.find(&id(*service, *address)).unwrap();
                let known = before.contains(&(*service, *address));
                prop_assert_eq!(endpoint.in_flight(), u32::from(known));
                prop_assert_eq!(endpoint.standing(), if known { Standing::Verified } else { Standing::Unprobed });
                let pulse = new.pulse(&endpoint.id().service).unwrap();
                prop_assert!(Arc::ptr_eq(&endpoint.pulse, pulse));
            }
            drop(flights);
            prop_assert!(new.iter().all(|endpoint| endpoint.in_flight() == 0));
        }
    }
}
