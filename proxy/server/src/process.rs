//! The process: threads that serve, one that watches over them, and how it begins and leaves.

mod failure;
mod teller;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::num::NonZeroUsize;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use sluice_config::name::{ListenerName, NodeName, RegionName, ZoneName};
use sluice_config::validated::Drain;
use sluice_config::value::Incarnation;
use sluice_proxy_core::leave::{Event, Leave, Phase};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;
use tokio_util::task::AbortOnDropHandle;

use crate::control::ControlOptions;
use crate::crew::{self, Crew, Leaving};
use crate::handover::{Beside, Estate, Heir, Inherited, Orders, Outcome};
use crate::health::{self, HealthSource, Watch};
use crate::house::Command;
use crate::keep::{self, Found, Taken};
use crate::live::Live;
use crate::log::{self, AccessLog};
use crate::memory;
use crate::metrics::{ControlSeries, DocumentSeries, KeepSeries, Metrics, SERIES_BUDGET};
use crate::notify;
use crate::overload::Overload;
use crate::probe::Prober;
use crate::resolve::Finder;
use crate::source::{Away, Feed, Follower, Identity, Parts, Rest};
use crate::stage::Stage;
use crate::tls::Keyring;
use crate::upkeep;
use crate::upstream::Dialer;
use crate::worker::Equipment;

pub use failure::RunError;
use teller::{State, Teller};

/// How often gauges over a window are turned.
const TICK: Duration = Duration::from_secs(1);

/// How often files that the document names are looked at.
const REFRESH: Duration = Duration::from_secs(5);

/// How to run.
pub struct Options {
    /// Threads that serve.
    pub workers: NonZeroUsize,
    /// Where `/live`, `/ready`, `/metrics` and `/api/health` are told.
    pub status: SocketAddr,
    /// Where each request is told in a line.
    pub access_log: log::Target,
    /// Where revisions come from.
    pub source: Source,
    /// Where the last revisions that ran are kept, in a folder of their own. Absent: nowhere.
    pub data: Option<PathBuf>,
    /// The name of this proxy in its fleet. Absent: the machine's.
    pub node: Option<NodeName>,
    /// Where it stands.
    pub region: Option<RegionName>,
    /// Where in its region it stands: endpoints of the same zone may be preferred.
    pub zone: Option<ZoneName>,
    /// Where this proxy binds a listener in place of the document's address.
    pub listen: BTreeMap<ListenerName, SocketAddr>,
    /// Health of what else runs in this process.
    pub health: Option<HealthSource>,
    /// How the file that the revisions come from stands, for the metrics. Absent: there is no such file here.
    pub document: Option<Arc<DocumentSeries>>,
    /// Where relative paths of files that the document names begin.
    pub files: PathBuf,
    /// What was open before this process.
    pub inherited: Inherited,
    /// Addresses that no endpoint may be, whatever DNS or a file says: where this process can be changed. That of `status` is
    /// another one by itself.
    pub own: Vec<SocketAddr>,
    /// Who else in this process holds what a successor needs, and is to let go of it first.
    pub beside: Option<mpsc::UnboundedSender<Beside>>,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("workers", &self.workers)
            .field("status", &self.status)
            .field("source", &self.source)
            .field("data", &self.data)
            .finish_non_exhaustive()
    }
}

/// Where revisions come from.
#[derive(Debug)]
pub enum Source {
    /// From a control plane in this process, which sends serialised [`wire::Order`](sluice_config::wire::Order)s and hears
    /// serialised [`wire::Reply`](sluice_config::wire::Reply)s. The process begins with the first order; if that does not
    /// run and nothing is kept that does, it does not begin.
    InProcess {
        /// Its orders.
        revisions: mpsc::Receiver<Vec<u8>>,
        /// What is said to them. The first is a `Hello`.
        replies: mpsc::Sender<Vec<u8>>,
    },
    /// From a control plane on the network. Without it the process begins with what it ran last, or waits.
    Control(ControlOptions),
}

/// Runs until told to leave (SIGTERM or SIGINT) and every request under way has ended, or the drain's deadline has
/// passed. A second signal cuts what is left.
///
/// # Errors
/// When the process cannot begin, and nothing is served then; or when a worker has ended by itself.
pub fn run(options: Options) -> Result<(), RunError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ended = LocalSet::new().block_on(&runtime, serve(options));
    // A network file system may keep a look at a certificate waiting for ever; nobody waits for it.
    runtime.shutdown_background();
    ended
}

