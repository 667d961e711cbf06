//! Tells of each endpoint of a service whether it may be chosen, and why not.

use std::sync::Arc;
use std::time::Instant;

use rand::Rng;
use sluice_config::name::ZoneName;
use sluice_config::validated::{Capability, Region, Role};

use super::{Member, Service};
use crate::breaker::State;
use crate::endpoint::{Barrier, Endpoint, Offer};
use crate::health::Standing;
use crate::place::{self, Placement};
use crate::select::{self, Ask, Place, Refusal, Selector, Waiting, pool};
use crate::split::{self, Shares};
use crate::supply::{Lack, Supply};
use crate::zone;

/// One endpoint, and whether it may be chosen.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// Index into the regions.
    pub region: usize,
    /// Index into the versions.
    pub version: usize,
    /// Its state.
    pub endpoint: &'a Arc<Endpoint>,
    /// Where in its region it is.
    pub zone: Option<&'a ZoneName>,
    /// Share of its pool's requests by the document.
    pub weight: u32,
    /// Share of its pool's requests now, in thousandths of one of the document; 0 if it may not be chosen in its pool.
    pub effective: u32,
    /// Of its pool's requests now, 0 to 1, as far as the balancer goes by weights.
    pub share: f64,
    /// As it was read.
    pub offer: Offer,
    /// Why it is not chosen; none if it may be.
    pub obstacle: Option<Obstacle>,
}

/// Why an endpoint is not chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Obstacle {
    /// Its region does not serve this kind of request.
    Capability,
    /// Its region has weight 0.
    RegionWeight,
    /// Its region is a standby whose turn it is not: an active region, or a standby before it, can answer.
    Standby,
    /// Its version has weight 0, or is not the one that the route names.
    NotReached,
    /// Its own weight is 0.
    Weight,
    /// An operator keeps it out.
    Forced,
    /// It was worse than the rest of its pool.
    Ejected,
    /// Its breaker is open.
    Breaker,
    /// It has said that it wants nothing new.
    Draining,
    /// Probed and bad.
    Out,
    /// It gets no part of its weight now.
    Level,
    /// Not yet probed, while its pool has a verified one.
    Unprobed,
    /// The breaker of its pool is open.
    PoolBreaker,
    /// So few of its pool may be chosen that by policy none is.
    Panic,
    /// It is in another zone than the proxy, whose own zone takes everything.
    Zone,
    /// It, or its pool, has as many requests as it may have at once.
    Full,
    /// Its breaker, or that of its pool, is half-open, and as many trials as it admits are under way.
    Trial,
}

impl Obstacle {
    /// A stable name for people and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Capability => "capability",
            Self::RegionWeight => "region_weight",
            Self::Standby => "standby",
            Self::NotReached => "not_reached",
            Self::Weight => "weight",
            Self::Forced => "forced",
            Self::Ejected => "ejected",
            Self::Breaker => "breaker",
            Self::Draining => "draining",
            Self::Out => "out",
            Self::Level => "level",
            Self::Unprobed => "unprobed",
            Self::PoolBreaker => "pool_breaker",
            Self::Panic => "panic",
            Self::Zone => "zone",
            Self::Full => "full",
            Self::Trial => "trial",
        }
    }
}

