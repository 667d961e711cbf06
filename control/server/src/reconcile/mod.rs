//! The only writer: gathers what there is, lets the core decide, and commits what it decided.
//!
//! One task does this for requests, for the watched file and for what ends by itself, one after the other. So a decision
//! always sees the head that it will follow, and compare-and-swap fails only against another control plane. It is woken
//! by what happens and by a period; both take the same way, and doing it twice does nothing.

mod file;
mod request;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sluice_config::overlay::{Author, Reason};
use sluice_config::timestamp::Timestamp;
use sluice_config::value::RevisionId;
use sluice_config::{Validated, wire};
use sluice_control_core::audit::{Event, Outcome};
use sluice_control_core::change::{self, Head, Proposal, Refusal};
use sluice_control_core::revision::{Document, Revision};
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};

pub(crate) use file::StartError;
pub(crate) use request::{Done, Intent, Request, Who};

use crate::clock::Clock;
use crate::distribute::Distributor;
use crate::events::{Events, News};
use crate::file::Look;
use crate::judge::Judge;
use crate::store::{Change, CommitError, Once, Store, StoreError};
use file::Watched;

/// How often it is looked whether something has ended by itself.
const PERIOD: Duration = Duration::from_millis(250);

/// How often a decision is made anew because another control plane was faster.
const TRIES: usize = 5;

/// Why a change was not made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum WriteError {
    /// The core refused it.
    Refused(Box<Refusal>),
    /// The head is not the one that the request was made for.
    Stale {
        /// What it was made for.
        expected: RevisionId,
        /// What there is.
        head: Option<RevisionId>,
    },
    /// There is no document to change.
    Empty,
    /// Documents come from this file only.
    FileMode(String),
    /// The idempotency key belongs to another request.
    OtherRequest(String),
    /// There is no such revision.
    NoRevision(RevisionId),
    /// Another control plane was faster each time.
    Busy,
    /// The store failed.
    Store(StoreError),
    /// The control plane is leaving.
    Leaving,
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Stale { expected, .. } => write!(f, "the head is not revision {expected} any more"),
            Self::Empty => f.write_str("there is no document yet"),
            Self::FileMode(file) => write!(f, "documents come from the file {file} only"),
            Self::OtherRequest(key) => write!(f, "the idempotency key {key:?} belongs to another request"),
            Self::NoRevision(id) => write!(f, "there is no revision {id}"),
            Self::Busy => f.write_str("another control plane was faster each time"),
            Self::Store(error) => error.fmt(f),
            Self::Leaving => f.write_str("the control plane is leaving"),
        }
    }
}

impl std::error::Error for WriteError {}

impl From<StoreError> for WriteError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Refusal> for WriteError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(Box::new(refusal))
    }
}

/// The head and what it means.
#[derive(Debug, Clone)]
pub(crate) struct Current {
    /// As it is stored, with its document proven.
    pub head: Arc<Head>,
    /// The document as it is with the overlay.
    pub live: Arc<Validated>,
    /// As it goes to proxies.
    pub order: Arc<wire::Revision>,
}

/// What the writer needs.
#[derive(Debug)]
pub(crate) struct Equipment {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Clock,
    pub(crate) judge: Judge,
    pub(crate) distributor: Arc<Distributor>,
    pub(crate) events: Events,
}

/// The writer.
#[derive(Debug)]
pub(crate) struct Reconciler {
    equipment: Equipment,
    current: watch::Sender<Option<Arc<Current>>>,
    /// In file mode.
    watched: Option<Watched>,
    /// Whether the store may hold a newer head than the one that is known: an answer was lost.
    doubt: AtomicBool,
    /// Whether it was told that what has ended cannot be taken back.
    late: AtomicBool,
}

/// A change that was decided on, and who is behind it.
struct Decided<'a> {
    proposal: Proposal,
    who: &'a Who,
    reason: Reason,
    action: &'static str,
    target: String,
    once: Option<Once>,
    /// Where the document comes from, if it is another one.
    source: Source,
}

/// Where a document comes from.
enum Source {
    /// The one that is there stays.
    Same,
    /// Somebody sent it.
    Sent,
    /// This file holds it.
    File(String),
}

impl Reconciler {
    /// A writer over what the store holds.
    ///
    /// # Errors
    /// When the store cannot be read, or holds a document that is not sound any more.
    pub(crate) async fn open(equipment: Equipment) -> Result<Self, StoreError> {
        let writer = Self {
            equipment,
            current: watch::Sender::new(None),
            watched: None,
            doubt: false.into(),
            late: false.into(),
        };
        writer.refresh().await?;
        Ok(writer)
    }

    /// Tells the head, now and after each change.
    pub(crate) fn current(&self) -> watch::Receiver<Option<Arc<Current>>> {
        self.current.subscribe()
    }

