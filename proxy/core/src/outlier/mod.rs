//! Decides which endpoints of a pool are worse than the rest, and for how long they are left out.
//!
//! Two detectors look at one endpoint after each attempt: failures in a row, and gateway failures in a row. Three look at
//! the whole pool once in an interval: success rates far below the pool's (by standard deviations, as Envoy), a part of
//! failures that is bad by itself, and answers much slower than the pool's median. Slowness is judged by the geometric mean of an
//! endpoint's times: a few long answers hardly move it, so a pause for one collection of garbage is no reason, while it
//! can still be counted in one number by all workers.
//!
//! Ejecting helps only while others can carry the load, so it is capped: by percent (one at least, else pools under ten would
//! never eject anyone), by count if wanted, and never the last endpoint that may be given requests: if all are bad the
//! fault is not theirs, and some answers are better than none. What is suppressed is counted with its reason. Each ejection
//! of the same endpoint lasts longer, up to a limit, and each base time without one is forgiven.
//!
//! A floor that Envoy does not have: a success rate must be [`MARGIN`] below the pool's mean; without it a pool that is
//! nearly perfect ejects an endpoint for one failure in a thousand.
//!
//! Invariants: nobody is ejected but for a cause; whom the caps protect is named; the worst come first; times grow with each
//! ejection and never exceed the limit.

mod ejections;

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use sluice_config::share::Share;
use sluice_config::validated::{FailurePercentage, LatencyOutlier, OutlierEjection, SuccessRate};

pub use self::ejections::{Ejected, Ejections, Return};
use crate::breaker::run;
use crate::sample::{Class, Sample};

/// How far below the pool's mean a success rate must be at least.
pub const MARGIN: f64 = 0.05;

/// Whether anybody looks at the whole pool.
#[must_use]
pub const fn sweeps(policy: &OutlierEjection) -> bool {
    policy.success_rate.is_some() || policy.failure_percentage.is_some() || policy.latency.is_some()
}

/// What is counted for whoever looks at the whole pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Counted {
    #[default]
    Nothing,
    Attempts,
    /// Of attempts, the times as well.
    Times,
}

impl Counted {
    pub(crate) const fn of(policy: &OutlierEjection) -> Self {
        match (sweeps(policy), policy.latency.is_some()) {
            (false, _) => Self::Nothing,
            (true, false) => Self::Attempts,
            (true, true) => Self::Times,
        }
    }
}

/// How many of so many endpoints may be ejected at once.
#[must_use]
pub fn most(policy: &OutlierEjection, members: usize) -> usize {
    let part = members as u128 * u128::from(policy.max_ejected.ppm()) / u128::from(Share::WHOLE.ppm());
    let most = usize::try_from(part).unwrap_or(members).max(1);
    policy.max_ejected_endpoints.map_or(most, |count| most.min(count as usize))
}

/// Why an endpoint is ejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// Failures in a row.
    Consecutive,
    /// Gateway failures in a row.
    Gateway,
    /// A success rate far below the pool's.
    SuccessRate,
    /// A part of failures that is bad by itself.
    FailurePercentage,
    /// Slower than the pool.
    Latency,
}

impl Cause {
    /// All, in the order in which the same badness is told.
    pub const ALL: [Self; 5] =
        [Self::Consecutive, Self::Gateway, Self::SuccessRate, Self::FailurePercentage, Self::Latency];

    /// A stable name for metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Consecutive => "consecutive_failures",
            Self::Gateway => "consecutive_gateway_failures",
            Self::SuccessRate => "success_rate",
            Self::FailurePercentage => "failure_percentage",
            Self::Latency => "latency",
        }
    }
}

/// Why an endpoint that should be ejected is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Suppressed {
    /// Nobody else of its pool may be given requests.
    Last,
    /// So large a part of the pool is ejected already.
    Share,
    /// So many of the pool are ejected already.
    Count,
    /// An operator keeps it in.
    Forced,
}

