//! The control plane as a whole: opened over its data, then run until it is told to leave.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use sluice_config::wire::{Hello, Reply, Running};
use sluice_config::{Environment, Problems};
use sluice_control_core::file::{Standing, Unreadable};
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};

use crate::admin::{Address, Socket, Tls};
use crate::api::{self, Access};
use crate::clock::Clock;
use crate::distribute::{self, Distributor};
use crate::events::Events;
use crate::file::Eye;
use crate::judge::Judge;
use crate::plane::Plane;
use crate::reconcile::{Equipment, Reconciler, Request, StartError};
use crate::status;
use crate::store::sqlite::{self, SqliteStore};
use crate::store::{Store, StoreError};

/// Requests that may wait for the writer.
const REQUESTS: usize = 64;

/// How a control plane is set up.
#[derive(Debug)]
pub struct Options {
    /// Where its store is: a folder of its own.
    pub folder: PathBuf,
    /// The document's file; absent: documents come by the API.
    pub file: Option<PathBuf>,
    /// What fills in `${NAME}` in the file.
    pub environment: Environment,
    /// Where the API is served. The first is told to whoever asks.
    pub admin: Vec<Address>,
    /// Sockets that listen already, at these of the addresses.
    pub sockets: Vec<(Address, OwnedFd)>,
    /// What TCP listeners show; absent: they speak without TLS.
    pub tls: Option<Tls>,
    /// Who may do what.
    pub access: Access,
    /// Who is told how the file stands, after each look at it.
    pub stands: Option<Stands>,
    /// What time it is.
    pub clock: Clock,
}

/// Who is told how the file stands.
#[derive(Clone)]
pub struct Stands(pub Arc<dyn Fn(Standing) + Send + Sync>);

impl fmt::Debug for Stands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stands")
    }
}

/// Why a control plane cannot begin.
#[derive(Debug)]
pub enum OpenError {
    /// Its store cannot be opened.
    Store(sqlite::OpenError),
    /// The store was opened and then failed.
    Failed(StoreError),
    /// The document's file cannot be read, and there is no revision to go on with.
    Unreadable(Unreadable),
    /// What the file holds is not a sound document, and there is no revision to go on with.
    Refused {
        /// What was read, to show the places of the problems in it.
        content: Vec<u8>,
        /// All of them.
        problems: Problems,
    },
    /// The file is another one than what the store follows, and its document cannot be applied over what is there.
    OtherFile {
        /// The file that the store follows.
        followed: String,
        /// Why the new one's document is refused.
        refusal: String,
    },
    /// An admin address cannot be used.
    Admin(Address, io::Error),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => error.fmt(f),
            Self::Failed(error) => error.fmt(f),
            Self::Unreadable(why) => why.fmt(f),
            Self::Refused { problems, .. } => problems.fmt(f),
            Self::OtherFile { followed, refusal } => write!(
                f,
                "the data folder holds the state of {followed}, and this file's document cannot follow it: {refusal}; use \
                 another folder (--data)"
            ),
            Self::Admin(address, error) => {
                write!(f, "cannot serve the API on {address}: {error}; choose another address with --admin")
            }
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        if let Self::Store(error) = self { error.source() } else { None }
    }
}

impl OpenError {
    /// Whether it is the store alone that cannot be used, and no other process uses it.
    #[must_use]
    pub const fn is_store_gone(&self) -> bool {
        match self {
            Self::Store(sqlite::OpenError::InUse { .. }) => false,
            Self::Store(_) | Self::Failed(_) => true,
            Self::Unreadable(_) | Self::Refused { .. } | Self::OtherFile { .. } | Self::Admin(..) => false,
        }
    }
}

impl From<StoreError> for OpenError {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

impl From<StartError> for OpenError {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Store(error) => Self::Failed(error),
            StartError::Unreadable(why) => Self::Unreadable(why),
            StartError::Refused { content, problems } => Self::Refused { content, problems },
            StartError::OtherFile { followed, refusal } => Self::OtherFile { followed, refusal },
        }
    }
}

/// A control plane over its data, with its sockets bound and nothing served yet.
#[derive(Debug)]
pub struct Control {
    plane: Arc<Plane>,
    reconciler: Reconciler,
    requests: mpsc::Receiver<Request>,
    sockets: Vec<(Address, Socket)>,
    tls: Option<Tls>,
    eye: Option<Eye>,
    bell: Arc<Notify>,
}

