//! A match and what answers it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::name::{ServiceName, VersionName};
use crate::validated::{Capability, Priority};

/// A match and what answers it.
///
/// The most exact route wins: an exact host before the longest wildcard before any host; then an exact path before
/// regular expressions (in the order of the document) before the longest prefix; then the route with more predicates
/// (`methods` counts as one, each of `headers` and `query` as one); then the one that is written first.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Route {
    /// Unique; the metric label. Default: the match in words, such as `shop.example.com/api`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "route-name"))]
    pub(crate) name: Option<String>,
    /// What a request must look like; all of it. Default: any request.
    #[serde(default, rename = "match")]
    pub(crate) matches: Match,
    /// The name of the service that answers.
    pub(crate) service: ServiceName,
    /// The name of one version of the service: the split is passed over. Default: the split decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<VersionName>,
    /// What is asked of the region. Default: by the method, `read` for GET, HEAD and OPTIONS and `write` for the others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) capability: Option<Capability>,
    /// Whose requests go first where the service's `limits` let some wait: `high`, `normal` or `low`. Default `normal`.
    #[serde(default)]
    pub(crate) priority: Priority,
}

/// What a request must look like; all of it.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Match {
    /// `shop.example.com`, or `*.example.com` for one or more labels before it; without a port; case does not matter. Default: any host.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "host"))]
    pub(crate) host: Option<String>,
    /// Of the path, without the query. A text is a prefix by segment: `/api` matches `/api` and `/api/x`, not `/apix`. Default `/`, which matches all.
    pub(crate) path: Path,
    /// One of these methods, in upper case. Default: any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1), extend("items" = {"type": "string", "format": "method"}))]
    pub(crate) methods: Vec<String>,
    /// All of these, by the first field of that name: a value, or `{ present: true }` for any value. Case of the name does not matter. At most 32. Default: none.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(length(max = 32), extend("propertyNames" = {"format": "header-name"}))]
    pub(crate) headers: BTreeMap<String, ValueMatch>,
    /// All of these, by the first parameter of that name: a value, or `{ present: true }` for any value. At most 32. Default: none.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(length(max = 32), extend("propertyNames" = {"format": "parameter-name"}))]
    pub(crate) query: BTreeMap<String, ValueMatch>,
}

/// Which paths.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Path {
    /// A prefix by segment.
    Plain(#[schemars(extend("format" = "path"))] String),
    /// `{ exact: .. }`, `{ prefix: .. }` or `{ regex: .. }`.
    Chosen(ChosenPath),
}

impl Default for Path {
    fn default() -> Self {
        Self::Plain("/".to_owned())
    }
}

/// How a path is compared.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub(crate) enum ChosenPath {
    /// This path only.
    Exact(#[schemars(extend("format" = "path"))] String),
    /// This path and all below it, by segment.
    Prefix(#[schemars(extend("format" = "path"))] String),
    /// The whole path by this regular expression, in the syntax of the Rust crate `regex`.
    Regex(String),
}

/// What a field or parameter must hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum ValueMatch {
    /// This value.
    Equals(#[schemars(extend("format" = "field-value"))] String),
    /// Any value.
    Present(Present),
}

/// Any value, as long as there is one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Present {
    /// Always `true`.
    #[schemars(extend("const" = true))]
    pub(crate) present: bool,
}
