//! How a revision becomes what runs: validated again, compiled, its sockets bound, and only then handed to the workers.
//! A revision that fails at any step changes nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwapOption;
use sluice_config::validated::{self, Limits, Validated};
use sluice_config::value::RevisionId;
use sluice_config::wire;
use sluice_config::{Environment, Problems};
use tokio::sync::{mpsc, oneshot};

use crate::house::Command;
use crate::listener::{self, BindError, Gate, ListenerId};
use crate::live::{self, Live};
use crate::metrics::{self, Metrics};
use crate::probe::Prober;

/// Why a revision does not run.
#[derive(Debug)]
pub(crate) enum Unfit {
    /// The message is no revision.
    Message(serde_json::Error),
    /// The document is not sound.
    Document(Problems),
    /// The document is not the one that was announced.
    Digest,
    /// A route cannot be compiled.
    Route(sluice_proxy_core::route::BadRegex),
    /// A listener's address cannot be used.
    Listener(BindError),
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message(error) => write!(f, "not a revision: {error}"),
            Self::Document(problems) => write!(f, "{problems}"),
            Self::Digest => f.write_str("the document's content does not have the announced digest"),
            Self::Route(error) => write!(f, "{error}"),
            Self::Listener(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for Unfit {}

/// A revision that is fit to run, with the sockets it adds.
#[derive(Debug)]
pub(crate) struct Fit {
    pub(crate) live: Arc<Live>,
    sockets: BTreeMap<ListenerId, Vec<TcpListener>>,
}

/// What runs in the process, and the workers that run it.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) metrics: Metrics,
    pub(crate) current: Arc<ArcSwapOption<Live>>,
    pub(crate) workers: Vec<mpsc::UnboundedSender<Command>>,
    pub(crate) count: usize,
    gates: BTreeMap<ListenerId, Arc<Gate>>,
}

impl Stage {
    pub(crate) fn new(metrics: Metrics, workers: usize) -> Self {
        Self { metrics, current: Arc::default(), workers: Vec::new(), count: workers, gates: BTreeMap::new() }
    }

    /// Everything that can fail, before anything changes.
    pub(crate) fn prepare(&self, message: &[u8]) -> Result<Fit, (Option<RevisionId>, Unfit)> {
        let order: wire::Order = serde_json::from_slice(message).map_err(|error| (None, Unfit::Message(error)))?;
        let wire::Order::Revision(revision) = order else { return Err((None, Unfit::Digest)) };
        self.fit(&revision).map_err(|unfit| (Some(revision.id), unfit))
    }

    fn fit(&self, revision: &wire::Revision) -> Result<Fit, Unfit> {
        let document = sluice_config::read_pair(&revision.document, &Environment::empty(), &revision.overlay)
            .map_err(Unfit::Document)?
            .validated;
        if document.digest != revision.digest {
            return Err(Unfit::Digest);
        }
        let sockets = self.bind(&document).map_err(Unfit::Listener)?;
        let before = self.current.load_full();
        let live =
            live::compile(revision.id, Arc::new(document), before.as_deref(), &self.metrics).map_err(Unfit::Route)?;
        Ok(Fit { live: Arc::new(live), sockets })
    }

    /// Binds the listeners that are new.
    fn bind(&self, document: &Validated) -> Result<BTreeMap<ListenerId, Vec<TcpListener>>, BindError> {
        let new = document.listeners.iter().map(id).filter(|id| !self.gates.contains_key(id));
        let ours = |id: &ListenerId| self.gates.keys().any(|gate| overlap(gate.address, id.address));
        new.map(|id| {
            if !ours(&id) {
                listener::is_taken(id.address)?;
            }
            Ok((id.clone(), listener::bind(id.address, self.count)?))
        })
        .collect()
    }

    /// Lets the revision run: first on every worker, then on its new listeners; what it drops ends last.
    pub(crate) async fn apply(&mut self, fit: Fit, prober: &mut Prober) {
        let before = self.current.swap(Some(Arc::clone(&fit.live)));
        if let Some(before) = &before {
            before.retire(&fit.live);
        }
        self.run_everywhere(&fit.live).await;
        prober.retarget(fit.live.targets());
        self.open(&fit.live.document, fit.sockets);
        self.close(&fit.live.document).await;
        self.metrics.publish(told(&fit.live));
    }

    async fn run_everywhere(&self, live: &Arc<Live>) {
        let mut waits = Vec::with_capacity(self.workers.len());
        for worker in &self.workers {
            let (done, wait) = oneshot::channel();
            if worker.send(Command::Run(Arc::clone(live), done)).is_ok() {
                waits.push(wait);
            }
        }
        for wait in waits {
            // A worker that has ended runs nothing.
            let _ = wait.await;
        }
    }

