//! Guarantee 11: hostile input costs the sender, not us. Each malformed request gets its status and its connection is
//! closed; nothing of it reaches the origin; who is slow or takes too much is cut off, and the rest is served.

#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use sluice_harness::h1::Client;
use sluice_harness::h2::{self, raw};
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

/// Requests whose head is refused, and the status of the refusal.
const MALFORMED: &[(&str, u16)] = &[
    ("GET / HTTP/1.1\nHost: t\n\n", 400),
    ("GET / HTTP/1.1\r\nHost: t\nX: y\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: t\r\nX: a\rb\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: t\r\nX: a\0b\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: t\r\nX: a\x01b\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: t\r\nX: a\r\n folded\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\n Host: t\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost : t\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: t\r\nX\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: t\r\n: empty\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: t\r\nX(y): z\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: t\r\nHost: t\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: user@t\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: t/path\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: t:port\r\n\r\n", 400),
    ("GET http://user@t/ HTTP/1.1\r\nHost: t\r\n\r\n", 400),
    ("GET /a b HTTP/1.1\r\nHost: t\r\n\r\n", 400),
    ("GET /\x7f HTTP/1.1\r\nHost: t\r\n\r\n", 400),
    ("GET no-slash HTTP/1.1\r\nHost: t\r\n\r\n", 400),
    ("GET  / HTTP/1.1\r\nHost: t\r\n\r\n", 400),
    ("GET /\r\nHost: t\r\n\r\n", 400),
    ("GE(T / HTTP/1.1\r\nHost: t\r\n\r\n", 400),
    ("GET / http/1.1\r\nHost: t\r\n\r\n", 400),
    ("GET / HTTP/1.1 \r\nHost: t\r\n\r\n", 400),
    ("GET / HTTP/3.0\r\nHost: t\r\n\r\n", 505),
    ("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400),
    ("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 1, 2\r\n\r\nab", 400),
    ("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: +1\r\n\r\na", 400),
    ("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: -1\r\n\r\na", 400),
    ("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 0x1\r\n\r\na", 400),
    ("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 1 1\r\n\r\na", 400),
    ("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: \r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 99999999999999999999999\r\n\r\na", 400),
    ("POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunke\r\n\r\n0\r\n\r\n", 501),
    ("POST / HTTP/1.0\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n", 400),
    ("PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", 505),
];

#[test]
fn a_malformed_head_gets_its_status_and_the_connection_is_closed() {
    let stage = Stage::new("connections: 1000");
    let before = stage.origin.requests();
    let mut wrong = Vec::new();
    for (request, status) in MALFORMED {
        let mut client = stage.client();
        // What follows must not be taken for a request of its own.
        client.send(format!("{request}GET /smuggled HTTP/1.1\r\nHost: t\r\n\r\n"));
        let answer = client.try_response("GET").map(|response| response.status());
        let rest = client.closed();
        if answer != Ok(*status) || !rest.is_empty() {
            wrong.push(format!("{request:?}: {answer:?}, then {:?}", String::from_utf8_lossy(&rest)));
        }
    }
    assert!(wrong.is_empty(), "{} of {} wrong:\n{}", wrong.len(), MALFORMED.len(), wrong.join("\n"));
    assert_eq!(stage.origin.requests(), before, "nothing reached the origin");
    stage.check();
}

/// Bodies that break their framing.
const BROKEN_CHUNKS: &[&str] = &[
    "g\r\n",
    "5\nhello\r\n0\r\n\r\n",
    "5\r\nhello0\r\n\r\n",
    "5\r\nhelloXX0\r\n\r\n",
    "-5\r\nhello\r\n0\r\n\r\n",
    "0x5\r\nhello\r\n0\r\n\r\n",
    " 5\r\nhello\r\n0\r\n\r\n",
    "5 \r\nhello\r\n0\r\n\r\n",
    "ffffffffffffffffff\r\nhello\r\n0\r\n\r\n",
    "\r\nhello\r\n0\r\n\r\n",
    "5;a\nb\r\nhello\r\n0\r\n\r\n",
    "0\r\nbad trailer\r\n\r\n",
    "0\r\nX : y\r\n\r\n",
];

/// The origin must never take a broken body for a whole one, nor the rest of it for a request.
#[test]
fn a_broken_chunk_ends_the_connection_on_both_sides() {
    let stage = Stage::new("connections: 1000");
    for chunks in BROKEN_CHUNKS {
        let mut client = stage.client();
        let head = "POST /sink HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n";
        client.send(format!("{head}{chunks}GET /smuggled HTTP/1.1\r\nHost: t\r\n\r\n"));
        match client.try_response("POST") {
            Ok(response) => assert_eq!(response.status(), 400, "{chunks:?}"),
            Err(failure) => assert!(matches!(failure, Failure::Closed | Failure::Reset), "{chunks:?}: {failure}"),
        }
        assert_eq!(client.closed(), b"", "{chunks:?}");
    }
    stage.check();
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
