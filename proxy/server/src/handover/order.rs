//! How an operator asks for an upgrade: by SIGUSR2, or on a socket in the data folder, which answers with what becomes of it.
//!
//! On the socket (0600) both sides speak lines of JSON: one order, then steps, then an outcome.

use std::convert::Infallible;
use std::fmt;
use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::{UnixListener as StdListener, UnixStream as StdStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader as AsyncReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::Signal;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::successor::{Estate, Failed, Handed};

/// The socket in the data folder.
const SOCKET: &str = "upgrade.sock";

/// How long a new process may take until it serves, unless the order says otherwise.
const DEADLINE: Duration = Duration::from_secs(30);

/// How long a caller may take to say what it wants, and to hear the outcome.
const PATIENCE: Duration = Duration::from_secs(2);

/// The longest order.
const LONGEST: u64 = 4096;

/// What is asked for.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Order {
    /// Milliseconds until the new process must serve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    deadline: Option<u64>,
}

/// What is answered, a line each.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
enum Said {
    Step { words: String },
    Done(Upgraded),
    Failed { why: String, last: Vec<String> },
    Busy,
}

/// An upgrade that is done: the new process serves, the old one drains.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Upgraded {
    /// The process that drains.
    pub old: u32,
    /// The process that serves.
    pub new: u32,
    /// From the order until it served.
    pub seconds: f64,
}

/// Why there was no upgrade.
#[derive(Debug)]
pub enum UpgradeError {
    /// No process answers in this folder.
    Nobody(PathBuf, io::Error),
    /// An upgrade is under way already.
    Busy,
    /// The new process does not serve. The old one does, as before.
    Failed {
        /// In words.
        why: String,
        /// The end of the new process's log.
        last: Vec<String>,
    },
    /// The old process was not heard to the end: whether the new one serves is not known.
    Lost(io::Error),
}

impl fmt::Display for UpgradeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nobody(path, error) => write!(
                f,
                "no process serves with {}: {error}; name its data folder with --data",
                path.parent().unwrap_or(path).display()
            ),
            Self::Busy => f.write_str("an upgrade is under way already; wait for its outcome"),
            Self::Failed { why, .. } => write!(f, "{why}; the old process serves as before"),
            Self::Lost(error) => {
                write!(f, "the process was not heard to the end: {error}; its log and `/live` say which one serves")
            }
        }
    }
}

impl std::error::Error for UpgradeError {}

/// Asks the process that uses this data folder to start the program anew and to hand over to it. `step` hears how far it
/// is. Blocks until the outcome is known.
///
/// # Errors
/// There was no upgrade, or its outcome is not known.
pub fn upgrade(data: &Path, deadline: Option<Duration>, step: &mut dyn FnMut(&str)) -> Result<Upgraded, UpgradeError> {
    let path = data.join(SOCKET);
    let mut stream = StdStream::connect(&path).map_err(|error| UpgradeError::Nobody(path, error))?;
    let deadline = deadline.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    stream.write_all(&line(&Order { deadline })).map_err(UpgradeError::Lost)?;
    for said in BufReader::new(stream).lines() {
        let said = said.and_then(|line| Ok(serde_json::from_str(&line)?));
        match said.map_err(UpgradeError::Lost)? {
            Said::Step { words } => step(&words),
            Said::Done(upgraded) => return Ok(upgraded),
            Said::Failed { why, last } => return Err(UpgradeError::Failed { why, last }),
            Said::Busy => return Err(UpgradeError::Busy),
        }
    }
    Err(UpgradeError::Lost(io::ErrorKind::UnexpectedEof.into()))
}

fn line(message: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(message).expect("words and numbers have a JSON form");
    line.push(b'\n');
    line
}

/// How orders end.
#[derive(Debug)]
pub(crate) struct Outcome {
    _handed: Handed,
}

/// Where orders come from.
#[derive(Debug)]
pub(crate) struct Orders {
    signal: Signal,
    socket: Option<Socket>,
}

