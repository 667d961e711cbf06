//! The proxy and its control plane in one process: two halves that speak only in serialised messages.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use sluice_config::health::{Component, Status};
use sluice_control::{Clock, Control, Options, Standing, Stands, serve_in_process};
use sluice_proxy::log::Target;
use sluice_proxy::metrics::DocumentSeries;
use sluice_proxy::{HealthSource, Source};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use crate::control::{refused, ring_on_hangup};
use crate::document::{Unsound, folder_of};

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

/// A proxy and its control plane, before any of both serves.
pub(crate) struct Service {
    control: Half,
    data: PathBuf,
    document: Arc<DocumentSeries>,
    /// The folder of the document's file.
    files: PathBuf,
}

/// The control plane's half.
enum Half {
    /// It is open.
    Open(Box<Control>, Runtime),
    /// Its store cannot be used, and why. The proxy needs none to serve.
    Gone(String),
}

impl Service {
    /// Opens the control plane. A document that is not sound is the inner error.
    ///
    /// # Errors
    /// It cannot begin for another reason than its store.
    pub(crate) fn open(options: Options) -> anyhow::Result<Result<Self, Unsound>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let document = Arc::new(DocumentSeries::default());
        let (data, told) = (options.folder.clone(), Arc::clone(&document));
        let stands = move |standing: Standing| {
            told.set(standing.accepted && standing.held_back.is_none(), standing.refused);
        };
        let stands = Stands(Arc::new(stands));
        let path = options.file.clone().unwrap_or_default();
        let control = match runtime.block_on(Control::open(Options { stands: Some(stands), ..options })) {
            Ok(control) => Half::Open(Box::new(control), runtime),
            Err(error) if error.is_store_gone() => Half::Gone(format!("{:#}", anyhow::Error::new(error))),
            Err(error) => return refused(&path, error).map(Err),
        };
        let files = folder_of(&path).to_owned();
        Ok(Ok(Self { control, data, document, files }))
    }

    /// Serves until the process is told to leave and every request under way has ended.
    ///
    /// # Errors
    /// An address cannot be bound, the access log not be opened, or a thread not be started.
    pub(crate) fn run(self, workers: NonZeroUsize, status: SocketAddr, access_log: &AccessLog) -> anyhow::Result<()> {
        let Self { control, data, document, files } = self;
        let gone = if let Half::Gone(why) = &control { Some(why.clone()) } else { None };
        let (source, health) = control.start().context("cannot start the control plane")?;
        let ran = sluice_proxy::run(sluice_proxy::Options {
            workers,
            status,
            access_log: access_log.target(),
            source,
            data: Some(data),
            node: None,
            region: None,
            listen: BTreeMap::new(),
            health: Some(health),
            document: Some(document),
            files,
        });
        match gone {
            Some(why) => ran.context(why),
            None => Ok(ran?),
        }
    }
}

impl Half {
    /// Starts the control plane on a thread of its own. It ends when the proxy's ends of the channels are dropped.
    fn start(self) -> std::io::Result<(Source, HealthSource)> {
        let (orders, revisions) = mpsc::channel(ROOM);
        let (replies, replied) = mpsc::channel(ROOM);
        let source = Source::InProcess { revisions, replies };
        let (control, runtime) = match self {
            Self::Open(control, runtime) => (control, runtime),
            Self::Gone(why) => {
                tracing::error!("{why}");
                tracing::error!(
                    "there is no control plane: the proxy serves what it ran last, and nothing can be changed"
                );
                return Ok((source, Arc::new(move || gone(&why))));
            }
        };
        let (plane, bell) = (control.plane(), control.bell());
        let told = Arc::clone(&plane);
        let run = move || {
            runtime.spawn(ring_on_hangup(bell));
            let running = runtime.spawn(control.run());
            runtime.spawn(async move {
                let ended = running.await;
                tracing::error!(?ended, "the control plane has ended by itself; the proxy serves on");
            });
            runtime.block_on(serve_in_process(plane, orders, replied));
            // A network file system may keep a look at the file waiting for ever; nobody waits for it.
            runtime.shutdown_background();
        };
        std::thread::Builder::new().name("control".to_owned()).spawn(run)?;
        Ok((source, Arc::new(move || beside(told.components()))))
    }
}

/// The health of the control plane as that of a proxy beside it, which serves on without it.
fn beside(mut components: BTreeMap<String, Component>) -> BTreeMap<String, Component> {
    components.values_mut().for_each(|component| component.status = component.status.min(Status::Degraded));
    components
}

fn gone(why: &str) -> BTreeMap<String, Component> {
    let now = Clock::system().now();
    let store = Component::checked(now, Duration::ZERO, Err((Status::Degraded, why.to_owned())));
    BTreeMap::from([("store".to_owned(), store)])
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
