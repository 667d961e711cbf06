//! A proven document written again, with everything that its author left to the defaults.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use crate::address::Address;
use crate::bound::{Auto, Most, MostThatFits, Off, Rate, RateOrOff, SizeOrOff, SizeThatFits, Times, TimesOrOff};
use crate::duration::{Span, SpanOrZero, Timeout};
use crate::name::{RegionName, ServiceName, VersionName};
use crate::schema::breaker::Breakers;
use crate::schema::discovery::{Discovery, Resolver};
use crate::schema::document::Document;
use crate::schema::drain::Drain;
use crate::schema::endpoint::{Endpoint, Endpoints, ListedEndpoints, NamedEndpoints, WeightedEndpoint};
use crate::schema::health_check::HealthCheck;
use crate::schema::listener::{Limits, Listener};
use crate::schema::origin::{ClientCertificate, Connections, OriginTls};
use crate::schema::paths::Paths;
use crate::schema::process::ProcessLimits;
use crate::schema::region::Region;
use crate::schema::retries::Retries;
use crate::schema::route::{ChosenPath, Match, Path, Present, Route, ValueMatch};
use crate::schema::service::Service;
use crate::schema::service_limits::ServiceLimits;
use crate::schema::split::{Split, StickyKey};
use crate::schema::timeouts::Timeouts;
use crate::schema::tls::{Certificate, ClientAuth, Tls};
use crate::schema::version::Version;
use crate::share::Share;
use crate::size::Size;
use crate::tree::escape_references;
use crate::validated::{self, Bound, Capability, Forces, HostMatch, PathMatch, Protocol, Query, Validated};
use crate::value::Digest;

/// The document as an operator would write it who trusts no default. It validates to the same digest, in any environment.
#[must_use]
pub fn effective_yaml(validated: &Validated) -> String {
    let mut yaml = String::new();
    let value = serde_json::to_value(document(validated)).expect("the schema has text keys only");
    write_block(&mut yaml, &value, 0, false);
    yaml
}

/// The digest of the effective document: its canonical JSON, with fields in the order of the schema and keys sorted, and after it
/// what operators hold, which has no place in a document.
pub(crate) fn digest(validated: &Validated) -> Digest {
    let mut canonical = serde_json::to_vec(&document(validated)).expect("the schema has text keys only");
    let forces: Vec<_> = forces(validated).collect();
    if !forces.is_empty() {
        canonical.extend(serde_json::to_vec(&forces).expect("addresses are text keys"));
    }
    Digest::of(&canonical)
}

/// What is held in each pool where something is.
fn forces(validated: &Validated) -> impl Iterator<Item = (&ServiceName, &VersionName, &RegionName, &Forces)> {
    let versions = validated.services.iter().flat_map(|service| service.versions.iter().map(move |one| (service, one)));
    let pools = versions.flat_map(|(service, version)| version.pools.iter().map(move |pool| (service, version, pool)));
    let held = pools.filter(|(_, _, pool)| !pool.forces.is_empty());
    held.map(|(service, version, pool)| {
        (&service.name, &version.name, &validated.regions[pool.region].name, &pool.forces)
    })
}

fn document(validated: &Validated) -> Document {
    let regions = &validated.regions;
    Document {
        listeners: validated.listeners.iter().map(listener).collect(),
        regions: regions.iter().map(region).collect(),
        services: validated.services.iter().map(|one| service(one, regions)).collect(),
        routes: validated.routes.iter().map(|one| route(one, &validated.services)).collect(),
        drain: drain(&validated.drain),
        limits: process_limits(&validated.limits),
        resolver: Resolver::from(&validated.resolver),
    }
}

const fn process_limits(limits: &validated::ProcessLimits) -> ProcessLimits {
    ProcessLimits {
        connections: match limits.connections {
            Bound::Auto => MostThatFits::Auto(Auto::Auto),
            Bound::Off => MostThatFits::Off(Off::Off),
            Bound::At(count) => MostThatFits::Count(count),
        },
        memory: match limits.memory {
            Bound::Auto => SizeThatFits::Auto,
            Bound::Off => SizeThatFits::Off,
            Bound::At(bytes) => SizeThatFits::Size(Size::bytes(bytes)),
        },
        probes: TimesOrOff(match limits.probes {
            Some(count) => Some(Times(count)),
            None => None,
        }),
    }
}

const fn drain(drain: &validated::Drain) -> Drain {
    Drain { delay: SpanOrZero(drain.delay), deadline: Span(drain.deadline), linger: SpanOrZero(drain.linger) }
}

