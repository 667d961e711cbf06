//! One timer for a whole connection. Deadlines move with every byte, nearly always further away; the timer is touched
//! only when one comes nearer than it was set, and set again when it rings early.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// A deadline that is never reached.
const NEVER: Duration = Duration::from_secs(86400 * 365);

/// The timer of one connection or stream.
#[derive(Debug)]
pub(crate) struct Alarm {
    sleep: Option<Pin<Box<Sleep>>>,
    set: Instant,
}

impl Alarm {
    /// A timer that costs nothing until it is first asked.
    pub(crate) fn new(now: Instant) -> Self {
        Self { sleep: None, set: now }
    }

    /// Ready once `deadline` has passed; a missing deadline never does.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, deadline: Option<Instant>) -> Poll<()> {
        let Some(deadline) = deadline else { return Poll::Pending };
        loop {
            ready!(self.armed(deadline).as_mut().poll(cx));
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
            self.rearm(deadline);
        }
    }

    /// Runs `work` until the deadline; nothing when that came first.
    pub(crate) async fn bound<T>(&mut self, deadline: Option<Instant>, work: impl Future<Output = T>) -> Option<T> {
        let mut work = std::pin::pin!(work);
        poll_fn(|cx| {
            if let Poll::Ready(done) = work.as_mut().poll(cx) {
                return Poll::Ready(Some(done));
            }
            self.poll(cx, deadline).map(|()| None)
        })
        .await
    }

    fn armed(&mut self, deadline: Instant) -> &mut Pin<Box<Sleep>> {
        if deadline < self.set && self.sleep.is_some() {
            self.rearm(deadline);
        }
        self.sleep.get_or_insert_with(|| {
            self.set = deadline;
            Box::pin(sleep_until(deadline))
        })
    }

    fn rearm(&mut self, deadline: Instant) {
        self.set = deadline;
        if let Some(sleep) = &mut self.sleep {
            sleep.as_mut().reset(deadline);
        }
    }
}

/// The nearer of two deadlines, where a missing one is never.
pub(crate) fn nearer(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// This long after `now`; nothing when it is off.
pub(crate) fn after(now: Instant, wait: Option<Duration>) -> Option<Instant> {
    wait.map(|wait| now + wait.min(NEVER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_nearer_deadline_rings_first_and_a_moved_one_later() {
        let start = Instant::now();
        let mut alarm = Alarm::new(start);
        let never = std::future::pending::<()>;
        assert!(alarm.bound(Some(start + Duration::from_secs(60)), async {}).await.is_some());
        assert!(alarm.bound(Some(start + Duration::from_secs(5)), never()).await.is_none());
        assert_eq!(start.elapsed(), Duration::from_secs(5));
        assert!(alarm.bound(Some(start + Duration::from_secs(90)), never()).await.is_none());
        assert_eq!(start.elapsed(), Duration::from_secs(90));
    }

    #[tokio::test(start_paused = true)]
    async fn a_missing_deadline_never_rings() {
        let mut alarm = Alarm::new(Instant::now());
        let answered = alarm.bound(None, tokio::time::sleep(Duration::from_secs(1_000_000))).await;
        assert!(answered.is_some());
    }
}
