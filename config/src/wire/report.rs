//! What a proxy has counted.

use serde::{Deserialize, Serialize};

use crate::name::{RegionName, ServiceName, VersionName};

/// What a proxy has counted since its process began. Counts are cumulative and never fall, so a report that is lost or
/// comes twice changes nothing: the newest of an incarnation says it all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// Rises by one with each report of an incarnation. An older one that comes later is ignored.
    pub sequence: u64,
    /// One for each pool that ever carried a request in this incarnation, or has endpoints now.
    pub pools: Vec<PoolReport>,
}

/// What one pool has answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PoolReport {
    /// Of this service,
    pub service: ServiceName,
    /// this version
    pub version: VersionName,
    /// and this region.
    pub region: RegionName,
    /// Requests by the class of the status sent to the client: 1xx to 5xx, and last those that got none.
    pub classes: [u64; 6],
    /// Times to the end of the answer: buckets of the project's histogram that are not empty, each with its count.
    pub latency: Vec<(u16, u64)>,
    /// The sum of those times, in microseconds.
    pub latency_sum: u64,
    /// Endpoints now.
    pub endpoints: u32,
    /// Those of them that may be chosen.
    pub healthy: u32,
}
