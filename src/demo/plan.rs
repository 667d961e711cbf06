//! What the demo shows: its regions and versions, and the story that is played with them.

use std::time::Duration;

/// A region of the demo.
pub(super) struct Region {
    pub(super) name: &'static str,
    role: &'static str,
    pub(super) weight: u32,
}

/// The regions, with their weights in percent.
pub(super) const REGIONS: [Region; 3] = [
    Region { name: "us-east-1", role: "primary", weight: 60 },
    Region { name: "us-west-2", role: "secondary", weight: 30 },
    Region { name: "eu-west-1", role: "secondary", weight: 10 },
];

/// The versions of the one service.
pub(super) const VERSIONS: [&str; 2] = ["v1", "v2"];

/// Endpoints of each version in each region.
pub(super) const ENDPOINTS: usize = 2;

/// Endpoints of each region.
pub(super) const REGION_ENDPOINTS: usize = VERSIONS.len() * ENDPOINTS;

/// Between two probes of an endpoint, in the demo's document.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// The shortest time the whole story fits in: an endpoint goes out after three probes and comes back after two.
pub(super) const SHORTEST: Duration = Duration::from_secs(20);

/// One round of the story when the demo has no end.
pub(super) const ROUND: Duration = Duration::from_secs(60);

/// One part of the story.
#[derive(Debug)]
pub(super) struct Phase {
    /// Short, for tables.
    pub(super) name: &'static str,
    /// What happens.
    pub(super) told: &'static str,
    /// What happens where the document is the user's, and so is not written.
    pub(super) told_edited: &'static str,
    /// Who follows what happens.
    pub(super) follower: &'static str,
    /// Of the versions, in percent.
    pub(super) weights: [u32; 2],
    /// The region without origins, if any.
    pub(super) lost: Option<usize>,
    /// Of the round, in percent.
    pub(super) length: u32,
}

const PROXY: &str = "the proxy";

const EDITED: &str = "the document was edited: it stays as it is, and so do the shares it asks for";

/// The story. Its lengths add up to 100.
pub(super) const STORY: [Phase; 4] = [
    Phase {
        name: "steady",
        told: "traffic flows to three regions; 5 % of it tries v2",
        told_edited: EDITED,
        follower: PROXY,
        weights: [95, 5],
        lost: None,
        length: 20,
    },
    Phase {
        name: "shift",
        told: "the document is rewritten: v2 gets 25 %",
        told_edited: EDITED,
        follower: PROXY,
        weights: [75, 25],
        lost: None,
        length: 23,
    },
    Phase {
        name: "region lost",
        told: "all origins of us-west-2 die: its traffic moves, its endpoints go out",
        told_edited: "all origins of us-west-2 die: its traffic moves, its endpoints go out",
        follower: PROXY,
        weights: [75, 25],
        lost: Some(1),
        length: 29,
    },
    Phase {
        name: "region back",
        told: "the origins of us-west-2 are back: after two good probes so is its traffic",
        told_edited: "the origins of us-west-2 are back: after two good probes so is its traffic",
        follower: PROXY,
        weights: [75, 25],
        lost: None,
        length: 28,
    },
];

impl Phase {
    /// How long the phase takes in a round of this length.
    pub(super) fn duration(&self, round: Duration) -> Duration {
        round * self.length / 100
    }

    /// What happens, in words.
    pub(super) const fn words(&self, edited: bool) -> &'static str {
        if edited { self.told_edited } else { self.told }
    }
}

/// The ports of the endpoints, by region and version.
pub(super) type Ports = [[[u16; ENDPOINTS]; VERSIONS.len()]; REGIONS.len()];

/// The demo's document.
pub(super) fn document(web: u16, ports: &Ports, weights: [u32; 2]) -> String {
    let regions: String = REGIONS.iter().map(region_line).collect();
    let versions: String = (0..VERSIONS.len()).map(|version| version_lines(version, weights[version], ports)).collect();
    format!(
        "listeners:\n  - {{ name: web, address: \"127.0.0.1:{web}\" }}\n\
         regions:\n{regions}\
         services:\n  - name: shop\n\
         \x20   health_check: {{ http: {{ path: /healthz }}, interval: {}s, timeout: 500ms, failure_threshold: 3, recovery_threshold: 2 }}\n\
         \x20   versions:\n{versions}\
         routes:\n  - {{ match: {{ path: / }}, service: shop }}\n",
        PROBE_INTERVAL.as_secs(),
    )
}

fn region_line(region: &Region) -> String {
    format!("  - {{ name: {}, role: {}, weight: {} }}\n", region.name, region.role, region.weight)
}

fn version_lines(version: usize, weight: u32, ports: &Ports) -> String {
    let mut lines = format!("      - name: {}\n        weight: {weight}\n        endpoints:\n", VERSIONS[version]);
    for (region, ports) in REGIONS.iter().zip(ports) {
        let addresses: Vec<String> = ports[version].iter().map(|port| format!("\"127.0.0.1:{port}\"")).collect();
        lines += &format!("          {}: [{}]\n", region.name, addresses.join(", "));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_story_fills_its_round() {
        assert_eq!(STORY.iter().map(|phase| phase.length).sum::<u32>(), 100);
    }

    #[test]
    fn where_the_document_is_the_users_no_share_is_claimed() {
        assert!(STORY[1].words(false).contains("25 %"));
        assert!(STORY.iter().all(|phase| !phase.words(true).contains('%')));
    }

    #[test]
    fn the_document_is_sound_and_means_what_the_story_says() {
        let ports: Ports = std::array::from_fn(|region| {
            std::array::from_fn(|version| {
                std::array::from_fn(|endpoint| 9000 + (region * 100 + version * 10 + endpoint) as u16)
            })
        });
        let text = document(8080, &ports, STORY[0].weights);
        let document = sluice_config::validate(&text, &sluice_config::Environment::empty()).unwrap();
        let weights: Vec<u32> = document.services[0].versions.iter().map(|version| version.weight.get()).collect();
        assert_eq!(weights, [95, 5]);
        let pools = &document.services[0].versions[1].pools;
        assert_eq!(pools.len(), 3);
        assert_eq!(pools[2].endpoints[1].address.port(), 9211);
    }
}
