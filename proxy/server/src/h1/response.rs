//! Heads of answers.

use super::framing::{self, Said, Unclear};
use super::lines::{self, Fault, Rules};
use super::{HeadLimits, scan};
use crate::message::{Framing, Known, Method, ResponseHead, Version};

/// Why an origin's answer is not passed on: the rule it broke, in `snake_case`. The connection must be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadAnswer(pub &'static str);

impl std::fmt::Display for BadAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for BadAnswer {}

/// What an answer is the answer to; its body depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// Whether the method was HEAD.
    pub head: bool,
    /// Whether an upgrade was sent to this origin.
    pub upgrade: bool,
}

impl Asked {
    /// Of a request.
    #[must_use]
    pub fn new(method: &Method, upgrade: bool) -> Self {
        Self { head: *method == Method::Head, upgrade }
    }
}

/// Reads an answer's head, interim ones too, from the start of `buf` into `head` and says how many bytes it took;
/// `None` if more bytes are needed. Linear in the head; allocates nothing once `head` is warm. Unless a head was read,
/// `head` is clear afterwards.
///
/// # Errors
/// What RFC 9112 does not allow, or what could be read in two ways; a 101 that nobody asked for.
pub fn parse_response(
    buf: &[u8],
    limits: &HeadLimits,
    asked: Asked,
    head: &mut ResponseHead,
) -> Result<Option<usize>, BadAnswer> {
    head.clear();
    let seen = &buf[..buf.len().min(limits.bytes)];
    let result = match read(seen, limits, asked, head) {
        Ok(None) if buf.len() >= limits.bytes => Err(BadAnswer("head_too_large")),
        other => other,
    };
    if !matches!(result, Ok(Some(_))) {
        head.clear();
    }
    result
}

fn read(buf: &[u8], limits: &HeadLimits, asked: Asked, head: &mut ResponseHead) -> Result<Option<usize>, BadAnswer> {
    let Some(fields) = read_line(buf, head)? else { return Ok(None) };
    let rules = Rules { count: limits.count, trim_names: true };
    let end = lines::read(buf, fields, rules, &mut head.fields).map_err(|fault| match fault {
        Fault::TooMany => BadAnswer("too_many_fields"),
        Fault::Bad(reason) => BadAnswer(reason),
    })?;
    if end.is_some() {
        judge(head, asked)?;
    }
    Ok(end)
}

/// Reads the status line; says where the fields are. The blank before an absent reason may be absent too: many origins
/// leave it out, and nothing can be read differently for it.
fn read_line(buf: &[u8], head: &mut ResponseHead) -> Result<Option<usize>, BadAnswer> {
    let Some(start) = buf.first_chunk::<13>() else {
        return if may_become_answer(buf) { Ok(None) } else { Err(BadAnswer("status_line")) };
    };
    let [b'H', b'T', b'T', b'P', b'/', b'1', b'.', minor @ (b'0' | b'1'), b' ', a, b, c, behind] = *start else {
        return Err(BadAnswer("status_line"));
    };
    if !(a.is_ascii_digit() && b.is_ascii_digit() && c.is_ascii_digit()) || a == b'0' {
        return Err(BadAnswer("status"));
    }
    head.version = if minor == b'1' { Version::Http11 } else { Version::Http10 };
    head.status = u16::from(a - b'0') * 100 + u16::from(b - b'0') * 10 + u16::from(c - b'0');
    match behind {
        b' ' => end_of_line(buf, 13),
        b'\r' => end_of_line(buf, 12),
        _ => Err(BadAnswer("status_line")),
    }
}

fn may_become_answer(buf: &[u8]) -> bool {
    buf.iter().zip(b"HTTP/1.1 000").all(|(have, want)| have == want || (have.is_ascii_digit() && want.is_ascii_digit()))
}

fn end_of_line(buf: &[u8], mut at: usize) -> Result<Option<usize>, BadAnswer> {
    loop {
        at = scan::control(buf, at);
        match (buf.get(at), buf.get(at + 1)) {
            (Some(b'\r'), Some(b'\n')) => return Ok(Some(at + 2)),
            (None, _) | (Some(b'\r'), None) => return Ok(None),
            (Some(b'\t'), _) => at += 1,
            (Some(b'\n'), _) => return Err(BadAnswer("bare_lf")),
            (Some(_), _) => return Err(BadAnswer("status_line")),
        }
    }
}

/// What the head means, now that it is whole (RFC 9112, 6.3).
fn judge(head: &mut ResponseHead, asked: Asked) -> Result<(), BadAnswer> {
    let said = framing::read(&head.fields).map_err(|unclear| match unclear {
        Unclear::Bad(reason) => BadAnswer(reason),
        Unclear::Coding => BadAnswer("transfer_coding"),
    })?;
    if said == Said::Chunked && head.version == Version::Http10 {
        return Err(BadAnswer("transfer_encoding_in_http10"));
    }
    let options = framing::options(&head.fields);
    head.keep_alive = !options.close && (head.version == Version::Http11 || options.keep_alive);
    match head.status {
        101 => judge_upgrade(head, asked, said, options.upgrade),
        100..=199 | 204 => {
            drop_length(head, said);
            Ok(())
        }
        304 => Ok(()),
        _ if asked.head => Ok(()),
        _ => {
            head.framing = if said == Said::Nothing { Framing::UntilClose } else { Framing::from(said) };
            head.keep_alive &= said != Said::Nothing;
            Ok(())
        }
    }
}

fn judge_upgrade(head: &mut ResponseHead, asked: Asked, said: Said, named: bool) -> Result<(), BadAnswer> {
    if !asked.upgrade || head.version != Version::Http11 {
        return Err(BadAnswer("upgrade_not_asked"));
    }
    if !named || !head.fields.has(Known::Upgrade) {
        return Err(BadAnswer("upgrade_unnamed"));
    }
    drop_length(head, said);
    head.upgrade = true;
    head.keep_alive = false;
    Ok(())
}

/// These answers have no body and must not say they have. One that does may send it all the same, so the connection is
/// not used again.
fn drop_length(head: &mut ResponseHead, said: Said) {
    head.keep_alive &= matches!(said, Said::Nothing | Said::Length(0));
    head.fields.remove(Known::ContentLength);
    head.fields.remove(Known::TransferEncoding);
}
