//! When nothing is sent for a while to what fails.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bound::Most;
use crate::duration::Span;
use crate::schema::retries::Percent;
use crate::share::{Share, ShareError};
use crate::validated;

/// When nothing is sent for a while to what fails: to one endpoint, or to a pool as a whole.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Breakers {
    /// Of each endpoint. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) endpoint: Option<Breaker>,
    /// Of each pool: what it cannot take goes where `fallback` says. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pool: Option<Breaker>,
}

/// When a breaker opens, for how long, and how it closes again. While it is open nothing is sent; then one request is let through and, for each that succeeds, one more at once.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Breaker {
    /// Failures in a row that open it, or `off`. 1 to 10,000,000. Default 5 for an endpoint, `off` for a pool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) consecutive_failures: Option<Most>,
    /// The share of failures within the window that opens it, or `off`. Default `50%`.
    pub(crate) failure_ratio: ShareOrOff,
    /// The fewest requests within the window for `failure_ratio` and `slow_ratio`. 1 to 1,000,000. Default 20.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(crate) min_requests: u32,
    /// How far back is looked. `1s` to `10m`. Default `10s`.
    pub(crate) window: Span,
    /// A time to the head of an answer above which a request was slow. Not above what `timeouts` allow. Default: none is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) slow_after: Option<Span>,
    /// The share of slow requests within the window that opens it; needs `slow_after`. Default `80%`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) slow_ratio: Option<Percent>,
    /// How long it is open the first time; twice as long each time that it opens again before it has been closed for as long. Jittered by a fifth. Default `5s`.
    pub(crate) open_time: Span,
    /// The longest that it is open. At least `open_time`. Default `60s`.
    pub(crate) max_open_time: Span,
    /// Successes in the half-open state that close it. 1 to 1,000. Default 10.
    #[schemars(range(min = 1, max = 1_000))]
    pub(crate) close_after: u32,
}

/// A share, or `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct ShareOrOff(pub(crate) Option<Share>);

impl TryFrom<String> for ShareOrOff {
    type Error = ShareError;
    fn try_from(text: String) -> Result<Self, ShareError> {
        if text == "off" { Ok(Self(None)) } else { text.parse().map(|share| Self(Some(share))) }
    }
}

impl From<ShareOrOff> for String {
    fn from(value: ShareOrOff) -> Self {
        value.0.map_or_else(|| "off".to_owned(), |share| share.to_string())
    }
}

impl JsonSchema for ShareOrOff {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ShareOrOff".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "format": "share-or-off" })
    }
}

impl Breaker {
    pub(crate) fn of(breaker: &validated::Breaker) -> Self {
        Self {
            consecutive_failures: Some(Most::of(breaker.consecutive_failures)),
            failure_ratio: ShareOrOff(breaker.failure_ratio),
            min_requests: breaker.min_requests,
            window: Span(breaker.window),
            slow_after: breaker.slow.as_ref().map(|slow| Span(slow.after)),
            slow_ratio: breaker.slow.as_ref().map(|slow| Percent(slow.ratio)),
            open_time: Span(breaker.open_time),
            max_open_time: Span(breaker.max_open_time),
            close_after: breaker.close_after,
        }
    }

    /// `streak`: what opens it when nothing is said.
    pub(crate) fn resolve(&self, streak: Option<u32>) -> validated::Breaker {
        let ratio = self.slow_ratio.map_or(validated::SLOW_RATIO, |ratio| ratio.0);
        validated::Breaker {
            consecutive_failures: self.consecutive_failures.map_or(streak, Most::get),
            failure_ratio: self.failure_ratio.0,
            min_requests: self.min_requests,
            window: self.window.0,
            slow: self.slow_after.map(|after| validated::SlowCalls { after: after.0, ratio }),
            open_time: self.open_time.0,
            max_open_time: self.max_open_time.0,
            close_after: self.close_after,
        }
    }
}

impl From<&validated::Breakers> for Breakers {
    fn from(breakers: &validated::Breakers) -> Self {
        Self { endpoint: breakers.endpoint.as_ref().map(Breaker::of), pool: breakers.pool.as_ref().map(Breaker::of) }
    }
}

impl Default for Breaker {
    fn default() -> Self {
        let mut breaker = Self::of(&validated::Breaker::default());
        breaker.consecutive_failures = None;
        breaker
    }
}
