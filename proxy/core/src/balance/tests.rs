use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;
use sluice_config::percentage::Percentage;
use sluice_config::validated::HashKey;

use super::*;

/// Endpoints as a test wants them.
#[derive(Debug, Clone)]
struct Scene {
    weights: Vec<u32>,
    may: Vec<bool>,
    in_flight: Vec<u32>,
    latency: Vec<Option<Duration>>,
    again: bool,
}

impl Scene {
    fn idle(weights: &[u32]) -> Self {
        let count = weights.len();
        Self {
            weights: weights.to_vec(),
            may: vec![true; count],
            in_flight: vec![0; count],
            latency: vec![None; count],
            again: false,
        }
    }

    fn is_open(&self, at: usize) -> bool {
        self.weights[at] > 0 && self.may[at]
    }
}

impl Crowd for Scene {
    fn may(&self, at: usize) -> bool {
        self.may[at]
    }
    fn in_flight(&self, at: usize) -> u32 {
        self.in_flight[at]
    }
    fn latency(&self, at: usize) -> Option<Duration> {
        self.latency[at]
    }
    fn total(&self) -> u64 {
        self.in_flight.iter().map(|count| u64::from(*count)).sum()
    }
    fn again(&self) -> bool {
        self.again
    }
}

fn documents() -> Vec<validated::Balancer> {
    let maglev = |bound| validated::Balancer::Maglev { key: HashKey::Path, bounded_load: bound };
    vec![
        validated::Balancer::RoundRobin,
        validated::Balancer::LeastRequest { choices: 2 },
        validated::Balancer::LeastRequest { choices: 5 },
        validated::Balancer::PeakEwma { decay: Duration::from_secs(10), failure_penalty: Duration::from_secs(5) },
        maglev(None),
        maglev(Percentage::new(100)),
        validated::Balancer::Random,
    ]
}

fn names(ids: &[u16]) -> Vec<[u8; 2]> {
    ids.iter().map(|id| id.to_le_bytes()).collect()
}

fn table(ids: &[u16], weights: &[u32]) -> Arc<Table> {
    let names = names(ids);
    Arc::new(Table::build(names.iter().map(|name| &name[..]).zip(weights.iter().copied())))
}

/// Of endpoints 0, 1, 2, ...
fn balancer(document: &validated::Balancer, weights: &[u32], rng: &mut StdRng) -> Balancer {
    let ids: Vec<u16> = (0..weights.len() as u16).collect();
    let led = matches!(document, validated::Balancer::Maglev { .. });
    let table = led.then(|| table(&ids, weights));
    let mut balancer = Balancer::new(document, table.as_ref());
    balancer.fit(weights, rng);
    balancer
}

fn maglev(ids: &[u16], weights: &[u32], bound: Option<u32>) -> Maglev {
    let mut maglev = Maglev::new(table(ids, weights), bound.and_then(Percentage::new));
    maglev.fit(weights);
    maglev
}

fn led(maglev: &Maglev, scene: &Scene, key: u64) -> usize {
    let hash = maglev::hash(&key.to_le_bytes());
    maglev.pick(scene, Some(hash), &mut StdRng::seed_from_u64(1)).unwrap().at
}

/// An idle pool is used by weight, whatever the balancer.
#[test]
fn idle_endpoints_get_their_weight() {
    let weights = [1, 0, 2, 7];
    for document in documents() {
        let mut rng = StdRng::seed_from_u64(7);
        let mut balancer = balancer(&document, &weights, &mut rng);
        let scene = Scene::idle(&weights);
        let mut counts = [0; 4];
        for _ in 0..10_000 {
            counts[balancer.pick(&scene, None, &mut rng).unwrap().at] += 1;
        }
        assert_eq!(counts[1], 0, "{document:?}");
        // Expected time without latencies is that of one request more, for the weight: the heaviest is ahead.
        if !matches!(document, validated::Balancer::PeakEwma { .. }) {
            let near = |at: usize, share: i32| (counts[at] - share).abs() < 250;
            assert!(near(0, 1000) && near(2, 2000) && near(3, 7000), "{document:?}: {counts:?}");
        }
    }
}

/// A failure takes no turn of another endpoint. Fails where it does: every first attempt then meets the same endpoint.
#[test]
fn what_follows_a_failure_takes_no_turn() {
    let weights = [1, 1];
    let mut rng = StdRng::seed_from_u64(3);
    let mut balancer = balancer(&validated::Balancer::RoundRobin, &weights, &mut rng);
    let first = Scene::idle(&weights);
    let elsewhere = Scene { may: vec![false, true], again: true, ..Scene::idle(&weights) };
    let mut counts = [0; 2];
    for _ in 0..100 {
        let at = balancer.pick(&first, None, &mut rng).unwrap().at;
        counts[at] += 1;
        if at == 0 {
            assert_eq!(balancer.pick(&elsewhere, None, &mut rng).unwrap().at, 1);
        }
    }
    assert_eq!(counts, [50, 50]);
}

