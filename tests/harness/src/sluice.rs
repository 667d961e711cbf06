//! A running `sluice run FILE`, or `sluice proxy`.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::address::free_address;
use crate::h1::{Client, Response};
use crate::metrics::Scrape;
use crate::wait::{DEADLINE, until, until_by};

/// How to start one.
#[derive(Debug, Clone)]
pub struct Setup {
    binary: PathBuf,
    workers: usize,
    file: String,
    alone: bool,
}

/// A running process in a folder of its own. Dropping it kills it; when the suite is failing, its stderr is shown.
#[derive(Debug)]
pub struct Sluice {
    child: Child,
    folder: Arc<TempDir>,
    file: PathBuf,
    status: SocketAddr,
    /// Held as long as the process runs.
    _turn: File,
}

/// One worker with this program.
#[must_use]
pub fn setup(binary: &str) -> Setup {
    Setup { binary: binary.into(), workers: 1, file: "sluice.yaml".to_owned(), alone: false }
}

/// Runs the program with these arguments to its end.
///
/// # Panics
/// When it cannot be started.
#[must_use]
pub fn command(binary: &str, arguments: &[&str]) -> Output {
    Command::new(binary).args(arguments).stdin(Stdio::null()).output().unwrap_or_else(|e| panic!("{binary}: {e}"))
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

    /// Waits for a turn among all suites, which may run in one process or in many.
    fn turn(&self) -> File {
        let path = std::env::temp_dir().join("sluice-suites.lock");
        let lock = File::options().create(true).append(true).open(&path).expect("a lock file in the temporary folder");
        let taken = if self.alone { lock.lock() } else { lock.lock_shared() };
        taken.expect("a file system with locks");
        lock
    }

    /// With the document at this path inside the folder.
    #[must_use]
    pub fn file(mut self, file: &str) -> Self {
        file.clone_into(&mut self.file);
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
        let file = folder.path().join(&self.file);
        let mut sluice = self.spawn(&[Path::new("run"), &file], Arc::new(folder));
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
        let all: Vec<&Path> = ["proxy"].iter().chain(arguments).map(Path::new).collect();
        self.spawn(&all, folder)
    }

    fn spawn(&self, arguments: &[&Path], folder: Arc<TempDir>) -> Sluice {
        let turn = self.turn();
        let (status, file) = (free_address(), folder.path().join(&self.file));
        let stderr = File::options().create(true).append(true).open(folder.path().join("stderr"));
        let child = Command::new(&self.binary)
            .args(arguments)
            .args(["--status", &status.to_string(), "--workers", &self.workers.to_string()])
            .arg("--access-log")
            .arg(folder.path().join("access.log"))
            .current_dir(folder.path())
            .env_remove("STATE_DIRECTORY")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr.expect("a file for stderr"))
            .spawn()
            .unwrap_or_else(|e| panic!("{}: {e}", self.binary.display()));
        Sluice { child, folder, file, status, _turn: turn }
    }
}

impl Sluice {
    /// Waits until it can serve.
    ///
    /// # Panics
    /// When it ends before, or does not get ready; its stderr is told.
    pub fn wait_ready(&mut self) {
        until("GET /ready answers 200", || {
            let ended = self.child.try_wait().expect("a child can be asked");
            assert!(ended.is_none(), "it ended before it was ready: {ended:?}\n{}", self.stderr());
            matches!(self.ask("/ready"), Some(response) if response.status() == 200).then_some(())
        });
    }

    /// Where its status listener is.
    #[must_use]
    pub const fn status_address(&self) -> SocketAddr {
        self.status
    }

    /// Its folder: the document, `access.log` and `stderr`. It is also where the process runs.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Kills it (SIGKILL). Returns its folder, for another to start in.
    #[must_use]
    pub fn kill(mut self) -> Arc<TempDir> {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
        Arc::clone(&self.folder)
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

    /// Sends SIGHUP.
    ///
    /// # Panics
    /// When there is no `kill` program.
    pub fn hang_up(&self) {
        self.signal("-HUP");
    }

    /// Its folder, for another to start in once this one has ended.
    #[must_use]
    pub fn shared_folder(&self) -> Arc<TempDir> {
        Arc::clone(&self.folder)
    }

    /// Its process.
    #[must_use]
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// A GET on the status listener; nothing when it does not answer.
    #[must_use]
    pub fn ask(&self, path: &str) -> Option<Response> {
        let mut client = Client::try_connect(self.status).ok()?;
        client.try_send(format!("GET {path} HTTP/1.1\r\nHost: status\r\nConnection: close\r\n\r\n")).ok()?;
        client.try_response("GET").ok()
    }

    /// All metrics now.
    ///
    /// # Panics
    /// When they cannot be had or read.
    #[must_use]
    pub fn scrape(&self) -> Scrape {
        let response = self.ask("/metrics").unwrap_or_else(|| panic!("no metrics\n{}", self.stderr()));
        Scrape::parse(&response.text()).unwrap_or_else(|line| panic!("not a metric: {line}"))
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
        until(&format!("{name} {labels:?} at least {at_least}"), || {
            let value = self.metric(name, labels);
            (value >= at_least).then_some(value)
        })
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
        let aside = self.file.with_extension("new");
        fs::write(&aside, document.to_string()).expect("a file in the folder");
        fs::rename(&aside, &self.file).expect("a rename in the folder");
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
        fs::read_to_string(self.folder.path().join("stderr")).unwrap_or_default()
    }

    /// Waits until stderr holds this.
    ///
    /// # Panics
    /// When it does not; what it holds is told.
    pub fn wait_stderr(&self, text: &str) {
        let found = || self.stderr().contains(text).then_some(());
        until(&format!("{text:?} on stderr"), found);
    }

    /// The complete lines of the access log.
    ///
    /// # Panics
    /// When a line is not JSON.
    #[must_use]
    pub fn access_log(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.folder.path().join("access.log")).unwrap_or_default();
        let complete = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        complete.map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line:?}: {e}"))).collect()
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
        self.signal("-TERM");
    }

    fn signal(&self, signal: &str) {
        let status = Command::new("kill").arg(signal).arg(self.process().to_string()).status();
        assert!(status.expect("the program kill").success(), "kill {signal} {}", self.process());
    }

    /// Waits until the process has ended by itself.
    ///
    /// # Panics
    /// When it does not within `deadline`.
    pub fn wait_exit(&mut self, deadline: Duration) -> ExitStatus {
        until_by("the process ends", deadline, || self.child.try_wait().expect("a child can be asked"))
    }

    /// Sends SIGTERM and waits for the end.
    ///
    /// # Panics
    /// When it does not end.
    pub fn terminate(mut self) -> ExitStatus {
        self.begin_drain();
        self.wait_exit(DEADLINE + Duration::from_secs(20))
    }
}

impl Drop for Sluice {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            show(&self.stderr());
        }
    }
}

#[allow(clippy::print_stderr, reason = "the report of a failing suite")]
fn show(stderr: &str) {
    let lines: Vec<&str> = stderr.lines().collect();
    let last = &lines[lines.len().saturating_sub(60)..];
    eprintln!("--- stderr of sluice, last {} of {} lines\n{}\n---", last.len(), lines.len(), last.join("\n"));
}
