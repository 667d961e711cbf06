//! A process that belongs to a suite: what it says on stderr is kept, and it does not outlive its owner.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use crate::wait::{until, until_by};

/// A running process. Dropping it kills it; when the suite is failing, its stderr is shown.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    stderr: PathBuf,
}

impl Process {
    /// Starts it with this name in reports; what it says on stderr is appended to this file.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(name: &str, command: &mut Command, stderr: &Path) -> Self {
        let file = File::options().create(true).append(true).open(stderr).expect("a file for stderr");
        let command = command.env_remove("STATE_DIRECTORY").stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
        let child = command.spawn().unwrap_or_else(|e| panic!("{name}: {e}"));
        Self { name: name.to_owned(), child, stderr: stderr.to_owned() }
    }

    /// Its number.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it, and whoever wrote to the same file before it, said on stderr.
    #[must_use]
    pub fn stderr(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap_or_default()
    }

    /// Waits until stderr holds this.
    ///
    /// # Panics
    /// When it does not.
    pub fn wait_stderr(&self, text: &str) {
        let found = || self.stderr().contains(text).then_some(());
        until(&format!("{text:?} on stderr of {}", self.name), found);
    }

    /// How it ended, if it has.
    ///
    /// # Panics
    /// Never: a child can be asked.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be asked")
    }

    /// Holds that it has not ended.
    ///
    /// # Panics
    /// When it has; its stderr is told.
    pub fn assert_runs(&mut self) {
        let ended = self.ended();
        assert!(ended.is_none(), "{} ended: {ended:?}\n{}", self.name, self.stderr());
    }

    /// Sends this signal (`TERM`, `HUP`) and returns at once.
    ///
    /// # Panics
    /// When there is no `kill` program.
    pub fn signal(&self, signal: &str) {
        let status = Command::new("kill").arg(format!("-{signal}")).arg(self.id().to_string()).status();
        assert!(status.expect("the program kill").success(), "kill -{signal} {}", self.id());
    }

    /// Ends it as a power cut does (SIGKILL). Returns when it is gone.
    pub fn kill(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }

    /// Waits until it has ended by itself.
    ///
    /// # Panics
    /// When it does not within `deadline`.
    pub fn wait_exit(&mut self, deadline: Duration) -> ExitStatus {
        until_by(&format!("{} ends", self.name), deadline, || self.child.try_wait().expect("a child can be asked"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            show(&self.name, &self.stderr());
        }
    }
}

#[allow(clippy::print_stderr, reason = "the report of a failing suite")]
fn show(name: &str, stderr: &str) {
    let lines: Vec<&str> = stderr.lines().collect();
    let last = &lines[lines.len().saturating_sub(60)..];
    eprintln!("--- stderr of {name}, last {} of {} lines\n{}\n---", last.len(), lines.len(), last.join("\n"));
}
