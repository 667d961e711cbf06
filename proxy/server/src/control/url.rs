//! Where the control plane is.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// The address of a control plane: `https://HOST[:PORT][/PATH]`, or `http://` on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlUrl {
    tls: bool,
    /// Without the brackets of an IPv6 address.
    host: String,
    port: u16,
    /// Without a slash at its end.
    path: String,
}

/// Why a text is not the address of a control plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UrlError {
    /// It is no URL, or has parts that mean nothing here.
    Malformed,
    /// Not encrypted, and not on this machine: revisions and the token would be read and changed on their way.
    Plain(String),
}

impl fmt::Display for UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => {
                f.write_str("write it like https://control.example.com:9900, without user, query or fragment")
            }
            Self::Plain(host) => write!(
                f,
                "http:// is for a control plane on this machine (127.0.0.1, [::1], localhost), and {host} is none: use \
                 https://"
            ),
        }
    }
}

impl std::error::Error for UrlError {}

impl FromStr for ControlUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let url: http::Uri = text.parse().map_err(|_| UrlError::Malformed)?;
        let authority = url.authority().ok_or(UrlError::Malformed)?;
        let tls = match url.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            Some(_) | None => return Err(UrlError::Malformed),
        };
        if authority.as_str().contains('@') || url.query().is_some() || text.contains('#') || url.host() == Some("") {
            return Err(UrlError::Malformed);
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        let has_port = authority.as_str().len() > authority.host().len();
        let port = match authority.port_u16() {
            Some(port) if port > 0 => port,
            None if !has_port => {
                if tls {
                    443
                } else {
                    80
                }
            }
            Some(_) | None => return Err(UrlError::Malformed),
        };
        let here = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        if !tls && !here {
            return Err(UrlError::Plain(host));
        }
        Ok(Self { tls, host, port, path: url.path().trim_end_matches('/').to_owned() })
    }
}

impl ControlUrl {
    /// Whether the connection is encrypted.
    pub(crate) const fn tls(&self) -> bool {
        self.tls
    }

    /// Whom to resolve, and whose certificate to expect.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// Where a proxy subscribes.
    pub(crate) fn subscription(&self) -> String {
        format!("{self}/v1/subscribe")
    }
}

impl fmt::Display for ControlUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tls, host, port, path } = self;
        let scheme = if *tls { "https" } else { "http" };
        if host.contains(':') {
            write!(f, "{scheme}://[{host}]:{port}{path}")
        } else {
            write!(f, "{scheme}://{host}:{port}{path}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_control_plane_is_named_by_a_url() {
        for (text, whole) in [
            ("https://control.example.com", "https://control.example.com:443"),
            ("https://Control.Example.com:9900/", "https://control.example.com:9900"),
            ("https://10.0.0.1:9900/sluice/", "https://10.0.0.1:9900/sluice"),
            ("http://127.0.0.1:9900", "http://127.0.0.1:9900"),
            ("http://localhost", "http://localhost:80"),
            ("http://[::1]:9900", "http://[::1]:9900"),
        ] {
            assert_eq!(text.parse::<ControlUrl>().unwrap().to_string(), whole);
        }
        let url: ControlUrl = "https://c.test/x/".parse().unwrap();
        assert_eq!(url.subscription(), "https://c.test:443/x/v1/subscribe");
    }

    #[test]
    fn what_means_nothing_is_refused() {
        for text in [
            "",
            "control",
            "control:9900",
            "ftp://control",
            "https://",
            "https://ann@control",
            "https://control?x",
            "https://control#x",
            "https://control:0",
            "https://control:99999",
            "https://control:",
            "/v1",
            "https://[::1",
        ] {
            assert_eq!(text.parse::<ControlUrl>(), Err(UrlError::Malformed), "{text:?}");
        }
    }

    #[test]
    fn plain_http_is_for_this_machine_only() {
        for text in
            ["http://control.example.com", "http://10.0.0.1:9900", "http://0.0.0.0:9900", "http://localhost.evil"]
        {
            assert!(matches!(text.parse::<ControlUrl>(), Err(UrlError::Plain(_))), "{text:?}");
        }
    }
}
