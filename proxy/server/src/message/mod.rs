//! What HTTP/1 and HTTP/2 have in common: a request's head, an answer's head, fields, frames of a body.
//!
//! Both codecs fill these types and both read them, so the exchange knows nothing of wire formats. The rule that decides
//! the shape: **a head is filled into buffers that are used again**. The obvious other, a map of owned names and values,
//! costs an allocation and a hash per field, and forgets order and case; here a field is four offsets into one buffer,
//! and its name was recognised once, when it was read.
//!
//! Invariants: every name in a [`Fields`] is a token; no value holds CR, LF, NUL or another control byte but HTAB;
//! a [`RequestHead`]'s target is origin-form or `*`, in ASCII without white space; its authority is a host and a port or empty.

mod authority;
mod fields;
mod head;
mod hop;
mod known;
mod method;
mod place;
mod status;
mod target;

use bytes::Bytes;

pub use self::fields::{Fields, Iter};
pub(crate) use self::fields::{Line, is_disguised, is_disguised_claim};
pub use self::head::{RequestHead, ResponseHead};
pub(crate) use self::hop::members;
pub use self::hop::{Stripped, strip_hop_by_hop};
pub use self::known::Known;
pub use self::method::{Extension, Method};
pub use self::status::reason;

/// The version of the protocol that a head was read in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Version {
    /// HTTP/1.0: no chunked coding, no interim answers, connections close unless both sides say otherwise.
    Http10,
    /// HTTP/1.1.
    #[default]
    Http11,
    /// HTTP/2.
    H2,
}

impl Version {
    /// As logs and metrics write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
            Self::H2 => "HTTP/2",
        }
    }
}

/// How the end of a body is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Framing {
    /// There is no body.
    #[default]
    None,
    /// After this many bytes.
    Length(u64),
    /// By the chunked coding.
    Chunked,
    /// When the sender closes. Answers only.
    UntilClose,
}

impl Framing {
    /// Whether not one byte of body can come.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        matches!(self, Self::None | Self::Length(0))
    }
}

/// A piece of a body. Every body ends with exactly one `Trailers` or `End`.
#[derive(Debug, Clone)]
pub enum Frame {
    /// At least one byte.
    Data(Bytes),
    /// The body is over and these fields came behind it. At least one field.
    Trailers(Fields),
    /// The body is over.
    End,
}

/// Why a request is not served: what is answered, and which rule it broke. The connection closes after the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// 400, 414, 417, 431, 501 or 505.
    pub status: u16,
    /// The rule, in `snake_case`: a metric label and a log field. Never text of the client.
    pub reason: &'static str,
}

impl Refused {
    pub(crate) const fn bad(reason: &'static str) -> Self {
        Self { status: 400, reason }
    }
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.status, self.reason)
    }
}

impl std::error::Error for Refused {}
