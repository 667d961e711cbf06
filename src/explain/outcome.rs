//! The explanation as data: the same for the table and for machines.

use std::sync::Arc;

use serde::Serialize;
use sluice_config::Validated;
use sluice_config::validated::{Capability, Listener, Region, Role, Route, StickyKey};
use sluice_proxy::h1::Refused;
use sluice_proxy_core::endpoint::Registry;
use sluice_proxy_core::place::{capability_of, takes_part};
use sluice_proxy_core::route::{Finding, Miss, RouteTable};
use sluice_proxy_core::service::{Candidate, Obstacle, Service, identities};
use sluice_proxy_core::split::{Shares, Ticket, rendezvous};

use super::request::{Request, Typed};
use super::retries;

/// What becomes of a request.
#[derive(Debug, Serialize)]
pub(super) struct Explanation {
    pub(super) request: String,
    /// Present: the proxy answers this itself and looks for no route.
    pub(super) refused: Option<Refusal>,
    /// Routes whose host and path match, in the order of precedence.
    pub(super) considered: Vec<Considered>,
    /// Absent, and nothing refused: no route answers, and the client gets 404.
    pub(super) answer: Option<Answer>,
}

/// Why the proxy takes a request to no route.
#[derive(Debug, Serialize)]
pub(super) struct Refusal {
    pub(super) status: u16,
    /// The same word as in `sluice_requests_refused_total`.
    pub(super) reason: &'static str,
}

/// A route that was looked at.
#[derive(Debug, Serialize)]
pub(super) struct Considered {
    pub(super) route: String,
    pub(super) chosen: bool,
    pub(super) why: String,
}

/// Who answers.
#[derive(Debug, Serialize)]
pub(super) struct Answer {
    pub(super) route: String,
    pub(super) service: String,
    pub(super) capability: Capability,
    /// `route` or `method`.
    pub(super) capability_by: &'static str,
    pub(super) split: String,
    /// How often it is tried, and after what.
    pub(super) retries: String,
    pub(super) regions: Vec<Placed>,
    pub(super) endpoints: Vec<Reached>,
    /// Where further endpoints are found; offline nobody is asked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) sources: Vec<Asked>,
}

/// A source of endpoints.
#[derive(Debug, Serialize)]
pub(super) struct Asked {
    pub(super) source: String,
    pub(super) region: String,
    pub(super) version: String,
}

/// A region and what it gets of such requests.
#[derive(Debug, Serialize)]
pub(super) struct Placed {
    pub(super) region: String,
    pub(super) role: Role,
    /// Of the requests like this one, 0 to 1.
    pub(super) share: f64,
    /// Why it gets none.
    pub(super) why_not: Option<&'static str>,
    /// What each version gets of the region's.
    pub(super) versions: Vec<Version>,
}

/// A version and what it gets.
#[derive(Debug, Serialize)]
pub(super) struct Version {
    pub(super) version: String,
    pub(super) share: f64,
}

/// An endpoint that may be reached, or why not.
#[derive(Debug, Serialize)]
pub(super) struct Reached {
    pub(super) endpoint: String,
    pub(super) region: String,
    pub(super) version: String,
    /// Of the requests like this one, 0 to 1.
    pub(super) share: f64,
    pub(super) why_not: Option<&'static str>,
}

impl Explanation {
    /// Asks the proxy whether it takes the request, and the route table and the service what becomes of it. `listener`: the
    /// one that the client comes to.
    pub(super) fn of(document: &Validated, listener: &Listener, typed: &Typed<'_>) -> anyhow::Result<Self> {
        match typed.judge(listener) {
            Ok(request) => Self::routed(document, &request),
            Err(Refused { status, reason }) => Ok(Self {
                request: typed.told(),
                refused: Some(Refusal { status, reason }),
                considered: Vec::new(),
                answer: None,
            }),
        }
    }