async fn serve(mut options: Options) -> Result<(), RunError> {
    let workers = options.workers.get();
    let metrics = Metrics::new(workers, SERIES_BUDGET);
    let dialer = Arc::new(Dialer::new()?);
    let status = bind_status(&mut options).await.map_err(|error| RunError::Status(options.status, error))?;
    let (log, _guard) = AccessLog::open(options.access_log.clone())
        .map_err(|error| RunError::AccessLog(options.access_log.clone(), error))?;
    metrics.count_lost_lines(log.lost());
    let mut signals = Signals::install()?;
    let overload = Arc::new(Overload::new(metrics.overload()));
    let equipment = Equipment { dialer, metrics: metrics.clone(), log: log.clone(), overload: Arc::clone(&overload) };
    let mut crew = Crew::start(workers, &equipment)?;
    let commands = crew.commands();
    options.own.extend(status.local_addr().ok());
    let arrival = Arrival::new(&mut options, &status, log)?;
    let begun = begin(options, &metrics, commands.clone(), &overload);
    let Begun { mut follower, watch, current, served, follower_rests, _readers } = match begun {
        Ok(begun) => begun,
        Err(error) => {
            crew.leave(at_once(&NOTHING_TO_DRAIN, false), &metrics, &mut signals).await;
            return Err(error);
        }
    };
    let teller = Teller::new(status, State::new(metrics.clone(), Arc::clone(&watch)));
    let ended = {
        let attending = arrival.attend(&teller, served, follower_rests);
        let mut background = pin!(background(&mut crew, &mut follower, &metrics, (&watch, &overload), commands));
        tokio::select! {
            error = &mut background => Ended::Failed(error),
            outcome = attending => Ended::Handed(outcome),
            () = signals.leave() => {
                let mut leave = teller.told(&drain(&current));
                tokio::select! {
                    error = &mut background => Ended::Failed(error),
                    () = wait(&mut leave, &mut signals) => Ended::Told(leave),
                }
            }
        }
    };
    leave(ended, crew, follower, &teller, &drain(&current), &mut signals).await
}

/// How serving has ended.
enum Ended {
    /// A part of the process has failed.
    Failed(RunError),
    /// Another process serves.
    Handed(Outcome),
    /// It is told to leave, and the delay is over.
    Told(Leave),
}

async fn leave(
    ended: Ended,
    crew: Crew,
    mut follower: Follower,
    teller: &Teller,
    drain: &Drain,
    signals: &mut Signals,
) -> Result<(), RunError> {
    teller.state.leave();
    let (leaving, _handed, end) = match ended {
        Ended::Failed(error) => {
            notify::stopping("Leaving after a failure");
            (at_once(drain, true), None, Err(error))
        }
        Ended::Handed(outcome) => {
            teller.end();
            (at_once(drain, false), Some(outcome), Ok(()))
        }
        Ended::Told(phase) => (Leaving { phase, linger: drain.linger, told: true }, None, Ok(())),
    };
    if end.is_ok() {
        follower.leave().await;
    }
    // What is under way still waits for room and for breakers to end.
    let (metrics, watch) = (&teller.state.metrics, &teller.state.watch);
    tokio::select! {
        () = crew.leave(leaving, metrics, signals) => end,
        never = upkeep::run(Arc::clone(&watch.current), metrics.clone()) => match never {},
    }
}

/// Without a delay.
fn at_once(drain: &Drain, told: bool) -> Leaving {
    Leaving { phase: Leave::begin(Duration::ZERO, drain.deadline, Instant::now()), linger: drain.linger, told }
}

/// What goes on until the process leaves. Ends only by a failure.
async fn background(
    crew: &mut Crew,
    follower: &mut Follower,
    metrics: &Metrics,
    (watch, overload): (&Watch, &Overload),
    workers: Vec<mpsc::UnboundedSender<Command>>,
) -> RunError {
    tokio::select! {
        () = crew.lost() => RunError::Worker,
        Err(why) = follower.run() => RunError::Revision(why),
        never = tick(metrics, watch, overload) => match never {},
        never = upkeep::run(Arc::clone(&watch.current), metrics.clone()) => match never {},
        never = notify::watchdog(workers) => match never {},
    }
}

