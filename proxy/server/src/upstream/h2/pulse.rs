//! Whether the other end of a connection is still there.
//!
//! A connection whose other end has vanished without a word takes requests and never answers. So one that owes answers and
//! has been silent for a while is asked by a PING. It is asked rarely: servers of gRPC end a connection on which more than
//! two PINGs come within five minutes without an answer of theirs between, and a stream may rightly be silent for hours.

use std::task::{Context, Poll, ready};
use std::time::Duration;

use h2::{Ping, PingPong};
use tokio::time::Instant;

use crate::alarm::Alarm;

/// How long a connection that owes an answer may be silent before it is asked.
const SILENCE: Duration = Duration::from_secs(10);
/// How long until it is asked again while it goes on being silent.
const AGAIN: Duration = Duration::from_secs(310);
/// How long it may take to answer that.
const PONG: Duration = Duration::from_secs(5);

/// Asks one connection.
pub(super) struct Pulse {
    pings: PingPong,
    alarm: Alarm,
    /// When it was asked and has not answered yet.
    asked: Option<Instant>,
    /// When it was last heard before it was last asked, and when that was.
    last: Option<(Instant, Instant)>,
}

impl Pulse {
    pub(super) fn new(pings: PingPong) -> Self {
        Self { pings, alarm: Alarm::new(Instant::now()), asked: None, last: None }
    }

    /// Ready once the other end is found to be gone. `heard`: when something of a stream last came, if an answer is owed.
    pub(super) fn poll_lost(&mut self, cx: &mut Context<'_>, heard: Option<Instant>) -> Poll<()> {
        loop {
            if let Some(asked) = self.asked {
                match self.pings.poll_pong(cx) {
                    Poll::Ready(Ok(_)) => self.asked = None,
                    Poll::Ready(Err(_)) => return Poll::Ready(()),
                    Poll::Pending => return self.alarm.poll(cx, Some(asked + PONG)),
                }
            }
            let Some(heard) = heard else { return Poll::Pending };
            ready!(self.alarm.poll(cx, Some(self.due(heard))));
            // It fails only while one is on its way, and none is.
            if self.pings.send_ping(Ping::opaque()).is_err() {
                return Poll::Pending;
            }
            let now = Instant::now();
            (self.asked, self.last) = (Some(now), Some((heard, now)));
        }
    }

    /// When it is to be asked next.
    fn due(&self, heard: Instant) -> Instant {
        match self.last {
            Some((before, asked)) if before == heard => asked + AGAIN,
            Some(_) | None => heard + SILENCE,
        }
    }
}