/// Sockets with their addresses, and for each of the file system whether it stays.
pub type Shared = (Vec<(Address, OwnedFd)>, Vec<Arc<AtomicBool>>);

impl Control {
    /// Opens the store, reads the file, and takes the admin addresses.
    ///
    /// # Errors
    /// When it cannot begin; nothing was served then.
    pub async fn open(options: Options) -> Result<Self, OpenError> {
        let store = SqliteStore::open(&options.folder).map_err(OpenError::Store)?;
        Self::over(store, options).await
    }

    /// As [`open`](Self::open), over this store; the folder is not looked at.
    ///
    /// # Errors
    /// When it cannot begin; nothing was served then.
    pub async fn over(store: Arc<dyn Store>, mut options: Options) -> Result<Self, OpenError> {
        let sockets = bind(&options.admin, std::mem::take(&mut options.sockets), options.tls.as_ref()).await?;
        let own = sockets.iter().filter_map(|(_, socket)| match socket.address() {
            Ok(Address::Tcp(address)) => Some(address),
            Ok(Address::Unix(_)) | Err(_) => None,
        });
        let judge = Judge::new(options.environment, own.collect());
        let events = Events::default();
        let distributor = Distributor::new(&options.clock, events.clone());
        let equipment = Equipment {
            store: Arc::clone(&store),
            clock: options.clock.clone(),
            judge: judge.clone(),
            distributor: Arc::clone(&distributor),
            events: events.clone(),
        };
        let mut reconciler = Reconciler::open(equipment).await?;
        let (bell, due) = (Arc::new(Notify::new()), Arc::new(AtomicBool::new(false)));
        let mut eye = None;
        if let Some(path) = options.file {
            reconciler.follow(&path, Arc::clone(&due), options.stands.map(|stands| stands.0)).await?;
            eye = Some(Eye::new(path, Arc::clone(&bell), due));
        }
        let (sender, requests) = mpsc::channel(REQUESTS);
        let plane = Plane {
            store,
            clock: options.clock,
            judge,
            distributor,
            events,
            access: options.access,
            requests: sender,
            current: reconciler.current(),
            file: reconciler.file(),
            began: Instant::now(),
            store_seen: ArcSwapOption::empty(),
        };
        let (plane, tls) = (Arc::new(plane), options.tls);
        Ok(Self { plane, reconciler, requests, sockets, tls, eye, bell })
    }

    /// Ring it (`notify_one`) and the file is read at once, without the wait for a second equal reading. Certificates and
    /// tokens are looked at every few seconds in any case.
    #[must_use]
    pub fn bell(&self) -> Arc<Notify> {
        Arc::clone(&self.bell)
    }

    /// What it is, for whoever tells its health.
    #[must_use]
    pub fn plane(&self) -> Arc<Plane> {
        Arc::clone(&self.plane)
    }

    /// Where the API is served, with the ports that the kernel chose.
    #[must_use]
    pub fn addresses(&self) -> Vec<Address> {
        self.sockets.iter().filter_map(|(_, socket)| socket.address().ok()).collect()
    }

    /// The sockets of the API, by the addresses as they were given, for whoever goes on with them; and whether their names
    /// in the file system stay when this is dropped, which they do when this has taken them over itself.
    ///
    /// # Errors
    /// When the system has no more descriptors.
    pub fn share(&self) -> io::Result<Shared> {
        let shared = self.sockets.iter().map(|(address, socket)| Ok((address.clone(), socket.share()?)));
        Ok((shared.collect::<io::Result<_>>()?, self.sockets.iter().filter_map(|(_, socket)| socket.stays()).collect()))
    }

    /// Runs until dropped.
    pub async fn run(self) {
        let Self { plane, reconciler, requests, sockets, tls, eye, .. } = self;
        let (sender, looks) = mpsc::channel(1);
        let router = api::router(&plane);
        let mut tasks = tokio::task::JoinSet::new();
        for (_, socket) in sockets {
            tasks.spawn(socket.serve(router.clone()));
        }
        let distributor = Arc::clone(&plane.distributor);
        tasks.spawn(async move { distributor.watch().await });
        let watched = Arc::clone(&plane);
        tasks.spawn(async move { watched.watch_store().await });
        tasks.spawn(reload(Arc::clone(&plane), tls));
        if let Some(eye) = eye {
            tasks.spawn(eye.watch(sender));
        }
        reconciler.run(requests, looks).await;
    }
}

