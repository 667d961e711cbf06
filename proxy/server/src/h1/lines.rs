//! The section of field lines that heads and trailers share.

use super::scan;
use crate::message::{Fields, Known, Line, is_disguised};

/// Why a section of field lines is not one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// More fields than allowed.
    TooMany,
    /// This rule was broken.
    Bad(&'static str),
}

/// What may differ between the sections.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    /// The most fields.
    pub(super) count: usize,
    /// White space between name and colon is taken away and not refused. A proxy must do so for answers and must
    /// refuse it in requests (RFC 9112, 5.1).
    pub(super) trim_names: bool,
}

/// Offsets are of 32 bits; no head comes near (the limits are far below), and a buffer that does is refused.
const MAX: usize = u32::MAX as usize;

/// Reads field lines from `start` to the empty line into `fields`, which must be clear, and says where the section
/// ends; `None` if it does not end in `buf`, and then `fields` must be cleared.
pub(super) fn read(buf: &[u8], start: usize, rules: Rules, fields: &mut Fields) -> Result<Option<usize>, Fault> {
    if buf.len() > MAX {
        return Err(Fault::TooMany);
    }
    let mut at = start;
    loop {
        if buf.get(at) == Some(&b'\r') {
            return end_of_section(buf, start, at, fields);
        }
        let Some(name) = read_name(buf, at, rules)? else { return Ok(None) };
        let Some(value) = read_value(buf, name.colon + 1)? else { return Ok(None) };
        if fields.len() == rules.count {
            return Err(Fault::TooMany);
        }
        let offset = |place: usize| (place - start) as u32;
        fields.note(Line {
            name: offset(at),
            name_end: offset(name.end),
            value: offset(value.start),
            value_end: offset(value.end),
            known: name.known,
            plain: value.plain && name.end == name.colon,
        });
        at = value.next;
    }
}

fn end_of_section(buf: &[u8], start: usize, at: usize, fields: &mut Fields) -> Result<Option<usize>, Fault> {
    match buf.get(at + 1) {
        None => Ok(None),
        Some(b'\n') => {
            fields.adopt(&buf[start..at]);
            Ok(Some(at + 2))
        }
        Some(_) => Err(Fault::Bad("bare_cr")),
    }
}

struct Name {
    end: usize,
    colon: usize,
    known: Known,
}

#[inline]
fn read_name(buf: &[u8], at: usize, rules: Rules) -> Result<Option<Name>, Fault> {
    let end = scan::colon(buf, at);
    let known = Known::of(&buf[at..end]);
    if known != Known::Other && buf.get(end) == Some(&b':') {
        return Ok(Some(Name { end, colon: end, known }));
    }
    read_other_name(buf, at, rules)
}

/// A name that was not recognised at once.
fn read_other_name(buf: &[u8], at: usize, rules: Rules) -> Result<Option<Name>, Fault> {
    let end = scan::token_end(buf, at);
    let Some(stop) = buf.get(end) else { return Ok(None) };
    let colon = if *stop == b':' && end > at { Some(end) } else { odd_name(buf, at, end, rules)? };
    let name = &buf[at..end];
    if is_disguised(name) {
        return Err(Fault::Bad("field_name_disguised"));
    }
    Ok(colon.map(|colon| Name { end, colon, known: Known::of(name) }))
}

/// A name that is not followed by its colon at once: says where the colon is, if that may be.
#[cold]
fn odd_name(buf: &[u8], at: usize, name_end: usize, rules: Rules) -> Result<Option<usize>, Fault> {
    match buf[name_end] {
        b' ' | b'\t' if name_end == at => Err(Fault::Bad("folded_line")),
        b' ' | b'\t' if rules.trim_names => {
            let rest = &buf[name_end..];
            let blanks = rest.iter().position(|b| !matches!(b, b' ' | b'\t')).unwrap_or(rest.len());
            match rest.get(blanks) {
                None => Ok(None),
                Some(b':') => Ok(Some(name_end + blanks)),
                Some(_) => Err(Fault::Bad("field_name")),
            }
        }
        b' ' | b'\t' => Err(Fault::Bad("space_before_colon")),
        b':' => Err(Fault::Bad("field_name_empty")),
        b'\n' => Err(Fault::Bad("bare_lf")),
        b'\r' => Err(Fault::Bad("field_without_colon")),
        _ => Err(Fault::Bad("field_name")),
    }
}

struct Value {
    start: usize,
    end: usize,
    /// Where the next line begins.
    next: usize,
    /// Whether exactly one blank stands before it and nothing behind it.
    plain: bool,
}

#[inline]
fn read_value(buf: &[u8], from: usize) -> Result<Option<Value>, Fault> {
    let mut stop = scan::control(buf, from);
    if buf.get(stop) != Some(&b'\r') || buf.get(stop + 1) != Some(&b'\n') {
        match value_end(buf, stop)? {
            Some(end) => stop = end,
            None => return Ok(None),
        }
    }
    let text = &buf[from..stop];
    // No control byte is in the text but HTAB, so what is above a blank is no white space.
    if let [b' ', first, .., last] = text
        && (*first > b' ') & (*last > b' ')
    {
        return Ok(Some(Value { start: from + 1, end: stop, next: stop + 2, plain: true }));
    }
    Ok(Some(trim(text, from, stop)))
}

/// White space around a value is no part of it.
fn trim(text: &[u8], from: usize, stop: usize) -> Value {
    let is_text = |b: &u8| !matches!(b, b' ' | b'\t');
    let start = text.iter().position(is_text).unwrap_or(text.len());
    let end = text.iter().rposition(is_text).map_or(start, |last| last + 1);
    let plain = start == 1 && text[0] == b' ' && end == text.len();
    Value { start: from + start, end: from + end, next: stop + 2, plain }
}

/// Where the CR LF behind a value is; `at` is a control byte or the end.
#[cold]
fn value_end(buf: &[u8], mut at: usize) -> Result<Option<usize>, Fault> {
    loop {
        match (buf.get(at), buf.get(at + 1)) {
            (Some(b'\r'), Some(b'\n')) => return Ok(Some(at)),
            (None, _) | (Some(b'\r'), None) => return Ok(None),
            (Some(b'\t'), _) => at = scan::control(buf, at + 1),
            (Some(b'\r'), Some(_)) => return Err(Fault::Bad("bare_cr")),
            (Some(b'\n'), _) => return Err(Fault::Bad("bare_lf")),
            (Some(_), _) => return Err(Fault::Bad("field_value")),
        }
    }
}
