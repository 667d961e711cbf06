//! What an override does.
//!
//! An override is stored with the whole identity of what it is about, also where an operator named less: what is unique in
//! today's document may not be in tomorrow's, and an override must not move to something else by an edit.

use std::fmt;
use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::name::{RegionName, ServiceName, VersionName};
use crate::value::RevisionId;

/// What an override does.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Automation changes nothing: a document's file is not applied. What operators ask for themselves is done.
    Freeze,
    /// An endpoint gets requests or gets none, whatever its health, an ejection or its breaker says.
    Endpoint(EndpointForce),
    /// A breaker stays open or closed, whatever it counts.
    Breaker(BreakerForce),
}

/// An endpoint that an operator holds in or out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EndpointForce {
    /// Whose.
    pub service: ServiceName,
    /// Of the service.
    pub version: VersionName,
    /// Where it is.
    pub region: RegionName,
    /// Which: one of the pool's, or one that its sources may name.
    pub address: SocketAddr,
    /// What it is held to.
    pub to: Force,
}

/// A breaker that an operator holds open or closed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BreakerForce {
    /// Whose.
    pub service: ServiceName,
    /// Of the service.
    pub version: VersionName,
    /// Where the pool is. Absent: every pool of the version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<RegionName>,
    /// The breaker of the endpoint with this address. Absent: the pool's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<SocketAddr>,
    /// What it is held to.
    pub to: Circuit,
}

/// What an endpoint is held to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Force {
    /// It gets its share, even where its health, an ejection or its breaker would keep it out.
    In,
    /// It gets nothing.
    Out,
}

impl Force {
    /// As it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
        }
    }
}

impl fmt::Display for Force {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a breaker is held to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Circuit {
    /// Nothing passes.
    Open,
    /// Everything passes.
    Closed,
}

impl Circuit {
    /// As it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
        }
    }
}

impl fmt::Display for Circuit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Action {
    /// Whether both hold the same thing, to whatever: then only the newer of them can be meant. Freezes do not hold each
    /// other's place: each ends at its own time.
    #[must_use]
    pub fn has_target_of(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Endpoint(one), Self::Endpoint(other)) => *one == EndpointForce { to: one.to, ..other.clone() },
            (Self::Breaker(one), Self::Breaker(other)) => *one == BreakerForce { to: one.to, ..other.clone() },
            (Self::Freeze | Self::Endpoint(_) | Self::Breaker(_), _) => false,
        }
    }

    /// Whether proxies act by it. A freeze is the control plane's own affair.
    #[must_use]
    pub const fn is_force(&self) -> bool {
        match self {
            Self::Freeze => false,
            Self::Endpoint(_) | Self::Breaker(_) => true,
        }
    }

    /// The service that it names.
    #[must_use]
    pub const fn service(&self) -> Option<&ServiceName> {
        match self {
            Self::Freeze => None,
            Self::Endpoint(one) => Some(&one.service),
            Self::Breaker(one) => Some(&one.service),
        }
    }

    /// The command that lifts it.
    #[must_use]
    pub fn lift(&self, id: RevisionId) -> String {
        match self {
            Self::Freeze => format!("sluice unfreeze {id}"),
            Self::Endpoint(EndpointForce { service, version, region, address, .. }) => {
                format!("sluice endpoint release {service} {address} --version {version} --region {region}")
            }
            Self::Breaker(BreakerForce { service, version, region, address, .. }) => {
                let region = region.iter().map(|region| format!(" --region {region}"));
                let address = address.iter().map(|address| format!(" --endpoint {address}"));
                let flags: String = region.chain(address).collect();
                format!("sluice breaker release {service} {version}{flags}")
            }
        }
    }
}

/// `freeze`, `force 10.0.1.10:8080 of shop/v1 in us-east-1 out`, `force breaker of shop/v1 open`
impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Freeze => f.pad("freeze"),
            Self::Endpoint(one) => f.pad(&format!("force {} {}", one.target(), one.to)),
            Self::Breaker(one) => f.pad(&format!("force {} {}", one.target(), one.to)),
        }
    }
}

impl EndpointForce {
    /// `10.0.1.10:8080 of shop/v1 in us-east-1`
    #[must_use]
    pub fn target(&self) -> String {
        let Self { service, version, region, address, .. } = self;
        format!("{address} of {service}/{version} in {region}")
    }
}

impl BreakerForce {
    /// `breaker of shop/v1`, `breaker of 10.0.1.10:8080 of shop/v1 in us-east-1`
    #[must_use]
    pub fn target(&self) -> String {
        let Self { service, version, region, address, .. } = self;
        let address = address.map(|address| format!("{address} of ")).unwrap_or_default();
        let region = region.as_ref().map(|region| format!(" in {region}")).unwrap_or_default();
        format!("breaker of {address}{service}/{version}{region}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn action(text: &str) -> Action {
        serde_json::from_str(text).unwrap()
    }

    const OUT: &str =
        r#"{"endpoint":{"service":"shop","version":"v1","region":"east","address":"10.0.0.1:80","to":"out"}}"#;
    const POOL: &str = r#"{"breaker":{"service":"shop","version":"v1","to":"open"}}"#;
    const ONE: &str =
        r#"{"breaker":{"service":"shop","version":"v1","region":"east","address":"[::1]:80","to":"closed"}}"#;

    #[test]
    fn an_action_is_told_and_lifted_in_the_words_of_the_command() {
        let told = |text| (action(text).to_string(), action(text).lift(RevisionId(7)));
        let two = |told: &str, lift: &str| (told.to_owned(), lift.to_owned());
        assert_eq!(told(r#""freeze""#), two("freeze", "sluice unfreeze 7"));
        assert_eq!(
            told(OUT),
            two(
                "force 10.0.0.1:80 of shop/v1 in east out",
                "sluice endpoint release shop 10.0.0.1:80 --version v1 --region east"
            )
        );
        assert_eq!(told(POOL), two("force breaker of shop/v1 open", "sluice breaker release shop v1"));
        assert_eq!(
            told(ONE),
            two(
                "force breaker of [::1]:80 of shop/v1 in east closed",
                "sluice breaker release shop v1 --region east --endpoint [::1]:80"
            )
        );
        for text in [OUT, POOL, ONE] {
            assert_eq!(serde_json::to_string(&action(text)).unwrap(), text);
        }
    }

    #[test]
    fn the_same_target_is_one_whatever_it_is_held_to() {
        let inside = OUT.replace("out", "in");
        assert!(action(OUT).has_target_of(&action(&inside)));
        assert!(!action(OUT).has_target_of(&action(&inside.replace("east", "west"))));
        assert!(action(POOL).has_target_of(&action(&POOL.replace("open", "closed"))));
        assert!(!action(POOL).has_target_of(&action(ONE)) && !action(POOL).has_target_of(&action(OUT)));
        assert!(!Action::Freeze.has_target_of(&Action::Freeze));
        assert!(serde_json::from_str::<Action>(&OUT.replace("service", "servise")).is_err());
    }
}
