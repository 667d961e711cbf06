//! What becomes of somebody's wish to change what is live: a proposal for the next revision, or a refusal that says what to
//! do instead.
//!
//! Every intent has one shape: the head, what is wanted, by whom and when go in; a [`Proposal`] or a [`Refusal`] comes out.
//! Nothing here writes. The shell commits the proposal by compare-and-swap on the head it was made for, and asks anew when
//! somebody was faster.
//!
//! **Who owns what.** A service's weights have one owner: the document, as long as the overlay has no entry for the service,
//! else whom the entry names. The obvious other rule, that the last writer wins, is the cause of most trouble elsewhere: a
//! document that is applied for an unrelated reason sets a canary back to what Git held a week ago. So a document that is
//! applied is compared with the one that was applied last, and only what its author changed is an intent ([`apply`]).
//!
//! **What is sound.** The pair of document and overlay, never one without the other. A proposal whose overlay names what its
//! document does not have is never made; whatever ends by itself ([`expire`]) falls back to the document where it must.
//!
//! # Invariants
//! - The pair of every proposal validates, and to the proposal's digest.
//! - No intent changes the weights of a service that somebody else owns, but by `take_weights`, [`shift`] and [`release`]
//!   (which name it) and [`roll_back`] with weights (which restores all).
//! - A proposal differs from its head, in behaviour or in ownership; else it is refused as [`Refusal::Unchanged`].
//! - Overrides are changed by [`lay`], [`lift`] and [`expire`] only.

mod apply;
mod caution;
mod expiry;
mod overrides;
mod refusal;
mod rollback;
mod shift;

use std::sync::Arc;

use sluice_config::name::ServiceName;
use sluice_config::overlay::{Author, LiveWeights, Reason};
use sluice_config::share::Shares;
use sluice_config::timestamp::Timestamp;
use sluice_config::validated::{Service, Validated};
use sluice_config::value::{Digest, RevisionId};
use sluice_config::{Environment, Overlay, Problems};

use crate::revision::{Document, Kind, Revision};

pub use self::apply::apply;
pub use self::caution::caution;
pub use self::expiry::expire;
pub use self::overrides::{BreakerWish, EndpointWish, Wish, lay, lift};
pub use self::refusal::{Owned, Refusal, Unchanged, Unfit};
pub use self::rollback::roll_back;
pub use self::shift::{DEEPEST, LONGEST, Shift, release, shift};

/// What a change is made on top of: the newest revision with its document.
#[derive(Debug, Clone)]
pub struct Head {
    /// As it is stored, but with the digest that this program makes of it: an older one, that knew fewer settings, made another.
    pub revision: Arc<Revision>,
    /// Its document: the one that was applied last.
    pub document: Arc<Document>,
    /// The document, proven, without the overlay.
    pub written: Arc<Validated>,
}

impl Head {
    /// A stored revision with its document. Costs one validation.
    ///
    /// # Errors
    /// When they are no sound pair (any more): then another Sluice wrote them. Places are those in the document's JSON.
    pub fn new(revision: Arc<Revision>, document: Arc<Document>) -> Result<Self, Problems> {
        let digest =
            sluice_config::read_pair(&document.json, &Environment::empty(), &revision.overlay)?.validated.digest;
        let revision = if digest == revision.digest {
            revision
        } else {
            Arc::new(Revision { digest, ..Revision::clone(&revision) })
        };
        let written = Arc::new(sluice_config::validate(&document.json, &Environment::empty())?);
        Ok(Self { revision, document, written })
    }

    /// The document as it is with the overlay: what proxies run.
    #[must_use]
    pub fn effective(&self) -> Validated {
        sluice_config::lay(&self.written, &self.revision.overlay).unwrap_or_else(|_| Validated::clone(&self.written))
    }

    /// How a service's new choices are shared now. Nothing when there is no such service.
    #[must_use]
    pub fn live(&self, service: &ServiceName) -> Option<Shares> {
        match self.revision.overlay.weights.get(service) {
            Some(weights) => Some(weights.shares.clone()),
            None => self.by_document(service),
        }
    }

