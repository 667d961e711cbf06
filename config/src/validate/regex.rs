//! The one place where a path's regular expression is compiled.

use regex::{Regex, RegexBuilder};

use crate::limit;

/// Compiles a regular expression so that it matches whole paths only.
///
/// [`validate`](crate::validate) proves that this succeeds, and the proxy compiles with the same function, so a document
/// that was accepted cannot fail later.
///
/// # Errors
/// When the text is longer than [`limit::REGEX_BYTES`], is not a regular expression, or compiles to more than
/// [`limit::REGEX_SIZE`] bytes.
pub fn path_regex(text: &str) -> Result<Regex, regex::Error> {
    if text.len() > limit::REGEX_BYTES {
        return Err(regex::Error::CompiledTooBig(limit::REGEX_BYTES));
    }
    // Alone first: `a)|(b` is no expression, and in brackets it would become one.
    compile(text)?;
    compile(&format!("^(?:{text})$"))
}

fn compile(text: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(text).size_limit(limit::REGEX_SIZE).dfa_size_limit(limit::REGEX_SIZE).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_path_is_matched() {
        let regex = path_regex("/a|/b").unwrap();
        assert!(regex.is_match("/a") && regex.is_match("/b") && !regex.is_match("/ab") && !regex.is_match("/a/b"));
    }

    #[test]
    fn expressions_cannot_leave_their_brackets() {
        for text in ["a)|(b", "(", "(?x)a # comment", "\\"] {
            assert!(path_regex(text).is_err(), "{text}");
        }
    }

    #[test]
    fn large_expressions_are_refused() {
        assert!(matches!(path_regex("(?:a{100}){100}"), Err(regex::Error::CompiledTooBig(_))));
        assert!(path_regex(&"a".repeat(limit::REGEX_BYTES + 1)).is_err());
    }
}
