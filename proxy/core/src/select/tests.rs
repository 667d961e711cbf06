use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;
use sluice_config::share::Share;
use sluice_config::validated::{
    self, Balancer, HashKey, OVERPROVISIONING, Panic, PanicMode, Region, Role, Session, Zones,
};
use sluice_config::value::Weight;

use super::*;
use crate::endpoint::Registry;
use crate::fixture::{ALL, POLICY, READ, compile, region, regions, set, shop, start, version};
use crate::health::{Cause, Standing, Verdict};
use crate::service::Obstacle;

fn ask() -> Ask<'static> {
    Ask {
        capability: Capability::Read,
        sticky_key: None,
        key: None,
        version: None,
        previous: None,
        waited: None,
        tried: &[],
        now: start(),
    }
}

/// A service with all its endpoints verified, and one worker.
struct Worker {
    service: Service,
    registry: Registry,
    selector: Selector,
    rng: StdRng,
}

impl Worker {
    fn new(regions: &Arc<[Region]>, document: &validated::Service, seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let (service, registry) = compile(regions, document, &Registry::default());
        registry.iter().for_each(|endpoint| {
            endpoint.step(Verdict::Good, &POLICY);
        });
        Self { selector: Selector::new(&service, None, &mut rng), service, registry, rng }
    }

    fn choose(&mut self, ask: &Ask<'_>) -> Result<Choice, Refusal> {
        self.selector.choose(&self.service, ask, &mut self.rng)
    }

    fn swap(&mut self, regions: &Arc<[Region]>, document: &validated::Service) {
        let (service, registry) = compile(regions, document, &self.registry);
        self.selector = self.selector.carry(&self.service, &service, &mut self.rng);
        (self.service, self.registry) = (service, registry);
    }

    /// All choices of one request whose attempts all fail.
    fn exhaust(&mut self, ask: &Ask<'_>) -> Vec<Choice> {
        let (mut choices, mut tried) = (Vec::new(), Vec::new());
        let mut previous = ask.previous;
        while let Ok(choice) = self.choose(&Ask { previous, tried: &tried, ..*ask }) {
            assert!(!tried.contains(&choice.spot), "{choice:?} was tried");
            choices.push(choice);
            tried.push(choice.spot);
            previous = Some(choice);
        }
        choices
    }
}

fn two_versions() -> validated::Service {
    shop(true, vec![version("v1", 80, &[(0, 2), (1, 2), (2, 2)]), version("v2", 20, &[(0, 2), (1, 2), (2, 2)])])
}

const fn place_of(choice: &Choice) -> (usize, usize) {
    (choice.spot.region, choice.spot.version)
}

#[test]
fn a_request_is_placed_split_and_picked() {
    let mut worker = Worker::new(&regions(), &two_versions(), 1);
    let mut counts = [[0; 2]; 3];
    for _ in 0..1000 {
        let choice = worker.choose(&ask()).unwrap();
        assert_eq!((choice.region, choice.version), (place::Reason::Weighted, split::Reason::Random));
        assert_eq!(choice.endpoint(&worker.service).id().version, *worker.service.version(choice.spot.version));
        counts[choice.spot.region][choice.spot.version] += 1;
    }
    let by_region: Vec<i32> = counts.iter().map(|row| row.iter().sum()).collect();
    let by_version: i32 = counts.iter().map(|row| row[1]).sum();
    assert_eq!((by_region, by_version), (vec![700, 300, 0], 200));
}

#[test]
fn an_empty_pool_gives_way_to_its_version_elsewhere_then_to_the_baseline() {
    let mut worker = Worker::new(&regions(), &two_versions(), 1);
    let seen = |worker: &mut Worker| {
        let choices: Vec<_> = (0..100).map(|_| worker.choose(&ask()).unwrap()).collect();
        choices.into_iter().filter(|c| c.version == split::Reason::Baseline || c.spot.version == 1).collect::<Vec<_>>()
    };
    set(&worker.service, 0, 1, false);
    let canary = seen(&mut worker);
    assert!(canary.iter().all(|choice| place_of(choice) == (1, 1)), "{canary:?}");
    assert!(canary.iter().any(|choice| choice.region == place::Reason::Elsewhere));
    set(&worker.service, 1, 1, false);
    let canary = seen(&mut worker);
    assert_eq!(canary.len(), 20, "the canary's share goes to the baseline");
    assert!(canary.iter().all(|c| c.spot.version == 0 && c.spot.region < 2), "and a standby still waits");
}

