//! The loops around the core's decisions on discovery: one for each source that the running document names.
//!
//! A loop asks ([`ask`] for DNS, [`list`] for files), the core says what the answer means, the [`Board`] holds what is known,
//! and whoever runs revisions is told when a set has changed. No request ever waits for any of it.
//!
//! **What is asked.** Names are whole: no search domain is put behind them and `/etc/hosts` is not looked at, so that a
//! document means the same on every machine. There is no cache of ours: the core says when to ask. The servers are the
//! document's or those of `/etc/resolv.conf`, which is read again when it changes.
//!
//! Loops follow the document: one whose source and settings stay goes on undisturbed. What is known of a source belongs to
//! the source, not to its loop, so that other settings forget nothing.

mod ask;
mod board;
mod list;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sluice_config::Validated;
use sluice_config::validated::{Discovery, Query, Resolver};
use sluice_proxy_core::discovery::{Answer, Failure, fill, queries};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::task::AbortOnDropHandle;

use self::ask::Asker;
pub(crate) use self::board::{Board, Row};

/// How long a revision with new sources waits for their first addresses.
const FIRST: Duration = Duration::from_secs(2);

/// Between two compilations because of changed sets.
const PAUSE: Duration = Duration::from_millis(100);

/// How long a change waits for others that come with it.
const SETTLE: Duration = Duration::from_millis(10);

/// A compilation may take this part of the time, so that a large document does not do nothing else.
const PART: u32 = 4;

/// Runs the loops. Dropping it stops them all.
pub(crate) struct Finder {
    board: Arc<Board>,
    /// Addresses that no endpoint may be.
    own: Arc<[SocketAddr]>,
    /// Where relative paths begin.
    folder: PathBuf,
    asker: Option<Arc<Asker>>,
    loops: BTreeMap<Query, Running>,
    changes: watch::Receiver<u64>,
    /// Not before then are changes told again.
    rests: Instant,
}

struct Running {
    bounds: Discovery,
    resolver: Resolver,
    /// Stops the loop when dropped.
    _task: AbortOnDropHandle<()>,
}

impl fmt::Debug for Finder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Finder").field("sources", &self.loops.len()).finish_non_exhaustive()
    }
}

impl Finder {
    /// A finder that looks for nothing yet. No endpoint may be one of `own`.
    pub(crate) fn new(own: Vec<SocketAddr>, folder: PathBuf) -> Self {
        let board = Arc::new(Board::default());
        let changes = board.changes();
        let rests = Instant::now();
        Self { board, own: own.into(), folder, asker: None, loops: BTreeMap::new(), changes, rests }
    }

    /// What is known, for whoever tells of it.
    pub(crate) const fn board(&self) -> &Arc<Board> {
        &self.board
    }

    /// Starts to look for what a document needs beside what is looked for already, and waits for its first addresses, at
    /// most [`FIRST`]. Returns whether there was anything to wait for.
    pub(crate) async fn begin(&mut self, document: &Validated) -> bool {
        let deadline = Instant::now() + FIRST;
        let new: Vec<(Query, Discovery)> =
            queries(document).into_iter().filter(|(query, _)| !self.loops.contains_key(query)).collect();
        let asker = self.asker(&document.resolver);
        for (query, bounds) in &new {
            self.start(query, *bounds, &asker);
        }
        let mut rounds = self.board.rounds();
        let all = rounds.wait_for(|_| new.iter().all(|(query, _)| self.board.knows(query)));
        // Whatever is missing then is told by its loop, and comes later.
        let _ = timeout_at(deadline, all).await;
        !new.is_empty()
    }

    /// Looks for what this document needs, and for nothing else.
    pub(crate) fn settle(&mut self, document: &Validated) {
        let wanted = queries(document);
        self.loops.retain(|query, _| wanted.contains_key(query));
        self.board.retain(|query| wanted.contains_key(query));
        let asker = self.asker(&document.resolver);
        for (query, bounds) in wanted {
            let running = self.loops.get(&query);
            if running.is_none_or(|it| it.bounds != bounds || it.resolver != document.resolver) {
                self.start(&query, bounds, &asker);
            }
        }
    }

    /// The document with what was found.
    pub(crate) fn fill(&self, document: &Arc<Validated>) -> Arc<Validated> {
        if self.loops.is_empty() {
            return Arc::clone(document);
        }
        let mut filled = Validated::clone(document);
        fill(&mut filled, &self.board.sets());
        Arc::new(filled)
    }

    /// Until a set has changed, changes that come together have come, and the last time is long enough ago. May be dropped
    /// and asked for again.
    pub(crate) async fn changed(&self) {
        // A copy: what it has seen is not yet looked at.
        let mut changes = self.changes.clone();
        if changes.changed().await.is_err() {
            return std::future::pending().await;
        }
        sleep_until(self.rests.max(Instant::now() + SETTLE)).await;
    }

    /// What has changed up to now is being looked at.
    pub(crate) fn look(&mut self) {
        self.changes.mark_unchanged();
    }

    /// What had changed runs, since `begun`.
    pub(crate) fn ran(&mut self, begun: Instant) {
        self.rests = Instant::now() + PAUSE.max(begun.elapsed() * PART);
    }

    /// What had changed does not run yet, and is to be tried again after a while.
    pub(crate) fn postpone(&mut self, wait: Duration) {
        self.changes.mark_changed();
        self.rests = Instant::now() + wait;
    }

    fn asker(&mut self, resolver: &Resolver) -> Arc<Asker> {
        let known = self.asker.take().filter(|asker| asker.settings() == resolver);
        let asker = known.unwrap_or_else(|| Arc::new(Asker::new(resolver.clone())));
        Arc::clone(self.asker.insert(asker))
    }

    fn start(&mut self, query: &Query, bounds: Discovery, asker: &Arc<Asker>) {
        let post = Post { query: query.clone(), bounds, own: Arc::clone(&self.own), board: Arc::clone(&self.board) };
        let task = match query {
            Query::File { path } => tokio::spawn(list::watch(crate::files::resolve(&self.folder, path), post)),
            Query::Dns { .. } | Query::Srv { .. } => tokio::spawn(watch_name(Arc::clone(asker), post)),
        };
        let running = Running { bounds, resolver: asker.settings().clone(), _task: AbortOnDropHandle::new(task) };
        self.loops.insert(query.clone(), running);
    }
}

/// Where a loop leaves its answers.
struct Post {
    query: Query,
    bounds: Discovery,
    own: Arc<[SocketAddr]>,
    board: Arc<Board>,
}

impl Post {
    /// Takes the answers to a round of questions; says when the next one is.
    fn take(&self, answers: Vec<(String, Answer)>) -> Instant {
        self.board.take(&self.query, answers, &self.bounds, &self.own).into()
    }
}

async fn watch_name(asker: Arc<Asker>, post: Post) {
    loop {
        // In a task of its own: a defect in an answer must cost that answer and not all later ones.
        let (asker, query) = (Arc::clone(&asker), post.query.clone());
        let asking = AbortOnDropHandle::new(tokio::spawn(async move { asker.ask(&query).await }));
        let answers = asking.await.unwrap_or_else(|error| {
            tracing::error!(source = %post.query, %error, "a question ended by a defect");
            vec![(String::new(), Answer::Failed(Failure::Malformed("a defect".to_owned())))]
        });
        sleep_until(post.take(answers)).await;
    }
}

#[cfg(test)]
mod tests;
