//! What passes between a control plane and a proxy: the same serialised messages in one process and between machines.

use serde::{Deserialize, Serialize};

use crate::value::{Digest, RevisionId};

/// A revision on its way to a proxy, which validates it again before it runs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revision {
    /// Its number.
    pub id: RevisionId,
    /// Of the effective document; the proxy refuses a revision whose content does not have it.
    pub digest: Digest,
    /// The document after substitution of the environment, as JSON text.
    pub document: String,
}

/// What a proxy says to a revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum Reply {
    /// It runs.
    Ack {
        /// Which one.
        id: RevisionId,
        /// As compiled.
        digest: Digest,
    },
    /// It does not run, and what ran before still does.
    Nack {
        /// Which one.
        id: RevisionId,
        /// Each told in full.
        problems: Vec<String>,
    },
}
