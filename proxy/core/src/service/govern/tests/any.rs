//! Over any past.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::change::Turn;

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
