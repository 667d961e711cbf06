//! What trusted proxies say of a request: who its client is, and what an origin is told of the way before us. Made only for
//! requests that come from one; whoever is not trusted costs nothing here.

use std::net::IpAddr;

use sluice_config::validated::Forwarded;
use sluice_proxy_core::client::{self, Claims, Element, Reason};

use crate::client::{Client, Identity};
use crate::message::{Fields, Known};

/// What they say.
#[derive(Debug)]
pub(crate) struct Said {
    /// Who the client is.
    pub(crate) address: IpAddr,
    /// As text.
    pub(crate) ip: String,
    /// X-Forwarded-For with the proxy itself at its end; empty where origins are not told by it.
    pub(crate) list: Vec<u8>,
    /// Forwarded likewise, but for what is our own to say.
    pub(crate) forwarded: Vec<u8>,
    /// The scheme that the client used.
    pub(crate) proto: Option<Vec<u8>>,
    /// The host that it asked for.
    pub(crate) host: Option<Vec<u8>>,
    /// Whether the proxy is itself the client.
    pub(crate) is_peer: bool,
}

impl Said {
    /// Reads it from a request that a trusted proxy sent.
    pub(crate) fn of(fields: &Fields, peer: &Client, identity: &Identity) -> Self {
        let claims = Claims {
            x_forwarded_for: fields.all(Known::XForwardedFor).collect(),
            forwarded: fields.all(Known::Forwarded).collect(),
        };
        let found = client::find(&identity.trusted, peer.address.ip(), &claims);
        let element = if let Reason::Forwarded(element) = &found.reason { *element } else { None };
        let element = element.unwrap_or_default();
        let first = |known, other: Option<&[u8]>| fields.get(known).or(other).map(<[u8]>::to_vec);
        let mut said = Self {
            ip: found.address.to_string(),
            address: found.address,
            list: Vec::new(),
            forwarded: Vec::new(),
            proto: first(Known::XForwardedProto, element.proto),
            host: first(Known::XForwardedHost, element.host),
            is_peer: matches!(found.reason, Reason::Peer),
        };
        if identity.forwarded != Forwarded::Rfc7239 {
            said.write_list(&claims, &found.reason);
            said.list.extend_from_slice(peer.ip.as_bytes());
        }
        if identity.forwarded != Forwarded::XForwarded {
            said.write_forwarded(&claims, &found.reason);
        }
        said
    }

    /// The members that were believed, each followed by a comma.
    fn write_list(&mut self, claims: &Claims<'_>, reason: &Reason<'_>) {
        match reason {
            Reason::Peer => {}
            Reason::XForwardedFor(_) => {
                for member in claims.x_forwarded_for.iter().flat_map(|value| client::members(value)) {
                    self.list.extend_from_slice(member);
                    self.list.extend_from_slice(b", ");
                }
            }
            Reason::Forwarded(_) => {
                for element in in_order(claims) {
                    let address = element.address().map_or_else(|| "unknown".to_owned(), |address| address.to_string());
                    self.list.extend_from_slice(address.as_bytes());
                    self.list.extend_from_slice(b", ");
                }
            }
        }
    }

    /// The elements that were believed, each followed by a comma. The scheme and the host that are told beside
    /// X-Forwarded-For belong to the client's own.
    fn write_forwarded(&mut self, claims: &Claims<'_>, reason: &Reason<'_>) {
        match reason {
            Reason::Peer => {}
            Reason::XForwardedFor(clients) => {
                let members: Vec<_> = claims.x_forwarded_for.iter().flat_map(|value| client::members(value)).collect();
                for (at, member) in members.iter().enumerate() {
                    let address = client::node(member);
                    let is_client = members.len() - at == *clients;
                    let of_client = |value: &Option<Vec<u8>>| value.clone().filter(|_| is_client);
                    let (host, proto) = (of_client(&self.host), of_client(&self.proto));
                    write_element(&mut self.forwarded, address, host.as_deref(), proto.as_deref());
                    self.forwarded.extend_from_slice(b", ");
                }
            }
            Reason::Forwarded(_) => {
                for element in in_order(claims) {
                    self.forwarded.extend_from_slice(element.text);
                    self.forwarded.extend_from_slice(b", ");
                }
            }
        }
    }
}

/// The well-formed elements at the end, in the order in which they came.
fn in_order<'a>(claims: &Claims<'a>) -> impl Iterator<Item = Element<'a>> {
    let elements: Vec<_> = client::elements(&claims.forwarded).collect();
    elements.into_iter().rev()
}

/// An element of Forwarded (RFC 7239, section 4).
pub(crate) fn write_element(out: &mut Vec<u8>, address: Option<IpAddr>, host: Option<&[u8]>, proto: Option<&[u8]>) {
    let address = address.map_or_else(
        || "unknown".to_owned(),
        |address| match address {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("[{address}]"),
        },
    );
    out.extend_from_slice(b"for=");
    write_value(out, address.as_bytes());
    for (name, value) in [(";host=", host), (";proto=", proto)] {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            out.extend_from_slice(name.as_bytes());
            write_value(out, value);
        }
    }
}

/// As it is where it is a token, else as a quoted string.
fn write_value(out: &mut Vec<u8>, value: &[u8]) {
    if value.iter().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte)) {
        return out.extend_from_slice(value);
    }
    out.push(b'"');
    for byte in value {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(*byte);
    }
    out.push(b'"');
}
