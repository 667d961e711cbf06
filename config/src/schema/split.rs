//! How a request is given a version.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a request is given a version.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub(crate) enum Split {
    /// Each request anew.
    #[default]
    Random,
    /// The same key, the same version, while weights allow. A request without the key is split at random.
    Sticky(StickyKey),
}

/// What identifies a user to a sticky split.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub(crate) enum StickyKey {
    /// The first value of this field. Case of the name does not matter.
    Header(#[schemars(extend("format" = "header-name"))] String),
    /// The value of this cookie.
    Cookie(#[schemars(extend("format" = "cookie-name"))] String),
    /// The client's address, without the port: the connection's other end, or whom the listener's `trusted_proxies` name.
    ClientAddress,
}
