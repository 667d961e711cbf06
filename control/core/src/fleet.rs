//! Which node runs what, what it is to be sent, and when a change counts as applied.
//!
//! **Sending.** At most one order is on its way to a node. While it is, newer revisions wait, and only the newest of them
//! goes out when the node has answered: a node that compiles for a second during a hundred shifts gets two orders, not a
//! hundred. An order is a difference to the last revision that was sent on the connection, or, on a new connection, to
//! what the node said it runs, whose text it keeps on disk; the shell sends the whole where it cannot make the
//! difference, and a node that lost its base says so and gets the whole.
//!
//! **Refusals.** A digest that a node refused is parked for that node: it is not sent again until another digest is
//! wanted, over reconnections too (go-control-plane#962 sends it for ever). A new process of the node is a new chance: it
//! may be another program, and if it is not, it refuses again. What may heal without a change is tried again by the node
//! itself, which then says that it runs. A node that says it runs a revision with another digest than was sent has
//! refused it: it compiles differently, and sending more of the same cannot help.
//!
//! **What runs** is what the node last said it runs, never what was sent. A revision also counts as applied where a later
//! one runs, and where what runs has the same digest: equal digests are equal behaviour. The number is sent all the same,
//! so that logs and metrics of all nodes name one revision. A number above the wanted one belongs to a future that the
//! store does not have (it was restored from a copy): it counts for nothing and is no base.
//!
//! **Names.** Two processes with one name must be seen and must not take turns: while the first is heard, the second is
//! refused and told both addresses, and the first is listed with its rival. The same process on a new connection takes
//! the place of its old one, which may hang half open.
//!
//! **Silence.** A node that is not heard for [`HEARD`] is away: it counts apart, nobody waits for it, and its connection
//! is closed. It stays listed for [`KEPT`], because a proxy that is missing is what an operator looks for.
//!
//! `now` must not jump: the shell reads the wall clock once and adds the time since.
//!
//! # Invariants
//! - At most one connection of a name is held, and at most one order is on its way to it.
//! - Numbers of one history that are sent on a connection never fall.
//! - When every order is answered, each node that is connected runs what is wanted or has refused its digest.
//! - Nothing waits for a node that is away.
//! - There are at most [`NODES`] nodes.

mod node;
mod reason;
mod standing;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sluice_config::name::NodeName;
use sluice_config::timestamp::Timestamp;
use sluice_config::value::{Digest, HistoryId, RevisionId};
use sluice_config::wire::{Hello, PROTOCOL, Reply, Running};

use self::node::Node;
pub use self::reason::Reason;
pub use self::standing::{Applied, NodeStanding, Refusing, Rival, State, Summary};

/// Without a message for so long, a node is away. Nodes report every 5 seconds.
pub const HEARD: Duration = Duration::from_secs(30);
/// The longest that a node may take to answer an order before its connection is closed, so that it begins anew.
pub const ANSWER: Duration = Duration::from_secs(60);
/// How long a node that is away stays listed.
pub const KEPT: Duration = Duration::from_secs(24 * 3_600);
/// How many nodes there may be.
pub const NODES: usize = 10_000;
/// How many revisions the times of which are known. A node that is further behind is shown a little younger.
const LOG: usize = 1_024;

/// One connection of a node. The shell numbers them and gives no number twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// A revision by its number, with the digest of the effective pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Numbered {
    /// Its number.
    pub id: RevisionId,
    /// Of the effective pair.
    pub digest: Digest,
}

impl From<Running> for Numbered {
    fn from(running: Running) -> Self {
        Self { id: running.id, digest: running.digest }
    }
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Send this revision on this connection.
    Send {
        /// To whom.
        node: NodeName,
        /// Where.
        connection: ConnectionId,
        /// Which one.
        revision: Numbered,
        /// What the node has: send the difference to it if the store has it with this digest, else the whole. Absent:
        /// send the whole.
        base: Option<Numbered>,
    },
    /// End this connection, and say why where it can be said. It may have ended already.
    Close {
        /// Whose it is.
        node: NodeName,
        /// Which one.
        connection: ConnectionId,
        /// Why.
        reason: Reason,
    },
    /// The node is listed no more: what is kept about it elsewhere can go.
    Forget {
        /// Which one.
        node: NodeName,
    },
}

/// All nodes, and what they are to run.
#[derive(Debug, Clone, Default)]
pub struct Fleet {
    nodes: BTreeMap<NodeName, Node>,
    wanted: Option<Running>,
    /// When each revision of the wanted history became wanted, oldest first.
    log: VecDeque<(RevisionId, Timestamp)>,
}

impl Fleet {
    /// The store's head is this revision now. Linear in the nodes.
    pub fn want(&mut self, history: HistoryId, revision: Numbered, now: Timestamp) -> (Vec<Effect>, Reason) {
        match self.wanted {
            Some(held) if held.history == history && held.id >= revision.id => {
                return (Vec::new(), Reason::Overtaken(revision.id));
            }
            Some(held) if held.history == history => {}
            Some(_) | None => self.log.clear(),
        }
        let wanted = Running { history, id: revision.id, digest: revision.digest };
        self.wanted = Some(wanted);
        self.log.push_back((revision.id, now));
        if self.log.len() > LOG {
            self.log.pop_front();
        }
        let next = |(name, node): (&NodeName, &mut Node)| {
            node.unpark(wanted.digest);
            node.next(name, wanted, now)
        };
        let effects: Vec<Effect> = self.nodes.iter_mut().filter_map(next).collect();
        let reason = Reason::Wanted { id: revision.id, sent: effects.len() };
        (effects, reason)
    }

