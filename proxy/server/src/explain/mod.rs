//! What would become of a request, and why, as data: the same for the command and for machines.
//!
//! Every rule is asked of the core; none is told here again. Offline every endpoint counts as verified; live it is what this
//! process runs, with the endpoints as they are now.

mod flow;
mod question;
mod request;
mod retries;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use sluice_config::Validated;
use sluice_config::name::ZoneName;
use sluice_config::validated::{Capability, Listener, Region, Role, Route, StickyKey};
use sluice_config::value::RevisionId;
use sluice_proxy_core::breaker;
use sluice_proxy_core::endpoint::Registry;
use sluice_proxy_core::place::capability_of;
use sluice_proxy_core::route::{BadRegex, Finding, Miss, RouteTable};
use sluice_proxy_core::service::{Candidate, Obstacle, Service, identities};

use crate::h1::Refused;
use crate::live::Live;

use flow::Flow;
pub use question::Question;
use request::Request;
pub use request::{Header, Typed};

/// What becomes of a request.
#[derive(Debug, Serialize, Deserialize)]
pub struct Explanation {
    /// What runs. Absent: it is explained offline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<RevisionId>,
    /// The request in a line.
    pub request: String,
    /// Present: the proxy answers this itself and looks for no route.
    pub refused: Option<Refusal>,
    /// Routes whose host and path match, in the order of precedence.
    pub considered: Vec<Considered>,
    /// Absent, and nothing refused: no route answers, and the client gets 404.
    pub answer: Option<Answer>,
}

/// Why the proxy takes a request to no route.
#[derive(Debug, Serialize, Deserialize)]
pub struct Refusal {
    /// What the client gets.
    pub status: u16,
    /// The same word as in `sluice_requests_refused_total`.
    pub reason: Cow<'static, str>,
}

/// A route that was looked at.
#[derive(Debug, Serialize, Deserialize)]
pub struct Considered {
    /// Its name.
    pub route: String,
    /// Whether it answers.
    pub chosen: bool,
    /// Why, or why not.
    pub why: String,
}

/// Who answers.
#[derive(Debug, Serialize, Deserialize)]
pub struct Answer {
    /// The route's name.
    pub route: String,
    /// The service's name.
    pub service: String,
    /// What a region must serve for it.
    pub capability: Capability,
    /// `route` or `method`.
    pub capability_by: Cow<'static, str>,
    /// How a version is chosen.
    pub split: String,
    /// How often it is tried, and after what.
    pub retries: String,
    /// Every region of the document.
    pub regions: Vec<Placed>,
    /// Every endpoint of the service.
    pub endpoints: Vec<Reached>,
    /// Requests that no endpoint gets as things stand. Offline, where that is not known, nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unanswered: Vec<Unanswered>,
    /// Where further endpoints are found; offline nobody is asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<Asked>,
}

/// Requests that no endpoint gets.
#[derive(Debug, Serialize, Deserialize)]
pub struct Unanswered {
    /// The version that they are assigned to. Absent: none.
    pub version: Option<String>,
    /// The region that they are assigned to. Absent: none.
    pub region: Option<String>,
    /// Of the requests like this one, 0 to 1.
    pub share: f64,
    /// What the client gets.
    pub status: u16,
    /// The same word as in `sluice_failures_total`.
    pub reason: Cow<'static, str>,
    /// Why.
    pub why: Cow<'static, str>,
}

/// A source of endpoints.
#[derive(Debug, Serialize, Deserialize)]
pub struct Asked {
    /// What is asked.
    pub source: String,
    /// Where its endpoints are.
    pub region: String,
    /// Of which version.
    pub version: String,
}

/// A region and what it gets of such requests.
#[derive(Debug, Serialize, Deserialize)]
pub struct Placed {
    /// Its name.
    pub region: String,
    /// What it is for.
    pub role: Role,
    /// Of the requests like this one, 0 to 1.
    pub share: f64,
    /// Why it gets none.
    pub why_not: Option<Cow<'static, str>>,
    /// What each version gets of the region's.
    pub versions: Vec<Version>,
}

