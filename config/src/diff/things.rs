//! A document as a flat list of named things with fields.

use std::time::Duration;

use super::Noun;
use crate::bound::Rate;
use crate::duration::write;
use crate::size::Size;
use crate::validated::{
    Bound, Capability, HealthCheck, HostMatch, Listener, Match, PathMatch, ProcessLimits, Region, Role, Route, Service,
    Split, StickyKey, Validated, ValueMatch, Version,
};

/// Something with a name.
pub(super) struct Thing {
    pub(super) noun: Noun,
    /// Unique among those of its noun.
    pub(super) name: String,
    /// What it is a part of.
    pub(super) inside: Option<(Noun, String)>,
    pub(super) fields: Vec<(&'static str, String)>,
}

/// Everything in the document, in its order.
pub(super) fn things(document: &Validated) -> Vec<Thing> {
    let mut things: Vec<Thing> = document.listeners.iter().map(listener).collect();
    things.extend(document.regions.iter().map(region));
    for service in &document.services {
        things.push(service_alone(service));
        for version in &service.versions {
            versions(service, version, &document.regions, &mut things);
        }
    }
    things.extend(document.routes.iter().map(|one| route(one, &document.services)));
    let fields = vec![("deadline", write(document.drain.deadline)), ("linger", write(document.drain.linger))];
    things.push(Thing { noun: Noun::Drain, name: String::new(), inside: None, fields });
    things.push(process_limits(&document.limits));
    things
}

fn process_limits(limits: &ProcessLimits) -> Thing {
    let memory = match limits.memory {
        Bound::Auto => "auto".to_owned(),
        Bound::Off => "off".to_owned(),
        Bound::At(bytes) => Size::bytes(bytes).to_string(),
    };
    let connections = match limits.connections {
        Bound::Auto => "auto".to_owned(),
        Bound::Off => "off".to_owned(),
        Bound::At(count) => count.to_string(),
    };
    let fields = vec![("connections", connections), ("memory", memory)];
    Thing { noun: Noun::Limits, name: String::new(), inside: None, fields }
}

fn or_off<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "off".to_owned(), |value| value.to_string())
}

fn listener(listener: &Listener) -> Thing {
    let limits = &listener.limits;
    let rate = |bytes: Option<u64>| or_off(bytes.map(|bytes| Rate(Size::bytes(bytes))));
    let fields = vec![
        ("address", listener.address.to_string()),
        ("limits.connections", limits.connections.to_string()),
        ("limits.connections_per_address", or_off(limits.connections_per_address)),
        ("limits.header_bytes", Size::bytes(limits.header_bytes.into()).to_string()),
        ("limits.header_count", limits.header_count.to_string()),
        ("limits.header_timeout", write(limits.header_timeout)),
        ("limits.keep_alive", write(limits.keep_alive)),
        ("limits.requests_per_connection", or_off(limits.requests_per_connection)),
        ("limits.body_bytes", or_off(limits.body_bytes.map(Size::bytes))),
        ("limits.receive_min_rate", rate(limits.receive_min_rate)),
        ("limits.send_min_rate", rate(limits.send_min_rate)),
        ("limits.min_rate_grace", write(limits.min_rate_grace)),
    ];
    Thing { noun: Noun::Listener, name: listener.name.to_string(), inside: None, fields }
}

fn region(region: &Region) -> Thing {
    let role = match region.role {
        Role::Primary => "primary",
        Role::Secondary => "secondary",
        Role::Standby => "standby",
    };
    let served =
        [Capability::Read, Capability::Write, Capability::Admin].map(|one| (one, region.capabilities.serves(one)));
    let served: Vec<_> = served.iter().filter(|(_, serves)| *serves).map(|(one, _)| capability(*one)).collect();
    let fields =
        vec![("role", role.to_owned()), ("weight", region.weight.to_string()), ("capabilities", list(&served))];
    Thing { noun: Noun::Region, name: region.name.to_string(), inside: None, fields }
}

const fn capability(capability: Capability) -> &'static str {
    match capability {
        Capability::Read => "read",
        Capability::Write => "write",
        Capability::Admin => "admin",
    }
}