fn listener(listener: &validated::Listener) -> Listener {
    let limits = &listener.limits;
    let rate = |bytes: Option<u64>| RateOrOff(bytes.map(|bytes| Rate(Size::bytes(bytes))));
    Listener {
        name: listener.name.clone(),
        address: Address(listener.address),
        limits: Limits {
            connections: limits.connections,
            connections_per_address: Most::of(limits.connections_per_address),
            header_bytes: Size::bytes(limits.header_bytes.into()),
            header_count: limits.header_count,
            header_timeout: Span(limits.header_timeout),
            keep_alive: Span(limits.keep_alive),
            requests_per_connection: Most::of(limits.requests_per_connection),
            body_bytes: SizeOrOff(limits.body_bytes.map(Size::bytes)),
            receive_min_rate: rate(limits.receive_min_rate),
            send_min_rate: rate(limits.send_min_rate),
            min_rate_grace: Span(limits.min_rate_grace),
        },
        tls: listener.tls.as_ref().map(tls),
        proxy_protocol: listener.proxy_protocol,
        trusted_proxies: listener.trusted_proxies.clone(),
        forwarded: listener.forwarded,
        paths: Paths {
            dot_segments: listener.paths.dot_segments,
            encoded_slashes: listener.paths.encoded_slashes,
            merge_slashes: listener.paths.merge_slashes,
        },
    }
}

fn tls(tls: &validated::Tls) -> Tls {
    let pair = |pair: &validated::Certificate| Certificate { cert: pair.cert.clone(), key: pair.key.clone() };
    let client_auth = |auth: &validated::ClientAuth| ClientAuth { ca: auth.ca.clone(), mode: auth.mode };
    Tls {
        certificates: tls.certificates.iter().map(pair).collect(),
        require_sni: tls.require_sni,
        min_version: tls.min_version,
        client_auth: tls.client_auth.as_ref().map(client_auth),
        http2: tls.http2,
        handshake_timeout: Span(tls.handshake_timeout),
        host_mismatch: tls.host_mismatch,
    }
}

fn region(region: &validated::Region) -> Region {
    let all = [Capability::Read, Capability::Write, Capability::Admin];
    Region {
        name: region.name.clone(),
        role: region.role,
        weight: Some(region.weight),
        capabilities: all.into_iter().filter(|capability| region.capabilities.serves(*capability)).collect(),
    }
}

fn service(service: &validated::Service, regions: &[validated::Region]) -> Service {
    let timeouts = &service.timeouts;
    Service {
        name: service.name.clone(),
        split: split(&service.split),
        balancer: (&service.balancer).into(),
        slow_start: service.slow_start.as_ref().map(Into::into),
        zones: service.zones.as_ref().map(Into::into),
        session: service.session.as_ref().map(Into::into),
        panic: service.panic.as_ref().map(Into::into),
        outlier_ejection: service.outlier_ejection.as_ref().map(Into::into),
        breaker: breakers(&service.breaker),
        limits: ServiceLimits::from(&service.limits),
        fallback: service.fallback,
        protocol: service.protocol,
        tls: service.tls.as_ref().map(origin_tls),
        connections: connections(service),
        health_check: service.health_check.as_ref().map(HealthCheck::from),
        discovery: Discovery::from(&service.discovery),
        timeouts: Timeouts {
            connect: Span(timeouts.connect),
            per_try: Timeout(timeouts.per_try),
            idle: Timeout(timeouts.idle),
            total: Timeout(timeouts.total),
            tunnel_idle: Timeout(timeouts.tunnel_idle),
        },
        retries: Retries::from(&service.retries),
        versions: Some(service.versions.iter().map(|one| version(one, regions)).collect()),
        endpoints: None,
    }
}

fn breakers(breakers: &validated::Breakers) -> Option<Breakers> {
    (breakers.endpoint.is_some() || breakers.pool.is_some()).then(|| breakers.into())
}

fn origin_tls(tls: &validated::OriginTls) -> OriginTls {
    let pair =
        |pair: &validated::ClientCertificate| ClientCertificate { cert: pair.cert.clone(), key: pair.key.clone() };
    OriginTls {
        server_name: tls.server_name.clone(),
        ca: tls.ca.clone(),
        client_certificate: tls.client_certificate.as_ref().map(pair),
    }
}

fn connections(service: &validated::Service) -> Connections {
    let connections = &service.connections;
    Connections {
        idle: connections.idle,
        idle_timeout: Span(connections.idle_timeout),
        streams: (service.protocol == Protocol::Http2).then_some(connections.streams),
    }
}

fn split(split: &validated::Split) -> Split {
    match split {
        validated::Split::Random => Split::Random,
        validated::Split::Sticky(key) => Split::Sticky(match key {
            validated::StickyKey::Header(name) => StickyKey::Header(name.clone()),
            validated::StickyKey::Cookie(name) => StickyKey::Cookie(name.clone()),
            validated::StickyKey::ClientAddress => StickyKey::ClientAddress,
        }),
    }
}

fn version(version: &validated::Version, regions: &[validated::Region]) -> Version {
    let pool = |pool: &validated::Pool| {
        let weighted = |one: &validated::Endpoint| WeightedEndpoint {
            address: Address(one.address),
            weight: one.weight,
            zone: one.zone.clone(),
        };
        let endpoints = pool.endpoints.iter().map(weighted).map(Endpoint::from);
        (regions[pool.region].name.to_string(), endpoints.chain(pool.sources.iter().map(source)).collect())
    };
    let endpoints = Endpoints::ByRegion(version.pools.iter().map(pool).collect());
    Version { name: version.name.clone(), weight: version.weight, endpoints }
}

