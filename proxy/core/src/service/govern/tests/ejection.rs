//! Who is ejected, and for how long.

use sluice_config::validated::{LatencyOutlier, SuccessRate};

use super::*;

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

/// Fails if attempts whose times were not counted make a mean that is too short.
#[test]
fn a_detector_that_is_added_judges_nothing_of_before() {
    let rates = OutlierEjection { success_rate: Some(SuccessRate::default()), ..OutlierEjection::default() };
    let mut stage = Stage::new(4, false, |document| document.outlier_ejection = Some(rates.clone()));
    let twenty = |stage: &mut Stage, at| (0..20).for_each(|_| assert!(stage.attempt(at, Class::Success, 900 * MS)));
    (0..3).for_each(|at| twenty(&mut stage, at));
    let both = OutlierEjection { latency: Some(LatencyOutlier::default()), ..rates };
    stage.revise(|document| document.outlier_ejection = Some(both));
    (0..4).for_each(|at| twenty(&mut stage, at));
    stage.wait(10 * SECOND);
    assert!(stage.told().is_empty(), "all are alike");
}

/// Where all fail, each failure would wait for the pool's lock. Fails if what protects them is looked for each time.
#[test]
fn a_pool_that_protects_its_endpoints_is_not_counted_for_each_failure() {
    let mut stage = Stage::new(10, false, |document| {
        document.outlier_ejection = Some(OutlierEjection {
            consecutive_failures: Some(1),
            max_ejected: Share::from_ppm(100_000).unwrap(),
            ..OutlierEjection::default()
        });
    });
    (0..2).for_each(|at| stage.fail(at, 1));
    let pool = Arc::clone(stage.service.pool_state(0, 0));
    assert_eq!(pool.suppressed(Cause::Consecutive, Suppressed::Share), 1);
    let (done, is_done) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let _deciding = pool.deciding();
        let stage = &mut stage;
        scope.spawn(move || {
            (1..10).for_each(|at| stage.fail(at, 1));
            done.send(()).unwrap();
        });
        is_done.recv_timeout(60 * SECOND).expect("nobody waits for whoever decides");
    });
    assert_eq!(pool.suppressed(Cause::Consecutive, Suppressed::Share), 10);
    stage.wait(31 * SECOND);
    stage.fail(1, 1);
    assert!(stage.endpoint(1).is_ejected(), "what has changed is looked at");
}
