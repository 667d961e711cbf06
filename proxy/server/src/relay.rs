//! Both directions of one attempt at once: the request's body to the origin while the answer comes back.
//!
//! Rules: an origin that no longer takes the body may still answer, so a failed write to it ends nothing by itself; a
//! client that leaves or sends a broken body ends everything; every wait is bounded by the nearest of the deadlines.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use sluice_proxy_core::outcome::Ending;

use crate::alarm::Alarm;
use crate::filter;
use crate::message::{Frame, Framing, ResponseHead};
use crate::patience::{Deadlines, Patience, Progress};
use crate::replay::Replay;
use crate::retry::Verdict;
use crate::side::{Answer, Reply, Sink, Source};

/// How much of an answer that nobody wants is read, so that its connection can be kept.
const AT_HAND: usize = 16 * 1024;

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
    verdict: &Verdict<'_>,
    progress: &Progress,
    limits: &Deadlines<'_>,
    alarm: &mut Alarm,
) -> Result<Relayed, Ending> {
    let mut source = Replay { source: &mut *ends.source, kept: &progress.body };
    let mut patience = Patience::new(progress, limits, ends.reply.gauge());
    let mut up = pin!(send_request(&mut source, ends.upstream, progress, limits.body()));
    let mut down = pin!(pass_answer(ends.answer, ends.reply, head, verdict, progress));
    poll_fn(|cx| {
        let client = up.as_mut().poll(cx);
        if let Poll::Ready(relayed) = down.as_mut().poll(cx) {
            return Poll::Ready(relayed);
        }
        if let Poll::Ready(ending) = client {
            return Poll::Ready(Err(ending));
        }
        loop {
            ready!(alarm.poll(cx, patience.ends()));
            if let Some(ending) = patience.over() {
                return Poll::Ready(Err(ending));
            }
        }
    })
    .await
}

/// Sends the request's body, of at most `most` bytes, and then watches the client. It ends only with what the client did
/// wrong.
async fn send_request<S: Source, U: Sink>(
    source: &mut S,
    upstream: &mut U,
    progress: &Progress,
    most: Option<u64>,
) -> Ending {
    match send_body(source, upstream, progress, most).await {
        Err(ending) => ending,
        Ok(()) => source.gone().await,
    }
}

/// An origin that takes no more of the body may still answer, so that is no failure here.
async fn send_body<S: Source, U: Sink>(
    source: &mut S,
    upstream: &mut U,
    progress: &Progress,
    most: Option<u64>,
) -> Result<(), Ending> {
    loop {
        progress.client_sends.set(true);
        let frame = next_frame(source, upstream, &progress.origin_takes).await?;
        progress.client_sends.set(false);
        let (sent, whole) = match frame {
            Frame::Data(data) => {
                progress.took(data.len());
                if most.is_some_and(|most| progress.bytes_in.get() > most) {
                    return Err(Ending::BodyTooLarge);
                }
                (upstream.data(data).await, false)
            }
            Frame::Trailers(mut trailers) => {
                filter::prepare_request_trailers(&mut trailers);
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

/// Interim answers (1xx) to one attempt. Over HTTP/2 no window bounds heads: what an origin sends without end would wait in
/// memory for a client that reads nothing.
const MOST_INTERIM: u32 = 32;

async fn pass_answer<A: Answer, R: Reply>(
    answer: &mut A,
    reply: &mut R,
    head: &mut ResponseHead,
    verdict: &Verdict<'_>,
    progress: &Progress,
) -> Result<Relayed, Ending> {
    let mut interim = 0;
    loop {
        while_present(reply, answer.head(head)).await?;
        filter::prepare_response(head);
        if head.status >= 200 || head.status == 101 {
            break;
        }
        interim += 1;
        if interim > MOST_INTERIM {
            return Err(Ending::BadHead);
        }
        progress.gave(0);
        reply.info(head).await?;
    }
    if head.status != 101 && verdict.refuses(head) {
        return Ok(Relayed::Refused);
    }
    verdict.mark(head);
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
    let limits = Deadlines::idle(idle);
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