/// Until the delay is over, or cut short.
async fn wait(leave: &mut Leave, signals: &mut Signals) {
    while matches!(leave.phase(), Phase::Waiting(_)) {
        let event = tokio::select! {
            () = crew::due(leave) => Event::Tick,
            () = signals.leave() => Event::Told,
        };
        leave.step(event, Instant::now());
    }
}

/// What was there before this process goes on; else a socket of its own.
async fn bind_status(options: &mut Options) -> io::Result<StdListener> {
    match options.inherited.take_status(options.status) {
        Some(socket) => Ok(socket),
        None => TcpListener::bind(options.status).await?.into_std(),
    }
}

/// How the process comes to serve, and what may end it then but a signal.
struct Arrival {
    heir: Option<Heir>,
    orders: Option<UnixListener>,
    upgrade: Signal,
    hangup: Signal,
    data: Option<PathBuf>,
    beside: Option<mpsc::UnboundedSender<Beside>>,
    status: StdListener,
    log: AccessLog,
}

impl Arrival {
    fn new(options: &mut Options, status: &StdListener, log: AccessLog) -> io::Result<Self> {
        Ok(Self {
            heir: options.inherited.heir.take(),
            orders: options.inherited.orders.take(),
            upgrade: signal(SignalKind::user_defined2())?,
            hangup: signal(SignalKind::hangup())?,
            data: options.data.clone(),
            beside: options.beside.take(),
            status: status.try_clone()?,
            log,
        })
    }

    /// Tells whoever waits for it that the process serves, once it does; then does what it is asked for, until another
    /// process serves in its place. What tells health comes last in a process that takes over: until then the old one does.
    async fn attend(self, teller: &Teller, served: oneshot::Receiver<()>, follower: mpsc::Sender<Rest>) -> Outcome {
        if self.heir.is_none() {
            teller.begin();
        }
        if served.await.is_err() {
            return std::future::pending().await;
        }
        if let Some(heir) = self.heir {
            // It panics only where the log cannot be written.
            let _ = tokio::task::spawn_blocking(|| heir.serve()).await;
            if let Some(beside) = &self.beside {
                // What has ended owns nothing.
                let _ = beside.send(Beside::Serving);
            }
            teller.begin();
        }
        notify::ready(SERVING);
        let estate = Estate { follower, beside: self.beside, status: self.status };
        let mut orders = Orders::open(self.upgrade, self.data.as_deref(), self.orders);
        tokio::select! {
            outcome = orders.attend(&estate) => outcome,
            never = reload(self.hangup, self.log) => match never {},
        }
    }
}

/// What a service manager shows of a process that serves.
const SERVING: &str = "Serving";

/// On SIGHUP whoever reads a file reads it again; here it is the access log's.
async fn reload(mut hangup: Signal, log: AccessLog) -> Infallible {
    loop {
        if hangup.recv().await.is_none() {
            return std::future::pending().await;
        }
        notify::reloading();
        log.reopen();
        notify::ready(SERVING);
    }
}

/// What runs revisions, and what tells of it.
struct Begun {
    follower: Follower,
    watch: Arc<Watch>,
    current: Arc<ArcSwapOption<Live>>,
    /// Told once something runs.
    served: oneshot::Receiver<()>,
    /// To let the follower rest.
    follower_rests: mpsc::Sender<Rest>,
    /// What looks at the files that the document names. They end with the process.
    _readers: [AbortOnDropHandle<()>; 2],
}

