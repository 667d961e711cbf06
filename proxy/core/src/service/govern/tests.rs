use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;
use sluice_config::share::Share;
use sluice_config::validated::{
    self, Breaker, Breakers, LatencyOutlier, OutlierEjection, PoolLimits, ServiceLimits, SlowStart,
};
use sluice_config::value::Weight;

use super::*;
use crate::breaker::{self, State};
use crate::change::{Subject, Turn};
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
fn failures_in_a_row_eject_until_the_time_is_over() {
    let mut stage = Stage::new(3, false, ejecting);
    stage.fail(0, 4);
    stage.succeed(0, 1);
    stage.fail(0, 4);
    assert_eq!(stage.barrier(0), None);
    stage.fail(0, 1);
    assert_eq!(stage.barrier(0), Some(Barrier::Ejected));
    stage.wait(29 * SECOND);
    assert!(stage.endpoint(0).is_ejected());
    stage.wait(SECOND);
    assert_eq!(stage.barrier(0), None);
    let expected = [("ejection", "ejected", "consecutive_failures"), ("ejection", "in", "waited")];
    assert_eq!(stage.told(), expected);
}

#[test]
fn what_is_suppressed_is_counted_with_its_reason() {
    let mut stage = Stage::new(3, false, |document| {
        ejecting(document);
        document.versions[0].pools[0].endpoints[2].weight = Weight::ZERO;
    });
    stage.fail(0, 5);
    stage.fail(1, 10);
    let pool = stage.service.pool_state(0, 0);
    assert_eq!(pool.suppressed(Cause::Consecutive, Suppressed::Last), 2, "the third has no weight: it is no other");
    stage.endpoint(0).force(Some(Force::In));
    stage.fail(1, 5);
    let pool = stage.service.pool_state(0, 0);
    assert_eq!(pool.suppressed(Cause::Consecutive, Suppressed::Share), 1);
    stage.wait(31 * SECOND);
    stage.fail(0, 5);
    assert_eq!(stage.service.pool_state(0, 0).suppressed(Cause::Consecutive, Suppressed::Forced), 1);
    assert_eq!(stage.barrier(1), None);
}

#[test]
fn good_probes_end_an_ejection_only_where_the_policy_says() {
    for returns in [true, false] {
        let mut stage = Stage::new(2, true, |document| {
            document.outlier_ejection =
                Some(OutlierEjection { return_on_good_probe: returns, ..OutlierEjection::default() });
        });
        stage.probe();
        stage.fail(0, 5);
        (0..9).for_each(|_| {
            stage.endpoint(0).step(Verdict::Good, &POLICY);
        });
        assert!(stage.endpoint(0).is_ejected(), "a check that finds nothing bad does not see what requests meet");
        stage.endpoint(0).step(Verdict::Bad(crate::health::Cause::Timeout), &POLICY);
        stage.endpoint(0).step(Verdict::Good, &POLICY);
        assert!(stage.endpoint(0).is_ejected(), "one good probe in a row is not enough");
        stage.endpoint(0).step(Verdict::Good, &POLICY);
        assert_eq!(stage.endpoint(0).is_ejected(), !returns);
        stage.told();
        stage.wait(100 * MS);
        assert_eq!(stage.told(), if returns { vec![("ejection", "in", "good_probe")] } else { vec![] });
    }
}

#[test]
fn a_slow_endpoint_is_ejected_by_the_sweep() {
    let mut stage = Stage::new(4, false, |document| {
        document.outlier_ejection =
            Some(OutlierEjection { latency: Some(LatencyOutlier::default()), ..OutlierEjection::default() });
    });
    for at in 0..4 {
        let took = if at == 2 { 900 * MS } else { 20 * MS };
        (0..20).for_each(|_| assert!(stage.attempt(at, Class::Success, took)));
    }
    stage.wait(9 * SECOND);
    assert!(stage.told().is_empty(), "not before the interval is over");
    stage.wait(SECOND);
    assert_eq!(stage.told(), [("ejection", "ejected", "latency")]);
    assert!(stage.endpoint(2).is_ejected());
}

