//! A connection whose client must begin to speak: what the server reads before it knows the protocol has no deadline of its
//! own.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// The length of the preface of HTTP/2: after so many bytes the protocol is known, and its own deadlines hold.
const PREFACE: usize = 24;

/// A stream that fails when its first bytes do not come in time.
pub(super) struct Begun<S> {
    stream: S,
    read: usize,
    deadline: Pin<Box<Sleep>>,
}

impl<S> Begun<S> {
    /// So long for the first bytes.
    pub(super) fn new(stream: S, wait: Duration) -> Self {
        Self { stream, read: 0, deadline: Box::pin(sleep(wait)) }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Begun<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.read = self.read.saturating_add(buffer.filled().len() - before);
        let waits = polled.is_pending() && self.read < PREFACE;
        if waits && self.deadline.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Begun<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_says_nothing_is_put_out_and_who_has_begun_is_not() {
        let wait = Duration::from_secs(10);
        let (mut client, server) = duplex(64);
        let mut server = Begun::new(server, wait);
        client.write_all(b"PRI * HT").await.unwrap();
        let mut bytes = [0; 64];
        assert_eq!(server.read(&mut bytes).await.unwrap(), 8);
        assert_eq!(server.read(&mut bytes).await.unwrap_err().kind(), io::ErrorKind::TimedOut);

        let (mut client, server) = duplex(64);
        let mut server = Begun::new(server, wait);
        client.write_all(b"GET /v1/events HTTP/1.1\r\n").await.unwrap();
        server.read(&mut bytes).await.unwrap();
        assert!(tokio::time::timeout(6 * wait, server.read(&mut bytes)).await.is_err(), "it may go on waiting");
    }
}
