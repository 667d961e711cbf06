mod world;

use std::collections::BTreeMap;

use sluice_config::share::Share;
use sluice_config::value::Incarnation;

use super::*;

const HISTORY: HistoryId = HistoryId::from_bits(7);

fn name(text: &str) -> NodeName {
    text.parse().unwrap()
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(1_000_000 + seconds * 1_000)
}

fn revision(id: u64, content: &str) -> Numbered {
    Numbered { id: RevisionId(id), digest: Digest::of(content.as_bytes()) }
}

fn running(of: Numbered) -> Running {
    Running { history: HISTORY, id: of.id, digest: of.digest }
}

fn hello(node: &str, incarnation: u64, runs: Option<Running>) -> Hello {
    Hello {
        protocol: PROTOCOL,
        node: name(node),
        incarnation: Incarnation::from_bits(incarnation),
        region: Some("east".parse().unwrap()),
        version: "0.1.0".to_owned(),
        runs,
    }
}

fn ack(of: Numbered) -> Reply {
    Reply::Ack { id: of.id, digest: of.digest }
}

fn nack(of: Numbered, retries: bool) -> Reply {
    Reply::Nack { id: of.id, digest: of.digest, problems: vec!["no".to_owned()], retries }
}

fn send(node: &str, connection: u64, revision: Numbered, base: Option<Numbered>) -> Effect {
    Effect::Send { node: name(node), connection: ConnectionId(connection), revision, base }
}

fn close(node: &str, connection: u64, reason: Reason) -> Effect {
    Effect::Close { node: name(node), connection: ConnectionId(connection), reason }
}

/// A fleet that wants `first`, with one node that joined at 0 s on connection 1.
fn one(first: Numbered, runs: Option<Running>) -> (Fleet, Vec<Effect>) {
    let mut fleet = Fleet::default();
    fleet.want(HISTORY, first, at(0));
    let (effects, reason) = fleet.join(hello("a", 1, runs), ConnectionId(1), "10.0.0.1:5", at(0));
    assert_eq!(reason, Reason::Joined);
    (fleet, effects)
}

fn hear(fleet: &mut Fleet, reply: &Reply, seconds: u64) -> Vec<Effect> {
    fleet.hear(&name("a"), ConnectionId(1), reply, at(seconds)).0
}

fn want(fleet: &mut Fleet, revision: Numbered, seconds: u64) -> Vec<Effect> {
    fleet.want(HISTORY, revision, at(seconds)).0
}

fn state(fleet: &Fleet, seconds: u64) -> State {
    fleet.node(&name("a"), at(seconds)).unwrap().state
}

fn refused(retries: bool) -> State {
    State::Refused { problems: vec!["no".to_owned()], retries }
}

#[test]
fn a_node_that_has_nothing_gets_the_whole_and_then_differences() {
    let (first, second) = (revision(1, "x"), revision(2, "y"));
    let (mut fleet, effects) = one(first, None);
    assert_eq!(effects, [send("a", 1, first, None)]);
    assert_eq!(hear(&mut fleet, &ack(first), 1), []);
    assert_eq!(want(&mut fleet, second, 2), [send("a", 1, second, Some(first))]);
    assert_eq!(state(&fleet, 2), State::Pending);
    hear(&mut fleet, &ack(second), 3);
    assert_eq!(state(&fleet, 3), State::Applied);
}

#[test]
fn a_node_that_joins_with_what_is_wanted_is_sent_nothing_and_builds_on_it() {
    let (first, second) = (revision(1, "x"), revision(2, "y"));
    let (mut fleet, effects) = one(first, Some(running(first)));
    assert_eq!((effects, state(&fleet, 0)), (vec![], State::Applied));
    assert_eq!(want(&mut fleet, second, 1), [send("a", 1, second, Some(first))]);
    let lost = Reply::Lost { id: second.id };
    assert_eq!(hear(&mut fleet, &lost, 1), [send("a", 1, second, None)]);
    // A node that lost the base of a whole revision makes no sense.
    assert_eq!(hear(&mut fleet, &lost, 1), [close("a", 1, Reason::Unasked)]);
}

