//! A running `sluice run FILE` or `sluice proxy`, and the command line.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::address::free_address;
use crate::api::Api;
use crate::h1::Response;
use crate::metrics::Scrape;
use crate::process::Process;
use crate::status::Status;
use crate::turn::{self, Turn};
use crate::wait::{DEADLINE, until};

/// How to start one.
#[derive(Debug, Clone)]
pub struct Setup {
    binary: PathBuf,
    workers: usize,
    file: String,
    alone: bool,
    further: Vec<String>,
}

/// A running process in a folder of its own. Dropping it kills it; when the suite is failing, its stderr is shown.
#[derive(Debug)]
pub struct Sluice {
    process: Process,
    folder: Arc<TempDir>,
    file: PathBuf,
    status: Status,
    admin: SocketAddr,
    setup: Setup,
    _turn: Turn,
}

/// What a run of the command left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// Its exit code; -1 when a signal ended it.
    pub code: i32,
    /// What it printed.
    pub out: String,
    /// What it said on stderr.
    pub err: String,
}

/// One worker with this program.
#[must_use]
pub fn setup(binary: &str) -> Setup {
    let (file, further) = ("sluice.yaml".to_owned(), Vec::new());
    Setup { binary: binary.into(), workers: 1, file, alone: false, further }
}

/// Runs the program with these arguments to its end.
///
/// # Panics
/// When it cannot be started.
#[must_use]
pub fn command(binary: &str, arguments: &[&str]) -> Output {
    Command::new(binary).args(arguments).stdin(Stdio::null()).output().unwrap_or_else(|e| panic!("{binary}: {e}"))
}

impl Ran {
    /// What the command did.
    ///
    /// # Panics
    /// When it printed something that is not text.
    #[must_use]
    pub fn of(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("the command prints text");
        Self { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
    }

    /// Holds that it ended with this code.
    ///
    /// # Panics
    /// Otherwise; what it printed is told.
    #[must_use = "what it printed is to be looked at, or dropped"]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "exit code\n{}{}", self.out, self.err);
        self
    }

    /// Holds that it said all of this, on stdout or stderr.
    ///
    /// # Panics
    /// Otherwise; what it printed is told.
    pub fn assert_says(&self, words: &[&str]) {
        let all = format!("{}{}", self.out, self.err);
        let missing: Vec<_> = words.iter().filter(|words| !all.contains(**words)).collect();
        assert!(missing.is_empty(), "not said: {missing:?}\n{all}");
    }

    /// What it printed, as JSON.
    ///
    /// # Panics
    /// When it is not.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {}{}", self.out, self.err))
    }
}

/// Who operates, by the environment of the command.
pub const OPERATOR: &str = "ann";

/// Runs the program against the control plane at this address.
///
/// # Panics
/// When it cannot be started.
#[must_use]
pub(crate) fn operate(binary: &Path, admin: SocketAddr, arguments: &[&str]) -> Ran {
    let output = Command::new(binary)
        .args(arguments)
        .env("SLUICE_SERVER", format!("http://{admin}"))
        .env("USER", OPERATOR)
        .env_remove("SLUICE_TOKEN_FILE")
        .env_remove("STATE_DIRECTORY")
        .stdin(Stdio::null())
        .output();
    Ran::of(output.unwrap_or_else(|e| panic!("{}: {e}", binary.display())))
}

impl Setup {
    /// With this many workers.
    #[must_use]
    pub const fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// With no other Sluice on the machine, also none of another suite: for what is measured under full load.
    #[must_use]
    pub const fn alone(mut self) -> Self {
        self.alone = true;
        self
    }

    /// With the document at this path inside the folder.
    #[must_use]
    pub fn file(mut self, file: &str) -> Self {
        file.clone_into(&mut self.file);
        self
    }

    /// With further arguments.
    #[must_use]
    pub fn arguments(mut self, arguments: &[&str]) -> Self {
        self.further.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        self
    }

    /// Starts it with this document and waits until it is ready.
    ///
    /// # Panics
    /// When it does not get ready; its stderr is told.
    #[must_use]
    pub fn start(&self, document: impl ToString) -> Sluice {
        let folder = TempDir::new().expect("a folder for the suite");
        fs::write(folder.path().join(&self.file), document.to_string()).expect("a document in the folder");
        self.start_in(folder)
    }

    /// Starts it in a folder that holds the document already.
    ///
    /// # Panics
    /// When it does not get ready; its stderr is told.
    #[must_use]
    pub fn start_in(&self, folder: TempDir) -> Sluice {
        let (turn, admin) = (turn::take(self.alone), free_address());
        let (folder, status) = (Arc::new(folder), Status(free_address()));
        let process = self.spawn(&self.run_arguments(folder.path(), admin), folder.path(), status);
        let mut sluice = self.running(process, folder, status, admin, turn);
        sluice.wait_ready();
        sluice
    }

