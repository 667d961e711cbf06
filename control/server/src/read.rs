//! Reading the document's file, and noticing cheaply that it need not be read.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use sluice_control_core::file::Unreadable;

/// The most bytes that are read of a file: enough for any document that validation accepts.
pub const MAX_BYTES: u64 = sluice_config::limit::BYTES as u64;

/// What changes when a file's content may have changed: its place on disk, its size and its times.
///
/// The place is that of the file a path leads to at last, so the swap of a symbolic link anywhere on the way shows too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stamp {
    place: (u64, u64),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// Of what is there now; nothing when it cannot be told.
    pub(crate) fn at(path: &Path) -> Option<Self> {
        std::fs::metadata(path).ok().map(|metadata| Self::of(&metadata))
    }

    fn of(metadata: &Metadata) -> Self {
        Self {
            place: (metadata.dev(), metadata.ino()),
            size: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// One look at a file.
#[derive(Debug)]
pub(crate) struct Look {
    /// As it stood before it was read; absent when nothing has this name.
    pub(crate) stamp: Option<Stamp>,
    pub(crate) content: Result<Vec<u8>, Unreadable>,
}

/// Reads the file, unless it still has the stamp `known`.
pub(crate) fn look(path: &Path, known: Option<&Stamp>) -> Option<Look> {
    match std::fs::metadata(path) {
        Err(e) => Some(Look { stamp: None, content: Err(refusal(&e)) }),
        Ok(metadata) => {
            let stamp = Stamp::of(&metadata);
            (known != Some(&stamp)).then(|| Look { stamp: Some(stamp), content: read_regular(path, &metadata) })
        }
    }
}

/// The bytes of the document at `path`, which must be a regular file: anything else cannot be watched.
///
/// # Errors
/// Why there are none.
pub fn read(path: &Path) -> Result<Vec<u8>, Unreadable> {
    let metadata = std::fs::metadata(path).map_err(|e| refusal(&e))?;
    read_regular(path, &metadata)
}

fn read_regular(path: &Path, metadata: &Metadata) -> Result<Vec<u8>, Unreadable> {
    // Opening a pipe would wait for its writer.
    if !metadata.is_file() {
        return Err(Unreadable::NotAFile);
    }
    let file = File::open(path).map_err(|e| refusal(&e))?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|e| refusal(&e))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(Unreadable::TooLarge { limit: MAX_BYTES });
    }
    Ok(bytes)
}

fn refusal(error: &io::Error) -> Unreadable {
    if error.kind() == io::ErrorKind::NotFound { Unreadable::Missing } else { Unreadable::Failed(error.to_string()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sluice.yaml");
        assert_eq!(read(&path), Err(Unreadable::Missing));
        assert_eq!(read(folder.path()), Err(Unreadable::NotAFile));
        std::fs::write(&path, vec![b'#'; MAX_BYTES as usize + 1]).unwrap();
        assert_eq!(read(&path), Err(Unreadable::TooLarge { limit: MAX_BYTES }));
        std::fs::write(&path, vec![b'#'; MAX_BYTES as usize]).unwrap();
        assert_eq!(read(&path).unwrap().len() as u64, MAX_BYTES);
    }

    #[test]
    fn a_file_with_a_known_stamp_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sluice.yaml");
        std::fs::write(&path, "a").unwrap();
        let first = look(&path, None).unwrap();
        assert_eq!(first.content.unwrap(), b"a");
        assert!(look(&path, first.stamp.as_ref()).is_none());
        std::fs::write(&path, "longer").unwrap();
        assert_eq!(look(&path, first.stamp.as_ref()).unwrap().content.unwrap(), b"longer");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(look(&path, first.stamp.as_ref()).unwrap().content, Err(Unreadable::Missing));
    }

    #[test]
    fn another_file_behind_the_same_link_has_another_stamp() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two, link) = (folder.path().join("one"), folder.path().join("two"), folder.path().join("link"));
        std::fs::write(&one, "1").unwrap();
        std::fs::write(&two, "2").unwrap();
        std::os::unix::fs::symlink(&one, &link).unwrap();
        let first = look(&link, None).unwrap();
        std::fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink(&two, &link).unwrap();
        assert_eq!(look(&link, first.stamp.as_ref()).unwrap().content.unwrap(), b"2");
    }
}
