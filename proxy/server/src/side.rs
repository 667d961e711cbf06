//! The sides of an exchange. Each side is two values, one to read and one to write, so that both body directions run at
//! once; every pair of protocols meets only here.
//!
//! All futures are cancel-safe between two frames: dropping one before it is ready loses nothing.

use std::task::{Context, Poll};

use bytes::Bytes;
use sluice_proxy_core::outcome::Ending;

use crate::message::{Fields, Frame, ResponseHead};

/// Where a body comes from.
pub(crate) trait Source {
    /// The next piece of the body. After `Frame::End` it is not called again.
    async fn frame(&mut self) -> Result<Frame, Ending>;

    /// Ready when the other end has left, and not before. What arrives meanwhile is kept for later.
    async fn gone(&mut self) -> Ending;

    /// What comes from now on has no framing: the protocol was switched.
    fn switch_to_raw(&mut self);
}

/// Where a body goes. What is written may wait in a buffer until `flush` or `end`.
pub(crate) trait Sink {
    /// Sends a piece of the body.
    async fn data(&mut self, data: Bytes) -> Result<(), Ending>;

    /// Ends the body and sends all that waits.
    async fn end(&mut self, trailers: Option<&Fields>) -> Result<(), Ending>;

    /// Sends all that waits.
    async fn flush(&mut self) -> Result<(), Ending>;

    /// What goes from now on has no framing: the protocol was switched. A reply hears it by its head.
    fn switch_to_raw(&mut self) {}

    /// Ready when whoever takes this has left, where that cannot be seen by reading from it.
    fn poll_gone(&mut self, _: &mut Context<'_>) -> Poll<Ending> {
        Poll::Pending
    }
}

/// How much of an answer its client has taken.
pub(crate) trait Gauge {
    /// Bytes so far. Where it cannot be told it stays 0. It may cost a system call.
    fn taken(&self) -> u64;
}

/// The way back to the client.
pub(crate) trait Reply: Sink {
    /// What its client has taken.
    type Gauge: Gauge;

    /// What its client has taken, to be looked at while something is sent.
    fn gauge(&self) -> Self::Gauge;

    /// Sends an informational head (1xx other than 101) at once.
    async fn info(&mut self, head: &ResponseHead) -> Result<(), Ending>;

    /// The answer that begins next is the connection's last: the request was not read to its end.
    fn last(&mut self) {}

    /// Begins the answer. `bodyless`: no frame but the end follows.
    fn head(&mut self, head: &ResponseHead, bodyless: bool) -> Result<(), Ending>;
}

/// The answer of an origin.
pub(crate) trait Answer: Source {
    /// Reads the next head, informational or final, into `head`.
    async fn head(&mut self, head: &mut ResponseHead) -> Result<(), Ending>;
}
