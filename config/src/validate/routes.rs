//! Whether each route can match something and lead somewhere.

use std::collections::{BTreeMap, HashMap};

use super::cover;
use super::judge::{Judge, repeated, section};
use super::regex::path_regex;
use super::services::is_placed;
use crate::limit;
use crate::name::{ServiceName, VersionName};
use crate::problem::{Code, Path, quote};
use crate::schema::Document;
use crate::schema::route as written;
use crate::validated::{
    Capabilities, Capability, HostMatch, Match, PathMatch, Priority, Region, Route, Service, ValueMatch, Version,
};
use crate::value::Digest;

pub(super) fn resolve(
    judge: &mut Judge<'_>,
    document: &Document,
    regions: &[Region],
    services: &[Service],
) -> Vec<Route> {
    let targets = Targets::new(judge, document, services, regions);
    let mut regexes = 0;
    let mut routes = Vec::with_capacity(document.routes.len());
    for (index, route) in document.routes.iter().enumerate() {
        let path = section("routes").item(index);
        let matches = resolve_match(judge, &path.clone().field("match"), &route.matches, &mut regexes);
        let target = targets.find(judge, &path, route);
        let name = route.name.clone().unwrap_or_else(|| words(&matches));
        let (service, version) = target.unwrap_or_default();
        let route = Route { name, matches, service, version, capability: route.capability, priority: route.priority };
        if target.is_some() {
            targets.check_capability(judge, &path, &route);
            targets.check_priority(judge, &path, &route);
        }
        routes.push(route);
    }
    let twins = check_twins(judge, &routes);
    check_names(judge, document, &routes, &twins);
    check_cover(judge, &routes, &twins);
    routes
}

/// Services and versions by name, and what their regions serve.
struct Targets<'a> {
    services: &'a [Service],
    regions: &'a [Region],
    places: HashMap<&'a str, usize>,
    /// What is written in place of names that are lost.
    lost: Vec<Option<String>>,
    /// For each service, whether it is known where it has endpoints.
    placed: Vec<bool>,
    /// Whether it is known of all regions what they serve.
    serving: bool,
}

impl<'a> Targets<'a> {
    fn new(judge: &Judge<'_>, document: &Document, services: &'a [Service], regions: &'a [Region]) -> Self {
        let list = section("services");
        let named = services.iter().enumerate().rev().filter(|(place, _)| !judge.is_lost(&list, *place, "name"));
        let written = document.services.iter().enumerate();
        let region_name = |(index, region): (usize, &'a Region)| {
            (!judge.is_lost(&section("regions"), index, "name")).then(|| region.name.as_str())
        };
        let declared = regions.iter().enumerate().filter_map(region_name).collect();
        let is_clear = |index| !judge.gaps.is_damaged(&section("regions").item(index).field("capabilities"));
        Self {
            services,
            regions,
            places: named.map(|(place, service)| (service.name.as_str(), place)).collect(),
            lost: judge.gaps.lost_names(&list, services.len()),
            placed: written.map(|(index, service)| is_placed(judge, index, service, &declared)).collect(),
            serving: !judge.gaps.is_lost(&section("regions")) && (0..regions.len()).all(is_clear),
        }
    }

    /// The service and version that a route names, if both are there.
    fn find(&self, judge: &mut Judge<'_>, path: &Path, route: &written::Route) -> Option<(usize, Option<usize>)> {
        if judge.gaps.lost(path, "service") {
            return None;
        }
        let Some(service) = self.places.get(route.service.as_str()).copied() else {
            self.report_service(judge, path.clone().field("service"), &route.service);
            return None;
        };
        let Some(name) = &route.version else { return Some((service, None)) };
        let versions = &self.services[service].versions;
        let version = versions.iter().position(|version| version.name == *name);
        if version.is_none() {
            let versions = section("services").item(service).field("versions");
            report_version(judge, path.clone().field("version"), name, &self.services[service], &versions);
        }
        version.map(|version| (service, Some(version)))
    }