    /// How the document alone shares them out. Nothing when there is no such service.
    #[must_use]
    pub fn by_document(&self, service: &ServiceName) -> Option<Shares> {
        let versions = &self.find(service).ok()?.versions;
        Shares::of_weights(versions.iter().map(|version| (&version.name, version.weight.get().into())))
    }

    fn find(&self, service: &ServiceName) -> Result<&Service, Refusal> {
        let found = self.written.services.iter().find(|one| one.name == *service);
        found.ok_or_else(|| Refusal::no_service(service, &self.written))
    }

    /// The next revision with this overlay and the same document.
    fn propose(&self, kind: Kind, overlay: Overlay) -> Result<Proposal, Refusal> {
        let before = &self.revision.overlay;
        let digest = if overlay.weights == before.weights && overlay.forces().eq(before.forces()) {
            self.revision.digest
        } else {
            laid(&self.written, &overlay)?
        };
        let parked = self.revision.parked;
        Ok(Proposal { kind, document: None, overlay, digest, restores: None, parked })
    }

    /// The number of the revision after it.
    #[must_use]
    pub fn next(&self) -> RevisionId {
        RevisionId(self.revision.id.0 + 1)
    }
}

/// A proven document on its way in.
#[derive(Debug, Clone, PartialEq)]
pub struct Written {
    /// As it will be stored.
    pub document: Document,
    /// Proven, without any overlay.
    pub validated: Arc<Validated>,
    /// Of the source text, byte for byte.
    pub text: Digest,
}

impl Written {
    /// Proves a text.
    ///
    /// # Errors
    /// All of its problems.
    pub fn new(source: &str, environment: &Environment) -> Result<Self, Problems> {
        let read = sluice_config::read(source, environment)?;
        let document = Document { source: source.to_owned(), json: read.json };
        Ok(Self { document, validated: Arc::new(read.validated), text: Digest::of(source.as_bytes()) })
    }
}

/// The next revision, but for who made it and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// What kind of change it is.
    pub kind: Kind,
    /// Its document, when that is another than the head's.
    pub document: Option<Document>,
    /// What is live on top of the document.
    pub overlay: Overlay,
    /// Of the effective pair.
    pub digest: Digest,
    /// The revision that it goes back to.
    pub restores: Option<RevisionId>,
    /// The digest of the file's text that is not applied until the file holds another.
    pub parked: Option<Digest>,
}

impl Proposal {
    /// As it is stored after the head it was made for, with its document if that may be new to the store.
    ///
    /// # Panics
    /// Without a head, for a proposal that was made for one.
    #[must_use]
    pub fn revision(
        self,
        head: Option<&Head>,
        author: Author,
        reason: Reason,
        now: Timestamp,
    ) -> (Revision, Option<Document>) {
        let held = head.map(|head| head.revision.document);
        let revision = Revision {
            id: head.map_or(RevisionId(1), Head::next),
            kind: self.kind,
            parent: head.map(|head| head.revision.id),
            digest: self.digest,
            document: self.document.as_ref().map(Document::key).or(held).expect("the first revision has a document"),
            overlay: self.overlay,
            author,
            reason,
            at: now,
            file: head.and_then(|head| head.revision.file.clone()),
            restores: self.restores,
            parked: self.parked,
        };
        (revision, self.document)
    }
}

/// The digest of a pair.
fn laid(written: &Validated, overlay: &Overlay) -> Result<Digest, Refusal> {
    let laid = sluice_config::lay(written, overlay);
    laid.map(|laid| laid.digest).map_err(|dangling| Refusal::Unfit(dangling.iter().map(Unfit::from).collect()))
}

/// Whether a document has every version that has a share.
fn fits(weights: &LiveWeights, service: &Service) -> bool {
    weights.shares.iter().all(|(name, _)| service.versions.iter().any(|version| version.name == *name))
}

#[cfg(test)]
mod tests;
