//! Addresses as operators write them: an IP address and a port.
//!
//! Names are refused: nothing here resolves them, and a name that is looked up once and then kept is a trap.

use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `IP:PORT` with a port above 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Address(pub(crate) SocketAddr);

/// Why a text is not an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AddressError {
    /// Not an IP address, a colon and a port.
    Malformed,
    /// An address without a port.
    NoPort,
    /// A port without an address.
    NoAddress,
    /// A name in place of the IP address.
    Name,
    /// Port 0 would be another one at each start.
    PortZero,
    /// An IPv6 address without its brackets.
    NoBrackets,
    /// Above 65,535.
    PortRange,
}

impl std::fmt::Display for AddressError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Malformed => "is not an address",
            Self::NoPort => "has no port",
            Self::NoAddress => "has no IP address",
            Self::Name => "has a name where an IP address is needed",
            Self::PortZero => "has port 0",
            Self::NoBrackets => "is an IPv6 address without brackets",
            Self::PortRange => "has a port above 65535",
        })
    }
}

impl std::str::FromStr for Address {
    type Err = AddressError;
    fn from_str(text: &str) -> Result<Self, AddressError> {
        match text.parse::<SocketAddr>() {
            Ok(address) if address.port() == 0 => Err(AddressError::PortZero),
            Ok(address) => Ok(Self(address)),
            Err(_) => Err(guess(text)),
        }
    }
}

/// What the writer most likely meant.
fn guess(text: &str) -> AddressError {
    if text.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_ipv4()) {
        return AddressError::NoPort;
    }
    if text.matches(':').count() > 1 && !text.contains('[') {
        let (head, _) = text.rsplit_once(':').unwrap_or((text, ""));
        let is_v6 = |part: &str| part.parse::<std::net::Ipv6Addr>().is_ok();
        return if is_v6(text) || is_v6(head) { AddressError::NoBrackets } else { AddressError::Malformed };
    }
    match text.rsplit_once(':') {
        None if !text.is_empty() => AddressError::NoPort,
        Some(("", port)) if is_digits(port) => AddressError::NoAddress,
        Some((host, port)) if host.parse::<std::net::Ipv4Addr>().is_ok() && is_digits(port) => AddressError::PortRange,
        Some((host, port)) if is_digits(port) && host.starts_with(|c: char| c.is_ascii_alphabetic()) => {
            AddressError::Name
        }
        _ => AddressError::Malformed,
    }
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

impl TryFrom<String> for Address {
    type Error = AddressError;
    fn try_from(text: String) -> Result<Self, AddressError> {
        text.parse()
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.0.to_string()
    }
}

impl JsonSchema for Address {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Address".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "format": "socket-address" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_guesses_what_was_meant() {
        for (text, error) in [
            ("", AddressError::Malformed),
            ("127.0.0.1", AddressError::NoPort),
            ("localhost", AddressError::NoPort),
            (":8080", AddressError::NoAddress),
            ("localhost:8080", AddressError::Name),
            ("127.0.0.1:0", AddressError::PortZero),
            ("127.0.0.1:65536", AddressError::PortRange),
            ("::1:8080", AddressError::NoBrackets),
            ("::1", AddressError::NoBrackets),
            ("a:b:c", AddressError::Malformed),
            ("300.0.0.1:80", AddressError::Malformed),
        ] {
            assert_eq!(text.parse::<Address>(), Err(error), "{text:?}");
        }
        assert!("[::1]:8080".parse::<Address>().is_ok());
    }
}
