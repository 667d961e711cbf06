//! What a document's file that was read again means: a document to propose, problems to tell, or nothing.
//!
//! **The rule for readings.** A content is acted on when two readings in a row held it. The obvious other rule, to act on
//! any sound text at once, is wrong: the first half of a YAML document is often a sound document with fewer routes, so a
//! reading in the middle of a write would take routes away from live traffic. What an operator [`Asked`](Cause::Asked) for,
//! or the process [`Started`](Cause::Started) with, counts as complete.
//!
//! **What is compared.** First the digest of the text: it answers nearly every reading without a validation. Then that of the
//! effective document: a text that differs only in comments or order of fields makes no revision, unless it ends a parking.
//!
//! **What holds a sound text back.** A rollback parked it: until the file holds another text. A freeze is laid: until it
//! ends, or an operator asks for the file. What is applied refused it, such as weights that somebody else owns or an
//! endpoint that an operator holds: until the text, the live weights or the overrides change, or an operator asks. To try
//! again at each reading would fill the log and the audit with one and the same refusal.
//!
//! **A proposal is not yet a revision.** The shell says by [`hear`](FileSource::hear) what became of it. While it has not,
//! because the store failed or somebody was faster, the next reading proposes again.
//!
//! # Invariants
//! - Only a sound text is proposed: never one that is parked, and none under a freeze but when asked.
//! - The watch acts only on what was read twice in a row.
//! - A content that is refused, unreadable, parked, frozen or declined is told once, until it or its cause changes.
//! - The same content read for the third time has no effect and is no news, once its proposal was answered.

mod reading;
mod reason;

use sluice_config::overlay::{Action, Overlay};
use sluice_config::timestamp::Timestamp;
use sluice_config::value::{Digest, RevisionId};

use crate::change::{Head, Refusal, Written};

pub(crate) use self::reading::Content;
pub use self::reading::{Reading, Unreadable};
pub use self::reason::Reason;

/// Why the file was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The watch: it may have changed, and may still be changing.
    Watch,
    /// The process began. What is read counts as complete.
    Started,
    /// An operator asked for it. What is read counts as complete, and a freeze does not hold it back.
    Asked,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect<P> {
    /// Nothing: what is live goes on.
    Keep,
    /// Apply this, and say by [`FileSource::hear`] what became of it.
    Propose(Written),
    /// Tell these problems; what is live goes on.
    Tell(P),
}

/// What is live while the file is read.
#[derive(Debug, Clone, Copy, Default)]
pub struct Facts<'a> {
    /// Of the effective document without the overlay; nothing before the first.
    pub document: Option<Digest>,
    /// The text that a rollback has parked.
    pub parked: Option<Digest>,
    /// Whether automation is frozen.
    pub frozen: bool,
    /// What stands over the document.
    pub overlay: Option<&'a Overlay>,
}

impl<'a> Facts<'a> {
    /// Those of a head. A freeze that has ended holds no longer, also before its revision is made.
    #[must_use]
    pub fn of(head: Option<&'a Head>, now: Timestamp) -> Self {
        head.map_or_else(Self::default, |head| {
            let overlay = &head.revision.overlay;
            Self {
                document: Some(head.written.digest),
                parked: head.revision.parked,
                frozen: overlay.overrides.values().any(|one| one.action == Action::Freeze && one.expires > now),
                overlay: Some(overlay),
            }
        })
    }
}

/// How the file stands to what is live, for whoever watches from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Whether the file's document is accepted. It is not while its text has problems, it cannot be read, or the control
    /// plane declined it. A change under way counts as accepted until something is known against it.
    pub accepted: bool,
    /// How many times a text of the file was refused for its problems.
    pub refused: u64,
    /// What holds an accepted text back.
    pub held_back: Option<HeldBack>,
}

/// What holds a sound text back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeldBack {
    /// A rollback parked it.
    Parked,
    /// Automation is frozen.
    Frozen,
}

/// What became of a content that is not what is live.
#[derive(Debug, Clone, PartialEq)]
enum Fate {
    Refused,
    Unreadable,
    Parked,
    Frozen,
    /// Not answered yet, with the digest of its effective document.
    Proposed(Digest),
    /// While this stood over the document.
    Declined(Option<Overlay>),
}

/// One watched file: what was last read, and what became of it.
#[derive(Debug, Clone, Default)]
pub struct FileSource {
    seen: Option<Content>,
    /// The text whose document was applied last, or was found to be what is live, with its effective digest.
    held: Option<(Content, Digest)>,
    /// What was acted on and is not what is live.
    acted: Option<(Content, Fate)>,
    refused: u64,
}

