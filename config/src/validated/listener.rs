//! Where connections are accepted, and on which terms.

use std::net::SocketAddr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Forwarded, ProxyProtocol};
use crate::name::ListenerName;
use crate::network::Network;

/// An address that accepts connections: HTTP/1.1 and HTTP/2, with TLS or without.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listener {
    /// Unique.
    pub name: ListenerName,
    /// Unique. Port 0 is refused.
    pub address: SocketAddr,
    /// What a client may use up.
    pub limits: Limits,
    /// Absent: clients speak HTTP in the clear.
    pub tls: Option<Tls>,
    /// Whether each connection begins with a header of the PROXY protocol. Then at least one proxy is trusted. Default off.
    pub proxy_protocol: ProxyProtocol,
    /// Whose word is believed about who the client is. Default none.
    pub trusted_proxies: Vec<Network>,
    /// In which fields origins are told who the client is.
    pub forwarded: Forwarded,
    /// What becomes of a request's path before it is routed.
    pub paths: Paths,
}

/// What a listener shows its clients before they speak, and asks of them. Paths are as they were written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tls {
    /// At least one, no two the same. The first is shown for names that none holds.
    pub certificates: Vec<Certificate>,
    /// Whether a client must ask for a name that a certificate holds. Default false.
    pub require_sni: bool,
    /// The oldest version that is spoken. Default 1.2.
    pub min_version: TlsVersion,
    /// Absent: clients are not asked for a certificate.
    pub client_auth: Option<ClientAuth>,
    /// Whether HTTP/2 is offered. Default true.
    pub http2: bool,
    /// For the whole handshake, from the connection's start. Default 10 s.
    pub handshake_timeout: Duration,
    /// What becomes of a request for a host that the handshake does not cover. Default: it is refused.
    pub host_mismatch: HostMismatch,
}

/// The files of a certificate, PEM.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Certificate {
    /// The certificate, and its chain behind it.
    pub cert: String,
    /// Its key.
    pub key: String,
}

/// How clients prove who they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClientAuth {
    /// The file of what clients' certificates are signed by, PEM.
    pub ca: String,
    /// Whether a client may show none. Default: it may not.
    pub mode: ClientAuthMode,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum TlsVersion {
    /// TLS 1.2.
    #[default]
    #[serde(rename = "1.2")]
    V12,
    /// TLS 1.3.
    #[serde(rename = "1.3")]
    V13,
}

impl TlsVersion {
    /// As it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V12 => "1.2",
            Self::V13 => "1.3",
        }
    }
}

/// Whether a client may show no certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuthMode {
    /// The handshake fails without one.
    #[default]
    Required,
    /// It may.
    Optional,
}

impl ClientAuthMode {
    /// As it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::Optional => "optional",
        }
    }
}

/// What becomes of a request for a host that the handshake does not cover.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HostMismatch {
    /// It is answered with 421.
    #[default]
    Refuse,
    /// It is routed as any other.
    Allow,
}

impl HostMismatch {
    /// As it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::Allow => "allow",
        }
    }
}

/// What becomes of a request's path before it is routed; what is routed is what the origin gets. See [`crate::path`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Paths {
    /// Default: resolve.
    pub dot_segments: DotSegments,
    /// Default: keep.
    pub encoded_slashes: EncodedSlashes,
    /// Whether `//` becomes `/`. Default: no.
    pub merge_slashes: bool,
}

/// What becomes of the segments `.` and `..`, written or percent-encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DotSegments {
    /// `/a/../b` is `/b`. One that leads above the root is refused.
    #[default]
    Resolve,
    /// The request is refused.
    Refuse,
}

/// What becomes of `%2F` and `%5C`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EncodedSlashes {
    /// They stay, and are no slashes to routes. Beside a dot segment they are refused.
    #[default]
    Keep,
    /// The request is refused.
    Refuse,
    /// `%2F` becomes `/` before anything else is looked at; `%5C` is refused.
    Decode,
}

/// What one listener's clients may use up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// Open connections at once over all workers; at the limit idle ones are closed, and further ones wait. Default 20,000.
    pub connections: u32,
    /// Open connections at once of one client: an IPv4 address, or the first 64 bits of an IPv6 address. Default: no limit.
    pub connections_per_address: Option<u32>,
    /// A request's head in bytes (request line and all fields). Default 32 KiB.
    pub header_bytes: u32,
    /// Fields in a request's head. Default 100.
    pub header_count: u16,
    /// Time for a whole head, from its first byte. Default 10 s.
    pub header_timeout: Duration,
    /// Time a connection may wait for its first or next request. Default 60 s.
    pub keep_alive: Duration,
    /// Requests that one connection may carry. Default: no limit.
    pub requests_per_connection: Option<u32>,
    /// The largest body of a request. Default: no limit.
    pub body_bytes: Option<u64>,
    /// Bytes per second that a client must send of a body while it is waited for. Default 240.
    pub receive_min_rate: Option<u64>,
    /// Bytes per second that a client must take of an answer while it is waited for. Default 240.
    pub send_min_rate: Option<u64>,
    /// How far a client may fall behind these rates. Default 60 s.
    pub min_rate_grace: Duration,
}
