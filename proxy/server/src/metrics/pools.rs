//! Reads for the control plane what Prometheus reads for people: the same counters, by pool.
//!
//! Series that nobody holds leave a scrape after a while; a report's counts never fall. So what leaves is added to a
//! sum that stays, by the name of its pool.

use std::collections::BTreeMap;
use std::sync::Arc;

use sluice_config::wire::PoolReport;
use sluice_proxy_core::endpoint::Endpoint;
use sluice_proxy_core::histogram::Histogram;

use super::series::{CLASSES, PoolSeries, RequestSeries};
use super::{PoolKey, RequestKey, State};

/// What one pool has answered.
#[derive(Debug, Clone, Default)]
pub(super) struct Totals {
    classes: [u64; CLASSES.len()],
    /// Sparse: most pools use few of the buckets.
    latency: BTreeMap<u16, u64>,
    latency_sum: u64,
}

impl Totals {
    fn add_counts(&mut self, counts: [u64; CLASSES.len()]) {
        self.classes.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
    }

    fn add_latency(&mut self, histogram: &Histogram) {
        let mut before = 0;
        for (bucket, (_, below)) in histogram.cumulative().enumerate() {
            if below > before {
                let bucket = u16::try_from(bucket).expect("a histogram has fewer than 65,536 buckets");
                *self.latency.entry(bucket).or_default() += below - before;
            }
            before = below;
        }
        self.latency_sum += histogram.sum_micros();
    }
}

/// What has left the output for good.
#[derive(Debug, Default)]
pub(super) struct Retired(BTreeMap<PoolKey, Totals>);

impl Retired {
    pub(super) fn requests(&mut self, gone: Vec<(RequestKey, Arc<RequestSeries>)>) {
        for (key, series) in gone {
            self.0.entry(key.pool()).or_default().add_counts(series.counts());
        }
    }

    pub(super) fn pools(&mut self, gone: Vec<(PoolKey, Arc<PoolSeries>)>) {
        for (key, series) in gone {
            self.0.entry(key).or_default().add_latency(&series.latency());
        }
    }
}

/// Every pool that ever carried a request, or has endpoints now.
pub(super) fn read(state: &State) -> Vec<PoolReport> {
    let mut all = state.retired.0.clone();
    for (key, series) in state.requests.iter() {
        all.entry(key.pool()).or_default().add_counts(series.counts());
    }
    for (key, series) in state.pools.iter() {
        all.entry(key.clone()).or_default().add_latency(&series.latency());
    }
    let standing = standing(state.running.iter().flat_map(|running| &running.endpoints));
    for key in standing.keys() {
        all.entry(key.clone()).or_default();
    }
    all.into_iter().filter_map(|(key, totals)| report(&key, totals, &standing)).collect()
}

/// How many endpoints each pool has, and how many of them may be chosen.
fn standing<'a>(endpoints: impl Iterator<Item = &'a Arc<Endpoint>>) -> BTreeMap<PoolKey, (u32, u32)> {
    let mut pools: BTreeMap<PoolKey, (u32, u32)> = BTreeMap::new();
    for endpoint in endpoints {
        let (all, healthy) = pools.entry(endpoint.id().into()).or_default();
        *all += 1;
        *healthy += u32::from(endpoint.offer().is_eligible());
    }
    pools
}

/// Nothing for requests that did not get as far as a pool, and for pools that only exist.
fn report(key: &PoolKey, totals: Totals, standing: &BTreeMap<PoolKey, (u32, u32)>) -> Option<PoolReport> {
    let (endpoints, healthy) = standing.get(key).copied().unwrap_or_default();
    if endpoints == 0 && totals.classes == [0; CLASSES.len()] {
        return None;
    }
    Some(PoolReport {
        service: key.service.clone()?,
        version: key.version.clone()?,
        region: key.region.clone()?,
        classes: totals.classes,
        latency: totals.latency.into_iter().collect(),
        latency_sum: totals.latency_sum,
        endpoints,
        healthy,
    })
}
