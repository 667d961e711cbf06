//! The proxy and its control plane in one process: two halves that speak only in serialised messages.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use sluice_config::health::{Component, Status};
use sluice_config::name::ZoneName;
use sluice_control::{Address, Clock, Control, Link, OpenError, Options, Plane, Standing, Stands, serve_in_process};
use sluice_proxy::log::Target;
use sluice_proxy::metrics::DocumentSeries;
use sluice_proxy::{Beside, HealthSource, Inherited, Source};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};

use crate::control::{refused, ring_on_hangup};
use crate::document::{Unsound, folder_of};

/// Messages that may wait. The control plane keeps only the newest revision that was not taken yet, so more room would serve
/// nobody.
const ROOM: usize = 1;

/// How long the end of the process waits for the control plane's.
const END: Duration = Duration::from_secs(2);

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

/// How the control plane is set up, each time that it is opened.
pub(crate) type SetUp = Box<dyn Fn() -> anyhow::Result<Options> + Send>;

/// A proxy and its control plane, before any of both serves.
pub(crate) struct Service {
    control: Half,
    set_up: SetUp,
    inherited: Inherited,
    data: PathBuf,
    document: Arc<DocumentSeries>,
    /// The folder of the document's file.
    files: PathBuf,
    /// Where the control plane can be reached.
    admin: Vec<SocketAddr>,
}

impl Service {
    /// Opens the control plane. A document that is not sound is the inner error.
    ///
    /// # Errors
    /// It cannot begin for another reason than its store.
    pub(crate) fn open(set_up: SetUp, mut inherited: Inherited) -> anyhow::Result<Result<Self, Unsound>> {
        let document = Arc::new(DocumentSeries::default());
        let mut options = set_up()?;
        options.sockets =
            options.admin.iter().filter_map(|at| Some((at.clone(), inherited.take_beside(&name(at))?))).collect();
        let tcp = |at: &Address| match at {
            Address::Tcp(address) => Some(*address),
            Address::Unix(_) => None,
        };
        let admin = options.admin.iter().filter_map(tcp).collect();
        let (data, path) = (options.folder.clone(), options.file.clone().unwrap_or_default());
        let control = match Half::open(options, &document)? {
            Ok(control) => control,
            Err(error) => return refused(&path, error).map(Err),
        };
        let files = folder_of(&path).to_owned();
        Ok(Ok(Self { control, set_up, inherited, data, document, files, admin }))
    }

    /// Serves until the process is told to leave and every request under way has ended, or another process has taken over.
    ///
    /// # Errors
    /// An address cannot be bound, the access log not be opened, or a thread not be started.
    pub(crate) fn run(
        self,
        workers: NonZeroUsize,
        status: SocketAddr,
        access_log: &AccessLog,
        zone: Option<ZoneName>,
    ) -> anyhow::Result<()> {
        let Self { control, set_up, inherited, data, document, files, admin } = self;
        let gone = if let Half::Gone(why) = &control { Some(why.clone()) } else { None };
        let beside =
            Companion::start(control, set_up, Arc::clone(&document)).context("cannot start the control plane")?;
        let ran = sluice_proxy::run(sluice_proxy::Options {
            workers,
            status,
            access_log: access_log.target(),
            source: beside.source,
            data: Some(data),
            node: None,
            region: None,
            zone,
            listen: BTreeMap::new(),
            health: Some(beside.health),
            document: Some(document),
            files,
            inherited,
            own: admin,
            beside: Some(beside.wishes),
        });
        // It ends now, too, and closes its store and its sockets. It is not waited for when it hangs.
        let _ = beside.ended.recv_timeout(END);
        match gone {
            Some(why) => ran.context(why),
            None => Ok(ran?),
        }
    }
}

/// What a socket of the API is called while it is handed over.
fn name(address: &Address) -> String {
    format!("admin {address}")
}

/// The control plane's half.
enum Half {
    /// It is open.
    Open(Box<Control>, Runtime),
    /// Its store cannot be used, and why. The proxy needs none to serve.
    Gone(String),
}

impl Half {
    /// The outer error is the system's, the inner one tells why it cannot begin.
    fn open(options: Options, document: &Arc<DocumentSeries>) -> anyhow::Result<Result<Self, OpenError>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let told = Arc::clone(document);
        let stands = move |standing: Standing| {
            told.set(standing.accepted && standing.held_back.is_none(), standing.refused);
        };
        let options = Options { stands: Some(Stands(Arc::new(stands))), ..options };
        Ok(match runtime.block_on(Control::open(options)) {
            Ok(control) => Ok(Self::Open(Box::new(control), runtime)),
            Err(error) if error.is_store_gone() => Ok(Self::Gone(format!("{:#}", anyhow::Error::new(error)))),
            Err(error) => Err(error),
        })
    }
}

/// The control plane's thread, as the proxy sees it.
struct Companion {
    source: Source,
    health: HealthSource,
    wishes: mpsc::UnboundedSender<Beside>,
    /// Closed when the thread has ended.
    ended: std::sync::mpsc::Receiver<()>,
}

/// How the control plane is, for whoever asks for its health.
type Seen = Arc<Mutex<Result<Arc<Plane>, String>>>;

