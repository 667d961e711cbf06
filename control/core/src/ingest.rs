//! What the proxies have counted, as one sum for the fleet, and how many requests a second that is.
//!
//! **Reports are cumulative**: each says all that its process has counted. What is added to the sum is what a report has
//! above the last one that was taken of the same process, so a report that is lost is made up for by the next, and one
//! that comes twice or late adds nothing. The obvious other way, reports of what was counted since the last one, loses
//! requests with each report and counts them twice with each repetition; a rollout would judge by both.
//!
//! **A process that ends** leaves its counts in the sum. Its successor begins at 0 with another incarnation. The last
//! incarnations of a node are remembered: a late report of one of them must not be taken for a new process's.
//!
//! **Rates** come from the same differences, spread evenly over the time that each covers, so that a proxy that was cut
//! off for ten minutes does not look like a burst. What a process had counted before it was first heard belongs to no
//! known time and counts for no rate. The last seconds are left out, because not every node has told of them yet.
//!
//! **Memory is bounded** by [`Bounds`]. What has no room is dropped and counted, and where room is needed, pools that no
//! process tells of any more go first. A pool that was dropped is whole again when there is room: reports are cumulative.
//!
//! `now` must not jump: the shell reads the wall clock once and adds the time since.
//!
//! # Invariants
//! - The sum is that of the newest report of each process, whatever was reordered, repeated or lost.
//! - Counts never fall, also where a process says that its own did, while its pool is kept.
//! - No more is kept than the bounds say.

mod ring;
mod sum;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sluice_config::limit;
use sluice_config::name::{NodeName, RegionName, ServiceName, VersionName};
use sluice_config::timestamp::Timestamp;
use sluice_config::value::Incarnation;
use sluice_config::wire::{PoolReport, Report};

use self::ring::Ring;
pub use self::ring::SLOT;
use self::sum::{Cell, Sum};

/// How many of a node's last incarnations are told from a new one.
const RETIRED: usize = 16;

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Pools of the fleet. A document's endpoints are in fewer.
    pub pools: usize,
    /// Numbers of all processes together: each pool of each process has 8 and one for each bucket of its latencies.
    pub numbers: usize,
}

/// About 60 MB and 200 MB at worst: a thousand proxies that each tell of 150 pools with 40 buckets.
impl Default for Bounds {
    fn default() -> Self {
        Self { pools: 20_000, numbers: 8_000_000 }
    }
}

/// What became of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It is in the sum, but for so many of its pools, for which there is no room.
    Taken {
        /// How many.
        dropped: usize,
    },
    /// A newer one of this process, or one of a later process of the node, was taken before.
    Stale,
}

/// What one pool has answered in the whole fleet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PoolTotals {
    /// Of this service,
    pub service: ServiceName,
    /// this version
    pub version: VersionName,
    /// and this region.
    pub region: RegionName,
    /// The sum of the next.
    pub requests: u64,
    /// Requests by the class of the status sent to the client: 1xx to 5xx, and last those that got none.
    pub classes: [u64; 6],
    /// Times to the end of the answer.
    pub latency: Latency,
    /// Endpoints, by the latest report that tells of the pool.
    pub endpoints: u32,
    /// Those of them that may be chosen, by the same report.
    pub healthy: u32,
}

/// How a pool stands, by the latest report that tells of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolStanding {
    /// Its endpoints.
    pub endpoints: u32,
    /// Those of them that may be chosen.
    pub healthy: u32,
}

/// A distribution of times, in microseconds, each within 1/32. Absent while nothing was counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Latency {
    /// The mean, exact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean_us: Option<u64>,
    /// What half of them do not exceed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p50_us: Option<u64>,
    /// What 90 % of them do not exceed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p90_us: Option<u64>,
    /// What 99 % of them do not exceed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99_us: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Pool {
    service: ServiceName,
    version: VersionName,
    region: RegionName,
}

impl Pool {
    fn of(report: &PoolReport) -> Self {
        let PoolReport { service, version, region, .. } = report;
        Self { service: service.clone(), version: version.clone(), region: region.clone() }
    }
}

/// What is in the sum of one node's present process.
#[derive(Debug, Clone)]
struct Process {
    incarnation: Incarnation,
    /// Those before it, the latest last.
    retired: VecDeque<Incarnation>,
    /// The newest report that was taken, and when.
    last: Option<(u64, Timestamp)>,
    /// Whether that report had pools that were dropped.
    dropped: bool,
    cells: BTreeMap<Pool, Cell>,
}

impl Process {
    fn new(incarnation: Incarnation) -> Self {
        Self { incarnation, retired: VecDeque::new(), last: None, dropped: false, cells: BTreeMap::new() }
    }

    fn is_stale(&self, incarnation: Incarnation, sequence: u64) -> bool {
        let newer = self.last.is_some_and(|(last, _)| last >= sequence);
        self.retired.contains(&incarnation) || (self.incarnation == incarnation && newer)
    }

    /// Over which time the counts of this report have grown, if that is known.
    fn growth(&self, report: &Report, now: Timestamp) -> Option<(Timestamp, Timestamp)> {
        let slot = u64::try_from(SLOT.as_millis()).unwrap_or(u64::MAX);
        let begun = Timestamp::from_millis(now.millis().saturating_sub(slot));
        match self.last {
            Some((_, at)) => Some((at, now)),
            None => (report.sequence <= 1).then_some((begun, now)),
        }
    }
}

