//! One thread that serves: its runtime, its listeners' sockets, its connections, and the state of its choices.
//!
//! Workers share nothing that a request writes to but counters. A revision reaches a worker as a message, between two
//! requests, so that a request sees one revision from beginning to end.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::SmallRng;
use sluice_config::validated::Limits;
use sluice_proxy_core::select::Selector;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::LocalSet;
use tokio::time::Instant;

use crate::listener::{self, Gate, ListenerId, Port};
use crate::live::Live;
use crate::log::AccessLog;
use crate::message::ResponseHead;
use crate::metrics::Metrics;
use crate::upstream::{Dialer, Pool};

/// How often connections that have waited too long are looked for.
const SWEEP: Duration = Duration::from_secs(5);

/// Heads that wait to be used again.
const SPARE_HEADS: usize = 64;

/// What the process tells a worker.
#[derive(Debug)]
pub(crate) enum Command {
    /// Serve this revision from now on.
    Run(Arc<Live>, oneshot::Sender<()>),
    /// Accept on this socket.
    Open(Arc<Gate>, Limits, TcpListener),
    /// What the clients of this listener may use up has changed.
    Limit(ListenerId, Limits),
    /// Accept no more on this listener and let its connections end; told once the socket is closed.
    Close(ListenerId, Duration, oneshot::Sender<()>),
    /// Close every listener and end with the last connection.
    Leave(Duration),
    /// End now.
    Cut,
}

/// What every worker is given.
#[derive(Debug, Clone)]
pub(crate) struct Equipment {
    pub(crate) dialer: Arc<Dialer>,
    pub(crate) metrics: Metrics,
    pub(crate) log: AccessLog,
}

/// One worker, as its connections see it.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) index: usize,
    pub(crate) dialer: Arc<Dialer>,
    pub(crate) metrics: Metrics,
    pub(crate) log: AccessLog,
    pub(crate) pool: Pool,
    pub(crate) rng: RefCell<SmallRng>,
    running: RefCell<Rc<Running>>,
    /// Heads whose buffers are used again.
    heads: RefCell<Vec<ResponseHead>>,
}

/// The revision that a worker runs, with the worker's own state of its choices.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) live: Arc<Live>,
    /// For each service.
    pub(crate) selectors: Vec<RefCell<Selector>>,
}

impl Running {
    fn new(live: Arc<Live>, before: Option<&Self>, rng: &mut SmallRng) -> Self {
        let known: BTreeMap<_, _> = before.map(|before| before.by_name().collect()).unwrap_or_default();
        let selectors = live.services.iter().map(|service| {
            RefCell::new(match known.get(service.core.name()) {
                Some((old, selector)) => selector.borrow().carry(&old.core, &service.core, rng),
                None => Selector::new(&service.core, rng),
            })
        });
        Self { selectors: selectors.collect(), live }
    }

    fn by_name(
        &self,
    ) -> impl Iterator<Item = (&sluice_config::name::ServiceName, (&crate::live::ServiceEntry, &RefCell<Selector>))>
    {
        self.live
            .services
            .iter()
            .zip(&self.selectors)
            .map(|(service, selector)| (service.core.name(), (service, selector)))
    }
}

impl Worker {
    /// The revision that runs now.
    pub(crate) fn running(&self) -> Rc<Running> {
        Rc::clone(&self.running.borrow())
    }

    /// A head to read an answer into.
    pub(crate) fn spare_head(&self) -> ResponseHead {
        self.heads.borrow_mut().pop().unwrap_or_default()
    }

    /// Takes a head back.
    pub(crate) fn return_head(&self, head: ResponseHead) {
        let mut heads = self.heads.borrow_mut();
        if heads.len() < SPARE_HEADS {
            heads.push(head);
        }
    }

    fn new(index: usize, equipment: Equipment, live: Arc<Live>) -> Self {
        let mut rng = SmallRng::from_rng(&mut rand::rng());
        let running = Running::new(live, None, &mut rng);
        Self {
            index,
            dialer: equipment.dialer,
            pool: Pool::new(index, equipment.metrics.upstream()),
            metrics: equipment.metrics,
            log: equipment.log,
            rng: RefCell::new(rng),
            running: RefCell::new(Rc::new(running)),
            heads: RefCell::default(),
        }
    }

