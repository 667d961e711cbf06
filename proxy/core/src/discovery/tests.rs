use std::collections::BTreeSet;

use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;
use sluice_config::{Environment, validate};

use super::*;
use crate::fixture::start;

const BOUNDS: Discovery = Discovery { ttl_min: Duration::from_secs(1), ttl_max: Duration::from_secs(60) };

fn address(last: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, last], 80))
}

fn found(last: u8) -> Found {
    Found { address: address(last), weight: None, zone: None }
}

fn good(addresses: &[u8], ttl: u64) -> Answer {
    Answer::Found(addresses.iter().copied().map(found).collect(), Duration::from_secs(ttl))
}

fn rng() -> StdRng {
    StdRng::seed_from_u64(7)
}

fn ask(known: &mut Known, answers: &[(&str, Answer)]) -> Step {
    let answers = answers.iter().map(|(question, answer)| ((*question).to_owned(), answer.clone())).collect();
    known.step(answers, &BOUNDS, &[], start(), &mut rng())
}

fn addresses(known: &Known) -> Vec<SocketAddr> {
    known.set().into_iter().flat_map(|set| set.iter()).map(|one| one.address).collect()
}

const SERVFAIL: Answer = Answer::Failed(Failure::ServerFailure);

#[test]
fn a_failure_or_nothing_leaves_the_last_good_set() {
    let mut known = Known::default();
    assert_eq!(ask(&mut known, &[("a", good(&[2, 1], 5))]).reason, Reason::Changed);
    for (answer, name) in [
        (SERVFAIL, "server_failure"),
        (Answer::Failed(Failure::Timeout), "timeout"),
        (Answer::Failed(Failure::Refused), "refused"),
        (Answer::Nothing(Absence::Name), "no_name"),
        (Answer::Nothing(Absence::Records), "no_records"),
        (good(&[], 5), "no_records"),
    ] {
        let step = ask(&mut known, &[("a", answer)]);
        let Reason::Held(trouble) = &step.reason else { panic!("{:?}", step.reason) };
        assert_eq!((step.set, trouble.as_str()), (None, name));
        assert_eq!(addresses(&known), [address(1), address(2)]);
    }
}

#[test]
fn what_was_never_known_is_missing() {
    let step = ask(&mut Known::default(), &[("a", SERVFAIL), ("aaaa", Answer::Nothing(Absence::Records))]);
    assert_eq!(step.reason, Reason::Missing(Trouble::Failed(Failure::ServerFailure)));
    assert_eq!(step.set, None);
}

#[test]
fn each_question_is_remembered_alone() {
    let mut known = Known::default();
    ask(&mut known, &[("a", good(&[1], 5)), ("aaaa", good(&[9], 5))]);
    let step = ask(&mut known, &[("a", good(&[2], 5)), ("aaaa", SERVFAIL)]);
    assert_eq!(step.reason, Reason::Partial(Trouble::Failed(Failure::ServerFailure)));
    assert_eq!(step.set.map(|set| set.len()), Some(2));
    assert_eq!(addresses(&known), [address(2), address(9)]);
    let step = ask(&mut known, &[("a", good(&[2], 5)), ("aaaa", Answer::Nothing(Absence::Records))]);
    assert_eq!((step.reason, addresses(&known)), (Reason::Changed, vec![address(2)]), "an absence is an answer");
}

#[test]
fn what_no_endpoint_may_be_is_left_out() {
    let own = [address(4)];
    let mut odd: Vec<Found> =
        ["0.0.0.0:80", "224.0.0.1:80", "255.255.255.255:80", "[::]:80", "[ff02::1]:80", "10.0.0.1:0"]
            .map(|text| Found { address: text.parse().unwrap(), weight: None, zone: None })
            .into();
    odd.extend([found(4), found(5)]);
    let mut known = Known::default();
    let answers = vec![("a".to_owned(), Answer::Found(odd, Duration::from_secs(5)))];
    let step = known.step(answers, &BOUNDS, &own, start(), &mut rng());
    assert_eq!(addresses(&known), [address(5)]);
    let told: Vec<_> = step.dropped.iter().map(|(_, why)| *why).collect();
    assert_eq!(told, [[Unusable::Nowhere; 6].as_slice(), &[Unusable::Own]].concat());
}

#[test]
fn a_source_brings_only_so_many() {
    let many = (0..limit::DISCOVERED + 5).map(|at| {
        let [.., b, c, d] = u32::try_from(at).unwrap().to_be_bytes();
        Found { address: SocketAddr::from(([10, b, c, d], 80)), weight: None, zone: None }
    });
    let mut known = Known::default();
    let answers = vec![("a".to_owned(), Answer::Found(many.collect(), Duration::from_secs(5)))];
    let step = known.step(answers, &BOUNDS, &[], start(), &mut rng());
    assert_eq!((known.set().unwrap().len(), step.dropped.len()), (limit::DISCOVERED, 5));
}

