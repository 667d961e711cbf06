//! Whether addresses can be found where the document says that they are.

use std::net::SocketAddr;
use std::time::Duration;

use super::judge::{Judge, repeated, section};
use crate::duration::write;
use crate::limit;
use crate::problem::{Code, Path, quote};
use crate::schema::Document;
use crate::schema::endpoint::{Endpoint, NamedEndpoints};
use crate::schema::service::Service;
use crate::validated::{Discovery, Query, Resolver, Source};
use crate::value::Weight;

/// No name is asked for more often, and no question is given less time.
const LEAST: Duration = Duration::from_millis(100);

/// No question is given more time: a source that waits is a source that does not ask elsewhere.
const MOST: Duration = Duration::from_secs(60);

pub(super) fn resolve(judge: &mut Judge<'_>, service: &Path, of: &Service) -> Discovery {
    let (ttl_min, ttl_max) = (of.discovery.ttl_min.0, of.discovery.ttl_max.0);
    let path = service.clone().field("discovery");
    let is_lost = |judge: &Judge<'_>, field: &str| judge.gaps.lost(&path, field);
    if ttl_min < LEAST && !is_lost(judge, "ttl_min") {
        let message = format!("{} is less than {}", write(ttl_min), write(LEAST));
        let hint = "a name that is asked for so often burdens its server and nobody is served better".to_owned();
        judge.report(Code::OutOfRange, path.clone().field("ttl_min"), message, Some(hint));
    } else if ttl_min > ttl_max && !is_lost(judge, "ttl_min") && !is_lost(judge, "ttl_max") {
        let message = format!("the floor {} is above the ceiling {}", write(ttl_min), write(ttl_max));
        let hint = "lower `ttl_min`, or raise `ttl_max`".to_owned();
        judge.report(Code::Conflict, path.clone().field("ttl_min"), message, Some(hint));
    }
    let resolved = Discovery { ttl_min, ttl_max };
    let asks = of.members().any(Endpoint::is_named) || !judge.knows_members(service, of);
    if resolved != Discovery::default() && !asks {
        report_unasked(judge, path, "no endpoint of the service is found by DNS");
    }
    resolved
}

/// What is said about questions where none is asked. Files are not asked for: they are looked at.
fn report_unasked(judge: &mut Judge<'_>, path: Path, message: &str) {
    let hint = "write an endpoint by its name, { dns: NAME, port: 8080 }, or remove it".to_owned();
    judge.report(Code::Conflict, path, message, Some(hint));
}

pub(super) fn resolver(judge: &mut Judge<'_>, document: &Document) -> Resolver {
    let (path, resolver) = (section("resolver"), &document.resolver);
    let timeout = resolver.timeout.0;
    if !(LEAST..=MOST).contains(&timeout) && !judge.gaps.lost(&path, "timeout") {
        let message = format!("{} is not between {} and {}", write(timeout), write(LEAST), write(MOST));
        judge.report(Code::OutOfRange, path.clone().field("timeout"), message, None);
    }
    let list = path.field("servers");
    let servers: Vec<SocketAddr> = resolver.servers.iter().map(|server| server.0).collect();
    if servers.len() > limit::DNS_SERVERS {
        let message = format!("there are {} servers; {} are the most", servers.len(), limit::DNS_SERVERS);
        judge.report(Code::OverLimit, list.clone(), message, None);
    }
    for (later, first, server) in repeated(servers.iter().copied().enumerate()) {
        let other = judge.place(list.clone().item(first));
        let message = format!("the server {server} is already {other}");
        judge.report(Code::DuplicateValue, list.clone().item(later), message, Some("remove it".to_owned()));
    }
    let resolved = Resolver { servers, timeout };
    if resolved != Resolver::default() && !may_ask(judge, document) {
        report_unasked(judge, section("resolver"), "no endpoint is found by DNS");
    }
    resolved
}

fn may_ask(judge: &Judge<'_>, document: &Document) -> bool {
    let list = section("services");
    let asks = |(at, service): (usize, &Service)| {
        service.members().any(Endpoint::is_named) || !judge.knows_members(&list.clone().item(at), service)
    };
    judge.gaps.is_lost(&list) || document.services.iter().enumerate().any(asks)
}

/// A source by DNS; nothing when it cannot be asked.
pub(super) fn named(judge: &mut Judge<'_>, path: &Path, endpoints: &NamedEndpoints) -> Option<Source> {
    let name = endpoints.dns.strip_suffix('.').unwrap_or(&endpoints.dns).to_ascii_lowercase();
    let (family, zone) = (endpoints.family, endpoints.zone.clone());
    if endpoints.srv {
        given_by_answer(judge, path, endpoints);
        return Some(Source { query: Query::Srv { name, family }, weight: Weight::ONE, zone });
    }
    let weight = endpoints.weight.unwrap_or(Weight::ONE);
    match endpoints.port {
        Some(port) => Some(Source { query: Query::Dns { name, port, family }, weight, zone }),
        None => {
            if !judge.gaps.lost(path, "port") && !judge.gaps.lost(path, "srv") && !judge.gaps.lost(path, "dns") {
                without_port(judge, path, &endpoints.dns);
            }
            None
        }
    }
}

/// What SRV records say must not be said beside them.
fn given_by_answer(judge: &mut Judge<'_>, path: &Path, endpoints: &NamedEndpoints) {
    let given = [("port", endpoints.port.is_some()), ("weight", endpoints.weight.is_some())];
    for (field, given) in given {
        if !given || judge.gaps.lost(path, field) {
            continue;
        }
        let message = format!("the {field} of each target is in the SRV record");
        let hint = format!("leave `{field}` out, or leave `srv` out and the name's addresses are asked for");
        judge.report(Code::Conflict, path.clone().field(field), message, Some(hint));
    }
}

fn without_port(judge: &mut Judge<'_>, path: &Path, name: &str) {
    let hint = if name.starts_with('_') {
        "a name such as _http._tcp.shop.internal has SRV records, with ports: write `srv: true`"
    } else {
        "write `port: 8080`, or `srv: true` if the name has SRV records, which say the port"
    };
    let message = format!("it is not said which port the addresses of {} have", quote(name));
    judge.report(Code::MissingField, path.clone(), message, Some(hint.to_owned()));
}
