//! The sentences of "Who owns what", one by one; then any sequence of intents.

mod overrides;
mod ownership;
mod sequences;

use std::collections::BTreeMap;
use std::time::Duration;

use sluice_config::overlay::{Circuit, Force, Override};
use sluice_config::share::{Share, Shares};

use super::*;

const START: Timestamp = Timestamp::from_millis(1_795_685_400_000);
const HOUR: Duration = Duration::from_secs(3_600);

fn author() -> Author {
    "ann".parse().unwrap()
}

fn why() -> Reason {
    "try v2".parse().unwrap()
}

fn name(text: &str) -> ServiceName {
    text.parse().unwrap()
}

/// A document of these services, each with its versions and their weights.
fn text(services: &[(&str, &[(&str, u32)])]) -> String {
    let mut port = 9_000;
    let mut version = |(version, weight): &(&str, u32)| {
        port += 1;
        format!(r#"{{ name: {version}, weight: {weight}, endpoints: ["127.0.0.1:{port}"] }}"#)
    };
    let service = |(service, versions): &(&str, &[(&str, u32)])| {
        let versions: Vec<String> = versions.iter().map(&mut version).collect();
        format!("  - {{ name: {service}, versions: [{}] }}\n", versions.join(", "))
    };
    let list: String = services.iter().map(service).collect();
    let first = services[0].0;
    format!(
        "listeners: [{{ name: web, address: \"127.0.0.1:8080\" }}]\nservices:\n{list}routes: [{{ service: {first} }}]\n"
    )
}

fn shop(versions: &[(&str, u32)]) -> Written {
    written(&text(&[("shop", versions)]))
}

fn written(text: &str) -> Written {
    Written::new(text, &Environment::empty()).unwrap_or_else(|problems| panic!("{text}\n{problems}"))
}

/// What a store would hold after the proposal.
fn commit(head: Option<&Head>, proposal: Proposal, now: Timestamp) -> Head {
    let (revision, document) = proposal.revision(head, author(), why(), now);
    let document = document.map(Arc::new).or_else(|| head.map(|head| Arc::clone(&head.document))).unwrap();
    assert_eq!(document.key(), revision.document);
    let digest = revision.digest;
    let head = Head::new(Arc::new(revision), document).unwrap();
    assert_eq!((head.effective().digest, head.revision.digest), (digest, digest), "the digest is the pair's");
    head
}

/// A program that knows more settings makes another digest of the same pair, and goes on with its own.
#[test]
fn what_an_older_program_stored_has_the_digest_of_this_one() {
    let head = begin(&shop(&[("v1", 1)]));
    let older = Revision { digest: Digest::of(b"older"), ..Revision::clone(&head.revision) };
    let again = Head::new(Arc::new(older), Arc::clone(&head.document)).unwrap();
    assert_eq!(again.revision, head.revision);
}

fn begin(written: &Written) -> Head {
    commit(None, apply(None, written, false, &Environment::empty()).unwrap(), START)
}

fn applied(head: &Head, written: &Written) -> Result<Proposal, Refusal> {
    apply(Some(head), written, false, &Environment::empty())
}

fn order(shares: &[(&str, &str)], lasts: Option<Duration>) -> Shift {
    let shares = shares.iter().map(|(version, share)| (version.parse().unwrap(), share.parse().unwrap())).collect();
    Shift { service: name("shop"), shares, lasts }
}

fn shifted(head: &Head, shares: &[(&str, &str)], lasts: Option<Duration>, now: Timestamp) -> Head {
    let proposal = shift(head, &order(shares, lasts), &author(), &why(), now).unwrap();
    commit(Some(head), proposal, now)
}

fn refused(head: &Head, shares: &[(&str, &str)], lasts: Option<Duration>) -> Refusal {
    shift(head, &order(shares, lasts), &author(), &why(), START).unwrap_err()
}

fn live(head: &Head) -> String {
    head.live(&name("shop")).unwrap().to_string()
}

#[test]
fn the_first_document_is_revision_1() {
    let head = begin(&shop(&[("v1", 95), ("v2", 5)]));
    assert_eq!((head.revision.id, head.revision.parent, head.revision.kind), (RevisionId(1), None, Kind::Document));
    assert_eq!(live(&head), "v1=95% v2=5%");
    let next = commit(Some(&head), applied(&head, &shop(&[("v1", 1), ("v2", 1)])).unwrap(), START);
    assert_eq!((next.revision.id, next.revision.parent), (RevisionId(2), Some(RevisionId(1))));
}

#[test]
fn what_is_not_named_keeps_its_ratio() {
    let head = begin(&shop(&[("v1", 60), ("v2", 20), ("v3", 0)]));
    assert_eq!(live(&shifted(&head, &[("v3", "20%")], None, START)), "v1=60% v2=20% v3=20%");
    let thirds = begin(&shop(&[("v1", 1), ("v2", 1), ("v3", 1)]));
    let odd = shifted(&thirds, &[("v3", "0.0001%")], None, START);
    assert_eq!(live(&odd), "v1=50% v2=49.9999% v3=0.0001%", "the whole to the millionth");
    let next = shifted(&odd, &[("v1", "0%")], None, START);
    assert_eq!(live(&next), "v2=99.9998% v3=0.0002%", "by what is live");
}

#[test]
fn a_shift_that_makes_no_whole_is_refused() {
    let head = begin(&shop(&[("v1", 100), ("v2", 0), ("v3", 0)]));
    assert_eq!(refused(&head, &[("v1", "60%"), ("v2", "60%")], None), Refusal::AboveWhole(1_200_000));
    let rest = refused(&head, &[("v1", "60%")], None);
    assert_eq!(rest.to_string(), "the shares leave 40% of shop to nobody: no other version has a share now");
    assert_eq!(rest.hint(), "name which of v2, v3 gets the 40%");
    let all = refused(&head, &[("v1", "60%"), ("v2", "10%"), ("v3", "0%")], None);
    assert_eq!(all.to_string(), "the shares leave 30% of shop to nobody: every version was named");
    assert_eq!(refused(&head, &[], None).code(), "nothing-named");
}

#[test]
fn a_whole_shift_is_taken_back_by_naming_one_of_two() {
    let head = shifted(&begin(&shop(&[("v1", 100), ("v2", 0)])), &[("v2", "100%")], None, START);
    assert_eq!(live(&shifted(&head, &[("v2", "0%")], None, START)), "v1=100%");
    assert_eq!(live(&shifted(&head, &[("v2", "10%")], None, START)), "v1=90% v2=10%");
}

#[test]
fn what_is_not_there_is_refused_with_what_was_meant() {
    let head = begin(&shop(&[("v1", 100), ("canary", 0)]));
    assert_eq!(refused(&head, &[("canarry", "5%")], None).hint(), "did you mean `canary`?");
    assert_eq!(refused(&head, &[("blue", "5%")], None).hint(), "it has v1, canary");
    let other = Shift { service: name("shoop"), ..order(&[("v1", "5%")], None) };
    let refusal = shift(&head, &other, &author(), &why(), START).unwrap_err();
    assert_eq!((refusal.code(), refusal.hint().as_str()), ("no-service", "did you mean `shop`?"));
    assert_eq!(release(&head, &name("till")).unwrap_err().code(), "no-service");
    assert_eq!(lift(&head, RevisionId(7)), Err(Refusal::NoOverride(RevisionId(7))));
}

#[test]
fn a_shift_to_what_the_operator_has_set_is_no_change() {
    let head = begin(&shop(&[("v1", 95), ("v2", 5)]));
    let owned = shifted(&head, &[("v2", "5%")], None, START);
    assert!(owned.revision.overlay.weights.contains_key("shop".parse::<ServiceName>().as_ref().unwrap()), "ownership");
    assert_eq!(refused(&owned, &[("v2", "5%")], None).code(), "unchanged");
    let ends = shifted(&owned, &[("v2", "5%")], Some(HOUR), START);
    assert_eq!(live(&shifted(&ends, &[("v2", "5%")], None, START)), "v1=95% v2=5%", "it stays from now on");
}

#[test]
fn times_have_a_range() {
    let head = begin(&shop(&[("v1", 95), ("v2", 5)]));
    assert_eq!(refused(&head, &[("v2", "6%")], Some(Duration::from_micros(1))).code(), "no-time");
    assert_eq!(refused(&head, &[("v2", "6%")], Some(LONGEST + Duration::from_secs(1))).code(), "too-long");
    let lay = |lasts| lay(&head, &Wish::Freeze, lasts, &author(), &why(), START).map(|_| ());
    assert_eq!(lay(72 * HOUR), Ok(()));
    assert_eq!(lay(72 * HOUR + Duration::from_secs(1)).unwrap_err().hint(), "give at most 72h");
    assert_eq!(lay(Duration::ZERO), Err(Refusal::NoTime));
}

#[test]
fn weights_wait_below_each_other_eight_deep() {
    let mut head = begin(&shop(&[("v1", 95), ("v2", 5)]));
    let hours = |hours: u32| Some(hours * HOUR);
    for hour in (1..=9).rev() {
        head = shifted(&head, &[("v2", &format!("{hour}%"))], hours(hour), START);
    }
    assert_eq!(refused(&head, &[("v2", "20%")], Some(HOUR / 2)).code(), "too-deep");
    let prolonged = shifted(&head, &[("v2", "20%")], hours(5), START);
    assert_eq!(
        live(&expired(&prolonged, START.after(5 * HOUR))),
        "v1=94% v2=6%",
        "those that end before are passed over"
    );
    assert!(prolonged.revision.overlay.weights.values().all(|one| shift::depth(one) == 4));
}

/// After all that has ended.
fn expired(head: &Head, now: Timestamp) -> Head {
    let mut head = head.clone();
    while let Some((proposal, _)) = expire(&head, now) {
        head = commit(Some(&head), proposal, now);
    }
    head
}

#[test]
fn what_no_longer_fits_gives_way_to_the_document() {
    let head = begin(&shop(&[("v1", 95), ("v2", 5), ("v3", 0)]));
    let head = shifted(&head, &[("v3", "10%")], None, START);
    let head = shifted(&head, &[("v3", "0%"), ("v2", "50%")], Some(HOUR), START);
    let head = commit(Some(&head), applied(&head, &shop(&[("v1", 95), ("v2", 5)])).unwrap(), START);
    assert_eq!(live(&head), "v1=50% v2=50%");
    let (proposal, reason) = expire(&head, START.after(HOUR)).unwrap();
    assert_eq!(live(&commit(Some(&head), proposal, START)), "v1=95% v2=5%");
    assert_eq!(
        reason.as_str(),
        "weights ended as they were set: shop is back to the document, which lacks a version that had a share before"
    );
}

#[test]
fn why_something_ended_fits_a_line() {
    let services: Vec<String> = (0..40).map(|at| format!("service-with-a-long-name-{at}")).collect();
    let versions: &[(&str, u32)] = &[("v1", 95), ("v2", 5)];
    let all: Vec<(&str, &[(&str, u32)])> = services.iter().map(|service| (service.as_str(), versions)).collect();
    let mut head = begin(&written(&text(&all)));
    for service in &services {
        let order = Shift { service: name(service), ..order(&[("v2", "50%")], Some(HOUR)) };
        head = commit(Some(&head), shift(&head, &order, &author(), &why(), START).unwrap(), START);
    }
    let reason = expire(&head, START.after(HOUR)).unwrap().1;
    assert!(reason.as_str().ends_with(" more") && reason.as_str().len() > 400, "{reason}");
}

#[test]
fn an_owner_that_is_not_the_document_is_named_with_every_change() {
    let old = text(&[("shop", &[("v1", 95), ("v2", 5)]), ("cart", &[("v1", 1), ("v2", 1)])]);
    let new = text(&[("shop", &[("v1", 50), ("v2", 50)]), ("cart", &[("v1", 1), ("v2", 1), ("v3", 100)])]);
    let head = shifted(&begin(&written(&old)), &[("v2", "25%")], None, START);
    let cart = Shift { service: name("cart"), ..order(&[("v2", "25%")], None) };
    let head = commit(Some(&head), shift(&head, &cart, &author(), &why(), START).unwrap(), START);
    let refusal = applied(&head, &written(&new)).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "the weights of cart are the operator's (ann, since 2026-11-26T09:30:00.000Z: try v2), and the document changes \
         v3 (new) 100\n\
         the weights of shop are the operator's (ann, since 2026-11-26T09:30:00.000Z: try v2), and the document changes \
         v1 95 -> 50, v2 5 -> 50"
    );
}

