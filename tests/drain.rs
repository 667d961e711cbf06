//! SIGTERM: nothing that was asked is lost, and the process leaves as soon as it has nothing left to do.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use http::Method;
use sluice_harness::h1::Client;
use sluice_harness::h2;
use sluice_harness::load::Load;
use sluice_harness::sluice::setup;
use sluice_harness::wait::until;
use sluice_harness::{Document, Origin, Sluice, free_address};

const SLUICE: &str = env!("CARGO_BIN_EXE_sluice");

/// Far above what a drain of nothing takes, far below the deadlines that the documents set.
const SOON: Duration = Duration::from_secs(10);

struct Stage {
    origin: Origin,
    sluice: Sluice,
    web: SocketAddr,
}

impl Stage {
    fn new(drain: &str) -> Self {
        let (web, origin) = (free_address(), Origin::start("a"));
        let document = Document::simple(web, origin.address()).setting(&format!("drain: {{ {drain} }}"));
        let sluice = setup(SLUICE).workers(2).start(document);
        Self { origin, sluice, web }
    }

    /// Ends with exit code 0 within this time.
    fn wait_exit(&mut self, deadline: Duration) {
        assert_eq!(self.sluice.wait_exit(deadline).code(), Some(0), "{}", self.sluice.stderr());
    }

    fn wait_requests(&self, count: u64) {
        until("the origin has the requests", || (self.origin.requests() >= count).then_some(()));
    }

    fn wait_refused(&self) {
        until("new connections are refused", || TcpStream::connect(self.web).is_err().then_some(()));
    }
}

/// Guarantee 1: keep-alive clients at full speed see their last answers; after them only connections are refused.
#[test]
fn a_drain_under_load_fails_no_request() {
    let mut stage = Stage::new("deadline: 60s");
    let load = Load::new(stage.web).connections(64).rate(3_000.0).start();
    load.wait_good(3_000);
    stage.sluice.begin_drain();
    stage.wait_exit(Duration::from_secs(30));
    let report = load.finish();
    println!("{report}");
    assert_eq!(report.failed(), report.failed_by("connect"), "{report}");
    assert_eq!(stage.origin.malformed(), Vec::<String>::new());
}

/// A connection that never rests is told to close with its next answer.
#[test]
fn a_busy_connection_is_told_to_close() {
    let mut stage = Stage::new("deadline: 60s");
    let mut client = Client::connect(stage.web);
    client.send("GET /delay/1000 HTTP/1.1\r\nHost: t\r\n\r\n");
    stage.wait_requests(1);
    stage.sluice.begin_drain();
    let response = client.response();
    assert_eq!(response.status(), 200);
    assert!(response.head.closes(), "{:?}", response.head);
    assert_eq!(client.closed(), b"");
    stage.wait_exit(SOON);
}

/// A request that was on its way when the drain began is answered: an idle connection lingers for one more.
#[test]
fn an_idle_connection_may_ask_once_more() {
    let mut stage = Stage::new("deadline: 60s, linger: 5s");
    let mut client = Client::connect(stage.web);
    assert_eq!(client.get("/").status(), 200);
    stage.sluice.begin_drain();
    stage.wait_refused();
    let response = client.get("/");
    assert!(response.status() == 200 && response.head.closes(), "{:?}", response.head);
    stage.wait_exit(SOON);
}

/// Browsers and balancers open connections ahead of need: such a one lingers like an idle one and does not hold the drain.
#[test]
fn a_connection_that_never_sent_a_byte_does_not_hold_the_drain() {
    let mut stage = Stage::new("deadline: 60s");
    let silent = TcpStream::connect(stage.web).unwrap();
    stage.sluice.wait_metric("sluice_connections", &[("listener", "web")], 1.0);
    stage.sluice.begin_drain();
    stage.wait_exit(SOON);
    drop(silent);
}

#[test]
fn h2_gets_a_goaway_and_its_stream_finishes() {
    let mut stage = Stage::new("deadline: 60s");
    let mut client = h2::Client::connect(stage.web);
    let exchange = client.begin(h2::request(Method::GET, "/delay/1500"), false).unwrap();
    stage.wait_requests(1);
    let start = Instant::now();
    stage.sluice.begin_drain();
    stage.wait_refused();
    let response = client.response(exchange).unwrap();
    assert_eq!((response.status.as_u16(), response.body.as_slice()), (200, &b"a"[..]));
    assert!(start.elapsed() >= Duration::from_secs(1), "the stream was open when the drain began");
    let reason = client.closed(SOON);
    assert!(matches!(reason, None | Some(::h2::Reason::NO_ERROR)), "{reason:?}");
    stage.wait_exit(SOON);
}

