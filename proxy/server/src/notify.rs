//! What a service manager is told: the protocol of `sd_notify(3)`. Without one, nobody is.

use std::convert::Infallible;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::sync::{mpsc, oneshot};

use crate::house::Command;

/// The process serves, or has read again what it was to read again.
pub(crate) fn ready(words: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(words)]);
}

/// The process reads again what may have changed; [`ready`] follows.
pub(crate) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!(%error, "the service manager is not told of the reload: no clock"),
    }
}

/// The process leaves.
pub(crate) fn stopping(words: &str) {
    tell(&[NotifyState::Stopping, NotifyState::Status(words)]);
}

/// What it does, for people.
pub(crate) fn status(words: &str) {
    tell(&[NotifyState::Status(words)]);
}

/// Another process is the service from now on.
pub(crate) fn main_process(process: u32) {
    tell(&[NotifyState::MainPid(process)]);
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "the service manager is not told: its socket cannot be written to");
    }
}

/// Tells the service manager, if it wants to know, that the process is alive, as long as every worker answers. A worker that hangs has connections that
/// nobody serves, and only a new process mends that.
pub(crate) async fn watchdog(workers: Vec<mpsc::UnboundedSender<Command>>) -> Infallible {
    let Some(limit) = sd_notify::watchdog_enabled() else { return std::future::pending().await };
    watch(limit, workers, || tell(&[NotifyState::Watchdog])).await
}

async fn watch(limit: Duration, workers: Vec<mpsc::UnboundedSender<Command>>, tell: impl Fn()) -> Infallible {
    // Twice within the limit, so that one may be late.
    let period = limit / 2;
    let mut tick = tokio::time::interval(period.max(Duration::from_millis(1)));
    loop {
        tick.tick().await;
        if tokio::time::timeout(period, all_answer(&workers)).await.unwrap_or(false) {
            tell();
        } else {
            tracing::error!(limit = ?limit, "a worker does not answer; the service manager is not told that all is well");
        }
    }
}

async fn all_answer(workers: &[mpsc::UnboundedSender<Command>]) -> bool {
    for worker in workers {
        let (answer, answered) = oneshot::channel();
        if worker.send(Command::Answer(answer)).is_err() || answered.await.is_err() {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn nobody_is_told_that_all_is_well_when_a_worker_hangs() {
        let (first, mut orders) = mpsc::unbounded_channel();
        let (second, mut hanging) = mpsc::unbounded_channel();
        let told = Cell::new(0);
        let limit = Duration::from_secs(10);
        let answer = async {
            while let Some(Command::Answer(answer)) = orders.recv().await {
                answer.send(()).unwrap();
            }
        };
        tokio::select! {
            never = watch(limit, vec![first.clone()], || told.set(told.get() + 1)) => match never {},
            () = answer => {}
            () = tokio::time::sleep(3 * limit) => {}
        }
        let well = told.replace(0);
        assert!(well >= 5, "{well}");
        tokio::select! {
            never = watch(limit, vec![second], || told.set(told.get() + 1)) => match never {},
            () = async { while hanging.recv().await.is_some() {} } => {}
            () = tokio::time::sleep(3 * limit) => {}
        }
        // Answers that were dropped are none either.
        assert_eq!(told.get(), 0);
    }
}