impl Service {
    /// For each endpoint whether it may be chosen now for this capability, by a route that names this version if any, by a
    /// proxy in this zone. For people: allocates, and reads every endpoint.
    #[must_use]
    pub fn explain(
        &self,
        capability: Capability,
        pinned: Option<usize>,
        zone: Option<&ZoneName>,
    ) -> Vec<Candidate<'_>> {
        let reached = |version: usize| match pinned {
            Some(pinned) => version == pinned,
            None => self.versions[version].weight > 0,
        };
        let read: Vec<Reading> = (0..self.pools.len()).map(|at| Reading::of(self, at, zone)).collect();
        let available = |region: usize| {
            (0..self.versions())
                .any(|version| reached(version) && read[self.pool_index(region, version)].supply.is_some())
        };
        let turn = self.standby_turn(capability, available);
        self.stand(&read, |region, version| {
            let unreached = || (!reached(version)).then_some(Obstacle::NotReached);
            self.obstacle(region, capability, turn).or_else(unreached)
        })
    }

    /// For each endpoint whether something of its own or of its pool speaks against it now, whatever a request asks for. For
    /// people: allocates, and reads every endpoint.
    #[must_use]
    pub fn candidates(&self, zone: Option<&ZoneName>) -> Vec<Candidate<'_>> {
        let read: Vec<Reading> = (0..self.pools.len()).map(|at| Reading::of(self, at, zone)).collect();
        self.stand(&read, |_, _| None)
    }

    /// The pool, as region and version, that answers requests assigned to each pool, in the order of pools: itself, or where the
    /// fallback leads; or why none does. For people: allocates, and reads every endpoint.
    pub fn answering(
        &self,
        capability: Capability,
        pinned: Option<usize>,
        zone: Option<&ZoneName>,
        now: Instant,
        rng: &mut impl Rng,
    ) -> Vec<Result<(usize, usize), Refusal>> {
        let mut selector = Selector::new(self, zone, rng);
        let (why_region, why_version) = (place::Reason::Weighted, split::Reason::Random);
        let answers = |at: usize| {
            let (region, version) = ((at / self.versions()) as u16, (at % self.versions()) as u16);
            let waited = Some(Waiting { place: Place { region, version, why_region, why_version }, moved: None });
            let ask = Ask { version: pinned, waited, ..Ask::plain(capability, now) };
            selector.choose(self, &ask, rng).map(|choice| (choice.spot.region, choice.spot.version))
        };
        (0..self.pools.len()).map(answers).collect()
    }

    /// The shares of the versions among the requests that are placed in this region; none if it has no version.
    #[must_use]
    pub fn split_in(&self, region: usize) -> Option<&Shares> {
        self.split_of[region].map(|at| &self.splits[at])
    }

    /// The region in which requests are placed that no region can answer.
    #[must_use]
    pub fn home(&self, capability: Capability) -> Option<usize> {
        select::home(self, capability)
    }

    /// Which pools panic now, by the order of pools. Nothing where no policy says what that is. Reads every endpoint.
    #[must_use]
    pub fn panics(&self) -> Option<Vec<bool>> {
        self.panic?;
        let is_panic = |pool| matches!(Reading::of(self, pool, None).supply, Supply::Panic | Supply::None(Lack::Panic));
        Some((0..self.pools.len()).map(is_panic).collect())
    }

    /// The endpoints as they stand, where `outer` speaks against a whole pool.
    fn stand(&self, read: &[Reading<'_>], outer: impl Fn(usize, usize) -> Option<Obstacle>) -> Vec<Candidate<'_>> {
        let mut candidates = Vec::new();
        for (at, (members, reading)) in self.pools.iter().zip(read).enumerate() {
            let (region, version) = (at / self.versions(), at % self.versions());
            let outer = outer(region, version);
            candidates.extend(members.iter().zip(&reading.offers).map(|(member, offer)| Candidate {
                region,
                version,
                endpoint: &member.endpoint,
                zone: member.zone.as_ref(),
                weight: member.weight,
                effective: reading.supply.weight(member.weight, *offer),
                share: reading.share(members, member, *offer),
                offer: *offer,
                obstacle: outer.or_else(|| reading.obstacle(member, *offer)),
            }));
        }
        candidates
    }

    /// The standby that answers, if no active region can.
    fn standby_turn(&self, capability: Capability, available: impl Fn(usize) -> bool) -> Option<usize> {
        let mut placement = Placement::new(self.regions.len());
        placement.fit(&self.regions, capability, available);
        placement.standby_turn()
    }

    fn obstacle(&self, region: usize, capability: Capability, turn: Option<usize>) -> Option<Obstacle> {
        let Region { role, weight, capabilities, .. } = &self.regions[region];
        if !capabilities.serves(capability) {
            return Some(Obstacle::Capability);
        }
        match role {
            Role::Standby => (turn != Some(region)).then_some(Obstacle::Standby),
            Role::Primary | Role::Secondary => (weight.get() == 0).then_some(Obstacle::RegionWeight),
        }
    }
}

/// A pool at one moment.
struct Reading<'a> {
    offers: Vec<Offer>,
    supply: Supply,
    has_room: bool,
    breaker: State,
    /// The zone that is preferred, and of [`zone::PARTS`] how many stay there.
    preferred: Option<(&'a ZoneName, u32)>,
}

impl<'a> Reading<'a> {
    fn of(service: &Service, at: usize, zone: Option<&'a ZoneName>) -> Self {
        let members = &service.pools[at];
        let offers: Vec<Offer> = members.iter().map(|member| member.endpoint.offer()).collect();
        let whole = pool::Whole::read(&service.states[at]);
        let weighted = || members.iter().map(|member| member.weight).zip(offers.iter().copied());
        let supply = Supply::of(whole.offer, weighted(), service.panic);
        let is_near = |member: &Member| zone.is_some() && member.zone.as_ref() == zone;
        let preferred = service.zones.filter(|zones| zone::is_preferred(zones, members.iter().map(is_near)));
        let part = preferred.map(|zones| {
            let now = weighted().map(|(weight, offer)| supply.weight(weight, offer));
            zone::part(&zones, pool::residents(members, members.iter().map(is_near), now))
        });
        let breaker = service.states[at].state();
        Self { supply, has_room: whole.has_room, breaker, preferred: zone.zip(part), offers }
    }

    fn obstacle(&self, member: &Member, offer: Offer) -> Option<Obstacle> {
        if member.weight == 0 {
            return Some(Obstacle::Weight);
        }
        if self.supply.weight(member.weight, offer) == 0 {
            return Some(self.lack(offer));
        }
        if self.preferred.is_some_and(|(zone, part)| part == zone::PARTS && member.zone.as_ref() != Some(zone)) {
            return Some(Obstacle::Zone);
        }
        let lacks_room = |has_room: bool, breaker| match (has_room, breaker) {
            (true, _) => None,
            (false, State::HalfOpen) => Some(Obstacle::Trial),
            (false, State::Closed | State::Open) => Some(Obstacle::Full),
        };
        lacks_room(self.has_room, self.breaker)
            .or_else(|| lacks_room(member.endpoint.has_room(), member.endpoint.breaker()))
    }

    /// What a member gets of the pool's requests.
    fn share(&self, members: &[Member], member: &Member, offer: Offer) -> f64 {
        let near = |one: &Member| self.preferred.is_some_and(|(zone, _)| one.zone.as_ref() == Some(zone));
        let beside = members.iter().zip(&self.offers).filter(|(one, _)| near(one) == near(member));
        let sum: f64 = beside.map(|(one, offer)| f64::from(self.supply.weight(one.weight, *offer))).sum();
        let side = self.preferred.map_or(1.0, |(_, part)| {
            let part = f64::from(part) / f64::from(zone::PARTS);
            if near(member) { part } else { 1.0 - part }
        });
        if sum > 0.0 { side * f64::from(self.supply.weight(member.weight, offer)) / sum } else { 0.0 }
    }

    /// Its own obstacle is told before that of its pool.
    const fn lack(&self, offer: Offer) -> Obstacle {
        match (offer.barrier, offer.standing, self.supply) {
            (Some(Barrier::Forced), _, _) => Obstacle::Forced,
            (Some(Barrier::Ejected), _, _) => Obstacle::Ejected,
            (Some(Barrier::Breaker), _, _) => Obstacle::Breaker,
            (Some(Barrier::Draining), _, _) => Obstacle::Draining,
            (None, Standing::Out, _) => Obstacle::Out,
            (None, _, _) if offer.level == 0 => Obstacle::Level,
            (None, _, Supply::None(Lack::Breaker)) => Obstacle::PoolBreaker,
            (None, _, Supply::None(Lack::Panic)) => Obstacle::Panic,
            (None, _, _) => Obstacle::Unprobed,
        }
    }
}

#[cfg(test)]
mod tests;
