//! A stream that tells how much of what was written to it has left, and whether it takes more.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::socket::Io;

/// What is known of the writing half.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    written: Cell<u64>,
    taken: Cell<u64>,
    blocked: Cell<bool>,
}

impl Meter {
    /// Whether it takes no more at present.
    pub(crate) const fn is_blocked(&self) -> bool {
        self.blocked.get()
    }

    /// Bytes that the other end has taken, as of when the stream last took no more.
    pub(crate) const fn taken(&self) -> u64 {
        self.taken.get()
    }
}

/// A metered stream.
#[derive(Debug)]
pub(crate) struct Metered<S> {
    io: S,
    meter: Rc<Meter>,
}

impl<S: Io> Metered<S> {
    pub(crate) fn new(io: S) -> (Self, Rc<Meter>) {
        let meter = Rc::<Meter>::default();
        (Self { io, meter: Rc::clone(&meter) }, meter)
    }

    fn count(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let Meter { written: all, taken, blocked } = &*self.meter;
        blocked.set(written.is_pending());
        if let Poll::Ready(Ok(bytes)) = written {
            all.set(all.get() + bytes as u64);
        }
        if written.is_pending() {
            taken.set(self.io.taken().unwrap_or_else(|| all.get()));
        }
        written
    }
}

impl<S: Io> Io for Metered<S> {
    fn reset_on_close(&self) {
        self.io.reset_on_close();
    }

    fn taken(&self) -> Option<u64> {
        self.io.taken()
    }
}

impl<S: Io> AsyncRead for Metered<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_read(cx, into)
    }
}

impl<S: Io> AsyncWrite for Metered<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.io).poll_write(cx, data);
        this.count(written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.io).poll_write_vectored(cx, data);
        this.count(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}
