//! The process: threads that serve, one that watches over them, and how it begins and leaves.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use sluice_config::validated::Drain;
use sluice_config::wire;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;
use tokio::time::Instant;

use crate::house::{self, Command};
use crate::live::Live;
use crate::log::{self, AccessLog};
use crate::metrics::{DocumentSeries, Metrics, SERIES_BUDGET};
use crate::probe::Prober;
use crate::source::{self, Stage, Unfit};
use crate::status::{self, StatusSource};
use crate::upstream::{DialError, Dialer};
use crate::worker::Equipment;

/// How often gauges over a window are turned.
const TICK: Duration = Duration::from_secs(1);

/// How to run.
#[derive(Debug)]
pub struct Options {
    /// Threads that serve.
    pub workers: NonZeroUsize,
    /// Where `/live`, `/ready` and `/metrics` are told.
    pub status: SocketAddr,
    /// Where each request is told in a line.
    pub access_log: log::Target,
    /// The revision to begin with: a serialised [`wire::Revision`].
    pub first: Vec<u8>,
    /// The revisions that follow.
    pub revisions: mpsc::Receiver<Vec<u8>>,
    /// Where a serialised [`wire::Reply`] goes for each.
    pub replies: mpsc::Sender<Vec<u8>>,
    /// How the file that the revisions come from stands, for the metrics.
    pub document: Arc<DocumentSeries>,
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

async fn serve(mut options: Options) -> Result<(), RunError> {
    let workers = options.workers.get();
    let metrics = Metrics::new(workers, SERIES_BUDGET);
    let dialer = Arc::new(Dialer::new().map_err(RunError::Dial)?);
    let mut stage = Stage::new(metrics.clone(), workers);
    let first = stage.prepare(&options.first).map_err(|(_, unfit)| RunError::Revision(tell(&unfit)))?;
    let status = TcpListener::bind(options.status).await.map_err(|error| RunError::Status(options.status, error))?;
    let (log, _guard) = AccessLog::open(options.access_log.clone())
        .map_err(|error| RunError::AccessLog(options.access_log.clone(), error))?;
    metrics.count_lost_lines(log.lost());
    metrics.tell_document(Arc::clone(&options.document));
    let mut signals = Signals::install()?;
    let mut crew = Crew::start(workers, &Equipment { dialer, metrics: metrics.clone(), log }, &first.live)?;
    stage.workers = crew.commands();
    let mut prober = Prober::new(metrics.clone())?;
    let ack = wire::Reply::Ack { id: first.live.id, digest: first.live.document.digest };
    let first_id = first.live.id;
    stage.apply(first, &mut prober).await;
    source::answer(&options.replies, &ack).await;
    let state = Arc::new(State { metrics: metrics.clone(), leaving: AtomicBool::new(false) });
    let telling = tokio::task::spawn_local(status::serve(status, Arc::clone(&state) as _, std::future::pending()));
    tracing::info!(revision = first_id.0, workers, status = %options.status, "serving");
    let current = Arc::clone(&stage.current);
    let whole = tokio::select! {
        () = crew.lost() => false,
        () = serve_on(source::follow(&mut stage, &mut prober, &mut options.revisions, &options.replies)) => true,
        () = tick(&metrics) => true,
        () = signals.leave() => true,
    };
    state.leaving.store(true, Ordering::Relaxed);
    crew.leave(drain(&current), &mut signals).await;
    telling.abort();
    if whole { Ok(()) } else { Err(RunError::Worker) }
}

fn tell(unfit: &Unfit) -> String {
    unfit.to_string()
}

/// How the revision that runs says the process leaves.
fn drain(current: &ArcSwapOption<Live>) -> Drain {
    let live = current.load();
    let live = live.as_ref().expect("a revision runs before the process can leave");
    live.document.drain.clone()
}

/// Without a control plane what runs goes on.
async fn serve_on(control: impl Future<Output = ()>) {
    control.await;
    std::future::pending().await
}

async fn tick(metrics: &Metrics) {
    let mut tick = tokio::time::interval(TICK);
    loop {
        metrics.tick(tick.tick().await.into_std());
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
    fn start(count: usize, equipment: &Equipment, live: &Arc<Live>) -> io::Result<Self> {
        let mut crew = Self { workers: Vec::new(), lives: Vec::new() };
        for index in 0..count {
            let (commands, orders) = mpsc::unbounded_channel();
            let (equipment, live) = (equipment.clone(), Arc::clone(live));
            let (alive, life) = oneshot::channel::<()>();
            let thread = std::thread::Builder::new().name(format!("worker-{index}"));
            let thread = thread.spawn(move || {
                let _alive = alive;
                house::serve(index, equipment, live, orders)
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
    leaving: AtomicBool,
}

impl StatusSource for State {
    fn ready(&self) -> Result<(), String> {
        if self.leaving.load(Ordering::Relaxed) { Err("the process is leaving".to_owned()) } else { Ok(()) }
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
