//! The handles of the connections to endpoints.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

use sluice_config::validated::Protocol;

use super::shard::Sharded;

/// The connections to all endpoints.
#[derive(Debug)]
pub struct UpstreamSeries {
    idle: Sharded<AtomicI64>,
    /// By protocol, in the order of [`Protocol`].
    open: Sharded<[AtomicI64; PROTOCOLS.len()]>,
    connects: Sharded<[AtomicU64; CONNECTS.len()]>,
}

/// The values of the label `protocol`, in the order of [`Protocol`].
const PROTOCOLS: [&str; 2] = ["http1", "http2"];

/// An open connection to an endpoint, counted until it is dropped.
#[derive(Debug)]
pub struct OpenUpstream {
    series: Arc<UpstreamSeries>,
    worker: usize,
    protocol: Protocol,
}

impl Drop for OpenUpstream {
    fn drop(&mut self) {
        self.series.open.of(self.worker)[self.protocol as usize].fetch_sub(1, Relaxed);
    }
}

/// How a dial ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connect {
    /// Connected.
    Ok,
    /// Nobody listens there.
    Refused,
    /// Not within the connect timeout.
    Timeout,
    /// The TLS handshake failed.
    Tls,
    /// Anything else.
    Failed,
}

/// The values of the label `result`, in the order of [`Connect`].
const CONNECTS: [&str; 5] = ["ok", "refused", "timeout", "tls", "failed"];

impl UpstreamSeries {
    pub(super) fn new(workers: usize) -> Self {
        Self { idle: Sharded::new(workers), open: Sharded::new(workers), connects: Sharded::new(workers) }
    }

    /// Counts a dial by its end.
    pub fn connected(&self, worker: usize, end: Connect) {
        self.connects.of(worker)[end as usize].fetch_add(1, Relaxed);
    }

    /// Counts a connection for as long as what is returned lives.
    pub fn opened(self: &Arc<Self>, worker: usize, protocol: Protocol) -> OpenUpstream {
        self.open.of(worker)[protocol as usize].fetch_add(1, Relaxed);
        OpenUpstream { series: Arc::clone(self), worker, protocol }
    }

    pub(super) fn open(&self) -> [(&'static str, i64); PROTOCOLS.len()] {
        let sum = |protocol: usize| self.open.iter().map(|part| part[protocol].load(Relaxed)).sum();
        std::array::from_fn(|protocol| (PROTOCOLS[protocol], sum(protocol)))
    }

    /// Counts connections that became idle (above 0) or were taken, closed or lost (below).
    pub fn idle_changed(&self, worker: usize, by: i64) {
        self.idle.of(worker).fetch_add(by, Relaxed);
    }

    pub(super) fn idle(&self) -> i64 {
        self.idle.sum()
    }

    pub(super) fn connects(&self) -> [(&'static str, u64); CONNECTS.len()] {
        std::array::from_fn(|end| (CONNECTS[end], self.connects.iter().map(|part| part[end].load(Relaxed)).sum()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_of_a_dial_has_its_name() {
        let upstream = UpstreamSeries::new(1);
        let ends =
            [(Connect::Ok, 5), (Connect::Refused, 4), (Connect::Timeout, 3), (Connect::Tls, 2), (Connect::Failed, 1)];
        for (end, times) in ends {
            (0..times).for_each(|worker| upstream.connected(worker, end));
        }
        assert_eq!(upstream.connects(), [("ok", 5), ("refused", 4), ("timeout", 3), ("tls", 2), ("failed", 1)]);
    }
}
