use proptest::prelude::*;
use sluice_config::Overlay;
use sluice_config::wire::Delta;

use super::*;

fn revision(history: u64, id: u64, document: &str) -> Revision {
    Revision {
        history: HistoryId::from_bits(history),
        id: RevisionId(id),
        digest: Digest::of(document.as_bytes()),
        document: document.to_owned(),
        overlay: Overlay::default(),
    }
}

fn whole(history: u64, id: u64) -> Order {
    Order::Revision(revision(history, id, &format!("{id}")))
}

fn delta(base: u64, id: u64) -> Order {
    Order::Delta(Delta::between(&revision(1, base, &format!("{base}")), &revision(1, id, &format!("{id}"))))
}

/// Takes an order that is to be tried.
fn tried(intake: &mut Intake, order: Order) -> Attempt {
    match intake.take(order) {
        (Step::Try(attempt), _) => attempt,
        other => panic!("not tried: {other:?}"),
    }
}

/// An intake where this revision of the first history runs.
fn running(id: u64) -> Intake {
    let mut intake = Intake::default();
    let attempt = tried(&mut intake, whole(1, id));
    intake.ran(&attempt);
    intake
}

#[test]
fn a_revision_runs_and_is_acknowledged_once_it_does() {
    let mut intake = Intake::default();
    let attempt = tried(&mut intake, whole(1, 7));
    assert_eq!(intake.runs(), None, "to be tried is not to run");
    let digest = Digest::of(b"7");
    assert_eq!(intake.ran(&attempt), Reply::Ack { id: RevisionId(7), digest });
    assert_eq!(intake.take(whole(1, 7)), (Step::Answer(Reply::Ack { id: RevisionId(7), digest }), Reason::Known));
}

#[test]
fn an_older_one_of_the_same_history_is_refused_and_one_of_another_history_runs() {
    let mut intake = running(7);
    let (step, reason) = intake.take(whole(1, 6));
    assert_eq!(reason, Reason::Stale(RevisionId(7)));
    let Step::Answer(Reply::Nack { id, problems, retries: false, .. }) = step else { panic!("not refused: {step:?}") };
    assert!(id == RevisionId(6) && problems[0].contains("revision 7"), "{problems:?}");
    assert_eq!(intake.runs().map(|runs| runs.id), Some(RevisionId(7)));
    let (step, reason) = intake.take(whole(2, 3));
    assert_eq!(reason, Reason::OtherHistory(HistoryId::from_bits(1)));
    let Step::Try(attempt) = step else { panic!("not tried") };
    intake.ran(&attempt);
    assert_eq!(intake.runs().unwrap().id, RevisionId(3));
}

#[test]
fn one_number_means_one_content() {
    let mut intake = running(7);
    let (step, reason) = intake.take(Order::Revision(revision(1, 7, "other")));
    assert_eq!(reason, Reason::Doubled);
    assert!(matches!(step, Step::Answer(Reply::Nack { retries: false, .. })));
}

#[test]
fn a_delta_applies_to_what_came_last_on_the_connection_also_if_that_did_not_run() {
    let mut intake = running(1);
    let refused = tried(&mut intake, whole(1, 2));
    assert!(matches!(intake.failed(refused, vec!["bad".to_owned()], Fault::Content), Some(Reply::Nack { .. })));
    let attempt = tried(&mut intake, delta(2, 3));
    assert_eq!((attempt.origin, attempt.revision.document.as_str()), (Origin::Delta, "3"));
    let lost = Step::Answer(Reply::Lost { id: RevisionId(5) });
    assert_eq!(intake.take(delta(4, 5)), (lost.clone(), Reason::NoBase), "another base");
    intake.opened();
    assert_eq!(intake.take(delta(3, 5)), (lost, Reason::NoBase), "another connection");
}

