//! How often one endpoint was ejected, and until when it is.

use std::time::{Duration, Instant};

use sluice_config::validated::OutlierEjection;

use super::Cause;

/// The ejections of one endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ejections {
    /// How often lately: by so many base times the next one is longer.
    times: u32,
    ejected: Option<Ejected>,
    /// Since when the current count is one too many.
    well_since: Option<Instant>,
}

/// A running ejection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ejected {
    /// Why.
    pub cause: Cause,
    /// From when.
    pub since: Instant,
    /// To when, unless it is ended before.
    pub until: Instant,
}

/// Why an ejection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Return {
    /// Its time was over.
    Waited,
    /// Its health check found it good.
    GoodProbe,
    /// The service ejects nobody any more.
    Removed,
}

impl Return {
    /// A stable name for metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waited => "waited",
            Self::GoodProbe => "good_probe",
            Self::Removed => "removed",
        }
    }
}

impl Ejections {
    /// The running one.
    #[must_use]
    pub const fn running(&self) -> Option<Ejected> {
        self.ejected
    }

    /// How many count for the length of the next.
    #[must_use]
    pub const fn times(&self) -> u32 {
        self.times
    }

    /// Ejects; answers with the ejection, or none if one is running.
    pub fn eject(&mut self, cause: Cause, policy: &OutlierEjection, now: Instant) -> Option<Ejected> {
        if self.ejected.is_some() {
            return None;
        }
        self.forgive(policy, now);
        self.times = self.times.saturating_add(1);
        let lasts = policy.base_time.saturating_mul(self.times).min(policy.max_time);
        self.well_since = None;
        self.ejected = Some(Ejected { cause, since: now, until: now + lasts });
        self.ejected
    }

    /// Takes the time; answers with why an ejection ended, if one did.
    pub fn step(&mut self, policy: Option<&OutlierEjection>, now: Instant) -> Option<Return> {
        let Some(policy) = policy else {
            (self.times, self.well_since) = (0, None);
            return self.end().map(|_| Return::Removed);
        };
        if self.ejected.is_some_and(|ejected| now >= ejected.until) {
            self.end();
            self.well_since = Some(now);
            return Some(Return::Waited);
        }
        if self.ejected.is_none() && self.times > 0 {
            self.well_since.get_or_insert(now);
            self.forgive(policy, now);
        }
        None
    }

    /// Ends the running ejection, if there is one. What is forgiven is counted from the next step.
    pub fn end(&mut self) -> Option<Ejected> {
        self.ejected.take()
    }

    /// When it wants to be told the time.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.ejected.map(|ejected| ejected.until)
    }

    /// One ejection for each base time without one.
    fn forgive(&mut self, policy: &OutlierEjection, now: Instant) {
        let Some(since) = self.well_since else { return };
        let base = policy.base_time.max(Duration::from_millis(1));
        let passed = now.saturating_duration_since(since).as_nanos() / base.as_nanos();
        let forgiven = u32::try_from(passed).unwrap_or(u32::MAX).min(self.times);
        self.times -= forgiven;
        self.well_since = (self.times > 0).then(|| since + base * forgiven);
    }
}
