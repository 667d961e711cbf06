//! Finding the first byte that is not of a class, many at a time, without a branch per byte.
//!
//! Whole blocks are cleared by a test that compiles to vector instructions; the block that fails is searched by words.
//! The word tests borrow from one byte into the next only above a byte that was found, so the lowest mark is exact.

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;
const BLOCK: usize = 16;

/// The highest bit of each byte tells: below `limit` or DEL. Bytes from 0x80 on are never marked.
const fn below_or_delete(word: u64, limit: u8) -> u64 {
    (word.wrapping_sub(ONES * limit as u64) | (word ^ (ONES * 0x7f)).wrapping_sub(ONES)) & !word & HIGH
}

/// The first place from `at` on of a byte that is marked by `word`, which agrees with `byte`; the length if there is none.
#[inline(always)]
fn find(buf: &[u8], mut at: usize, word: impl Fn(u64) -> u64, byte: impl Fn(u8) -> bool) -> usize {
    while let Some(block) = buf.get(at..).and_then(|rest| rest.first_chunk::<BLOCK>()) {
        if block.iter().fold(false, |found, b| found | byte(*b)) {
            break;
        }
        at += BLOCK;
    }
    while let Some(chunk) = buf.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let marks = word(u64::from_le_bytes(*chunk));
        if marks != 0 {
            return at + (marks.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    while let Some(b) = buf.get(at) {
        if byte(*b) {
            return at;
        }
        at += 1;
    }
    at
}

/// The first control byte (HTAB too) from `at` on.
#[inline]
pub(super) fn control(buf: &[u8], at: usize) -> usize {
    find(buf, at, |word| below_or_delete(word, 0x20), |b| (b < 0x20) | (b == 0x7f))
}

/// The first byte from `at` on that is not visible ASCII.
#[inline]
pub(super) fn invisible(buf: &[u8], at: usize) -> usize {
    find(buf, at, |word| below_or_delete(word, 0x21) | (word & HIGH), |b| !(0x21..0x7f).contains(&b))
}

/// The first byte from `at` on that is a colon or not visible ASCII.
#[inline]
pub(super) fn colon(buf: &[u8], mut at: usize) -> usize {
    while let Some(chunk) = buf.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*chunk);
        let colons = (word ^ (ONES * b':' as u64)).wrapping_sub(ONES) & !word & HIGH;
        let marks = below_or_delete(word, 0x21) | (word & HIGH) | colons;
        if marks != 0 {
            return at + (marks.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    while buf.get(at).is_some_and(|b| b.is_ascii_graphic() && *b != b':') {
        at += 1;
    }
    at
}

/// The first byte from `at` on that is no token character.
#[inline]
pub(super) fn token_end(buf: &[u8], mut at: usize) -> usize {
    while buf.get(at).is_some_and(|b| TOKEN[usize::from(*b)]) {
        at += 1;
    }
    at
}

/// Token characters (RFC 9110, 5.6.2).
const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0u8;
    while byte < 128 {
        table[byte as usize] = byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
            );
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn words_find_what_bytes_find(buf in proptest::collection::vec(any::<u8>(), 0..40), at in 0usize..8) {
            let at = at.min(buf.len());
            let first = |bad: fn(u8) -> bool| buf[at..].iter().position(|b| bad(*b)).map_or(buf.len(), |i| at + i);
            prop_assert_eq!(control(&buf, at), first(|b| b < 0x20 || b == 0x7f));
            prop_assert_eq!(invisible(&buf, at), first(|b| !b.is_ascii_graphic()));
            prop_assert_eq!(colon(&buf, at), first(|b| !b.is_ascii_graphic() || b == b':'));
        }

        #[test]
        fn a_single_bad_byte_is_found_anywhere(byte: u8, place in 0usize..32, fill in prop::sample::select(vec![b' ', b'!', 0x80u8, 0xff])) {
            let mut buf = [fill; 32];
            buf[place] = byte;
            prop_assert_eq!(control(&buf, 0), if byte < 0x20 || byte == 0x7f { place } else { 32 });
        }
    }
}
