//! The proxy and its control plane in one process: two halves that speak only in serialised messages.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use anyhow::{Context, bail};
use sluice_config::value::Incarnation;
use sluice_config::wire::{Hello, Order, PROTOCOL, Reply, Revision};
use sluice_control::{Control, Options, serve_in_process};
use sluice_proxy::log::Target;
use sluice_proxy::metrics::DocumentSeries;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use crate::control::{open, ring_on_hangup};
use crate::document::Unsound;

/// Messages that may wait. The control plane keeps only the newest revision that was not taken yet, so more room would serve
/// nobody.
const ROOM: usize = 1;

/// Where the access log goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AccessLog {
    /// To standard output.
    Stdout,
    /// Nowhere.
    Off,
    /// Appended to this file.
    File(PathBuf),
}

impl FromStr for AccessLog {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            "stdout" => Self::Stdout,
            "off" => Self::Off,
            path => Self::File(path.into()),
        })
    }
}

/// A control plane that is open, before any of it serves.
pub(crate) struct Service {
    control: Control,
    runtime: Runtime,
}

impl Service {
    /// Opens the control plane. A document that is not sound is the inner error.
    ///
    /// # Errors
    /// It cannot begin for another reason.
    pub(crate) fn open(options: Options) -> anyhow::Result<Result<Self, Unsound>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let control = runtime.block_on(open(options))?;
        Ok(control.map(|control| Self { control, runtime }))
    }

    /// Serves until the process is told to leave and every request under way has ended.
    ///
    /// # Errors
    /// An address cannot be bound, the access log not be opened, or a thread not be started.
    pub(crate) fn run(self, workers: NonZeroUsize, status: SocketAddr, access_log: &AccessLog) -> anyhow::Result<()> {
        let access_log = match access_log {
            AccessLog::Stdout => Target::Stdout,
            AccessLog::Off => Target::Off,
            AccessLog::File(path) => Target::File(path.clone()),
        };
        let (to_proxy, revisions, replies) = self.start()?;
        let Some(first) = to_proxy else { bail!("the control plane has ended before it said what to run") };
        let document = Arc::new(DocumentSeries::default());
        sluice_proxy::run(sluice_proxy::Options { workers, status, access_log, first, revisions, replies, document })?;
        Ok(())
    }

    /// Starts the control plane on a thread of its own. It ends when the proxy's ends of the channels are dropped.
    fn start(self) -> anyhow::Result<(Option<Vec<u8>>, mpsc::Receiver<Vec<u8>>, mpsc::Sender<Vec<u8>>)> {
        let Self { control, runtime } = self;
        let (orders, ordered) = mpsc::channel(ROOM);
        let (replies, replied) = mpsc::channel(ROOM);
        let (whole, mut revisions) = mpsc::channel(ROOM);
        let (plane, bell) = (control.plane(), control.bell());
        let run = move || {
            runtime.spawn(ring_on_hangup(bell));
            runtime.spawn(control.run());
            runtime.spawn(complete(ordered, whole));
            runtime.block_on(serve_in_process(plane, orders, replied));
            // A network file system may keep a look at the file waiting for ever; nobody waits for it.
            runtime.shutdown_background();
        };
        std::thread::Builder::new().name("control".to_owned()).spawn(run).context("cannot start the control plane")?;
        replies.blocking_send(serde_json::to_vec(&hello()?)?)?;
        Ok((revisions.blocking_recv(), revisions, replies))
    }
}

fn hello() -> anyhow::Result<Reply> {
    Ok(Reply::Hello(Hello {
        protocol: PROTOCOL,
        node: "local".parse()?,
        incarnation: Incarnation::from_bits(rand::random()),
        region: None,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        runs: None,
    }))
}

/// Makes whole revisions of differences.
async fn complete(mut orders: mpsc::Receiver<Vec<u8>>, whole: mpsc::Sender<Vec<u8>>) {
    let mut last: Option<Revision> = None;
    while let Some(message) = orders.recv().await {
        let next = match (serde_json::from_slice(&message), &last) {
            (Ok(Order::Revision(revision)), _) => revision,
            (Ok(Order::Delta(delta)), Some(last)) => match delta.apply(last) {
                Ok(revision) => revision,
                Err(_) => return tracing::error!("the control plane's difference does not fit"),
            },
            (Ok(Order::Delta(_)) | Err(_), _) => return tracing::error!("the control plane is not understood"),
        };
        let message = serde_json::to_vec(&Order::Revision(next.clone())).expect("a revision has text keys only");
        last = Some(next);
        if whole.send(message).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_word_is_a_file() {
        assert_eq!("stdout".parse(), Ok(AccessLog::Stdout));
        assert_eq!("off".parse(), Ok(AccessLog::Off));
        assert_eq!("./off".parse(), Ok(AccessLog::File("./off".into())));
    }
}
