//! One deployable variant of a service.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::endpoint::Endpoints;
use crate::name::VersionName;
use crate::value::Weight;

/// One deployable variant of a service.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Version {
    /// Unique in its service.
    pub(crate) name: VersionName,
    /// Share of new requests, relative to the other versions'. 0 is reached only by a route that names the version. 0 to 1,000,000. Default 100.
    #[serde(default = "hundred")]
    pub(crate) weight: Weight,
    /// What answers: a list while at most one region is declared, else a list for each region.
    pub(crate) endpoints: Endpoints,
}

const fn hundred() -> Weight {
    Weight::HUNDRED
}
