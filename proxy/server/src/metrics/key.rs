//! The labels that series are kept by.

use sluice_config::name::{RegionName, ServiceName, VersionName};
use sluice_proxy_core::endpoint::EndpointId;
use sluice_proxy_core::pool::PoolId;

/// What labels are folded into when the budget is spent.
pub(super) const OTHER: &str = "other";

/// The labels of a request. Nothing where the request did not get so far: Prometheus sees an empty label.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestKey {
    /// The name of the route.
    pub route: Option<String>,
    /// Of the route.
    pub service: Option<ServiceName>,
    /// That the split chose, or the route names.
    pub version: Option<VersionName>,
    /// Where the request was placed.
    pub region: Option<RegionName>,
}

impl RequestKey {
    pub(super) fn without_route(&self) -> Self {
        Self { route: Some(OTHER.to_owned()), ..self.clone() }
    }

    pub(super) fn other() -> Self {
        let pool = PoolKey::other();
        Self { route: Some(OTHER.to_owned()), service: pool.service, version: pool.version, region: pool.region }
    }

    pub(super) fn pool(&self) -> PoolKey {
        PoolKey { service: self.service.clone(), version: self.version.clone(), region: self.region.clone() }
    }
}

/// The labels of a pool. Nothing where a request did not get so far.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct PoolKey {
    /// Of the document.
    pub service: Option<ServiceName>,
    /// Of the service.
    pub version: Option<VersionName>,
    /// Of the document.
    pub region: Option<RegionName>,
}

impl PoolKey {
    pub(super) fn other() -> Self {
        Self { service: OTHER.parse().ok(), version: OTHER.parse().ok(), region: OTHER.parse().ok() }
    }
}

impl From<&EndpointId> for PoolKey {
    fn from(id: &EndpointId) -> Self {
        Self { service: Some(id.service.clone()), version: Some(id.version.clone()), region: Some(id.region.clone()) }
    }
}

impl From<&PoolId> for PoolKey {
    fn from(id: &PoolId) -> Self {
        Self { service: Some(id.service.clone()), version: Some(id.version.clone()), region: Some(id.region.clone()) }
    }
}

pub(super) type VersionKey = (Option<ServiceName>, Option<VersionName>);

pub(super) fn other_version() -> VersionKey {
    (OTHER.parse().ok(), OTHER.parse().ok())
}