fn list(words: &[&str]) -> String {
    format!("[{}]", words.join(", "))
}

fn service_alone(service: &Service) -> Thing {
    let timeouts = &service.timeouts;
    let optional = |timeout: Option<Duration>| timeout.map_or_else(|| "off".to_owned(), write);
    let mut fields = vec![
        ("split", split(&service.split)),
        ("timeouts.connect", write(timeouts.connect)),
        ("timeouts.per_try", optional(timeouts.per_try)),
        ("timeouts.idle", optional(timeouts.idle)),
        ("timeouts.total", optional(timeouts.total)),
        ("timeouts.tunnel_idle", optional(timeouts.tunnel_idle)),
    ];
    fields.extend(service.health_check.iter().flat_map(health_check));
    Thing { noun: Noun::Service, name: service.name.to_string(), inside: None, fields }
}

fn split(split: &Split) -> String {
    match split {
        Split::Random => "random".to_owned(),
        Split::Sticky(StickyKey::Header(name)) => format!("sticky by header {name}"),
        Split::Sticky(StickyKey::Cookie(name)) => format!("sticky by cookie {name}"),
        Split::Sticky(StickyKey::ClientAddress) => "sticky by client_address".to_owned(),
    }
}

fn health_check(check: &HealthCheck) -> Vec<(&'static str, String)> {
    let mut fields = vec![
        ("health_check.http.path", check.http.path.clone()),
        ("health_check.interval", write(check.interval)),
        ("health_check.timeout", write(check.timeout)),
        ("health_check.failure_threshold", check.failure_threshold.to_string()),
        ("health_check.recovery_threshold", check.recovery_threshold.to_string()),
    ];
    fields.extend(check.http.host.iter().map(|host| ("health_check.http.host", host.clone())));
    fields
}

fn versions(service: &Service, version: &Version, regions: &[Region], things: &mut Vec<Thing>) {
    let name = format!("{}/{}", service.name, version.name);
    things.push(Thing {
        noun: Noun::Version,
        name: name.clone(),
        inside: Some((Noun::Service, service.name.to_string())),
        fields: vec![("weight", version.weight.to_string())],
    });
    for pool in &version.pools {
        let region = &regions[pool.region].name;
        things.extend(pool.endpoints.iter().map(|endpoint| Thing {
            noun: Noun::Endpoint,
            name: format!("{} of {name} in {region}", endpoint.address),
            inside: Some((Noun::Version, name.clone())),
            fields: vec![("weight", endpoint.weight.to_string())],
        }));
    }
}

fn route(route: &Route, services: &[Service]) -> Thing {
    let service = &services[route.service];
    let mut fields = matches(&route.matches);
    fields.push(("service", service.name.to_string()));
    fields.extend(route.version.map(|version| ("version", service.versions[version].name.to_string())));
    fields.extend(route.capability.map(|asked| ("capability", capability(asked).to_owned())));
    Thing { noun: Noun::Route, name: route.name.clone(), inside: None, fields }
}

fn matches(matches: &Match) -> Vec<(&'static str, String)> {
    let host = match &matches.host {
        HostMatch::Any => "any".to_owned(),
        HostMatch::Exact(host) => host.clone(),
        HostMatch::Wildcard(suffix) => format!("*.{suffix}"),
    };
    let path = match &matches.path {
        PathMatch::Exact(path) => format!("exact {path}"),
        PathMatch::Prefix(path) => format!("prefix {path}"),
        PathMatch::Regex(text) => format!("regex {text}"),
    };
    let methods: Vec<_> = matches.methods.iter().map(String::as_str).collect();
    let mut fields = vec![("match.host", host), ("match.path", path), ("match.methods", list(&methods))];
    fields.push(("match.headers", values(&matches.headers)));
    fields.push(("match.query", values(&matches.query)));
    fields
}

fn values(predicates: &[ValueMatch]) -> String {
    let word = |predicate: &ValueMatch| match &predicate.value {
        Some(value) => format!("{}: {value:?}", predicate.name),
        None => format!("{}: present", predicate.name),
    };
    format!("{{{}}}", predicates.iter().map(word).collect::<Vec<_>>().join(", "))
}
