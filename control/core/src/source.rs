//! What a document file that was read again means: a new revision, a refusal to tell, or nothing.
//!
//! **The rule.** A content is acted on when two readings in a row held it. The obvious other rule, to act on any sound
//! text at once, is wrong: the first half of a YAML document is often a sound document with fewer routes, so a reading
//! in the middle of a write would take routes away from live traffic. An operator who asks for a reading says that the
//! file is complete; what was [`Asked`](Cause::Asked) for is acted on at once.
//!
//! **What is compared.** First the digest of the text: it answers nearly every reading without a validation. Then the
//! digest of the effective document: a text that differs only in comments or order of fields is no change of behaviour
//! and gets no revision.
//!
//! # Invariants
//! - Revisions are numbered 1, 2, 3 without a gap, and only a sound text gets a number.
//! - Two revisions in a row differ in the digest of their document.
//! - A refused or unreadable file changes nothing, and is told once until it holds something else.
//! - The same content read for the third time has no effect and is no news.

use std::fmt;

use sluice_config::value::{Digest, RevisionId};
use sluice_config::wire::Revision;

/// What one reading of the file gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading<'a> {
    /// All of its bytes.
    Bytes(&'a [u8]),
    /// None, and why.
    Unreadable(&'a Unreadable),
}

/// Why a file could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unreadable {
    /// Nothing has this name, or a symbolic link leads nowhere.
    Missing,
    /// A folder, a pipe or a device.
    NotAFile,
    /// More bytes than a document may have.
    TooLarge {
        /// The most that is accepted, in bytes.
        limit: u64,
    },
    /// The system refused, in its words.
    Failed(String),
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("there is no such file"),
            Self::NotAFile => f.write_str("it is not a regular file"),
            Self::TooLarge { limit } => write!(f, "it is larger than {limit} bytes"),
            Self::Failed(words) => f.write_str(words),
        }
    }
}

impl std::error::Error for Unreadable {}

/// Why the file was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The watch: it may have changed, and may still be changing.
    Watch,
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

/// Why it is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// The file holds what runs.
    Unchanged(RevisionId),
    /// It holds something else than at the last reading, and may still be being written.
    Settling,
    /// A sound document with another meaning.
    Changed(RevisionId),
    /// Another text for the same document.
    Reworded(RevisionId),
    /// A text with problems, which go with it.
    Refused(RevisionId),
    /// The same text with problems as before.
    StillRefused(RevisionId),
    /// No text.
    Unreadable(Unreadable, RevisionId),
    /// Still no text, for the same cause.
    StillUnreadable(RevisionId),
    /// After a refused text or none, what runs again.
    Restored(RevisionId),
}

impl Reason {
    /// Whether an operator who did not ask should hear of it.
    #[must_use]
    pub const fn is_news(&self) -> bool {
        match self {
            Self::Changed(_) | Self::Reworded(_) | Self::Refused(_) | Self::Unreadable(..) | Self::Restored(_) => true,
            Self::Unchanged(_) | Self::Settling | Self::StillRefused(_) | Self::StillUnreadable(_) => false,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unchanged(head) => write!(f, "the file holds what runs as revision {head}"),
            Self::Settling => f.write_str("the file changed and may still be being written; it is read once more"),
            Self::Changed(head) => write!(f, "the document changed: revision {head}"),
            Self::Reworded(head) => write!(f, "the text changed but not its meaning; revision {head} goes on"),
            Self::Refused(head) => write!(f, "the file is refused; revision {head} goes on"),
            Self::StillRefused(head) => write!(f, "the file is still refused; revision {head} goes on"),
            Self::Unreadable(why, head) => write!(f, "the file cannot be read: {why}; revision {head} goes on"),
            Self::StillUnreadable(head) => write!(f, "the file still cannot be read; revision {head} goes on"),
            Self::Restored(head) => write!(f, "the file is back and holds what runs as revision {head}"),
        }
    }
}

/// What a reading held, small enough to remember.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Content {
    Bytes(Digest),
    Unreadable(Unreadable),
}

impl Content {
    fn of(reading: Reading<'_>) -> Self {
        match reading {
            Reading::Bytes(bytes) => Self::Bytes(Digest::of(bytes)),
            Reading::Unreadable(why) => Self::Unreadable(why.clone()),
        }
    }
}

/// One watched file: which revision came from it, and what was last read and told.
#[derive(Debug, Clone)]
pub struct FileSource {
    head: RevisionId,
    document: Digest,
    runs: Content,
    seen: Content,
    told: Option<Content>,
}

impl FileSource {
    /// Begins with the first content, which becomes revision 1 if `judge` finds it sound.
    ///
    /// # Errors
    /// What `judge` found.
    pub fn begin<P>(bytes: &[u8], judge: impl FnOnce(&[u8]) -> Result<Sound, P>) -> Result<(Self, Revision), P> {
        let sound = judge(bytes)?;
        let runs = Content::of(Reading::Bytes(bytes));
        let head = RevisionId(1);
        let source = Self { head, document: sound.digest, seen: runs.clone(), runs, told: None };
        Ok((source, Revision { id: head, digest: sound.digest, document: sound.document }))
    }

