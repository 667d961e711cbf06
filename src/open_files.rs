//! How many files the process may have open. A connection is one, and so is the one to the endpoint that answers it.
//!
//! The soft limit is raised to the hard one: it is low only for programs that use `select`, and this one does not. The
//! hard limit is the operator's, so a low one is told and no more.

use std::path::Path;

use rustix::process::{Resource, getrlimit, setrlimit};
use sluice_config::Validated;
use sluice_config::validated::Bound;

use crate::document::open;

/// Files besides connections: listeners, probes, status, logs, what a runtime needs for each worker.
const BESIDES: u64 = 200;

/// Raises the limit as far as it goes, and warns if the document's listeners may need more.
pub(crate) fn prepare(document: &Path) {
    let limit = raise();
    // A document that changed since it was proven is told by what follows it.
    let Ok(Ok(document)) = open(document) else { return };
    if let Some(words) = shortage(&document.source.validated, limit) {
        tracing::warn!("{words}");
    }
}

/// Raises the limit. Answers with what it is then; absent: there is none.
pub(crate) fn raise() -> Option<u64> {
    let mut limit = getrlimit(Resource::Nofile);
    let soft = limit.current;
    limit.current = limit.maximum;
    match setrlimit(Resource::Nofile, limit) {
        Ok(()) => limit.current,
        Err(_) => soft,
    }
}

fn shortage(document: &Validated, limit: Option<u64>) -> Option<String> {
    let all: u64 = document.listeners.iter().map(|listener| u64::from(listener.limits.connections)).sum();
    let connections = match document.limits.connections {
        Bound::At(most) => all.min(u64::from(most)),
        Bound::Auto | Bound::Off => all,
    };
    let needed = 2 * connections + BESIDES;
    let limit = limit.filter(|limit| *limit < needed)?;
    Some(format!(
        "this process may open {limit} files, but {connections} connections (limits.connections) can \
         need {needed}: allow more (`LimitNOFILE={needed}` in a systemd unit, `ulimit -n {needed}` in a shell, \
         `--ulimit nofile={needed}` of a container) or lower limits.connections"
    ))
}

#[cfg(test)]
mod tests {
    use sluice_config::{Environment, validate};

    use super::*;

    #[test]
    fn every_connection_may_need_two_files() {
        let listener = |name: &str, port: u16, most: u32| {
            format!("  - {{ name: {name}, address: \"127.0.0.1:{port}\", limits: {{ connections: {most} }} }}\n")
        };
        let text = format!(
            "listeners:\n{}{}services: [{{ name: shop, endpoints: [\"127.0.0.1:9000\"] }}]\nroutes: [{{ service: shop }}]\n",
            listener("a", 8080, 100),
            listener("b", 8081, 50),
        );
        let document = validate(&text, &Environment::empty()).unwrap();
        let fewer = validate(&format!("{text}limits: {{ connections: 100 }}\n"), &Environment::empty()).unwrap();
        assert_eq!(shortage(&fewer, Some(400)), None);
        assert_eq!(shortage(&document, None), None);
        assert_eq!(shortage(&document, Some(500)), None);
        let words = shortage(&document, Some(499)).unwrap();
        assert!(["499", "150 connections", "LimitNOFILE=500"].iter().all(|part| words.contains(part)), "{words}");
    }

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        raise();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
    }
}
