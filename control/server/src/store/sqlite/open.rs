//! From a folder to a sound database that nobody else has open.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use sluice_config::value::HistoryId;

use super::failure::Failure;
use crate::store::StoreError;

/// The database's file in the folder.
pub const FILE: &str = "store.db";
/// The file whose lock says that the folder is in use. It stays there; only the lock counts.
const LOCK: &str = "store.lock";
/// In the database's header: that Sluice wrote it. `SLCE`.
const APPLICATION: i64 = 0x534c_4345;
/// In the database's header: which tables it has.
const SCHEMA: i64 = 1;
/// How long another program, such as an sqlite3 shell, may hold up an operation.
const BUSY: Duration = Duration::from_secs(5);

/// Why a store could not be opened.
#[derive(Debug)]
pub enum OpenError {
    /// Another control plane has it open.
    InUse {
        /// The data folder.
        folder: PathBuf,
        /// That process, if it said who it is.
        by: Option<u32>,
    },
    /// Something about the folder or the files in it.
    Files {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The file is a database of another program.
    Foreign(PathBuf),
    /// A later Sluice wrote it.
    Newer {
        /// The database's file.
        path: PathBuf,
        /// The version of its tables.
        found: i64,
    },
    /// It is damaged, or cannot be read or written.
    Store(StoreError),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse { folder, by } => {
                write!(f, "the data folder {} is in use by another control plane", folder.display())?;
                by.map_or(Ok(()), |process| write!(f, ", process {process}"))?;
                f.write_str(": stop that one, or give this one a folder of its own with --data")
            }
            Self::Files { path, .. } => write!(f, "{} cannot be used for the store", path.display()),
            Self::Foreign(path) => write!(
                f,
                "{} is a database of another program: give Sluice a folder of its own with --data",
                path.display()
            ),
            Self::Newer { path, found } => write!(
                f,
                "{} was written by a later Sluice (tables of version {found}; this one knows version {SCHEMA}): run that \
                 Sluice, or put a backup from before its first start in the file's place",
                path.display()
            ),
            Self::Store(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Files { error, .. } => Some(error),
            Self::InUse { .. } | Self::Foreign(_) | Self::Newer { .. } | Self::Store(_) => None,
        }
    }
}

/// Which file a path led to. Another file may take its place under the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
}

/// The files of an open store. As long as this lives nobody else opens them.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) path: PathBuf,
    identity: Identity,
    _lock: File,
}

impl Place {
    /// Makes the folder and the file if they are not there, and locks them.
    pub(super) fn take(folder: &Path) -> Result<Self, OpenError> {
        make_folder(folder).map_err(|error| OpenError::Files { path: folder.to_owned(), error })?;
        let lock = lock(folder)?;
        let path = folder.join(FILE);
        let identity = make_file(&path, folder).map_err(|error| OpenError::Files { path: path.clone(), error })?;
        Ok(Self { path, identity, _lock: lock })
    }

    /// The file is still the one that was opened. SQLite itself would go on writing to a file that has no name any more,
    /// and what is acknowledged then is lost with the process.
    pub(super) fn is_kept(&self) -> Result<(), Failure> {
        let kept = fs::metadata(&self.path).is_ok_and(|metadata| identity(&metadata) == self.identity);
        if kept { Ok(()) } else { Err(Failure::Gone) }
    }
}

/// For its owner only. A folder that is there keeps its mode: it may be a mount that others need.
fn make_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or_else(|| Path::new(".")))?.sync_all()
}

fn lock(folder: &Path) -> Result<File, OpenError> {
    let path = folder.join(LOCK);
    let failed = |error| OpenError::Files { path: path.clone(), error };
    let mut file = private().truncate(false).open(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut owner = String::new();
            let by = file.read_to_string(&mut owner).ok().and_then(|_| owner.trim().parse().ok());
            return Err(OpenError::InUse { folder: folder.to_owned(), by });
        }
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    sign(&mut file).map_err(failed)?;
    Ok(file)
}