#[test]
fn what_another_store_numbered_is_no_base_and_counts_for_nothing() {
    let wanted = revision(2, "y");
    let foreign = Running { history: HistoryId::from_bits(8), ..running(revision(1, "x")) };
    assert_eq!(one(wanted, Some(foreign)).1, [send("a", 1, wanted, None)]);
    // From a future that this store does not have.
    let (fleet, effects) = one(wanted, Some(running(revision(9, "z"))));
    assert_eq!((effects, state(&fleet, 0)), (vec![send("a", 1, wanted, None)], State::Pending));
    // The same number with another content.
    let (fleet, effects) = one(wanted, Some(running(revision(2, "z"))));
    assert_eq!((effects, state(&fleet, 0)), (vec![send("a", 1, wanted, None)], State::Pending));
    assert!(!fleet.applied(revision(1, "x"), at(0)).reaches(Share::WHOLE));
}

#[test]
fn the_same_behaviour_is_applied_and_its_number_is_sent() {
    let (fleet, effects) = one(revision(7, "x"), Some(running(revision(5, "x"))));
    assert_eq!(effects, [send("a", 1, revision(7, "x"), Some(revision(5, "x")))]);
    assert_eq!(state(&fleet, 0), State::Applied);
}

#[test]
fn orders_that_wait_become_the_newest() {
    let (mut fleet, _) = one(revision(1, "x"), None);
    for id in 2..=100 {
        assert_eq!(want(&mut fleet, revision(id, &id.to_string()), 1), []);
    }
    let newest = revision(100, "100");
    assert_eq!(hear(&mut fleet, &ack(revision(1, "x")), 2), [send("a", 1, newest, Some(revision(1, "x")))]);
}

#[test]
fn a_refused_digest_is_parked_until_another_is_wanted() {
    let (good, bad) = (revision(1, "x"), revision(2, "bad"));
    let (mut fleet, _) = one(good, Some(running(good)));
    want(&mut fleet, bad, 1);
    assert_eq!(hear(&mut fleet, &nack(bad, false), 2), []);
    assert_eq!(state(&fleet, 2), refused(false));
    assert_eq!(want(&mut fleet, revision(3, "bad"), 3), []);
    // Not on another connection of the same process either.
    let (effects, _) = fleet.join(hello("a", 1, Some(running(good))), ConnectionId(2), "10.0.0.1:6", at(4));
    assert_eq!(effects, [close("a", 1, Reason::Replaced)]);
    assert_eq!(want(&mut fleet, revision(4, "x"), 5), [send("a", 2, revision(4, "x"), Some(good))]);
    assert_eq!(want(&mut fleet, revision(5, "bad"), 6), []);
    let (effects, _) = fleet.hear(&name("a"), ConnectionId(2), &ack(revision(4, "x")), at(7));
    assert_eq!(effects, [send("a", 2, revision(5, "bad"), Some(revision(4, "x")))]);
}

#[test]
fn a_new_process_is_a_new_chance() {
    let bad = revision(2, "bad");
    let (mut fleet, _) = one(bad, None);
    hear(&mut fleet, &nack(bad, false), 1);
    fleet.leave(&name("a"), ConnectionId(1), at(2));
    let (effects, reason) = fleet.join(hello("a", 2, None), ConnectionId(2), "10.0.0.1:6", at(3));
    assert_eq!((effects, reason), (vec![send("a", 2, bad, None)], Reason::Restarted));
}

#[test]
fn a_node_that_tries_again_by_itself_may_still_say_that_it_runs() {
    let (first, second) = (revision(1, "x"), revision(2, "x"));
    let (mut fleet, _) = one(first, None);
    hear(&mut fleet, &nack(first, true), 1);
    assert_eq!(state(&fleet, 1), refused(true));
    assert_eq!(want(&mut fleet, second, 2), []);
    // It runs the first; the second is the same with another number.
    assert_eq!(hear(&mut fleet, &ack(first), 3), [send("a", 1, second, Some(first))]);
    assert_eq!(state(&fleet, 3), State::Applied);
}

#[test]
fn a_node_that_compiles_to_another_digest_has_refused() {
    let first = revision(1, "x");
    let (mut fleet, _) = one(first, None);
    assert_eq!(hear(&mut fleet, &ack(revision(1, "other")), 1), []);
    let applied = fleet.applied(first, at(1));
    assert_eq!((applied.running, applied.nacked.len()), (0, 1));
    assert_eq!(applied.nacked[0].revision, first.id);
}

