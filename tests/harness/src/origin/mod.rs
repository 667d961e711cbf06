//! An origin that does what a suite tells it.
//!
//! Each runs on its own thread with its own address, so a suite may block. What it answers is chosen by the path
//! (the table in [`answer`]) or written byte by byte with [`Origin::script`].
//! It is strict: a request that is not plain RFC 9112 is kept in [`Origin::malformed`] and refused.

pub mod answer;
mod connection;
mod front;
pub mod h2;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::address::free_address;
use crate::head::{Fields, Head};
use crate::wait::until;
use connection::Connection;
pub use front::{Front, Hands};
pub use h2::H2Origin;

/// What an origin saw of one request.
#[derive(Debug, Clone)]
pub struct Seen {
    /// As it came.
    pub head: Head,
    /// Bytes of the body, when the answer at this path read it.
    pub body_length: usize,
    /// Behind a chunked body.
    pub trailers: Fields,
}

/// Bytes that are answered at a path, and what follows them.
#[derive(Debug, Clone)]
pub struct Script {
    /// Sent as they are.
    pub bytes: Vec<u8>,
    /// What follows.
    pub then: Then,
}

/// What follows a scripted answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// The connection takes the next request.
    Keep,
    /// The connection is closed in order.
    Close,
    /// The connection is reset.
    Reset,
    /// Nothing, until the peer goes.
    Hang,
}

/// What is wrong with an origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It never answers.
    Hangs,
    /// It resets before the head of an answer.
    Resets,
    /// It answers everything with this status.
    Answers(u16),
    /// It answers so many milliseconds late.
    IsSlow(u32),
    /// It closes in the middle of the body.
    AnswersHalf,
    /// It says nothing more in the middle of the body.
    Stalls,
}

/// A running origin. Dropping it ends it.
#[derive(Debug)]
pub struct Origin {
    address: SocketAddr,
    shared: Arc<Shared>,
    wanted: watch::Sender<Wanted>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Alive,
    Dead,
    Ended,
}

#[derive(Debug)]
pub(crate) struct Shared {
    id: String,
    healthy: AtomicBool,
    listening: AtomicBool,
    recording: AtomicBool,
    requests: AtomicU64,
    probes: AtomicU64,
    connections: AtomicU64,
    open: AtomicU64,
    asked: AtomicU64,
    most_asked: AtomicU64,
    aborted: AtomicU64,
    seen: Mutex<Vec<Seen>>,
    scripts: Mutex<HashMap<String, Script>>,
    fault: Mutex<Option<Fault>>,
    malformed: Mutex<Vec<String>>,
}

impl Origin {
    /// Starts an origin that answers with this name in `x-origin` and as the body.
    ///
    /// # Panics
    /// When the system refuses a thread or a port.
    #[must_use]
    pub fn start(id: &str) -> Self {
        Self::start_at(id, free_address())
    }

    /// As [`Origin::start`], at this address.
    ///
    /// # Panics
    /// When the system refuses a thread or the address.
    #[must_use]
    pub fn start_at(id: &str, address: SocketAddr) -> Self {
        let shared = Arc::new(Shared::new(id));
        let (wanted, orders) = watch::channel(Wanted::Alive);
        let (theirs, name) = (Arc::clone(&shared), format!("origin {id}"));
        let run = move || serve(address, &theirs, orders);
        let thread = std::thread::Builder::new().name(name).spawn(run).expect("a thread for an origin");
        let origin = Self { address, shared, wanted, thread: Some(thread) };
        origin.wait_listening(true);
        origin
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.shared.id
    }

    /// Stops listening and resets every connection, as a machine that dies. Returns when it is done.
    pub fn kill(&self) {
        self.wanted.send_replace(Wanted::Dead);
        self.wait_listening(false);
        until("the killed origin's connections are gone", || (self.open_connections() == 0).then_some(()));
    }

    /// Listens again at the same address. Returns when it does.
    pub fn revive(&self) {
        self.wanted.send_replace(Wanted::Alive);
        self.wait_listening(true);
    }

    fn wait_listening(&self, state: bool) {
        let what = format!("origin {} at {} listening: {state}", self.id(), self.address);
        until(&what, || (self.shared.listening.load(Ordering::SeqCst) == state).then_some(()));
    }

    /// What the health path answers from now on: 200 or 503.
    pub fn set_healthy(&self, healthy: bool) {
        self.shared.healthy.store(healthy, Ordering::SeqCst);
    }

    /// Answers this path with these bytes from now on.
    pub fn script(&self, path: &str, bytes: impl Into<Vec<u8>>, then: Then) {
        locked(&self.shared.scripts).insert(path.to_owned(), Script { bytes: bytes.into(), then });
    }

    /// Has this fault, or none, in whatever it answers from now on but its health.
    pub fn have(&self, fault: Option<Fault>) {
        *locked(&self.shared.fault) = fault;
    }