/// Who has the lock, for the message to whoever comes second.
fn sign(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

/// SQLite gives the files that it adds the mode of this one.
fn make_file(path: &Path, folder: &Path) -> io::Result<Identity> {
    let file = private().truncate(false).open(path)?;
    let metadata = file.metadata()?;
    if metadata.permissions().mode() & 0o077 != 0 {
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    File::open(folder)?.sync_all()?;
    Ok(identity(&metadata))
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).mode(0o600);
    options
}

fn identity(metadata: &fs::Metadata) -> Identity {
    Identity { device: metadata.dev(), inode: metadata.ino() }
}

/// Opens the database of a place, makes its tables if it is new, and looks through it. Returns which store it is.
pub(super) fn open(place: &Place) -> Result<(Connection, HistoryId), OpenError> {
    let told = |failure: Failure| OpenError::Store(failure.tell(&place.path));
    is_whole(&place.path).map_err(told)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(&place.path, flags).map_err(|error| told(Failure::Sql(error)))?;
    let (application, schema) = header(&connection).map_err(told)?;
    match (application, schema) {
        (0, 0) if is_empty(&connection).map_err(told)? => {}
        (APPLICATION, SCHEMA) => look_through(&connection).map_err(told)?,
        (APPLICATION, found) if found > SCHEMA => return Err(OpenError::Newer { path: place.path.clone(), found }),
        (APPLICATION, found) => {
            return Err(told(Failure::Damaged(format!("there are no tables of version {found}"))));
        }
        _ => return Err(OpenError::Foreign(place.path.clone())),
    }
    set_up(&connection, &place.path).map_err(told)?;
    let history = history(&mut connection, application == 0).map_err(told)?;
    Ok((connection, history))
}

/// An empty file is a new store, unless its log is there: SQLite would remove that log without a word.
fn is_whole(path: &Path) -> Result<(), Failure> {
    let length = |path: &Path| fs::metadata(path).map_or(0, |metadata| metadata.len());
    let lost = length(path) == 0 && length(&path.with_extension("db-wal")) > 0;
    let why = "it is missing or empty, and the log of its last changes is not";
    if lost { Err(Failure::Damaged(why.to_owned())) } else { Ok(()) }
}

fn header(connection: &Connection) -> Result<(i64, i64), Failure> {
    connection.busy_timeout(BUSY)?;
    let number = |name| connection.pragma_query_value(None, name, |row| row.get(0));
    Ok((number("application_id")?, number("user_version")?))
}

fn is_empty(connection: &Connection) -> Result<bool, Failure> {
    Ok(connection.query_row("SELECT count(*) = 0 FROM sqlite_schema", (), |row| row.get(0))?)
}

/// Linear in the file's size.
fn look_through(connection: &Connection) -> Result<(), Failure> {
    let verdict: String = connection.query_row("PRAGMA quick_check (1)", (), |row| row.get(0))?;
    if verdict == "ok" { Ok(()) } else { Err(Failure::Damaged(verdict)) }
}

/// `synchronous=FULL` makes a commit wait until the disk has it: what is acknowledged survives a loss of power.
fn set_up(connection: &Connection, path: &Path) -> Result<(), Failure> {
    let mode: String = connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if mode != "wal" {
        let why = "its file system cannot share memory, so it cannot hold a store: use a local disk";
        return Err(StoreError::Unavailable(format!("{}: {why}", path.display())).into());
    }
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    Ok(())
}

fn history(connection: &mut Connection, is_new: bool) -> Result<HistoryId, Failure> {
    if is_new {
        let drawn = HistoryId::from_bits(rand::random());
        let transaction = connection.transaction()?;
        transaction.execute_batch(include_str!("schema.sql"))?;
        transaction.execute("INSERT INTO store (one, history) VALUES (1, ?1)", [drawn.to_string()])?;
        transaction.pragma_update(None, "application_id", APPLICATION)?;
        transaction.pragma_update(None, "user_version", SCHEMA)?;
        transaction.commit()?;
        return Ok(drawn);
    }
    let kept: String = connection.query_row("SELECT history FROM store", (), |row| row.get(0))?;
    HistoryId::try_from(kept).map_err(|error| Failure::Damaged(format!("its history: {error}")))
}
