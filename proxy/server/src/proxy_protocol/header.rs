//! The header of the PROXY protocol, version 1 (a line of text) and version 2 (binary).
//!
//! Read piece by piece: from what has been read follows how much may be read without taking a byte that is not the
//! header's. Strict: what the specification does not allow is refused, because two readers that differ about the header
//! differ about everything behind it. What may follow the addresses in version 2 is passed over, its checksum too: whoever
//! could alter the header could alter the checksum.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

/// What begins every header of version 2.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// What begins every header of version 1.
const WORD: &[u8] = b"PROXY ";
/// The shortest header, which is one of version 1: `PROXY UNKNOWN`.
const SHORTEST: usize = 15;
/// A longer line is none (section 2.1).
const LONGEST: usize = 107;
/// Signature, version and command, family, length.
const FIXED: usize = 16;
/// What may follow these in version 2. Addresses take at most 216; certificates told in it some hundred.
const MOST: usize = 2048;

/// What a whole header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Said {
    /// The proxy speaks for itself (`LOCAL`).
    Own,
    /// It carries one of whom it says no address (`UNKNOWN`, or a Unix socket).
    Unknown,
    /// It carries another.
    Carried {
        /// Where that one came from.
        source: SocketAddr,
        /// And where it connected to.
        destination: SocketAddr,
    },
}

/// What a header has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// So many more bytes are certainly its own. At least one.
    Read(usize),
    /// It is whole.
    Whole(Said),
}

/// Why what came is no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bad {
    /// It begins as something else.
    Missing,
    /// It breaks a rule.
    Malformed,
    /// It is longer than any may be.
    TooLong,
}

/// What these bytes, which begin with the header and hold nothing behind it, have come to.
///
/// # Errors
/// When no header begins like this.
pub(crate) fn step(read: &[u8]) -> Result<Step, Bad> {
    let begins = |whole: &[u8]| read.iter().zip(whole).all(|(a, b)| a == b);
    if read.is_empty() {
        Ok(Step::Read(SHORTEST))
    } else if begins(SIGNATURE) {
        binary(read)
    } else if begins(WORD) {
        text(read)
    } else {
        Err(Bad::Missing)
    }
}

fn text(read: &[u8]) -> Result<Step, Bad> {
    match read.iter().position(|byte| *byte == b'\n') {
        Some(end) if end + 1 == read.len() => line(read).map(Step::Whole).ok_or(Bad::Malformed),
        Some(_) => Err(Bad::Malformed),
        None if read.len() >= LONGEST => Err(Bad::TooLong),
        None => Ok(Step::Read(SHORTEST.saturating_sub(read.len()).max(1))),
    }
}

fn line(line: &[u8]) -> Option<Said> {
    let line = std::str::from_utf8(line.strip_suffix(b"\r\n")?.strip_prefix(WORD)?).ok()?;
    let mut words = line.split(' ');
    let family = words.next()?;
    if family == "UNKNOWN" {
        return Some(Said::Unknown);
    }
    let mut address = || {
        let word = words.next()?;
        match family {
            "TCP4" => word.parse::<Ipv4Addr>().ok().map(std::net::IpAddr::V4),
            "TCP6" => word.parse::<Ipv6Addr>().ok().map(std::net::IpAddr::V6),
            _ => None,
        }
    };
    let (source, destination) = (address()?, address()?);
    let (from, to) = (number(words.next()?)?, number(words.next()?)?);
    let said = Said::Carried { source: SocketAddr::new(source, from), destination: SocketAddr::new(destination, to) };
    words.next().is_none().then_some(said)
}

/// Digits without a sign or leading zeros.
fn number(word: &str) -> Option<u16> {
    let plain = word.bytes().all(|byte| byte.is_ascii_digit()) && (word == "0" || !word.starts_with('0'));
    plain.then(|| word.parse().ok()).flatten()
}

