//! What operators ask for, from the request to its answer.

use std::sync::Arc;
use std::time::Duration;

use sluice_config::Environment;
use sluice_config::name::ServiceName;
use sluice_config::overlay::{Author, EndpointForce, Reason};
use sluice_config::value::RevisionId;
use sluice_control_core::change::{self, Proposal, Refusal, Shift, Wish};
use sluice_control_core::revision::{Document, Revision};
use tokio::sync::oneshot;

use super::{Current, Decided, Reconciler, Source, TRIES, WriteError};
use crate::store::{Answered, CommitError, Once};

/// Who asks, and from where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Who {
    /// Who.
    pub(crate) author: Author,
    /// An address, `unix`, `file` or `sluice`.
    pub(crate) origin: String,
}

/// What is to be changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Intent {
    /// Let this document be the document.
    Apply {
        /// As it was written.
        text: String,
        /// Whether weights that are somebody else's become the document's.
        take_weights: bool,
    },
    /// Share a service's new choices like this.
    Shift(Shift),
    /// Give a service's weights back to the document.
    Release(ServiceName),
    /// Go back to an earlier document.
    RollBack {
        /// To that of this revision.
        to: RevisionId,
        /// And to its weights.
        weights: bool,
    },
    /// Lay an override.
    Lay {
        /// What it does.
        wish: Wish,
        /// How long it lasts.
        lasts: Duration,
    },
    /// Lift an override.
    Lift(RevisionId),
}

impl Intent {
    /// A word for the audit log.
    const fn action(&self) -> &'static str {
        match self {
            Self::Apply { .. } => "apply",
            Self::Shift(_) => "shift",
            Self::Release(_) => "release",
            Self::RollBack { .. } => "rollback",
            Self::Lay { wish: Wish::Freeze, .. } => "freeze",
            Self::Lay { wish: Wish::Endpoint(_), .. } => "force-endpoint",
            Self::Lay { wish: Wish::Breaker(_), .. } => "force-breaker",
            Self::Lift(_) => "lift",
        }
    }

    fn target(&self) -> String {
        match self {
            Self::Apply { .. } => "document".to_owned(),
            Self::Shift(shift) => shift.service.to_string(),
            Self::Release(service) => service.to_string(),
            Self::RollBack { to, .. } => format!("revision {to}"),
            Self::Lay { wish, .. } => wish.to_string(),
            Self::Lift(id) => format!("override {id}"),
        }
    }
}

/// A request to the writer.
#[derive(Debug)]
pub(crate) struct Request {
    /// What.
    pub(crate) intent: Intent,
    /// Who.
    pub(crate) who: Who,
    /// Why.
    pub(crate) reason: Reason,
    /// The head that it was made for, if it matters.
    pub(crate) expected: Option<RevisionId>,
    /// How its repetition is known.
    pub(crate) once: Option<Once>,
    /// Where the answer goes.
    pub(crate) reply: oneshot::Sender<Result<Done, WriteError>>,
}

/// What a request did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Done {
    /// The revision that it made; the head if nothing was to change.
    pub(crate) revision: Arc<Revision>,
    /// Whether something changed.
    pub(crate) changed: bool,
    /// Why nothing did, and what to do if something should; or what to look out for now that it did.
    pub(crate) note: Option<String>,
}

impl Reconciler {
    pub(super) async fn serve(&mut self, request: Request) {
        let Request { intent, who, reason, expected, once, reply } = request;
        if reply.is_closed() {
            // Whoever asked has given up: what they do not wait for must not happen minutes later.
            return tracing::info!(author = %who.author, action = intent.action(), "nobody waits for it any more");
        }
        let answer = self.carry_out(&intent, &who, &reason, expected, once).await;
        match &answer {
            Ok(done) if done.changed => {
                let (author, action) = (&who.author, intent.action());
                tracing::info!(revision = done.revision.id.0, %author, action, target = intent.target(), %reason, "changed");
            }
            Ok(_) => {}
            Err(error) => {
                let (author, action) = (&who.author, intent.action());
                tracing::warn!(%author, action, target = intent.target(), %error, "refused");
                self.refused(&who, action, intent.target(), Some(reason), error).await;
            }
        }
        self.reread().await;
        // Whoever asked may have gone away.
        let _ = reply.send(answer);
    }

