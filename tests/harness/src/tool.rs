//! Programs of others that a suite needs.

use std::path::PathBuf;

/// Where this program is.
///
/// # Panics
/// When it is absent, naming the Debian package that brings it: a guarantee that was not tested is not held.
#[must_use]
pub fn tool(name: &str, package: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
        .unwrap_or_else(|| panic!("this suite needs `{name}`: apt-get install {package}"))
}