    /// Serves requests and looks at the file until the channel of requests is closed.
    pub(crate) async fn run(mut self, mut requests: mpsc::Receiver<Request>, mut looks: mpsc::Receiver<Look>) {
        let mut period = interval(PERIOD);
        period.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                request = requests.recv() => match request {
                    Some(request) => self.serve(request).await,
                    None => return,
                },
                Some(look) = looks.recv() => self.look(look).await,
                _ = period.tick() => {
                    self.look_again().await;
                    self.expire().await;
                }
            }
        }
    }

    fn now(&self) -> Timestamp {
        self.equipment.clock.now()
    }

    fn head(&self) -> Option<Arc<Current>> {
        self.current.borrow().clone()
    }

    /// Takes over what the store holds, if it is not what was known.
    async fn refresh(&self) -> Result<(), StoreError> {
        let Some(revision) = self.equipment.store.head().await? else { return Ok(()) };
        if self.head().is_some_and(|current| current.head.revision.id == revision.id) {
            return Ok(());
        }
        let document = self.equipment.store.document(revision.document).await?;
        let missing = || StoreError::Corrupt(format!("the document of revision {} is missing", revision.id));
        let document = document.ok_or_else(missing)?;
        let current = self.prove(revision, document)?;
        self.adopt(current);
        Ok(())
    }

    /// What a stored pair means. It was sound when it was stored, so anything else is damage.
    fn prove(&self, revision: Arc<Revision>, document: Arc<Document>) -> Result<Current, StoreError> {
        let head = Head::new(Arc::clone(&revision), document).map_err(|problems| {
            let version = env!("CARGO_PKG_VERSION");
            StoreError::Corrupt(format!("revision {} is not sound to sluice {version}: {problems}", revision.id))
        })?;
        let order = wire::Revision {
            history: self.equipment.store.history(),
            id: revision.id,
            digest: head.revision.digest,
            document: head.document.json.clone(),
            overlay: revision.overlay.clone(),
        };
        let live = Arc::new(head.effective());
        Ok(Current { head: Arc::new(head), live, order: Arc::new(order) })
    }

    fn adopt(&self, current: Current) {
        let current = Arc::new(current);
        self.current.send_replace(Some(Arc::clone(&current)));
        self.equipment.distributor.want(&current.order);
        self.equipment.events.tell(News::Revision(Arc::clone(&current.head.revision)));
    }

    /// Stores what was decided on `head`, and lets it run.
    async fn commit(&self, head: Option<&Current>, decided: Decided<'_>) -> Result<Done, CommitError> {
        let now = self.now();
        let Decided { proposal, who, reason, action, target, once, source } = decided;
        let before = head.map(|current| current.head.revision.digest);
        let (mut revision, document) =
            proposal.revision(head.map(|current| &*current.head), who.author.clone(), reason.clone(), now);
        match source {
            Source::Same => {}
            Source::Sent => revision.file = None,
            Source::File(file) => revision.file = Some(file),
        }
        let event = Event {
            at: now,
            author: who.author.clone(),
            origin: who.origin.clone(),
            action: action.to_owned(),
            target,
            reason: Some(reason),
            outcome: Outcome::Done,
            before,
            after: Some(revision.digest),
            revision: Some(revision.id),
        };
        let expected = revision.parent;
        let known = document.clone().map(Arc::new).or_else(|| head.map(|current| Arc::clone(&current.head.document)));
        let change = Change { revision, document, event, once };
        let revision = self.store(expected, change).await?;
        let document = known.expect("the first revision brings its document");
        let current = self.prove(Arc::clone(&revision), document)?;
        self.adopt(current);
        Ok(Done { revision, changed: true, note: None })
    }

    /// Commits a change. Where the store failed it may have done it all the same, so it is asked what it holds.
    async fn store(&self, expected: Option<RevisionId>, change: Change) -> Result<Arc<Revision>, CommitError> {
        let attempted = change.revision.clone();
        match self.equipment.store.commit(expected, change).await {
            Err(CommitError::Store(error)) => match self.equipment.store.get(attempted.id).await {
                Ok(Some(found)) if *found == attempted => Ok(found),
                Ok(_) => Err(error.into()),
                Err(_) => {
                    self.doubt.store(true, Ordering::Relaxed);
                    Err(error.into())
                }
            },
            committed => committed,
        }
    }

    /// Reads the head again after an answer was lost, until it can be read.
    async fn look_again(&self) {
        if self.doubt.load(Ordering::Relaxed) && self.refresh().await.is_ok() {
            self.doubt.store(false, Ordering::Relaxed);
        }
    }

    /// Writes down what was asked for and not done.
    async fn refused(&self, who: &Who, action: &str, target: String, reason: Option<Reason>, error: &WriteError) {
        let digest = self.head().map(|current| current.head.revision.digest);
        let event = Event {
            at: self.now(),
            author: who.author.clone(),
            origin: who.origin.clone(),
            action: action.to_owned(),
            target,
            reason,
            outcome: Outcome::Refused(error.to_string()),
            before: digest,
            after: None,
            revision: None,
        };
        if let Err(error) = self.equipment.store.record(event).await {
            tracing::error!(%error, "a refusal could not be written to the audit log");
        }
    }

    /// Ends what has come to its end.
    async fn expire(&self) {
        let now = self.now();
        let Some(current) = self.head() else { return };
        if current.head.revision.overlay.next_end().is_none_or(|end| end > now) {
            return;
        }
        let who = Who::sluice();
        for _ in 0..TRIES {
            let Some(current) = self.head() else { return };
            let Some((proposal, why)) = change::expire(&current.head, now) else { return };
            let decided = Decided {
                proposal,
                who: &who,
                reason: why,
                action: "expire",
                target: String::new(),
                once: None,
                source: Source::Same,
            };
            match self.commit(Some(&current), decided).await {
                Ok(done) => {
                    self.late.store(false, Ordering::Relaxed);
                    tracing::info!(revision = done.revision.id.0, "{}", done.revision.reason);
                }
                Err(CommitError::Conflict(_)) => {
                    if self.refresh().await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    if !self.late.swap(true, Ordering::Relaxed) {
                        tracing::error!(%error, "what has ended cannot be taken back yet; it is tried until it can");
                    }
                    return;
                }
            }
        }
    }
}

impl Who {
    /// Sluice itself.
    pub(crate) fn sluice() -> Self {
        let author: Author = "sluice".parse().expect("a word is an author");
        Self { author, origin: "sluice".to_owned() }
    }
}
