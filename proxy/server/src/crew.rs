//! The threads that serve, as the process sees them.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::Poll;
use std::thread::JoinHandle;
use std::time::Duration;

use sluice_proxy_core::leave::{Event, Leave, Phase};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, interval_at, sleep_until};

use crate::house::{self, Command};
use crate::metrics::Metrics;
use crate::notify;
use crate::process::Signals;
use crate::worker::Equipment;

/// How often is told what is waited for.
const PROGRESS: Duration = Duration::from_secs(1);

/// How the crew leaves.
pub(crate) struct Leaving {
    /// How far it is already.
    pub(crate) phase: Leave,
    /// How long an idle connection is kept.
    pub(crate) linger: Duration,
    /// The service manager is told of it: no other process is the service now.
    pub(crate) told: bool,
}

/// The threads that serve.
pub(crate) struct Crew {
    workers: Vec<(mpsc::UnboundedSender<Command>, JoinHandle<io::Result<()>>)>,
    /// Each ends with its thread, however that ends.
    lives: Vec<oneshot::Receiver<()>>,
}

impl Crew {
    pub(crate) fn start(count: usize, equipment: &Equipment) -> io::Result<Self> {
        let mut crew = Self { workers: Vec::new(), lives: Vec::new() };
        for index in 0..count {
            let (commands, orders) = mpsc::unbounded_channel();
            let equipment = equipment.clone();
            let (alive, life) = oneshot::channel::<()>();
            let thread = std::thread::Builder::new().name(format!("worker-{index}"));
            let thread = thread.spawn(move || {
                let _alive = alive;
                house::serve(index, equipment, orders)
            })?;
            crew.workers.push((commands, thread));
            crew.lives.push(life);
        }
        Ok(crew)
    }

    /// Ready when a worker has ended by itself. What it served is lost, so the process must not go on as if it were whole.
    pub(crate) async fn lost(&mut self) {
        poll_fn(|cx| {
            let ended = self.lives.iter_mut().any(|life| Pin::new(life).poll(cx).is_ready());
            if ended { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    pub(crate) fn commands(&self) -> Vec<mpsc::UnboundedSender<Command>> {
        self.workers.iter().map(|(commands, _)| commands.clone()).collect()
    }

    /// Lets every worker end with its last connection, and cuts what is left when it is time to.
    pub(crate) async fn leave(self, leaving: Leaving, metrics: &Metrics, signals: &mut Signals) {
        let Leaving { phase: mut leave, linger, told } = leaving;
        let begun = Instant::now();
        let (commands, threads): (Vec<_>, Vec<_>) = self.workers.into_iter().unzip();
        // A worker that has ended has nothing to leave.
        commands.iter().for_each(|commands| drop(commands.send(Command::Leave(linger))));
        if let Phase::Draining(until) = leave.phase() {
            let deadline = until - begun.into_std();
            tracing::info!(?deadline, "leaving: no new connections, those there are end with their request");
        }
        let mut ended = tokio::task::spawn_blocking(move || threads.into_iter().for_each(join));
        let mut progress = interval_at(begun + PROGRESS, PROGRESS);
        let mut cut = false;
        while leave.phase() != Phase::Left {
            if leave.phase() == Phase::Cutting && !std::mem::replace(&mut cut, true) {
                tracing::warn!(after = ?begun.elapsed(), connections = metrics.open_connections(), "cutting what is left");
                commands.iter().for_each(|commands| drop(commands.send(Command::Cut)));
            }
            let event = tokio::select! {
                // Joining only fails with the panic of a worker, and that was told already.
                _ = &mut ended => Event::Empty,
                () = due(&leave) => Event::Tick,
                () = signals.leave() => Event::Told,
                _ = progress.tick() => { tell(metrics.open_connections(), told); continue }
            };
            leave.step(event, Instant::now().into_std());
        }
        tracing::info!(after = ?begun.elapsed(), "left");
    }
}

/// When the next phase is due.
pub(crate) async fn due(leave: &Leave) {
    match leave.due() {
        Some(due) => sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}

fn tell(connections: u64, told: bool) {
    tracing::info!(connections, "leaving: waiting for connections to end");
    if told {
        notify::status(&format!("Leaving: waiting for {connections} connections to end"));
    }
}

fn join(thread: JoinHandle<io::Result<()>>) {
    match thread.join() {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(%error, "a worker could not serve"),
        Err(_) => tracing::error!("a worker has panicked"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_ends_by_itself_is_noticed_and_one_that_serves_is_not() {
        let (first, first_life) = oneshot::channel();
        let (second, second_life) = oneshot::channel();
        let mut crew = Crew { workers: Vec::new(), lives: vec![first_life, second_life] };
        assert!(tokio::time::timeout(Duration::from_secs(60), crew.lost()).await.is_err());
        drop(second);
        assert!(tokio::time::timeout(Duration::from_secs(60), crew.lost()).await.is_ok());
        drop(first);
    }
}
