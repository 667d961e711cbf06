mod any;
mod breakers;
mod ejection;

use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use sluice_config::share::Share;
use sluice_config::validated::{self, Breaker, Breakers, OutlierEjection, SlowStart};
use sluice_config::value::Weight;

use super::*;
use crate::breaker::{self, State};
use crate::endpoint::{Advice, Barrier, Endpoint, FULL, Registry};
use crate::fixture::{POLICY, compile, regions, shop, start, version};
use crate::health::{Standing, Verdict};
use crate::latency::DECAY;
use crate::sample::Class;

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

/// One pool of so many endpoints, and time.
struct Stage {
    document: validated::Service,
    service: Service,
    registry: Registry,
    now: Instant,
    rng: StdRng,
    told: Vec<Change>,
}

impl Stage {
    fn new(endpoints: u16, checked: bool, set: impl FnOnce(&mut validated::Service)) -> Self {
        let mut document = shop(checked, vec![version("v1", 1, &[(0, endpoints)])]);
        set(&mut document);
        let (service, registry) = compile(&regions(), &document, &Registry::default());
        let mut stage =
            Self { document, service, registry, now: start(), rng: StdRng::seed_from_u64(1), told: Vec::new() };
        stage.wait(Duration::ZERO);
        stage
    }

    /// Swaps in another revision.
    fn revise(&mut self, set: impl FnOnce(&mut validated::Service)) {
        set(&mut self.document);
        (self.service, self.registry) = compile(&regions(), &self.document, &self.registry);
        self.wait(Duration::ZERO);
    }

    fn endpoint(&self, at: usize) -> &Arc<Endpoint> {
        &self.service.pool(0, 0)[at].endpoint
    }

    fn barrier(&self, at: usize) -> Option<Barrier> {
        self.endpoint(at).offer().barrier
    }

    /// Lets time pass, with a tick each tenth of a second.
    fn wait(&mut self, time: Duration) {
        let until = self.now + time;
        loop {
            self.told.extend(self.service.tick(self.now, &mut self.rng));
            if self.now >= until {
                return;
            }
            self.now = (self.now + 100 * MS).min(until);
        }
    }

    fn attempt(&mut self, at: usize, class: Class, took: Duration) -> bool {
        let Some(flight) = self.endpoint(at).begin() else { return false };
        let spot = Spot { region: 0, version: 0, endpoint: at };
        let sample = Sample { class, took: Some(took), busy: None };
        self.told.extend(self.service.note(&flight, &spot, &sample, self.now, &mut self.rng));
        true
    }

    /// A good probe of each.
    fn probe(&self) {
        self.service.pool(0, 0).iter().for_each(|member| {
            member.endpoint.step(Verdict::Good, &POLICY);
        });
    }

    fn fail(&mut self, at: usize, times: usize) {
        (0..times).for_each(|_| assert!(self.attempt(at, Class::Failure, MS)));
    }

    fn succeed(&mut self, at: usize, times: usize) {
        (0..times).for_each(|_| assert!(self.attempt(at, Class::Success, MS)));
    }

    /// What was told since the last call, without whose it is.
    fn told(&mut self) -> Vec<(&'static str, &'static str, &'static str)> {
        self.told.drain(..).map(|change| (change.turn.as_str(), change.turn.to(), change.turn.reason())).collect()
    }
}

fn ejecting(document: &mut validated::Service) {
    document.outlier_ejection = Some(OutlierEjection::default());
}

fn breaking(document: &mut validated::Service) {
    document.breaker.endpoint = Some(Breaker::default());
}

fn warming(document: &mut validated::Service) {
    document.slow_start = Some(SlowStart { window: 30 * SECOND, floor: Share::from_ppm(100_000).unwrap() });
}

#[test]
fn without_policies_nothing_changes() {
    let mut stage = Stage::new(2, false, |_| ());
    stage.fail(0, 1000);
    stage.wait(60 * SECOND);
    assert!(stage.told().is_empty());
    assert_eq!(stage.endpoint(0).offer().barrier, None);
    assert!(!stage.endpoint(0).is_capped());
}

#[test]
fn slow_start_is_for_what_is_added_or_back_and_not_for_the_start() {
    let mut stage = Stage::new(2, true, |document| {
        warming(document);
        ejecting(document);
    });
    let level = |stage: &Stage, at| stage.endpoint(at).offer().level;
    stage.probe();
    stage.wait(SECOND);
    assert_eq!((level(&stage, 0), level(&stage, 1)), (FULL, FULL), "the process began with them");
    stage.revise(|document| document.versions = vec![version("v1", 1, &[(0, 3)])]);
    assert_eq!(stage.endpoint(2).offer().standing, Standing::Unprobed);
    stage.endpoint(2).step(Verdict::Good, &POLICY);
    assert_eq!(level(&stage, 2), 100, "at once, before any tick");
    stage.wait(15 * SECOND + 100 * MS);
    assert_eq!(level(&stage, 2), 550);
    stage.fail(1, 5);
    stage.wait(30 * SECOND);
    assert_eq!((level(&stage, 1), level(&stage, 2)), (100, FULL));
    let expected = [
        ("slow_start", "warming", "new_or_back"),
        ("ejection", "ejected", "consecutive_failures"),
        ("slow_start", "warm", "waited"),
        ("ejection", "in", "waited"),
        ("slow_start", "warming", "new_or_back"),
    ];
    assert_eq!(stage.told(), expected);
}

