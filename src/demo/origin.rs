//! Sample origins: small HTTP servers on loopback that say where and what they are, and that can die and come back.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use super::fault::{Fail, Place, Slow};
use super::plan::{Ports, REGIONS, VERSIONS};

/// The field of an answer that names the region of the origin.
pub(super) const REGION_FIELD: &str = "x-origin-region";
/// The field of an answer that names the version of the origin.
pub(super) const VERSION_FIELD: &str = "x-origin-version";
/// The field of a failed answer that was asked for with `--fail`.
pub(super) const ASKED_FIELD: &str = "x-origin-asked-to-fail";

const BACKLOG: u32 = 1024;

/// All sample origins, on a thread of their own. They end when this is dropped.
pub(super) struct Origins {
    alive: [watch::Sender<bool>; REGIONS.len()],
    ports: Ports,
    _end: oneshot::Sender<()>,
}

impl Origins {
    /// Starts all of them, on ports that the system chooses.
    ///
    /// # Errors
    /// No port or thread is to be had.
    pub(super) fn start(slow: &[Slow], fail: &[Fail]) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let alive = std::array::from_fn(|_| watch::Sender::new(true));
        let mut ports = Ports::default();
        for place in places() {
            let origin = Arc::new(Origin::new(place, slow, fail));
            for port in &mut ports[place.region][place.version] {
                let socket = reserve(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
                *port = socket.local_addr()?.port();
                runtime.spawn(live(socket, alive[place.region].subscribe(), origin.clone()));
            }
        }
        let (end, ended) = oneshot::channel::<()>();
        std::thread::Builder::new().name("origins".to_owned()).spawn(move || runtime.block_on(ended))?;
        Ok(Self { alive, ports, _end: end })
    }

    /// Where they listen.
    pub(super) const fn ports(&self) -> &Ports {
        &self.ports
    }

    /// Lets the origins of one region die, connections and all, or come back.
    pub(super) fn set_alive(&self, region: usize, alive: bool) {
        self.alive[region].send_replace(alive);
    }
}

fn places() -> impl Iterator<Item = Place> {
    (0..REGIONS.len()).flat_map(|region| (0..VERSIONS.len()).map(move |version| Place { region, version }))
}

/// What the endpoints of one version in one region do.
#[derive(Debug)]
struct Origin {
    place: Place,
    delay: Duration,
    fail_share: u32,
    /// How far the next failure is, in parts of a million; evenly spread, so that 5 % is one in twenty.
    fail_debt: AtomicU32,
}

const MILLION: u32 = 1_000_000;

impl Origin {
    fn new(place: Place, slow: &[Slow], fail: &[Fail]) -> Self {
        let delay = slow.iter().rev().find(|slow| slow.place == place).map_or(Duration::ZERO, |slow| slow.delay);
        let fail_share = fail.iter().rev().find(|fail| fail.place == place).map_or(0, |fail| fail.share);
        Self { place, delay, fail_share, fail_debt: AtomicU32::new(0) }
    }

    async fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if request.uri().path() == "/healthz" {
            return Response::new(Full::from("ok\n"));
        }
        if !self.delay.is_zero() {
            tokio::time::sleep(self.delay).await;
        }
        let (region, version) = (REGIONS[self.place.region].name, VERSIONS[self.place.version]);
        let body = Full::from(format!("hello from {region}, shop {version}\n"));
        let answer = Response::builder().header(REGION_FIELD, region).header(VERSION_FIELD, version);
        let answer = match self.fails() {
            true => answer.status(StatusCode::INTERNAL_SERVER_ERROR).header(ASKED_FIELD, "yes"),
            false => answer,
        };
        answer.body(body).expect("the fields are names")
    }

    /// Whether this request is one that was asked to fail.
    fn fails(&self) -> bool {
        let step = |debt: u32| Some((debt + self.fail_share) % MILLION);
        let before = self.fail_debt.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step).unwrap_or(0);
        before + self.fail_share >= MILLION
    }
}

/// Binds without listening: the port is ours, and whoever connects is refused.
fn reserve(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// One endpoint through its deaths and returns.
async fn live(mut socket: TcpSocket, mut alive: watch::Receiver<bool>, origin: Arc<Origin>) -> io::Result<()> {
    let address = socket.local_addr()?;
    loop {
        if alive.wait_for(|alive| *alive).await.is_err() {
            return Ok(());
        }
        let listener = socket.listen(BACKLOG)?;
        tokio::select! {
            died = alive.wait_for(|alive| !*alive) => if died.is_err() { return Ok(()) },
            () = serve(&listener, &origin) => {}
        }
        drop(listener);
        socket = reserve(address)?;
    }
}

/// Serves until it is dropped, which closes all connections.
async fn serve(listener: &TcpListener, origin: &Arc<Origin>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => drop(connections.spawn(converse(stream, origin.clone()))),
                // Out of descriptors, most likely: some will be free again.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn converse(stream: TcpStream, origin: Arc<Origin>) {
    // A small answer waits for nothing, and an endpoint that dies leaves nothing behind.
    let _ = stream.set_nodelay(true);
    let answer = service_fn(move |request| {
        let origin = origin.clone();
        async move { Ok::<_, Infallible>(origin.answer(&request).await) }
    });
    let mut http = hyper::server::conn::http1::Builder::new();
    // A client that leaves is no news.
    let _ = http.timer(hyper_util::rt::TokioTimer::new()).serve_connection(TokioIo::new(stream), answer).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_failures_is_exact() {
        let place = Place { region: 0, version: 1 };
        let origin = Origin::new(place, &[], &[Fail { place, share: 50_000 }]);
        assert_eq!((0..1_000).filter(|_| origin.fails()).count(), 50);
        let sound = Origin::new(place, &[], &[]);
        assert!((0..1_000).all(|_| !sound.fails()));
    }
}
