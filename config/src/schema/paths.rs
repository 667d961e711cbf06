//! What becomes of paths.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::validated::{DotSegments, EncodedSlashes};

/// What becomes of a request's path before it is routed. What is routed is what the origin gets.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Paths {
    /// The segments `.` and `..`, also written `%2e`: `resolve` or `refuse` (400). One that leads above the root is always refused. Default `resolve`.
    pub(crate) dot_segments: DotSegments,
    /// `%2F` and `%5C`: `keep` them (to routes they are no slashes), `refuse` the request (400), or `decode` `%2F` to `/` and refuse `%5C`. Default `keep`.
    pub(crate) encoded_slashes: EncodedSlashes,
    /// Whether `//` becomes `/`. Default `false`.
    pub(crate) merge_slashes: bool,
}
