//! Where connections are accepted.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::duration::Span;
use crate::name::ListenerName;
use crate::schema::paths::Paths;
use crate::size::Size;

/// An address that accepts connections (HTTP/1.1 and, by its preface, HTTP/2 without TLS).
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Listener {
    /// Unique.
    pub(crate) name: ListenerName,
    /// `IP:PORT`; `0.0.0.0:8080` is every IPv4 address of the machine, `[::]:8080` every address. Unique. Port 0 is refused.
    pub(crate) address: Address,
    /// What a client may use up.
    #[serde(default)]
    pub(crate) limits: Limits,
    /// What becomes of a request's path before it is routed. What is routed is what the origin gets.
    #[serde(default)]
    pub(crate) paths: Paths,
}

/// What one listener's clients may use up.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Limits {
    /// Open connections at once over all workers; further ones wait in the kernel's queue. 1 to 10,000,000. Default 20000.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub(crate) connections: u32,
    /// A request's head in bytes (request line and all fields). `1KiB` to `1MiB`. Default `32KiB`.
    pub(crate) header_bytes: Size,
    /// Fields in a request's head. 1 to 1,000. Default 100.
    #[schemars(range(min = 1, max = 1_000))]
    pub(crate) header_count: u16,
    /// Time for a whole head, from its first byte. Default `10s`.
    pub(crate) header_timeout: Span,
    /// Time a connection may wait for its first or next request. Default `60s`.
    pub(crate) keep_alive: Span,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 20_000,
            header_bytes: Size::kibibytes(32),
            header_count: 100,
            header_timeout: Span::seconds(10),
            keep_alive: Span::seconds(60),
        }
    }
}
