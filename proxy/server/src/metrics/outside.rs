//! What a proxy knows of its control plane and its disk: written by their loops, read by a scrape and by health.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// How it stands with the control plane.
#[derive(Debug, Default)]
pub struct ControlSeries {
    connected: AtomicBool,
    link: Mutex<Link>,
}

#[derive(Debug, Clone, Default)]
struct Link {
    /// When the control plane was last known to be there, while it is not.
    last: Option<Instant>,
    /// Why there is no connection.
    trouble: Option<String>,
}

impl ControlSeries {
    /// There is a connection from now on.
    pub fn opened(&self) {
        *self.link() = Link::default();
        self.connected.store(true, Relaxed);
    }

    /// There is none, for this reason. A connection that is lost was good until now.
    pub fn lost(&self, now: Instant, why: String) {
        let was = self.connected.swap(false, Relaxed);
        let mut link = self.link();
        link.last = if was { Some(now) } else { link.last };
        link.trouble = Some(why);
    }

    /// Whether there is a connection.
    #[must_use]
    pub fn connected(&self) -> bool {
        self.connected.load(Relaxed)
    }

    /// The time since the control plane was last known to be there: none while connected; absent if it never was.
    #[must_use]
    pub fn silent_for(&self, now: Instant) -> Option<Duration> {
        if self.connected() {
            return Some(Duration::ZERO);
        }
        Some(now.saturating_duration_since(self.link().last?))
    }

    /// Why there is no connection; absent while there is one, or before the first try has ended.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.link().trouble.clone()
    }

    fn link(&self) -> MutexGuard<'_, Link> {
        // Each change is complete in itself.
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How writing the last known good went.
#[derive(Debug, Default)]
pub struct KeepSeries {
    written: AtomicU64,
    failed: AtomicU64,
    last: Mutex<Last>,
}

#[derive(Debug, Clone, Default)]
struct Last {
    written: Option<SystemTime>,
    /// Why the last write failed.
    trouble: Option<String>,
}

impl KeepSeries {
    /// A revision is on the disk, since then.
    pub fn found(&self, at: Option<SystemTime>) {
        self.last().written = at;
    }

    /// A revision was written.
    pub fn written(&self, now: SystemTime) {
        self.written.fetch_add(1, Relaxed);
        *self.last() = Last { written: Some(now), trouble: None };
    }

    /// A revision was not written, or nothing can be.
    pub fn failed(&self, why: String) {
        self.failed.fetch_add(1, Relaxed);
        self.last().trouble = Some(why);
    }

    /// Writes by their end.
    #[must_use]
    pub fn writes(&self) -> [(&'static str, u64); 2] {
        [("ok", self.written.load(Relaxed)), ("failed", self.failed.load(Relaxed))]
    }

    /// When the newest one on the disk was written.
    #[must_use]
    pub fn newest(&self) -> Option<SystemTime> {
        self.last().written
    }

    /// Why the last write failed.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.last().trouble.clone()
    }

    fn last(&self) -> MutexGuard<'_, Last> {
        // Each change is complete in itself.
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_counted_from_the_loss_and_not_from_each_try() {
        let (series, now) = (ControlSeries::default(), Instant::now());
        series.lost(now, "refused".to_owned());
        assert_eq!(series.silent_for(now), None, "it was never there");
        series.opened();
        assert_eq!((series.silent_for(now), series.trouble()), (Some(Duration::ZERO), None));
        series.lost(now, "ended".to_owned());
        let later = now + Duration::from_secs(7);
        series.lost(later, "refused".to_owned());
        assert_eq!(series.silent_for(later), Some(Duration::from_secs(7)));
        assert_eq!(series.trouble().as_deref(), Some("refused"));
    }

    #[test]
    fn a_write_that_succeeds_ends_the_trouble() {
        let series = KeepSeries::default();
        series.failed("disk full".to_owned());
        assert_eq!((series.writes(), series.trouble().as_deref()), ([("ok", 0), ("failed", 1)], Some("disk full")));
        series.written(SystemTime::UNIX_EPOCH);
        assert_eq!((series.trouble(), series.newest()), (None, Some(SystemTime::UNIX_EPOCH)));
    }
}
