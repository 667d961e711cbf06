//! Where connections are accepted.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::bound::{Most, Rate, RateOrOff, SizeOrOff};
use crate::duration::Span;
use crate::name::ListenerName;
use crate::network::Network;
use crate::schema::identity::{Forwarded, ProxyProtocol};
use crate::schema::paths::Paths;
use crate::schema::tls::Tls;
use crate::size::Size;

/// An address that accepts connections: HTTP/1.1 and HTTP/2, with TLS or without.
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
    /// Default: none; clients speak HTTP in the clear.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tls: Option<Tls>,
    /// Whether each connection begins with a header of the PROXY protocol (version 1 or 2), before TLS: `off` or `required`. Needs `trusted_proxies`, and a connection from any other address is closed. There is nothing between the two: a client that could leave the header out could also choose its address. Default `off`.
    #[serde(default)]
    pub(crate) proxy_protocol: ProxyProtocol,
    /// Networks (`10.0.0.0/8`) and addresses (`::1`) whose word is believed about who the client is and where it connected, by X-Forwarded-* and Forwarded, and whose request ids are taken over. Default: none.
    #[serde(default)]
    pub(crate) trusted_proxies: Vec<Network>,
    /// How origins are told who the client is: by X-Forwarded-For, -Proto, -Host and -Port (`x_forwarded`), by Forwarded (`rfc7239`), or by `both`; X-Real-IP is set always. Default `x_forwarded`.
    #[serde(default)]
    pub(crate) forwarded: Forwarded,
    /// What becomes of a request's path before it is routed. What is routed is what the origin gets.
    #[serde(default)]
    pub(crate) paths: Paths,
}

/// What one listener's clients may use up.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Limits {
    /// Open connections at once over all workers; at the limit idle ones are closed, the oldest first, and further ones wait in the kernel's queue. 1 to 10,000,000. Default 20000.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub(crate) connections: u32,
    /// Open connections at once of one client: an IPv4 address, or the first 64 bits of an IPv6 address. A further one is closed at once, with a 429. Many people may share one address; or `off`. 1 to 10,000,000. Default `off`.
    pub(crate) connections_per_address: Most,
    /// A request's head in bytes (request line and all fields). `1KiB` to `1MiB`. Default `32KiB`.
    pub(crate) header_bytes: Size,
    /// Fields in a request's head. 1 to 1,000. Default 100.
    #[schemars(range(min = 1, max = 1_000))]
    pub(crate) header_count: u16,
    /// Time for a whole head, from its first byte. Default `10s`.
    pub(crate) header_timeout: Span,
    /// Time a connection may wait for its first or next request. Default `60s`.
    pub(crate) keep_alive: Span,
    /// Requests that one connection may carry; it ends with the answer to the last. Or `off`. 1 to 10,000,000. Default `off`.
    pub(crate) requests_per_connection: Most,
    /// The largest body of a request; or `off`. Above it the request is refused (413) as soon as that is known, and the connection closed. Default `off`.
    pub(crate) body_bytes: SizeOrOff,
    /// What a client must send of a body while it is waited for, on average over `min_rate_grace`; or `off`. gRPC and tunnels are exempt. At most `1MiB/s`. Default `240B/s`.
    pub(crate) receive_min_rate: RateOrOff,
    /// What a client must take of an answer while it is waited for, on average over `min_rate_grace`; or `off`. gRPC and tunnels are exempt. At most `1MiB/s`. Default `240B/s`.
    pub(crate) send_min_rate: RateOrOff,
    /// How long a client may fall behind these rates: it is cut off once it has been waited for so much longer than the bytes it moved are worth. Default `60s`.
    pub(crate) min_rate_grace: Span,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 20_000,
            connections_per_address: Most::OFF,
            header_bytes: Size::kibibytes(32),
            header_count: 100,
            header_timeout: Span::seconds(10),
            keep_alive: Span::seconds(60),
            requests_per_connection: Most::OFF,
            body_bytes: SizeOrOff(None),
            receive_min_rate: RateOrOff(Some(Rate(Size::bytes(240)))),
            send_min_rate: RateOrOff(Some(Rate(Size::bytes(240)))),
            min_rate_grace: Span::seconds(60),
        }
    }
}
