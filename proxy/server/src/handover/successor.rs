//! The old process's side: starts the program once more, gives it what it needs, and waits until it serves.
//!
//! Everything that this process lets go of is taken back unless the new one has said that it serves. Whatever happens before, the
//! new process is ended first: two must never believe that they own the store.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::passage::{MOST, Passage};
use super::program::program;
use super::{Beside, Given, Lot, PROTOCOL, Taken, VARIABLE};
use crate::notify;
use crate::source::{Lent, Rest};

/// Variables of a service manager that speak of this process and not of the new one.
const OURS: [&str; 4] = ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "WATCHDOG_PID"];

/// Lines of the new process's log that are told when it fails.
const LINES: usize = 12;

/// How long a process that has closed its end may take to be gone, and its log to be read.
const GONE: Duration = Duration::from_secs(1);

/// Between two looks at whether it is.
const LOOK: Duration = Duration::from_millis(10);

/// What this process can hand over.
#[derive(Debug)]
pub(crate) struct Estate {
    /// Whoever runs revisions, and so knows the listeners.
    pub(crate) follower: mpsc::Sender<Rest>,
    /// What else runs in this process.
    pub(crate) beside: Option<mpsc::UnboundedSender<Beside>>,
    /// Of health and metrics.
    pub(crate) status: TcpListener,
}

/// Why the new process does not serve. This one goes on as if nothing had been.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) why: String,
    /// The end of its log.
    pub(crate) last: Vec<String>,
}

/// A process serves in the place of this one.
#[derive(Debug)]
pub(crate) struct Handed {
    /// Its number.
    pub(crate) process: u32,
    /// What this process let go of stays so as long as this lives.
    _held: Option<Held>,
}

/// What was let go of. Dropped, everything is taken back.
#[derive(Debug)]
struct Held {
    /// The follower rests until this is dropped.
    _rest: oneshot::Sender<()>,
    beside: Option<mpsc::UnboundedSender<Beside>>,
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(beside) = &self.beside {
            // What has ended meanwhile has nothing to take back.
            let _ = beside.send(Beside::Resume);
        }
    }
}

type Lots = Vec<(Lot, OwnedFd)>;

impl Estate {
    /// Hands everything over to a new process. `orders` is the socket of those who ask for it; `tell` hears of each step. If
    /// this future is dropped, the new process is ended and everything is taken back.
    ///
    /// # Errors
    /// The new process does not serve within this time; everything is as it was before.
    pub(crate) async fn hand_over(
        &self,
        orders: Option<OwnedFd>,
        time: Duration,
        tell: &dyn Fn(String),
    ) -> Result<Handed, Failed> {
        let until = Instant::now() + time;
        // Dropped last: the successor must be gone before anything is taken back.
        let mut held = None;
        let mut successor = Successor::start().map_err(|error| Failed::new(format!("cannot start it: {error}")))?;
        let process = successor.child.id();
        tell(format!("started process {process}"));
        let passing = self.pass(&successor, &mut held, orders, until, tell);
        let why = match timeout_at(until, passing).await {
            Ok(Ok(())) => {
                successor.serves = true;
                // Nothing is taken back any more.
                held.iter_mut().for_each(|held: &mut Held| held.beside = None);
                return Ok(Handed { process, _held: held });
            }
            Ok(Err(why)) => why,
            Err(_) => format!("it did not serve within {}", sluice_config::duration::write(time)),
        };
        Err(successor.end(why).await)
    }

    async fn pass(
        &self,
        successor: &Successor,
        held: &mut Option<Held>,
        orders: Option<OwnedFd>,
        until: Instant,
        tell: &dyn Fn(String),
    ) -> Result<(), String> {
        match successor.hear(until).await? {
            Taken::Here { protocol: PROTOCOL } => {}
            Taken::Here { protocol } => {
                return Err(format!("it speaks version {protocol} of the hand-over, this process version {PROTOCOL}"));
            }
            other @ (Taken::Took { .. } | Taken::Serving) => return Err(unexpected(&other)),
        }
        let mut lots = self.let_go(held).await?;
        lots.extend(orders.map(|socket| (Lot::Orders, socket)));
        lots.push((Lot::Status, own(&self.status)?));
        tell(format!("handing over {} sockets", lots.len()));
        lots.push((Lot::StandardError, own(&io::stderr())?));
        successor.give(lots, until).await?;
        match successor.hear(until).await? {
            Taken::Serving => {}
            other @ (Taken::Here { .. } | Taken::Took { .. }) => return Err(unexpected(&other)),
        }
        // Before it is told to go: what it says to the service manager must come from the main process.
        notify::main_process(successor.child.id());
        // It serves, whether or not it hears this.
        let _ = successor.say(Given::Go).await;
        Ok(())
    }

    /// Lets go of what only one process can hold. Answers with the sockets that listen.
    async fn let_go(&self, held: &mut Option<Held>) -> Result<Lots, String> {
        let (lent, lending) = oneshot::channel();
        let (rest, over) = oneshot::channel();
        let gone = |_| "this process is about to end".to_owned();
        self.follower.send(Rest { lent, over }).await.map_err(|_| gone(()))?;
        let held = held.insert(Held { _rest: rest, beside: None });
        let mut lots: Lots = lending.await.map_err(|_| gone(()))?.into_iter().map(lot).collect();
        if let Some(beside) = &self.beside {
            let (released, releasing) = oneshot::channel();
            if beside.send(Beside::Release(released)).is_ok() {
                held.beside = Some(beside.clone());
                // What has ended holds nothing.
                let sockets = releasing.await.unwrap_or_default();
                lots.extend(sockets.into_iter().map(|(name, socket)| (Lot::Beside { name }, socket)));
            }
        }
        Ok(lots)
    }
}

