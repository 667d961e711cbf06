use proptest::prelude::*;

use super::*;
use crate::overlay::{Circuit, Force};
use crate::problem::Position;
use crate::validated::Forces;
use crate::{Environment, diff, read, read_pair};

const TEXT: &str = r#"
listeners: [{ name: web, address: "127.0.0.1:8080" }]
services:
  - name: shop
    versions:
      - { name: v1, weight: 95, endpoints: ["127.0.0.1:9001"] }
      - { name: v2, weight: 5, endpoints: ["127.0.0.1:9002"] }
routes: [{ service: shop }]
"#;

/// Two versions, each with two endpoints in each of two regions.
const REGIONS: &str = r#"
listeners: [{ name: web, address: "127.0.0.1:8080" }]
regions: [{ name: east }, { name: west }]
services:
  - name: shop
    versions:
      - { name: v1, endpoints: { east: ["10.0.0.1:80", "10.0.0.2:80"], west: ["10.0.0.1:80", "10.0.0.2:80"] } }
      - { name: v2, endpoints: { east: ["10.0.0.1:80", "10.0.0.2:80"], west: ["10.0.0.1:80", "10.0.0.2:80"] } }
routes: [{ service: shop }]
"#;

fn overlay(service: &str, shares: &str) -> Overlay {
    let weights = format!(
        r#"{{"weights":{{"{service}":{{"shares":{shares},"owner":"operator","author":"ann","reason":"why",
            "since":"2026-11-26T09:30:00Z"}}}}}}"#
    );
    serde_json::from_str(&weights).unwrap()
}

/// Overrides numbered from 1.
fn forced(actions: &[Action]) -> Overlay {
    let laid = |action: &Action| Override {
        action: action.clone(),
        author: "ann".parse().unwrap(),
        reason: "why".parse().unwrap(),
        since: "2026-11-26T09:30:00Z".parse().unwrap(),
        expires: "2026-11-26T10:30:00Z".parse().unwrap(),
    };
    let overrides = actions.iter().zip(1..).map(|(action, id)| (RevisionId(id), laid(action))).collect();
    Overlay { overrides, ..Overlay::default() }
}

fn endpoint(version: &str, region: &str, address: &str, to: Force) -> Action {
    let (version, region) = (version.parse().unwrap(), region.parse().unwrap());
    let address = address.parse().unwrap();
    Action::Endpoint(EndpointForce { service: "shop".parse().unwrap(), version, region, address, to })
}

fn breaker(version: &str, region: Option<&str>, address: Option<&str>, to: Circuit) -> Action {
    let region = region.map(|region| region.parse().unwrap());
    let address = address.map(|address| address.parse().unwrap());
    let service = "shop".parse().unwrap();
    Action::Breaker(BreakerForce { service, version: version.parse().unwrap(), region, address, to })
}

fn pool_of<'a>(document: &'a Validated, version: &str, region: &str) -> &'a Forces {
    let version = document.services[0].versions.iter().find(|one| one.name.as_str() == version).unwrap();
    &pool(version, &document.regions, &region.parse().unwrap()).unwrap().forces
}

