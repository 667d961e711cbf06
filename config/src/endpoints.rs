//! How the endpoints of a proxy stand: what its status listener tells at `/api/endpoints`, and commands show.
//!
//! One proxy tells what it sees itself: another one may reach an endpoint that this one does not.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::name::{RegionName, ServiceName, VersionName};
use crate::overlay::{Circuit, Force};
use crate::timestamp::Timestamp;
use crate::value::RevisionId;

/// All pools of what a proxy runs, or those of one service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Endpoints {
    /// What it runs.
    pub revision: RevisionId,
    /// When it was looked.
    pub at: Timestamp,
    /// By services, then regions, then versions.
    pub pools: Vec<Pool>,
}

/// The endpoints of one version in one region.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pool {
    /// Whose.
    pub service: ServiceName,
    /// Of the service.
    pub version: VersionName,
    /// Where.
    pub region: RegionName,
    /// Requests under way, over all of its endpoints.
    pub in_flight: u32,
    /// The most of them at once. Absent: as many as come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// How many endpoints their health checks do not keep out.
    pub healthy: usize,
    /// How many may be chosen now.
    pub eligible: usize,
    /// So few may be chosen that its `panic` policy holds.
    #[serde(default)]
    pub panic: bool,
    /// Its own breaker. Absent: it has none, and none is forced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub breaker: Option<Breaker>,
    /// In the order of the document; those that were discovered come after.
    pub endpoints: Vec<Endpoint>,
    /// Where further ones are found. Empty: all are written down.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<Source>,
}

/// A source of endpoints, as the proxy knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// What is asked.
    pub source: String,
    /// How many addresses it has: those of its last good answer.
    pub endpoints: usize,
    /// What stands in the way of a better answer. Absent: nothing, or it has not answered yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<Trouble>,
}

/// What stands in the way of a source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// A stable name, as in metrics.
    pub result: String,
    /// In words.
    pub message: String,
    /// Since when it has been in trouble, of whatever kind.
    pub since: Timestamp,
}

/// One endpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Which.
    pub address: SocketAddr,
    /// Where in its region it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Its share of the pool's requests, by the document.
    pub weight: u32,
    /// How much of that it gets now, in thousandths: less in a slow start, or where it asked for less itself.
    pub level: u16,
    /// What its health checks say.
    pub health: Health,
    /// Until when it is ejected. Absent: it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ejection: Option<Ejection>,
    /// Its breaker. Absent: it has none, and none is forced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub breaker: Option<Breaker>,
    /// Requests that it is answering.
    pub in_flight: u32,
    /// The most of them at once, as configured. Absent: as many as come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// How long its answers take, in microseconds: an average that a slow one, or a longer wait in vain, moves at once. Absent
    /// before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_us: Option<u64>,
    /// What an operator holds it to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub force: Option<Force>,
    /// Whether it may be chosen now.
    pub eligible: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub obstacle: Option<String>,
}

/// What health checks say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// `verified`, `unprobed` or `out`.
    pub standing: String,
    /// What the last probe found wrong. Absent: nothing, or there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
}

/// An endpoint that was worse than the others of its pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ejection {
    /// When it comes back.
    pub until: Timestamp,
    /// How often it was ejected lately; each time is longer.
    pub times: u32,
    /// Which detector found it.
    pub reason: String,
}

/// A breaker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Breaker {
    /// `closed`, `open` or `half_open`.
    pub state: String,
    /// What opened it. Absent while it is closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How many requests it lets through at once, to see. Absent unless it is half open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admits: Option<u32>,
    /// When it lets requests through again, to see.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// What an operator holds it to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub force: Option<Circuit>,
}
