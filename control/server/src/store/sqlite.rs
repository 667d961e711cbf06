//! The store in one file on a local disk: what runs by default.
//!
//! SQLite in WAL mode with `synchronous=FULL`: a commit returns when the disk has it. A commit is one transaction, so a
//! process that is killed at any moment leaves all of a change or none of it, and the next start finds out which by
//! itself. All SQL runs on one thread of its own, which never holds up the runtime, and in the order in which it was
//! asked for; what a caller no longer waits for is carried out all the same. What was read or written lately is answered
//! from memory.
//!
//! A lock on a file beside it keeps a second control plane out of the folder, and the database's header keeps an older
//! Sluice from a newer one's tables. Whatever is wrong is told with the file's path and what to do about it.

mod engine;
mod failure;
mod open;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::mpsc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use sluice_config::value::{Digest, HistoryId, RevisionId};
use sluice_control_core::audit::{Entry, Event, Head};
use sluice_control_core::revision::{Document, Revision};
use tokio::sync::{oneshot, watch};

pub use self::open::{FILE, OpenError};

use self::engine::Engine;
use self::failure::Failure;
use self::open::Place;
use super::recent::Recent;
use super::{Answered, Change, CommitError, Store, StoreError};

type Job = Box<dyn FnOnce(&mut Engine) + Send>;

/// A store in one file.
pub struct SqliteStore {
    history: HistoryId,
    shared: Arc<Shared>,
    /// Taken when the store is dropped: that ends the thread.
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore").field("history", &self.history).finish_non_exhaustive()
    }
}

/// What the store's thread tells its callers without being asked.
#[derive(Debug)]
struct Shared {
    recent: Mutex<Recent>,
    news: watch::Sender<Option<RevisionId>>,
}

impl Shared {
    /// Nothing in [`Recent`] panics half-way.
    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// At hand first, then told: whoever hears of a revision finds it in memory.
    fn committed(&self, revision: &Arc<Revision>, document: Option<Arc<Document>>) {
        let mut recent = self.recent();
        recent.keep_revision(Arc::clone(revision));
        if let Some(document) = document {
            recent.keep_document(revision.document, document);
        }
        drop(recent);
        self.news.send_replace(Some(revision.id));
    }
}

impl SqliteStore {
    /// Opens the store of a data folder, or makes both: the folder with mode 0700, the file with mode 0600. Looks through
    /// the whole file once. Blocks: it belongs before the runtime's work begins.
    ///
    /// # Errors
    /// The folder is in use or cannot be used, or its store is damaged, another program's or a later Sluice's.
    pub fn open(folder: &Path) -> Result<Arc<Self>, OpenError> {
        let place = Place::take(folder)?;
        let (connection, history) = open::open(&place)?;
        let (news, _) = watch::channel(None);
        let shared = Arc::new(Shared { recent: Mutex::default(), news });
        let engine = Engine::new(connection, place, Arc::clone(&shared));
        let head = engine.head().map_err(|failure| OpenError::Store(engine.tell(failure)))?;
        shared.news.send_replace(head);
        let (jobs, waiting) = mpsc::channel();
        let thread = thread::Builder::new().name("sluice-store".to_owned()).spawn(move || work(engine, &waiting));
        let thread = thread.map_err(|error| OpenError::Files { path: folder.to_owned(), error })?;
        Ok(Arc::new(Self { history, shared, jobs: Some(jobs), thread: Some(thread) }))
    }

    /// Runs an operation on the store's thread.
    async fn run<T: Send + 'static>(
        &self,
        operation: impl FnOnce(&mut Engine) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        let job = move |engine: &mut Engine| {
            let result = operation(engine).map_err(|failure| engine.tell(failure));
            // Whoever asked may have gone away; it is done all the same.
            let _ = answer.send(result);
        };
        let lost = || StoreError::Unavailable("its thread did not answer: a mistake in Sluice, see the log".to_owned());
        self.jobs.as_ref().and_then(|jobs| jobs.send(Box::new(job)).ok()).ok_or_else(lost)?;
        answered.await.map_err(|_| lost())?
    }
}

/// Until the store is dropped. A job that panics costs its caller the answer; its transaction is rolled back.
fn work(mut engine: Engine, jobs: &mpsc::Receiver<Job>) {
    while let Ok(job) = jobs.recv() {
        if catch_unwind(AssertUnwindSafe(|| job(&mut engine))).is_err() {
            tracing::error!("an operation of the store panicked; it was rolled back");
        }
    }
}

/// Waits until what was asked for is done and the file is closed, so that it can be opened again at once.
impl Drop for SqliteStore {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            // It catches the panics of its jobs.
            let _ = thread.join();
        }
    }
}

#[async_trait]
impl Store for SqliteStore {
    fn history(&self) -> HistoryId {
        self.history
    }

    async fn head(&self) -> Result<Option<Arc<Revision>>, StoreError> {
        let head = *self.shared.news.borrow();
        match head {
            None => Ok(None),
            Some(id) => self.get(id).await,
        }
    }

    async fn get(&self, id: RevisionId) -> Result<Option<Arc<Revision>>, StoreError> {
        if let Some(revision) = self.shared.recent().revision(id) {
            return Ok(Some(revision));
        }
        let found = self.run(move |engine| engine.get(id)).await?.map(Arc::new);
        if let Some(revision) = &found {
            self.shared.recent().keep_revision(Arc::clone(revision));
        }
        Ok(found)
    }

    async fn document(&self, key: Digest) -> Result<Option<Arc<Document>>, StoreError> {
        if let Some(document) = self.shared.recent().document(key) {
            return Ok(Some(document));
        }
        let found = self.run(move |engine| engine.document(key)).await?.map(Arc::new);
        if let Some(document) = &found {
            self.shared.recent().keep_document(key, Arc::clone(document));
        }
        Ok(found)
    }

    async fn list(&self, before: Option<RevisionId>, limit: usize) -> Result<Vec<Arc<Revision>>, StoreError> {
        let list = self.run(move |engine| engine.list(before, limit)).await?;
        Ok(list.into_iter().map(Arc::new).collect())
    }

    async fn commit(&self, expected: Option<RevisionId>, change: Change) -> Result<Arc<Revision>, CommitError> {
        self.run(move |engine| engine.commit(expected, change)).await?
    }

    async fn answered(&self, key: &str) -> Result<Option<Answered>, StoreError> {
        let key = key.to_owned();
        self.run(move |engine| engine.answered(&key)).await
    }

    async fn record(&self, event: Event) -> Result<Entry, StoreError> {
        self.run(move |engine| engine.record(event)).await
    }

    async fn audit(&self, after: u64, limit: usize) -> Result<Vec<Entry>, StoreError> {
        self.run(move |engine| engine.audit(after, limit)).await
    }

    async fn audit_head(&self) -> Result<Head, StoreError> {
        self.run(|engine| engine.audit_head()).await
    }

    async fn check(&self) -> Result<Duration, StoreError> {
        let began = Instant::now();
        self.run(Engine::check).await?;
        Ok(began.elapsed())
    }

    fn news(&self) -> watch::Receiver<Option<RevisionId>> {
        self.shared.news.subscribe()
    }
}

#[cfg(test)]
mod tests;
