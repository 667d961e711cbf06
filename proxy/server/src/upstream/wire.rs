//! The stream to one endpoint: in the clear, or TLS over it. Both are one type, so that everything above is compiled once.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use pingora_core::protocols::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::client::TlsStream;

use super::seats::Seat;
use crate::metrics::OpenUpstream;
use crate::socket::Io;

/// An open stream.
#[derive(Debug)]
pub(crate) struct Wire {
    carries: Carries,
    /// Counts it for as long as it is open. Absent: it is not counted.
    pub(super) counted: Option<OpenUpstream>,
    /// Absent: it takes up none.
    pub(super) seat: Option<Seat>,
}

#[derive(Debug)]
enum Carries {
    Plain(Stream),
    Tls(Box<TlsStream<Stream>>),
}

impl Wire {
    pub(super) const fn plain(stream: Stream) -> Self {
        Self { carries: Carries::Plain(stream), counted: None, seat: None }
    }

    pub(super) fn tls(stream: TlsStream<Stream>) -> Self {
        Self { carries: Carries::Tls(Box::new(stream)), counted: None, seat: None }
    }
}

impl Io for Wire {}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().carries {
            Carries::Plain(stream) => Pin::new(stream).poll_read(cx, into),
            Carries::Tls(stream) => Pin::new(stream).poll_read(cx, into),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().carries {
            Carries::Plain(stream) => Pin::new(stream).poll_write(cx, data),
            Carries::Tls(stream) => Pin::new(stream).poll_write(cx, data),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().carries {
            Carries::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, data),
            Carries::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, data),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.carries {
            Carries::Plain(stream) => stream.is_write_vectored(),
            Carries::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().carries {
            Carries::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Carries::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().carries {
            Carries::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Carries::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
