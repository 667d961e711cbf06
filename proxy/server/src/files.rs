//! Files that a document names.

use std::path::{Path, PathBuf};

use sluice_config::{UnusableFile, Validated};

use crate::tls;
use crate::upstream::Reach;

/// Where a file is: a path that is not absolute begins at `folder`.
pub(crate) fn resolve(folder: &Path, path: &str) -> PathBuf {
    folder.join(path)
}

/// What is wrong with the files that a sound document names, where relative paths begin at `folder`. Blocks.
#[must_use]
pub fn unusable_files(document: &Validated, folder: &Path) -> Vec<UnusableFile> {
    let mut found = tls::unusable_files(document, folder);
    found.extend(Reach::all(document, folder, None).err().unwrap_or_default());
    found
}
