//! The section of field lines that heads and trailers share.

use super::scan;
use crate::message::{Fields, Known, Line};

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

/// Reads field lines from `start` to the empty line into `fields`, which must be clear, and says where the section
/// ends; `None` if it does not end in `buf`, and then `fields` must be cleared.
pub(super) fn read(buf: &[u8], start: usize, rules: Rules, fields: &mut Fields) -> Result<Option<usize>, Fault> {
    let mut at = start;
    loop {
        if buf.get(at) == Some(&b'\r') {
            return end_of_section(buf, start, at, fields);
        }
        let Some((line, next)) = read_line(buf, start, at, rules)? else { return Ok(None) };
        if fields.len() == rules.count {
            return Err(Fault::TooMany);
        }
        fields.note(line);
        at = next;
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

#[inline]
fn read_line(buf: &[u8], start: usize, at: usize, rules: Rules) -> Result<Option<(Line, usize)>, Fault> {
    let name_end = scan::token_end(buf, at);
    let Some(stop) = buf.get(name_end) else { return Ok(None) };
    let colon = if *stop == b':' && name_end > at { name_end } else { odd_name(buf, at, name_end, rules)? };
    let mut value = colon + 1;
    while matches!(buf.get(value), Some(b' ' | b'\t')) {
        value += 1;
    }
    let Some(stop) = value_end(buf, value)? else { return Ok(None) };
    let value_end = trim_end(buf, value, stop);
    let known = Known::of(&buf[at..name_end]);
    if known == Known::Other && is_disguised(&buf[at..name_end]) {
        return Err(Fault::Bad("field_name_disguised"));
    }
    let plain = value_end == stop && value == name_end + 2 && buf[name_end + 1] == b' ';
    let line = Line {
        name: offset(at - start),
        name_end: offset(name_end - start),
        value: offset(value - start),
        value_end: offset(value_end - start),
        known,
        plain,
    };
    Ok(Some((line, stop + 2)))
}

/// A name that is not followed by its colon at once: says where the colon is, if that may be.
#[cold]
fn odd_name(buf: &[u8], at: usize, name_end: usize, rules: Rules) -> Result<usize, Fault> {
    match buf[name_end] {
        b' ' | b'\t' if name_end == at => Err(Fault::Bad("folded_line")),
        b' ' | b'\t' if rules.trim_names => {
            let rest = &buf[name_end..];
            let blanks = rest.iter().position(|b| !matches!(b, b' ' | b'\t')).unwrap_or(rest.len());
            match rest.get(blanks) {
                Some(b':') => Ok(name_end + blanks),
                _ => Err(Fault::Bad("field_name")),
            }
        }
        b' ' | b'\t' => Err(Fault::Bad("space_before_colon")),
        b':' => Err(Fault::Bad("field_name_empty")),
        b'\n' => Err(Fault::Bad("bare_lf")),
        b'\r' => Err(Fault::Bad("field_without_colon")),
        _ => Err(Fault::Bad("field_name")),
    }
}

/// Where the CR LF behind a value is.
#[inline]
fn value_end(buf: &[u8], mut at: usize) -> Result<Option<usize>, Fault> {
    loop {
        at = scan::control(buf, at);
        match (buf.get(at), buf.get(at + 1)) {
            (Some(b'\r'), Some(b'\n')) => return Ok(Some(at)),
            (None, _) | (Some(b'\r'), None) => return Ok(None),
            (Some(b'\t'), _) => at += 1,
            (Some(b'\r'), Some(_)) => return Err(Fault::Bad("bare_cr")),
            (Some(b'\n'), _) => return Err(Fault::Bad("bare_lf")),
            (Some(_), _) => return Err(Fault::Bad("field_value")),
        }
    }
}

#[inline]
fn trim_end(buf: &[u8], from: usize, mut end: usize) -> usize {
    while end > from && matches!(buf[end - 1], b' ' | b'\t') {
        end -= 1;
    }
    end
}

/// Names that frameworks behind us fold into the names that frame a message.
fn is_disguised(name: &[u8]) -> bool {
    let folds = |to: &[u8]| {
        name.len() == to.len()
            && name.iter().zip(to).all(|(a, b)| a.eq_ignore_ascii_case(b) || (*a == b'_' && *b == b'-'))
    };
    folds(b"content-length") || folds(b"transfer-encoding")
}

fn offset(length: usize) -> u32 {
    u32::try_from(length).expect("a head is limited far below 4 GiB")
}