/// A version and what it gets.
#[derive(Debug, Serialize, Deserialize)]
pub struct Version {
    /// Its name.
    pub version: String,
    /// Of its region's requests, 0 to 1.
    pub share: f64,
}

/// An endpoint that may be reached, or why not.
#[derive(Debug, Serialize, Deserialize)]
pub struct Reached {
    /// Its address.
    pub endpoint: String,
    /// Where it is.
    pub region: String,
    /// Of which version.
    pub version: String,
    /// Of the requests like this one, 0 to 1.
    pub share: f64,
    /// Why it gets none.
    pub why_not: Option<Cow<'static, str>>,
}

/// What the explanation is made from.
#[derive(Clone, Copy)]
struct Ground<'a> {
    document: &'a Validated,
    table: &'a RouteTable,
    /// What runs; absent: nothing does.
    live: Option<&'a Live>,
}

impl Explanation {
    /// What the document alone says: every endpoint counts as verified. `listener`: the one that the client comes to.
    ///
    /// # Errors
    /// A route cannot be compiled.
    pub fn offline(document: &Validated, listener: &Listener, typed: &Typed<'_>) -> Result<Self, BadRegex> {
        let table = RouteTable::build(&document.routes)?;
        Ok(Self::of(Ground { document, table: &table, live: None }, listener, typed))
    }

    /// What this process would do now.
    pub(crate) fn live(live: &Live, listener: &Listener, typed: &Typed<'_>) -> Self {
        Self::of(Ground { document: &live.document, table: &live.table, live: Some(live) }, listener, typed)
    }

    /// Asks the proxy whether it takes the request, and the route table and the service what becomes of it.
    fn of(ground: Ground<'_>, listener: &Listener, typed: &Typed<'_>) -> Self {
        match typed.judge(listener) {
            Ok(request) => Self::routed(ground, &request),
            Err(Refused { status, reason }) => Self {
                revision: ground.live.map(|live| live.id),
                request: typed.told(),
                refused: Some(Refusal { status, reason: reason.into() }),
                considered: Vec::new(),
                answer: None,
            },
        }
    }

    fn routed(ground: Ground<'_>, request: &Request) -> Self {
        let routes = &ground.document.routes;
        let found = ground.table.explain(&request.view());
        let chosen = found.iter().find(|considered| considered.finding == Finding::Chosen);
        let considered = found.iter().map(|considered| Considered {
            route: routes[considered.route].name.clone(),
            chosen: considered.finding == Finding::Chosen,
            why: words(considered.finding),
        });
        Self {
            revision: ground.live.map(|live| live.id),
            request: request.told(),
            refused: None,
            considered: considered.collect(),
            answer: chosen.map(|chosen| ground.answer(&routes[chosen.route], request)),
        }
    }
}

/// The listener of this name, or the first.
///
/// # Errors
/// There is none of this name, in words.
pub fn listener<'a>(document: &'a Validated, name: Option<&str>) -> Result<&'a Listener, String> {
    let all = &document.listeners;
    match name {
        None => Ok(all.first().expect("a proven document has a listener")),
        Some(name) => all.iter().find(|listener| listener.name.as_str() == name).ok_or_else(|| {
            let names: Vec<_> = all.iter().map(|listener| listener.name.as_str()).collect();
            format!("the document has no listener `{name}`; it has {}", names.join(", "))
        }),
    }
}

fn words(finding: Finding<'_>) -> String {
    match finding {
        Finding::Chosen => "it is the first whose predicates hold".to_owned(),
        Finding::Outranked => "it would answer, but a more specific or earlier one does".to_owned(),
        Finding::Missed(Miss::Method) => "the method is none of those listed".to_owned(),
        Finding::Missed(Miss::Header(name)) => format!("the header `{name}` is missing or has another value"),
        Finding::Missed(Miss::Query(name)) => format!("the parameter `{name}` is missing or has another value"),
    }
}

