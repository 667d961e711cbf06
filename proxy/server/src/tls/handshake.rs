//! One handshake, and what is known after it.

use std::io;
use std::sync::Arc;

use sluice_config::validated::HostMismatch;
use tokio::io::AsyncWriteExt;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::rustls::server::Acceptor;
use tokio_rustls::rustls::{CipherSuite, Error, HandshakeKind, PeerIncompatible, ProtocolVersion, ServerConnection};
use tokio_rustls::server::TlsStream;

use super::identity::Identity;
use super::pair::Pair;
use super::terms::Terms;
use crate::socket::Io;

/// A fatal alert `unrecognized_name` in the clear: nothing was agreed when it is sent. `rustls` would say that access is
/// denied, which tells a client nothing about its fault.
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

/// What was agreed to speak inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// HTTP/1.1.
    H1,
    /// HTTP/2.
    H2,
    /// Nothing was said of it.
    Unsaid,
}

/// What is known of a connection since its handshake.
#[derive(Debug)]
pub(crate) struct Session {
    /// `1.2` or `1.3`.
    pub(crate) version: &'static str,
    /// As the registry of suites names it.
    pub(crate) cipher: &'static str,
    /// The name that the client asked for, in lower case.
    pub(crate) server_name: Option<Box<str>>,
    /// Whether it goes on with an earlier session.
    pub(crate) resumed: bool,
    pub(crate) protocol: Protocol,
    /// What the client's certificate says; absent if it showed none.
    pub(crate) identity: Option<Identity>,
    shown: Arc<Pair>,
    host_mismatch: HostMismatch,
}

impl Session {
    /// Whether a request for this host (lower case, no port) was sent on a connection that was not made for it: the client
    /// asked for another name, and was shown a certificate without this one. A client that asked for none made no choice
    /// that could differ, and a request without a host names none.
    pub(crate) fn misdirects(&self, host: &str) -> bool {
        let Some(name) = &self.server_name else { return false };
        self.host_mismatch == HostMismatch::Refuse
            && !host.is_empty()
            && **name != *host
            && !self.shown.names.cover(host)
    }

    fn of(
        connection: &ServerConnection,
        server_name: Option<Box<str>>,
        shown: Arc<Pair>,
        terms: &Terms,
    ) -> Result<Self, &'static str> {
        let certificate = connection.peer_certificates().and_then(|chain| chain.first());
        let identity = certificate.map(|certificate| Identity::of(certificate).ok_or("certificate_refused"));
        Ok(Self {
            version: version(connection.protocol_version()),
            cipher: connection.negotiated_cipher_suite().map_or("", |suite| cipher(suite.suite())),
            server_name,
            resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
            protocol: protocol(connection.alpn_protocol(), terms.http2),
            identity: identity.transpose()?,
            shown,
            host_mismatch: terms.host_mismatch,
        })
    }
}

/// Takes a handshake to its end.
///
/// # Errors
/// Why there is no session, as a stable name in snake case. The client was told by an alert, if it still listens.
pub(crate) async fn shake<S: Io>(terms: &Terms, io: S) -> Result<(TlsStream<S>, Session), &'static str> {
    let mut start = LazyConfigAcceptor::new(Acceptor::default(), io).await.map_err(|error| ended(&error))?;
    let chosen = {
        let hello = start.client_hello();
        let name = hello.server_name().map(|name| name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase());
        let pair = terms.shown.choose(name.as_deref(), hello.signature_schemes());
        pair.map(|pair| (Arc::clone(pair), name.map(String::into_boxed_str)))
    };
    let Some((pair, name)) = chosen else {
        // A client that has left misses nothing.
        let _ = start.io.write_all(&UNRECOGNIZED_NAME).await;
        let _ = start.io.shutdown().await;
        return Err("unrecognized_name");
    };
    let stream = start.into_stream(Arc::clone(&terms.config)).await.map_err(|error| ended(&error))?;
    let session = Session::of(stream.get_ref().1, name, pair, terms)?;
    Ok((stream, session))
}

fn protocol(agreed: Option<&[u8]>, http2: bool) -> Protocol {
    match agreed {
        Some(b"h2") => Protocol::H2,
        None if http2 => Protocol::Unsaid,
        Some(_) | None => Protocol::H1,
    }
}

const fn version(version: Option<ProtocolVersion>) -> &'static str {
    match version {
        Some(ProtocolVersion::TLSv1_2) => "1.2",
        Some(ProtocolVersion::TLSv1_3) => "1.3",
        _ => "",
    }
}

/// `rustls` names those of TLS 1.3 in its own way.
#[expect(clippy::wildcard_enum_match_arm, reason = "the others are named as in the registry")]
fn cipher(suite: CipherSuite) -> &'static str {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        other => other.as_str().unwrap_or_default(),
    }
}

/// Why a handshake ended, for the metric.
fn ended(error: &io::Error) -> &'static str {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    inner.map_or("closed", judge)
}

#[expect(clippy::wildcard_enum_match_arm, reason = "whatever else a client does wrong is one kind to an operator")]
const fn judge(error: &Error) -> &'static str {
    use PeerIncompatible as Incompatible;
    match error {
        Error::AlertReceived(_) => "refused_by_client",
        Error::NoCertificatesPresented => "certificate_missing",
        Error::InvalidCertificate(_) => "certificate_refused",
        Error::NoApplicationProtocol => "no_protocol",
        Error::PeerIncompatible(
            Incompatible::ServerTlsVersionIsDisabledByOurConfig
            | Incompatible::ServerDoesNotSupportTls12Or13
            | Incompatible::SupportedVersionsExtensionRequired
            | Incompatible::Tls12NotOffered
            | Incompatible::Tls12NotOfferedOrEnabled,
        ) => "version",
        Error::PeerIncompatible(_) => "incompatible",
        _ => "malformed",
    }
}

#[cfg(test)]
mod tests {
    use super::super::terms::tests::pair;
    use super::*;

    fn session(asked: Option<&str>, host_mismatch: HostMismatch) -> Session {
        Session {
            version: "1.3",
            cipher: "",
            server_name: asked.map(Into::into),
            resumed: false,
            protocol: Protocol::H1,
            identity: None,
            shown: pair(&["a.test", "*.b.test"]),
            host_mismatch,
        }
    }

    #[test]
    fn a_request_belongs_to_the_name_that_was_asked_for_or_to_the_certificate() {
        let refuses = session(Some("default.test"), HostMismatch::Refuse);
        for host in ["default.test", "a.test", "x.b.test", ""] {
            assert!(!refuses.misdirects(host), "{host}");
        }
        for host in ["c.test", "b.test", "x.y.b.test", "10.0.0.1"] {
            assert!(refuses.misdirects(host), "{host}");
            assert!(!session(Some("default.test"), HostMismatch::Allow).misdirects(host), "{host}");
            assert!(!session(None, HostMismatch::Refuse).misdirects(host), "no name was asked for: {host}");
        }
    }
}
