//! The document after it was proven: every default filled in, every reference an index, every value in its range.
//!
//! Only [`validate`](crate::validate) makes a [`Validated`]. None of its structures can be read from text, so nothing that
//! was not proven can stand here. Indices are into the lists of the same [`Validated`].

mod balancer;
mod breaker;
mod discovery;
mod forces;
mod health_check;
mod listener;
mod outlier;
mod retries;
mod service_limits;

use std::net::SocketAddr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::name::{RegionName, ServiceName, VersionName, ZoneName};
pub use crate::schema::identity::{Forwarded, ProxyProtocol};
use crate::value::{Digest, Weight};

pub use balancer::{
    Balancer, Fallback, HALF, HashKey, OVERPROVISIONING, Panic, PanicMode, Session, SlowStart, TENTH, Zones,
};
pub use breaker::{Breaker, Breakers, SLOW_RATIO, SlowCalls};
pub use discovery::{Discovery, Family, Query, Resolver, Source};
pub use forces::Forces;
pub use health_check::{GrpcProbe, HealthCheck, HttpProbe, Probe, ProbeMethod, StatusRange, TcpProbe};
pub use listener::{
    Certificate, ClientAuth, ClientAuthMode, DotSegments, EncodedSlashes, HostMismatch, Limits, Listener, Paths, Tls,
    TlsVersion,
};
pub use outlier::{FailurePercentage, LatencyOutlier, OutlierEjection, SuccessRate};
pub use retries::{GrpcStatus, Retries, RetryBackoff, RetryBudget, RetryCause};
pub use service_limits::{EndpointLimits, PoolLimits, Priority, ServiceLimits};

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
    /// Who is asked for the names of endpoints.
    pub resolver: Resolver,
    /// Over the whole effective document.
    pub digest: Digest,
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
    /// How an endpoint of a pool is picked.
    pub balancer: Balancer,
    /// Absent: an endpoint takes its whole part at once.
    pub slow_start: Option<SlowStart>,
    /// Absent: zones are not looked at.
    pub zones: Option<Zones>,
    /// Absent: no user stays with an endpoint.
    pub session: Option<Session>,
    /// Absent: the endpoints that may be chosen take it all.
    pub panic: Option<Panic>,
    /// Absent: no endpoint is ejected.
    pub outlier_ejection: Option<OutlierEjection>,
    /// When nothing is sent for a while to what fails.
    pub breaker: Breakers,
    /// How much may be under way at once.
    pub limits: ServiceLimits,
    /// Where a request goes when its pool has no endpoint for it.
    pub fallback: Fallback,
    /// What endpoints speak.
    pub protocol: Protocol,
    /// Absent: endpoints are spoken to in the clear.
    pub tls: Option<OriginTls>,
    /// Connections to endpoints.
    pub connections: Connections,
    /// Absent: every endpoint counts as verified.
    pub health_check: Option<HealthCheck>,
    /// How often names of endpoints are asked for again.
    pub discovery: Discovery,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// What is tried again.
    pub retries: Retries,
    /// At least one, with at least one weight above 0.
    pub versions: Vec<Version>,
}

/// What endpoints speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2; without TLS by prior knowledge.
    Http2,
}

/// TLS towards endpoints. Their certificates are always verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OriginTls {
    /// The host or IP address that every endpoint's certificate must be for; it is sent as SNI, too.
    pub server_name: String,
    /// A PEM file with the authorities that sign the endpoints' certificates; absent: those that the system trusts.
    pub ca: Option<String>,
    /// What is shown to endpoints that ask for a certificate.
    pub client_certificate: Option<ClientCertificate>,
}

/// A certificate that is shown to endpoints, and its key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClientCertificate {
    /// A PEM file with the certificate and its chain.
    pub cert: String,
    /// A PEM file with its key.
    pub key: String,
}

/// Connections to endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Connections {
    /// The most that wait for their next request, for each endpoint and worker. Default 256.
    pub idle: u32,
    /// How long one may wait. Default 50 s.
    pub idle_timeout: Duration,
    /// The most requests at once on one connection of HTTP/2. Default 100.
    pub streams: u32,
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
    /// The client's address, without the port: the connection's other end, or whom trusted proxies name.
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
    /// Those that are written down. At least one, unless there are sources.
    pub endpoints: Vec<Endpoint>,
    /// What operators hold. Nothing in a document alone: overrides are laid live.
    #[serde(skip_serializing_if = "Forces::is_empty")]
    pub forces: Forces,
    /// Where further ones are found.
    pub sources: Vec<Source>,
}

impl Pool {
    /// Whether an endpoint of this address is or may come to be in it. An override may name no other.
    #[must_use]
    pub fn may_have(&self, address: SocketAddr) -> bool {
        self.endpoints.iter().any(|endpoint| endpoint.address == address)
            || self.sources.iter().any(|source| source.query.may_find(address))
    }

    /// The most endpoints that it can have, if that is known.
    #[must_use]
    pub const fn bound(&self) -> Option<usize> {
        if self.sources.is_empty() { Some(self.endpoints.len()) } else { None }
    }
}

/// One address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Endpoint {
    /// Unique in its pool.
    pub address: SocketAddr,
    /// Share of the pool's requests. Default 1.
    pub weight: Weight,
    /// Where in its region it is.
    pub zone: Option<ZoneName>,
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
    /// Whose requests go first where some must wait. Default normal.
    pub priority: Priority,
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
    /// How long it still accepts and serves as before, while it is not ready. Default 0.
    pub delay: Duration,
    /// When what is left is cut off, after the delay. Default 30 s.
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
    /// Probes of health checks in a second. Absent: no limit. Default 500.
    pub probes: Option<u32>,
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