impl Suppressed {
    /// All.
    pub const ALL: [Self; 4] = [Self::Last, Self::Share, Self::Count, Self::Forced];

    /// A stable name for metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Last => "last_eligible",
            Self::Share => "max_ejected",
            Self::Count => "max_ejected_endpoints",
            Self::Forced => "forced",
        }
    }
}

/// The pool of an endpoint that should be ejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crowd {
    /// All endpoints with a weight.
    pub members: usize,
    /// Of these, ejected now.
    pub ejected: usize,
    /// Of these without the one in question, those that may be given requests now.
    pub others: usize,
}

/// Whether one more endpoint of a pool may be ejected.
///
/// # Errors
/// What protects it.
pub fn admit(policy: &OutlierEjection, crowd: Crowd) -> Result<(), Suppressed> {
    if crowd.others == 0 {
        return Err(Suppressed::Last);
    }
    if crowd.ejected >= most(policy, crowd.members) {
        let by_count = policy.max_ejected_endpoints.is_some_and(|count| crowd.ejected >= count as usize);
        return Err(if by_count { Suppressed::Count } else { Suppressed::Share });
    }
    Ok(())
}

/// What one endpoint did in an interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Attempts.
    pub requests: u32,
    /// Of these, failed.
    pub failures: u32,
    /// The geometric mean of the times of the others; zero if there are none.
    pub typical: Duration,
}

impl Stats {
    fn rate(&self) -> f64 {
        f64::from(self.requests - self.failures.min(self.requests)) / f64::from(self.requests.max(1))
    }
}

/// Who of a pool should be ejected, the worst first, each once.
#[must_use]
pub fn sweep(stats: &[Stats], policy: &OutlierEjection) -> Vec<(usize, Cause)> {
    let mut found: Vec<(usize, Cause)> = Vec::new();
    let by_rate = policy.success_rate.map(|rule| below_the_rest(stats, &rule)).unwrap_or_default();
    let by_part = policy.failure_percentage.map(|rule| bad_by_themselves(stats, &rule)).unwrap_or_default();
    let by_time = policy.latency.map(|rule| slower_than_the_rest(stats, &rule)).unwrap_or_default();
    let named = [(by_rate, Cause::SuccessRate), (by_part, Cause::FailurePercentage), (by_time, Cause::Latency)];
    for (ats, cause) in named {
        let new: Vec<_> = ats.into_iter().filter(|at| found.iter().all(|(known, _)| known != at)).collect();
        found.extend(new.into_iter().map(|at| (at, cause)));
    }
    found
}

/// Of those with enough requests, in the order of the list.
fn enough(stats: &[Stats], min_endpoints: u32, min_requests: u32) -> Vec<usize> {
    let busy: Vec<_> = (0..stats.len()).filter(|at| stats[*at].requests >= min_requests.max(1)).collect();
    if busy.len() < min_endpoints as usize { Vec::new() } else { busy }
}

fn below_the_rest(stats: &[Stats], rule: &SuccessRate) -> Vec<usize> {
    let busy = enough(stats, rule.min_endpoints, rule.min_requests);
    let count = busy.len().max(1) as f64;
    let mean = busy.iter().map(|at| stats[*at].rate()).sum::<f64>() / count;
    let spread = busy.iter().map(|at| (stats[*at].rate() - mean).powi(2)).sum::<f64>() / count;
    let least = mean - (rule.deviations.factor() * spread.sqrt()).max(MARGIN);
    let mut found: Vec<_> = busy.into_iter().filter(|at| stats[*at].rate() < least).collect();
    found.sort_by(|a, b| stats[*a].rate().total_cmp(&stats[*b].rate()));
    found
}

