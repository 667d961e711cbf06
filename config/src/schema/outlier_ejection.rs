//! How endpoints that answer worse than others are taken out.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bound::Most;
use crate::duration::Span;
use crate::percentage::Percentage;
use crate::schema::retries::Percent;
use crate::validated;

/// How endpoints that answer worse than others of their pool are taken out, by what traffic meets there.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct OutlierEjection {
    /// Failures in a row (statuses of 500 to 599, connection failures, resets, timeouts), or `off`. 1 to 10,000,000. Default 5.
    pub(crate) consecutive_failures: Most,
    /// The same for failures that say that the endpoint cannot be reached or cannot answer (502, 503, 504, connection failures, resets, timeouts), or `off`. Less than `consecutive_failures`, for which they count, too. 1 to 10,000,000. Default `off`.
    pub(crate) consecutive_gateway_failures: Most,
    /// A share of successes that is far below that of the others. Default: not looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) success_rate: Option<SuccessRate>,
    /// A share of failures above a bound. Default: not looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) failure_percentage: Option<FailurePercentage>,
    /// Answers that take much longer than those of the others. Default: not looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) latency: Option<LatencyOutlier>,
    /// How often `success_rate`, `failure_percentage` and `latency` are looked at, each time at what happened since. Default `10s`.
    pub(crate) interval: Span,
    /// How long an endpoint is out the first time; the second time twice as long, and so on. Each time that it was in for so long counts one ejection less. Default `30s`.
    pub(crate) base_time: Span,
    /// The longest that it is out. At least `base_time`. Default `300s`.
    pub(crate) max_time: Span,
    /// The largest part of a pool that may be out at once. One endpoint may always be out where there are two or more, and the last one never is. Above `0%`. Default `30%`.
    pub(crate) max_ejected: Percent,
    /// And at most so many endpoints, or `off`. 1 to 10,000,000. Default `off`.
    pub(crate) max_ejected_endpoints: Most,
    /// Whether good probes of the health check, `recovery_threshold` in a row after a bad one, bring an endpoint back before its time. A check that does not see what is wrong cannot. Default `true`.
    pub(crate) return_on_good_probe: bool,
}

/// A share of successes that is far below that of the others.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SuccessRate {
    /// How many standard deviations below the mean of the pool is too far. Default `190%`.
    pub(crate) deviations: Percentage,
    /// The fewest endpoints with `min_requests` to compare. 2 to 1,000. Default 5.
    #[schemars(range(min = 2, max = 1_000))]
    pub(crate) min_endpoints: u32,
    /// The fewest requests of an endpoint in an interval to be compared. 1 to 1,000,000. Default 100.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(crate) min_requests: u32,
}

/// A share of failures above a bound.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct FailurePercentage {
    /// This share and above is too much. Above `0%`. Default `85%`.
    pub(crate) threshold: Percent,
    /// The fewest endpoints with `min_requests`: below it nothing is judged. 1 to 1,000. Default 2.
    #[schemars(range(min = 1, max = 1_000))]
    pub(crate) min_endpoints: u32,
    /// The fewest requests of an endpoint in an interval to be judged. 1 to 1,000,000. Default 50.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(crate) min_requests: u32,
}

/// Answers that take much longer than those of the others.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LatencyOutlier {
    /// How many times the median of the pool an endpoint's mean time to an answer (the geometric one, which a single slow answer moves little) must be. Above `100%`. Default `300%`.
    pub(crate) factor: Percentage,
    /// And by how much it must be above the median, so that microseconds are no reason. Default `100ms`.
    pub(crate) min_difference: Span,
    /// The fewest endpoints with `min_requests` to compare. 2 to 1,000. Default 3.
    #[schemars(range(min = 2, max = 1_000))]
    pub(crate) min_endpoints: u32,
    /// The fewest requests of an endpoint in an interval to be compared. 1 to 1,000,000. Default 20.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(crate) min_requests: u32,
}

