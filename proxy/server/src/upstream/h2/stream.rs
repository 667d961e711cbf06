//! The two halves of one exchange with an origin over HTTP/2. Both dropped before the answer is whole, the stream is cancelled
//! at once.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{Reason, RecvStream, SendStream};
use sluice_proxy_core::outcome::Ending;

use super::Slot;
use super::head::{self, Asked};
use crate::message::{Fields, Frame, RequestHead, ResponseHead};
use crate::side::{Answer, Sink, Source};
use crate::upstream::Peer;

/// Begins a request on a stream of its own.
pub(crate) fn begin(slot: Slot, peer: &Peer, head: &RequestHead) -> Result<(StreamAnswer, StreamRequest), Ending> {
    let asked = Asked::of(head);
    let tunnel = asked.tunnel.is_some();
    let whole = head.framing.is_empty() && !tunnel;
    let request = if !tunnel {
        head::request(head, peer)?
    } else if slot.tunnels() {
        head::tunnel(head, peer)?
    } else {
        return Err(Ending::NoTunnel);
    };
    let (response, stream) = slot.send(request, whole)?;
    let sending = match (whole, tunnel) {
        (true, _) => Sending::Ended,
        (false, true) => Sending::Held,
        (false, false) => Sending::Open,
    };
    let answer = StreamAnswer { response, body: None, held: 0, asked, untouched: false, slot };
    Ok((answer, StreamRequest { stream, sending }))
}

/// The origin's answer.
pub(crate) struct StreamAnswer {
    response: ResponseFuture,
    /// Once the final head is here.
    body: Option<RecvStream>,
    /// Bytes of the last frame, which the origin may send again once the client has taken them.
    held: usize,
    asked: Asked,
    untouched: bool,
    /// Last, so that it is given back after the stream has ended.
    slot: Slot,
}

impl StreamAnswer {
    /// The origin has said that it did not look at the request: it was as good as not sent.
    pub(crate) const fn untouched(&self) -> bool {
        self.untouched
    }

    fn poll_head(&mut self, cx: &mut Context<'_>, head: &mut ResponseHead) -> Poll<Result<(), Ending>> {
        if let Poll::Ready(Some(interim)) = self.response.poll_informational(cx) {
            let interim = interim.map_err(|error| self.before_head(&error))?;
            self.slot.heard();
            return Poll::Ready(head::interim(interim.status().as_u16(), interim.headers(), head));
        }
        let answer = ready!(Pin::new(&mut self.response).poll(cx)).map_err(|error| self.before_head(&error))?;
        self.slot.heard();
        let (parts, body) = answer.into_parts();
        let ended = body.is_end_stream();
        self.body = Some(body);
        Poll::Ready(head::last((parts.status.as_u16(), &parts.headers), ended, &self.asked, head))
    }

    fn before_head(&mut self, error: &h2::Error) -> Ending {
        // Of all streams that a GOAWAY names no longer, none was looked at.
        let gone_away = error.is_go_away() && error.is_remote();
        let refused = error.is_remote() && error.reason() == Some(Reason::REFUSED_STREAM);
        self.untouched = gone_away || refused;
        match (gone_away, refused) {
            (true, _) => Ending::StalePooled,
            (false, true) => Ending::StreamRefused,
            (false, false) if error.is_library() => Ending::BadHead,
            (false, false) if self.slot.kept && error.is_io() => Ending::StalePooled,
            (false, false) => Ending::ResetBeforeHead,
        }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame, Ending>> {
        let Some(body) = &mut self.body else { return Poll::Ready(Err(Ending::Internal)) };
        let held = std::mem::take(&mut self.held);
        // It fails only for a stream that is over, and then the window is of no use to anybody.
        let _ = body.flow_control().release_capacity(held);
        while let Some(data) = ready!(body.poll_data(cx)) {
            let data = data.map_err(|error| in_body(&error))?;
            self.slot.heard();
            if !data.is_empty() {
                self.held = data.len();
                return Poll::Ready(Ok(Frame::Data(data)));
            }
        }
        let Some(map) = ready!(body.poll_trailers(cx)).map_err(|error| in_body(&error))? else {
            return Poll::Ready(Ok(Frame::End));
        };
        let mut trailers = Fields::new();
        Poll::Ready(match head::copy(&map, &mut trailers) {
            Some(()) if trailers.is_empty() => Ok(Frame::End),
            Some(()) => Ok(Frame::Trailers(trailers)),
            None => Err(Ending::BadBody),
        })
    }
}

fn in_body(error: &h2::Error) -> Ending {
    if error.is_library() { Ending::BadBody } else { Ending::ResetInBody }
}

impl Source for StreamAnswer {
    async fn frame(&mut self) -> Result<Frame, Ending> {
        poll_fn(|cx| self.poll_frame(cx)).await
    }

    /// An origin that leaves is found out by reading.
    async fn gone(&mut self) -> Ending {
        std::future::pending().await
    }

    /// The frames of a tunnel are those of a body.
    fn switch_to_raw(&mut self) {}
}

impl Answer for StreamAnswer {
    async fn head(&mut self, head: &mut ResponseHead) -> Result<(), Ending> {
        poll_fn(|cx| self.poll_head(cx, head)).await
    }
}

/// How far the request's stream has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sending {
    Open,
    /// A tunnel is asked for: what its client sends next belongs into it, so the end of the request is not sent.
    Held,
    Ended,
}

/// The request on its way to the origin.
pub(crate) struct StreamRequest {
    stream: SendStream<Bytes>,
    sending: Sending,
}

impl StreamRequest {
    async fn capacity(&mut self, want: usize) -> Result<usize, Ending> {
        self.stream.reserve_capacity(want);
        poll_fn(|cx| {
            if self.stream.capacity() > 0 {
                return Poll::Ready(Ok(self.stream.capacity()));
            }
            match ready!(self.stream.poll_capacity(cx)) {
                Some(Ok(capacity)) if capacity > 0 => Poll::Ready(Ok(capacity)),
                Some(Ok(_)) => Poll::Pending,
                Some(Err(_)) | None => Poll::Ready(Err(Ending::ResetBeforeHead)),
            }
        })
        .await
    }
}

impl Sink for StreamRequest {
    /// The tunnel is open.
    fn switch_to_raw(&mut self) {
        self.sending = Sending::Open;
    }

    async fn data(&mut self, mut data: Bytes) -> Result<(), Ending> {
        while !data.is_empty() {
            let capacity = self.capacity(data.len()).await?;
            let piece = data.split_to(capacity.min(data.len()));
            self.stream.send_data(piece, false).map_err(|_| Ending::ResetBeforeHead)?;
        }
        Ok(())
    }

    async fn end(&mut self, trailers: Option<&Fields>) -> Result<(), Ending> {
        if self.sending != Sending::Open {
            return Ok(());
        }
        self.sending = Sending::Ended;
        let map = trailers.map(head::trailers).filter(|map| !map.is_empty());
        let sent = match map {
            Some(map) => self.stream.send_trailers(map),
            None => self.stream.send_data(Bytes::new(), true),
        };
        sent.map_err(|_| Ending::ResetBeforeHead)
    }

    /// The connection's own task sends.
    async fn flush(&mut self) -> Result<(), Ending> {
        Ok(())
    }
}
