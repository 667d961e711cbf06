use proptest::prelude::*;

use super::*;
use crate::fixture::start;

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

fn stats(requests: u32, failures: u32, typical: Duration) -> Stats {
    Stats { requests, failures, typical }
}

/// Every detector with its defaults.
fn all_on() -> OutlierEjection {
    OutlierEjection {
        consecutive_gateway_failures: Some(5),
        success_rate: Some(SuccessRate::default()),
        failure_percentage: Some(FailurePercentage::default()),
        latency: Some(LatencyOutlier::default()),
        ..OutlierEjection::default()
    }
}

fn only(set: fn(&mut OutlierEjection)) -> OutlierEjection {
    let mut policy = OutlierEjection { success_rate: None, failure_percentage: None, latency: None, ..all_on() };
    set(&mut policy);
    policy
}

#[test]
fn a_success_rate_far_below_the_pools_is_found_and_noise_is_not() {
    let policy = only(|policy| policy.success_rate = Some(SuccessRate::default()));
    let pool = |failures: [u32; 6]| sweep(&failures.map(|failures| stats(1000, failures, MS)), &policy);
    assert_eq!(pool([0, 1, 0, 300, 2, 1]), [(3, Cause::SuccessRate)]);
    assert_eq!(pool([0, 0, 0, 9, 0, 0]), [], "one failure in a hundred is no outlier of a perfect pool");
    assert_eq!(pool([500; 6]), [], "all alike");
    let few = [0, 0, 0, 90].map(|failures| stats(100, failures, MS));
    assert_eq!(sweep(&few, &policy), [], "four cannot be compared");
}

#[test]
fn a_part_of_failures_is_bad_by_itself_and_the_worst_come_first() {
    let policy = only(|policy| policy.failure_percentage = Some(FailurePercentage::default()));
    let pool = [stats(50, 43, MS), stats(50, 50, MS), stats(49, 49, MS), stats(50, 0, MS)];
    assert_eq!(sweep(&pool, &policy), [(1, Cause::FailurePercentage), (0, Cause::FailurePercentage)]);
    assert_eq!(sweep(&pool[..1], &policy), [], "fewer than two");
}

#[test]
fn slowness_is_measured_against_the_median() {
    let policy = only(|policy| policy.latency = Some(LatencyOutlier::default()));
    let pool = |times: [u32; 3]| sweep(&times.map(|time| stats(20, 0, MS * time)), &policy);
    assert_eq!(pool([100, 301, 100]), [(1, Cause::Latency)]);
    assert_eq!(pool([100, 300, 100]), []);
    assert_eq!(pool([1, 99, 1]), [], "differences within the noise");
    assert_eq!(sweep(&[stats(20, 1, MS), stats(20, 0, MS), stats(20, 0, 900 * MS)], &policy), [], "two have no median");
}

#[test]
fn a_tally_tells_streaks_and_typical_times() {
    let (policy, tally) = (all_on(), Tally::default());
    let sample = |class, took| Sample { class, took: Some(took), busy: None };
    let (failure, gateway) = (sample(Class::Failure, MS), sample(Class::GatewayFailure, MS));
    let told: Vec<_> = (0..10).map(|_| tally.note(&failure, &policy)).collect();
    assert_eq!(told.iter().flatten().count(), 2, "at five and, had it been suppressed, at ten");
    assert_eq!(tally.note(&sample(Class::Success, MS), &policy), None);
    let gateways = OutlierEjection { consecutive_failures: None, ..policy };
    (0..4).for_each(|_| assert_eq!(tally.note(&gateway, &gateways), None));
    assert_eq!(tally.note(&failure, &gateways), None, "another failure ends the streak");
    (0..4).for_each(|_| assert_eq!(tally.note(&gateway, &gateways), None));
    assert_eq!(tally.note(&sample(Class::Unanswered, MS), &gateways), None, "and one that was given up does not");
    assert_eq!(tally.note(&gateway, &gateways), Some(Cause::Gateway));
    tally.take();
    (0..19).for_each(|_| {
        tally.note(&sample(Class::Success, 5 * MS), &all_on());
    });
    tally.note(&sample(Class::Success, 5 * SECOND), &all_on());
    let Stats { requests, failures, typical } = tally.take();
    assert_eq!((requests, failures), (20, 0));
    assert!(typical > 6 * MS && typical < 8 * MS, "one stall in twenty hardly counts: {typical:?}");
    assert_eq!(tally.take(), Stats::default());
}

#[test]
fn an_ejection_tells_its_cause_and_its_end() {
    let (policy, now) = (all_on(), start());
    let mut ejections = Ejections::default();
    let ejected = ejections.eject(Cause::Latency, &policy, now).unwrap();
    assert_eq!((ejected.cause, ejected.until), (Cause::Latency, now + 30 * SECOND));
    assert_eq!(ejections.eject(Cause::Gateway, &policy, now), None);
    assert_eq!(ejections.step(Some(&policy), now + 29 * SECOND), None);
    assert_eq!(ejections.step(Some(&policy), now + 30 * SECOND), Some(Return::Waited));
    ejections.eject(Cause::Latency, &policy, now + 31 * SECOND);
    assert_eq!(ejections.step(None, now + 31 * SECOND), Some(Return::Removed));
    assert_eq!((ejections.running(), ejections.times()), (None, 0));
}

