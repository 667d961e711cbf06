use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;

fn strata(weights: &[u32]) -> Strata {
    Strata::new(Shares::of(weights.iter().copied()))
}

/// How far each version's count is from its share, and the extremes since the watch began.
struct Watch {
    off: Vec<i64>,
    low: Vec<i64>,
    high: Vec<i64>,
}

impl Watch {
    fn new(versions: usize) -> Self {
        Self { off: vec![0; versions], low: vec![0; versions], high: vec![0; versions] }
    }

    fn step(&mut self, strata: &mut Strata, rng: &mut StdRng) -> usize {
        let chosen = strata.choose(rng).unwrap();
        for at in 0..self.off.len() {
            self.off[at] += if at == chosen { ONE } else { 0 } - strata.shares.parts[at];
            self.low[at] = self.low[at].min(self.off[at]);
            self.high[at] = self.high[at].max(self.off[at]);
        }
        chosen
    }

    /// The error of the worst window since the watch began.
    fn widest(&self) -> i64 {
        self.low.iter().zip(&self.high).map(|(low, high)| high - low).max().unwrap()
    }
}

fn sound(strata: &Strata) {
    assert_eq!(strata.credits.iter().sum::<i64>(), 0, "credits add up to nothing");
    assert!(strata.credits.iter().all(|credit| credit.abs() < ONE), "credits within one request: {strata:?}");
}

/// Weights of every magnitude, so that 1 ppm stands beside nearly everything.
fn wild() -> impl Strategy<Value = u32> {
    (0_u32..=20, 0_u32..1000)
        .prop_map(|(magnitude, jitter)| ((1 << magnitude) + (jitter << magnitude) / 1000).min(1_000_000))
}

