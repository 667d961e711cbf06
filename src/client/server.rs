//! Where a control plane is.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::str::FromStr;

use http::Uri;

use crate::data::{SOCKET, folder};

/// The address of the API, unless another is given.
pub(crate) const ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9900);

/// Where a control plane is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Server {
    /// A socket in the file system.
    Unix(PathBuf),
    /// A port, without TLS: of this machine only.
    Plain(Place),
    /// A port, with TLS.
    Tls(Place),
}

/// A host and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) host: String,
    pub(super) port: u16,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Plain(place) => write!(f, "http://{place}"),
            Self::Tls(place) => write!(f, "https://{place}"),
        }
    }
}

const FORMS: &str = "write https://HOST:PORT, http://127.0.0.1:PORT or unix:PATH";

impl FromStr for Server {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() {
                Err("write a path after unix:".to_owned())
            } else {
                Ok(Self::Unix(path.into()))
            };
        }
        let uri: Uri = text.parse().map_err(|_| FORMS.to_owned())?;
        if uri.path_and_query().is_some_and(|rest| rest.as_str() != "/") {
            return Err("write it without a path".to_owned());
        }
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@')).ok_or(FORMS)?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let place = |port: u16| Place { host, port: authority.port_u16().unwrap_or(port) };
        match uri.scheme_str() {
            Some("https") => Ok(Self::Tls(place(443))),
            Some("http") => plain(place(80)),
            Some(_) | None => Err(FORMS.to_owned()),
        }
    }
}

/// Without TLS everybody on the way could read the token, and answer in the server's name.
fn plain(place: Place) -> Result<Server, String> {
    let is_here = place.host == "localhost" || place.host.parse().is_ok_and(|address: IpAddr| address.is_loopback());
    if is_here { Ok(Server::Plain(place)) } else { Err(format!("{} is another machine: write https://", place.host)) }
}

/// Where to look when nothing was said: the data folder's socket if somebody answers there, else the usual port.
pub(super) fn candidates() -> Vec<Server> {
    let socket = folder().join(SOCKET);
    let port = Server::Plain(Place { host: ADMIN.ip().to_string(), port: ADMIN.port() });
    // Where somebody answers, the port is another's. Where nobody does, the socket is named among what was looked at.
    let answers = UnixStream::connect(&socket).is_ok();
    if answers { vec![Server::Unix(socket)] } else { vec![Server::Unix(socket), port] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_read_back() {
        for text in
            ["unix:/run/sluice/admin.sock", "http://127.0.0.1:9900", "http://[::1]:9900", "https://edge.test:9900"]
        {
            assert_eq!(text.parse::<Server>().map(|server| server.to_string()).as_deref(), Ok(text));
        }
        assert_eq!("https://edge.test/".parse::<Server>().unwrap().to_string(), "https://edge.test:443");
        assert_eq!("http://localhost".parse::<Server>().unwrap().to_string(), "http://localhost:80");
    }

    #[test]
    fn what_is_no_server_is_refused_with_what_would_be_one() {
        for text in ["", "9900", "127.0.0.1:9900", "ftp://a", "unix:", "http://a:b:c", "https://ann@edge.test"] {
            let words = text.parse::<Server>().unwrap_err();
            assert!(words.contains("write"), "{text:?}: {words}");
        }
        assert!("http://edge.test:9900".parse::<Server>().unwrap_err().contains("https://"));
        assert!("https://edge.test/v1".parse::<Server>().unwrap_err().contains("without a path"));
    }
}
