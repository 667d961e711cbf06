//! One address, and the lists of them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::value::Weight;

/// An address that answers, `"IP:PORT"`, alone or with its weight.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Endpoint {
    /// `"IP:PORT"`.
    Address(Address),
    /// An address and its weight.
    Weighted(WeightedEndpoint),
}

/// An address and its weight.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WeightedEndpoint {
    /// `IP:PORT`, unique in its pool. Port 0 is refused.
    pub(crate) address: Address,
    /// Share of the pool's requests, relative to the other endpoints'. 0 to 1,000,000. Default 1.
    #[serde(default = "one")]
    pub(crate) weight: Weight,
}

impl Endpoint {
    pub(crate) const fn address(&self) -> Address {
        match self {
            Self::Address(address) => *address,
            Self::Weighted(endpoint) => endpoint.address,
        }
    }

    pub(crate) const fn weight(&self) -> Weight {
        match self {
            Self::Address(_) => one(),
            Self::Weighted(endpoint) => endpoint.weight,
        }
    }
}

/// A list while there is one region; for several regions a list for each.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Endpoints {
    /// In the only region.
    Here(#[schemars(length(min = 1))] Vec<Endpoint>),
    /// By the name of the region.
    ByRegion(#[schemars(schema_with = "by_region")] BTreeMap<String, Vec<Endpoint>>),
}

const fn one() -> Weight {
    Weight::ONE
}

fn by_region(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
    let endpoint = generator.subschema_for::<Endpoint>();
    schemars::json_schema!({
        "type": "object",
        "minProperties": 1,
        "additionalProperties": { "type": "array", "minItems": 1, "items": endpoint },
    })
}
