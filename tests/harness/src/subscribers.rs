//! Simulated proxies: connections that subscribe to a control plane, say that they run whatever they are sent, and serve
//! nobody. A thousand of them cost what one real proxy does.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use h2::SendStream;
use h2::client::SendRequest;
use http::{Request, StatusCode};
use serde_json::Value;
use sluice_config::value::{Digest, Incarnation, RevisionId};
use sluice_config::wire::{Hello, PROTOCOL, Reply, Report};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::time::{MissedTickBehavior, interval};

use crate::wait::{DEADLINE, until_by};

/// Between two reports, as with a real proxy.
const REPORT: Duration = Duration::from_secs(5);

/// Room for orders on the way to one of them.
const WINDOW: u32 = 16 << 20;

/// Subscribers that are connected until this is dropped.
#[derive(Debug)]
pub struct Subscribers {
    /// It ends them.
    _runtime: Runtime,
    sizes: Arc<Mutex<Vec<usize>>>,
}

impl Subscribers {
    /// Connects so many of them, named `simulated-0` and so on, and waits until each was sent its first order.
    ///
    /// # Panics
    /// When they are not all let in.
    #[must_use]
    pub fn connect(control: SocketAddr, count: usize) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime for subscribers");
        let sizes = Arc::<Mutex<Vec<usize>>>::default();
        let (sender, began) = std::sync::mpsc::channel();
        for number in 0..count {
            let subscriber =
                Subscriber { number, sizes: (number == 0).then(|| Arc::clone(&sizes)), sender: sender.clone() };
            runtime.spawn(subscriber.run(control));
        }
        for _ in 0..count {
            began.recv_timeout(DEADLINE * 3).expect("every subscriber is sent an order");
        }
        Self { _runtime: runtime, sizes }
    }

    /// The bytes of each order that one of them was sent, once there are at least so many.
    ///
    /// # Panics
    /// When they do not come.
    #[must_use]
    pub fn sizes(&self, orders: usize) -> Vec<usize> {
        until_by(&format!("{orders} orders"), DEADLINE, || {
            let sizes = self.sizes.lock().unwrap_or_else(PoisonError::into_inner).clone();
            (sizes.len() >= orders).then_some(sizes)
        })
    }
}

struct Subscriber {
    number: usize,
    /// Where the sizes of its orders are taken down.
    sizes: Option<Arc<Mutex<Vec<usize>>>>,
    /// Told of its first order.
    sender: std::sync::mpsc::Sender<()>,
}

impl Subscriber {
    async fn run(self, control: SocketAddr) {
        let requests = connect(control).await;
        let hello = Hello {
            protocol: PROTOCOL,
            node: format!("simulated-{}", self.number).parse().expect("letters and digits are a name"),
            incarnation: Incarnation::from_bits(self.number as u64 + 1),
            region: None,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            runs: None,
        };
        let request =
            Request::post(format!("http://{control}/v1/subscribe")).header("content-type", "application/x-ndjson");
        let request = request.body(()).expect("a plain request");
        let mut ready = requests.ready().await.expect("a connection that was just made");
        let (response, mut replies) = ready.send_request(request, false).expect("a stream on a new connection");
        say(&mut replies, &Reply::Hello(hello));
        let response = response.await.expect("the control plane answers");
        assert_eq!(response.status(), StatusCode::OK, "subscriber {}", self.number);
        self.follow(response.into_body(), replies).await;
    }

    async fn follow(self, mut orders: h2::RecvStream, mut replies: SendStream<Bytes>) {
        let (mut line, mut sequence, mut told) = (Vec::new(), 0, false);
        let mut reports = interval(REPORT);
        reports.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                data = orders.data() => match data {
                    Some(Ok(data)) => {
                        // What was read makes room for more; a stream that has ended needs none.
                        drop(orders.flow_control().release_capacity(data.len()));
                        line.extend_from_slice(&data);
                        while let Some(end) = line.iter().position(|byte| *byte == b'\n') {
                            let order: Vec<u8> = line.drain(..=end).collect();
                            say(&mut replies, &acknowledged(&order));
                            self.note(order.len());
                            if !std::mem::replace(&mut told, true) {
                                // Nobody may wait for it any more.
                                let _ = self.sender.send(());
                            }
                        }
                    }
                    Some(Err(_)) | None => return,
                },
                _ = reports.tick() => {
                    sequence += 1;
                    say(&mut replies, &Reply::Report(Report { sequence, pools: Vec::new() }));
                }
            }
        }
    }

    fn note(&self, size: usize) {
        if let Some(sizes) = &self.sizes {
            sizes.lock().unwrap_or_else(PoisonError::into_inner).push(size);
        }
    }
}

async fn connect(control: SocketAddr) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(control).await.expect("the control plane listens");
    stream.set_nodelay(true).expect("a TCP socket takes the option");
    let builder = h2::client::Builder::new().initial_window_size(WINDOW).initial_connection_window_size(WINDOW).clone();
    let (requests, connection) = builder.handshake(stream).await.expect("the control plane speaks HTTP/2");
    tokio::spawn(connection);
    requests
}

/// That it runs what an order says.
fn acknowledged(order: &[u8]) -> Reply {
    let order: Value = serde_json::from_slice(order).expect("an order is JSON");
    let about = order.get("revision").or_else(|| order.get("delta")).expect("an order is a revision or a difference");
    let id = about["id"].as_u64().map(RevisionId).expect("an order has a number");
    let digest: Digest = serde_json::from_value(about["digest"].clone()).expect("an order has a digest");
    Reply::Ack { id, digest }
}

/// Small messages, which always have room.
fn say(replies: &mut SendStream<Bytes>, reply: &Reply) {
    let mut line = serde_json::to_vec(reply).expect("a reply has text keys only");
    line.push(b'\n');
    // A control plane that went away hears nothing.
    drop(replies.send_data(line.into(), false));
}