#[test]
fn only_a_changed_ratio_is_a_change_of_weights() {
    let head = shifted(&begin(&shop(&[("v1", 90), ("v2", 10)])), &[("v2", "30%")], None, START);
    let result =
        |versions: &[(&str, u32)]| applied(&head, &shop(versions)).map(|_| ()).map_err(|refusal| refusal.code());
    assert_eq!(result(&[("v1", 900), ("v2", 100)]), Ok(()), "another way to write it");
    assert_eq!(result(&[("v2", 10), ("v1", 90)]), Ok(()), "another order");
    assert_eq!(result(&[("v1", 90), ("v2", 10), ("v3", 0)]), Ok(()), "a version at 0");
    assert_eq!(result(&[("v1", 90), ("v2", 10), ("v3", 1)]), Err("owned"), "a version that takes from the others");
    assert_eq!(result(&[("v1", 90), ("v2", 11)]), Err("owned"));
    let done = shifted(&head, &[("v1", "100%")], None, START);
    assert!(applied(&done, &shop(&[("v1", 100)])).is_ok(), "a version that has nothing left is taken out");
    let turned = shifted(&begin(&shop(&[("v1", 100), ("v2", 0)])), &[("v2", "100%")], None, START);
    let code = applied(&turned, &shop(&[("v1", 1), ("v2", 100)])).unwrap_err().code();
    assert_eq!(code, "owned", "0 -> 100 is a change");
}