#[test]
fn caps_make_sense_in_small_pools_and_large() {
    let policy = OutlierEjection { max_ejected: Share::from_ppm(100_000).unwrap(), ..all_on() };
    assert_eq!([1, 2, 9, 10, 19, 20, 1000].map(|members| most(&policy, members)), [1, 1, 1, 1, 1, 2, 100]);
    let counted = OutlierEjection { max_ejected_endpoints: Some(3), ..policy.clone() };
    assert_eq!([1, 20, 1000].map(|members| most(&counted, members)), [1, 2, 3]);
    let crowd = |members, ejected, others| Crowd { members, ejected, others };
    assert_eq!(admit(&policy, crowd(1, 0, 0)), Err(Suppressed::Last));
    assert_eq!(admit(&policy, crowd(2, 0, 1)), Ok(()));
    assert_eq!(admit(&policy, crowd(3, 1, 1)), Err(Suppressed::Share));
    assert_eq!(admit(&counted, crowd(1000, 3, 900)), Err(Suppressed::Count));
}

proptest! {
    /// Caps hold from 1 to 1,000 endpoints: whoever asks in whatever order, at most the larger of one and the floor of the part,
    /// at most the count, and never the last that may be given requests. Fails if `most` rounds up, if the count is not looked
    /// at, and without the look at the others.
    #[test]
    fn caps_hold(members in 1_usize..=1000, ppm in 0_u32..=1_000_000, count in prop::option::of(1_u32..20), out in 0_usize..1000) {
        let policy = OutlierEjection { max_ejected: Share::from_ppm(ppm).unwrap(), max_ejected_endpoints: count, ..all_on() };
        let mut eligible = members - out.min(members);
        let mut ejected = 0;
        for _ in 0..members {
            let is_eligible = eligible > 0;
            let crowd = Crowd { members, ejected, others: eligible - usize::from(is_eligible) };
            let verdict = admit(&policy, crowd);
            if is_eligible && verdict.is_ok() {
                (eligible, ejected) = (eligible - 1, ejected + 1);
            }
        }
        let floor = (members as f64 * f64::from(ppm) / 1e6 + 1e-9).floor().max(1.0) as usize;
        prop_assert!(ejected <= floor && count.is_none_or(|count| ejected <= count as usize));
        prop_assert!(ejected < members && (eligible > 0 || out >= members));
        // Nothing but a cap keeps an ejection from happening.
        let most = floor.min(count.map_or(usize::MAX, |count| count as usize));
        prop_assert!(ejected == most.min((members - out.min(members)).saturating_sub(1)));
    }

    /// Times grow with each ejection, are capped, and each base time without one is forgiven; by an independent count. Fails
    /// without the growth, without the limit, and if an ejection's own time is forgiven.
    #[test]
    fn ejections_grow_and_are_forgiven(waits in prop::collection::vec(0_u64..200, 1..60), base in 1_u64..60, longest in 60_u64..300) {
        let policy = OutlierEjection { base_time: SECOND * base as u32, max_time: SECOND * longest as u32, ..all_on() };
        let (mut ejections, mut now) = (Ejections::default(), start());
        let (mut times, mut well) = (0_u64, 0_u64);
        for wait in waits {
            now += SECOND * wait as u32;
            well += wait;
            let forgiven = (well / base).min(times);
            times -= forgiven;
            ejections.step(Some(&policy), now);
            prop_assert_eq!(u64::from(ejections.times()), times);
            times += 1;
            let ejected = ejections.eject(Cause::Consecutive, &policy, now).unwrap();
            prop_assert_eq!(ejected.until - now, SECOND * ((base * times).min(longest) as u32));
            now = ejected.until;
            prop_assert_eq!(ejections.step(Some(&policy), now), Some(Return::Waited));
            well = 0;
        }
        ejections.step(Some(&policy), now + policy.base_time * 60);
        prop_assert_eq!(ejections.times(), 0);
    }

    /// Each is found once, by a detector that is on and has enough to go by; with all off nobody is. Fails if a detector
    /// does not look at whom those before it have named.
    #[test]
    fn a_sweep_names_each_once_with_a_cause(
        pool in prop::collection::vec(prop_oneof![
            3 => (0_u32..300, 0_u32..300, 0_u64..5_000_000),
            20 => (100_u32..300, 0_u32..3, 1_000_u64..2_000),
            // Bad in every way.
            1 => (200_u32..300, 180_u32..200, 1_000_000_u64..5_000_000),
        ], 0..60), on in prop::array::uniform3(any::<bool>()),
    ) {
        let stats: Vec<_> = pool.iter().map(|(requests, failures, micros)| {
            stats(*requests, (*failures).min(*requests), Duration::from_micros(*micros))
        }).collect();
        let all = all_on();
        let policy = OutlierEjection {
            success_rate: all.success_rate.filter(|_| on[0]),
            failure_percentage: all.failure_percentage.filter(|_| on[1]),
            latency: all.latency.filter(|_| on[2]),
            ..all
        };
        let found = sweep(&stats, &policy);
        let unique: std::collections::BTreeSet<_> = found.iter().map(|(at, _)| *at).collect();
        prop_assert_eq!(unique.len(), found.len());
        for (at, cause) in found {
            let (enough, is_on) = match cause {
                Cause::SuccessRate => (100, on[0]),
                Cause::FailurePercentage => (50, on[1]),
                Cause::Latency => (20, on[2]),
                Cause::Consecutive | Cause::Gateway => (0, false),
            };
            prop_assert!(is_on && stats[at].requests >= enough);
        }
    }
}
