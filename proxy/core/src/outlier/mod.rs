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
//! Two floors that Envoy does not have: a success rate must be [`MARGIN`] below the pool's mean, and a latency
//! [`NOISE`] above the median; without them a pool that is nearly perfect ejects an endpoint for one failure in a
//! thousand.
//!
//! Invariants: nobody is ejected but for a cause; whom the caps protect is named; the worst come first; times grow with each
//! ejection and never exceed the limit.

mod ejections;

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use sluice_config::share::Share;

pub use self::ejections::{Ejected, Ejections, Return};
use crate::breaker::run;
use crate::sample::{Class, Sample};

/// How far below the pool's mean a success rate must be at least.
pub const MARGIN: f64 = 0.05;

/// How far above the pool's median a latency must be at least.
pub const NOISE: Duration = Duration::from_millis(2);

/// Who is ejected, and for how long.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Failures in a row.
    pub consecutive: Option<u32>,
    /// Gateway failures in a row.
    pub gateway: Option<u32>,
    /// Success rates far below the pool's.
    pub success_rate: Option<SuccessRate>,
    /// A part of failures that is bad by itself.
    pub failure_percentage: Option<FailurePercentage>,
    /// Answers slower than the pool's.
    pub latency: Option<Slowness>,
    /// Between two looks at the whole pool.
    pub interval: Duration,
    /// For how long the first ejection of an endpoint lasts.
    pub base_time: Duration,
    /// For how long one lasts at most.
    pub max_time: Duration,
    /// The part of a pool that may be ejected at once; one endpoint always may.
    pub max_share: Share,
    /// How many of a pool may be ejected at once.
    pub max_count: Option<u32>,
    /// Whether as many good probes as bring an endpoint back that is out end an ejection too.
    pub return_on_good_probe: bool,
}

/// Finds success rates that are far below the pool's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SuccessRate {
    /// Fewer endpoints with enough requests cannot be compared.
    pub min_hosts: usize,
    /// Fewer requests in an interval say nothing.
    pub min_requests: u32,
    /// How many standard deviations below the mean are too many.
    pub stdev_factor: f64,
}

/// Finds parts of failures that are bad by themselves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FailurePercentage {
    /// That part.
    pub threshold: Share,
    /// With fewer endpoints with enough requests nobody is ejected.
    pub min_hosts: usize,
    /// Fewer requests in an interval say nothing.
    pub min_requests: u32,
}

/// Finds endpoints that answer more slowly than the pool.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Slowness {
    /// How many times the median is too slow.
    pub factor: f64,
    /// Fewer endpoints with enough requests have no median.
    pub min_hosts: usize,
    /// Fewer answers in an interval say nothing.
    pub min_requests: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            consecutive: Some(5),
            gateway: Some(5),
            success_rate: Some(SuccessRate::default()),
            failure_percentage: Some(FailurePercentage::default()),
            latency: Some(Slowness::default()),
            interval: Duration::from_secs(10),
            base_time: Duration::from_secs(30),
            max_time: Duration::from_secs(300),
            max_share: Share::from_ppm(300_000).unwrap_or(Share::WHOLE),
            max_count: None,
            return_on_good_probe: true,
        }
    }
}

impl Default for SuccessRate {
    fn default() -> Self {
        Self { min_hosts: 5, min_requests: 100, stdev_factor: 1.9 }
    }
}

impl Default for FailurePercentage {
    fn default() -> Self {
        Self { threshold: Share::from_ppm(850_000).unwrap_or(Share::WHOLE), min_hosts: 3, min_requests: 50 }
    }
}

impl Default for Slowness {
    fn default() -> Self {
        Self { factor: 3.0, min_hosts: 3, min_requests: 20 }
    }
}

impl Policy {
    /// Whether anybody looks at the whole pool.
    #[must_use]
    pub const fn sweeps(&self) -> bool {
        self.success_rate.is_some() || self.failure_percentage.is_some() || self.latency.is_some()
    }

    /// How many of so many endpoints may be ejected at once.
    #[must_use]
    pub fn most(&self, members: usize) -> usize {
        let part = members as u128 * u128::from(self.max_share.ppm()) / u128::from(Share::WHOLE.ppm());
        let most = usize::try_from(part).unwrap_or(members).max(1);
        self.max_count.map_or(most, |count| most.min(count as usize))
    }
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
}

