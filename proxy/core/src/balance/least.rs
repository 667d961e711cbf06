//! Decides by load: of a few endpoints drawn by weight the one with the fewest requests in flight for its weight.
//!
//! The power of two choices (Mitzenmacher, 1996): comparing two random endpoints keeps the longest queue within a
//! constant of log log n, where turns or chance alone let it grow. Taking the least loaded of all would be better in
//! theory and worse in practice: whatever sees the same counts (other proxies) runs to the same endpoint. Candidates are
//! different ones, so that a pool of two is always compared.
//!
//! At equal load the first drawn stays, so an idle pool is used by weight.

use rand::Rng;

use super::Crowd;
use super::draw::Draw;

/// Candidates, and how many.
#[derive(Debug, Clone)]
pub struct LeastRequest {
    pub(super) draw: Draw,
    choices: u32,
}

impl LeastRequest {
    /// Compares so many endpoints; one is compared with none.
    #[must_use]
    pub fn new(choices: u32) -> Self {
        Self { draw: Draw::default(), choices }
    }

    /// The endpoint of the next request. O(choices) while most may.
    pub(super) fn pick(&self, crowd: &impl Crowd, rng: &mut impl Rng) -> Option<usize> {
        let load = |at: usize| u64::from(crowd.in_flight(at));
        let weight = |at: usize| u64::from(self.draw.weight(at));
        let mut best = self.draw.allowed(|at| crowd.may(at), rng)?;
        for _ in 1..self.choices {
            let Some(other) = self.draw.another(best, |at| crowd.may(at), rng) else { break };
            if load(other) * weight(best) < load(best) * weight(other) {
                best = other;
            }
        }
        Some(best)
    }
}
