//! Whether what was changed live still fits the document, and the document as it is with it.
//!
//! Of two overrides that hold the same thing the newer one holds it: a breaker that is forced open in every region can be
//! forced closed in one of them.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;

use super::judge::{Judge, section};
use crate::effective;
use crate::name::{RegionName, ServiceName, VersionName};
use crate::overlay::{Action, BreakerForce, EndpointForce, LiveWeights, Overlay, Override};
use crate::problem::{Code, Path, Step, quote};
use crate::share::Share;
use crate::tree::Node;
use crate::validated::{Pool, Region, Service, Validated, Version};
use crate::value::RevisionId;

/// A name in an overlay that a document does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dangling<'a> {
    /// Live weights name it.
    Weights {
        /// The service, or that of the version.
        service: &'a ServiceName,
        /// The version that is gone and its share of the traffic. Absent: the whole service is gone.
        version: Option<(&'a VersionName, Share)>,
        /// What names it.
        weights: &'a LiveWeights,
    },
    /// An override names it.
    Override {
        /// The number of the override.
        id: RevisionId,
        /// What is gone of what it names: the widest.
        gone: Gone,
        /// What names it.
        by: &'a Override,
    },
}

/// What an override names and a document does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gone {
    /// The whole service.
    Service,
    /// The version.
    Version,
    /// The version has no endpoints in the region.
    Pool,
    /// The pool has no endpoint of the address, nor sources that may name it.
    Endpoint,
}

impl Dangling<'_> {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Weights { service, .. } => {
                format!(
                    "shift {service} to other versions first, or take its weights from the document (--take-weights)"
                )
            }
            Self::Override { id, by, .. } => format!("lift the override first: {}", by.action.lift(*id)),
        }
    }
}

impl fmt::Display for Dangling<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Weights { service, version, weights } => {
                let LiveWeights { owner, author, since, reason, .. } = weights;
                let owned = format!("its weights are the {owner}'s ({author}, {since}: {reason})");
                match version {
                    None => write!(f, "the service {} is gone, and {owned}", quote(service.as_str())),
                    Some((version, share)) => {
                        let version = quote(version.as_str());
                        write!(
                            f,
                            "the version {version} of {service} is gone, and it has {share} of the traffic: {owned}"
                        )
                    }
                }
            }
            Self::Override { id, gone, by: Override { action, author, since, reason, .. } } => {
                let thing = gone.words(action);
                write!(f, "{thing}, and the override {id} names it: {action} ({author}, {since}: {reason})")
            }
        }
    }
}

impl Gone {
    fn words(self, action: &Action) -> String {
        let Some((service, version)) = names(action) else { return "nothing is gone".to_owned() };
        let region = region(action).map(|region| format!(" in {region}")).unwrap_or_default();
        match self {
            Self::Service => format!("the service {} is gone", quote(service.as_str())),
            Self::Version => format!("the version {} of {service} is gone", quote(version.as_str())),
            Self::Pool => format!("the pool of {service}/{version}{region} is gone"),
            Self::Endpoint => {
                let address = address(action).map(|address| format!(" {address}")).unwrap_or_default();
                format!("the endpoint{address} of {service}/{version}{region} is gone")
            }
        }
    }
}

const fn names(action: &Action) -> Option<(&ServiceName, &VersionName)> {
    match action {
        Action::Freeze => None,
        Action::Endpoint(EndpointForce { service, version, .. })
        | Action::Breaker(BreakerForce { service, version, .. }) => Some((service, version)),
    }
}

const fn region(action: &Action) -> Option<&RegionName> {
    match action {
        Action::Freeze => None,
        Action::Endpoint(one) => Some(&one.region),
        Action::Breaker(one) => one.region.as_ref(),
    }
}

const fn address(action: &Action) -> Option<SocketAddr> {
    match action {
        Action::Freeze => None,
        Action::Endpoint(one) => Some(one.address),
        Action::Breaker(one) => one.address,
    }
}

/// A proven document as it is with what was changed live on top of it. What the overlay does not name stays.
///
/// Linear in the document, which is not read again.
///
/// # Errors
/// Every name of the overlay that the document does not have.
pub fn lay<'a>(written: &Validated, overlay: &'a Overlay) -> Result<Validated, Vec<Dangling<'a>>> {
    let dangling = dangling(&written.services, &written.regions, overlay);
    if !dangling.is_empty() {
        return Err(dangling.into_iter().map(|(_, one)| one).collect());
    }
    let mut laid = written.clone();
    put(&mut laid, overlay);
    Ok(laid)
}

/// With the overlay, which [`dangling`] found nothing wrong with.
pub(super) fn put(validated: &mut Validated, overlay: &Overlay) {
    if overlay.weights.is_empty() && overlay.forces().next().is_none() {
        return;
    }
    for service in &mut validated.services {
        let Some(weights) = overlay.weights.get(&service.name) else { continue };
        for version in &mut service.versions {
            version.weight = weights.shares.weight(&version.name);
        }
        debug_assert!(service.versions.iter().any(|version| weights.shares.of(&version.name) > Share::NONE));
    }
    overlay.forces().for_each(|(_, one)| force(validated, &one.action));
    validated.digest = effective::digest(validated);
}

