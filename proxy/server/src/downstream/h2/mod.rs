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
use tokio::time::Instant;

use crate::alarm::{Alarm, after};
use crate::client::Client;
use crate::context;
use crate::exchange::{self, Downstream, Next};
use crate::listener::Port;
use crate::message::{Frame, Version};
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
pub(crate) async fn serve<S: Io + 'static>(worker: Rc<Worker>, port: Rc<Port>, client: Rc<Client>, io: S) {
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(port.limits().header_bytes)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER);
    let mut alarm = Alarm::new(Instant::now());
    let deadline = after(Instant::now(), Some(HANDSHAKE));
    let Some(Ok(connection)) = alarm.bound(deadline, builder.handshake::<_, Bytes>(io)).await else { return };
    let open = Rc::new(Cell::new(0));
    let mut accept = Accept { connection, alarm, idle_since: Instant::now(), leaving: false };
    while let Some((request, respond)) = poll_fn(|cx| accept.poll(cx, &port, open.get())).await {
        let stream = Stream { worker: Rc::clone(&worker), port: Rc::clone(&port), client: Rc::clone(&client) };
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
    connection: Connection<S, Bytes>,
    alarm: Alarm,
    idle_since: Instant,
    leaving: bool,
}

impl<S: Io> Accept<S> {
    /// The next stream; nothing once the connection is over. A connection that is idle for too long, or whose process
    /// leaves, is told to open no more streams and ends with the last of them; one that does not answer that is cut.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        port: &Port,
        open: usize,
    ) -> Poll<Option<(http::Request<RecvStream>, SendResponse<Bytes>)>> {
        if port.leaving() {
            self.leave();
        }
        loop {
            if let Poll::Ready(next) = self.connection.poll_accept(cx) {
                self.idle_since = Instant::now();
                return Poll::Ready(next.and_then(Result::ok));
            }
            if open > 0 {
                self.idle_since = Instant::now();
            }
            let patience = if self.leaving { GOODBYE } else { port.limits().keep_alive };
            ready!(self.alarm.poll(cx, after(self.idle_since, Some(patience))));
            if self.leaving {
                return Poll::Ready(None);
            }
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
    port: Rc<Port>,
    client: Rc<Client>,
}

impl Stream {
    async fn serve(&self, request: http::Request<RecvStream>, respond: SendResponse<Bytes>) {
        let (parts, body) = request.into_parts();
        let ended = body.is_end_stream();
        let mut reply = StreamReply::new(respond, parts.method == http::Method::HEAD);
        let mut source = StreamSource::new(body);
        let read = head::read(&parts, ended, self.port.limits().header_count);
        let read = read.and_then(|mut head| head.normalize_path(self.port.paths()).map(|()| head));
        let mut head = match read {
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
        let mut down = Downstream { source: &mut source, reply: &mut reply, alarm: &mut alarm };
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
