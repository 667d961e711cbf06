//! When breakers open and close, and what is bounded.

use sluice_config::validated::{PoolLimits, ServiceLimits};

use super::*;
use crate::change::Subject;

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
