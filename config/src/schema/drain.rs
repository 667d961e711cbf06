//! How the process leaves.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::duration::{Span, SpanOrZero};

/// How the process leaves.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Drain {
    /// When what is left is cut off. Default `30s`.
    pub(crate) deadline: Span,
    /// How long an idle HTTP/1.1 connection is kept for one more request that may be on its way. Default `1s`; `0s` closes at once.
    pub(crate) linger: SpanOrZero,
}

impl Default for Drain {
    fn default() -> Self {
        Self { deadline: Span::seconds(30), linger: SpanOrZero::seconds(1) }
    }
}