impl Ground<'_> {
    fn answer(&self, route: &Route, request: &Request) -> Answer {
        match self.live {
            Some(live) => {
                let service = &live.services[route.service].core;
                answered(self.document, (service, live.zone.as_ref()), route, request)
            }
            None => {
                let answer = answered(self.document, (&offline(self.document, route.service), None), route, request);
                Answer { unanswered: Vec::new(), ..answer }
            }
        }
    }
}

/// A service of which nothing is known but the document.
fn offline(document: &Validated, service: usize) -> Service {
    let regions: Arc<[Region]> = document.regions.clone().into();
    // Without a health check an endpoint counts as verified.
    let all = identities(&regions, &document.services).map(|(id, _)| (id, false));
    let registry = Registry::default().carry(all);
    Service::new(&regions, &document.services[service], &registry)
}

fn answered(
    document: &Validated,
    (service, zone): (&Service, Option<&ZoneName>),
    route: &Route,
    request: &Request,
) -> Answer {
    let (capability, capability_by) = match route.capability {
        Some(capability) => (capability, "route"),
        None => (capability_of(request.method()), "method"),
    };
    let sources = sources(document, route);
    let (now, weights) = (Instant::now(), weights(document, route));
    let case = Case { service, zone, now, weights, capability, pinned: route.version, sources: &sources };
    let key = service.sticky().and_then(|by| request.key(by));
    let retries = retries::words(&document.services[route.service].retries, request.method());
    let answer = case.answer(route, capability_by, key.as_deref());
    Answer { retries, sources, ..answer }
}

fn sources(document: &Validated, route: &Route) -> Vec<Asked> {
    let mut all = Vec::new();
    for version in &document.services[route.service].versions {
        for pool in &version.pools {
            let region = &document.regions[pool.region].name;
            all.extend(pool.sources.iter().map(|source| Asked {
                source: source.query.to_string(),
                region: region.to_string(),
                version: version.name.to_string(),
            }));
        }
    }
    all
}

fn weights(document: &Validated, route: &Route) -> Vec<u32> {
    document.services[route.service].versions.iter().map(|version| version.weight.get()).collect()
}

/// One kind of request to one service.
struct Case<'a> {
    service: &'a Service,
    zone: Option<&'a ZoneName>,
    now: Instant,
    weights: Vec<u32>,
    capability: Capability,
    pinned: Option<usize>,
    sources: &'a [Asked],
}

