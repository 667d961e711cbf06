//! What is tried again.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::duration::{Span, SpanOrZero};
use crate::share::Share;
use crate::size::Size;
use crate::validated::{self, GrpcStatus, RetryCause};

/// What is tried again, how often and at what price.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Retries {
    /// Attempts in all, the first included; 1: nothing is tried again. 1 to 10. Default 3.
    #[schemars(range(min = 1, max = 10))]
    pub(crate) attempts: u32,
    /// What an attempt may end with to be followed by another: `connect_failure` (no connection), `reset` (the connection
    /// ended before the answer began), `timeout` (`timeouts.per_try` passed). What the origin may have got is sent again only
    /// if its method is idempotent and its body is whole. Default `[connect_failure, reset]`.
    // Not `on`: to readers of YAML 1.1, such as those that fill in templates, that is a truth value.
    pub(crate) causes: Vec<RetryCause>,
    /// Statuses of answers that are not passed on while an idempotent request can be tried again. Each 429, or 500 to 599. Default: none.
    #[schemars(inner(range(min = 429, max = 599)))]
    pub(crate) statuses: Vec<u16>,
    /// The same for gRPC, where an answer is nothing but its status. Who names one says that the service's calls may be
    /// carried out twice. Default: none.
    pub(crate) grpc_statuses: Vec<GrpcStatus>,
    /// How long to wait before another attempt: a random time up to a bound that doubles.
    pub(crate) backoff: Backoff,
    /// The longest Retry-After of a refused answer that is waited for; an answer with a longer one is passed on. Default `1s`.
    pub(crate) max_retry_after: SpanOrZero,
    /// How many requests that an origin may have got already are sent again.
    pub(crate) budget: Budget,
    /// Most of a request's body that is kept for another attempt. `0B` to `1MiB`. Default `64KiB`.
    pub(crate) body: Size,
}

/// How long to wait before another attempt: a random time up to a bound that doubles.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Backoff {
    /// The first bound. Default `25ms`.
    pub(crate) base: Span,
    /// The last bound. At least `base`. Default `250ms`.
    pub(crate) max: Span,
}

/// How many requests that an origin may have got already are sent again.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Budget {
    /// Of the service's requests in the last 10 s. Default `20%`.
    pub(crate) ratio: Percent,
    /// And so many in each second, however few requests there are. 0 to 10,000. Default 3.
    #[schemars(range(min = 0, max = 10_000))]
    pub(crate) min_per_second: u32,
}

/// A share, written with its sign.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Percent(pub(crate) Share);

impl JsonSchema for Percent {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Percent".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "format": "share" })
    }
}

impl From<&validated::Retries> for Retries {
    fn from(retries: &validated::Retries) -> Self {
        Self {
            attempts: retries.attempts,
            causes: retries.causes.clone(),
            statuses: retries.statuses.clone(),
            grpc_statuses: retries.grpc_statuses.clone(),
            backoff: Backoff { base: Span(retries.backoff.base), max: Span(retries.backoff.max) },
            max_retry_after: SpanOrZero(retries.max_retry_after),
            budget: Budget { ratio: Percent(retries.budget.ratio), min_per_second: retries.budget.min_per_second },
            body: Size::bytes(retries.body.into()),
        }
    }
}

impl Default for Retries {
    fn default() -> Self {
        Self::from(&validated::Retries::default())
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Retries::default().backoff
    }
}

impl Default for Budget {
    fn default() -> Self {
        Retries::default().budget
    }
}