impl FileSource {
    /// Decides on one reading. `judge` is called at most once, and only for a content that is to be acted on.
    ///
    /// Costs one digest of the text when nothing changed.
    pub fn step<P>(
        &mut self,
        reading: Reading<'_>,
        cause: Cause,
        facts: &Facts<'_>,
        judge: impl FnOnce(&[u8]) -> Result<Written, P>,
    ) -> (Effect<P>, Reason) {
        let content = Content::of(reading);
        let again = self.seen.as_ref() == Some(&content);
        self.seen = Some(content.clone());
        if self.holds(&content, facts) {
            return (Effect::Keep, self.back(Reason::Unchanged));
        }
        if cause == Cause::Watch && !again {
            return (Effect::Keep, Reason::Settling);
        }
        let still = self.still(&content, facts).filter(|_| cause != Cause::Asked);
        match (reading, still) {
            (_, Some(still)) => (Effect::Keep, still),
            (Reading::Bytes(bytes), None) => self.act(content, cause, facts, || judge(bytes)),
            (Reading::Unreadable(why), None) => {
                self.acted = Some((content, Fate::Unreadable));
                (Effect::Keep, Reason::Unreadable(why.clone()))
            }
        }
    }

    /// Takes note of what became of the last proposal: the revision that it made, or why there is none. An answer that no
    /// proposal waits for changes nothing.
    pub fn hear(&mut self, answer: Result<RevisionId, &Refusal>, facts: &Facts<'_>) -> Reason {
        let Some((content, Fate::Proposed(digest))) = self.acted.take_if(|(_, fate)| matches!(fate, Fate::Proposed(_)))
        else {
            return Reason::Settling;
        };
        match answer {
            Ok(id) => {
                self.held = Some((content, digest));
                Reason::Applied(id)
            }
            Err(Refusal::Unchanged(_)) => {
                self.held = Some((content, digest));
                Reason::Reworded
            }
            Err(refusal) => {
                self.acted = Some((content, Fate::Declined(facts.overlay.cloned())));
                Reason::Declined(refusal.to_string())
            }
        }
    }

    /// Whether the file should be read now, even if nothing shows that it was written: the last content has not been acted
    /// on, or what held it back is gone.
    #[must_use]
    pub fn is_due(&self, facts: &Facts<'_>) -> bool {
        let decided = |content| self.holds(content, facts) || self.still(content, facts).is_some();
        !self.seen.as_ref().is_some_and(decided)
    }

    /// As it is now.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let (accepted, held_back) = match self.acted.as_ref().map(|(_, fate)| fate) {
            Some(Fate::Refused | Fate::Unreadable | Fate::Declined(_)) => (false, None),
            Some(Fate::Parked) => (true, Some(HeldBack::Parked)),
            Some(Fate::Frozen) => (true, Some(HeldBack::Frozen)),
            Some(Fate::Proposed(_)) | None => (true, None),
        };
        Standing { accepted, refused: self.refused, held_back }
    }

    /// Whether this text is known to mean what is live.
    fn holds(&self, content: &Content, facts: &Facts<'_>) -> bool {
        self.held.as_ref().is_some_and(|(held, digest)| held == content && facts.document == Some(*digest))
    }

    /// Why nothing is to be done with a content that was acted on before, if that still holds.
    fn still(&self, content: &Content, facts: &Facts<'_>) -> Option<Reason> {
        let (_, fate) = self.acted.as_ref().filter(|(acted, _)| acted == content)?;
        match fate {
            Fate::Refused => Some(Reason::StillRefused),
            Fate::Unreadable => Some(Reason::StillUnreadable),
            Fate::Parked => is_parked(content, facts).then_some(Reason::StillParked),
            Fate::Frozen => facts.frozen.then_some(Reason::StillFrozen),
            Fate::Declined(overlay) => (overlay.as_ref() == facts.overlay).then_some(Reason::StillDeclined),
            Fate::Proposed(_) => None,
        }
    }

    /// The file holds what is live: again, if something was wrong or held back before.
    fn back(&mut self, otherwise: Reason) -> Reason {
        let faulty = !self.standing().accepted;
        self.acted = None;
        if faulty { Reason::Restored } else { otherwise }
    }

    fn act<P>(
        &mut self,
        content: Content,
        cause: Cause,
        facts: &Facts<'_>,
        judge: impl FnOnce() -> Result<Written, P>,
    ) -> (Effect<P>, Reason) {
        if is_parked(&content, facts) {
            self.acted = Some((content, Fate::Parked));
            return (Effect::Keep, Reason::Parked);
        }
        match judge() {
            Err(problems) => {
                self.acted = Some((content, Fate::Refused));
                self.refused += 1;
                (Effect::Tell(problems), Reason::Refused)
            }
            Ok(written) => self.weigh(content, cause, facts, written),
        }
    }

    /// Decides on a sound text.
    fn weigh<P>(&mut self, content: Content, cause: Cause, facts: &Facts<'_>, written: Written) -> (Effect<P>, Reason) {
        let digest = written.validated.digest;
        if facts.document == Some(digest) && facts.parked.is_none() {
            let first = self.held.replace((content, digest)).is_none();
            return (Effect::Keep, self.back(if first { Reason::Unchanged } else { Reason::Reworded }));
        }
        if facts.frozen && cause != Cause::Asked {
            self.acted = Some((content, Fate::Frozen));
            return (Effect::Keep, Reason::Frozen);
        }
        self.acted = Some((content, Fate::Proposed(digest)));
        (Effect::Propose(written), Reason::Changed)
    }
}

fn is_parked(content: &Content, facts: &Facts<'_>) -> bool {
    matches!(content, Content::Bytes(digest) if facts.parked == Some(*digest))
}

#[cfg(test)]
mod tests;
