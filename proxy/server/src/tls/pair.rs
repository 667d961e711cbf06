//! Certificates, keys and authorities as they are read from files. What is wrong with a file is told with what to do.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use sluice_config::validated::Certificate;
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{self, RootCertStore};

use super::names::Names;

/// More than the largest bundle of authorities in use.
const MAX_BYTES: u64 = 4 << 20;

/// Others may read a file.
const READABLE_BY_OTHERS: u32 = 0o004;

/// Why files cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    /// The field that names the file.
    pub(super) field: &'static str,
    pub(super) message: String,
    pub(super) hint: String,
}

impl Fault {
    fn new(field: &'static str, path: &Path, why: &str, hint: &str) -> Self {
        Self { field, message: format!("{} {why}", path.display()), hint: hint.to_owned() }
    }
}

/// A certificate with its chain and its key.
#[derive(Debug)]
pub(crate) struct Pair {
    /// As the document names them.
    pub(super) files: Certificate,
    pub(super) key: Arc<CertifiedKey>,
    pub(super) names: Names,
    /// In seconds since 1970.
    pub(super) begins: i64,
    pub(super) ends: i64,
    /// Others can read the key's file.
    pub(super) exposed: bool,
}

impl Pair {
    /// Reads both files. Blocks.
    pub(super) fn read(folder: &Path, files: &Certificate, provider: &CryptoProvider) -> Result<Self, Fault> {
        let (cert, key) = (folder.join(&files.cert), folder.join(&files.key));
        let chain = certificates("cert", &cert)?;
        let leaf = chain.first().ok_or_else(|| no_certificate("cert", &cert))?;
        let (names, begins, ends) = parse(leaf).ok_or_else(|| {
            let why = "begins with a certificate that cannot be understood";
            Fault::new("cert", &cert, why, "write it anew from what the authority gave")
        })?;
        let (private, exposed) = private_key(&key)?;
        let key = CertifiedKey::from_der(chain, private, provider).map_err(|error| unfit(&error, &cert, &key))?;
        Ok(Self { files: files.clone(), key: Arc::new(key), names, begins, ends, exposed })
    }
}

fn parse(leaf: &CertificateDer<'_>) -> Option<(Names, i64, i64)> {
    let (_, leaf) = x509_parser::parse_x509_certificate(leaf).ok()?;
    let validity = leaf.validity();
    Some((Names::of(&leaf), validity.not_before.timestamp(), validity.not_after.timestamp()))
}

#[expect(clippy::wildcard_enum_match_arm, reason = "what else may be wrong is of many kinds, and said by itself")]
fn unfit(error: &rustls::Error, cert: &Path, key: &Path) -> Fault {
    match error {
        rustls::Error::InconsistentKeys(_) => {
            let why = format!("is not the key of {}", cert.display());
            Fault::new("key", key, &why, "name the key that this certificate was made for")
        }
        rustls::Error::General(_) => {
            let why = "is a key that cannot be used";
            Fault::new(
                "key",
                key,
                why,
                "use one of these kinds: ECDSA P-256 or P-384, RSA of 2048 bits or more, Ed25519",
            )
        }
        other => Fault::new("cert", cert, &format!("cannot be used: {other}"), "have it issued anew"),
    }
}

fn private_key(path: &Path) -> Result<(PrivateKeyDer<'static>, bool), Fault> {
    let (bytes, mode) = contents(path).map_err(|error| unreadable("key", path, &error))?;
    let key = PrivateKeyDer::from_pem_slice(&bytes).map_err(|_| {
        let locked = bytes.windows(9).any(|word| word == b"ENCRYPTED");
        let hint = if locked {
            "a key behind a passphrase cannot be read: `openssl pkey -in FILE -out FILE` writes it without"
        } else {
            "it begins with a line such as -----BEGIN PRIVATE KEY-----"
        };
        Fault::new("key", path, "holds no private key in PEM form", hint)
    })?;
    Ok((key, mode & READABLE_BY_OTHERS != 0))
}

/// What clients' certificates are signed by.
#[derive(Debug)]
pub(super) struct Authority {
    pub(super) roots: Arc<RootCertStore>,
    /// Over all of its certificates.
    pub(super) digest: [u8; 32],
}

impl Authority {
    /// Reads the file. Blocks.
    pub(super) fn read(path: &Path) -> Result<Self, Fault> {
        let (mut roots, mut digest) = (RootCertStore::empty(), Sha256::new());
        for certificate in certificates("ca", path)? {
            digest.update((certificate.len() as u64).to_be_bytes());
            digest.update(&certificate);
            roots.add(certificate).map_err(|error| {
                let why = format!("holds a certificate that cannot sign others: {error}");
                Fault::new("ca", path, &why, "name the certificates of the authority")
            })?;
        }
        if roots.is_empty() {
            return Err(no_certificate("ca", path));
        }
        Ok(Self { roots: Arc::new(roots), digest: digest.finalize().into() })
    }
}

fn certificates(field: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let (bytes, _) = contents(path).map_err(|error| unreadable(field, path, &error))?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match all {
        Ok(all) if !all.is_empty() => Ok(all),
        Ok(_) => Err(no_certificate(field, path)),
        Err(error) => {
            let why = format!("is not whole: {error}");
            Err(Fault::new(field, path, &why, "write it anew from what the authority gave"))
        }
    }
}

fn no_certificate(field: &'static str, path: &Path) -> Fault {
    let hint = "it begins with the line -----BEGIN CERTIFICATE-----";
    Fault::new(field, path, "holds no certificate in PEM form", hint)
}

fn unreadable(field: &'static str, path: &Path, error: &io::Error) -> Fault {
    let hint = "relative paths begin at the document's folder, with `sluice proxy` at that of --files";
    #[expect(clippy::wildcard_enum_match_arm, reason = "the system says the others in its own words")]
    match error.kind() {
        io::ErrorKind::NotFound => Fault::new(field, path, "is not there", hint),
        io::ErrorKind::PermissionDenied => {
            let hint = "let the user that Sluice runs as read it, and nobody else";
            Fault::new(field, path, "may not be read", hint)
        }
        _ => Fault::new(field, path, &format!("cannot be read: {error}"), hint),
    }
}

/// The bytes of a regular file, and who may read it. Opening a pipe would wait for its writer.
fn contents(path: &Path) -> io::Result<(Vec<u8>, u32)> {
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(io::Error::other(format!("it has more than {MAX_BYTES} bytes")));
    }
    Ok((bytes, metadata.permissions().mode()))
}