    /// Starts `sluice proxy` with these arguments in a folder of its own, and does not wait for anything.
    ///
    /// # Panics
    /// When the system refuses.
    #[must_use]
    pub fn start_proxy(&self, arguments: &[&str]) -> Sluice {
        self.start_proxy_in(arguments, Arc::new(TempDir::new().expect("a folder for the suite")))
    }

    /// Starts `sluice proxy` in the folder of one that ended, and does not wait for anything.
    ///
    /// # Panics
    /// When the system refuses.
    #[must_use]
    pub fn start_proxy_in(&self, arguments: &[&str], folder: Arc<TempDir>) -> Sluice {
        let (turn, admin, status) = (turn::take(self.alone), free_address(), Status(free_address()));
        let all: Vec<PathBuf> = ["proxy"].iter().chain(arguments).map(PathBuf::from).collect();
        let process = self.spawn(&all, folder.path(), status);
        self.running(process, folder, status, admin, turn)
    }

    fn running(&self, process: Process, folder: Arc<TempDir>, status: Status, admin: SocketAddr, turn: Turn) -> Sluice {
        let file = folder.path().join(&self.file);
        Sluice { process, folder, file, status, admin, setup: self.clone(), _turn: turn }
    }

    fn run_arguments(&self, folder: &Path, admin: SocketAddr) -> Vec<PathBuf> {
        let mut all = vec!["run".into(), folder.join(&self.file), "--data".into(), data(folder)];
        all.extend(["--admin".into(), admin.to_string().into()]);
        all.extend(self.further.iter().map(PathBuf::from));
        all
    }

    fn spawn(&self, arguments: &[PathBuf], folder: &Path, status: Status) -> Process {
        let mut command = Command::new(&self.binary);
        command
            .args(arguments)
            .args(["--status", &status.0.to_string(), "--workers", &self.workers.to_string()])
            .arg("--access-log")
            .arg(folder.join("access.log"))
            .current_dir(folder);
        Process::start("sluice", &mut command, &folder.join("stderr"))
    }
}

/// Where a process in this folder keeps its state.
pub(crate) fn data(folder: &Path) -> PathBuf {
    folder.join("data")
}

impl Sluice {
    /// Waits until it can serve.
    ///
    /// # Panics
    /// When it ends before, or does not get ready; its stderr is told.
    pub fn wait_ready(&mut self) {
        until("GET /ready answers 200", || {
            self.process.assert_runs();
            self.status.is_well("/ready").then_some(())
        });
    }

    /// Where its status listener is.
    #[must_use]
    pub const fn status_address(&self) -> SocketAddr {
        self.status.0
    }

    /// Where its API is.
    #[must_use]
    pub const fn admin_address(&self) -> SocketAddr {
        self.admin
    }

    /// Its API.
    #[must_use]
    pub const fn api(&self) -> Api {
        Api::new(self.admin)
    }

    /// Runs the command against it.
    #[must_use]
    pub fn operate(&self, arguments: &[&str]) -> Ran {
        operate(&self.setup.binary, self.admin, arguments)
    }