/// Dropped, it is removed from the folder, unless another process has it now.
#[derive(Debug)]
struct Socket {
    listener: UnixListener,
    path: PathBuf,
    handed: bool,
}

impl Drop for Socket {
    fn drop(&mut self) {
        if !self.handed {
            // Somebody may have taken it away already.
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Orders {
    /// By this signal, and on the socket in this folder, which is ours alone; the socket may have been handed over.
    pub(crate) fn open(signal: Signal, data: Option<&Path>, inherited: Option<StdListener>) -> Self {
        let path = data.map(|data| data.join(SOCKET));
        let socket = path.and_then(|path| {
            let listening = inherited.map_or_else(|| bind(&path), Ok);
            let listener = listening.and_then(|listener| {
                listener.set_nonblocking(true)?;
                UnixListener::from_std(listener)
            });
            let tell = |error: &io::Error| tracing::warn!(path = %path.display(), %error, "`sluice upgrade` is not heard; SIGUSR2 is");
            Some(Socket { listener: listener.inspect_err(tell).ok()?, path, handed: false })
        });
        Self { signal, socket }
    }

    /// Carries out what is asked for, one order at a time, until a new process serves.
    pub(crate) async fn attend(&mut self, estate: &Estate) -> Outcome {
        loop {
            let caller = self.next().await;
            tracing::info!("upgrading: starting the program anew");
            let begun = Instant::now();
            let socket = self.socket.as_ref().and_then(|socket| socket.listener.as_fd().try_clone_to_owned().ok());
            let handed = self.carry_out(&caller, estate, socket).await;
            let seconds = begun.elapsed().as_secs_f64();
            match handed {
                Ok(handed) => {
                    self.socket.iter_mut().for_each(|socket| socket.handed = true);
                    let (old, new) = (std::process::id(), handed.process);
                    tracing::info!(process = new, seconds, "the new process serves; this one drains");
                    caller.end(Said::Done(Upgraded { old, new, seconds })).await;
                    return Outcome { _handed: handed };
                }
                Err(Failed { why, last }) => {
                    tracing::error!("no upgrade: {why}; this process serves as before");
                    caller.end(Said::Failed { why, last }).await;
                }
            }
        }
    }

    async fn carry_out(&mut self, caller: &Caller, estate: &Estate, socket: Option<OwnedFd>) -> Result<Handed, Failed> {
        let tell = |words: String| {
            tracing::info!("upgrading: {words}");
            caller.say(Said::Step { words });
        };
        tokio::select! {
            handed = estate.hand_over(socket, caller.deadline, &tell) => handed,
            never = self.refuse() => match never {},
        }
    }

    async fn next(&mut self) -> Caller {
        loop {
            tokio::select! {
                _ = self.signal.recv() => return Caller { deadline: DEADLINE, said: None },
                stream = accept(self.socket.as_ref()) => if let Some(caller) = Caller::hear(stream).await {
                    return caller;
                },
            }
        }
    }

    /// Tells whoever comes meanwhile that one is under way.
    async fn refuse(&mut self) -> Infallible {
        loop {
            tokio::select! {
                _ = self.signal.recv() => tracing::warn!("SIGUSR2: an upgrade is under way already"),
                mut stream = accept(self.socket.as_ref()) => {
                    // Who does not read it does not want to know.
                    let _ = timeout(PATIENCE, stream.write_all(&line(&Said::Busy))).await;
                }
            }
        }
    }
}

async fn accept(socket: Option<&Socket>) -> UnixStream {
    let Some(socket) = socket else { return std::future::pending().await };
    loop {
        match socket.listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) => {
                tracing::warn!(%error, "the socket for upgrades cannot accept");
                tokio::time::sleep(PATIENCE).await;
            }
        }
    }
}

/// A socket that an ended process left behind is taken over: whoever holds the folder is alone in it.
fn bind(path: &Path) -> io::Result<StdListener> {
    // Between the bind and the change of mode somebody could connect, so it is made in a folder of its own.
    let aside = path.with_extension(format!("{}.new", std::process::id()));
    DirBuilder::new().mode(0o700).create(&aside)?;
    let bound = place(&aside.join("s"), path);
    fs::remove_dir_all(&aside)?;
    bound
}

fn place(aside: &Path, path: &Path) -> io::Result<StdListener> {
    let listener = StdListener::bind(aside)?;
    fs::set_permissions(aside, Permissions::from_mode(0o600))?;
    fs::rename(aside, path)?;
    Ok(listener)
}

/// Who asked.
struct Caller {
    deadline: Duration,
    /// Absent: nobody waits for an answer.
    said: Option<(mpsc::UnboundedSender<Said>, JoinHandle<()>)>,
}

impl Caller {
    /// The order on this connection; nothing when there is none in time.
    async fn hear(mut stream: UnixStream) -> Option<Self> {
        let mut text = String::new();
        let mut reader = AsyncReader::new((&mut stream).take(LONGEST));
        timeout(PATIENCE, reader.read_line(&mut text)).await.ok()?.ok()?;
        let order: Order = serde_json::from_str(&text).ok()?;
        let (sender, mut said) = mpsc::unbounded_channel();
        let write = tokio::task::spawn_local(async move {
            while let Some(said) = said.recv().await {
                // Who went away does not want to know; the order is carried out all the same.
                let _ = stream.write_all(&line(&said)).await;
            }
        });
        let deadline = order.deadline.map_or(DEADLINE, Duration::from_millis);
        Some(Self { deadline, said: Some((sender, write)) })
    }

