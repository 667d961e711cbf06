//! Decides what an order from a control plane means for what runs here: a revision to try, an answer, or nothing.
//!
//! **A control plane may be behind.** A replica that was away, or a store that was restored, sends what was superseded
//! long ago. An order that is older than what runs, of the same history, is therefore refused, and told in the log: the
//! numbers of one history say which of two changes came later, and going back is a new revision with a new number. It is
//! not passed over in silence: the control plane would wait for an answer, and nobody there would see that it is behind.
//! Numbers of another history say nothing, so a revision of another history is run, and told loudly: somebody has
//! pointed this proxy at another store.
//!
//! **A delta is a difference to what was sent before on the same connection**, whether that ran or not, so the last
//! revision that came is kept beside the one that runs; the first on a connection is one to what runs, as the proxy said. What a delta makes and is not sound, or not what was announced,
//! may be the delta's fault or the revision's. The proxy cannot tell, so it says [`Reply::Lost`] and the whole revision,
//! which comes then, decides. The obvious other rule, to refuse it, would park a revision for a fault of its transport.
//!
//! **What may heal is tried again by the proxy itself**, because only the proxy can see that it has healed: a listener's
//! address that was in use is free. It is tried until it runs or a newer order comes. What is unsound stays unsound, and
//! is not tried again.
//!
//! # Invariants
//! - The revision that runs changes only by [`Intake::ran`].
//! - Of one history, what runs never gets older.
//! - Every order is answered: with one [`Reply`] at once, or by its try.
//! - A repeated try that ends as before is not told again.

use std::sync::Arc;

use sluice_config::value::{Digest, HistoryId, RevisionId};
use sluice_config::wire::{Order, Reply, Revision, Running};

/// Where a revision that is tried came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Sent as a whole.
    Whole,
    /// Made of a delta.
    Delta,
    /// Tried before, and what was wrong may have healed.
    Again,
    /// Kept on this proxy's disk.
    Disk,
}

/// A revision that is to be tried. Its end is told by [`Intake::ran`] or [`Intake::failed`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// What to run.
    pub revision: Arc<Revision>,
    /// Where it came from.
    pub origin: Origin,
}

/// What an order leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Try this.
    Try(Attempt),
    /// Say this.
    Answer(Reply),
}

/// Why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// It is new here.
    New,
    /// It is of another history than what runs, which is of this one.
    OtherHistory(HistoryId),
    /// It runs already.
    Known,
    /// It is older than what runs, or than what waits to run.
    Stale(RevisionId),
    /// It has crashed this process.
    Parked,
    /// Its number belongs to another content here.
    Doubled,
    /// It is a difference to something that is not at hand.
    NoBase,
}

/// What is wrong with a revision that does not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Its content is unsound or not what was announced.
    Content,
    /// It is sound, and cannot run on this node.
    Node,
    /// It is sound and cannot run now; that may heal without a change.
    Heals,
}

#[derive(Debug, Clone)]
struct Waiting {
    revision: Arc<Revision>,
    problems: Vec<String>,
}

/// What has come, what runs and what waits.
#[derive(Debug, Clone, Default)]
pub struct Intake {
    /// The last that came on this connection, or else what runs: what a difference is made to.
    received: Option<Arc<Revision>>,
    runs: Option<Running>,
    /// The text of what runs.
    text: Option<Arc<Revision>>,
    waiting: Option<Waiting>,
    parked: Vec<Digest>,
}

impl Intake {
    /// Nothing runs yet. What is parked is refused.
    #[must_use]
    pub fn new(parked: Vec<Digest>) -> Self {
        Self { parked, ..Self::default() }
    }

    /// What runs.
    #[must_use]
    pub const fn runs(&self) -> Option<Running> {
        self.runs
    }

    /// What is refused.
    #[must_use]
    pub fn parked(&self) -> &[Digest] {
        &self.parked
    }

    /// Whether a revision waits to be tried again.
    #[must_use]
    pub const fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    /// A new connection to the control plane: what came on the last one is no base any more, but what runs is.
    pub fn opened(&mut self) {
        self.received = self.text.clone();
    }

