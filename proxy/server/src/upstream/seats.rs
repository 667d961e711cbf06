//! How many connections to one endpoint may be open at once, over all workers.
//!
//! A worker that finds no seat asks every worker to close the connections to that endpoint that wait for a request, and
//! waits for one to become free: otherwise what one worker keeps unused would shut out the others. Of whoever frees a seat and
//! whoever begins to wait at the same moment at least one must see the other, hence the strict order of all these numbers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::Notify;

/// The seats of one endpoint.
#[derive(Debug, Default)]
pub(crate) struct Seats {
    taken: AtomicU32,
    /// Who waits for one.
    wanting: AtomicU32,
    freed: Notify,
}

/// A seat; dropping it makes it free.
#[derive(Debug)]
pub(crate) struct Seat(Arc<Seats>);

impl Seats {
    /// Somebody waits for a seat.
    pub(crate) fn is_wanted(&self) -> bool {
        self.wanting.load(Ordering::SeqCst) > 0
    }

    /// A seat among `most`, if one is free.
    fn sit(self: &Arc<Self>, most: u32) -> Option<Seat> {
        let more = |taken: u32| (taken < most).then_some(taken + 1);
        self.taken.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).ok()?;
        Some(Seat(Arc::clone(self)))
    }

    /// A seat among `most`; without a bound every one is. Waits while none is free, after `ask` was told once.
    pub(crate) async fn take(self: &Arc<Self>, most: Option<u32>, ask: impl FnOnce()) -> Seat {
        if let Some(seat) = self.sit(most.unwrap_or(u32::MAX)) {
            return seat;
        }
        let _wanting = Wanting::new(self);
        ask();
        loop {
            // Made before the look, so that a seat that becomes free in between wakes it.
            let freed = self.freed.notified();
            if let Some(seat) = self.sit(most.unwrap_or(u32::MAX)) {
                return seat;
            }
            freed.await;
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::SeqCst);
        if self.0.is_wanted() {
            self.0.freed.notify_one();
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
        // A seat that it was told of and did not take is another's.
        if self.0.wanting.fetch_sub(1, Ordering::SeqCst) > 1 {
            self.0.freed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicBool, AtomicUsize};
    use std::time::Duration;

    use super::*;

    /// Of a race.
    const ROUNDS: u32 = 20_000;

    #[tokio::test]
    async fn there_are_never_more_connections_than_seats() {
        let (seats, asked) = (Arc::new(Seats::default()), Arc::new(AtomicUsize::new(0)));
        let first = seats.take(Some(1), || unreachable!("there is room")).await;
        let waiting: Vec<_> = (0..20)
            .map(|_| {
                let (seats, asked) = (Arc::clone(&seats), Arc::clone(&asked));
                tokio::spawn(async move {
                    let ask = || {
                        asked.fetch_add(1, Ordering::SeqCst);
                    };
                    let seat = seats.take(Some(1), ask).await;
                    assert_eq!(seats.taken.load(Ordering::SeqCst), 1);
                    tokio::task::yield_now().await;
                    drop(seat);
                })
            })
            .collect();
        while asked.load(Ordering::SeqCst) < 20 {
            tokio::task::yield_now().await;
        }
        assert!(seats.is_wanted());
        // Who gives up takes no turn with it.
        waiting[0].abort();
        drop(first);
        for one in waiting.into_iter().skip(1) {
            one.await.unwrap();
        }
        assert!(!seats.is_wanted() && seats.taken.load(Ordering::SeqCst) == 0);
    }

    /// A seat becomes free at the very moment at which somebody who found none lies down, and nobody comes to tell him later. Fails
    /// if whoever waits has looked for the last time before it is counted.
    #[test]
    fn nobody_sleeps_beside_a_free_seat() {
        let (seats, step) = (Arc::new(Seats::default()), Barrier::new(2));
        let (wanted, slept) = (AtomicBool::new(false), AtomicBool::new(false));
        let get_up = |seat: Seat, after: u32| {
            // The hint for such loops takes longer than the moment that is sought.
            while !wanted.load(Ordering::Relaxed) {
                std::hint::black_box(());
            }
            wanted.store(false, Ordering::Relaxed);
            (0..after).for_each(|step| {
                std::hint::black_box(step);
            });
            drop(seat);
        };
        let sit = || async {
            wanted.store(true, Ordering::Relaxed);
            let told = tokio::time::timeout(Duration::from_secs(60), seats.take(Some(1), || ())).await;
            slept.store(told.is_err(), Ordering::Relaxed);
        };
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
                for _ in 0..ROUNDS {
                    step.wait();
                    runtime.block_on(sit());
                    step.wait();
                    if slept.load(Ordering::Relaxed) {
                        return;
                    }
                }
            });
            for round in 0..ROUNDS {
                let seat = seats.sit(1).expect("nobody has one between the rounds");
                step.wait();
                get_up(seat, round % 200);
                step.wait();
                assert!(!slept.load(Ordering::Relaxed), "in round {round}");
            }
        });
        assert!(!seats.is_wanted() && seats.taken.load(Ordering::SeqCst) == 0);
    }

    #[tokio::test]
    async fn without_a_bound_there_is_always_a_seat() {
        let seats = Arc::new(Seats::default());
        let mut all = Vec::new();
        for _ in 0..1000 {
            all.push(seats.take(None, || unreachable!("there is room")).await);
        }
        assert_eq!(seats.taken.load(Ordering::SeqCst), 1000);
    }
}
