//! The token that is shown to a control plane.

use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, bail};
use http::HeaderValue;

/// A token. It is never printed.
#[derive(Clone)]
pub(super) struct Token(HeaderValue);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(redacted)")
    }
}

impl Token {
    /// Reads the token that a file holds in one line.
    ///
    /// # Errors
    /// The file cannot be read, others may read it, or it does not hold one token.
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        let metadata = std::fs::metadata(path).with_context(|| format!("cannot read the token file {shown}"))?;
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            bail!(
                "others may read the token file {shown} (mode {mode:o}): chmod 600 {shown}, and have the token replaced"
            );
        }
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read the token file {shown}"))?;
        let token = text.trim();
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            bail!("the token file {shown} does not hold a token alone; `sluice token NAME ROLE` makes one");
        }
        let mut value = HeaderValue::from_str(&format!("Bearer {token}"))?;
        value.set_sensitive(true);
        Ok(Self(value))
    }

    pub(super) fn header(&self) -> HeaderValue {
        self.0.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_from_a_file_that_is_its_owner_s() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let read = |text: &str, mode: u32| {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            Token::read(&path).map_err(|error| error.to_string())
        };
        let token = read("secret-1\n", 0o600).unwrap();
        assert_eq!(token.header(), "Bearer secret-1");
        assert!(!format!("{token:?} {:?}", token.header()).contains("secret"));
        assert!(read("secret-1", 0o640).unwrap_err().contains("chmod 600"));
        assert!(read("", 0o600).unwrap_err().contains("sluice token"));
        assert!(read("ann admin secret", 0o600).unwrap_err().contains("alone"));
        assert!(Token::read(Path::new("/nowhere")).unwrap_err().to_string().contains("/nowhere"));
    }
}
