//! What is exposed and shifted.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::balancer::{Balancer, Panic, Session, SlowStart, Zones};
use super::breaker::Breakers;
use super::discovery::Discovery;
use super::endpoint::{Endpoint, Endpoints};
use super::health_check::HealthCheck;
use super::origin::{Connections, OriginTls};
use super::outlier_ejection::OutlierEjection;
use super::retries::Retries;
use super::service_limits::ServiceLimits;
use super::split::Split;
use super::timeouts::Timeouts;
use super::version::Version;
use crate::name::ServiceName;
use crate::validated::{Fallback, Protocol};

/// What is exposed and shifted. It has `versions`, or `endpoints` if there is nothing to shift.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Service {
    /// Unique.
    pub(crate) name: ServiceName,
    /// How a request is given a version. Default `random`.
    #[serde(default)]
    pub(crate) split: Split,
    /// How an endpoint of a pool is picked: `round_robin`, `least_request`, `peak_ewma`, `random` or `maglev` with its key. Default `round_robin`.
    #[serde(default)]
    pub(crate) balancer: Balancer,
    /// How an endpoint that begins to take traffic, or takes it again, is warmed up. Default: at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) slow_start: Option<SlowStart>,
    /// Endpoints in the proxy's own zone (`--zone`) are preferred. Default: zones are not looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) zones: Option<Zones>,
    /// A user stays with an endpoint, by a cookie that Sluice sets. Default: none does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) session: Option<Session>,
    /// What is done when too few endpoints of a pool may be chosen. Default: the rest takes it all, and `fallback` decides when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) panic: Option<Panic>,
    /// How endpoints that answer worse than others of their pool are taken out. Default: they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) outlier_ejection: Option<OutlierEjection>,
    /// When nothing is sent for a while to what fails. Default: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) breaker: Option<Breakers>,
    /// How much may be under way to endpoints at once.
    #[serde(default)]
    pub(crate) limits: ServiceLimits,
    /// Where a request goes when the pool that it was given has no endpoint for it, or the pool's breaker is open: to the same version in another region, then to the baseline (`other_region`); to the baseline, in the same region first (`baseline`); or nowhere, with a 503 (`reject`). Default `other_region`.
    #[serde(default)]
    pub(crate) fallback: Fallback,
    /// What endpoints speak: `http1`, or `http2` (without `tls` by prior knowledge). Default `http1`.
    #[serde(default)]
    pub(crate) protocol: Protocol,
    /// TLS towards endpoints. Default: none; they are spoken to in the clear.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tls: Option<OriginTls>,
    /// Connections to endpoints.
    #[serde(default)]
    pub(crate) connections: Connections,
    /// How endpoints are probed. Default: they are not; every endpoint counts as verified.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) health_check: Option<HealthCheck>,
    /// How often names of endpoints are asked for again.
    #[serde(default)]
    pub(crate) discovery: Discovery,
    /// How long things may take.
    #[serde(default)]
    pub(crate) timeouts: Timeouts,
    /// What is tried again, how often and at what price.
    #[serde(default)]
    pub(crate) retries: Retries,
    /// The deployable variants, 1 to 64. At least one weight is above 0. Default: one, named `default`, with the `endpoints`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub(crate) versions: Option<Vec<Version>>,
    /// In place of `versions`: the endpoints of one version, named `default`. Default: none; one of both must be there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) endpoints: Option<Endpoints>,
}

impl Service {
    /// The endpoints of each pool, as they are written.
    pub(crate) fn pools(&self) -> impl Iterator<Item = &Vec<Endpoint>> {
        let of_versions = self.versions.iter().flatten().map(|version| &version.endpoints);
        of_versions.chain(&self.endpoints).flat_map(Endpoints::lists)
    }

    /// What is written of endpoints and sources, of all pools.
    pub(crate) fn members(&self) -> impl Iterator<Item = &Endpoint> {
        self.pools().flatten()
    }
}
