//! Where probes that are due wait for their turn, so that all of them keep to the rate that the document allows.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sluice_proxy_core::health::{Ceiling, is_late};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::metrics::Metrics;

/// The queue. One permit: whoever has it waits for the next slot, and the others behind it in the order of coming. Waiters
/// that give up leave no gap.
#[derive(Debug)]
pub(super) struct Gate {
    turn: Semaphore,
    state: Mutex<(Ceiling, Option<u32>)>,
    metrics: Metrics,
}

impl Gate {
    pub(super) fn new(metrics: Metrics) -> Self {
        Self { turn: Semaphore::new(1), state: Mutex::default(), metrics }
    }

    /// Probes a second from now on; absent: no limit.
    pub(super) fn allow(&self, rate: Option<u32>) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).1 = rate;
    }

    /// Waits until a probe may begin whose endpoint is asked every `interval`.
    pub(super) async fn pass(&self, interval: Duration) {
        let due = Instant::now();
        let _turn = self.turn.acquire().await.expect("the semaphore of the gate is never closed");
        tokio::time::sleep_until(self.slot()).await;
        if is_late(due.elapsed(), interval) {
            self.metrics.probe_delayed();
        }
    }

    fn slot(&self) -> Instant {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let rate = state.1;
        state.0.admit(rate, Instant::now().into_std()).into()
    }
}
