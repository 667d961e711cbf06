//! Listeners: sockets, one for each worker, and what one worker knows of one listener.

mod bind;
mod seats;

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arc_swap::ArcSwapOption;
use sluice_config::name::ListenerName;
use sluice_config::validated::{Limits, Paths};
use tokio::sync::Notify;
use tokio::time::Instant;

pub use bind::BindError;
pub(crate) use bind::{bind, deal, is_taken};
pub(crate) use seats::Seat;
use seats::Seats;

use crate::client::Identity;
use crate::live::Live;
use crate::metrics::ListenerSeries;
use crate::tls::Terms;

/// Between two complaints of one port.
const COMPLAINTS: std::time::Duration = std::time::Duration::from_secs(10);

/// Which listener: a changed name or address is another listener.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ListenerId {
    pub(crate) name: ListenerName,
    pub(crate) address: SocketAddr,
}

/// What all workers share of one listener: how many connections it has and may have.
#[derive(Debug)]
pub(crate) struct Gate {
    pub(crate) id: ListenerId,
    open: AtomicU32,
    most: AtomicU32,
    freed: Notify,
    tls: ArcSwapOption<Terms>,
    pub(crate) series: Arc<ListenerSeries>,
}

impl Gate {
    pub(crate) fn new(id: ListenerId, limits: &Limits, series: Arc<ListenerSeries>) -> Self {
        let (open, most, freed) = (AtomicU32::new(0), AtomicU32::new(limits.connections), Notify::new());
        Self { id, open, most, freed, tls: ArcSwapOption::empty(), series }
    }

    /// From now on connections begin with a handshake on these terms, or speak in the clear.
    pub(crate) fn secure(&self, terms: Option<Arc<Terms>>) {
        self.tls.store(terms);
    }

    /// How a connection that comes now begins.
    pub(crate) fn tls(&self) -> Option<Arc<Terms>> {
        self.tls.load_full()
    }

    /// From now on at most this many connections; those above it stay.
    pub(crate) fn admit_at_most(&self, connections: u32) {
        self.most.store(connections, Ordering::Relaxed);
        self.freed.notify_waiters();
    }

    /// Waits until there is room for one more. Taking it is [`Gate::enter`], once there is a connection to take it: a
    /// worker that waits for one must not keep the room from those that have one.
    pub(crate) async fn room(&self) {
        loop {
            let mut freed = std::pin::pin!(self.freed.notified());
            freed.as_mut().enable();
            if self.open.load(Ordering::Relaxed) < self.most.load(Ordering::Relaxed) {
                return;
            }
            freed.await;
        }
    }

    /// Takes room for one more. Workers that accept at the same moment may be over the limit by one each.
    pub(crate) fn enter(self: &Arc<Self>) -> Admission {
        self.open.fetch_add(1, Ordering::Relaxed);
        Admission(Arc::clone(self))
    }
}

/// Room for one connection of a listener, given back when dropped.
#[derive(Debug)]
pub(crate) struct Admission(Arc<Gate>);

impl Drop for Admission {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
        self.0.freed.notify_waiters();
    }
}

/// One worker's side of one listener.
#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) gate: Arc<Gate>,
    limits: RefCell<Rc<Limits>>,
    identity: RefCell<Arc<Identity>>,
    paths: Cell<Paths>,
    leaving: Cell<Option<Leaving>>,
    complained: Cell<Option<Instant>>,
    seats: Seats,
}

#[derive(Debug, Clone, Copy)]
struct Leaving {
    since: Instant,
    linger: std::time::Duration,
}

impl Port {
    pub(crate) fn new(gate: Arc<Gate>, limits: &Limits) -> Self {
        Self {
            gate,
            limits: RefCell::new(Rc::new(limits.clone())),
            identity: RefCell::default(),
            paths: Cell::default(),
            leaving: Cell::new(None),
            complained: Cell::new(None),
            seats: Seats::default(),
        }
    }

    /// What its clients may use up.
    pub(crate) fn limits(&self) -> Rc<Limits> {
        Rc::clone(&self.limits.borrow())
    }

    pub(crate) fn limit(&self, limits: &Limits) {
        *self.limits.borrow_mut() = Rc::new(limits.clone());
    }

    /// Whom it believes about who its clients are.
    pub(crate) fn identity(&self) -> Arc<Identity> {
        Arc::clone(&self.identity.borrow())
    }

    /// Whether this is what it believes now.
    pub(crate) fn has_identity(&self, identity: &Arc<Identity>) -> bool {
        Arc::ptr_eq(&self.identity.borrow(), identity)
    }

    pub(crate) fn believe(&self, identity: Arc<Identity>) {
        *self.identity.borrow_mut() = identity;
    }

    /// What becomes of its requests' paths.
    pub(crate) const fn paths(&self) -> Paths {
        self.paths.get()
    }

    /// This revision runs from now on. A listener that it does not name goes on as it was until its connections end.
    pub(crate) fn follow(&self, live: &Live) {
        let id = &self.gate.id;
        let own = live.document.listeners.iter().find(|one| one.name == id.name && one.address == id.address);
        if let Some(own) = own {
            self.paths.set(own.paths);
        }
        if let Some(identity) = live.identities.get(&id.name) {
            self.believe(Arc::clone(identity));
        }
    }

    /// No more connections are accepted, and those there are end with the request they carry.
    pub(crate) fn leave(&self, linger: std::time::Duration) {
        if self.leaving.get().is_none() {
            self.leaving.set(Some(Leaving { since: Instant::now(), linger }));
            self.seats.wake();
            self.seats.change();
        }
    }

    /// Whether it is time to tell again that nothing can be accepted: an error that stays comes twenty times a second.
    pub(crate) fn may_complain(&self) -> bool {
        let now = Instant::now();
        let quiet = self.complained.get().is_some_and(|last| now - last < COMPLAINTS);
        if !quiet {
            self.complained.set(Some(now));
        }
        !quiet
    }

    /// Whether connections are to end.
    pub(crate) const fn leaving(&self) -> bool {
        self.leaving.get().is_some()
    }

    /// Until when a connection that waits since `since` is kept once its listener leaves: a request may be on its way.
    pub(crate) fn lingers_until(&self, since: Instant) -> Option<Instant> {
        self.leaving.get().map(|leaving| leaving.since.max(since) + leaving.linger)
    }

    /// A seat in which a connection hears that the listener leaves.
    pub(crate) async fn seat(self: &Rc<Self>) -> Seat {
        Seat::take(Rc::clone(self)).await
    }

    /// Whether it leaves and has no connection any more.
    pub(crate) fn is_empty(&self) -> bool {
        self.leaving() && self.seats.is_empty()
    }

    /// Ready when it leaves and has no connection any more.
    pub(crate) async fn left(&self) {
        while !self.is_empty() {
            self.seats.changed().await;
        }
    }
}