    fn report_service(&self, judge: &mut Judge<'_>, path: Path, name: &ServiceName) {
        if judge.gaps.is_lost(&section("services")) || judge.may_be_lost(name.as_str(), &self.lost) {
            return;
        }
        let names = self.services.iter().map(|service| service.name.as_str());
        let nearest = judge.suggestions.hint(name.as_str(), names.filter(|name| self.places.contains_key(name)));
        let hint = nearest.unwrap_or_else(|| "declare it under `services`".to_owned());
        judge.report(
            Code::DanglingReference,
            path,
            format!("there is no service {}", quote(name.as_str())),
            Some(hint),
        );
    }

    /// Whether anything ever waits for the service.
    fn check_priority(&self, judge: &mut Judge<'_>, path: &Path, route: &Route) {
        let service = &self.services[route.service];
        let limits = &service.limits;
        let is_known = !judge.gaps.is_damaged(&section("services").item(route.service).field("limits"));
        if route.priority == Priority::Normal || !is_known {
            return;
        }
        let (why, hint) = if limits.pool.requests.is_none() && limits.endpoint.requests.is_none() {
            ("its `limits` have no bound on requests", "give the service `limits: { pool: { requests: .. } }`")
        } else if limits.pool.pending == 0 {
            ("its `limits.pool.pending` is 0", "let that be 1 or more")
        } else {
            return;
        };
        let message = format!("no request waits for {}: {why}", service.name);
        judge.report(Code::Conflict, path.clone().field("priority"), message, Some(format!("{hint}, or remove it")));
    }

    /// Whether what the route asks for is served in some region where its target has endpoints.
    fn check_capability(&self, judge: &mut Judge<'_>, path: &Path, route: &Route) {
        let service = &self.services[route.service];
        let is_asked_for = is_known(judge, path, "capability")
            && (route.capability.is_some() || !judge.gaps.is_damaged(&path.clone().field("match")));
        if !self.serving || !self.placed[route.service] || !is_asked_for || service.versions.is_empty() {
            return;
        }
        let versions =
            route.version.map_or(service.versions.as_slice(), |version| &service.versions[version..=version]);
        let served = self.served(versions);
        let missing = asked(route).into_iter().filter(|capability| !served.serves(*capability)).collect::<Vec<_>>();
        let any_method = route.capability.is_none() && route.matches.methods.is_empty();
        if missing.is_empty() || (any_method && missing.len() < 2) {
            return;
        }
        let missing: Vec<_> = missing.into_iter().map(word).collect();
        let place = if route.capability.is_some() { path.clone().field("capability") } else { path.clone() };
        let message = format!("no region with endpoints of {} serves {}", service.name, missing.join(" or "));
        let hint = "give the capability to a region, or the service endpoints where it is served".to_owned();
        judge.report(Code::UnservedCapability, place, message, Some(hint));
    }

    fn served(&self, versions: &[Version]) -> Capabilities {
        let regions =
            versions.iter().flat_map(|version| &version.pools).map(|pool| self.regions[pool.region].capabilities);
        let none = Capabilities { read: false, write: false, admin: false };
        regions.fold(none, |sum, region| Capabilities {
            read: sum.read || region.read,
            write: sum.write || region.write,
            admin: sum.admin || region.admin,
        })
    }
}

fn is_known(judge: &Judge<'_>, path: &Path, field: &str) -> bool {
    !judge.gaps.lost(path, field)
}

/// Whether all of a route's match is known. One that misses a predicate would seem to match more than was meant.
fn is_match_known(judge: &Judge<'_>, index: usize) -> bool {
    judge.gaps.is_empty() || !judge.gaps.is_damaged(&section("routes").item(index).field("match"))
}

/// Every kind of request that the route may let through.
fn asked(route: &Route) -> Vec<Capability> {
    if let Some(capability) = route.capability {
        return vec![capability];
    }
    let is_read = |method: &String| matches!(method.as_str(), "GET" | "HEAD" | "OPTIONS");
    let methods = &route.matches.methods;
    let mut asked = Vec::new();
    if methods.is_empty() || methods.iter().any(is_read) {
        asked.push(Capability::Read);
    }
    if methods.is_empty() || !methods.iter().all(is_read) {
        asked.push(Capability::Write);
    }
    asked
}

const fn word(capability: Capability) -> &'static str {
    match capability {
        Capability::Read => "read",
        Capability::Write => "write",
        Capability::Admin => "admin",
    }
}

