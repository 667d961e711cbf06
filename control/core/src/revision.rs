//! A change as it is stored: numbered, immutable, with its author and its reason.
//!
//! One counter orders all changes of every kind. A revision holds the whole pair (document, overlay), not a difference:
//! any of them can be run, compared or gone back to without the others. Documents are kept once and named by the digest
//! of their text, so that a thousand shifts over a document of megabytes cost a thousand overlays.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sluice_config::Overlay;
use sluice_config::overlay::{Author, Reason};
use sluice_config::timestamp::Timestamp;
use sluice_config::value::{Digest, RevisionId};

/// A stored change. What follows from what is decided elsewhere; this only says what was decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Revision {
    /// Its number. The first is 1, and none is missing.
    pub id: RevisionId,
    /// What kind of change made it.
    pub kind: Kind,
    /// The revision before it. Absent for the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<RevisionId>,
    /// Of the effective pair: equal digests mean equal behaviour.
    pub digest: Digest,
    /// The key of its document: [`Document::key`].
    pub document: Digest,
    /// What was changed live on top of the document.
    pub overlay: Overlay,
    /// Who made it.
    pub author: Author,
    /// Why.
    pub reason: Reason,
    /// When.
    pub at: Timestamp,
    /// The file that its document came from, if it came from one. Each revision carries it on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The revision that a rollback went back to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restores: Option<RevisionId>,
    /// In file mode: the digest of the file's text that a rollback has parked. It is not applied until the file holds
    /// another text. Each revision carries it on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parked: Option<Digest>,
}

/// What made a revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A document was applied, or an earlier one restored.
    Document,
    /// Weights were shifted, or came back by themselves.
    Weights,
    /// An override was laid, lifted, or has expired.
    Override,
    /// A rollout took a step.
    Rollout,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Document => "document",
            Self::Weights => "weights",
            Self::Override => "override",
            Self::Rollout => "rollout",
        })
    }
}

/// A document as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// As its author wrote it, with comments and `${NAME}`.
    pub source: String,
    /// After substitution, as JSON text: what proxies are sent.
    pub json: String,
}

impl Document {
    /// Its key in the store. Both texts count: the same source may mean something else in another environment.
    #[must_use]
    pub fn key(&self) -> Digest {
        let mut both = Vec::with_capacity(self.source.len() + self.json.len() + 1);
        both.extend_from_slice(self.source.as_bytes());
        both.push(0);
        both.extend_from_slice(self.json.as_bytes());
        Digest::of(&both)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_source_in_another_environment_is_another_document() {
        let document = |json: &str| Document { source: "port: ${PORT}".to_owned(), json: json.to_owned() };
        assert_ne!(document("1").key(), document("2").key());
        assert_eq!(document("1").key(), document("1").key());
    }
}
