//! A service in trouble, simulated: endpoints hang, refuse, fail, stall and break off, flap, lose probes; revisions and
//! policies change under way, operators force. Beside the real state runs a small reference model that knows only what was noted and
//! told. 256 seeds; a failure names its seed, and `SEED=n` runs that one alone.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod model;
mod trouble;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sluice_config::validated::{Capability, Region};
use sluice_config::{Environment, validate};
use sluice_proxy_core::breaker::{self, Cause, Reason, State};
use sluice_proxy_core::change::{Change, Subject, Turn};
use sluice_proxy_core::endpoint::{Endpoint, Flight, Force, Registry};
use sluice_proxy_core::health::{self, Standing, Verdict};
use sluice_proxy_core::outcome::Ending;
use sluice_proxy_core::outlier::{self, Suppressed};
use sluice_proxy_core::sample::Sample;
use sluice_proxy_core::select::{Ask, Selector, Spot};
use sluice_proxy_core::service::{Service, identities};

use self::model::{Key, Model, key};
use self::trouble::{FLOORS, Injection};

const SEEDS: u64 = 256;
/// Endpoints of the pool, by seed.
const SIZES: [usize; 4] = [1, 3, 10, 100];
const STEP: Duration = Duration::from_millis(100);
/// Faults are injected for so many steps.
const TROUBLE: u32 = 400;
/// After the last fault everything must be well within so many.
const PEACE: u32 = 600;
/// As the document below says.
const STREAK: u32 = 5;
const CLOSE_AFTER: u32 = 3;
const WINDOW: Duration = Duration::from_secs(4);
const LEAST_OPEN: Duration = Duration::from_millis(800);

/// What must have happened in all seeds together, or nothing was tried.
const TURNS: [((&str, &str), u32); 8] = [
    (("breaker", "consecutive_failures"), 1000),
    (("breaker", "trial_failed"), 300),
    (("breaker", "recovered"), 500),
    (("breaker", "removed"), 10),
    (("ejection", "consecutive_failures"), 500),
    (("ejection", "waited"), 300),
    (("slow_start", "new_or_back"), 500),
    (("slow_start", "waited"), 100),
];

#[test]
fn a_service_in_trouble_is_well_again() {
    let only = std::env::var("SEED").ok().map(|seed| seed.parse().unwrap());
    let (mut injected, mut turns) = (BTreeMap::new(), BTreeMap::new());
    for seed in (0..SEEDS).filter(|seed| only.is_none_or(|only: u64| only == *seed)) {
        let world = World::new(seed).run();
        world.injected.iter().for_each(|(kind, count)| *injected.entry(*kind).or_insert(0) += count);
        world.turns.iter().for_each(|(turn, count)| *turns.entry(*turn).or_insert(0) += count);
    }
    println!("seeds 0..{SEEDS}, injected: {injected:?}, told: {turns:#?}");
    if only.is_some() {
        return;
    }
    for (kind, floor) in FLOORS {
        assert!(injected.get(&kind) >= Some(&floor), "{kind:?} was injected fewer than {floor} times");
    }
    for (turn, floor) in TURNS {
        assert!(turns.get(&turn) >= Some(&floor), "{turn:?} happened fewer than {floor} times");
    }
}

/// What is wrong with an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    Hang,
    Refuse,
    Fail,
    Stall,
    Half,
}

/// The made-up endpoint behind an address.
#[derive(Debug, Clone, Copy)]
struct Origin {
    fault: Fault,
    /// Step at which the fault ends, and comes back if it flaps.
    until: u32,
    flaps: bool,
    next_probe: u32,
}

/// The policies that are on.
#[derive(Debug, Clone, Copy)]
struct Asked {
    ejection: bool,
    breaker: bool,
    pool_breaker: bool,
    slow_start: bool,
}

/// One attempt under way.
struct Attempt {
    ends: Instant,
    /// None: never.
    ending: Option<Ending>,
    took: Duration,
    flight: Flight,
    spot: Spot,
    service: Arc<Service>,
    number: u64,
}

struct World {
    seed: u64,
    rng: StdRng,
    now: Instant,
    step: u32,
    regions: Arc<[Region]>,
    origins: Vec<Origin>,
    weights: Vec<u32>,
    asked: Asked,
    /// Whether the running revision has a breaker for endpoints, and for the pool.
    was_on: (bool, bool),
    registry: Registry,
    service: Arc<Service>,
    selector: Selector,
    health: health::Policy,
    attempts: Vec<Attempt>,
    numbers: u64,
    models: BTreeMap<Key, Model>,
    forced: BTreeSet<Key>,
    suppressed: u64,
    injected: BTreeMap<Injection, u32>,
    turns: BTreeMap<(&'static str, &'static str), u32>,
}

