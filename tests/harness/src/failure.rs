//! How a request fails, as every suite counts it.

use std::fmt;
use std::io;

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    /// No connection.
    Connect(String),
    /// The connection ended in order before a byte of the response.
    Closed,
    /// The connection was reset before a byte of the response.
    Reset,
    /// The connection ended or was reset within the response.
    Cut,
    /// No byte within the deadline.
    Timeout,
    /// The response is no HTTP.
    Malformed(String),
    /// Not the status that was expected.
    Status(u16),
    /// Not the body that was expected.
    Body(String),
}

impl Failure {
    /// One word for its kind.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Connect(_) => "connect",
            Self::Closed => "closed",
            Self::Reset => "reset",
            Self::Cut => "cut",
            Self::Timeout => "timeout",
            Self::Malformed(_) => "malformed",
            Self::Status(_) => "status",
            Self::Body(_) => "body",
        }
    }

    /// From an error while the response was awaited (`started`: its first bytes had come).
    #[must_use]
    pub fn of(error: &io::Error, started: bool) -> Self {
        if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) {
            return Self::Timeout;
        }
        if started { Self::Cut } else { Self::Reset }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(why) | Self::Malformed(why) | Self::Body(why) => {
                write!(f, "{}: {why}", self.kind())
            }
            Self::Status(status) => write!(f, "status {status}"),
            Self::Closed | Self::Reset | Self::Cut | Self::Timeout => f.write_str(self.kind()),
        }
    }
}

impl std::error::Error for Failure {}
