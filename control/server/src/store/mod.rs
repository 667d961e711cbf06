//! Where revisions, documents and the audit log are kept.
//!
//! Every engine keeps the same promises, and one conformance suite holds all of them to it:
//!
//! - A commit is compare-and-swap on the head: two writers cannot both follow the same revision.
//! - A commit is one step: the revision, its document, its audit entry and the answer to its idempotency key are all
//!   there afterwards, or none of them is, whenever the process dies. What was acknowledged is never lost.
//! - Revisions are numbered without a gap and never change. So is the audit log, in its own numbers.
//! - A watch that begins at a revision sees every later one, in order, also those committed while it was set up.

pub mod memory;
mod recent;
pub mod sqlite;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sluice_config::value::{Digest, HistoryId, RevisionId};
use sluice_control_core::audit::{Entry, Event, Head};
use sluice_control_core::revision::{Document, Revision};
use tokio::sync::watch;

/// A change on its way into the store.
#[derive(Debug, Clone)]
pub struct Change {
    /// What is stored. Its number is the expected head's successor.
    pub revision: Revision,
    /// Its document, if the store may not have it yet.
    pub document: Option<Document>,
    /// What the audit log says of it.
    pub event: Event,
    /// Who asked, if the request can be told from its repetition.
    pub once: Option<Once>,
}

/// How long the answer to an idempotency key is kept.
const KEPT: Duration = Duration::from_secs(24 * 3_600);

impl Change {
    /// Whether it can follow `expected`: what every engine holds a change to before anything else.
    fn fits(&self, expected: Option<RevisionId>) -> Result<(), StoreError> {
        let (id, next) = (self.revision.id, RevisionId(expected.map_or(1, |head| head.0 + 1)));
        let wrong = if id != next {
            format!("revision {id} was made to follow number {}", next.0 - 1)
        } else if self.document.as_ref().is_some_and(|document| document.key() != self.revision.document) {
            format!("revision {id} came with another document than it names")
        } else {
            return Ok(());
        };
        Err(StoreError::Unavailable(format!("{wrong}: a mistake in Sluice, please report it")))
    }

    /// The change's document is neither in it nor in the store.
    fn lacks_document(&self) -> StoreError {
        let (id, key) = (self.revision.id, self.revision.document);
        StoreError::Unavailable(format!(
            "revision {id} names the document {key}, which the store does not have: a mistake in Sluice, please report it"
        ))
    }
}

/// A request that must be carried out once, however often it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Once {
    /// The client's key, with whose it is.
    pub key: String,
    /// Of the request: the same key with another request is a mistake.
    pub request: Digest,
}

/// What a request with this key did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// Of the request.
    pub request: Digest,
    /// What it made.
    pub revision: RevisionId,
}

/// Why the store did not do it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreError {
    /// It cannot be reached, read or written now. The words are for an operator.
    Unavailable(String),
    /// What it holds is damaged.
    Corrupt(String),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable(why) => write!(f, "the store cannot be used: {why}"),
            Self::Corrupt(why) => write!(f, "the store is damaged: {why}"),
        }
    }
}

impl std::error::Error for StoreError {}

/// Why a change was not committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommitError {
    /// The head is another one by now.
    Conflict(Option<RevisionId>),
    /// A request with this key was carried out before.
    Answered(Answered),
    /// The store failed. Whether the change is in it, only the store can tell when it can be reached again.
    Store(StoreError),
}

impl fmt::Display for CommitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Conflict(Some(head)) => write!(f, "somebody was faster: the head is revision {head}"),
            Self::Conflict(None) => f.write_str("the store is empty"),
            Self::Answered(answered) => write!(f, "this was done before, by revision {}", answered.revision),
            Self::Store(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for CommitError {}

impl From<StoreError> for CommitError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Keeps revisions, documents and the audit log.
#[async_trait]
pub trait Store: fmt::Debug + Send + Sync {
    /// Which store it is. Drawn when it was made.
    fn history(&self) -> HistoryId;

    /// The newest revision; nothing in a new store.
    async fn head(&self) -> Result<Option<Arc<Revision>>, StoreError>;

    /// A revision by its number.
    async fn get(&self, id: RevisionId) -> Result<Option<Arc<Revision>>, StoreError>;

    /// A document by its key.
    async fn document(&self, key: Digest) -> Result<Option<Arc<Document>>, StoreError>;

    /// The newest revisions below `before` (all: absent), newest first, at most `limit`.
    async fn list(&self, before: Option<RevisionId>, limit: usize) -> Result<Vec<Arc<Revision>>, StoreError>;

    /// Makes the change the new head, if `expected` is the head now (absent: the store is empty).
    async fn commit(&self, expected: Option<RevisionId>, change: Change) -> Result<Arc<Revision>, CommitError>;

    /// What a request with this key did, if it was carried out. Kept for 24 hours, by the clock of the changes' events.
    async fn answered(&self, key: &str) -> Result<Option<Answered>, StoreError>;

    /// Adds to the audit log what changed nothing: a denial, a refusal.
    async fn record(&self, event: Event) -> Result<Entry, StoreError>;

    /// Audit entries with a number above `after`, oldest first, at most `limit`.
    async fn audit(&self, after: u64, limit: usize) -> Result<Vec<Entry>, StoreError>;

    /// The end of the audit log.
    async fn audit_head(&self) -> Result<Head, StoreError>;

    /// Reads and writes, for health: how long the two took. A disk that hangs makes it hang; the caller has a deadline.
    async fn check(&self) -> Result<Duration, StoreError>;

    /// Told after each commit: the number of the head.
    fn news(&self) -> watch::Receiver<Option<RevisionId>>;
}

/// The revisions of a store from one on, in order, as they come.
#[derive(Debug)]
pub struct Watch {
    store: Arc<dyn Store>,
    news: watch::Receiver<Option<RevisionId>>,
    seen: u64,
}

impl Watch {
    /// Every revision after `from` (absent: every revision), those that are there first.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, from: Option<RevisionId>) -> Self {
        let news = store.news();
        Self { store, news, seen: from.map_or(0, |id| id.0) }
    }

    /// The next one, when there is one. Nothing when the store is closed.
    ///
    /// # Errors
    /// When the store cannot be read; calling again tries again.
    pub async fn next(&mut self) -> Result<Option<Arc<Revision>>, StoreError> {
        let next = RevisionId(self.seen + 1);
        if self.news.wait_for(|head| head.is_some_and(|head| head >= next)).await.is_err() {
            return Ok(None);
        }
        let revision = self.store.get(next).await?;
        let missing = || StoreError::Corrupt(format!("revision {next} is missing below the head"));
        let revision = revision.ok_or_else(missing)?;
        self.seen = next.0;
        Ok(Some(revision))
    }
}

#[cfg(test)]
mod conformance;