async fn bind(
    addresses: &[Address],
    mut open: Vec<(Address, OwnedFd)>,
    tls: Option<&Tls>,
) -> Result<Vec<(Address, Socket)>, OpenError> {
    let mut sockets = Vec::with_capacity(addresses.len());
    for address in addresses {
        let there = open.iter().position(|(known, _)| known == address).map(|at| open.swap_remove(at).1);
        let socket = match there {
            Some(socket) => Socket::adopt(address, socket, tls.cloned()),
            None => Socket::bind(address, tls.cloned()).await,
        };
        sockets.push((address.clone(), socket.map_err(|error| OpenError::Admin(address.clone(), error))?));
    }
    Ok(sockets)
}

/// How often the files of certificates and tokens are looked at.
const RELOAD: std::time::Duration = std::time::Duration::from_secs(5);

/// Reads certificates and tokens again when their files change.
async fn reload(plane: Arc<Plane>, tls: Option<Tls>) {
    let mut ticks = tokio::time::interval(RELOAD);
    loop {
        ticks.tick().await;
        if let Some(tls) = &tls {
            tls.refresh();
        }
        plane.access.refresh();
    }
}

/// How long to wait before a link that was closed, or refused, is tried anew.
const REJOIN: std::time::Duration = std::time::Duration::from_secs(1);

/// The channels to the proxy in this process, and who it said that it is. They outlive a control plane: when it is
/// opened again the proxy has said so already.
#[derive(Debug)]
pub struct Link {
    orders: mpsc::Sender<Vec<u8>>,
    replies: mpsc::Receiver<Vec<u8>>,
    hello: Option<Hello>,
}

impl Link {
    /// By these channels, on which nothing was said yet.
    #[must_use]
    pub const fn new(orders: mpsc::Sender<Vec<u8>>, replies: mpsc::Receiver<Vec<u8>>) -> Self {
        Self { orders, replies, hello: None }
    }

    async fn hello(&mut self) -> Option<&mut Hello> {
        if self.hello.is_none() {
            match serde_json::from_slice(&self.replies.recv().await?) {
                Ok(Reply::Hello(hello)) => self.hello = Some(hello),
                _ => tracing::error!("the proxy in this process does not say who it is"),
            }
        }
        self.hello.as_mut()
    }
}

/// Serves the proxy in this process: the same serialised messages, by two channels. Ends when the proxy's ends are
/// dropped, and only then: a connection that the fleet closes is opened again. Nothing is lost for good when this is dropped.
pub async fn serve_in_process(plane: Arc<Plane>, link: &mut Link) {
    while let Some(hello) = link.hello().await.cloned() {
        match plane.distributor.join(hello, "in process") {
            Ok((connection, messages)) => {
                let ended = relay(&plane, &connection, messages, link).await;
                plane.distributor.leave(&connection, "the link in this process was closed");
                if ended {
                    return;
                }
            }
            Err(reason) => tracing::error!("the proxy in this process is not taken in: {reason}"),
        }
        tokio::time::sleep(REJOIN).await;
    }
}

/// Carries messages both ways until the connection is closed, or the proxy has ended: then it is true.
async fn relay(
    plane: &Plane,
    connection: &distribute::Link,
    mut messages: mpsc::Receiver<Bytes>,
    link: &mut Link,
) -> bool {
    loop {
        tokio::select! {
            message = messages.recv() => match message {
                Some(message) => if link.orders.send(Bytes::into(message)).await.is_err() { return true },
                None => return false,
            },
            reply = link.replies.recv() => match reply.map(|bytes| serde_json::from_slice(&bytes)) {
                Some(Ok(reply)) => {
                    if let (Reply::Ack { id, digest }, Some(hello)) = (&reply, &mut link.hello) {
                        hello.runs = Some(Running { history: plane.store.history(), id: *id, digest: *digest });
                    }
                    plane.distributor.hear(connection, &reply);
                }
                Some(Err(error)) => tracing::error!(%error, "the proxy's message is not understood"),
                None => return true,
            },
        }
    }
}

/// Serves `/live`, `/ready`, `/metrics` and `/api/health` of a control plane that runs without a proxy.
///
/// # Errors
/// When the address cannot be used.
pub async fn serve_status(plane: Arc<Plane>, address: std::net::SocketAddr) -> io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    Socket::Tcp(listener, None).serve(status::router(&plane)).await;
    Ok(())
}
