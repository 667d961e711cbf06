//! What the demo of a fleet shows: who is in it, and the story that is played with it.

use crate::demo::intended::{self, Shares};
use crate::demo::plan::{Phase, REGIONS};
use crate::demo::standing::Standing;

/// A proxy of the fleet.
pub(super) struct Seat {
    pub(super) name: &'static str,
    pub(super) region: usize,
}

/// The fleet: two proxies in each region.
pub(super) const SEATS: [Seat; 6] = [
    Seat { name: "east-a", region: 0 },
    Seat { name: "east-b", region: 0 },
    Seat { name: "west-a", region: 1 },
    Seat { name: "west-b", region: 1 },
    Seat { name: "europe-a", region: 2 },
    Seat { name: "europe-b", region: 2 },
];

/// The proxy that is restarted.
pub(super) const RESTARTED: usize = 3;

/// What is done to the fleet at the beginning of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    /// The document is applied, or the weights are shifted.
    Change,
    /// The control plane's process is killed.
    KillControl,
    /// A proxy's process is ended in order and started again.
    RestartProxy,
    /// The control plane is started again, and then the weights are shifted.
    ReturnControl,
    /// The origins of a region die.
    LoseRegion,
}

/// One part of the story.
#[derive(Debug)]
pub(super) struct Scene {
    pub(super) phase: Phase,
    pub(super) act: Act,
    /// Whether there is a control plane in it.
    pub(super) control: bool,
}

const FLEET: &str = "the fleet";

/// The story. Its lengths add up to 100.
pub(super) const STORY: [Scene; 6] = [
    scene(
        ("steady", "six proxies in three regions run one revision; 5 % of the traffic tries v2"),
        [95, 5],
        12,
        Act::Change,
    ),
    scene(("shift", "one request to the control plane: v2 gets 25 %"), [75, 25], 12, Act::Change),
    scene(("control lost", "the control plane is killed: the proxies go on"), [75, 25], 10, Act::KillControl),
    scene(
        ("restarted", "west-b is restarted while there is no control plane: it begins with its last known good"),
        [75, 25],
        10,
        Act::RestartProxy,
    ),
    scene(("control back", "the control plane is started again, and v2 gets 50 %"), [50, 50], 30, Act::ReturnControl),
    scene(
        ("region lost", "all origins of us-west-2 die: its traffic moves, every proxy takes its endpoints out"),
        [50, 50],
        26,
        Act::LoseRegion,
    ),
];

const fn scene((name, told): (&'static str, &'static str), weights: [u32; 2], length: u32, act: Act) -> Scene {
    let lost = if matches!(act, Act::LoseRegion) { Some(1) } else { None };
    let control = !matches!(act, Act::KillControl | Act::RestartProxy);
    let phase = Phase { name, told, told_edited: told, follower: FLEET, weights, lost, length };
    Scene { phase, act, control }
}

impl Scene {
    /// Whether this is how every proxy stands: it runs this revision or a later one, sees the endpoints that live, and is
    /// connected while there is a control plane.
    pub(super) fn is_followed(&self, standings: &[Standing], revision: u64) -> bool {
        let follows = |standing: &Standing| {
            standing.revision >= revision && standing.is_as_told(self.phase.lost) && standing.connected == self.control
        };
        standings.iter().all(follows)
    }

    /// The shares of the part.
    pub(super) fn shares(&self) -> Shares {
        let region = |at: usize| (self.phase.lost != Some(at)).then_some(REGIONS[at].weight);
        Shares {
            regions: intended::shares(std::array::from_fn(region)),
            versions: intended::shares(self.phase.weights.map(Some)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::plan::REGION_ENDPOINTS;

    #[test]
    fn the_story_fills_its_round() {
        assert_eq!(STORY.iter().map(|scene| scene.phase.length).sum::<u32>(), 100);
        assert_eq!(SEATS[RESTARTED].name, "west-b", "as the story says");
        assert!(STORY[3].phase.told.contains(SEATS[RESTARTED].name));
    }

    #[test]
    fn a_fleet_has_followed_when_each_proxy_has() {
        let good = Standing { revision: 3, healthy: [REGION_ENDPOINTS; 3], connected: true };
        let mut standings = [good; 6];
        assert!(STORY[0].is_followed(&standings, 3) && !STORY[0].is_followed(&standings, 4));
        assert!(!STORY[2].is_followed(&standings, 3), "they are connected to what was killed");
        standings[5].healthy[1] = 0;
        assert!(!STORY[0].is_followed(&standings, 3) && !STORY[5].is_followed(&standings, 3));
        standings.iter_mut().for_each(|standing| standing.healthy[1] = 0);
        assert!(STORY[5].is_followed(&standings, 3));
    }

    #[test]
    fn a_lost_region_gets_nothing() {
        let shares = STORY[5].shares();
        assert_eq!(shares.regions, [60.0 / 70.0, 0.0, 10.0 / 70.0]);
        assert_eq!(shares.versions, [0.5, 0.5]);
    }
}
