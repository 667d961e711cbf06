//! How endpoints that answer worse than others are taken out.

use std::time::Duration;

use serde::Serialize;

use crate::percentage::Percentage;
use crate::share::Share;

/// How endpoints that answer worse than others of their pool are taken out. At least one reason is looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OutlierEjection {
    /// Failures in a row. Absent: not looked at. Default 5.
    pub consecutive_failures: Option<u32>,
    /// Failures in a row that say that the endpoint cannot be reached or cannot answer. Default: not looked at.
    pub consecutive_gateway_failures: Option<u32>,
    /// Default: not looked at.
    pub success_rate: Option<SuccessRate>,
    /// Default: not looked at.
    pub failure_percentage: Option<FailurePercentage>,
    /// Default: not looked at.
    pub latency: Option<LatencyOutlier>,
    /// How often the last three are looked at. Default 10 s.
    pub interval: Duration,
    /// How long an endpoint is out for each time that it was. Default 30 s.
    pub base_time: Duration,
    /// The longest that it is out; at least `base_time`. Default 300 s.
    pub max_time: Duration,
    /// The largest part of a pool that may be out, above 0: one where there are two or more, never the last. Default 30 %.
    pub max_ejected: Share,
    /// And at most so many, 1 or more. Absent: no bound.
    pub max_ejected_endpoints: Option<u32>,
    /// Whether good probes in a row, after a bad one, bring an endpoint back before its time. Default true.
    pub return_on_good_probe: bool,
}

/// A share of successes that is far below that of the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct SuccessRate {
    /// How many standard deviations below the pool's mean is too far. Default 190 %.
    pub deviations: Percentage,
    /// The fewest endpoints to compare, 2 or more. Default 5.
    pub min_endpoints: u32,
    /// The fewest requests of an endpoint in an interval, 1 or more. Default 100.
    pub min_requests: u32,
}

/// A share of failures above a bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct FailurePercentage {
    /// This share and above is too much; above 0. Default 85 %.
    pub threshold: Share,
    /// The fewest endpoints with `min_requests`, 1 or more. Default 2.
    pub min_endpoints: u32,
    /// The fewest requests of an endpoint in an interval, 1 or more. Default 50.
    pub min_requests: u32,
}

/// Answers that take much longer than those of the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct LatencyOutlier {
    /// How many times the pool's median an endpoint's (geometric) mean must be; above 100 %. Default 300 %.
    pub factor: Percentage,
    /// And by how much it must be above it. Default 100 ms.
    pub min_difference: Duration,
    /// The fewest endpoints to compare, 2 or more. Default 3.
    pub min_endpoints: u32,
    /// The fewest requests of an endpoint in an interval, 1 or more. Default 20.
    pub min_requests: u32,
}

const fn percentage(percent: u32) -> Percentage {
    Percentage::new(percent).expect("a default is a percentage in its range")
}

impl Default for OutlierEjection {
    fn default() -> Self {
        Self {
            consecutive_failures: Some(5),
            consecutive_gateway_failures: None,
            success_rate: None,
            failure_percentage: None,
            latency: None,
            interval: Duration::from_secs(10),
            base_time: Duration::from_secs(30),
            max_time: Duration::from_secs(300),
            max_ejected: Share::from_percent(30),
            max_ejected_endpoints: None,
            return_on_good_probe: true,
        }
    }
}

impl Default for SuccessRate {
    fn default() -> Self {
        Self { deviations: percentage(190), min_endpoints: 5, min_requests: 100 }
    }
}

impl Default for FailurePercentage {
    fn default() -> Self {
        Self { threshold: Share::from_percent(85), min_endpoints: 2, min_requests: 50 }
    }
}

impl Default for LatencyOutlier {
    fn default() -> Self {
        Self { factor: percentage(300), min_difference: Duration::from_millis(100), min_endpoints: 3, min_requests: 20 }
    }
}
