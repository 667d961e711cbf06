//! The body of an HTTP/1 message, taken apart byte by byte.
//!
//! Written for the suites alone and stricter than any product code needs to be: only `CRLF`, only plain hexadecimal
//! sizes. A proxy that sends anything else is found out here.

use crate::head::{Fields, Head, parse_fields};

/// What is still to come of a body.
#[derive(Debug)]
pub struct Body {
    state: State,
    /// Fields behind the last chunk.
    pub trailers: Fields,
}

#[derive(Debug)]
enum State {
    Length(usize),
    Size,
    Chunk(usize),
    ChunkEnd,
    Trailers,
    UntilClose,
    Done,
}

impl Body {
    /// A message without a body.
    #[must_use]
    pub fn empty() -> Self {
        Self::with(State::Done)
    }

    /// The body of a request with this head.
    ///
    /// # Errors
    /// Framing that a strict origin must refuse.
    pub fn of_request(head: &Head) -> Result<Self, String> {
        Self::framed(head, State::Done)
    }

    /// The body of a final response to a request with this method.
    ///
    /// # Errors
    /// Framing that a strict client must refuse.
    pub fn of_response(head: &Head, method: &str) -> Result<Self, String> {
        if method == "HEAD" || matches!(head.status, 204 | 304) || head.status < 200 {
            return Ok(Self::empty());
        }
        Self::framed(head, State::UntilClose)
    }

    fn framed(head: &Head, otherwise: State) -> Result<Self, String> {
        let chunked = head.all("transfer-encoding");
        let lengths = head.all("content-length");
        match (chunked.as_slice(), lengths.as_slice()) {
            ([], []) => Ok(Self::with(otherwise)),
            ([one], []) if one.eq_ignore_ascii_case("chunked") => Ok(Self::with(State::Size)),
            ([], [length]) if !length.is_empty() && length.bytes().all(|b| b.is_ascii_digit()) => {
                length.parse().map(|n| Self::with(State::Length(n))).map_err(|e| e.to_string())
            }
            _ => Err(format!("framing: transfer-encoding {chunked:?}, content-length {lengths:?}")),
        }
    }

    fn with(state: State) -> Self {
        Self { state, trailers: Fields::default() }
    }

    /// Whether nothing more belongs to it.
    #[must_use]
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done | State::Length(0))
    }

    /// Whether the end of the connection is its proper end.
    #[must_use]
    pub fn ends_with_connection(&self) -> bool {
        matches!(self.state, State::UntilClose)
    }

    /// Moves what `input` holds of the body to `out`. True when the body is complete; what follows stays in `input`.
    ///
    /// # Errors
    /// Bytes that are not a body in this framing.
    pub fn take(&mut self, input: &mut Vec<u8>, out: &mut Vec<u8>) -> Result<bool, String> {
        let mut at = 0;
        while !self.is_done() {
            let before = at;
            let more = self.step(&input[at..], out)?;
            at += more.used;
            if more.starved || (at == before && at == input.len()) {
                break;
            }
        }
        input.drain(..at);
        Ok(self.is_done())
    }

    fn step(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<Step, String> {
        match self.state {
            State::Done => Ok(Step::starved()),
            State::UntilClose => Ok(copy(input, input.len(), out)),
            State::Length(left) => {
                let step = copy(input, left, out);
                self.state = State::Length(left - step.used);
                Ok(step)
            }
            State::Chunk(left) => {
                let step = copy(input, left, out);
                self.state = if step.used == left { State::ChunkEnd } else { State::Chunk(left - step.used) };
                Ok(step)
            }
            State::Size => self.size(input),
            State::ChunkEnd => self.chunk_end(input),
            State::Trailers => self.trailer(input),
        }
    }

    fn size(&mut self, input: &[u8]) -> Result<Step, String> {
        let Some(line) = line(input)? else { return Ok(Step::starved()) };
        if line.is_empty() || line.len() > 8 || !line.iter().all(u8::is_ascii_hexdigit) {
            return Err(format!("chunk size {:?}", String::from_utf8_lossy(line)));
        }
        let text = std::str::from_utf8(line).map_err(|e| e.to_string())?;
        let size = usize::from_str_radix(text, 16).map_err(|e| e.to_string())?;
        self.state = if size == 0 { State::Trailers } else { State::Chunk(size) };
        Ok(Step::used(line.len() + 2))
    }

    fn chunk_end(&mut self, input: &[u8]) -> Result<Step, String> {
        match input {
            [b'\r', b'\n', ..] => {
                self.state = State::Size;
                Ok(Step::used(2))
            }
            [] | [b'\r'] => Ok(Step::starved()),
            _ => Err(format!("no CRLF behind a chunk but {:?}", &input[..2.min(input.len())])),
        }
    }

    fn trailer(&mut self, input: &[u8]) -> Result<Step, String> {
        let Some(text) = line(input)? else { return Ok(Step::starved()) };
        if text.is_empty() {
            self.state = State::Done;
        } else {
            self.trailers.append(&mut parse_fields(text)?);
        }
        Ok(Step::used(text.len() + 2))
    }
}

struct Step {
    used: usize,
    starved: bool,
}

impl Step {
    const fn used(used: usize) -> Self {
        Self { used, starved: false }
    }

    const fn starved() -> Self {
        Self { used: 0, starved: true }
    }
}

fn copy(input: &[u8], at_most: usize, out: &mut Vec<u8>) -> Step {
    let used = input.len().min(at_most);
    out.extend_from_slice(&input[..used]);
    Step { used, starved: used == 0 }
}

/// The first line without its `CRLF`; nothing when it is not complete.
fn line(input: &[u8]) -> Result<Option<&[u8]>, String> {
    let Some(end) = input.iter().position(|b| *b == b'\n') else { return Ok(None) };
    match end.checked_sub(1) {
        Some(before) if input[before] == b'\r' => Ok(Some(&input[..before])),
        _ => Err("a line ends with a bare LF".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunked_body_is_read_in_any_pieces() {
        let wire = b"3\r\nabc\r\nA\r\n0123456789\r\n0\r\nx-sum: 13\r\n\r\nNEXT";
        for size in 1..wire.len() {
            let (mut body, mut input, mut out) = (Body::with(State::Size), Vec::new(), Vec::new());
            for piece in wire.chunks(size) {
                input.extend_from_slice(piece);
                body.take(&mut input, &mut out).unwrap();
            }
            assert!(body.is_done(), "pieces of {size}");
            assert_eq!((out.as_slice(), input.as_slice()), (&b"abc0123456789"[..], &b"NEXT"[..]));
            assert_eq!(body.trailers, vec![("x-sum".to_owned(), "13".to_owned())]);
        }
    }

    #[test]
    fn a_bare_line_feed_is_refused() {
        let (mut input, mut out) = (b"3\nabc".to_vec(), Vec::new());
        assert!(Body::with(State::Size).take(&mut input, &mut out).is_err());
    }
}
