//! How endpoints are probed.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bound::{Off, off_word};
use crate::duration::{Span, Timeout};
use crate::validated::{self, ProbeMethod, StatusRange};

/// How endpoints are probed.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct HealthCheck {
    /// A request in the service's protocol and with its TLS. Default: none; exactly one of `http`, `tcp` and `grpc` must be there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) http: Option<HttpProbe>,
    /// A connection, with the service's TLS if it has one, and perhaps a few bytes on it. Default: none, as above.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tcp: Option<TcpProbe>,
    /// A call of `grpc.health.v1.Health/Check`, which is good when it answers SERVING. Needs `protocol: http2`. Default: none, as above.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) grpc: Option<GrpcProbe>,
    /// Another port of the endpoint that is asked. 1 to 65,535. Default: the endpoint's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65_535))]
    pub(crate) port: Option<u16>,
    /// Whether the field `Sluice-Endpoint` of an answer by HTTP, or the first line of one by TCP, may say what the endpoint wants: `NN%` (that part of its weight), `drain` (nothing new) or `ready` (its whole weight). What it said holds until it says something else. Not with `grpc`. Default false.
    #[serde(default)]
    pub(crate) agent: bool,
    /// Between the starts of two probes of one endpoint, jittered by a tenth. Default `5s`.
    #[serde(default = "default_interval")]
    pub(crate) interval: Span,
    /// The interval while the last probe contradicts what the endpoint counts as. From the timeout to the interval. Default: a fifth of the interval, but at least 1s and the timeout and at most the interval.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) interval_in_doubt: Option<Span>,
    /// The interval for a verified endpoint that had no request since its last probe; or `off`. At least the interval. Default `off`.
    #[serde(default = "no_interval")]
    pub(crate) interval_without_traffic: Timeout,
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
    /// Bad probes among the last ten that take an endpoint out, in a row or not; it comes back when they are fewer again, too. `off`, or from `failure_threshold` to the most that ten probes can have without so many in a row. Default: 6, or the nearest that is possible; `off` where none is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) unsteady_threshold: Option<UnsteadyThreshold>,
}

/// A request in the service's protocol and with its TLS.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct HttpProbe {
    /// Path and query, such as `/healthz` or `/health?deep=1`.
    #[schemars(extend("format" = "request-target"))]
    pub(crate) path: String,
    /// The Host field. Default: the address that is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "host-field"))]
    pub(crate) host: Option<String>,
    /// `GET` or `HEAD`. Default `GET`.
    #[serde(default)]
    pub(crate) method: ProbeMethod,
    /// Sent with it, at most 32; not Host (that is `host`), and none that belongs to a connection or a body. Default: none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "headers")]
    pub(crate) headers: BTreeMap<String, String>,
    /// What a good answer's final status is among: statuses and ranges of them, such as `["200-299", 401]`. Each 200 to 599. Default `["200-299"]`.
    #[serde(default = "success")]
    #[schemars(length(min = 1))]
    pub(crate) statuses: Vec<Statuses>,
    /// A text that the first 64 KiB of a good answer's body contain. Not with `HEAD`. Default: the body does not matter.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "probe-text"))]
    pub(crate) body: Option<String>,
}

/// A connection, with the service's TLS if it has one, and perhaps a few bytes on it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TcpProbe {
    /// Sent when the connection stands, such as `"PING\r\n"`. Default: nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "probe-text"))]
    pub(crate) send: Option<String>,
    /// A text that the first 4 KiB of a good answer contain, such as `+PONG`. Default: a connection is good.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "probe-text"))]
    pub(crate) expect: Option<String>,
}

/// A call of `grpc.health.v1.Health/Check`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct GrpcProbe {
    /// The gRPC service whose health is asked for, such as `shop.v1.Cart`. Default: the whole server's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "probe-text"))]
    pub(crate) service: Option<String>,
}

/// A status, or a range of them.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Statuses {
    /// One.
    One(#[schemars(range(min = 200, max = 599))] u16),
    /// `"200-299"`.
    Range(StatusSpan),
}

impl Statuses {
    pub(crate) const fn range(&self) -> StatusRange {
        match self {
            Self::One(status) => StatusRange { first: *status, last: *status },
            Self::Range(span) => span.0,
        }
    }

    fn of(range: StatusRange) -> Self {
        if range.first == range.last { Self::One(range.first) } else { Self::Range(StatusSpan(range)) }
    }
}

/// A range of statuses, as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct StatusSpan(pub(crate) StatusRange);

/// Why a text is no range of statuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StatusSpanError {
    /// Not two numbers with a dash between them.
    Malformed,
    /// The first is above the last.
    Backwards,
    /// Not between 200 and 599.
    NeverFinal,
}