    /// Decides on an order. Costs a copy of the document for a delta.
    pub fn take(&mut self, order: Order) -> (Step, Reason) {
        let (revision, origin) = match order {
            Order::Revision(revision) => (Arc::new(revision), Origin::Whole),
            Order::Delta(delta) => match self.received.as_ref().map(|base| delta.apply(base)) {
                Some(Ok(revision)) => (Arc::new(revision), Origin::Delta),
                Some(Err(_)) | None => return (Step::Answer(Reply::Lost { id: delta.id }), Reason::NoBase),
            },
        };
        self.received = Some(Arc::clone(&revision));
        self.judge(revision, origin)
    }

    fn judge(&mut self, revision: Arc<Revision>, origin: Origin) -> (Step, Reason) {
        if let Some(newer) = self.newer(&revision) {
            return (Step::Answer(refuse(&revision, vec![behind(newer)], false)), Reason::Stale(newer));
        }
        if self.parked.contains(&revision.digest) {
            return (Step::Answer(refuse(&revision, vec![crashed()], false)), Reason::Parked);
        }
        match self.runs {
            Some(runs) if runs.history != revision.history => {
                self.attempt(revision, origin, Reason::OtherHistory(runs.history))
            }
            Some(runs) if runs.id == revision.id && runs.digest == revision.digest => {
                self.waiting = None;
                (Step::Answer(Reply::Ack { id: runs.id, digest: runs.digest }), Reason::Known)
            }
            Some(runs) if runs.id == revision.id => {
                (Step::Answer(refuse(&revision, vec![doubled(runs)], false)), Reason::Doubled)
            }
            Some(_) | None => self.attempt(revision, origin, Reason::New),
        }
    }

    fn attempt(&mut self, revision: Arc<Revision>, origin: Origin, reason: Reason) -> (Step, Reason) {
        self.waiting = None;
        (Step::Try(Attempt { revision, origin }), reason)
    }

    /// The newer one of the same history that runs or waits.
    fn newer(&self, revision: &Revision) -> Option<RevisionId> {
        let waits = self.waiting.as_ref().map(|waiting| (waiting.revision.history, waiting.revision.id));
        let known = self.runs.map(|runs| (runs.history, runs.id)).into_iter().chain(waits);
        known.filter(|(history, id)| *history == revision.history && *id > revision.id).map(|(_, id)| id).max()
    }

    /// What waits, to be tried once more.
    #[must_use]
    pub fn again(&self) -> Option<Attempt> {
        let waiting = self.waiting.as_ref()?;
        Some(Attempt { revision: Arc::clone(&waiting.revision), origin: Origin::Again })
    }

    /// The revision runs on every worker. Answers with what to say, and lifts what was parked if another content that was
    /// sent runs.
    pub fn ran(&mut self, attempt: &Attempt) -> Reply {
        let Revision { history, id, digest, .. } = *attempt.revision;
        self.runs = Some(Running { history, id, digest });
        self.text = Some(Arc::clone(&attempt.revision));
        self.waiting = None;
        if attempt.origin != Origin::Disk {
            self.parked.clear();
        }
        Reply::Ack { id, digest }
    }

    /// The revision does not run, and what ran before does. Answers with what to say, if it is news.
    pub fn failed(&mut self, attempt: Attempt, problems: Vec<String>, fault: Fault) -> Option<Reply> {
        let Attempt { revision, origin } = attempt;
        if origin == Origin::Delta && fault == Fault::Content {
            self.received = None;
            return Some(Reply::Lost { id: revision.id });
        }
        let before = self.waiting.take();
        let known = before.is_some_and(|before| origin == Origin::Again && before.problems == problems);
        let heals = fault == Fault::Heals;
        let told = (!known && origin != Origin::Disk).then(|| refuse(&revision, problems.clone(), heals));
        self.waiting = heals.then_some(Waiting { revision, problems });
        told
    }
}

fn refuse(revision: &Revision, problems: Vec<String>, retries: bool) -> Reply {
    Reply::Nack { id: revision.id, digest: revision.digest, problems, retries }
}

fn crashed() -> String {
    "this proxy has crashed twice within a minute while it ran this content, and fell back to the revision before; send \
     another content, or stop the proxy in order and start it again to have it tried"
        .to_owned()
}

fn behind(newer: RevisionId) -> String {
    format!(
        "this proxy has revision {newer} of this history already, and does not turn back: is the control plane behind?"
    )
}

fn doubled(runs: Running) -> String {
    format!(
        "revision {} of this history runs here with another content (digest {}); a number means one content for ever: is \
         the store a copy that went on by itself?",
        runs.id, runs.digest
    )
}

#[cfg(test)]
mod tests;