    async fn carry_out(
        &self,
        intent: &Intent,
        who: &Who,
        reason: &Reason,
        expected: Option<RevisionId>,
        once: Option<Once>,
    ) -> Result<Done, WriteError> {
        if let Some(once) = &once
            && let Some(answered) = self.equipment.store.answered(&once.key).await?
        {
            return self.again(once, &answered).await;
        }
        self.refresh().await?;
        for _ in 0..TRIES {
            let head = self.head();
            expect(expected, head.as_deref())?;
            let proposal = match self.decide(head.as_deref(), intent, who, reason).await {
                Err(WriteError::Refused(refusal)) if matches!(*refusal, Refusal::Unchanged(_)) => {
                    let current = head.ok_or(WriteError::Empty)?;
                    let note = Some(format!("{refusal}; {}", refusal.hint()));
                    return Ok(Done { revision: Arc::clone(&current.head.revision), changed: false, note });
                }
                proposal => proposal?,
            };
            let decided = Decided {
                proposal,
                who,
                reason: reason.clone(),
                action: intent.action(),
                target: intent.target(),
                once: once.clone(),
                source: if matches!(intent, Intent::Apply { .. }) { Source::Sent } else { Source::Same },
            };
            match self.commit(head.as_deref(), decided).await {
                Ok(done) => return Ok(self.cautioned(done)),
                Err(CommitError::Conflict(_)) => self.refresh().await?,
                Err(CommitError::Answered(answered)) => {
                    let once = once.as_ref().expect("only a request with a key can have been answered");
                    return self.again(once, &answered).await;
                }
                Err(CommitError::Store(error)) => return Err(error.into()),
            }
        }
        Err(WriteError::Busy)
    }

    /// With what to look out for, if what was done is the head still.
    fn cautioned(&self, done: Done) -> Done {
        let head = self.head().filter(|current| current.head.revision.id == done.revision.id);
        let standing = |force: &EndpointForce| self.equipment.distributor.pool_standing(force);
        Done { note: head.and_then(|current| change::caution(&current.head, standing)), ..done }
    }

    /// The answer to a request that was carried out before.
    async fn again(&self, once: &Once, answered: &Answered) -> Result<Done, WriteError> {
        if answered.request != once.request {
            let key = once.key.rsplit('\n').next().unwrap_or_default();
            return Err(WriteError::OtherRequest(key.to_owned()));
        }
        let (revision, _) = self.stored(answered.revision).await?;
        Ok(Done { revision, changed: true, note: None })
    }

    async fn stored(&self, id: RevisionId) -> Result<(Arc<Revision>, Arc<Document>), WriteError> {
        let store = &self.equipment.store;
        let revision = store.get(id).await?.ok_or(WriteError::NoRevision(id))?;
        let document = store.document(revision.document).await?.ok_or(WriteError::NoRevision(id))?;
        Ok((revision, document))
    }

    async fn decide(
        &self,
        head: Option<&Current>,
        intent: &Intent,
        who: &Who,
        reason: &Reason,
    ) -> Result<Proposal, WriteError> {
        let now = self.now();
        let present = || head.map(|current| &*current.head).ok_or(WriteError::Empty);
        Ok(match intent {
            Intent::Apply { text, take_weights } => {
                if let Some(watched) = &self.watched {
                    return Err(WriteError::FileMode(watched.file()));
                }
                let written = self.equipment.judge.sent(text).map_err(Refusal::Problems)?;
                change::apply(head.map(|current| &*current.head), &written, *take_weights, &Environment::empty())?
            }
            Intent::Shift(shift) => change::shift(present()?, shift, &who.author, reason, now)?,
            Intent::Release(service) => change::release(present()?, service)?,
            Intent::RollBack { to, weights } => {
                let present = present()?;
                let (revision, document) = self.stored(*to).await?;
                let file = self.watched.as_ref().and_then(super::Watched::text);
                change::roll_back(present, &revision, &document, *weights, file, now)?
            }
            Intent::Lay { wish, lasts } => change::lay(present()?, wish, *lasts, &who.author, reason, now)?,
            Intent::Lift(id) => change::lift(present()?, *id)?,
        })
    }
}

fn expect(expected: Option<RevisionId>, head: Option<&Current>) -> Result<(), WriteError> {
    let head = head.map(|current| current.head.revision.id);
    match expected {
        Some(expected) if head != Some(expected) => Err(WriteError::Stale { expected, head }),
        Some(_) | None => Ok(()),
    }
}
