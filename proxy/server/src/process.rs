//! The process: threads that serve, one that watches over them, and how it begins and leaves.

use std::collections::BTreeMap;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use sluice_config::health::Health;
use sluice_config::name::{ListenerName, NodeName, RegionName};
use sluice_config::validated::Drain;
use sluice_config::value::Incarnation;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::control::{ControlOptions, Subscriber};
use crate::health::{self, HealthSource, Watch};
use crate::house::{self, Command};
use crate::keep::{self, Found, Taken};
use crate::live::Live;
use crate::log::{self, AccessLog};
use crate::memory;
use crate::metrics::{ControlSeries, DocumentSeries, KeepSeries, Metrics, SERIES_BUDGET};
use crate::overload::Overload;
use crate::probe::Prober;
use crate::source::{Feed, Follower, Identity, Parts};
use crate::stage::Stage;
use crate::status::{self, StatusSource};
use crate::upstream::{DialError, Dialer};
use crate::worker::Equipment;

/// How often gauges over a window are turned.
const TICK: Duration = Duration::from_secs(1);

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
    /// Where this proxy binds a listener in place of the document's address.
    pub listen: BTreeMap<ListenerName, SocketAddr>,
    /// Health of what else runs in this process.
    pub health: Option<HealthSource>,
    /// How the file that the revisions come from stands, for the metrics. Absent: there is no such file here.
    pub document: Option<Arc<DocumentSeries>>,
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

/// Why the process cannot begin.
#[derive(Debug)]
pub enum RunError {
    /// The first revision does not run.
    Revision(String),
    /// The status listener's address cannot be used.
    Status(SocketAddr, io::Error),
    /// The access log cannot be opened.
    AccessLog(log::Target, io::Error),
    /// Nothing can be dialled.
    Dial(DialError),
    /// Another process keeps its revisions in this folder.
    Data(PathBuf),
    /// A worker has ended by itself; the log says why. The others were left to end with what they carried.
    Worker,
    /// The system gives no thread, timer or signal.
    System(io::Error),
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Revision(why) => f.write_str(why),
            Self::Status(address, error) => {
                write!(f, "cannot serve status on {address}: {error}; choose another address with --status")
            }
            Self::AccessLog(log::Target::File(path), error) => {
                let path = path.display();
                write!(f, "cannot open the access log {path}: {error}; ")?;
                f.write_str("create its folder or choose another path with --access-log")
            }
            Self::AccessLog(log::Target::Off | log::Target::Stdout, error) => {
                write!(f, "cannot start the access log: {error}")
            }
            Self::Dial(error) => write!(f, "{error}"),
            Self::Data(path) => {
                let path = path.display();
                write!(f, "another process uses {path}; stop it, or give this one a folder of its own with --data")
            }
            Self::Worker => {
                f.write_str("a worker has ended by itself; start the process again and report the panic in the log")
            }
            Self::System(error) => write!(f, "the system refuses what the process needs: {error}"),
        }
    }
}

impl std::error::Error for RunError {}

impl From<io::Error> for RunError {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

/// Runs until told to leave (SIGTERM or SIGINT) and every request under way has ended, or the drain's deadline has
/// passed. A second signal cuts what is left.
///
/// # Errors
/// When the process cannot begin, and nothing is served then; or when a worker has ended by itself.
pub fn run(options: Options) -> Result<(), RunError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, serve(options))
}

async fn serve(options: Options) -> Result<(), RunError> {
    let workers = options.workers.get();
    let metrics = Metrics::new(workers, SERIES_BUDGET);
    let dialer = Arc::new(Dialer::new().map_err(RunError::Dial)?);
    let status = TcpListener::bind(options.status).await.map_err(|error| RunError::Status(options.status, error))?;
    let (log, _guard) = AccessLog::open(options.access_log.clone())
        .map_err(|error| RunError::AccessLog(options.access_log.clone(), error))?;
    metrics.count_lost_lines(log.lost());
    let mut signals = Signals::install()?;
    let overload = Arc::new(Overload::new(metrics.overload()));
    let equipment = Equipment { dialer, metrics: metrics.clone(), log, overload: Arc::clone(&overload) };
    let mut crew = Crew::start(workers, &equipment)?;
    let address = options.status;
    let begun = begin(options, &metrics, crew.commands(), &overload);
    let Begun { mut follower, watch, current, _subscriber } = match begun {
        Ok(begun) => begun,
        Err(error) => {
            crew.leave(NOTHING_TO_DRAIN, &mut signals).await;
            return Err(error);
        }
    };
    let state =
        Arc::new(State { metrics: metrics.clone(), watch: Arc::clone(&watch), leaving: AtomicBool::new(false) });
    let telling = tokio::task::spawn_local(status::serve(status, Arc::clone(&state) as _, std::future::pending()));
    tracing::info!(status = %address, "telling health and metrics");
    let end = tokio::select! {
        () = crew.lost() => Err(RunError::Worker),
        Err(why) = follower.run() => Err(RunError::Revision(why)),
        () = tick(&metrics, &watch, &overload) => Ok(()),
        () = signals.leave() => Ok(()),
    };
    state.leaving.store(true, Ordering::Relaxed);
    if end.is_ok() {
        follower.leave().await;
    }
    crew.leave(drain(&current), &mut signals).await;
    telling.abort();
    end
}

