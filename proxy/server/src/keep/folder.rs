//! The folder of the last known good: what a file looks like, and how one is written so that no moment of it is a lie.
//!
//! ```text
//! DATA/last-known-good/            0700
//!   0000000000000012.revision      0600; the highest number is the newest, three are kept
//!   boots                          0600; the journal of starts
//!   lock                           held by the process that uses the folder
//! ```
//!
//! A revision's first line is `sluice-revision 1 DIGEST`, the digest being SHA-256 over all that follows it: the
//! revision as JSON, as it is sent. A file is written beside its place, brought to the disk, renamed, and the rename is
//! brought to the disk too; only then are older ones removed. So a file of this name is whole, or the disk is at fault,
//! and then the checksum says so.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sluice_config::value::Digest;
use sluice_config::wire::Revision;
use sluice_proxy_core::recall::Journal;

/// How many revisions are kept.
pub(crate) const KEPT: usize = 3;

/// What a revision's file begins with; the number is the version of its form.
const FORM: &str = "sluice-revision 1";

const EXTENSION: &str = "revision";

/// Written, and not yet in its place.
const UNFINISHED: &str = "unfinished";

/// Why a file is not used.
#[derive(Debug)]
pub(crate) enum Damage {
    /// It cannot be read.
    Unreadable(io::Error),
    /// Its first line is not one of ours: another form, or no revision at all.
    Form,
    /// Its content is not what was written.
    Checksum,
    /// The content has the checksum and is no revision.
    Content(serde_json::Error),
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unreadable(error) => write!(f, "it cannot be read: {error}"),
            Self::Form => write!(f, "it does not begin with \"{FORM}\""),
            Self::Checksum => f.write_str("its content does not have the checksum that it was written with"),
            Self::Content(error) => write!(f, "it holds no revision: {error}"),
        }
    }
}

/// One file of the folder.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) path: PathBuf,
    pub(crate) written: Option<SystemTime>,
    pub(crate) revision: Result<Revision, Damage>,
}

/// The folder, held by this process.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    /// Of the newest file.
    number: u64,
    _lock: File,
}

/// Why the folder cannot be used.
#[derive(Debug)]
pub(crate) enum Closed {
    /// Another process uses it.
    Taken,
    /// The system refuses.
    System(io::Error),
}

impl From<io::Error> for Closed {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

impl Folder {
    /// Takes the folder in `data`, and makes both where they are missing.
    pub(crate) fn open(data: &Path) -> Result<Self, Closed> {
        let path = data.join("last-known-good");
        DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
        // It may have been made by other hands.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700))?;
        let lock = OpenOptions::new().create(true).append(true).mode(0o600).open(path.join("lock"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Closed::Taken),
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        let mut folder = Self { path, number: 0, _lock: lock };
        folder.number = folder.files()?.first().map_or(0, |(number, _)| *number);
        Ok(folder)
    }

    /// What is kept, the newest first. Files that a crash left unfinished are removed.
    pub(crate) fn read(&self) -> io::Result<Vec<Kept>> {
        for path in self.with_extension(UNFINISHED)? {
            fs::remove_file(path)?;
        }
        let files = self.files()?;
        Ok(files.into_iter().map(|(_, path)| read(path)).collect())
    }

    /// Keeps a revision as the newest. When it returns, the disk has it.
    pub(crate) fn save(&mut self, revision: &Revision) -> io::Result<()> {
        self.number += 1;
        let place = self.path.join(format!("{:016}.{EXTENSION}", self.number));
        self.write(&place, &encode(revision)?, true)?;
        for (_, old) in self.files()?.into_iter().skip(KEPT) {
            fs::remove_file(old)?;
        }
        Ok(())
    }

    /// The journal; that of a first start if there is none, and nothing if it cannot be understood.
    pub(crate) fn journal(&self) -> Option<Journal> {
        match fs::read(self.path.join("boots")) {
            Ok(bytes) => serde_json::from_slice(&bytes).ok(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Some(Journal::default()),
            Err(_) => None,
        }
    }

    /// Writes the journal. It need not outlive the machine, only the process: a machine that fails is not the doing of a
    /// revision. So it is not brought to the disk, which would cost each change a write to it.
    pub(crate) fn write_journal(&self, journal: &Journal) -> io::Result<()> {
        self.write(&self.path.join("boots"), &serde_json::to_vec(journal)?, false)
    }

    fn write(&self, place: &Path, bytes: &[u8], durable: bool) -> io::Result<()> {
        let aside = place.with_extension(UNFINISHED);
        let written = write_aside(&aside, bytes, durable).and_then(|()| fs::rename(&aside, place));
        if written.is_err() {
            // On a disk that is full it is in the way. If it cannot be removed either, the next start does.
            let _ = fs::remove_file(&aside);
        }
        written?;
        if durable {
            File::open(&self.path)?.sync_all()?;
        }
        Ok(())
    }

    /// The revisions' files, the newest first.
    fn files(&self) -> io::Result<Vec<(u64, PathBuf)>> {
        let numbered = |path: PathBuf| Some((path.file_stem()?.to_str()?.parse().ok()?, path));
        let mut files: Vec<(u64, PathBuf)> = self.with_extension(EXTENSION)?.into_iter().filter_map(numbered).collect();
        files.sort_unstable_by_key(|(number, _)| std::cmp::Reverse(*number));
        Ok(files)
    }

    fn with_extension(&self, wanted: &str) -> io::Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == wanted) {
                found.push(path);
            }
        }
        Ok(found)
    }
}

fn write_aside(aside: &Path, bytes: &[u8], durable: bool) -> io::Result<()> {
    let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(aside)?;
    file.write_all(bytes)?;
    if durable { file.sync_all() } else { Ok(()) }
}

fn read(path: PathBuf) -> Kept {
    let written = fs::metadata(&path).and_then(|metadata| metadata.modified()).ok();
    let revision = fs::read(&path).map_err(Damage::Unreadable).and_then(|bytes| decode(&bytes));
    Kept { path, written, revision }
}

fn encode(revision: &Revision) -> io::Result<Vec<u8>> {
    let content = serde_json::to_vec(revision)?;
    let mut bytes = format!("{FORM} {}\n", Digest::of(&content)).into_bytes();
    bytes.extend_from_slice(&content);
    Ok(bytes)
}

fn decode(bytes: &[u8]) -> Result<Revision, Damage> {
    let end = bytes.iter().take(FORM.len() + 80).position(|byte| *byte == b'\n').ok_or(Damage::Form)?;
    let (line, content) = (&bytes[..end], &bytes[end + 1..]);
    let digest = std::str::from_utf8(line).ok().and_then(|line| line.strip_prefix(FORM)?.strip_prefix(' '));
    let digest = digest.and_then(|text| Digest::try_from(text.to_owned()).ok()).ok_or(Damage::Form)?;
    if digest != Digest::of(content) {
        return Err(Damage::Checksum);
    }
    serde_json::from_slice(content).map_err(Damage::Content)
}
