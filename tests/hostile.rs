//! Guarantee 11: hostile input costs the sender, not us. Who is slow or takes too much is cut off, and the rest is served.
//! What is malformed has a suite of its own.

#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use sluice_harness::h1::Client;
use sluice_harness::h2::{self, raw};
use sluice_harness::origin::Then;
use sluice_harness::sluice::setup;
use sluice_harness::wait::until;
use sluice_harness::{Document, Failure, Origin, Sluice, free_address};

const SLUICE: &str = env!("CARGO_BIN_EXE_sluice");

struct Stage {
    origin: Origin,
    sluice: Sluice,
    web: SocketAddr,
}

impl Stage {
    /// With these limits of the listener, in flow style.
    fn new(limits: &str) -> Self {
        let (web, origin) = (free_address(), Origin::start("a"));
        let document = Document::new()
            .listener("web", web, &format!("limits: {{ {limits} }}"))
            .region("here", "")
            .service("shop", "")
            .version("v1", 100, &[("here", &[origin.address()])])
            .route("{ path: / }", "service: shop");
        let sluice = setup(SLUICE).start(document);
        Self { origin, sluice, web }
    }

    fn client(&self) -> Client {
        Client::connect(self.web)
    }

    /// Others are served, and the origin got nothing that is not plain.
    fn check(&self) {
        assert_eq!(self.client().get("/").status(), 200);
        assert_eq!(self.origin.malformed(), Vec::<String>::new());
        assert!(!self.sluice.stderr().contains("panicked"), "{}", self.sluice.stderr());
    }
}

/// The deadline is for the whole head: a byte now and then does not put it off.
#[test]
fn a_head_that_trickles_is_cut_off() {
    let stage = Stage::new("header_timeout: 500ms, keep_alive: 60s");
    let mut client = stage.client();
    let start = Instant::now();
    client.set_patience(Duration::from_millis(50));
    client.send("GET / HTTP/1.1\r\nX: ");
    let answer = loop {
        match client.try_response("GET") {
            Err(Failure::Timeout) => drop(client.try_send("a")),
            other => break other.map(|response| response.status()),
        }
        assert!(start.elapsed() < Duration::from_secs(10), "still open");
    };
    let waited = start.elapsed();
    assert!(matches!(answer, Ok(408) | Err(Failure::Closed | Failure::Reset)), "{answer:?}");
    assert!(waited >= Duration::from_millis(450), "cut off after {waited:?}");
    stage.check();
}

/// The same for the head of a second request, and for HTTP/2's preface.
#[test]
fn a_half_head_or_preface_is_cut_off() {
    let stage = Stage::new("header_timeout: 300ms, keep_alive: 60s");
    let mut client = stage.client();
    assert_eq!(client.get("/").status(), 200);
    client.send("GET / HT");
    client.set_patience(Duration::from_secs(10));
    client.closed();
    let mut client = stage.client();
    client.set_patience(Duration::from_secs(10));
    client.send("PRI * HTTP/2.0\r\n\r\nSM");
    client.closed();
    stage.check();
}

#[test]
fn a_silent_connection_is_closed_at_keep_alive() {
    let stage = Stage::new("keep_alive: 300ms, header_timeout: 60s");
    let (mut fresh, mut used) = (stage.client(), stage.client());
    assert_eq!(used.get("/").status(), 200);
    let start = Instant::now();
    assert_eq!((fresh.closed(), used.closed()), (Vec::new(), Vec::new()));
    assert!(start.elapsed() < Duration::from_secs(10));
    let mut silent = h2::Client::connect(stage.web);
    assert_eq!(silent.get("/").status, 200);
    silent.closed(Duration::from_secs(10));
    stage.check();
}

/// A connection that asks now and then is not silent.
#[test]
fn a_connection_in_use_outlives_keep_alive() {
    let stage = Stage::new("keep_alive: 400ms");
    let mut client = stage.client();
    for _ in 0..8 {
        assert_eq!(client.get("/delay/100").status(), 200);
    }
}

#[test]
fn a_head_that_is_too_large_is_refused() {
    let stage = Stage::new("header_bytes: 4KiB, header_count: 20");
    let ask = |request: String| {
        let mut client = stage.client();
        client.send(request);
        let status = client.try_response("GET").map(|response| response.status());
        assert_eq!(client.closed(), b"");
        status
    };
    let long = "x".repeat(5_000);
    assert_eq!(ask(format!("GET / HTTP/1.1\r\nHost: t\r\nX: {long}\r\n\r\n")), Ok(431));
    assert_eq!(ask(format!("GET / HTTP/1.1\r\nHost: t\r\nX: {long}")), Ok(431), "without waiting for its end");
    assert!(matches!(ask(format!("GET /{long} HTTP/1.1\r\nHost: t\r\n\r\n")), Ok(414 | 431)));
    assert_eq!(ask(format!("GET / HTTP/1.1\r\nHost: t\r\n{}\r\n", "X: y\r\n".repeat(20))), Ok(431));
    let mut client = stage.client();
    let within = format!("GET / HTTP/1.1\r\nHost: t\r\n{}\r\n", "X: y\r\n".repeat(19));
    assert_eq!(client.exchange(&within).status(), 200);
    stage.check();
}