/// What runs revisions, and what tells of it.
struct Begun {
    follower: Follower,
    watch: Arc<Watch>,
    current: Arc<ArcSwapOption<Live>>,
    /// Ends with the process.
    _subscriber: Option<AbortOnDropHandle<()>>,
}

fn begin(
    options: Options,
    metrics: &Metrics,
    workers: Vec<mpsc::UnboundedSender<Command>>,
    overload: &Arc<Overload>,
) -> Result<Begun, RunError> {
    let mut stage = Stage::new(metrics.clone(), workers, Arc::clone(overload));
    stage.listen = options.listen;
    let current = Arc::clone(&stage.current);
    let mut watch = Watch::new(Arc::clone(&current));
    watch.more = options.health;
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
    let (feed, subscriber) = feed(options.source, metrics, &mut watch)?;
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
    };
    let follower = Follower::new(parts, found, health::now());
    Ok(Begun { follower, watch, current, _subscriber: subscriber })
}

/// What comes, and the task that brings it.
fn feed(
    source: Source,
    metrics: &Metrics,
    watch: &mut Watch,
) -> Result<(Feed, Option<AbortOnDropHandle<()>>), RunError> {
    let options = match source {
        Source::InProcess { revisions, replies } => {
            return Ok((Feed::Here { revisions, replies: Some(replies), over: false }, None));
        }
        Source::Control(options) => options,
    };
    let series = Arc::new(ControlSeries::default());
    metrics.tell_control(Arc::clone(&series));
    watch.control = Some(Arc::clone(&series));
    let (arrivals, feed) = mpsc::channel(1);
    let subscriber = Subscriber { options, series, arrivals, bell: signal(SignalKind::hangup())? };
    Ok((Feed::Away(feed), Some(AbortOnDropHandle::new(tokio::spawn(subscriber.run())))))
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
const NOTHING_TO_DRAIN: Drain = Drain { deadline: Duration::from_secs(1), linger: Duration::ZERO };

/// How the revision that runs says the process leaves.
fn drain(current: &ArcSwapOption<Live>) -> Drain {
    let live = current.load();
    live.as_ref().map_or(NOTHING_TO_DRAIN, |live| live.document.drain.clone())
}

async fn tick(metrics: &Metrics, watch: &Watch, overload: &Overload) {
    let mut tick = tokio::time::interval(TICK);
    loop {
        metrics.tick(tick.tick().await.into_std());
        watch.tick();
        if let Some(live) = &*watch.current.load() {
            overload.measure(&live.document.limits, memory::resident(), memory::group_limit());
        }
    }
}

/// The signals that end the process.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn install() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn leave(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// The threads that serve.
struct Crew {
    workers: Vec<(mpsc::UnboundedSender<Command>, JoinHandle<io::Result<()>>)>,
    /// Each ends with its thread, however that ends.
    lives: Vec<oneshot::Receiver<()>>,
}

impl Crew {
    fn start(count: usize, equipment: &Equipment) -> io::Result<Self> {
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
    async fn lost(&mut self) {
        poll_fn(|cx| {
            let ended = self.lives.iter_mut().any(|life| Pin::new(life).poll(cx).is_ready());
            if ended { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    fn commands(&self) -> Vec<mpsc::UnboundedSender<Command>> {
        self.workers.iter().map(|(commands, _)| commands.clone()).collect()
    }

    /// Lets every worker end with its last connection; cuts what is left at the deadline or at a second signal.
    async fn leave(self, drain: Drain, signals: &mut Signals) {
        let begun = Instant::now();
        tracing::info!(deadline = ?drain.deadline, "leaving: no new connections, those there are end with their request");
        let (commands, threads): (Vec<_>, Vec<_>) = self.workers.into_iter().unzip();
        for commands in &commands {
            // A worker that has ended has nothing to leave.
            let _ = commands.send(Command::Leave(drain.linger));
        }
        let mut ended = tokio::task::spawn_blocking(move || threads.into_iter().for_each(join));
        let cut = tokio::select! {
            _ = &mut ended => false,
            () = tokio::time::sleep(drain.deadline) => true,
            () = signals.leave() => true,
        };
        if cut {
            tracing::warn!(after = ?begun.elapsed(), "cutting what is left");
            commands.iter().for_each(|commands| drop(commands.send(Command::Cut)));
            // Joining only fails with the panic of a worker, and that was told already.
            let _ = ended.await;
        }
        tracing::info!(after = ?begun.elapsed(), "left");
    }
}

fn join(thread: JoinHandle<io::Result<()>>) {
    match thread.join() {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(%error, "a worker could not serve"),
        Err(_) => tracing::error!("a worker has panicked"),
    }
}

struct State {
    metrics: Metrics,
    watch: Arc<Watch>,
    leaving: AtomicBool,
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
