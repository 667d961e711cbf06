//! Noticing cheaply that files need not be read again.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What changes when a file's content may have changed. Of the file that a path leads to at last, so that the swap of a
/// symbolic link anywhere on the way shows too.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    place: (u64, u64),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn at(path: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok()?;
        Some(Self {
            place: (metadata.dev(), metadata.ino()),
            size: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

/// How some files stand; nothing for each that cannot be looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stamps(Vec<Option<Stamp>>);

impl Stamps {
    /// Now. Blocks.
    pub(crate) fn of<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Self {
        Self(paths.into_iter().map(Stamp::at).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_written_or_replaced_or_removed_stands_differently() {
        let folder = tempfile::tempdir().unwrap();
        let (file, other, link) = (folder.path().join("a"), folder.path().join("b"), folder.path().join("link"));
        let look = || Stamps::of([link.as_path()]);
        let nothing = look();
        std::fs::write(&file, "one").unwrap();
        std::fs::write(&other, "one").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let first = look();
        assert_ne!(first, nothing);
        assert_eq!(first, look());
        std::fs::write(&file, "longer").unwrap();
        let second = look();
        assert_ne!(second, first);
        std::fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink(&other, &link).unwrap();
        assert_ne!(look(), second);
    }
}
