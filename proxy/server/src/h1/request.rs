//! Heads of requests.

use super::framing::{self, Said, Unclear};
use super::lines::{self, Fault, Rules};
use super::{HeadLimits, scan};
use crate::message::{Extension, Framing, Known, Method, Refused, RequestHead, Version};

/// Reads a request's head from the start of `buf` into `head` and says how many bytes it took; `None` if more bytes are
/// needed. One empty line before it is passed over. Linear in the head; allocates nothing once `head` is warm.
/// Unless a head was read, `head` is clear afterwards.
///
/// # Errors
/// What RFC 9112 does not allow, or what could be read in two ways; see the module. The connection must be closed after
/// the answer, since where the next request would begin is not known.
pub fn parse_request(buf: &[u8], limits: &HeadLimits, head: &mut RequestHead) -> Result<Option<usize>, Refused> {
    head.clear();
    // What stands behind the limit is not looked at: the answer must not depend on how the bytes arrived.
    let seen = &buf[..buf.len().min(limits.bytes)];
    let result = match read(seen, limits, head) {
        Ok(None) if buf.len() >= limits.bytes => Err(too_large(seen)),
        other => other,
    };
    if !matches!(result, Ok(Some(_))) {
        head.clear();
    }
    result
}

fn too_large(seen: &[u8]) -> Refused {
    let start = seen.strip_prefix(b"\r\n").unwrap_or(seen);
    if start.contains(&b'\n') {
        Refused { status: 431, reason: "head_too_large" }
    } else {
        Refused { status: 414, reason: "target_too_long" }
    }
}

fn read(buf: &[u8], limits: &HeadLimits, head: &mut RequestHead) -> Result<Option<usize>, Refused> {
    let Some(start) = skip_empty_line(buf)? else { return Ok(None) };
    let Some((target, fields)) = read_line(buf, start, head)? else { return Ok(None) };
    let rules = Rules { count: limits.count, trim_names: false };
    let Some(end) = lines::read(buf, fields, rules, &mut head.fields).map_err(refuse_fields)? else { return Ok(None) };
    judge(head, &buf[target.0..target.1])?;
    Ok(Some(end))
}

fn refuse_fields(fault: Fault) -> Refused {
    match fault {
        Fault::TooMany => Refused { status: 431, reason: "too_many_fields" },
        Fault::Bad(reason) => Refused::bad(reason),
    }
}

fn skip_empty_line(buf: &[u8]) -> Result<Option<usize>, Refused> {
    match buf {
        [] | [b'\r'] => Ok(None),
        [b'\r', b'\n', ..] => Ok(Some(2)),
        [b'\r', ..] => Err(Refused::bad("bare_cr")),
        [b'\n', ..] => Err(Refused::bad("bare_lf")),
        _ => Ok(Some(0)),
    }
}

type Range = (usize, usize);

/// Reads the request line; says where the target and where the fields are.
fn read_line(buf: &[u8], start: usize, head: &mut RequestHead) -> Result<Option<(Range, usize)>, Refused> {
    let method_end = scan::token_end(buf, start);
    if method_end - start > Extension::MAX {
        return Err(Refused::bad("method_too_long"));
    }
    match buf.get(method_end) {
        None => return Ok(None),
        Some(b' ') if method_end > start => {}
        Some(_) => return Err(Refused::bad("method")),
    }
    let method = Method::parse(&buf[start..method_end]);
    head.method = method.ok_or(Refused { status: 501, reason: "method_case" })?;
    let target = method_end + 1;
    let target_end = scan::invisible(buf, target);
    match buf.get(target_end) {
        None => return Ok(None),
        Some(b' ') if target_end > target => {}
        Some(b' ') => return Err(Refused::bad("request_line_space")),
        Some(b'\r' | b'\n') => return Err(Refused::bad("version_missing")),
        Some(_) => return Err(Refused::bad("target_character")),
    }
    let Some(version) = read_version(&buf[target_end + 1..])? else { return Ok(None) };
    head.version = version;
    Ok(Some(((target, target_end), target_end + 11)))
}