impl Case<'_> {
    fn answer(&self, route: &Route, capability_by: &'static str, key: Option<&[u8]>) -> Answer {
        let candidates = self.service.explain(self.capability, self.pinned, self.zone);
        let flow = self.flow(&candidates, key);
        let endpoints = candidates.iter().map(|candidate| self.reached(candidate, &candidates, &flow));
        Answer {
            route: route.name.clone(),
            service: self.service.name().to_string(),
            capability: self.capability,
            capability_by: capability_by.into(),
            split: self.split_words(key),
            retries: String::new(),
            sources: Vec::new(),
            endpoints: endpoints.collect(),
            regions: (0..self.service.regions().len()).map(|at| self.placed(at, &flow, &candidates)).collect(),
            unanswered: flow.unanswered,
        }
    }

    fn split_words(&self, key: Option<&[u8]>) -> String {
        let by = match (self.pinned, self.service.sticky()) {
            (Some(version), _) => return format!("the route names {}", self.service.version(version)),
            (None, None) => return "at random by weight".to_owned(),
            (None, Some(StickyKey::Header(name))) => format!("header `{name}`"),
            (None, Some(StickyKey::Cookie(name))) => format!("cookie `{name}`"),
            (None, Some(StickyKey::ClientAddress)) => "client address".to_owned(),
        };
        match key {
            Some(_) => format!("sticky by {by}"),
            None => format!("sticky by {by}; the request has none, so at random by weight"),
        }
    }

    fn placed(&self, at: usize, flow: &Flow, candidates: &[Candidate<'_>]) -> Placed {
        let region = &self.service.regions()[at];
        let share = flow.region(at);
        let of_region = |version: usize| if share > 0.0 { flow.pool(at, version) / share } else { 0.0 };
        let versions = (0..self.service.versions())
            .map(|at| Version { version: self.service.version(at).to_string(), share: of_region(at) });
        let obstacle = candidates.iter().filter(|c| c.region == at).map(|c| c.obstacle).next();
        let why_not = match obstacle {
            None if self.sources.iter().any(|asked| asked.region == region.name.as_str()) => {
                "its endpoints are discovered, and none is known"
            }
            None => "it has no endpoint of the service",
            Some(None) => "it has no endpoint that may be chosen",
            Some(Some(obstacle)) => self.region_words(obstacle),
        };
        Placed {
            region: region.name.to_string(),
            role: region.role,
            share,
            why_not: (share == 0.0).then_some(why_not.into()),
            versions: versions.collect(),
        }
    }

    fn reached(&self, to: &Candidate<'_>, all: &[Candidate<'_>], flow: &Flow) -> Reached {
        let pool = all.iter().filter(|c| c.region == to.region && c.version == to.version && c.obstacle.is_none());
        let all: f64 = pool.map(|candidate| candidate.share).sum();
        let in_pool = if to.obstacle.is_none() && all > 0.0 { to.share / all } else { 0.0 };
        let share = flow.pool(to.region, to.version) * in_pool;
        let elsewhere = (share == 0.0).then_some("the user's key leads to another version");
        Reached {
            endpoint: to.endpoint.id().address.to_string(),
            region: self.service.regions()[to.region].name.to_string(),
            version: self.service.version(to.version).to_string(),
            share,
            why_not: to.obstacle.map(|obstacle| self.endpoint_words(to, obstacle)).or(elsewhere).map(Cow::Borrowed),
        }
    }

    const fn region_words(&self, obstacle: Obstacle) -> &'static str {
        match obstacle {
            Obstacle::Capability => "it does not serve this kind of request",
            Obstacle::RegionWeight => "its weight is 0",
            Obstacle::Standby => "it is a standby while an active region can serve",
            Obstacle::NotReached if self.pinned.is_some() => "it has no endpoint of the version that the route names",
            Obstacle::NotReached
            | Obstacle::Weight
            | Obstacle::Unprobed
            | Obstacle::Out
            | Obstacle::Forced
            | Obstacle::Ejected
            | Obstacle::Breaker
            | Obstacle::Draining
            | Obstacle::Full
            | Obstacle::Trial
            | Obstacle::Level
            | Obstacle::Panic
            | Obstacle::Zone
            | Obstacle::PoolBreaker => "it has no endpoint that may be chosen",
        }
    }

    fn endpoint_words(&self, to: &Candidate<'_>, obstacle: Obstacle) -> &'static str {
        let forced = Some(breaker::Force::Open);
        match obstacle {
            Obstacle::Breaker if to.endpoint.view(self.now).breaker.forced == forced => "its breaker is forced open",
            Obstacle::PoolBreaker if to.endpoint.pool().view().breaker.forced == forced => {
                "the breaker of its pool is forced open"
            }
            Obstacle::Capability => "its region does not serve this kind of request",
            Obstacle::RegionWeight => "its region has weight 0",
            Obstacle::Standby => "its region is a standby while an active one can serve",
            Obstacle::NotReached if self.pinned.is_some() => "the route names another version",
            Obstacle::NotReached => "its version has weight 0",
            Obstacle::Weight => "its weight is 0",
            Obstacle::Unprobed => "it was not probed yet, and others of its pool are verified",
            Obstacle::Out => "its probes fail",
            Obstacle::Forced => "an operator holds it out",
            Obstacle::Ejected => "it is ejected: it was worse than the others of its pool",
            Obstacle::Breaker => "its breaker is open",
            Obstacle::Draining => "it drains: it wants nothing new",
            Obstacle::Full => "it, or its pool, answers as many requests as it may at once",
            Obstacle::Trial => "its breaker, or that of its pool, is half-open, and all its trials are under way",
            Obstacle::Level => "it asks for no part of its weight",
            Obstacle::Panic => "too few of its pool may be chosen: by `panic` none is",
            Obstacle::Zone => "it is in another zone, and the proxy's own zone takes everything",
            Obstacle::PoolBreaker => "the breaker of its pool is open",
        }
    }
}
