//! Both directions of one attempt at once: the request's body to the origin while the answer comes back.
//!
//! Rules: an origin that no longer takes the body may still answer, so a failed write to it ends nothing by itself; a
//! client that leaves or sends a broken body ends everything; every wait is bounded by the nearest of the deadlines.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use sluice_proxy_core::outcome::Ending;
use tokio::time::Instant;

use crate::alarm::{Alarm, after, nearer};
use crate::filter;
use crate::grpc::Call;
use crate::message::{Frame, Framing, ResponseHead};
use crate::replay::{Kept, Replay};
use crate::retry::Verdict;
use crate::side::{Answer, Reply, Sink, Source};

/// How long the parts of one attempt may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadlines {
    /// When the whole exchange must be over.
    pub(crate) total: Option<Instant>,
    /// From the whole request sent to the head of the answer.
    pub(crate) per_try: Option<Duration>,
    /// Without a byte in either direction.
    pub(crate) idle: Option<Duration>,
}

/// How much of an answer that nobody wants is read, so that its connection can be kept.
const AT_HAND: usize = 16 * 1024;

/// How far an exchange has come. Both directions write to it.
#[derive(Debug)]
pub(crate) struct Progress {
    /// Bytes of body taken from the client.
    pub(crate) bytes_in: Cell<u64>,
    /// Bytes of body given to the client.
    pub(crate) bytes_out: Cell<u64>,
    /// The request's body has been read to its end.
    pub(crate) request_whole: Cell<bool>,
    /// What is kept of the request's body for another attempt.
    pub(crate) body: Kept,
    /// The request's body has been given to the origin of this attempt to its end.
    pub(crate) sent_whole: Cell<bool>,
    /// Bytes of body that this attempt has taken, kept ones too.
    taken: Cell<u64>,
    /// The head of the answer, its status, has been passed to the client.
    pub(crate) answered: Cell<Option<u16>>,
    /// Since when the origin owes a head.
    asked: Cell<Option<Instant>>,
    /// When a byte last moved.
    pub(crate) moved: Cell<Instant>,
    /// How long the last attempt waited for its head.
    pub(crate) waited: Cell<Option<Duration>>,
    /// What is known of the request as a call of gRPC.
    pub(crate) call: Call,
    begun: Cell<Instant>,
    /// The client is slow to send its body.
    client_sends: Cell<bool>,
    /// The client is slow to take the answer.
    client_takes: Cell<bool>,
    /// The origin is slow to take the request.
    origin_takes: Cell<bool>,
}

impl Progress {
    pub(crate) fn new(now: Instant, call: Call) -> Self {
        Self {
            bytes_in: Cell::new(0),
            bytes_out: Cell::new(0),
            request_whole: Cell::new(false),
            body: Kept::default(),
            sent_whole: Cell::new(false),
            taken: Cell::new(0),
            answered: Cell::new(None),
            asked: Cell::new(None),
            moved: Cell::new(now),
            waited: Cell::new(None),
            call,
            begun: Cell::new(now),
            client_sends: Cell::new(false),
            client_takes: Cell::new(false),
            origin_takes: Cell::new(false),
        }
    }

    /// Another endpoint is asked.
    pub(crate) fn begin_attempt(&self) {
        let now = Instant::now();
        self.begun.set(now);
        self.moved.set(now);
        self.asked.set(None);
        self.sent_whole.set(false);
        self.taken.set(0);
        self.body.rewind();
        // The attempt before may have been given up in the middle of a wait.
        self.client_sends.set(false);
        self.client_takes.set(false);
        self.origin_takes.set(false);
    }

    fn answer(&self, head: &ResponseHead) {
        let now = Instant::now();
        self.answered.set(Some(head.status));
        self.call.see(&head.fields);
        self.waited.set(Some(now - self.begun.get()));
        self.moved.set(now);
        self.body.release();
    }

    fn took(&self, bytes: usize) {
        self.taken.set(self.taken.get() + bytes as u64);
        self.bytes_in.set(self.bytes_in.get().max(self.taken.get()));
        self.moved.set(Instant::now());
    }

    pub(crate) fn gave(&self, bytes: usize) {
        self.bytes_out.set(self.bytes_out.get() + bytes as u64);
        self.moved.set(Instant::now());
    }

    fn sent_all(&self) {
        self.request_whole.set(true);
        self.sent_whole.set(true);
        let now = Instant::now();
        self.moved.set(now);
        self.asked.set(Some(now));
    }

    fn deadlines(&self, limits: &Deadlines) -> [(Option<Instant>, Ending); 3] {
        let asked = self.asked.get().filter(|_| self.answered.get().is_none());
        [
            (asked.and_then(|asked| after(asked, limits.per_try)), Ending::PerTryTimeout),
            (after(self.moved.get(), limits.idle), self.idler()),
            (limits.total, Ending::TotalTimeout),
        ]
    }