#[test]
fn retries_go_through_the_pool_the_regions_and_the_baseline() {
    let mut worker = Worker::new(&regions(), &two_versions(), 3);
    let wish = loop {
        let first = worker.choose(&ask()).unwrap();
        if place_of(&first) == (1, 1) {
            break Ask { previous: Some(first), tried: &[], ..ask() };
        }
    };
    let choices = worker.exhaust(&wish);
    let places: Vec<_> = choices.iter().map(place_of).collect();
    assert_eq!(places, [(1, 1), (1, 1), (0, 1), (0, 1), (0, 0), (0, 0), (1, 0), (1, 0)]);
    assert_eq!(choices[0].region, place::Reason::Kept);
    assert_eq!(choices[2].region, place::Reason::Elsewhere);
    assert_eq!(choices[4].version, split::Reason::Baseline);
}

/// A request has three attempts: the third must not go to the third endpoint of a region that has died as a whole.
#[test]
fn a_pool_with_two_failed_endpoints_comes_after_all_others() {
    let service = shop(false, vec![version("v1", 100, &[(0, 4), (1, 4)])]);
    let mut worker = Worker::new(&regions(), &service, 3);
    let places: Vec<_> = worker.exhaust(&ask()).iter().map(|choice| choice.spot.region).collect();
    let (home, away) = (places[0], 1 - places[0]);
    assert_eq!(places, [home, home, away, away, away, away, home, home]);
}

#[test]
fn a_named_version_is_answered_by_no_other() {
    let mut document = two_versions();
    document.versions[1].weight = Weight::ZERO;
    let mut worker = Worker::new(&regions(), &document, 1);
    let wish = Ask { version: Some(1), ..ask() };
    assert_eq!(worker.choose(&wish).unwrap().version, split::Reason::Pinned);
    assert_eq!(worker.exhaust(&wish).len(), 4, "weight 0 is reached by name, a standby waits");
    (0..3).for_each(|region| set(&worker.service, region, 1, false));
    assert!(matches!(worker.choose(&wish), Err(Refusal::Exhausted(lost)) if lost.why == Lack::Empty));
}

#[test]
fn unprobed_endpoints_answer_only_where_none_is_verified() {
    let mut worker = Worker::new(&regions(), &two_versions(), 1);
    let mut grown = two_versions();
    grown.versions[0].pools[0] = version("v1", 80, &[(0, 3)]).pools.remove(0);
    grown.versions[1].pools[0] = version("v3", 20, &[(0, 1)]).pools.remove(0);
    worker.swap(&regions(), &grown);
    for _ in 0..200 {
        let choice = worker.choose(&ask()).unwrap();
        let unprobed = choice.endpoint(&worker.service).standing() == Standing::Unprobed;
        assert_eq!(unprobed, place_of(&choice) == (0, 1), "{choice:?}");
        assert_eq!(unprobed, choice.endpoint == pick::Reason::Unprobed);
    }
}

#[test]
fn a_sticky_user_keeps_its_version_through_the_loss_of_a_region() {
    let mut worker = Worker::new(&regions(), &two_versions(), 1);
    let version_of = |worker: &mut Worker, key: u32| {
        let choice = worker.choose(&Ask { sticky_key: Some(&key.to_le_bytes()), ..ask() }).unwrap();
        assert_eq!(choice.version, split::Reason::Sticky);
        choice.spot.version
    };
    let before: Vec<_> = (0..100).map(|key| version_of(&mut worker, key)).collect();
    assert!(before.contains(&0) && before.contains(&1));
    (0..2).for_each(|version| set(&worker.service, 0, version, false));
    let after: Vec<_> = (0..100).map(|key| version_of(&mut worker, key)).collect();
    assert_eq!(before, after);
}

