//! HTTP/2 as a server, by the `h2` crate: one connection, a task for each stream.
//!
//! The crate bounds what it must hold in memory, by the options below. What costs only time it lets through, so frames
//! are counted beneath it ([`watch`]), and a connection that floods is ended with GOAWAY ENHANCE_YOUR_CALM. Whoever
//! decides it, each connection that is cut is counted and told once.

mod body;
mod frames;
mod head;
mod watch;
mod websocket;

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Builder, Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::request::Parts;
use sluice_config::validated::Limits;
use sluice_proxy_core::flood::Cut;
use sluice_proxy_core::pace::{Demand, Pace};
use tokio::time::Instant;

use crate::alarm::{Alarm, after, nearer};
use crate::client::Client;
use crate::context;
use crate::exchange::{self, Downstream, Next};
use crate::grpc;
use crate::listener::Seat;
use crate::message::{Frame, Refused, Version};
use crate::meter::{Meter, Metered};
use crate::side::Source;
use crate::socket::Io;
use crate::worker::Worker;
use body::{StreamReply, StreamSource};
use watch::{Watch, Watched};
use websocket::Handshake;

/// Streams that one connection may have open at once. RFC 9113 asks for at least 100.
const STREAMS: u32 = 128;
/// What one stream may send before its origin has taken it.
const STREAM_WINDOW: u32 = 256 * 1024;
/// What one connection may send before its origins have taken it.
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// What one stream may wait to send to its client: a few frames, so that a client that opens all its windows and reads
/// nothing holds at most 8 MiB.
const SEND_BUFFER: usize = 64 * 1024;
/// What small DATA frames may take of memory beyond their bytes: as much again as the bytes themselves.
const DATA_OVERHEAD: usize = CONNECTION_WINDOW as usize;
/// Faults of its streams that one connection may make in its life (CVE-2025-8671, "MadeYouReset"). Clients make none, but
/// for a few streams above the limit before they have read it.
const STREAM_FAULTS: usize = 1024;
/// How long a connection without streams may take to answer that it is to end.
const GOODBYE: Duration = Duration::from_secs(5);
/// How long, and how much of, a body is read on after its answer: some clients drop an answer that a reset follows.
const LAST_READS: Duration = Duration::from_secs(1);
const LAST_BYTES: usize = 8 * 1024 * 1024;

/// Serves one connection to its end.
pub(crate) async fn serve<S: Io + 'static>(worker: Rc<Worker>, seat: Rc<Seat>, client: Rc<Client>, io: S) {
    let watch = Watch::new(STREAMS);
    let mut alarm = Alarm::new(Instant::now());
    let deadline = after(Instant::now(), Some(seat.limits().header_timeout));
    let (io, meter) = Metered::new(io);
    let handshake = options(&seat).handshake::<_, Bytes>(Watched::new(io, &watch));
    let Some(Ok(connection)) = alarm.bound(deadline, handshake).await else { return };
    let open = Rc::new(Cell::new(0));
    let mut accept = Accept::new(connection, alarm, (Rc::clone(&watch), meter), Rc::clone(&client));
    while let Some((request, respond)) = poll_fn(|cx| accept.poll(cx, &seat, open.get())).await {
        let stream = Stream { worker: Rc::clone(&worker), seat: Rc::clone(&seat), client: Rc::clone(&client) };
        let (guard, watch) = (Open::new(&open), Rc::clone(&watch));
        tokio::task::spawn_local(async move {
            stream.serve(request, respond, watch).await;
            drop(guard);
        });
    }
    tell(&seat, &client, &watch);
}

/// Every option of the `h2` crate that bounds something.
fn options(seat: &Seat) -> Builder {
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(STREAMS)
        // Decoded. A list of more than four times as much ends the connection, a smaller one the stream.
        .max_header_list_size(seat.limits().header_bytes)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER)
        // Remembered for a second, so that frames that crossed our reset are no faults.
        .max_concurrent_reset_streams(STREAMS as usize)
        // Given up by the client before we have looked at them (CVE-2023-44487, "rapid reset"): all that may be open.
        .max_pending_accept_reset_streams(STREAMS as usize)
        .max_local_error_reset_streams(Some(STREAM_FAULTS))
        .data_frame_budget(DATA_OVERHEAD)
        .enable_connect_protocol();
    builder
}