fn source(source: &validated::Source) -> Endpoint {
    let (dns, port, srv, family) = match &source.query {
        Query::File { path } => {
            return Endpoint::Listed(ListedEndpoints { file: path.clone(), zone: source.zone.clone() });
        }
        Query::Dns { name, port, family } => (name.clone(), Some(*port), false, *family),
        Query::Srv { name, family } => (name.clone(), None, true, *family),
    };
    let weight = (!srv).then_some(source.weight);
    Endpoint::Named(NamedEndpoints { dns, port, srv, family, weight, zone: source.zone.clone() })
}

fn route(route: &validated::Route, services: &[validated::Service]) -> Route {
    let service = &services[route.service];
    Route {
        name: Some(route.name.clone()),
        matches: Match {
            host: match &route.matches.host {
                HostMatch::Any => None,
                HostMatch::Exact(host) => Some(host.clone()),
                HostMatch::Wildcard(suffix) => Some(format!("*.{suffix}")),
            },
            path: Path::Chosen(match &route.matches.path {
                PathMatch::Exact(path) => ChosenPath::Exact(path.clone()),
                PathMatch::Prefix(path) => ChosenPath::Prefix(path.clone()),
                PathMatch::Regex(text) => ChosenPath::Regex(text.clone()),
            }),
            methods: route.matches.methods.clone(),
            headers: values(&route.matches.headers),
            query: values(&route.matches.query),
        },
        service: service.name.clone(),
        version: route.version.map(|version| service.versions[version].name.clone()),
        capability: route.capability,
        priority: route.priority,
    }
}

fn values(predicates: &[validated::ValueMatch]) -> BTreeMap<String, ValueMatch> {
    let value = |predicate: &validated::ValueMatch| match &predicate.value {
        Some(value) => ValueMatch::Equals(value.clone()),
        None => ValueMatch::Present(Present { present: true }),
    };
    predicates.iter().map(|predicate| (predicate.name.clone(), value(predicate))).collect()
}

/// Writes a value in block style. `in_list`: the line already has its dash, so the first field goes on it.
fn write_block(yaml: &mut String, value: &Json, depth: usize, in_list: bool) {
    match value {
        Json::Object(fields) => {
            for (place, (name, value)) in fields.iter().enumerate() {
                if place > 0 || !in_list {
                    indent(yaml, depth);
                }
                yaml.push_str(&scalar(name));
                yaml.push(':');
                write_value(yaml, value, depth);
            }
        }
        Json::Array(items) => {
            for item in items {
                indent(yaml, depth);
                yaml.push('-');
                if is_block(item) {
                    yaml.push(' ');
                    write_block(yaml, item, depth + 1, true);
                } else {
                    write_value(yaml, item, depth);
                }
            }
        }
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => write_value(yaml, value, depth),
    }
}

/// Writes what stands after a key or a dash.
fn write_value(yaml: &mut String, value: &Json, depth: usize) {
    if is_block(value) {
        yaml.push('\n');
        write_block(yaml, value, depth + 1, false);
    } else {
        yaml.push(' ');
        yaml.push_str(&inline(value));
        yaml.push('\n');
    }
}

/// Whether a value has lines of its own: lists of words do not.
fn is_block(value: &Json) -> bool {
    match value {
        Json::Object(fields) => !fields.is_empty(),
        Json::Array(items) => items.iter().any(|item| item.is_object() || item.is_array()),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => false,
    }
}

fn inline(value: &Json) -> String {
    match value {
        Json::String(text) => scalar(&escape_references(text)),
        Json::Array(items) => format!("[{}]", items.iter().map(inline).collect::<Vec<_>>().join(", ")),
        Json::Object(_) => "{}".to_owned(),
        Json::Null | Json::Bool(_) | Json::Number(_) => value.to_string(),
    }
}

/// A text without quotes when no reader of YAML could take it for anything else, else in JSON's quotes.
fn scalar(text: &str) -> String {
    const WORDS: [&str; 9] = ["true", "false", "null", "yes", "no", "on", "y", "n", "nan"];
    let starts_plain = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/');
    let is_plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'/'));
    let is_word = WORDS.contains(&text.to_ascii_lowercase().as_str());
    let has_unit = crate::duration::parse(text).is_ok()
        || [
            text.parse::<Size>().is_ok(),
            text.parse::<Rate>().is_ok(),
            text.parse::<Share>().is_ok(),
            text.parse::<Times>().is_ok(),
        ]
        .contains(&true);
    if (starts_plain && is_plain && !is_word) || has_unit { text.to_owned() } else { Json::from(text).to_string() }
}

fn indent(yaml: &mut String, depth: usize) {
    yaml.extend(std::iter::repeat_n("  ", depth));
}