    /// A node has said who it is, on a new connection from this address.
    pub fn join(
        &mut self,
        hello: Hello,
        connection: ConnectionId,
        address: &str,
        now: Timestamp,
    ) -> (Vec<Effect>, Reason) {
        let name = hello.node.clone();
        let mut effects = Vec::new();
        if let Err(reason) = self.admit(&hello, address, now, &mut effects) {
            effects.push(Effect::Close { node: name, connection, reason: reason.clone() });
            return (effects, reason);
        }
        let reason = match self.nodes.get_mut(&name) {
            None => {
                self.nodes.insert(name.clone(), Node::new(hello, connection, address, now));
                Reason::Joined
            }
            Some(node) => {
                let (replaced, reason) = node.come_back(hello, connection, address, now);
                effects.extend(replaced.map(|old| Effect::Close {
                    node: name.clone(),
                    connection: old,
                    reason: Reason::Replaced,
                }));
                reason
            }
        };
        effects.extend(self.next(&name, now));
        (effects, reason)
    }

    /// A node has sent a message. One that comes on a connection that is held no more changes nothing.
    pub fn hear(
        &mut self,
        name: &NodeName,
        connection: ConnectionId,
        reply: &Reply,
        now: Timestamp,
    ) -> (Vec<Effect>, Reason) {
        let close =
            |reason: Reason| (vec![Effect::Close { node: name.clone(), connection, reason: reason.clone() }], reason);
        let wanted = self.wanted;
        let Some(node) = self.nodes.get_mut(name).filter(|node| node.is_on(connection)) else {
            return close(Reason::Stranger);
        };
        node.heard = now;
        let reason = match reply {
            Reply::Report(_) => return (Vec::new(), Reason::Heard),
            Reply::Hello(_) => Reason::Unasked,
            Reply::Ack { id, digest } => node.ack(Numbered { id: *id, digest: *digest }),
            Reply::Nack { id, digest, problems, retries } => {
                node.nack(Numbered { id: *id, digest: *digest }, problems, *retries, wanted)
            }
            Reply::Lost { id } => node.lose(*id),
        };
        if reason == Reason::Unasked {
            node.unlink(now);
            return close(reason);
        }
        (self.next(name, now).into_iter().collect(), reason)
    }

    /// A connection has ended.
    pub fn leave(&mut self, name: &NodeName, connection: ConnectionId, now: Timestamp) -> Reason {
        match self.nodes.get_mut(name) {
            Some(node) if node.is_on(connection) => {
                node.unlink(now);
                Reason::Left
            }
            Some(_) | None => Reason::Stranger,
        }
    }

    /// Time has passed: to be called every few seconds. Linear in the nodes.
    pub fn tick(&mut self, now: Timestamp) -> Vec<Effect> {
        let mut effects = Vec::new();
        for (name, node) in &mut self.nodes {
            if let Some((connection, reason)) = node.overdue(now) {
                node.unlink(now);
                effects.push(Effect::Close { node: name.clone(), connection, reason });
            }
        }
        let gone = |node: &Node| node.link.is_none() && now.since(node.heard) >= KEPT;
        let forgotten = self.nodes.extract_if(.., |_, node| gone(node));
        effects.extend(forgotten.map(|(node, _)| Effect::Forget { node }));
        effects
    }

    /// An operator wants a node to be listed no more.
    ///
    /// # Errors
    /// When there is none of this name, or it is heard and would come back at once.
    pub fn forget(&mut self, name: &NodeName, now: Timestamp) -> Result<Vec<Effect>, Reason> {
        let node = self.nodes.get(name).ok_or(Reason::Stranger)?;
        if node.link.is_some() && node.is_heard(now) {
            return Err(Reason::StillHere);
        }
        let close = |connection| Effect::Close { node: name.clone(), connection, reason: Reason::Forgotten };
        let closed = node.link.as_ref().map(|link| close(link.connection));
        self.nodes.remove(name);
        Ok(closed.into_iter().chain([Effect::Forget { node: name.clone() }]).collect())
    }

    /// Whether a node may be taken in. Makes room for it.
    fn admit(&mut self, hello: &Hello, address: &str, now: Timestamp, effects: &mut Vec<Effect>) -> Result<(), Reason> {
        if hello.protocol != PROTOCOL {
            return Err(Reason::Protocol { theirs: hello.protocol });
        }
        match self.nodes.get_mut(&hello.node) {
            Some(node) if node.is_held_against(hello, now) => {
                node.rival = Some(Rival { address: address.to_owned(), at: now });
                Err(Reason::NameTaken { holder: node.address.clone(), newcomer: address.to_owned() })
            }
            Some(_) => Ok(()),
            None => self.make_room(effects),
        }
    }

    /// Forgets the node that is away the longest, where there are as many as there may be.
    fn make_room(&mut self, effects: &mut Vec<Effect>) -> Result<(), Reason> {
        if self.nodes.len() < NODES {
            return Ok(());
        }
        let gone = self.nodes.iter().filter(|(_, node)| node.link.is_none());
        let oldest = gone.min_by_key(|(_, node)| node.heard).map(|(name, _)| name.clone());
        let oldest = oldest.ok_or(Reason::Full)?;
        self.nodes.remove(&oldest);
        effects.push(Effect::Forget { node: oldest });
        Ok(())
    }

    fn next(&mut self, name: &NodeName, now: Timestamp) -> Option<Effect> {
        self.nodes.get_mut(name)?.next(name, self.wanted?, now)
    }
}

#[cfg(test)]
mod tests;
