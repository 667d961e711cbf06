//! The whole document.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::discovery::Resolver;
use super::drain::Drain;
use super::listener::Listener;
use super::process::ProcessLimits;
use super::region::Region;
use super::route::Route;
use super::service::Service;

/// What a Sluice proxy accepts, what it exposes, and how the two meet.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Document {
    /// Where connections are accepted. 1 to 64.
    #[schemars(length(min = 1))]
    pub(crate) listeners: Vec<Listener>,
    /// Where endpoints are. At most 64. Default: one region, named `default`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("default" = [{"name": "default"}]))]
    pub(crate) regions: Vec<Region>,
    /// What is exposed and shifted. 1 to 10,000.
    #[schemars(length(min = 1))]
    pub(crate) services: Vec<Service>,
    /// Which requests go to which service. 1 to 200,000. Their order decides only between routes that are otherwise equally exact.
    #[schemars(length(min = 1))]
    pub(crate) routes: Vec<Route>,
    /// How the process leaves.
    #[serde(default)]
    pub(crate) drain: Drain,
    /// What the whole process may use up.
    #[serde(default)]
    pub(crate) limits: ProcessLimits,
    /// Who is asked for the names of endpoints.
    #[serde(default)]
    pub(crate) resolver: Resolver,
}
