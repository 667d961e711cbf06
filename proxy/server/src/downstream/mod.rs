//! The client's side: HTTP/1.1 by our codec, HTTP/2 by the `h2` crate. Both end in the same exchange.

pub(crate) mod h1;
pub(crate) mod h2;

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use tokio::time::Instant;

use crate::alarm::{Alarm, after, nearer};
use crate::listener::Seat;
use crate::socket::{Io, Reader};

/// Waits for a byte of the first or next request: until keep-alive ends, for the linger once the process leaves, or until
/// the connection's room is needed.
pub(crate) async fn first_byte<S: Io>(seat: &Seat, reader: &mut Reader<S>, alarm: &mut Alarm) -> bool {
    let patience = seat.limits().keep_alive;
    byte_within(seat, reader, alarm, patience).await
}

/// As [`first_byte`], for so long.
pub(crate) async fn byte_within<S: Io>(
    seat: &Seat,
    reader: &mut Reader<S>,
    alarm: &mut Alarm,
    patience: Duration,
) -> bool {
    reader.relax();
    let since = Instant::now();
    let keep_alive = after(since, Some(patience));
    seat.idle(since);
    let begins = poll_fn(|cx| {
        if let Poll::Ready(read) = reader.poll_fill(cx, 0) {
            return Poll::Ready(matches!(read, Ok(1..)));
        }
        if seat.is_wanted() {
            return Poll::Ready(false);
        }
        let linger = seat.lingers_until(since);
        alarm.poll(cx, nearer(keep_alive, linger)).map(|()| false)
    })
    .await;
    seat.busy();
    begins
}
