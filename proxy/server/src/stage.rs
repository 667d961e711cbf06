//! How a revision becomes what runs: validated again, compiled, its sockets bound, and only then handed to the workers.
//! A revision that fails at any step changes nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;
use sluice_config::name::{ListenerName, ZoneName};
use sluice_config::validated::{self, Limits, Validated};
use sluice_config::value::RevisionId;
use sluice_config::wire::Revision;
use sluice_config::{Environment, Problems, UnusableFile, collide};
use sluice_proxy_core::intake::Fault;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::handover::Spares;
use crate::house::Command;
use crate::listener::{self, BindError, Gate, ListenerId};
use crate::live::{self, Live, Uncompiled};
use crate::metrics::{self, Metrics};
use crate::overload::Overload;
use crate::probe::Prober;
use crate::resolve::Finder;
use crate::tls::{Keyring, Ring, Terms};
use crate::upkeep;

/// Problems of one document that are told one by one; the others are counted.
const TOLD: usize = 100;

/// Before found addresses that did not run are tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// Why a revision does not run.
#[derive(Debug)]
pub(crate) enum Unfit {
    /// The document is not sound, or what was changed live does not fit it.
    Document(Problems),
    /// The content is not what was announced.
    Digest,
    /// A route cannot be compiled.
    Route(sluice_proxy_core::route::BadRegex),
    /// With the addresses that this node was told, two listeners are on one.
    SameAddress(ListenerName, ListenerName, SocketAddr),
    /// A listener's address cannot be used.
    Listener(BindError),
    /// Files that it names cannot be used. At least one.
    Files(Vec<UnusableFile>),
}

impl Unfit {
    /// Whose fault it is, and whether it may heal.
    pub(crate) const fn fault(&self) -> Fault {
        match self {
            Self::Document(_) | Self::Digest | Self::Route(_) => Fault::Content,
            Self::SameAddress(..) => Fault::Node,
            Self::Listener(_) | Self::Files(_) => Fault::Heals,
        }
    }

    /// Each problem, told in full.
    pub(crate) fn problems(&self) -> Vec<String> {
        match self {
            Self::Document(problems) => {
                let mut told: Vec<String> = problems.problems.iter().take(TOLD).map(ToString::to_string).collect();
                let more = problems.count().saturating_sub(told.len());
                if more > 0 {
                    told.push(format!("and {more} more problems"));
                }
                told
            }
            Self::Files(files) => files.iter().take(TOLD).map(ToString::to_string).collect(),
            Self::Digest | Self::Route(_) | Self::SameAddress(..) | Self::Listener(_) => vec![self.to_string()],
        }
    }
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Document(problems) => write!(f, "{problems}"),
            Self::Digest => f.write_str("the content does not have the announced digest"),
            Self::Route(error) => write!(f, "{error}"),
            Self::SameAddress(one, other, address) => write!(
                f,
                "the listeners {one} and {other} are both on {address} of this node; give one of them another address \
                 with --listen {other}=ADDRESS"
            ),
            Self::Listener(error) => write!(f, "{error}"),
            Self::Files(files) => f.write_str(&files.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")),
        }
    }
}

impl std::error::Error for Unfit {}

/// A revision that is fit to run, with the sockets it adds.
#[derive(Debug)]
pub(crate) struct Fit {
    pub(crate) live: Arc<Live>,
    /// The document with the addresses of this node, and without what was found.
    written: Arc<Validated>,
    openings: BTreeMap<ListenerId, Opening>,
    ring: Ring,
}

/// Where the sockets of a new listener come from.
#[derive(Debug)]
enum Opening {
    /// They are bound, one for each worker.
    Bound(Vec<TcpListener>),
    /// They were open before this process.
    Inherited,
    /// A listener that ends is on the same address.
    Renamed(ListenerId),
}

/// A socket that listens, for another process or another listener.
#[derive(Debug)]
pub(crate) struct Lent {
    pub(crate) id: ListenerId,
    pub(crate) worker: usize,
    pub(crate) socket: TcpListener,
}

/// What runs in the process, and the workers that run it.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) metrics: Metrics,
    pub(crate) current: Arc<ArcSwapOption<Live>>,
    pub(crate) workers: Vec<mpsc::UnboundedSender<Command>>,
    pub(crate) count: usize,
    /// Where this node binds a listener in place of the document's address.
    pub(crate) listen: BTreeMap<ListenerName, SocketAddr>,
    /// Where this proxy is, if it was told.
    pub(crate) zone: Option<ZoneName>,
    /// Where relative paths in the document begin.
    pub(crate) folder: PathBuf,
    /// What was open before this process; the first revision takes what it needs.
    pub(crate) spares: Spares,
    /// What addresses the document leaves open.
    pub(crate) finder: Finder,
    /// What runs, without what was found, and since when.
    written: Option<(Arc<Validated>, SystemTime)>,
    gates: BTreeMap<ListenerId, Arc<Gate>>,
    keyring: Arc<Keyring>,
    overload: Arc<Overload>,
}

