//! HTTP/1.1 as a client: the two halves of one exchange with an origin.

use bytes::Bytes;
use sluice_proxy_core::outcome::Ending;

use super::Wire;
use crate::framed;
use crate::h1::{self, Asked, BodyReader, HeadLimits, Persistence};
use crate::message::{Fields, Frame, Framing, RequestHead, ResponseHead};
use crate::side::{Answer, Sink, Source};
use crate::socket::{Reader, Writer};

/// What an origin's head may be. Larger than what clients may send: origins are ours.
const LIMITS: HeadLimits = HeadLimits { bytes: 64 * 1024, count: 256 };
/// How much of an answer is read ahead while its end is watched for.
const READ_AHEAD: usize = 64 * 1024;

/// The origin's answer.
#[derive(Debug)]
pub(crate) struct OriginReader {
    pub(crate) reader: Reader<Wire>,
    body: BodyReader,
    asked: Asked,
    reused: bool,
    /// A byte of the answer has arrived.
    touched: bool,
    /// The connection may carry another exchange once this body has ended.
    keep: bool,
    whole: bool,
}

impl OriginReader {
    pub(crate) fn new(reader: Reader<Wire>, request: &RequestHead, reused: bool) -> Self {
        Self {
            reader,
            body: BodyReader::new(Framing::None),
            asked: Asked::new(&request.method, request.upgrade),
            reused,
            touched: false,
            keep: false,
            whole: false,
        }
    }

    /// The connection, if it may carry another exchange.
    pub(crate) fn reclaim(self) -> Option<Reader<Wire>> {
        (self.keep && self.whole && !self.reader.ended()).then_some(self.reader)
    }

    /// How a connection that ended before a whole head is to be judged.
    fn cut(&self) -> Ending {
        if self.reused && !self.touched { Ending::StalePooled } else { Ending::ResetBeforeHead }
    }

    fn take_head(&mut self, head: &mut ResponseHead) -> Result<bool, Ending> {
        let parsed = h1::parse_response(&self.reader.buffer, &LIMITS, self.asked, head);
        let Some(length) = parsed.map_err(|_| Ending::BadHead)? else { return Ok(false) };
        bytes::Buf::advance(&mut self.reader.buffer, length);
        self.body = BodyReader::of_answer(head.framing);
        self.keep = head.keep_alive;
        Ok(true)
    }
}

impl Answer for OriginReader {
    async fn head(&mut self, head: &mut ResponseHead) -> Result<(), Ending> {
        loop {
            if !self.reader.buffer.is_empty() {
                self.touched = true;
                if self.take_head(head)? {
                    return Ok(());
                }
            }
            if self.reader.fill(0).await.map_err(|_| self.cut())? == 0 {
                return Err(self.cut());
            }
        }
    }
}

impl Source for OriginReader {
    async fn frame(&mut self) -> Result<Frame, Ending> {
        loop {
            if let Some(frame) = self.body.decode(&mut self.reader.buffer).map_err(|_| Ending::BadBody)? {
                self.whole = matches!(frame, Frame::End | Frame::Trailers(_));
                return Ok(frame);
            }
            if self.reader.fill(framed::expected(&self.body)).await.map_err(|_| Ending::ResetInBody)? == 0 {
                return self.body.eof().map_err(|_| Ending::ResetInBody);
            }
        }
    }

    async fn gone(&mut self) -> Ending {
        std::future::poll_fn(|cx| self.reader.poll_gone(cx, READ_AHEAD)).await;
        Ending::ResetInBody
    }

    fn switch_to_raw(&mut self) {
        self.body = BodyReader::new(Framing::UntilClose);
        self.keep = false;
    }
}

/// The request on its way to the origin.
#[derive(Debug)]
pub(crate) struct OriginWriter {
    pub(crate) writer: Writer<Wire>,
    framing: Framing,
}

impl OriginWriter {
    /// Begins the request; nothing is sent before `flush` or `end`.
    pub(crate) fn new(mut writer: Writer<Wire>, request: &RequestHead) -> Self {
        writer.begin();
        let persistence = if request.upgrade { Persistence::Upgrade } else { Persistence::Implied };
        let line = (&request.method, request.target(), request.authority());
        h1::write_request(&mut writer.waiting, line, &request.fields, request.framing, persistence);
        Self { writer, framing: request.framing }
    }

    /// Whether a byte of the request has left.
    pub(crate) const fn sent(&self) -> bool {
        self.writer.sent()
    }
}

impl Sink for OriginWriter {
    fn switch_to_raw(&mut self) {
        self.framing = Framing::UntilClose;
    }

    async fn data(&mut self, data: Bytes) -> Result<(), Ending> {
        framed::send(&mut self.writer, self.framing, data).await.map_err(|_| Ending::ResetBeforeHead)
    }

    async fn end(&mut self, trailers: Option<&Fields>) -> Result<(), Ending> {
        framed::finish(&mut self.writer, self.framing, trailers).await.map_err(|_| Ending::ResetBeforeHead)
    }

    async fn flush(&mut self) -> Result<(), Ending> {
        self.writer.flush().await.map_err(|_| Ending::ResetBeforeHead)
    }
}
