//! Messages out of a stream of bytes: one a line.

use bytes::{Bytes, BytesMut};
use sluice_config::limit;

/// The longest line. A document has at most [`limit::BYTES`] as JSON text, which as a string inside JSON is at most twice
/// as long, since of its characters only quotes and backslashes are escaped; an overlay gets as much again as a document.
pub(crate) const LONGEST: usize = 3 * limit::BYTES;

/// A line that is longer than allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooLong;

/// What has come and is no whole line yet.
#[derive(Debug)]
pub(crate) struct Lines {
    buffer: BytesMut,
    /// So many bytes of it hold no line end.
    searched: usize,
    longest: usize,
}

impl Lines {
    pub(crate) fn new(longest: usize) -> Self {
        Self { buffer: BytesMut::new(), searched: 0, longest }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole line, without its end. Empty lines are passed over: they keep a connection warm. Linear in what was
    /// pushed.
    pub(crate) fn next(&mut self) -> Result<Option<Bytes>, TooLong> {
        loop {
            let Some(at) = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n') else {
                self.searched = self.buffer.len();
                return if self.searched > self.longest { Err(TooLong) } else { Ok(None) };
            };
            let line = self.buffer.split_to(self.searched + at + 1).freeze();
            self.searched = 0;
            let line = line.slice(..line.len() - 1);
            if line.len() > self.longest {
                return Err(TooLong);
            }
            if !line.iter().all(u8::is_ascii_whitespace) {
                return Ok(Some(line));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(lines: &mut Lines) -> Result<Vec<Bytes>, TooLong> {
        let mut found = Vec::new();
        while let Some(line) = lines.next()? {
            found.push(line);
        }
        Ok(found)
    }

    #[test]
    fn lines_are_bounded_whether_they_end_or_not() {
        for text in ["12345\n", "12345"] {
            let mut lines = Lines::new(4);
            lines.push(text.as_bytes());
            assert_eq!(lines.next(), Err(TooLong), "{text:?}");
        }
        let mut lines = Lines::new(4);
        lines.push(b"1234\n\n \r\n12");
        assert_eq!(all(&mut lines), Ok(vec![Bytes::from_static(b"1234")]));
    }

    proptest! {
        #[test]
        fn how_bytes_are_cut_into_pieces_changes_nothing(
            texts in prop::collection::vec("[a-c]{1,9}", 0..8),
            cuts in prop::collection::vec(1_usize..7, 0..40),
        ) {
            let stream: Vec<u8> = texts.iter().flat_map(|text| format!("{text}\n").into_bytes()).collect();
            let (mut lines, mut rest, mut found) = (Lines::new(9), stream.as_slice(), Vec::new());
            for cut in cuts.into_iter().chain([usize::MAX]) {
                let (piece, after) = rest.split_at(cut.min(rest.len()));
                lines.push(piece);
                found.extend(all(&mut lines).unwrap());
                rest = after;
            }
            prop_assert_eq!(found, texts.into_iter().map(Bytes::from).collect::<Vec<_>>());
        }
    }
}
