//! How attempts and time change what a service's endpoints and pools may be given.
//!
//! Each attempt is noted once it is clear how it went ([`Service::note`]); time is told by one loop, a few times a second
//! ([`Service::tick`]). What needs the whole pool is decided here: whether an endpoint that should be ejected may be, who is worse than
//! the rest, and whether anybody is held back by slow start for the sake of nobody.
//!
//! Ejections are decided with the weights of the revision that decides: an endpoint with weight 0 carries no load, so
//! it counts neither as a part of the pool nor as one that is left.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use rand::Rng;

use super::{Member, Service};
use crate::change::Change;
use crate::endpoint::{Flight, Force};
use crate::outlier::{self, Cause, Crowd, Stats, Suppressed};
use crate::sample::Sample;
use crate::select::Spot;

impl Service {
    /// Counts how an attempt went that was sent to this spot, and changes what follows from it at once. Locks only where
    /// something may change; of the many that change nothing none allocates.
    pub fn note(&self, flight: &Flight, spot: &Spot, sample: &Sample, now: Instant, rng: &mut impl Rng) -> Vec<Change> {
        let at = self.pool_index(spot.region, spot.version);
        let cause = flight.note(sample, &self.policies, now);
        // Before the breaker: what it keeps out already needs no ejection, and the pool's caps would not count it.
        let ejected = cause.and_then(|cause| self.eject(at, spot.endpoint, cause, now));
        let own = flight.note_breaker(sample, &self.policies, now, rng);
        let of_pool = flight.note_pool(sample, &self.policies, now, rng);
        ejected.into_iter().chain(own).chain(of_pool).collect()
    }

    /// Takes the time: ends and half-opens what has waited, compares endpoints, raises levels. O(pools), and
    /// O(endpoints) of pools in which time changes something.
    pub fn tick(&self, now: Instant, rng: &mut impl Rng) -> Vec<Change> {
        let mut told = Vec::new();
        for at in 0..self.pools.len() {
            if self.states[at].takes_turn(now) {
                self.tick_pool(at, now, rng, &mut told);
            }
        }
        told
    }

    /// Takes what the document asks: at once for what requests meet, by the next tick for the rest.
    pub fn adopt(&self) {
        for (members, state) in self.pools.iter().zip(&self.states) {
            state.adopt(&self.policies);
            members.iter().for_each(|member| member.endpoint.adopt(&self.policies));
            state.wake();
        }
    }

    fn tick_pool(&self, at: usize, now: Instant, rng: &mut impl Rng, told: &mut Vec<Change>) {
        let (members, state) = (&self.pools[at], &*self.states[at]);
        state.adopt(&self.policies);
        told.extend(state.tick(&self.policies, now, rng));
        members.iter().for_each(|member| member.endpoint.tick(&self.policies, now, rng, told));
        if let Some(policy) = self.policies.outlier.as_ref().filter(|policy| outlier::sweeps(policy))
            && state.takes_sweep(policy.interval, now)
        {
            let found = outlier::sweep(&stats(members), policy);
            told.extend(found.into_iter().filter_map(|(member, cause)| self.eject(at, member, cause, now)));
        }
        hold_back_together(members);
    }

    /// Ejects an endpoint, unless something protects it.
    fn eject(&self, at: usize, member: usize, cause: Cause, now: Instant) -> Option<Change> {
        let (policy, members, state) = (self.policies.outlier.as_ref()?, &self.pools[at], &*self.states[at]);
        let endpoint = &members[member].endpoint;
        // Read before the offers: what is found is then at most newer than this number says.
        let pulse = self.pulse.now();
        let known = self.protections[at].known(pulse);
        let _deciding = known.is_none().then(|| state.deciding());
        if !may_be_given(&members[member]) {
            return None;
        }
        let by_caps = known.map_or_else(|| outlier::admit(policy, crowd(members, member)), Err);
        if let Err(why) = by_caps {
            self.protections[at].learn(why, pulse);
        }
        if let Err(why) = protect(endpoint.forced(), by_caps) {
            state.suppress(cause, why);
            return None;
        }
        endpoint.eject(cause, &self.policies, now)
    }
}

/// What protects a pool's endpoints, known until the pulse advances. It is the same for each that may be given requests:
/// none of them is counted among its own others. Where all fail, each reaches its thresholds again and again, and would have
/// the whole pool counted under its lock each time.
#[derive(Debug, Default)]
pub(crate) struct Protection(AtomicU64);

impl Protection {
    fn known(&self, pulse: u64) -> Option<Suppressed> {
        let word = self.0.load(Ordering::Relaxed);
        (word >> 2 == pulse + 1).then(|| Suppressed::ALL[(word & 0b11) as usize])
    }

    /// A number of 0 is that of nothing known.
    fn learn(&self, why: Suppressed, pulse: u64) {
        self.0.store((pulse + 1) << 2 | why as u64, Ordering::Relaxed);
    }
}

fn protect(force: Option<Force>, by_caps: Result<(), Suppressed>) -> Result<(), Suppressed> {
    if force == Some(Force::In) { Err(Suppressed::Forced) } else { by_caps }
}

/// Whether it is given requests, as far as that is not for its pool to say.
fn may_be_given(member: &Member) -> bool {
    let offer = member.endpoint.offer();
    member.weight > 0 && offer.level > 0 && offer.is_eligible()
}

fn crowd(members: &[Member], but: usize) -> Crowd {
    let weighted = || members.iter().enumerate().filter(|(_, member)| member.weight > 0);
    Crowd {
        members: weighted().count(),
        ejected: weighted().filter(|(_, member)| member.endpoint.is_ejected()).count(),
        others: weighted().filter(|(at, member)| *at != but && may_be_given(member)).count(),
    }
}

/// What the endpoints did since the last look. Those that are given nothing are not compared.
fn stats(members: &[Member]) -> Vec<Stats> {
    let stats = members.iter().map(|member| {
        let stats = member.endpoint.attempts().take();
        if may_be_given(member) { stats } else { Stats::default() }
    });
    stats.collect()
}

/// While every endpoint that could take the load is in slow start, holding them back helps nobody.
fn hold_back_together(members: &[Member]) {
    let mut warming = members.iter().filter(|member| member.endpoint.is_warming()).peekable();
    if warming.peek().is_none() {
        return;
    }
    let alone = !members.iter().any(|member| member.weight > 0 && member.endpoint.is_warm());
    warming.for_each(|member| member.endpoint.set_alone(alone));
}

#[cfg(test)]
mod tests;