fn start() -> Instant {
    Instant::now()
}

fn document(weights: &[u32], asked: Asked) -> String {
    let mut text =
        String::from("listeners: [{ name: web, address: \"127.0.0.1:8080\" }]\nroutes: [{ service: shop }]\n");
    text += "services:\n  - name: shop\n    health_check: { http: { path: /h }, interval: 1s, timeout: 500ms }\n";
    // Nobody accepts an ejection of the only endpoint.
    if asked.ejection && weights.len() > 1 {
        text += "    outlier_ejection: { consecutive_failures: 5, latency: { min_endpoints: 2, min_requests: 5, min_difference: 500ms }, \
                 interval: 2s, base_time: 2s, max_time: 5s, max_ejected: 30% }\n";
    }
    if asked.slow_start {
        text += "    slow_start: { window: 5s }\n";
    }
    let breaker =
        "{ consecutive_failures: 5, window: 4s, min_requests: 10, open_time: 1s, max_open_time: 8s, close_after: 3 }";
    match (asked.breaker, asked.pool_breaker) {
        (false, false) => {}
        (true, false) => writeln!(text, "    breaker: {{ endpoint: {breaker} }}").unwrap(),
        (false, true) => writeln!(text, "    breaker: {{ pool: {breaker} }}").unwrap(),
        (true, true) => writeln!(text, "    breaker: {{ endpoint: {breaker}, pool: {breaker} }}").unwrap(),
    }
    text += "    endpoints:\n";
    for (at, weight) in weights.iter().enumerate() {
        writeln!(text, "      - {{ address: \"10.0.0.1:{}\", weight: {weight} }}", 8000 + at).unwrap();
    }
    text
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let count = SIZES[(seed % SIZES.len() as u64) as usize];
        let asked = Asked {
            ejection: true,
            breaker: true,
            pool_breaker: seed.is_multiple_of(3),
            slow_start: seed.is_multiple_of(2),
        };
        let weights = vec![1; count];
        let (regions, service, registry, health) = compile(&weights, asked, &Registry::default());
        let selector = Selector::new(&service, None, &mut rng);
        let origin = Origin { fault: Fault::None, until: 0, flaps: false, next_probe: 0 };
        Self {
            seed,
            now: start(),
            step: 0,
            regions,
            origins: vec![origin; count],
            weights,
            was_on: (asked.breaker, asked.pool_breaker),
            asked,
            registry,
            service: Arc::new(service),
            selector,
            health,
            attempts: Vec::new(),
            numbers: 0,
            models: BTreeMap::new(),
            forced: BTreeSet::new(),
            suppressed: 0,
            injected: BTreeMap::new(),
            turns: BTreeMap::new(),
            rng,
        }
    }

    fn run(mut self) -> Self {
        for _ in 0..TROUBLE {
            self.inject();
            self.advance();
        }
        self.make_peace();
        for _ in 0..PEACE {
            self.advance();
        }
        self.check_peace();
        self
    }

    /// One step: time, probes, ends of attempts in their order, new attempts.
    fn advance(&mut self) {
        self.step += 1;
        self.now += STEP;
        let told = self.service.tick(self.now, &mut self.rng);
        self.learn(&told);
        self.flap();
        self.probe();
        self.end_attempts();
        for _ in 0..(self.origins.len() / 2).clamp(2, 40) {
            self.request();
        }
        self.check();
    }

    /// One request. What is chosen may be given something, and what has room is found.
    fn request(&mut self) {
        let ask = Ask::plain(Capability::Read, self.now);
        let Ok(choice) = self.selector.choose(&self.service, &ask, &mut self.rng) else {
            return self.check_refusal();
        };
        let endpoint = Arc::clone(choice.endpoint(&self.service));
        let is_barred = !endpoint.offer().is_eligible() || self.service.pool_state(0, 0).offer().barrier.is_some();
        self.assert(!is_barred, || format!("{choice:?} is barred: {:?}", endpoint.offer()));
        let flight = endpoint.begin();
        self.assert(flight.is_some(), || format!("{choice:?} has no room"));
        flight.into_iter().for_each(|flight| self.send(flight, choice.spot));
    }

    fn send(&mut self, flight: Flight, spot: Spot) {
        let fault = self.origins[spot.endpoint].fault;
        let quick = Duration::from_millis(5 + self.below(20) as u64);
        let (ending, took, lasts) = match fault {
            Fault::None => (Some(Ending::Status(200)), quick, quick),
            // Some requests have no timeout.
            Fault::Hang if self.below(5) == 0 => (None, quick, quick),
            Fault::Hang => (Some(Ending::PerTryTimeout), Duration::from_secs(1), Duration::from_secs(1)),
            Fault::Refuse => (Some(Ending::ConnectRefused), Duration::from_millis(1), Duration::from_millis(1)),
            Fault::Fail => (Some(Ending::Status(500)), quick, quick),
            Fault::Stall => (Some(Ending::Status(200)), quick * 80, quick * 80),
            Fault::Half => (Some(Ending::ResetInBody), quick, quick * 3),
        };
        self.numbers += 1;
        let number = self.numbers;
        self.learn_trial(&flight, number);
        let service = Arc::clone(&self.service);
        self.attempts.push(Attempt { ends: self.now + lasts, ending, took, flight, spot, service, number });
    }

    fn end_attempts(&mut self) {
        let (mut ended, running): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.attempts).into_iter().partition(|it| it.ending.is_some() && it.ends <= self.now);
        self.attempts = running;
        ended.sort_by_key(|attempt| (attempt.ends, attempt.number));
        for attempt in ended {
            let Some(sample) = attempt.ending.and_then(|ending| Sample::of(ending, false, Some(attempt.took), None))
            else {
                continue;
            };
            self.suppressed = self.count_suppressed();
            let expected = self.expect(&attempt, sample.class.is_failure());
            let told = attempt.service.note(&attempt.flight, &attempt.spot, &sample, self.now, &mut self.rng);
            // An endpoint that is gone may have a namesake.
            let told: Vec<Change> = told
                .into_iter()
                .filter(|it| !self.is_gone(&attempt) || matches!(it.subject, Subject::Pool(_)))
                .collect();
            self.judge(&attempt, &told, expected);
            self.learn(&told);
            let ejected = told.iter().any(|it| matches!(it.turn, Turn::Ejected { .. }));
            if ejected && Arc::ptr_eq(&attempt.service, &self.service) {
                self.check_caps();
            }
            for id in [key(attempt.flight.endpoint()), None] {
                self.models.entry(id).or_default().trials.remove(&attempt.number);
            }
        }
    }

    fn is_gone(&self, attempt: &Attempt) -> bool {
        let endpoint = attempt.flight.endpoint();
        self.registry.find(endpoint.id()).is_none_or(|known| !Arc::ptr_eq(known, endpoint))
    }

    fn count_suppressed(&self) -> u64 {
        let pool = self.service.pool_state(0, 0);
        let of =
            |cause: outlier::Cause| Suppressed::ALL.iter().map(move |why| pool.suppressed(cause, *why)).sum::<u64>();
        outlier::Cause::ALL.into_iter().map(of).sum()
    }

    /// Everything is as if nothing had ever happened, although some attempts hang for good.
    fn check_peace(&mut self) {
        for (at, endpoint) in self.endpoints().enumerate() {
            let view = endpoint.view(self.now);
            let well = view.breaker.state == State::Closed && view.ejected.is_none() && !view.warming;
            self.assert(well && view.offer.is_eligible() && view.offer.level == 1000, || {
                format!("{at} is not well: {view:?}")
            });
        }
        let pool = self.service.pool_state(0, 0).view();
        self.assert(pool.breaker.state == State::Closed, || format!("the pool is not well: {pool:?}"));
        self.attempts.clear();
        let all_ended =
            self.endpoints().all(|it| it.in_flight() == 0) && self.service.pool_state(0, 0).in_flight() == 0;
        self.assert(all_ended, || "requests are in flight that have ended".to_owned());
    }

    fn endpoints(&self) -> impl Iterator<Item = &Arc<Endpoint>> {
        self.service.pool(0, 0).iter().map(|member| &member.endpoint)
    }

    fn endpoint(&self, at: usize) -> &Arc<Endpoint> {
        &self.service.pool(0, 0)[at].endpoint
    }

    fn count(&mut self, kind: Injection) {
        *self.injected.entry(kind).or_insert(0) += 1;
    }

    fn below(&mut self, most: usize) -> usize {
        self.rng.next_u32() as usize % most
    }

    #[track_caller]
    fn assert(&self, holds: bool, what: impl Fn() -> String) {
        assert!(holds, "seed {} at step {}: {}", self.seed, self.step, what());
    }
}

fn compile(weights: &[u32], asked: Asked, old: &Registry) -> (Arc<[Region]>, Service, Registry, health::Policy) {
    let document = validate(&document(weights, asked), &Environment::empty()).unwrap();
    let registry = old.carry(identities(&document.regions, &document.services));
    let regions: Arc<[Region]> = document.regions.clone().into();
    let service = Service::new(&regions, &document.services[0], &registry);
    let health = health::Policy::from(document.services[0].health_check.as_ref().unwrap());
    (regions, service, registry, health)
}