fn binary(read: &[u8]) -> Result<Step, Bad> {
    let Some((fixed, rest)) = read.split_first_chunk::<FIXED>() else {
        return Ok(Step::Read(FIXED - read.len()));
    };
    let [.., command, family, high, low] = *fixed;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > MOST {
        return Err(Bad::TooLong);
    }
    if !matches!(command, 0x20 | 0x21) {
        return Err(Bad::Malformed);
    }
    match length.checked_sub(rest.len()) {
        Some(0) => carried(command, family, rest).map(Step::Whole).ok_or(Bad::Malformed),
        Some(missing) => Ok(Step::Read(missing)),
        None => Err(Bad::Malformed),
    }
}

fn carried(command: u8, family: u8, rest: &[u8]) -> Option<Said> {
    match (command, family) {
        // Who speaks for itself may say anything of a family (section 2.2).
        (0x20, _) => Some(Said::Own),
        (_, 0x00) => Some(Said::Unknown),
        (_, 0x11) => {
            let (source, rest) = rest.split_first_chunk::<4>()?;
            let (destination, rest) = rest.split_first_chunk::<4>()?;
            Some(with_ports(Ipv4Addr::from(*source).into(), Ipv4Addr::from(*destination).into(), rest.first_chunk()?))
        }
        (_, 0x21) => {
            let (source, rest) = rest.split_first_chunk::<16>()?;
            let (destination, rest) = rest.split_first_chunk::<16>()?;
            Some(with_ports(Ipv6Addr::from(*source).into(), Ipv6Addr::from(*destination).into(), rest.first_chunk()?))
        }
        // A Unix socket: two paths of 108 bytes.
        (_, 0x31) => (rest.len() >= 216).then_some(Said::Unknown),
        _ => None,
    }
}

