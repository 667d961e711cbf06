//! Files that a document names.

use std::path::{Path, PathBuf};

/// Where a file is: a path that is not absolute begins at `folder`.
pub(crate) fn resolve(folder: &Path, path: &str) -> PathBuf {
    folder.join(path)
}
