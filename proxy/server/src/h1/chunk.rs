//! The line in front of a chunk.
//!
//! `1*16HEXDIG *( ";" token [ "=" ( token / quoted-string ) ] ) CRLF`, without the white space that RFC 9112 lets a
//! recipient pass over: origins differ in what they make of it. Extensions are checked and left out.

use super::scan;

/// The longest line in front of a chunk, extensions included, in bytes.
pub(super) const MAX_LINE: usize = 4096;

/// A line read whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    /// Bytes of data; 0 for the last chunk.
    pub(super) data: u64,
    /// Bytes of the line with its end.
    pub(super) line: usize,
}

/// Reads the line at the start of `buf`; `None` if more bytes are needed. Broken lines are refused as early as they show.
pub(super) fn read(buf: &[u8]) -> Result<Option<Size>, &'static str> {
    let (data, digits) = read_hex(buf)?;
    let mut at = digits;
    loop {
        if at > MAX_LINE {
            return Err("chunk_line_too_long");
        }
        match (buf.get(at), buf.get(at + 1)) {
            (None, _) => return Ok(None),
            (Some(_), _) if digits == 0 => return Err("chunk_size"),
            (Some(b'\r'), None) => return Ok(None),
            (Some(b'\r'), Some(b'\n')) => return Ok(Some(Size { data, line: at + 2 })),
            (Some(b';'), _) => match read_extension(buf, at + 1)? {
                Some(end) => at = end,
                None if buf.len() > MAX_LINE => return Err("chunk_line_too_long"),
                None => return Ok(None),
            },
            (Some(_), _) if at == digits => return Err("chunk_size"),
            (Some(_), _) => return Err("chunk_extension"),
        }
    }
}

fn read_hex(buf: &[u8]) -> Result<(u64, usize), &'static str> {
    let (mut value, mut at) = (0u64, 0);
    while let Some(digit) = buf.get(at).and_then(|b| char::from(*b).to_digit(16)) {
        if at == 16 {
            return Err("chunk_size");
        }
        value = value << 4 | u64::from(digit);
        at += 1;
    }
    Ok((value, at))
}

/// Reads `token [ "=" ( token / quoted-string ) ]`; says where it ends, `None` if that is not there yet.
fn read_extension(buf: &[u8], at: usize) -> Result<Option<usize>, &'static str> {
    let name = scan::token_end(buf, at);
    match buf.get(name) {
        None => return Ok(None),
        Some(_) if name == at => return Err("chunk_extension"),
        Some(b'=') => {}
        Some(_) => return Ok(Some(name)),
    }
    if buf.get(name + 1) == Some(&b'"') {
        return read_quoted(buf, name + 2);
    }
    let value = scan::token_end(buf, name + 1);
    match buf.get(value) {
        None => Ok(None),
        Some(_) if value == name + 1 => Err("chunk_extension"),
        Some(_) => Ok(Some(value)),
    }
}

fn read_quoted(buf: &[u8], mut at: usize) -> Result<Option<usize>, &'static str> {
    while let Some(byte) = buf.get(at) {
        match byte {
            b'"' => return Ok(Some(at + 1)),
            b'\\' => at += 1,
            b'\t' | 0x20..=0x7e | 0x80.. => {}
            _ => return Err("chunk_extension"),
        }
        if buf.get(at).is_some_and(|b| *b != b'\t' && (*b < 0x20 || *b == 0x7f)) {
            return Err("chunk_extension");
        }
        at += 1;
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_lines_are_read_whole() {
        for (text, data) in [
            ("0\r\n", 0),
            ("5\r\n", 5),
            ("aF\r\n", 0xaf),
            ("0000000000000010\r\n", 16),
            ("FFFFFFFFFFFFFFFF\r\n", u64::MAX),
            ("5;a\r\n", 5),
            ("5;a=b;c=d\r\n", 5),
            ("5;a=\"b; \\\" \\\\ \u{e9}\"\r\n", 5),
        ] {
            assert_eq!(read(text.as_bytes()), Ok(Some(Size { data, line: text.len() })), "{text:?}");
            for end in 0..text.len() {
                assert_eq!(read(&text.as_bytes()[..end]), Ok(None), "{text:?} cut at {end}");
            }
        }
    }

    #[test]
    fn broken_lines_are_refused() {
        let broken = "\r\n|x\r\n|+5\r\n|-1\r\n| 5\r\n|5 \r\n|5\t\r\n|0x5\r\n|1_0\r\n|00000000000000001\r\n|\
            FFFFFFFFFFFFFFFF0\r\n|5\n|5\rh|5;\r\n|5; a\r\n|5 ;a\r\n|5;a \r\n|5;a=\r\n|5;a =b\r\n|5;a= b\r\n|\
            5;a[=b\r\n|5;a=b[\r\n|5;\0a\r\n|5;a\rX|5;a\n|5;\n|5;a=\"b\r\n|5;a=\"\0\"\r\n|5;a=\"\\\r\n|\
            5;a=\"b\"c\r\n|5;;a\r\n|5,a\r\n|;a\r\n";
        for text in broken.split('|') {
            assert!(read(text.as_bytes()).is_err(), "{text:?}");
        }
        let long = format!("5;a={}", "b".repeat(MAX_LINE));
        assert_eq!(read(long.as_bytes()), Err("chunk_line_too_long"));
    }
}
