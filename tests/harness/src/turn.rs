//! Turns among all suites, which may run in one process or in many.

use std::fs::File;

/// Held as long as what it was taken for runs.
#[derive(Debug)]
pub struct Turn(
    /// Locked.
    #[allow(dead_code, reason = "what counts is that it is open")]
    File,
);

/// Waits for a turn: one among others, or alone on the machine for what is measured under full load.
///
/// # Panics
/// When the temporary folder is on a file system without locks.
#[must_use]
pub(crate) fn take(alone: bool) -> Turn {
    let path = std::env::temp_dir().join("sluice-suites.lock");
    let lock = File::options().create(true).append(true).open(&path).expect("a lock file in the temporary folder");
    let taken = if alone { lock.lock() } else { lock.lock_shared() };
    taken.expect("a file system with locks");
    Turn(lock)
}