/// Holds what an override holds, whatever an older one holds it to.
fn force(validated: &mut Validated, action: &Action) {
    let Some((service, version)) = names(action) else { return };
    let place = region(action).map(|name| validated.regions.iter().position(|region| region.name == *name));
    let of_service = validated.services.iter_mut().filter(|one| one.name == *service);
    let of_version = of_service.flat_map(|service| &mut service.versions).filter(|one| one.name == *version);
    let pools = of_version.flat_map(|version| &mut version.pools);
    for pool in pools.filter(|pool| place.is_none_or(|place| place == Some(pool.region))) {
        match action {
            Action::Freeze => {}
            Action::Endpoint(EndpointForce { address, to, .. }) => {
                pool.forces.endpoints.insert(*address, *to);
            }
            Action::Breaker(BreakerForce { address: Some(address), to, .. }) => {
                pool.forces.breakers.insert(*address, *to);
            }
            Action::Breaker(BreakerForce { address: None, to, .. }) => pool.forces.breaker = Some(*to),
        }
    }
}

/// Reports every name of the overlay that the document does not have. Where a service cannot be read it may be among the
/// unreadable ones, and nothing is told.
pub(super) fn check(judge: &mut Judge<'_>, services: &[Service], regions: &[Region], overlay: &Overlay) {
    if judge.gaps.is_damaged(&section("services")) || judge.gaps.is_damaged(&section("regions")) {
        return;
    }
    for (path, one) in dangling(services, regions, overlay) {
        let path = written(judge.root, &path);
        judge.report(Code::NamedByOverlay, path, one.to_string(), Some(one.hint()));
    }
}

/// The way as far as it is written: a service may have `endpoints` in place of `versions`, and one list in place of regions.
fn written(root: &Node, path: &Path) -> Path {
    let (mut way, mut node) = (Path::default(), root);
    let mut steps = path.steps().iter();
    while let Some(step) = steps.next() {
        match (node.step(step), step) {
            (Some(inner), Step::Field(name)) => (way, node) = (way.field(name), inner),
            (Some(inner), Step::Item(index)) => (way, node) = (way.item(*index), inner),
            // The only version has no place of its own.
            (None, Step::Field(name)) if name == "versions" => {
                steps.next();
            }
            (None, _) => break,
        }
    }
    way
}

/// Each with the place of what is there of it.
fn dangling<'a>(services: &[Service], regions: &[Region], overlay: &'a Overlay) -> Vec<(Path, Dangling<'a>)> {
    if overlay.weights.is_empty() && overlay.forces().next().is_none() {
        return Vec::new();
    }
    let names = services.iter().enumerate().rev().map(|(at, service)| (&service.name, at));
    let places: BTreeMap<&ServiceName, usize> = names.collect();
    let mut found = Vec::new();
    for (service, weights) in &overlay.weights {
        match places.get(service) {
            None => found.push((section("services"), Dangling::Weights { service, version: None, weights })),
            Some(at) => {
                let has = |version: &VersionName| services[*at].versions.iter().any(|one| one.name == *version);
                let gone = weights.shares.iter().filter(|(version, _)| !has(version));
                let dangling = |gone| Dangling::Weights { service, version: Some(gone), weights };
                found.extend(gone.map(|gone| (versions(*at), dangling(gone))));
            }
        }
    }
    for (id, by) in overlay.forces() {
        let place = by.action.service().and_then(|service| places.get(service));
        let gone = match place {
            None => Some((section("services"), Gone::Service)),
            Some(at) => gone(*at, &services[*at], regions, &by.action),
        };
        found.extend(gone.map(|(path, gone)| (path, Dangling::Override { id, gone, by })));
    }
    found
}

fn versions(service: usize) -> Path {
    section("services").item(service).field("versions")
}

/// What is gone of what an override of this service names.
fn gone(at: usize, service: &Service, regions: &[Region], action: &Action) -> Option<(Path, Gone)> {
    let (_, name) = names(action)?;
    let Some((place, version)) = service.versions.iter().enumerate().find(|(_, version)| version.name == *name) else {
        return Some((versions(at), Gone::Version));
    };
    let endpoints = versions(at).item(place).field("endpoints");
    let region = region(action)?;
    let Some(pool) = pool(version, regions, region) else { return Some((endpoints, Gone::Pool)) };
    let gone = address(action).is_some_and(|address| !pool.may_have(address));
    gone.then(|| (endpoints.field(region.as_str()), Gone::Endpoint))
}

fn pool<'a>(version: &'a Version, regions: &[Region], region: &RegionName) -> Option<&'a Pool> {
    version.pools.iter().find(|pool| regions.get(pool.region).is_some_and(|one| one.name == *region))
}

#[cfg(test)]
mod tests;
