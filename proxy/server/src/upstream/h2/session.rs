//! One connection that many requests share.
//!
//! A request takes a slot before it begins its stream. There are as many slots as the document says and the endpoint allows;
//! a connection that is still being made gives slots, too, so that a burst makes one connection and not one for each request.
//! A connection is fit for use once it has answered a PING: what an endpoint allows stands in its SETTINGS, which come
//! before, and something that does not speak HTTP/2 is found out before a request is lost on it.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, Connection, ResponseFuture, SendRequest};
use h2::{Ping, SendStream};
use http::Request;
use sluice_config::validated::Connections;
use sluice_proxy_core::outcome::Ending;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::Set;
use super::pulse::Pulse;
use crate::upstream::dial::Connector;

/// What one stream may send before its client has taken it.
const STREAM_WINDOW: u32 = 256 * 1024;
/// As much as this many streams may send before their clients have taken it: more clients that do not read hold up the
/// whole connection.
const SLOW_STREAMS: u32 = 64;
/// What one stream may wait to send to its endpoint.
const SEND_BUFFER: usize = 256 * 1024;
/// The largest head of an answer in bytes.
const HEADER_LIST: u32 = 64 * 1024;

/// A connection, from before it is made until it is over.
#[derive(Debug)]
pub(super) struct Session {
    set: Weak<Set>,
    connector: Connector,
    bounds: Connections,
    state: RefCell<State>,
    /// It is made, or could not be.
    settled: Notify,
    /// Slots that are taken.
    taken: Cell<usize>,
    /// Those of them that may begin a stream.
    admitted: Cell<usize>,
    /// A stream has ended on it.
    used: Cell<bool>,
    /// It is counted as waiting.
    idle: Cell<bool>,
    /// Since when no slot is taken.
    since: Cell<Instant>,
    /// When something of a stream last came.
    heard: Cell<Instant>,
}

enum State {
    Dialling,
    Open(SendRequest<Bytes>),
    /// It takes no more streams; those that it has go on. Why it could not be made, where that is so.
    Over(Ending),
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Dialling => "Dialling",
            Self::Open(_) => "Open",
            Self::Over(_) => "Over",
        })
    }
}

impl Session {
    pub(super) fn new(set: &Rc<Set>, connector: Connector, bounds: Connections) -> Rc<Self> {
        let now = Instant::now();
        Rc::new(Self {
            set: Rc::downgrade(set),
            connector,
            bounds,
            state: RefCell::new(State::Dialling),
            settled: Notify::new(),
            taken: Cell::new(0),
            admitted: Cell::new(0),
            used: Cell::new(false),
            idle: Cell::new(false),
            since: Cell::new(now),
            heard: Cell::new(now),
        })
    }

    /// Takes a slot if one is free.
    pub(super) fn take(self: &Rc<Self>) -> Option<Slot> {
        if self.taken.get() >= self.slots() {
            return None;
        }
        self.taken.set(self.taken.get() + 1);
        self.count_idle(false);
        Some(Slot { kept: self.used.get() && self.taken.get() == 1, session: Rc::clone(self), admitted: false })
    }

    /// How many there are; none once the connection takes no more streams.
    fn slots(&self) -> usize {
        let most = usize::try_from(self.bounds.streams).unwrap_or(usize::MAX);
        let allowed = match &*self.state.borrow() {
            State::Dialling => Some(most),
            State::Open(requests) if !is_open(requests) => None,
            State::Open(requests) => Some(most.min(requests.current_max_send_streams())),
            State::Over(_) => Some(0),
        };
        allowed.unwrap_or_else(|| {
            self.close(Ending::StalePooled);
            0
        })
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(*self.state.borrow(), State::Over(_))
    }

    /// Whether it is made, and takes streams.
    pub(super) fn is_open(&self) -> bool {
        matches!(*self.state.borrow(), State::Open(_))
    }

    /// Whether it waits for a request.
    pub(super) fn is_idle(&self) -> bool {
        self.taken.get() == 0 && matches!(*self.state.borrow(), State::Open(_))
    }

    /// Whether it has waited for too long.
    pub(super) fn has_waited(&self, now: Instant) -> bool {
        self.is_idle() && now.saturating_duration_since(self.since.get()) >= self.bounds.idle_timeout
    }

    /// Takes no more streams; the connection ends with those that it has.
    pub(super) fn close(&self, why: Ending) {
        drop(self.state.replace(State::Over(why)));
        self.count_idle(false);
        self.settled.notify_waiters();
    }

