//! What the API tells and takes, as types: the command line reads and writes the same.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sluice_config::name::{RegionName, ServiceName, VersionName};
use sluice_config::overlay::{Author, Override, Owner, Reason};
use sluice_config::share::Share;
use sluice_config::timestamp::Timestamp;
use sluice_config::value::{Digest, HistoryId, RevisionId};
use sluice_control_core::audit::{Broken, Head};
use sluice_control_core::change::Wish;
use sluice_control_core::fleet::{Applied, NodeStanding, Summary};
use sluice_control_core::ingest::Latency;
use sluice_control_core::revision::Revision;

pub use super::request::Lasts;

/// What the control plane is and how it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// Which store numbers its revisions.
    #[schemars(with = "String")]
    pub history: HistoryId,
    /// Where documents come from.
    pub mode: Mode,
    /// The newest revision.
    pub head: Option<Revision>,
    /// How the file stands, in file mode.
    pub file: Option<File>,
    /// What operators hold or have frozen, and until when.
    pub overrides: BTreeMap<u64, Override>,
    /// How many nodes there are, by how they stand.
    pub nodes: Summary,
    /// Since the process began.
    pub uptime_seconds: u64,
    /// Of the program.
    pub version: String,
}

/// Where documents come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// A file is followed.
    File,
    /// They are put by the API.
    Api,
}

/// How the followed file stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct File {
    /// Its path.
    pub path: String,
    /// Whether what it holds is applied: not while it is refused, declined, parked or held back by a freeze.
    pub accepted: bool,
    /// Why not, or how it stands, in words.
    pub standing: String,
    /// The digest of the text that a rollback has parked.
    pub parked: Option<Digest>,
    /// How many of its texts were refused for their problems since the process began.
    pub refused: u64,
}

/// What a change did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Changed {
    /// Whether anything changed. If not, `revision` is the head.
    pub changed: bool,
    /// The revision that it made.
    pub revision: Revision,
    /// Why nothing changed, and what to do if something should; or what to look out for now that it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// A page of revisions, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Revisions {
    /// They.
    pub revisions: Vec<Revision>,
    /// For the next page; absent on the last.
    pub before: Option<RevisionId>,
}

/// What differs between two revisions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Difference {
    /// The older one.
    pub from: RevisionId,
    /// The newer one.
    pub to: RevisionId,
    /// Each change in words.
    pub changes: Vec<String>,
}

/// The request to go back to an earlier revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RollBack {
    /// Whose document.
    pub to: RevisionId,
    /// Whether its weights come back too.
    #[serde(default)]
    pub weights: bool,
    /// Why.
    #[serde(default)]
    pub reason: Option<Reason>,
}

/// Every service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Services {
    /// In the order of the document.
    pub services: Vec<Service>,
}

/// A service and its weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Service {
    /// Its name.
    #[schemars(with = "String")]
    pub name: ServiceName,
    /// Whose its weights are.
    pub owner: WeightsOwner,
    /// Who set them, when and why, and until when. Absent while they are the document's.
    pub shift: Option<ShiftView>,
    /// In the order of the document.
    pub versions: Vec<Version>,
    /// Requests per second over the last minute, as the proxies report them. Absent while none did.
    pub requests_per_second: Option<f64>,
}

/// Whose weights are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WeightsOwner {
    /// The document's.
    Document,
    /// An operator's.
    Operator,
}

impl From<Owner> for WeightsOwner {
    fn from(owner: Owner) -> Self {
        match owner {
            Owner::Operator => Self::Operator,
        }
    }
}

/// Who set a service's weights.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ShiftView {
    /// Who.
    pub author: Author,
    /// Why.
    pub reason: Reason,
    /// When.
    pub since: Timestamp,
    /// When they end by themselves.
    pub until: Option<Timestamp>,
}

/// A version of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Version {
    /// Its name.
    #[schemars(with = "String")]
    pub name: VersionName,
    /// Its share of new requests.
    pub share: Share,
    /// What it would be by the document.
    pub document_share: Share,
    /// Its pools.
    pub pools: Vec<Pool>,
}

/// The endpoints of a version in a region, summed over the proxies that report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Pool {
    /// Where.
    #[schemars(with = "String")]
    pub region: RegionName,
    /// How many there are in the document.
    pub endpoints: usize,
    /// How many of them may be chosen, by the latest report of a proxy. Absent while none reports.
    pub healthy: Option<u32>,
    /// Requests by class of status: 1xx to 5xx, and none.
    pub requests: [u64; 6],
    /// How long they took.
    pub latency: Latency,
}

/// The request to shift a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShiftRequest {
    /// The shares of the versions that are named. The others keep their ratio in what is left.
    #[schemars(with = "BTreeMap<String, Share>", extend("minProperties" = 1))]
    pub shares: BTreeMap<VersionName, Share>,
    /// How long; then the weights before it come back. Absent: they stay.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub lasts: Option<Lasts>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
}

/// The request to lay an override.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OverrideRequest {
    /// What it does.
    pub action: Wish,
    /// How long: at most 72 hours.
    #[serde(rename = "for")]
    pub lasts: Lasts,
    /// Why. Compulsory: whoever finds it at night must know.
    pub reason: Reason,
}

/// The overrides that are laid, by their number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Overrides {
    /// They.
    pub overrides: BTreeMap<u64, Override>,
}

/// Every node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Nodes {
    /// What they shall run.
    pub wanted: Option<RevisionId>,
    /// By name.
    pub nodes: Vec<NodeStanding>,
}

/// How far a revision has got.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Progress {
    /// Which.
    pub revision: RevisionId,
    /// Whether the share that was asked for runs it. If not, the time is up, or so many refused it that it cannot be.
    pub reached: bool,
    /// Who runs it, who refused it, and who has not answered.
    pub nodes: Applied,
}

/// A page of the audit log, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Audit {
    /// They.
    pub entries: Vec<sluice_control_core::audit::Entry>,
    /// For the next page; absent on the last.
    pub after: Option<u64>,
}

/// Whether the audit log is whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Verified {
    /// Whether it is.
    pub sound: bool,
    /// Its end. Keep its hash elsewhere: it shows later whether the log was cut or written anew.
    pub head: Head,
    /// Where it is not.
    pub broken: Option<Broken>,
}
