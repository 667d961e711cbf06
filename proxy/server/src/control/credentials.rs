//! What a proxy shows to its control plane, and by what it knows it. Read anew for each connection, so that a token or a
//! certificate that was renewed needs no start.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::HeaderValue;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

/// Where credentials are.
#[derive(Debug, Clone, Default)]
pub struct CredentialFiles {
    /// A bearer token, alone in a file that others cannot read.
    pub token: Option<PathBuf>,
    /// The certificates that sign the control plane's; absent: those that the system trusts.
    pub ca: Option<PathBuf>,
    /// The certificate of this proxy with its chain, and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// Why credentials cannot be used.
#[derive(Debug)]
pub(crate) enum CredentialError {
    /// A file cannot be read.
    Unreadable(PathBuf, io::Error),
    /// The token's file can be read by others.
    Exposed(PathBuf, u32),
    /// The file holds no token.
    Token(PathBuf),
    /// The file holds nothing of this kind in PEM form.
    Pem(PathBuf, &'static str),
    /// The system trusts nobody.
    NoRoots,
    /// The certificate and the key do not fit, or are of an unknown kind.
    Tls(rustls::Error),
}

impl fmt::Display for CredentialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(path, error) => write!(f, "cannot read {}: {error}", path.display()),
            Self::Exposed(path, mode) => {
                let path = path.display();
                write!(
                    f,
                    "the token in {path} can be read by others (mode {mode:o}): chmod 600 {path}, and draw a new one"
                )
            }
            Self::Token(path) => write!(f, "{} holds no token: one line of characters without spaces", path.display()),
            Self::Pem(path, kind) => write!(f, "{} holds no {kind} in PEM form", path.display()),
            Self::NoRoots => {
                f.write_str("the system trusts no certificates: name those of the control plane with --ca")
            }
            Self::Tls(error) => write!(f, "the certificate and the key cannot be used: {error}"),
        }
    }
}

/// Credentials as they are used for one connection.
pub(crate) struct Credentials {
    /// `Bearer TOKEN`.
    pub(crate) authorization: Option<HeaderValue>,
    /// Absent where the connection is not encrypted.
    pub(crate) tls: Option<Arc<ClientConfig>>,
}

impl CredentialFiles {
    /// Reads everything. Blocks.
    pub(crate) fn read(&self, tls: bool) -> Result<Credentials, CredentialError> {
        let tls = if tls { Some(Arc::new(self.client_config()?)) } else { None };
        Ok(Credentials { authorization: self.authorization()?, tls })
    }

    /// The token as it is sent. Blocks.
    pub(crate) fn authorization(&self) -> Result<Option<HeaderValue>, CredentialError> {
        self.token.as_deref().map(read_token).transpose()
    }

    fn client_config(&self) -> Result<ClientConfig, CredentialError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(CredentialError::Tls)?
            .with_root_certificates(self.roots()?);
        let mut config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = certificates(certificate)?;
                let key = PrivateKeyDer::from_pem_slice(&contents(key)?)
                    .map_err(|_| CredentialError::Pem(key.clone(), "private key"))?;
                builder.with_client_auth_cert(chain, key).map_err(CredentialError::Tls)?
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(config)
    }

    fn roots(&self) -> Result<RootCertStore, CredentialError> {
        let mut roots = RootCertStore::empty();
        let trusted = match &self.ca {
            Some(path) => certificates(path)?,
            // Where pingora's connector finds them, too: SSL_CERT_FILE, else the system's bundle.
            None => rustls_native_certs::load_native_certs().map_err(|_| CredentialError::NoRoots)?,
        };
        let (usable, _) = roots.add_parsable_certificates(trusted);
        match &self.ca {
            _ if usable > 0 => Ok(roots),
            Some(path) => Err(CredentialError::Pem(path.clone(), "certificate")),
            None => Err(CredentialError::NoRoots),
        }
    }
}

fn contents(path: &Path) -> Result<Vec<u8>, CredentialError> {
    fs::read(path).map_err(|error| CredentialError::Unreadable(path.to_owned(), error))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, CredentialError> {
    let bytes = contents(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) | Err(_) => Err(CredentialError::Pem(path.to_owned(), "certificate")),
    }
}

fn read_token(path: &Path) -> Result<HeaderValue, CredentialError> {
    let unreadable = |error| CredentialError::Unreadable(path.to_owned(), error);
    let mode = fs::metadata(path).map_err(unreadable)?.permissions().mode() & 0o7777;
    if mode & 0o007 != 0 {
        return Err(CredentialError::Exposed(path.to_owned(), mode));
    }
    let text = fs::read_to_string(path).map_err(unreadable)?;
    let token = text.trim();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(CredentialError::Token(path.to_owned()));
    }
    let mut value =
        HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| CredentialError::Token(path.to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(text: &str, mode: u32) -> Result<HeaderValue, CredentialError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        read_token(&path)
    }

    #[test]
    fn a_token_is_a_secret_line() {
        let value = token("  abc.DEF-1\n", 0o600).unwrap();
        assert_eq!(value, "Bearer abc.DEF-1");
        assert!(value.is_sensitive());
        assert!(token("abc", 0o640).is_ok());
        assert!(matches!(token("abc", 0o644), Err(CredentialError::Exposed(_, 0o644))));
        for text in ["", " \n", "two words", "two\nlines", "k\u{f6}nig"] {
            assert!(matches!(token(text, 0o600), Err(CredentialError::Token(_))), "{text:?}");
        }
        assert!(matches!(read_token(Path::new("/nowhere/token")), Err(CredentialError::Unreadable(..))));
    }

    #[test]
    fn what_is_no_certificate_is_told_with_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        fs::write(&path, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
        let files = CredentialFiles { ca: Some(path.clone()), ..CredentialFiles::default() };
        let error = files.read(true).map(drop).unwrap_err().to_string();
        assert!(error.contains("ca.pem holds no certificate"), "{error}");
        fs::write(&path, "").unwrap();
        assert!(files.read(true).is_err());
        assert!(files.read(false).is_ok(), "nothing of it is needed without TLS");
    }
}
