//! The proxy and its control plane in one process: two halves that speak only in serialised messages.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use anyhow::Context;
use sluice_control::{FileControl, OpenError, Standing};
use sluice_proxy::log::Target;
use sluice_proxy::metrics::DocumentSeries;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, mpsc};

use crate::document::{Unsound, environment, unreadable};

/// Revisions and replies that may wait. The control plane keeps only the newest revision that was not taken yet, so more
/// room would serve nobody.
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

/// A proven document and the control plane that follows its file, before any of it serves.
pub(crate) struct Service {
    first: Vec<u8>,
    control: FileControl,
}

impl Service {
    /// Reads and proves the document. One that is not sound is the inner error.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Result<Self, Unsound>> {
        match FileControl::open(path, environment()) {
            Ok((first, control)) => Ok(Ok(Self { first, control })),
            Err(OpenError::Unreadable(why)) => Err(unreadable(path, &why)),
            Err(OpenError::Refused { content, problems }) => {
                Ok(Err(Unsound { path: path.to_owned(), content, problems }))
            }
        }
    }

    /// Serves until the process is told to leave and every request under way has ended.
    ///
    /// # Errors
    /// An address cannot be bound, the access log not be opened, or a thread not be started.
    pub(crate) fn run(self, workers: NonZeroUsize, status: SocketAddr, access_log: &AccessLog) -> anyhow::Result<()> {
        let (to_proxy, revisions) = mpsc::channel(ROOM);
        to_proxy.try_send(self.first).context("a new channel has room")?;
        let (replies, from_proxy) = mpsc::channel(ROOM);
        let document = Arc::new(DocumentSeries::default());
        let told = Arc::clone(&document);
        let stands = move |standing: Standing| told.set(standing.accepted, standing.refused);
        control(self.control, to_proxy, from_proxy, stands).context("cannot start the control plane")?;
        sluice_proxy::run(sluice_proxy::Options {
            workers,
            status,
            access_log: access_log.target(),
            source: sluice_proxy::Source::InProcess { revisions, replies },
            data: None,
            node: None,
            region: None,
            listen: BTreeMap::new(),
            health: None,
            document: Some(document),
        })?;
        Ok(())
    }
}

/// Starts the control plane on a thread of its own. It ends when the proxy's ends of the channels are dropped.
fn control(
    control: FileControl,
    revisions: mpsc::Sender<Vec<u8>>,
    replies: mpsc::Receiver<Vec<u8>>,
    stands: impl Fn(Standing) + Send + 'static,
) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let bell = control.bell();
    std::thread::Builder::new().name("control".to_owned()).spawn(move || {
        runtime.spawn(ring_on_hangup(bell));
        runtime.block_on(control.run(revisions, replies, stands));
        // A network file system may keep a look at the file waiting for ever; nobody waits for it.
        runtime.shutdown_background();
    })?;
    Ok(())
}

async fn ring_on_hangup(bell: Arc<Notify>) {
    match signal(SignalKind::hangup()) {
        Ok(mut hangups) => {
            while hangups.recv().await.is_some() {
                bell.notify_one();
            }
        }
        Err(e) => tracing::warn!("SIGHUP is not heard: {e}"),
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
