//! Decides who the client of a request is when proxies stand before us, and what of their word is passed on.
//!
//! A proxy appends whom it was connected by to X-Forwarded-For, or to Forwarded (RFC 7239). The **right-most address that
//! is not a trusted proxy's** is the client: the list is walked from the right, since what stands to the right of it was
//! written by proxies that we trust, and all that stands to the left may have been written by the client. The obvious
//! other, the left-most address, lets everybody choose their own; a fixed number of hops is wrong as soon as one way to us
//! is longer than another. What is no address ends the walk at the last address that was one.
//!
//! One of the two fields is believed: X-Forwarded-For where it is present, else Forwarded. Two lists cannot be laid over
//! each other, and few proxies write the second. A trusted proxy that writes only Forwarded must therefore remove
//! X-Forwarded-For, as it must remove or overwrite every field that it does not append to.
//!
//! Forwarded knows quoted strings, and a client may open one that it never closes, to swallow what proxies append. So a
//! value is split from the right, too: where it is cut depends only on what stands to the right of the cut.
//!
//! Invariants: with an untrusted peer the answer is the peer, whatever the request says; with trusted proxies that append
//! properly it is whom the first of them was connected by, whatever stood in the fields before. Linear in the fields.

use std::net::{IpAddr, Ipv6Addr};

use sluice_config::network::Network;

/// A set of networks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks {
    /// First and last of each, sorted, none touching the next.
    ranges: Vec<(Place, Place)>,
}

/// Whether it is IPv6, and its bits.
type Place = (bool, u128);

/// Where an address stands, in the family that it has.
fn place(address: IpAddr) -> Place {
    match address {
        IpAddr::V4(address) => (false, address.to_bits().into()),
        IpAddr::V6(address) => (true, address.to_bits()),
    }
}

impl Networks {
    /// All addresses of all of these.
    #[must_use]
    pub fn new(networks: &[Network]) -> Self {
        let mut ranges: Vec<_> =
            networks.iter().map(|network| network.bounds()).map(|(first, last)| (place(first), place(last))).collect();
        ranges.sort_unstable();
        ranges.dedup_by(|later, earlier| {
            let joins = later.0 <= earlier.1;
            if joins {
                earlier.1 = earlier.1.max(later.1);
            }
            joins
        });
        Self { ranges }
    }

    /// Whether there is no address in it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Whether this address is in it. IPv4 in the form of IPv6 is IPv4. Logarithmic.
    #[must_use]
    pub fn contain(&self, address: IpAddr) -> bool {
        let place = place(address.to_canonical());
        let behind = self.ranges.partition_point(|(first, _)| *first <= place);
        behind > 0 && self.ranges[behind - 1].1 >= place
    }
}

/// The values of the fields by which proxies tell whom they were connected by, each in the order in which it came.
#[derive(Debug, Clone, Default)]
pub struct Claims<'a> {
    /// Of X-Forwarded-For.
    pub x_forwarded_for: Vec<&'a [u8]>,
    /// Of Forwarded.
    pub forwarded: Vec<&'a [u8]>,
}

/// What is believed about the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found<'a> {
    /// Who it is, in its own family.
    pub address: IpAddr,
    /// How that is known.
    pub reason: Reason<'a>,
}

/// How the client is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason<'a> {
    /// It is the connection's other end: not a trusted one, or one that says nothing of another.
    Peer,
    /// By X-Forwarded-For: its member at this place, counted from the right and from 1; 0 when none is an address.
    XForwardedFor(usize),
    /// By this element of Forwarded; nothing when the right-most one says no address.
    Forwarded(Option<Element<'a>>),
}

/// Who the client is.
#[must_use]
pub fn find<'a>(trusted: &Networks, peer: IpAddr, claims: &Claims<'a>) -> Found<'a> {
    let peer = peer.to_canonical();
    if !trusted.contain(peer) {
        return Found { address: peer, reason: Reason::Peer };
    }
    let mut hops = claims.x_forwarded_for.iter().rev().flat_map(|value| members(value).rev()).peekable();
    if hops.peek().is_some() {
        let (address, at) = walk(trusted, peer, hops.map(node).zip(1..));
        return Found { address, reason: Reason::XForwardedFor(at.unwrap_or(0)) };
    }
    let mut hops = elements(&claims.forwarded).peekable();
    if hops.peek().is_none() {
        return Found { address: peer, reason: Reason::Peer };
    }
    let (address, element) = walk(trusted, peer, hops.map(|element| (element.address(), element)));
    Found { address, reason: Reason::Forwarded(element) }
}

/// The first address that is not trusted, or the last one that is an address; nothing said: the peer.
fn walk<T>(trusted: &Networks, peer: IpAddr, hops: impl Iterator<Item = (Option<IpAddr>, T)>) -> (IpAddr, Option<T>) {
    let mut last = (peer, None);
    for (address, said) in hops {
        let Some(address) = address else { break };
        last = (address, Some(said));
        if !trusted.contain(address) {
            break;
        }
    }
    last
}

