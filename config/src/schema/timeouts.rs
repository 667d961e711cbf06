//! How long things may take.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::duration::{Span, Timeout};

/// How long things may take.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Timeouts {
    /// To connect to an endpoint. Default `2s`.
    pub(crate) connect: Span,
    /// One attempt: from the whole request sent to the head of the answer; or `off`. Default `30s`.
    pub(crate) per_try: Timeout,
    /// Without a byte in either direction; or `off`. Default `60s`.
    pub(crate) idle: Timeout,
    /// The whole exchange, from the request's head to the answer's last byte; tunnels are exempt; or `off`. Default `1h`.
    pub(crate) total: Timeout,
    /// A tunnel (WebSocket) without a byte in either direction; or `off`. Default `1h`.
    pub(crate) tunnel_idle: Timeout,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Span::seconds(2),
            per_try: Timeout::seconds(30),
            idle: Timeout::seconds(60),
            total: Timeout::seconds(3_600),
            tunnel_idle: Timeout::seconds(3_600),
        }
    }
}
