//! The processes of the fleet, their addresses, and how the control plane is asked.

use std::io;
use std::net::SocketAddr;

use anyhow::{Context, bail};
use tempfile::TempDir;
use tokio::time::{Duration, Instant, sleep};

use super::plan::SEATS;
use super::process::Process;
use crate::demo::Port;
use crate::demo::client::{Answer, Client};
use crate::demo::origin::Origins;
use crate::demo::plan::{REGIONS, VERSIONS, document};

/// Within this time a control plane takes requests.
const CONTROL_DEADLINE: Duration = Duration::from_secs(15);

/// Between two attempts to reach it.
const RETRY: Duration = Duration::from_millis(50);

/// Where the control plane is.
const CONTROL: &str = "control";

/// The field of an answer that tells the number of the head.
const REVISION_FIELD: &str = "sluice-revision";

/// A proxy of the fleet.
pub(super) struct Node {
    process: Option<Process>,
    pub(super) web: Port,
    pub(super) status: Port,
}

/// Everything that runs. The processes end when this is dropped, before their folder goes.
pub(super) struct Stage {
    control: Option<Process>,
    pub(super) nodes: [Node; SEATS.len()],
    pub(super) admin: Port,
    status: Port,
    pub(super) origins: Origins,
    pub(super) folder: TempDir,
}

impl Stage {
    /// Takes the addresses. No process is started yet.
    ///
    /// # Errors
    /// No port or folder is to be had.
    pub(super) fn reserve(origins: Origins) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("sluice-demo-").tempdir().context("cannot make a folder")?;
        let nodes = SEATS.iter().map(|_| Node::reserve()).collect::<io::Result<Vec<Node>>>()?;
        let nodes = nodes.try_into().ok().expect("there is a node for each seat");
        Ok(Self { control: None, nodes, admin: Port::reserve()?, status: Port::reserve()?, origins, folder })
    }

    /// Starts the control plane over what it has stored.
    ///
    /// # Errors
    /// The system refuses.
    pub(super) fn start_control(&mut self) -> anyhow::Result<()> {
        let data = self.folder.path().join(CONTROL).display().to_string();
        let (admin, status) = (self.admin.address.to_string(), self.status.address.to_string());
        let arguments = ["control", "--data", &data, "--admin", &admin, "--status", &status].map(str::to_owned);
        self.control = Some(Process::start(CONTROL, self.folder.path(), &arguments)?);
        Ok(())
    }

    /// Kills the control plane.
    ///
    /// # Errors
    /// The system refuses.
    pub(super) fn kill_control(&mut self) -> anyhow::Result<()> {
        self.control.take().map_or(Ok(()), Process::kill)
    }

    /// Whether there is a control plane.
    pub(super) const fn has_control(&self) -> bool {
        self.control.is_some()
    }

    /// Starts a proxy.
    ///
    /// # Errors
    /// The system refuses.
    pub(super) fn start_node(&mut self, at: usize) -> anyhow::Result<()> {
        let (seat, node) = (&SEATS[at], &mut self.nodes[at]);
        let data = self.folder.path().join(seat.name).display().to_string();
        let (control, status) = (format!("http://{}", self.admin.address), node.status.address.to_string());
        let listen = format!("web={}", node.web.address);
        let arguments = [
            "proxy",
            "--control",
            &control,
            "--node",
            seat.name,
            "--region",
            REGIONS[seat.region].name,
            "--data",
            &data,
            "--status",
            &status,
            "--listen",
            &listen,
            "--workers",
            "1",
            "--access-log",
            "off",
        ];
        node.process = Some(Process::start(seat.name, self.folder.path(), &arguments.map(str::to_owned))?);
        Ok(())
    }

    /// Takes a proxy's process, to end it.
    pub(super) fn take_node(&mut self, at: usize) -> Option<Process> {
        self.nodes[at].process.take()
    }

    /// Tells what has ended by itself.
    ///
    /// # Errors
    /// A process has.
    pub(super) fn check(&mut self) -> anyhow::Result<()> {
        let nodes = self.nodes.iter_mut().filter_map(|node| node.process.as_mut());
        self.control.iter_mut().chain(nodes).try_for_each(Process::check)
    }

    /// What the control plane is asked for first: to run this.
    pub(super) fn apply(&self, weights: [u32; 2]) -> Order {
        let text = document(self.nodes[0].web.address.port(), self.origins.ports(), weights);
        Order { admin: self.admin.address, path: "/v1/document", media_type: "application/yaml", content: text }
    }

    /// To share the traffic so, in percent.
    pub(super) fn shift(&self, weights: [u32; 2]) -> Order {
        let shares: Vec<String> =
            VERSIONS.iter().zip(weights).map(|(version, weight)| format!("\"{version}\": \"{weight}%\"")).collect();
        let content = format!("{{\"shares\": {{ {} }}, \"reason\": \"the story of the demo\"}}", shares.join(", "));
        Order { admin: self.admin.address, path: "/v1/services/shop/weights", media_type: "application/json", content }
    }
}

impl Node {
    fn reserve() -> io::Result<Self> {
        Ok(Self { process: None, web: Port::reserve()?, status: Port::reserve()? })
    }
}

/// A request that changes something.
#[derive(Debug)]
pub(super) struct Order {
    admin: SocketAddr,
    path: &'static str,
    media_type: &'static str,
    content: String,
}

impl Order {
    /// Sends it as soon as the control plane answers. Gives the revision that it made.
    ///
    /// # Errors
    /// Nobody answers in time, or it is refused.
    pub(super) async fn send(self) -> anyhow::Result<u64> {
        let end = Instant::now() + CONTROL_DEADLINE;
        let mut client = Client::new(self.admin);
        loop {
            match client.put(self.path, self.media_type, &self.content).await {
                Ok(answer) => return revision(&answer),
                // Nothing was asked: it does not listen yet.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused && Instant::now() < end => {
                    sleep(RETRY).await;
                }
                Err(error) => return Err(error).context("the control plane does not answer"),
            }
        }
    }
}

fn revision(answer: &Answer) -> anyhow::Result<u64> {
    let number = answer.field(REVISION_FIELD).and_then(|number| number.parse().ok());
    match (answer.status, number) {
        (200, Some(number)) => Ok(number),
        (status, _) => {
            bail!("the control plane refused with {status}: {}", String::from_utf8_lossy(&answer.body).trim_end())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_tells_its_revision_or_why_there_is_none() {
        let answer = |status, fields: &[(&str, &str)]| revision(&Answer::new(status, fields, "because\n"));
        assert_eq!(answer(200, &[(REVISION_FIELD, "12")]).unwrap(), 12);
        for (status, fields) in [(409, &[(REVISION_FIELD, "12")][..]), (200, &[])] {
            assert!(answer(status, fields).unwrap_err().to_string().contains("because"));
        }
    }
}