fn lot(lent: Lent) -> (Lot, OwnedFd) {
    let Lent { id, worker, socket } = lent;
    (Lot::Listener { name: id.name.to_string(), address: id.address, worker }, socket.into())
}

fn own(socket: &impl AsFd) -> Result<OwnedFd, String> {
    socket.as_fd().try_clone_to_owned().map_err(|error| format!("cannot hand a socket over: {error}"))
}

fn unexpected(taken: &Taken) -> String {
    format!("it said {taken:?} where something else was due: it does not speak this version of the hand-over")
}

impl Failed {
    const fn new(why: String) -> Self {
        Self { why, last: Vec::new() }
    }
}

/// The new process. Dropped before it serves, it is ended.
struct Successor {
    child: Child,
    passage: Arc<Passage>,
    log: Tee,
    serves: bool,
}

impl Successor {
    /// The program that is installed now, with the arguments and the environment of this process.
    fn start() -> io::Result<Self> {
        let (near, far) = Passage::pair()?;
        let program = program()?;
        let mut command = Command::new(&program);
        command.args(std::env::args_os().skip(1)).env(VARIABLE, std::process::id().to_string());
        for variable in OURS {
            command.env_remove(variable);
        }
        let mut child = command.stdin(Stdio::from(far)).stderr(Stdio::piped()).spawn().map_err(|error| {
            let message = format!("{}: {error}", program.display());
            io::Error::new(error.kind(), message)
        })?;
        let log = Tee::start(child.stderr.take());
        Ok(Self { child, passage: Arc::new(near), log, serves: false })
    }

    async fn hear(&self, until: Instant) -> Result<Taken, String> {
        self.blocking(move |passage| passage.receive(until - Instant::now()).map(|(taken, _)| taken)).await
    }

    async fn say(&self, given: Given) -> Result<(), String> {
        self.blocking(move |passage| passage.send(&given, &[])).await
    }

    /// Gives all of these, part by part, each acknowledged, and says that this was all.
    async fn give(&self, mut lots: Lots, until: Instant) -> Result<(), String> {
        while !lots.is_empty() {
            let rest = lots.split_off(lots.len().min(MOST));
            let (names, sockets): (Vec<Lot>, Vec<OwnedFd>) = lots.into_iter().unzip();
            let count = sockets.len();
            self.blocking(move |passage| {
                let borrowed: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
                passage.send(&Given::Sockets { lots: names }, &borrowed)
            })
            .await?;
            match self.hear(until).await? {
                Taken::Took { sockets } if sockets == count => lots = rest,
                other @ (Taken::Here { .. } | Taken::Took { .. } | Taken::Serving) => return Err(unexpected(&other)),
            }
        }
        self.say(Given::Yours).await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Passage) -> io::Result<T> + Send + 'static,
    ) -> Result<T, String> {
        let passage = Arc::clone(&self.passage);
        let done = tokio::task::spawn_blocking(move || work(&passage)).await;
        done.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
    }

    /// Ends it, and says why it did not serve.
    async fn end(mut self, why: String) -> Failed {
        let ended = self.ended().await;
        let why = ended.map_or(why, |status| format!("the new process ended before it served ({status})"));
        self.kill();
        Failed { why, last: self.log.last().await }
    }

    /// How it ended by itself, if it has, or does within a moment.
    async fn ended(&mut self) -> Option<ExitStatus> {
        let until = Instant::now() + GONE;
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Some(status);
            }
            if Instant::now() >= until {
                return None;
            }
            sleep(LOOK).await;
        }
    }

    fn kill(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        if !self.serves {
            self.kill();
        }
    }
}

/// What a process says on standard error, passed on, with its end kept.
struct Tee {
    lines: Arc<Mutex<VecDeque<String>>>,
    finished: oneshot::Receiver<()>,
}

impl Tee {
    fn start(from: Option<ChildStderr>) -> Self {
        let lines = Arc::<Mutex<VecDeque<String>>>::default();
        let (done, finished) = oneshot::channel();
        let kept = Arc::clone(&lines);
        let pass = move || {
            from.into_iter().for_each(|from| pass_on(from, &kept));
            // Nobody waits any more when the new process serves.
            let _ = done.send(());
        };
        if let Err(error) = std::thread::Builder::new().name("successor-log".to_owned()).spawn(pass) {
            tracing::warn!(%error, "the log of the new process is not passed on");
        }
        Self { lines, finished }
    }

    /// Its last lines, once it has ended.
    async fn last(&mut self) -> Vec<String> {
        // A child of its own may keep the pipe open.
        let _ = timeout(GONE, &mut self.finished).await;
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect()
    }
}

fn pass_on(from: ChildStderr, kept: &Mutex<VecDeque<String>>) {
    let (mut from, mut line) = (BufReader::new(from), Vec::new());
    while matches!(from.read_until(b'\n', &mut line), Ok(1..)) {
        // If it cannot be written to, there is nowhere to say so.
        let _ = io::stderr().lock().write_all(&line);
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == LINES {
            kept.pop_front();
        }
        kept.push_back(String::from_utf8_lossy(line.trim_ascii_end()).into_owned());
        drop(kept);
        line.clear();
    }
}
