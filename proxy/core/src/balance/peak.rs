//! Decides by expected time: of two endpoints drawn by weight the one with the lower latency × (requests in flight + 1)
//! / weight.
//!
//! Finagle's and Linkerd's balancer. The latency is the endpoint's own peak-sensitive average
//! ([`Crowd::latency`]), in which a failure and a time for which it asked to be left alone count as slowness, so a
//! slow or failing endpoint is seen with its first answer: counting requests alone sees it only when its queue has grown, and
//! prefers an endpoint that fails fast. One that stops answering is seen by its requests in flight alone.
//!
//! An endpoint of which nothing is known is taken to be as fast as its rival: an optimistic guess would send everything
//! to a newcomer, a pessimistic one nothing.

use rand::Rng;

use super::Crowd;
use super::draw::Draw;

/// Candidates.
#[derive(Debug, Clone, Default)]
pub struct PeakEwma {
    pub(super) draw: Draw,
}

impl PeakEwma {
    /// The endpoint of the next request. O(1) while most may.
    pub(super) fn pick(&self, crowd: &impl Crowd, rng: &mut impl Rng) -> Option<usize> {
        let first = self.draw.allowed(|at| crowd.may(at), rng)?;
        let Some(other) = self.draw.another(first, |at| crowd.may(at), rng) else { return Some(first) };
        let (of_first, of_other) = match (crowd.latency(first), crowd.latency(other)) {
            (Some(first), Some(other)) => (first.as_micros().max(1), other.as_micros().max(1)),
            (None, _) | (_, None) => (1, 1),
        };
        let load = |at: usize| u128::from(crowd.in_flight(at)) + 1;
        let weight = |at: usize| u128::from(self.draw.weight(at));
        let sooner = of_other * load(other) * weight(first) < of_first * load(first) * weight(other);
        Some(if sooner { other } else { first })
    }
}
