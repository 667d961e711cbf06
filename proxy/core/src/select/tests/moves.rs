//! Where a request goes that cannot be answered where it was assigned to, and what that is told as.

use sluice_config::share::Share;
use sluice_config::validated::{Panic, PanicMode};

use super::*;
use crate::fixture::start;
use crate::service::Obstacle;

/// The places of 100 first choices that were assigned to the canary, and why they were moved.
fn moves(worker: &mut Worker) -> Vec<((usize, usize), Option<Lack>)> {
    let choices = (0..100).map(|_| worker.choose(&ask()).unwrap());
    let canary =
        choices.filter(|choice| choice.spot.version == 1 || choice.moved.is_some_and(|moved| moved.from % 2 == 1));
    canary.map(|choice| (place_of(&choice), choice.moved.map(|moved| moved.why))).collect()
}

/// What a canary is not able to answer is told to be its own, wherever it goes.
#[test]
fn what_is_moved_is_told_to_be_of_the_version_it_was_assigned_to() {
    let mut worker = Worker::new(&regions(), &two_versions(), 1);
    assert!(moves(&mut worker).iter().all(|(place, why)| place.1 == 1 && why.is_none()));
    set(&worker.service, 0, 1, false);
    let canary = moves(&mut worker);
    assert_eq!(canary.len(), 20);
    assert!(canary.iter().all(|(place, _)| *place == (1, 1)), "{canary:?}");
    assert!(canary.iter().any(|(_, why)| *why == Some(Lack::Empty)) && canary.iter().any(|(_, why)| why.is_none()));
    set(&worker.service, 1, 1, false);
    let canary = moves(&mut worker);
    assert!(canary.len() == 20 && canary.iter().all(|(_, why)| *why == Some(Lack::Empty)), "{canary:?}");
}

#[test]
fn a_fallback_to_the_baseline_stays_in_the_region() {
    let document = validated::Service { fallback: Fallback::Baseline, ..two_versions() };
    let mut worker = Worker::new(&regions(), &document, 1);
    set(&worker.service, 0, 1, false);
    let canary = moves(&mut worker);
    assert_eq!(canary.len(), 20);
    let moved: Vec<_> = canary.iter().filter(|(_, why)| why.is_some()).collect();
    assert!(!moved.is_empty() && moved.iter().all(|(place, _)| *place == (0, 0)), "{canary:?}");
    fill(&worker, 0, 0, Some(0));
    let moved = moves(&mut worker);
    assert!(moved.iter().all(|(place, _)| place.0 == 1), "the baseline elsewhere is next: {moved:?}");
}

#[test]
fn a_fallback_that_rejects_answers_nowhere_else() {
    let document = validated::Service { fallback: Fallback::Reject, ..two_versions() };
    let mut worker = Worker::new(&regions(), &document, 1);
    (0..2).for_each(|region| set(&worker.service, region, 1, false));
    let refused = (0..100).filter(|_| matches!(worker.choose(&ask()), Err(Refusal::Rejected(_)))).count();
    assert_eq!(refused, 20, "the canary's share is nobody else's");
    assert_eq!(worker.exhaust(&ask()).len(), 2, "nor does a retry leave the pool");
}

#[test]
fn a_full_pool_gives_way_and_where_all_are_full_it_is_waited_for() {
    let mut worker = Worker::new(&regions(), &two_versions(), 1);
    fill(&worker, 0, 1, Some(0));
    let canary = moves(&mut worker);
    assert!(canary.iter().all(|(place, _)| *place == (1, 1)), "{canary:?}");
    assert!(canary.iter().any(|(_, why)| *why == Some(Lack::Full)));
    (0..2).for_each(|region| (0..2).for_each(|version| fill(&worker, region, version, Some(0))));
    let Err(Refusal::Full(waiting)) = worker.choose(&ask()) else { panic!("everything is full") };
    let explained = worker.service.explain(Capability::Read, None, None);
    assert!(explained.iter().filter(|one| one.region < 2).all(|one| one.obstacle == Some(Obstacle::Full)));
    let place = waiting.place;
    assert_eq!(
        (place.why_region, place.why_version),
        (place::Reason::Weighted, split::Reason::Random),
        "where it belongs"
    );
    fill(&worker, place.region.into(), place.version.into(), Some(1));
    let choice = worker.choose(&Ask { waited: Some(waiting), ..ask() }).unwrap();
    assert_eq!((place_of(&choice), choice.moved), ((place.region.into(), place.version.into()), None));
    assert_eq!((choice.region, choice.version), (place.why_region, place.why_version), "it is as it was assigned");
}