impl Suppressed {
    /// All.
    pub const ALL: [Self; 3] = [Self::Last, Self::Share, Self::Count];

    /// A stable name for metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Last => "last_eligible",
            Self::Share => "max_share",
            Self::Count => "max_count",
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
pub fn admit(policy: &Policy, crowd: Crowd) -> Result<(), Suppressed> {
    if crowd.others == 0 {
        return Err(Suppressed::Last);
    }
    if crowd.ejected >= policy.most(crowd.members) {
        let by_count = policy.max_count.is_some_and(|count| crowd.ejected >= count as usize);
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
pub fn sweep(stats: &[Stats], policy: &Policy) -> Vec<(usize, Cause)> {
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
fn enough(stats: &[Stats], min_hosts: usize, min_requests: u32) -> Vec<usize> {
    let busy: Vec<_> = (0..stats.len()).filter(|at| stats[*at].requests >= min_requests.max(1)).collect();
    if busy.len() < min_hosts { Vec::new() } else { busy }
}

fn below_the_rest(stats: &[Stats], rule: &SuccessRate) -> Vec<usize> {
    let busy = enough(stats, rule.min_hosts, rule.min_requests);
    let count = busy.len().max(1) as f64;
    let mean = busy.iter().map(|at| stats[*at].rate()).sum::<f64>() / count;
    let spread = busy.iter().map(|at| (stats[*at].rate() - mean).powi(2)).sum::<f64>() / count;
    let least = mean - (rule.stdev_factor * spread.sqrt()).max(MARGIN);
    let mut found: Vec<_> = busy.into_iter().filter(|at| stats[*at].rate() < least).collect();
    found.sort_by(|a, b| stats[*a].rate().total_cmp(&stats[*b].rate()));
    found
}

fn bad_by_themselves(stats: &[Stats], rule: &FailurePercentage) -> Vec<usize> {
    let most = f64::from(rule.threshold.ppm()) / f64::from(Share::WHOLE.ppm());
    let busy = enough(stats, rule.min_hosts, rule.min_requests);
    let mut found: Vec<_> = busy.into_iter().filter(|at| 1.0 - stats[*at].rate() >= most).collect();
    found.sort_by(|a, b| stats[*a].rate().total_cmp(&stats[*b].rate()));
    found
}

fn slower_than_the_rest(stats: &[Stats], rule: &Slowness) -> Vec<usize> {
    let answers = |at: &usize| stats[*at].requests - stats[*at].failures.min(stats[*at].requests);
    let mut busy: Vec<_> = (0..stats.len()).filter(|at| answers(at) >= rule.min_requests.max(1)).collect();
    if busy.len() < rule.min_hosts.max(1) {
        return Vec::new();
    }
    busy.sort_by_key(|at| std::cmp::Reverse(stats[*at].typical));
    // Of an even number the slower of the two in the middle.
    let median = stats[busy[(busy.len() - 1) / 2]].typical;
    let most = median.mul_f64(rule.factor.max(1.0)).max(median + NOISE);
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
    pub(crate) fn note(&self, sample: &Sample, policy: &Policy) -> Option<Cause> {
        if policy.sweeps() {
            self.count(sample, policy.latency.is_some());
        }
        let streak = run(&self.streak, sample.class.is_failure());
        let gateway = run(&self.gateway, sample.class == Class::GatewayFailure);
        let reached =
            |streak: u32, most: Option<u32>| most.is_some_and(|most| streak > 0 && streak.is_multiple_of(most.max(1)));
        if reached(streak, policy.consecutive) {
            return Some(Cause::Consecutive);
        }
        reached(gateway, policy.gateway).then_some(Cause::Gateway)
    }

    fn count(&self, sample: &Sample, timed: bool) {
        self.requests.fetch_add(1, Relaxed);
        if sample.class.is_failure() {
            self.failures.fetch_add(1, Relaxed);
        } else if timed {
            let micros = sample.took.as_secs_f32().max(1e-6) * 1e6;
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