const fn with_ports(source: std::net::IpAddr, destination: std::net::IpAddr, ports: &[u8; 4]) -> Said {
    let [a, b, c, d] = *ports;
    Said::Carried {
        source: SocketAddr::new(source, u16::from_be_bytes([a, b])),
        destination: SocketAddr::new(destination, u16::from_be_bytes([c, d])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn carried(source: &str, destination: &str) -> Result<Step, Bad> {
        let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
        Ok(Step::Whole(Said::Carried { source, destination }))
    }

    /// Version 2 with this command, family and rest.
    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [SIGNATURE, &[command, family], &length, rest].concat()
    }

    #[test]
    fn lines_are_read() {
        let v4 = step(b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 443\r\n");
        assert_eq!(v4, carried("192.0.2.7:4711", "10.0.0.1:443"));
        let v6 = step(b"PROXY TCP6 2001:db8::7 ::1 0 65535\r\n");
        assert_eq!(v6, carried("[2001:db8::7]:0", "[::1]:65535"));
        for unknown in ["PROXY UNKNOWN\r\n", "PROXY UNKNOWN ffff::1 whatever  1 2\r\n"] {
            assert_eq!(step(unknown.as_bytes()), Ok(Step::Whole(Said::Unknown)));
        }
    }

    #[test]
    fn bad_lines_are_refused() {
        for bad in [
            "PROXY TCP4 192.0.2.7 10.0.0.1 4711 443\n",
            "PROXY TCP4  192.0.2.7 10.0.0.1 4711 443\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 4711 443 \r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 4711\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 4711 443 1\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 +80 443\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 080 443\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 65536 443\r\n",
            "PROXY TCP4 192.0.2.07 10.0.0.1 1 443\r\n",
            "PROXY TCP4 ::1 ::1 1 443\r\n",
            "PROXY TCP6 192.0.2.7 10.0.0.1 1 443\r\n",
            "PROXY TCP 192.0.2.7 10.0.0.1 1 443\r\n",
            "PROXY tcp4 192.0.2.7 10.0.0.1 1 443\r\n",
            "PROXY UNKNOWNS\r\n",
            "PROXY  UNKNOWN\r\n",
            "PROXY \r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 1 443\r\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 1 443\r\nGET",
        ] {
            assert_eq!(step(bad.as_bytes()), Err(Bad::Malformed), "{bad:?}");
        }
        assert_eq!(step(format!("PROXY UNKNOWN {}", "x".repeat(93)).as_bytes()), Err(Bad::TooLong));
        let longest = format!("PROXY UNKNOWN {}\r\n", "x".repeat(91));
        assert_eq!((longest.len(), step(longest.as_bytes())), (107, Ok(Step::Whole(Said::Unknown))));
    }

    #[test]
    fn binary_headers_are_read() {
        let v4 = [192, 0, 2, 7, 10, 0, 0, 1, 0x12, 0x67, 0x01, 0xbb];
        assert_eq!(step(&v2(0x21, 0x11, &v4)), carried("192.0.2.7:4711", "10.0.0.1:443"));
        // Whatever may follow, a wrong checksum among it.
        let with_more = [&v4[..], &[0x03, 0, 4, 1, 2, 3, 4, 0x04, 0, 0, 0xff]].concat();
        assert_eq!(step(&v2(0x21, 0x11, &with_more)), carried("192.0.2.7:4711", "10.0.0.1:443"));
        let mut v6 = [0; 36];
        (v6[15], v6[31], v6[33]) = (7, 1, 80);
        assert_eq!(step(&v2(0x21, 0x21, &v6)), carried("[::7]:80", "[::1]:0"));
        let (own, unknown) = (Ok(Step::Whole(Said::Own)), Ok(Step::Whole(Said::Unknown)));
        assert_eq!(step(&v2(0x20, 0x00, &[])), own);
        assert_eq!(step(&v2(0x20, 0x11, &v4)), own);
        assert_eq!(step(&v2(0x20, 0x11, &[])), own);
        assert_eq!(step(&v2(0x21, 0x00, &[1, 2, 3])), unknown);
        assert_eq!(step(&v2(0x21, 0x31, &[0; 216])), unknown);
    }

    #[test]
    fn bad_binary_headers_are_refused() {
        let v4 = [0; 12];
        for (command, family, rest) in [
            (0x11, 0x11, &v4[..]),
            (0x22, 0x11, &v4),
            (0x31, 0x11, &v4),
            (0x21, 0x11, &v4[..11]),
            (0x21, 0x21, &v4),
            (0x21, 0x31, &v4),
            (0x21, 0x12, &v4),
            (0x21, 0x10, &v4),
            (0x21, 0x41, &v4),
            (0x21, 0x01, &v4),
        ] {
            assert_eq!(step(&v2(command, family, rest)), Err(Bad::Malformed), "{command:#x} {family:#x}");
        }
        assert_eq!(step(&[SIGNATURE, &[0x21, 0x11, 0x08, 0x01]].concat()), Err(Bad::TooLong));
        assert_eq!(step(&[&v2(0x21, 0x11, &v4)[..], b"G"].concat()), Err(Bad::Malformed));
    }

    #[test]
    fn what_begins_otherwise_is_seen_at_its_first_byte_that_differs() {
        for missing in [&b"GET"[..], b"PROXX", b"\r\n\r\n\r", b"\x16\x03\x01", b"PRI * "] {
            assert_eq!(step(missing), Err(Bad::Missing), "{missing:?}");
            assert!(step(&missing[..missing.len() - 1]).is_err() || missing[0] != b'G');
        }
        assert_eq!(step(b""), Ok(Step::Read(15)));
        assert_eq!(step(b"\r"), Ok(Step::Read(15)));
        assert_eq!(step(b"P"), Ok(Step::Read(14)));
        assert_eq!(step(b"PROXY TCP4 1"), Ok(Step::Read(3)));
        assert_eq!(step(b"PROXY TCP4 192.0.2"), Ok(Step::Read(1)));
    }
}
