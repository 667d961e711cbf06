//! `${NAME}` in values.
//!
//! Substitution happens inside values after the text was parsed. Done on the text, a variable with a line break or a
//! colon in it could add fields and routes of its own.

use std::collections::BTreeMap;

/// The variables that a document may refer to. It is an argument: this crate reads nothing by itself.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// Without any variable: each `${NAME}` without a default is a problem.
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        Self(pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

/// The names only: values are often secret.
impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Why a text could not be substituted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ReferenceError {
    /// There is no such variable, and no default.
    Unset(String),
    /// `${` without a name or without `}`.
    Malformed(String),
    /// Longer than the bytes that are left.
    TooLong,
}

/// Replaces `${NAME}` and `${NAME:-default}` (for a variable that is unset or empty) by their values and `$$` by `$`.
/// A `$` before anything else stands for itself. Values are not substituted again. The result has at most `room` bytes.
pub(crate) fn substitute(text: &str, environment: &Environment, room: usize) -> Result<String, ReferenceError> {
    let mut result = String::with_capacity(text.len().min(room));
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        result.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        rest = if let Some(after) = after.strip_prefix('$') {
            result.push('$');
            after
        } else if let Some(after) = after.strip_prefix('{') {
            let end = after.find('}').ok_or_else(|| ReferenceError::Malformed(rest[at..].to_owned()))?;
            result.push_str(resolve(&after[..end], environment)?);
            &after[end + 1..]
        } else {
            result.push('$');
            after
        };
        if result.len() > room {
            return Err(ReferenceError::TooLong);
        }
    }
    result.push_str(rest);
    if result.len() > room { Err(ReferenceError::TooLong) } else { Ok(result) }
}

fn resolve<'a>(reference: &'a str, environment: &'a Environment) -> Result<&'a str, ReferenceError> {
    let (name, default) = match reference.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (reference, None),
    };
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if !starts_well || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return Err(ReferenceError::Malformed(format!("${{{reference}}}")));
    }
    match (environment.0.get(name), default) {
        (Some(value), None) => Ok(value),
        (Some(value), Some(_)) if !value.is_empty() => Ok(value),
        (_, Some(default)) => Ok(default),
        (None, None) => Err(ReferenceError::Unset(name.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::escape_references;
    use super::*;

    fn filled(text: &str) -> Result<String, ReferenceError> {
        let environment = Environment::from_iter([("A", "one"), ("EMPTY", ""), ("B_2", "${A}")]);
        substitute(text, &environment, 100)
    }

    #[test]
    fn references_are_replaced() {
        assert_eq!(filled("x${A}y${A}"), Ok("xoney".to_owned() + "one"));
        assert_eq!(filled("${C:-d}${EMPTY:-e}${EMPTY}${A:-f}"), Ok("deone".to_owned()));
        assert_eq!(filled("${C:-}"), Ok(String::new()));
    }

    #[test]
    fn values_are_not_read_again() {
        assert_eq!(filled("${B_2}"), Ok("${A}".to_owned()));
    }

    #[test]
    fn a_dollar_can_be_written() {
        assert_eq!(filled("^/a$"), Ok("^/a$".to_owned()));
        assert_eq!(filled("$${A} $5 $$$$"), Ok("${A} $5 $$".to_owned()));
    }

    #[test]
    fn what_is_wrong_is_told() {
        assert_eq!(filled("${C}"), Err(ReferenceError::Unset("C".to_owned())));
        assert_eq!(filled("a${A"), Err(ReferenceError::Malformed("${A".to_owned())));
        assert_eq!(filled("${}"), Err(ReferenceError::Malformed("${}".to_owned())));
        assert_eq!(filled("${1A}"), Err(ReferenceError::Malformed("${1A}".to_owned())));
        assert_eq!(
            substitute(&"${A}".repeat(40), &Environment::from_iter([("A", "one")]), 100),
            Err(ReferenceError::TooLong)
        );
    }

    #[test]
    fn values_are_not_printed() {
        assert!(!format!("{:?}", Environment::from_iter([("TOKEN", "hunter2")])).contains("hunter2"));
    }

    proptest! {
        #[test]
        fn what_is_escaped_is_read_back(text in "[${}A:-]{0,20}") {
            prop_assert_eq!(filled(&escape_references(&text)), Ok(text));
        }
    }
}
