use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;
use sluice_config::validated::{self, Region, Role};
use sluice_config::value::Weight;

use super::*;
use crate::endpoint::Registry;
use crate::fixture::{ALL, POLICY, READ, compile, region, regions, set, shop, version};
use crate::health::{Cause, Verdict};

const ASK: Ask<'static> =
    Ask { capability: Capability::Read, sticky_key: None, version: None, previous: None, tried: &[] };

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
        Self { selector: Selector::new(&service, &mut rng), service, registry, rng }
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
        let choice = worker.choose(&ASK).unwrap();
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
        let choices: Vec<_> = (0..100).map(|_| worker.choose(&ASK).unwrap()).collect();
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
    let ask = loop {
        let first = worker.choose(&ASK).unwrap();
        if place_of(&first) == (1, 1) {
            break Ask { previous: Some(first), tried: &[], ..ASK };
        }
    };
    let choices = worker.exhaust(&ask);
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
    let places: Vec<_> = worker.exhaust(&ASK).iter().map(|choice| choice.spot.region).collect();
    let (home, away) = (places[0], 1 - places[0]);
    assert_eq!(places, [home, home, away, away, away, away, home, home]);
}

#[test]
fn a_named_version_is_answered_by_no_other() {
    let mut document = two_versions();
    document.versions[1].weight = Weight::ZERO;
    let mut worker = Worker::new(&regions(), &document, 1);
    let ask = Ask { version: Some(1), ..ASK };
    assert_eq!(worker.choose(&ask).unwrap().version, split::Reason::Pinned);
    assert_eq!(worker.exhaust(&ask).len(), 4, "weight 0 is reached by name, a standby waits");
    (0..3).for_each(|region| set(&worker.service, region, 1, false));
    assert_eq!(worker.choose(&ask), Err(Refusal::NoRegion));
}

#[test]
fn unprobed_endpoints_answer_only_where_none_is_verified() {
    let mut worker = Worker::new(&regions(), &two_versions(), 1);
    let mut grown = two_versions();
    grown.versions[0].pools[0] = version("v1", 80, &[(0, 3)]).pools.remove(0);
    grown.versions[1].pools[0] = version("v3", 20, &[(0, 1)]).pools.remove(0);
    worker.swap(&regions(), &grown);
    for _ in 0..200 {
        let choice = worker.choose(&ASK).unwrap();
        let unprobed = choice.endpoint(&worker.service).standing() == Standing::Unprobed;
        assert_eq!(unprobed, place_of(&choice) == (0, 1), "{choice:?}");
        assert_eq!(unprobed, choice.endpoint == pick::Reason::Unprobed);
    }
}

#[test]
fn a_sticky_user_keeps_its_version_through_the_loss_of_a_region() {
    let mut worker = Worker::new(&regions(), &two_versions(), 1);
    let version_of = |worker: &mut Worker, key: u32| {
        let choice = worker.choose(&Ask { sticky_key: Some(&key.to_le_bytes()), ..ASK }).unwrap();
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
    assert!(worker.choose(&ASK).is_ok());
    assert_eq!(worker.choose(&Ask { capability: Capability::Write, ..ASK }), Err(Refusal::NoRegion));
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
        off += 5 * i32::from(worker.choose(&ASK).unwrap().spot.version == 1) - 1;
        (low, high) = (low.min(off), high.max(off));
    }
    // In fifths of a request: the share of v2 is one fifth.
    assert!(high - low < 10, "{low} {high}");
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
            let ask = Ask { capability, version: pin.filter(|version| *version < document.versions.len()), ..ASK };
            for (at, good) in probes {
                if let Some(endpoint) = worker.registry.iter().nth(usize::from(*at)) {
                    endpoint.step(verdict(*good), &POLICY);
                }
                check(&mut worker, &ask);
            }
        }
    }

    /// A retry never repeats an endpoint, and ends.
    #[test]
    fn no_endpoint_is_tried_twice(document in a_document(), seed: u64) {
        let mut worker = Worker::new(&regions(), &document, seed);
        let choices = worker.exhaust(&ASK);
        for (at, choice) in choices.iter().enumerate() {
            prop_assert!(choices[..at].iter().all(|earlier| earlier.spot != choice.spot));
        }
    }
}

fn check(worker: &mut Worker, ask: &Ask<'_>) {
    let chosen = worker.choose(ask);
    let candidates = worker.service.explain(ask.capability, ask.version);
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
        Err(Refusal::Exhausted) => {
            let baseline = worker.service.baseline();
            assert!(open.iter().all(|spot| spot.version != baseline), "{open:?}");
        }
    }
}

fn position(service: &Service, region: usize, version: usize, endpoint: &Arc<Endpoint>) -> usize {
    service.pool(region, version).iter().position(|member| Arc::ptr_eq(&member.endpoint, endpoint)).unwrap()
}
