//! JSON writes characters beyond U+FFFF as two escapes (`\ud83d\ude00`), YAML as one (`\U0001F600`).
//!
//! The pairs of a JSON text are joined before the scanner sees them; half a pair is left for it to refuse. A joined pair is
//! shorter than what was written, so columns behind it are shifted back.

use std::borrow::Cow;

/// Characters of `\ud83d\ude00`, less those of `\U0001F600`.
const SAVED: usize = 2;

/// A text without pairs, and where they were: line from 1, column from 0, as in the new text.
pub(super) struct Joined<'a> {
    pub(super) text: Cow<'a, str>,
    pairs: Vec<(usize, usize)>,
}

impl<'a> Joined<'a> {
    /// A text whose escapes are those of YAML already.
    pub(super) const fn unchanged(text: Cow<'a, str>) -> Self {
        Self { text, pairs: Vec::new() }
    }

    /// Joins all pairs. Linear.
    pub(super) fn new(text: Cow<'a, str>) -> Self {
        let mut joined = String::with_capacity(text.len());
        let (mut rest, mut pairs, mut place) = (text.as_ref(), Vec::new(), (1, 0));
        while let Some(at) = rest.find('\\') {
            advance(&mut joined, &mut place, &rest[..at]);
            let escape = &rest[at..];
            let written = match pair(escape) {
                Some(character) => {
                    pairs.push(place);
                    advance(&mut joined, &mut place, &format!("\\U{:08X}", u32::from(character)));
                    12
                }
                None => {
                    let length = 1 + escape[1..].chars().next().map_or(0, char::len_utf8);
                    advance(&mut joined, &mut place, &escape[..length]);
                    length
                }
            };
            rest = &escape[written..];
        }
        if pairs.is_empty() {
            return Self::unchanged(text);
        }
        joined.push_str(rest);
        Self { text: joined.into(), pairs }
    }

    /// The column as it was written.
    pub(super) fn column(&self, line: usize, column: usize) -> usize {
        let before = |place: (usize, usize)| self.pairs.partition_point(|pair| *pair < place);
        column + SAVED * (before((line, column)) - before((line, 0)))
    }
}

fn advance(joined: &mut String, place: &mut (usize, usize), part: &str) {
    joined.push_str(part);
    match part.rsplit_once('\n') {
        Some((_, last)) => *place = (place.0 + part.matches('\n').count(), last.chars().count()),
        None => place.1 += part.chars().count(),
    }
}

/// The character that a text starts with, when it is written as a pair.
fn pair(text: &str) -> Option<char> {
    let unit = |from: usize| {
        let digits = text.get(from..from + 6)?.strip_prefix("\\u")?;
        digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| u16::from_str_radix(digits, 16).ok())?
    };
    let mut units = char::decode_utf16([unit(0)?, unit(6)?]);
    units.next()?.ok().filter(|character| character.len_utf16() == 2)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn joined(text: &str) -> String {
        Joined::new(text.into()).text.into_owned()
    }

    #[test]
    fn pairs_are_joined() {
        assert_eq!(joined(r#"["\ud83d\ude00", "\uD83D\uDE00"]"#), r#"["\U0001F600", "\U0001F600"]"#);
        assert_eq!(joined(r"a\\\ud83d\ude00"), r"a\\\U0001F600");
    }

    #[test]
    fn everything_else_is_left() {
        for text in [
            r"\\ud83d\ude00",
            r"\ud83d",
            r"\ud83dx\ude00",
            r"\ude00\ud83d",
            r"\u0041\u0042",
            r"\ud83d\ude0",
            r"\ud83d\u+e00",
            "\\",
            "é\\é",
        ] {
            assert_eq!(joined(text), text);
        }
    }

    #[test]
    fn columns_are_those_of_the_written_text() {
        let text = Joined::new("a\nb\\ud83d\\ude00c\\ud83d\\ude00d".into());
        assert_eq!([(1, 0), (2, 1), (2, 11), (2, 22)].map(|(line, column)| text.column(line, column)), [0, 1, 13, 26]);
    }

    proptest! {
        #[test]
        fn what_json_writes_in_pairs_is_read_back(characters in "[\u{10000}-\u{10ffff}a\\\\\"é]{0,9}") {
            let escape = |c: char| c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect::<String>();
            let written: String = characters.chars().map(escape).collect();
            let read: String = serde_json::from_str(&format!("\"{written}\"")).unwrap();
            prop_assert_eq!(&read, &characters);
            let mut problems = crate::Problems::default();
            let node = super::super::read(&format!("[\"{written}\"]"), &crate::Environment::empty(), &mut problems).unwrap();
            let super::super::Value::List(items) = &node.value else { panic!("a list") };
            prop_assert_eq!(items[0].text(), Some(characters.as_str()));
        }
    }
}