#[test]
fn a_document_that_says_what_is_live_gets_its_weights_back() {
    let head = begin(&shop(&[("v1", 95), ("v2", 5)]));
    let live = shifted(&head, &[("v2", "25%")], None, START);
    let agreed = applied(&live, &shop(&[("v1", 75), ("v2", 25)])).unwrap();
    assert!(agreed.overlay.weights.is_empty());
    assert_eq!(agreed.digest, live.effective().digest, "nothing moves");
    let ends = shifted(&head, &[("v2", "25%")], Some(HOUR), START);
    let code = applied(&ends, &shop(&[("v1", 75), ("v2", 25)])).unwrap_err().code();
    assert_eq!(code, "owned", "what is to end by itself still ends");
}

#[test]
fn taking_weights_takes_what_was_changed_and_leaves_the_rest() {
    let both = |shop: &[(&str, u32)]| written(&text(&[("shop", shop), ("cart", &[("v1", 1), ("v2", 1)])]));
    let head = shifted(&begin(&both(&[("v1", 95), ("v2", 5)])), &[("v2", "25%")], None, START);
    let cart = Shift { service: name("cart"), ..order(&[("v2", "25%")], None) };
    let head = commit(Some(&head), shift(&head, &cart, &author(), &why(), START).unwrap(), START);
    for versions in [&[("v1", 50), ("v2", 50)][..], &[("v1", 95)][..]] {
        assert!(applied(&head, &both(versions)).is_err());
        let taken = apply(Some(&head), &both(versions), true, &Environment::empty()).unwrap();
        let owners: BTreeMap<_, _> =
            taken.overlay.weights.iter().map(|(name, one)| (name.as_str(), one.owner)).collect();
        assert_eq!(owners.keys().collect::<Vec<_>>(), [&"cart"]);
    }
}

#[test]
fn a_name_is_a_name_after_the_environment_was_filled_in() {
    let source = text(&[("shop", &[("v1", 95), ("v2", 5)])]).replace("v2", "\"${CANARY}\"");
    let environment = |name: &str| Environment::from_iter([("CANARY", name)]);
    let written = |name: &str| Written::new(&source, &environment(name)).unwrap();
    let head = begin(&written("v2"));
    let head = shifted(&head, &[("v2", "25%")], None, START);
    let refusal = apply(Some(&head), &written("v3"), false, &environment("v3")).unwrap_err();
    let Refusal::Problems(problems) = refusal else { panic!("{refusal:?}") };
    assert_eq!(problems.problems[0].position.map(|at| at.line), Some(3), "where it is written");
}

#[test]
fn shares_are_a_whole_by_type() {
    let head = begin(&shop(&[("v1", 1), ("v2", 1), ("v3", 1)]));
    let sum: u32 = head.live(&name("shop")).unwrap().iter().map(|(_, share)| share.ppm()).sum();
    assert_eq!(sum, Share::WHOLE.ppm());
    assert_eq!(head.live(&name("none")), None);
}
