//! How the nodes stand, for whoever looks or waits.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sluice_config::name::{NodeName, RegionName};
use sluice_config::share::Share;
use sluice_config::timestamp::Timestamp;
use sluice_config::value::RevisionId;
use sluice_config::wire::Running;

use super::node::{Node, Refusal};
use super::{Fleet, HEARD, Numbered};

/// How a node stands to what is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum State {
    /// It runs it.
    Applied,
    /// It does not run it yet.
    Pending,
    /// It has refused it, and what it ran before goes on.
    Refused {
        /// Each told in full.
        problems: Vec<String>,
        /// Whether it tries again by itself.
        retries: bool,
    },
    /// It was not heard for 30 seconds; what it does now is not known.
    Away,
}

/// Another process that wanted a node's name and was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rival {
    /// Where it is.
    pub address: String,
    /// When it last tried.
    pub at: Timestamp,
}

/// How a node stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeStanding {
    /// Its name.
    pub node: NodeName,
    /// Where it stands, if it was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<RegionName>,
    /// Of its program.
    pub version: String,
    /// Whether its connection is held.
    pub connected: bool,
    /// Of its last connection.
    pub address: String,
    /// Connected since then, or not since then.
    pub since: Timestamp,
    /// What it runs, as it said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<Numbered>,
    /// What it is to run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wanted: Option<Numbered>,
    /// How it stands to that.
    #[serde(flatten)]
    pub state: State,
    /// For how long something has been wanted that it does not run, in milliseconds. Absent: it runs what is wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_ms: Option<u64>,
    /// When it last sent anything.
    pub last_heard: Timestamp,
    /// Who else wants its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rival: Option<Rival>,
}

/// A node that does not run a revision because it refused it or a later one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Refusing {
    /// Its name.
    pub node: NodeName,
    /// What it refused.
    pub revision: RevisionId,
    /// Each told in full.
    pub problems: Vec<String>,
    /// Whether it tries again by itself.
    pub retries: bool,
}

/// How far a revision is applied. Each node is in one place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Applied {
    /// The share of the nodes heard from in the last 30 seconds that run it or a later one, rounded down. 0 if there is none.
    pub share: Share,
    /// How many run it.
    pub running: usize,
    /// How many were heard from.
    pub heard: usize,
    /// Those that refused it.
    pub nacked: Vec<Refusing>,
    /// Those that have yet to run it.
    pub pending: Vec<NodeName>,
    /// Those that were not heard from, whatever they run.
    pub away: Vec<NodeName>,
}

impl Applied {
    /// Whether so large a share runs it. Never while nobody is heard: that nothing is known is no success.
    #[must_use]
    pub fn reaches(&self, share: Share) -> bool {
        self.heard > 0 && self.share >= share
    }
}

/// How many nodes stand how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Summary {
    /// All that are listed: the sum of the next four.
    pub nodes: usize,
    /// Those that run what is wanted.
    pub applied: usize,
    /// Those that do not yet.
    pub pending: usize,
    /// Those that refused it.
    pub refused: usize,
    /// Those that were not heard for 30 seconds.
    pub away: usize,
    /// Those whose connection is held.
    pub connected: usize,
}

impl Fleet {
    /// What all nodes are to run.
    #[must_use]
    pub fn wanted(&self) -> Option<Numbered> {
        self.wanted.map(Numbered::from)
    }

    /// Every node, by name.
    #[must_use]
    pub fn standing(&self, now: Timestamp) -> Vec<NodeStanding> {
        self.nodes.iter().map(|(name, node)| self.stand(name, node, now)).collect()
    }

    /// One node.
    #[must_use]
    pub fn node(&self, name: &NodeName, now: Timestamp) -> Option<NodeStanding> {
        self.nodes.get(name).map(|node| self.stand(name, node, now))
    }

