//! Request targets.
//!
//! A target becomes origin-form (or `*`), whatever form it came in. Refused: all that is not visible ASCII, a fragment,
//! and what [`path::inspect`] refuses in a path. The query is left as it is: browsers send braces, bars and stray percent
//! signs in it. Which form the path takes is the policy of a listener, which the codecs do not know.

use sluice_config::path::{self, Inspected};

use super::{Method, Refused};

/// A target taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target<'a> {
    /// Of the absolute form: default port and authority.
    pub(super) authority: Option<(&'static [u8], &'a [u8])>,
    /// Path and query, or `*`, or empty (the root), or a query alone (of the root).
    pub(super) rest: &'a [u8],
    /// Where the path ends in it.
    pub(super) path_end: usize,
    /// Whether no policy changes the path.
    pub(super) plain: bool,
}

/// Takes a target apart and checks it. The bytes must be visible ASCII: the codecs stop at anything else.
pub(super) fn parse<'a>(method: &Method, target: &'a [u8]) -> Result<Target<'a>, Refused> {
    match target.first() {
        Some(b'/') => checked(None, target),
        Some(b'*') if target.len() == 1 && *method == Method::Options => {
            Ok(Target { authority: None, rest: b"*", path_end: 1, plain: true })
        }
        Some(_) => absolute(method, target),
        None => Err(Refused::bad("target_empty")),
    }
}

fn absolute<'a>(method: &Method, target: &'a [u8]) -> Result<Target<'a>, Refused> {
    let (port, behind): (&'static [u8], _) = if let Some(behind) = strip(target, b"http://") {
        (b"80", behind)
    } else if let Some(behind) = strip(target, b"https://") {
        (b"443", behind)
    } else {
        return Err(Refused::bad("target_form"));
    };
    let end = behind.iter().position(|b| matches!(b, b'/' | b'?' | b'#')).unwrap_or(behind.len());
    let (authority, rest) = behind.split_at(end);
    if rest.is_empty() && *method == Method::Options {
        return Ok(Target { authority: Some((port, authority)), rest: b"*", path_end: 1, plain: true });
    }
    checked(Some((port, authority)), rest)
}

fn strip<'a>(target: &'a [u8], scheme: &[u8]) -> Option<&'a [u8]> {
    let (start, behind) = target.split_at_checked(scheme.len())?;
    start.eq_ignore_ascii_case(scheme).then_some(behind)
}

fn checked<'a>(authority: Option<(&'static [u8], &'a [u8])>, rest: &'a [u8]) -> Result<Target<'a>, Refused> {
    let Inspected { end, plain } = path::inspect(rest).map_err(Refused::bad)?;
    if rest[end..].contains(&b'#') {
        return Err(Refused::bad("target_fragment"));
    }
    Ok(Target { authority, rest, path_end: end, plain })
}
