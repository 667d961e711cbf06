//! How endpoints are probed.

use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The probes of one service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HealthCheck {
    /// What is asked, and what a good answer is.
    pub probe: Probe,
    /// Another port than the endpoint's.
    pub port: Option<u16>,
    /// Whether an answer may hold an agent's word. Never with gRPC.
    pub agent: bool,
    /// Between the starts of two probes of one endpoint, jittered by a tenth. Default 5 s.
    pub interval: Duration,
    /// The same while the last probe contradicts the standing. From the timeout to the interval.
    pub interval_in_doubt: Duration,
    /// The same for a verified endpoint that had no request since the last probe; absent: the interval, which it is never below.
    pub interval_without_traffic: Option<Duration>,
    /// For the whole probe. Default 2 s; at most the interval.
    pub timeout: Duration,
    /// Bad probes in a row that take an endpoint out. Default 3.
    pub failure_threshold: u32,
    /// Good probes in a row that bring it back. Default 2.
    pub recovery_threshold: u32,
    /// Bad probes among the last ten that take an endpoint out, in a row or not; absent: no number of them does.
    pub unsteady_threshold: Option<u32>,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Probe {
    /// A request in the service's protocol.
    Http(HttpProbe),
    /// A connection, and perhaps a few bytes on it.
    Tcp(TcpProbe),
    /// A call of `grpc.health.v1.Health/Check`. The service speaks HTTP/2.
    Grpc(GrpcProbe),
}

impl Probe {
    /// As it is written.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Http(_) => "http",
            Self::Tcp(_) => "tcp",
            Self::Grpc(_) => "grpc",
        }
    }
}

/// A probe by a request of HTTP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HttpProbe {
    /// Path and query.
    pub path: String,
    /// The Host field; absent: the address that is asked.
    pub host: Option<String>,
    /// Default GET.
    pub method: ProbeMethod,
    /// Sent with it, sorted by name (lower case), each once.
    pub headers: Vec<(String, String)>,
    /// What a good answer's final status is among: sorted, apart from each other. Default 200 to 299.
    pub statuses: Vec<StatusRange>,
    /// What the first 64 KiB of a good answer's body contain. Never with HEAD.
    pub body: Option<String>,
}

/// A method that probes ask by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum ProbeMethod {
    /// GET.
    #[default]
    #[serde(rename = "GET")]
    Get,
    /// HEAD: an answer without a body.
    #[serde(rename = "HEAD")]
    Head,
}

impl ProbeMethod {
    /// As it is sent.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
        }
    }
}

/// Statuses from `first` to `last`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct StatusRange {
    /// At least 200: others are never final.
    pub first: u16,
    /// From `first` to 599.
    pub last: u16,
}

impl StatusRange {
    /// What a good answer has when nothing is said: 200 to 299.
    pub const SUCCESS: Self = Self { first: 200, last: 299 };

    /// Whether it holds this status.
    #[must_use]
    pub const fn holds(self, status: u16) -> bool {
        self.first <= status && status <= self.last
    }
}

impl fmt::Display for StatusRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last { write!(f, "{}", self.first) } else { write!(f, "{}-{}", self.first, self.last) }
    }
}

/// A probe by a connection, with the service's TLS if it has one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TcpProbe {
    /// Sent when the connection stands.
    pub send: Option<String>,
    /// What the first 4 KiB of a good answer contain; absent: a connection is good.
    pub expect: Option<String>,
}

/// A probe by a call of gRPC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GrpcProbe {
    /// Whose health is asked for; absent: the whole server's.
    pub service: Option<String>,
}
