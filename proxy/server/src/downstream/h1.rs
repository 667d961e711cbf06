//! HTTP/1.1 as a server: one connection, request after request.

use std::future::poll_fn;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use sluice_proxy_core::outcome::Ending;
use tokio::time::Instant;

use super::first_byte;
use crate::alarm::{Alarm, after};
use crate::client::Client;
use crate::context;
use crate::exchange::{self, Downstream, Next};
use crate::framed;
use crate::h1::{self, BadBody, BodyReader, HeadLimits, Persistence, Refused};
use crate::listener::Seat;
use crate::message::{Fields, Frame, Framing, Known, Method, RequestHead, ResponseHead, Version};
use crate::side::{Reply, Sink, Source};
use crate::socket::{Io, Outlet, Reader, Writer};
use crate::worker::Worker;

/// How much of later requests is read ahead while one is answered; enough to see the client leave.
const READ_AHEAD: usize = 64 * 1024;
/// How long a connection that is closed goes on reading, so that the last answer is not lost to a reset.
const LAST_READS: Duration = Duration::from_secs(2);
/// A head that did not come whole in time.
const LATE: Refused = Refused { status: 408, reason: "header_timeout" };
/// How much it reads then.
const LAST_BYTES: usize = 8 * 1024 * 1024;

/// Serves one connection to its end.
pub(crate) async fn serve<S: Io>(worker: &Rc<Worker>, seat: &Rc<Seat>, client: &Client, ends: (Reader<S>, Writer<S>)) {
    let (reader, writer) = ends;
    let mut alarm = Alarm::new(Instant::now());
    let mut source = ClientReader { reader, body: BodyReader::new(Framing::None), broken: None };
    let mut reply = ClientWriter { writer, seat: Rc::clone(seat), request: Request::default(), framing: Framing::None };
    let mut served = 0_u32;
    loop {
        if source.reader.buffer.is_empty() && !first_byte(seat, &mut source.reader, &mut alarm).await {
            return;
        }
        let mut head = worker.spare_request();
        match next_request(seat, &mut source.reader, &mut head, &mut alarm).await {
            Await::Request => {}
            Await::Refused(refused, waited) => {
                answer_refused(worker, client, refused, waited, &mut reply, &mut alarm).await;
                break;
            }
            Await::Over => return,
        }
        source.body = BodyReader::new(head.framing);
        reply.request = Request::of(&head);
        let limits = seat.limits();
        served = served.saturating_add(1);
        reply.request.keep_alive &= limits.requests_per_connection.is_none_or(|most| served < most);
        let next = {
            let mut down = Downstream { source: &mut source, reply: &mut reply, alarm: &mut alarm, limits: &limits };
            exchange::exchange(worker, client, &mut head, &mut down).await
        };
        worker.return_request(head);
        if let Some(BadBody(rule)) = source.broken {
            worker.metrics.body_refused(rule);
        }
        match next {
            Next::Request if reply.request.keep_alive => {}
            Next::Request | Next::Close => break,
            Next::Over => return,
            Next::Cut => return reply.cut(&mut alarm).await,
        }
    }
    close(source.reader, reply.writer, &mut alarm).await;
}

/// Answers what is no request at all, and closes.
pub(crate) async fn refuse<S: Io>(
    worker: &Rc<Worker>,
    seat: &Rc<Seat>,
    client: &Client,
    ends: (Reader<S>, Writer<S>),
    refused: Refused,
) {
    let (reader, writer) = ends;
    let mut alarm = Alarm::new(Instant::now());
    let mut reply = ClientWriter { writer, seat: Rc::clone(seat), request: Request::default(), framing: Framing::None };
    answer_refused(worker, client, refused, Duration::ZERO, &mut reply, &mut alarm).await;
    close(reader, reply.writer, &mut alarm).await;
}

