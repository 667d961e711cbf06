//! A running `sluice proxy`.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::control::{Control, write_secret};
use crate::address::free_address;
use crate::h1::Client;
use crate::process::Process;
use crate::sluice::{access_log, data};
use crate::status::Status;
use crate::wait::{DEADLINE, until};

/// How to start one.
#[derive(Debug, Clone)]
pub struct ProxySetup {
    binary: PathBuf,
    control: String,
    node: String,
    region: Option<String>,
    listeners: BTreeMap<String, SocketAddr>,
    workers: usize,
    token: Option<String>,
    access_log: bool,
    further: Vec<String>,
}

/// A proxy in a folder of its own. Dropping it kills it; when the suite is failing, its stderr is shown.
#[derive(Debug)]
pub struct Proxy {
    setup: ProxySetup,
    process: Option<Process>,
    folder: TempDir,
    status: Status,
}

/// A proxy of this name that follows a control plane, with one worker.
#[must_use]
pub fn proxy(control: &Control, node: &str) -> ProxySetup {
    ProxySetup {
        binary: control.binary().to_owned(),
        control: format!("http://{}", control.admin()),
        node: node.to_owned(),
        region: None,
        listeners: BTreeMap::new(),
        workers: 1,
        token: None,
        access_log: true,
        further: Vec::new(),
    }
}

impl ProxySetup {
    /// It reaches the control plane at this address, such as that of a cable.
    #[must_use]
    pub fn through(mut self, address: SocketAddr) -> Self {
        self.control = format!("http://{address}");
        self
    }

    /// It stands in this region.
    #[must_use]
    pub fn region(mut self, region: &str) -> Self {
        self.region = Some(region.to_owned());
        self
    }

    /// An address of its own for this listener of the document.
    #[must_use]
    pub fn listener(self, name: &str) -> Self {
        self.listener_at(name, free_address())
    }

    /// This address for this listener of the document.
    #[must_use]
    pub fn listener_at(mut self, name: &str, address: SocketAddr) -> Self {
        self.listeners.insert(name.to_owned(), address);
        self
    }

    /// With this many workers.
    #[must_use]
    pub const fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// It shows this token.
    #[must_use]
    pub fn token(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self
    }

    /// Without an access log.
    #[must_use]
    pub const fn without_access_log(mut self) -> Self {
        self.access_log = false;
        self
    }

    /// With further arguments.
    #[must_use]
    pub fn arguments(mut self, arguments: &[&str]) -> Self {
        self.further.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        self
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Panics
    /// When it does not get ready; its stderr is told.
    #[must_use]
    pub fn start(self) -> Proxy {
        let mut proxy = self.spawn();
        proxy.wait_ready();
        proxy
    }

    /// Starts it without waiting for anything.
    ///
    /// # Panics
    /// When the system refuses.
    #[must_use]
    pub fn spawn(self) -> Proxy {
        let folder = TempDir::new().expect("a folder for the proxy");
        if let Some(token) = &self.token {
            write_secret(&folder.path().join("token"), token);
        }
        let mut proxy = Proxy { setup: self, process: None, folder, status: Status(free_address()) };
        proxy.spawn();
        proxy
    }
}

impl Proxy {
    /// Starts it again, over what it left and at the same addresses, and waits until it is ready.
    ///
    /// # Panics
    /// When it does not get ready; its stderr is told. When it runs already.
    pub fn start(&mut self) {
        self.spawn();
        self.wait_ready();
    }

    /// Starts it again without waiting for anything.
    ///
    /// # Panics
    /// When it runs already.
    pub fn spawn(&mut self) {
        assert!(self.process.is_none(), "{} runs already", self.setup.node);
        let (setup, folder) = (&self.setup, self.folder.path());
        let mut command = Command::new(&setup.binary);
        command.args(["proxy", "--control", &setup.control, "--node", &setup.node]);
        command.arg("--data").arg(data(folder));
        command.args(["--status", &self.status.0.to_string(), "--workers", &setup.workers.to_string()]);
        command.arg("--access-log");
        if setup.access_log {
            command.arg(folder.join("access.log"))
        } else {
            command.arg("off")
        };
        if let Some(region) = &setup.region {
            command.args(["--region", region]);
        }
        for (name, address) in &setup.listeners {
            command.args(["--listen", &format!("{name}={address}")]);
        }
        if setup.token.is_some() {
            command.arg("--token-file").arg(folder.join("token"));
        }
        command.args(&setup.further).current_dir(folder);
        self.process = Some(Process::start(&setup.node, &mut command, &folder.join("stderr")));
    }

    /// Waits until it is ready.
    ///
    /// # Panics
    /// When it does not get ready; its stderr is told.
    pub fn wait_ready(&mut self) {
        let status = self.status;
        until(&format!("{} is ready", self.setup.node), || {
            self.process().assert_runs();
            status.is_well("/ready").then_some(())
        });
    }

    /// Its process.
    ///
    /// # Panics
    /// When it does not run.
    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("the proxy was started")
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
        let mut process = self.process.take().expect("the proxy was started");
        process.signal("TERM");
        process.wait_exit(DEADLINE + Duration::from_secs(20))
    }

    /// Its name in the fleet.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.setup.node
    }

    /// Where it accepts connections for this listener.
    ///
    /// # Panics
    /// When it was given no address of its own for it.
    #[must_use]
    pub fn listener(&self, name: &str) -> SocketAddr {
        *self.setup.listeners.get(name).unwrap_or_else(|| panic!("{} has no address for {name}", self.setup.node))
    }

    /// Who answers a GET of `/` on this listener; empty when nobody does.
    #[must_use]
    pub fn answer(&self, listener: &str) -> String {
        let Ok(mut client) = Client::try_connect(self.listener(listener)) else { return String::new() };
        let request = "GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
        let response = client.try_send(request).ok().and_then(|()| client.try_response("GET").ok());
        response.map(|response| response.origin().to_owned()).unwrap_or_default()
    }

    /// Its status listener.
    #[must_use]
    pub const fn status(&self) -> Status {
        self.status
    }

    /// The revision that it runs; 0 when it does not answer.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.status.revision()
    }

    /// Waits until it runs this revision or a later one.
    ///
    /// # Panics
    /// When it does not; its stderr is told.
    pub fn wait_revision(&self, revision: u64) {
        until(&format!("{} runs revision {revision}", self.setup.node), || (self.revision() >= revision).then_some(()));
    }

    /// Its folder: `data`, `access.log` and `stderr`.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where it keeps its state.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        data(self.folder())
    }

    /// The complete lines of the access log.
    ///
    /// # Panics
    /// When a line is not JSON.
    #[must_use]
    pub fn access_log(&self) -> Vec<Value> {
        access_log(self.folder())
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
        until(&format!("{text:?} on stderr of {}", self.setup.node), || self.stderr().contains(text).then_some(()));
    }
}
