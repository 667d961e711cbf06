//! Why something is done about a node, in words for an operator.

use std::fmt;

use sluice_config::value::RevisionId;
use sluice_config::wire::PROTOCOL;

use super::{ANSWER, HEARD, NODES};

/// Why something is done about a node, or nothing is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// A node that was not listed.
    Joined,
    /// The same process on a new connection.
    Reconnected,
    /// A new process of a node that was listed.
    Restarted,
    /// The node speaks another version of the messages.
    Protocol {
        /// Which one.
        theirs: u32,
    },
    /// Another process of this name is here.
    NameTaken {
        /// Its address.
        holder: String,
        /// The address of the one that is refused.
        newcomer: String,
    },
    /// There are as many nodes as there may be, and all of them are here.
    Full,
    /// A new revision is wanted, and was sent to so many; the others have it, refused it or have yet to answer.
    Wanted {
        /// Which one.
        id: RevisionId,
        /// To how many.
        sent: usize,
    },
    /// About a revision that nothing depends on any more.
    Overtaken(RevisionId),
    /// The node runs it.
    Runs(RevisionId),
    /// The node does not run it.
    Refused(RevisionId),
    /// The node lost the base of the difference.
    Lost(RevisionId),
    /// The node is there.
    Heard,
    /// A message that a node never has reason to send.
    Unasked,
    /// The connection has ended.
    Left,
    /// The same node came on another connection.
    Replaced,
    /// The node was not heard for [`HEARD`].
    Silent,
    /// The node did not answer an order for [`ANSWER`].
    Unanswered(RevisionId),
    /// An operator took the node off the list.
    Forgotten,
    /// A node or a connection that is not listed.
    Stranger,
    /// The node is connected, and would be listed again at once.
    StillHere,
}

impl Reason {
    /// Whether something is wrong that somebody should look at.
    #[must_use]
    pub const fn is_fault(&self) -> bool {
        matches!(
            self,
            Self::Protocol { .. }
                | Self::NameTaken { .. }
                | Self::Full
                | Self::Refused(_)
                | Self::Unasked
                | Self::Silent
                | Self::Unanswered(_)
        )
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Joined => f.write_str("the node has joined"),
            Self::Reconnected => f.write_str("the node is back on a new connection"),
            Self::Restarted => f.write_str("the node was started anew"),
            Self::Protocol { theirs } => write!(
                f,
                "the node speaks version {theirs} of the protocol, the control plane version {PROTOCOL}: run the same \
                 release on both"
            ),
            Self::NameTaken { holder, newcomer } => write!(
                f,
                "the name is taken: the node at {holder} has it and is heard, the one at {newcomer} must get another \
                 (--node)"
            ),
            Self::Full => write!(f, "there are {NODES} nodes already, and none of them is away"),
            Self::Wanted { id, sent } => write!(f, "revision {id} is wanted and goes to {sent} nodes now"),
            Self::Overtaken(id) => write!(f, "revision {id} is not waited for any more"),
            Self::Runs(id) => write!(f, "the node runs revision {id}"),
            Self::Refused(id) => {
                write!(
                    f,
                    "the node refused revision {id} and is not sent its content again; what it ran before goes on"
                )
            }
            Self::Lost(id) => write!(f, "the node cannot make revision {id} of what it has: it gets the whole"),
            Self::Heard => f.write_str("the node is there"),
            Self::Unasked => f.write_str("the node sent a message that does not belong here"),
            Self::Left => f.write_str("the connection has ended"),
            Self::Replaced => f.write_str("the node came back on another connection"),
            Self::Silent => write!(f, "the node was not heard for {} s", HEARD.as_secs()),
            Self::Unanswered(id) => {
                write!(f, "the node did not answer revision {id} for {} s", ANSWER.as_secs())
            }
            Self::Forgotten => f.write_str("an operator took the node off the list"),
            Self::Stranger => f.write_str("no such node is listed on this connection"),
            Self::StillHere => f.write_str("the node is connected and would be listed again at once: stop it first"),
        }
    }
}
