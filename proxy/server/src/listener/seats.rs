//! The connections of one port, each with the means to wake it, and which of them wait for a request. Registered once for
//! the life of a connection, so that a request costs two stores.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::ops::Deref;
use std::rc::Rc;
use std::task::{Poll, Waker};

use tokio::sync::Notify;
use tokio::time::Instant;

use super::Port;

#[derive(Debug, Default)]
pub(super) struct Seats {
    taken: RefCell<BTreeMap<u64, Rc<Place>>>,
    next: Cell<u64>,
    changed: Notify,
}

#[derive(Debug)]
struct Place {
    waker: Waker,
    /// Since when the connection waits for a request; absent while one is under way.
    idle: Cell<Option<Instant>>,
    /// It has carried one.
    used: Cell<bool>,
    /// Its room is needed.
    wanted: Cell<bool>,
}

impl Seats {
    pub(super) fn wake(&self) {
        for place in self.taken.borrow().values() {
            place.waker.wake_by_ref();
        }
    }

    /// Ends connections that wait for a request: of those of which `long` says, by whether they have carried one and since
    /// when they wait, that they have waited long, the ones that have waited longest, as many as `share` makes of their
    /// number. Answers with how many that are. O(connections).
    pub(super) fn end_idle(&self, long: impl Fn(bool, Instant) -> bool, share: impl FnOnce(usize) -> usize) -> usize {
        let taken = self.taken.borrow();
        let waits_long = |place: &Place| place.idle.get().is_some_and(|since| long(place.used.get(), since));
        let mut idle: Vec<&Rc<Place>> =
            taken.values().filter(|place| !place.wanted.get() && waits_long(place)).collect();
        let count = share(idle.len()).min(idle.len());
        if count < idle.len() {
            idle.select_nth_unstable_by_key(count, |place| place.idle.get());
        }
        for place in &idle[..count] {
            place.wanted.set(true);
            place.waker.wake_by_ref();
        }
        count
    }

    pub(super) fn is_empty(&self) -> bool {
        self.taken.borrow().is_empty()
    }

    /// Ready after the last seat was given back, or [`Seats::change`] was called.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    pub(super) fn change(&self) {
        self.changed.notify_one();
    }

    fn take(&self, place: Rc<Place>) -> u64 {
        let number = self.next.get();
        self.next.set(number + 1);
        self.taken.borrow_mut().insert(number, place);
        number
    }

    fn give_back(&self, number: u64) {
        let mut taken = self.taken.borrow_mut();
        taken.remove(&number);
        if taken.is_empty() {
            self.changed.notify_one();
        }
    }
}

/// A connection's place in its port.
#[derive(Debug)]
pub(crate) struct Seat {
    port: Rc<Port>,
    number: u64,
    place: Rc<Place>,
}

impl Seat {
    /// Takes a place for the task that awaits this.
    pub(super) async fn take(port: Rc<Port>) -> Self {
        let waker = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
        let place = Rc::new(Place { waker, idle: Cell::new(None), used: Cell::new(false), wanted: Cell::new(false) });
        Self { number: port.seats.take(Rc::clone(&place)), port, place }
    }

    /// The worker's side of the listener that accepted it.
    pub(crate) const fn port(&self) -> &Rc<Port> {
        &self.port
    }

    /// The connection waits for a request since then. From now on its room may be asked for.
    pub(crate) fn idle(&self, since: Instant) {
        self.place.idle.set(Some(since));
    }

    /// A request is under way, and ends in peace.
    pub(crate) fn busy(&self) {
        self.place.idle.set(None);
        self.place.used.set(true);
        self.place.wanted.set(false);
    }

    /// Whether its room is needed for another connection. Only what is idle is asked.
    pub(crate) fn is_wanted(&self) -> bool {
        self.place.wanted.get()
    }
}

impl Deref for Seat {
    type Target = Port;
    fn deref(&self) -> &Port {
        &self.port
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.port.seats.give_back(self.number);
    }
}
