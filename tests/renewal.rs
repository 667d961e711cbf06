//! Guarantee 1 for certificates: they are renewed under load, no request is lost, and what is open stays open.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use sluice_harness::control::Authority;
use sluice_harness::h1::Client;
use sluice_harness::load::Load;
use sluice_harness::sluice::setup;
use sluice_harness::{Document, Origin, Veil, free_address};

const SLUICE: &str = env!("CARGO_BIN_EXE_sluice");

/// A tunnel that is open; what is sent comes back.
struct Tunnel(Client);

impl Tunnel {
    fn open(veil: &Veil) -> Self {
        let mut client = Client::connect(veil.address());
        client.send(
            "GET /tunnel HTTP/1.1\r\nHost: test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        );
        assert_eq!(client.try_head().unwrap().status, 101);
        Self(client)
    }

    fn check(&mut self) {
        self.0.send("still here");
        assert_eq!(self.0.raw(10), b"still here");
    }
}

/// Connections end after 20 requests, so that handshakes go on all the time. `SLUICE_FULL`: 5,000 requests a second.
#[test]
fn certificates_are_renewed_under_load_and_no_request_fails() {
    let full = std::env::var_os("SLUICE_FULL").is_some();
    let (rate, renewals) = if full { (5_000.0, 20) } else { (500.0, 4) };
    let (authority, origin) = (Authority::new(), Origin::start("a"));
    authority.issue("site", &["test"]);
    let (secure, pem, key) = (free_address(), authority.file("site.pem"), authority.file("site.key"));
    let pair = format!("{{ cert: {}, key: {} }}", pem.display(), key.display());
    let settings = format!("limits: {{ requests_per_connection: 20 }}, tls: {{ certificates: [{pair}] }}");
    let document = |weight| {
        Document::new()
            .listener("web", secure, &settings)
            .region("here", "")
            .service("shop", "")
            .version("v1", weight, &[("here", &[origin.address()])])
            .route("{ path: / }", "service: shop")
    };
    let sluice = setup(SLUICE).workers(2).start(document(100));
    let veils =
        [Veil::start(&authority, secure, "test", "http/1.1"), Veil::start(&authority, secure, "test", "http/1.1")];
    let mut tunnel = Tunnel::open(&veils[1]);
    let load = Load::new(veils[0].address()).connections(16).rate(rate).start();
    for renewal in 1..=renewals {
        authority.issue("site", &["test"]);
        sluice.hang_up();
        sluice.wait_metric("sluice_certificate_reloads_total", &[("result", "ok")], f64::from(renewal));
        load.wait_good(if full { 2_000 } else { 100 });
        tunnel.check();
    }
    sluice.change(document(50));
    tunnel.check();
    let report = load.finish();
    report.assert_clean();
    let handshakes = sluice.metric("sluice_tls_handshakes_total", &[("result", "ok")])
        + sluice.metric("sluice_tls_handshakes_total", &[("result", "resumed")]);
    println!("{report}; {renewals} renewals, {handshakes} handshakes");
    assert!(handshakes > 2.0, "{handshakes} handshakes");
}