/// `HTTP/1.0` or `HTTP/1.1` and the end of the line.
fn read_version(rest: &[u8]) -> Result<Option<Version>, Refused> {
    match rest.get(..10) {
        Some(b"HTTP/1.1\r\n") => Ok(Some(Version::Http11)),
        Some(b"HTTP/1.0\r\n") => Ok(Some(Version::Http10)),
        Some([b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9', b'\r', b'\n']) => {
            Err(Refused { status: 505, reason: "version" })
        }
        Some([b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9', b'\n', _]) => Err(Refused::bad("bare_lf")),
        Some(_) => Err(Refused::bad("version_syntax")),
        None if may_become_version(rest) => Ok(None),
        None if rest.len() == 9 && rest[8] == b'\n' && may_become_version(&rest[..8]) => Err(Refused::bad("bare_lf")),
        None => Err(Refused::bad("version_syntax")),
    }
}

fn may_become_version(rest: &[u8]) -> bool {
    rest.iter()
        .zip(b"HTTP/1.1\r\n")
        .all(|(have, want)| have == want || (have.is_ascii_digit() && want.is_ascii_digit()))
}

/// What the head means, now that it is whole.
fn judge(head: &mut RequestHead, target: &[u8]) -> Result<(), Refused> {
    if matches!(head.method, Method::Connect | Method::Trace) {
        return Err(Refused { status: 501, reason: "method_not_served" });
    }
    judge_place(head, target)?;
    judge_framing(head)?;
    if head.fields.has_many(Known::ContentType) {
        return Err(Refused::bad("content_type_repeated"));
    }
    let options = framing::options(&head.fields);
    head.keep_alive = !options.close && (head.version == Version::Http11 || options.keep_alive);
    head.upgrade = options.upgrade
        && head.version == Version::Http11
        && head.method == Method::Get
        && head.framing.is_empty()
        && names_one_protocol(head);
    judge_expectation(head)
}

/// The target and the host.
fn judge_place(head: &mut RequestHead, target: &[u8]) -> Result<(), Refused> {
    if head.fields.has_many(Known::Host) {
        return Err(Refused::bad("host_repeated"));
    }
    if head.version == Version::Http11 && !head.fields.has(Known::Host) {
        return Err(Refused::bad("host_missing"));
    }
    head.set_place(target)
}

fn judge_framing(head: &mut RequestHead) -> Result<(), Refused> {
    let said = framing::read(&head.fields).map_err(|unclear| match unclear {
        Unclear::Bad(reason) => Refused::bad(reason),
        Unclear::Coding if head.version == Version::Http10 => Refused::bad("transfer_encoding_in_http10"),
        Unclear::Coding => Refused { status: 501, reason: "transfer_coding" },
    })?;
    if said == Said::Chunked && head.version == Version::Http10 {
        return Err(Refused::bad("transfer_encoding_in_http10"));
    }
    head.framing = Framing::from(said);
    Ok(())
}

fn names_one_protocol(head: &RequestHead) -> bool {
    let Some(protocol) = head.fields.get(Known::Upgrade) else { return false };
    let name = protocol.split(|b| *b == b'/').next().unwrap_or_default();
    !head.fields.has_many(Known::Upgrade)
        && !protocol.is_empty()
        && scan::token_end(name, 0) == name.len()
        && !protocol.contains(&b',')
        && !protocol.eq_ignore_ascii_case(b"h2c")
}

/// HTTP/1.0 clients cannot be sent a 100, so what they expect goes: forwarded in HTTP/1.1 it would mean something
/// (RFC 9110, 10.1.1).
fn judge_expectation(head: &mut RequestHead) -> Result<(), Refused> {
    if head.version == Version::Http10 {
        head.fields.remove(Known::Expect);
        return Ok(());
    }
    if !head.fields.all(Known::Expect).all(|value| value.eq_ignore_ascii_case(b"100-continue")) {
        return Err(Refused { status: 417, reason: "expectation" });
    }
    Ok(())
}
