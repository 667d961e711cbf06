//! Whether what was changed live still fits the document, and the document as it is with it.

use std::collections::BTreeMap;
use std::fmt;

use super::judge::{Judge, section};
use crate::effective;
use crate::name::{ServiceName, VersionName};
use crate::overlay::{LiveWeights, Overlay};
use crate::problem::{Code, quote};
use crate::share::Share;
use crate::validated::{Service, Validated};

/// A name in an overlay that a document does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dangling<'a> {
    /// The service, or that of the version.
    pub service: &'a ServiceName,
    /// The version that is gone and its share of the traffic. Absent: the whole service is gone.
    pub version: Option<(&'a VersionName, Share)>,
    /// What names it.
    pub weights: &'a LiveWeights,
}

impl fmt::Display for Dangling<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { service, version, weights } = self;
        let LiveWeights { owner, author, since, reason, .. } = weights;
        let owned = format!("its weights are the {owner}'s ({author}, {since}: {reason})");
        match version {
            None => write!(f, "the service {} is gone, and {owned}", quote(service.as_str())),
            Some((version, share)) => {
                let version = quote(version.as_str());
                write!(f, "the version {version} of {service} is gone, and it has {share} of the traffic: {owned}")
            }
        }
    }
}

/// A proven document as it is with what was changed live on top of it. What the overlay does not name stays.
///
/// Linear in the document, which is not read again.
///
/// # Errors
/// Every name of the overlay that the document does not have.
pub fn lay<'a>(written: &Validated, overlay: &'a Overlay) -> Result<Validated, Vec<Dangling<'a>>> {
    let dangling = dangling(&written.services, overlay);
    if !dangling.is_empty() {
        return Err(dangling.into_iter().map(|(_, one)| one).collect());
    }
    let mut laid = written.clone();
    put(&mut laid, overlay);
    Ok(laid)
}

/// With the overlay, which [`dangling`] found nothing wrong with.
pub(super) fn put(validated: &mut Validated, overlay: &Overlay) {
    if overlay.weights.is_empty() {
        return;
    }
    for service in &mut validated.services {
        let Some(weights) = overlay.weights.get(&service.name) else { continue };
        for version in &mut service.versions {
            version.weight = weights.shares.weight(&version.name);
        }
        debug_assert!(service.versions.iter().any(|version| weights.shares.of(&version.name) > Share::NONE));
    }
    validated.digest = effective::digest(validated);
}

/// Reports every name of the overlay that the document does not have. Where a service cannot be read it may be among the
/// unreadable ones, and nothing is told.
pub(super) fn check(judge: &mut Judge<'_>, services: &[Service], overlay: &Overlay) {
    if judge.gaps.is_damaged(&section("services")) {
        return;
    }
    for (at, one) in dangling(services, overlay) {
        let path = at.map_or_else(|| section("services"), |at| section("services").item(at).field("versions"));
        judge.report(Code::NamedByOverlay, path, one.to_string(), Some(hint(one.service)));
    }
}

fn hint(service: &ServiceName) -> String {
    format!("shift {service} to other versions first, or take its weights from the document (--take-weights)")
}

/// Each with the place of its service, if that is there.
fn dangling<'a>(services: &[Service], overlay: &'a Overlay) -> Vec<(Option<usize>, Dangling<'a>)> {
    if overlay.weights.is_empty() {
        return Vec::new();
    }
    let names = services.iter().enumerate().rev().map(|(at, service)| (&service.name, at));
    let places: BTreeMap<&ServiceName, usize> = names.collect();
    let mut found = Vec::new();
    for (service, weights) in &overlay.weights {
        match places.get(service) {
            None => found.push((None, Dangling { service, version: None, weights })),
            Some(at) => {
                let has = |version: &VersionName| services[*at].versions.iter().any(|one| one.name == *version);
                let gone = weights.shares.iter().filter(|(version, _)| !has(version));
                found.extend(gone.map(|gone| (Some(*at), Dangling { service, version: Some(gone), weights })));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Environment, read, read_pair};

    const TEXT: &str = r#"
listeners: [{ name: web, address: "127.0.0.1:8080" }]
services:
  - name: shop
    versions:
      - { name: v1, weight: 95, endpoints: ["127.0.0.1:9001"] }
      - { name: v2, weight: 5, endpoints: ["127.0.0.1:9002"] }
routes: [{ service: shop }]
"#;

    fn overlay(service: &str, shares: &str) -> Overlay {
        let weights = format!(
            r#"{{"weights":{{"{service}":{{"shares":{shares},"owner":"operator","author":"ann","reason":"why",
            "since":"2026-11-26T09:30:00Z"}}}}}}"#
        );
        serde_json::from_str(&weights).unwrap()
    }

    #[test]
    fn an_overlay_that_is_laid_later_is_the_pair_that_was_read_as_one() {
        let written = read(TEXT, &Environment::empty()).unwrap().validated;
        let overlay = overlay("shop", r#"{"v1":"70%","v2":"30%"}"#);
        let pair = read_pair(TEXT, &Environment::empty(), &overlay).unwrap();
        assert_eq!((lay(&written, &overlay), pair.document), (Ok(pair.validated), written.digest));
        assert_eq!(lay(&written, &Overlay::default()), Ok(written));
    }

    #[test]
    fn what_an_overlay_names_must_be_there() {
        let written = read(TEXT, &Environment::empty()).unwrap().validated;
        for (service, shares, gone) in [
            ("cart", r#"{"v1":"100%"}"#, r#"the service "cart" is gone"#),
            ("shop", r#"{"v1":"50%","v3":"50%"}"#, r#"the version "v3" of shop is gone, and it has 50%"#),
        ] {
            let overlay = overlay(service, shares);
            let told = lay(&written, &overlay).unwrap_err();
            assert!(told.len() == 1 && told[0].to_string().starts_with(gone), "{told:?}");
            let problems = read_pair(TEXT, &Environment::empty(), &overlay).unwrap_err();
            assert_eq!(problems.problems[0].message, told[0].to_string());
        }
    }
}