#[test]
fn a_delta_that_makes_something_unsound_is_lost_and_the_whole_decides() {
    let mut intake = running(1);
    let attempt = tried(&mut intake, delta(1, 2));
    let lost = intake.failed(attempt, vec!["bad".to_owned()], Fault::Content);
    assert_eq!(lost, Some(Reply::Lost { id: RevisionId(2) }));
    let attempt = tried(&mut intake, whole(1, 2));
    assert!(matches!(intake.failed(attempt, vec![], Fault::Content), Some(Reply::Nack { retries: false, .. })));
    assert_eq!(intake.runs().unwrap().id, RevisionId(1));
}

#[test]
fn what_may_heal_waits_until_it_runs_or_something_newer_comes() {
    let mut intake = running(1);
    let attempt = tried(&mut intake, delta(1, 2));
    let nack = intake.failed(attempt, vec!["in use".to_owned()], Fault::Heals);
    assert!(matches!(nack, Some(Reply::Nack { retries: true, .. })), "{nack:?}");
    let again = |intake: &mut Intake, problem: &str| {
        let attempt = intake.again().unwrap();
        intake.failed(attempt, vec![problem.to_owned()], Fault::Heals)
    };
    assert_eq!(again(&mut intake, "in use"), None, "told already");
    assert!(again(&mut intake, "no such address").is_some(), "another cause is news");
    assert_eq!(intake.take(whole(1, 1)).1, Reason::Stale(RevisionId(2)));
    assert!(intake.is_waiting());
    let attempt = intake.again().unwrap();
    assert_eq!(intake.ran(&attempt), Reply::Ack { id: RevisionId(2), digest: Digest::of(b"2") });
    assert_eq!(intake.again(), None);
    let attempt = tried(&mut intake, whole(1, 3));
    intake.failed(attempt, vec![], Fault::Heals);
    let _ = tried(&mut intake, whole(1, 4));
    assert!(!intake.is_waiting());
}

#[test]
fn what_is_parked_is_refused_until_another_content_that_was_sent_runs() {
    let mut intake = Intake::new(vec![Digest::of(b"7")]);
    let attempt = Attempt { revision: Arc::new(revision(1, 6, "6")), origin: Origin::Disk };
    intake.ran(&attempt);
    let (step, reason) = intake.take(whole(1, 7));
    assert_eq!(reason, Reason::Parked);
    assert!(matches!(step, Step::Answer(Reply::Nack { retries: false, .. })));
    let attempt = tried(&mut intake, whole(1, 8));
    intake.ran(&attempt);
    assert!(matches!(intake.take(Order::Revision(revision(1, 9, "7"))).0, Step::Try(_)));
}

#[test]
fn what_is_kept_on_disk_and_does_not_run_is_nothing_to_tell_but_may_heal() {
    let mut intake = Intake::default();
    let attempt = Attempt { revision: Arc::new(revision(1, 6, "6")), origin: Origin::Disk };
    assert_eq!(intake.failed(attempt, vec!["in use".to_owned()], Fault::Heals), None);
    assert!(intake.is_waiting());
}

proptest! {
    /// Whatever comes and however it ends: of one history what runs never gets older, and only a try that ran changes it.
    #[test]
    fn what_runs_never_gets_older(orders in prop::collection::vec((1_u64..6, any::<bool>(), 0_u8..4), 0..40)) {
        let mut intake = Intake::default();
        let mut base = 0;
        for (id, as_delta, end) in orders {
            let before = intake.runs();
            let order = if as_delta { delta(base, id) } else { whole(1, id) };
            base = id;
            let (step, _) = intake.take(order);
            prop_assert_eq!(intake.runs(), before);
            if let Step::Try(attempt) = step {
                match end {
                    0 => drop(intake.failed(attempt, vec![], Fault::Content)),
                    1 => drop(intake.failed(attempt, vec![], Fault::Heals)),
                    2 => drop(intake.failed(attempt, vec![], Fault::Node)),
                    _ => drop(intake.ran(&attempt)),
                }
            }
            let (before, now) = (before.map(|runs| runs.id), intake.runs().map(|runs| runs.id));
            prop_assert!(now >= before);
        }
    }
}