    fn open(&mut self, document: &Validated, mut sockets: BTreeMap<ListenerId, Vec<TcpListener>>) {
        for listener in &document.listeners {
            let id = id(listener);
            match sockets.remove(&id) {
                Some(sockets) => self.open_one(id, &listener.limits, sockets),
                None => self.limit(&id, &listener.limits),
            }
        }
    }

    fn open_one(&mut self, id: ListenerId, limits: &Limits, sockets: Vec<TcpListener>) {
        let gate = Arc::new(Gate::new(id.clone(), limits, self.metrics.listener(&id.name)));
        for (worker, socket) in self.workers.iter().zip(sockets) {
            tell(worker, Command::Open(Arc::clone(&gate), limits.clone(), socket));
        }
        self.gates.insert(id, gate);
    }

    fn limit(&self, id: &ListenerId, limits: &Limits) {
        if let Some(gate) = self.gates.get(id) {
            gate.admit_at_most(limits.connections);
        }
        self.workers.iter().for_each(|worker| tell(worker, Command::Limit(id.clone(), limits.clone())));
    }

    /// Closes the listeners that the document does not name. Their sockets are closed when it returns, so that a later
    /// revision can have the address again.
    async fn close(&mut self, document: &Validated) {
        let wanted: Vec<ListenerId> = document.listeners.iter().map(id).collect();
        let gone: Vec<ListenerId> = self.gates.keys().filter(|id| !wanted.contains(id)).cloned().collect();
        for id in gone {
            self.gates.remove(&id);
            for worker in &self.workers {
                let (closed, wait) = oneshot::channel();
                tell(worker, Command::Close(id.clone(), document.drain.linger, closed));
                // It is told by being dropped.
                let _ = wait.await;
            }
        }
    }
}

/// Whether a socket on the one address would take connections of the other.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let everywhere = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() == other.port() && (everywhere || one.ip() == other.ip())
}

fn tell(worker: &mpsc::UnboundedSender<Command>, command: Command) {
    if worker.send(command).is_err() {
        tracing::error!("a worker has ended before the process");
    }
}

fn id(listener: &validated::Listener) -> ListenerId {
    ListenerId { name: listener.name.clone(), address: listener.address }
}

fn told(live: &Live) -> metrics::Running {
    let shares = live.services.iter().flat_map(|service| {
        let versions = service.versions.iter().enumerate();
        versions.map(|(at, series)| (Arc::clone(series), service.core.share(at)))
    });
    metrics::Running {
        revision: live.id,
        digest: live.document.digest,
        applied: SystemTime::now(),
        shares: shares.collect(),
        endpoints: live.registry.iter().cloned().collect(),
    }
}

/// Applies revisions as they come and says of each whether it runs.
pub(crate) async fn follow(
    stage: &mut Stage,
    prober: &mut Prober,
    revisions: &mut mpsc::Receiver<Vec<u8>>,
    replies: &mpsc::Sender<Vec<u8>>,
) {
    while let Some(message) = revisions.recv().await {
        let reply = match stage.prepare(&message) {
            Ok(fit) => {
                let reply = wire::Reply::Ack { id: fit.live.id, digest: fit.live.document.digest };
                stage.apply(fit, prober).await;
                Some(reply)
            }
            Err((id, unfit)) => {
                stage.metrics.revision_refused();
                refuse(id, &unfit)
            }
        };
        if let Some(reply) = reply {
            answer(replies, &reply).await;
        }
    }
}

/// The control plane tells a refusal, once for each cause; what has no number it cannot hear of.
fn refuse(id: Option<RevisionId>, unfit: &Unfit) -> Option<wire::Reply> {
    let Some(id) = id else {
        tracing::error!(%unfit, "a message is no revision; what runs goes on");
        return None;
    };
    tracing::debug!(revision = id.0, %unfit, "a revision is not fit to run; what runs goes on");
    Some(wire::Reply::Nack {
        id,
        digest: sluice_config::value::Digest::ZERO,
        problems: vec![unfit.to_string()],
        retries: false,
    })
}

pub(crate) async fn answer(replies: &mpsc::Sender<Vec<u8>>, reply: &wire::Reply) {
    let message = serde_json::to_vec(reply).expect("names, numbers and texts have a JSON form");
    // Nobody listens any more when the control plane has ended; the proxy serves on.
    let _ = replies.send(message).await;
}
