//! A gentle load: a fixed number of keep-alive clients that ask at a fixed rate, whatever the answers take.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{interval_at, sleep};

use super::client::{Answer, Client};

/// Connections of the demo of one proxy, and so the most requests that are under way at once.
pub(super) const CONNECTIONS: u32 = 16;

/// Requests a second over all connections.
const RATE: u32 = 500;

/// A signal to leave reaches the proxy and this client at the same time. A failure within this time after it belongs to
/// the leaving.
const GRACE: Duration = Duration::from_millis(200);

/// Which proxy a client asks. It looks before each request.
pub(super) type Target = Rc<Cell<SocketAddr>>;

/// Takes down a request: who was asked, the answer, and how long it took.
pub(super) type Record = Rc<dyn Fn(SocketAddr, &io::Result<Answer>, Duration)>;

/// Asks with one client for each target until `stop` is set; every request is recorded.
pub(super) async fn run(targets: Vec<Target>, record: Record, stop: watch::Receiver<bool>) {
    let mut clients = JoinSet::new();
    let period = Duration::from_secs(1) * targets.len() as u32 / RATE;
    for (number, target) in targets.into_iter().enumerate() {
        let offset = Duration::from_secs(1) * number as u32 / RATE;
        clients.spawn_local(ask(target, [offset, period], record.clone(), stop.clone()));
    }
    while clients.join_next().await.is_some() {}
}

async fn ask(target: Target, [offset, period]: [Duration; 2], record: Record, mut stop: watch::Receiver<bool>) {
    let mut client = Client::new(target.get());
    let mut ticks = interval_at(tokio::time::Instant::now() + offset, period);
    loop {
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return,
            _ = ticks.tick() => {}
        }
        let (proxy, began) = (target.get(), Instant::now());
        client.turn_to(proxy);
        let answer = client.get("/").await;
        let latency = began.elapsed();
        if answer.is_err() && leaving(&mut stop).await {
            return;
        }
        record(proxy, &answer, latency);
    }
}

async fn leaving(stop: &mut watch::Receiver<bool>) -> bool {
    tokio::select! {
        biased;
        _ = stop.wait_for(|stop| *stop) => true,
        () = sleep(GRACE) => false,
    }
}
