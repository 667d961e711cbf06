//! A document as a flat list of named things with fields.

use std::borrow::Cow;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value as Json;

use super::Noun;
use crate::bound::{Rate, Times};
use crate::duration::write;
use crate::name::ZoneName;
use crate::schema;
use crate::schema::balancer::{Balancer, Panic, Session, SlowStart, Zones};
use crate::schema::breaker::Breakers;
use crate::schema::outlier_ejection::OutlierEjection;
use crate::schema::service_limits::ServiceLimits;
use crate::size::Size;
use crate::validated::{
    Bound, Capability, DotSegments, EncodedSlashes, Forces, Forwarded, HealthCheck, HostMatch, Listener, Match,
    OriginTls, PathMatch, ProcessLimits, Protocol, ProxyProtocol, Region, Resolver, Retries, Role, Route, Service,
    Split, StickyKey, Tls, Validated, ValueMatch, Version,
};
use crate::value::Weight;

/// Something with a name.
pub(super) struct Thing {
    pub(super) noun: Noun,
    /// Unique among those of its noun.
    pub(super) name: String,
    /// What it is a part of.
    pub(super) inside: Option<(Noun, String)>,
    pub(super) fields: Vec<(Cow<'static, str>, String)>,
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
    let drain = &document.drain;
    let fields =
        vec![("delay", write(drain.delay)), ("deadline", write(drain.deadline)), ("linger", write(drain.linger))];
    things.push(Thing { noun: Noun::Drain, name: String::new(), inside: None, fields: named(fields) });
    things.push(process_limits(&document.limits));
    things.push(resolver(&document.resolver));
    things
}

fn named(fields: impl IntoIterator<Item = (&'static str, String)>) -> Vec<(Cow<'static, str>, String)> {
    fields.into_iter().map(|(name, value)| (name.into(), value)).collect()
}

/// What a service says about its pools, by the names of the document.
fn balance(service: &Service) -> Vec<(Cow<'static, str>, String)> {
    let mut fields = Vec::new();
    flatten("balancer", &Balancer::from(&service.balancer), &mut fields);
    flatten("slow_start", &service.slow_start.as_ref().map(SlowStart::from), &mut fields);
    flatten("zones", &service.zones.as_ref().map(Zones::from), &mut fields);
    flatten("session", &service.session.as_ref().map(Session::from), &mut fields);
    flatten("panic", &service.panic.as_ref().map(Panic::from), &mut fields);
    flatten("outlier_ejection", &service.outlier_ejection.as_ref().map(OutlierEjection::from), &mut fields);
    flatten("breaker", &Breakers::from(&service.breaker), &mut fields);
    flatten("limits", &ServiceLimits::from(&service.limits), &mut fields);
    fields.push(("fallback".into(), service.fallback.as_str().to_owned()));
    fields
}

/// The leaves of a part of the document, each by its way there.
fn flatten(name: &str, part: &impl Serialize, fields: &mut Vec<(Cow<'static, str>, String)>) {
    flatten_value(name, &serde_json::to_value(part).expect("the schema has text keys only"), fields);
}

fn flatten_value(name: &str, value: &Json, fields: &mut Vec<(Cow<'static, str>, String)>) {
    match value {
        Json::Object(inner) => {
            inner.iter().for_each(|(key, value)| flatten_value(&format!("{name}.{key}"), value, fields))
        }
        Json::Null => {}
        Json::String(text) => fields.push((name.to_owned().into(), text.clone())),
        Json::Array(_) | Json::Bool(_) | Json::Number(_) => fields.push((name.to_owned().into(), value.to_string())),
    }
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
    let fields = vec![("connections", connections), ("memory", memory), ("probes", or_off(limits.probes.map(Times)))];
    Thing { noun: Noun::Limits, name: String::new(), inside: None, fields: named(fields) }
}

fn resolver(resolver: &Resolver) -> Thing {
    let servers: Vec<_> = resolver.servers.iter().map(ToString::to_string).collect();
    let fields = vec![("servers", format!("[{}]", servers.join(", "))), ("timeout", write(resolver.timeout))];
    Thing { noun: Noun::Resolver, name: String::new(), inside: None, fields: named(fields) }
}

fn or_off<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "off".to_owned(), |value| value.to_string())
}

fn listener(listener: &Listener) -> Thing {
    let limits = &listener.limits;
    let networks: Vec<_> = listener.trusted_proxies.iter().map(ToString::to_string).collect();
    let rate = |bytes: Option<u64>| or_off(bytes.map(|bytes| Rate(Size::bytes(bytes))));
    let mut fields = vec![
        ("address", listener.address.to_string()),
        ("limits.connections", limits.connections.to_string()),
        ("limits.connections_per_address", or_off(limits.connections_per_address)),
        ("limits.header_bytes", Size::bytes(limits.header_bytes.into()).to_string()),
        ("limits.header_count", limits.header_count.to_string()),
        ("limits.header_timeout", write(limits.header_timeout)),
        ("limits.keep_alive", write(limits.keep_alive)),
        ("proxy_protocol", proxy_protocol(listener.proxy_protocol).to_owned()),
        ("trusted_proxies", format!("[{}]", networks.join(", "))),
        ("forwarded", forwarded(listener.forwarded).to_owned()),
        ("paths.dot_segments", dot_segments(listener.paths.dot_segments).to_owned()),
        ("paths.encoded_slashes", encoded_slashes(listener.paths.encoded_slashes).to_owned()),
        ("paths.merge_slashes", listener.paths.merge_slashes.to_string()),
        ("limits.requests_per_connection", or_off(limits.requests_per_connection)),
        ("limits.body_bytes", or_off(limits.body_bytes.map(Size::bytes))),
        ("limits.receive_min_rate", rate(limits.receive_min_rate)),
        ("limits.send_min_rate", rate(limits.send_min_rate)),
        ("limits.min_rate_grace", write(limits.min_rate_grace)),
    ];
    fields.extend(listener.tls.iter().flat_map(tls));
    Thing { noun: Noun::Listener, name: listener.name.to_string(), inside: None, fields: named(fields) }
}

fn tls(tls: &Tls) -> Vec<(&'static str, String)> {
    let pairs = tls.certificates.iter().map(|pair| format!("{} with {}", pair.cert, pair.key)).collect::<Vec<_>>();
    let mut fields = vec![
        ("tls.certificates", format!("[{}]", pairs.join(", "))),
        ("tls.require_sni", tls.require_sni.to_string()),
        ("tls.min_version", tls.min_version.as_str().to_owned()),
        ("tls.http2", tls.http2.to_string()),
        ("tls.handshake_timeout", write(tls.handshake_timeout)),
        ("tls.host_mismatch", tls.host_mismatch.as_str().to_owned()),
    ];
    if let Some(auth) = &tls.client_auth {
        fields.push(("tls.client_auth.ca", auth.ca.clone()));
        fields.push(("tls.client_auth.mode", auth.mode.as_str().to_owned()));
    }
    fields
}

const fn proxy_protocol(written: ProxyProtocol) -> &'static str {
    match written {
        ProxyProtocol::Off => "off",
        ProxyProtocol::Required => "required",
    }
}

const fn forwarded(written: Forwarded) -> &'static str {
    match written {
        Forwarded::XForwarded => "x_forwarded",
        Forwarded::Rfc7239 => "rfc7239",
        Forwarded::Both => "both",
    }
}

