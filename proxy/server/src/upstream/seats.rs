//! How many connections to one endpoint may be open at once, over all workers; first come, first served.
//!
//! A worker that finds no seat asks every worker to close the connections to that endpoint that wait for a request, and
//! waits for one to become free: otherwise what one worker keeps unused would shut out the others. Seats outlive revisions, and with
//! them those who wait: a limit that is raised lets them in, and seats above one that is lowered are not given again.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The seats of one endpoint: without a limit before [`Seats::limit`].
#[derive(Debug)]
pub(crate) struct Seats {
    free: Arc<Semaphore>,
    most: Mutex<usize>,
    /// Seats that are taken above the limit.
    above: AtomicUsize,
    /// Who waits for one.
    wanting: AtomicU32,
}

/// A seat; dropping it makes it free.
#[derive(Debug)]
pub(crate) struct Seat {
    seats: Arc<Seats>,
    /// Absent only while it is dropped.
    permit: Option<OwnedSemaphorePermit>,
}

impl Default for Seats {
    fn default() -> Self {
        let most = Semaphore::MAX_PERMITS;
        Self {
            free: Arc::new(Semaphore::new(most)),
            most: Mutex::new(most),
            above: AtomicUsize::new(0),
            wanting: AtomicU32::new(0),
        }
    }
}

impl Seats {
    /// From now on there are so many; absent: no limit. For a moment after a limit was lowered one seat too many may be given.
    pub(crate) fn limit(&self, most: Option<u32>) {
        let most = most.map_or(Semaphore::MAX_PERMITS, |most| most as usize);
        // Each change is complete in itself.
        let mut before = self.most.lock().unwrap_or_else(PoisonError::into_inner);
        match most.checked_sub(*before) {
            Some(more) => {
                let given = self
                    .above
                    .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |above| Some(above.saturating_sub(more)));
                self.free.add_permits(more - given.map_or(0, |above| above.min(more)));
            }
            None => {
                let less = *before - most;
                self.above.fetch_add(less - self.free.forget_permits(less), Ordering::SeqCst);
            }
        }
        *before = most;
    }

    /// Somebody waits for a seat.
    pub(crate) fn is_wanted(&self) -> bool {
        self.wanting.load(Ordering::SeqCst) > 0
    }

    /// A seat. Waits while none is free, after `ask` was told once.
    pub(crate) async fn take(self: &Arc<Self>, ask: impl FnOnce()) -> Seat {
        if let Ok(permit) = Arc::clone(&self.free).try_acquire_owned() {
            return self.seat(permit);
        }
        let _wanting = Wanting::new(self);
        ask();
        let permit = Arc::clone(&self.free).acquire_owned().await;
        self.seat(permit.expect("the semaphore of seats is never closed"))
    }

    fn seat(self: &Arc<Self>, permit: OwnedSemaphorePermit) -> Seat {
        Seat { seats: Arc::clone(self), permit: Some(permit) }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let one_less = |above: usize| above.checked_sub(1);
        let is_above = self.seats.above.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok();
        if let Some(permit) = self.permit.take().filter(|_| is_above) {
            permit.forget();
        }
    }
}

/// Counts one who waits, until it is dropped.
struct Wanting<'a>(&'a Seats);

impl<'a> Wanting<'a> {
    fn new(seats: &'a Seats) -> Self {
        seats.wanting.fetch_add(1, Ordering::SeqCst);
        Self(seats)
    }
}

impl Drop for Wanting<'_> {
    fn drop(&mut self) {
        self.0.wanting.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use tokio::sync::mpsc;

    use super::*;

    fn seats(most: u32) -> Arc<Seats> {
        let seats = Arc::new(Seats::default());
        seats.limit(Some(most));
        seats
    }

    fn unasked() {
        unreachable!("there is room")
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn there_are_never_more_connections_than_seats() {
        let (seats, taken) = (seats(3), Arc::new(AtomicUsize::new(0)));
        let waiting = (0..200).map(|_| {
            let (seats, taken) = (Arc::clone(&seats), Arc::clone(&taken));
            tokio::spawn(async move {
                let seat = seats.take(|| ()).await;
                assert!(taken.fetch_add(1, Ordering::SeqCst) < 3);
                tokio::task::yield_now().await;
                taken.fetch_sub(1, Ordering::SeqCst);
                drop(seat);
            })
        });
        for one in waiting.collect::<Vec<_>>() {
            one.await.unwrap();
        }
        assert!(!seats.is_wanted() && seats.free.available_permits() == 3);
    }

    /// Of those who wait, and of those who come meanwhile. Who gives up takes no turn with it.
    #[tokio::test]
    async fn whoever_came_first_is_served_first() {
        let seats = seats(1);
        let mut seat = seats.take(unasked).await;
        let (served, mut order) = mpsc::unbounded_channel();
        let wait = |number: u32| {
            let (seats, served) = (Arc::clone(&seats), served.clone());
            tokio::spawn(async move { served.send((number, seats.take(|| ()).await)).unwrap() })
        };
        let waiting: Vec<_> = (0..5).map(wait).collect();
        tokio::task::yield_now().await;
        assert!(seats.is_wanted());
        waiting[1].abort();
        for (expected, newcomer) in [(0, 5), (2, 6), (3, 7), (4, 8), (5, 9), (6, 10)] {
            drop(seat);
            drop(wait(newcomer));
            let (number, next) = order.recv().await.unwrap();
            assert_eq!(number, expected);
            seat = next;
        }
    }

    #[tokio::test]
    async fn a_raised_limit_lets_in_who_waits_and_seats_above_a_lowered_one_are_not_given_again() {
        let seats = seats(1);
        let first = seats.take(unasked).await;
        let waiting = [0, 1, 2].map(|_| {
            let seats = Arc::clone(&seats);
            tokio::spawn(async move { seats.take(|| ()).await })
        });
        tokio::task::yield_now().await;
        seats.limit(Some(4));
        let mut all = vec![first];
        for one in waiting {
            all.push(one.await.unwrap());
        }
        seats.limit(Some(2));
        all.truncate(2);
        assert_eq!(seats.free.available_permits(), 0, "two of two are taken");
        all.truncate(1);
        assert_eq!(seats.free.available_permits(), 1);
        seats.limit(None);
        for _ in 0..1000 {
            all.push(seats.take(unasked).await);
        }
    }
}