    /// Its folder: the document, `data`, `access.log` and `stderr`. It is also where the process runs.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where `sluice run` keeps its state.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        data(self.folder())
    }

    /// Its folder, for another to start in once this one has ended.
    #[must_use]
    pub fn shared_folder(&self) -> Arc<TempDir> {
        Arc::clone(&self.folder)
    }

    /// Kills it (SIGKILL). Returns its folder, for another to start in.
    #[must_use]
    pub fn kill(mut self) -> Arc<TempDir> {
        self.process.kill();
        self.shared_folder()
    }

    /// Its health, and the status of the answer.
    ///
    /// # Panics
    /// When it cannot be had or read.
    #[must_use]
    pub fn health(&self) -> (u16, Value) {
        let response = self.ask("/api/health").unwrap_or_else(|| panic!("no health\n{}", self.stderr()));
        (response.status(), serde_json::from_str(&response.text()).expect("health is JSON"))
    }

    /// Its process.
    #[must_use]
    pub fn process(&self) -> u32 {
        self.process.id()
    }

    /// A GET on the status listener; nothing when it does not answer.
    #[must_use]
    pub fn ask(&self, path: &str) -> Option<Response> {
        self.status.ask(path)
    }

    /// All metrics now.
    ///
    /// # Panics
    /// When they cannot be had or read.
    #[must_use]
    pub fn scrape(&self) -> Scrape {
        self.status.scrape().unwrap_or_else(|| panic!("no metrics\n{}", self.stderr()))
    }

    /// The sum of a metric's series with these labels; 0 when there is none.
    #[must_use]
    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.scrape().sum(name, labels).unwrap_or(0.0)
    }

    /// Waits until a metric has this value or a larger one.
    ///
    /// # Panics
    /// When it does not get there.
    pub fn wait_metric(&self, name: &str, labels: &[(&str, &str)], at_least: f64) -> f64 {
        self.status.wait_metric(name, labels, at_least)
    }

    /// The revision that is live.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.metric("sluice_revision", &[]) as u64
    }

    /// Waits until this revision or a later one is live.
    ///
    /// # Panics
    /// When it does not come; stderr is told.
    pub fn wait_revision(&self, revision: u64) {
        let reached = || (self.revision() >= revision).then_some(());
        until(&format!("revision {revision}\n{}", self.stderr()), reached);
    }

    /// Replaces the document as careful editors do: a new file, renamed over the old one.
    ///
    /// # Panics
    /// When the system refuses.
    pub fn rewrite(&self, document: impl ToString) {
        rewrite(&self.file, &document.to_string());
    }

    /// Replaces the document by a different one and waits until it is live. Returns its revision.
    ///
    /// # Panics
    /// When it does not get live; stderr is told.
    pub fn change(&self, document: impl ToString) -> u64 {
        let next = self.revision() + 1;
        self.rewrite(document);
        self.wait_revision(next);
        next
    }

    /// The document's file.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// What it said on stderr.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.process.stderr()
    }

    /// Waits until stderr holds this.
    ///
    /// # Panics
    /// When it does not; what it holds is told.
    pub fn wait_stderr(&self, text: &str) {
        self.process.wait_stderr(text);
    }

    /// The complete lines of the access log.
    ///
    /// # Panics
    /// When a line is not JSON.
    #[must_use]
    pub fn access_log(&self) -> Vec<Value> {
        access_log(self.folder())
    }

    /// Waits until the access log has this many lines.
    ///
    /// # Panics
    /// When they do not come.
    #[must_use]
    pub fn wait_access_log(&self, lines: usize) -> Vec<Value> {
        until(&format!("{lines} lines of access log"), || {
            let log = self.access_log();
            (log.len() >= lines).then_some(log)
        })
    }

    /// Sends SIGTERM and returns at once.
    ///
    /// # Panics
    /// When there is no `kill` program.
    pub fn begin_drain(&self) {
        self.process.signal("TERM");
    }

    /// Sends SIGHUP.
    ///
    /// # Panics
    /// When there is no `kill` program.
    pub fn hang_up(&self) {
        self.process.signal("HUP");
    }

    /// Sends this signal (`USR2`).
    ///
    /// # Panics
    /// When there is no `kill` program.
    pub fn signal(&self, signal: &str) {
        self.process.signal(signal);
    }

    /// Whether the process has ended.
    pub fn has_ended(&mut self) -> bool {
        self.process.ended().is_some()
    }

    /// Waits until the process has ended by itself.
    ///
    /// # Panics
    /// When it does not within `deadline`.
    pub fn wait_exit(&mut self, deadline: Duration) -> ExitStatus {
        self.process.wait_exit(deadline)
    }

    /// Sends SIGTERM and waits for the end.
    ///
    /// # Panics
    /// When it does not end.
    pub fn terminate(mut self) -> ExitStatus {
        self.begin_drain();
        self.wait_exit(DEADLINE + Duration::from_secs(20))
    }

    /// Ends it in order and starts it again over what it left, at the same addresses.
    ///
    /// # Panics
    /// When it does not end or does not get ready; its stderr is told.
    pub fn restart(&mut self) {
        self.begin_drain();
        self.wait_exit(DEADLINE);
        self.start_again();
    }

    /// Ends it as a power cut does and starts it again over what it left, at the same addresses. Two of these within a
    /// minute make it fall back to the revision before.
    ///
    /// # Panics
    /// When it does not get ready; its stderr is told.
    pub fn crash(&mut self) {
        self.process.kill();
        self.start_again();
    }

    fn start_again(&mut self) {
        let arguments = self.setup.run_arguments(self.folder.path(), self.admin);
        self.process = self.setup.spawn(&arguments, self.folder.path(), self.status);
        self.wait_ready();
    }
}

/// A new file, renamed over the old one.
pub(crate) fn rewrite(file: &Path, text: &str) {
    let aside = file.with_extension("new");
    fs::write(&aside, text).expect("a file in the folder");
    fs::rename(&aside, file).expect("a rename in the folder");
}

/// The complete lines of the access log in this folder.
pub(crate) fn access_log(folder: &Path) -> Vec<Value> {
    let text = fs::read_to_string(folder.join("access.log")).unwrap_or_default();
    let complete = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    complete.map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line:?}: {e}"))).collect()
}
