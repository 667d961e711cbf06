//! How much may be under way to the endpoints of a service.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How much may be under way at once, over all workers of a proxy. `None` is written `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct ServiceLimits {
    /// For each endpoint.
    pub endpoint: EndpointLimits,
    /// For each pool.
    pub pool: PoolLimits,
    /// Attempts at once that follow another one. Default: no bound.
    pub retries: Option<u32>,
}

/// For each endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct EndpointLimits {
    /// Requests at once. Default: no bound.
    pub requests: Option<u32>,
    /// Open connections at once. Default: no bound.
    pub connections: Option<u32>,
}

/// For each pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct PoolLimits {
    /// Requests at once. Default: no bound.
    pub requests: Option<u32>,
    /// Requests that wait at once for a limit to let them through. Default 1024.
    pub pending: u32,
    /// The longest that one waits. Default 1 s.
    pub pending_timeout: Duration,
}

impl Default for PoolLimits {
    fn default() -> Self {
        Self { requests: None, pending: 1_024, pending_timeout: Duration::from_secs(1) }
    }
}

/// Whose requests go first where some must wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// Before all others.
    High,
    /// As most.
    #[default]
    Normal,
    /// When nobody else waits.
    Low,
}

impl Priority {
    /// The word of the document.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Normal => "normal",
            Self::Low => "low",
        }
    }
}