impl From<Uncompiled> for Unfit {
    fn from(why: Uncompiled) -> Self {
        match why {
            Uncompiled::Route(error) => Self::Route(error),
            Uncompiled::Files(files) => Self::Files(files),
        }
    }
}

impl Stage {
    /// Nothing runs yet, on these workers.
    pub(crate) fn new(
        metrics: Metrics,
        workers: Vec<mpsc::UnboundedSender<Command>>,
        keyring: Arc<Keyring>,
        overload: Arc<Overload>,
        finder: Finder,
    ) -> Self {
        let (count, written) = (workers.len(), None);
        let (current, listen, folder, spares, gates) = Default::default();
        let zone = None;
        Self {
            metrics,
            current,
            workers,
            count,
            listen,
            zone,
            folder,
            spares,
            finder,
            written,
            gates,
            keyring,
            overload,
        }
    }

    /// Everything that can fail, before anything changes.
    pub(crate) fn prepare(&self, revision: &Revision) -> Result<Fit, Unfit> {
        let mut document = sluice_config::read_pair(&revision.document, &Environment::empty(), &revision.overlay)
            .map_err(Unfit::Document)?
            .validated;
        if document.digest != revision.digest {
            return Err(Unfit::Digest);
        }
        self.place(&mut document)?;
        let ring = self.keyring.prepare(&document).map_err(Unfit::Files)?;
        let openings = self.bind(&document).map_err(Unfit::Listener)?;
        let written = Arc::new(document);
        let live = self.compile(revision.id, &written)?;
        Ok(Fit { live, written, openings, ring })
    }

    /// With what is known now of the addresses that the document leaves open.
    fn compile(&self, id: RevisionId, written: &Arc<Validated>) -> Result<Arc<Live>, Uncompiled> {
        let (document, before) = (self.finder.fill(written), self.current.load_full());
        let mut live = live::compile(id, document, before.as_deref(), &self.metrics, &self.folder)?;
        live.zone.clone_from(&self.zone);
        Ok(Arc::new(live))
    }

    /// Looks for the addresses that the revision leaves open and that are not known yet; waits for the first ones, but not
    /// for long.
    pub(crate) async fn discover(&mut self, fit: Fit) -> Result<Fit, Unfit> {
        if !self.finder.begin(&fit.written).await {
            return Ok(fit);
        }
        self.finder.look();
        match self.compile(fit.live.id, &fit.written) {
            Ok(live) => Ok(Fit { live, ..fit }),
            Err(why) => {
                if let Some((written, _)) = &self.written {
                    self.finder.settle(written);
                }
                Err(why.into())
            }
        }
    }

    /// Gives listeners the addresses that this node was told.
    fn place(&self, document: &mut Validated) -> Result<(), Unfit> {
        for listener in &mut document.listeners {
            if let Some(address) = self.listen.get(&listener.name) {
                listener.address = *address;
            }
        }
        for (at, one) in document.listeners.iter().enumerate() {
            if let Some(other) = document.listeners[at + 1..].iter().find(|other| collide(one.address, other.address)) {
                return Err(Unfit::SameAddress(one.name.clone(), other.name.clone(), other.address));
            }
        }
        Ok(())
    }

    /// The listeners that this node was told an address for, and what runs does not have.
    pub(crate) fn unknown_listeners(&self) -> Vec<ListenerName> {
        let current = self.current.load();
        let has = |name: &ListenerName| {
            current.iter().flat_map(|live| &live.document.listeners).any(|listener| listener.name == *name)
        };
        self.listen.keys().filter(|name| !has(name)).cloned().collect()
    }

    /// Binds the listeners that are new, unless their sockets are there.
    fn bind(&self, document: &Validated) -> Result<BTreeMap<ListenerId, Opening>, BindError> {
        let new = document.listeners.iter().map(id).filter(|id| !self.gates.contains_key(id));
        new.map(|id| Ok((id.clone(), self.opening(&id)?))).collect()
    }

    fn opening(&self, id: &ListenerId) -> Result<Opening, BindError> {
        if self.spares.fit(id) {
            return Ok(Opening::Inherited);
        }
        // No document has two listeners on one address, so the one that is there ends.
        if let Some(before) = self.gates.keys().find(|gate| gate.address == id.address) {
            return Ok(Opening::Renamed(before.clone()));
        }
        if !self.gates.keys().any(|gate| collide(gate.address, id.address)) {
            listener::is_taken(id.address)?;
        }
        listener::bind(id.address, self.count).map(Opening::Bound)
    }

    /// Lets the revision run: first on every worker, then on its new listeners; what it drops ends last.
    pub(crate) async fn apply(&mut self, fit: Fit, prober: &mut Prober) {
        self.run(&fit.live, prober).await;
        self.overload.set(&fit.live.document.limits);
        self.open(&fit.live.document, fit.openings, &fit.ring).await;
        self.hold(&fit.live.document, fit.ring);
        self.close(&fit.live.document).await;
        self.spares.close();
        self.finder.settle(&fit.written);
        let now = SystemTime::now();
        self.written = Some((fit.written, now));
        self.metrics.publish(told(&fit.live, now));
    }

