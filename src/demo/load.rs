//! A gentle load: a fixed number of keep-alive clients that ask at a fixed rate, whatever the answers take.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{interval_at, sleep};

use super::client::Client;
use super::tally::Tally;

/// Connections, and so the most requests that are under way at once.
pub(super) const CONNECTIONS: u32 = 16;

/// Requests a second over all connections.
const RATE: u32 = 500;

/// A signal to leave reaches the proxy and this client at the same time. A failure within this time after it belongs to
/// the leaving.
const GRACE: Duration = Duration::from_millis(200);

/// Asks until `stop` is set; every request is counted.
pub(super) async fn run(proxy: SocketAddr, tally: Rc<RefCell<Tally>>, stop: watch::Receiver<bool>) {
    let mut clients = JoinSet::new();
    for number in 0..CONNECTIONS {
        let offset = Duration::from_secs(1) * number / RATE;
        clients.spawn_local(ask(Client::new(proxy), offset, tally.clone(), stop.clone()));
    }
    while clients.join_next().await.is_some() {}
}

async fn ask(mut client: Client, offset: Duration, tally: Rc<RefCell<Tally>>, mut stop: watch::Receiver<bool>) {
    let period = Duration::from_secs(1) * CONNECTIONS / RATE;
    let mut ticks = interval_at(tokio::time::Instant::now() + offset, period);
    loop {
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return,
            _ = ticks.tick() => {}
        }
        let began = Instant::now();
        let answer = client.get("/").await;
        let latency = began.elapsed();
        if answer.is_err() && leaving(&mut stop).await {
            return;
        }
        tally.borrow_mut().add(Instant::now(), &answer, latency);
    }
}

async fn leaving(stop: &mut watch::Receiver<bool>) -> bool {
    tokio::select! {
        biased;
        _ = stop.wait_for(|stop| *stop) => true,
        () = sleep(GRACE) => false,
    }
}
