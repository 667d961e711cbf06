//! The proxy and its control plane in one process: two halves that speak only in serialised messages.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use anyhow::Context;
use sluice_control::{Control, Options, Standing, Stands, serve_in_process};
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

impl AccessLog {
    /// As the proxy takes it.
    pub(crate) fn target(&self) -> Target {
        match self {
            Self::Stdout => Target::Stdout,
            Self::Off => Target::Off,
            Self::File(path) => Target::File(path.clone()),
        }
    }
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
    data: PathBuf,
    document: Arc<DocumentSeries>,
}

impl Service {
    /// Opens the control plane. A document that is not sound is the inner error.
    ///
    /// # Errors
    /// It cannot begin for another reason.
    pub(crate) fn open(options: Options) -> anyhow::Result<Result<Self, Unsound>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let document = Arc::new(DocumentSeries::default());
        let (data, told) = (options.folder.clone(), Arc::clone(&document));
        let stands = Stands(Arc::new(move |standing: Standing| told.set(standing.accepted, standing.refused)));
        let control = runtime.block_on(open(Options { stands: Some(stands), ..options }))?;
        Ok(control.map(|control| Self { control, runtime, data, document }))
    }

    /// Serves until the process is told to leave and every request under way has ended.
    ///
    /// # Errors
    /// An address cannot be bound, the access log not be opened, or a thread not be started.
    pub(crate) fn run(self, workers: NonZeroUsize, status: SocketAddr, access_log: &AccessLog) -> anyhow::Result<()> {
        let (data, document, plane) = (self.data.clone(), Arc::clone(&self.document), self.control.plane());
        let (revisions, replies) = self.start().context("cannot start the control plane")?;
        sluice_proxy::run(sluice_proxy::Options {
            workers,
            status,
            access_log: access_log.target(),
            source: sluice_proxy::Source::InProcess { revisions, replies },
            data: Some(data),
            node: None,
            region: None,
            listen: BTreeMap::new(),
            health: Some(Arc::new(move || plane.components())),
            document: Some(document),
        })?;
        Ok(())
    }

    /// Starts the control plane on a thread of its own. It ends when the proxy's ends of the channels are dropped.
    fn start(self) -> std::io::Result<(mpsc::Receiver<Vec<u8>>, mpsc::Sender<Vec<u8>>)> {
        let Self { control, runtime, .. } = self;
        let (orders, revisions) = mpsc::channel(ROOM);
        let (replies, replied) = mpsc::channel(ROOM);
        let (plane, bell) = (control.plane(), control.bell());
        let run = move || {
            runtime.spawn(ring_on_hangup(bell));
            runtime.spawn(control.run());
            runtime.block_on(serve_in_process(plane, orders, replied));
            // A network file system may keep a look at the file waiting for ever; nobody waits for it.
            runtime.shutdown_background();
        };
        std::thread::Builder::new().name("control".to_owned()).spawn(run)?;
        Ok((revisions, replies))
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
