//! Series by their labels: the same labels, the same series, for as long as anybody uses it and a while longer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a series that nothing can write to any more stays in the output, so that the last scrapes before a revision
/// and the first after it see its final counts, and a rollback within this time goes on counting.
pub(super) const KEPT: Duration = Duration::from_secs(600);

#[derive(Debug)]
pub(super) struct Keyed<K, S> {
    slots: BTreeMap<K, Slot<S>>,
}

#[derive(Debug)]
struct Slot<S> {
    series: Arc<S>,
    /// Since when nobody else holds the series.
    unused: Option<Instant>,
}

impl<K, S> Default for Keyed<K, S> {
    fn default() -> Self {
        Self { slots: BTreeMap::new() }
    }
}

impl<K: Ord, S> Keyed<K, S> {
    pub(super) fn find(&mut self, key: &K) -> Option<Arc<S>> {
        let slot = self.slots.get_mut(key)?;
        slot.unused = None;
        Some(Arc::clone(&slot.series))
    }

    pub(super) fn insert(&mut self, key: K, series: Arc<S>) {
        self.slots.insert(key, Slot { series, unused: None });
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &Arc<S>)> {
        self.slots.iter().map(|(key, slot)| (key, &slot.series))
    }

    /// Forgets what nobody has held for [`KEPT`], as seen by the calls of this function, and answers with it.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<(K, Arc<S>)> {
        let over = self.slots.extract_if(.., |_, slot| {
            if Arc::strong_count(&slot.series) > 1 {
                slot.unused = None;
                return false;
            }
            now.saturating_duration_since(*slot.unused.get_or_insert(now)) >= KEPT
        });
        over.map(|(key, slot)| (key, slot.series)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_outlives_its_last_holder_by_the_time_stated() {
        let start = Instant::now();
        let mut keyed = Keyed::default();
        let held = Arc::new(());
        keyed.insert("a", Arc::clone(&held));
        keyed.expire(start);
        keyed.expire(start + 10 * KEPT);
        drop(held);
        keyed.expire(start + 11 * KEPT);
        keyed.expire(start + 12 * KEPT - Duration::from_secs(1));
        assert_eq!(keyed.len(), 1);
        keyed.expire(start + 12 * KEPT);
        assert_eq!(keyed.len(), 0);
    }

    #[test]
    fn a_holder_that_returns_stops_the_clock() {
        let start = Instant::now();
        let mut keyed = Keyed::default();
        keyed.insert("a", Arc::new(7));
        keyed.expire(start);
        let held = keyed.find(&"a");
        keyed.expire(start + KEPT);
        assert_eq!(held.as_deref(), Some(&7));
        drop(held);
        keyed.expire(start + KEPT + Duration::from_secs(1));
        assert_eq!(keyed.len(), 1);
    }

    #[test]
    fn a_series_that_was_asked_for_lately_stays() {
        let start = Instant::now();
        let mut keyed = Keyed::default();
        keyed.insert("a", Arc::new(7));
        keyed.expire(start);
        drop(keyed.find(&"a"));
        keyed.expire(start + KEPT);
        assert_eq!(keyed.len(), 1);
    }
}