    fn say(&self, said: Said) {
        if let Some((sender, _)) = &self.said {
            // The task ends only after this.
            let _ = sender.send(said);
        }
    }

    /// The last word; waits, a short while, until it is written.
    async fn end(self, said: Said) {
        self.say(said);
        if let Some((sender, write)) = self.said {
            drop(sender);
            let _ = timeout(PATIENCE, write).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_is_its_owner_s_and_one_left_behind_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(SOCKET);
        drop(StdListener::bind(&path).unwrap());
        let _listener = bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(StdStream::connect(&path).is_ok());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_answered_is_what_the_caller_gets() {
        let ask = |said: Vec<Said>| {
            let folder = tempfile::tempdir().unwrap();
            let listener = bind(&folder.path().join(SOCKET)).unwrap();
            let answer = std::thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let mut order = String::new();
                BufReader::new(&stream).read_line(&mut order).unwrap();
                said.iter().for_each(|said| stream.write_all(&line(said)).unwrap());
                order
            });
            let mut steps = Vec::new();
            let result =
                upgrade(folder.path(), Some(Duration::from_secs(7)), &mut |words| steps.push(words.to_owned()));
            (result, steps, answer.join().unwrap())
        };
        let step = || Said::Step { words: "a step".to_owned() };
        let (result, steps, order) = ask(vec![step(), Said::Done(Upgraded { old: 1, new: 2, seconds: 0.5 })]);
        assert_eq!(
            (result.unwrap().new, steps, order.as_str()),
            (2, vec!["a step".to_owned()], "{\"deadline\":7000}\n")
        );
        assert!(matches!(ask(vec![Said::Busy]).0, Err(UpgradeError::Busy)));
        assert!(matches!(ask(vec![step()]).0, Err(UpgradeError::Lost(_))));
        let failed = Said::Failed { why: "why".to_owned(), last: vec!["line".to_owned()] };
        assert!(
            matches!(ask(vec![failed]).0, Err(UpgradeError::Failed { why, last }) if why == "why" && last.len() == 1)
        );
        let nobody = tempfile::tempdir().unwrap();
        assert!(matches!(upgrade(nobody.path(), None, &mut |_| ()), Err(UpgradeError::Nobody(..))));
    }
}