    /// Whose silence it is when nothing moves.
    const fn idler(&self) -> Ending {
        let client = self.client_takes.get() || (self.client_sends.get() && !self.origin_takes.get());
        if client { Ending::ClientTimeout } else { Ending::IdleTimeout }
    }

    fn nearest(&self, limits: &Deadlines) -> Option<Instant> {
        self.deadlines(limits).into_iter().fold(None, |nearest, (at, _)| nearer(nearest, at))
    }

    fn expired(&self, limits: &Deadlines) -> Ending {
        let nearest = self.nearest(limits);
        let expired = self.deadlines(limits).into_iter().find(|(at, _)| at.is_some() && *at == nearest);
        expired.map_or(Ending::TotalTimeout, |(_, ending)| ending)
    }
}

/// How a relayed attempt ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Relayed {
    /// The whole answer was passed on.
    Whole,
    /// The origin switched protocols; what follows is raw bytes.
    Switched,
    /// The answer is not to be passed on, and nothing of it was.
    Refused,
}

/// The four ends of an exchange.
#[derive(Debug)]
pub(crate) struct Ends<'a, S, R, A, U> {
    pub(crate) source: &'a mut S,
    pub(crate) reply: &'a mut R,
    pub(crate) answer: &'a mut A,
    pub(crate) upstream: &'a mut U,
}

/// Relays one attempt.
pub(crate) async fn relay<S: Source, R: Reply, A: Answer, U: Sink>(
    ends: &mut Ends<'_, S, R, A, U>,
    head: &mut ResponseHead,
    verdict: Option<&Verdict<'_>>,
    progress: &Progress,
    limits: &Deadlines,
    alarm: &mut Alarm,
) -> Result<Relayed, Ending> {
    let mut source = Replay { source: &mut *ends.source, kept: &progress.body };
    let mut up = pin!(send_request(&mut source, ends.upstream, progress));
    let mut down = pin!(pass_answer(ends.answer, ends.reply, head, verdict, progress));
    poll_fn(|cx| {
        let client = up.as_mut().poll(cx);
        if let Poll::Ready(relayed) = down.as_mut().poll(cx) {
            return Poll::Ready(relayed);
        }
        if let Poll::Ready(ending) = client {
            return Poll::Ready(Err(ending));
        }
        alarm.poll(cx, progress.nearest(limits)).map(|()| Err(progress.expired(limits)))
    })
    .await
}

/// Sends the request's body and then watches the client. It ends only with what the client did wrong.
async fn send_request<S: Source, U: Sink>(source: &mut S, upstream: &mut U, progress: &Progress) -> Ending {
    match send_body(source, upstream, progress).await {
        Err(ending) => ending,
        Ok(()) => source.gone().await,
    }
}

/// An origin that takes no more of the body may still answer, so that is no failure here.
async fn send_body<S: Source, U: Sink>(source: &mut S, upstream: &mut U, progress: &Progress) -> Result<(), Ending> {
    loop {
        progress.client_sends.set(true);
        let frame = next_frame(source, upstream, &progress.origin_takes).await?;
        progress.client_sends.set(false);
        let (sent, whole) = match frame {
            Frame::Data(data) => {
                progress.took(data.len());
                (upstream.data(data).await, false)
            }
            Frame::Trailers(trailers) => {
                progress.sent_all();
                (upstream.end(Some(&trailers)).await, true)
            }
            Frame::End => {
                progress.sent_all();
                (upstream.end(None).await, true)
            }
        };
        if whole || sent.is_err() {
            return Ok(());
        }
    }
}

async fn pass_answer<A: Answer, R: Reply>(
    answer: &mut A,
    reply: &mut R,
    head: &mut ResponseHead,
    verdict: Option<&Verdict<'_>>,
    progress: &Progress,
) -> Result<Relayed, Ending> {
    loop {
        while_present(reply, answer.head(head)).await?;
        filter::prepare_response(head);
        if head.status >= 200 || head.status == 101 {
            break;
        }
        progress.gave(0);
        reply.info(head).await?;
    }
    if head.status != 101 && verdict.is_some_and(|verdict| verdict.refuses(head)) {
        return Ok(Relayed::Refused);
    }
    if head.status == 101 {
        reply.head(head, false)?;
        progress.answer(head);
        reply.flush().await?;
        return Ok(Relayed::Switched);
    }
    if !progress.request_whole.get() {
        reply.last();
    }
    reply.head(head, head.framing == Framing::None)?;
    progress.answer(head);
    pass_body(answer, reply, progress).await?;
    Ok(Relayed::Whole)
}

