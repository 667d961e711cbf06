//! Endpoints and breakers that an operator holds.

use std::net::SocketAddr;

use sluice_config::overlay::Action;

use super::*;
use crate::ingest::PoolStanding;

/// v1 in two regions with an address that both have, v2 in one with an address of its own.
const REGIONS: &str = r#"
listeners: [{ name: web, address: "127.0.0.1:8080" }]
regions: [{ name: east }, { name: west }]
services:
  - name: shop
    versions:
      - { name: v1, endpoints: { east: ["10.0.0.1:80", "10.0.0.2:80"], west: ["10.0.0.1:80"] } }
      - { name: v2, endpoints: { east: ["10.0.0.3:80", { address: "10.0.0.4:80", weight: 0 }] } }
  - { name: cart, endpoints: { east: ["10.0.0.1:80"] } }
routes: [{ service: shop }, { match: { path: /cart }, service: cart }]
"#;

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn endpoint(version: Option<&str>, region: Option<&str>, at: &str, to: Force) -> Wish {
    let (version, region) = (version.map(|name| name.parse().unwrap()), region.map(|name| name.parse().unwrap()));
    Wish::Endpoint(EndpointWish { service: name("shop"), version, region, address: address(at), to })
}

fn breaker(service: &str, version: Option<&str>, region: Option<&str>, at: Option<&str>, to: Circuit) -> Wish {
    let (version, region) = (version.map(|name| name.parse().unwrap()), region.map(|name| name.parse().unwrap()));
    Wish::Breaker(BreakerWish { service: name(service), version, region, address: at.map(address), to })
}

fn laid(head: &Head, wish: &Wish, hours: u32) -> Head {
    let proposal = lay(head, wish, hours * HOUR, &author(), &why(), START).unwrap();
    assert_eq!((proposal.kind, &proposal.document), (Kind::Override, &None));
    commit(Some(head), proposal, START)
}

fn refused(head: &Head, wish: &Wish) -> (&'static str, String, String) {
    let refusal = lay(head, wish, HOUR, &author(), &why(), START).unwrap_err();
    (refusal.code(), refusal.to_string(), refusal.hint())
}

fn newest(head: &Head) -> &Action {
    &head.revision.overlay.overrides.last_key_value().unwrap().1.action
}

#[test]
fn what_is_unique_need_not_be_named_and_is_stored() {
    let head = begin(&written(REGIONS));
    for (wish, stored) in [
        (endpoint(None, None, "10.0.0.2:80", Force::Out), "force 10.0.0.2:80 of shop/v1 in east out"),
        (endpoint(None, Some("west"), "10.0.0.1:80", Force::In), "force 10.0.0.1:80 of shop/v1 in west in"),
        (breaker("cart", None, None, None, Circuit::Open), "force breaker of cart/default open"),
        (breaker("shop", Some("v1"), None, None, Circuit::Open), "force breaker of shop/v1 open"),
        (
            breaker("shop", None, None, Some("10.0.0.3:80"), Circuit::Closed),
            "force breaker of 10.0.0.3:80 of shop/v2 in east closed",
        ),
    ] {
        assert_eq!(newest(&laid(&head, &wish, 1)).to_string(), stored, "{wish}");
    }
}

#[test]
fn what_is_not_there_or_there_more_than_once_is_refused_with_what_is() {
    let head = begin(&written(REGIONS));
    let told = |wish: &Wish| {
        let (code, what, hint) = refused(&head, wish);
        format!("{code}: {what} = {hint}")
    };
    let all = [
        told(&endpoint(None, None, "10.0.0.1:80", Force::Out)),
        told(&endpoint(None, None, "10.0.0.9:80", Force::Out)),
        told(&endpoint(Some("v2"), Some("east"), "10.0.0.1:80", Force::Out)),
        told(&endpoint(Some("v2"), Some("west"), "10.0.0.3:80", Force::Out)),
        told(&endpoint(Some("v3"), None, "10.0.0.3:80", Force::Out)),
        told(&breaker("shop", None, None, None, Circuit::Open)),
        told(&breaker("shop", None, Some("north"), None, Circuit::Open)),
        told(&breaker("shpo", None, None, None, Circuit::Open)),
    ];
    insta::assert_snapshot!(all.join("\n"));
    let forever = lay(&head, &endpoint(None, None, "10.0.0.2:80", Force::Out), 73 * HOUR, &author(), &why(), START);
    assert_eq!(forever.unwrap_err().code(), "too-long");
}

