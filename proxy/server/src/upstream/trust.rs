//! Certificates and keys as they are read from files, and what rustls makes of them. What is wrong is told with its file and
//! what to do.

use std::cell::OnceCell;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sluice_config::UnusableFile;
use sluice_config::problem::Path as Place;
use sluice_config::validated::OriginTls;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

use crate::files;

/// More than the largest bundle of authorities in use.
const MAX_BYTES: u64 = 4 << 20;

/// What is wrong with a file.
#[derive(Debug)]
pub(super) struct Fault {
    /// Which value names it.
    field: &'static [&'static str],
    message: String,
    hint: &'static str,
}

const CA: &[&str] = &["ca"];
const CERT: &[&str] = &["client_certificate", "cert"];
const KEY: &[&str] = &["client_certificate", "key"];

impl Fault {
    const fn new(field: &'static [&'static str], message: String, hint: &'static str) -> Self {
        Self { field, message, hint }
    }

    pub(super) fn name(name: &str) -> Self {
        let message = format!("{name} is no name that a certificate can be for");
        Self::new(&["server_name"], message, "write a host such as shop.internal, or an IP address")
    }

    fn unreadable(field: &'static [&'static str], path: &Path, error: &io::Error) -> Self {
        let path = path.display();
        let hint = "relative paths begin at the document's folder, with `sluice proxy` at that of --files";
        if error.kind() == io::ErrorKind::NotFound {
            return Self::new(field, format!("{path} is not there"), hint);
        }
        if error.kind() == io::ErrorKind::PermissionDenied {
            let hint = "let the user that Sluice runs as read it";
            return Self::new(field, format!("{path} may not be read"), hint);
        }
        Self::new(field, format!("{path} cannot be read: {error}"), hint)
    }

    fn pem(field: &'static [&'static str], path: &Path, kind: &str) -> Self {
        let hint = "it begins with a line such as -----BEGIN CERTIFICATE----- or -----BEGIN PRIVATE KEY-----";
        Self::new(field, format!("{} holds no {kind} in PEM form", path.display()), hint)
    }

    /// As a problem of the document; `tls` is the way to the settings.
    pub(super) fn at(&self, tls: &Place) -> UnusableFile {
        let path = self.field.iter().fold(tls.clone(), |path, field| path.field(field));
        UnusableFile { path, message: self.message.clone(), hint: self.hint.to_owned() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tls.{}: {}; {}", self.field.join("."), self.message, self.hint)
    }
}

/// The system's store, read at most once: it is large.
#[derive(Debug, Default)]
pub(super) struct System(OnceCell<Result<Arc<RootCertStore>, String>>);

impl System {
    fn roots(&self) -> Result<Arc<RootCertStore>, Fault> {
        let read = self.0.get_or_init(|| {
            let trusted = rustls_native_certs::load_native_certs().map_err(|error| format!(": {error}"))?;
            let mut roots = RootCertStore::empty();
            let (usable, _) = roots.add_parsable_certificates(trusted);
            if usable > 0 { Ok(Arc::new(roots)) } else { Err(String::new()) }
        });
        read.clone().map_err(|why| {
            let message = format!("the system's store of trusted certificates holds none{why}");
            let hint = "name the authorities with `ca`, install ca-certificates, or correct SSL_CERT_FILE";
            Fault::new(&[], message, hint)
        })
    }
}

/// The content of the files, as it is.
#[derive(PartialEq, Eq)]
pub(super) struct Material {
    ca: Option<Content>,
    identity: Option<(Content, Content)>,
}

#[derive(PartialEq, Eq)]
struct Content {
    path: PathBuf,
    bytes: Vec<u8>,
}

/// Nothing of the key.
impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Material").finish_non_exhaustive()
    }
}

impl Material {
    /// Reads all files. Blocks.
    pub(super) fn read(settings: &OriginTls, folder: &Path) -> Result<Self, Fault> {
        let ca = settings.ca.as_ref().map(|path| Content::read(CA, folder, path)).transpose()?;
        let identity = settings.client_certificate.as_ref().map(|pair| {
            Ok::<_, Fault>((Content::read(CERT, folder, &pair.cert)?, Content::read(KEY, folder, &pair.key)?))
        });
        Ok(Self { ca, identity: identity.transpose()? })
    }

    /// What handshakes use, without a protocol. `system` is asked where no authority is named.
    pub(super) fn client(&self, system: &System) -> Result<ClientConfig, Fault> {
        let roots = match &self.ca {
            Some(ca) => Arc::new(roots(ca)?),
            None => system.roots()?,
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has a suite for each of the versions")
            .with_root_certificates(roots);
        let Some((certificate, key)) = &self.identity else { return Ok(builder.with_no_client_auth()) };
        let chain = certificates(CERT, certificate)?;
        let private =
            PrivateKeyDer::from_pem_slice(&key.bytes).map_err(|_| Fault::pem(KEY, &key.path, "private key"))?;
        builder.with_client_auth_cert(chain, private).map_err(|error| {
            let (key, certificate) = (key.path.display(), certificate.path.display());
            if matches!(error, rustls::Error::InconsistentKeys(_)) {
                let message = format!("{key} is not the key of {certificate}");
                return Fault::new(KEY, message, "name the key that this certificate was made for");
            }
            Fault::new(KEY, format!("{key} does not go with {certificate}: {error}"), "name a key and its certificate")
        })
    }
}

impl Content {
    fn read(field: &'static [&'static str], folder: &Path, path: &str) -> Result<Self, Fault> {
        let path = files::resolve(folder, path);
        match bytes(&path) {
            Ok(bytes) => Ok(Self { path, bytes }),
            Err(error) => Err(Fault::unreadable(field, &path, &error)),
        }
    }
}

/// Of a regular file. Opening a pipe would wait for its writer.
fn bytes(path: &Path) -> io::Result<Vec<u8>> {
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    if metadata.len() > MAX_BYTES {
        return Err(io::Error::other(format!("it has more than {MAX_BYTES} bytes")));
    }
    fs::read(path)
}

fn roots(ca: &Content) -> Result<RootCertStore, Fault> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(CA, ca)? {
        roots.add(certificate).map_err(|error| {
            let message = format!("{} holds a certificate that cannot sign others: {error}", ca.path.display());
            Fault::new(CA, message, "name the certificates of the authority")
        })?;
    }
    Ok(roots)
}

fn certificates(field: &'static [&'static str], from: &Content) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&from.bytes).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) | Err(_) => Err(Fault::pem(field, &from.path, "certificate")),
    }
}
