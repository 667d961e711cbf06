//! A store that forgets with the process, and that fails when it is told to: for tests of what stands on a store.
//!
//! It is built into the library, not only into this crate's tests, so that the harness can put one under a whole control
//! plane. No command or setting selects it.
//!
//! A store can fail in two ways that its user must tell apart by asking again: nothing was done, or all was done and
//! only the answer was lost. [`Faults`] makes both.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use sluice_config::timestamp::Timestamp;
use sluice_config::value::{Digest, HistoryId, RevisionId};
use sluice_control_core::audit::{Entry, Event, Head};
use sluice_control_core::revision::{Document, Revision};
use tokio::sync::watch;

use super::{Answered, Change, CommitError, KEPT, Store, StoreError};

/// How an operation fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is done.
    Before,
    /// It is done, and the answer is lost.
    After,
}

/// Makes the operations of a [`MemoryStore`] fail with [`StoreError::Unavailable`]. Its clones are the same handle.
#[derive(Debug, Clone, Default)]
pub struct Faults(Arc<Mutex<Planned>>);

#[derive(Debug, Default)]
struct Planned {
    any: VecDeque<Fault>,
    writes: VecDeque<Fault>,
}

impl Faults {
    /// The next `count` operations of any kind fail, after those that were planned before.
    pub fn fail(&self, count: usize, fault: Fault) {
        hold(&self.0).any.extend(std::iter::repeat_n(fault, count));
    }

    /// The next `count` commits, records and checks fail, after those that were planned before.
    pub fn fail_writes(&self, count: usize, fault: Fault) {
        hold(&self.0).writes.extend(std::iter::repeat_n(fault, count));
    }

    /// Nothing fails any more.
    pub fn heal(&self) {
        *hold(&self.0) = Planned::default();
    }

    /// How many of the planned failures have not come yet.
    #[must_use]
    pub fn left(&self) -> usize {
        let planned = hold(&self.0);
        planned.any.len() + planned.writes.len()
    }

    fn read<T>(&self, operation: impl FnOnce() -> T) -> Result<T, StoreError> {
        let fault = hold(&self.0).any.pop_front();
        answer(fault, operation)
    }

    fn write<T>(&self, operation: impl FnOnce() -> T) -> Result<T, StoreError> {
        let mut planned = hold(&self.0);
        let fault = planned.any.pop_front().or_else(|| planned.writes.pop_front());
        drop(planned);
        answer(fault, operation)
    }
}

fn answer<T>(fault: Option<Fault>, operation: impl FnOnce() -> T) -> Result<T, StoreError> {
    match fault {
        None => Ok(operation()),
        Some(Fault::Before) => Err(StoreError::Unavailable("a test asked for it: nothing was done".to_owned())),
        Some(Fault::After) => {
            operation();
            Err(StoreError::Unavailable("a test asked for it: the answer was lost".to_owned()))
        }
    }
}

/// A test that panicked under the lock has failed already; the others go on.
fn hold<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A store in memory.
#[derive(Debug)]
pub struct MemoryStore {
    history: HistoryId,
    kept: Mutex<Kept>,
    news: watch::Sender<Option<RevisionId>>,
    faults: Faults,
}

#[derive(Debug, Default)]
struct Kept {
    /// Revision n is at n - 1.
    revisions: Vec<Arc<Revision>>,
    documents: HashMap<Digest, Arc<Document>>,
    /// Entry n is at n - 1.
    audit: Vec<Entry>,
    answers: BTreeMap<String, (Answered, Timestamp)>,
}

impl MemoryStore {
    /// An empty one.
    #[must_use]
    pub fn new(history: HistoryId) -> Arc<Self> {
        let (news, _) = watch::channel(None);
        Arc::new(Self { history, kept: Mutex::default(), news, faults: Faults::default() })
    }

    /// What makes it fail.
    #[must_use]
    pub fn faults(&self) -> Faults {
        self.faults.clone()
    }

    fn commit_now(&self, expected: Option<RevisionId>, change: Change) -> Result<Arc<Revision>, CommitError> {
        let mut kept = hold(&self.kept);
        let revision = kept.commit(expected, change)?;
        // Told under the lock, so that the numbers told never fall.
        self.news.send_replace(Some(revision.id));
        Ok(revision)
    }
}

impl Kept {
    fn head(&self) -> Option<&Arc<Revision>> {
        self.revisions.last()
    }

    fn get(&self, id: RevisionId) -> Option<Arc<Revision>> {
        let at = usize::try_from(id.0).ok()?.checked_sub(1)?;
        self.revisions.get(at).cloned()
    }

    fn audit_head(&self) -> Head {
        self.audit.last().map_or(Head::EMPTY, Entry::head)
    }

    fn record(&mut self, event: Event) -> Entry {
        let entry = self.audit_head().seal(event);
        self.audit.push(entry.clone());
        entry
    }

