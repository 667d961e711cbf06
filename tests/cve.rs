//! One test for each published defect of the kind that this proxy could have, by its number: those of the library that dials
//! for us, of the servers that ours resemble, and of HTTP/2 itself.
//!
//! CVE-2026-2836 (one default cache key for all hosts) does not apply: there is no cache.

#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;

use sluice_harness::h1::Client;
use sluice_harness::h2::raw::{self, Outcome, kind};
use sluice_harness::origin::Then;
use sluice_harness::sluice::setup;
use sluice_harness::wait::until;
use sluice_harness::{Document, Origin, Sluice, free_address};

const SLUICE: &str = env!("CARGO_BIN_EXE_sluice");

/// Streams that an attack opens before it gives up.
const STREAMS: u32 = 20_000;
/// Requests of an attack that may reach the origin: those that may be open at once, and the resets that are borne.
const BORNE: u64 = 4_000;
/// What an attack may cost in memory.
const MEMORY: f64 = 96e6;

const END_HEADERS: u8 = 0x4;

struct Stage {
    origin: Origin,
    sluice: Sluice,
    web: SocketAddr,
}

impl Stage {
    fn new() -> Self {
        let (web, origin) = (free_address(), Origin::start("a"));
        origin.record();
        let document = Document::new()
            .listener("web", web, "")
            .region("here", "")
            .service("shop", "")
            .version("v1", 100, &[("here", &[origin.address()])])
            .route("{ host: test, path: / }", "service: shop");
        let sluice = setup(SLUICE).start(document);
        Self { origin, sluice, web }
    }

    fn client(&self) -> Client {
        Client::connect(self.web)
    }

    fn h2(&self) -> raw::Client {
        raw::Client::connect(self.web)
    }

    fn memory(&self) -> f64 {
        self.sluice.metric("process_resident_memory_bytes", &[])
    }

    /// Others are served, nothing is left of the attack, and the origin got nothing that is not plain.
    fn check(&self) {
        assert_eq!(self.client().get("/").status(), 200);
        until("what was opened is given up", || {
            (self.sluice.metric("sluice_requests_in_flight", &[]) == 0.0).then_some(())
        });
        assert_eq!(self.origin.malformed(), Vec::<String>::new());
        assert!(!self.sluice.stderr().contains("panicked"), "{}", self.sluice.stderr());
    }

    /// Opens stream after stream and does this to each, until the proxy ends the connection.
    fn flood(&self, mut attack: impl FnMut(&mut raw::Client, u32)) {
        let mut client = self.h2();
        let before = self.origin.requests();
        for stream in (1..2 * STREAMS).step_by(2) {
            client.send_head(stream, &HANG, false);
            attack(&mut client, stream);
        }
        let ended = loop {
            match client.frame() {
                None => break true,
                Some(frame) if frame.kind == kind::GOAWAY => break true,
                Some(_) => {}
            }
        };
        assert!(ended);
        let reached = self.origin.requests() - before;
        assert!(reached <= BORNE, "{reached} of {STREAMS} requests reached the origin");
        self.check();
    }
}

const HANG: [(&str, &[u8]); 4] =
    [(":method", b"GET"), (":scheme", b"http"), (":authority", b"test"), (":path", b"/hang")];

