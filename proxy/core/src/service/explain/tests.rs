use rand::SeedableRng;
use rand::rngs::StdRng;
use sluice_config::validated::{self, Fallback};

use super::*;
use crate::breaker::Force;
use crate::endpoint::Registry;
use crate::fixture::{compile, regions, set, shop, start, version};
use crate::select::Lost;

/// v1 and v2 in two regions, of which v2 is out in both.
fn answering(fallback: Fallback) -> Vec<Result<(usize, usize), Refusal>> {
    let versions = vec![version("v1", 80, &[(0, 1), (1, 1)]), version("v2", 20, &[(0, 1), (1, 1)])];
    let document = validated::Service { fallback, ..shop(true, versions) };
    let (service, _) = compile(&regions(), &document, &Registry::default());
    (0..2).for_each(|region| {
        set(&service, region, 0, true);
        set(&service, region, 1, false);
    });
    let all = service.answering(Capability::Read, None, None, start(), &mut StdRng::seed_from_u64(1));
    all.into_iter().take(4).collect()
}

#[test]
fn requests_are_answered_where_the_fallback_leads() {
    assert_eq!(answering(Fallback::Baseline), [Ok((0, 0)), Ok((0, 0)), Ok((1, 0)), Ok((1, 0))]);
    let rejected = |answer: &Result<(usize, usize), Refusal>| {
        matches!(answer, Err(Refusal::Rejected(Lost { why: Lack::Empty, .. })))
    };
    let all = answering(Fallback::Reject);
    assert_eq!((&all[0], &all[2]), (&Ok((0, 0)), &Ok((1, 0))));
    assert!(rejected(&all[1]) && rejected(&all[3]), "{all:?}");
}

#[test]
fn a_trial_that_is_under_way_is_no_lack_of_room() {
    let document = shop(false, vec![version("v1", 100, &[(0, 2)])]);
    let (service, _) = compile(&regions(), &document, &Registry::default());
    let endpoint = &service.pool(0, 0)[0].endpoint;
    // What was forced open is tried first when it is released.
    for force in [Some(Force::Open), None] {
        assert!(endpoint.force_breaker(force, start()).is_some());
    }
    let obstacles = || service.candidates(None).iter().map(|one| one.obstacle).collect::<Vec<_>>();
    assert_eq!(obstacles(), [None, None]);
    let _trial = endpoint.begin().unwrap();
    assert_eq!(obstacles(), [Some(Obstacle::Trial), None]);
    for force in [Some(Force::Open), None] {
        assert!(service.pool_state(0, 0).force_breaker(force, start()).is_some());
    }
    assert_eq!(obstacles(), [Some(Obstacle::Trial), None]);
    let _of_pool = service.pool(0, 0)[1].endpoint.begin().unwrap();
    assert_eq!(obstacles(), [Some(Obstacle::Trial); 2]);
}
