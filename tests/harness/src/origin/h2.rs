//! An origin that speaks HTTP/2 by prior knowledge; behind a [`Front`](super::Front) by TLS.
//!
//! | path | answer |
//! |---|---|
//! | `/healthz` | 200, or 503 when told to be unhealthy |
//! | `/status/N`, `/bytes/N`, `/delay/MS`, `/sink` | as the origin of HTTP/1.1 |
//! | `/echo` | head at once, then the request's body as it comes, and its trailers with `x-length` |
//! | `/early` | a whole 200 before the body is read, and a reset without an error |
//! | `/hints` | 103 with a Link, then the plain answer |
//! | `/seen` | the head of the request as the body |
//! | `/hang` | nothing |
//! | `/reset`, `/reset-body` | a reset before the head, or after 1,000 of 100,000 bytes |
//! | `/refused` | `REFUSED_STREAM` |
//! | `/only-trailers` | a head that ends the answer, as gRPC fails |
//! | `/trailers` | the body `ID` and a trailer `grpc-status: 0` |
//! | `/leave` | the plain answer, and the connection takes no more requests |
//! | `/tunnel` | to an extended CONNECT: every byte is sent back until the peer's end |
//! | all else | 200, `x-origin: ID`, body `ID` |

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Builder, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::{LocalSet, spawn_local};

use super::answer::pattern;
use crate::address::free_address;
use crate::h2::{data, send};
use crate::wait::until;

/// How one behaves.
#[derive(Debug, Clone, Copy)]
pub struct Manner {
    /// The most streams at once on one connection. Absent: it does not say.
    pub streams: Option<u32>,
    /// Whether it takes extended CONNECT (RFC 8441).
    pub tunnels: bool,
}

impl Default for Manner {
    fn default() -> Self {
        Self { streams: None, tunnels: true }
    }
}

/// What it saw of one request.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Pseudo fields and fields.
    pub head: Request<()>,
    /// Behind the body, where the answer at this path read it.
    pub trailers: HeaderMap,
}

/// A running origin. Dropping it ends it.
#[derive(Debug)]
pub struct H2Origin {
    address: SocketAddr,
    shared: Arc<Shared>,
    orders: watch::Sender<Order>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Serve,
    /// Take no more connections, and no more requests on those that there are.
    Leave,
    /// Be gone.
    Die,
    End,
}

#[derive(Debug)]
struct Shared {
    id: String,
    manner: Manner,
    healthy: AtomicBool,
    listening: AtomicBool,
    requests: AtomicU64,
    probes: AtomicU64,
    connections: AtomicU64,
    open: AtomicU64,
    cancelled: AtomicU64,
    streams: AtomicU64,
    most: AtomicU64,
    seen: Mutex<Vec<Seen>>,
}

