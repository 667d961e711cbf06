//! Decides which endpoint an attempt goes to: placement, then split, then pick, then what stands in for an empty pool.
//!
//! The first attempt is placed in a region, then given one of that region's versions, then an endpoint of that pool. If
//! the pool has none to offer, the service's fallback decides:
//!
//! - `other_region`: the version counts more than the region. The same version in another region (the primary first, then by
//!   weight), then the baseline version, in the region of the placement and then in the others. A user who was given a
//!   version keeps it through the loss of a region; only when the version is nowhere does its share move to the baseline.
//! - `baseline`: the region counts more than the version. The baseline in the same region, then in the others.
//! - `reject`: nothing stands in.
//!
//! A pool whose breaker is open counts as empty, and so does one that has no room: whoever waits at one pool while
//! another is free waits for nothing. Only when none on the way has room is the request told where it may wait. What does not go
//! where it was assigned says so ([`Moved`]): the version to which it was assigned must answer for it. The split does not
//! look at health, so whoever was moved returns by himself.
//!
//! A retry goes the same way from the pool of the attempt before, and never to an endpoint that was
//! tried; a pool in which two endpoints have failed the request comes after all others. A route that names a version is
//! never answered by another.
//!
//! Regions that may stand in serve the capability and are active with a weight above 0; a standby only while no active
//! region can answer at all. Placement passes over regions that have nothing to offer before any fallback is asked.
//!
//! A [`Selector`] belongs to one worker and one service. It keeps what it read of endpoints until the service's pulse
//! advances, so the common request reads one atomic number, and of endpoints only what its balancer compares: no lock, no
//! allocation.

mod carry;
pub(crate) mod pool;

use std::sync::Arc;
use std::time::Instant;

use rand::Rng;
use sluice_config::name::ZoneName;
use sluice_config::validated::{Capability, Fallback};

use self::pool::{Pool, Scratch};
use crate::endpoint::Endpoint;
use crate::pick;
use crate::place::{self, Placement};
use crate::service::Service;
use crate::split::{self, Strata};
use crate::supply::Lack;

/// What a request wants of its endpoint.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// Of the region.
    pub capability: Capability,
    /// What identifies the user, if the split is sticky and the request has it.
    pub sticky_key: Option<&'a [u8]>,
    /// What leads to an endpoint, if the service asks for it and the request has it: what Maglev hashes, or the session.
    pub key: Option<&'a [u8]>,
    /// The version that the route names.
    pub version: Option<usize>,
    /// The attempt before, in the same revision.
    pub previous: Option<Choice>,
    /// Where it has waited for room, in the same revision: it is not placed and split again.
    pub waited: Option<Waiting>,
    /// Endpoints that must not be chosen again.
    pub tried: &'a [Spot],
    /// The moment of the choice; latencies fade by it.
    pub now: Instant,
}

impl Ask<'static> {
    /// That of a first attempt whose request says nothing of itself.
    #[must_use]
    pub const fn plain(capability: Capability, now: Instant) -> Self {
        Self { capability, sticky_key: None, key: None, version: None, previous: None, waited: None, tried: &[], now }
    }
}

/// Where an endpoint is in a service of one revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Spot {
    /// Index into the regions.
    pub region: usize,
    /// Index into the versions.
    pub version: usize,
    /// Index into the pool.
    pub endpoint: usize,
}

/// The endpoint of an attempt, and why this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// Where it is.
    pub spot: Spot,
    /// Why this region.
    pub region: place::Reason,
    /// Why this version.
    pub version: split::Reason,
    /// Why this endpoint.
    pub endpoint: pick::Reason,
    /// It is not in the pool to which the request was assigned.
    pub moved: Option<Moved>,
}

/// A request that is answered elsewhere than where it was assigned to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Moved {
    /// The pool to which it was assigned; see [`Moved::pool`]. In a number that leaves a choice small.
    from: u16,
    /// What its pool lacked.
    pub why: Lack,
}

/// Where a request may wait for room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Waiting {
    /// In this pool.
    pub place: Place,
    /// It was assigned to another one.
    pub moved: Option<Moved>,
}

impl Waiting {
    /// The indices of region and version of the pool to which it was assigned, in the service that was chosen from.
    #[must_use]
    pub fn home(&self, service: &Service) -> (usize, usize) {
        self.moved.map_or_else(|| self.place.pool(), |moved| moved.pool(service))
    }
}

