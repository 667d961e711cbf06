//! The counts of one pool: of one process, and of all.

use std::collections::BTreeMap;

use sluice_config::timestamp::Timestamp;
use sluice_config::wire::PoolReport;
use sluice_proxy_core::histogram::{BUCKETS, Histogram};

use super::{Latency, Pool, PoolStanding, PoolTotals};

/// What is in the sum of one process's pool.
#[derive(Debug, Clone, Default)]
pub(super) struct Cell {
    classes: [u64; 6],
    latency: BTreeMap<u16, u64>,
    latency_sum: u64,
}

impl Cell {
    /// The numbers of a pool without latencies.
    pub(super) const EMPTY: usize = 8;

    /// How many numbers are kept.
    pub(super) fn numbers(&self) -> usize {
        Self::EMPTY + self.latency.len()
    }

    /// How many buckets a report may add at most.
    pub(super) fn growth(cell: Option<&Self>, told: &PoolReport) -> usize {
        let is_new = |at: &u16| is_bucket(*at) && cell.is_none_or(|cell| !cell.latency.contains_key(at));
        told.latency.iter().filter(|(at, _)| is_new(at)).count()
    }
}

/// What all processes have counted of a pool.
#[derive(Debug, Clone)]
pub(super) struct Sum {
    counts: Cell,
    endpoints: u32,
    healthy: u32,
    /// When the latest report told of it.
    at: Timestamp,
    /// How many processes tell of it.
    pub(super) processes: usize,
}

impl Default for Sum {
    fn default() -> Self {
        let at = Timestamp::from_millis(0);
        Self { counts: Cell::default(), endpoints: 0, healthy: 0, at, processes: 0 }
    }
}

impl Sum {
    /// Adds what a process has counted above what is in the sum already. Returns how many requests that is.
    pub(super) fn grow(&mut self, cell: &mut Cell, told: &PoolReport, now: Timestamp) -> u64 {
        let classes = self.counts.classes.iter_mut().zip(&mut cell.classes).zip(&told.classes);
        let requests = classes.map(|((sum, counted), told)| raise(sum, counted, *told));
        let requests = requests.fold(0, u64::saturating_add);
        for (at, told) in told.latency.iter().filter(|(at, _)| is_bucket(*at)) {
            let sum = self.counts.latency.entry(*at).or_default();
            raise(sum, cell.latency.entry(*at).or_default(), *told);
        }
        raise(&mut self.counts.latency_sum, &mut cell.latency_sum, told.latency_sum);
        if now >= self.at {
            (self.endpoints, self.healthy, self.at) = (told.endpoints, told.healthy, now);
        }
        requests
    }

    pub(super) fn tell(&self, pool: &Pool) -> PoolTotals {
        let Pool { service, version, region } = pool.clone();
        PoolTotals {
            service,
            version,
            region,
            requests: self.counts.classes.iter().copied().fold(0, u64::saturating_add),
            classes: self.counts.classes,
            latency: self.latency(),
            endpoints: self.endpoints,
            healthy: self.healthy,
        }
    }

    pub(super) const fn standing(&self) -> PoolStanding {
        PoolStanding { endpoints: self.endpoints, healthy: self.healthy }
    }

    fn latency(&self) -> Latency {
        let histogram = Histogram::default();
        self.counts.latency.iter().for_each(|(at, count)| {
            histogram.add(*at, *count);
        });
        Latency {
            mean_us: self.counts.latency_sum.checked_div(histogram.count()),
            p50_us: histogram.quantile(0.5),
            p90_us: histogram.quantile(0.9),
            p99_us: histogram.quantile(0.99),
        }
    }
}

fn is_bucket(at: u16) -> bool {
    usize::from(at) < BUCKETS
}

/// Brings a count up to what is told now and the sum with it. Returns by how much.
fn raise(sum: &mut u64, counted: &mut u64, told: u64) -> u64 {
    let more = told.saturating_sub(*counted);
    *counted += more;
    *sum = sum.saturating_add(more);
    more
}
