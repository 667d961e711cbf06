//! Where the control plane may be reached without proof of who asks.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// Where the admin API is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listen {
    /// At a Unix socket, which only its owner may open.
    Socket,
    /// At this address.
    Tcp(SocketAddr),
}

/// What an address that others can reach lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exposed {
    address: SocketAddr,
    has_tokens: bool,
    has_tls: bool,
}

impl fmt::Display for Exposed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let needs = match (self.has_tokens, self.has_tls) {
            (false, true) => "tokens: name a file of them",
            (true, _) => "TLS, because tokens would be sent in the clear: name a certificate and its key",
            (false, false) => "tokens and TLS: name a file of tokens, a certificate and its key",
        };
        write!(f, "{} can be reached from other machines and needs {needs}; or listen on 127.0.0.1", self.address)
    }
}

impl std::error::Error for Exposed {}

/// Whether the admin API may be served there. A Unix socket and a loopback address need nothing; any other address needs
/// tokens and TLS.
///
/// # Errors
/// What is missing.
pub const fn listen_policy(listen: Listen, has_tokens: bool, has_tls: bool) -> Result<(), Exposed> {
    match listen {
        Listen::Socket => Ok(()),
        Listen::Tcp(address) if is_loopback(address.ip()) || (has_tokens && has_tls) => Ok(()),
        Listen::Tcp(address) => Err(Exposed { address, has_tokens, has_tls }),
    }
}

/// Also for an IPv4 address that is written as IPv6.
pub(super) const fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_can_reach_needs_tokens_and_tls() {
        let policy = |address: &str, tokens, tls| {
            listen_policy(Listen::Tcp(address.parse().unwrap()), tokens, tls).map_err(|error| error.to_string())
        };
        for near in ["127.0.0.1:9900", "127.8.0.1:9900", "[::1]:9900", "[::ffff:127.0.0.1]:9900"] {
            assert_eq!(policy(near, false, false), Ok(()), "{near}");
        }
        for far in ["0.0.0.0:9900", "[::]:9900", "10.0.0.1:9900", "[::ffff:10.0.0.1]:9900", "[fe80::1]:9900"] {
            assert_eq!(policy(far, true, true), Ok(()), "{far}");
            assert!(policy(far, true, false).unwrap_err().contains("needs TLS"), "{far}");
            assert!(policy(far, false, true).unwrap_err().contains("needs tokens: "), "{far}");
            assert!(policy(far, false, false).unwrap_err().contains("needs tokens and TLS"), "{far}");
        }
        assert_eq!(listen_policy(Listen::Socket, false, false), Ok(()));
    }
}
