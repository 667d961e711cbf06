//! What is exposed and shifted.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::discovery::Discovery;
use super::endpoint::Endpoints;
use super::health_check::HealthCheck;
use super::origin::{Connections, OriginTls};
use super::retries::Retries;
use super::split::Split;
use super::timeouts::Timeouts;
use super::version::Version;
use crate::name::ServiceName;
use crate::validated::Protocol;

/// What is exposed and shifted. It has `versions`, or `endpoints` if there is nothing to shift.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Service {
    /// Unique.
    pub(crate) name: ServiceName,
    /// How a request is given a version. Default `random`.
    #[serde(default)]
    pub(crate) split: Split,
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
