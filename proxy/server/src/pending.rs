//! Requests that wait for room in one pool, over all workers. Who waits and who goes next is decided in [`Queue`]; here they
//! sleep and are woken.
//!
//! Its lock is taken only where a pool is full: what finds room reads one number.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sluice_config::validated::{PoolLimits, Priority};
use sluice_proxy_core::queue::{Entry, Queue, Ticket};
use tokio::sync::oneshot;
use tokio::time::Instant;

/// The waiting room of a pool. It lives over revisions.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    /// Those in the queue; written only under the lock.
    waiting: Arc<AtomicUsize>,
    room: Mutex<Room>,
}

#[derive(Debug, Default)]
struct Room {
    queue: Queue,
    sleepers: BTreeMap<Ticket, oneshot::Sender<Word>>,
}

/// What a sleeper is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    Granted,
    Displaced,
}

/// Why a request does not get in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turned {
    /// As many wait as may, none of them less important.
    Full,
    /// One that is more important took its place.
    Displaced,
    /// Nobody made room in time.
    Late,
}

impl Turned {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Displaced => "displaced",
            Self::Late => "timeout",
        }
    }
}

/// How a request waits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wait {
    pub(crate) priority: Priority,
    pub(crate) deadline: Instant,
    /// It was let through before, and found that the room was taken.
    pub(crate) again: bool,
}

impl Pending {
    /// How many wait, to be read from elsewhere.
    pub(crate) fn count_of_waiting(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.waiting)
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting.load(Ordering::Acquire)
    }

    /// Whether somebody waits who goes before a newcomer of this priority. One load while nobody waits.
    pub(crate) fn is_ahead_of(&self, priority: Priority) -> bool {
        self.len() > 0 && self.room().queue.is_ahead_of(priority)
    }

    /// Until there may be room. Whoever stops waiting gives its place, or the room that it was granted, to the next.
    /// `has_room`: asked once more when it stands in the queue, for room that became free meanwhile woke nobody.
    ///
    /// # Errors
    /// When it cannot wait, or has waited in vain.
    pub(crate) async fn wait(
        &self,
        wait: Wait,
        limits: &PoolLimits,
        has_room: impl FnOnce() -> bool,
    ) -> Result<(), Turned> {
        let (ticket, word) = self.enter(wait, limits)?;
        let mut place = Place { pending: self, ticket: Some(ticket) };
        // With the one in `wake`: of the two that do not see each other at least one sees the other.
        fence(Ordering::SeqCst);
        if has_room() {
            self.wake();
        }
        let told = tokio::time::timeout_at(wait.deadline, word).await;
        place.ticket = match told {
            Ok(_) => None,
            Err(_) => place.ticket,
        };
        match told {
            Ok(Ok(Word::Granted)) => Ok(()),
            Ok(Ok(Word::Displaced) | Err(_)) => Err(Turned::Displaced),
            Err(_) => Err(Turned::Late),
        }
    }

    fn enter(&self, wait: Wait, limits: &PoolLimits) -> Result<(Ticket, oneshot::Receiver<Word>), Turned> {
        let most = usize::try_from(limits.pending).unwrap_or(usize::MAX);
        let mut room = self.room();
        let enter = if wait.again { Queue::enter_again } else { Queue::enter };
        let ticket = match enter(&mut room.queue, wait.priority, wait.deadline.into_std(), most) {
            Entry::Full => return Err(Turned::Full),
            Entry::Waits(ticket) => ticket,
            Entry::Displaces(ticket, displaced) => {
                room.tell(displaced, Word::Displaced);
                ticket
            }
        };
        let (sleeper, word) = oneshot::channel();
        room.sleepers.insert(ticket, sleeper);
        self.count(&room);
        Ok((ticket, word))
    }

    /// There is room: the next one is woken. One load while nobody waits.
    pub(crate) fn wake(&self) {
        fence(Ordering::SeqCst);
        if self.len() == 0 {
            return;
        }
        let mut room = self.room();
        let now = Instant::now().into_std();
        while let Some(ticket) = room.queue.grant(now) {
            if room.tell(ticket, Word::Granted) {
                break;
            }
        }
        self.count(&room);
    }

    fn leave(&self, ticket: Ticket) {
        let mut room = self.room();
        room.queue.leave(ticket);
        let was_asleep = room.sleepers.remove(&ticket).is_some();
        self.count(&room);
        drop(room);
        if !was_asleep {
            self.wake();
        }
    }

    fn count(&self, room: &Room) {
        self.waiting.store(room.queue.len(), Ordering::Release);
    }

    fn room(&self) -> MutexGuard<'_, Room> {
        // A panic between two steps leaves a queue whose sleepers wake by their deadlines.
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Room {
    /// Whether it was still asleep.
    fn tell(&mut self, ticket: Ticket, word: Word) -> bool {
        self.sleepers.remove(&ticket).is_some_and(|sleeper| sleeper.send(word).is_ok())
    }
}

