//! TLS on the admin listener: one certificate, read again when its files change, and clients' certificates if a CA is
//! given for them.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::read::Stamp;

/// The files of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
    /// Who signs the certificates of clients.
    clients: Option<PathBuf>,
}

/// What the admin listener shows its clients, and asks of them.
#[derive(Clone)]
pub struct Tls {
    files: Arc<Files>,
    config: Arc<ArcSwap<ServerConfig>>,
    /// The files as they were read last.
    seen: Arc<Mutex<Vec<Option<Stamp>>>>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("files", &self.files).finish_non_exhaustive()
    }
}

/// Why files are no certificate.
#[derive(Debug)]
pub struct TlsError {
    file: PathBuf,
    why: String,
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file.display(), self.why)
    }
}

impl std::error::Error for TlsError {}

impl Tls {
    /// Reads a certificate with its chain and its key, and the CA that signs clients' certificates, all PEM.
    ///
    /// # Errors
    /// When a file cannot be read, or certificate and key do not belong together.
    pub fn open(certificate: &Path, key: &Path, clients: Option<&Path>) -> Result<Self, TlsError> {
        let clients = clients.map(Path::to_owned);
        let files = Files { certificate: certificate.to_owned(), key: key.to_owned(), clients };
        let seen = Arc::new(Mutex::new(files.stamps()));
        let config = Arc::new(ArcSwap::from_pointee(files.read()?));
        Ok(Self { files: Arc::new(files), config, seen })
    }

    /// Reads the files again if one of them was written. Connections that are open keep what they have; files that are no
    /// certificate change nothing.
    pub(crate) fn refresh(&self) {
        let stamps = self.files.stamps();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if *seen == stamps {
            return;
        }
        *seen = stamps;
        match self.files.read() {
            Ok(config) => {
                self.config.store(Arc::new(config));
                tracing::info!(certificate = %self.files.certificate.display(), "the admin certificate was read again");
            }
            Err(error) => tracing::error!(%error, "the admin certificate stays as it was"),
        }
    }

    /// The TLS side of a connection, and the name in the client's certificate if it showed one.
    pub(super) async fn accept(&self, stream: TcpStream) -> std::io::Result<(TlsStream<TcpStream>, Option<String>)> {
        let stream = TlsAcceptor::from(self.config.load_full()).accept(stream).await?;
        let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let name = shown.and_then(|certificate| name(certificate));
        Ok((stream, name))
    }
}

/// The common name of a certificate's subject.
fn name(certificate: &[u8]) -> Option<String> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let name = certificate.subject().iter_common_name().next()?.as_str().ok()?;
    Some(name.to_owned())
}

impl Files {
    fn stamps(&self) -> Vec<Option<Stamp>> {
        let all = [Some(&self.certificate), Some(&self.key), self.clients.as_ref()];
        all.into_iter().flatten().map(|file| Stamp::at(file)).collect()
    }

    fn read(&self) -> Result<ServerConfig, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| refuse(&self.certificate, &error))?;
        let builder = match &self.clients {
            None => builder.with_no_client_auth(),
            Some(file) => {
                let mut roots = rustls::RootCertStore::empty();
                for certificate in certificates(file)? {
                    roots.add(certificate).map_err(|error| refuse(file, &error))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                    .allow_unauthenticated()
                    .build()
                    .map_err(|error| refuse(file, &error))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|error| refuse(&self.key, &error))?;
        let mut config = builder
            .with_single_cert(certificates(&self.certificate)?, key)
            .map_err(|error| refuse(&self.certificate, &error))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_file_iter(file).map_err(|error| refuse(file, &error))?.collect();
    let all = all.map_err(|error| refuse(file, &error))?;
    if all.is_empty() { Err(refuse(file, &"it holds no certificate")) } else { Ok(all) }
}

fn refuse(file: &Path, why: &dyn fmt::Display) -> TlsError {
    TlsError { file: file.to_owned(), why: why.to_string() }
}
