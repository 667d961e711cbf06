//! The connections of one port, each with the means to wake it. Registered once for the life of a connection, so that a
//! request costs nothing.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use tokio::sync::Notify;

use super::Port;

#[derive(Debug, Default)]
pub(super) struct Seats {
    taken: RefCell<BTreeMap<u64, Waker>>,
    next: Cell<u64>,
    changed: Notify,
}

impl Seats {
    pub(super) fn wake(&self) {
        for waker in self.taken.borrow().values() {
            waker.wake_by_ref();
        }
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

    fn take(&self, waker: Waker) -> u64 {
        let number = self.next.get();
        self.next.set(number + 1);
        self.taken.borrow_mut().insert(number, waker);
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
}

impl Seat {
    /// Takes a place for the task that awaits this.
    pub(super) async fn take(port: Rc<Port>) -> Self {
        let number = poll_fn(|cx| Poll::Ready(port.seats.take(cx.waker().clone()))).await;
        Self { port, number }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.port.seats.give_back(self.number);
    }
}
