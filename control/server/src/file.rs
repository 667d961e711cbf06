//! The eye on the document's file.
//!
//! The file's state is asked for several times a second instead of waiting for the kernel's notes: notes do not cross
//! NFS, follow no symbolic link to its end, and name the wrong file after an editor's rename. One `stat` a tick costs
//! nothing, and it sees every one of these. What a reading means is decided in the core; here is only the looking, on a
//! task of its own, since a network file system may keep whoever looks waiting.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sluice_control_core::file::{Cause, Unreadable};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::read::{Stamp, look};

/// Between two looks at the file's state. A change runs after at most two of them.
const TICK: Duration = Duration::from_millis(250);

/// Between two readings of a file that seems unchanged: two writes of equal length within one step of the file system's
/// clock leave the same state behind.
const FULL_READING: Duration = Duration::from_secs(5);

/// What a look at the file found.
#[derive(Debug)]
pub(crate) struct Look {
    pub(crate) content: Result<Vec<u8>, Unreadable>,
    pub(crate) cause: Cause,
}

/// Looks at a file until nobody wants to know any more.
#[derive(Debug)]
pub(crate) struct Eye {
    path: PathBuf,
    bell: Arc<Notify>,
    /// Set when the next look must read the file, even if nothing shows that it was written.
    due: Arc<AtomicBool>,
    stamp: Option<Stamp>,
    read_at: Instant,
}

impl Eye {
    /// An eye on this file. Ring the bell and it is read at once; set the flag and it is read at the next look.
    pub(crate) fn new(path: PathBuf, bell: Arc<Notify>, due: Arc<AtomicBool>) -> Self {
        Self { path, bell, due, stamp: None, read_at: Instant::now() }
    }

    /// Looks until the other end of the channel is dropped.
    pub(crate) async fn watch(mut self, looks: mpsc::Sender<Look>) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let cause = tokio::select! {
                _ = ticks.tick() => Cause::Watch,
                () = self.bell.notified() => Cause::Asked,
                () = looks.closed() => return,
            };
            if let Some(look) = self.look(cause).await
                && looks.send(look).await.is_err()
            {
                return;
            }
        }
    }

    async fn look(&mut self, cause: Cause) -> Option<Look> {
        let now = Instant::now();
        let due = self.due.swap(false, Ordering::Relaxed);
        let must = due || cause == Cause::Asked || now - self.read_at >= FULL_READING;
        let known = if must { None } else { self.stamp.clone() };
        let path = self.path.clone();
        let look = tokio::task::spawn_blocking(move || look(&path, known.as_ref())).await.ok()??;
        self.stamp = look.stamp;
        self.read_at = now;
        Some(Look { content: look.content, cause })
    }
}
