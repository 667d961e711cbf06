//! In which form a client wants a reply of ours (RFC 9110, section 12.5.1). Asked on the failure path only.

use crate::message::{Fields, Known, members};

/// The forms there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Text,
    Json,
}

/// How much a client wants something, in thousandths, and by how exact a range.
type Wish = (u16, Exact);

/// How exactly a range names a type. In this order, since the more exact range counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Exact {
    Not,
    Any,
    Kind,
    Type,
}

impl Form {
    /// JSON for whoever names it and wants nothing more that we have; text for everybody else. People with browsers ask
    /// for `text/html`, which counts as text where it is named.
    pub(super) fn of(fields: &Fields) -> Self {
        if !fields.has(Known::Accept) {
            return Self::Text;
        }
        let wish = |kind, name| wish(fields, kind, name);
        let (json, named) = wish("application", "json");
        let (plain, (page, is_page)) = (wish("text", "plain").0, wish("text", "html"));
        let text = if is_page == Exact::Type { plain.max(page) } else { plain };
        let is_json = json > text || json == text && json > 0 && named > Exact::Any;
        if is_json { Self::Json } else { Self::Text }
    }
}

/// What the most exact range that holds this type says.
fn wish(fields: &Fields, kind: &str, name: &str) -> Wish {
    let ranges = fields.all(Known::Accept).flat_map(members).filter_map(range);
    let said =
        ranges.map(|(range, quality)| (holds(range, kind, name), quality)).filter(|(exact, _)| *exact > Exact::Not);
    said.max_by_key(|(exact, _)| *exact).map_or((0, Exact::Not), |(exact, quality)| (quality, exact))
}

fn holds(range: &[u8], kind: &str, name: &str) -> Exact {
    let mut halves = range.splitn(2, |byte| *byte == b'/');
    let (Some(left), Some(right)) = (halves.next(), halves.next()) else { return Exact::Not };
    let is = |half: &[u8], word: &str| half.eq_ignore_ascii_case(word.as_bytes());
    match (left, right) {
        (b"*", b"*") => Exact::Any,
        (left, b"*") if is(left, kind) => Exact::Kind,
        (left, right) if is(left, kind) && is(right, name) => Exact::Type,
        _ => Exact::Not,
    }
}

/// The range, without its parameters, and its quality. One with a quality that is none says nothing.
fn range(member: &[u8]) -> Option<(&[u8], u16)> {
    let mut parts = member.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    let range = parts.next()?;
    let weight = parts.find_map(|part| part.strip_prefix(b"q=").or_else(|| part.strip_prefix(b"Q=")));
    Some((range, weight.map_or(Some(1000), quality)?))
}

/// `0` or `1` with at most three digits behind the point, in thousandths.
fn quality(text: &[u8]) -> Option<u16> {
    let (whole, rest) = text.split_first()?;
    let digits = if rest.is_empty() { rest } else { rest.strip_prefix(b".")? };
    if !matches!(whole, b'0' | b'1') || digits.len() > 3 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let parts = digits.iter().zip([100, 10, 1]).map(|(digit, place)| u16::from(digit - b'0') * place);
    let value = u16::from(whole - b'0') * 1000 + parts.sum::<u16>();
    (value <= 1000).then_some(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn form(accept: &[&str]) -> Form {
        let mut fields = Fields::new();
        accept.iter().for_each(|value| fields.push("Accept", value));
        Form::of(&fields)
    }

    #[test]
    fn json_is_for_those_who_name_it() {
        for json in [
            "application/json",
            "Application/JSON; charset=utf-8",
            "application/json, text/plain, */*",
            "application/json;q=0.5, */*;q=0.1",
            "text/plain;q=0.5, application/json",
            "application/*",
            "text/plain;q=0, */*",
            "text/html;q=0.1,application/json;q=0.101",
            "*/*;q=0.5, application/json;q=0.6",
        ] {
            assert_eq!(form(&[json]), Form::Json, "{json}");
        }
        assert_eq!(form(&["text/html;q=0.1", "application/json"]), Form::Json);
    }

    #[test]
    fn text_is_for_everybody_else() {
        for text in [
            "",
            "*/*",
            "text/plain",
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
            "text/html, application/json;q=0.9",
            "application/json;q=0",
            "application/json;q=0, */*",
            "application/json;q=2",
            "application/json;q=1.001",
            "application/json;q=0.1234",
            "application/json;q=",
            "application/json;q=a",
            "application/jsonx",
            "json",
            "image/png",
            "text/*, application/json;q=0.5",
        ] {
            assert_eq!(form(&[text]), Form::Text, "{text}");
        }
        assert_eq!(form(&[]), Form::Text);
    }

    proptest! {
        #[test]
        fn no_value_panics(value in "[ -~]{0,40}") {
            form(&[&value]);
        }
    }
}