#[test]
fn only_the_lowest_priority_is_used_and_no_weight_is_zero() {
    let target = |priority, weight, host: &str| Target { priority, weight, port: 80, host: host.to_owned() };
    let all = [target(20, 5, "far"), target(10, 0, "a"), target(1, 1, "."), target(10, 60, "b")];
    let told: Vec<_> = preferred(&all).iter().map(|(target, weight)| (target.host.clone(), weight.get())).collect();
    assert_eq!(told, [("a".to_owned(), 1), ("b".to_owned(), 60)]);
    assert!(preferred(&[target(0, 1, ".")]).is_empty());
}

/// Without the first `clamp` in `Known::wait` every proxy of a fleet asks in the moment when the ceiling is over.
#[test]
fn a_ttl_above_the_ceiling_has_its_jitter_too() {
    let wait = |seed| {
        let answers = vec![("a".to_owned(), good(&[1], 604_800))];
        let now = start();
        Known::default().step(answers, &BOUNDS, &[], now, &mut StdRng::seed_from_u64(seed)).next - now
    };
    let waits: BTreeSet<Duration> = (0..100).map(wait).collect();
    assert!(waits.len() > 90, "{waits:?}");
    assert!(waits.iter().all(|wait| *wait >= BOUNDS.ttl_max.mul_f64(0.9) && *wait <= BOUNDS.ttl_max), "{waits:?}");
}

#[test]
fn trouble_is_asked_about_less_and_less_often() {
    let longest = |rounds: usize| {
        let wait = |seed| {
            let mut known = Known::default();
            let mut rng = StdRng::seed_from_u64(seed);
            let mut last = Duration::ZERO;
            for _ in 0..rounds {
                let now = start();
                last = known.step(vec![("a".to_owned(), SERVFAIL)], &BOUNDS, &[], now, &mut rng).next - now;
            }
            last
        };
        (0..200).map(wait).max().unwrap()
    };
    let seconds: Vec<f64> = (1..8).map(|rounds| longest(rounds).as_secs_f64()).collect();
    let bounds = [2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0];
    assert!(seconds.iter().zip(bounds).all(|(got, bound)| *got <= bound && *got > bound * 0.9), "{seconds:?}");
}

const DOCUMENT: &str = r#"
listeners: [{ name: web, address: "127.0.0.1:8080" }]
services:
  - name: shop
    discovery: { ttl_min: 5s, ttl_max: 10s }
    endpoints: ["10.0.0.1:80", { dns: shop, port: 80, weight: 3, zone: a }, { file: shop.yaml, zone: b }]
  - { name: cart, endpoints: [{ dns: shop, port: 80 }] }
routes: [{ service: shop }]
"#;

/// A request to it would go round until nothing is left for others.
#[test]
fn what_is_found_at_a_listener_of_the_document_is_left_out() {
    let mut document = validate(DOCUMENT, &Environment::empty()).unwrap();
    let before = document.services[0].versions[0].pools[0].endpoints.len();
    let own = Found { address: document.listeners[0].address, ..found(1) };
    let sets = queries(&document).into_keys().map(|query| (query, Set::from(vec![own.clone()])));
    fill(&mut document, &sets.collect());
    assert_eq!(document.services[0].versions[0].pools[0].endpoints.len(), before);
}

#[test]
fn a_pool_is_what_is_written_and_then_what_is_found() {
    let mut document = validate(DOCUMENT, &Environment::empty()).unwrap();
    let queries = queries(&document);
    let bounds: Vec<_> = queries.iter().map(|(query, bounds)| (query.to_string(), bounds.ttl_min.as_secs())).collect();
    assert_eq!(bounds, [("dns shop:80".to_owned(), 1), ("file shop.yaml".to_owned(), 5)]);
    let listed = Found { weight: Weight::new(9), zone: Some("c".parse().unwrap()), ..found(3) };
    let sets: [Set; 2] = [vec![found(1), found(2)].into(), vec![found(2), listed, found(4)].into()];
    fill(&mut document, &queries.into_keys().zip(sets).collect());
    let told = |service: usize| -> Vec<_> {
        let endpoints = document.services[service].versions[0].pools[0].endpoints.iter();
        let zone = |one: &Endpoint| one.zone.as_ref().map_or_else(String::new, ToString::to_string);
        endpoints.map(|one| (one.address, one.weight.get(), zone(one))).collect()
    };
    let zone = |name: &str| name.to_owned();
    let wanted = [(1, 1, ""), (2, 3, "a"), (3, 9, "c"), (4, 1, "b")];
    assert_eq!(told(0), wanted.map(|(last, weight, name)| (address(last), weight, zone(name))));
    assert_eq!(told(1), [(address(1), 1, zone("")), (address(2), 1, zone(""))]);
}