/// A request that is answered nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Lost {
    /// Where it was assigned to.
    pub place: Place,
    /// What its pool lacked.
    pub why: Lack,
}

/// Where a request goes that does not go where it was assigned to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refuge {
    /// To its version in another region.
    OtherRegion,
    /// To the baseline.
    Baseline,
}

impl Refuge {
    /// A stable name for metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OtherRegion => "other_region",
            Self::Baseline => "baseline",
        }
    }
}

impl Moved {
    /// The indices of region and version of the pool to which it was assigned, in the service that was chosen from.
    #[must_use]
    pub const fn pool(&self, service: &Service) -> (usize, usize) {
        (self.from as usize / service.versions(), self.from as usize % service.versions())
    }

    /// Where it went, if it went to this version.
    #[must_use]
    pub const fn to(&self, service: &Service, version: usize) -> Refuge {
        if self.pool(service).1 == version { Refuge::OtherRegion } else { Refuge::Baseline }
    }
}

/// A pool to which a request is assigned, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Place {
    /// Index into the regions.
    pub region: u16,
    /// Index into the versions.
    pub version: u16,
    /// Why this region.
    pub why_region: place::Reason,
    /// Why this version.
    pub why_version: split::Reason,
}

impl Place {
    /// Its indices of region and version.
    #[must_use]
    pub const fn pool(&self) -> (usize, usize) {
        (self.region as usize, self.version as usize)
    }
}

impl Choice {
    /// The pool that was chosen from.
    #[must_use]
    pub const fn place(&self) -> Place {
        let Spot { region, version, .. } = self.spot;
        Place { region: region as u16, version: version as u16, why_region: self.region, why_version: self.version }
    }

    /// The endpoint's state, in the service that was chosen from.
    #[must_use]
    pub fn endpoint<'a>(&self, service: &'a Service) -> &'a Arc<Endpoint> {
        &service.pool(self.spot.region, self.spot.version)[self.spot.endpoint].endpoint
    }
}

/// Why there is no endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// No region takes part that serves the capability and has a version of the service.
    NoRegion,
    /// No pool that may stand in has an endpoint left that may take traffic and was not tried.
    Exhausted(Lost),
    /// The pool to which it was assigned has nothing to offer, and by policy nothing stands in.
    Rejected(Lost),
    /// Nobody who may take it has room. It may wait for room in the first pool that was full.
    Full(Waiting),
}

impl Refusal {
    /// A stable name for metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoRegion => "no_region",
            Self::Exhausted(_) => "exhausted",
            Self::Rejected(_) => "rejected",
            Self::Full(_) => "full",
        }
    }
}

/// What one worker knows of one service.
#[derive(Debug, Clone)]
pub struct Selector {
    seen: Option<u64>,
    zone: Option<ZoneName>,
    /// Per capability: for any version, then for each version that a route may name.
    placements: Vec<Placement>,
    splits: Vec<Strata>,
    pools: Vec<Pool>,
    scratch: Scratch,
}

/// So many failed endpoints of one pool are enough to doubt the others: a region dies as a whole more often than two of
/// its endpoints die apart, and a request has few attempts.
const DOUBTED: usize = 2;

const CAPABILITIES: [Capability; 3] = [Capability::Read, Capability::Write, Capability::Admin];

impl Selector {
    /// For a service that this worker has not served yet. `zone`: where the proxy is, if that was said.
    pub fn new(service: &Service, zone: Option<&ZoneName>, rng: &mut impl Rng) -> Self {
        let placements =
            (0..CAPABILITIES.len() * (service.versions() + 1)).map(|_| Placement::new(service.regions.len()));
        let mut selector = Self {
            seen: None,
            zone: zone.cloned(),
            placements: placements.collect(),
            splits: service.splits.iter().cloned().map(Strata::new).collect(),
            pools: (0..service.pools.len()).map(|at| Pool::new(service, at, zone)).collect(),
            scratch: Scratch::default(),
        };
        selector.refresh(service, rng);
        selector
    }

    /// The endpoint of the next attempt. O(log endpoints of the pool + versions + regions), more where endpoints are full; after
    /// a change of an offer, once O(endpoints of the service).
    ///
    /// # Errors
    /// When no endpoint may be chosen.
    pub fn choose(&mut self, service: &Service, ask: &Ask<'_>, rng: &mut impl Rng) -> Result<Choice, Refusal> {
        self.refresh(service, rng);
        let start = match (&ask.previous, &ask.waited) {
            (Some(previous), _) => Start::after(previous, ask),
            (None, Some(waiting)) => Start::at(waiting),
            (None, None) => self.start(service, ask, rng)?,
        };
        self.descend(service, ask, start, rng)
    }