    /// Makes the connection and drives it to its end. `io` is made within `limit`, and so is all that follows until
    /// the connection is fit for use.
    pub(super) async fn run<T>(self: Rc<Self>, io: impl Future<Output = Result<T, Ending>>, limit: Duration)
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let made = async { make(io.await?, &self.bounds).await };
        let made = tokio::time::timeout(limit, made).await.unwrap_or(Err(Ending::ConnectTimeout));
        self.connector.count(&made);
        match made {
            // Nobody closes it before it is open.
            Ok((requests, connection, pulse)) => {
                self.state.replace(State::Open(requests));
                self.since.set(Instant::now());
                self.count_idle(self.is_idle());
                self.settled.notify_waiters();
                self.drive(connection, pulse).await;
                self.close(Ending::StalePooled);
            }
            Err(ending) => self.close(ending),
        }
    }

    async fn drive<T: AsyncRead + AsyncWrite + Unpin>(&self, mut connection: Connection<T, Bytes>, mut pulse: Pulse) {
        poll_fn(|cx| {
            if let Poll::Ready(ended) = std::pin::Pin::new(&mut connection).poll(cx) {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection of HTTP/2 to an endpoint ended");
                }
                return Poll::Ready(());
            }
            let heard = (self.admitted.get() > 0).then(|| self.heard.get());
            pulse.poll_lost(cx, heard)
        })
        .await;
    }

    fn count_idle(&self, idle: bool) {
        if self.idle.replace(idle) != idle {
            self.connector.series.idle_changed(self.connector.worker, if idle { 1 } else { -1 });
        }
    }

    fn release(self: &Rc<Self>) {
        self.taken.set(self.taken.get() - 1);
        if !self.is_idle() {
            return;
        }
        self.since.set(Instant::now());
        match self.set.upgrade() {
            Some(set) if set.keeps(self) => self.count_idle(true),
            Some(_) | None => self.close(Ending::StalePooled),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.count_idle(false);
    }
}

/// Whether the other end has neither left nor said that it is about to.
fn is_open(requests: &SendRequest<Bytes>) -> bool {
    matches!(requests.clone().poll_ready(&mut Context::from_waker(Waker::noop())), Poll::Ready(Ok(())))
}

async fn make<T: AsyncRead + AsyncWrite + Unpin>(
    io: T,
    bounds: &Connections,
) -> Result<(SendRequest<Bytes>, Connection<T, Bytes>, Pulse), Ending> {
    let mut builder = Builder::new();
    builder
        .enable_push(false)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(STREAM_WINDOW * bounds.streams.min(SLOW_STREAMS))
        .max_send_buffer_size(SEND_BUFFER)
        .max_header_list_size(HEADER_LIST);
    let (requests, mut connection) = builder.handshake(io).await.map_err(|error| unfit(&error))?;
    let mut pings = connection.ping_pong().ok_or(Ending::Internal)?;
    pings.send_ping(Ping::opaque()).map_err(|error| unfit(&error))?;
    poll_fn(|cx| match std::pin::Pin::new(&mut connection).poll(cx) {
        Poll::Ready(Ok(())) => Poll::Ready(Err(Ending::ConnectFailed)),
        Poll::Ready(Err(error)) => Poll::Ready(Err(unfit(&error))),
        Poll::Pending => pings.poll_pong(cx).map_ok(drop).map_err(|error| unfit(&error)),
    })
    .await?;
    if requests.current_max_send_streams() == 0 {
        return Err(Ending::ConnectFailed);
    }
    Ok((requests, connection, Pulse::new(pings)))
}

fn unfit(error: &h2::Error) -> Ending {
    tracing::debug!(%error, "the endpoint does not begin HTTP/2");
    Ending::ConnectFailed
}

/// The right to one stream. Given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    session: Rc<Session>,
    admitted: bool,
    /// The connection had been waiting for its next request.
    pub(super) kept: bool,
}

impl Slot {
    /// Waits until the connection is made. False when the endpoint allows fewer streams than have waited: another
    /// connection is needed.
    pub(super) async fn ready(&mut self) -> Result<bool, Ending> {
        loop {
            let settled = self.session.settled.notified();
            match *self.session.state.borrow() {
                State::Over(ending) => return Err(ending),
                State::Open(_) => break,
                State::Dialling => {}
            }
            settled.await;
        }
        if self.session.admitted.get() >= self.session.slots() {
            return Ok(false);
        }
        self.session.admitted.set(self.session.admitted.get() + 1);
        self.admitted = true;
        Ok(true)
    }

    /// Whether a stream may become a tunnel (RFC 8441).
    pub(super) fn tunnels(&self) -> bool {
        match &*self.session.state.borrow() {
            State::Open(requests) => requests.is_extended_connect_protocol_enabled(),
            State::Dialling | State::Over(_) => false,
        }
    }

    /// Begins the stream. When the connection takes none any more, nothing was sent.
    pub(super) fn send(
        &self,
        request: Request<()>,
        whole: bool,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), Ending> {
        self.heard();
        let mut requests = match &*self.session.state.borrow() {
            State::Open(requests) => requests.clone(),
            State::Dialling | State::Over(_) => return Err(Ending::StalePooled),
        };
        requests.send_request(request, whole).map_err(|error| {
            let closed = error.is_io() || error.is_go_away() || error.is_reset();
            if closed { Ending::StalePooled } else { Ending::Internal }
        })
    }

    /// Something of a stream has come.
    pub(super) fn heard(&self) {
        self.session.heard.set(Instant::now());
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if self.admitted {
            self.session.admitted.set(self.session.admitted.get() - 1);
            self.session.used.set(true);
        }
        self.session.release();
    }
}