/// Counts a connection that was cut, once, and tells of it now and then.
fn tell(seat: &Seat, client: &Client, watch: &Watch) {
    let Some(reason) = watch.take_reason() else { return };
    seat.gate.series.h2_cut(reason);
    if seat.may_complain() {
        let listener = &seat.gate.id.name;
        tracing::warn!(%listener, client = %client.ip, reason, "an HTTP/2 connection was cut; told every 10 s at most");
    }
}

/// Counts an open stream for as long as it lives.
struct Open(Rc<Cell<usize>>);

impl Open {
    fn new(open: &Rc<Cell<usize>>) -> Self {
        open.set(open.get() + 1);
        Self(Rc::clone(open))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

struct Accept<S: Io> {
    connection: Connection<Watched<Metered<S>>, Bytes>,
    alarm: Alarm,
    watch: Rc<Watch>,
    client: Rc<Client>,
    idle_since: Instant,
    /// Since when it was told to end.
    leaving: Option<Instant>,
    /// Since when the connection only says its last.
    over_since: Option<Instant>,
    /// Streams that it has opened.
    served: u32,
    reading: Reading,
}

/// Whether the client reads what is sent to it. Streams see its windows only: one that opens them and reads nothing is
/// seen by nobody else, and what was sent on streams that are over waits in memory.
struct Reading {
    meter: Rc<Meter>,
    pace: Pace,
}

impl Reading {
    /// Until when nothing may be read; nothing while the connection takes what there is.
    fn ends(&mut self, demand: Demand) -> Option<Instant> {
        if self.meter.is_blocked() || self.pace.waits() {
            let (now, meter) = (Instant::now().into_std(), &self.meter);
            self.pace.wait(demand, now, meter.is_blocked(), || meter.taken());
        }
        self.pace.until(demand).map(Instant::from_std)
    }

    /// Whether that time has come.
    fn is_over(&mut self, demand: Demand) -> bool {
        let now = Instant::now().into_std();
        self.pace.look(demand, now, self.meter.taken());
        self.pace.until(demand).is_some_and(|until| until <= now)
    }
}

fn demand(limits: &Limits) -> Demand {
    Demand { rate: limits.send_min_rate, grace: limits.min_rate_grace }
}

impl<S: Io> Accept<S> {
    fn new(
        connection: Connection<Watched<Metered<S>>, Bytes>,
        alarm: Alarm,
        (watch, meter): (Rc<Watch>, Rc<Meter>),
        client: Rc<Client>,
    ) -> Self {
        let (idle_since, reading) = (Instant::now(), Reading { meter, pace: Pace::new() });
        Self { connection, alarm, watch, client, idle_since, leaving: None, over_since: None, served: 0, reading }
    }

    /// The next stream; nothing once the connection is over. A connection that is idle for too long, or whose process
    /// leaves, is told to open no more streams and ends with the last of them; one that does not answer that is cut, and
    /// so is one that floods, or takes nothing of what is sent to it.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        seat: &Seat,
        open: usize,
    ) -> Poll<Option<(http::Request<RecvStream>, SendResponse<Bytes>)>> {
        let limits = seat.limits();
        // One that has just come has a request on its way, which has an answer coming.
        if seat.leaving() || seat.is_wanted() || (self.served > 0 && !seat.keeps_alive()) {
            self.leave();
        }
        loop {
            let next = self.connection.poll_accept(cx);
            if self.cut(seat) {
                continue;
            }
            if let Poll::Ready(next) = next {
                if matches!(next, Some(Ok(_))) && self.is_closed() {
                    continue;
                }
                self.idle_since = Instant::now();
                seat.busy();
                self.count(&limits);
                return Poll::Ready(next.and_then(Result::ok));
            }
            self.note(seat, open);
            let (idle_ends, reading_ends) = (self.idle_ends(&limits), self.reading.ends(demand(&limits)));
            ready!(self.alarm.poll(cx, nearer(idle_ends, reading_ends)));
            if self.reading.is_over(demand(&limits)) {
                seat.cut_slow_reader();
                return Poll::Ready(None);
            }
            if idle_ends.is_some_and(|ends| ends <= Instant::now()) {
                if self.leaving.is_some() || self.over_since.is_some() {
                    return Poll::Ready(None);
                }
                self.leave();
            }
        }
    }

    /// Whether it takes no more streams. The second GOAWAY, behind which `h2` takes none, waits for the client's answer to a
    /// PING: a client that does not give it must not stay for that.
    fn is_closed(&self) -> bool {
        self.over_since.is_some() || self.leaving.is_some_and(|since| since.elapsed() >= GOODBYE)
    }

    /// Whether it waits for a request.
    fn note(&mut self, seat: &Seat, open: usize) {
        if open > 0 {
            self.idle_since = Instant::now();
            seat.busy();
        } else {
            seat.idle(self.idle_since);
        }
    }

    /// Until when nothing may come.
    fn idle_ends(&self, limits: &Limits) -> Option<Instant> {
        let patience = if self.leaving.is_some() { GOODBYE } else { limits.keep_alive };
        let (since, patience) = self.over_since.map_or((self.idle_since, patience), |since| (since, LAST_READS));
        after(since, Some(patience))
    }

    /// One more stream; the last that the connection may carry lets it leave.
    fn count(&mut self, limits: &Limits) {
        self.served = self.served.saturating_add(1);
        if limits.requests_per_connection.is_some_and(|most| self.served >= most) {
            self.leave();
        }
    }

    /// Ends a connection that floods; whether it has just been ended. One that says its last has a second for it.
    fn cut(&mut self, seat: &Seat) -> bool {
        if self.over_since.is_some() {
            return false;
        }
        let cut = self.watch.cut();
        if cut.is_some() || self.watch.is_shut() {
            self.over_since = Some(Instant::now());
            tell(seat, &self.client, &self.watch);
        }
        match cut {
            Some(Cut::Preface) => self.connection.abrupt_shutdown(Reason::PROTOCOL_ERROR),
            Some(_) => self.connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM),
            None => {}
        }
        cut.is_some()
    }