async fn pass_body<S: Source, K: Sink>(source: &mut S, sink: &mut K, progress: &Progress) -> Result<(), Ending> {
    loop {
        let frame = next_frame(source, sink, &progress.client_takes).await?;
        progress.client_takes.set(true);
        match frame {
            Frame::Data(data) => {
                progress.gave(data.len());
                sink.data(data).await?;
            }
            Frame::Trailers(trailers) => {
                progress.call.see(&trailers);
                return sink.end(Some(&trailers)).await;
            }
            Frame::End => return sink.end(None).await,
        }
        progress.client_takes.set(false);
    }
}

/// Takes the rest of a body that nobody wants, if it is short and has come already.
pub(crate) fn is_at_hand<S: Source>(source: &mut S) -> bool {
    let mut cx = Context::from_waker(Waker::noop());
    let mut left = AT_HAND;
    loop {
        match pin!(source.frame()).poll(&mut cx) {
            Poll::Ready(Ok(Frame::Data(data))) if data.len() <= left => left -= data.len(),
            Poll::Ready(Ok(Frame::End | Frame::Trailers(_))) => return true,
            Poll::Ready(Ok(Frame::Data(_)) | Err(_)) | Poll::Pending => return false,
        }
    }
}

/// The next frame; what waits in the sink is sent only when there is nothing to add to it at once.
/// `takes` is set while whoever reads from the sink is waited for.
async fn next_frame<S: Source, K: Sink>(source: &mut S, sink: &mut K, takes: &Cell<bool>) -> Result<Frame, Ending> {
    let mut frame = pin!(source.frame());
    let ready = poll_fn(|cx| {
        Poll::Ready(match frame.as_mut().poll(cx) {
            Poll::Ready(frame) => Some(frame),
            Poll::Pending => None,
        })
    })
    .await;
    match ready {
        Some(frame) => frame,
        None => {
            // The other side may be the one that is broken; whoever reads from it says so.
            takes.set(true);
            let _ = sink.flush().await;
            takes.set(false);
            while_present(sink, frame).await
        }
    }
}

/// Waits for the other side unless whoever takes what comes leaves.
async fn while_present<K: Sink, T>(sink: &mut K, wait: impl Future<Output = Result<T, Ending>>) -> Result<T, Ending> {
    let mut wait = pin!(wait);
    poll_fn(|cx| match wait.as_mut().poll(cx) {
        Poll::Ready(done) => Poll::Ready(done),
        Poll::Pending => sink.poll_gone(cx).map(Err),
    })
    .await
}

/// Does `work` unless the client leaves first.
pub(crate) async fn while_client_stays<S: Source, R: Reply, T>(
    source: &mut S,
    reply: &mut R,
    work: impl Future<Output = Result<T, Ending>>,
) -> Result<T, Ending> {
    let mut gone = pin!(source.gone());
    let mut work = pin!(while_present(reply, work));
    poll_fn(|cx| match work.as_mut().poll(cx) {
        Poll::Ready(done) => Poll::Ready(done),
        Poll::Pending => gone.as_mut().poll(cx).map(Err),
    })
    .await
}

/// Passes raw bytes both ways after a switch of protocols, until both directions have ended or nothing moves any more.
/// An end in one direction is passed on, and the other goes on.
pub(crate) async fn tunnel<S: Source, R: Sink, A: Source, U: Sink>(
    ends: &mut Ends<'_, S, R, A, U>,
    progress: &Progress,
    idle: Option<Duration>,
    alarm: &mut Alarm,
) -> Result<(), Ending> {
    let mut up = pin!(carry(ends.source, ends.upstream, |bytes| progress.took(bytes)));
    let mut down = pin!(carry(ends.answer, ends.reply, |bytes| progress.gave(bytes)));
    let limits = Deadlines { total: None, per_try: None, idle };
    let mut open = (true, true);
    poll_fn(|cx| {
        if open.0
            && let Poll::Ready(ended) = up.as_mut().poll(cx)
        {
            ended?;
            open.0 = false;
        }
        if open.1
            && let Poll::Ready(ended) = down.as_mut().poll(cx)
        {
            ended?;
            open.1 = false;
        }
        if !open.0 && !open.1 {
            return Poll::Ready(Ok(()));
        }
        alarm.poll(cx, progress.nearest(&limits)).map(|()| Err(Ending::IdleTimeout))
    })
    .await
}

async fn carry<S: Source, K: Sink>(source: &mut S, sink: &mut K, moved: impl Fn(usize)) -> Result<(), Ending> {
    loop {
        match next_frame(source, sink, &Cell::new(false)).await? {
            Frame::Data(data) => {
                moved(data.len());
                sink.data(data).await?;
            }
            Frame::Trailers(_) | Frame::End => return sink.end(None).await,
        }
    }
}
