//! What the proxy says of itself on its status address: which revision runs and which endpoints are in.

use super::plan::{REGION_ENDPOINTS, REGIONS};

/// The proxy's own view, from its `/metrics`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Standing {
    /// The number of the revision that runs.
    pub(super) revision: u64,
    /// Endpoints that take traffic, by region.
    pub(super) healthy: [usize; REGIONS.len()],
    /// Whether it is connected to a control plane of another process.
    pub(super) connected: bool,
}

impl Standing {
    /// Reads the text format of Prometheus.
    pub(super) fn parse(metrics: &str) -> Self {
        let mut standing = Self::default();
        for (series, value) in metrics.lines().filter_map(|line| line.rsplit_once(' ')) {
            if series == "sluice_revision" {
                standing.revision = value.parse::<f64>().unwrap_or(0.0) as u64;
            } else if series == "sluice_control_connected" {
                standing.connected = value == "1";
            } else if series.starts_with("sluice_endpoint_healthy{") && value == "1" {
                let region = |name: &str| series.contains(&format!("region=\"{name}\""));
                if let Some(at) = REGIONS.iter().position(|known| region(known.name)) {
                    standing.healthy[at] += 1;
                }
            }
        }
        standing
    }

    /// Whether every endpoint is in, but those of the lost region, of which none is.
    pub(super) fn is_as_told(&self, lost: Option<usize>) -> bool {
        let expected = |region| if lost == Some(region) { 0 } else { REGION_ENDPOINTS };
        (0..REGIONS.len()).all(|region| self.healthy[region] == expected(region))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_tell_the_revision_and_who_is_in() {
        let mut text = String::from(
            "# HELP sluice_revision x\n# TYPE sluice_revision gauge\nsluice_revision 12\nsluice_control_connected 1\n",
        );
        for (region, value) in [("us-east-1", 1), ("us-east-1", 1), ("us-west-2", 0), ("eu-west-1", 1), ("mars", 1)] {
            text += &format!("sluice_endpoint_healthy{{endpoint=\"127.0.0.1:1\",region=\"{region}\"}} {value}\n");
        }
        let standing = Standing::parse(&text);
        assert_eq!(standing, Standing { revision: 12, healthy: [2, 0, 1], connected: true });
        assert!(!standing.is_as_told(None));
        let all = Standing { revision: 1, healthy: [4, 0, 4], connected: false };
        assert!(all.is_as_told(Some(1)) && !all.is_as_told(None));
    }
}
