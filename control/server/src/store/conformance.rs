//! What every engine promises, as one suite that runs over each of them; and a random life that must go the same on all.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use proptest::prelude::*;
use sluice_config::Overlay;
use sluice_config::timestamp::Timestamp;
use sluice_config::value::{Digest, HistoryId, RevisionId};
use sluice_control_core::audit::{self, Event, Head, Outcome};
use sluice_control_core::revision::{Document, Kind, Revision};
use tempfile::TempDir;
use tokio::runtime;

use super::memory::MemoryStore;
use super::sqlite::SqliteStore;
use super::{Answered, Change, CommitError, Once, Store, StoreError, Watch};

pub(super) fn document(text: &str) -> Document {
    Document { source: format!("# {text}"), json: format!("{{\"text\":\"{text}\"}}") }
}

pub(super) fn revision(id: u64, document: &Document) -> Revision {
    Revision {
        id: RevisionId(id),
        kind: Kind::Document,
        parent: id.checked_sub(1).filter(|parent| *parent > 0).map(RevisionId),
        digest: Digest::of(&id.to_le_bytes()),
        document: document.key(),
        overlay: Overlay::default(),
        author: "ann".parse().unwrap(),
        reason: "a test".parse().unwrap(),
        at: Timestamp::from_millis(id),
        file: None,
        restores: None,
        parked: None,
    }
}

pub(super) fn event(action: &str) -> Event {
    Event {
        at: Timestamp::from_millis(1_000),
        author: "ann".parse().unwrap(),
        origin: "unix".to_owned(),
        action: action.to_owned(),
        target: String::new(),
        reason: None,
        outcome: Outcome::Done,
        before: None,
        after: None,
        revision: None,
    }
}

/// Revision `id` of the document "a", or of the one that comes with it.
pub(super) fn change(id: u64, new: Option<Document>) -> Change {
    let known = document("a");
    let revision = revision(id, new.as_ref().unwrap_or(&known));
    Change { revision, document: new, event: event("apply"), once: None }
}

fn once(key: &str, request: &str) -> Option<Once> {
    Some(Once { key: key.to_owned(), request: Digest::of(request.as_bytes()) })
}

/// An engine with its place, if it has one.
struct Bed {
    store: Arc<dyn Store>,
    _folder: Option<TempDir>,
}

impl Bed {
    fn memory() -> Self {
        Self { store: MemoryStore::new(HistoryId::from_bits(7)), _folder: None }
    }

    fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { store: SqliteStore::open(folder.path()).unwrap(), _folder: Some(folder) }
    }

    async fn with(self, count: u64) -> Self {
        fill(&*self.store, count).await;
        self
    }
}

/// Revisions 1 to `count`.
pub(super) async fn fill(store: &dyn Store, count: u64) {
    for id in 1..=count {
        let made = store.commit(expected(id), change(id, (id == 1).then(|| document("a")))).await;
        assert_eq!(made.unwrap().id, RevisionId(id));
    }
}

/// The head before revision `id`.
pub(super) fn expected(id: u64) -> Option<RevisionId> {
    id.checked_sub(1).filter(|head| *head > 0).map(RevisionId)
}

fn ids(revisions: &[Arc<Revision>]) -> Vec<u64> {
    revisions.iter().map(|revision| revision.id.0).collect()
}

async fn in_time(case: impl Future<Output = ()>) {
    tokio::time::timeout(Duration::from_secs(60), case).await.expect("a case ends within a minute");
}

