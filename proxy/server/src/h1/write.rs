//! Heads, chunks and trailers, written in canonical form.

use bytes::BufMut;

use crate::message::{Fields, Framing, Known, Method, reason};

/// What is said of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Persistence {
    /// Nothing: it stays open between two ends of HTTP/1.1.
    #[default]
    Implied,
    /// It stays open, said aloud for HTTP/1.0 clients.
    KeepAlive,
    /// It closes behind this message.
    Close,
    /// It becomes a tunnel; the Upgrade field is among the fields.
    Upgrade,
}

/// What stands behind the data of each chunk.
pub const CHUNK_END: &[u8] = b"\r\n";

/// Writes the head of a request in HTTP/1.1.
///
/// The Host field comes first and from `host`; framing and Connection come from `framing` and `persistence`; what
/// `fields` hold of these is passed over. `target` must be origin-form or `*`, as [`crate::message::RequestHead`] has it.
/// A request without a body gets no framing field, one of length 0 keeps its `content-length: 0`.
pub fn write_request(
    out: &mut impl BufMut,
    (method, target, host): (&Method, &str, &str),
    fields: &Fields,
    framing: Framing,
    persistence: Persistence,
) {
    out.put_slice(method.as_str().as_bytes());
    out.put_slice(b" ");
    out.put_slice(target.as_bytes());
    out.put_slice(b" HTTP/1.1\r\nhost: ");
    out.put_slice(host.as_bytes());
    out.put_slice(b"\r\n");
    fields.write(out, |known| known != Known::Host && !is_ours(known));
    write_end(out, fields, framing, persistence);
}

/// Writes the head of an answer in HTTP/1.1, interim ones too.
///
/// Framing and Connection come from `framing` and `persistence`; what `fields` hold of these is passed over, but for
/// `Framing::None` a Content-Length among the fields stays: answers to HEAD and 304 tell what the length would be.
/// `UntilClose` must go with [`Persistence::Close`], and 1xx and 204 must not hold a Content-Length.
pub fn write_response(out: &mut impl BufMut, status: u16, fields: &Fields, framing: Framing, persistence: Persistence) {
    write_status(out, status);
    let tells_length = framing == Framing::None;
    fields.write(out, |known| !is_ours(known) || (tells_length && known == Known::ContentLength));
    write_end(out, fields, framing, persistence);
}

fn write_status(out: &mut impl BufMut, status: u16) {
    if status == 200 {
        out.put_slice(b"HTTP/1.1 200 OK\r\n");
        return;
    }
    out.put_slice(b"HTTP/1.1 ");
    out.put_slice(itoa::Buffer::new().format(status).as_bytes());
    out.put_slice(b" ");
    out.put_slice(reason(status).as_bytes());
    out.put_slice(b"\r\n");
}

/// The fields that the writers write themselves.
const fn is_ours(known: Known) -> bool {
    matches!(known, Known::ContentLength | Known::TransferEncoding | Known::Connection)
}

fn write_end(out: &mut impl BufMut, fields: &Fields, framing: Framing, persistence: Persistence) {
    match framing {
        Framing::None | Framing::UntilClose => {}
        Framing::Chunked => out.put_slice(b"transfer-encoding: chunked\r\n"),
        Framing::Length(length) => {
            out.put_slice(b"content-length: ");
            out.put_slice(itoa::Buffer::new().format(length).as_bytes());
            out.put_slice(b"\r\n");
        }
    }
    out.put_slice(connection(persistence, fields.has(Known::Te)));
}

/// The Connection field and the empty line. TE is of one connection only and must be nominated (RFC 9110, 10.1.4).
const fn connection(persistence: Persistence, te: bool) -> &'static [u8] {
    match (persistence, te) {
        (Persistence::Implied, false) => b"\r\n",
        (Persistence::Implied, true) => b"connection: te\r\n\r\n",
        (Persistence::KeepAlive, false) => b"connection: keep-alive\r\n\r\n",
        (Persistence::KeepAlive, true) => b"connection: keep-alive, te\r\n\r\n",
        (Persistence::Close, false) => b"connection: close\r\n\r\n",
        (Persistence::Close, true) => b"connection: close, te\r\n\r\n",
        (Persistence::Upgrade, false) => b"connection: upgrade\r\n\r\n",
        (Persistence::Upgrade, true) => b"connection: upgrade, te\r\n\r\n",
    }
}

/// Writes the line in front of a chunk of `length` bytes, which must not be 0. [`CHUNK_END`] goes behind the data.
pub fn write_chunk_head(out: &mut impl BufMut, length: usize) {
    debug_assert!(length > 0, "a chunk of no bytes would end the body");
    let mut text = [0u8; 18];
    let mut at = 16;
    let mut left = length;
    while left > 0 {
        at -= 1;
        text[at] = b"0123456789abcdef"[left & 15];
        left >>= 4;
    }
    text[16..].copy_from_slice(b"\r\n");
    out.put_slice(&text[at..]);
}

/// Writes the end of a chunked body without trailers.
pub fn write_last_chunk(out: &mut impl BufMut) {
    out.put_slice(b"0\r\n\r\n");
}

/// Writes the end of a chunked body with trailers. What must not stand there is left out.
pub fn write_trailers(out: &mut impl BufMut, trailers: &Fields) {
    out.put_slice(b"0\r\n");
    trailers.write(out, |known| !known.is_forbidden_in_trailers());
    out.put_slice(b"\r\n");
}
