//! A scripted control plane: it says what it is told to, also what no sound one would.

mod authority;

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::{Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, Response, StatusCode};
use sluice_config::value::{Digest, HistoryId, RevisionId};
use sluice_config::wire::{Delta, Hello, Order, Reply, Report, Revision};
use sluice_config::{Environment, Overlay};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use crate::address::free_address;
use crate::h2::{data, send};
use crate::wait::until;

pub use authority::Authority;

/// A control plane on loopback. Methods block.
pub struct Control {
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
    runtime: Runtime,
    server: Option<JoinHandle<()>>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Every answer, on whichever connection.
    replies: Vec<Reply>,
    /// The fields of each request for a subscription.
    requests: Vec<HeaderMap>,
    refusal: Option<(StatusCode, String)>,
    /// To the connection that was made last.
    orders: Option<mpsc::UnboundedSender<Bytes>>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder panics")
    }
}

/// A revision of the history 1 with this document.
///
/// # Panics
/// When the document is not sound.
#[must_use]
pub fn revision(id: u64, document: impl ToString) -> Revision {
    let document = document.to_string();
    let read = sluice_config::read_pair(&document, &Environment::empty(), &Overlay::default());
    let source = read.unwrap_or_else(|problems| panic!("{problems}\n{document}"));
    Revision {
        history: HistoryId::from_bits(1),
        id: RevisionId(id),
        digest: source.validated.digest,
        document: source.json,
        overlay: Overlay::default(),
    }
}

/// The same with a digest that it does not have.
#[must_use]
pub fn mislabelled(mut revision: Revision) -> Revision {
    revision.digest = Digest::of(b"something else");
    revision
}

impl Control {
    /// One without TLS.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(None)
    }

    /// One with TLS, that takes only clients with a certificate of this authority.
    #[must_use]
    pub fn start_tls(authority: &Authority) -> Self {
        Self::start_with(Some(authority.acceptor()))
    }

    fn start_with(tls: Option<TlsAcceptor>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime for a control plane");
        let shared = Arc::default();
        let mut control = Self { address: free_address(), tls, runtime, server: None, shared };
        control.open();
        control
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Accepts again after [`close`](Self::close).
    ///
    /// # Panics
    /// When its address is taken meanwhile.
    pub fn open(&mut self) {
        let listener = self.runtime.block_on(async { listen(self.address) });
        let (shared, tls) = (Arc::clone(&self.shared), self.tls.clone());
        self.server = Some(self.runtime.spawn(serve(listener, tls, shared)));
    }

    /// Dies: every connection is cut, and new ones are refused.
    pub fn close(&mut self) {
        if let Some(server) = self.server.take() {
            server.abort();
            // It ends by being aborted.
            let _ = self.runtime.block_on(server);
        }
        self.shared.state().orders = None;
    }

    /// From now on subscriptions get this answer; nothing: they are taken.
    pub fn refuse(&self, refusal: Option<(u16, &str)>) {
        let refusal = refusal.map(|(status, detail)| {
            let body = serde_json::json!({ "title": "refused", "detail": detail }).to_string();
            (StatusCode::from_u16(status).expect("a status"), body)
        });
        self.shared.state().refusal = refusal;
    }

    /// Sends a line on the newest connection; waits for one.
    pub fn send_line(&self, line: impl Into<String>) {
        self.send_part(line.into() + "\n");
    }

    /// Sends what is no whole line; waits for a connection.
    pub fn send_part(&self, part: impl Into<String>) {
        let orders = until("a proxy is connected", || self.shared.state().orders.clone());
        // A connection that is gone takes nothing, as on a network.
        let _ = orders.send(Bytes::from(part.into()));
    }

    /// Sends an order.
    ///
    /// # Panics
    /// Never: an order is JSON.
    pub fn send(&self, order: &Order) {
        self.send_line(serde_json::to_string(order).expect("an order is JSON"));
    }

    /// Sends a whole revision.
    pub fn revise(&self, revision: &Revision) {
        self.send(&Order::Revision(revision.clone()));
    }

    /// Sends the difference between two revisions.
    pub fn amend(&self, old: &Revision, new: &Revision) {
        self.send(&Order::Delta(Delta::between(old, new)));
    }

    /// Sends a whole revision and waits until it runs.
    pub fn run(&self, revision: &Revision) {
        self.revise(revision);
        self.wait_ack(revision.id.0);
    }

    /// Every answer so far, without reports.
    #[must_use]
    pub fn answers(&self) -> Vec<Reply> {
        let state = self.shared.state();
        state.replies.iter().filter(|reply| !matches!(reply, Reply::Report(_))).cloned().collect()
    }

    /// Every report so far.
    #[must_use]
    pub fn reports(&self) -> Vec<Report> {
        let state = self.shared.state();
        let report = |reply: &Reply| if let Reply::Report(report) = reply { Some(report.clone()) } else { None };
        state.replies.iter().filter_map(report).collect()
    }

    /// Waits for the n-th connection (the first is 0) to say who it is.
    #[must_use]
    pub fn wait_hello(&self, n: usize) -> Hello {
        until(&format!("hello {n}; answers: {:?}", self.answers()), || {
            let hello = |reply| if let Reply::Hello(hello) = reply { Some(hello) } else { None };
            self.answers().into_iter().filter_map(hello).nth(n)
        })
    }

    /// Waits for an answer of this kind.
    pub fn wait_answer(&self, what: &str, is: impl Fn(&Reply) -> bool) -> Reply {
        until(what, || self.answers().into_iter().find(|reply| is(reply)))
    }

    /// Waits until this revision is acknowledged.
    pub fn wait_ack(&self, revision: u64) {
        let is = |reply: &Reply| matches!(reply, Reply::Ack { id, .. } if id.0 == revision);
        self.wait_answer(&format!("an acknowledgement of {revision}"), is);
    }

    /// Waits until this revision is refused. Returns the problems, and whether the proxy tries it again.
    pub fn wait_nack(&self, revision: u64) -> (Vec<String>, bool) {
        until(&format!("a refusal of {revision}"), || {
            let nack = |reply| match reply {
                Reply::Nack { id, problems, retries, .. } if id.0 == revision => Some((problems, retries)),
                Reply::Hello(_) | Reply::Ack { .. } | Reply::Nack { .. } | Reply::Lost { .. } | Reply::Report(_) => {
                    None
                }
            };
            self.answers().into_iter().find_map(nack)
        })
    }

    /// The fields of each request for a subscription so far.
    #[must_use]
    pub fn requests(&self) -> Vec<HeaderMap> {
        self.shared.state().requests.clone()
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.close();
    }
}