/// `versions` is the way to the versions of the service.
fn report_version(judge: &mut Judge<'_>, path: Path, name: &VersionName, service: &Service, versions: &Path) {
    let lost = judge.gaps.lost_names(versions, service.versions.len());
    let is_known = !service.versions.is_empty() && !judge.gaps.is_lost(versions);
    if !is_known || judge.may_be_lost(name.as_str(), &lost) {
        return;
    }
    let nearest = judge.suggestions.hint(name.as_str(), service.versions.iter().map(|version| version.name.as_str()));
    let hint = nearest.unwrap_or_else(|| format!("declare it under the versions of {}", service.name));
    let message = format!("the service {} has no version {}", service.name, quote(name.as_str()));
    judge.report(Code::DanglingReference, path, message, Some(hint));
}

fn resolve_match(judge: &mut Judge<'_>, path: &Path, matches: &written::Match, regexes: &mut usize) -> Match {
    let mut methods = matches.methods.clone();
    for (later, _, method) in repeated(matches.methods.iter().enumerate()) {
        let message = format!("the method {method} stands here twice");
        judge.report(
            Code::DuplicateValue,
            path.clone().field("methods").item(later),
            message,
            Some("remove one of them".to_owned()),
        );
    }
    methods.sort();
    Match {
        host: resolve_host(matches.host.as_deref()),
        path: resolve_path(judge, &path.clone().field("path"), &matches.path, regexes),
        methods,
        headers: resolve_headers(judge, &path.clone().field("headers"), &matches.headers),
        query: matches.query.iter().map(|(name, value)| resolve_value(name.clone(), value)).collect(),
    }
}

fn resolve_host(host: Option<&str>) -> HostMatch {
    let Some(host) = host else { return HostMatch::Any };
    let host = host.to_ascii_lowercase();
    match host.strip_prefix("*.") {
        Some(suffix) => HostMatch::Wildcard(suffix.to_owned()),
        None => HostMatch::Exact(host),
    }
}

fn resolve_path(judge: &mut Judge<'_>, place: &Path, path: &written::Path, regexes: &mut usize) -> PathMatch {
    match path {
        written::Path::Plain(path) | written::Path::Chosen(written::ChosenPath::Prefix(path)) => {
            let trimmed = path.trim_end_matches('/');
            PathMatch::Prefix(if trimmed.is_empty() { "/".to_owned() } else { trimmed.to_owned() })
        }
        written::Path::Chosen(written::ChosenPath::Exact(path)) => PathMatch::Exact(path.clone()),
        written::Path::Chosen(written::ChosenPath::Regex(text)) => {
            *regexes += 1;
            check_regex(judge, place.clone().field("regex"), text, *regexes);
            PathMatch::Regex(text.clone())
        }
    }
}

fn check_regex(judge: &mut Judge<'_>, place: Path, text: &str, count: usize) {
    if count > limit::REGEXES {
        if count == limit::REGEXES + 1 {
            let message = format!("there are more than {} routes by regular expression", limit::REGEXES);
            judge.report(
                Code::OverLimit,
                place,
                message,
                Some("they are tried one after the other: use prefixes".to_owned()),
            );
        }
        return;
    }
    match path_regex(text) {
        Ok(_) => {}
        Err(regex::Error::CompiledTooBig(_)) => {
            let message = format!("the regular expression {} is too large", quote(text));
            let hint = format!("at most {} bytes, and small repetitions", limit::REGEX_BYTES);
            judge.report(Code::BadRegex, place, message, Some(hint));
        }
        Err(error) => {
            let told = error.to_string();
            let reason = told.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            judge.report(Code::BadRegex, place, format!("{} is not a regular expression: {reason}", quote(text)), None);
        }
    }
}

fn resolve_headers(
    judge: &mut Judge<'_>,
    path: &Path,
    headers: &BTreeMap<String, written::ValueMatch>,
) -> Vec<ValueMatch> {
    let mut resolved = BTreeMap::new();
    for (name, value) in headers {
        let lower = name.to_ascii_lowercase();
        let value = resolve_value(lower.clone(), value);
        if resolved.insert(lower, value).is_some() {
            let message = format!("the header {} stands here twice", quote(name));
            let hint = "names of headers differ by more than case: remove one of them".to_owned();
            judge.report_key(Code::DuplicateKey, path.clone().field(name), message, hint);
        }
    }
    resolved.into_values().collect()
}

