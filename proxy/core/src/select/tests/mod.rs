mod any;
mod led;
mod moves;

use rand::SeedableRng;
use rand::rngs::StdRng;
use sluice_config::validated::{self, Region, Role};
use sluice_config::value::Weight;

use super::*;
use crate::endpoint::Registry;
use crate::fixture::{ALL, POLICY, READ, ask, compile, region, regions, set, shop, version};
use crate::health::{Cause, Standing, Verdict};

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

fn fill(worker: &Worker, region: usize, version: usize, cap: Option<u32>) {
    worker.service.pool(region, version).iter().for_each(|member| member.endpoint.set_cap(cap));
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

#[test]
fn a_choice_is_small() {
    assert!(size_of::<Choice>() <= 32, "every request keeps one: {}", size_of::<Choice>());
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

fn verdict(good: bool) -> Verdict {
    if good { Verdict::Good } else { Verdict::Bad(Cause::Refused) }
}
