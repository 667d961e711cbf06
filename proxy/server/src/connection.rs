//! A connection from its first byte to its last: which protocol it speaks.

use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::{io, pin::Pin};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::alarm::{Alarm, after};
use crate::client::Client;
use crate::downstream;
use crate::listener::Seat;
use crate::socket::{self, Io, Reader};
use crate::worker::Worker;

/// What begins every HTTP/2 connection (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Serves one connection to its end.
pub(crate) async fn serve(worker: Rc<Worker>, seat: Rc<Seat>, stream: TcpStream, address: SocketAddr) {
    let client = Client::new(address);
    // A connection without it is slower and still right.
    let _ = stream.set_nodelay(true);
    let (mut reader, writer) = socket::split(stream);
    match detect(&seat, &mut reader).await {
        Protocol::H1 => downstream::h1::serve(&worker, &seat, &client, (reader, writer)).await,
        Protocol::H2 => {
            drop(writer);
            if let Some((io, read)) = reader.into_parts() {
                downstream::h2::serve(worker, seat, Rc::new(client), Prefixed { prefix: read, io }).await;
            }
        }
        Protocol::None => {}
    }
}

enum Protocol {
    H1,
    H2,
    /// It never said a word.
    None,
}

/// Reads until the first bytes differ from the preface of HTTP/2 or are all of it. A short request of HTTP/1.0 differs
/// at its first byte, so it never waits for the preface's length.
async fn detect<S: Io>(seat: &Seat, reader: &mut Reader<S>) -> Protocol {
    let mut alarm = Alarm::new(Instant::now());
    if !downstream::first_byte(seat, reader, &mut alarm).await {
        return Protocol::None;
    }
    let deadline = after(Instant::now(), Some(seat.limits().header_timeout));
    loop {
        let read = reader.buffer.len().min(PREFACE.len());
        if reader.buffer[..read] != PREFACE[..read] {
            return Protocol::H1;
        }
        if read == PREFACE.len() {
            return Protocol::H2;
        }
        if !matches!(alarm.bound(deadline, reader.fill(0)).await, Some(Ok(1..))) {
            return Protocol::H1;
        }
    }
}

/// A stream whose first bytes have been read already.
#[derive(Debug)]
pub(crate) struct Prefixed<S> {
    prefix: BytesMut,
    io: S,
}

impl<S: Io> Io for Prefixed<S> {
    fn reset_on_close(&self) {
        self.io.reset_on_close();
    }

    fn taken(&self) -> Option<u64> {
        self.io.taken()
    }
}

impl<S: Io> AsyncRead for Prefixed<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.prefix.is_empty() {
            return Pin::new(&mut this.io).poll_read(cx, into);
        }
        let take = this.prefix.len().min(into.remaining());
        into.put_slice(&this.prefix[..take]);
        this.prefix.advance(take);
        Poll::Ready(Ok(()))
    }
}

impl<S: Io> AsyncWrite for Prefixed<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(cx, data)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write_vectored(cx, data)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}
