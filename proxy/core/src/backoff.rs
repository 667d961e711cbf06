//! Decides how long to wait before something that failed is tried again.
//!
//! A proxy that lost its control plane must come back soon, and ten thousand that lost it in the same moment must not
//! come back in the same moment. The wait is *full jitter*: a random time between nothing and a bound that doubles with
//! each try (Brooker, "Exponential Backoff And Jitter", 2015). The obvious other rule, the bound itself with some jitter
//! around it, leaves the herd in bunches and takes more calls to serve the same clients.
//!
//! The bound goes back to the beginning only after a connection that lasted [`STABLE`]: a control plane that accepts and
//! drops at once must not be met with a storm of short waits.
//!
//! What a proxy tries again by itself, a revision whose address is in use, is another case: nobody else is in its way,
//! and an operator waits for it. It is tried at a steady pace with a little jitter ([`pace`]).
//!
//! Invariants: a wait is never above [`CAP`]; the number of tries changes nothing else.

use std::time::Duration;

use rand::Rng;

/// The bound of the first wait.
pub const BASE: Duration = Duration::from_millis(100);
/// No wait is longer.
pub const CAP: Duration = Duration::from_secs(10);
/// What held so long has not failed: the next failure is a first one.
pub const STABLE: Duration = Duration::from_secs(60);
/// About the time between two tries of a revision that did not run and may yet.
pub const PACE: Duration = Duration::from_secs(10);

/// Waits between tries.
#[derive(Debug, Clone, Copy, Default)]
pub struct Backoff {
    tries: u32,
}

impl Backoff {
    /// How long to wait after another failure.
    pub fn step(&mut self, rng: &mut impl Rng) -> Duration {
        let bound = BASE.saturating_mul(1_u32.checked_shl(self.tries).unwrap_or(u32::MAX)).min(CAP);
        self.tries = self.tries.saturating_add(1);
        bound.mul_f64(fraction(rng))
    }

    /// What was tried has worked for so long before it failed.
    pub fn held(&mut self, lasted: Duration) {
        if lasted >= STABLE {
            self.tries = 0;
        }
    }
}

/// [`PACE`], a tenth more or less.
pub fn pace(rng: &mut impl Rng) -> Duration {
    PACE.mul_f64(0.9 + fraction(rng) / 5.0)
}

fn fraction(rng: &mut impl Rng) -> f64 {
    f64::from(rng.next_u32()) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn waits_fill_the_whole_range_below_a_bound_that_doubles() {
        let longest = |tries: u32| {
            let wait = |seed| Backoff { tries }.step(&mut StdRng::seed_from_u64(seed));
            let waits: Vec<Duration> = (0..400).map(wait).collect();
            assert!(*waits.iter().min().unwrap() < BASE.saturating_mul(1 << tries) / 20, "also short ones");
            *waits.iter().max().unwrap()
        };
        for tries in 0..6 {
            let bound = BASE.saturating_mul(1 << tries);
            assert!(longest(tries) <= bound && longest(tries) > bound.mul_f64(0.95), "{tries}");
        }
    }

    #[test]
    fn only_what_was_stable_is_forgotten() {
        let mut backoff = Backoff::default();
        let mut rng = StdRng::seed_from_u64(1);
        (0..40).for_each(|_| assert!(backoff.step(&mut rng) <= CAP));
        backoff.held(STABLE - Duration::from_millis(1));
        assert_eq!(backoff.tries, 40);
        backoff.held(STABLE);
        assert!(backoff.step(&mut rng) <= BASE);
    }

    proptest! {
        #[test]
        fn no_wait_is_above_the_cap(seed: u64, tries: u32) {
            let mut backoff = Backoff { tries };
            prop_assert!(backoff.step(&mut StdRng::seed_from_u64(seed)) <= CAP);
        }

        #[test]
        fn the_pace_is_about_ten_seconds(seed: u64) {
            let wait = pace(&mut StdRng::seed_from_u64(seed));
            prop_assert!(wait >= PACE.mul_f64(0.9) && wait <= PACE.mul_f64(1.1));
        }
    }
}