#[test]
fn the_less_loaded_is_picked_for_its_weight() {
    let mut rng = StdRng::seed_from_u64(1);
    let document = validated::Balancer::LeastRequest { choices: 2 };
    let mut picks = |weights: [u32; 2], in_flight: [u32; 2]| {
        let mut balancer = balancer(&document, &weights, &mut rng);
        let scene = Scene { in_flight: in_flight.to_vec(), ..Scene::idle(&weights) };
        let picks: Vec<usize> = (0..50).map(|_| balancer.pick(&scene, None, &mut rng).unwrap().at).collect();
        (picks.contains(&0), picks.contains(&1))
    };
    assert_eq!(picks([1, 1], [3, 4]), (true, false), "two are always compared");
    assert_eq!(picks([1, 1000], [0, 1001]), (true, false), "also where chance does not find the other");
    assert_eq!(picks([1, 3], [2, 5]), (false, true), "five of three are fewer than two of one");
    assert_eq!(picks([1, 3], [1, 3]), (true, true), "equals are drawn by weight");
}

#[test]
fn the_one_expected_sooner_is_picked() {
    let mut rng = StdRng::seed_from_u64(1);
    let document =
        validated::Balancer::PeakEwma { decay: Duration::from_secs(10), failure_penalty: Duration::from_secs(5) };
    let ms = |latency: u64| Some(Duration::from_millis(latency));
    let mut picks = |latency: [Option<Duration>; 2], in_flight: [u32; 2]| {
        let mut balancer = balancer(&document, &[1, 1], &mut rng);
        let scene = Scene { latency: latency.to_vec(), in_flight: in_flight.to_vec(), ..Scene::idle(&[1, 1]) };
        let picks: Vec<usize> = (0..50).map(|_| balancer.pick(&scene, None, &mut rng).unwrap().at).collect();
        (picks.contains(&0), picks.contains(&1))
    };
    assert_eq!(picks([ms(10), ms(100)], [5, 0]), (true, false));
    assert_eq!(picks([ms(10), ms(100)], [10, 0]), (false, true));
    assert_eq!(picks([None, ms(1)], [0, 0]), (true, true), "nothing known is as good as the rival");
    assert_eq!(picks([None, ms(1)], [1, 0]), (false, true));
}

/// Weight decides how many keys, exactly by seats.
#[test]
fn seats_are_by_weight_and_in_no_order_of_the_list() {
    let (ids, weights) = ([3, 1, 2, 9], [5, 0, 1, 2]);
    let all = maglev(&ids, &weights, None);
    let mut counts = [0_i32; 4];
    (0..40_000).for_each(|key| counts[led(&all, &Scene::idle(&weights), key)] += 1);
    assert_eq!(counts[1], 0);
    assert!((counts[0] - 25_000).abs() < 600 && (counts[2] - 5_000).abs() < 400, "{counts:?}");
    let turned = maglev(&[9, 2, 1, 3], &[2, 1, 0, 5], None);
    for key in 0..1000 {
        assert_eq!(led(&all, &Scene::idle(&weights), key), 3 - led(&turned, &Scene::idle(&[2, 1, 0, 5]), key));
    }
    let names = names(&ids);
    let members = || names.iter().map(|name| &name[..]).zip(weights);
    assert!(table(&ids, &weights).is_of(members()) && !table(&ids, &[5, 0, 1, 3]).is_of(members()));
}