fn answer() -> impl Strategy<Value = Answer> {
    let list = prop::collection::vec(0_u8..6, 0..4);
    prop_oneof![
        4 => (list, 0_u64..1000).prop_map(|(list, ttl)| good(&list, ttl)),
        1 => prop::sample::select(vec![Absence::Name, Absence::Records]).prop_map(Answer::Nothing),
        2 => prop::sample::select(vec![Failure::Timeout, Failure::ServerFailure, Failure::Refused]).prop_map(Answer::Failed),
    ]
}

fn round() -> impl Strategy<Value = Vec<(String, Answer)>> {
    let question = prop::sample::select(vec!["a", "b", "c"]).prop_map(str::to_owned);
    prop::collection::btree_map(question, answer(), 1..4).prop_map(|round| round.into_iter().collect())
}

proptest! {
    /// Without the branch for a round without addresses in `Known::settle` the first failure empties it.
    #[test]
    fn a_set_that_was_filled_is_never_empty_again(rounds in prop::collection::vec(round(), 1..20), seed: u64) {
        let (mut known, mut rng) = (Known::default(), StdRng::seed_from_u64(seed));
        let mut filled = false;
        for round in rounds {
            let step = known.step(round, &BOUNDS, &[], start(), &mut rng);
            filled |= step.set.is_some();
            prop_assert!(step.set.is_none_or(|set| !set.is_empty()));
            prop_assert_eq!(known.set().is_some_and(|set| !set.is_empty()), filled);
            let missing = matches!(step.reason, Reason::Missing(_));
            prop_assert_eq!(missing, !filled);
        }
    }

    /// Without the last `clamp` in `Known::wait` the jitter falls below the floor; without the bound of a retry a source
    /// that is well again is not asked for as long as its ceiling.
    #[test]
    fn questions_are_neither_too_close_nor_too_far(
        rounds in prop::collection::vec(round(), 1..40), floor in 100_u64..5_000, more in 0_u64..100_000, seed: u64,
    ) {
        let ttl_min = Duration::from_millis(floor);
        let bounds = Discovery { ttl_min, ttl_max: ttl_min + Duration::from_millis(more) };
        let (mut known, mut rng) = (Known::default(), StdRng::seed_from_u64(seed));
        for round in rounds {
            let now = start();
            let step = known.step(round, &bounds, &[], now, &mut rng);
            let wait = step.next - now;
            prop_assert!(wait >= bounds.ttl_min && wait <= bounds.ttl_max, "{:?} of {:?}", wait, bounds);
            let troubled = step.reason.trouble().is_some();
            prop_assert!(!troubled || wait <= RETRY_MAX.max(bounds.ttl_min), "{:?}", wait);
        }
    }

    /// Without the sorting in `union` the same answer in another order is a change, and so a new revision.
    #[test]
    fn the_order_of_an_answer_says_nothing(list in prop::collection::vec(0_u8..9, 1..9), by in 0_usize..9, seed: u64) {
        let mut known = Known::default();
        ask(&mut known, &[("a", good(&list, 5))]);
        let mut turned = list.clone();
        turned.rotate_left(by % list.len());
        let answers = vec![("a".to_owned(), good(&turned, 5))];
        let step = known.step(answers, &BOUNDS, &[], start(), &mut StdRng::seed_from_u64(seed));
        prop_assert_eq!((step.set, step.reason), (None, Reason::Unchanged));
    }

    /// If every question is answered with something, the set is exactly that: what is gone leaves, what is new is there. If
    /// `Round::take` added to what a question said before, an address would never leave.
    #[test]
    fn an_answer_is_believed_whole(before in round(), lists in prop::collection::vec(prop::collection::vec(0_u8..9, 1..5), 1..4)) {
        let mut known = Known::default();
        known.step(before, &BOUNDS, &[], start(), &mut rng());
        let questions = ["a", "b", "c"].into_iter().zip(&lists);
        let answers: Vec<_> = questions.map(|(question, list)| (question.to_owned(), good(list, 5))).collect();
        let step = known.step(answers, &BOUNDS, &[], start(), &mut rng());
        let wanted: BTreeSet<SocketAddr> = lists.iter().flatten().map(|last| address(*last)).collect();
        prop_assert_eq!(addresses(&known), wanted.into_iter().collect::<Vec<_>>());
        prop_assert!(step.reason.trouble().is_none());
    }

    /// A question that fails takes nothing away. Without the part of `before` in `Round::take` it would.
    #[test]
    fn a_failed_question_takes_nothing_away(a in prop::collection::vec(0_u8..9, 1..5), b in prop::collection::vec(0_u8..9, 1..5)) {
        let mut known = Known::default();
        ask(&mut known, &[("a", good(&a, 5)), ("b", good(&b, 5))]);
        let before = addresses(&known);
        let step = ask(&mut known, &[("a", good(&a, 5)), ("b", SERVFAIL)]);
        prop_assert_eq!(addresses(&known), before);
        prop_assert!(step.set.is_none());
    }
}