async fn answer_refused<S: Io>(
    worker: &Rc<Worker>,
    client: &Client,
    refused: Refused,
    waited: Duration,
    reply: &mut ClientWriter<S>,
    alarm: &mut Alarm,
) {
    reply.request = Request::default();
    let own = context::refuse(worker, client, Version::Http11, refused, waited);
    // What follows it is not understood either, so the connection closes whether or not the reply is taken.
    let _ = alarm.bound(after(Instant::now(), Some(LAST_READS)), own.send(reply)).await;
}

/// What a connection got that has sent its first byte.
enum Await {
    Request,
    /// And how long it took to come.
    Refused(Refused, Duration),
    /// The client left.
    Over,
}

async fn next_request<S: Io>(seat: &Seat, reader: &mut Reader<S>, head: &mut RequestHead, alarm: &mut Alarm) -> Await {
    let limits = seat.limits();
    let bounds = HeadLimits { bytes: limits.header_bytes as usize, count: limits.header_count as usize };
    let begun = Instant::now();
    let deadline = after(begun, Some(limits.header_timeout));
    loop {
        match h1::parse_request(&reader.buffer, &bounds, head) {
            Ok(Some(length)) => {
                reader.buffer.advance(length);
                return match head.normalize_path(seat.paths()) {
                    Ok(()) => Await::Request,
                    Err(refused) => Await::Refused(refused, begun.elapsed()),
                };
            }
            Ok(None) => {}
            Err(refused) => return Await::Refused(refused, begun.elapsed()),
        }
        match alarm.bound(deadline, reader.fill(0)).await {
            None => return Await::Refused(LATE, begun.elapsed()),
            Some(Ok(0) | Err(_)) => return Await::Over,
            Some(Ok(_)) => {}
        }
    }
}

/// Says that no more comes, and reads on for a moment: closing with unread bytes would reset the connection and could
/// take the last answer with it.
async fn close<S: Io>(mut reader: Reader<S>, mut writer: Writer<S>, alarm: &mut Alarm) {
    let deadline = after(Instant::now(), Some(LAST_READS));
    let last = async {
        if writer.shut().await.is_err() {
            return;
        }
        let mut read = 0;
        while read < LAST_BYTES {
            reader.buffer.clear();
            match reader.fill(0).await {
                Ok(0) | Err(_) => return,
                Ok(bytes) => read += bytes,
            }
        }
    };
    alarm.bound(deadline, last).await;
}

/// The client's body.
#[derive(Debug)]
pub(crate) struct ClientReader<S> {
    reader: Reader<S>,
    body: BodyReader,
    /// The rule that the body broke; nothing is read behind it.
    broken: Option<BadBody>,
}

impl<S: Io> Source for ClientReader<S> {
    async fn frame(&mut self) -> Result<Frame, Ending> {
        loop {
            match self.body.decode(&mut self.reader.buffer) {
                Ok(Some(frame)) => return Ok(frame),
                Ok(None) => {}
                Err(bad) => {
                    self.broken = Some(bad);
                    return Err(Ending::ClientFault);
                }
            }
            if self.reader.fill(framed::expected(&self.body)).await.map_err(|_| Ending::ClientGone)? == 0 {
                return self.body.eof().map_err(|_| Ending::ClientGone);
            }
        }
    }

    async fn gone(&mut self) -> Ending {
        poll_fn(|cx| self.reader.poll_gone(cx, READ_AHEAD)).await;
        Ending::ClientGone
    }

    fn switch_to_raw(&mut self) {
        self.body = BodyReader::new(Framing::UntilClose);
    }
}

/// What the answer's framing depends on.
#[derive(Debug, Default, Clone, Copy)]
struct Request {
    head_only: bool,
    http10: bool,
    keep_alive: bool,
}

impl Request {
    const fn of(head: &RequestHead) -> Self {
        Self {
            head_only: matches!(head.method, Method::Head),
            http10: matches!(head.version, Version::Http10),
            keep_alive: head.keep_alive,
        }
    }
}