#[test]
fn a_start_that_fell_back_parks_what_crashed_it() {
    let (good, bad) = (revision(1, "x"), revision(2, "bad"));
    let (mut fleet, effects) = one(bad, Some(running(good)));
    assert_eq!(effects, [send("a", 1, bad, Some(good))]);
    // It says so before it has read the order, and answers that too.
    assert_eq!(hear(&mut fleet, &nack(bad, false), 0), []);
    assert_eq!(hear(&mut fleet, &nack(bad, false), 0), []);
    assert_eq!(state(&fleet, 0), refused(false));
}

#[test]
fn two_processes_with_one_name_are_seen_and_do_not_take_turns() {
    let first = revision(1, "x");
    let (mut fleet, _) = one(first, None);
    let taken = Reason::NameTaken { holder: "10.0.0.1:5".to_owned(), newcomer: "10.0.0.2:5".to_owned() };
    let (effects, reason) = fleet.join(hello("a", 2, None), ConnectionId(2), "10.0.0.2:5", at(29));
    assert_eq!((effects, reason), (vec![close("a", 2, taken.clone())], taken.clone()));
    let standing = fleet.node(&name("a"), at(29)).unwrap();
    assert_eq!(standing.rival, Some(Rival { address: "10.0.0.2:5".to_owned(), at: at(29) }));
    let words = taken.to_string();
    assert!(words.contains("10.0.0.1:5") && words.contains("10.0.0.2:5") && words.contains("--node"), "{words}");
    // Silent for 30 s: the name is free.
    let (effects, reason) = fleet.join(hello("a", 2, None), ConnectionId(3), "10.0.0.2:6", at(30));
    assert_eq!(effects, [close("a", 1, Reason::Replaced), send("a", 3, first, None)]);
    assert_eq!(reason, Reason::Restarted);
}

#[test]
fn what_comes_on_an_old_connection_changes_nothing() {
    let first = revision(1, "x");
    let (mut fleet, _) = one(first, None);
    fleet.join(hello("a", 1, None), ConnectionId(2), "10.0.0.1:6", at(1));
    assert_eq!(hear(&mut fleet, &ack(first), 2), [close("a", 1, Reason::Stranger)]);
    assert_eq!(fleet.leave(&name("a"), ConnectionId(1), at(2)), Reason::Stranger);
    let standing = fleet.node(&name("a"), at(2)).unwrap();
    assert_eq!((standing.connected, standing.running), (true, None));
}

#[test]
fn another_protocol_is_refused() {
    let mut fleet = Fleet::default();
    let other = Hello { protocol: PROTOCOL + 1, ..hello("a", 1, None) };
    let (effects, reason) = fleet.join(other, ConnectionId(1), "10.0.0.1:5", at(0));
    assert_eq!(effects, [close("a", 1, reason)]);
    assert_eq!(fleet.standing(at(0)), []);
}

#[test]
fn a_silent_node_is_away_then_closed_then_forgotten() {
    let first = revision(1, "x");
    let (mut fleet, _) = one(first, Some(running(first)));
    assert_eq!(state(&fleet, 29), State::Applied);
    assert_eq!(state(&fleet, 30), State::Away);
    let applied = fleet.applied(first, at(30));
    assert_eq!((applied.heard, applied.away.len(), applied.reaches(Share::NONE)), (0, 1, false));
    assert_eq!(fleet.tick(at(29)), []);
    assert_eq!(fleet.tick(at(30)), [close("a", 1, Reason::Silent)]);
    assert_eq!(fleet.tick(at(86_399)), []);
    assert_eq!(fleet.summary(at(86_399)), Summary { nodes: 1, away: 1, ..Summary::default() });
    assert_eq!(fleet.tick(at(86_400)), [Effect::Forget { node: name("a") }]);
    assert_eq!(fleet.summary(at(86_400)), Summary::default());
}

