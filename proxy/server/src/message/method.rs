//! Methods.

use std::fmt;

use super::fields::is_token;

/// A method. They are compared with their case (RFC 9110, 9.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[allow(missing_docs)]
pub enum Method {
    #[default]
    Get,
    Head,
    Post,
    Put,
    Delete,
    Options,
    Patch,
    Trace,
    Connect,
    /// Any other token, of at most [`Extension::MAX`] bytes.
    Other(Extension),
}

/// The text of a method that the proxy does not know, kept in place.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Extension {
    length: u8,
    bytes: [u8; Self::MAX],
}

impl Extension {
    /// The longest method in bytes. The longest registered one has 17.
    pub const MAX: usize = 31;

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.length)]).expect("a token is ASCII")
    }
}

impl fmt::Debug for Extension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

const PLAIN: [Method; 9] = [
    Method::Get,
    Method::Head,
    Method::Post,
    Method::Put,
    Method::Delete,
    Method::Options,
    Method::Patch,
    Method::Trace,
    Method::Connect,
];

impl Method {
    /// Reads a token. `None` if it is none, is too long, or is a method of ours in another case: no origin means
    /// anything by `get`, and one that folds case would read another request than the proxy decided on.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        match text {
            b"GET" => Some(Self::Get),
            b"POST" => Some(Self::Post),
            b"HEAD" => Some(Self::Head),
            b"PUT" => Some(Self::Put),
            b"DELETE" => Some(Self::Delete),
            b"OPTIONS" => Some(Self::Options),
            b"PATCH" => Some(Self::Patch),
            b"TRACE" => Some(Self::Trace),
            b"CONNECT" => Some(Self::Connect),
            other => Self::extension(other),
        }
    }

    fn extension(text: &[u8]) -> Option<Self> {
        if !is_token(text) || PLAIN.iter().any(|m| m.as_str().as_bytes().eq_ignore_ascii_case(text)) {
            return None;
        }
        let mut bytes = [0; Extension::MAX];
        bytes.get_mut(..text.len())?.copy_from_slice(text);
        Some(Self::Other(Extension { length: u8::try_from(text.len()).ok()?, bytes }))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
            Self::Options => "OPTIONS",
            Self::Patch => "PATCH",
            Self::Trace => "TRACE",
            Self::Connect => "CONNECT",
            Self::Other(text) => text.as_str(),
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