    /// Keeps the heads of requests from now on (not under load: they pile up).
    pub fn record(&self) {
        self.shared.recording.store(true, Ordering::SeqCst);
    }

    /// The recorded requests, in the order of their ends. Probes are not among them.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        locked(&self.shared.seen).clone()
    }

    /// The last recorded request with this path.
    ///
    /// # Panics
    /// When none came.
    #[must_use]
    pub fn last_seen(&self, path: &str) -> Seen {
        let find = || self.seen().into_iter().rev().find(|seen| seen.head.path() == path);
        until(&format!("a request for {path}"), find)
    }

    /// Requests that were not plain RFC 9112.
    #[must_use]
    pub fn malformed(&self) -> Vec<String> {
        locked(&self.shared.malformed).clone()
    }

    /// Requests so far, without probes.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::SeqCst)
    }

    /// Requests for the health path so far.
    #[must_use]
    pub fn probes(&self) -> u64 {
        self.shared.probes.load(Ordering::SeqCst)
    }

    /// Connections accepted so far.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Connections open now.
    #[must_use]
    pub fn open_connections(&self) -> u64 {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// The most requests that waited for their answers at once. Of a peer that holds so many connections it is exact, where
    /// the end of a connection may be seen after the next has begun.
    #[must_use]
    pub fn most_at_once(&self) -> u64 {
        self.shared.most_asked.load(Ordering::SeqCst)
    }

    /// Exchanges whose peer went away before they were complete.
    #[must_use]
    pub fn aborted(&self) -> u64 {
        self.shared.aborted.load(Ordering::SeqCst)
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.wanted.send_replace(Wanted::Ended);
        if let Some(thread) = self.thread.take() {
            // A panic there was told on stderr; the suite judges by what it saw itself.
            drop(thread.join());
        }
    }
}

impl Shared {
    fn new(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            healthy: AtomicBool::new(true),
            listening: AtomicBool::new(false),
            recording: AtomicBool::new(false),
            requests: AtomicU64::new(0),
            probes: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            open: AtomicU64::new(0),
            asked: AtomicU64::new(0),
            most_asked: AtomicU64::new(0),
            aborted: AtomicU64::new(0),
            seen: Mutex::default(),
            scripts: Mutex::default(),
            fault: Mutex::default(),
            malformed: Mutex::default(),
        }
    }

    fn scripted(&self, path: &str) -> Option<Script> {
        locked(&self.scripts).get(path).cloned()
    }

    fn fault(&self) -> Option<Fault> {
        *locked(&self.fault)
    }

    fn note(&self, seen: Seen) {
        if self.recording.load(Ordering::Relaxed) {
            locked(&self.seen).push(seen);
        }
    }

    fn note_malformed(&self, why: String) {
        locked(&self.malformed).push(why);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nothing panics while it holds an origin's lock")
}

fn serve(address: SocketAddr, shared: &Arc<Shared>, orders: watch::Receiver<Wanted>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime for an origin");
    tokio::task::LocalSet::new().block_on(&runtime, obey(address, shared, orders));
}

async fn obey(address: SocketAddr, shared: &Arc<Shared>, mut orders: watch::Receiver<Wanted>) {
    loop {
        let wanted = *orders.borrow_and_update();
        match wanted {
            Wanted::Ended => return,
            Wanted::Alive => accept(address, shared, &mut orders).await,
            Wanted::Dead => drop(orders.changed().await),
        }
    }
}

/// Accepts until the orders change.
async fn accept(address: SocketAddr, shared: &Arc<Shared>, orders: &mut watch::Receiver<Wanted>) {
    let listener = TcpListener::bind(address).await.unwrap_or_else(|e| panic!("origin {address}: {e}"));
    shared.listening.store(true, Ordering::SeqCst);
    loop {
        tokio::select! {
            _ = orders.changed() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => { tokio::task::spawn_local(attend(stream, Arc::clone(shared), orders.clone())); }
                Err(e) => shared.note_malformed(format!("accept: {e}")),
            }
        }
    }
    drop(listener);
    shared.listening.store(false, Ordering::SeqCst);
}

/// Serves one connection until it ends or the orders change; then it is reset.
async fn attend(stream: TcpStream, shared: Arc<Shared>, mut orders: watch::Receiver<Wanted>) {
    let _open = Open::new(&shared);
    let connection = Connection::new(stream, &shared);
    tokio::select! {
        _ = orders.changed() => connection.reset(),
        () = connection.serve() => {}
    }
}

struct Open<'a>(&'a Shared);

impl<'a> Open<'a> {
    fn new(shared: &'a Shared) -> Self {
        shared.connections.fetch_add(1, Ordering::SeqCst);
        shared.open.fetch_add(1, Ordering::SeqCst);
        Self(shared)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}
