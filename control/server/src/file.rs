//! The file mode: one document file is watched, and each sound change becomes a revision.
//!
//! The file's state is asked for several times a second instead of waiting for the kernel's notes: notes do not cross
//! NFS, follow no symbolic link to its end, and name the wrong file after an editor's rename. One `stat` a tick costs
//! nothing, and it sees every one of these. What a reading means is decided in [`FileSource`].

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sluice_config::wire::{Order, Reply, Revision};
use sluice_config::{Environment, Problems};
use sluice_control_core::FileSource;
use sluice_control_core::source::{Cause, Effect, Reading, Reason, Standing, Unreadable};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::judge::judge;
use crate::read::{Look, Stamp, look, read};

/// Between two looks at the file's state. A change runs after at most two of them.
const TICK: Duration = Duration::from_millis(250);

/// Between two readings of a file that seems unchanged: two writes of equal length within one step of the file system's
/// clock leave the same state behind.
const FULL_READING: Duration = Duration::from_secs(5);

/// Why a file could not be opened as the source of a document.
#[derive(Debug)]
pub enum OpenError {
    /// It could not be read.
    Unreadable(Unreadable),
    /// What it holds is not a sound document.
    Refused {
        /// What was read, to show the places of the problems in it.
        content: Vec<u8>,
        /// All of them.
        problems: Problems,
    },
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(why) => why.fmt(f),
            Self::Refused { problems, .. } => problems.fmt(f),
        }
    }
}

impl std::error::Error for OpenError {}

/// A control plane whose one source is a file.
#[derive(Debug)]
pub struct FileControl {
    path: PathBuf,
    environment: Environment,
    source: FileSource,
    stamp: Option<Stamp>,
    read_at: Instant,
    began: Instant,
    bell: Arc<Notify>,
    /// The newest revision that was not sent yet. An older one that waited here was never seen and is dropped.
    pending: Option<Vec<u8>>,
}

impl FileControl {
    /// Reads and proves the file. Returns its document as serialised revision 1, and the control plane to [`run`](Self::run).
    ///
    /// # Errors
    /// The file cannot be read, or its document has problems: then nothing may start.
    pub fn open(path: &Path, environment: Environment) -> Result<(Vec<u8>, Self), OpenError> {
        let content = read(path).map_err(OpenError::Unreadable)?;
        let (source, first) = match FileSource::begin(&content, |bytes| judge(bytes, &environment)) {
            Ok(begun) => begun,
            Err(problems) => return Err(OpenError::Refused { content, problems }),
        };
        let control = Self {
            path: path.to_owned(),
            environment,
            source,
            stamp: None,
            read_at: Instant::now(),
            began: Instant::now(),
            bell: Arc::new(Notify::new()),
            pending: None,
        };
        Ok((serialise(&first), control))
    }

    /// Ring it (`notify_one`) and the file is read and acted on at once, without the wait for a second equal reading.
    #[must_use]
    pub fn bell(&self) -> Arc<Notify> {
        self.bell.clone()
    }

    /// Watches the file until the proxy's end of either channel is dropped.
    ///
    /// Each sound change goes to `revisions`; what the proxy says to it comes back by `replies`. After each look at the
    /// file and each reply `stands` is told how the file stands, be it as before.
    pub async fn run(
        mut self,
        revisions: mpsc::Sender<Vec<u8>>,
        mut replies: mpsc::Receiver<Vec<u8>>,
        stands: impl Fn(Standing),
    ) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let bell = self.bell.clone();
        loop {
            stands(self.source.standing());
            tokio::select! {
                _ = ticks.tick() => self.observe(Cause::Watch).await,
                () = bell.notified() => self.observe(Cause::Asked).await,
                reply = replies.recv() => match reply {
                    Some(bytes) => self.hear(&bytes),
                    None => return,
                },
                permit = revisions.reserve(), if self.pending.is_some() => match (permit, self.pending.take()) {
                    (Ok(permit), Some(revision)) => permit.send(revision),
                    (Ok(_), None) => {}
                    (Err(_), _) => return,
                },
                () = revisions.closed() => return,
            }
        }
    }

    async fn observe(&mut self, cause: Cause) {
        let Some(look) = self.look(cause).await else { return };
        let written = look.stamp != self.stamp;
        self.stamp = look.stamp;
        let cause = if cause == Cause::Watch && written { Cause::Written } else { cause };
        let reading = match &look.content {
            Ok(bytes) => Reading::Bytes(bytes),
            Err(why) => Reading::Unreadable(why),
        };
        let (effect, reason) =
            self.source.step(reading, cause, self.began.elapsed(), |bytes| judge(bytes, &self.environment));
        self.tell(&effect, &reason, cause);
        if let Effect::Issue(revision) = effect {
            self.pending = Some(serialise(&revision));
        }
    }

    /// Looks at the file away from this thread: a network file system may keep whoever asks waiting.
    async fn look(&mut self, cause: Cause) -> Option<Look> {
        let now = Instant::now();
        let due = cause == Cause::Asked || self.source.is_due(now - self.began) || now - self.read_at >= FULL_READING;
        let known = if due { None } else { self.stamp.clone() };
        let path = self.path.clone();
        let look = tokio::task::spawn_blocking(move || look(&path, known.as_ref())).await.ok()??;
        self.read_at = now;
        Some(look)
    }

    fn tell(&self, effect: &Effect<Problems>, reason: &Reason, cause: Cause) {
        let file = self.path.display();
        if reason.is_fault() {
            tracing::error!(%file, "{reason}");
        } else if reason.is_news() || cause == Cause::Asked {
            tracing::info!(%file, "{reason}");
        } else {
            tracing::trace!(%file, "{reason}");
        }
        if let Effect::Tell(problems) = effect {
            problems.problems.iter().for_each(|problem| tracing::error!(%file, "{problem}"));
            if problems.omitted > 0 {
                tracing::error!(%file, "and {} more problems", problems.omitted);
            }
        }
    }

    fn hear(&mut self, reply: &[u8]) {
        let reply: Reply = match serde_json::from_slice(reply) {
            Ok(reply) => reply,
            Err(e) => return tracing::error!("the proxy's reply is not understood: {e}"),
        };
        let reason = self.source.hear(&reply, self.began.elapsed());
        match &reply {
            Reply::Ack { digest, .. } if reason.is_news() => tracing::info!(%digest, "{reason}"),
            Reply::Nack { id, problems, .. } if reason.is_news() => {
                tracing::error!("{reason}");
                problems.iter().for_each(|problem| tracing::error!(revision = %id, "{problem}"));
            }
            Reply::Ack { .. } | Reply::Nack { .. } | Reply::Hello(_) | Reply::Lost { .. } | Reply::Report(_) => {
                tracing::debug!("{reason}")
            }
        }
    }
}

fn serialise(revision: &Revision) -> Vec<u8> {
    serde_json::to_vec(&Order::Revision(revision.clone())).expect("a revision holds a number and texts")
}

#[cfg(test)]
mod tests;
