//! Connections to origins that wait for their next request, and those of HTTP/2 that many share. One pool for each worker, so nothing is shared or locked.
//!
//! The connection used last is taken first: the others grow old and are closed, so the pool shrinks when load does.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use sluice_proxy_core::outcome::Ending;
use tokio::time::Instant;

use super::h2::{Set, Slot};
use super::{Connector, Peer, Wire};
use crate::metrics::UpstreamSeries;
use crate::socket::{Reader, Writer};

/// One connection to an origin.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) reader: Reader<Wire>,
    pub(crate) writer: Writer<Wire>,
    /// It has carried an exchange before.
    pub(crate) reused: bool,
}

#[derive(Debug)]
struct Kept {
    peer: Arc<Peer>,
    waiting: Vec<(Instant, Connection)>,
}

/// The waiting and the shared connections of one worker.
#[derive(Debug)]
pub(crate) struct Pool {
    kept: RefCell<BTreeMap<u64, Kept>>,
    shared: RefCell<BTreeMap<u64, Rc<Set>>>,
    worker: usize,
    series: Arc<UpstreamSeries>,
}

impl Pool {
    /// The empty pool of this worker.
    pub(crate) fn new(worker: usize, series: Arc<UpstreamSeries>) -> Self {
        Self { kept: RefCell::default(), shared: RefCell::default(), worker, series }
    }

    /// A connection that is still open, if one waits.
    pub(crate) fn take(&self, peer: &Peer) -> Option<Connection> {
        let mut kept = self.kept.borrow_mut();
        let waiting = &mut kept.get_mut(&peer.id)?.waiting;
        while let Some((_, mut connection)) = waiting.pop() {
            self.series.idle_changed(self.worker, -1);
            if is_quiet(&mut connection) {
                return Some(connection);
            }
        }
        None
    }

    /// A slot on a connection of HTTP/2. One is made, within `limit`, when no other has room.
    pub(crate) async fn slot(&self, peer: &Arc<Peer>, connector: &Connector, limit: Duration) -> Result<Slot, Ending> {
        let set = Rc::clone(self.shared.borrow_mut().entry(peer.id).or_insert_with(|| Set::new(peer)));
        set.slot(connector, limit).await
    }

    /// Keeps a connection whose exchange is wholly over.
    pub(crate) fn put(&self, peer: &Arc<Peer>, mut connection: Connection, now: Instant) {
        if peer.retired() || peer.seats.is_wanted() || !connection.reader.buffer.is_empty() {
            return;
        }
        connection.reader.relax();
        connection.reused = true;
        let mut kept = self.kept.borrow_mut();
        let kept = kept.entry(peer.id).or_insert_with(|| Kept { peer: Arc::clone(peer), waiting: Vec::new() });
        if kept.waiting.len() < bound(peer.reach.connections.idle) {
            kept.waiting.push((now, connection));
            self.series.idle_changed(self.worker, 1);
        }
    }

    /// Closes what has waited too long and all that belongs to endpoints which no revision names.
    pub(crate) fn sweep(&self, now: Instant) {
        self.kept.borrow_mut().retain(|_, kept| {
            let before = kept.waiting.len();
            let (retired, most) = (kept.peer.retired(), kept.peer.reach.connections.idle_timeout);
            kept.waiting.retain_mut(|(since, connection)| !retired && now - *since < most && is_quiet(connection));
            self.closed(before - kept.waiting.len());
            !kept.waiting.is_empty()
        });
        self.shared.borrow_mut().retain(|_, set| set.sweep(now));
    }

    /// Closes what waits where others cannot open a connection.
    pub(crate) fn relieve(&self, now: Instant) {
        self.shared.borrow_mut().retain(|_, set| set.sweep(now));
        self.kept.borrow_mut().retain(|_, kept| {
            if kept.peer.seats.is_wanted() {
                self.closed(kept.waiting.len());
                kept.waiting.clear();
            }
            !kept.waiting.is_empty()
        });
    }

    fn closed(&self, connections: usize) {
        self.series.idle_changed(self.worker, -i64::try_from(connections).unwrap_or(i64::MAX));
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let waiting: usize = self.kept.borrow().values().map(|kept| kept.waiting.len()).sum();
        self.closed(waiting);
    }
}

fn bound(most: u32) -> usize {
    usize::try_from(most).unwrap_or(usize::MAX)
}

/// Open, and with nothing to read: an origin that speaks unasked is not trusted with another request.
fn is_quiet(connection: &mut Connection) -> bool {
    let mut cx = Context::from_waker(Waker::noop());
    matches!(connection.reader.poll_fill(&mut cx, 0), Poll::Pending)
}
