//! Why the process cannot begin, or has ended.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::log;

/// Why the process cannot begin.
#[derive(Debug)]
pub enum RunError {
    /// The first revision does not run.
    Revision(String),
    /// The status listener's address cannot be used.
    Status(SocketAddr, io::Error),
    /// The access log cannot be opened.
    AccessLog(log::Target, io::Error),
    /// Another process keeps its revisions in this folder.
    Data(PathBuf),
    /// A worker has ended by itself; the log says why. The others were left to end with what they carried.
    Worker,
    /// The system gives no thread, timer or signal.
    System(io::Error),
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Revision(why) => f.write_str(why),
            Self::Status(address, error) => {
                write!(f, "cannot serve status on {address}: {error}; choose another address with --status")
            }
            Self::AccessLog(log::Target::File(path), error) => {
                let path = path.display();
                write!(f, "cannot open the access log {path}: {error}; ")?;
                f.write_str("create its folder or choose another path with --access-log")
            }
            Self::AccessLog(log::Target::Off | log::Target::Stdout, error) => {
                write!(f, "cannot start the access log: {error}")
            }
            Self::Data(path) => {
                let path = path.display();
                write!(f, "another process uses {path}; stop it, or give this one a folder of its own with --data")
            }
            Self::Worker => {
                f.write_str("a worker has ended by itself; start the process again and report the panic in the log")
            }
            Self::System(error) => write!(f, "the system refuses what the process needs: {error}"),
        }
    }
}

impl std::error::Error for RunError {}

impl From<io::Error> for RunError {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}
