//! What one worker knows of one pool: who may be picked with what weight, read when the pulse has advanced, and the
//! state of the balancer, one for the proxy's own zone and one for the others where a zone is preferred.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::Rng;
use sluice_config::name::ZoneName;
use sluice_config::validated::Zones;

use super::{Ask, Spot};
use crate::balance::{Balancer, By, Crowd, Picked, maglev};
use crate::endpoint::{FULL, Offer};
use crate::pick::Reason;
use crate::pool::PoolState;
use crate::service::{Member, Service};
use crate::split::{Shares, Strata};
use crate::supply::{Lack, Supply};
use crate::zone::{self, PARTS, Resident};

#[derive(Debug, Clone)]
pub(super) struct Pool {
    pub(super) supply: Supply,
    /// With which endpoints are picked; empty before the first look.
    weights: Vec<u32>,
    /// How many are above 0.
    eligible: usize,
    /// Whether any room is bounded.
    capped: bool,
    balancer: Balancer,
    zoned: Option<Box<Zoned>>,
}

/// The pool is split into the proxy's own zone, which `balancer` is for, and the others.
#[derive(Debug, Clone)]
struct Zoned {
    near: Vec<bool>,
    others: Balancer,
    /// Which side the next request goes to.
    strata: Strata,
    /// Of [`PARTS`], how many go to the own zone.
    part: u32,
}

/// What all pools are read with.
#[derive(Debug, Clone, Default)]
pub(super) struct Scratch {
    offers: Vec<Offer>,
    weights: Vec<u32>,
}

/// A pool as far as it is not for its endpoints to say.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Whole {
    pub(crate) offer: Offer,
    pub(crate) has_room: bool,
    capped: bool,
}

impl Whole {
    pub(crate) fn read(state: &PoolState) -> Self {
        Self { offer: state.offer(), has_room: state.has_room(), capped: state.is_capped() }
    }
}

/// Each endpoint as zones see it: `now` are the weights with which they are picked.
pub(crate) fn residents<'a>(
    members: &'a [Member],
    near: impl Iterator<Item = bool> + 'a,
    now: impl Iterator<Item = u32> + 'a,
) -> impl Iterator<Item = Resident> + 'a {
    let whole = |member: &Member| member.weight * u32::from(FULL);
    members.iter().zip(near).zip(now).map(move |((member, near), now)| Resident { near, whole: whole(member), now })
}

/// The pool's endpoints, for one request.
struct Scene<'a> {
    members: &'a [Member],
    state: &'a PoolState,
    capped: bool,
    tried: &'a [Spot],
    region: usize,
    version: usize,
    now: Instant,
}

impl Crowd for Scene<'_> {
    fn may(&self, at: usize) -> bool {
        let spot = Spot { region: self.region, version: self.version, endpoint: at };
        (!self.capped || self.members[at].endpoint.has_room()) && !self.tried.contains(&spot)
    }

    fn in_flight(&self, at: usize) -> u32 {
        self.members[at].endpoint.in_flight()
    }

    fn latency(&self, at: usize) -> Option<Duration> {
        self.members[at].endpoint.latency(self.now)
    }

    fn total(&self) -> u64 {
        self.state.in_flight().into()
    }

    fn again(&self) -> bool {
        !self.tried.is_empty()
    }
}

impl Pool {
    pub(super) fn new(service: &Service, index: usize, zone: Option<&ZoneName>) -> Self {
        let balancer = || Balancer::new(&service.balancer, service.tables[index].as_ref());
        let near: Vec<bool> =
            service.pools[index].iter().map(|member| zone.is_some() && member.zone.as_ref() == zone).collect();
        let preferred = service.zones.is_some_and(|zones| zone::is_preferred(&zones, near.iter().copied()));
        let mut pool = Self {
            supply: Supply::None(Lack::Empty),
            weights: Vec::new(),
            eligible: 0,
            capped: false,
            balancer: balancer(),
            zoned: None,
        };
        if preferred {
            let (mut others, strata) = (balancer(), Strata::new(Shares::of([0, 0].into_iter())));
            pool.balancer.leave_out(near.iter().map(|near| !near));
            others.leave_out(near.iter().copied());
            pool.zoned = Some(Box::new(Zoned { near, others, strata, part: PARTS }));
        }
        pool
    }

    /// Goes on from the state of an older pool, by the addresses of endpoints.
    pub(super) fn carry(self, old: &Self, was: &[Member], members: &[Member]) -> Self {
        let address = |member: &Member| member.endpoint.id().address;
        let known: BTreeMap<SocketAddr, usize> =
            was.iter().enumerate().map(|(at, member)| (address(member), at)).collect();
        let origin = |at: usize| known.get(&address(&members[at])).copied();
        let zoned = match (self.zoned, &old.zoned) {
            (Some(new), Some(old)) => {
                let others = new.others.carry(&old.others, members.len(), origin);
                Some(Box::new(Zoned { others, strata: old.strata.clone(), ..*new }))
            }
            (new, _) => new,
        };
        Self { balancer: self.balancer.carry(&old.balancer, members.len(), origin), zoned, ..self }
    }

