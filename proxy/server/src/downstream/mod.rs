//! The client's side: HTTP/1.1 by our codec, HTTP/2 by the `h2` crate. Both end in the same exchange.

pub(crate) mod h1;
pub(crate) mod h2;

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use tokio::time::Instant;

use crate::alarm::{Alarm, after, nearer};
use crate::listener::Port;
use crate::socket::{Io, Reader};

/// Waits for a byte of the first or next request: until keep-alive ends, or for the linger once the process leaves.
pub(crate) async fn first_byte<S: Io>(port: &Port, reader: &mut Reader<S>, alarm: &mut Alarm) -> bool {
    let patience = port.limits().keep_alive;
    byte_within(port, reader, alarm, patience).await
}

/// Waits for a byte for so long, or for the linger once the process leaves.
pub(crate) async fn byte_within<S: Io>(
    port: &Port,
    reader: &mut Reader<S>,
    alarm: &mut Alarm,
    patience: Duration,
) -> bool {
    reader.relax();
    let since = Instant::now();
    let keep_alive = after(since, Some(patience));
    poll_fn(|cx| {
        if let Poll::Ready(read) = reader.poll_fill(cx, 0) {
            return Poll::Ready(matches!(read, Ok(1..)));
        }
        let linger = port.lingers_until(since);
        alarm.poll(cx, nearer(keep_alive, linger)).map(|()| false)
    })
    .await
}
