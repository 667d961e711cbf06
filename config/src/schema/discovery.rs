//! How addresses are found that are not written down.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::duration::Span;
use crate::validated;

/// How often the names of a service are asked for again.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Discovery {
    /// The shortest time between two questions for one name, whatever its TTL; after a failure the time doubles from here, up to 30 s or `ttl_max`. At least `100ms`. Default `1s`.
    pub(crate) ttl_min: Span,
    /// The longest time until a name is asked for again, whatever its TTL. At least `ttl_min`. Default `5m`.
    pub(crate) ttl_max: Span,
}

/// Who is asked for names.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Resolver {
    /// The DNS servers, `IP:PORT`, by UDP, and by TCP when an answer is too long for it. 1 to 16. Default: those of `/etc/resolv.conf`, which is read again when it changes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1))]
    pub(crate) servers: Vec<Address>,
    /// How long one question may take, over all servers and tries. `100ms` to `1m`. Default `2s`.
    pub(crate) timeout: Span,
}

impl From<&validated::Discovery> for Discovery {
    fn from(discovery: &validated::Discovery) -> Self {
        Self { ttl_min: Span(discovery.ttl_min), ttl_max: Span(discovery.ttl_max) }
    }
}

impl From<&validated::Resolver> for Resolver {
    fn from(resolver: &validated::Resolver) -> Self {
        let servers = resolver.servers.iter().map(|server| Address(*server)).collect();
        Self { servers, timeout: Span(resolver.timeout) }
    }
}

impl Default for Discovery {
    fn default() -> Self {
        Self::from(&validated::Discovery::default())
    }
}

impl Default for Resolver {
    fn default() -> Self {
        Self::from(&validated::Resolver::default())
    }
}