#[test]
fn a_breaker_opens_tries_one_and_then_more_and_closes() {
    let mut stage = Stage::new(1, false, breaking);
    let hung: Vec<_> = (0..50).map(|_| stage.endpoint(0).begin().unwrap()).collect();
    stage.fail(0, 5);
    assert_eq!(stage.barrier(0), Some(Barrier::Breaker));
    stage.wait(7 * SECOND);
    assert_eq!((stage.endpoint(0).breaker(), stage.barrier(0)), (State::HalfOpen, None));
    assert!(stage.endpoint(0).is_capped() && stage.endpoint(0).has_room(), "what hangs takes no place of a trial");
    for admitted in 1..=10 {
        let trials: Vec<_> = std::iter::from_fn(|| stage.endpoint(0).begin()).take(100).collect();
        assert_eq!(trials.len(), admitted);
        drop(trials);
        stage.succeed(0, 1);
    }
    assert_eq!(stage.endpoint(0).breaker(), State::Closed);
    assert!(!stage.endpoint(0).is_capped());
    stage.fail(0, 1);
    assert_eq!(stage.endpoint(0).breaker(), State::Closed, "failures of before do not count");
    let expected = [
        ("breaker", "open", "consecutive_failures"),
        ("breaker", "half_open", "waited"),
        ("breaker", "closed", "recovered"),
    ];
    assert_eq!(stage.told(), expected);
    drop(hung);
    assert_eq!(stage.endpoint(0).in_flight(), 0);
}

#[test]
fn only_trials_speak_while_a_breaker_is_half_open() {
    let mut stage = Stage::new(1, false, breaking);
    let late = stage.endpoint(0).begin().unwrap();
    stage.fail(0, 5);
    stage.wait(7 * SECOND);
    let spot = Spot { region: 0, version: 0, endpoint: 0 };
    let bad = Sample { class: Class::Failure, took: Some(MS), busy: None };
    let told = stage.service.note(&late, &spot, &bad, stage.now, &mut stage.rng);
    assert!(told.is_empty(), "it was sent before the breaker opened");
    stage.fail(0, 1);
    assert_eq!(stage.endpoint(0).breaker(), State::Open);
}

#[test]
fn a_trial_that_hangs_does_not_hold_a_breaker_half_open() {
    let mut stage = Stage::new(1, false, breaking);
    stage.fail(0, 5);
    stage.wait(7 * SECOND);
    let _hung = stage.endpoint(0).begin().unwrap();
    assert!(!stage.endpoint(0).has_room());
    stage.wait(7 * SECOND);
    assert!(stage.endpoint(0).has_room());
    stage.succeed(0, 10);
    assert_eq!(stage.endpoint(0).breaker(), State::Closed);
}

#[test]
fn a_pools_breaker_sees_what_no_endpoint_sees() {
    let mut stage = Stage::new(10, false, |document| document.breaker.pool = Some(Breaker::default()));
    (0..5).for_each(|at| stage.fail(at, 1));
    assert_eq!(stage.service.pool_state(0, 0).offer().barrier, Some(Barrier::Breaker));
    assert!(matches!(stage.told[0].subject, Subject::Pool(_)));
    stage.wait(7 * SECOND);
    let pool = Arc::clone(stage.service.pool_state(0, 0));
    assert!(pool.is_capped() && pool.has_room());
    let trial = stage.endpoint(3).begin().unwrap();
    assert!(stage.endpoint(4).begin().is_none(), "one at once, whichever endpoint");
    assert_eq!(stage.endpoint(4).in_flight(), 0);
    drop(trial);
    stage.succeed(7, 10);
    assert_eq!((pool.state(), pool.in_flight()), (State::Closed, 0));
    stage.fail(0, 1);
    assert_eq!(pool.state(), State::Closed, "failures of before do not count");
}