/// A place that is given up when its request goes away.
struct Place<'a> {
    pending: &'a Pending,
    ticket: Option<Ticket>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.pending.leave(ticket);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const LIMITS: PoolLimits = PoolLimits { requests: Some(1), pending: 2, pending_timeout: Duration::from_secs(1) };

    fn wait(priority: Priority) -> Wait {
        Wait { priority, deadline: Instant::now() + Duration::from_secs(1), again: false }
    }

    /// A task that waits, once it does.
    async fn waiter(pending: &Arc<Pending>, priority: Priority) -> tokio::task::JoinHandle<Result<(), Turned>> {
        let one = Arc::clone(pending);
        let task = tokio::spawn(async move { one.wait(wait(priority), &LIMITS, || false).await });
        // On one thread a task runs to its first wait when it is given way.
        tokio::task::yield_now().await;
        task
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_is_woken_in_order() {
        let pending = Arc::new(Pending::default());
        let (low, high) = (waiter(&pending, Priority::Low).await, waiter(&pending, Priority::High).await);
        assert!(pending.is_ahead_of(Priority::High) && pending.len() == 2);
        pending.wake();
        assert_eq!(high.await.unwrap(), Ok(()));
        assert!(!pending.is_ahead_of(Priority::Normal) && pending.is_ahead_of(Priority::Low));
        pending.wake();
        assert_eq!(low.await.unwrap(), Ok(()));
        assert_eq!(pending.len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_room_turns_away_and_a_deadline_ends_a_wait() {
        let pending = Arc::new(Pending::default());
        let first = waiter(&pending, Priority::Low).await;
        let second = waiter(&pending, Priority::Low).await;
        assert_eq!(pending.wait(wait(Priority::Low), &LIMITS, || false).await, Err(Turned::Full));
        let third = waiter(&pending, Priority::Normal).await;
        assert_eq!(second.await.unwrap(), Err(Turned::Displaced));
        assert_eq!((first.await.unwrap(), third.await.unwrap()), (Err(Turned::Late), Err(Turned::Late)));
        assert_eq!(pending.len(), 0);
        assert!(pending.room().sleepers.is_empty());
    }

    /// A client that goes away between its grant and its next step must not take the room with it.
    #[tokio::test(start_paused = true)]
    async fn a_grant_that_nobody_takes_goes_to_the_next() {
        let pending = Arc::new(Pending::default());
        let mut gone = Box::pin(pending.wait(wait(Priority::Normal), &LIMITS, || false));
        assert!(futures_poll(&mut gone).await);
        let next = waiter(&pending, Priority::Normal).await;
        pending.wake();
        drop(gone);
        assert_eq!(next.await.unwrap(), Ok(()));
    }

    /// Room that becomes free between the look and the place in the queue woke nobody, so it is looked for once more.
    #[tokio::test(start_paused = true)]
    async fn room_that_was_free_already_is_taken() {
        let pending = Pending::default();
        assert_eq!(pending.wait(wait(Priority::Low), &LIMITS, || true).await, Ok(()));
    }

    /// Polls once; whether it is pending.
    async fn futures_poll(future: &mut (impl Future + Unpin)) -> bool {
        std::future::poll_fn(|context| {
            std::task::Poll::Ready(std::pin::Pin::new(&mut *future).poll(context).is_pending())
        })
        .await
    }
}
