//! Why something is to be done with the file, in words for an operator.

use std::fmt;

use sluice_config::value::RevisionId;

use super::Unreadable;

/// Why it is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// The file holds what is live.
    Unchanged,
    /// It holds something else than at the last reading, and may still be being written.
    Settling,
    /// A sound document with another meaning.
    Changed,
    /// It is live by this revision.
    Applied(RevisionId),
    /// Another text for the same document.
    Reworded,
    /// A text with problems, which go with it.
    Refused,
    /// The same text with problems as before.
    StillRefused,
    /// No text.
    Unreadable(Unreadable),
    /// Still no text, for the same cause.
    StillUnreadable,
    /// What is live again, after a text that was refused or declined, or none.
    Restored,
    /// A text that a rollback has parked.
    Parked,
    /// Still that text.
    StillParked,
    /// A sound document while automation is frozen.
    Frozen,
    /// Still so.
    StillFrozen,
    /// The control plane did not apply it, and why.
    Declined(String),
    /// Still that text, and nothing has changed that it was declined for.
    StillDeclined,
}

impl Reason {
    /// Whether an operator who did not ask should hear of it.
    #[must_use]
    pub const fn is_news(&self) -> bool {
        match self {
            Self::Changed
            | Self::Applied(_)
            | Self::Reworded
            | Self::Refused
            | Self::Unreadable(_)
            | Self::Restored
            | Self::Parked
            | Self::Frozen
            | Self::Declined(_) => true,
            Self::Unchanged
            | Self::Settling
            | Self::StillRefused
            | Self::StillUnreadable
            | Self::StillParked
            | Self::StillFrozen
            | Self::StillDeclined => false,
        }
    }

    /// Whether something is wrong that was not before.
    #[must_use]
    pub const fn is_fault(&self) -> bool {
        matches!(self, Self::Refused | Self::Unreadable(_) | Self::Declined(_))
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unchanged => f.write_str("the file holds what is live"),
            Self::Settling => f.write_str("the file changed and may still be being written; it is read once more"),
            Self::Changed => f.write_str("the file holds another document, which is to be applied"),
            Self::Applied(id) => write!(f, "the file's document is applied as revision {id}"),
            Self::Reworded => f.write_str("the file's text changed but not its meaning; what is live goes on"),
            Self::Refused => f.write_str("the file is refused; what is live goes on"),
            Self::StillRefused => f.write_str("the file is still refused; what is live goes on"),
            Self::Unreadable(why) => write!(f, "the file cannot be read: {why}; what is live goes on"),
            Self::StillUnreadable => f.write_str("the file still cannot be read; what is live goes on"),
            Self::Restored => f.write_str("the file is back and holds what is live"),
            Self::Parked => {
                f.write_str("the file holds what a rollback has parked; it is not applied until the file changes")
            }
            Self::StillParked => f.write_str("the file still holds what a rollback has parked"),
            Self::Frozen => f.write_str("the file's document waits until the freeze ends or is lifted"),
            Self::StillFrozen => f.write_str("the file's document still waits for the end of the freeze"),
            Self::Declined(why) => write!(
                f,
                "the file's document is not applied: {why}; it is tried again when the file, the live weights or the overrides change"
            ),
            Self::StillDeclined => f.write_str("the file's document is still not applied, for the same reason"),
        }
    }
}
