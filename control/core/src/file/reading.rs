//! What a look at the file gives.

use std::fmt;

use sluice_config::value::Digest;

/// What one reading of the file gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading<'a> {
    /// All of its bytes.
    Bytes(&'a [u8]),
    /// None, and why.
    Unreadable(&'a Unreadable),
}

/// Why a file could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unreadable {
    /// Nothing has this name, or a symbolic link leads nowhere.
    Missing,
    /// A folder, a pipe or a device.
    NotAFile,
    /// More bytes than a document may have.
    TooLarge {
        /// The most that is accepted, in bytes.
        limit: u64,
    },
    /// The system refused, in its words.
    Failed(String),
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("there is no such file"),
            Self::NotAFile => f.write_str("it is not a regular file"),
            Self::TooLarge { limit } => write!(f, "it is larger than {limit} bytes"),
            Self::Failed(words) => f.write_str(words),
        }
    }
}

impl std::error::Error for Unreadable {}

/// What a reading held, small enough to remember.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    Bytes(Digest),
    Unreadable(Unreadable),
}

impl Content {
    pub(crate) fn of(reading: Reading<'_>) -> Self {
        match reading {
            Reading::Bytes(bytes) => Self::Bytes(Digest::of(bytes)),
            Reading::Unreadable(why) => Self::Unreadable(why.clone()),
        }
    }
}
