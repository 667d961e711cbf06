//! How a service's endpoints are spoken to.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::duration::Span;

/// TLS towards endpoints. Their certificates are always verified.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OriginTls {
    /// The host or IP address that every endpoint's certificate must be for; it is sent as SNI, too.
    #[schemars(extend("format" = "server-name"))]
    pub(crate) server_name: String,
    /// A PEM file with the authorities that sign the endpoints' certificates. Default: those that the system trusts.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "file-path"))]
    pub(crate) ca: Option<String>,
    /// What is shown to endpoints that ask for a certificate. Default: nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client_certificate: Option<ClientCertificate>,
}

/// A certificate that is shown to endpoints, and its key.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClientCertificate {
    /// A PEM file with the certificate and its chain.
    #[schemars(extend("format" = "file-path"))]
    pub(crate) cert: String,
    /// A PEM file with its key.
    #[schemars(extend("format" = "file-path"))]
    pub(crate) key: String,
}

/// Connections to endpoints.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Connections {
    /// The most that wait for their next request, for each endpoint and worker; 0: none is kept. At most 100,000. Default 256.
    #[schemars(range(min = 0, max = 100_000))]
    pub(crate) idle: u32,
    /// How long one may wait. Shorter than the endpoints' own. Default `50s`.
    pub(crate) idle_timeout: Span,
    /// The most requests at once on one connection, if the endpoint allows as many; further ones take another connection. 1 to
    /// 10,000. Only with `protocol: http2`. Default 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub(crate) streams: Option<u32>,
}

impl Default for Connections {
    fn default() -> Self {
        Self { idle: 256, idle_timeout: Span::seconds(50), streams: None }
    }
}
