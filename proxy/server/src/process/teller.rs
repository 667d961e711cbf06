//! What the status listener is told of the process.

use std::cell::Cell;
use std::net::TcpListener as StdListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use sluice_config::endpoints::Endpoints;
use sluice_config::health::Health;
use sluice_config::validated::Drain;
use sluice_proxy_core::leave::Leave;
use tokio::net::TcpListener;

use tokio_util::task::AbortOnDropHandle;

use crate::endpoints;
use crate::explain::{Explanation, Question};
use crate::health::{Watch, now};
use crate::metrics::Metrics;
use crate::notify;
use crate::status::{self, StatusSource, Untold};

/// Tells health and metrics.
pub(super) struct Teller {
    socket: StdListener,
    pub(super) state: Arc<State>,
    task: Cell<Option<AbortOnDropHandle<()>>>,
}

impl Teller {
    pub(super) fn new(socket: StdListener, state: State) -> Self {
        Self { socket, state: Arc::new(state), task: Cell::default() }
    }

    pub(super) fn begin(&self) {
        match self.socket.try_clone().and_then(TcpListener::from_std) {
            Ok(socket) => {
                let telling = status::serve(socket, Arc::clone(&self.state) as _, std::future::pending());
                self.task.set(Some(AbortOnDropHandle::new(tokio::task::spawn_local(telling))));
                let status =
                    self.socket.local_addr().map_or_else(|error| error.to_string(), |address| address.to_string());
                tracing::info!(%status, "telling health and metrics");
            }
            Err(error) => tracing::error!(%error, "health and metrics are not told"),
        }
    }

    pub(super) fn end(&self) {
        self.task.take();
    }

    /// The process is told to leave.
    pub(super) fn told(&self, drain: &Drain) -> Leave {
        self.state.leave();
        notify::stopping("Leaving");
        if !drain.delay.is_zero() {
            tracing::info!(delay = ?drain.delay, "told to leave: not ready, and serving on until the delay is over");
        }
        Leave::begin(drain.delay, drain.deadline, Instant::now())
    }
}

pub(super) struct State {
    pub(super) metrics: Metrics,
    pub(super) watch: Arc<Watch>,
    leaving: AtomicBool,
}

impl State {
    pub(super) const fn new(metrics: Metrics, watch: Arc<Watch>) -> Self {
        Self { metrics, watch, leaving: AtomicBool::new(false) }
    }

    pub(super) fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
        self.metrics.drain();
    }
}

impl StatusSource for State {
    fn ready(&self) -> Result<(), String> {
        if self.leaving.load(Ordering::Relaxed) { Err("the process is leaving".to_owned()) } else { self.watch.ready() }
    }

    fn health(&self) -> Health {
        self.watch.health()
    }

    fn metrics(&self) -> String {
        self.metrics.text()
    }

    fn endpoints(&self, service: Option<&str>) -> Result<Endpoints, Untold> {
        let live = self.watch.current.load_full().ok_or(Untold::NotReady)?;
        let board = self.watch.discovery.as_deref();
        endpoints::told(&live, board, service, Instant::now(), now()).map_err(|services| {
            let name = service.unwrap_or_default();
            Untold::NoSuch(format!("there is no service `{name}`; what runs has {}", services.join(", ")))
        })
    }

    fn explain(&self, question: &Question) -> Result<Explanation, Untold> {
        let live = self.watch.current.load_full().ok_or(Untold::NotReady)?;
        question.answer(&live).map_err(Untold::Misasked)
    }
}
