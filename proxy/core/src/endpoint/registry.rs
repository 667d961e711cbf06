//! All endpoints of one revision, by identity, and how the next revision takes them over.

use std::collections::BTreeMap;
use std::sync::Arc;

use sluice_config::name::ServiceName;

use super::watch::Watch;
use super::{Endpoint, EndpointId, Pulse};
use crate::pool::{PoolId, PoolState};

/// All endpoints of one revision, by identity.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    endpoints: BTreeMap<EndpointId, Arc<Endpoint>>,
    pulses: BTreeMap<ServiceName, Arc<Pulse>>,
    pools: BTreeMap<PoolId, Arc<PoolState>>,
    /// A revision has run: endpoints that come now are added to what serves.
    serves: bool,
}

impl Registry {
    /// The registry of the next revision: the states of those `wanted` that were known, new ones for the rest. With
    /// each identity comes whether its service has a health check. States that are not wanted live on only while
    /// requests hold them. Known ones are not changed: that they are checked from now on, or no more, is said by
    /// [`Endpoint::set_checked`] when the revision is to run. O(n log n).
    #[must_use]
    pub fn carry(&self, wanted: impl IntoIterator<Item = (EndpointId, bool)>) -> Self {
        let mut next = Self { serves: true, ..Self::default() };
        for (id, checked) in wanted {
            let pulse = next.pulse_from(self, &id.service);
            let endpoint = match self.endpoints.get(&id) {
                Some(known) => {
                    next.pool_from(self, &id, &pulse);
                    Arc::clone(known)
                }
                None => {
                    let pool = next.pool_from(self, &id, &pulse);
                    Arc::new(Endpoint::new(id.clone(), pool, pulse, Watch::new(checked, self.serves)))
                }
            };
            next.endpoints.insert(id, endpoint);
        }
        next
    }

    /// The state of this endpoint.
    #[must_use]
    pub fn find(&self, id: &EndpointId) -> Option<&Arc<Endpoint>> {
        self.endpoints.get(id)
    }

    /// The pulse that all endpoints of this service advance.
    #[must_use]
    pub fn pulse(&self, service: &ServiceName) -> Option<&Arc<Pulse>> {
        self.pulses.get(service)
    }

    /// All endpoints, in the order of their identities.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Endpoint>> {
        self.endpoints.values()
    }

    /// The state of this pool.
    #[must_use]
    pub fn find_pool(&self, id: &PoolId) -> Option<&Arc<PoolState>> {
        self.pools.get(id)
    }

    /// All pools that have endpoints, in the order of their identities.
    pub fn pools(&self) -> impl Iterator<Item = &Arc<PoolState>> {
        self.pools.values()
    }

    fn pool_from(&mut self, old: &Self, endpoint: &EndpointId, pulse: &Arc<Pulse>) -> Arc<PoolState> {
        let id = PoolId::from(endpoint);
        let known = self.pools.get(&id).or_else(|| old.pools.get(&id)).map(Arc::clone);
        let pool = known.unwrap_or_else(|| Arc::new(PoolState::new(id.clone(), Arc::clone(pulse))));
        self.pools.insert(id, Arc::clone(&pool));
        pool
    }

    fn pulse_from(&mut self, old: &Self, service: &ServiceName) -> Arc<Pulse> {
        if let Some(pulse) = self.pulses.get(service) {
            return Arc::clone(pulse);
        }
        let pulse = old.pulses.get(service).map(Arc::clone).unwrap_or_default();
        self.pulses.insert(service.clone(), Arc::clone(&pulse));
        pulse
    }
}
