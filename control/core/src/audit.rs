//! The record of what was changed, denied and decided: each entry sealed to the one before it.
//!
//! An entry's hash covers its content and the hash of its predecessor (a hash chain: Haber and Stornetta, "How to
//! time-stamp a digital document", 1991). Whoever alters, removes or inserts an entry must recompute every later one,
//! and the latest hash is told by `audit verify`, so that it can be kept elsewhere. What the chain cannot show by itself
//! is that its end was cut off: that needs such a kept hash.
//!
//! The hash is over the entry's JSON with fields in the order of this type, which is also how it is stored and exported;
//! anybody can recompute it with a JSON library that keeps order and SHA-256.
//!
//! # Invariants
//! - Sequence numbers are 1, 2, 3 without a gap.
//! - The first entry's `previous` is all zeros.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sluice_config::overlay::{Author, Reason};
use sluice_config::timestamp::Timestamp;
use sluice_config::value::{Digest, RevisionId};

/// One thing that happened, before it has its place in the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub author: Author,
    /// From where: an address, `unix`, `file` or `sluice`.
    pub origin: String,
    /// What was asked for, such as `shift` or `apply`.
    pub action: String,
    /// What it was about: a service, a revision, a path. May be empty.
    pub target: String,
    /// Why, in the author's words, if there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// How it ended.
    pub outcome: Outcome,
    /// The pair before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Digest>,
    /// The pair after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Digest>,
    /// The revision that it made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<RevisionId>,
}

/// How something ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was done.
    Done,
    /// It was asked for by somebody who may not.
    Denied(String),
    /// It was asked for and cannot be: the document has problems, the owner is another, somebody was faster.
    Refused(String),
}

/// An event in its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Its number.
    pub sequence: u64,
    /// What happened.
    pub event: Event,
    /// The hash of the entry before.
    pub previous: Digest,
    /// Over the three above.
    pub hash: Digest,
}

/// The end of a chain: what the next entry is sealed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// How many entries there are.
    pub sequence: u64,
    /// The hash of the last.
    pub hash: Digest,
}

impl Head {
    /// Of a chain without entries.
    pub const EMPTY: Self = Self { sequence: 0, hash: Digest::ZERO };

    /// Gives an event its place at the end; the chain's new end is the entry's.
    #[must_use]
    pub fn seal(self, event: Event) -> Entry {
        let sequence = self.sequence + 1;
        let hash = hash(sequence, &event, self.hash);
        Entry { sequence, event, previous: self.hash, hash }
    }
}

impl Entry {
    /// The end of a chain whose last entry this is.
    #[must_use]
    pub const fn head(&self) -> Head {
        Head { sequence: self.sequence, hash: self.hash }
    }
}

#[derive(Serialize)]
struct Sealed<'a> {
    sequence: u64,
    event: &'a Event,
    previous: Digest,
}

fn hash(sequence: u64, event: &Event, previous: Digest) -> Digest {
    let sealed = serde_json::to_vec(&Sealed { sequence, event, previous });
    Digest::of(&sealed.expect("an event has text keys only"))
}

/// Where a chain is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Broken {
    /// The first entry that does not fit: altered itself, or not the successor of the one before.
    pub sequence: u64,
    /// How it does not fit.
    pub cause: Cause,
}

/// How an entry does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Its number does not follow: entries are missing, doubled or out of order.
    Sequence,
    /// It is sealed to another entry than the one before.
    Link,
    /// Its content does not have its hash.
    Content,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sequence, cause } = self;
        match cause {
            Cause::Sequence => {
                write!(f, "entry {sequence} does not follow the one before: entries are missing or doubled")
            }
            Cause::Link => write!(f, "entry {sequence} is sealed to another entry than the one before it"),
            Cause::Content => write!(f, "entry {sequence} was altered: its content does not have its hash"),
        }
    }
}

impl std::error::Error for Broken {}

/// Checks the next entries of a chain that is sound up to `from`. Returns its new end. Linear.
///
/// # Errors
/// At the first entry that does not fit.
pub fn verify<'a>(from: Head, entries: impl IntoIterator<Item = &'a Entry>) -> Result<Head, Broken> {
    entries.into_iter().try_fold(from, |head, entry| {
        let broken = |cause| Err(Broken { sequence: entry.sequence, cause });
        if entry.sequence != head.sequence + 1 {
            broken(Cause::Sequence)
        } else if entry.previous != head.hash {
            broken(Cause::Link)
        } else if hash(entry.sequence, &entry.event, entry.previous) != entry.hash {
            broken(Cause::Content)
        } else {
            Ok(entry.head())
        }
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn event(target: &str) -> Event {
        Event {
            at: Timestamp::from_millis(1_000),
            author: "ann".parse().unwrap(),
            origin: "127.0.0.1".to_owned(),
            action: "shift".to_owned(),
            target: target.to_owned(),
            reason: None,
            outcome: Outcome::Done,
            before: None,
            after: Some(Digest::of(target.as_bytes())),
            revision: Some(RevisionId(1)),
        }
    }

    fn chain(length: usize) -> Vec<Entry> {
        let mut head = Head::EMPTY;
        let seal = |at| {
            let entry = head.seal(event(&format!("shop{at}")));
            head = entry.head();
            entry
        };
        (0..length).map(seal).collect()
    }

    #[test]
    fn a_chain_that_was_not_touched_is_sound() {
        let entries = chain(5);
        let head = verify(Head::EMPTY, &entries).unwrap();
        assert_eq!(head, entries[4].head());
        assert_eq!(verify(entries[1].head(), &entries[2..]), Ok(head));
        let text = serde_json::to_string(&entries).unwrap();
        assert_eq!(serde_json::from_str::<Vec<Entry>>(&text).unwrap(), entries);
    }

    proptest! {
        #[test]
        fn whatever_is_altered_is_found(length in 2_usize..8, at in 0_usize..8, how in 0..5) {
            let mut entries = chain(length);
            let at = at % length;
            match how {
                0 => entries[at].event.target.push('x'),
                1 => entries[at].event.outcome = Outcome::Denied(String::new()),
                2 => drop(entries.remove(at.min(length - 2))),
                3 => entries.insert(at, entries[at].clone()),
                _ => {
                    // Altered and sealed anew, but not what follows.
                    let at = at.min(length - 2);
                    let before = Head { sequence: entries[at].sequence - 1, hash: entries[at].previous };
                    entries[at] = before.seal(event("other"));
                }
            }
            prop_assert!(verify(Head::EMPTY, &entries).is_err());
        }
    }
}