impl Companion {
    /// Starts it. It ends when the proxy's ends of the channels are dropped.
    fn start(half: Half, set_up: SetUp, document: Arc<DocumentSeries>) -> std::io::Result<Self> {
        let (orders, revisions) = mpsc::channel(ROOM);
        let (replies, replied) = mpsc::channel(ROOM);
        let (sender, wishes) = mpsc::unbounded_channel();
        let (alive, ended) = std::sync::mpsc::channel::<()>();
        let seen: Seen = Arc::new(Mutex::new(Err("it begins".to_owned())));
        let told = Arc::clone(&seen);
        let health: HealthSource = Arc::new(move || health(&told));
        let source = Source::InProcess { revisions, replies };
        if let Half::Gone(why) = &half {
            tracing::error!("{why}");
            tracing::error!("there is no control plane: the proxy serves what it ran last, and nothing can be changed");
            see(&seen, Err(why.clone()));
            return Ok(Self { source, health, wishes: sender, ended });
        }
        let mut keeper = Keeper { link: Link::new(orders, replied), wishes, set_up, document, seen };
        std::thread::Builder::new().name("control".to_owned()).spawn(move || {
            let _alive = alive;
            keeper.keep(half);
        })?;
        Ok(Self { source, health, wishes: sender, ended })
    }
}

fn see(seen: &Seen, standing: Result<Arc<Plane>, String>) {
    // Each standing is whole in itself.
    *seen.lock().unwrap_or_else(PoisonError::into_inner) = standing;
}

fn health(seen: &Seen) -> BTreeMap<String, Component> {
    let standing = seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
    match standing {
        Ok(plane) => beside(plane.components()),
        Err(why) => gone(&why),
    }
}

/// Keeps the control plane open, but for the time in which another process takes over.
struct Keeper {
    link: Link,
    wishes: mpsc::UnboundedReceiver<Beside>,
    set_up: SetUp,
    document: Arc<DocumentSeries>,
    seen: Seen,
}

type Sockets = Vec<(Address, OwnedFd)>;

/// Whom to give the sockets that are let go, by their names.
type Released = oneshot::Sender<Vec<(String, OwnedFd)>>;

impl Keeper {
    fn keep(&mut self, mut half: Half) {
        let mut owned = false;
        while let Some((released, sockets)) = self.serve(half, owned) {
            let shared = sockets.iter().filter_map(|(at, socket)| Some((name(at), socket.try_clone().ok()?)));
            // Whoever asked for it may have given up, and says so next.
            let _ = released.send(shared.collect());
            if !matches!(self.wishes.blocking_recv(), Some(Beside::Resume)) {
                return;
            }
            half = self.reopen(sockets);
            owned = true;
        }
    }

    /// Serves until the proxy has ended, or asks to let go of everything: then with whom to answer, and the API's sockets.
    /// `owned` says that what was open already has no other owner.
    fn serve(&mut self, half: Half, owned: bool) -> Option<(Released, Sockets)> {
        let (control, runtime) = match half {
            Half::Open(control, runtime) => (control, runtime),
            Half::Gone(why) => {
                tracing::error!("there is no control plane any more: {why}; start the process again");
                see(&self.seen, Err(why));
                return self.wait().map(|released| (released, Vec::new()));
            }
        };
        let (sockets, stays) = control.share().unwrap_or_else(|error| {
            tracing::warn!(%error, "the sockets of the API cannot be handed over; they are bound anew");
            (Vec::new(), Vec::new())
        });
        if owned {
            set(&stays, false);
        }
        let (plane, bell) = (control.plane(), control.bell());
        see(&self.seen, Ok(Arc::clone(&plane)));
        runtime.spawn(ring_on_hangup(bell));
        let running = runtime.spawn(control.run());
        runtime.spawn(async move {
            let ended = running.await;
            tracing::error!(?ended, "the control plane has ended by itself; the proxy serves on");
        });
        let released = runtime.block_on(async {
            tokio::select! {
                () = serve_in_process(plane, &mut self.link) => None,
                Some(released) = asked(&mut self.wishes, &stays) => Some(released),
            }
        });
        if released.is_some() && !sockets.is_empty() {
            set(&stays, true);
        }
        see(&self.seen, Err("another process takes over".to_owned()));
        // With it goes everything that holds the store. A network file system may keep a look at the file waiting for
        // ever; nobody waits for it.
        runtime.shutdown_background();
        released.map(|released| (released, sockets))
    }

    /// Takes everything back.
    fn reopen(&self, sockets: Sockets) -> Half {
        let opened =
            (self.set_up)().and_then(|options| Ok(Half::open(Options { sockets, ..options }, &self.document)??));
        opened.unwrap_or_else(|error| Half::Gone(format!("{error:#}")))
    }

    /// Until there is a wish to let go, or the proxy has ended.
    fn wait(&mut self) -> Option<Released> {
        loop {
            if let Beside::Release(released) = self.wishes.blocking_recv()? {
                return Some(released);
            }
        }
    }
}

/// The next wish to let go; nothing when there will be none.
async fn asked(wishes: &mut mpsc::UnboundedReceiver<Beside>, stays: &[Arc<AtomicBool>]) -> Option<Released> {
    loop {
        match wishes.recv().await? {
            Beside::Release(released) => return Some(released),
            Beside::Serving => set(stays, false),
            Beside::Resume => {}
        }
    }
}

fn set(stays: &[Arc<AtomicBool>], to: bool) {
    stays.iter().for_each(|stays| stays.store(to, Ordering::Relaxed));
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