fn resolve_value(name: String, value: &written::ValueMatch) -> ValueMatch {
    let value = match value {
        written::ValueMatch::Equals(value) => Some(value.clone()),
        written::ValueMatch::Present(_) => None,
    };
    ValueMatch { name, value }
}

/// The match in words: `GET|HEAD *.example.com/api [x-debug] [?page: 2]`; `=/api` is an exact path, `~/a.*` an expression.
fn words(matches: &Match) -> String {
    let mut words = matches.methods.join("|");
    if !words.is_empty() {
        words.push(' ');
    }
    words.push_str(&match &matches.host {
        HostMatch::Any => "*".to_owned(),
        HostMatch::Exact(host) => host.clone(),
        HostMatch::Wildcard(suffix) => format!("*.{suffix}"),
    });
    words.push_str(&match &matches.path {
        PathMatch::Prefix(path) => path.clone(),
        PathMatch::Exact(path) => format!("={path}"),
        PathMatch::Regex(text) => format!("~{text}"),
    });
    let headers = matches.headers.iter().map(|header| ("", header));
    for (mark, predicate) in headers.chain(matches.query.iter().map(|parameter| ("?", parameter))) {
        let value = predicate.value.as_ref().map_or_else(String::new, |value| format!(": {value}"));
        words.push_str(&format!(" [{mark}{}{value}]", predicate.name));
    }
    shortened(words.replace(char::is_control, " "))
}

/// Long words keep their beginning and are told apart by their digest.
fn shortened(words: String) -> String {
    if words.len() <= limit::ROUTE_NAME_BYTES {
        return words;
    }
    let digest = Digest::of(words.as_bytes()).to_string();
    let end = words.floor_char_boundary(limit::ROUTE_NAME_BYTES - 20);
    format!("{}...#{}", &words[..end], &digest[..16])
}

/// Routes that match the same as an earlier one, by their places.
fn check_twins(judge: &mut Judge<'_>, routes: &[Route]) -> HashMap<usize, usize> {
    let mut twins = HashMap::new();
    let known = routes.iter().enumerate().filter(|(index, _)| is_match_known(judge, *index));
    for (later, first, _) in repeated(known.map(|(index, route)| (index, &route.matches))) {
        let other = judge.place(section("routes").item(first));
        let hint = "the earlier one always wins: remove one of them, or make one more exact".to_owned();
        judge.report(
            Code::SameMatch,
            section("routes").item(later),
            format!("the route matches the same as {other}"),
            Some(hint),
        );
        twins.insert(later, first);
    }
    twins
}

fn check_names(judge: &mut Judge<'_>, document: &Document, routes: &[Route], twins: &HashMap<usize, usize>) {
    let is_named = |judge: &Judge<'_>, index: usize| {
        let path = section("routes").item(index);
        is_known(judge, &path, "name") && (document.routes[index].name.is_some() || is_match_known(judge, index))
    };
    let named = routes.iter().enumerate().filter(|(index, _)| is_named(judge, *index));
    for (later, first, name) in repeated(named.map(|(index, route)| (index, route.name.as_str()))) {
        let is_written = document.routes[later].name.is_some();
        // Twins have the same default name too; that they are twins says it all.
        if !is_written && twins.contains_key(&later) {
            continue;
        }
        let other = judge.place(section("routes").item(first));
        let path = section("routes").item(later);
        let path = if is_written { path.field("name") } else { path };
        let message = format!("the route name {} is taken by {other}", quote(name));
        judge.report(Code::DuplicateName, path, message, Some("give it another name".to_owned()));
    }
}

fn check_cover(judge: &mut Judge<'_>, routes: &[Route], twins: &HashMap<usize, usize>) {
    for (hidden, by) in cover::hidden(routes, |index| is_match_known(judge, index)) {
        if twins.contains_key(&hidden) {
            continue;
        }
        let other = judge.place(section("routes").item(by));
        let message = format!("no request reaches the route: {other} takes all of them");
        let hint = "put it before that route, make it more exact, or remove it".to_owned();
        judge.report(Code::UnreachableRoute, section("routes").item(hidden), message, Some(hint));
    }
}
