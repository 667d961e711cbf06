//! The last known good: what this proxy ran, kept on its own disk, so that it serves without its control plane.
//!
//! A thread of its own writes, because a disk may take seconds and nobody may wait for it: not a worker, not whoever
//! answers the control plane. What is promised is this: a revision that was written is whole after any crash, and is
//! written soon after it ran. A crash between the two loses the newest, and the one before is started, which the control
//! plane then brings up to date.

mod folder;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, SystemTime};

use sluice_config::wire::Revision;
use sluice_proxy_core::recall::Journal;
use tokio::sync::oneshot;

use crate::metrics::KeepSeries;
use folder::{Closed, Folder, Kept};

/// Writes that may wait for a slow disk; further ones count as failed.
const ROOM: usize = 8;

/// How long the journal is waited for before a revision is tried all the same.
const PATIENCE: Duration = Duration::from_secs(2);

enum Job {
    Save(Arc<Revision>),
    Note(Journal, oneshot::Sender<()>),
}

/// The thread that writes, from outside. It ends, with all that waits written, when this is dropped.
#[derive(Debug)]
pub(crate) struct Keeper {
    jobs: Option<SyncSender<Job>>,
    thread: Option<std::thread::JoinHandle<()>>,
    series: Arc<KeepSeries>,
}

/// What was found at the start.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// The newest first; nothing for a file that is damaged, which has been told.
    pub(crate) revisions: Vec<Option<Revision>>,
    pub(crate) journal: Journal,
}

/// Another process uses this folder.
#[derive(Debug)]
pub(crate) struct Taken(pub(crate) PathBuf);

/// Takes the folder in `data`, reads it, and starts the thread that writes there. Without a usable folder there is no
/// keeper, which is told and counted, and no reason not to serve.
///
/// # Errors
/// When another process uses the folder: two would overwrite each other's.
pub(crate) fn open(data: &Path, series: &Arc<KeepSeries>) -> Result<(Option<Keeper>, Found), Taken> {
    let opened = Folder::open(data).and_then(|folder| Ok((folder.read()?, folder)));
    let (kept, folder) = match opened {
        Ok(opened) => opened,
        Err(Closed::Taken) => return Err(Taken(data.to_owned())),
        Err(Closed::System(error)) => {
            trouble(series, format!("cannot use {}: {error}", data.display()));
            return Ok((None, Found::default()));
        }
    };
    let journal = folder.journal().unwrap_or_else(|| {
        tracing::warn!(data = %data.display(), "the journal of starts cannot be read; crashes before now are forgotten");
        Journal::default()
    });
    series.found(kept.iter().find(|kept| kept.revision.is_ok()).and_then(|kept| kept.written));
    let revisions = kept.into_iter().map(told).collect();
    let keeper = Keeper::start(folder, Arc::clone(series)).map_err(|error| {
        trouble(series, format!("no thread to write last known good revisions: {error}"));
    });
    Ok((keeper.ok(), Found { revisions, journal }))
}

fn trouble(series: &KeepSeries, why: String) {
    tracing::error!("{why}; this proxy serves on, and would not start without its control plane");
    series.failed(why);
}

fn told(kept: Kept) -> Option<Revision> {
    let fault = match kept.revision {
        Ok(revision) => return Some(revision.with_own_digest()),
        Err(fault) => fault,
    };
    tracing::error!(file = %kept.path.display(), "a last known good revision is damaged and is not used: {fault}");
    None
}

impl Keeper {
    fn start(folder: Folder, series: Arc<KeepSeries>) -> std::io::Result<Self> {
        let (jobs, orders) = sync_channel(ROOM);
        let told = Arc::clone(&series);
        let thread =
            std::thread::Builder::new().name("keeper".to_owned()).spawn(move || work(folder, orders, &told))?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread), series })
    }

    /// Lets a revision that runs be written. Does not wait.
    pub(crate) fn save(&self, revision: &Arc<Revision>) {
        if !self.send(Job::Save(Arc::clone(revision))) {
            trouble(&self.series, format!("revision {} is not kept: the disk is behind", revision.id));
        }
    }

    /// Writes the journal, and waits for it a short while: what is tried next may end the process.
    pub(crate) async fn note(&self, journal: &Journal) {
        let (done, wait) = oneshot::channel();
        let taken = self.send(Job::Note(journal.clone(), done));
        if !taken || tokio::time::timeout(PATIENCE, wait).await.is_err() {
            tracing::warn!(
                "the journal of starts is not written: the disk is behind; a crash now may not be seen as one"
            );
        }
    }

    fn send(&self, job: Job) -> bool {
        self.jobs.as_ref().is_some_and(|jobs| jobs.try_send(job).is_ok())
    }

    /// Ends with all that waits written, unless the disk takes longer than the end may.
    pub(crate) async fn finish(mut self) {
        self.jobs = None;
        let Some(thread) = self.thread.take() else { return };
        // A thread that panicked has told it by itself.
        let _ = tokio::time::timeout(PATIENCE, tokio::task::spawn_blocking(move || thread.join())).await;
    }
}

fn work(mut folder: Folder, jobs: Receiver<Job>, series: &KeepSeries) {
    for job in jobs {
        match job {
            Job::Save(revision) => match folder.save(&revision) {
                Ok(()) => series.written(SystemTime::now()),
                Err(error) => trouble(series, format!("revision {} is not kept: {error}", revision.id)),
            },
            Job::Note(journal, done) => {
                if let Err(error) = folder.write_journal(&journal) {
                    tracing::warn!(%error, "the journal of starts is not written; a crash now may not be seen as one");
                }
                // Whoever waited may have gone on.
                let _ = done.send(());
            }
        }
    }
}

#[cfg(test)]
mod tests;
