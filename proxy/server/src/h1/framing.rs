//! Content-Length, Transfer-Encoding and Connection.

use crate::message::{Fields, Framing, Known, members};

/// What Content-Length and Transfer-Encoding say together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    /// Neither is there.
    Nothing,
    /// One valid length.
    Length(u64),
    /// Exactly one `chunked`.
    Chunked,
}

/// Why the framing of a message is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unclear {
    /// This rule was broken.
    Bad(&'static str),
    /// A transfer coding other than chunked.
    Coding,
}

/// Reads both fields. One length or one `chunked`, never both, never twice.
pub(super) fn read(fields: &Fields) -> Result<Said, Unclear> {
    match (fields.get(Known::ContentLength), fields.get(Known::TransferEncoding)) {
        (None, None) => Ok(Said::Nothing),
        (Some(_), Some(_)) => Err(Unclear::Bad("length_and_transfer_encoding")),
        (Some(_), None) if fields.has_many(Known::ContentLength) => Err(Unclear::Bad("content_length_repeated")),
        (Some(value), None) => parse_length(value).map(Said::Length).ok_or(Unclear::Bad("content_length")),
        (None, Some(_)) if fields.has_many(Known::TransferEncoding) => Err(Unclear::Bad("transfer_encoding_repeated")),
        (None, Some(value)) => parse_coding(value),
    }
}

/// Digits, at most 19 of them so that the value fits, and none of them a zero in front, which some read as octal.
fn parse_length(value: &[u8]) -> Option<u64> {
    if value.len() > 19 || (value.len() > 1 && value[0] == b'0') || value.is_empty() {
        return None;
    }
    value.iter().try_fold(0, |sum: u64, b| b.is_ascii_digit().then(|| sum * 10 + u64::from(b - b'0')))
}

fn parse_coding(value: &[u8]) -> Result<Said, Unclear> {
    if value.eq_ignore_ascii_case(b"chunked") {
        return Ok(Said::Chunked);
    }
    let mut codings = value.split(|b| *b == b',').map(<[u8]>::trim_ascii);
    let last = codings.next_back().unwrap_or_default();
    let chunked_before = codings.any(|coding| coding.eq_ignore_ascii_case(b"chunked"));
    if chunked_before || last.is_empty() || value.starts_with(b",") {
        return Err(Unclear::Bad("transfer_encoding"));
    }
    Err(Unclear::Coding)
}

/// What Connection says of the connection itself.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Options {
    pub(super) close: bool,
    pub(super) keep_alive: bool,
    pub(super) upgrade: bool,
}

/// Reads Connection.
pub(super) fn options(fields: &Fields) -> Options {
    let mut options = Options::default();
    if !fields.has(Known::Connection) {
        return options;
    }
    for value in fields.all(Known::Connection) {
        if !options.take(value) {
            members(value).for_each(|option| {
                options.take(option);
            });
        }
    }
    options
}

impl Options {
    /// Whether this is one option that is known here.
    fn take(&mut self, option: &[u8]) -> bool {
        let place = match option.len() {
            5 if option.eq_ignore_ascii_case(b"close") => &mut self.close,
            7 if option.eq_ignore_ascii_case(b"upgrade") => &mut self.upgrade,
            10 if option.eq_ignore_ascii_case(b"keep-alive") => &mut self.keep_alive,
            _ => return false,
        };
        *place = true;
        true
    }
}

impl From<Said> for Framing {
    fn from(said: Said) -> Self {
        match said {
            Said::Nothing => Self::None,
            Said::Length(length) => Self::Length(length),
            Said::Chunked => Self::Chunked,
        }
    }
}