/// The way back to the client.
#[derive(Debug)]
pub(crate) struct ClientWriter<S> {
    writer: Writer<S>,
    seat: Rc<Seat>,
    request: Request,
    framing: Framing,
}

impl<S: Io> ClientWriter<S> {
    /// An answer of unknown length is chunked; a client of HTTP/1.0 is told its end by the end of the connection.
    fn frame_answer(&mut self, head: &ResponseHead, bodyless: bool) -> Framing {
        match head.framing {
            // An origin of HTTP/2 ends an answer in its head. HTTP/1.1 must be told, or its client waits for more.
            Framing::None if bodyless && !self.request.head_only && may_have_body(head) => Framing::Length(0),
            _ if bodyless || self.request.head_only => Framing::None,
            Framing::Length(length) => Framing::Length(length),
            _ if head.status == 101 => Framing::UntilClose,
            Framing::None => Framing::None,
            Framing::Chunked | Framing::UntilClose if !self.request.http10 => Framing::Chunked,
            Framing::Chunked | Framing::UntilClose => {
                self.request.keep_alive = false;
                Framing::UntilClose
            }
        }
    }

    /// Sends what there is of an answer that will not be whole. One that only the end of the connection would end is
    /// ended by a reset, and so is one that the client does not take: what waits for it in the kernel is given up too.
    async fn cut(&mut self, alarm: &mut Alarm) {
        let deadline = after(Instant::now(), Some(LAST_READS));
        // The client may have left, and that is why.
        let flushed = alarm.bound(deadline, self.writer.flush()).await;
        if self.framing == Framing::UntilClose || !matches!(flushed, Some(Ok(()))) {
            self.writer.reset_on_close();
        }
    }

    const fn persistence(&self, status: u16) -> Persistence {
        match (status, self.request.keep_alive, self.request.http10) {
            (101, _, _) => Persistence::Upgrade,
            (_, false, _) => Persistence::Close,
            (_, true, true) => Persistence::KeepAlive,
            (_, true, false) => Persistence::Implied,
        }
    }
}

/// Whether a body would follow this head of an answer if nothing else were said.
const fn may_have_body(head: &ResponseHead) -> bool {
    !matches!(head.status, 100..=199 | 204 | 304) && !head.fields.has(Known::ContentLength)
}

impl<S: Io> Sink for ClientWriter<S> {
    async fn data(&mut self, data: Bytes) -> Result<(), Ending> {
        if self.framing == Framing::None {
            return Ok(());
        }
        framed::send(&mut self.writer, self.framing, data).await.map_err(|_| Ending::ClientGone)
    }

    async fn end(&mut self, trailers: Option<&Fields>) -> Result<(), Ending> {
        framed::finish(&mut self.writer, self.framing, trailers).await.map_err(|_| Ending::ClientGone)
    }

    async fn flush(&mut self) -> Result<(), Ending> {
        self.writer.flush().await.map_err(|_| Ending::ClientGone)
    }
}

impl<S: Io> Reply for ClientWriter<S> {
    type Gauge = Outlet<S>;

    fn gauge(&self) -> Outlet<S> {
        self.writer.outlet()
    }

    async fn info(&mut self, head: &ResponseHead) -> Result<(), Ending> {
        if self.request.http10 {
            return Ok(());
        }
        h1::write_response(&mut self.writer.waiting, head.status, &head.fields, Framing::None, Persistence::Implied);
        self.flush().await
    }

    fn last(&mut self) {
        self.request.keep_alive = false;
    }

    fn head(&mut self, head: &ResponseHead, bodyless: bool) -> Result<(), Ending> {
        self.request.keep_alive &= self.seat.keeps_alive();
        self.framing = self.frame_answer(head, bodyless);
        let persistence = self.persistence(head.status);
        h1::write_response(&mut self.writer.waiting, head.status, &head.fields, self.framing, persistence);
        Ok(())
    }
}