#[test]
fn a_capability_that_nothing_serves_is_refused() {
    let regions = Arc::new([region("a", Role::Primary, 1, READ)]);
    let mut worker = Worker::new(&(regions as Arc<[Region]>), &shop(true, vec![version("v1", 1, &[(0, 1)])]), 1);
    assert!(worker.choose(&ask()).is_ok());
    assert_eq!(worker.choose(&Ask { capability: Capability::Write, ..ask() }), Err(Refusal::NoRegion));
}

fn fill(worker: &Worker, region: usize, version: usize, cap: Option<u32>) {
    worker.service.pool(region, version).iter().for_each(|member| member.endpoint.set_cap(cap));
}

/// The places of 100 first choices that were assigned to the canary, and why they were moved.
fn moves(worker: &mut Worker) -> Vec<((usize, usize), Option<Lack>)> {
    let choices = (0..100).map(|_| worker.choose(&ask()).unwrap());
    let canary =
        choices.filter(|choice| choice.spot.version == 1 || choice.moved.is_some_and(|moved| moved.from % 2 == 1));
    canary.map(|choice| (place_of(&choice), choice.moved.map(|moved| moved.why))).collect()
}

#[test]
fn a_choice_is_small() {
    assert!(size_of::<Choice>() <= 32, "every request keeps one: {}", size_of::<Choice>());
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

fn zoned(worker: &mut Worker, near: usize) {
    let zone = |name: &str| Some(name.parse().unwrap());
    let members = worker.service.pools[0].iter_mut().enumerate();
    members.for_each(|(at, member)| member.zone = if at < near { zone("a") } else { zone(["b", "c"][at % 2]) });
    worker.selector = Selector::new(&worker.service, zone("a").as_ref(), &mut worker.rng);
}

#[test]
fn the_own_zone_is_preferred_and_spills_in_proportion() {
    let document = validated::Service {
        zones: Some(Zones { overprovisioning: OVERPROVISIONING, min_endpoints: 4 }),
        ..shop(true, vec![version("v1", 1, &[(0, 12)])])
    };
    let mut worker = Worker::new(&regions(), &document, 1);
    zoned(&mut worker, 4);
    let counts = |worker: &mut Worker| {
        let mut counts = [0; 12];
        for _ in 0..1000 {
            let choice = worker.choose(&ask()).unwrap();
            assert_eq!(choice.endpoint == pick::Reason::OtherZone, choice.spot.endpoint >= 4);
            counts[choice.spot.endpoint] += 1;
        }
        counts
    };
    assert_eq!(counts(&mut worker)[..4], [250; 4], "all of it stays");
    let own = "a".parse().unwrap();
    let explained = worker.service.explain(Capability::Read, None, Some(&own));
    assert_eq!((explained[0].obstacle, explained[4].obstacle), (None, Some(Obstacle::Zone)));
    let lose = |worker: &Worker, at: usize| {
        (0..3).for_each(|_| {
            worker.service.pool(0, 0)[at].endpoint.step(verdict(false), &POLICY);
        });
    };
    (0..2).for_each(|at| lose(&worker, at));
    let half = counts(&mut worker);
    assert_eq!(half[..4].iter().sum::<i32>(), 700, "half of it, times 140 %");
    assert!(half[4..].iter().all(|count| (36..=39).contains(count)), "{half:?}");
    assert_eq!(worker.service.explain(Capability::Read, None, Some(&own))[4].obstacle, None);
    fill(&worker, 0, 0, Some(0));
    worker.service.pool(0, 0)[7].endpoint.set_cap(None);
    assert_eq!(worker.choose(&ask()).unwrap().spot.endpoint, 7, "a zone without room takes nothing");
    (2..4).for_each(|at| lose(&worker, at));
    fill(&worker, 0, 0, None);
    assert_eq!(counts(&mut worker)[..4], [0; 4]);
}

#[test]
fn a_zone_with_too_few_endpoints_is_not_preferred() {
    let document = validated::Service {
        zones: Some(Zones { overprovisioning: OVERPROVISIONING, min_endpoints: 4 }),
        ..shop(true, vec![version("v1", 1, &[(0, 12)])])
    };
    let mut worker = Worker::new(&regions(), &document, 1);
    zoned(&mut worker, 3);
    let near = (0..1200).filter(|_| worker.choose(&ask()).unwrap().spot.endpoint < 3).count();
    assert_eq!(near, 300);
}

/// A user with a session stays, through probes, zones and swaps, and returns.
#[test]
fn a_session_stays_with_its_endpoint() {
    let document = validated::Service {
        session: Some(Session { cookie: "s".to_owned(), max_age: None }),
        zones: Some(Zones { overprovisioning: OVERPROVISIONING, min_endpoints: 1 }),
        ..shop(true, vec![version("v1", 1, &[(0, 6)])])
    };
    let mut worker = Worker::new(&regions(), &document, 1);
    zoned(&mut worker, 3);
    let (_, registry) = compile(&regions(), &document, &worker.registry);
    let spots = |worker: &mut Worker| {
        (0..200_u32)
            .map(|key| worker.choose(&Ask { key: Some(&key.to_le_bytes()), ..ask() }).unwrap())
            .collect::<Vec<_>>()
    };
    let before = spots(&mut worker);
    assert!(before.iter().all(|choice| choice.endpoint == pick::Reason::Key && choice.spot.endpoint < 3));
    let lost = &worker.service.pool(0, 0)[0].endpoint;
    (0..3).for_each(|_| {
        lost.step(verdict(false), &POLICY);
    });
    let lost = Arc::clone(lost);
    let during = spots(&mut worker);
    for (before, during) in before.iter().zip(&during) {
        assert!(
            before.spot.endpoint == 0
                || during.spot.endpoint == before.spot.endpoint
                || during.endpoint == pick::Reason::OtherZone
        );
    }
    (0..2).for_each(|_| {
        lost.step(verdict(true), &POLICY);
    });
    assert_eq!(spots(&mut worker), before);
    let next = Service::after(Some(&worker.service), &regions(), &document, &registry);
    assert!(Arc::ptr_eq(next.tables[0].as_ref().unwrap(), worker.service.tables[0].as_ref().unwrap()));
}

#[test]
fn a_request_without_a_key_is_led_nowhere() {
    let document = validated::Service {
        balancer: Balancer::Maglev { key: HashKey::Path, bounded_load: None },
        ..shop(true, vec![version("v1", 1, &[(0, 3)])])
    };
    let mut worker = Worker::new(&regions(), &document, 1);
    let seen: std::collections::BTreeSet<_> = (0..100).map(|_| worker.choose(&ask()).unwrap().spot).collect();
    assert_eq!(seen.len(), 3);
    assert_eq!(worker.choose(&ask()).unwrap().endpoint, pick::Reason::Verified);
}

/// Guarantee 4 over regions and swaps: with every version everywhere, windows over all of a worker's requests are
/// exact.
#[test]
fn splits_go_on_exactly_through_swaps() {
    let mut worker = Worker::new(&regions(), &two_versions(), 5);
    let (mut off, mut low, mut high) = (0_i32, 0, 0);
    for step in 0..3000 {
        if step % 7 == 0 {
            worker.swap(&regions(), &two_versions());
        }
        off += 5 * i32::from(worker.choose(&ask()).unwrap().spot.version == 1) - 1;
        (low, high) = (low.min(off), high.max(off));
    }
    // In fifths of a request: the share of v2 is one fifth.
    assert!(high - low < 10, "{low} {high}");
}

/// Revisions keep the turns inside of a pool, too. Fails if pools are not carried.
#[test]
fn turns_go_on_exactly_through_swaps() {
    let document = shop(true, vec![version("v1", 1, &[(0, 7)])]);
    let mut worker = Worker::new(&regions(), &document, 5);
    for _ in 0..30 {
        let mut round: Vec<usize> = Vec::new();
        for step in 0..7 {
            if step % 3 == 0 {
                worker.swap(&regions(), &document);
            }
            round.push(worker.choose(&ask()).unwrap().spot.endpoint);
        }
        round.sort_unstable();
        assert!(round.iter().copied().eq(0..7), "{round:?}");
    }
}

#[derive(Debug, Clone)]
struct Row {
    weight: u32,
    /// Endpoints in each of three regions.
    pools: [u16; 3],
}

prop_compose! {
    fn a_document()(
        rows in prop::collection::vec((prop_oneof![Just(0), 1_u32..100], prop::array::uniform3(0_u16..4)), 1..4),
        checked: bool,
        reversed: bool,
    ) -> validated::Service {
        let mut rows: Vec<(usize, Row)> = rows.into_iter().map(|(weight, pools)| Row { weight, pools }).enumerate().collect();
        rows[0].1.weight += 1;
        if reversed {
            rows.reverse();
        }
        let pools = |row: &Row| row.pools.iter().copied().enumerate().filter(|(_, count)| *count > 0).collect::<Vec<_>>();
        shop(checked, rows.iter().map(|(at, row)| version(&format!("v{at}"), row.weight, &pools(row))).collect())
    }
}

fn verdict(good: bool) -> Verdict {
    if good { Verdict::Good } else { Verdict::Bad(Cause::Refused) }
}

proptest! {
    /// Over any documents, swaps and probes: what is chosen is in its pool, not out, of weight above 0, in a region
    /// that serves the capability, not tried before, verified where the pool has such; and explain says the same.
    #[test]
    fn every_choice_is_allowed(
        documents in prop::collection::vec((a_document(), prop::collection::vec((any::<u8>(), any::<bool>()), 0..30)), 1..6),
        write: bool,
        pin in prop::option::of(0_usize..4),
        seed: u64,
    ) {
        let regions: Arc<[Region]> = Arc::new([
            region("a", Role::Primary, 50, ALL), region("b", Role::Secondary, 50, READ), region("c", Role::Standby, 0, ALL),
        ]);
        let capability = if write { Capability::Write } else { Capability::Read };
        let mut worker = Worker::new(&regions, &documents[0].0, seed);
        for (document, probes) in &documents {
            worker.swap(&regions, document);
            let wish = Ask { capability, version: pin.filter(|version| *version < document.versions.len()), ..ask() };
            for (at, good) in probes {
                if let Some(endpoint) = worker.registry.iter().nth(usize::from(*at)) {
                    endpoint.step(verdict(*good), &POLICY);
                }
                check(&mut worker, &wish);
            }
        }
    }

    /// A retry never repeats an endpoint, and ends.
    #[test]
    fn no_endpoint_is_tried_twice(document in a_document(), seed: u64) {
        let mut worker = Worker::new(&regions(), &document, seed);
        let choices = worker.exhaust(&ask());
        for (at, choice) in choices.iter().enumerate() {
            prop_assert!(choices[..at].iter().all(|earlier| earlier.spot != choice.spot));
        }
    }
}

fn check(worker: &mut Worker, ask: &Ask<'_>) {
    let chosen = worker.choose(ask);
    let candidates = worker.service.explain(ask.capability, ask.version, None);
    let open: Vec<Spot> = candidates
        .iter()
        .filter(|candidate| candidate.obstacle.is_none())
        .map(|candidate| Spot {
            region: candidate.region,
            version: candidate.version,
            endpoint: position(&worker.service, candidate.region, candidate.version, candidate.endpoint),
        })
        .collect();
    match chosen {
        Ok(choice) => assert!(open.contains(&choice.spot), "{choice:?} of {open:?}"),
        Err(Refusal::NoRegion) => assert_eq!(open, []),
        Err(refusal @ (Refusal::Rejected(_) | Refusal::Full(_))) => {
            panic!("{refusal:?}: nothing is rejected or bounded here")
        }
        Err(Refusal::Exhausted(_)) => {
            let baseline = worker.service.baseline();
            assert!(open.iter().all(|spot| spot.version != baseline), "{open:?}");
        }
    }
}

fn position(service: &Service, region: usize, version: usize, endpoint: &Arc<Endpoint>) -> usize {
    service.pool(region, version).iter().position(|member| Arc::ptr_eq(&member.endpoint, endpoint)).unwrap()
}