    fn start(&mut self, service: &Service, ask: &Ask<'_>, rng: &mut impl Rng) -> Result<Start, Refusal> {
        let at = placement_index(service, ask.capability, ask.version);
        // Where nobody can answer, the pool that should have says what it lacks.
        let home = || Some((home(service, ask.capability)?, place::Reason::Weighted));
        let (region, why_region) = self.placements[at].choose(rng).or_else(home).ok_or(Refusal::NoRegion)?;
        let (version, why_version) = self.split(service, region, ask, rng).ok_or(Refusal::NoRegion)?;
        Ok(Start { region, version, why_region, why_version, moved: None })
    }

    fn split(
        &mut self,
        service: &Service,
        region: usize,
        ask: &Ask<'_>,
        rng: &mut impl Rng,
    ) -> Option<(usize, split::Reason)> {
        if let Some(version) = ask.version {
            return Some((version, split::Reason::Pinned));
        }
        let strata = &mut self.splits[service.split_of[region]?];
        match ask.sticky_key {
            Some(key) => {
                let there = (0..service.versions()).filter(|at| strata.shares().share(*at) > 0.0);
                let version = split::rendezvous(there.map(|at| (at, service.versions[at].ticket)), key);
                Some((version?, split::Reason::Sticky))
            }
            None => Some((strata.choose(rng)?, split::Reason::Random)),
        }
    }

    /// The first endpoint on the way from the start, in pools that are not doubted; if there is none, in any.
    fn descend(
        &mut self,
        service: &Service,
        ask: &Ask<'_>,
        start: Start,
        rng: &mut impl Rng,
    ) -> Result<Choice, Refusal> {
        let (doubt, place) = (ask.tried.len() >= DOUBTED, start.place());
        let mut walk = Walk { selector: self, service, ask, doubt, place, home: None, full: None };
        if walk.doubt {
            if let Some(choice) = walk.descend(start, rng) {
                return Ok(choice);
            }
            (walk.doubt, walk.home) = (false, None);
        }
        walk.descend(start, rng).ok_or_else(|| walk.refusal())
    }

    fn refresh(&mut self, service: &Service, rng: &mut impl Rng) {
        // Read before the offers: a change in between is then seen at the next request.
        let now = service.pulse.now();
        if self.seen == Some(now) {
            return;
        }
        for (at, pool) in self.pools.iter_mut().enumerate() {
            pool.refresh(service, at, &mut self.scratch, rng);
        }
        for capability in CAPABILITIES {
            for version in std::iter::once(None).chain((0..service.versions()).map(Some)) {
                self.refit(service, capability, version);
            }
        }
        self.seen = Some(now);
    }

    fn refit(&mut self, service: &Service, capability: Capability, version: Option<usize>) {
        let pools = &self.pools;
        let usable = |region, version| pools[service.pool_index(region, version)].supply.is_some();
        let reached = |region| {
            let mut weighted = (0..service.versions()).filter(|at| service.versions[*at].weight > 0);
            weighted.any(|at| usable(region, at))
        };
        let available = |region| version.map_or_else(|| reached(region), |at| usable(region, at));
        let at = placement_index(service, capability, version);
        self.placements[at].fit(&service.regions, capability, available);
    }
}

/// Where the way to an endpoint begins, and why there.
#[derive(Clone, Copy)]
struct Start {
    region: usize,
    version: usize,
    why_region: place::Reason,
    why_version: split::Reason,
    moved: Option<Moved>,
}

impl Start {
    fn after(previous: &Choice, ask: &Ask<'_>) -> Self {
        let why_version = if ask.version.is_some() { split::Reason::Pinned } else { split::Reason::Kept };
        let Spot { region, version, .. } = previous.spot;
        Self { region, version, why_region: place::Reason::Kept, why_version, moved: previous.moved }
    }

    const fn at(waiting: &Waiting) -> Self {
        let Waiting { place: Place { region, version, why_region, why_version }, moved } = *waiting;
        Self { region: region as usize, version: version as usize, why_region, why_version, moved }
    }

    const fn place(&self) -> Place {
        let Self { region, version, why_region, why_version, .. } = *self;
        Place { region: region as u16, version: version as u16, why_region, why_version }
    }
}