    fn routed(document: &Validated, request: &Request) -> anyhow::Result<Self> {
        let table = RouteTable::build(&document.routes)?;
        let found = table.explain(&request.view());
        let chosen = found.iter().find(|considered| considered.finding == Finding::Chosen);
        let considered = found.iter().map(|considered| Considered {
            route: document.routes[considered.route].name.clone(),
            chosen: considered.finding == Finding::Chosen,
            why: words(considered.finding),
        });
        Ok(Self {
            request: request.told(),
            refused: None,
            considered: considered.collect(),
            answer: chosen.map(|chosen| Answer::of(document, &document.routes[chosen.route], request)),
        })
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

impl Answer {
    fn of(document: &Validated, route: &Route, request: &Request) -> Self {
        let regions: Arc<[Region]> = document.regions.clone().into();
        // Without a health check an endpoint counts as verified.
        let all = identities(&regions, &document.services).map(|(id, _)| (id, false));
        let registry = Registry::default().carry(all);
        let service = Service::new(&regions, &document.services[route.service], &registry);
        let (capability, capability_by) = match route.capability {
            Some(capability) => (capability, "route"),
            None => (capability_of(request.method()), "method"),
        };
        let sources = sources(document, route);
        let case = Case {
            service: &service,
            weights: weights(document, route),
            capability,
            pinned: route.version,
            sources: &sources,
        };
        let key = service.sticky().and_then(|by| request.key(by));
        let retries = retries::words(&document.services[route.service].retries, request.method());
        let answer = case.answer(route, capability_by, key.as_deref());
        Self { retries, sources, ..answer }
    }
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
    weights: Vec<u32>,
    capability: Capability,
    pinned: Option<usize>,
    sources: &'a [Asked],
}

impl Case<'_> {
    fn answer(&self, route: &Route, capability_by: &'static str, key: Option<&[u8]>) -> Answer {
        let candidates = self.service.explain(self.capability, self.pinned);
        let placement = self.placement(&candidates);
        let splits: Vec<Vec<f64>> = (0..placement.len()).map(|at| self.split(at, &candidates, key)).collect();
        let endpoints = candidates.iter().map(|candidate| self.reached(candidate, &candidates, &placement, &splits));
        Answer {
            route: route.name.clone(),
            service: self.service.name().to_string(),
            capability: self.capability,
            capability_by,
            split: self.split_words(key),
            retries: String::new(),
            sources: Vec::new(),
            endpoints: endpoints.collect(),
            regions: (0..placement.len()).map(|at| self.placed(at, placement[at], &splits[at], &candidates)).collect(),
        }
    }

    /// The share of each region. A standby that is open to requests is the only one that is.
    fn placement(&self, candidates: &[Candidate<'_>]) -> Vec<f64> {
        let regions = self.service.regions();
        let open = |at: usize| candidates.iter().any(|c| c.region == at && c.obstacle.is_none());
        let weight = |at: usize| {
            if open(at) && takes_part(&regions[at], self.capability) { regions[at].weight.get() } else { 0 }
        };
        let shares = Shares::of((0..regions.len()).map(weight));
        let standby = (0..regions.len()).find(|at| shares.members() == 0 && open(*at));
        (0..regions.len()).map(|at| if standby == Some(at) { 1.0 } else { shares.share(at) }).collect()
    }

    /// The share of each version in one region.
    fn split(&self, region: usize, candidates: &[Candidate<'_>], key: Option<&[u8]>) -> Vec<f64> {
        let open = |version: usize| {
            candidates.iter().any(|c| c.region == region && c.version == version && c.obstacle.is_none())
        };
        let all = 0..self.service.versions();
        if let Some(pinned) = self.pinned {
            return all.map(|version| if version == pinned && open(version) { 1.0 } else { 0.0 }).collect();
        }
        let weights: Vec<u32> = all.clone().map(|at| if open(at) { self.weights[at] } else { 0 }).collect();
        if let Some(key) = key {
            let ticket = |at: usize| (at, Ticket::new(self.service.name(), self.service.version(at), weights[at]));
            let chosen = rendezvous(all.clone().filter(|at| weights[*at] > 0).map(ticket), key);
            return all.map(|version| if chosen == Some(version) { 1.0 } else { 0.0 }).collect();
        }
        let shares = Shares::of(weights.into_iter());
        all.map(|version| shares.share(version)).collect()
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

    fn placed(&self, at: usize, share: f64, split: &[f64], candidates: &[Candidate<'_>]) -> Placed {
        let region = &self.service.regions()[at];
        let versions = split
            .iter()
            .enumerate()
            .map(|(version, share)| Version { version: self.service.version(version).to_string(), share: *share });
        let obstacle = candidates.iter().filter(|c| c.region == at).map(|c| c.obstacle).next();
        let why_not = match obstacle {
            None if self.sources.iter().any(|asked| asked.region == region.name.as_str()) => {
                "its endpoints are discovered, and nobody is asked offline"
            }
            None => "it has no endpoint of the service",
            Some(None) => "it has no endpoint that may be chosen",
            Some(Some(obstacle)) => self.region_words(obstacle),
        };
        Placed {
            region: region.name.to_string(),
            role: region.role,
            share,
            why_not: (share == 0.0).then_some(why_not),
            versions: versions.collect(),
        }
    }

    fn reached(&self, to: &Candidate<'_>, all: &[Candidate<'_>], placement: &[f64], splits: &[Vec<f64>]) -> Reached {
        let pool = all.iter().filter(|c| c.region == to.region && c.version == to.version && c.obstacle.is_none());
        let weight: u64 = pool.map(|c| u64::from(c.weight)).sum();
        let in_pool = if to.obstacle.is_none() { f64::from(to.weight) / weight.max(1) as f64 } else { 0.0 };
        let share = placement[to.region] * splits[to.region][to.version] * in_pool;
        let elsewhere = (share == 0.0).then_some("the user's key leads to another version");
        Reached {
            endpoint: to.endpoint.id().address.to_string(),
            region: self.service.regions()[to.region].name.to_string(),
            version: self.service.version(to.version).to_string(),
            share,
            why_not: to.obstacle.map(|obstacle| self.endpoint_words(obstacle)).or(elsewhere),
        }
    }

    const fn region_words(&self, obstacle: Obstacle) -> &'static str {
        match obstacle {
            Obstacle::Capability => "it does not serve this kind of request",
            Obstacle::RegionWeight => "its weight is 0",
            Obstacle::Standby => "it is a standby while an active region can serve",
            Obstacle::NotReached if self.pinned.is_some() => "it has no endpoint of the version that the route names",
            Obstacle::NotReached | Obstacle::Weight | Obstacle::Unprobed | Obstacle::Out => {
                "it has no endpoint that may be chosen"
            }
        }
    }

    const fn endpoint_words(&self, obstacle: Obstacle) -> &'static str {
        match obstacle {
            Obstacle::Capability => "its region does not serve this kind of request",
            Obstacle::RegionWeight => "its region has weight 0",
            Obstacle::Standby => "its region is a standby while an active one can serve",
            Obstacle::NotReached if self.pinned.is_some() => "the route names another version",
            Obstacle::NotReached => "its version has weight 0",
            Obstacle::Weight => "its weight is 0",
            Obstacle::Unprobed => "it was not probed yet, and others of its pool are verified",
            Obstacle::Out => "its probes fail",
        }
    }
}
