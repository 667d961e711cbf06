//! What a document file that was read again means, and what a proxy's reply to it: a new revision, a refusal to tell, or
//! nothing.
//!
//! **The rule for readings.** A content is acted on when two readings in a row held it. The obvious other rule, to act on
//! any sound text at once, is wrong: the first half of a YAML document is often a sound document with fewer routes, so a
//! reading in the middle of a write would take routes away from live traffic. An operator who asks for a reading says
//! that the file is complete; what was [`Asked`](Cause::Asked) for is acted on at once.
//!
//! **The rule for replies.** What runs is what the proxy last said it runs, never what was sent. A sound document may be
//! refused there for what heals without a change of the file, such as a port in use; so it is sent again, with a new
//! number, [`RETRY`] after each refusal for as long as the file holds it, and at once when the file is written or an
//! operator asks. To wait for a change of the file would leave a healed cause without effect.
//!
//! **What is compared.** First the digest of the text: it answers nearly every reading without a validation. Then the
//! digest of the effective document: a text that differs only in comments or order of fields is no change of behaviour
//! and gets no revision.
//!
//! # Invariants
//! - Revisions are numbered 1, 2, 3 without a gap, and only a sound text gets a number.
//! - Two revisions in a row differ in the digest of their document, unless the proxy refused the first.
//! - What is told to run is the newest revision that the proxy acknowledged.
//! - A refused or unreadable file changes nothing, and is told once until it holds something else; so is a document that
//!   the proxy refuses, until the proxy gives another cause.
//! - The same content read for the third time has no effect and is no news, while the proxy does not refuse it.

mod reason;

use std::time::Duration;

use sluice_config::Overlay;
use sluice_config::value::{Digest, HistoryId, RevisionId};
use sluice_config::wire::{Reply, Revision};

pub use self::reason::Reason;
pub use crate::file::{Reading, Unreadable};

use crate::file::Content;

/// Between a refusal by the proxy and the next try of the same document.
pub const RETRY: Duration = Duration::from_secs(10);

/// Why the file was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The watch: it may have changed, and may still be changing.
    Watch,
    /// The watch saw that it was written, perhaps with what it held before, and perhaps not yet to its end.
    Written,
    /// An operator asked for it: what is read counts as complete.
    Asked,
}

/// A text that was proven sound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sound {
    /// Of the effective document.
    pub digest: Digest,
    /// The document after substitution, as JSON text.
    pub document: String,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect<P> {
    /// Nothing: what runs goes on.
    Keep,
    /// Send this to the proxies.
    Issue(Revision),
    /// Tell these problems; what runs goes on.
    Tell(P),
}

/// How the file stands to what runs, for whoever watches from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Whether the file's document is accepted. It is not while its text has problems, it cannot be read, or the proxy
    /// refuses it. A change under way counts as accepted until something is known against it.
    pub accepted: bool,
    /// How many times a text of the file was refused for its problems. Refusals by the proxy are not among them.
    pub refused: u64,
}

/// A numbered document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Numbered {
    id: RevisionId,
    document: Digest,
}

/// What the proxy said to the revision that is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// Nothing yet.
    Awaited,
    /// It runs.
    Runs,
    /// It does not, and is to be sent again from then on.
    Refused { retry: Duration },
}

/// Why the proxy refused a document.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Refusal {
    document: Digest,
    problems: Vec<String>,
}

/// One watched file: which revisions came from it, which of them runs, and what was last read and told.
///
/// `now` is the time since any one moment that stays the same, and does not go back.
#[derive(Debug, Clone)]
pub struct FileSource {
    /// As the proxy said.
    runs: Numbered,
    /// What the file last held soundly. Its number is the last one given out, or that of what runs.
    wanted: Numbered,
    answer: Answer,
    /// The text of `wanted`.
    held: Content,
    /// The last number given out.
    last: RevisionId,
    /// The latest refusal by the proxy, until what the file holds runs.
    refusal: Option<Refusal>,
    /// Whether somebody waits for the answer, be it the one of before.
    asked: bool,
    seen: Content,
    told: Option<Content>,
    refused: u64,
}

impl FileSource {
    /// Begins with the first content, which becomes revision 1 if `judge` finds it sound. It counts as running: a proxy
    /// whose first revision does not run does not begin.
    ///
    /// # Errors
    /// What `judge` found.
    pub fn begin<P>(bytes: &[u8], judge: impl FnOnce(&[u8]) -> Result<Sound, P>) -> Result<(Self, Revision), P> {
        let sound = judge(bytes)?;
        let held = Content::of(Reading::Bytes(bytes));
        let first = Numbered { id: RevisionId(1), document: sound.digest };
        let source = Self {
            runs: first,
            wanted: first,
            answer: Answer::Runs,
            last: first.id,
            refusal: None,
            asked: false,
            seen: held.clone(),
            held,
            told: None,
            refused: 0,
        };
        Ok((source, revision(first.id, sound)))
    }

    /// Decides on one reading. `judge` is called at most once, and only for a content that is to be acted on.
    ///
    /// Costs one digest of the text when nothing changed.
    pub fn step<P>(
        &mut self,
        reading: Reading<'_>,
        cause: Cause,
        now: Duration,
        judge: impl FnOnce(&[u8]) -> Result<Sound, P>,
    ) -> (Effect<P>, Reason) {
        let content = Content::of(reading);
        let same = self.seen == content;
        self.seen = content.clone();
        if content == self.held {
            if !self.is_to_retry(cause, now) {
                return (Effect::Keep, self.back());
            }
        } else if cause != Cause::Asked && !same {
            return (Effect::Keep, Reason::Settling);
        }
        let again = cause != Cause::Asked && self.told.as_ref() == Some(&content);
        match reading {
            Reading::Bytes(_) if again => (Effect::Keep, Reason::StillRefused(self.runs.id)),
            Reading::Unreadable(_) if again => (Effect::Keep, Reason::StillUnreadable(self.runs.id)),
            Reading::Bytes(bytes) => self.act(content, cause, judge(bytes)),
            Reading::Unreadable(why) => {
                self.told = Some(content);
                (Effect::Keep, Reason::Unreadable(why.clone(), self.runs.id))
            }
        }
    }