/// The newer one, with its end; and the digest is another one, since proxies behave otherwise.
#[test]
fn one_hand_holds_one_thing() {
    let head = begin(&written(REGIONS));
    let out = laid(&head, &endpoint(None, None, "10.0.0.2:80", Force::Out), 1);
    let longer = laid(&out, &endpoint(Some("v1"), Some("east"), "10.0.0.2:80", Force::Out), 2);
    let inside = laid(&longer, &endpoint(None, None, "10.0.0.2:80", Force::In), 1);
    for (head, id) in [(&out, 2), (&longer, 3), (&inside, 4)] {
        assert_eq!(head.revision.overlay.overrides.keys().copied().collect::<Vec<_>>(), [RevisionId(id)]);
    }
    assert_ne!(out.revision.digest, head.revision.digest);
    assert_eq!(out.revision.digest, longer.revision.digest, "only its end is another");
    assert_ne!(longer.revision.digest, inside.revision.digest);
    let other = laid(&inside, &endpoint(None, Some("west"), "10.0.0.1:80", Force::Out), 1);
    assert_eq!(other.revision.overlay.overrides.len(), 2, "several at once");
    let frozen = laid(&laid(&other, &Wish::Freeze, 1), &Wish::Freeze, 2);
    assert_eq!(frozen.revision.overlay.overrides.len(), 4, "each freeze ends at its own time");
    assert_eq!(frozen.revision.digest, other.revision.digest, "a freeze is no behaviour of a proxy");
}

#[test]
fn an_override_that_ends_gives_the_thing_back() {
    let head = begin(&written(REGIONS));
    let everywhere = laid(&head, &breaker("shop", Some("v1"), None, None, Circuit::Open), 3);
    let west = laid(&everywhere, &breaker("shop", Some("v1"), Some("west"), None, Circuit::Closed), 1);
    let held = |head: &Head| {
        let live = head.effective();
        live.services[0].versions[0].pools.iter().map(|pool| pool.forces.breaker).collect::<Vec<_>>()
    };
    assert_eq!(held(&west), [Some(Circuit::Open), Some(Circuit::Closed)], "the newer of two that overlap");
    let after = expired(&west, START.after(HOUR));
    assert_eq!(held(&after), [Some(Circuit::Open); 2]);
    let (proposal, reason) = expire(&after, START.after(3 * HOUR)).unwrap();
    assert_eq!(reason.as_str(), "overrides expired: force breaker of shop/v1 open of revision 2 by ann");
    let ended = commit(Some(&after), proposal, START.after(3 * HOUR));
    assert_eq!((held(&ended), ended.revision.digest), (vec![None; 2], head.revision.digest));
    let lifted = commit(Some(&everywhere), lift(&everywhere, RevisionId(2)).unwrap(), START);
    assert_eq!(lifted.revision.digest, head.revision.digest);
}

