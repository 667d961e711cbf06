//! What passes between a control plane and a proxy: the same serialised messages in one process and between machines.
//!
//! Between machines each message is one line of JSON. The proxy speaks first ([`Hello`]); then the control plane sends
//! [`Order`]s and the proxy [`Reply`]s, each at its own pace. A message that one side does not know ends the connection:
//! silence about it would pass for consent.

mod patch;
mod report;

use serde::{Deserialize, Serialize};

pub use patch::{Misfit, Patch};
pub use report::{PoolReport, Report};

use crate::name::{NodeName, RegionName};
use crate::overlay::Overlay;
use crate::tree::Environment;
use crate::validate::read_pair;
use crate::value::{Digest, HistoryId, Incarnation, RevisionId};

/// The version of these messages. A control plane refuses a proxy that speaks another.
pub const PROTOCOL: u32 = 1;

/// What a control plane sends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Run this.
    Revision(Revision),
    /// Run what this makes of the revision that was sent before.
    Delta(Delta),
}

/// A revision on its way to a proxy, which proves the pair again before it runs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revision {
    /// The store that numbered it. Numbers of another store say nothing about its order.
    pub history: HistoryId,
    /// Its number.
    pub id: RevisionId,
    /// Of the effective pair; the proxy refuses a revision whose content does not have it.
    pub digest: Digest,
    /// The document after substitution of the environment, as JSON text.
    pub document: String,
    /// What was changed live on top of it.
    #[serde(default, skip_serializing_if = "Overlay::is_empty")]
    pub overlay: Overlay,
}

impl Revision {
    /// With the digest that this program makes of it, for one that is known to be whole. One that an older program wrote has
    /// another: it knew fewer settings. One that is no sound pair stays as it is. Costs one validation.
    #[must_use]
    pub fn with_own_digest(self) -> Self {
        match read_pair(&self.document, &Environment::empty(), &self.overlay) {
            Ok(pair) => Self { digest: pair.validated.digest, ..self },
            Err(_) => self,
        }
    }
}

/// The difference between two revisions of one history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delta {
    /// The revision that it is a difference to: the last that was sent on this connection, whatever was said to it; if
    /// none was, what the proxy said in its [`Hello`] that it runs.
    pub base: RevisionId,
    /// The number of the new one.
    pub id: RevisionId,
    /// Of the new effective pair.
    pub digest: Digest,
    /// What makes the new document's text of the old one's.
    #[serde(default, skip_serializing_if = "Patch::is_empty")]
    pub document: Patch,
    /// What makes the new overlay's JSON of the old one's.
    #[serde(default, skip_serializing_if = "Patch::is_empty")]
    pub overlay: Patch,
}

impl Delta {
    /// The difference between two revisions.
    #[must_use]
    pub fn between(old: &Revision, new: &Revision) -> Self {
        let document =
            if old.document == new.document { Patch::default() } else { Patch::between(&old.document, &new.document) };
        let overlay = Patch::between(&text(&old.overlay), &text(&new.overlay));
        Self { base: old.id, id: new.id, digest: new.digest, document, overlay }
    }

    /// The new revision.
    ///
    /// # Errors
    /// When `old` is not the revision that it is a difference to.
    pub fn apply(&self, old: &Revision) -> Result<Revision, Misfit> {
        if old.id != self.base {
            return Err(Misfit);
        }
        let overlay = self.overlay.apply(&text(&old.overlay))?;
        Ok(Revision {
            history: old.history,
            id: self.id,
            digest: self.digest,
            document: self.document.apply(&old.document)?,
            overlay: serde_json::from_str(&overlay).map_err(|_| Misfit)?,
        })
    }
}

/// An overlay always has the same text: its maps are sorted.
fn text(overlay: &Overlay) -> String {
    serde_json::to_string(overlay).expect("an overlay has text keys only")
}

/// What a proxy sends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// Who it is. The first message, and only the first.
    Hello(Hello),
    /// A revision runs: it was proven, compiled and swapped in.
    Ack {
        /// Which one.
        id: RevisionId,
        /// As compiled.
        digest: Digest,
    },
    /// A revision does not run, and what ran before still does.
    Nack {
        /// Which one.
        id: RevisionId,
        /// As it was announced.
        digest: Digest,
        /// Each told in full.
        problems: Vec<String>,
        /// Whether the proxy itself tries it again, because what is wrong may heal without a change: an address in use.
        /// Then an [`Ack`](Self::Ack) may still follow.
        retries: bool,
    },
    /// The base of a [`Delta`] is not at hand: send the whole revision.
    Lost {
        /// Which one cannot be made.
        id: RevisionId,
    },
    /// What was counted so far.
    Report(Report),
}

/// Who a proxy is and what it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hello {
    /// [`PROTOCOL`].
    pub protocol: u32,
    /// Its name. Unique in the fleet.
    pub node: NodeName,
    /// Which run of the process it is.
    pub incarnation: Incarnation,
    /// Where it stands, if it was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<RegionName>,
    /// The version of its program.
    pub version: String,
    /// What it runs, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runs: Option<Running>,
}

/// What a proxy runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Running {
    /// The store that numbered it.
    pub history: HistoryId,
    /// Its number.
    pub id: RevisionId,
    /// Of the effective pair.
    pub digest: Digest,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revision(id: u64, document: &str, overlay: &str) -> Revision {
        Revision {
            history: HistoryId::from_bits(7),
            id: RevisionId(id),
            digest: Digest::of(document.as_bytes()),
            document: document.to_owned(),
            overlay: serde_json::from_str(overlay).unwrap(),
        }
    }

    const SHIFTED: &str = r#"{"weights":{"shop":{"shares":{"v1":"100%"},"owner":"operator","author":"ann","reason":"r",
        "since":"2026-11-26T09:30:00.000Z"}}}"#;

    #[test]
    fn a_delta_makes_the_new_revision_of_its_base_only() {
        let old = revision(1, r#"{"routes":[{"service":"shop"}]}"#, "{}");
        let new = revision(2, r#"{"routes":[{"service":"shop"},{"service":"cart"}]}"#, SHIFTED);
        let delta = Delta::between(&old, &new);
        assert_eq!(delta.apply(&old), Ok(new.clone()));
        assert_eq!(delta.apply(&new), Err(Misfit));
        let text = serde_json::to_string(&Order::Delta(delta.clone())).unwrap();
        assert_eq!(serde_json::from_str::<Order>(&text).unwrap(), Order::Delta(delta));
    }

    #[test]
    fn a_message_of_another_kind_is_refused() {
        assert!(serde_json::from_str::<Order>(r#"{"reboot":{}}"#).is_err());
        assert!(serde_json::from_str::<Reply>(r#"{"hello":{"protocol":1,"node":"n","shoe_size":44}}"#).is_err());
    }
}