#[test]
fn an_overlay_that_is_laid_later_is_the_pair_that_was_read_as_one() {
    let written = read(TEXT, &Environment::empty()).unwrap().validated;
    let overlay = overlay("shop", r#"{"v1":"70%","v2":"30%"}"#);
    let pair = read_pair(TEXT, &Environment::empty(), &overlay).unwrap();
    assert_eq!((lay(&written, &overlay), pair.document), (Ok(pair.validated), written.digest));
    assert_eq!(lay(&written, &Overlay::default()), Ok(written));
}

#[test]
fn what_an_overlay_names_must_be_there() {
    let written = read(TEXT, &Environment::empty()).unwrap().validated;
    for (service, shares, gone) in [
        ("cart", r#"{"v1":"100%"}"#, r#"the service "cart" is gone"#),
        ("shop", r#"{"v1":"50%","v3":"50%"}"#, r#"the version "v3" of shop is gone, and it has 50%"#),
    ] {
        let overlay = overlay(service, shares);
        let told = lay(&written, &overlay).unwrap_err();
        assert!(told.len() == 1 && told[0].to_string().starts_with(gone), "{told:?}");
        let problems = read_pair(TEXT, &Environment::empty(), &overlay).unwrap_err();
        assert_eq!(problems.problems[0].message, told[0].to_string());
    }
}

#[test]
fn what_an_override_names_must_be_there() {
    let written = read(REGIONS, &Environment::empty()).unwrap().validated;
    let without = |action: Action| {
        let overlay = forced(&[action]);
        let told = lay(&written, &overlay).unwrap_err();
        let problems = read_pair(REGIONS, &Environment::empty(), &overlay).unwrap_err();
        assert_eq!((told.len(), problems.count()), (1, 1));
        let problem = &problems.problems[0];
        assert_eq!((&problem.message, problem.hint.as_ref()), (&told[0].to_string(), Some(&told[0].hint())));
        format!("{}: {} = {}", problem.path, problem.message, told[0].hint())
    };
    let other = |action: Action| {
        let text = serde_json::to_string(&action).unwrap().replace("shop", "cart");
        serde_json::from_str(&text).unwrap()
    };
    let told = [
        without(other(breaker("v1", None, None, Circuit::Open))),
        without(breaker("v3", None, None, Circuit::Open)),
        without(breaker("v1", Some("north"), None, Circuit::Open)),
        without(breaker("v1", Some("west"), Some("10.0.0.9:80"), Circuit::Closed)),
        without(endpoint("v2", "east", "10.0.0.3:80", Force::Out)),
    ];
    insta::assert_snapshot!(told.join("\n"));
    assert!(lay(&written, &forced(&[Action::Freeze])).is_ok(), "a freeze names nothing");
}

#[test]
fn a_list_without_versions_and_regions_is_told_where_it_is_written() {
    let text = r#"
listeners: [{ name: web, address: "127.0.0.1:8080" }]
services:
  - name: shop
    endpoints: ["127.0.0.1:9001"]
routes: [{ service: shop }]
"#;
    let overlay = forced(&[endpoint("default", "default", "127.0.0.1:9009", Force::Out)]);
    let problems = read_pair(text, &Environment::empty(), &overlay).unwrap_err();
    let told: Vec<_> = problems.problems.iter().map(|one| (one.path.to_string(), one.position)).collect();
    assert_eq!(told, [("services[0].endpoints".to_owned(), Some(Position { line: 5, column: 16 }))]);
}

#[test]
fn a_change_of_what_is_held_is_told() {
    let of = |actions: &[Action]| read_pair(REGIONS, &Environment::empty(), &forced(actions)).unwrap().validated;
    let (none, out) = (of(&[]), of(&[endpoint("v1", "east", "10.0.0.1:80", Force::Out)]));
    let then = of(&[
        endpoint("v1", "east", "10.0.0.1:80", Force::In),
        breaker("v2", None, None, Circuit::Open),
        breaker("v2", Some("west"), Some("10.0.0.2:80"), Circuit::Closed),
    ]);
    let told = |old, new| diff(old, new).iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(told(&none, &out), ["10.0.0.1:80 of shop/v1 in east held out"]);
    assert_eq!(told(&out, &none), ["10.0.0.1:80 of shop/v1 in east held out no more"]);
    assert_eq!(
        told(&out, &then),
        [
            "10.0.0.1:80 of shop/v1 in east held out no more",
            "10.0.0.1:80 of shop/v1 in east held in",
            "breaker of shop/v2 in east held open",
            "breaker of 10.0.0.2:80 of shop/v2 in west held closed",
            "breaker of shop/v2 in west held open",
        ]
    );
}

fn any_action() -> impl Strategy<Value = Action> {
    let version = prop::sample::select(vec!["v1", "v2"]);
    let region = prop::sample::select(vec!["east", "west"]);
    let address = prop::sample::select(vec!["10.0.0.1:80", "10.0.0.2:80"]);
    (0..6, version, region, address, any::<bool>()).prop_map(|(kind, version, region, address, first)| {
        let force = if first { Force::In } else { Force::Out };
        let circuit = if first { Circuit::Open } else { Circuit::Closed };
        match kind {
            0 => Action::Freeze,
            1 | 2 => endpoint(version, region, address, force),
            3 => breaker(version, None, None, circuit),
            4 => breaker(version, Some(region), None, circuit),
            _ => breaker(version, Some(region), Some(address), circuit),
        }
    })
}

/// The last of the actions that hold this pool's breaker, endpoint or endpoint's breaker, found by looking at each.
fn last<T>(actions: &[Action], holds: impl Fn(&Action) -> Option<T>) -> Option<T> {
    actions.iter().rev().find_map(holds)
}

const fn endpoint_of(action: &Action) -> Option<&EndpointForce> {
    if let Action::Endpoint(one) = action { Some(one) } else { None }
}

const fn breaker_of(action: &Action) -> Option<&BreakerForce> {
    if let Action::Breaker(one) = action { Some(one) } else { None }
}

proptest! {
    /// Of overrides that overlap the newest holds, and nothing is held that none names. Fails when `put` takes them in
    /// another order, or a breaker of all regions for one of its region.
    #[test]
    fn the_newest_override_holds(actions in prop::collection::vec(any_action(), 0..12)) {
        let pair = read_pair(REGIONS, &Environment::empty(), &forced(&actions)).unwrap();
        let written = read(REGIONS, &Environment::empty()).unwrap().validated;
        for (version, region) in [("v1", "east"), ("v1", "west"), ("v2", "east"), ("v2", "west")] {
            let of_pool = |one: &BreakerForce| {
                one.version.as_str() == version && one.region.as_ref().is_none_or(|of| of.as_str() == region)
            };
            let mut expected = Forces {
                breaker: last(&actions, |action| breaker_of(action).filter(|one| of_pool(one) && one.address.is_none()).map(|one| one.to)),
                ..Forces::default()
            };
            for address in ["10.0.0.1:80", "10.0.0.2:80"] {
                let address: SocketAddr = address.parse().unwrap();
                let endpoint = last(&actions, |action| {
                    let of = |one: &&EndpointForce| (one.version.as_str(), one.region.as_str()) == (version, region);
                    endpoint_of(action).filter(of).filter(|one| one.address == address).map(|one| one.to)
                });
                let breaker = last(&actions, |action| {
                    breaker_of(action).filter(|one| of_pool(one) && one.address == Some(address)).map(|one| one.to)
                });
                expected.endpoints.extend(endpoint.map(|to| (address, to)));
                expected.breakers.extend(breaker.map(|to| (address, to)));
            }
            prop_assert_eq!(pool_of(&pair.validated, version, region), &expected);
        }
        prop_assert_eq!(pair.document, written.digest);
        let overlay = forced(&actions);
        prop_assert_eq!(lay(&written, &overlay), Ok(pair.validated));
    }

    /// Equal digests are equal behaviour: a difference of what is held is one of the digest, and is told; what holds
    /// nothing else is none. Fails when the digest is of the document alone.
    #[test]
    fn the_digest_covers_what_is_held(
        one in prop::collection::vec(any_action(), 0..4),
        other in prop::collection::vec(any_action(), 0..4),
    ) {
        let of = |actions: &[Action]| read_pair(REGIONS, &Environment::empty(), &forced(actions)).unwrap().validated;
        let (one, other) = (of(&one), of(&other));
        prop_assert_eq!(one == other, one.digest == other.digest);
        prop_assert_eq!(one.digest == other.digest, diff(&one, &other).is_empty());
    }
}