    fn leave(&mut self) {
        if self.leaving.is_none() {
            let now = Instant::now();
            (self.leaving, self.idle_since) = (Some(now), now);
            self.connection.graceful_shutdown();
        }
    }
}

struct Stream {
    worker: Rc<Worker>,
    seat: Rc<Seat>,
    client: Rc<Client>,
}

impl Stream {
    async fn serve(&self, request: http::Request<RecvStream>, respond: SendResponse<Bytes>, watch: Rc<Watch>) {
        let limits = self.seat.limits();
        let (parts, body) = request.into_parts();
        let mut reply = StreamReply::new(respond, watch, parts.method == http::Method::HEAD);
        let read = head::read(&parts, body.is_end_stream(), limits.header_count);
        let read = read.and_then(|mut head| head.normalize_path(self.seat.paths()).map(|()| head));
        let mut head = match read {
            Ok(head) => head,
            Err(refused) => return self.refuse(refused, &parts, &mut reply).await,
        };
        let mut source = StreamSource::new(body, head.upgrade);
        if head.upgrade {
            reply.handshake = Some(Handshake::begin(&mut head, &mut *self.worker.rng.borrow_mut()));
        }
        let mut alarm = Alarm::new(Instant::now());
        let mut down = Downstream { source: &mut source, reply: &mut reply, alarm: &mut alarm, limits: &limits };
        let next = exchange::exchange(&self.worker, &self.client, &mut head, &mut down).await;
        match next {
            Next::Request | Next::Over => {}
            Next::Close => drain(&mut source, &mut alarm).await,
            Next::Cut => reply.reset(),
        }
    }

    async fn refuse(&self, refused: Refused, parts: &Parts, reply: &mut StreamReply) {
        let mut own = context::refuse(&self.worker, &self.client, Version::H2, refused, Duration::ZERO);
        let content_type = parts.headers.get(http::header::CONTENT_TYPE).map(http::HeaderValue::as_bytes);
        if grpc::is_call(content_type) {
            own = grpc::refusal(&own, refused.reason, content_type);
        }
        let deadline = after(Instant::now(), Some(LAST_READS));
        // A client that has left, or does not take it, misses nothing.
        let _ = Alarm::new(Instant::now()).bound(deadline, own.send(reply)).await;
    }
}

/// Reads on after the answer until the client has sent its body, for a bounded time.
async fn drain(source: &mut StreamSource, alarm: &mut Alarm) {
    let deadline = after(Instant::now(), Some(LAST_READS));
    let rest = async {
        let mut read = 0;
        while let Ok(Frame::Data(data)) = source.frame().await {
            read += data.len();
            if read > LAST_BYTES {
                return;
            }
        }
    };
    alarm.bound(deadline, rest).await;
}
