//! What has just happened, for whoever listens: a hint to look, never the truth itself.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sluice_config::name::NodeName;
use sluice_config::value::RevisionId;
use sluice_control_core::revision::Revision;
use tokio::sync::broadcast;

/// How many a slow listener may be behind before it is told that it missed some.
const ROOM: usize = 256;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "event", content = "data")]
pub(crate) enum News {
    /// There is a new head.
    #[schemars(with = "Revision")]
    Revision(#[serde(with = "shared")] Arc<Revision>),
    /// A node joined, left, or answered a revision.
    Node {
        /// Which.
        node: NodeName,
        /// What happened, in words.
        what: String,
        /// The revision that it was about.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        revision: Option<RevisionId>,
    },
    /// The document's file was refused, held back, or is well again.
    File {
        /// In words.
        what: String,
    },
}

mod shared {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<T: Serialize, S: Serializer>(value: &Arc<T>, to: S) -> Result<S::Ok, S::Error> {
        value.as_ref().serialize(to)
    }

    pub(super) fn deserialize<'a, T: Deserialize<'a>, D: Deserializer<'a>>(from: D) -> Result<Arc<T>, D::Error> {
        T::deserialize(from).map(Arc::new)
    }
}

/// Where it is told.
#[derive(Debug, Clone)]
pub(crate) struct Events(broadcast::Sender<News>);

impl Default for Events {
    fn default() -> Self {
        Self(broadcast::Sender::new(ROOM))
    }
}

impl Events {
    /// Tells whoever listens.
    pub(crate) fn tell(&self, news: News) {
        // That nobody listens is nothing wrong.
        let _ = self.0.send(news);
    }

    /// Everything from now on.
    #[must_use]
    pub(crate) fn listen(&self) -> broadcast::Receiver<News> {
        self.0.subscribe()
    }
}