/// A pool that loses or wins an endpoint moves that one's keys, and few more. Fails with rounds in the order of the
/// list, and with a table whose size follows the pool's.
#[test]
fn a_changed_pool_moves_few_keys() {
    for count in [2_u16, 5, 10, 64, 65] {
        let ids: Vec<u16> = (0..count).collect();
        let before = maglev(&ids, &vec![1; ids.len()], None);
        let after = maglev(&ids[1..], &vec![1; ids.len() - 1], None);
        let (less, more) = (Scene::idle(&vec![1; ids.len() - 1]), Scene::idle(&vec![1; ids.len()]));
        let moved = (0..4000).filter(|key| {
            let was = led(&before, &more, *key);
            was != 0 && led(&after, &less, *key) + 1 != was
        });
        let moved = moved.count();
        assert!(moved <= 4000 * 3 / 100, "{moved} of 4000 keys of the others with {count} endpoints");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Never an empty choice while one is eligible, and never one that is not, for every balancer. Fails if any of them
    /// gives up looking: the draws without the search, the turns at `PATIENCE`, the probes without the rendezvous, the
    /// bound without its second way.
    #[test]
    fn something_is_picked_while_one_may_be(
        steps in prop::collection::vec(prop::collection::vec((0_u32..4, any::<bool>(), 0_u32..20), 40), 1..8),
        narrow: bool,
        key in prop::option::of(any::<u64>()),
        seed: u64,
    ) {
        for document in documents() {
            let mut rng = StdRng::seed_from_u64(seed);
            let mut balancer = balancer(&document, &[3; 40], &mut rng);
            for rows in &steps {
                let mut scene = Scene::idle(&rows.iter().map(|row| row.0).collect::<Vec<_>>());
                // At most one in forty, so that luck does not find it.
                scene.may = rows.iter().enumerate().map(|(at, row)| row.1 && (!narrow || at == 17)).collect();
                scene.in_flight = rows.iter().map(|row| row.2).collect();
                balancer.fit(&scene.weights, &mut rng);
                for _ in 0..3 {
                    let picked = balancer.pick(&scene, key, &mut rng);
                    prop_assert_eq!(picked.is_some(), (0..40).any(|at| scene.is_open(at)), "{:?}", document);
                    prop_assert!(picked.is_none_or(|picked| scene.is_open(picked.at)));
                }
            }
        }
    }

    /// An endpoint that cannot take them moves its own keys and no other, and gets exactly them back. Fails if the table is
    /// built over the eligible ones.
    #[test]
    fn a_return_brings_back_exactly_its_keys(count in 2_u16..30, out in prop::collection::btree_set(0_usize..30, 1..10), full: bool) {
        let ids: Vec<u16> = (0..count).collect();
        let mut scene = Scene::idle(&vec![5; ids.len()]);
        let mut all = maglev(&ids, &scene.weights, None);
        let keys = 0..300_u64;
        let before: Vec<usize> = keys.clone().map(|key| led(&all, &scene, key)).collect();
        let out: Vec<usize> = out.into_iter().filter(|at| *at < ids.len() - 1).collect();
        let take_out = |scene: &mut Scene, all: &mut Maglev, is_in: bool| {
            for at in &out {
                if full { scene.may[*at] = is_in } else { scene.weights[*at] = 5 * u32::from(is_in) }
            }
            all.fit(&scene.weights);
        };
        take_out(&mut scene, &mut all, false);
        for key in keys.clone() {
            let (was, is) = (before[key as usize], led(&all, &scene, key));
            prop_assert!(scene.is_open(is));
            prop_assert!(is == was || out.contains(&was), "a key of a healthy endpoint has moved");
        }
        take_out(&mut scene, &mut all, true);
        prop_assert!(keys.into_iter().map(|key| led(&all, &scene, key)).eq(before));
    }

    /// An endpoint that takes more of its weight gets keys and loses none. Fails if the part is decided by chance.
    #[test]
    fn more_weight_only_adds_keys(from in 1_u32..1000, to in 1_u32..1000) {
        let (from, to) = (from.min(to), from.max(to));
        let mut all = maglev(&[1, 2, 3], &[1, 1, 1], None);
        let mut keys_at = |level: u32| {
            all.fit(&[level, 1000, 1000]);
            let scene = Scene::idle(&[level, 1000, 1000]);
            (0..500).filter(|key| led(&all, &scene, *key) == 0).collect::<Vec<u64>>()
        };
        let (few, many) = (keys_at(from), keys_at(to));
        prop_assert!(few.iter().all(|key| many.contains(key)));
        let expected = f64::from(from) / f64::from(from + 2000) * 500.0;
        prop_assert!((few.len() as f64 - expected).abs() < 60.0, "{} of {expected}", few.len());
    }

    /// No endpoint gets more than its part of all requests in flight, times the bound, rounded up, while one that is
    /// below may take it. Fails without `is_within`.
    #[test]
    fn bounded_load_holds(
        weights in prop::collection::vec(1_u32..5, 2..12), bound in 100_u32..200, keys in prop::collection::vec(0_u64..3, 1..200),
    ) {
        let ids: Vec<u16> = (0..weights.len() as u16).collect();
        let all = maglev(&ids, &weights, Some(bound));
        let mut scene = Scene::idle(&weights);
        let total: u32 = weights.iter().sum();
        for key in keys {
            let at = led(&all, &scene, key);
            scene.in_flight[at] += 1;
            let part = f64::from(bound) / 100.0 * scene.total() as f64 * f64::from(weights[at]) / f64::from(total);
            prop_assert!(f64::from(scene.in_flight[at]) < part + 1.0);
        }
    }
}
