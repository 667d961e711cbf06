//! A service in trouble, simulated: endpoints hang, refuse, fail, stall and break off, flap, lose probes; revisions and
//! policies change under way, operators force. Beside the real state runs a small reference model that knows only what was noted and
//! told. 256 seeds; a failure names its seed, and `SEED=n` runs that one alone.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

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

/// What is done to the service, and how often at least in all seeds together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Injection {
    Hang,
    Refuse,
    Fail,
    Stall,
    Half,
    Flap,
    Probe,
    Weights,
    Members,
    Policy,
    ForceEndpoint,
    ForceBreaker,
}

const FLOORS: [(Injection, u32); 12] = [
    (Injection::Hang, 1000),
    (Injection::Refuse, 1000),
    (Injection::Fail, 1000),
    (Injection::Stall, 1000),
    (Injection::Half, 1000),
    (Injection::Flap, 1000),
    (Injection::Probe, 5000),
    (Injection::Weights, 500),
    (Injection::Members, 500),
    (Injection::Policy, 500),
    (Injection::ForceEndpoint, 500),
    (Injection::ForceBreaker, 500),
];

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

/// What the model knows of one endpoint, or of the pool: only from what was noted and told.
#[derive(Debug, Clone, Default)]
struct Model {
    state: Known,
    /// Failures in a row that a closed breaker has counted.
    streak: u32,
    /// What it counted, for its window: when, and whether it failed.
    counted: Vec<(Instant, bool)>,
    trials: BTreeSet<u64>,
    successes: u32,
    half_open_since: Option<Instant>,
    /// Failures in a row that count for an ejection.
    outlier: u32,
    ejected: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Known(Option<State>);

impl Known {
    fn get(self) -> State {
        self.0.unwrap_or(State::Closed)
    }
}

/// An endpoint, or the pool.
type Key = Option<SocketAddr>;

fn key(endpoint: &Arc<Endpoint>) -> Key {
    Some(endpoint.id().address)
}

fn subject(change: &Change) -> Key {
    match &change.subject {
        Subject::Endpoint(id) => Some(id.address),
        Subject::Pool(_) => None,
    }
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

#[expect(
    clippy::disallowed_methods,
    reason = "an instant cannot be made of nothing; every other one is counted from it"
)]
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

    fn inject(&mut self) {
        for at in 0..self.origins.len() {
            if self.below(40) == 0 && self.origins[at].until <= self.step && !self.origins[at].flaps {
                self.break_origin(at);
            }
        }
        match self.below(120) {
            0 => self.revise(Injection::Weights),
            1 => self.revise(Injection::Members),
            2 => self.revise(Injection::Policy),
            3 | 4 => self.force_endpoint(),
            5 | 6 => self.force_breaker(),
            7 => (0..self.origins.len()).for_each(|at| self.break_origin(at)),
            _ => {}
        }
    }

    fn break_origin(&mut self, at: usize) {
        let (fault, kind) = [
            (Fault::Hang, Injection::Hang),
            (Fault::Refuse, Injection::Refuse),
            (Fault::Fail, Injection::Fail),
            (Fault::Stall, Injection::Stall),
            (Fault::Half, Injection::Half),
        ][self.below(5)];
        let flaps = self.below(4) == 0;
        let lasts = if flaps { 10 } else { 5 + self.below(60) as u32 };
        self.origins[at] = Origin { fault, until: self.step + lasts, flaps, ..self.origins[at] };
        self.count(kind);
        if flaps {
            self.count(Injection::Flap);
        }
    }

    /// Faults end; of those that flap, some come back.
    fn flap(&mut self) {
        for at in 0..self.origins.len() {
            if self.origins[at].until > self.step || self.origins[at].fault == Fault::None {
                continue;
            }
            if self.origins[at].flaps && self.below(8) > 0 {
                let fault = if self.below(2) == 0 { Fault::Fail } else { Fault::Stall };
                self.origins[at].fault = fault;
                self.origins[at].until = self.step + 1 + self.below(15) as u32;
                self.count(Injection::Flap);
            } else {
                self.origins[at] = Origin { fault: Fault::None, flaps: false, ..self.origins[at] };
            }
        }
    }

    fn probe(&mut self) {
        for at in 0..self.origins.len() {
            if self.step < self.origins[at].next_probe {
                continue;
            }
            self.origins[at].next_probe = self.step + 10;
            let lost = self.step < TROUBLE && self.below(5) == 0;
            if lost {
                self.count(Injection::Probe);
            }
            let bad = lost || matches!(self.origins[at].fault, Fault::Hang | Fault::Refuse);
            let verdict = if bad { Verdict::Bad(health::Cause::Timeout) } else { Verdict::Good };
            self.endpoint(at).step(verdict, &self.health);
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "whatever else is injected is no revision")]
    fn revise(&mut self, kind: Injection) {
        match kind {
            Injection::Weights => {
                (0..self.weights.len()).for_each(|at| self.weights[at] = self.below(5) as u32);
                self.weights[0] = self.weights[0].max(1);
            }
            Injection::Members if self.weights.len() > 1 && self.below(2) == 0 => {
                self.weights.pop();
                self.origins.pop();
                self.weights[0] = self.weights[0].max(1);
            }
            Injection::Members => {
                self.weights.push(1);
                self.origins.push(Origin { fault: Fault::None, until: 0, flaps: false, next_probe: 0 });
            }
            _ => {
                let mut flip = |on: bool| if self.rng.next_u32().is_multiple_of(3) { !on } else { on };
                let Asked { ejection, breaker, pool_breaker, slow_start } = self.asked;
                self.asked = Asked {
                    ejection: flip(ejection),
                    breaker: flip(breaker),
                    pool_breaker: flip(pool_breaker),
                    slow_start: flip(slow_start),
                };
            }
        }
        self.count(kind);
        self.swap();
    }

    /// The next revision. What it knows of endpoints that stay must be what the one before knew.
    fn swap(&mut self) {
        let before: Vec<_> =
            self.endpoints().map(|it| (it.id().clone(), it.view(self.now), it.latency(self.now))).collect();
        let (regions, service, registry, health) = compile(&self.weights, self.asked, &self.registry);
        for (id, view, latency) in before {
            let Some(now) = registry.find(&id) else { continue };
            let same = now.view(self.now).breaker == view.breaker
                && now.view(self.now).ejected == view.ejected
                && now.view(self.now).ejections == view.ejections
                && now.view(self.now).standing == view.standing
                && now.in_flight() == view.in_flight
                && now.latency(self.now) == latency;
            self.assert(same, || format!("{id} lost what it was through: {view:?} {:?}", now.view(self.now)));
        }
        let service = Arc::new(service);
        self.selector = self.selector.carry(&self.service, &service, &mut self.rng);
        (self.regions, self.service, self.registry, self.health) = (regions, service, registry, health);
        let known: BTreeSet<Key> = self.endpoints().map(key).collect();
        self.models.retain(|at, _| known.contains(at) || at.is_none());
        self.forced.retain(|at| known.contains(at) || at.is_none());
        self.forget();
        // The first tick of a revision releases what has no policy any more.
        let told = self.service.tick(self.now, &mut self.rng);
        self.learn(&told);
    }

    /// A breaker that comes or goes forgets what was counted.
    fn forget(&mut self) {
        let on = (self.asked.breaker, self.asked.pool_breaker);
        let was = std::mem::replace(&mut self.was_on, on);
        for (at, model) in &mut self.models {
            let changed = if at.is_none() { was.1 != on.1 } else { was.0 != on.0 };
            if changed {
                model.streak = 0;
                model.counted.clear();
            }
        }
    }

    fn force_endpoint(&mut self) {
        let at = self.below(self.origins.len());
        let force = [None, Some(Force::In), Some(Force::Out)][self.below(3)];
        self.force(at, force);
        self.count(Injection::ForceEndpoint);
    }

    /// No trials are counted while an endpoint is forced in: those of before are forgotten.
    fn force(&mut self, at: usize, force: Option<Force>) {
        let endpoint = Arc::clone(self.endpoint(at));
        if endpoint.forced() == Some(Force::In) || force == Some(Force::In) {
            self.models.entry(key(&endpoint)).or_default().trials.clear();
        }
        endpoint.force(force);
    }

    fn force_breaker(&mut self) {
        let force = [None, Some(breaker::Force::Open), Some(breaker::Force::Closed)][self.below(3)];
        let at = self.below(self.origins.len() + 1);
        let (id, told) = if at == self.origins.len() {
            let pool = self.service.pool_state(0, 0);
            (None, pool.force_breaker(force, self.now))
        } else {
            (key(self.endpoint(at)), self.endpoint(at).force_breaker(force, self.now))
        };
        if force.is_some() {
            self.forced.insert(id)
        } else {
            self.forced.remove(&id)
        };
        self.learn(&told.into_iter().collect::<Vec<_>>());
        self.count(Injection::ForceBreaker);
    }

    /// One request. What is chosen may be given something, and what has room is found.
    fn request(&mut self) {
        let ask = Ask {
            capability: Capability::Read,
            sticky_key: None,
            key: None,
            version: None,
            previous: None,
            waited: None,
            tried: &[],
            now: self.now,
        };
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

    /// The reference model: what this sample must do to the endpoint and to the pool.
    fn expect(&mut self, attempt: &Attempt, failed: bool) -> Expected {
        let endpoint = attempt.flight.endpoint();
        let id = key(endpoint);
        let policies = attempt.service.policies();
        let mut expected = Expected::default();
        let is_gone = self.is_gone(attempt);
        if policies.outlier.is_some() && !is_gone {
            let model = self.models.entry(id).or_default();
            model.outlier = if failed { model.outlier + 1 } else { 0 };
            expected.ejection = failed && model.outlier.is_multiple_of(STREAK);
        }
        if policies.breaker.is_some() && !is_gone {
            expected.own = self.expect_of_breaker(id, attempt.number, failed);
        }
        if policies.pool_breaker.is_some() {
            expected.of_pool = self.expect_of_breaker(None, attempt.number, failed);
        }
        expected
    }

    /// The state that a breaker must change to. Ratios are not foreseen but judged when they are told.
    fn expect_of_breaker(&mut self, id: Key, number: u64, failed: bool) -> Option<State> {
        let (forced, now) = (self.forced.contains(&id), self.now);
        let model = self.models.entry(id).or_default();
        match model.state.get() {
            State::Open => None,
            State::Closed => {
                model.streak = if failed { model.streak + 1 } else { 0 };
                model.counted.push((now, failed));
                (failed && model.streak >= STREAK && !forced).then_some(State::Open)
            }
            State::HalfOpen if !model.trials.contains(&number) => None,
            State::HalfOpen if failed => Some(State::Open),
            State::HalfOpen => {
                model.successes += 1;
                (model.successes >= CLOSE_AFTER).then_some(State::Closed)
            }
        }
    }

    fn judge(&self, attempt: &Attempt, told: &[Change], expected: Expected) {
        let endpoint = attempt.flight.endpoint();
        let id = key(endpoint);
        for (id, expected) in [(id, expected.own), (None, expected.of_pool)] {
            let told = told.iter().filter(|change| subject(change) == id).find_map(|change| match change.turn {
                Turn::Breaker(told) => Some(told),
                Turn::Ejected { .. } | Turn::Returned(_) | Turn::Warming | Turn::Warm => None,
            });
            let by_ratio = told.is_some_and(|told| matches!(told.reason, Reason::Tripped(Cause::Ratio(..))));
            let fits = told.map(|told| told.to) == expected || by_ratio;
            self.assert(fits, || format!("{id:?} was to be {expected:?}, told was {told:?}"));
        }
        let ejected = told.iter().any(|it| matches!(it.turn, Turn::Ejected { .. }));
        self.assert(!ejected || expected.ejection, || format!("{id:?} was ejected for nothing"));
        let counted = self.count_suppressed() > self.suppressed;
        let is_of_this_revision = Arc::ptr_eq(&attempt.service, &self.service);
        if expected.ejection
            && is_of_this_revision
            && self.weights[attempt.spot.endpoint] > 0
            && !self.was_barred(endpoint)
        {
            self.assert(ejected != counted, || format!("{id:?} was neither ejected nor counted, or both"));
        }
    }

    /// Whether something kept it out before this sample. A breaker that this sample opened is not in the model yet.
    fn was_barred(&self, endpoint: &Arc<Endpoint>) -> bool {
        let (view, id) = (endpoint.view(self.now), key(endpoint));
        let model = self.models.get(&id);
        view.standing == Standing::Out && view.force.is_none()
            || view.force == Some(Force::Out)
            || model.is_some_and(|model| model.ejected || model.state.get() == State::Open && view.force.is_none())
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

    fn learn_trial(&mut self, flight: &Flight, number: u64) {
        let endpoint = flight.endpoint();
        for id in [key(endpoint), None] {
            let forced = self.forced.contains(&id) || endpoint.forced() == Some(Force::In) && id.is_some();
            let model = self.models.entry(id).or_default();
            if model.state.get() != State::HalfOpen || forced {
                continue;
            }
            model.trials.insert(number);
            let since = model.half_open_since.unwrap();
            let silent = ((self.now - since).as_millis() / LEAST_OPEN.as_millis()) as usize;
            let most = 1 + model.successes as usize + silent;
            let running = model.trials.len();
            self.assert(running <= most, || format!("{id:?} has {running} trials, at most {most}"));
        }
    }

    /// Takes what was told into the model. What is told must follow from what is known.
    fn learn(&mut self, told: &[Change]) {
        for change in told {
            *self.turns.entry((change.turn.as_str(), change.turn.reason())).or_insert(0) += 1;
            let id = subject(change);
            let (now, seed) = (self.now, self.seed);
            let model = self.models.entry(id).or_default();
            match change.turn {
                Turn::Breaker(told) => {
                    assert_eq!(told.from, model.state.get(), "seed {seed}: {id:?} {told:?}");
                    model.check_cause(told.reason, now, seed, id);
                    model.state = Known(Some(told.to));
                    (model.streak, model.successes) = (0, 0);
                    model.counted.clear();
                    model.trials.clear();
                    model.half_open_since = (told.to == State::HalfOpen).then_some(now);
                }
                Turn::Ejected { lasts, .. } => {
                    assert!(!model.ejected, "seed {seed}: {id:?} was ejected twice");
                    assert!(lasts <= Duration::from_secs(5), "seed {seed}: {id:?} for {lasts:?}");
                    (model.ejected, model.outlier) = (true, 0);
                }
                Turn::Returned(_) => {
                    assert!(model.ejected, "seed {seed}: {id:?} was not ejected");
                    (model.ejected, model.outlier) = (false, 0);
                }
                Turn::Warming | Turn::Warm => {}
            }
        }
    }

    /// A request found nobody: then nobody could have taken it.
    fn check_refusal(&self) {
        let pool = self.service.pool_state(0, 0);
        if pool.offer().barrier.is_some() || !pool.has_room() {
            return;
        }
        let usable = || {
            let members = self.service.pool(0, 0).iter().filter(|it| it.weight > 0);
            members.map(|it| (&it.endpoint, it.endpoint.offer())).filter(|(_, offer)| offer.is_eligible())
        };
        let best = usable().map(|(_, offer)| offer.standing).min();
        for (endpoint, offer) in usable().filter(|(_, offer)| Some(offer.standing) == best) {
            self.assert(!endpoint.has_room(), || format!("{} could have taken it: {offer:?}", endpoint.id()));
        }
    }

    /// What holds at any time.
    fn check(&self) {
        let mut running: BTreeMap<Key, u32> = BTreeMap::new();
        for attempt in &self.attempts {
            *running.entry(None).or_insert(0) += 1;
            if !self.is_gone(attempt) {
                *running.entry(key(attempt.flight.endpoint())).or_insert(0) += 1;
            }
        }
        let none = Model::default();
        for endpoint in self.endpoints() {
            let (at, view) = (key(endpoint), endpoint.view(self.now));
            let model = self.models.get(&at).unwrap_or(&none);
            self.assert(view.breaker.state == model.state.get(), || format!("{at:?}: untold {view:?} {model:?}"));
            // Probes end ejections between ticks.
            self.assert(view.ejected.is_none() || model.ejected, || format!("{at:?}: an ejection was not told"));
            let expected = running.get(&at).copied().unwrap_or(0);
            self.assert(view.in_flight == expected, || format!("{at:?}: {expected} in flight, not {view:?}"));
            let levels = if self.asked.slow_start { 100..=1000 } else { 1000..=1000 };
            self.assert(levels.contains(&view.offer.level), || format!("{at:?}: {view:?}"));
        }
        let pool = self.service.pool_state(0, 0).in_flight();
        let expected = running.get(&None).copied().unwrap_or(0);
        self.assert(pool == expected, || format!("{pool} in flight to the pool, not {expected}"));
    }

    /// What holds after each ejection by the running revision.
    fn check_caps(&self) {
        let weighted = || self.service.pool(0, 0).iter().filter(|it| it.weight > 0);
        let ejected = weighted().filter(|it| it.endpoint.is_ejected()).count();
        let most = (weighted().count() * 3 / 10).max(1);
        self.assert(ejected <= most, || format!("{ejected} are ejected, at most {most}"));
        self.assert(weighted().any(|it| it.endpoint.offer().is_eligible()), || "the last was ejected".to_owned());
    }

    /// The last fault is over, the last force is taken back, every policy is on.
    fn make_peace(&mut self) {
        self.origins
            .iter_mut()
            .for_each(|it| *it = Origin { fault: Fault::None, until: 0, flaps: false, next_probe: it.next_probe });
        self.weights.iter_mut().for_each(|it| *it = (*it).max(1));
        self.asked = Asked { ejection: true, breaker: true, pool_breaker: true, slow_start: true };
        self.swap();
        for at in 0..self.origins.len() {
            self.force(at, None);
            let told = self.endpoint(at).force_breaker(None, self.now);
            self.learn(&told.into_iter().collect::<Vec<_>>());
        }
        let told = self.service.pool_state(0, 0).force_breaker(None, self.now);
        self.learn(&told.into_iter().collect::<Vec<_>>());
        self.forced.clear();
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

/// What one sample must do.
#[derive(Debug, Clone, Copy, Default)]
struct Expected {
    ejection: bool,
    own: Option<State>,
    of_pool: Option<State>,
}

impl Model {
    /// What is said to have opened a breaker must have happened.
    fn check_cause(&self, reason: Reason, now: Instant, seed: u64, id: Key) {
        match reason {
            Reason::Tripped(Cause::Ratio(failed, total)) => {
                assert!(total >= 10 && failed * 2 >= total, "seed {seed}: {id:?} {reason:?}");
                let within = |span: Duration| self.counted.iter().filter(|(at, _)| now - *at < span).count();
                let fits = within(WINDOW * 9 / 10) <= total as usize && total as usize <= within(WINDOW);
                assert!(fits, "seed {seed}: {id:?} {reason:?}, {} within", within(WINDOW));
            }
            Reason::Tripped(Cause::Consecutive(streak)) => assert!(streak >= STREAK, "seed {seed}: {id:?} {reason:?}"),
            Reason::Tripped(Cause::Slow(..)) => panic!("seed {seed}: {id:?} knows no slow calls"),
            Reason::TrialFailed
            | Reason::Waited
            | Reason::Recovered(_)
            | Reason::Forced
            | Reason::Released
            | Reason::Removed => {}
        }
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
