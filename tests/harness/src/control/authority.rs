//! Certificates for one suite: an authority of its own, and what it signs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, Certificate, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};
use tempfile::TempDir;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

/// An authority that signed a server's certificate for `localhost` and 127.0.0.1, and a client's.
#[derive(Debug)]
pub struct Authority {
    folder: TempDir,
    certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Authority {
    /// A new one, whose files `ca.pem`, `client.pem` and `client.key` are in a folder of its own.
    ///
    /// # Panics
    /// When the system refuses.
    #[must_use]
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        let folder = TempDir::new().expect("a folder for certificates");
        let authority = Self { folder, certificate, issuer: Issuer::new(params, key) };
        let (client, key) = authority.sign(&["node"]);
        authority.write("ca.pem", &authority.certificate.pem());
        authority.write("client.pem", &client.pem());
        authority.write("client.key", &key.serialize_pem());
        authority
    }

    /// One of its files.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Where its files are.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Signs a certificate for these names (those with a colon are URIs) with a key of its own, as `FILE.pem` and
    /// `FILE.key`; its common name is `FILE`. What had these names is replaced.
    ///
    /// # Panics
    /// When the system refuses.
    pub fn issue(&self, file: &str, names: &[&str]) {
        self.issue_until(file, names, 4000);
    }

    /// As [`Authority::issue`], and it ends when this year begins.
    ///
    /// # Panics
    /// When the system refuses.
    pub fn issue_until(&self, file: &str, names: &[&str], year: i32) {
        let (uris, names): (Vec<&str>, Vec<&str>) = names.iter().partition(|name| name.contains(':'));
        let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
        let mut params = CertificateParams::new(names).expect("plain names");
        params.distinguished_name.push(DnType::CommonName, file);
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        params.subject_alt_names.extend(uris.iter().map(|uri| SanType::URI((*uri).try_into().expect("a plain URI"))));
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        self.write(&format!("{file}.key"), &key.serialize_pem());
        self.write(&format!("{file}.pem"), &certificate.pem());
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.file(name), text).expect("a file in the folder");
    }

    fn sign(&self, names: &[&str]) -> (Certificate, KeyPair) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate().expect("a key");
        let certificate = CertificateParams::new(names).expect("plain names").signed_by(&key, &self.issuer);
        (certificate.expect("a certificate"), key)
    }

    /// A server that shows `FILE.pem`, as [`Authority::issue`] wrote it, and offers these protocols. `clients`: it takes
    /// only those with a certificate of this authority.
    pub(crate) fn server(&self, file: &str, protocols: &[&str], clients: bool) -> TlsAcceptor {
        let provider = Arc::new(ring::default_provider());
        let chain = CertificateDer::pem_file_iter(self.file(&format!("{file}.pem"))).expect("a certificate's file");
        let chain: Vec<_> = chain.map(|one| one.expect("a certificate")).collect();
        let key = PrivateKeyDer::from_pem_file(self.file(&format!("{file}.key"))).expect("a key's file");
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("versions that the provider knows");
        let builder = if clients {
            let mut roots = RootCertStore::empty();
            roots.add(self.certificate.der().clone()).expect("a certificate of our own");
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.expect("a root to verify by"))
        } else {
            builder.with_no_client_auth()
        };
        let mut config = builder.with_single_cert(chain, key).expect("a key that fits");
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }

    /// A server that takes only clients with a certificate of this authority.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        let provider = Arc::new(ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.der().clone()).expect("a certificate of our own");
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build();
        let (certificate, key) = self.sign(&["localhost", "127.0.0.1"]);
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions that the provider knows")
            .with_client_cert_verifier(verifier.expect("a root to verify by"))
            .with_single_cert(vec![certificate.der().clone()], key)
            .expect("a key that fits");
        config.alpn_protocols = vec![b"h2".to_vec()];
        TlsAcceptor::from(Arc::new(config))
    }
}