fn listen(address: SocketAddr) -> TcpListener {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_reuseaddr(true).expect("a socket takes this option");
    socket.bind(address).unwrap_or_else(|e| panic!("{address}: {e}"));
    socket.listen(64).expect("a bound socket listens")
}

async fn serve(listener: TcpListener, tls: Option<TlsAcceptor>, shared: Arc<Shared>) {
    // Dropped with this task, which cuts all connections.
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.expect("an open listener accepts");
        let (tls, shared) = (tls.clone(), Arc::clone(&shared));
        connections.spawn(async move {
            match tls {
                None => converse(stream, shared).await,
                // What does not prove itself is turned away.
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        converse(stream, shared).await;
                    }
                }
            }
        });
    }
}

async fn converse<S: AsyncRead + AsyncWrite + Unpin>(stream: S, shared: Arc<Shared>) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    let mut streams = JoinSet::new();
    while let Some(Ok((request, respond))) = connection.accept().await {
        streams.spawn(answer(request, respond, Arc::clone(&shared)));
    }
}

async fn answer(request: Request<RecvStream>, mut respond: SendResponse<Bytes>, shared: Arc<Shared>) {
    assert_eq!((request.method().as_str(), request.uri().path()), ("POST", "/v1/subscribe"));
    shared.state().requests.push(request.headers().clone());
    let refusal = shared.state().refusal.clone();
    let mut response = Response::new(());
    *response.status_mut() = refusal.as_ref().map_or(StatusCode::OK, |(status, _)| *status);
    // A proxy that is gone reads no answer.
    let Ok(mut out) = respond.send_response(response, false) else { return };
    if let Some((_, body)) = refusal {
        let _ = send(&mut out, body.into(), true).await;
        return;
    }
    let (orders, waiting) = mpsc::unbounded_channel();
    shared.state().orders = Some(orders);
    tokio::select! {
        () = read(request.into_body(), &shared) => {}
        () = write(out, waiting) => {}
    }
}

/// Keeps every message of a proxy.
async fn read(mut body: RecvStream, shared: &Shared) {
    let mut buffer = BytesMut::new();
    while let Ok(Some(piece)) = data(&mut body).await {
        buffer.extend_from_slice(&piece);
        while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
            let line = buffer.split_to(end + 1);
            let reply = serde_json::from_slice(&line).unwrap_or_else(|e| panic!("{line:?}: {e}"));
            shared.state().replies.push(reply);
        }
    }
}

async fn write(mut out: SendStream<Bytes>, mut orders: mpsc::UnboundedReceiver<Bytes>) {
    while let Some(line) = orders.recv().await {
        if send(&mut out, line, false).await.is_err() {
            return;
        }
    }
    // The control plane has died: its connection is cut by whoever dropped the sender.
    poll_fn(|_| std::task::Poll::<()>::Pending).await;
}
