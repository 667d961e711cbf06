//! The two halves of one HTTP/2 stream.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use sluice_proxy_core::outcome::Ending;

use super::head;
use super::watch::Watch;
use super::websocket::Handshake;
use crate::message::{Fields, Frame, ResponseHead};
use crate::side::{Gauge, Reply, Sink, Source};

/// A piece of an answer below this size, cut because the client's window allows no more, is counted.
const CRUMB: usize = 256;

/// The client's body.
pub(super) struct StreamSource {
    body: RecvStream,
    /// Bytes of the last frame, which the client may send again once the origin has taken them.
    held: usize,
    /// What comes is of a tunnel that is not open yet: the request itself has no body.
    waits: bool,
}

impl StreamSource {
    /// `tunnel`: the request asks for one.
    pub(super) const fn new(body: RecvStream, tunnel: bool) -> Self {
        Self { body, held: 0, waits: tunnel }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame, Ending>> {
        let held = std::mem::take(&mut self.held);
        // It fails only for a stream that is over, and then the window is of no use to anybody.
        let _ = self.body.flow_control().release_capacity(held);
        while let Some(data) = ready!(self.body.poll_data(cx)) {
            let data = data.map_err(|error| fault(&error))?;
            if !data.is_empty() {
                self.held = data.len();
                return Poll::Ready(Ok(Frame::Data(data)));
            }
        }
        let Some(map) = ready!(self.body.poll_trailers(cx)).map_err(|error| fault(&error))? else {
            return Poll::Ready(Ok(Frame::End));
        };
        Poll::Ready(head::trailers(&map).map(Frame::Trailers).map_err(|_| Ending::ClientFault))
    }
}

impl Source for StreamSource {
    async fn frame(&mut self) -> Result<Frame, Ending> {
        if self.waits {
            return Ok(Frame::End);
        }
        poll_fn(|cx| self.poll_frame(cx)).await
    }

    /// After a whole body only the sending half sees a reset.
    async fn gone(&mut self) -> Ending {
        std::future::pending().await
    }

    /// DATA frames are the tunnel's bytes, and the end of the stream is its end.
    fn switch_to_raw(&mut self) {
        self.waits = false;
    }
}

/// The way back to the client.
pub(super) struct StreamReply {
    respond: SendResponse<Bytes>,
    stream: Option<SendStream<Bytes>>,
    watch: Rc<Watch>,
    /// The request's method was HEAD: no answer has a body.
    head_only: bool,
    /// The request asks for a tunnel.
    pub(super) handshake: Option<Handshake>,
    ended: bool,
    granted: Granted,
}

/// Bytes for which the client has opened its window.
#[derive(Debug, Clone, Default)]
pub(super) struct Granted(Rc<Cell<u64>>);

impl Gauge for Granted {
    fn taken(&self) -> u64 {
        self.0.get()
    }
}

impl StreamReply {
    pub(super) fn new(respond: SendResponse<Bytes>, watch: Rc<Watch>, head_only: bool) -> Self {
        Self { respond, stream: None, watch, head_only, handshake: None, ended: false, granted: Granted::default() }
    }

    /// Cuts the stream, so that the client cannot take half an answer for a whole one. A tunnel that broke is cancelled,
    /// which is what the reset of a connection is in HTTP/2 (RFC 8441, section 5).
    pub(super) fn reset(&mut self) {
        let reason = if self.handshake.is_some() { Reason::CANCEL } else { Reason::INTERNAL_ERROR };
        match &mut self.stream {
            Some(stream) => stream.send_reset(reason),
            None => self.respond.send_reset(reason),
        }
    }

    async fn capacity(&mut self, want: usize) -> Result<usize, Ending> {
        let stream = self.stream.as_mut().ok_or(Ending::Internal)?;
        stream.reserve_capacity(want);
        poll_fn(|cx| {
            if stream.capacity() > 0 {
                return Poll::Ready(Ok(stream.capacity()));
            }
            match ready!(stream.poll_capacity(cx)) {
                Some(Ok(capacity)) if capacity > 0 => Poll::Ready(Ok(capacity)),
                Some(Ok(_)) => Poll::Pending,
                Some(Err(_)) | None => Poll::Ready(Err(Ending::ClientGone)),
            }
        })
        .await
    }
}

impl Sink for StreamReply {
    async fn data(&mut self, mut data: Bytes) -> Result<(), Ending> {
        while !data.is_empty() && !self.ended {
            let capacity = self.capacity(data.len()).await?;
            if capacity < data.len() && capacity < CRUMB {
                self.watch.crumb();
            }
            let piece = data.split_to(capacity.min(data.len()));
            self.granted.0.set(self.granted.0.get() + piece.len() as u64);
            let stream = self.stream.as_mut().ok_or(Ending::Internal)?;
            stream.send_data(piece, false).map_err(|_| Ending::ClientGone)?;
        }
        Ok(())
    }

    async fn end(&mut self, trailers: Option<&Fields>) -> Result<(), Ending> {
        if self.ended {
            return Ok(());
        }
        self.ended = true;
        let stream = self.stream.as_mut().ok_or(Ending::Internal)?;
        let sent = match trailers.filter(|trailers| !trailers.is_empty()) {
            Some(trailers) => stream.send_trailers(head::map(trailers)),
            None => stream.send_data(Bytes::new(), true),
        };
        sent.map_err(|_| Ending::ClientGone)
    }

    /// The connection's own task sends.
    async fn flush(&mut self) -> Result<(), Ending> {
        Ok(())
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<Ending> {
        let reset = match &mut self.stream {
            Some(stream) => stream.poll_reset(cx),
            None => self.respond.poll_reset(cx),
        };
        reset.map(|_| Ending::ClientGone)
    }
}

impl Reply for StreamReply {
    type Gauge = Granted;

    fn gauge(&self) -> Granted {
        self.granted.clone()
    }

    async fn info(&mut self, head: &ResponseHead) -> Result<(), Ending> {
        let mut response = http::Response::new(());
        *response.status_mut() = head::status(head.status)?;
        *response.headers_mut() = head::map(&head.fields);
        self.respond.send_informational(response).map_err(|_| Ending::ClientGone)
    }

    fn head(&mut self, head: &ResponseHead, bodyless: bool) -> Result<(), Ending> {
        let mut response = http::Response::new(());
        let status = self.handshake.as_ref().map_or(Ok(head.status), |handshake| handshake.status(head))?;
        let opens = head.status == 101;
        *response.status_mut() = head::status(status)?;
        *response.headers_mut() = if opens { head::map_of_tunnel(&head.fields) } else { head::map(&head.fields) };
        // gRPC knows an answer without messages by a head that ends its stream.
        self.ended = !opens && (bodyless || self.head_only || head.framing.is_empty());
        self.stream = Some(self.respond.send_response(response, self.ended).map_err(|_| Ending::ClientGone)?);
        Ok(())
    }
}

fn fault(error: &h2::Error) -> Ending {
    if error.is_reset() || error.is_io() || error.is_go_away() { Ending::ClientGone } else { Ending::ClientFault }
}