#[test]
fn an_order_that_is_not_answered_ends_the_connection() {
    let first = revision(1, "x");
    let (mut fleet, _) = one(first, None);
    let report = Reply::Report(sluice_config::wire::Report { sequence: 1, pools: vec![] });
    hear(&mut fleet, &report, 59);
    assert_eq!(fleet.tick(at(59)), []);
    assert_eq!(fleet.tick(at(60)), [close("a", 1, Reason::Unanswered(first.id))]);
    let (effects, _) = fleet.join(hello("a", 1, None), ConnectionId(2), "10.0.0.1:6", at(61));
    assert_eq!(effects, [send("a", 2, first, None)]);
}

#[test]
fn an_operator_forgets_only_what_is_gone() {
    let (mut fleet, _) = one(revision(1, "x"), None);
    assert_eq!(fleet.forget(&name("b"), at(1)), Err(Reason::Stranger));
    assert_eq!(fleet.forget(&name("a"), at(1)), Err(Reason::StillHere));
    fleet.leave(&name("a"), ConnectionId(1), at(2));
    assert_eq!(fleet.forget(&name("a"), at(2)), Ok(vec![Effect::Forget { node: name("a") }]));
}

#[test]
fn the_age_is_that_of_the_first_revision_that_is_missing() {
    let first = revision(1, "x");
    let (mut fleet, _) = one(first, Some(running(first)));
    let age = |fleet: &Fleet, seconds| fleet.node(&name("a"), at(seconds)).unwrap().age_ms;
    assert_eq!(age(&fleet, 5), None);
    want(&mut fleet, revision(2, "y"), 10);
    want(&mut fleet, revision(3, "z"), 15);
    assert_eq!(age(&fleet, 20), Some(10_000));
    hear(&mut fleet, &ack(revision(2, "y")), 21);
    assert_eq!(age(&fleet, 22), Some(7_000));
    hear(&mut fleet, &ack(revision(3, "z")), 23);
    assert_eq!(age(&fleet, 24), None);
}

#[test]
fn a_later_revision_counts_as_the_earlier_one() {
    let mut fleet = Fleet::default();
    want(&mut fleet, revision(3, "z"), 0);
    let join = |fleet: &mut Fleet, node: &str, id: u64, content: &str| {
        fleet.join(hello(node, id, Some(running(revision(id, content)))), ConnectionId(id), "10.0.0.1:5", at(0));
    };
    join(&mut fleet, "a", 1, "x");
    join(&mut fleet, "b", 2, "y");
    join(&mut fleet, "c", 3, "z");
    let applied = fleet.applied(revision(2, "y"), at(0));
    assert_eq!((applied.running, applied.share.to_string().as_str()), (2, "66.6666%"));
    assert_eq!(applied.pending, [name("a")]);
    assert!(applied.reaches("66%".parse().unwrap()) && !applied.reaches("67%".parse().unwrap()));
}

#[test]
fn room_is_made_by_those_that_are_away() {
    let mut fleet = Fleet::default();
    for at_once in 0..NODES {
        let connection = ConnectionId(at_once as u64);
        fleet.join(hello(&format!("n{at_once}"), 1, None), connection, "10.0.0.1:5", at(0));
    }
    let more = ConnectionId(NODES as u64);
    assert_eq!(fleet.join(hello("a", 1, None), more, "10.0.0.1:5", at(1)).1, Reason::Full);
    fleet.leave(&name("n7"), ConnectionId(7), at(2));
    let (effects, reason) = fleet.join(hello("a", 1, None), more, "10.0.0.1:5", at(3));
    assert_eq!((effects, reason), (vec![Effect::Forget { node: name("n7") }], Reason::Joined));
    assert_eq!(fleet.summary(at(3)).nodes, NODES);
}

#[test]
fn a_standing_is_told_as_json() {
    let first = revision(1, "x");
    let (mut fleet, _) = one(first, None);
    hear(&mut fleet, &nack(first, true), 1);
    let told = serde_json::to_value(fleet.node(&name("a"), at(2)).unwrap()).unwrap();
    assert_eq!(told["state"], "refused");
    assert_eq!((&told["retries"], &told["problems"][0], &told["age_ms"]), (&true.into(), &"no".into(), &2000.into()));
    assert_eq!(told["wanted"]["id"], 1);
    assert!(told.get("running").is_none() && told.get("rival").is_none());
    assert_eq!(serde_json::from_value::<NodeStanding>(told).unwrap().state, refused(true));
}