macro_rules! conform {
    ($($case:ident)+) => {
        mod memory {
            $(#[tokio::test] async fn $case() { super::in_time(super::$case(super::Bed::memory())).await; })+
        }
        mod sqlite {
            $(#[tokio::test] async fn $case() { super::in_time(super::$case(super::Bed::sqlite())).await; })+
        }
    };
}

conform! {
    a_new_store_is_empty
    a_commit_follows_the_head_and_nothing_else
    of_writers_that_race_one_wins_each_number
    what_does_not_fit_leaves_nothing
    revisions_are_listed_in_pages_newest_first
    a_document_is_kept_once_and_stays
    the_audit_log_grows_with_commits_and_records
    a_watch_sees_all_from_where_it_begins
    a_watch_misses_nothing_that_is_committed_while_it_is_set_up
    a_request_is_carried_out_once
    an_answer_is_kept_for_a_day
    a_check_works_and_changes_nothing
}

async fn a_new_store_is_empty(bed: Bed) {
    let store = bed.store;
    assert_eq!(store.head().await, Ok(None));
    assert_eq!(store.get(RevisionId(0)).await, Ok(None));
    assert_eq!(store.get(RevisionId(u64::MAX)).await, Ok(None));
    assert_eq!(store.list(None, 10).await, Ok(Vec::new()));
    assert_eq!(store.document(Digest::ZERO).await, Ok(None));
    assert_eq!(store.answered("k").await, Ok(None));
    assert_eq!(store.audit(0, 10).await, Ok(Vec::new()));
    assert_eq!(store.audit_head().await, Ok(Head::EMPTY));
    assert_eq!(*store.news().borrow(), None);
}

async fn a_commit_follows_the_head_and_nothing_else(bed: Bed) {
    let store = bed.store;
    let early = store.commit(Some(RevisionId(1)), change(2, Some(document("a")))).await;
    assert_eq!(early, Err(CommitError::Conflict(None)));
    fill(&*store, 2).await;
    for wrong in [1, 2, 4] {
        let refused = store.commit(expected(wrong), change(wrong, Some(document("b")))).await;
        assert_eq!(refused, Err(CommitError::Conflict(Some(RevisionId(2)))));
    }
    let head = store.head().await.unwrap().unwrap();
    assert_eq!(*head, change(2, None).revision);
    assert_eq!(store.get(RevisionId(2)).await, Ok(Some(head)));
    assert_eq!(store.get(RevisionId(3)).await, Ok(None));
    assert_eq!(store.document(document("b").key()).await, Ok(None), "a conflict leaves no document");
    assert_eq!(store.audit_head().await.unwrap().sequence, 2, "a conflict leaves no entry");
    assert_eq!(*store.news().borrow(), Some(RevisionId(2)));
}

/// Each on a thread of its own: `work` is given the thread's number.
fn race<T: Send + 'static>(
    store: &Arc<dyn Store>,
    threads: u64,
    work: impl AsyncFn(Arc<dyn Store>, u64) -> T + Clone + Send + 'static,
) -> Vec<thread::JoinHandle<T>> {
    let begin = |number| {
        let (store, work) = (Arc::clone(store), work.clone());
        thread::spawn(move || runtime::Builder::new_current_thread().build().unwrap().block_on(work(store, number)))
    };
    (0..threads).map(begin).collect()
}

/// Commits until the head is `last`. Returns the numbers that were this writer's.
async fn write_to(store: Arc<dyn Store>, last: u64, who: u64) -> Vec<u64> {
    let mut won = Vec::new();
    let mut head = store.head().await.unwrap().map_or(0, |head| head.id.0);
    while head < last {
        let mut change = change(head + 1, Some(document("a")));
        change.revision.author = format!("writer{who}").parse().unwrap();
        head = match store.commit(expected(head + 1), change).await {
            Ok(made) => {
                won.push(made.id.0);
                made.id.0
            }
            Err(CommitError::Conflict(now)) => now.map_or(0, |now| now.0),
            Err(other) => panic!("{other}"),
        };
    }
    won
}

async fn of_writers_that_race_one_wins_each_number(bed: Bed) {
    let writers = race(&bed.store, 4, async |store, who| write_to(store, 40, who).await);
    let won: Vec<Vec<u64>> = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
    let all: Vec<u64> = won.iter().flatten().copied().collect();
    assert_eq!(all.len(), 40, "no number was given out twice");
    assert_eq!(all.iter().copied().collect::<BTreeSet<_>>(), (1..=40).collect());
    for (who, ids) in won.iter().enumerate() {
        for id in ids {
            let kept = bed.store.get(RevisionId(*id)).await.unwrap().unwrap();
            assert_eq!(kept.author.as_str(), format!("writer{who}"), "the loser's revision {id} is not kept");
        }
    }
    assert_eq!(bed.store.audit_head().await.unwrap().sequence, 40);
}

async fn what_does_not_fit_leaves_nothing(bed: Bed) {
    let bed = bed.with(1).await;
    let store = bed.store;
    let mut gap = change(3, None);
    gap.event.action = "gap".to_owned();
    let mut misnamed = change(2, Some(document("b")));
    misnamed.revision.document = document("a").key();
    let lacking = Change { document: None, ..change(2, Some(document("c"))) };
    for (wrong, word) in [(gap, "follow"), (misnamed, "another document"), (lacking, "does not have")] {
        let refused = store.commit(Some(RevisionId(1)), wrong).await;
        let Err(CommitError::Store(StoreError::Unavailable(why))) = &refused else { panic!("{refused:?}") };
        assert!(why.contains(word), "{why}");
    }
    assert_eq!(store.head().await.unwrap().unwrap().id, RevisionId(1));
    assert_eq!(store.audit_head().await.unwrap().sequence, 1);
    assert_eq!(store.document(document("b").key()).await, Ok(None));
}

async fn revisions_are_listed_in_pages_newest_first(bed: Bed) {
    let bed = bed.with(5).await;
    let store = bed.store;
    assert_eq!(ids(&store.list(None, 2).await.unwrap()), [5, 4]);
    assert_eq!(ids(&store.list(Some(RevisionId(4)), 2).await.unwrap()), [3, 2]);
    assert_eq!(ids(&store.list(Some(RevisionId(2)), 2).await.unwrap()), [1]);
    assert_eq!(ids(&store.list(Some(RevisionId(1)), 2).await.unwrap()), [] as [u64; 0]);
    assert_eq!(ids(&store.list(Some(RevisionId(u64::MAX)), usize::MAX).await.unwrap()), [5, 4, 3, 2, 1]);
    assert_eq!(ids(&store.list(None, 0).await.unwrap()), [] as [u64; 0]);
}

async fn a_document_is_kept_once_and_stays(bed: Bed) {
    let store = bed.store;
    store.commit(None, change(1, Some(document("a")))).await.unwrap();
    store.commit(expected(2), change(2, Some(document("b")))).await.unwrap();
    store.commit(expected(3), change(3, Some(document("a")))).await.unwrap();
    store.commit(expected(4), change(4, None)).await.unwrap();
    let key = document("a").key();
    assert_eq!(store.document(key).await, Ok(Some(Arc::new(document("a")))));
    for (id, document) in [(1, "a"), (2, "b"), (3, "a"), (4, "a")] {
        let kept = store.get(RevisionId(id)).await.unwrap().unwrap();
        assert_eq!(*kept, revision(id, &self::document(document)));
    }
}

async fn the_audit_log_grows_with_commits_and_records(bed: Bed) {
    let store = bed.store;
    let mut denial = event("shift");
    denial.outcome = Outcome::Denied("a viewer".to_owned());
    let first = store.record(denial.clone()).await.unwrap();
    assert_eq!((first.sequence, &first.event), (1, &denial));
    fill(&*store, 2).await;
    let last = store.record(event("validate")).await.unwrap();
    let entries = store.audit(0, 100).await.unwrap();
    assert_eq!(
        entries.iter().map(|entry| &*entry.event.action).collect::<Vec<_>>(),
        ["shift", "apply", "apply", "validate"]
    );
    assert_eq!(entries[0], first);
    assert_eq!(audit::verify(Head::EMPTY, &entries), Ok(last.head()));
    assert_eq!(store.audit_head().await, Ok(last.head()));
    assert_eq!(store.audit(1, 2).await.unwrap(), entries[1..3]);
    assert_eq!(store.audit(4, 2).await, Ok(Vec::new()));
    assert_eq!(store.audit(u64::MAX, usize::MAX).await, Ok(Vec::new()));
}

async fn a_watch_sees_all_from_where_it_begins(bed: Bed) {
    let bed = bed.with(3).await;
    let store = bed.store;
    let (mut all, mut later) =
        (Watch::new(Arc::clone(&store), None), Watch::new(Arc::clone(&store), Some(RevisionId(2))));
    for id in 1..=3 {
        assert_eq!(all.next().await.unwrap().unwrap().id, RevisionId(id));
    }
    assert_eq!(later.next().await.unwrap().unwrap().id, RevisionId(3));
    let next = tokio::spawn(async move { later.next().await });
    store.commit(expected(4), change(4, None)).await.unwrap();
    assert_eq!(next.await.unwrap().unwrap().unwrap().id, RevisionId(4));
    assert_eq!(all.next().await.unwrap().unwrap().id, RevisionId(4));
}

async fn a_watch_misses_nothing_that_is_committed_while_it_is_set_up(bed: Bed) {
    const LAST: u64 = 60;
    let watchers = race(&bed.store, 3, async |store, number| {
        // Each begins at another time: when it hears of that revision.
        let from = number * 15;
        let mut news = store.news();
        news.wait_for(|head| head.map_or(0, |head| head.0) >= from).await.unwrap();
        let mut watch = Watch::new(Arc::clone(&store), expected(from + 1));
        let mut seen = Vec::new();
        while seen.last() != Some(&LAST) {
            seen.push(watch.next().await.unwrap().unwrap().id.0);
        }
        (from, seen)
    });
    let writers = race(&bed.store, 2, async |store, who| write_to(store, LAST, who).await);
    for writer in writers {
        writer.join().unwrap();
    }
    for watcher in watchers {
        let (from, seen) = watcher.join().unwrap();
        assert_eq!(seen, (from + 1..=LAST).collect::<Vec<_>>());
    }
}

async fn a_request_is_carried_out_once(bed: Bed) {
    let store = bed.store;
    let first = Change { once: once("ann/1", "shift"), ..change(1, Some(document("a"))) };
    store.commit(None, first.clone()).await.unwrap();
    let answer = Answered { request: Digest::of(b"shift"), revision: RevisionId(1) };
    assert_eq!(store.answered("ann/1").await, Ok(Some(answer.clone())));
    let again = store.commit(None, first).await;
    assert_eq!(again, Err(CommitError::Answered(answer.clone())), "and no conflict, though the head has moved");
    let other = Change { once: once("ann/1", "apply"), ..change(2, None) };
    assert_eq!(store.commit(expected(2), other).await, Err(CommitError::Answered(answer)));
    let loser = Change { once: once("bob/1", "shift"), ..change(1, None) };
    assert_eq!(store.commit(None, loser).await, Err(CommitError::Conflict(expected(2))));
    assert_eq!(store.answered("bob/1").await, Ok(None), "what was not done was not answered");
    assert_eq!(store.audit_head().await.unwrap().sequence, 1);
}

async fn an_answer_is_kept_for_a_day(bed: Bed) {
    const DAY: Duration = Duration::from_secs(24 * 3_600);
    let store = bed.store;
    let begin = event("x").at;
    let at = |id: u64, wait| {
        let mut change = change(id, Some(document("a")));
        change.event.at = begin.after(wait);
        change
    };
    store.commit(None, Change { once: once("k", "r"), ..at(1, Duration::ZERO) }).await.unwrap();
    store.commit(expected(2), at(2, DAY)).await.unwrap();
    let answered = store.answered("k").await.unwrap().unwrap();
    assert_eq!(answered.revision, RevisionId(1));
    store.commit(expected(3), at(3, DAY + Duration::from_millis(1))).await.unwrap();
    assert_eq!(store.answered("k").await, Ok(None));
    store.commit(expected(4), Change { once: once("k", "r"), ..at(4, DAY * 2) }).await.unwrap();
}

async fn a_check_works_and_changes_nothing(bed: Bed) {
    let store = bed.store;
    store.check().await.unwrap();
    fill(&*store, 1).await;
    assert!(store.check().await.unwrap() < Duration::from_secs(60));
    assert_eq!(store.head().await.unwrap().unwrap().id, RevisionId(1));
    assert_eq!(store.audit_head().await.unwrap().sequence, 1);
}

/// One step of a random life.
#[derive(Debug, Clone)]
enum Step {
    Commit { lag: u64, skew: u64, text: u8, carried: bool, key: Option<u8>, request: u8, later: u64 },
    Record(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let commit = (0_u64..3, 0_u64..8, 0_u8..3, any::<bool>(), proptest::option::of(0_u8..3), 0_u8..2, 0_u64..30);
    let commit = commit.prop_map(|(lag, skew, text, carried, key, request, later)| Step::Commit {
        lag: lag.saturating_sub(1),
        skew: u64::from(skew == 0),
        text,
        carried,
        key,
        request,
        later,
    });
    let step = prop_oneof![4 => commit, 1 => (0_u8..3).prop_map(Step::Record)];
    proptest::collection::vec(step, 1..25)
}

/// Lives a life on a store and tells all that it answered. `later` are hours, so that answers grow old.
async fn live(store: &dyn Store, steps: &[Step]) -> Vec<String> {
    let (mut told, mut at) = (Vec::new(), event("x").at);
    for step in steps {
        match step {
            Step::Record(what) => told.push(format!("{:?}", store.record(event(&what.to_string())).await)),
            Step::Commit { lag, skew, text, carried, key, request, later } => {
                at = at.after(Duration::from_secs(3_600 * later));
                let head = store.head().await.unwrap().map_or(0, |head| head.id.0).saturating_sub(*lag);
                let mut change = change(head + 1 + skew, Some(document(&text.to_string())));
                change.event.at = at;
                change.document = change.document.filter(|_| *carried);
                change.once = key.and_then(|key| once(&key.to_string(), &request.to_string()));
                told.push(format!("{:?}", store.commit(expected(head + 1), change).await));
            }
        }
    }
    for number in 0..3_u8 {
        let name = number.to_string();
        told.push(format!("{:?}", store.answered(&name).await));
        told.push(format!("{:?}", store.document(document(&name).key()).await));
    }
    told.push(format!("{:?} {:?}", store.list(None, 100).await, store.audit(0, 100).await));
    told.push(format!("{:?} {:?}", store.head().await, store.audit_head().await));
    told
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn a_life_goes_the_same_on_every_engine(steps in steps()) {
        let runtime = runtime::Builder::new_current_thread().build().unwrap();
        let (memory, sqlite) = (Bed::memory(), Bed::sqlite());
        let (one, other) = runtime.block_on(async { (live(&*memory.store, &steps).await, live(&*sqlite.store, &steps).await) });
        prop_assert_eq!(one, other);
    }
}
