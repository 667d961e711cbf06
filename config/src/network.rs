//! Networks as operators write them: an address and how many of its bits count, or one address alone.
//!
//! A network says whom to believe, so nothing is guessed: bits behind the prefix and IPv4 in the form of IPv6 are refused,
//! because each is read as a wider or another network by somebody.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `ADDRESS/PREFIX`, or an address alone. Bits behind the prefix are 0; an IPv4 network is never in the form of IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// Why a text is not a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetworkError {
    /// Not an IP address.
    Malformed,
    /// A name, or an address with a port.
    NotAlone,
    /// The prefix is no number, or above what the address has bits: this many.
    Prefix(u8),
    /// Bits behind the prefix are set; without them it is this one.
    BitsBehind(Network),
    /// IPv4 in the form of IPv6; it is this one.
    Mapped(Network),
}

impl std::fmt::Display for NetworkError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Malformed => f.write_str("is not a network"),
            Self::NotAlone => f.write_str("is not an IP address alone"),
            Self::Prefix(bits) => write!(f, "has a prefix that is not a number from 0 to {bits}"),
            Self::BitsBehind(_) => f.write_str("has bits set behind the prefix"),
            Self::Mapped(_) => f.write_str("is an IPv4 network in the form of IPv6"),
        }
    }
}

impl std::error::Error for NetworkError {}

impl Network {
    /// The first and the last address.
    #[must_use]
    pub fn bounds(self) -> (IpAddr, IpAddr) {
        let behind = mask_behind(self.address, self.prefix);
        let last = match self.address {
            IpAddr::V4(first) => IpAddr::V4((first.to_bits() | u32::try_from(behind).unwrap_or(u32::MAX)).into()),
            IpAddr::V6(first) => IpAddr::V6((first.to_bits() | behind).into()),
        };
        (self.address, last)
    }

    /// This address and these bits of it; what stands behind them is dropped.
    fn of(address: IpAddr, prefix: u8) -> Self {
        let behind = mask_behind(address, prefix);
        let first = match address {
            IpAddr::V4(address) => IpAddr::V4((address.to_bits() & !u32::try_from(behind).unwrap_or(u32::MAX)).into()),
            IpAddr::V6(address) => IpAddr::V6((address.to_bits() & !behind).into()),
        };
        Self { address: first, prefix }
    }
}

const fn bits_of(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// The bits behind the prefix, all set.
fn mask_behind(address: IpAddr, prefix: u8) -> u128 {
    let behind = u32::from(bits_of(address).saturating_sub(prefix));
    1_u128.checked_shl(behind).map_or(u128::MAX, |bit| bit - 1)
}

impl std::str::FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (alone, prefix) = text.split_once('/').map_or((text, None), |(alone, prefix)| (alone, Some(prefix)));
        let address: IpAddr = alone.parse().map_err(|_| guess(alone))?;
        let bits = bits_of(address);
        let prefix = prefix.map_or(Some(bits), |prefix| number(prefix).filter(|prefix| *prefix <= bits));
        let prefix = prefix.ok_or(NetworkError::Prefix(bits))?;
        let network = Self::of(address, prefix);
        if let (true, Some(prefix)) = (address.to_canonical().is_ipv4() && bits == 128, prefix.checked_sub(96)) {
            return Err(NetworkError::Mapped(Self::of(address.to_canonical(), prefix)));
        }
        if network.address != address {
            return Err(NetworkError::BitsBehind(network));
        }
        Ok(network)
    }
}

/// Digits without a sign or leading zeros.
fn number(text: &str) -> Option<u8> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    plain.then(|| text.parse().ok()).flatten()
}

fn guess(alone: &str) -> NetworkError {
    let is_name = alone.starts_with(|first: char| first.is_ascii_alphabetic()) && !alone.contains(':');
    let bare = alone.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let is_v6 = bare.is_some_and(|bare| bare.parse::<std::net::Ipv6Addr>().is_ok());
    if is_name || is_v6 || alone.parse::<std::net::SocketAddr>().is_ok() {
        NetworkError::NotAlone
    } else {
        NetworkError::Malformed
    }
}

impl std::fmt::Display for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.prefix == bits_of(self.address) {
            write!(f, "{}", self.address)
        } else {
            write!(f, "{}/{}", self.address, self.prefix)
        }
    }
}

impl TryFrom<String> for Network {
    type Error = NetworkError;
    fn try_from(text: String) -> Result<Self, NetworkError> {
        text.parse()
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.to_string()
    }
}

impl JsonSchema for Network {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Network".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "format": "network" })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn network(text: &str) -> Network {
        text.parse().unwrap()
    }

    #[test]
    fn networks_have_bounds() {
        for (text, first, last) in [
            ("10.0.0.0/8", "10.0.0.0", "10.255.255.255"),
            ("10.1.2.3", "10.1.2.3", "10.1.2.3"),
            ("10.1.2.3/32", "10.1.2.3", "10.1.2.3"),
            ("0.0.0.0/0", "0.0.0.0", "255.255.255.255"),
            ("::/0", "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
            ("::1", "::1", "::1"),
            ("fd00::/8", "fd00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ] {
            assert_eq!(network(text).bounds(), (first.parse().unwrap(), last.parse().unwrap()), "{text}");
        }
        assert_eq!(network("10.1.2.3/32").to_string(), "10.1.2.3");
    }

    #[test]
    fn a_refusal_guesses_what_was_meant() {
        for (text, error) in [
            ("", NetworkError::Malformed),
            ("10.0.0", NetworkError::Malformed),
            ("10.0.0.0/", NetworkError::Prefix(32)),
            ("10.0.0.0/+8", NetworkError::Prefix(32)),
            ("10.0.0.0/08", NetworkError::Prefix(32)),
            ("10.0.0.0/33", NetworkError::Prefix(32)),
            ("::/129", NetworkError::Prefix(128)),
            ("10.0.0.0/8/8", NetworkError::Prefix(32)),
            ("10.0.0.0/255.0.0.0", NetworkError::Prefix(32)),
            ("10.0.0.1:80", NetworkError::NotAlone),
            ("[::1]", NetworkError::NotAlone),
            ("localhost", NetworkError::NotAlone),
            ("10.0.0.5/8", NetworkError::BitsBehind(network("10.0.0.0/8"))),
            ("fd00::1/8", NetworkError::BitsBehind(network("fd00::/8"))),
            ("::ffff:10.0.0.0/104", NetworkError::Mapped(network("10.0.0.0/8"))),
            ("::ffff:10.0.0.1", NetworkError::Mapped(network("10.0.0.1"))),
        ] {
            assert_eq!(text.parse::<Network>(), Err(error), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn a_network_is_the_same_again(address in any::<IpAddr>(), prefix in 0_u8..=128) {
            let network = Network::of(address, prefix.min(bits_of(address)));
            let (first, last) = network.bounds();
            prop_assert!(first <= address && address <= last);
            if !(address.is_ipv6() && first.to_canonical().is_ipv4() && network.prefix >= 96) {
                prop_assert_eq!(network.to_string().parse::<Network>(), Ok(network));
            }
        }

        #[test]
        fn no_text_panics(text in "[0-9a-f:./\\[\\]]{0,24}") {
            let _ = text.parse::<Network>();
        }
    }
}
