//! How much may be under way to the endpoints of a service.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bound::Most;
use crate::duration::Span;
use crate::validated;

/// How much may be under way to endpoints at once, over all workers of this proxy.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ServiceLimits {
    /// For each endpoint.
    pub(crate) endpoint: EndpointLimits,
    /// For each pool (a version in a region).
    pub(crate) pool: PoolLimits,
    /// Attempts at once, over the whole service, that follow another one; or `off`. 1 to 10,000,000. Default `off`.
    pub(crate) retries: WrittenMost,
}

/// `off` when nothing is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(crate) struct WrittenMost(pub(crate) Most);

impl Default for WrittenMost {
    fn default() -> Self {
        Self(Most::OFF)
    }
}

/// For each endpoint.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct EndpointLimits {
    /// Requests at once, or `off`. Not more than the pool's. 1 to 10,000,000. Default `off`.
    pub(crate) requests: WrittenMost,
    /// Open connections at once, those of health checks apart, or `off`. With HTTP/2 at least one for each worker is wanted, else they take turns. 1 to 10,000,000. Default `off`.
    pub(crate) connections: WrittenMost,
}

/// For each pool (a version in a region).
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct PoolLimits {
    /// Requests at once, or `off`. 1 to 10,000,000. Default `off`.
    pub(crate) requests: WrittenMost,
    /// Requests that wait at once for one of the limits on requests to let them through; further ones are refused with a 503. A request waits only where no pool that `fallback` allows has room. Those of routes with a higher `priority` go first, then those that came first. 0 to 1,000,000; 0: none waits. Default 1024.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub(crate) pending: u32,
    /// The longest that one waits. Not above `timeouts.total`. Default `1s`.
    pub(crate) pending_timeout: Span,
}

impl Default for PoolLimits {
    fn default() -> Self {
        Self::from(&validated::PoolLimits::default())
    }
}

impl From<&validated::PoolLimits> for PoolLimits {
    fn from(limits: &validated::PoolLimits) -> Self {
        Self {
            requests: WrittenMost(Most::of(limits.requests)),
            pending: limits.pending,
            pending_timeout: Span(limits.pending_timeout),
        }
    }
}

impl From<&validated::ServiceLimits> for ServiceLimits {
    fn from(limits: &validated::ServiceLimits) -> Self {
        let most = |count| WrittenMost(Most::of(count));
        Self {
            endpoint: EndpointLimits {
                requests: most(limits.endpoint.requests),
                connections: most(limits.endpoint.connections),
            },
            pool: PoolLimits::from(&limits.pool),
            retries: most(limits.retries),
        }
    }
}

impl From<&ServiceLimits> for validated::ServiceLimits {
    fn from(limits: &ServiceLimits) -> Self {
        Self {
            endpoint: validated::EndpointLimits {
                requests: limits.endpoint.requests.0.get(),
                connections: limits.endpoint.connections.0.get(),
            },
            pool: validated::PoolLimits {
                requests: limits.pool.requests.0.get(),
                pending: limits.pool.pending,
                pending_timeout: limits.pool.pending_timeout.0,
            },
            retries: limits.retries.0.get(),
        }
    }
}
