//! What a service asks of its endpoints and pools beyond health checks: everything that can be left out is off.

use std::time::Duration;

use crate::{breaker, latency, outlier, slow_start};

/// The policies of one service.
#[derive(Debug, Clone, PartialEq)]
pub struct Policies {
    /// Who is ejected.
    pub outlier: Option<outlier::Policy>,
    /// The breaker of each endpoint.
    pub breaker: Option<breaker::Policy>,
    /// The breaker of each pool, over all attempts that go to it.
    pub pool_breaker: Option<breaker::Policy>,
    /// How endpoints that are new or back are warmed up.
    pub slow_start: Option<slow_start::Policy>,
    /// Most requests of one endpoint at once.
    pub endpoint_requests: Option<u32>,
    /// Most requests of one pool at once.
    pub pool_requests: Option<u32>,
    /// After this time a third of an average latency is left.
    pub latency_decay: Duration,
    /// What a failure counts as in it, at least.
    pub latency_penalty: Duration,
}

impl Default for Policies {
    fn default() -> Self {
        Self {
            outlier: None,
            breaker: None,
            pool_breaker: None,
            slow_start: None,
            endpoint_requests: None,
            pool_requests: None,
            latency_decay: latency::DECAY,
            latency_penalty: latency::PENALTY,
        }
    }
}
