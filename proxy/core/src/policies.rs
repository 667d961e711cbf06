//! What a service asks of its endpoints and pools beyond health checks: what the document leaves out is off.

use std::time::Duration;

use sluice_config::validated::{Balancer, Breaker, OutlierEjection, Service, SlowStart};

use crate::latency;

/// The policies of one service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policies {
    /// Who is ejected.
    pub outlier: Option<OutlierEjection>,
    /// The breaker of each endpoint.
    pub breaker: Option<Breaker>,
    /// The breaker of each pool, over all attempts that go to it.
    pub pool_breaker: Option<Breaker>,
    /// How endpoints that are new or back are warmed up.
    pub slow_start: Option<SlowStart>,
    /// Most requests of one endpoint at once.
    pub endpoint_requests: Option<u32>,
    /// Most requests of one pool at once.
    pub pool_requests: Option<u32>,
    /// After this time a third of an average latency is left.
    pub latency_decay: Duration,
    /// What a failure counts as, at least, for a balancer that looks at time; none where it does not.
    pub latency_penalty: Option<Duration>,
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
            latency_penalty: None,
        }
    }
}

impl From<&Service> for Policies {
    fn from(service: &Service) -> Self {
        let (latency_decay, latency_penalty) = match service.balancer {
            Balancer::PeakEwma { decay, failure_penalty } => (decay, Some(failure_penalty)),
            Balancer::RoundRobin | Balancer::LeastRequest { .. } | Balancer::Maglev { .. } | Balancer::Random => {
                (latency::DECAY, None)
            }
        };
        Self {
            outlier: service.outlier_ejection.clone(),
            breaker: service.breaker.endpoint.clone(),
            pool_breaker: service.breaker.pool.clone(),
            slow_start: service.slow_start,
            endpoint_requests: service.limits.endpoint.requests,
            pool_requests: service.limits.pool.requests,
            latency_decay,
            latency_penalty,
        }
    }
}