const fn dot_segments(policy: DotSegments) -> &'static str {
    match policy {
        DotSegments::Resolve => "resolve",
        DotSegments::Refuse => "refuse",
    }
}

const fn encoded_slashes(policy: EncodedSlashes) -> &'static str {
    match policy {
        EncodedSlashes::Keep => "keep",
        EncodedSlashes::Refuse => "refuse",
        EncodedSlashes::Decode => "decode",
    }
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
    Thing { noun: Noun::Region, name: region.name.to_string(), inside: None, fields: named(fields) }
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
        ("protocol", protocol(service.protocol).to_owned()),
        ("connections.idle", service.connections.idle.to_string()),
        ("connections.idle_timeout", write(service.connections.idle_timeout)),
        ("discovery.ttl_min", write(service.discovery.ttl_min)),
        ("discovery.ttl_max", write(service.discovery.ttl_max)),
        ("timeouts.connect", write(timeouts.connect)),
        ("timeouts.per_try", optional(timeouts.per_try)),
        ("timeouts.idle", optional(timeouts.idle)),
        ("timeouts.total", optional(timeouts.total)),
        ("timeouts.tunnel_idle", optional(timeouts.tunnel_idle)),
    ];
    if service.protocol == Protocol::Http2 {
        fields.push(("connections.streams", service.connections.streams.to_string()));
    }
    fields.extend(service.tls.iter().flat_map(origin_tls));
    fields.extend(retries(&service.retries));
    let mut fields = named(fields);
    fields.extend(service.health_check.iter().flat_map(health_check));
    fields.extend(balance(service));
    Thing { noun: Noun::Service, name: service.name.to_string(), inside: None, fields }
}

const fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Http1 => "http1",
        Protocol::Http2 => "http2",
    }
}

