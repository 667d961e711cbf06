//! Decides which endpoint of a pool answers, by the balancer of its service.
//!
//! A balancer is told the weights when they change ([`Balancer::fit`]) and otherwise asked for one endpoint at a time.
//! Weights are effective ones: those of the document times what an endpoint gets of it now, 0 for those that are not
//! eligible. What changes with every request (room, requests in flight, latency) it reads through [`Crowd`], only of the
//! endpoints that it considers. All balancers are one enum: no call through a pointer, no allocation, nothing shared
//! between workers but the endpoints' own counts.
//!
//! Which to take: [`turns`] spreads evenly and knows nothing of load; [`least`] and [`peak`] compare two endpoints drawn by
//! weight, by requests in flight or by expected time; [`maglev`] leads a key to the same endpoint; random ([`draw`])
//! needs no state at all.
//!
//! Attempts that follow others take no turn: where each failure took another endpoint's, first attempts could meet the same
//! dead endpoint every time. Nor do they get the next one's without taking it: that one would answer twice its share.
//! Under round robin they are drawn by weight.
//!
//! Invariants: an endpoint of weight 0, or that [`Crowd::may`] excludes, is never picked; while another exists, one is
//! picked; new weights reset nothing.

pub mod draw;
pub mod least;
pub mod maglev;
pub mod peak;
pub mod turns;

use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use sluice_config::validated;

use self::draw::Draw;
use self::least::LeastRequest;
use self::maglev::{Maglev, Table};
use self::peak::PeakEwma;
use self::turns::Turns;

/// Draws before a candidate is looked for one by one.
const DRAWS: usize = 8;

/// What the endpoints of a pool are doing at this moment.
pub trait Crowd {
    /// Whether the endpoint may get this request: it has room and was not tried.
    fn may(&self, at: usize) -> bool;
    /// Requests that it is answering.
    fn in_flight(&self, at: usize) -> u32;
    /// How long it takes to answer; none while nothing is known.
    fn latency(&self, at: usize) -> Option<Duration>;
    /// Requests in flight in the whole pool: at least those of the endpoints together.
    fn total(&self) -> u64;
    /// Whether this request was elsewhere before.
    fn again(&self) -> bool;
}

/// An endpoint, and what led to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Picked {
    /// Index into the pool.
    pub at: usize,
    /// How it was found.
    pub by: By,
}

/// What led to an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum By {
    /// Its turn, its load or chance.
    Weight,
    /// The key.
    Key,
    /// The key, after its own endpoint could not take it.
    NextKey,
}

/// The state of the balancer of one pool. One per worker.
#[derive(Debug, Clone)]
pub enum Balancer {
    /// See [`turns`].
    RoundRobin {
        /// Of first attempts.
        turns: Turns,
        /// Of those that follow them.
        again: Draw,
    },
    /// See [`least`].
    LeastRequest(LeastRequest),
    /// See [`peak`].
    PeakEwma(PeakEwma),
    /// See [`maglev`].
    Maglev(Maglev),
    /// See [`draw`].
    Random(Draw),
}

impl Balancer {
    /// A balancer that has not begun, with no eligible endpoint before [`Self::fit`]. `table`: of the pool, if requests
    /// are led by a key, which goes before what the document says otherwise.
    #[must_use]
    pub fn new(balancer: &validated::Balancer, table: Option<&Arc<Table>>) -> Self {
        let bound = match balancer {
            validated::Balancer::Maglev { bounded_load, .. } => *bounded_load,
            validated::Balancer::RoundRobin
            | validated::Balancer::LeastRequest { .. }
            | validated::Balancer::PeakEwma { .. }
            | validated::Balancer::Random => None,
        };
        if let Some(table) = table {
            return Self::Maglev(Maglev::new(Arc::clone(table), bound));
        }
        match balancer {
            validated::Balancer::RoundRobin => Self::RoundRobin { turns: Turns::default(), again: Draw::default() },
            validated::Balancer::LeastRequest { choices } => Self::LeastRequest(LeastRequest::new(*choices)),
            validated::Balancer::PeakEwma { .. } => Self::PeakEwma(PeakEwma::default()),
            validated::Balancer::Maglev { .. } | validated::Balancer::Random => Self::Random(Draw::default()),
        }
    }

    /// A balancer that goes on from an older one, if that one's state is of use to it: `origin` tells for each of `count`
    /// new endpoints its old index.
    #[must_use]
    pub fn carry(self, old: &Self, count: usize, origin: impl Fn(usize) -> Option<usize>) -> Self {
        // The others remember nothing but weights.
        if let (Self::RoundRobin { again, .. }, Self::RoundRobin { turns, .. }) = (&self, old) {
            return Self::RoundRobin { turns: turns.carry(count, origin), again: again.clone() };
        }
        self
    }

    /// Says which endpoints it never picks, whatever they could take: their weight will always be 0.
    pub fn leave_out(&mut self, foreign: impl Iterator<Item = bool>) {
        if let Self::Maglev(maglev) = self {
            maglev.leave_out(foreign);
        }
    }

    /// Takes the weights from now on. O(n); O(n log n) in the endpoints that became eligible.
    pub fn fit(&mut self, weights: &[u32], rng: &mut impl Rng) {
        match self {
            Self::RoundRobin { turns, again } => {
                turns.fit(weights, rng);
                again.fit(weights);
            }
            Self::LeastRequest(least) => least.draw.fit(weights),
            Self::PeakEwma(peak) => peak.draw.fit(weights),
            Self::Maglev(maglev) => maglev.fit(weights),
            Self::Random(draw) => draw.fit(weights),
        }
    }

    /// The endpoint of the next request; none if no eligible one may take it. O(log n) or better while most eligible
    /// endpoints have room, O(n) at worst. `key`: the hash of what the request is to be led by.
    pub fn pick(&mut self, crowd: &impl Crowd, key: Option<u64>, rng: &mut impl Rng) -> Option<Picked> {
        let at = match self {
            Self::RoundRobin { again, .. } if crowd.again() => again.allowed(|at| crowd.may(at), rng),
            Self::RoundRobin { turns, .. } => turns.next(|at| crowd.may(at)),
            Self::LeastRequest(least) => least.pick(crowd, rng),
            Self::PeakEwma(peak) => peak.pick(crowd, rng),
            Self::Maglev(maglev) => return maglev.pick(crowd, key, rng),
            Self::Random(draw) => draw.allowed(|at| crowd.may(at), rng),
        };
        at.map(|at| Picked { at, by: By::Weight })
    }
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
