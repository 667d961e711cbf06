//! One address, or a source of addresses, and the lists of them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::name::ZoneName;
use crate::validated::Family;
use crate::value::Weight;

/// What answers: an address, `"IP:PORT"`, alone or with its weight; or a source of addresses that change.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Endpoint {
    /// `"IP:PORT"`.
    Address(Address),
    /// An address and its weight.
    Weighted(WeightedEndpoint),
    /// Addresses by DNS.
    Named(NamedEndpoints),
    /// Addresses in a file.
    Listed(ListedEndpoints),
}

/// An address and its weight.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WeightedEndpoint {
    /// `IP:PORT`, unique in its pool. Port 0 is refused, and so are listeners of this document and addresses that nothing can have, such as `0.0.0.0`.
    pub(crate) address: Address,
    /// Share of the pool's requests, relative to the other endpoints'. 0 to 1,000,000. Default 1.
    #[serde(default = "one")]
    pub(crate) weight: Weight,
    /// Where in its region it is. Default: not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) zone: Option<ZoneName>,
}

/// The addresses that DNS gives for a name. They are asked for again before they are too old, never while a request waits; when no answer comes, or an empty one, the last good addresses stay.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NamedEndpoints {
    /// A name of DNS, such as `shop.west.internal`, whole: nothing is put behind it, and `/etc/hosts` is not looked at.
    #[schemars(extend("format" = "dns-name"))]
    pub(crate) dns: String,
    /// The port of every address. It must be given, unless `srv` says that the answer has it. 1 to 65,535. Default: the answer's, with `srv`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub(crate) port: Option<u16>,
    /// Whether the name is asked for SRV records: targets, ports and weights are those of the answer, and only the targets of the lowest priority are used. Default `false`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) srv: bool,
    /// Which addresses are asked for: `any` (A and AAAA), `ipv4` (A) or `ipv6` (AAAA). Default `any`.
    #[serde(default)]
    pub(crate) family: Family,
    /// Weight of each address. 0 to 1,000,000. Default 1; with `srv` the answer's, and none can be given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) weight: Option<Weight>,
    /// Where in its region each address is. Default: not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) zone: Option<ZoneName>,
}

/// The addresses in a file, which is looked at several times a second. While it cannot be read, is wrong or empty, the last good addresses stay.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListedEndpoints {
    /// A file with a list, YAML or JSON, of addresses as they are written here: `"IP:PORT"` or `{ address, weight, zone }`. Relative to the document's folder, with `sluice proxy` to that of `--files`.
    #[schemars(extend("format" = "file-path"))]
    pub(crate) file: String,
    /// Where in its region each address is that does not say so itself. Default: not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) zone: Option<ZoneName>,
}

impl From<WeightedEndpoint> for Endpoint {
    fn from(endpoint: WeightedEndpoint) -> Self {
        Self::Weighted(endpoint)
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

impl Endpoint {
    /// Whether its addresses are asked for by DNS.
    pub(crate) const fn is_named(&self) -> bool {
        matches!(self, Self::Named(_))
    }

    /// Whether it may stand for any number of addresses.
    pub(crate) const fn is_source(&self) -> bool {
        matches!(self, Self::Named(_) | Self::Listed(_))
    }

    /// Whether it says in which zone it is, or a file may.
    pub(crate) const fn may_have_zone(&self) -> bool {
        match self {
            Self::Address(_) => false,
            Self::Weighted(endpoint) => endpoint.zone.is_some(),
            Self::Named(named) => named.zone.is_some(),
            Self::Listed(_) => true,
        }
    }
}

impl Endpoints {
    /// One of each region.
    pub(crate) fn lists(&self) -> impl Iterator<Item = &Vec<Endpoint>> {
        let (here, lists) = match self {
            Self::Here(list) => (Some(list), None),
            Self::ByRegion(lists) => (None, Some(lists.values())),
        };
        here.into_iter().chain(lists.into_iter().flatten())
    }
}

/// What stands in the list of a file.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum FileEndpoint {
    /// `"IP:PORT"`.
    Address(Address),
    /// An address and its weight.
    Weighted(WeightedEndpoint),
}

impl From<FileEndpoint> for WeightedEndpoint {
    fn from(written: FileEndpoint) -> Self {
        match written {
            FileEndpoint::Address(address) => Self { address, weight: one(), zone: None },
            FileEndpoint::Weighted(endpoint) => endpoint,
        }
    }
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
