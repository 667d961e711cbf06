//! What became of a load.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::failure::Failure;

/// One good request.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// When it was due, from the start of the load.
    pub begun: Duration,
    /// When its response was whole.
    pub ended: Duration,
    /// Index into [`Report::origins`].
    pub origin: usize,
    /// Which of the requests that take turns.
    pub request: usize,
    /// Over which connection.
    pub connection: usize,
}

/// What happened.
#[derive(Debug, Default)]
pub struct Report {
    /// Good responses.
    pub good: u64,
    /// By kind: how many, and when and what the first one was.
    pub failures: BTreeMap<&'static str, (u64, String)>,
    /// Every origin that answered, and how often.
    pub origins: Vec<(String, u64)>,
    /// When asked for.
    pub samples: Vec<Sample>,
    /// Connections that the server had closed while they were idle.
    pub reconnects: u64,
    /// From the start to the last response.
    pub elapsed: Duration,
    latencies: Vec<u32>,
}

impl Report {
    pub(super) fn good(&mut self, origin: &str, latency: Duration) -> usize {
        self.good += 1;
        self.latencies.push(u32::try_from(latency.as_micros()).unwrap_or(u32::MAX));
        let known = self.origins.iter().position(|(name, _)| name == origin);
        let index = known.unwrap_or_else(|| {
            self.origins.push((origin.to_owned(), 0));
            self.origins.len() - 1
        });
        self.origins[index].1 += 1;
        index
    }

    pub(super) fn fail(&mut self, failure: &Failure, at: Duration) {
        let first = || (0, format!("first after {at:.3?}: {failure}"));
        self.failures.entry(failure.kind()).or_insert_with(first).0 += 1;
    }

    pub(super) fn finish(&mut self, elapsed: Duration) {
        self.elapsed = elapsed;
        self.latencies.sort_unstable();
    }

    /// Failed requests of every kind.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.failures.values().map(|(count, _)| count).sum()
    }

    /// Failed requests of this kind ([`Failure::kind`]).
    #[must_use]
    pub fn failed_by(&self, kind: &str) -> u64 {
        self.failures.get(kind).map_or(0, |(count, _)| *count)
    }

    /// How often this origin answered.
    #[must_use]
    pub fn by(&self, origin: &str) -> u64 {
        self.origins.iter().find(|(name, _)| name == origin).map_or(0, |(_, count)| *count)
    }

    /// Good responses a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.good as f64 / self.elapsed.as_secs_f64()
    }

    /// The latency that this fraction of the good requests did not exceed.
    #[must_use]
    pub fn percentile(&self, fraction: f64) -> Duration {
        let last = self.latencies.len().saturating_sub(1);
        let at = ((self.latencies.len() as f64 * fraction) as usize).min(last);
        Duration::from_micros(self.latencies.get(at).copied().unwrap_or(0).into())
    }

    /// Holds that no request failed and some were good.
    ///
    /// # Panics
    /// Otherwise; every kind of failure is told.
    pub fn assert_clean(&self) {
        assert!(self.failed() == 0 && self.good > 0, "{self}");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (half, late) = (self.percentile(0.5), self.percentile(0.99));
        write!(f, "{} good, {} failed in {:.1?} ", self.good, self.failed(), self.elapsed)?;
        write!(f, "({:.0}/s, p50 {half:.1?}, p99 {late:.1?})", self.rate())?;
        for (kind, (count, sample)) in &self.failures {
            write!(f, "\n  {kind}: {count}, {sample}")?;
        }
        Ok(())
    }
}
