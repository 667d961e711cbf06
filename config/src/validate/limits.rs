//! How many of each there may be. The numbers are in [`limit`].

use super::judge::{Judge, section};
use crate::limit;
use crate::problem::{Code, Path};
use crate::schema::Document;

/// Whether the document is small enough to be judged further.
pub(super) fn check(judge: &mut Judge<'_>, document: &Document) -> bool {
    let before = judge.problems.count();
    at_most(judge, section("listeners"), "listeners", document.listeners.len(), limit::LISTENERS);
    let certificates = document.listeners.iter().filter_map(|listener| listener.tls.as_ref());
    let certificates = certificates.map(|tls| tls.certificates.len()).sum();
    at_most(judge, section("listeners"), "certificates", certificates, limit::CERTIFICATES);
    at_most(judge, section("regions"), "regions", document.regions.len(), limit::REGIONS);
    at_most(judge, section("services"), "services", document.services.len(), limit::SERVICES);
    at_most(judge, section("routes"), "routes", document.routes.len(), limit::ROUTES);
    for (index, listener) in document.listeners.iter().enumerate() {
        let path = section("listeners").item(index).field("trusted_proxies");
        at_most(judge, path, "networks", listener.trusted_proxies.len(), limit::NETWORKS);
    }
    for (index, service) in document.services.iter().enumerate() {
        let versions = service.versions.as_ref().map_or(0, Vec::len);
        at_most(judge, section("services").item(index).field("versions"), "versions", versions, limit::VERSIONS);
    }
    let endpoints = document.services.iter().map(|service| service.members().count()).sum();
    at_most(judge, section("services"), "endpoints", endpoints, limit::ENDPOINTS);
    judge.problems.count() == before
}

fn at_most(judge: &mut Judge<'_>, path: Path, what: &str, count: usize, most: usize) {
    if count > most {
        judge.report(Code::OverLimit, path, format!("there are {count} {what}; {most} are the most"), None);
    }
}
