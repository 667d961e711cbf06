//! HTTP/2 as a server, by the `h2` crate: one connection, a task for each stream.

mod body;
mod head;

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::{Builder, Connection, SendResponse};
use sluice_config::validated::Limits;
use sluice_proxy_core::pace::{Demand, Pace};
use tokio::time::Instant;

use crate::alarm::{Alarm, after, nearer};
use crate::client::Client;
use crate::context;
use crate::exchange::{self, Downstream, Next};
use crate::listener::Seat;
use crate::message::{Frame, Version};
use crate::meter::{Meter, Metered};
use crate::side::Source;
use crate::socket::Io;
use crate::worker::Worker;
use body::{StreamReply, StreamSource};

/// Streams that one connection may have open at once.
const STREAMS: u32 = 128;
/// What one stream may send before its origin has taken it.
const STREAM_WINDOW: u32 = 256 * 1024;
/// What one connection may send before its origins have taken it.
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// What one stream may wait to send to its client.
const SEND_BUFFER: usize = 256 * 1024;
/// A preface must be followed by SETTINGS within this time.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long a connection without streams may take to answer that it is to end.
const GOODBYE: Duration = Duration::from_secs(5);
/// How long, and how much of, a body is read on after its answer: some clients drop an answer that a reset follows.
const LAST_READS: Duration = Duration::from_secs(1);
const LAST_BYTES: usize = 8 * 1024 * 1024;

/// Serves one connection to its end.
pub(crate) async fn serve<S: Io + 'static>(worker: Rc<Worker>, seat: Rc<Seat>, client: Rc<Client>, io: S) {
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(seat.limits().header_bytes)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER);
    let mut alarm = Alarm::new(Instant::now());
    let deadline = after(Instant::now(), Some(HANDSHAKE));
    let (io, meter) = Metered::new(io);
    let Some(Ok(connection)) = alarm.bound(deadline, builder.handshake::<_, Bytes>(io)).await else { return };
    let open = Rc::new(Cell::new(0));
    let mut accept = Accept {
        connection,
        alarm,
        idle_since: Instant::now(),
        leaving: false,
        served: 0,
        reading: Reading { meter, pace: Pace::new() },
    };
    while let Some((request, respond)) = poll_fn(|cx| accept.poll(cx, &seat, open.get())).await {
        let stream = Stream { worker: Rc::clone(&worker), seat: Rc::clone(&seat), client: Rc::clone(&client) };
        let guard = Open::new(&open);
        tokio::task::spawn_local(async move {
            stream.serve(request, respond).await;
            drop(guard);
        });
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
    connection: Connection<Metered<S>, Bytes>,
    alarm: Alarm,
    idle_since: Instant,
    leaving: bool,
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
    /// The next stream; nothing once the connection is over. A connection that is idle for too long, or whose process
    /// leaves, is told to open no more streams and ends with the last of them; one that does not answer that is cut.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        seat: &Seat,
        open: usize,
    ) -> Poll<Option<(http::Request<RecvStream>, SendResponse<Bytes>)>> {
        let limits = seat.limits();
        if !seat.keeps_alive() || seat.is_wanted() {
            self.leave();
        }
        loop {
            if let Poll::Ready(next) = self.connection.poll_accept(cx) {
                self.idle_since = Instant::now();
                seat.busy();
                self.count(&limits);
                return Poll::Ready(next.and_then(Result::ok));
            }
            if open > 0 {
                self.idle_since = Instant::now();
                seat.busy();
            } else {
                seat.idle(self.idle_since);
            }
            let patience = if self.leaving { GOODBYE } else { limits.keep_alive };
            let idle_ends = after(self.idle_since, Some(patience));
            let reading_ends = self.reading.ends(demand(&limits));
            ready!(self.alarm.poll(cx, nearer(idle_ends, reading_ends)));
            if self.reading.is_over(demand(&limits)) {
                seat.cut_slow_reader();
                return Poll::Ready(None);
            }
            if idle_ends.is_some_and(|ends| ends <= Instant::now()) {
                if self.leaving {
                    return Poll::Ready(None);
                }
                self.leave();
            }
        }
    }

    /// One more stream; the last that the connection may carry lets it leave.
    fn count(&mut self, limits: &Limits) {
        self.served = self.served.saturating_add(1);
        if limits.requests_per_connection.is_some_and(|most| self.served >= most) {
            self.leave();
        }
    }

    fn leave(&mut self) {
        if !self.leaving {
            self.leaving = true;
            self.idle_since = Instant::now();
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
    async fn serve(&self, request: http::Request<RecvStream>, respond: SendResponse<Bytes>) {
        let limits = self.seat.limits();
        let (parts, body) = request.into_parts();
        let ended = body.is_end_stream();
        let mut reply = StreamReply::new(respond, parts.method == http::Method::HEAD);
        let mut source = StreamSource::new(body);
        let mut head = match head::read(&parts, ended, limits.header_count) {
            Ok(head) => head,
            Err(refused) => {
                let own = context::refuse(&self.worker, &self.client, Version::H2, refused, Duration::ZERO);
                // A client that has left, or does not take it, misses nothing.
                let _ = Alarm::new(Instant::now())
                    .bound(after(Instant::now(), Some(LAST_READS)), own.send(&mut reply))
                    .await;
                return;
            }
        };
        let mut alarm = Alarm::new(Instant::now());
        let mut down = Downstream { source: &mut source, reply: &mut reply, alarm: &mut alarm, limits: &limits };
        let next = exchange::exchange(&self.worker, &self.client, &mut head, &mut down).await;
        match next {
            Next::Request | Next::Over => {}
            Next::Close => drain(&mut source, &mut alarm).await,
            Next::Cut => reply.reset(),
        }
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
