//! The document after it was proven: every default filled in, every reference an index, every value in its range.
//!
//! Only [`validate`](crate::validate) makes a [`Validated`]. None of its structures can be read from text, so nothing that
//! was not proven can stand here. Indices are into the lists of the same [`Validated`].

use std::net::SocketAddr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::name::{ListenerName, RegionName, ServiceName, VersionName};
use crate::value::{Digest, Weight};

/// A proven document with all its defaults.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Validated {
    /// Where connections are accepted. At least one.
    pub listeners: Vec<Listener>,
    /// Where endpoints are. At least one: a document without regions has one, named `default`.
    pub regions: Vec<Region>,
    /// What is exposed and shifted. At least one.
    pub services: Vec<Service>,
    /// In the order of the document; the route table decides precedence.
    pub routes: Vec<Route>,
    /// How the process leaves.
    pub drain: Drain,
    /// What the whole process may use up.
    pub limits: ProcessLimits,
    /// Over the whole effective document.
    pub digest: Digest,
}

/// An address that accepts connections (HTTP/1.1 and, by its preface, HTTP/2 without TLS).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listener {
    /// Unique.
    pub name: ListenerName,
    /// Unique. Port 0 is refused.
    pub address: SocketAddr,
    /// What a client may use up.
    pub limits: Limits,
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

/// A place where endpoints are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Region {
    /// Unique.
    pub name: RegionName,
    /// Default: secondary; at most one primary.
    pub role: Role,
    /// Share of new requests among regions that can serve them. 0 for a standby; default 100 otherwise.
    pub weight: Weight,
    /// What may be asked of it. Default: all three.
    pub capabilities: Capabilities,
}

/// What a region is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Active; where a request goes first when it cannot be served where its weight placed it.
    Primary,
    /// Active.
    Secondary,
    /// Takes a request only when no active region can serve it.
    Standby,
}

/// The kinds of request that a region serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Capabilities {
    /// GET, HEAD and OPTIONS.
    pub read: bool,
    /// Every other method.
    pub write: bool,
    /// Requests of routes that demand it.
    pub admin: bool,
}

/// One kind of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Capability {
    /// GET, HEAD and OPTIONS.
    Read,
    /// Every other method.
    Write,
    /// Requests of routes that demand it.
    Admin,
}

impl Capabilities {
    /// Whether this kind of request is served.
    #[must_use]
    pub const fn serves(self, capability: Capability) -> bool {
        match capability {
            Capability::Read => self.read,
            Capability::Write => self.write,
            Capability::Admin => self.admin,
        }
    }
}

/// What is exposed and shifted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Service {
    /// Unique.
    pub name: ServiceName,
    /// How a request is given a version.
    pub split: Split,
    /// Absent: every endpoint counts as verified.
    pub health_check: Option<HealthCheck>,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// At least one, with at least one weight above 0.
    pub versions: Vec<Version>,
}

/// How a request is given a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// Each request anew.
    Random,
    /// The same key, the same version, while weights allow. A request without the key is split at random.
    Sticky(StickyKey),
}

/// What identifies a user to a sticky split.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StickyKey {
    /// The first value of this field (lower case).
    Header(String),
    /// The value of this cookie.
    Cookie(String),
    /// The address of the connection's other end, without the port.
    ClientAddress,
}

/// One deployable variant of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Version {
    /// Unique in its service.
    pub name: VersionName,
    /// Share of new requests. 0 is reached only by a route that names the version. Default 100.
    pub weight: Weight,
    /// One for each region where the version has endpoints, in the order of the regions.
    pub pools: Vec<Pool>,
}

/// The endpoints of one version in one region.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pool {
    /// Index into the regions.
    pub region: usize,
    /// At least one.
    pub endpoints: Vec<Endpoint>,
}

/// One address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Endpoint {
    /// Unique in its pool.
    pub address: SocketAddr,
    /// Share of the pool's requests. Default 1.
    pub weight: Weight,
}

/// How endpoints are probed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HealthCheck {
    /// What is asked; a final status of 200 to 299 is good.
    pub http: HttpProbe,
    /// Between the starts of two probes of one endpoint, jittered by a tenth. Default 5 s.
    pub interval: Duration,
    /// For the whole probe. Default 2 s; at most the interval.
    pub timeout: Duration,
    /// Bad probes in a row that take an endpoint out. Default 3.
    pub failure_threshold: u32,
    /// Good probes in a row that bring it back. Default 2.
    pub recovery_threshold: u32,
}

/// A probe by HTTP GET.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HttpProbe {
    /// Path and query.
    pub path: String,
    /// The Host field; default: the endpoint's address.
    pub host: Option<String>,
}

/// How long things may take. `None` is written `off`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Timeouts {
    /// To connect to an endpoint. Default 2 s.
    pub connect: Duration,
    /// One attempt: from the whole request sent to the head of the answer. Default 30 s.
    pub per_try: Option<Duration>,
    /// Without a byte in either direction. Default 60 s.
    pub idle: Option<Duration>,
    /// The whole exchange, from the request's head to the answer's last byte; tunnels are exempt. Default 1 h.
    pub total: Option<Duration>,
    /// A tunnel (WebSocket) without a byte in either direction. Default 1 h.
    pub tunnel_idle: Option<Duration>,
}

/// A match and what answers it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Route {
    /// Unique; the metric label. Default: the match in words, such as `shop.example.com/api`.
    pub name: String,
    /// What a request must look like.
    pub matches: Match,
    /// Index into the services.
    pub service: usize,
    /// Index into the service's versions: the split is passed over.
    pub version: Option<usize>,
    /// What is asked of the region; absent: by the method.
    pub capability: Option<Capability>,
}

/// What a request must look like; all of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Match {
    /// Lower case, without port.
    pub host: HostMatch,
    /// Of the path, without the query.
    pub path: PathMatch,
    /// One of these, sorted; empty: any.
    pub methods: Vec<String>,
    /// All of these, by the first field of that name (lower case), sorted by name; each name once.
    pub headers: Vec<ValueMatch>,
    /// All of these, by the first parameter of that name, sorted by name; each name once.
    pub query: Vec<ValueMatch>,
}

/// Which hosts.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HostMatch {
    /// Every host.
    Any,
    /// This one.
    Exact(String),
    /// One or more labels before this suffix: `*.example.com` holds `example.com`.
    Wildcard(String),
}

/// Which paths.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PathMatch {
    /// This one.
    Exact(String),
    /// This one and all below it, by segment: `/api` holds `/api` and `/api/x`, not `/apix`. `/` holds all. No other
    /// prefix ends with a slash: `/api/` is written `/api` here.
    Prefix(String),
    /// The whole path by this regular expression.
    Regex(String),
}

/// A named value that must be present, and must be this one if a value is given.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct ValueMatch {
    /// The field or parameter.
    pub name: String,
    /// Absent: any value.
    pub value: Option<String>,
}

/// How the process leaves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Drain {
    /// When what is left is cut off. Default 30 s.
    pub deadline: Duration,
    /// How long an idle HTTP/1.1 connection is kept for one more request that may be on its way. Default 1 s.
    pub linger: Duration,
}

/// What the whole process may use up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ProcessLimits {
    /// Open connections of clients at once over all listeners. Default: as many as fit.
    pub connections: Bound<u32>,
    /// Resident memory in bytes. Default: what fits.
    pub memory: Bound<u64>,
}

/// A limit that the process can find out by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound<T> {
    /// What fits.
    Auto,
    /// None.
    Off,
    /// This.
    At(T),
}
