//! What a route asks besides host and path.

use sluice_config::validated::{Match, ValueMatch};

use super::{Fields, RequestView};

/// The first predicate of a route that does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Miss<'a> {
    /// The method is none of those listed.
    Method,
    /// This field is missing or has another value.
    Header(&'a str),
    /// This parameter is missing or has another value.
    Query(&'a str),
}

/// How many predicates a route has; its methods count as one.
pub(super) fn count(matches: &Match) -> usize {
    usize::from(!matches.methods.is_empty()) + matches.headers.len() + matches.query.len()
}

pub(super) fn first_miss<'a, F: Fields>(matches: &'a Match, request: &RequestView<'_, F>) -> Option<Miss<'a>> {
    if !matches.methods.is_empty() && !matches.methods.iter().any(|method| method == request.method) {
        return Some(Miss::Method);
    }
    if let Some(missed) = matches.headers.iter().find(|header| !has_header(header, request.fields)) {
        return Some(Miss::Header(&missed.name));
    }
    let missed = matches.query.iter().find(|parameter| !has_parameter(parameter, request.query.unwrap_or("")))?;
    Some(Miss::Query(&missed.name))
}

fn has_header(wanted: &ValueMatch, fields: &impl Fields) -> bool {
    match (fields.first(&wanted.name), &wanted.value) {
        (None, _) => false,
        (Some(_), None) => true,
        (Some(found), Some(value)) => found == value.as_bytes(),
    }
}

/// Whether the first parameter of the name is the one wanted; names and values are compared as what they decode to.
fn has_parameter(wanted: &ValueMatch, query: &str) -> bool {
    let parameters = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let mut named = parameters.filter(|(name, _)| decodes_to(name, &wanted.name));
    match (named.next(), &wanted.value) {
        (None, _) => false,
        (Some(_), None) => true,
        (Some((_, found)), Some(value)) => decodes_to(found, value),
    }
}

fn decodes_to(encoded: &str, plain: &str) -> bool {
    decode(encoded.as_bytes()).eq(plain.bytes())
}

/// The bytes of a form-encoded text: `+` is a space, `%41` is `A`, and a `%` that no two digits follow is itself.
fn decode(encoded: &[u8]) -> impl Iterator<Item = u8> + '_ {
    let mut rest = encoded;
    std::iter::from_fn(move || {
        let (byte, length) = match rest {
            [] => return None,
            [b'+', ..] => (b' ', 1),
            [b'%', high, low, ..] => digits(*high, *low).map_or((b'%', 1), |byte| (byte, 3)),
            [byte, ..] => (*byte, 1),
        };
        rest = &rest[length..];
        Some(byte)
    })
}

fn digits(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}