fn weights(versions: std::ops::RangeInclusive<usize>) -> impl Strategy<Value = Vec<u32>> {
    prop_oneof![
        prop::collection::vec(wild(), versions.clone()),
        prop::collection::vec(1_u32..=100, versions.clone()),
        prop::collection::vec(Just(1_u32), versions),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Guarantee 4: any window holds its exact share within 2, each prefix within 1.
    #[test]
    fn every_window_is_within_two(weights in weights(2..=12), seed: u64) {
        let (mut strata, mut rng) = (strata(&weights), StdRng::seed_from_u64(seed));
        let mut watch = Watch::new(weights.len());
        for _ in 0..4000 {
            watch.step(&mut strata, &mut rng);
            sound(&strata);
        }
        prop_assert!(watch.widest() < 2 * ONE);
    }

    /// Guarantee 4 across weight changes: with up to three versions windows that span them are within 2 as well.
    #[test]
    fn windows_across_a_change_of_shares_are_within_two(
        changes in prop::collection::vec((prop::collection::vec(wild(), 3), 1_usize..200), 2..20),
        versions in 2_usize..=3,
        seed: u64,
    ) {
        let (mut strata, mut rng) = (strata(&changes[0].0[..versions]), StdRng::seed_from_u64(seed));
        let mut watch = Watch::new(versions);
        for (weights, steps) in &changes {
            strata.fit(weights[..versions].iter().copied());
            (0..*steps).for_each(|_| { watch.step(&mut strata, &mut rng); });
            sound(&strata);
        }
        prop_assert!(watch.widest() < 2 * ONE);
    }

    /// Guarantee 4 under changing weights and eligibility: bounds hold at every step, and within each stretch windows
    /// do. What is not eligible is never chosen.
    #[test]
    fn bounds_survive_masks_and_new_weights(
        changes in prop::collection::vec((prop::collection::vec(prop_oneof![1 => Just(0), 3 => wild()], 12), 1_usize..100), 2..40),
        versions in 2_usize..=12,
        seed: u64,
    ) {
        let (mut strata, mut rng) = (strata(&vec![1; versions]), StdRng::seed_from_u64(seed));
        for (weights, steps) in &changes {
            strata.fit(weights[..versions].iter().copied());
            if weights[..versions].iter().all(|weight| *weight == 0) {
                prop_assert_eq!(strata.choose(&mut rng), None);
                continue;
            }
            let mut watch = Watch::new(versions);
            for _ in 0..*steps {
                let chosen = watch.step(&mut strata, &mut rng);
                prop_assert!(weights[chosen] > 0);
                sound(&strata);
            }
            prop_assert!(watch.widest() < 2 * ONE);
        }
    }

    /// State survives a swap: a split carried with the same shares goes on exactly where it was.
    #[test]
    fn a_swap_without_change_changes_nothing(weights in weights(2..=8), steps in 0_usize..300, seed: u64) {
        let (mut strata, mut rng) = (strata(&weights), StdRng::seed_from_u64(seed));
        (0..steps).for_each(|_| { strata.choose(&mut rng); });
        let carried = Strata::carry(Shares::of(weights.iter().copied()), &strata, Some);
        prop_assert_eq!(&carried.credits, &strata.credits);
    }

    /// A version that is renamed, added or removed takes no credit along, and the rest keep within bounds.
    #[test]
    fn a_swap_of_versions_keeps_bounds(
        before in weights(2..=8), after in weights(2..=8), steps in 0_usize..300, shift in 0_usize..4, seed: u64,
    ) {
        let (mut old, mut rng) = (strata(&before), StdRng::seed_from_u64(seed));
        (0..steps).for_each(|_| { old.choose(&mut rng); });
        let origin = |new: usize| Some(new + shift).filter(|at| *at < before.len());
        let mut new = Strata::carry(Shares::of(after.iter().copied()), &old, origin);
        let mut watch = Watch::new(after.len());
        for _ in 0..500 {
            sound(&new);
            watch.step(&mut new, &mut rng);
        }
        prop_assert!(watch.widest() < 2 * ONE);
    }

    /// Sticky: raising a weight only moves users into that version.
    #[test]
    fn raising_a_weight_only_moves_users_in(
        weights in weights(2..=6), raised in 0_usize..6, by in 1_u32..1_000_000, keys in prop::collection::vec(any::<[u8; 8]>(), 200),
    ) {
        let raised = raised % weights.len();
        let mut after = weights.clone();
        after[raised] += by;
        for key in &keys {
            let (was, is) = (sticky(&weights, key), sticky(&after, key));
            prop_assert!(is == was || is == Some(raised));
        }
    }

    /// Sticky: adding a version at weight 0 moves nobody, and nobody is given it.
    #[test]
    fn adding_a_version_at_zero_moves_nobody(weights in weights(1..=6), keys in prop::collection::vec(any::<[u8; 8]>(), 200)) {
        let mut after = weights.clone();
        after.push(0);
        for key in &keys {
            prop_assert_eq!(sticky(&weights, key), sticky(&after, key));
        }
    }
}

fn tickets(weights: &[u32]) -> Vec<(usize, Ticket)> {
    let service: ServiceName = "shop".parse().unwrap();
    let version = |at: usize| format!("v{}", at + 1).parse().unwrap();
    weights.iter().enumerate().map(|(at, weight)| (at, Ticket::new(&service, &version(at), *weight))).collect()
}

fn sticky(weights: &[u32], key: &[u8]) -> Option<usize> {
    rendezvous(tickets(weights).into_iter(), key)
}

#[test]
fn sticky_users_are_spread_by_weight() {
    let mut counts = [0_u32; 3];
    for user in 0..100_000_u32 {
        counts[sticky(&[700, 250, 50], &user.to_le_bytes()).unwrap()] += 1;
    }
    // Four standard deviations of a binomial count.
    for (count, expected) in counts.iter().zip([70_000.0_f64, 25_000.0, 5_000.0]) {
        let deviation = (expected * (1.0 - expected / 100_000.0)).sqrt();
        assert!((f64::from(*count) - expected).abs() < 4.0 * deviation, "{counts:?}");
    }
}

/// Users must keep their versions across releases: these answers never change.
#[test]
fn sticky_answers_never_change() {
    let keys = [
        "",
        "alice",
        "bob",
        "carol",
        "dave",
        "eve",
        "mallory",
        "127.0.0.1",
        "::1",
        "a longer key, of a session cookie: 0123456789abcdef",
    ];
    let answers: Vec<_> = keys.iter().map(|key| sticky(&[50, 30, 20], key.as_bytes()).unwrap()).collect();
    assert_eq!(answers, [2, 2, 0, 2, 0, 0, 0, 1, 0, 1]);
    let score = tickets(&[50])[0].1.score(b"alice");
    assert_eq!(score.to_bits(), 0x404ef386e0b7f47f, "{score}");
}

/// A client cannot predict its turn: the place of one of two versions in its stratum is even.
#[test]
fn the_place_in_a_stratum_is_even() {
    for weights in [[99, 1], [1, 99], [95, 5]] {
        let rare = usize::from(weights[1] < weights[0]);
        let tenths = places(&weights, rare);
        let expected = f64::from(tenths.iter().sum::<u32>()) / 10.0;
        let distance: f64 = tenths.iter().map(|count| (f64::from(*count) - expected).powi(2) / expected).sum();
        // The 99.99th percentile of chi-square with 9 degrees of freedom.
        assert!(distance < 33.7, "{weights:?}: {tenths:?} {distance}");
    }
}

/// With more versions the exact share of the largest spaces the others out, so places are not even; still none is more
/// than two and a half times as likely as another would make it.
#[test]
fn the_place_of_each_of_many_versions_stays_open() {
    for weights in [
        vec![98, 1, 1],
        vec![96, 1, 1, 1, 1],
        vec![50, 48, 1, 1],
        vec![80, 5, 5, 5, 5],
        vec![4; 25],
        vec![60, 20, 10, 5, 4, 1],
    ] {
        for rare in (0..weights.len()).filter(|at| weights[*at] < 6) {
            let tenths = places(&weights, rare);
            let even = tenths.iter().sum::<u32>() / 10;
            assert!(tenths.iter().all(|count| *count < even * 5 / 2), "{weights:?} {rare}: {tenths:?}");
        }
    }
}

/// How often a version was chosen in each tenth of its strata. The weights add up to 100.
fn places(weights: &[u32], rare: usize) -> [u32; 10] {
    let (mut strata, mut rng) = (strata(weights), StdRng::seed_from_u64(7));
    let length = 100.0 / f64::from(weights[rare]);
    let mut tenths = [0; 10];
    for slot in 0..400_000 {
        if strata.choose(&mut rng) == Some(rare) {
            tenths[((f64::from(slot) + 0.5) / length * 10.0) as usize % 10] += 1;
        }
    }
    tenths
}

#[test]
fn a_single_version_takes_all_and_none_takes_nothing() {
    let mut rng = StdRng::seed_from_u64(1);
    assert_eq!(strata(&[0, 5, 0]).choose(&mut rng), Some(1));
    assert_eq!(strata(&[0, 0]).choose(&mut rng), None);
    assert_eq!(strata(&[]).choose(&mut rng), None);
}

#[test]
fn shares_add_up_to_one() {
    let shares = Shares::of([1, 1_000_000, 333, 0].into_iter());
    assert_eq!(shares.parts.iter().sum::<i64>(), ONE);
    assert_eq!((shares.largest(), shares.members()), (1, 3));
    assert!((shares.share(0) - 1.0 / 1_000_334.0).abs() < 1e-12);
}
