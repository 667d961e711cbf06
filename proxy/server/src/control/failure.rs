//! Why there is no connection to the control plane.

use std::error::Error;
use std::fmt;
use std::io;
use std::net::SocketAddr;

use http::StatusCode;

use super::credentials::CredentialError;

#[derive(Debug)]
pub(super) enum Failure {
    /// What is shown to the control plane cannot be read.
    Credentials(CredentialError),
    /// The host's name has no address.
    Resolve(io::Error),
    /// The host's name cannot stand in a certificate.
    Name(String),
    /// No connection to the last of its addresses.
    Connect(SocketAddr, io::Error),
    /// The TLS handshake failed.
    Tls(io::Error),
    /// The other side speaks TLS and not HTTP/2.
    NotHttp2,
    /// The connection failed.
    Http(hyper::Error),
    /// No answer in time.
    Timeout,
    /// It was answered with another status than 200, and why.
    Refused(StatusCode, Option<String>),
    /// The control plane has ended the subscription.
    Ended,
    /// The control plane takes no messages.
    Stalled,
    /// A line is longer than any message.
    TooLong,
    /// A message that this proxy does not know.
    Unknown(serde_json::Error),
    /// The token has changed: the connection is made anew with it.
    Renewed,
    /// The proxy itself is ending.
    Leaving,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Credentials(error) => write!(f, "{error}"),
            Self::Resolve(error) => write!(f, "its name has no address: {error}"),
            Self::Name(host) => write!(f, "{host:?} is no name that a certificate can have"),
            Self::Connect(address, error) => write!(f, "no connection to {address}: {error}"),
            Self::Tls(error) => write!(f, "no TLS: {error}"),
            Self::NotHttp2 => f.write_str("it does not speak HTTP/2"),
            Self::Http(error) => {
                write!(f, "{error}")?;
                causes(f, error)
            }
            Self::Timeout => f.write_str("no answer in time"),
            Self::Refused(status, Some(detail)) => write!(f, "it answers {status}: {detail}"),
            Self::Refused(status, None) => write!(f, "it answers {status}"),
            Self::Ended => f.write_str("it has ended the connection"),
            Self::Stalled => f.write_str("it takes no messages"),
            Self::TooLong => f.write_str("it sends a line that is longer than any message"),
            Self::Unknown(error) => write!(f, "it sends a message that this proxy does not know: {error}"),
            Self::Renewed => f.write_str("the token has changed"),
            Self::Leaving => f.write_str("this proxy is ending"),
        }
    }
}

fn causes(f: &mut fmt::Formatter<'_>, error: &dyn Error) -> fmt::Result {
    let mut cause = error.source();
    while let Some(error) = cause {
        write!(f, ": {error}")?;
        cause = error.source();
    }
    Ok(())
}

impl From<CredentialError> for Failure {
    fn from(error: CredentialError) -> Self {
        Self::Credentials(error)
    }
}
