//! Whether what was changed live still fits the document, and the document as it is with it.

use super::judge::{Judge, section};
use crate::name::{ServiceName, VersionName};
use crate::overlay::{LiveWeights, Overlay};
use crate::problem::{Code, quote};
use crate::share::Share;
use crate::validated::{Service, Validated};

/// Reports every name of the overlay that the document does not have. Where a service cannot be read it may be among the
/// unreadable ones, and nothing is told.
pub(super) fn check(judge: &mut Judge<'_>, services: &[Service], overlay: &Overlay) {
    if judge.gaps.is_damaged(&section("services")) {
        return;
    }
    for (name, weights) in &overlay.weights {
        match services.iter().position(|service| service.name == *name) {
            Some(at) => check_service(judge, at, &services[at], weights),
            None => {
                let message = format!("the service {} is gone, and {}", quote(name.as_str()), owned(weights));
                judge.report(Code::NamedByOverlay, section("services"), message, Some(hint(name)));
            }
        }
    }
}

fn check_service(judge: &mut Judge<'_>, at: usize, service: &Service, weights: &LiveWeights) {
    let list = section("services").item(at).field("versions");
    let has = |version: &VersionName| service.versions.iter().any(|one| one.name == *version);
    for (version, share) in weights.shares.iter().filter(|(version, _)| !has(version)) {
        let message = format!(
            "the version {} of {} is gone, and it has {share} of the traffic: {}",
            quote(version.as_str()),
            service.name,
            owned(weights)
        );
        judge.report(Code::NamedByOverlay, list.clone(), message, Some(hint(&service.name)));
    }
}

fn owned(weights: &LiveWeights) -> String {
    format!("its weights are the {}'s ({}, {}: {})", weights.owner, weights.author, weights.since, weights.reason)
}

fn hint(service: &ServiceName) -> String {
    format!("shift {service} to other versions first, or take its weights from the document (--take-weights)")
}

/// The document as it is with the overlay, which [`check`] found nothing wrong with.
pub(super) fn lay(validated: &mut Validated, overlay: &Overlay) {
    for service in &mut validated.services {
        let Some(weights) = overlay.weights.get(&service.name) else { continue };
        for version in &mut service.versions {
            version.weight = weights.shares.weight(&version.name);
        }
        debug_assert!(service.versions.iter().any(|version| weights.shares.of(&version.name) > Share::NONE));
    }
}