#[test]
fn limits_hold_for_endpoints_and_pools() {
    let mut stage = Stage::new(2, false, |document| {
        document.limits = ServiceLimits {
            endpoint: validated::EndpointLimits { requests: Some(2), connections: None },
            pool: PoolLimits { requests: Some(3), ..PoolLimits::default() },
            retries: None,
        };
    });
    let first: Vec<_> = std::iter::from_fn(|| stage.endpoint(0).begin()).collect();
    let second: Vec<_> = std::iter::from_fn(|| stage.endpoint(1).begin()).collect();
    assert_eq!((first.len(), second.len()), (2, 1));
    stage.revise(|document| document.limits = ServiceLimits::default());
    assert!(stage.endpoint(0).begin().is_some() && !stage.endpoint(0).is_capped());
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

/// All that an endpoint has been through.
fn memory(stage: &Stage, at: usize) -> (crate::endpoint::View, State) {
    (stage.endpoint(at).view(stage.now), stage.endpoint(at).breaker())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Weights and revisions never reset anything: whatever an endpoint has been through, a revision with other weights, other
    /// neighbours and the same policies leaves its view as it was. Fails if `carry` makes a new state for a known identity.
    #[test]
    fn a_revision_keeps_everything(
        past in prop::collection::vec((0_usize..4, 0_u8..6, 1_usize..8), 0..40), weights in prop::array::uniform4(1_u32..100), more in 4_u16..8,
    ) {
        let mut stage = Stage::new(4, true, |document| { ejecting(document); breaking(document); warming(document); });
        for (at, kind, times) in past {
            match kind {
                0 | 1 => (0..times).for_each(|_| { stage.attempt(at, Class::GatewayFailure, MS); }),
                2 => (0..times).for_each(|_| { stage.attempt(at, Class::Success, 7 * MS); }),
                3 => { stage.endpoint(at).step(Verdict::Good, &POLICY); }
                4 => { stage.endpoint(at).step(Verdict::Bad(crate::health::Cause::Timeout), &POLICY); }
                _ => stage.wait(SECOND * times as u32),
            }
        }
        stage.wait(200 * MS);
        let flights: Vec<_> = (0..4).filter_map(|at| stage.endpoint(at).begin()).collect();
        let before: Vec<_> = (0..4).map(|at| memory(&stage, at)).collect();
        stage.told();
        stage.revise(|document| {
            document.versions = vec![version("v1", 50, &[(0, more)])];
            for (endpoint, weight) in document.versions[0].pools[0].endpoints.iter_mut().zip(weights) {
                endpoint.weight = Weight::new(weight).unwrap();
            }
        });
        for (at, (view, state)) in before.into_iter().enumerate() {
            let (now, is) = memory(&stage, at);
            // Whether all others are in slow start is not the endpoint's own.
            prop_assert_eq!((crate::endpoint::View { offer: view.offer, ..now }, is), (view, state));
            prop_assert_eq!((now.offer.barrier, now.offer.standing), (view.offer.barrier, view.offer.standing));
        }
        drop(flights);
        prop_assert!((0..4).all(|at| stage.endpoint(at).in_flight() == 0));
    }

    /// Whoever fails, in whatever order and however the others are, somebody is left: the last that may be given requests is never
    /// ejected, no more than the caps allow are, and each that should have been is either ejected or counted. Fails without
    /// `Suppressed::Last`, and if what is out already counts as left.
    #[test]
    fn never_all_of_a_pool_are_ejected(
        members in 1_u16..40, percent in 1_u32..=100, count in prop::option::of(1_u32..10),
        steps in prop::collection::vec((any::<prop::sample::Index>(), 0_u8..5), 1..120),
    ) {
        let policy = OutlierEjection {
            max_ejected: Share::from_ppm(percent * 10_000).unwrap(), max_ejected_endpoints: count, ..OutlierEjection::default()
        };
        let most = outlier::most(&policy, members.into());
        let mut stage = Stage::new(members, false, |document| document.outlier_ejection = Some(policy));
        let (mut should, mut known) = (0, BTreeMap::new());
        for (at, kind) in steps {
            let at = at.index(members.into());
            match kind {
                0 => stage.endpoint(at).force((known.insert(at, ()).is_none()).then_some(Force::Out)),
                1 => stage.wait(7 * SECOND),
                _ => {
                    let eligible = (0..members.into()).filter(|at| stage.barrier(*at).is_none()).count();
                    should += u64::from(stage.barrier(at).is_none());
                    stage.succeed(at, 1);
                    stage.fail(at, 5);
                    let left = (0..members.into()).filter(|at| stage.barrier(*at).is_none()).count();
                    prop_assert!(eligible == 0 || left > 0);
                }
            }
            let ejected = (0..members.into()).filter(|at| stage.endpoint(*at).is_ejected()).count();
            prop_assert!(ejected <= most && ejected < usize::from(members).max(2) && (members > 1 || ejected == 0));
        }
        let told = stage.told.iter().filter(|change| matches!(change.turn, Turn::Ejected { .. })).count() as u64;
        let pool = stage.service.pool_state(0, 0);
        let suppressed: u64 = Suppressed::ALL.iter().map(|why| pool.suppressed(Cause::Consecutive, *why)).sum();
        prop_assert_eq!(told + suppressed, should);
        prop_assert!(stage.told.iter().all(|change| !change.turn.reason().is_empty() && change.turn.from() != change.turn.to()));
    }
}
