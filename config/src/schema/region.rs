//! Where endpoints are.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::name::RegionName;
use crate::validated::{Capability, Role};
use crate::value::Weight;

/// A place where endpoints are.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Region {
    /// Unique.
    pub(crate) name: RegionName,
    /// What the region is for. At most one is primary. Default `secondary`.
    #[serde(default = "default_role")]
    pub(crate) role: Role,
    /// Share of new requests among the regions that can serve them, relative to the others'. 0 to 1,000,000. Default 100, and 0 for a standby, which has no share.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) weight: Option<Weight>,
    /// What may be asked of it: `read` (GET, HEAD and OPTIONS), `write` (every other method), `admin` (requests of routes that demand it). Default: all three.
    #[serde(default = "all_capabilities")]
    #[schemars(length(min = 1))]
    pub(crate) capabilities: Vec<Capability>,
}

const fn default_role() -> Role {
    Role::Secondary
}

fn all_capabilities() -> Vec<Capability> {
    vec![Capability::Read, Capability::Write, Capability::Admin]
}