    /// Reads each offer once: two readings could disagree and leave nobody.
    pub(super) fn refresh(&mut self, service: &Service, index: usize, scratch: &mut Scratch, rng: &mut impl Rng) {
        let members = &service.pools[index];
        let whole = Whole::read(&service.states[index]);
        scratch.offers.clear();
        scratch.offers.extend(members.iter().map(|member| member.endpoint.offer()));
        let offered = || members.iter().map(|member| member.weight).zip(scratch.offers.iter().copied());
        self.supply = Supply::of(whole.offer, offered(), service.panic);
        self.capped = whole.capped || members.iter().any(|member| member.endpoint.is_capped());
        let supply = self.supply;
        let weights = offered().map(|(weight, offer)| supply.weight(weight, offer));
        let mut changed = self.weights.len() != members.len();
        self.weights.resize(members.len(), 0);
        for (known, weight) in self.weights.iter_mut().zip(weights) {
            changed |= std::mem::replace(known, weight) != weight;
        }
        if changed {
            self.eligible = self.weights.iter().filter(|weight| **weight > 0).count();
            self.fit(members, service.zones, &mut scratch.weights, rng);
        }
    }

    fn fit(&mut self, members: &[Member], zones: Option<Zones>, scratch: &mut Vec<u32>, rng: &mut impl Rng) {
        let (Some(zoned), Some(zones)) = (&mut self.zoned, zones) else { return self.balancer.fit(&self.weights, rng) };
        let Zoned { near, others, strata, part } = &mut **zoned;
        let side = |wanted: bool| {
            let sides = self.weights.iter().zip(near.iter());
            sides.map(move |(weight, near)| if *near == wanted { *weight } else { 0 })
        };
        for (wanted, balancer) in [(true, &mut self.balancer), (false, others)] {
            scratch.clear();
            scratch.extend(side(wanted));
            balancer.fit(scratch, rng);
        }
        *part = zone::part(&zones, residents(members, near.iter().copied(), self.weights.iter().copied()));
        strata.fit([*part, PARTS - *part].into_iter());
    }

    /// The endpoint of an attempt, or why there is none.
    pub(super) fn pick(
        &mut self,
        service: &Service,
        (region, version): (usize, usize),
        ask: &Ask<'_>,
        rng: &mut impl Rng,
    ) -> Result<(usize, Reason), Lack> {
        if let Supply::None(lack) = self.supply {
            return Err(lack);
        }
        let (members, state) = (service.pool(region, version), service.pool_state(region, version));
        if self.capped && !state.has_room() {
            return Err(Lack::Full);
        }
        let scene = Scene { members, state, capped: self.capped, tried: ask.tried, region, version, now: ask.now };
        let key = ask.key.map(maglev::hash);
        let (picked, near) = self.pick_side(&scene, key, rng).ok_or_else(|| self.lack(ask.tried, region, version))?;
        Ok((picked.at, self.reason(picked.by, near)))
    }

    /// What the side of the request cannot take, the other may.
    fn pick_side(&mut self, scene: &Scene<'_>, key: Option<u64>, rng: &mut impl Rng) -> Option<(Picked, bool)> {
        let Some(zoned) = &mut self.zoned else { return Some((self.balancer.pick(scene, key, rng)?, true)) };
        let stays = match key {
            Some(hash) => ((u128::from(hash) * u128::from(PARTS)) >> 64) < u128::from(zoned.part),
            None => zoned.strata.choose(rng) == Some(0),
        };
        for near in [stays, !stays] {
            let balancer = if near { &mut self.balancer } else { &mut zoned.others };
            if let Some(picked) = balancer.pick(scene, key, rng) {
                return Some((picked, near));
            }
        }
        None
    }

    const fn reason(&self, by: By, near: bool) -> Reason {
        match (self.supply, near, by) {
            (Supply::Panic, _, _) => Reason::Panic,
            (Supply::Unprobed, _, _) => Reason::Unprobed,
            (Supply::Verified | Supply::None(_), false, _) => Reason::OtherZone,
            (Supply::Verified | Supply::None(_), true, By::NextKey) => Reason::NextKey,
            (Supply::Verified | Supply::None(_), true, By::Key) => Reason::Key,
            (Supply::Verified | Supply::None(_), true, By::Weight) => Reason::Verified,
        }
    }

    /// Why nobody was picked although somebody is eligible.
    fn lack(&self, tried: &[Spot], region: usize, version: usize) -> Lack {
        let here = |spot: &&Spot| (spot.region, spot.version) == (region, version) && self.weights[spot.endpoint] > 0;
        if tried.iter().filter(here).count() >= self.eligible { Lack::Tried } else { Lack::Full }
    }
}
