//! Whether an answer holds a text, read piece by piece and no further than a limit.

/// A text that is looked for.
#[derive(Debug)]
pub(super) struct Search<'a> {
    wanted: &'a [u8],
    read: Vec<u8>,
    limit: usize,
    found: bool,
}

impl<'a> Search<'a> {
    /// Nothing is read yet; more than `limit` bytes never are. Without a text to look for it is found from the beginning.
    pub(super) const fn new(wanted: Option<&'a str>, limit: usize) -> Self {
        let (wanted, found): (&[u8], _) = match wanted {
            Some(text) => (text.as_bytes(), false),
            None => (&[], true),
        };
        Self { wanted, read: Vec::new(), limit, found }
    }

    /// Reads on.
    pub(super) fn read(&mut self, data: &[u8]) {
        let from = self.read.len().saturating_sub(self.wanted.len().saturating_sub(1));
        let room = self.limit - self.read.len();
        self.read.extend_from_slice(&data[..data.len().min(room)]);
        // A text of no bytes is not looked for.
        let length = self.wanted.len().max(1);
        self.found |= self.read[from..].windows(length).any(|part| part == self.wanted);
    }

    pub(super) const fn found(&self) -> bool {
        self.found
    }

    pub(super) const fn is_full(&self) -> bool {
        self.read.len() == self.limit
    }

    /// What was read.
    pub(super) fn text(&self) -> &[u8] {
        &self.read
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The same as in one piece, wherever the pieces end.
        #[test]
        fn pieces_do_not_matter(text in "[ab]{0,40}", wanted in "[ab]{1,4}", size in 1_usize..9, limit in 1_usize..50) {
            let mut search = Search::new(Some(&wanted), limit);
            text.as_bytes().chunks(size).for_each(|piece| search.read(piece));
            let whole = &text[..text.len().min(limit)];
            prop_assert_eq!(search.found(), whole.contains(&wanted));
            prop_assert_eq!(search.text(), whole.as_bytes());
            prop_assert_eq!(search.is_full(), text.len() >= limit);
        }
    }

    #[test]
    fn without_a_text_nothing_is_looked_for() {
        let mut search = Search::new(None, 4);
        assert!(search.found());
        search.read(b"");
        search.read(b"abcdef");
        assert!(search.found() && search.is_full());
        assert_eq!(search.text(), b"abcd");
    }
}