/// One request's way through the pools.
struct Walk<'a> {
    selector: &'a mut Selector,
    service: &'a Service,
    ask: &'a Ask<'a>,
    /// Pools in which endpoints have failed this request are passed over.
    doubt: bool,
    /// The first pool.
    place: Place,
    /// What it lacked.
    home: Option<Lack>,
    /// The first pool that had no room.
    full: Option<Waiting>,
}

impl Walk<'_> {
    fn descend(&mut self, start: Start, rng: &mut impl Rng) -> Option<Choice> {
        let why = match self.pick(start, rng) {
            Ok(choice) => return Some(choice),
            Err(lack) => lack,
        };
        self.home = Some(why);
        let moved = start.moved.or_else(|| Some(Moved { from: self.home_pool(), why }));
        let start = Start { moved, ..start };
        let is_alone = self.ask.version.is_some() || start.version == self.service.baseline;
        let baseline = Start { version: self.service.baseline, why_version: split::Reason::Baseline, ..start };
        match self.service.fallback {
            Fallback::Reject => None,
            Fallback::Baseline | Fallback::OtherRegion if is_alone => self.elsewhere(start, rng),
            Fallback::Baseline => self.here_and_elsewhere(baseline, rng),
            Fallback::OtherRegion => self.elsewhere(start, rng).or_else(|| self.here_and_elsewhere(baseline, rng)),
        }
    }

    fn here_and_elsewhere(&mut self, start: Start, rng: &mut impl Rng) -> Option<Choice> {
        self.pick(start, rng).ok().or_else(|| self.elsewhere(start, rng))
    }

    fn elsewhere(&mut self, start: Start, rng: &mut impl Rng) -> Option<Choice> {
        let at = placement_index(self.service, self.ask.capability, self.ask.version);
        let why_region = place::Reason::Elsewhere;
        let service = self.service;
        service.fallbacks.iter().filter(|region| **region != start.region).find_map(|region| {
            let placement = &self.selector.placements[at];
            let may = placement.may_stand_in(*region, &service.regions[*region], self.ask.capability);
            may.then(|| self.pick(Start { region: *region, why_region, ..start }, rng).ok()).flatten()
        })
    }

    fn pick(&mut self, start: Start, rng: &mut impl Rng) -> Result<Choice, Lack> {
        let Start { region, version, why_region, why_version, moved } = start;
        let of_pool = |spot: &&Spot| (spot.region, spot.version) == (region, version);
        if self.doubt && self.ask.tried.iter().filter(of_pool).count() >= DOUBTED {
            return Err(Lack::Tried);
        }
        let index = self.service.pool_index(region, version);
        let picked = self.selector.pools[index].pick(self.service, (region, version), self.ask, rng);
        match picked {
            Ok((endpoint, why)) => {
                let spot = Spot { region, version, endpoint };
                Ok(Choice { spot, region: why_region, version: why_version, endpoint: why, moved })
            }
            Err(lack) => {
                if lack == Lack::Full {
                    self.full.get_or_insert_with(|| Waiting { place: start.place(), moved });
                }
                Err(lack)
            }
        }
    }

    fn home_pool(&self) -> u16 {
        let (region, version) = self.place.pool();
        self.service.pool_index(region, version) as u16
    }

    fn refusal(&self) -> Refusal {
        let rejects = self.service.fallback == Fallback::Reject;
        let lost = Lost { place: self.place, why: self.home.unwrap_or(Lack::Empty) };
        match (self.full, lost.why) {
            (Some(waiting), _) => Refusal::Full(waiting),
            (None, Lack::Empty | Lack::Panic | Lack::Breaker) if rejects => Refusal::Rejected(lost),
            (None, _) => Refusal::Exhausted(lost),
        }
    }
}

/// The first of the regions that take part in the choice and have versions of the service.
pub(crate) fn home(service: &Service, capability: Capability) -> Option<usize> {
    let takes_part = |region: &usize| place::takes_part(&service.regions[*region], capability);
    service.fallbacks.iter().copied().filter(takes_part).find(|region| service.split_of[*region].is_some())
}

fn placement_index(service: &Service, capability: Capability, version: Option<usize>) -> usize {
    let row = match capability {
        Capability::Read => 0,
        Capability::Write => 1,
        Capability::Admin => 2,
    };
    row * (service.versions() + 1) + version.map_or(0, |at| at + 1)
}

#[cfg(test)]
mod tests;