fn begin(
    options: Options,
    metrics: &Metrics,
    workers: Vec<mpsc::UnboundedSender<Command>>,
    overload: &Arc<Overload>,
) -> Result<Begun, RunError> {
    let keyring = Arc::new(Keyring::new(options.files.clone(), metrics.clone())?);
    let finder = Finder::new(options.own, options.files.clone());
    metrics.tell_discovery(Arc::clone(finder.board()));
    let board = Arc::clone(finder.board());
    let mut stage = Stage::new(metrics.clone(), workers, Arc::clone(&keyring), Arc::clone(overload), finder);
    stage.listen = options.listen;
    stage.zone = options.zone;
    stage.folder = options.files;
    stage.spares = options.inherited.listeners;
    let current = Arc::clone(&stage.current);
    let mut watch = Watch::new(Arc::clone(&current));
    watch.more = options.health;
    watch.discovery = Some(board);
    watch.keyring = Some(Arc::clone(&keyring));
    watch.overload = Some(Arc::clone(overload));
    if let Some(document) = options.document {
        metrics.tell_document(Arc::clone(&document));
        watch.document = Some(document);
    }
    let (keeper, found) = match options.data {
        None => (None, Found::default()),
        Some(data) => {
            let series = Arc::new(KeepSeries::default());
            metrics.tell_keep(Arc::clone(&series));
            let opened = keep::open(&data, &series).map_err(|Taken(data)| RunError::Data(data))?;
            watch.keep = Some((series, data));
            opened
        }
    };
    let feed = feed(options.source, metrics, &mut watch)?;
    let ((follower_rests, rests), (serves, served)) = (mpsc::channel(1), oneshot::channel());
    let watch = Arc::new(watch);
    let parts = Parts {
        who: Identity {
            node: options.node.unwrap_or_else(host_name),
            incarnation: Incarnation::from_bits(rand::random()),
            region: options.region,
        },
        stage,
        prober: Prober::new(metrics.clone())?,
        watch: Arc::clone(&watch),
        keeper,
        feed,
        bell: signal(SignalKind::hangup())?,
        rests,
        served: serves,
    };
    let follower = Follower::new(parts, found, health::now());
    let following = tokio::spawn(keyring.follow(signal(SignalKind::hangup())?));
    let refreshing = tokio::spawn(refresh(Arc::clone(&current), signal(SignalKind::hangup())?));
    let _readers = [following, refreshing].map(AbortOnDropHandle::new);
    Ok(Begun { follower, watch, current, served, follower_rests, _readers })
}

/// Where revisions come from.
fn feed(source: Source, metrics: &Metrics, watch: &mut Watch) -> io::Result<Feed> {
    let options = match source {
        Source::InProcess { revisions, replies } => {
            return Ok(Feed::Here { revisions, replies: Some(replies), over: false });
        }
        Source::Control(options) => options,
    };
    let series = Arc::new(ControlSeries::default());
    metrics.tell_control(Arc::clone(&series));
    watch.control = Some(Arc::clone(&series));
    Away::open(options, series).map(Feed::Away)
}

/// The name of the machine, without what a name cannot have.
fn host_name() -> NodeName {
    let machine = rustix::system::uname();
    let name: String = machine.nodename().to_string_lossy().chars().filter(|c| is_plain(*c)).collect();
    let name = name.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
    let short = &name[..name.len().min(sluice_config::name::MAX_LENGTH)];
    short.parse().unwrap_or_else(|_| "node".parse().expect("a plain word is a name"))
}

const fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
}

/// How the process leaves before it has served.
const NOTHING_TO_DRAIN: Drain =
    Drain { delay: Duration::ZERO, deadline: Duration::from_secs(1), linger: Duration::ZERO };

/// How the revision that runs says the process leaves.
fn drain(current: &ArcSwapOption<Live>) -> Drain {
    let live = current.load();
    live.as_ref().map_or(NOTHING_TO_DRAIN, |live| live.document.drain.clone())
}

async fn tick(metrics: &Metrics, watch: &Watch, overload: &Overload) -> Infallible {
    let mut tick = tokio::time::interval(TICK);
    loop {
        metrics.tick(tick.tick().await.into_std());
        watch.tick();
        if let Some(live) = &*watch.current.load() {
            overload.measure(&live.document.limits, memory::resident(), memory::group_limit());
        }
    }
}

/// Looks again at the files that the revision that runs names, by a period and when an operator asks.
async fn refresh(current: Arc<ArcSwapOption<Live>>, mut hangup: Signal) {
    let mut period = tokio::time::interval(REFRESH);
    loop {
        tokio::select! {
            _ = period.tick() => {}
            _ = hangup.recv() => {}
        }
        if let Some(live) = current.load_full() {
            // A network file system may keep it waiting for ever; nobody else waits for it.
            let _ = tokio::task::spawn_blocking(move || live.refresh_files()).await;
        }
    }
}

/// The signals that end the process.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn install() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    pub(crate) async fn leave(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