/// The sum of all reports.
#[derive(Debug, Clone, Default)]
pub struct Totals {
    bounds: Bounds,
    processes: BTreeMap<NodeName, Process>,
    sums: BTreeMap<Pool, Sum>,
    rates: BTreeMap<ServiceName, Ring>,
    numbers: usize,
    dropped: u64,
}

impl Totals {
    /// Nothing yet, and room for so much.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self { bounds, ..Self::default() }
    }

    /// Takes what a process of a node has counted. The caller lets only nodes report that are listed.
    pub fn take(&mut self, node: &NodeName, incarnation: Incarnation, report: &Report, now: Timestamp) -> Taken {
        let mut process = self.processes.remove(node).unwrap_or_else(|| Process::new(incarnation));
        if process.is_stale(incarnation, report.sequence) {
            self.processes.insert(node.clone(), process);
            return Taken::Stale;
        }
        if process.incarnation != incarnation {
            process = self.succeed(process, incarnation);
        }
        let dropped = self.add(&mut process, report, now);
        process.last = Some((report.sequence, now));
        process.dropped = dropped > 0;
        self.processes.insert(node.clone(), process);
        self.dropped += dropped as u64;
        Taken::Taken { dropped }
    }

    /// A node is listed no more. What it has counted stays in the sum.
    pub fn forget(&mut self, node: &NodeName) {
        if let Some(process) = self.processes.remove(node) {
            self.release(&process);
        }
    }

    /// The sum, by service, version and region.
    #[must_use]
    pub fn pools(&self) -> Vec<PoolTotals> {
        self.sums.iter().map(|(pool, sum)| sum.tell(pool)).collect()
    }

    /// How a pool stands; nothing if no report tells of it.
    #[must_use]
    pub fn standing(&self, service: &ServiceName, version: &VersionName, region: &RegionName) -> Option<PoolStanding> {
        let (service, version, region) = (service.clone(), version.clone(), region.clone());
        self.sums.get(&Pool { service, version, region }).map(Sum::standing)
    }

    /// Requests per second of a service, over the last so long (5 seconds to a minute) of which every node has told, or
    /// over what there is of that. Nothing if that is nothing.
    #[must_use]
    pub fn rate(&self, service: &ServiceName, over: Duration, now: Timestamp) -> Option<f64> {
        self.rates.get(service)?.rate(over, now)
    }

    /// How many pools of reports had no room, in all.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// The next process of a node.
    fn succeed(&mut self, old: Process, incarnation: Incarnation) -> Process {
        self.release(&old);
        let mut retired = old.retired;
        retired.push_back(old.incarnation);
        if retired.len() > RETIRED {
            retired.pop_front();
        }
        Process { retired, ..Process::new(incarnation) }
    }

    /// Nothing will be added to what this process has in the sum.
    fn release(&mut self, process: &Process) {
        for (pool, cell) in &process.cells {
            self.numbers -= cell.numbers();
            if let Some(sum) = self.sums.get_mut(pool) {
                sum.processes -= 1;
            }
        }
    }

    /// Adds what is new in a report. Returns how many of its pools have no room.
    fn add(&mut self, process: &mut Process, report: &Report, now: Timestamp) -> usize {
        let mut sweep = true;
        let mut dropped = 0;
        let growth = process.growth(report, now);
        for told in &report.pools {
            let pool = Pool::of(told);
            if !self.has_room(process.cells.get(&pool), told, &pool, &mut sweep) {
                dropped += 1;
                continue;
            }
            let is_new = !process.cells.contains_key(&pool);
            let cell = process.cells.entry(pool.clone()).or_default();
            let sum = self.sums.entry(pool).or_default();
            sum.processes += usize::from(is_new);
            self.numbers -= if is_new { 0 } else { cell.numbers() };
            let requests = sum.grow(cell, told, now);
            self.numbers += cell.numbers();
            // A pool that had no room before may have counted for longer.
            if let Some((from, to)) = growth.filter(|_| !(is_new && process.dropped)) {
                self.add_rate(&told.service, requests, from, to);
            }
        }
        dropped
    }

    fn has_room(&mut self, cell: Option<&Cell>, told: &PoolReport, pool: &Pool, sweep: &mut bool) -> bool {
        let more = cell.map_or(Cell::EMPTY, |_| 0) + Cell::growth(cell, told);
        if self.numbers + more > self.bounds.numbers {
            return false;
        }
        if self.sums.contains_key(pool) {
            return true;
        }
        if self.sums.len() >= self.bounds.pools && std::mem::take(sweep) {
            self.sums.retain(|_, sum| sum.processes > 0);
        }
        self.sums.len() < self.bounds.pools
    }

    fn add_rate(&mut self, service: &ServiceName, requests: u64, from: Timestamp, to: Timestamp) {
        if !self.rates.contains_key(service) {
            if self.rates.len() >= limit::SERVICES {
                self.rates.retain(|_, ring| ring.is_live(to));
            }
            if self.rates.len() >= limit::SERVICES {
                return;
            }
        }
        self.rates.entry(service.clone()).or_insert_with(|| Ring::new(from)).add(requests, from, to);
    }
}

#[cfg(test)]
mod tests;
