//! How endpoints are probed.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::duration::Span;

/// How endpoints are probed.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct HealthCheck {
    /// What is asked; a final status of 200 to 299 is good.
    pub(crate) http: HttpProbe,
    /// Between the starts of two probes of one endpoint, jittered by a tenth. Default `5s`.
    #[serde(default = "default_interval")]
    pub(crate) interval: Span,
    /// For the whole probe. At most the interval. Default `2s`.
    #[serde(default = "default_timeout")]
    pub(crate) timeout: Span,
    /// Bad probes in a row that take an endpoint out. 1 to 100. Default 3.
    #[serde(default = "default_failures")]
    #[schemars(range(min = 1, max = 100))]
    pub(crate) failure_threshold: u32,
    /// Good probes in a row that bring it back. 1 to 100. Default 2.
    #[serde(default = "default_recoveries")]
    #[schemars(range(min = 1, max = 100))]
    pub(crate) recovery_threshold: u32,
}

/// A probe by HTTP GET.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct HttpProbe {
    /// Path and query, such as `/healthz` or `/health?deep=1`.
    #[schemars(extend("format" = "request-target"))]
    pub(crate) path: String,
    /// The Host field. Default: the endpoint's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "host-field"))]
    pub(crate) host: Option<String>,
}

const fn default_interval() -> Span {
    Span::seconds(5)
}

const fn default_timeout() -> Span {
    Span::seconds(2)
}

const fn default_failures() -> u32 {
    3
}

const fn default_recoveries() -> u32 {
    2
}