/// Rapid reset: streams that are opened and cancelled at once do not count as open, and cost what a request costs.
#[test]
fn cve_2023_44487_rapid_reset() {
    Stage::new().flood(|client, stream| client.send(kind::RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
}

/// MadeYouReset: the same, by frames for which the server must reset the stream.
#[test]
fn cve_2025_8671_made_you_reset_by_overflowing_a_window() {
    Stage::new().flood(|client, stream| client.send(8, 0, stream, &0x7fff_ffff_u32.to_be_bytes()));
}

#[test]
fn cve_2025_8671_made_you_reset_by_empty_window_updates() {
    Stage::new().flood(|client, stream| client.send(8, 0, stream, &0_u32.to_be_bytes()));
}

#[test]
fn cve_2025_8671_made_you_reset_by_data_behind_the_end() {
    Stage::new().flood(|client, stream| client.send(kind::DATA, 0, stream, b"x"));
}

#[test]
fn cve_2025_8671_made_you_reset_by_a_stream_that_depends_on_itself() {
    Stage::new().flood(|client, stream| client.send(2, 0, stream, &[stream.to_be_bytes().as_slice(), &[0]].concat()));
}

/// A head that never ends: CONTINUATION after CONTINUATION.
#[test]
fn cve_2024_27316_continuation_flood() {
    let stage = Stage::new();
    let before = stage.memory();
    for piece in [0, 1, 16_000] {
        let mut client = stage.h2();
        client.send(kind::HEADERS, 0, 1, &[0x82, 0x86, 0x84]);
        // Each piece is the middle of one long value, so that nothing of it can be judged.
        let mut block = vec![0x00, 0x01, b'x', 0x7f, 0xff, 0xff, 0xff, 0xff, 0x07];
        for _ in 0..4_000 {
            block.resize(piece, b'a');
            client.send(9, 0, 1, &block);
        }
        assert!(matches!(client.outcome(1), Outcome::GoAway(_) | Outcome::Closed | Outcome::Reset(_)), "{piece}");
    }
    assert!(stage.memory() - before < MEMORY);
    stage.check();
}

/// The same flood under its other name (VU#421644), with pieces that are whole fields.
#[test]
fn vu_421644_continuation_flood_of_whole_fields() {
    let stage = Stage::new();
    let before = stage.memory();
    let field = [&[0x00, 0x01, b'x', 0x64][..], &[b'a'; 100]].concat().repeat(150);
    let mut client = stage.h2();
    client.send(kind::HEADERS, 0, 1, &[0x82, 0x86, 0x84]);
    for _ in 0..4_000 {
        client.send(9, 0, 1, &field);
    }
    client.send(9, END_HEADERS, 1, &[]);
    assert_ne!(client.outcome(1), Outcome::Answered(200));
    assert!(stage.memory() - before < MEMORY);
    assert_eq!(stage.origin.requests(), 0);
    stage.check();
}

/// A header bomb: one large field is put into the table, then named by a byte again and again.
#[test]
fn cve_2026_105297_h2_header_bomb() {
    let stage = Stage::new();
    let before = stage.memory();
    let (mut client, mut held) = (stage.h2(), Vec::new());
    for round in 0..40_u32 {
        let stream = 2 * (round % 10) + 1;
        if stream == 1 {
            held.push(std::mem::replace(&mut client, stage.h2()));
        }
        // GET, http, /, and `test` as the authority; then `x`, which the table keeps; then 15,000 times the same.
        let mut block = vec![0x82, 0x86, 0x84, 0x01, 0x04, b't', b'e', b's', b't', 0x40, 0x01, b'x', 0x7f, 0x81, 0x1e];
        block.extend_from_slice(&[b'a'; 4_000 - 32]);
        block.truncate(15 + 3_968);
        block.extend(std::iter::repeat_n(0xbe, 12_000));
        client.send(kind::HEADERS, END_HEADERS | 1, stream, &block);
        let outcome = client.outcome(stream);
        assert!(!matches!(outcome, Outcome::Answered(200)), "{outcome:?}");
        if matches!(outcome, Outcome::GoAway(_) | Outcome::Closed) {
            client = stage.h2();
        }
    }
    assert!(stage.memory() - before < MEMORY, "{} bytes", stage.memory() - before);
    assert_eq!(stage.origin.requests(), 0);
    stage.check();
}

/// Upgrade pass-through: what follows a request for an upgrade is raw bytes only once the origin has switched.
#[test]
fn cve_2026_2833_upgrade_pass_through() {
    let stage = Stage::new();
    let upgrade = "GET / HTTP/1.1\r\nHost: test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    let mut client = stage.client();
    // The origin answers 200. The next request is for a host that no route has: passed on raw, the origin would answer it.
    client.send(format!("{upgrade}GET /smuggled HTTP/1.1\r\nHost: nowhere\r\n\r\n"));
    assert_eq!(client.response().status(), 200);
    let next = client.response();
    assert_eq!((next.status(), next.origin()), (404, ""));
    assert!(!stage.origin.seen().iter().any(|seen| seen.head.path() == "/smuggled"));
    stage.check();
}

/// The same from the other side: an origin that switches unasked does not get a tunnel.
#[test]
fn cve_2026_2833_an_upgrade_that_nobody_asked_for() {
    let stage = Stage::new();
    let switch = "HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    stage.origin.script("/switch", switch, Then::Hang);
    for request in [
        "GET /switch HTTP/1.1\r\nHost: test\r\n\r\n",
        "GET /switch HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\n\r\n",
        "POST /switch HTTP/1.1\r\nHost: test\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n",
    ] {
        let mut client = stage.client();
        client.send(format!("{request}GET /smuggled HTTP/1.1\r\nHost: nowhere\r\n\r\n"));
        assert_eq!(client.response().status(), 502, "{request:?}");
        assert_eq!(client.response().status(), 404, "{request:?}");
    }
    assert!(!stage.origin.seen().iter().any(|seen| seen.head.path() == "/smuggled"));
    stage.check();
}

/// HTTP/1.0 has no chunked coding: a body that says it has would end elsewhere for the origin than for the proxy.
#[test]
fn cve_2026_2835_transfer_encoding_in_http10() {
    let stage = Stage::new();
    for fields in ["", "Connection: keep-alive\r\n", "Content-Length: 5\r\n"] {
        for coding in ["chunked", "identity", "chunked, identity", "gzip"] {
            let mut client = stage.client();
            client.send(format!(
                "POST / HTTP/1.0\r\nHost: test\r\n{fields}Transfer-Encoding: {coding}\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: test\r\n\r\n"
            ));
            assert_eq!(client.response().status(), 400, "{fields:?} {coding}");
            assert_eq!(client.closed(), b"", "{fields:?} {coding}");
        }
    }
    // Without a length a request of HTTP/1.0 has no body, whatever follows it.
    let mut client = stage.client();
    client.send("POST / HTTP/1.0\r\nHost: test\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(client.response().status(), 200);
    assert_eq!(client.closed(), b"");
    assert!(!stage.origin.seen().iter().any(|seen| seen.head.path() == "/smuggled"));
    stage.check();
}

/// A client names in Connection what it wants removed; what origins trust, or need, is not theirs to remove.
#[test]
fn cve_2026_105299_client_nominated_connection_headers() {
    let stage = Stage::new();
    let names = [
        "Host",
        "Authorization",
        "Cookie",
        "X-Forwarded-For",
        "X-Forwarded-Proto",
        "X-Request-Id",
        "Content-Type",
        "sec-own",
    ];
    let mut client = stage.client();
    client.send(format!(
        "POST /sink HTTP/1.1\r\nHost: test\r\nConnection: {}, Content-Length, X-Mine\r\nAuthorization: Basic eA==\r\n\
         Cookie: a=b\r\nContent-Type: a/b\r\nSec-Own: c\r\nX-Mine: d\r\nContent-Length: 5\r\n\r\nhello",
        names.join(", ")
    ));
    let answer = client.response();
    assert_eq!((answer.status(), answer.text().as_str()), (200, "5"));
    let seen = stage.origin.last_seen("/sink").head;
    for name in names {
        assert_eq!(seen.all(&name.to_ascii_lowercase()).len(), 1, "{name}: {seen:?}");
    }
    assert_eq!(seen.field("x-mine"), None, "what nobody relies on is the client's to name");
    assert_eq!(seen.field("connection"), None);
    let ignored = stage.sluice.metric("sluice_connection_nominations_ignored_total", &[]);
    assert_eq!(ignored, (names.len() + 1) as f64);
    stage.check();
}
