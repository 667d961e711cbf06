//! HTTP/1: bytes in, bytes out, for the client's side and the origin's. No sockets, no clock.
//!
//! Decides whether bytes are one message of RFC 9112, and where it ends. The rule is **one reading or none**: where two
//! servers could read a message differently, it is refused, also where the RFC lets a recipient repair it (bare LF, folded
//! lines, several lengths that agree, white space in a chunk header). The obvious other, to be lenient in what is accepted,
//! is how a request is smuggled past a proxy. White space around a value and one empty line before a request are read by
//! all alike and stay allowed.
//!
//! Invariants: what a parser accepts, a writer writes in canonical form, with framing fields of its own; nothing is
//! decided on a part of a head that the rest could turn around; every refusal closes the connection (the caller's part).

mod body;
mod chunk;
mod framing;
mod lines;
mod request;
mod response;
mod scan;
mod write;

#[cfg(test)]
mod tests;

pub use self::body::{BadBody, BodyReader};
pub use self::request::parse_request;
pub use self::response::{Asked, BadAnswer, parse_response};
pub use self::write::{
    CHUNK_END, Persistence, write_chunk_head, write_last_chunk, write_request, write_response, write_trailers,
};
pub use crate::message::Refused;

/// How large a head may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadLimits {
    /// Start line, fields and the empty line, in bytes.
    pub bytes: usize,
    /// Fields.
    pub count: usize,
}
