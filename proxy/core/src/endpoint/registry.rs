//! All endpoints of one revision, by identity, and how the next revision takes them over.

use std::collections::BTreeMap;
use std::sync::Arc;

use sluice_config::name::ServiceName;

use super::{Endpoint, EndpointId, Pulse};

/// All endpoints of one revision, by identity.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    endpoints: BTreeMap<EndpointId, Arc<Endpoint>>,
    pulses: BTreeMap<ServiceName, Arc<Pulse>>,
}

impl Registry {
    /// The registry of the next revision: the states of those `wanted` that were known, new ones for the rest. With
    /// each identity comes whether its service has a health check. States that are not wanted live on only while
    /// requests hold them. Known endpoints learn at once whether they are still checked, so call it for a revision that
    /// will run. O(n log n).
    #[must_use]
    pub fn carry(&self, wanted: impl IntoIterator<Item = (EndpointId, bool)>) -> Self {
        let mut next = Self::default();
        for (id, checked) in wanted {
            let pulse = next.pulse_from(self, &id.service);
            let endpoint = match self.endpoints.get(&id) {
                Some(known) => {
                    known.set_checked(checked);
                    Arc::clone(known)
                }
                None => Arc::new(Endpoint::new(id.clone(), pulse, checked)),
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

    fn pulse_from(&mut self, old: &Self, service: &ServiceName) -> Arc<Pulse> {
        if let Some(pulse) = self.pulses.get(service) {
            return Arc::clone(pulse);
        }
        let pulse = old.pulses.get(service).map(Arc::clone).unwrap_or_default();
        self.pulses.insert(service.clone(), Arc::clone(&pulse));
        pulse
    }
}
