//! Bodies.

use bytes::{Buf, BytesMut};

use super::chunk::{self, Size};
use super::lines::{self, Fault, Rules};
use crate::message::{Fields, Frame, Framing};

/// Trailers in bytes, and how many fields.
const MAX_TRAILERS: usize = 8 * 1024;
const MAX_TRAILER_COUNT: usize = 64;

/// How many bytes the lines in front of chunks may have beyond what is free, in a whole body: extensions without end
/// make us work for nothing.
const MAX_OVERHEAD: u64 = 64 * 1024;
/// What a line may have for free, and one byte more for each byte of data.
const FREE_OVERHEAD: u64 = 12;

/// Why a body is broken off: the rule it broke, in `snake_case`. The connection must be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadBody(pub &'static str);

impl std::fmt::Display for BadBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for BadBody {}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Length(u64),
    UntilClose,
    ChunkSize,
    ChunkData(u64),
    ChunkEnd,
    Trailers,
    /// Nothing more is read; `End` was not handed out yet.
    Over,
    /// As `Over`, and `End` or `Trailers` was handed out.
    Ended,
}

/// Reads one body from the bytes behind its head, and not one byte more.
#[derive(Debug)]
pub struct BodyReader {
    state: State,
    overhead: u64,
    drop_forbidden: bool,
}

impl BodyReader {
    /// Of a request. A trailer that frames, routes, authenticates or describes the content is refused.
    #[must_use]
    pub const fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::None | Framing::Length(0) => State::Over,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::ChunkSize,
            Framing::UntilClose => State::UntilClose,
        };
        Self { state, overhead: 0, drop_forbidden: false }
    }

    /// Of an answer. Such a trailer is left out: the head has long been sent, and a cut would help nobody.
    #[must_use]
    pub const fn of_answer(framing: Framing) -> Self {
        let mut reader = Self::new(framing);
        reader.drop_forbidden = true;
        reader
    }

    /// Takes the next frame from the front of `buf`; `None` if more bytes are needed. Data is split off, not copied.
    /// Behind the end it always answers [`Frame::End`] and leaves `buf` alone.
    ///
    /// # Errors
    /// A chunked coding that is not one. The body must be broken off, never ended.
    pub fn decode(&mut self, buf: &mut BytesMut) -> Result<Option<Frame>, BadBody> {
        loop {
            match self.state {
                State::Over | State::Ended => {
                    self.state = State::Ended;
                    return Ok(Some(Frame::End));
                }
                State::UntilClose => return Ok(take(buf, u64::MAX).0),
                State::Length(left) => {
                    let (frame, left) = take(buf, left);
                    self.state = if left == 0 { State::Over } else { State::Length(left) };
                    return Ok(frame);
                }
                State::ChunkData(left) => {
                    let (frame, left) = take(buf, left);
                    self.state = if left == 0 { State::ChunkEnd } else { State::ChunkData(left) };
                    return Ok(frame);
                }
                State::ChunkEnd => {
                    if !eat_line_end(buf)? {
                        return Ok(None);
                    }
                    self.state = State::ChunkSize;
                }
                State::ChunkSize => {
                    let Some(size) = chunk::read(buf).map_err(BadBody)? else { return Ok(None) };
                    self.begin_chunk(size, buf)?;
                }
                State::Trailers => return self.decode_trailers(buf),
            }
        }
    }

    fn begin_chunk(&mut self, size: Size, buf: &mut BytesMut) -> Result<(), BadBody> {
        buf.advance(size.line);
        self.overhead = (self.overhead + size.line as u64).saturating_sub(FREE_OVERHEAD.saturating_add(size.data));
        if self.overhead > MAX_OVERHEAD {
            return Err(BadBody("chunk_overhead"));
        }
        self.state = if size.data == 0 { State::Trailers } else { State::ChunkData(size.data) };
        Ok(())
    }

    fn decode_trailers(&mut self, buf: &mut BytesMut) -> Result<Option<Frame>, BadBody> {
        let mut fields = Fields::new();
        let rules = Rules { count: MAX_TRAILER_COUNT, trim_names: false };
        let end = lines::read(buf, 0, rules, &mut fields).map_err(|fault| match fault {
            Fault::TooMany => BadBody("trailers_too_many"),
            Fault::Bad(reason) => BadBody(reason),
        })?;
        if end.unwrap_or(buf.len()) > MAX_TRAILERS {
            return Err(BadBody("trailers_too_large"));
        }
        let Some(end) = end else { return Ok(None) };
        buf.advance(end);
        self.state = State::Ended;
        let forbidden = fields.retain(|_, _, known| !known.is_forbidden_in_trailers());
        if forbidden > 0 && !self.drop_forbidden {
            return Err(BadBody("trailer_forbidden"));
        }
        Ok(Some(if fields.is_empty() { Frame::End } else { Frame::Trailers(fields) }))
    }

    /// Tells that the sender has closed, after `decode` has taken all that it could.
    ///
    /// # Errors
    /// The body was cut: it must be broken off, never ended.
    pub fn eof(&mut self) -> Result<Frame, BadBody> {
        match self.state {
            State::UntilClose | State::Over | State::Ended => {
                self.state = State::Ended;
                Ok(Frame::End)
            }
            State::Length(_) | State::ChunkSize | State::ChunkData(_) | State::ChunkEnd | State::Trailers => {
                Err(BadBody("body_cut"))
            }
        }
    }

    /// Whether not one more byte of the connection belongs to this body.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        matches!(self.state, State::Over | State::Ended)
    }

    /// How many bytes are known to come, as a hint for the next read; `None` if that is not known.
    #[must_use]
    pub const fn wants(&self) -> Option<u64> {
        match self.state {
            State::Length(left) => Some(left),
            State::ChunkData(left) => Some(left.saturating_add(2)),
            State::Over | State::Ended => Some(0),
            State::ChunkEnd => Some(2),
            State::ChunkSize | State::Trailers | State::UntilClose => None,
        }
    }
}

/// Splits off at most `left` bytes; says how many are left then.
fn take(buf: &mut BytesMut, left: u64) -> (Option<Frame>, u64) {
    let length = usize::try_from(left).map_or(buf.len(), |left| left.min(buf.len()));
    if length == 0 {
        return (None, left);
    }
    (Some(Frame::Data(buf.split_to(length).freeze())), left - length as u64)
}

/// Takes CR LF; says whether it was there. A wrong byte is refused as soon as it shows.
fn eat_line_end(buf: &mut BytesMut) -> Result<bool, BadBody> {
    match **buf {
        [b'\r', b'\n', ..] => {
            buf.advance(2);
            Ok(true)
        }
        [] | [b'\r'] => Ok(false),
        _ => Err(BadBody("chunk_end")),
    }
}
