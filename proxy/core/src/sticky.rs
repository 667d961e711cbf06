//! Decides which bytes of a request identify its user to a sticky split.
//!
//! The bytes are hashed as they are: a value that differs in case or by a percent sign is another user. An address is
//! its network form, and an IPv4 address that arrives inside of an IPv6 one is the IPv4 one: the same client must not
//! change its version with the listener that it comes by.
//!
//! Invariant: no allocation; the answer depends on nothing but the arguments.

use std::net::IpAddr;

/// The value of the first cookie of this name (RFC 6265, section 5.4) in the values of a request's Cookie fields.
pub fn cookie<'a>(mut fields: impl Iterator<Item = &'a [u8]>, name: &str) -> Option<&'a [u8]> {
    fields.find_map(|field| {
        let mut pairs = field.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        pairs.find_map(|pair| pair.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
    })
}

/// Of a client's address, with the length that counts.
#[must_use]
pub fn address(client: IpAddr) -> ([u8; 16], usize) {
    let mut bytes = [0; 16];
    let length = match client.to_canonical() {
        IpAddr::V4(address) => {
            bytes[..4].copy_from_slice(&address.octets());
            4
        }
        IpAddr::V6(address) => {
            bytes = address.octets();
            16
        }
    };
    (bytes, length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_found_by_its_whole_name_in_any_field() {
        let find = |fields: &[&'static str], name| cookie(fields.iter().map(|field| field.as_bytes()), name);
        assert_eq!(find(&["a=b; user=u1", "user=u2"], "user"), Some(&b"u1"[..]));
        assert_eq!(find(&["superuser=u1", "userx=u1; user=u2"], "user"), Some(&b"u2"[..]));
        assert_eq!(find(&["user", "User=u1", ""], "user"), None);
        assert_eq!(find(&["user=a=b"], "user"), Some(&b"a=b"[..]));
        assert_eq!(find(&["user="], "user"), Some(&b""[..]));
    }

    #[test]
    fn an_address_is_the_same_client_by_either_protocol() {
        let of = |text: &str| {
            let (bytes, length) = address(text.parse().unwrap());
            bytes[..length].to_vec()
        };
        assert_eq!(of("10.0.0.1"), [10, 0, 0, 1]);
        assert_eq!(of("::ffff:10.0.0.1"), [10, 0, 0, 1]);
        assert_eq!(of("::1").len(), 16);
    }
}
