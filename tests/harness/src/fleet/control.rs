//! A running `sluice control`.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use tempfile::TempDir;

use crate::address::free_address;
use crate::api::Api;
use crate::process::Process;
use crate::sluice::{Ran, data, operate, rewrite};
use crate::status::Status;
use crate::turn::{self, Turn};
use crate::wait::{DEADLINE, until};

/// How to start one.
#[derive(Debug, Clone)]
pub struct ControlSetup {
    binary: PathBuf,
    document: Option<String>,
    tokens: Option<String>,
    further: Vec<String>,
    alone: bool,
}

/// A control plane in a folder of its own. Dropping it kills it; when the suite is failing, its stderr is shown.
#[derive(Debug)]
pub struct Control {
    setup: ControlSetup,
    process: Option<Process>,
    folder: TempDir,
    admin: SocketAddr,
    status: Status,
    _turn: Turn,
}

/// A control plane that takes its documents by the API, and asks nobody for a token.
#[must_use]
pub fn control(binary: &str) -> ControlSetup {
    ControlSetup { binary: binary.into(), document: None, tokens: None, further: Vec::new(), alone: false }
}

impl ControlSetup {
    /// It follows a file, which holds this document at first.
    #[must_use]
    pub fn file(mut self, document: impl ToString) -> Self {
        self.document = Some(document.to_string());
        self
    }

    /// It knows these tokens, a line each (`NAME ROLE TOKEN`).
    #[must_use]
    pub fn tokens(mut self, lines: &str) -> Self {
        self.tokens = Some(lines.to_owned());
        self
    }

    /// With further arguments.
    #[must_use]
    pub fn arguments(mut self, arguments: &[&str]) -> Self {
        self.further.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        self
    }

    /// With no other Sluice on the machine than those of its fleet.
    #[must_use]
    pub const fn alone(mut self) -> Self {
        self.alone = true;
        self
    }

    /// Starts it and waits until it answers.
    ///
    /// # Panics
    /// When it does not; its stderr is told.
    #[must_use]
    pub fn start(self) -> Control {
        let turn = turn::take(self.alone);
        let folder = TempDir::new().expect("a folder for the control plane");
        if let Some(document) = &self.document {
            fs::write(folder.path().join("sluice.yaml"), document).expect("a document in the folder");
        }
        if let Some(tokens) = &self.tokens {
            write_secret(&folder.path().join("tokens"), tokens);
        }
        let (admin, status) = (free_address(), Status(free_address()));
        let mut control = Control { setup: self, process: None, folder, admin, status, _turn: turn };
        control.start();
        control
    }
}

/// A file that only its owner may read.
pub(crate) fn write_secret(path: &Path, text: &str) {
    fs::write(path, text).expect("a file in the folder");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("a file system with modes");
}

impl Control {
    /// Starts it again, over what it left and at the same addresses, and waits until it answers.
    ///
    /// # Panics
    /// When it does not; its stderr is told. When it runs already.
    pub fn start(&mut self) {
        self.spawn();
        until("the control plane answers", || {
            self.process().assert_runs();
            self.call_health().then_some(())
        });
    }

    /// Starts it again without waiting for anything.
    ///
    /// # Panics
    /// When it runs already.
    pub fn spawn(&mut self) {
        assert!(self.process.is_none(), "the control plane runs already");
        let folder = self.folder.path();
        let mut command = Command::new(&self.setup.binary);
        command.arg("control");
        if self.setup.document.is_some() {
            command.arg(self.file());
        }
        command.arg("--data").arg(self.data());
        command.args(["--admin", &self.admin.to_string(), "--status", &self.status.0.to_string()]);
        if self.setup.tokens.is_some() {
            command.arg("--admin-tokens").arg(folder.join("tokens"));
        }
        command.args(&self.setup.further).current_dir(folder);
        self.process = Some(Process::start("sluice control", &mut command, &folder.join("stderr")));
    }

    fn call_health(&self) -> bool {
        self.api().call("GET", "/api/health").try_send().is_ok_and(|answer| matches!(answer.status(), 200 | 503))
    }

    /// Its process.
    ///
    /// # Panics
    /// When it does not run.
    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("the control plane was started")
    }

    /// Ends it as a power cut does.
    pub fn kill(&mut self) {
        drop(self.process.take());
    }

    /// Ends it in order.
    ///
    /// # Panics
    /// When it does not end, or does not run.
    pub fn terminate(&mut self) -> ExitStatus {
        let mut process = self.process.take().expect("the control plane was started");
        process.signal("TERM");
        process.wait_exit(DEADLINE)
    }

    /// Kills it and starts it again.
    ///
    /// # Panics
    /// When it does not come back; its stderr is told.
    pub fn restart(&mut self) {
        self.kill();
        self.start();
    }

    /// Its API, without a token.
    #[must_use]
    pub const fn api(&self) -> Api {
        Api::new(self.admin)
    }

    /// Runs the command against it.
    #[must_use]
    pub fn operate(&self, arguments: &[&str]) -> Ran {
        operate(&self.setup.binary, self.admin, arguments)
    }

    /// Its program.
    #[must_use]
    pub fn binary(&self) -> &Path {
        &self.setup.binary
    }

    /// Where its API is.
    #[must_use]
    pub const fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Its status listener.
    #[must_use]
    pub const fn status(&self) -> Status {
        self.status
    }

    /// Its folder: `sluice.yaml` in file mode, `tokens`, `data` and `stderr`.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where it keeps its state.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        data(self.folder())
    }

    /// The document's file, in file mode.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.folder().join("sluice.yaml")
    }

    /// Replaces the document's file as careful editors do.
    ///
    /// # Panics
    /// When the system refuses.
    pub fn rewrite(&self, document: impl ToString) {
        rewrite(&self.file(), &document.to_string());
    }

    /// What it said on stderr since it was first started.
    #[must_use]
    pub fn stderr(&self) -> String {
        fs::read_to_string(self.folder().join("stderr")).unwrap_or_default()
    }

    /// Waits until stderr holds this.
    ///
    /// # Panics
    /// When it does not.
    pub fn wait_stderr(&self, text: &str) {
        until(&format!("{text:?} on stderr of the control plane"), || self.stderr().contains(text).then_some(()));
    }
}
