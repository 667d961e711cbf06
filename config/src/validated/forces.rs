//! What operators hold in a pool, whatever automation decides.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::Serialize;

use crate::overlay::{Circuit, Force};

/// What operators hold in one pool.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Forces {
    /// The pool's own breaker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub breaker: Option<Circuit>,
    /// Endpoints that get requests, or none. An address may be one that only the pool's sources name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub endpoints: BTreeMap<SocketAddr, Force>,
    /// Breakers of endpoints, likewise.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub breakers: BTreeMap<SocketAddr, Circuit>,
}

impl Forces {
    /// Nothing is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.breaker.is_none() && self.endpoints.is_empty() && self.breakers.is_empty()
    }
}