#[test]
fn an_idle_h2_connection_ends_at_once() {
    let mut stage = Stage::new("deadline: 60s");
    let mut client = h2::Client::connect(stage.web);
    assert_eq!(client.get("/").status, 200);
    stage.sluice.begin_drain();
    let reason = client.closed(SOON);
    assert!(matches!(reason, None | Some(::h2::Reason::NO_ERROR)), "{reason:?}");
    stage.wait_exit(SOON);
}

/// As soon as it is empty, not at the deadline.
#[test]
fn an_empty_process_leaves_at_once() {
    let mut stage = Stage::new("deadline: 10m, linger: 200ms");
    let mut idle = Client::connect(stage.web);
    assert_eq!(idle.get("/").status(), 200);
    stage.sluice.begin_drain();
    stage.wait_exit(SOON);
    assert_eq!(idle.closed(), b"");
}

/// New connections go elsewhere while what is open is finished, and the load balancer in front is told.
#[test]
fn a_draining_process_is_not_ready_and_accepts_nothing() {
    let mut stage = Stage::new("deadline: 60s");
    let mut client = Client::connect(stage.web);
    client.send("GET /delay/2000 HTTP/1.1\r\nHost: t\r\n\r\n");
    stage.wait_requests(1);
    stage.sluice.begin_drain();
    stage.wait_refused();
    assert_eq!(stage.sluice.ask("/ready").map(|response| response.status()), Some(503));
    assert_eq!(stage.sluice.ask("/live").map(|response| response.status()), Some(200));
    assert_eq!(client.response().status(), 200);
    stage.wait_exit(SOON);
}

/// A balancer that asks every few seconds must hear of it before the listeners close; until then nothing changes for clients.
#[test]
fn a_delay_comes_before_the_drain() {
    let mut stage = Stage::new("delay: 2s, deadline: 60s");
    let mut open = Client::connect(stage.web);
    let start = Instant::now();
    stage.sluice.begin_drain();
    until("it is not ready", || (stage.sluice.ask("/ready")?.status() == 503).then_some(()));
    stage.sluice.wait_metric("sluice_draining", &[], 1.0);
    let answers = [open.get("/"), Client::connect(stage.web).get("/")];
    if start.elapsed() < Duration::from_secs(2) {
        assert!(answers.iter().all(|answer| answer.status() == 200 && !answer.head.closes()), "{answers:?}");
    }
    stage.wait_refused();
    assert!(start.elapsed() >= Duration::from_secs(2), "closed after {:?}", start.elapsed());
    stage.wait_exit(SOON);
}

#[test]
fn a_second_signal_ends_the_delay_and_cuts() {
    let mut stage = Stage::new("delay: 10m, deadline: 10m");
    let mut hanging = Client::connect(stage.web);
    hanging.send("GET /hang HTTP/1.1\r\nHost: t\r\n\r\n");
    stage.wait_requests(1);
    stage.sluice.begin_drain();
    stage.sluice.wait_metric("sluice_draining", &[], 1.0);
    stage.sluice.begin_drain();
    stage.wait_exit(SOON);
}

/// What does not end by the deadline is cut, and that is no failure of the process.
#[test]
fn the_deadline_cuts_what_is_left() {
    let mut stage = Stage::new("deadline: 1s");
    let mut hanging = Client::connect(stage.web);
    hanging.send("GET /hang HTTP/1.1\r\nHost: t\r\n\r\n");
    let mut tunnel = Client::connect(stage.web);
    tunnel.send("GET /tunnel HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n");
    assert_eq!(tunnel.try_head().unwrap().status, 101);
    stage.wait_requests(2);
    let start = Instant::now();
    stage.sluice.begin_drain();
    stage.wait_exit(SOON);
    assert!(start.elapsed() >= Duration::from_millis(900), "cut after {:?}", start.elapsed());
    assert!(hanging.try_response("GET").map_or(true, |response| response.status() >= 500));
    tunnel.closed();
}
