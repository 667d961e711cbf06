//! What the control plane is told of the traffic: the counters that Prometheus reads, every few seconds.

use std::time::Duration;

use sluice_config::wire::{Reply, Report};

use crate::metrics::Metrics;

/// Between two reports. A verdict over a rollout's step needs some of them, and a node that is silent for three is away.
pub(crate) const PERIOD: Duration = Duration::from_secs(5);

/// The reports of this run of the process.
#[derive(Debug, Default)]
pub(crate) struct Reports {
    sequence: u64,
}

impl Reports {
    /// The next one. One that is lost changes nothing: the one after it says all again.
    pub(crate) fn next(&mut self, metrics: &Metrics) -> Reply {
        self.sequence += 1;
        Reply::Report(Report { sequence: self.sequence, pools: metrics.pools() })
    }
}