    fn run(&self, live: Arc<Live>) {
        let running = Running::new(live, Some(&self.running()), &mut self.rng.borrow_mut());
        *self.running.borrow_mut() = Rc::new(running);
        self.pool.sweep(Instant::now());
    }
}

/// Serves until told to leave and empty, or until `commands` closes. Runs on a thread of its own.
///
/// # Errors
/// When the runtime cannot be built.
pub(crate) fn serve(
    index: usize,
    equipment: Equipment,
    live: Arc<Live>,
    commands: mpsc::UnboundedReceiver<Command>,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let worker = Rc::new(Worker::new(index, equipment, live));
    LocalSet::new().block_on(&runtime, obey(&worker, commands));
    Ok(())
}

async fn obey(worker: &Rc<Worker>, mut commands: mpsc::UnboundedReceiver<Command>) {
    let mut house = House { worker: Rc::clone(worker), doors: BTreeMap::new(), closing: Vec::new() };
    let mut sweep = tokio::time::interval(SWEEP);
    loop {
        tokio::select! {
            command = commands.recv() => match command {
                Some(Command::Leave(linger)) => break house.leave(linger),
                Some(Command::Cut) | None => return,
                Some(command) => house.obey(command),
            },
            now = sweep.tick() => {
                worker.pool.sweep(now);
                house.closing.retain(|port| !port.is_empty());
            }
        }
    }
    tokio::select! {
        () = house.empty() => {}
        () = cut(&mut commands) => {}
    }
}

/// Ready when the process cuts what is left. A worker that leaves runs what it has, so it takes no other command.
async fn cut(commands: &mut mpsc::UnboundedReceiver<Command>) {
    while !matches!(commands.recv().await, Some(Command::Cut) | None) {}
}

struct Door {
    port: Rc<Port>,
    stop: Rc<Notify>,
    accepting: tokio::task::JoinHandle<()>,
}

/// A worker's listeners.
struct House {
    worker: Rc<Worker>,
    doors: BTreeMap<ListenerId, Door>,
    closing: Vec<Rc<Port>>,
}

impl House {
    fn obey(&mut self, command: Command) {
        match command {
            Command::Run(live, done) => {
                self.worker.run(live);
                // Whoever asked may have given up.
                let _ = done.send(());
            }
            Command::Open(gate, limits, socket) => self.open(gate, &limits, socket),
            Command::Limit(id, limits) => {
                if let Some(door) = self.doors.get(&id) {
                    door.port.limit(&limits);
                }
            }
            Command::Close(id, linger, closed) => self.close(&id, linger, Some(closed)),
            Command::Leave(linger) => self.leave(linger),
            Command::Cut => {}
        }
    }

    fn open(&mut self, gate: Arc<Gate>, limits: &Limits, socket: TcpListener) {
        let id = gate.id.clone();
        let socket = match tokio::net::TcpListener::from_std(socket) {
            Ok(socket) => socket,
            Err(error) => return tracing::error!(listener = %id.name, %error, "cannot accept on a bound socket"),
        };
        let port = Rc::new(Port::new(gate, limits));
        let stop = Rc::new(Notify::new());
        let loop_ = listener::accept(Rc::clone(&self.worker), Rc::clone(&port), socket, Rc::clone(&stop));
        let accepting = tokio::task::spawn_local(loop_);
        self.doors.insert(id, Door { port, stop, accepting });
    }

    fn close(&mut self, id: &ListenerId, linger: Duration, closed: Option<oneshot::Sender<()>>) {
        if let Some(door) = self.doors.remove(id) {
            door.stop.notify_one();
            let port = Rc::clone(&door.port);
            self.closing.push(Rc::clone(&port));
            tokio::task::spawn_local(async move {
                // It ends by itself once the kernel's queue is empty; connections from there leave too.
                let _ = door.accepting.await;
                drop(closed);
                port.leave(linger);
            });
        }
    }

    fn leave(&mut self, linger: Duration) {
        let ids: Vec<_> = self.doors.keys().cloned().collect();
        ids.iter().for_each(|id| self.close(id, linger, None));
    }

    /// Ready when no connection is left on any listener, closed ones too.
    async fn empty(&self) {
        for port in &self.closing {
            port.left().await;
        }
    }
}