#[test]
fn slow_start_holds_nobody_back_where_all_would_be() {
    let mut stage = Stage::new(2, false, |document| {
        warming(document);
        document.versions[0].pools[0].endpoints.truncate(1);
    });
    stage.revise(|document| document.versions = vec![version("v1", 1, &[(0, 2)])]);
    assert_eq!([0, 1].map(|at| stage.endpoint(at).offer().level), [FULL, 100]);
    stage.endpoint(0).force(Some(Force::Out));
    stage.wait(100 * MS);
    assert_eq!(stage.endpoint(1).offer().level, FULL, "nobody else could take what it is spared");
    stage.endpoint(0).force(None);
    stage.wait(100 * MS);
    assert_eq!([0, 1].map(|at| stage.endpoint(at).offer().level), [FULL, FULL], "both are in slow start now");
}

#[test]
fn an_operators_word_comes_before_all_else() {
    let mut stage = Stage::new(2, true, |document| {
        ejecting(document);
        breaking(document);
    });
    stage.probe();
    stage.fail(0, 5);
    assert_eq!(stage.barrier(0), Some(Barrier::Ejected));
    stage.endpoint(0).advise(Advice { level: 500, draining: true });
    let endpoint = Arc::clone(stage.endpoint(0));
    endpoint.force(Some(Force::In));
    let offer = endpoint.offer();
    assert_eq!((offer.standing, offer.barrier, offer.level), (Standing::Verified, None, FULL));
    stage.wait(7 * SECOND);
    assert_eq!(endpoint.view(stage.now).breaker.state, State::HalfOpen);
    assert!((0..50).all(|_| endpoint.begin().is_some()) && !endpoint.is_capped(), "trials are for the unforced");
    endpoint.force(Some(Force::Out));
    assert_eq!(endpoint.offer().barrier, Some(Barrier::Forced));
    endpoint.force(None);
    assert_eq!(endpoint.offer().barrier, Some(Barrier::Ejected));
    stage.wait(30 * SECOND);
    assert_eq!((endpoint.offer().barrier, endpoint.offer().level), (Some(Barrier::Draining), 500));
    assert!(endpoint.is_capped(), "half-open for want of trials");
    let forced = endpoint.force_breaker(Some(breaker::Force::Open), stage.now).unwrap();
    assert_eq!((forced.turn.to(), forced.turn.reason()), ("open", "forced"));
}

#[test]
fn a_policy_that_goes_away_releases_what_it_held() {
    let mut stage = Stage::new(10, false, |document| {
        ejecting(document);
        document.breaker = Breakers { endpoint: Some(Breaker::default()), pool: Some(Breaker::default()) };
    });
    stage.fail(0, 5);
    stage.told();
    let was = stage.service.pool_state(0, 0).state();
    assert_eq!((stage.barrier(0), was), (Some(Barrier::Ejected), State::Open));
    let old = std::mem::take(&mut stage.document.breaker);
    stage.revise(|document| document.outlier_ejection = None);
    assert_eq!((stage.barrier(0), stage.endpoint(0).breaker()), (None, State::Closed));
    assert_eq!(stage.service.pool_state(0, 0).state(), State::Closed);
    assert!(stage.told().iter().all(|(_, _, reason)| *reason == "removed"));
    // A request of the old revision ends late, by its own policy.
    let mut document = stage.document.clone();
    document.breaker = old;
    let late = Service::new(&regions(), &document, &stage.registry);
    let flight = stage.endpoint(0).begin().unwrap();
    let spot = Spot { region: 0, version: 0, endpoint: 0 };
    let bad = Sample { class: Class::Failure, took: Some(MS), busy: None };
    for _ in 0..5 {
        stage.told.extend(late.note(&flight, &spot, &bad, stage.now, &mut stage.rng));
    }
    assert_eq!(stage.endpoint(0).breaker(), State::Open);
    stage.wait(100 * MS);
    assert_eq!(stage.endpoint(0).breaker(), State::Closed);
}

/// Failures in a row go on through a revision. Fails if adopting the same policies forgets.
#[test]
fn a_revision_keeps_what_was_counted() {
    let mut stage = Stage::new(2, false, |document| {
        document.breaker = Breakers { endpoint: Some(Breaker::default()), pool: Some(Breaker::default()) };
    });
    stage.fail(0, 4);
    stage.revise(|document| document.versions = vec![version("v1", 50, &[(0, 3)])]);
    stage.fail(0, 1);
    assert_eq!((stage.endpoint(0).breaker(), stage.service.pool_state(0, 0).state()), (State::Open, State::Open));
}

#[test]
fn latency_remembers_failures_and_what_the_endpoint_asks() {
    let peak = validated::Balancer::PeakEwma { decay: DECAY, failure_penalty: 5 * SECOND };
    let mut stage = Stage::new(1, false, |document| document.balancer = peak);
    stage.attempt(0, Class::Success, 10 * MS);
    assert_eq!(stage.endpoint(0).latency(stage.now), Some(10 * MS));
    stage.attempt(0, Class::Failure, MS);
    assert_eq!(stage.endpoint(0).latency(stage.now), Some(5 * SECOND));
    let flight = stage.endpoint(0).begin().unwrap();
    let busy = Sample { class: Class::Success, took: Some(MS), busy: Some(60 * SECOND) };
    stage.service.note(&flight, &Spot { region: 0, version: 0, endpoint: 0 }, &busy, stage.now, &mut stage.rng);
    assert_eq!(stage.endpoint(0).latency(stage.now + SECOND), Some(59 * SECOND));
}