/// The members of a comma-separated list without quoted strings, empty ones left out.
pub fn members(value: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
}

/// An address as it stands in a list: alone or with a port, IPv6 in brackets or, without a port, bare.
#[must_use]
pub fn node(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    if let Some(rest) = text.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        let address: Ipv6Addr = address.parse().ok()?;
        let is_good = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        return is_good.then(|| IpAddr::V6(address).to_canonical());
    }
    match text.split_once(':') {
        Some((address, port)) if is_port(port) && !address.is_empty() && address.contains('.') => {
            address.parse().ok().map(IpAddr::V4)
        }
        _ => text.parse().ok().map(|address: IpAddr| address.to_canonical()),
    }
}

/// A number, or a name of the proxy's own (RFC 7239, section 6).
fn is_port(text: &str) -> bool {
    let number = text.len() <= 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    let name = text.strip_prefix('_').is_some_and(|name| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
    });
    !text.is_empty() && number || name
}

/// What one proxy says in Forwarded. A value with an escaped character in it counts as not said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Element<'a> {
    /// All of it, as it was written.
    pub text: &'a [u8],
    /// Whom it was connected by.
    pub node: Option<&'a [u8]>,
    /// By which scheme.
    pub proto: Option<&'a [u8]>,
    /// The Host that it was sent.
    pub host: Option<&'a [u8]>,
}

impl Element<'_> {
    /// The address of whom the proxy was connected by, if it says one.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        self.node.and_then(node)
    }
}

/// The elements of Forwarded from the right, up to the first that is malformed. Empty ones are left out.
pub fn elements<'a>(values: &[&'a [u8]]) -> impl Iterator<Item = Element<'a>> {
    values.iter().rev().flat_map(|value| parts(value)).map_while(element)
}

/// The parts of one value between commas, from the right, empty ones left out. What a quote was left open in is one part, and no element.
fn parts(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(value);
    let parts = std::iter::from_fn(move || {
        let (before, last) = split_last(rest.take()?).unwrap_or((None, b"="));
        rest = before;
        Some(last.trim_ascii())
    });
    parts.filter(|part| !part.is_empty())
}

/// The part behind the last comma that stands in no quoted string as seen from the right, and what is before it.
fn split_last(value: &[u8]) -> Option<(Option<&[u8]>, &[u8])> {
    let mut quoted = false;
    for (at, byte) in value.iter().enumerate().rev() {
        match byte {
            b'"' if quoted && is_escaped(&value[..at]) => {}
            b'"' => quoted = !quoted,
            b',' if !quoted => return Some((Some(&value[..at]), &value[at + 1..])),
            _ => {}
        }
    }
    (!quoted).then_some((None, value))
}

/// Whether what follows these bytes in a quoted string is escaped.
fn is_escaped(before: &[u8]) -> bool {
    before.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
}

/// Pairs in one element; four are defined. Each name is compared with those before it.
const PAIRS: usize = 16;

/// Pairs such as `for=192.0.2.7`, with semicolons between them, no name twice.
fn element(text: &[u8]) -> Option<Element<'_>> {
    let mut element = Element { text, ..Element::default() };
    let mut names: Vec<&[u8]> = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (name, value, behind) = pair(rest)?;
        if names.len() == PAIRS || names.iter().any(|known| known.eq_ignore_ascii_case(name)) {
            return None;
        }
        names.push(name);
        let value = Some(value).filter(|value| !value.contains(&b'\\'));
        match name.to_ascii_lowercase().as_slice() {
            b"for" => element.node = value,
            b"proto" => element.proto = value,
            b"host" => element.host = value,
            _ => {}
        }
        rest = behind;
    }
    Some(element)
}

/// The first pair, its value without quotes, and what is behind its semicolon.
fn pair(text: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let equals = text.iter().position(|byte| *byte == b'=')?;
    let (name, value) = (text[..equals].trim_ascii_start(), &text[equals + 1..]);
    let is_name = !name.is_empty() && name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-');
    let (value, behind) = if let Some(inside) = value.strip_prefix(b"\"") {
        let close = (0..inside.len()).find(|at| inside[*at] == b'"' && !is_escaped(&inside[..*at]))?;
        (&inside[..close], &inside[close + 1..])
    } else {
        let end = value.iter().position(|byte| *byte == b';').unwrap_or(value.len());
        (value[..end].trim_ascii_end(), &value[end..])
    };
    let is_quoted = text.get(equals + 1) == Some(&b'"');
    let is_value =
        !value.is_empty() && !value.iter().any(|byte| byte.is_ascii_control() || !is_quoted && *byte == b'"');
    let behind = behind.trim_ascii_start();
    let behind = if behind.is_empty() { behind } else { behind.strip_prefix(b";")?.trim_ascii_start() };
    (is_name && is_value).then_some((name, value, behind))
}

#[cfg(test)]
mod tests;
