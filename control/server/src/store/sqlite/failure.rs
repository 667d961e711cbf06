//! What went wrong in SQLite, in an operator's words: what, where, and what to do.

use std::path::Path;

use rusqlite::ErrorCode;

use crate::store::StoreError;

/// What to do about a damaged file. The proxies need no store to serve. The two files beside it belong to the damaged one:
/// left there, they would be taken for the backup's.
const RESTORE: &str = "stop the control plane, put a backup in its place, remove the files of its name that end in -wal \
    and -shm, and start again; the proxies go on meanwhile with what they run";

/// Why an operation on the file did not succeed.
#[derive(Debug)]
pub(super) enum Failure {
    /// SQLite said so.
    Sql(rusqlite::Error),
    /// What was read cannot have been written by Sluice.
    Damaged(String),
    /// The file is not where it was opened.
    Gone,
    /// The caller's own words.
    Told(StoreError),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Told(error)
    }
}

impl Failure {
    /// In words, for the store in this file.
    pub(super) fn tell(self, path: &Path) -> StoreError {
        match self {
            Self::Sql(error) => tell(&error, path),
            Self::Damaged(why) => corrupt(&why, path),
            Self::Gone => StoreError::Unavailable(format!(
                "{} was removed or replaced while it was in use, so nothing more is written to it: stop the control plane, \
                 put the file or a backup back in its place and start again",
                path.display()
            )),
            Self::Told(error) => error,
        }
    }
}

fn corrupt(why: &str, path: &Path) -> StoreError {
    StoreError::Corrupt(format!("{}: {why}; {RESTORE}", path.display()))
}

const LOCKED: &str = "another program holds a lock on it for too long: end that program, such as an sqlite3 shell";

/// What an operator can do something about.
const CAUSES: &[(ErrorCode, &str)] = &[
    (ErrorCode::DiskFull, "the disk is full: make room on it, nothing was changed"),
    (ErrorCode::ReadOnly, "it cannot be written: check its owner, its mode and how its file system is mounted"),
    (ErrorCode::PermissionDenied, "it may not be opened: check its owner and its mode"),
    (ErrorCode::CannotOpen, "it cannot be opened: check its owner, its mode and its folder"),
    (ErrorCode::SystemIoFailure, "the disk fails: look at the kernel's log"),
    (ErrorCode::DatabaseBusy, LOCKED),
    (ErrorCode::DatabaseLocked, LOCKED),
    (ErrorCode::OutOfMemory, "there is no memory left"),
];

fn tell(error: &rusqlite::Error, path: &Path) -> StoreError {
    let code = error.sqlite_error_code();
    if code.is_none() || matches!(code, Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)) {
        // Without a code SQLite did its part, and what it found has another type or count than the schema says.
        return corrupt(&error.to_string(), path);
    }
    let known = CAUSES.iter().find(|(cause, _)| Some(*cause) == code);
    let path = path.display();
    StoreError::Unavailable(match known {
        Some((_, words)) => format!("{path}: {words} ({error})"),
        None => format!("{path}: {error}"),
    })
}