impl fmt::Display for StatusSpanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "is not a range of statuses",
            Self::Backwards => "ends before it begins",
            Self::NeverFinal => "has statuses that no answer ends with",
        })
    }
}

impl FromStr for StatusSpan {
    type Err = StatusSpanError;
    fn from_str(text: &str) -> Result<Self, StatusSpanError> {
        let (first, last) = text.split_once('-').ok_or(StatusSpanError::Malformed)?;
        let number = |text: &str| {
            let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse::<u16>().ok().filter(|_| is_number).ok_or(StatusSpanError::Malformed)
        };
        let range = StatusRange { first: number(first)?, last: number(last)? };
        match range {
            StatusRange { first, last } if first > last => Err(StatusSpanError::Backwards),
            StatusRange { first, last } if first < 200 || last > 599 => Err(StatusSpanError::NeverFinal),
            StatusRange { .. } => Ok(Self(range)),
        }
    }
}

impl TryFrom<String> for StatusSpan {
    type Error = StatusSpanError;
    fn try_from(text: String) -> Result<Self, StatusSpanError> {
        text.parse()
    }
}

impl From<StatusSpan> for String {
    fn from(span: StatusSpan) -> Self {
        let StatusRange { first, last } = span.0;
        format!("{first}-{last}")
    }
}

impl JsonSchema for StatusSpan {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "StatusSpan".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "format": "status-range" })
    }
}

/// So many of the last ten, or `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum UnsteadyThreshold {
    Off(Off),
    Count(u32),
}

impl UnsteadyThreshold {
    pub(crate) const fn get(self) -> Option<u32> {
        match self {
            Self::Off(_) => None,
            Self::Count(count) => Some(count),
        }
    }
}

impl JsonSchema for UnsteadyThreshold {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "UnsteadyThreshold".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "anyOf": [off_word(), { "type": "integer", "minimum": 1, "maximum": 10 }] })
    }
}

impl From<&validated::HealthCheck> for HealthCheck {
    fn from(check: &validated::HealthCheck) -> Self {
        let (http, tcp, grpc) = match &check.probe {
            validated::Probe::Http(probe) => (Some(HttpProbe::from(probe)), None, None),
            validated::Probe::Tcp(probe) => {
                (None, Some(TcpProbe { send: probe.send.clone(), expect: probe.expect.clone() }), None)
            }
            validated::Probe::Grpc(probe) => (None, None, Some(GrpcProbe { service: probe.service.clone() })),
        };
        let unsteady = check.unsteady_threshold.map_or(UnsteadyThreshold::Off(Off::Off), UnsteadyThreshold::Count);
        Self {
            http,
            tcp,
            grpc,
            port: check.port,
            agent: check.agent,
            interval: Span(check.interval),
            interval_in_doubt: Some(Span(check.interval_in_doubt)),
            interval_without_traffic: Timeout(check.interval_without_traffic),
            timeout: Span(check.timeout),
            failure_threshold: check.failure_threshold,
            recovery_threshold: check.recovery_threshold,
            unsteady_threshold: Some(unsteady),
        }
    }
}

impl From<&validated::HttpProbe> for HttpProbe {
    fn from(probe: &validated::HttpProbe) -> Self {
        Self {
            path: probe.path.clone(),
            host: probe.host.clone(),
            method: probe.method,
            headers: probe.headers.iter().cloned().collect(),
            statuses: probe.statuses.iter().copied().map(Statuses::of).collect(),
            body: probe.body.clone(),
        }
    }
}

const fn default_interval() -> Span {
    Span::seconds(5)
}

const fn no_interval() -> Timeout {
    Timeout(None)
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

fn success() -> Vec<Statuses> {
    vec![Statuses::of(StatusRange::SUCCESS)]
}

fn headers(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "object",
        "maxProperties": 32,
        "propertyNames": { "format": "header-name" },
        "additionalProperties": { "type": "string", "format": "header-value" },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_statuses_say_what_is_wrong_with_them() {
        assert_eq!("200-299".parse(), Ok(StatusSpan(StatusRange::SUCCESS)));
        for (text, error) in [
            ("", StatusSpanError::Malformed),
            ("200", StatusSpanError::Malformed),
            ("2xx", StatusSpanError::Malformed),
            ("+200-299", StatusSpanError::Malformed),
            ("200-299-300", StatusSpanError::Malformed),
            ("200-99999", StatusSpanError::Malformed),
            ("299-200", StatusSpanError::Backwards),
            ("100-299", StatusSpanError::NeverFinal),
            ("500-600", StatusSpanError::NeverFinal),
        ] {
            assert_eq!(text.parse::<StatusSpan>(), Err(error), "{text:?}");
        }
    }
}