#[test]
fn an_h2_head_that_is_too_large_is_refused() {
    let stage = Stage::new("header_bytes: 4KiB, header_count: 20");
    let large = "x".repeat(5_000);
    let plain: [(&str, &[u8]); 4] = [(":method", b"GET"), (":scheme", b"http"), (":authority", b"t"), (":path", b"/")];
    let ask = |more: &[(&str, &[u8])]| {
        let mut client = raw::Client::connect(stage.web);
        client.send_head(1, &[&plain, more].concat(), false);
        client.outcome(1)
    };
    assert_eq!(ask(&[]), raw::Outcome::Answered(200));
    assert_ne!(ask(&[("x", large.as_bytes())]), raw::Outcome::Answered(200));
    assert_ne!(ask(&[("x", &b"y"[..]); 21]), raw::Outcome::Answered(200));
    stage.check();
}

/// Connections above the limit wait while all others carry a request; they are served as soon as one leaves.
#[test]
fn connections_above_the_limit_wait_their_turn() {
    let stage = Stage::new("connections: 4");
    let mut held: Vec<Client> = (0..4).map(|_| stage.client()).collect();
    for client in &mut held {
        client.send("GET /hang HTTP/1.1\r\nHost: t\r\n\r\n");
    }
    until("all hang", || (stage.sluice.metric("sluice_requests_in_flight", &[]) == 4.0).then_some(()));
    let mut late = stage.client();
    late.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n");
    late.set_patience(Duration::from_millis(1_500));
    assert_eq!(late.try_response("GET").map(|r| r.status()), Err(Failure::Timeout), "the limit holds");
    drop(held.pop());
    late.set_patience(Duration::from_secs(20));
    assert_eq!(late.response().status(), 200);
}

/// Rapid reset: streams opened and cancelled at once are the sender's cost.
#[test]
fn rapid_resets_end_the_connection() {
    let stage = Stage::new("connections: 1000");
    let plain: [(&str, &[u8]); 4] =
        [(":method", b"GET"), (":scheme", b"http"), (":authority", b"t"), (":path", b"/hang")];
    let mut client = raw::Client::connect(stage.web);
    for stream in (1..40_000).step_by(2) {
        client.send_head(stream, &plain, false);
        client.send(raw::kind::RST_STREAM, 0, stream, &8_u32.to_be_bytes());
    }
    let ended = loop {
        match client.frame() {
            None => break true,
            Some(frame) if frame.kind == raw::kind::GOAWAY => break true,
            Some(_) => {}
        }
    };
    assert!(ended);
    until("what was opened is given up", || {
        (stage.sluice.metric("sluice_requests_in_flight", &[]) == 0.0).then_some(())
    });
    stage.check();
}

/// Binary junk of every kind and length, cut anywhere: no hang, no panic, and others are served.
#[test]
fn junk_is_survived() {
    let stage = Stage::new("header_timeout: 500ms, keep_alive: 1s");
    let request =
        b"POST /sink HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\nX: y\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let mut state = 0x9e37_79b9_u32;
    for _ in 0..300 {
        let mut bytes = request.to_vec();
        for _ in 0..3 {
            // Xorshift: any sequence will do, as long as a failure can be had again.
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            let at = state as usize % bytes.len();
            bytes[at] = (state >> 16) as u8;
        }
        let mut client = stage.client();
        // The proxy may close while the junk is still on its way.
        drop(client.try_send(&bytes));
        client.finish();
        client.closed();
    }
    assert_eq!(stage.client().get("/").status(), 200);
    assert_eq!(stage.origin.malformed(), Vec::<String>::new());
}

/// The buffers of a large head are given back: who waits holds none.
#[test]
fn idle_connections_do_not_keep_large_heads() {
    let stage = Stage::new("connections: 10000, keep_alive: 60s");
    let head = format!("GET / HTTP/1.1\r\nHost: t\r\nX: {}\r\n\r\n", "x".repeat(30_000));
    assert_eq!(stage.client().exchange(&head).status(), 200);
    let memory = || stage.sluice.metric("process_resident_memory_bytes", &[]);
    let before = memory();
    let held: Vec<Client> = (0..600)
        .map(|_| {
            let mut client = stage.client();
            assert_eq!(client.exchange(&head).status(), 200);
            client
        })
        .collect();
    let each = (memory() - before) / held.len() as f64;
    assert!(each < 24_000.0, "{each} bytes for each waiting connection");
    stage.check();
}

/// No window bounds heads over HTTP/2: interim answers without end would wait in memory for a client that reads nothing.
#[test]
fn an_origin_that_floods_with_interim_answers_is_given_up() {
    let stage = Stage::new("keep_alive: 60s");
    let hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    let last = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    stage.origin.script("/few", [&hints.repeat(32)[..], last].concat(), Then::Keep);
    stage.origin.script("/flood", [&hints.repeat(33)[..], last].concat(), Then::Keep);
    let few = stage.client().get("/few");
    assert_eq!((few.status(), few.interim.len()), (200, 32));
    assert_eq!(stage.client().get("/flood").status(), 502);
    stage.check();
}
