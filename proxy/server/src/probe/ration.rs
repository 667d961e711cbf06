//! The connection of one probe, on which an endpoint may send only so much: one that sends without end, be it interim
//! answers or frames that mean nothing, would keep the thread that all probes share, whatever their timeouts.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::upstream::Wire;

/// More than any head and body that a probe looks at.
const MOST: usize = 256 << 10;

/// A stream that fails once its peer has sent too much.
#[derive(Debug)]
pub(super) struct Rationed<W = Wire> {
    wire: W,
    left: usize,
}

impl<W> Rationed<W> {
    pub(super) const fn new(wire: W) -> Self {
        Self { wire, left: MOST }
    }
}

impl<W: AsyncRead + Unpin> AsyncRead for Rationed<W> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.left == 0 {
            return Poll::Ready(Err(io::Error::other("it sends more than a probe reads")));
        }
        let before = into.filled().len();
        ready!(Pin::new(&mut self.wire).poll_read(cx, into))?;
        self.left = self.left.saturating_sub(into.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl<W: AsyncWrite + Unpin> AsyncWrite for Rationed<W> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.wire).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn an_endless_answer_ends() {
        let mut bytes = vec![0; MOST];
        let mut wire = Rationed::new(tokio::io::repeat(b'x'));
        wire.read_exact(&mut bytes).await.unwrap();
        assert!(wire.read(&mut bytes).await.is_err());
    }
}
