//! The names that a certificate holds, and which hosts they cover (RFC 9525): those of its subject alternative names and no
//! others. A common name is not one: it says nothing about its kind, and clients have stopped to look at it.

use std::net::IpAddr;

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

/// The names of one certificate, in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Names {
    /// Sorted.
    pub(super) exact: Vec<Box<str>>,
    /// What stands behind `*.`; sorted.
    pub(super) wildcards: Vec<Box<str>>,
    addresses: Vec<IpAddr>,
}

impl Names {
    pub(super) fn of(certificate: &X509Certificate<'_>) -> Self {
        let mut names = Self::default();
        let extension = certificate.subject_alternative_name().ok().flatten();
        for name in extension.iter().flat_map(|extension| &extension.value.general_names) {
            names.add(name);
        }
        names.exact.sort_unstable();
        names.wildcards.sort_unstable();
        names
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "no other kind of name is that of a server")]
    fn add(&mut self, name: &GeneralName<'_>) {
        match name {
            GeneralName::DNSName(name) => {
                let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
                match name.strip_prefix("*.") {
                    Some(suffix) => self.wildcards.push(suffix.into()),
                    None => self.exact.push(name.into()),
                }
            }
            GeneralName::IPAddress(bytes) => self.addresses.extend(address(bytes)),
            _ => {}
        }
    }

    /// Whether a client could ask for one of them: it never asks for an address.
    pub(super) fn can_be_asked_for(&self) -> bool {
        !self.exact.is_empty() || !self.wildcards.is_empty()
    }

    /// Whether one of them is this host (lower case, no port, IPv6 in brackets). A star is exactly one label.
    pub(super) fn cover(&self, host: &str) -> bool {
        let holds = |names: &[Box<str>], name: &str| names.binary_search_by(|have| (**have).cmp(name)).is_ok();
        if holds(&self.exact, host) {
            return true;
        }
        let wildcard = behind_star(host).is_some_and(|suffix| holds(&self.wildcards, suffix));
        wildcard || (!self.addresses.is_empty() && self.hold_address(host))
    }

    fn hold_address(&self, host: &str) -> bool {
        let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        inner.parse().is_ok_and(|address: IpAddr| self.addresses.contains(&address))
    }
}

/// What must stand behind `*.` in a name that covers this one.
pub(super) fn behind_star(name: &str) -> Option<&str> {
    let (label, rest) = name.split_once('.')?;
    (!label.is_empty() && !rest.is_empty()).then_some(rest)
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from).ok();
    v4.or_else(|| <[u8; 16]>::try_from(bytes).map(IpAddr::from).ok())
}

#[cfg(test)]
impl Names {
    pub(super) fn from_list(list: &[&str]) -> Self {
        let mut names = Self::default();
        list.iter().for_each(|name| names.add(&GeneralName::DNSName(name)));
        names.exact.sort_unstable();
        names.wildcards.sort_unstable();
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_one_whole_label() {
        let names = Names::from_list(&["Shop.Example.com", "*.example.org", "w*.example.net"]);
        for host in ["shop.example.com", "a.example.org", "xn--a.example.org"] {
            assert!(names.cover(host), "{host}");
        }
        for host in [
            "example.com",
            "a.shop.example.com",
            "example.org",
            ".example.org",
            "a.b.example.org",
            "www.example.net",
            "",
        ] {
            assert!(!names.cover(host), "{host}");
        }
    }

    #[test]
    fn addresses_are_hosts_too() {
        let mut names = Names::default();
        names.add(&GeneralName::IPAddress(&[10, 0, 0, 1]));
        names.add(&GeneralName::IPAddress(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]));
        assert!(names.cover("10.0.0.1") && names.cover("[::1]"));
        assert!(!names.cover("10.0.0.2") && !names.cover("a"));
        assert!(!names.can_be_asked_for());
    }
}
