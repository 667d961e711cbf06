//! Decides which endpoint of a pool answers: smooth weighted round robin.
//!
//! nginx's algorithm (`ngx_http_upstream_get_peer`): each eligible endpoint gains its weight, the highest is chosen and
//! pays the sum of the weights. Weights 5, 1, 1 give `a a b a c a a` and not five in a row, and an endpoint left out for a
//! while comes back without a burst. Each worker has its own state and starts at a random phase: many workers, or many
//! proxies started together, would otherwise send their first requests to the same endpoint.
//!
//! Who is eligible: `Verified` ones; `Unprobed` ones only while the pool has none verified, tried or not; `Out` never;
//! weight 0 never.
//!
//! Invariants: the sum of standings in the line is constant; with equal weights each run of n picks has each once.

use rand::Rng;

use crate::health::Standing;

/// Why this endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Its turn among the verified ones.
    Verified,
    /// Its turn among those not yet probed: the pool has none verified.
    Unprobed,
}

impl Reason {
    /// Of a pool whose best endpoints have this standing; none if all are out.
    #[must_use]
    pub const fn of(best: Standing) -> Option<Self> {
        match best {
            Standing::Verified => Some(Self::Verified),
            Standing::Unprobed => Some(Self::Unprobed),
            Standing::Out => None,
        }
    }

    /// A stable name for metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Unprobed => "unprobed",
        }
    }
}

/// Phases are random fractions of a weight, so weights are scaled to leave room for them.
const SCALE: u32 = 16;

/// The state of one pool's round robin. One per worker.
#[derive(Debug, Clone, Default)]
pub struct RoundRobin {
    lead: Vec<i64>,
}

impl RoundRobin {
    /// A round robin over endpoints of these weights, at a random phase.
    pub fn new(weights: impl Iterator<Item = u32>, rng: &mut impl Rng) -> Self {
        Self { lead: weights.map(|weight| phase(weight, rng)).collect() }
    }

    /// A round robin that goes on from an older one: `origin` tells for each of the new endpoints its old index.
    pub fn carry(
        weights: impl Iterator<Item = u32>,
        old: &Self,
        origin: impl Fn(usize) -> Option<usize>,
        rng: &mut impl Rng,
    ) -> Self {
        let lead = |(new, weight)| match origin(new) {
            Some(at) => old.lead[at],
            None => phase(weight, rng),
        };
        Self { lead: weights.enumerate().map(lead).collect() }
    }

    /// The next endpoint: `weight` gives each one's weight, 0 for those that are not eligible. None if all are 0.
    /// O(endpoints), allocates nothing.
    pub fn next(&mut self, weight: impl Fn(usize) -> u32) -> Option<usize> {
        let (mut total, mut best, mut highest) = (0, None, i64::MIN);
        for (at, lead) in self.lead.iter_mut().enumerate() {
            let weight = i64::from(weight(at)) << SCALE;
            if weight == 0 {
                continue;
            }
            total += weight;
            *lead += weight;
            if *lead > highest {
                (highest, best) = (*lead, Some(at));
            }
        }
        self.lead[best?] -= total;
        best
    }
}

fn phase(weight: u32, rng: &mut impl Rng) -> i64 {
    let span = u64::from(weight) << SCALE;
    ((u128::from(rng.next_u64()) * u128::from(span)) >> 64) as i64
}