    fn commit(&mut self, expected: Option<RevisionId>, change: Change) -> Result<Arc<Revision>, CommitError> {
        change.fits(expected)?;
        let now = change.event.at;
        if let Some((answered, at)) = change.once.as_ref().and_then(|once| self.answers.get(&once.key))
            && now.since(*at) <= KEPT
        {
            return Err(CommitError::Answered(answered.clone()));
        }
        let head = self.head().map(|revision| revision.id);
        if head != expected {
            return Err(CommitError::Conflict(head));
        }
        let key = change.revision.document;
        if change.document.is_none() && !self.documents.contains_key(&key) {
            return Err(change.lacks_document().into());
        }
        self.answers.retain(|_, (_, at)| now.since(*at) <= KEPT);
        let Change { revision, document, event, once } = change;
        if let Some(document) = document {
            self.documents.entry(key).or_insert_with(|| Arc::new(document));
        }
        if let Some(once) = once {
            let answered = Answered { request: once.request, revision: revision.id };
            self.answers.insert(once.key, (answered, event.at));
        }
        self.record(event);
        let revision = Arc::new(revision);
        self.revisions.push(Arc::clone(&revision));
        Ok(revision)
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn history(&self) -> HistoryId {
        self.history
    }

    async fn head(&self) -> Result<Option<Arc<Revision>>, StoreError> {
        self.faults.read(|| hold(&self.kept).head().cloned())
    }

    async fn get(&self, id: RevisionId) -> Result<Option<Arc<Revision>>, StoreError> {
        self.faults.read(|| hold(&self.kept).get(id))
    }

    async fn document(&self, key: Digest) -> Result<Option<Arc<Document>>, StoreError> {
        self.faults.read(|| hold(&self.kept).documents.get(&key).cloned())
    }

    async fn list(&self, before: Option<RevisionId>, limit: usize) -> Result<Vec<Arc<Revision>>, StoreError> {
        let is_below = |revision: &&Arc<Revision>| before.is_none_or(|before| revision.id < before);
        let list = || hold(&self.kept).revisions.iter().rev().filter(is_below).take(limit).cloned().collect();
        self.faults.read(list)
    }

    async fn commit(&self, expected: Option<RevisionId>, change: Change) -> Result<Arc<Revision>, CommitError> {
        self.faults.write(|| self.commit_now(expected, change))?
    }

    async fn answered(&self, key: &str) -> Result<Option<Answered>, StoreError> {
        self.faults.read(|| hold(&self.kept).answers.get(key).map(|(answered, _)| answered.clone()))
    }

    async fn record(&self, event: Event) -> Result<Entry, StoreError> {
        self.faults.write(|| hold(&self.kept).record(event))
    }

    async fn audit(&self, after: u64, limit: usize) -> Result<Vec<Entry>, StoreError> {
        let skipped = usize::try_from(after).unwrap_or(usize::MAX);
        self.faults.read(|| hold(&self.kept).audit.iter().skip(skipped).take(limit).cloned().collect())
    }

    async fn audit_head(&self) -> Result<Head, StoreError> {
        self.faults.read(|| hold(&self.kept).audit_head())
    }

    async fn check(&self) -> Result<Duration, StoreError> {
        let began = Instant::now();
        self.faults.write(|| began.elapsed())
    }

    fn news(&self) -> watch::Receiver<Option<RevisionId>> {
        self.news.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::conformance::{change, document, event};

    fn store() -> Arc<MemoryStore> {
        MemoryStore::new(HistoryId::from_bits(1))
    }

    fn is_unavailable<T>(answer: &Result<T, StoreError>) -> bool {
        matches!(answer, Err(StoreError::Unavailable(_)))
    }

    #[tokio::test]
    async fn a_fault_before_leaves_nothing_and_a_fault_after_leaves_all() {
        let store = store();
        store.faults().fail(1, Fault::Before);
        store.faults().fail_writes(1, Fault::After);
        for _ in 0..2 {
            let answer = store.commit(None, change(1, Some(document("a")))).await;
            assert!(matches!(answer, Err(CommitError::Store(StoreError::Unavailable(_)))), "{answer:?}");
        }
        assert_eq!(store.faults().left(), 0);
        assert_eq!(*store.news().borrow(), Some(RevisionId(1)));
        assert_eq!(store.head().await.unwrap().unwrap().id, RevisionId(1));
        assert_eq!(store.audit_head().await.unwrap().sequence, 1);
    }

    #[tokio::test]
    async fn faults_of_writes_leave_reads_alone_and_can_be_taken_back() {
        let store = store();
        store.faults().fail_writes(2, Fault::Before);
        assert_eq!(store.head().await, Ok(None));
        assert!(is_unavailable(&store.record(event("x")).await));
        store.faults().heal();
        assert!(store.check().await.is_ok());
        store.faults().fail(1, Fault::After);
        assert!(is_unavailable(&store.head().await));
        assert_eq!(store.audit_head().await, Ok(Head::EMPTY));
    }
}