fn bad_by_themselves(stats: &[Stats], rule: &FailurePercentage) -> Vec<usize> {
    let (most, whole) = (u64::from(rule.threshold.ppm()), u64::from(Share::WHOLE.ppm()));
    let is_bad = |one: &Stats| u64::from(one.failures) * whole >= u64::from(one.requests) * most;
    let busy = enough(stats, rule.min_endpoints, rule.min_requests);
    let mut found: Vec<_> = busy.into_iter().filter(|at| is_bad(&stats[*at])).collect();
    found.sort_by(|a, b| stats[*a].rate().total_cmp(&stats[*b].rate()));
    found
}

fn slower_than_the_rest(stats: &[Stats], rule: &LatencyOutlier) -> Vec<usize> {
    let answers = |at: &usize| stats[*at].requests - stats[*at].failures.min(stats[*at].requests);
    let mut busy: Vec<_> = (0..stats.len()).filter(|at| answers(at) >= rule.min_requests.max(1)).collect();
    if busy.len() < rule.min_endpoints.max(1) as usize {
        return Vec::new();
    }
    busy.sort_by_key(|at| std::cmp::Reverse(stats[*at].typical));
    // Of an even number the slower of the two in the middle.
    let median = stats[busy[(busy.len() - 1) / 2]].typical;
    let most = median.mul_f64(rule.factor.factor()).max(median + rule.min_difference);
    busy.into_iter().take_while(|at| stats[*at].typical > most).collect()
}

/// What one endpoint did, counted by all workers without a lock.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    streak: AtomicU32,
    gateway: AtomicU32,
    requests: AtomicU32,
    failures: AtomicU32,
    /// The sum of the logarithms of the times of what did not fail.
    logs: AtomicU64,
}

/// Logarithms to the base of 2 are kept in so many parts.
const PARTS: f32 = 1024.0;

impl Tally {
    /// Counts one attempt; answers with why the endpoint should be ejected at once. Told again with each multiple of a
    /// threshold, since it may have been suppressed.
    pub(crate) fn note(&self, sample: &Sample, policy: &OutlierEjection) -> Option<Cause> {
        if sample.class == Class::Unanswered {
            return None;
        }
        match Counted::of(policy) {
            Counted::Nothing => {}
            Counted::Attempts => self.count(sample, false),
            Counted::Times => self.count(sample, true),
        }
        let streak = run(&self.streak, sample.class.is_failure());
        let gateway = run(&self.gateway, sample.class == Class::GatewayFailure);
        let reached =
            |streak: u32, most: Option<u32>| most.is_some_and(|most| streak > 0 && streak.is_multiple_of(most.max(1)));
        if reached(streak, policy.consecutive_failures) {
            return Some(Cause::Consecutive);
        }
        reached(gateway, policy.consecutive_gateway_failures).then_some(Cause::Gateway)
    }

    fn count(&self, sample: &Sample, timed: bool) {
        self.requests.fetch_add(1, Relaxed);
        if sample.class.is_failure() {
            self.failures.fetch_add(1, Relaxed);
        } else if let Some(took) = sample.took.filter(|_| timed) {
            let micros = took.as_secs_f32().max(1e-6) * 1e6;
            self.logs.fetch_add((libm::log2f(micros) * PARTS) as u64, Relaxed);
        }
    }

    /// What was counted since the last call.
    pub(crate) fn take(&self) -> Stats {
        let (requests, failures) = (self.requests.swap(0, Relaxed), self.failures.swap(0, Relaxed));
        let (logs, answers) = (self.logs.swap(0, Relaxed), requests.saturating_sub(failures));
        let typical = if answers == 0 {
            Duration::ZERO
        } else {
            Duration::from_secs_f64(libm::exp2(logs as f64 / f64::from(answers) / f64::from(PARTS)).min(1e12) / 1e6)
        };
        Stats { requests, failures, typical }
    }

    /// A new chance: streaks of before an ejection do not count after it.
    pub(crate) fn clear(&self) {
        [&self.streak, &self.gateway, &self.requests, &self.failures].into_iter().for_each(|it| it.store(0, Relaxed));
        self.logs.store(0, Relaxed);
    }
}

#[cfg(test)]
mod tests;