    /// Lets what runs run with the addresses that were found since: another compilation of the same revision, for whose
    /// endpoints all else stays as it is. Where it cannot be compiled now, what runs goes on, and it is tried again.
    pub(crate) async fn renew(&mut self, prober: &mut Prober) {
        let begun = Instant::now();
        self.finder.look();
        let (Some((written, applied)), Some(before)) = (self.written.clone(), self.current.load_full()) else { return };
        match self.compile(before.id, &written) {
            Ok(live) => {
                self.run(&live, prober).await;
                self.metrics.publish(told(&live, applied));
                self.finder.ran(begun);
            }
            Err(error) => {
                tracing::error!(%error, "what was found does not run yet, and is tried again");
                self.finder.postpone(AGAIN);
            }
        }
    }

    /// Swaps what runs.
    async fn run(&self, live: &Arc<Live>, prober: &mut Prober) {
        let before = self.current.swap(Some(Arc::clone(live)));
        if let Some(before) = &before {
            before.retire(live);
        }
        // Before any worker runs it: an endpoint that is held out gets not even the first request.
        for change in live.enforce(Instant::now().into_std()) {
            upkeep::tell(&change, &self.metrics);
        }
        self.run_everywhere(live).await;
        prober.retarget(live.targets(), live.document.limits.probes);
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

    async fn open(&mut self, document: &Validated, mut openings: BTreeMap<ListenerId, Opening>, ring: &Ring) {
        let renamed = openings.values().any(|opening| matches!(opening, Opening::Renamed(_)));
        let mut lent = if renamed { self.lend().await } else { Vec::new() };
        for listener in &document.listeners {
            let (id, terms) = (id(listener), ring.terms(&listener.name));
            if let Some(gate) = self.gates.get(&id) {
                gate.secure(terms.clone());
            }
            match openings.remove(&id) {
                Some(opening) => {
                    let sockets = self.sockets(&id, opening, &mut lent);
                    self.open_one(id, &listener.limits, terms, sockets);
                }
                None => self.limit(&id, &listener.limits),
            }
        }
    }

    /// Files that change from now on change what these listeners show.
    fn hold(&self, document: &Validated, ring: Ring) {
        let of = |name: &ListenerName| document.listeners.iter().find(|listener| listener.name == *name);
        self.keyring.hold(ring, |name| of(name).and_then(|listener| self.gates.get(&id(listener))).cloned());
    }

    /// The sockets of a new listener, by worker.
    fn sockets(&mut self, id: &ListenerId, opening: Opening, lent: &mut Vec<Lent>) -> Vec<Vec<TcpListener>> {
        let there = match opening {
            Opening::Bound(sockets) => sockets,
            Opening::Inherited => self.spares.take(id),
            Opening::Renamed(before) => take(lent, &before),
        };
        listener::deal(there, id.address, self.count).unwrap_or_else(|error| {
            tracing::error!(listener = %id.name, %error, "no sockets for every worker: the system has no more");
            Vec::new()
        })
    }

    fn open_one(&mut self, id: ListenerId, limits: &Limits, terms: Option<Arc<Terms>>, sockets: Vec<Vec<TcpListener>>) {
        let gate = Arc::new(Gate::new(id.clone(), limits, self.metrics.listener(&id.name), Arc::clone(&self.overload)));
        gate.secure(terms);
        for (worker, sockets) in self.workers.iter().zip(sockets) {
            tell(worker, Command::Open(Arc::clone(&gate), limits.clone(), sockets));
        }
        self.gates.insert(id, gate);
    }

    /// Every socket that listens, for another process. It stays open here, too.
    pub(crate) async fn lend(&self) -> Vec<Lent> {
        let mut all = Vec::new();
        for (worker, commands) in self.workers.iter().enumerate() {
            let (lent, lending) = oneshot::channel();
            tell(commands, Command::Lend(lent));
            // A worker that has ended has no sockets.
            let sockets = lending.await.unwrap_or_default();
            all.extend(sockets.into_iter().map(|(id, socket)| Lent { id, worker, socket }));
        }
        all
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

/// What was lent of this listener, in the order of the workers.
fn take(lent: &mut Vec<Lent>, id: &ListenerId) -> Vec<TcpListener> {
    let (taken, left): (Vec<_>, Vec<_>) = lent.drain(..).partition(|lent| lent.id == *id);
    *lent = left;
    taken.into_iter().map(|lent| lent.socket).collect()
}

fn tell(worker: &mpsc::UnboundedSender<Command>, command: Command) {
    if worker.send(command).is_err() {
        tracing::error!("a worker has ended before the process");
    }
}

fn id(listener: &validated::Listener) -> ListenerId {
    ListenerId { name: listener.name.clone(), address: listener.address }
}

fn told(live: &Live, applied: SystemTime) -> metrics::Running {
    let shares = live.services.iter().flat_map(|service| {
        let versions = service.versions.iter().enumerate();
        versions.map(|(at, series)| (Arc::clone(series), service.core.share(at)))
    });
    metrics::Running {
        revision: live.id,
        digest: live.document.digest,
        applied,
        shares: shares.collect(),
        endpoints: live.registry.iter().cloned().collect(),
        pools: live.pools(),
    }
}