/// A pool's own limit counts as those of its endpoints do. Fails if only endpoints are asked for room.
#[test]
fn a_pool_at_its_limit_gives_way() {
    let mut document = two_versions();
    document.limits.pool.requests = Some(1);
    let mut worker = Worker::new(&regions(), &document, 1);
    let first = worker.choose(&ask()).unwrap();
    let _flight = first.endpoint(&worker.service).begin().unwrap();
    assert!((0..50).all(|_| place_of(&worker.choose(&ask()).unwrap()) != place_of(&first)));
}

/// A canary that is kept out by its breaker is not the baseline's doing, however long the baseline lets it wait.
#[test]
fn what_waits_elsewhere_is_told_to_be_of_the_version_it_was_assigned_to() {
    let service = validated::Service { fallback: Fallback::Baseline, ..two_versions() };
    let mut worker = Worker::new(&regions(), &service, 1);
    for region in 0..2 {
        let open = Some(crate::breaker::Force::Open);
        worker.service.pool_state(region, 1).force_breaker(open, start());
        fill(&worker, region, 0, Some(0));
    }
    let waiting = (0..50).find_map(|_| match worker.choose(&ask()) {
        Err(Refusal::Full(waiting)) if waiting.moved.is_some() => Some(waiting),
        _ => None,
    });
    let waiting = waiting.expect("some of them are the canary's");
    assert_eq!((waiting.place.pool().1, waiting.home(&worker.service).1), (0, 1));
    let (region, version) = waiting.place.pool();
    fill(&worker, region, version, Some(1));
    let choice = worker.choose(&Ask { waited: Some(waiting), ..ask() }).unwrap();
    assert_eq!(choice.moved, waiting.moved);
}

/// Whoever waits is woken by room that it can be given, and by no other: else it would spin, or sleep beside its place.
#[test]
fn room_is_that_of_endpoints_that_may_be_picked() {
    let worker = Worker::new(&regions(), &two_versions(), 1);
    let endpoints = |at: usize| &worker.service.pool(0, 0)[at].endpoint;
    assert!(worker.service.has_room(0, 0));
    endpoints(0).set_cap(Some(0));
    assert!(worker.service.has_room(0, 0), "another has room");
    (1..worker.service.pool(0, 0).len()).for_each(|at| endpoints(at).force(Some(crate::endpoint::Force::Out)));
    assert!(!worker.service.has_room(0, 0), "that of one which is not picked is none");
}

#[test]
fn a_sticky_user_that_was_moved_returns() {
    let mut worker = Worker::new(&regions(), &two_versions(), 1);
    let versions = |worker: &mut Worker| {
        let choose = |key: u32| {
            let choice = worker.choose(&Ask { sticky_key: Some(&key.to_le_bytes()), ..ask() }).unwrap();
            (choice.spot.version, choice.moved.map(|moved| moved.from))
        };
        (0..100).map(choose).collect::<Vec<_>>()
    };
    let before = versions(&mut worker);
    (0..3).for_each(|region| set(&worker.service, region, 1, false));
    let during = versions(&mut worker);
    assert!(during.iter().all(|(version, _)| *version == 0));
    assert!(during.iter().zip(&before).all(|((_, moved), (was, _))| moved.is_some() == (*was == 1)));
    (0..3).for_each(|region| set(&worker.service, region, 1, true));
    assert_eq!(versions(&mut worker), before);
}

#[test]
fn a_pool_that_is_short_panics_by_policy() {
    let panic = |then| Some(Panic { below: Share::from_ppm(500_000).unwrap(), then });
    let alone = |then| {
        let document =
            validated::Service { panic: panic(then), ..shop(true, vec![version("v1", 1, &[(0, 4), (1, 1)])]) };
        let worker = Worker::new(&regions(), &document, 1);
        for member in &worker.service.pool(0, 0)[1..] {
            (0..3).for_each(|_| {
                member.endpoint.step(verdict(false), &POLICY);
            });
        }
        worker
    };
    let mut open = alone(PanicMode::FailOpen);
    let seen: std::collections::BTreeSet<_> = (0..100).map(|_| open.choose(&ask()).unwrap().spot).collect();
    assert_eq!(seen.len(), 5);
    let first = loop {
        let choice = open.choose(&ask()).unwrap();
        if choice.spot.region == 0 {
            break choice;
        }
    };
    assert_eq!(first.endpoint, pick::Reason::Panic);
    let mut closed = alone(PanicMode::FailClosed);
    assert!((0..100).all(|_| closed.choose(&ask()).unwrap().spot.region == 1));
    let explained = closed.service.explain(Capability::Read, None, None);
    assert_eq!(explained[0].obstacle, Some(Obstacle::Panic));
    assert_eq!(explained[1].obstacle, Some(Obstacle::Out));
}
