//! A connection from its first byte to its last: TLS where the listener speaks it, and which protocol inside.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::{io, pin::Pin};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::server::TlsStream;

use crate::accept::turn_away;
use crate::alarm::{Alarm, after};
use crate::client::Client;
use crate::downstream;
use crate::listener::Seat;
use crate::message::Refused;
use crate::proxy_protocol;
use crate::socket::{self, Io, Reader, Writer};
use crate::tls::{self, Session, Terms};
use crate::worker::Worker;

/// What begins every HTTP/2 connection (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How much of it decides: no request line of HTTP/1 is `PRI * HTTP/2.0`. What follows is HTTP/2's to judge, and one that
/// is not the rest of the preface ends the connection.
const DECISIVE: usize = 16;

/// Serves one connection to its end.
pub(crate) async fn serve(worker: Rc<Worker>, seat: Rc<Seat>, mut stream: TcpStream, address: SocketAddr) {
    let Some(client) = proxy_protocol::accept(seat.port(), &mut stream, address).await else { return };
    let Ok(_guest) = seat.admit(client.address.ip()) else {
        return turn_away(&worker, &seat, &stream, client.address);
    };
    // A connection without it is slower and still right.
    let _ = stream.set_nodelay(true);
    let (reader, writer) = socket::split(stream);
    match seat.gate.tls() {
        None => serve_detected(worker, seat, client, reader, writer).await,
        // Both are set aside: connections in the clear carry no room for them, and the second none for the first.
        Some(terms) => {
            if let Some(served) = Box::pin(secure(worker, seat, client, terms, reader, writer)).await {
                served.await;
            }
        }
    }
}

/// Serves a stream whose protocol its first bytes tell.
async fn serve_detected<S: Io + 'static>(
    worker: Rc<Worker>,
    seat: Rc<Seat>,
    client: Client,
    mut reader: Reader<S>,
    writer: Writer<S>,
) {
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

type Secured<S> = TlsStream<Prefixed<S>>;

/// Serves what a handshake has made.
async fn serve_secured<S: Io + 'static>(
    worker: Rc<Worker>,
    seat: Rc<Seat>,
    mut client: Client,
    io: Secured<S>,
    session: Session,
) {
    let protocol = session.protocol;
    client.tls = Some(Rc::new(session));
    match protocol {
        tls::Protocol::H2 => downstream::h2::serve(worker, seat, Rc::new(client), io).await,
        tls::Protocol::H1 => downstream::h1::serve(&worker, &seat, &client, socket::split(io)).await,
        tls::Protocol::Unsaid => {
            let (reader, writer) = socket::split(io);
            serve_detected(worker, seat, client, reader, writer).await;
        }
    }
}

/// What remains to be done for a connection.
type Served = Pin<Box<dyn Future<Output = ()>>>;

/// Takes the handshake to its end, for at most the time that the terms give, counts how it ended, and gives the rest of
/// the connection. A client that speaks HTTP in the clear is told its mistake in the clear; a handshake never begins with a letter.
async fn secure<S: Io + 'static>(
    worker: Rc<Worker>,
    seat: Rc<Seat>,
    client: Client,
    terms: Arc<Terms>,
    mut reader: Reader<S>,
    writer: Writer<S>,
) -> Option<Served> {
    let begun = Instant::now();
    let mut alarm = Alarm::new(begun);
    if !downstream::byte_within(&seat, &mut reader, &mut alarm, terms.handshake_timeout).await {
        seat.gate.series.shook(if reader.ended() { "unused" } else { "timeout" });
        return None;
    }
    if reader.buffer.first().is_some_and(u8::is_ascii_uppercase) {
        seat.gate.series.shook("plaintext");
        let refused = Refused::bad("http_on_tls_port");
        downstream::h1::refuse(&worker, &seat, &client, (reader, writer), refused).await;
        return None;
    }
    drop(writer);
    let (io, prefix) = reader.into_parts()?;
    let deadline = after(begun, Some(terms.handshake_timeout));
    let ended = alarm.bound(deadline, tls::shake(&terms, Prefixed { prefix, io })).await.unwrap_or(Err("timeout"));
    seat.gate.series.shook(match &ended {
        Ok((_, session)) if session.resumed => "resumed",
        Ok(_) => "ok",
        Err(why) => why,
    });
    match ended {
        Ok((io, session)) => Some(Box::pin(serve_secured(worker, seat, client, io, session))),
        Err(why) => {
            tracing::debug!(listener = %seat.gate.id.name, client = %client.address, why, "a handshake has failed");
            None
        }
    }
}

impl<S: Io> Io for TlsStream<S> {
    fn reset_on_close(&self) {
        self.get_ref().0.reset_on_close();
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
        let read = reader.buffer.len().min(DECISIVE);
        if reader.buffer[..read] != PREFACE[..read] {
            return Protocol::H1;
        }
        if read >= DECISIVE {
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
        if this.prefix.is_empty() {
            // An empty one would keep its buffer as long as the connection lives.
            this.prefix = BytesMut::new();
        }
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
