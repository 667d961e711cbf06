//! A connection to a server: TCP, a Unix socket, or TLS over TCP; HTTP/1.1 on each.

use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use super::server::{Place, Server};

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Lost {
    /// There was no connection: nothing was asked.
    Connect(String),
    /// The connection ended before the answer did.
    Broken(String),
}

pub(super) type Sender = SendRequest<Full<Bytes>>;

/// Connects.
pub(super) async fn open(server: &Server, ca: Option<&Path>) -> Result<Sender, Lost> {
    match server {
        Server::Unix(path) => speak(UnixStream::connect(path).await.map_err(refused)?).await,
        Server::Plain(place) => speak(dial(place).await?).await,
        Server::Tls(place) => {
            let connector = TlsConnector::from(Arc::new(tls(ca).map_err(Lost::Connect)?));
            let name = ServerName::try_from(place.host.clone()).map_err(|error| Lost::Connect(error.to_string()))?;
            let stream = connector.connect(name, dial(place).await?).await;
            speak(stream.map_err(|error| Lost::Connect(format!("no TLS: {error}")))?).await
        }
    }
}

async fn dial(place: &Place) -> Result<TcpStream, Lost> {
    TcpStream::connect((place.host.as_str(), place.port)).await.map_err(refused)
}

#[allow(clippy::needless_pass_by_value, reason = "the form that map_err asks for")]
fn refused(error: io::Error) -> Lost {
    let known = [
        (io::ErrorKind::NotFound, "there is no such socket"),
        (io::ErrorKind::ConnectionRefused, "nobody listens there"),
        (io::ErrorKind::PermissionDenied, "permission denied: it belongs to another user"),
    ];
    let words = known.into_iter().find(|(kind, _)| *kind == error.kind());
    Lost::Connect(words.map_or_else(|| error.to_string(), |(_, words)| words.to_owned()))
}

async fn speak(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Result<Sender, Lost> {
    let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|error| Lost::Connect(words(&error)))?;
    // How the connection ends is told to whoever waits for an answer on it.
    tokio::spawn(async { drop(connection.await) });
    Ok(sender)
}

/// An error of the protocol with its cause.
pub(super) fn words(error: &hyper::Error) -> String {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
    format!("{error}{cause}")
}

/// Whom to trust: these certificates, else those of the system (`SSL_CERT_FILE` is honoured).
fn tls(ca: Option<&Path>) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(path) => {
            let unread =
                |error: rustls::pki_types::pem::Error| format!("cannot read the CA {}: {error}", path.display());
            for certificate in CertificateDer::pem_file_iter(path).map_err(unread)? {
                roots.add(certificate.map_err(unread)?).map_err(|error| format!("{}: {error}", path.display()))?;
            }
        }
        None => {
            let found = rustls_native_certs::load_native_certs()
                .map_err(|error| format!("cannot read the system's certificates: {error}; name one with --ca"))?;
            roots.add_parsable_certificates(found);
        }
    }
    if roots.is_empty() {
        return Err("there is no certificate to trust; name one with --ca".to_owned());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = versions.map_err(|error| error.to_string())?.with_root_certificates(roots).with_no_client_auth();
    Ok(config)
}
