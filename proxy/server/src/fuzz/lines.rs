//! Messages of a control plane, one a line. The first byte is the length of the pieces in which they arrive.

use bytes::Bytes;

use super::first;
use crate::control::lines::{Lines, TooLong};

const LONGEST: usize = 64;

pub(super) fn check(data: &[u8]) {
    let (piece, stream) = first(data);
    let whole = read(stream, usize::MAX);
    assert_eq!(read(stream, usize::from(piece).max(1)), whole);
    let Ok(found) = whole else { return };
    assert!(found.iter().all(|line| !line.is_empty() && line.len() <= LONGEST && !line.contains(&b'\n')));
    let mut ended: Vec<&[u8]> = stream.split(|byte| *byte == b'\n').collect();
    ended.pop();
    ended.retain(|line| !line.iter().all(u8::is_ascii_whitespace));
    assert_eq!(found, ended);
}

fn read(stream: &[u8], piece: usize) -> Result<Vec<Bytes>, TooLong> {
    let (mut lines, mut found) = (Lines::new(LONGEST), Vec::new());
    for piece in stream.chunks(piece.max(1)) {
        lines.push(piece);
        while let Some(line) = lines.next()? {
            found.push(line);
        }
    }
    Ok(found)
}