    /// How far this revision of the wanted history is applied. Linear in the nodes.
    #[must_use]
    pub fn applied(&self, revision: Numbered, now: Timestamp) -> Applied {
        let (mut nacked, mut pending, mut away) = (Vec::new(), Vec::new(), Vec::new());
        let mut running = 0;
        for (name, node) in &self.nodes {
            if !node.is_heard(now) {
                away.push(name.clone());
            } else if self.runs(node, revision) {
                running += 1;
            } else if let Some(refusal) = &node.refusal {
                nacked.push(refusing(name, refusal));
            } else {
                pending.push(name.clone());
            }
        }
        let heard = running + nacked.len() + pending.len();
        Applied { share: share(running, heard), running, heard, nacked, pending, away }
    }

    /// How many nodes stand how. Linear in the nodes.
    #[must_use]
    pub fn summary(&self, now: Timestamp) -> Summary {
        let mut summary = Summary { nodes: self.nodes.len(), ..Summary::default() };
        for node in self.nodes.values() {
            summary.connected += usize::from(node.link.is_some());
            match self.state(node, now) {
                State::Applied => summary.applied += 1,
                State::Pending => summary.pending += 1,
                State::Refused { .. } => summary.refused += 1,
                State::Away => summary.away += 1,
            }
        }
        summary
    }

    fn stand(&self, name: &NodeName, node: &Node, now: Timestamp) -> NodeStanding {
        let millis = |age: Duration| u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        NodeStanding {
            node: name.clone(),
            region: node.region.clone(),
            version: node.version.clone(),
            connected: node.link.is_some(),
            address: node.address.clone(),
            since: node.since,
            running: node.runs.map(Numbered::from),
            wanted: self.wanted(),
            state: self.state(node, now),
            age_ms: self.age(node, now).map(millis),
            last_heard: node.heard,
            rival: node.rival.clone().filter(|rival| now.since(rival.at) < HEARD),
        }
    }

    fn state(&self, node: &Node, now: Timestamp) -> State {
        if !node.is_heard(now) {
            State::Away
        } else if self.is_current(node) {
            State::Applied
        } else if let Some(Refusal { problems, retries, .. }) = &node.refusal {
            State::Refused { problems: problems.clone(), retries: *retries }
        } else {
            State::Pending
        }
    }

    /// Whether it runs what is wanted. Where nothing is wanted, every node does.
    fn is_current(&self, node: &Node) -> bool {
        self.wanted.is_none_or(|wanted| self.runs(node, wanted.into()))
    }

    /// Whether it runs this revision, a later one or one that behaves the same.
    fn runs(&self, node: &Node, revision: Numbered) -> bool {
        let is_true = |runs: Running| self.wanted.is_some_and(|wanted| wanted == runs || wanted.id > runs.id);
        let covers = |runs: &Running| runs.id > revision.id && is_true(*runs);
        self.ours(node).is_some_and(|runs| runs.digest == revision.digest || covers(&runs))
    }

    /// What it runs, if that has its place in the wanted history.
    fn ours(&self, node: &Node) -> Option<Running> {
        let wanted = self.wanted?;
        node.runs.filter(|runs| runs.history == wanted.history && runs.id <= wanted.id)
    }

    /// How long the first revision that it does not run has been wanted while the node was listed.
    fn age(&self, node: &Node, now: Timestamp) -> Option<Duration> {
        if self.is_current(node) {
            return None;
        }
        let runs = self.ours(node).map_or(0, |runs| runs.id.0);
        let missing = self.log.partition_point(|(id, _)| id.0 <= runs);
        let since = self.log.get(missing).or_else(|| self.log.back()).map_or(now, |(_, at)| *at);
        Some(now.since(since.max(node.known)))
    }
}

fn refusing(name: &NodeName, refusal: &Refusal) -> Refusing {
    Refusing {
        node: name.clone(),
        revision: refusal.revision.id,
        problems: refusal.problems.clone(),
        retries: refusal.retries,
    }
}

/// Rounded down, so that only all are everything.
fn share(part: usize, whole: usize) -> Share {
    let ppm = (part * 1_000_000).checked_div(whole).unwrap_or(0);
    u32::try_from(ppm).ok().and_then(Share::from_ppm).unwrap_or(Share::NONE)
}