impl From<&validated::SuccessRate> for SuccessRate {
    fn from(rate: &validated::SuccessRate) -> Self {
        let validated::SuccessRate { deviations, min_endpoints, min_requests } = *rate;
        Self { deviations, min_endpoints, min_requests }
    }
}

impl From<&SuccessRate> for validated::SuccessRate {
    fn from(rate: &SuccessRate) -> Self {
        let SuccessRate { deviations, min_endpoints, min_requests } = *rate;
        Self { deviations, min_endpoints, min_requests }
    }
}

impl From<&validated::FailurePercentage> for FailurePercentage {
    fn from(failures: &validated::FailurePercentage) -> Self {
        let validated::FailurePercentage { threshold, min_endpoints, min_requests } = *failures;
        Self { threshold: Percent(threshold), min_endpoints, min_requests }
    }
}

impl From<&FailurePercentage> for validated::FailurePercentage {
    fn from(failures: &FailurePercentage) -> Self {
        let FailurePercentage { threshold, min_endpoints, min_requests } = *failures;
        Self { threshold: threshold.0, min_endpoints, min_requests }
    }
}

impl From<&validated::LatencyOutlier> for LatencyOutlier {
    fn from(latency: &validated::LatencyOutlier) -> Self {
        let validated::LatencyOutlier { factor, min_difference, min_endpoints, min_requests } = *latency;
        Self { factor, min_difference: Span(min_difference), min_endpoints, min_requests }
    }
}

impl From<&LatencyOutlier> for validated::LatencyOutlier {
    fn from(latency: &LatencyOutlier) -> Self {
        let LatencyOutlier { factor, min_difference, min_endpoints, min_requests } = *latency;
        Self { factor, min_difference: min_difference.0, min_endpoints, min_requests }
    }
}

impl From<&validated::OutlierEjection> for OutlierEjection {
    fn from(ejection: &validated::OutlierEjection) -> Self {
        Self {
            consecutive_failures: Most::of(ejection.consecutive_failures),
            consecutive_gateway_failures: Most::of(ejection.consecutive_gateway_failures),
            success_rate: ejection.success_rate.as_ref().map(Into::into),
            failure_percentage: ejection.failure_percentage.as_ref().map(Into::into),
            latency: ejection.latency.as_ref().map(Into::into),
            interval: Span(ejection.interval),
            base_time: Span(ejection.base_time),
            max_time: Span(ejection.max_time),
            max_ejected: Percent(ejection.max_ejected),
            max_ejected_endpoints: Most::of(ejection.max_ejected_endpoints),
            return_on_good_probe: ejection.return_on_good_probe,
        }
    }
}

impl From<&OutlierEjection> for validated::OutlierEjection {
    fn from(ejection: &OutlierEjection) -> Self {
        Self {
            consecutive_failures: ejection.consecutive_failures.get(),
            consecutive_gateway_failures: ejection.consecutive_gateway_failures.get(),
            success_rate: ejection.success_rate.as_ref().map(Into::into),
            failure_percentage: ejection.failure_percentage.as_ref().map(Into::into),
            latency: ejection.latency.as_ref().map(Into::into),
            interval: ejection.interval.0,
            base_time: ejection.base_time.0,
            max_time: ejection.max_time.0,
            max_ejected: ejection.max_ejected.0,
            max_ejected_endpoints: ejection.max_ejected_endpoints.get(),
            return_on_good_probe: ejection.return_on_good_probe,
        }
    }
}

impl Default for OutlierEjection {
    fn default() -> Self {
        Self::from(&validated::OutlierEjection::default())
    }
}

impl Default for SuccessRate {
    fn default() -> Self {
        Self::from(&validated::SuccessRate::default())
    }
}

impl Default for FailurePercentage {
    fn default() -> Self {
        Self::from(&validated::FailurePercentage::default())
    }
}

impl Default for LatencyOutlier {
    fn default() -> Self {
        Self::from(&validated::LatencyOutlier::default())
    }
}
