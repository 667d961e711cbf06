//! What makes one text out of another: the pieces that differ.
//!
//! A document of ten thousand routes of which one changed is sent as that one. The texts are JSON, where a thing ends at a
//! comma or a bracket, so they are compared in pieces that end there: by Histogram diff, as version control compares lines.

use std::fmt;

use imara_diff::{Algorithm, Diff, InternedInput, TokenSource};
use serde::{Deserialize, Serialize};

/// What makes one text out of another. Empty when they are equal.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Patch(Vec<Splice>);

/// A piece of the old text and what stands in its place. Places are bytes of the old text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Splice {
    at: usize,
    cut: usize,
    put: String,
}

/// A patch that was not made for this text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Misfit;

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the patch was made for another text")
    }
}

impl std::error::Error for Misfit {}

impl Patch {
    /// What makes `new` of `old`. About linear in their lengths.
    #[must_use]
    pub fn between(old: &str, new: &str) -> Self {
        let input = InternedInput::new(Pieces(old), Pieces(new));
        let diff = Diff::compute(Algorithm::Histogram, &input);
        let (before, after) = (offsets(old), offsets(new));
        let splice = |hunk: imara_diff::Hunk| {
            let place = |offsets: &[usize], piece: u32| offsets[piece as usize];
            let at = place(&before, hunk.before.start);
            let put = place(&after, hunk.after.start)..place(&after, hunk.after.end);
            Splice { at, cut: place(&before, hunk.before.end) - at, put: new[put].to_owned() }
        };
        Self(diff.hunks().map(splice).collect())
    }

    /// Whether it changes nothing.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The new text.
    ///
    /// # Errors
    /// When `old` cannot be the text that the patch was made for. That it is, only a digest of the result can tell.
    pub fn apply(&self, old: &str) -> Result<String, Misfit> {
        let mut new = String::with_capacity(old.len());
        let mut done = 0;
        for Splice { at, cut, put } in &self.0 {
            let end = at.checked_add(*cut).ok_or(Misfit)?;
            new.push_str(old.get(done..*at).ok_or(Misfit)?);
            old.get(*at..end).ok_or(Misfit)?;
            new.push_str(put);
            done = end;
        }
        new.push_str(old.get(done..).ok_or(Misfit)?);
        Ok(new)
    }
}

/// A text as pieces that end where a thing ends.
struct Pieces<'a>(&'a str);

impl<'a> Pieces<'a> {
    fn split(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.0.split_inclusive([',', '{', '}', '[', ']'])
    }
}

impl<'a> TokenSource for Pieces<'a> {
    type Token = &'a str;
    type Tokenizer = Box<dyn Iterator<Item = &'a str> + 'a>;

    fn tokenize(&self) -> Self::Tokenizer {
        Box::new(self.split())
    }

    fn estimate_tokens(&self) -> u32 {
        u32::try_from(self.0.len() / 16).unwrap_or(u32::MAX)
    }
}

/// Where each piece begins, and where the last ends.
fn offsets(text: &str) -> Vec<usize> {
    let ends = Pieces(text).split().scan(0, |end, piece| {
        *end += piece.len();
        Some(*end)
    });
    std::iter::once(0).chain(ends).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn routes(count: usize, odd: usize) -> String {
        let route =
            |at: usize| format!(r#"{{"match":{{"path":"/{at}"}},"service":"s{}"}}"#, at * usize::from(at == odd));
        format!("[{}]", (0..count).map(route).collect::<Vec<_>>().join(","))
    }

    #[test]
    fn one_change_among_many_is_one_splice() {
        let (old, new) = (routes(10_000, 0), routes(10_000, 5_000));
        let patch = Patch::between(&old, &new);
        assert_eq!(patch.apply(&old).as_ref(), Ok(&new));
        let size = serde_json::to_string(&patch).unwrap().len();
        assert!(size < 100, "{size} bytes for a text of {}", new.len());
        assert!(Patch::between(&old, &old).is_empty());
    }

    #[test]
    fn a_patch_for_another_text_is_a_misfit_and_no_panic() {
        let patch = Patch::between("[a,b]", "[a,c,d]");
        assert_eq!(patch.apply(""), Err(Misfit));
        let wild = Patch(vec![Splice { at: 4, cut: usize::MAX, put: String::new() }]);
        assert_eq!(wild.apply("[a,b]"), Err(Misfit));
        let backwards = [Splice { at: 4, cut: 1, put: String::new() }, Splice { at: 1, cut: 1, put: String::new() }];
        assert_eq!(Patch(backwards.to_vec()).apply("[a,b]"), Err(Misfit));
        let split = Patch(vec![Splice { at: 1, cut: 1, put: String::new() }]);
        assert_eq!(split.apply("é"), Err(Misfit));
    }

    proptest! {
        #[test]
        fn a_patch_makes_the_new_text(old in "[a-c,{}é]{0,40}", new in "[a-c,{}é]{0,40}") {
            let patch = Patch::between(&old, &new);
            prop_assert_eq!(patch.apply(&old), Ok(new.clone()));
            prop_assert_eq!(patch.is_empty(), old == new);
        }
    }
}
