//! How the process leaves.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::duration::{Span, SpanOrZero};

/// How the process leaves.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Drain {
    /// How long the process still accepts and serves as before once it is told to leave, while `/ready` says 503, so that whatever stands before it sends nothing new. Default `0s`.
    pub(crate) delay: SpanOrZero,
    /// When what is left is cut off, after the delay. Default `30s`.
    pub(crate) deadline: Span,
    /// How long an idle HTTP/1.1 connection is kept for one more request that may be on its way. Default `1s`; `0s` closes at once.
    pub(crate) linger: SpanOrZero,
}

impl Default for Drain {
    fn default() -> Self {
        Self { delay: SpanOrZero::seconds(0), deadline: Span::seconds(30), linger: SpanOrZero::seconds(1) }
    }
}
