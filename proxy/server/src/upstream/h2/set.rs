//! The connections of one worker to one endpoint.
//!
//! The first with a free slot is taken: the later ones fall idle when load sinks, and are closed.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use sluice_proxy_core::outcome::Ending;
use tokio::time::Instant;

use super::Slot;
use super::session::Session;
use crate::upstream::Peer;
use crate::upstream::dial::Connector;

/// The connections to one endpoint.
#[derive(Debug)]
pub(in crate::upstream) struct Set {
    peer: Arc<Peer>,
    sessions: RefCell<Vec<Rc<Session>>>,
}

impl Set {
    pub(in crate::upstream) fn new(peer: &Arc<Peer>) -> Rc<Self> {
        Rc::new(Self { peer: Arc::clone(peer), sessions: RefCell::default() })
    }

    /// A slot on a connection that is open. One is made, within `limit`, when no other has room.
    pub(in crate::upstream) async fn slot(
        self: &Rc<Self>,
        connector: &Connector,
        limit: Duration,
    ) -> Result<Slot, Ending> {
        loop {
            let mut slot = match self.free() {
                Some(slot) => slot,
                None => self.dial(connector, limit)?,
            };
            if slot.ready().await? {
                return Ok(slot);
            }
        }
    }

    fn free(&self) -> Option<Slot> {
        let mut sessions = self.sessions.borrow_mut();
        if self.peer.seats.is_wanted() {
            // Others cannot open a connection: this one ends with the streams that it has, and somebody else has its seat.
            sessions.iter().filter(|session| session.is_open()).for_each(|session| session.close(Ending::StalePooled));
        }
        let slot = sessions.iter().find_map(Session::take);
        sessions.retain(|session| !session.is_over());
        slot
    }

    /// Makes a connection in a task of its own: requests that wait for it come and go.
    fn dial(self: &Rc<Self>, connector: &Connector, limit: Duration) -> Result<Slot, Ending> {
        let session = Session::new(self, connector.clone(), self.peer.reach.connections);
        let slot = session.take().ok_or(Ending::Internal)?;
        self.sessions.borrow_mut().push(Rc::clone(&session));
        let (peer, connector) = (Arc::clone(&self.peer), connector.clone());
        tokio::task::spawn_local(async move {
            match connector.seat(&peer).await {
                Ok(seat) => session.run(async { connector.connect(&peer, seat).await }, limit).await,
                Err(ending) => session.close(ending),
            }
        });
        Ok(slot)
    }

    /// Whether this connection, which has fallen idle, may wait for its next request.
    pub(super) fn keeps(&self, session: &Rc<Session>) -> bool {
        let sessions = self.sessions.borrow();
        let others = sessions.iter().filter(|other| !Rc::ptr_eq(other, session) && other.is_idle()).count();
        let most = usize::try_from(self.peer.reach.connections.idle).unwrap_or(usize::MAX);
        !self.peer.retired() && !self.peer.seats.is_wanted() && others < most
    }

    /// Closes what has waited too long, and all that waits of an endpoint that no revision names, or that has no room for other
    /// connections; what is in use closes with
    /// its last request. False when nothing is left.
    pub(in crate::upstream) fn sweep(&self, now: Instant) -> bool {
        let mut sessions = self.sessions.borrow_mut();
        for session in sessions.iter() {
            if session.has_waited(now) || ((self.peer.retired() || self.peer.seats.is_wanted()) && session.is_idle()) {
                session.close(Ending::StalePooled);
            }
        }
        sessions.retain(|session| !session.is_over());
        !sessions.is_empty()
    }
}
