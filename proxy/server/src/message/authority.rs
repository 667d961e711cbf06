//! The host and port that a client names.
//!
//! Narrower than RFC 3986: a host is a name of letters, digits, `-`, `_` and `.`, or an IP address. What the grammar
//! also allows (commas, percent signs, user names) has no meaning in a Host field and is read differently by different
//! servers behind a proxy, which is how requests reach the wrong one.

use std::net::Ipv6Addr;

use super::Refused;

/// Checks `host [":" port]` and says where the host ends.
pub(super) fn check(authority: &[u8]) -> Result<usize, Refused> {
    let (end, port) = split(authority)?;
    match port {
        Some(port) if !is_port(port) => Err(Refused::bad("host_port")),
        _ => Ok(end),
    }
}

fn split(authority: &[u8]) -> Result<(usize, Option<&[u8]>), Refused> {
    if authority.first() == Some(&b'[') {
        return split_literal(authority);
    }
    let end = name_end(authority);
    match authority.get(end) {
        _ if end == 0 => Err(Refused::bad("host_name")),
        None => Ok((end, None)),
        Some(b':') => Ok((end, authority.get(end + 1..))),
        Some(_) => Err(Refused::bad("host_name")),
    }
}

fn split_literal(authority: &[u8]) -> Result<(usize, Option<&[u8]>), Refused> {
    let end = authority.iter().position(|b| *b == b']').ok_or(Refused::bad("host_name"))?;
    let inside = std::str::from_utf8(&authority[1..end]).map_err(|_| Refused::bad("host_name"))?;
    inside.parse::<Ipv6Addr>().map_err(|_| Refused::bad("host_name"))?;
    match authority.get(end + 1) {
        None => Ok((end + 1, None)),
        Some(b':') => Ok((end + 1, authority.get(end + 2..))),
        Some(_) => Err(Refused::bad("host_port")),
    }
}

/// Where the name of a host ends: at a byte that cannot stand in it, an empty label among them.
fn name_end(authority: &[u8]) -> usize {
    let mut last = DOT;
    for (at, byte) in authority.iter().enumerate() {
        let class = CLASS[usize::from(*byte)];
        if class & last != 0 || class == 0 {
            return at;
        }
        last = class & DOT;
    }
    authority.len()
}

const LETTER: u8 = 1;
const DOT: u8 = 2;

/// What stands in names of hosts.
const CLASS: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0u8;
    while byte < 128 {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') {
            table[byte as usize] = LETTER;
        }
        byte += 1;
    }
    table[b'.' as usize] = DOT;
    table
};

fn is_port(port: &[u8]) -> bool {
    let digits = (1..=5).contains(&port.len()) && port.iter().all(u8::is_ascii_digit);
    digits && port.iter().fold(0, |value, digit| value * 10 + u32::from(digit - b'0')) <= 65_535
}

/// Whether two authorities mean the same place, the port of the scheme being the default one.
pub(super) fn agree(one: &[u8], other: &[u8], default_port: &[u8]) -> bool {
    without_port(one, default_port).eq_ignore_ascii_case(without_port(other, default_port))
}

fn without_port<'a>(authority: &'a [u8], port: &[u8]) -> &'a [u8] {
    authority.strip_suffix(port).and_then(|rest| rest.strip_suffix(b":")).unwrap_or(authority)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_or_addresses_with_a_port() {
        for good in
            ["a", "a.b", "a.b.", "a_b", "1.2.3.4", "a:1", "a:65535", "[::1]", "[::1]:80", "xn--a", "A-b.c:08080"]
        {
            assert!(check(good.as_bytes()).is_ok(), "{good}");
        }
        let bad = [
            "",
            ":80",
            ".",
            ".a",
            "a..b",
            "a b",
            "a,b",
            "u@a",
            "a/b",
            "a:",
            "a:x",
            "a:-1",
            "a:65536",
            "a:000080",
            "a:5555555555555555",
            "a:1:2",
            "[::1",
            "[]",
            "[::1]x",
            "[::1]:",
            "[::g]",
            "[fe80::1%25eth0]",
            "::1",
            "a%41",
            "a\\b",
            "caf\u{e9}",
            "a?b",
            "a#b",
            "*.a",
            "a\t",
            "a;b",
            "a'b",
        ];
        for bad in bad {
            assert!(check(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_default_port_makes_no_difference() {
        assert!(agree(b"A.b:80", b"a.B", b"80"));
        assert!(!agree(b"a.b:81", b"a.b", b"80"));
        assert!(!agree(b"a.b:443", b"a.b", b"80"));
    }
}
