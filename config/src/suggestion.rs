//! "Did you mean": the nearest of the words that would have been right.

/// Comparisons that one validation may spend. With thousands of services and thousands of misspelt names the product
/// would be the slowest part of all, and nobody reads the thousandth suggestion.
const COMPARISONS: usize = 200_000;

/// The nearest of `words`, if one is near enough to be what was meant: a third of the letters, and at least one, may differ.
pub fn nearest<'a>(word: &str, words: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    Suggestions::new().nearest(word, words.into_iter())
}

/// What is left to spend on suggestions.
#[derive(Debug)]
pub(crate) struct Suggestions {
    left: usize,
}

impl Suggestions {
    pub(crate) const fn new() -> Self {
        Self { left: COMPARISONS }
    }

    /// A hint that names the [`nearest`](Self::nearest) word.
    pub(crate) fn hint<'a>(&mut self, word: &str, words: impl Iterator<Item = &'a str>) -> Option<String> {
        self.nearest(word, words).map(|candidate| format!("did you mean `{candidate}`?"))
    }

    /// The nearest of `words`, if one is near: a third of the letters, and at least one, may differ.
    pub(crate) fn nearest<'a>(&mut self, word: &str, words: impl Iterator<Item = &'a str>) -> Option<&'a str> {
        let allowed = (word.chars().count() / 3).max(1);
        let folded = word.to_ascii_lowercase().replace('-', "_");
        let mut best: Option<(usize, &str)> = None;
        for candidate in words {
            self.left = self.left.checked_sub(1)?;
            let far = candidate.len().abs_diff(word.len()) > allowed;
            let distance = if far {
                usize::MAX
            } else {
                strsim::osa_distance(&folded, &candidate.to_ascii_lowercase().replace('-', "_"))
            };
            if distance <= allowed && best.is_none_or(|(least, _)| distance < least) {
                best = Some((distance, candidate));
            }
        }
        best.map(|(_, candidate)| candidate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nearest(word: &str) -> Option<String> {
        Suggestions::new().hint(word, ["weight", "name", "health_check"].into_iter())
    }

    #[test]
    fn a_slip_is_recognised() {
        assert_eq!(nearest("wieght").as_deref(), Some("did you mean `weight`?"));
        assert_eq!(nearest("health-check").as_deref(), Some("did you mean `health_check`?"));
        assert_eq!(nearest("Name").as_deref(), Some("did you mean `name`?"));
        assert_eq!(nearest("colour"), None);
    }

    #[test]
    fn the_cost_is_bounded() {
        let words: Vec<String> = (0..=COMPARISONS).map(|n| format!("w{n}")).collect();
        let mut suggestions = Suggestions::new();
        assert_eq!(suggestions.nearest("w999999", words.iter().map(String::as_str)), None);
        assert_eq!(suggestions.nearest("weigth", ["weight"].into_iter()), None);
    }
}
