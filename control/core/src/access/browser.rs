//! What protects an API on somebody's own machine from the pages that their browser shows.
//!
//! A page may send requests to any address, loopback too. Two checks stop it. `Host` is what the browser was told to
//! connect to: a name that its owner has pointed at 127.0.0.1 (DNS rebinding) is not one of ours. `Origin` is the page:
//! programs send none, and a page that is not on the list is refused, also where it could only send and not read.
//!
//! The port in `Host` decides nothing: through a tunnel or a container it is another one, and a page cannot gain by it.
//! An address in digits is no name that can be pointed elsewhere, but it must be the one that is listened on, so that a
//! loopback listener answers only what meant this machine.

use std::net::IpAddr;

use super::listen::{Listen, is_loopback};

/// Whether a request with this `Host` (in HTTP/2 the authority) means us. `names` are what we are also called: names
/// or addresses in digits, without a port.
#[must_use]
pub fn host_allowed(host: Option<&str>, listen: Listen, names: &[String]) -> bool {
    let Listen::Tcp(address) = listen else { return true };
    let Some(host) = host.and_then(host_name) else { return false };
    let host = host.strip_suffix('.').unwrap_or(host);
    if names.iter().any(|name| name.eq_ignore_ascii_case(host)) {
        return true;
    }
    let own = address.ip().to_canonical();
    let is_near = is_loopback(own);
    match host.parse::<IpAddr>() {
        Ok(ip) => own.is_unspecified() || ip.to_canonical() == own || (is_near && is_loopback(ip)),
        Err(_) => host.eq_ignore_ascii_case("localhost") && (is_near || own.is_unspecified()),
    }
}

/// Whether a request with this `Origin` may be answered. `known` are origins such as `https://console.example.com`, with
/// the port where it is not the scheme's own.
#[must_use]
pub fn origin_allowed(origin: Option<&str>, known: &[String]) -> bool {
    origin.is_none_or(|origin| origin != "null" && known.iter().any(|one| one.eq_ignore_ascii_case(origin)))
}

/// The host in `HOST` or `HOST:PORT`; that of `[::1]:9900` is `::1`.
fn host_name(text: &str) -> Option<&str> {
    let (host, rest) = match text.strip_prefix('[') {
        Some(text) => text.split_once(']').filter(|(host, _)| host.contains(':'))?,
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let is_port = |port: &str| !port.is_empty() && port.parse::<u16>().is_ok();
    let ends = rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port);
    (ends && !host.is_empty()).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(host: &str, listen: &str, names: &[&str]) -> bool {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        host_allowed(Some(host), Listen::Tcp(listen.parse().unwrap()), &names)
    }

    #[test]
    fn a_loopback_listener_answers_what_means_this_machine() {
        let near = "127.0.0.1:9900";
        for host in [
            "127.0.0.1:9900",
            "127.0.0.1",
            "127.0.0.1:18080",
            "localhost:9900",
            "LocalHost",
            "localhost.",
            "[::1]:9900",
        ] {
            assert!(allowed(host, near, &[]), "{host}");
        }
        for host in [
            "",
            "evil.example:9900",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "10.0.0.1:9900",
            "0.0.0.0:9900",
            "user@localhost",
            "localhost:x",
            "localhost:",
            "localhost:9900:1",
            "::1",
            "[::1",
            "[::1]x",
            "[localhost]",
            "2130706433",
            "127.1",
        ] {
            assert!(!allowed(host, near, &[]), "{host:?}");
        }
    }

    #[test]
    fn another_listener_answers_its_own_address_and_names() {
        let names = ["control.example.com", "192.0.2.7"];
        assert!(allowed("control.example.com", "10.0.0.1:9900", &names));
        assert!(allowed("Control.Example.Com.:9900", "10.0.0.1:9900", &names));
        assert!(allowed("192.0.2.7:9900", "10.0.0.1:9900", &names));
        assert!(allowed("10.0.0.1:9900", "10.0.0.1:9900", &[]));
        assert!(allowed("10.0.0.1:9900", "[::ffff:10.0.0.1]:9900", &[]));
        assert!(!allowed("control.example.com", "10.0.0.1:9900", &[]));
        assert!(!allowed("10.0.0.2", "10.0.0.1:9900", &[]));
        assert!(!allowed("localhost", "10.0.0.1:9900", &[]));
        // On every address of the machine: any that is written in digits.
        for listen in ["0.0.0.0:9900", "[::]:9900"] {
            assert!(allowed("10.0.0.1", listen, &[]) && allowed("localhost", listen, &[]));
            assert!(!allowed("evil.example", listen, &[]));
        }
    }

    #[test]
    fn a_request_without_a_host_is_answered_at_the_socket_only() {
        assert!(!host_allowed(None, Listen::Tcp("127.0.0.1:9900".parse().unwrap()), &[]));
        assert!(host_allowed(None, Listen::Socket, &[]));
        assert!(host_allowed(Some("localhost"), Listen::Socket, &[]));
    }

    #[test]
    fn a_page_that_is_not_known_is_refused() {
        let known = ["https://console.example.com".to_owned(), "null".to_owned()];
        assert!(origin_allowed(None, &[]) && origin_allowed(None, &known));
        assert!(origin_allowed(Some("https://console.example.com"), &known));
        for origin in [
            "null",
            "",
            "http://console.example.com",
            "https://console.example.com:8443",
            "https://console.example.com.evil.example",
            "http://localhost:9900",
        ] {
            assert!(!origin_allowed(Some(origin), &known), "{origin:?}");
        }
    }
}