    /// Decides on what the proxy said to a revision. Nothing is to be done at once: a refused document goes out again
    /// from [`step`](Self::step).
    pub fn hear(&mut self, reply: &Reply, now: Duration) -> Reason {
        match reply {
            Reply::Ack { id, .. } if *id < self.runs.id || *id > self.last => Reason::Overtaken(*id),
            Reply::Ack { id, digest } => {
                self.runs = Numbered { id: *id, document: *digest };
                if *id == self.wanted.id {
                    self.answer = Answer::Runs;
                    self.refusal = None;
                }
                Reason::Runs(*id)
            }
            Reply::Nack { id, .. } if *id != self.wanted.id || self.answer != Answer::Awaited => Reason::Overtaken(*id),
            Reply::Nack { problems, .. } => self.hear_refusal(problems, now),
            Reply::Hello(_) | Reply::Lost { .. } | Reply::Report(_) => Reason::Overtaken(self.runs.id),
        }
    }

    fn hear_refusal(&mut self, problems: &[String], now: Duration) -> Reason {
        self.answer = Answer::Refused { retry: now + RETRY };
        let refusal = Some(Refusal { document: self.wanted.document, problems: problems.to_vec() });
        let known = self.refusal == refusal;
        self.refusal = refusal;
        if known && !self.asked {
            Reason::StillUnfit(self.wanted.id, self.runs.id)
        } else {
            Reason::Unfit(self.wanted.id, self.runs.id)
        }
    }

    /// Whether the last content that was read has been acted on. While not, the file should be read again soon.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.seen == self.held || self.told.as_ref() == Some(&self.seen)
    }

    /// Whether the file should be read now, even if nothing shows that it was written.
    #[must_use]
    pub fn is_due(&self, now: Duration) -> bool {
        !self.is_settled() || (self.seen == self.held && self.is_to_retry(Cause::Watch, now))
    }

    /// The revision that the proxy runs.
    #[must_use]
    pub const fn runs(&self) -> RevisionId {
        self.runs.id
    }

    /// As it is now.
    #[must_use]
    pub const fn standing(&self) -> Standing {
        Standing { accepted: self.told.is_none() && self.refusal.is_none(), refused: self.refused }
    }

    /// Whether what the file holds was refused by the proxy and is to go there again. A file that comes back to it was
    /// written, too.
    fn is_to_retry(&self, cause: Cause, now: Duration) -> bool {
        match self.answer {
            Answer::Refused { retry } => cause != Cause::Watch || self.told.is_some() || now >= retry,
            Answer::Awaited | Answer::Runs => false,
        }
    }

    /// The file holds the text of what is wanted.
    fn back(&mut self) -> Reason {
        let told = self.told.take().is_some();
        match self.answer {
            Answer::Awaited => Reason::Awaited(self.wanted.id, self.runs.id),
            Answer::Refused { .. } => Reason::StillUnfit(self.wanted.id, self.runs.id),
            Answer::Runs if told => Reason::Restored(self.runs.id),
            Answer::Runs => Reason::Unchanged(self.runs.id),
        }
    }

    fn act<P>(&mut self, content: Content, cause: Cause, verdict: Result<Sound, P>) -> (Effect<P>, Reason) {
        match verdict {
            Err(problems) => {
                self.told = Some(content);
                self.refused += 1;
                (Effect::Tell(problems), Reason::Refused(self.runs.id))
            }
            Ok(sound) => {
                self.held = content;
                match self.answer {
                    Answer::Awaited if sound.digest == self.wanted.document => (Effect::Keep, self.back()),
                    Answer::Runs | Answer::Refused { .. } if sound.digest == self.runs.document => {
                        (Effect::Keep, self.come_back())
                    }
                    Answer::Awaited | Answer::Runs | Answer::Refused { .. } => self.issue(sound, cause),
                }
            }
        }
    }

    /// The file holds the document that runs, in another text than before.
    fn come_back(&mut self) -> Reason {
        self.wanted = self.runs;
        self.answer = Answer::Runs;
        let lost = self.told.take().is_some() | self.refusal.take().is_some();
        if lost { Reason::Restored(self.runs.id) } else { Reason::Reworded(self.runs.id) }
    }

    fn issue<P>(&mut self, sound: Sound, cause: Cause) -> (Effect<P>, Reason) {
        self.told = None;
        self.last = RevisionId(self.last.0 + 1);
        self.wanted = Numbered { id: self.last, document: sound.digest };
        self.answer = Answer::Awaited;
        self.asked = cause != Cause::Watch;
        let known = self.refusal.as_ref().is_some_and(|refusal| refusal.document == sound.digest);
        let reason = if known { Reason::Again } else { Reason::Changed };
        (Effect::Issue(revision(self.last, sound)), reason(self.last, self.runs.id))
    }
}

fn revision(id: RevisionId, sound: Sound) -> Revision {
    let history = HistoryId::from_bits(0);
    Revision { history, id, digest: sound.digest, document: sound.document, overlay: Overlay::default() }
}

#[cfg(test)]
mod tests;