    /// Decides on one reading. `judge` is called at most once, and only for a content that is to be acted on.
    ///
    /// Costs one digest of the text when nothing changed.
    pub fn step<P>(
        &mut self,
        reading: Reading<'_>,
        cause: Cause,
        judge: impl FnOnce(&[u8]) -> Result<Sound, P>,
    ) -> (Effect<P>, Reason) {
        let content = Content::of(reading);
        let same = self.seen == content;
        self.seen = content.clone();
        if content == self.runs {
            return (Effect::Keep, self.back());
        }
        if cause == Cause::Watch && !same {
            return (Effect::Keep, Reason::Settling);
        }
        let again = cause == Cause::Watch && self.told.as_ref() == Some(&content);
        match reading {
            Reading::Bytes(_) if again => (Effect::Keep, Reason::StillRefused(self.head)),
            Reading::Unreadable(_) if again => (Effect::Keep, Reason::StillUnreadable(self.head)),
            Reading::Bytes(bytes) => self.act(content, judge(bytes)),
            Reading::Unreadable(why) => {
                self.told = Some(content);
                (Effect::Keep, Reason::Unreadable(why.clone(), self.head))
            }
        }
    }

    /// Whether the last content that was read has been acted on. While not, the file should be read again soon.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.seen == self.runs || self.told.as_ref() == Some(&self.seen)
    }

    /// The number of the latest revision that came from this file.
    #[must_use]
    pub const fn head(&self) -> RevisionId {
        self.head
    }

    fn back(&mut self) -> Reason {
        match self.told.take() {
            Some(_) => Reason::Restored(self.head),
            None => Reason::Unchanged(self.head),
        }
    }

    fn act<P>(&mut self, content: Content, verdict: Result<Sound, P>) -> (Effect<P>, Reason) {
        match verdict {
            Err(problems) => {
                self.told = Some(content);
                (Effect::Tell(problems), Reason::Refused(self.head))
            }
            Ok(sound) => {
                self.runs = content;
                self.told = None;
                self.issue(sound)
            }
        }
    }

    fn issue<P>(&mut self, sound: Sound) -> (Effect<P>, Reason) {
        if sound.digest == self.document {
            return (Effect::Keep, Reason::Reworded(self.head));
        }
        self.head = RevisionId(self.head.0 + 1);
        self.document = sound.digest;
        let revision = Revision { id: self.head, digest: sound.digest, document: sound.document };
        (Effect::Issue(revision), Reason::Changed(self.head))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A text is sound when it begins with `=`; its meaning is what stands before the first `#`.
    fn judge(bytes: &[u8]) -> Result<Sound, String> {
        let text = std::str::from_utf8(bytes).unwrap();
        let meaning = text.split('#').next().unwrap();
        if !meaning.starts_with('=') {
            return Err(format!("{text} is bad"));
        }
        Ok(Sound { digest: Digest::of(meaning.as_bytes()), document: meaning.to_owned() })
    }

    fn source(text: &str) -> FileSource {
        FileSource::begin(text.as_bytes(), judge).unwrap().0
    }

    fn watch(source: &mut FileSource, text: &str) -> (Effect<String>, Reason) {
        source.step(Reading::Bytes(text.as_bytes()), Cause::Watch, judge)
    }

    fn vanish(source: &mut FileSource) -> (Effect<String>, Reason) {
        source.step(Reading::Unreadable(&Unreadable::Missing), Cause::Watch, judge)
    }

    const HEAD: RevisionId = RevisionId(1);

    #[test]
    fn the_first_text_is_revision_1_or_nothing() {
        let (source, revision) = FileSource::begin(b"=a", judge).unwrap();
        assert_eq!((source.head(), revision.id, revision.document.as_str()), (HEAD, HEAD, "=a"));
        assert!(source.is_settled());
        assert_eq!(FileSource::begin(b"a", judge).unwrap_err(), "a is bad");
    }

    #[test]
    fn a_change_waits_for_a_second_reading() {
        let mut source = source("=a");
        assert_eq!(watch(&mut source, "=b"), (Effect::Keep, Reason::Settling));
        assert!(!source.is_settled());
        let (effect, reason) = watch(&mut source, "=b");
        assert_eq!(reason, Reason::Changed(RevisionId(2)));
        assert!(matches!(effect, Effect::Issue(r) if r.id == RevisionId(2) && r.document == "=b"));
        assert!(source.is_settled());
    }

    #[test]
    fn what_was_asked_for_does_not_wait() {
        let mut source = source("=a");
        let (_, reason) = source.step(Reading::Bytes(b"=b"), Cause::Asked, judge);
        assert_eq!(reason, Reason::Changed(RevisionId(2)));
        assert!(matches!(source.step(Reading::Bytes(b"x"), Cause::Asked, judge).0, Effect::Tell(_)));
        assert!(matches!(source.step(Reading::Bytes(b"x"), Cause::Asked, judge).0, Effect::Tell(_)), "asked again");
    }

    #[test]
    fn a_refused_text_is_told_once_and_what_runs_goes_on() {
        let mut source = source("=a");
        watch(&mut source, "x");
        assert_eq!(watch(&mut source, "x"), (Effect::Tell("x is bad".to_owned()), Reason::Refused(HEAD)));
        assert_eq!(watch(&mut source, "x"), (Effect::Keep, Reason::StillRefused(HEAD)));
        assert!(source.is_settled());
        assert_eq!(watch(&mut source, "=a"), (Effect::Keep, Reason::Restored(HEAD)));
        assert_eq!(watch(&mut source, "=a"), (Effect::Keep, Reason::Unchanged(HEAD)));
    }

    #[test]
    fn a_file_that_vanishes_is_told_once_and_its_return_too() {
        let mut source = source("=a");
        assert_eq!(vanish(&mut source), (Effect::Keep, Reason::Settling));
        assert_eq!(vanish(&mut source), (Effect::Keep, Reason::Unreadable(Unreadable::Missing, HEAD)));
        assert_eq!(vanish(&mut source), (Effect::Keep, Reason::StillUnreadable(HEAD)));
        assert_eq!(watch(&mut source, "=a"), (Effect::Keep, Reason::Restored(HEAD)));
    }

    #[test]
    fn an_editor_that_renames_is_not_told_as_a_loss() {
        let mut source = source("=a");
        vanish(&mut source);
        assert_eq!(watch(&mut source, "=a"), (Effect::Keep, Reason::Unchanged(HEAD)));
    }

    #[test]
    fn a_comment_is_no_revision() {
        let mut source = source("=a");
        watch(&mut source, "=a#more");
        assert_eq!(watch(&mut source, "=a#more"), (Effect::Keep, Reason::Reworded(HEAD)));
        assert_eq!(watch(&mut source, "=a#more"), (Effect::Keep, Reason::Unchanged(HEAD)));
    }

    const CONTENTS: [&str; 7] = ["=a", "=b", "=c", "=a#1", "=b#1", "x", "y"];

    /// An index above the contents is a file that cannot be read.
    fn read<'a>(index: usize) -> Reading<'a> {
        CONTENTS.get(index).map_or(Reading::Unreadable(&Unreadable::Missing), |text| Reading::Bytes(text.as_bytes()))
    }

    fn cause(asked: bool) -> Cause {
        if asked { Cause::Asked } else { Cause::Watch }
    }

    proptest! {
        #[test]
        fn revisions_count_up_and_each_changes_the_meaning(
            steps in prop::collection::vec((0..=CONTENTS.len(), prop::bool::weighted(0.1)), 0..80),
        ) {
            let (mut source, mut last) = FileSource::begin(b"=a", judge).unwrap();
            for (index, asked) in steps {
                if let Effect::Issue(next) = source.step(read(index), cause(asked), judge).0 {
                    prop_assert_eq!(next.id.0, last.id.0 + 1);
                    prop_assert_ne!(next.digest, last.digest);
                    prop_assert!(next.document.starts_with('='));
                    last = next;
                }
                prop_assert_eq!(source.head(), last.id);
            }
        }

        #[test]
        fn a_sound_text_read_twice_runs(steps in prop::collection::vec(0..=CONTENTS.len(), 0..40), end in 0..5_usize) {
            let (mut source, mut last) = FileSource::begin(b"=a", judge).unwrap();
            for index in steps.into_iter().chain([end, end]) {
                if let Effect::Issue(next) = source.step(read(index), Cause::Watch, judge).0 {
                    last = next;
                }
            }
            prop_assert_eq!(last.digest, judge(CONTENTS[end].as_bytes()).unwrap().digest);
            prop_assert!(source.is_settled());
        }

        #[test]
        fn the_watch_acts_only_on_what_was_read_twice(steps in prop::collection::vec(0..=CONTENTS.len(), 1..60)) {
            let mut source = source("=a");
            let mut before = 0;
            for index in steps {
                let (effect, reason) = source.step(read(index), Cause::Watch, judge);
                prop_assert!(effect == Effect::Keep || index == before, "{reason}");
                before = index;
            }
        }

        #[test]
        fn the_third_reading_is_never_news(steps in prop::collection::vec(0..=CONTENTS.len(), 1..40)) {
            let mut source = source("=a");
            for index in steps {
                source.step(read(index), Cause::Watch, judge);
                source.step(read(index), Cause::Watch, judge);
                let (effect, reason) = source.step(read(index), Cause::Watch, judge);
                prop_assert!(effect == Effect::Keep && !reason.is_news(), "{reason}");
            }
        }
    }
}