fn origin_tls(tls: &OriginTls) -> Vec<(&'static str, String)> {
    let mut fields = vec![("tls.server_name", tls.server_name.clone())];
    fields.extend(tls.ca.iter().map(|path| ("tls.ca", path.clone())));
    if let Some(pair) = &tls.client_certificate {
        fields.push(("tls.client_certificate.cert", pair.cert.clone()));
        fields.push(("tls.client_certificate.key", pair.key.clone()));
    }
    fields
}

fn retries(retries: &Retries) -> [(&'static str, String); 10] {
    let causes: Vec<_> = retries.causes.iter().map(|cause| cause.as_str()).collect();
    let statuses: Vec<_> = retries.statuses.iter().map(ToString::to_string).collect();
    let grpc: Vec<_> = retries.grpc_statuses.iter().map(|status| status.as_str()).collect();
    [
        ("retries.attempts", retries.attempts.to_string()),
        ("retries.causes", list(&causes)),
        ("retries.statuses", format!("[{}]", statuses.join(", "))),
        ("retries.grpc_statuses", list(&grpc)),
        ("retries.backoff.base", write(retries.backoff.base)),
        ("retries.backoff.max", write(retries.backoff.max)),
        ("retries.max_retry_after", write(retries.max_retry_after)),
        ("retries.budget.ratio", retries.budget.ratio.to_string()),
        ("retries.budget.min_per_second", retries.budget.min_per_second.to_string()),
        ("retries.body", Size::bytes(retries.body.into()).to_string()),
    ]
}

fn split(split: &Split) -> String {
    match split {
        Split::Random => "random".to_owned(),
        Split::Sticky(StickyKey::Header(name)) => format!("sticky by header {name}"),
        Split::Sticky(StickyKey::Cookie(name)) => format!("sticky by cookie {name}"),
        Split::Sticky(StickyKey::ClientAddress) => "sticky by client_address".to_owned(),
    }
}

/// By the names of the document, and in which way endpoints are asked: nothing more need be written about that.
fn health_check(check: &HealthCheck) -> Vec<(Cow<'static, str>, String)> {
    let mut fields = vec![("health_check".into(), check.probe.as_str().to_owned())];
    flatten("health_check", &schema::health_check::HealthCheck::from(check), &mut fields);
    fields
}

fn versions(service: &Service, version: &Version, regions: &[Region], things: &mut Vec<Thing>) {
    let name = format!("{}/{}", service.name, version.name);
    things.push(Thing {
        noun: Noun::Version,
        name: name.clone(),
        inside: Some((Noun::Service, service.name.to_string())),
        fields: named([("weight", version.weight.to_string())]),
    });
    for pool in &version.pools {
        let region = &regions[pool.region].name;
        things.extend(forces(&pool.forces, &format!("{name} in {region}")));
        things.extend(pool.endpoints.iter().map(|endpoint| Thing {
            noun: Noun::Endpoint,
            name: format!("{} of {name} in {region}", endpoint.address),
            inside: Some((Noun::Version, name.clone())),
            fields: weight_and_zone(endpoint.weight, endpoint.zone.as_ref()),
        }));
        things.extend(pool.sources.iter().map(|source| Thing {
            noun: Noun::Endpoint,
            name: format!("{} of {name} in {region}", source.query),
            inside: Some((Noun::Version, name.clone())),
            fields: weight_and_zone(source.weight, source.zone.as_ref()),
        }));
    }
}

/// Each with what it is held to as a part of its name: to be held to another is another override.
fn forces<'a>(forces: &'a Forces, pool: &'a str) -> impl Iterator<Item = Thing> + 'a {
    let held = |name| Thing { noun: Noun::Override, name, inside: None, fields: Vec::new() };
    let endpoints = forces.endpoints.iter().map(move |(address, to)| format!("{address} of {pool} held {to}"));
    let breakers = forces.breakers.iter().map(move |(address, to)| format!("breaker of {address} of {pool} held {to}"));
    let breaker = forces.breaker.iter().map(move |to| format!("breaker of {pool} held {to}"));
    endpoints.chain(breakers).chain(breaker).map(held)
}

fn weight_and_zone(weight: Weight, zone: Option<&ZoneName>) -> Vec<(Cow<'static, str>, String)> {
    let zone = zone.map(|zone| ("zone", zone.to_string()));
    named([("weight", weight.to_string())].into_iter().chain(zone))
}

fn route(route: &Route, services: &[Service]) -> Thing {
    let service = &services[route.service];
    let mut fields = matches(&route.matches);
    fields.push(("service", service.name.to_string()));
    fields.extend(route.version.map(|version| ("version", service.versions[version].name.to_string())));
    fields.extend(route.capability.map(|asked| ("capability", capability(asked).to_owned())));
    fields.push(("priority", route.priority.as_str().to_owned()));
    Thing { noun: Noun::Route, name: route.name.clone(), inside: None, fields: named(fields) }
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
