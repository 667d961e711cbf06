//! Listeners: sockets, one for each worker, and what one worker knows of one listener.

mod addresses;
mod bind;
mod seats;

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use sluice_config::name::ListenerName;
use sluice_config::validated::{Limits, Paths};
use tokio::time::Instant;

use addresses::Addresses;
pub(crate) use addresses::Guest;
pub use bind::BindError;
pub(crate) use bind::{bind, deal, is_taken};
pub(crate) use seats::Seat;
use seats::Seats;

use crate::client::Identity;
use crate::live::Live;
use crate::metrics::ListenerSeries;
use crate::overload::{Overload, Want};
use crate::tls::Terms;

/// Between two complaints of one port.
const COMPLAINTS: Duration = Duration::from_secs(10);
/// How long a connection must have waited for a request before it is ended to make room: one that has just answered may
/// have the next request on its way.
const IDLE: Duration = Duration::from_secs(1);
/// The same for one that has not sent a byte yet: whoever means to ask does so at once.
const SILENT: Duration = Duration::from_millis(250);
/// Connections that are ended at once to make room for one: at most so many, and an eighth of those that wait.
const BATCH: usize = 32;
/// A connection may have waited long enough without anybody being told.
const ASK_AGAIN: Duration = Duration::from_millis(250);

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
    tls: ArcSwapOption<Terms>,
    /// How often room was asked for.
    asked: AtomicU64,
    addresses: Arc<Addresses>,
    overload: Arc<Overload>,
    pub(crate) series: Arc<ListenerSeries>,
}

impl Gate {
    pub(crate) fn new(id: ListenerId, limits: &Limits, series: Arc<ListenerSeries>, overload: Arc<Overload>) -> Self {
        Self {
            id,
            open: AtomicU32::new(0),
            most: AtomicU32::new(limits.connections),
            tls: ArcSwapOption::empty(),
            asked: AtomicU64::new(0),
            addresses: Arc::default(),
            overload,
            series,
        }
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
        self.overload.free();
    }

    /// Waits until there is room for one more, here and in the process. Meanwhile connections that wait for a request are
    /// ended, the longest first, on every worker. To be called with a connection in hand: as long as nobody comes,
    /// nobody has to go.
    pub(crate) async fn room(&self) {
        while let Some(want) = self.full() {
            let mut freed = std::pin::pin!(self.overload.freed());
            freed.as_mut().enable();
            if self.full().is_none() {
                return;
            }
            self.asked.fetch_add(1, Ordering::Relaxed);
            self.overload.ask(want);
            let _ = tokio::time::timeout(ASK_AGAIN, freed).await;
        }
    }

    /// What there is no room in.
    fn full(&self) -> Option<Want> {
        if self.open.load(Ordering::Relaxed) >= self.most.load(Ordering::Relaxed) {
            Some(Want::Listener)
        } else {
            self.overload.is_full().then_some(Want::Process)
        }
    }

    /// Takes room for one more. Workers that accept at the same moment may be over the limit by one each.
    pub(crate) fn enter(self: &Arc<Self>) -> Admission {
        self.open.fetch_add(1, Ordering::Relaxed);
        self.overload.enter();
        Admission(Arc::clone(self))
    }
}

/// Room for one connection of a listener, given back when dropped.
#[derive(Debug)]
pub(crate) struct Admission(Arc<Gate>);

impl Drop for Admission {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
        self.0.overload.leave();
    }
}

/// A client has as many connections as it may have.
#[derive(Debug)]
pub(crate) struct TooMany;

/// One worker's side of one listener.
#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) gate: Arc<Gate>,
    limits: RefCell<Rc<Limits>>,
    identity: RefCell<Arc<Identity>>,
    paths: Cell<Paths>,
    leaving: Cell<Option<Leaving>>,
    complained: Cell<Option<Instant>>,
    /// [`Gate::asked`] when this worker last ended connections for it.
    answered: Cell<u64>,
    seats: Seats,
}

#[derive(Debug, Clone, Copy)]
struct Leaving {
    since: Instant,
    linger: Duration,
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
            answered: Cell::new(0),
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
    pub(crate) fn leave(&self, linger: Duration) {
        if self.leaving.get().is_none() {
            self.leaving.set(Some(Leaving { since: Instant::now(), linger }));
            self.seats.wake();
            self.seats.change();
        }
    }

    /// One more connection of this client, counted where the listener bounds them. Those that were there before it did are
    /// not.
    ///
    /// # Errors
    /// When the client has as many as it may have.
    pub(crate) fn admit(&self, address: IpAddr) -> Result<Option<Guest>, TooMany> {
        match self.limits.borrow().connections_per_address {
            None => Ok(None),
            Some(most) => self.gate.addresses.enter(address, most).map(Some).ok_or(TooMany),
        }
    }

    /// Ends connections of this worker that wait for a request, if that helps. Answers with their number.
    pub(crate) fn make_room(&self, want: Want) -> usize {
        let asked = self.gate.asked.load(Ordering::Relaxed);
        let not_here = self.answered.replace(asked) == asked && want == Want::Listener;
        if not_here {
            return 0;
        }
        let now = Instant::now();
        let long = |used: bool, since: Instant| now - since >= if used { IDLE } else { SILENT };
        self.seats.end_idle(long, |idle| if want == Want::Memory { idle } else { (idle / 8).clamp(1, BATCH) })
    }

    /// Counts a connection that was cut because its client reads nothing.
    pub(crate) fn cut_slow_reader(&self) {
        self.gate.overload.shed("slow_read", 1);
    }

    /// Whether a connection may carry another request after the one under way.
    pub(crate) fn keeps_alive(&self) -> bool {
        !self.leaving() && !self.gate.overload.sheds()
    }

    /// Whether it is time to tell again what is wrong: what stays wrong comes many times a second.
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
