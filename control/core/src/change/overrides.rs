//! An operator's hand on automation is laid on, or lifted before its time.
//!
//! Every override ends by itself, at most [`Override::MAX`] later: the one that was forgotten is the cause of the next
//! incident. There is no way to make one that does not, and to lay a second is how one is prolonged.
//!
//! **One hand on one thing.** An override of what another one holds already takes its place, with its own end and reason. The
//! obvious other rule, to refuse it, makes an operator lift first and lay then, and between the two the endpoint that was
//! held out gets requests. Where two overlap without being about the same (a breaker in every region, and in one), both stay
//! and the newer one holds; when it ends, the older one does again.
//!
//! **What is named.** Only what the document has, or what the sources of a pool may come to name. What is unique need not be
//! named, but is stored: see [`Action`].

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sluice_config::name::{RegionName, ServiceName, VersionName};
use sluice_config::overlay::{Action, Author, BreakerForce, Circuit, EndpointForce, Force, Override, Reason};
use sluice_config::timestamp::Timestamp;
use sluice_config::validated::{Pool, Service, Version};
use sluice_config::value::RevisionId;

use super::shift::check_lasts;
use super::{Head, Proposal, Refusal};
use crate::revision::Kind;

/// What an operator wants an override to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Wish {
    /// Automation changes nothing: a document's file is not applied. What operators ask for themselves is done.
    Freeze,
    /// An endpoint gets requests or gets none, whatever its health, an ejection or its breaker says.
    Endpoint(EndpointWish),
    /// A breaker stays open or closed, whatever it counts.
    Breaker(BreakerWish),
}

/// An endpoint that is to be held in or out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EndpointWish {
    /// Whose.
    pub service: ServiceName,
    /// Of the service. Absent: the only one that has the address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<VersionName>,
    /// Where it is. Absent: the only one that has the address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<RegionName>,
    /// Which: one of the pool's, or one that its sources may name.
    pub address: SocketAddr,
    /// What it is held to.
    pub to: Force,
}

/// A breaker that is to be held open or closed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BreakerWish {
    /// Whose.
    pub service: ServiceName,
    /// Of the service. Absent: the only one, or the only one that has the address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<VersionName>,
    /// Where the pool is. Absent: every pool of the version, or the only one that has the address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<RegionName>,
    /// The breaker of the endpoint with this address. Absent: the pool's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<SocketAddr>,
    /// What it is held to.
    pub to: Circuit,
}

/// `freeze`, `10.0.1.10:8080 of shop out`, `breaker of shop/v1 in us-east-1 open`
impl fmt::Display for Wish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = |name: &dyn fmt::Display| format!("/{name}");
        let place = |region: &Option<RegionName>| region.as_ref().map(|region| format!(" in {region}"));
        match self {
            Self::Freeze => f.write_str("freeze"),
            Self::Endpoint(EndpointWish { service, version, region, address, to }) => {
                let version = version.as_ref().map(|name| part(name)).unwrap_or_default();
                write!(f, "{address} of {service}{version}{} {to}", place(region).unwrap_or_default())
            }
            Self::Breaker(BreakerWish { service, version, region, address, to }) => {
                let version = version.as_ref().map(|name| part(name)).unwrap_or_default();
                let address = address.map(|address| format!("{address} of ")).unwrap_or_default();
                write!(f, "breaker of {address}{service}{version}{} {to}", place(region).unwrap_or_default())
            }
        }
    }
}

/// Lays an override. Its number is that of the revision that it makes.
///
/// # Errors
/// When it would last for no time, or longer than [`Override::MAX`]; when it names what is not there, or what there is more
/// than one of.
pub fn lay(
    head: &Head,
    wish: &Wish,
    lasts: Duration,
    author: &Author,
    reason: &Reason,
    now: Timestamp,
) -> Result<Proposal, Refusal> {
    check_lasts(Some(lasts), Override::MAX)?;
    let action = resolve(head, wish)?;
    let (author, reason) = (author.clone(), reason.clone());
    let mut overlay = head.revision.overlay.clone();
    overlay.overrides.retain(|_, one| !one.action.has_target_of(&action));
    let laid = Override { action, author, reason, since: now, expires: now.after(lasts) };
    overlay.overrides.insert(head.next(), laid);
    head.propose(Kind::Override, overlay)
}

/// Lifts an override.
///
/// # Errors
/// When there is none of this number.
pub fn lift(head: &Head, id: RevisionId) -> Result<Proposal, Refusal> {
    let mut overlay = head.revision.overlay.clone();
    match overlay.overrides.remove(&id) {
        None => Err(Refusal::NoOverride(id)),
        Some(_) => head.propose(Kind::Override, overlay),
    }
}