#[test]
fn what_an_override_holds_cannot_be_removed() {
    let head = begin(&written(REGIONS));
    let without = written(&REGIONS.replace(r#""10.0.0.1:80", "10.0.0.2:80""#, r#""10.0.0.1:80""#));
    let before = commit(Some(&head), applied(&head, &without).unwrap(), START);
    let held = laid(&head, &endpoint(None, None, "10.0.0.2:80", Force::Out), 1);
    for take in [false, true] {
        let refusal = apply(Some(&held), &without, take, &Environment::empty()).unwrap_err();
        let Refusal::Problems(problems) = &refusal else { panic!("{refusal:?}") };
        let problem = &problems.problems[0];
        assert_eq!(
            problem.message,
            "the endpoint 10.0.0.2:80 of shop/v1 in east is gone, and the override 2 names it: force 10.0.0.2:80 of shop/v1 in east out (ann, 2026-11-26T09:30:00.000Z: try v2)"
        );
        assert!(
            problem
                .hint
                .as_ref()
                .unwrap()
                .ends_with("sluice endpoint release shop 10.0.0.2:80 --version v1 --region east")
        );
    }
    let back = roll_back(&held, &before.revision, &before.document, true, None, START).unwrap_err();
    assert_eq!(back.code(), "unfit");
    assert!(back.hint().starts_with("lift the override first: sluice endpoint release"), "{}", back.hint());
    let free = commit(Some(&held), lift(&held, RevisionId(2)).unwrap(), START);
    assert!(applied(&free, &without).is_ok());
}

#[test]
fn who_takes_the_last_endpoint_is_told() {
    let head = begin(&written(REGIONS));
    let caution = |head: &Head| caution(head, |_| None);
    assert_eq!(caution(&head), None);
    let one = laid(&head, &endpoint(None, None, "10.0.0.2:80", Force::Out), 1);
    assert_eq!(caution(&one), None, "there is another");
    let both = laid(&one, &endpoint(None, Some("east"), "10.0.0.1:80", Force::Out), 1);
    assert!(caution(&both).unwrap().starts_with("no endpoint of shop/v1 in east is left"));
    let frozen = laid(&both, &Wish::Freeze, 1);
    assert_eq!(caution(&frozen), None, "only about what was laid now");
    let last = laid(&frozen, &endpoint(None, None, "10.0.0.3:80", Force::Out), 1);
    assert!(caution(&last).unwrap().starts_with("no endpoint of shop/v2 in east is left"), "one with weight 0 is none");
    let idle = laid(&head, &endpoint(None, None, "10.0.0.4:80", Force::In), 1);
    assert!(caution(&idle).unwrap().contains("is 0, so it gets nothing all the same"));
}

/// Two of three endpoints are out by their probes, which only proxies know.
#[test]
fn who_takes_the_last_endpoint_that_probes_keep_in_is_told() {
    let head = begin(&written(REGIONS));
    let one = laid(&head, &endpoint(None, None, "10.0.0.2:80", Force::Out), 1);
    let told = |healthy| caution(&one, |_| Some(PoolStanding { endpoints: 3, healthy }));
    assert_eq!(told(2), None);
    assert!(told(1).unwrap().starts_with("by the last report only one of the 3 endpoints of shop/v1 in east may get"));
    assert!(told(0).unwrap().starts_with("by the last report none of the 3 endpoints of shop/v1 in east may get"));
    let inside = laid(&head, &endpoint(None, None, "10.0.0.2:80", Force::In), 1);
    assert_eq!(caution(&inside, |_| Some(PoolStanding { endpoints: 3, healthy: 1 })), None);
}

const SOURCES: &str = r#"
listeners: [{ name: web, address: "127.0.0.1:8080" }]
services: [{ name: shop, endpoints: [{ dns: shop.internal, port: 8080, family: ipv4 }, "10.0.0.9:80"] }]
routes: [{ service: shop }]
"#;

#[test]
fn an_endpoint_that_no_source_can_find_is_not_forced() {
    let head = begin(&written(SOURCES));
    for slip in ["10.0.0.1:808", "[::1]:8080"] {
        let (code, what, hint) = refused(&head, &endpoint(None, None, slip, Force::Out));
        let expected = format!("shop/default in default has no endpoint {slip}, and none of its sources can find one");
        assert_eq!((code, what), ("no-endpoint", expected));
        assert_eq!(hint, "it has 10.0.0.9:80 and those of dns shop.internal:8080 ipv4");
    }
    let held = laid(&head, &endpoint(None, None, "10.0.0.1:8080", Force::Out), 1);
    let moved = written(&SOURCES.replace("8080, family", "8081, family"));
    let refusal = apply(Some(&held), &moved, false, &Environment::empty()).unwrap_err();
    assert!(refusal.to_string().contains("the override 2 names it"), "{refusal}");
}

/// Nobody here knows what sources find, so nothing is said of what is left but what was reported.
#[test]
fn of_a_pool_with_sources_only_what_is_known_is_told() {
    let head = begin(&written(SOURCES));
    let found = laid(&head, &endpoint(None, None, "10.0.0.1:8080", Force::Out), 1);
    let unknown = "10.0.0.1:8080 is not written down, and whether a source of shop/default in default finds it is not known \
                   here: `sluice get endpoints shop` shows what a proxy has found";
    assert_eq!(caution(&found, |_| Some(PoolStanding { endpoints: 3, healthy: 3 })).unwrap(), unknown);
    assert_eq!(caution(&found, |_| None).unwrap(), unknown);
    let last = laid(&found, &endpoint(None, None, "10.0.0.9:80", Force::Out), 1);
    assert_eq!(caution(&last, |_| Some(PoolStanding { endpoints: 3, healthy: 3 })), None, "sources have found others");
    assert!(caution(&last, |_| None).unwrap().contains("no node has reported what its sources find"));
}

#[test]
fn a_breaker_that_is_not_there_holds_nothing_closed() {
    let told = |head: &Head, wish: &Wish| caution(&laid(head, wish, 1), |_| None);
    let head = begin(&written(REGIONS));
    let closed = |region, at| breaker("shop", Some("v1"), region, at, Circuit::Closed);
    assert_eq!(
        told(&head, &closed(None, None)).unwrap(),
        "shop has no breaker of its pools, so there is none that could open: this holds nothing"
    );
    assert!(told(&head, &closed(None, Some("10.0.0.2:80"))).unwrap().contains("no breaker of its endpoints"));
    assert_eq!(told(&head, &breaker("shop", Some("v1"), None, None, Circuit::Open)), None);
    let open = laid(&head, &breaker("shop", Some("v1"), None, None, Circuit::Open), 3);
    assert_eq!(told(&open, &closed(Some("west"), None)), None, "it was held open");
    let guarded = REGIONS.replace("- name: shop", "- name: shop\n    breaker: { pool: {} }");
    assert_eq!(told(&begin(&written(&guarded)), &closed(None, None)), None);
}
