//! Why something is to be done, in words for an operator.

use std::fmt;

use sluice_config::value::RevisionId;

use super::Unreadable;

/// Why it is to be done. Where two revisions go with a reason, the last is the one that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// The file holds what runs.
    Unchanged(RevisionId),
    /// The file holds a revision that the proxy has not answered yet.
    Awaited(RevisionId, RevisionId),
    /// It holds something else than at the last reading, and may still be being written.
    Settling,
    /// A sound document with another meaning, by the number it is sent with.
    Changed(RevisionId, RevisionId),
    /// A document that the proxy refused is sent once more, with this number.
    Again(RevisionId, RevisionId),
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
    /// After a refused text or none, or a document that the proxy refused: what runs again.
    Restored(RevisionId),
    /// The proxy runs it.
    Runs(RevisionId),
    /// The proxy refused it.
    Unfit(RevisionId, RevisionId),
    /// The proxy refused it for what it had refused the same document for before.
    StillUnfit(RevisionId, RevisionId),
    /// A reply to a revision that nothing depends on any more.
    Overtaken(RevisionId),
}

impl Reason {
    /// Whether an operator who did not ask should hear of it.
    #[must_use]
    pub const fn is_news(&self) -> bool {
        match self {
            Self::Changed(..)
            | Self::Reworded(_)
            | Self::Refused(_)
            | Self::Unreadable(..)
            | Self::Restored(_)
            | Self::Runs(_)
            | Self::Unfit(..) => true,
            Self::Unchanged(_)
            | Self::Awaited(..)
            | Self::Settling
            | Self::Again(..)
            | Self::StillRefused(_)
            | Self::StillUnreadable(_)
            | Self::StillUnfit(..)
            | Self::Overtaken(_) => false,
        }
    }

    /// Whether something is wrong that was not before.
    #[must_use]
    pub const fn is_fault(&self) -> bool {
        matches!(self, Self::Refused(_) | Self::Unreadable(..) | Self::Unfit(..))
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unchanged(runs) => write!(f, "the file holds what runs as revision {runs}"),
            Self::Awaited(sent, runs) => {
                write!(f, "the file holds revision {sent}, which the proxy has not answered yet; revision {runs} runs")
            }
            Self::Settling => f.write_str("the file changed and may still be being written; it is read once more"),
            Self::Changed(sent, runs) => {
                write!(f, "the document changed: revision {sent} goes to the proxy; revision {runs} runs until it fits")
            }
            Self::Again(sent, runs) => {
                write!(
                    f,
                    "what the proxy refused goes to it again as revision {sent}; revision {runs} runs until it fits"
                )
            }
            Self::Reworded(runs) => write!(f, "the text changed but not its meaning; revision {runs} goes on"),
            Self::Refused(runs) => write!(f, "the file is refused; revision {runs} goes on"),
            Self::StillRefused(runs) => write!(f, "the file is still refused; revision {runs} goes on"),
            Self::Unreadable(why, runs) => write!(f, "the file cannot be read: {why}; revision {runs} goes on"),
            Self::StillUnreadable(runs) => write!(f, "the file still cannot be read; revision {runs} goes on"),
            Self::Restored(runs) => write!(f, "the file is back and holds what runs as revision {runs}"),
            Self::Runs(runs) => write!(f, "the proxy runs revision {runs}"),
            Self::Unfit(refused, runs) => write!(
                f,
                "the proxy refused revision {refused}; revision {runs} goes on, and the file's document is tried again \
                 every {} s",
                super::RETRY.as_secs()
            ),
            Self::StillUnfit(refused, runs) => {
                write!(f, "the proxy refuses what the file holds, last as revision {refused}; revision {runs} goes on")
            }
            Self::Overtaken(id) => write!(f, "the proxy answered revision {id}, which a later one has overtaken"),
        }
    }
}
