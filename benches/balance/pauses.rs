//! When an origin stands still, as a process does that collects garbage.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// How long it stands still.
pub(crate) const LENGTH: Duration = Duration::from_millis(200);

/// From the start of one pause to the start of the next, on average.
const EVERY: Duration = Duration::from_secs(5);

/// The moments at which one origin's pauses begin, within the time. The same seed gives the same moments, so that
/// everything measured in a round suffers alike.
pub(crate) fn draw(seed: u64, origin: usize, within: Duration) -> Vec<Duration> {
    let mut rng = StdRng::seed_from_u64(seed.wrapping_mul(1_000).wrapping_add(origin as u64));
    let first = EVERY.mul_f64(rng.random::<f64>());
    let next = move |before: &Duration| Some(*before + EVERY.mul_f64(rng.random_range(0.8..1.2)));
    std::iter::successors(Some(first), next).take_while(|at| *at < within).collect()
}

/// How long an answer due at this moment waits.
pub(crate) fn rest(starts: &[Duration], at: Duration) -> Duration {
    let standing = starts.iter().find(|start| **start <= at && at < **start + LENGTH);
    standing.map_or(Duration::ZERO, |start| *start + LENGTH - at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_of_the_seed_and_the_origin_and_about_five_seconds_apart() {
        let within = Duration::from_secs(100);
        let drawn = draw(1, 0, within);
        assert_eq!(drawn, draw(1, 0, within));
        assert_ne!(drawn, draw(2, 0, within));
        assert_ne!(drawn, draw(1, 1, within));
        assert!((16..=25).contains(&drawn.len()), "{drawn:?}");
        let apart = |pair: &[Duration]| pair[1] - pair[0];
        assert!(drawn.windows(2).map(apart).all(|gap| gap >= EVERY.mul_f64(0.8) && gap <= EVERY.mul_f64(1.2)));
    }

    #[test]
    fn an_answer_waits_for_the_end_of_the_pause_it_is_in() {
        let ms = Duration::from_millis;
        let starts = [ms(1_000), ms(6_000)];
        for (at, waits) in [(0, 0), (999, 0), (1_000, 200), (1_150, 50), (1_200, 0), (6_199, 1), (6_200, 0)] {
            assert_eq!(rest(&starts, ms(at)), ms(waits), "at {at}");
        }
    }
}