impl H2Origin {
    /// Starts an origin that answers with this name in `x-origin` and as the body.
    ///
    /// # Panics
    /// When the system refuses a thread or a port.
    #[must_use]
    pub fn start(id: &str, manner: Manner) -> Self {
        let address = free_address();
        let shared = Arc::new(Shared::new(id, manner));
        let (orders, wanted) = watch::channel(Order::Serve);
        let theirs = Arc::clone(&shared);
        let run = move || serve(address, &theirs, wanted);
        let thread = std::thread::Builder::new().name(format!("h2 origin {id}")).spawn(run);
        let origin = Self { address, shared, orders, thread: Some(thread.expect("a thread for an origin")) };
        origin.wait_listening(true);
        origin
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops listening and says GOAWAY on every connection. Returns when all have ended.
    pub fn leave(&self) {
        self.orders.send_replace(Order::Leave);
        self.wait_listening(false);
        until("the origin has ended its connections", || (self.open_connections() == 0).then_some(()));
    }

    /// Stops listening and cuts every connection.
    pub fn kill(&self) {
        self.orders.send_replace(Order::Die);
        self.wait_listening(false);
        until("the killed origin's connections are gone", || (self.open_connections() == 0).then_some(()));
    }

    /// Listens again at the same address.
    pub fn revive(&self) {
        self.orders.send_replace(Order::Serve);
        self.wait_listening(true);
    }

    fn wait_listening(&self, wanted: bool) {
        let is = || (self.shared.listening.load(Ordering::SeqCst) == wanted).then_some(());
        until("the origin obeys", is);
    }

    /// Answers probes by 200 or by 503.
    pub fn set_healthy(&self, healthy: bool) {
        self.shared.healthy.store(healthy, Ordering::SeqCst);
    }

    /// The last request with this path.
    ///
    /// # Panics
    /// When none came.
    #[must_use]
    pub fn last_seen(&self, path: &str) -> Seen {
        until(&format!("a request for {path}"), || {
            let seen = self.shared.seen.lock().expect("nothing panics while it holds this lock");
            seen.iter().rev().find(|seen| seen.head.uri().path() == path).cloned()
        })
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

    /// Requests that the peer gave up before they were answered in full.
    #[must_use]
    pub fn cancelled(&self) -> u64 {
        self.shared.cancelled.load(Ordering::SeqCst)
    }

    /// The most requests that were answered at once.
    #[must_use]
    pub fn most_at_once(&self) -> u64 {
        self.shared.most.load(Ordering::SeqCst)
    }
}

impl Drop for H2Origin {
    fn drop(&mut self) {
        self.orders.send_replace(Order::End);
        if let Some(thread) = self.thread.take() {
            // A panic there was told on stderr; the suite judges by what it saw itself.
            drop(thread.join());
        }
    }
}

impl Shared {
    fn new(id: &str, manner: Manner) -> Self {
        Self {
            id: id.to_owned(),
            manner,
            healthy: AtomicBool::new(true),
            listening: AtomicBool::new(false),
            requests: AtomicU64::new(0),
            probes: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            open: AtomicU64::new(0),
            cancelled: AtomicU64::new(0),
            streams: AtomicU64::new(0),
            most: AtomicU64::new(0),
            seen: Mutex::default(),
        }
    }

    fn note(&self, head: &http::request::Parts, trailers: Option<HeaderMap>) {
        let mut copy = Request::new(());
        *copy.method_mut() = head.method.clone();
        *copy.uri_mut() = head.uri.clone();
        *copy.headers_mut() = head.headers.clone();
        let seen = Seen { head: copy, trailers: trailers.unwrap_or_default() };
        self.seen.lock().expect("nothing panics while it holds this lock").push(seen);
    }
}

fn serve(address: SocketAddr, shared: &Arc<Shared>, mut orders: watch::Receiver<Order>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    LocalSet::new().block_on(&runtime.expect("a runtime for an origin"), async {
        loop {
            let order = *orders.borrow_and_update();
            match order {
                Order::End => return,
                Order::Serve => accept(address, shared, &mut orders).await,
                Order::Leave | Order::Die => drop(orders.changed().await),
            }
        }
    });
}

async fn accept(address: SocketAddr, shared: &Arc<Shared>, orders: &mut watch::Receiver<Order>) {
    let listener = TcpListener::bind(address).await.unwrap_or_else(|e| panic!("origin {address}: {e}"));
    shared.listening.store(true, Ordering::SeqCst);
    loop {
        tokio::select! {
            _ = orders.changed() => break,
            accepted = listener.accept() => if let Ok((stream, _)) = accepted {
                shared.connections.fetch_add(1, Ordering::SeqCst);
                shared.open.fetch_add(1, Ordering::SeqCst);
                let (theirs, orders) = (Arc::clone(shared), orders.clone());
                spawn_local(async move {
                    attend(stream, &theirs, orders).await;
                    theirs.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        }
    }
    drop(listener);
    shared.listening.store(false, Ordering::SeqCst);
}

/// Serves one connection until it ends.
async fn attend(stream: TcpStream, shared: &Arc<Shared>, mut orders: watch::Receiver<Order>) {
    // Best effort: an origin is only slower without it.
    drop(stream.set_nodelay(true));
    let mut builder = Builder::new();
    builder.initial_window_size(1 << 20).initial_connection_window_size(16 << 20);
    if let Some(streams) = shared.manner.streams {
        builder.max_concurrent_streams(streams);
    }
    if shared.manner.tunnels {
        builder.enable_connect_protocol();
    }
    let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await else { return };
    let leave = Rc::new(Notify::new());
    loop {
        tokio::select! {
            _ = orders.changed() => match *orders.borrow_and_update() {
                Order::Leave => connection.graceful_shutdown(),
                Order::Die | Order::End => return,
                Order::Serve => {}
            },
            () = leave.notified() => connection.graceful_shutdown(),
            accepted = connection.accept() => match accepted {
                Some(Ok((request, respond))) => {
                    let (shared, leave) = (Arc::clone(shared), Rc::clone(&leave));
                    spawn_local(async move { exchange(&shared, request, respond, &leave).await });
                }
                Some(Err(_)) | None => return,
            }
        }
    }
}

async fn exchange(shared: &Shared, request: Request<RecvStream>, respond: SendResponse<Bytes>, leave: &Notify) {
    let is_probe = request.uri().path() == super::answer::HEALTH;
    let counter = if is_probe { &shared.probes } else { &shared.requests };
    counter.fetch_add(1, Ordering::SeqCst);
    let at_once = shared.streams.fetch_add(1, Ordering::SeqCst) + 1;
    shared.most.fetch_max(at_once, Ordering::SeqCst);
    let bodyless = request.method() == http::Method::HEAD;
    let mut stream = Stream { shared, respond, leave, bodyless };
    if stream.answer(request).await.is_err() {
        shared.cancelled.fetch_add(1, Ordering::SeqCst);
    }
    shared.streams.fetch_sub(1, Ordering::SeqCst);
}

struct Stream<'a> {
    shared: &'a Shared,
    respond: SendResponse<Bytes>,
    leave: &'a Notify,
    /// The request's method was HEAD.
    bodyless: bool,
}

impl Stream<'_> {
    async fn answer(&mut self, request: Request<RecvStream>) -> Result<(), h2::Error> {
        let (head, mut body) = request.into_parts();
        let mut parts = head.uri.path().trim_start_matches('/').splitn(2, '/');
        let (name, number) = (parts.next().unwrap_or_default().to_owned(), parts.next().and_then(|n| n.parse().ok()));
        let number: usize = number.unwrap_or(0);
        let id = Bytes::from(self.shared.id.clone());
        if name != "echo" {
            self.shared.note(&head, None);
        }
        match name.as_str() {
            "healthz" if !self.shared.healthy.load(Ordering::SeqCst) => self.whole(503, id).await,
            "status" => self.whole(u16::try_from(number).unwrap_or(500), id).await,
            "bytes" => self.whole(200, pattern(number).into()).await,
            "delay" => {
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_millis(number as u64)) => self.whole(200, id).await,
                    gone = self.gone() => Err(gone),
                }
            }
            "sink" => {
                let mut length = 0;
                while let Some(piece) = data(&mut body).await? {
                    length += piece.len();
                }
                self.whole(200, length.to_string().into()).await
            }
            "echo" => self.echo(&head, body).await,
            // The body is not read: dropping it lets the h2 crate send the reset behind the answer.
            "early" => self.whole(200, "early".into()).await,
            "hints" => {
                let mut hints = Response::new(());
                *hints.status_mut() = http::StatusCode::EARLY_HINTS;
                hints.headers_mut().insert("link", HeaderValue::from_static("</style.css>; rel=preload"));
                self.respond.send_informational(hints)?;
                self.whole(200, id).await
            }
            "seen" => self.whole(200, seen(&head).into()).await,
            "hang" => Err(self.gone().await),
            "reset" | "refused" => {
                let refused = name == "refused";
                self.respond.send_reset(if refused { Reason::REFUSED_STREAM } else { Reason::INTERNAL_ERROR });
                Ok(())
            }
            "reset-body" => self.reset_body().await,
            "only-trailers" => {
                let mut head = self.head(200);
                head.headers_mut().insert("grpc-status", HeaderValue::from_static("7"));
                self.respond.send_response(head, true).map(drop)
            }
            "trailers" => {
                let mut stream = self.respond.send_response(self.head(200), false)?;
                send(&mut stream, id, false).await?;
                stream.send_trailers(HeaderMap::from_iter([(
                    http::HeaderName::from_static("grpc-status"),
                    HeaderValue::from_static("0"),
                )]))
            }
            "leave" => {
                self.leave.notify_one();
                self.whole(200, id).await
            }
            "tunnel" => self.tunnel(&head, body).await,
            _ => self.whole(200, id).await,
        }
    }

    fn head(&self, status: u16) -> Response<()> {
        let mut head = Response::new(());
        *head.status_mut() = http::StatusCode::from_u16(status).expect("a suite asks for statuses that exist");
        head.headers_mut().insert("x-origin", self.shared.id.parse().expect("a suite's names are plain"));
        head
    }

    async fn whole(&mut self, status: u16, body: Bytes) -> Result<(), h2::Error> {
        let body = if self.bodyless || matches!(status, 204 | 304) { Bytes::new() } else { body };
        let mut stream = self.respond.send_response(self.head(status), body.is_empty())?;
        if body.is_empty() { Ok(()) } else { send(&mut stream, body, true).await }
    }

    async fn gone(&mut self) -> h2::Error {
        let gone = std::future::poll_fn(|cx| self.respond.poll_reset(cx)).await;
        gone.map_or_else(|error| error, h2::Error::from)
    }

    async fn echo(&mut self, head: &http::request::Parts, mut body: RecvStream) -> Result<(), h2::Error> {
        let mut stream = self.respond.send_response(self.head(200), false)?;
        let length = pour(&mut body, &mut stream).await?;
        let mut trailers = body.trailers().await?.unwrap_or_default();
        self.shared.note(head, Some(trailers.clone()));
        trailers.insert("x-length", HeaderValue::from(length));
        stream.send_trailers(trailers)
    }

    async fn reset_body(&mut self) -> Result<(), h2::Error> {
        let mut head = self.head(200);
        head.headers_mut().insert("content-length", HeaderValue::from_static("100000"));
        let mut stream = self.respond.send_response(head, false)?;
        send(&mut stream, pattern(1_000).into(), false).await?;
        // A reset throws away what has not been sent yet.
        tokio::time::sleep(Duration::from_millis(50)).await;
        stream.send_reset(Reason::INTERNAL_ERROR);
        Ok(())
    }

    async fn tunnel(&mut self, head: &http::request::Parts, mut body: RecvStream) -> Result<(), h2::Error> {
        if head.method != http::Method::CONNECT || head.extensions.get::<h2::ext::Protocol>().is_none() {
            return self.whole(426, "upgrade".into()).await;
        }
        let mut stream = self.respond.send_response(self.head(200), false)?;
        pour(&mut body, &mut stream).await?;
        stream.send_data(Bytes::new(), true)
    }
}

/// Sends back what comes; says how much it was.
async fn pour(body: &mut RecvStream, stream: &mut SendStream<Bytes>) -> Result<usize, h2::Error> {
    let mut length = 0;
    while let Some(piece) = data(body).await? {
        length += piece.len();
        send(stream, piece, false).await?;
    }
    Ok(length)
}

fn seen(head: &http::request::Parts) -> String {
    let fields =
        head.headers.iter().map(|(name, value)| format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes())));
    format!("{} {}\n{}", head.method, head.uri, fields.collect::<String>())
}