/// With the whole identity of what is named.
fn resolve(head: &Head, wish: &Wish) -> Result<Action, Refusal> {
    match wish {
        Wish::Freeze => Ok(Action::Freeze),
        Wish::Endpoint(EndpointWish { service, version, region, address, to }) => {
            let narrow =
                Narrow { head, service: head.find(service)?, version: version.as_ref(), region: region.as_ref() };
            let (version, region) = narrow.holder(*address)?;
            let (service, address, to) = (service.clone(), *address, *to);
            Ok(Action::Endpoint(EndpointForce { service, version, region, address, to }))
        }
        Wish::Breaker(BreakerWish { service, version, region, address, to }) => {
            let narrow =
                Narrow { head, service: head.find(service)?, version: version.as_ref(), region: region.as_ref() };
            let (version, region) = match address {
                Some(address) => narrow.holder(*address).map(|(version, region)| (version, Some(region)))?,
                None => (narrow.only_version()?, region.clone()),
            };
            let (service, address, to) = (service.clone(), *address, *to);
            Ok(Action::Breaker(BreakerForce { service, version, region, address, to }))
        }
    }
}

/// The pools of a service that an operator may mean.
struct Narrow<'a> {
    head: &'a Head,
    service: &'a Service,
    version: Option<&'a VersionName>,
    region: Option<&'a RegionName>,
}

impl<'a> Narrow<'a> {
    fn region_of(&self, pool: &Pool) -> &'a RegionName {
        &self.head.written.regions[pool.region].name
    }

    /// At least one.
    fn pools(&self) -> Result<Vec<(&'a Version, &'a Pool)>, Refusal> {
        if let Some(name) = self.version
            && !self.service.versions.iter().any(|one| one.name == *name)
        {
            return Err(Refusal::no_version(name, self.service));
        }
        let named = self.service.versions.iter().filter(|one| self.version.is_none_or(|name| one.name == *name));
        let all: Vec<_> = named.flat_map(|version| version.pools.iter().map(move |pool| (version, pool))).collect();
        let is_there = |pool: &Pool| self.region.is_none_or(|name| self.region_of(pool) == name);
        let found: Vec<_> = all.iter().copied().filter(|(_, pool)| is_there(pool)).collect();
        match self.region {
            Some(region) if found.is_empty() => Err(Refusal::NoPool {
                service: self.service.name.clone(),
                version: self.version.cloned(),
                region: region.clone(),
                pools: all.iter().map(|pool| self.words(pool)).collect(),
            }),
            Some(_) | None => Ok(found),
        }
    }

    fn words(&self, (version, pool): &(&Version, &Pool)) -> String {
        format!("{}/{} in {}", self.service.name, version.name, self.region_of(pool))
    }

    /// The only pool that has the address; else the only one that may come to have it.
    fn holder(&self, address: SocketAddr) -> Result<(VersionName, RegionName), Refusal> {
        let pools = self.pools()?;
        let has = |pool: &Pool| pool.endpoints.iter().any(|one| one.address == address);
        let mut found: Vec<_> = pools.iter().filter(|(_, pool)| has(pool)).collect();
        if found.is_empty() {
            found = pools.iter().filter(|(_, pool)| pool.may_have(address)).collect();
        }
        match found[..] {
            [(version, pool)] => Ok((version.name.clone(), self.region_of(pool).clone())),
            [] => Err(self.no_endpoint(address, &pools)),
            [..] => Err(Refusal::Ambiguous {
                what: format!("the endpoint {address} of {}", self.service.name),
                among: found.into_iter().map(|pool| self.words(pool)).collect(),
            }),
        }
    }

    fn no_endpoint(&self, address: SocketAddr, pools: &[(&Version, &Pool)]) -> Refusal {
        let mut there: Vec<SocketAddr> =
            pools.iter().flat_map(|(_, pool)| &pool.endpoints).map(|one| one.address).collect();
        there.sort_unstable();
        there.dedup();
        let of = match pools {
            [one] => self.words(one),
            [..] => self
                .version
                .map_or_else(|| self.service.name.to_string(), |name| format!("{}/{name}", self.service.name)),
        };
        let sources = pools.iter().flat_map(|(_, pool)| &pool.sources).map(|source| source.query.to_string()).collect();
        Refusal::NoEndpoint { address, of, there, sources }
    }

    fn only_version(&self) -> Result<VersionName, Refusal> {
        let pools = self.pools()?;
        let mut names: Vec<&VersionName> = pools.iter().map(|(version, _)| &version.name).collect();
        names.dedup();
        match names[..] {
            [only] => Ok(only.clone()),
            [..] => Err(Refusal::Ambiguous {
                what: format!("the version of {}", self.service.name),
                among: names.into_iter().map(ToString::to_string).collect(),
            }),
        }
    }
}
