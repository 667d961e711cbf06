//! Origins by HTTP/2 and by TLS: what passes, how connections are shared and ended, and which certificates are trusted.

#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use sluice_harness::control::Authority;
use sluice_harness::h1::Client;
use sluice_harness::h2;
use sluice_harness::h2::raw::{ACK, frame, kind};
use sluice_harness::load::Load;
use sluice_harness::origin::answer::pattern;
use sluice_harness::origin::h2::Manner;
use sluice_harness::origin::{Front, H2Origin, Hands};
use sluice_harness::sluice::{Ran, command, setup};
use sluice_harness::tool::tool;
use sluice_harness::wait::until;
use sluice_harness::{Body, Document, Origin, Sluice, free_address};

const SLUICE: &str = env!("CARGO_BIN_EXE_sluice");

fn document(web: SocketAddr, settings: &str, endpoints: &[SocketAddr]) -> Document {
    Document::new()
        .listener("web", web, "")
        .region("here", "")
        .service("shop", settings)
        .version("v1", 100, &[("here", endpoints)])
        .route("{ path: / }", "service: shop")
}

fn start(settings: &str, endpoints: &[SocketAddr]) -> (Sluice, SocketAddr) {
    let web = free_address();
    (setup(SLUICE).start(document(web, settings, endpoints)), web)
}

/// One origin of HTTP/2 without TLS behind one proxy.
struct Stage {
    origin: H2Origin,
    sluice: Sluice,
    web: SocketAddr,
}

impl Stage {
    fn new() -> Self {
        Self::with(Manner::default(), "")
    }

    fn with(manner: Manner, settings: &str) -> Self {
        let origin = H2Origin::start("a", manner);
        let (sluice, web) = start(&format!("protocol: http2{settings}"), &[origin.address()]);
        Self { origin, sluice, web }
    }

    fn client(&self) -> Client {
        Client::connect(self.web)
    }

    fn h2(&self) -> h2::Client {
        h2::Client::connect(self.web)
    }
}

#[test]
fn requests_of_both_protocols_share_one_connection() {
    let stage = Stage::new();
    let mut client = stage.client();
    for _ in 0..3 {
        let response = client.get("/bytes/100000");
        assert_eq!((response.status(), response.body.len()), (200, 100_000));
    }
    let response = stage.h2().get("/seen?a=b{c}");
    let seen = String::from_utf8(response.body).unwrap();
    assert!(seen.starts_with("GET http://test/seen?a=b{c}\n"), "{seen}");
    assert!(seen.contains("x-forwarded-for: 127.0.0.1\n") && !seen.contains("\nhost:"), "{seen}");
    assert_eq!((client.get("/status/204").status(), client.get("/status/404").status()), (204, 404));
    assert_eq!(client.exchange("HEAD /bytes/5 HTTP/1.1\r\nHost: t\r\n\r\n").status(), 200);
    assert_eq!(client.get("/").text(), "a", "in step behind a HEAD");
    assert_eq!(stage.origin.connections(), 1);
    let open = |protocol: &str| stage.sluice.metric("sluice_upstream_connections_open", &[("protocol", protocol)]);
    assert_eq!((open("http2"), open("http1")), (1.0, 0.0));
}

#[test]
fn trailers_and_hints_pass() {
    let stage = Stage::new();
    let mut client = stage.client();
    let response = client.exchange(
        "POST /echo HTTP/1.1\r\nHost: t\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\r\n\
         5\r\nhello\r\n0\r\nx-sum: 17\r\n\r\n",
    );
    assert_eq!((response.status(), response.text()), (200, "hello".to_owned()));
    let trailers: Vec<_> = response.trailers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert!(trailers.contains(&("x-sum", "17")) && trailers.contains(&("x-length", "5")), "{trailers:?}");
    let seen = stage.origin.last_seen("/echo");
    assert!(seen.trailers["x-sum"] == "17" && seen.head.headers()["te"] == "trailers", "{seen:?}");
    let hinted = client.get("/hints");
    assert_eq!(hinted.interim.iter().map(|head| head.status).collect::<Vec<_>>(), [103]);
    assert_eq!(hinted.text(), "a");
}

/// As gRPC has it: trailers behind a body, and an answer that is a head and nothing else.
#[test]
fn trailers_of_grpc_pass_and_an_answer_that_is_only_a_head_stays_one() {
    let stage = Stage::new();
    let mut client = stage.h2();
    let answer = client.get("/trailers");
    assert_eq!(answer.trailers.unwrap()["grpc-status"], "0");
    let mut exchange = client.begin(h2::request(Method::GET, "/only-trailers"), false).unwrap();
    let head = client.block_on(exchange.head()).unwrap();
    assert_eq!(head.headers()["grpc-status"], "7");
    assert!(head.body().is_end_stream(), "the stream ends with its head");
    let mut client = stage.client();
    let response = client.get("/only-trailers");
    assert_eq!((response.status(), response.head.field("content-length")), (200, Some("0")));
    assert_eq!(client.get("/").text(), "a", "the connection is in step");
}

const TEN_MEGABYTES: usize = 10 << 20;

#[test]
fn ten_megabytes_pass_while_the_answer_comes() {
    let stage = Stage::new();
    let sent = pattern(TEN_MEGABYTES);
    let mut client = stage.client();
    client.send(format!("POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: {TEN_MEGABYTES}\r\n\r\n"));
    let mut sender = client.sender();
    let upload = thread::spawn(move || sender.write_all(&pattern(TEN_MEGABYTES)));
    let head = client.try_head().unwrap();
    let (mut body, mut received) = (Body::of_response(&head, "POST").unwrap(), Vec::new());
    client.read_body(&mut body, &mut received).unwrap();
    upload.join().unwrap().unwrap();
    assert!(received == sent, "{} bytes came back", received.len());
    let mut client = stage.h2();
    let mut exchange = client.begin(h2::request(Method::POST, "/echo"), true).unwrap();
    let received = client.block_on(async {
        let sent = Bytes::from(sent.clone());
        h2::send(&mut exchange.body, sent.slice(..1_000), false).await.unwrap();
        let (mut answer, mut received) = (exchange.head().await.unwrap().into_body(), Vec::new());
        let upload = h2::send(&mut exchange.body, sent.slice(1_000..), true);
        let download = async {
            while let Some(piece) = h2::data(&mut answer).await.unwrap() {
                received.extend_from_slice(&piece);
            }
        };
        tokio::join!(async { upload.await.unwrap() }, download);
        received
    });
    assert!(received == sent, "{} bytes came back", received.len());
}

#[test]
fn an_early_answer_is_whole() {
    let stage = Stage::new();
    let mut client = stage.client();
    client.send("POST /early HTTP/1.1\r\nHost: t\r\nContent-Length: 1000000\r\n\r\n").send([b'x'; 1_000]);
    let response = client.try_response("POST").unwrap();
    assert_eq!((response.status(), response.text()), (200, "early".to_owned()));
    assert_eq!(stage.client().get("/").status(), 200);
}

#[test]
fn a_client_that_leaves_cancels_its_stream_and_no_other() {
    let stage = Stage::new();
    let mut other = stage.client();
    other.send("GET /delay/300 HTTP/1.1\r\nHost: t\r\n\r\n");
    let mut client = stage.client();
    client.send("GET /hang HTTP/1.1\r\nHost: t\r\n\r\n");
    drop(stage.origin.last_seen("/hang"));
    drop(client);
    until("the origin sees the cancelled stream", || (stage.origin.cancelled() == 1).then_some(()));
    assert_eq!(other.response().text(), "a");
    assert_eq!(stage.origin.connections(), 1);
}

#[test]
fn resets_are_told_as_what_they_are() {
    let stage = Stage::with(Manner::default(), ", timeouts: { per_try: 2s }");
    let mut client = stage.client();
    let response = client.exchange("POST /reset HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n\r\n");
    assert!(response.status() == 502 && response.text().contains("reset_before_head"), "{}", response.text());
    let response = client.exchange("POST /refused HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n\r\n");
    assert!(response.status() == 503 && response.text().contains("stream_refused"), "{}", response.text());
    let mut h2 = stage.h2();
    let exchange = h2.begin(h2::request(Method::GET, "/reset-body"), false).unwrap();
    assert!(h2.response(exchange).unwrap_err().is_reset());
    assert!(client.get("/hang").text().contains("per_try_timeout"));
    assert_eq!(stage.origin.connections(), 1, "a stream that fails takes no connection with it");
}

/// What an origin did not look at is done elsewhere, whatever it is.
#[test]
fn a_post_that_was_refused_is_sent_to_another_endpoint() {
    let (refusing, other) = (H2Origin::start("a", Manner::default()), H2Origin::start("b", Manner::default()));
    let (_sluice, web) = start("protocol: http2", &[refusing.address(), other.address()]);
    for _ in 0..4 {
        let response = Client::connect(web).exchange("POST /refused HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n\r\n");
        assert!(response.text().contains("stream_refused"), "both refuse: {}", response.text());
    }
    assert!(refusing.requests() >= 4 && other.requests() >= 4, "each request was tried at both");
}

#[test]
fn more_requests_than_an_endpoint_allows_take_another_connection() {
    let manner = Manner { streams: Some(4), ..Manner::default() };
    let stage = Stage::with(manner, ", connections: { streams: 6 }");
    let mut clients: Vec<_> = (0..10).map(|_| stage.client()).collect();
    for client in &mut clients {
        client.send("GET /delay/300 HTTP/1.1\r\nHost: t\r\n\r\n");
    }
    for client in &mut clients {
        assert_eq!(client.response().text(), "a");
    }
    assert_eq!(stage.origin.most_at_once(), 10);
    assert!((3..=4).contains(&stage.origin.connections()), "{} connections", stage.origin.connections());
}

#[test]
fn a_connection_that_waits_too_long_is_closed_and_one_of_a_removed_endpoint_too() {
    let stage = Stage::with(Manner::default(), ", connections: { idle_timeout: 100ms }");
    assert_eq!(stage.client().get("/").status(), 200);
    until("the waiting connection is closed", || (stage.origin.open_connections() == 0).then_some(()));
    let next = H2Origin::start("b", Manner::default());
    let origin = H2Origin::start("a", Manner::default());
    let (sluice, web) = start("protocol: http2", &[origin.address()]);
    assert_eq!(Client::connect(web).get("/").text(), "a");
    sluice.change(document(web, "protocol: http2", &[next.address()]));
    until("the removed endpoint has no connection", || (origin.open_connections() == 0).then_some(()));
    assert_eq!(Client::connect(web).get("/").text(), "b");
}

/// A rolling restart: each of two origins says GOAWAY, goes and comes back while requests flow.
#[test]
fn no_request_is_lost_while_origins_restart() {
    let origins = [H2Origin::start("a", Manner::default()), H2Origin::start("b", Manner::default())];
    let (_sluice, web) = start("protocol: http2", &[origins[0].address(), origins[1].address()]);
    let load = Load::new(web).connections(8).rate(300.0).start();
    for _ in 0..2 {
        for origin in &origins {
            let before = origin.requests();
            until("the origin is asked", || (origin.requests() > before + 20).then_some(()));
            origin.leave();
            origin.revive();
        }
    }
    let report = load.finish();
    assert_eq!(report.failed(), 0, "{report:?}");
}

#[test]
fn a_websocket_passes_to_an_origin_of_http2() {
    let stage = Stage::new();
    let mut client = stage.client();
    client.send(
        "GET /tunnel HTTP/1.1\r\nHost: t\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    let head = client.try_head().unwrap();
    assert_eq!((head.status, head.field("upgrade")), (101, Some("websocket")));
    assert_eq!(head.field("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    client.send("ping");
    assert_eq!(client.raw(4), b"ping");
    client.send("pong!");
    assert_eq!(client.raw(5), b"pong!");
    let seen = stage.origin.last_seen("/tunnel").head;
    assert_eq!((seen.method(), seen.headers().get("sec-websocket-key")), (&Method::CONNECT, None));
    drop(client);
    assert_eq!(stage.client().get("/").status(), 200);
}

#[test]
fn an_origin_without_tunnels_is_told_of() {
    let stage = Stage::with(Manner { tunnels: false, ..Manner::default() }, "");
    let response =
        stage.client().exchange("GET /tunnel HTTP/1.1\r\nHost: t\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert!(response.status() == 502 && response.text().contains("no_tunnel"), "{}", response.text());
}

/// What a client writes there must not become the origin's failure.
#[test]
fn an_upgrade_that_http2_has_not_is_passed_over() {
    let stage = Stage::new();
    let mut client = stage.client();
    let request = "GET /plain HTTP/1.1\r\nHost: t\r\nConnection: upgrade\r\nUpgrade: TLS/1.0\r\n\r\n";
    assert_eq!(client.exchange(request).status(), 200);
    assert_eq!(stage.origin.last_seen("/plain").head.headers().get("upgrade"), None);
    assert_eq!(client.get("/").status(), 200);
}

/// An origin of HTTP/1.1 where HTTP/2 is expected costs no request that another can answer.
#[test]
fn what_does_not_speak_http2_is_not_connected() {
    let (old, new) = (Origin::start("a"), H2Origin::start("b", Manner::default()));
    let (sluice, web) = start("protocol: http2", &[old.address(), new.address()]);
    for _ in 0..6 {
        assert_eq!(
            Client::connect(web).exchange("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n\r\n").text(),
            "b"
        );
    }
    let failed = sluice.metric("sluice_upstream_connects_total", &[("result", "failed")]);
    assert!(failed >= 1.0, "{failed}");
}

#[test]
fn probes_speak_the_protocol_and_the_tls_of_the_service() {
    let authority = Authority::new();
    authority.issue("origin", &["shop.internal"]);
    let origin = H2Origin::start("a", Manner::default());
    let hands = Hands { file: "origin", protocols: &["h2"], clients: false };
    let front = Front::start(&authority, hands, origin.address());
    let check = "health_check: { http: { path: /healthz }, interval: 200ms, timeout: 200ms }";
    let tls = format!("protocol: http2, tls: {}, {check}", tls(&authority, "shop.internal", ""));
    let (sluice, web) = start(&tls, &[front.address()]);
    until("the endpoint is probed", || (origin.probes() > 2).then_some(()));
    let healthy = || sluice.metric("sluice_endpoint_healthy", &[("service", "shop")]);
    until("the endpoint is verified", || (healthy() == 1.0).then_some(()));
    assert_eq!(Client::connect(web).get("/").text(), "a");
    origin.set_healthy(false);
    until("the endpoint is out", || (healthy() == 0.0).then_some(()));
}

/// The settings of TLS in flow style.
fn tls(authority: &Authority, name: &str, further: &str) -> String {
    format!("{{ server_name: {name}, ca: {:?}{further} }}", authority.file("ca.pem").display().to_string())
}

/// An origin of HTTP/1.1 with TLS, and the proxy before it.
fn secured(authority: &Authority, hands: Hands<'_>, tls: &str) -> (Origin, Front, Sluice, SocketAddr) {
    let origin = Origin::start("a");
    let front = Front::start(authority, hands, origin.address());
    let (sluice, web) = start(&format!("tls: {tls}"), &[front.address()]);
    (origin, front, sluice, web)
}

const PLAIN: Hands<'_> = Hands { file: "origin", protocols: &["http/1.1"], clients: false };

#[test]
fn an_endpoint_with_tls_is_verified_and_its_connection_kept() {
    let authority = Authority::new();
    authority.issue("origin", &["shop.internal"]);
    let (origin, front, _sluice, web) = secured(&authority, PLAIN, &tls(&authority, "Shop.Internal", ""));
    let mut client = Client::connect(web);
    for _ in 0..3 {
        assert_eq!(client.get("/").text(), "a");
    }
    let sent = pattern(TEN_MEGABYTES);
    client.send(format!("POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: {TEN_MEGABYTES}\r\n\r\n"));
    let mut sender = client.sender();
    let upload = thread::spawn(move || sender.write_all(&pattern(TEN_MEGABYTES)));
    let head = client.try_head().unwrap();
    let (mut body, mut received) = (Body::of_response(&head, "POST").unwrap(), Vec::new());
    client.read_body(&mut body, &mut received).unwrap();
    upload.join().unwrap().unwrap();
    assert!(received == sent, "{} bytes came back", received.len());
    assert_eq!((front.shaken(), origin.connections()), (1, 1));
    assert_eq!(origin.malformed(), Vec::<String>::new());
}

#[test]
fn a_certificate_that_is_not_the_right_one_is_refused() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    authority.issue("origin", &["shop.internal"]);
    authority.issue_until("old", &["shop.internal"], 2020);
    let expired = Hands { file: "old", ..PLAIN };
    let h2_only = Hands { protocols: &["http/1.1"], ..PLAIN };
    let cases = [
        ("another name", PLAIN, format!("tls: {}", tls(&authority, "other.internal", ""))),
        ("another authority", PLAIN, format!("tls: {}", tls(&stranger, "shop.internal", ""))),
        ("expired", expired, format!("tls: {}", tls(&authority, "shop.internal", ""))),
        ("another protocol", h2_only, format!("protocol: http2, tls: {}", tls(&authority, "shop.internal", ""))),
        ("an authority of the system", PLAIN, "tls: { server_name: shop.internal }".to_owned()),
    ];
    for (what, hands, settings) in cases {
        let origin = Origin::start("a");
        let front = Front::start(&authority, hands, origin.address());
        let (sluice, web) = start(&settings, &[front.address()]);
        let response = Client::connect(web).exchange("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n\r\n");
        assert!(response.status() == 502 && response.text().contains("connect_tls"), "{what}: {}", response.text());
        assert_eq!(origin.requests(), 0, "{what}");
        let failed = sluice.metric("sluice_upstream_connects_total", &[("result", "tls")]);
        assert!(failed >= 1.0, "{what}");
    }
}

#[test]
fn an_endpoint_that_asks_for_a_certificate_is_shown_one() {
    let authority = Authority::new();
    authority.issue("origin", &["10.1.2.3"]);
    let asks = Hands { clients: true, ..PLAIN };
    let pair = format!(
        ", client_certificate: {{ cert: {:?}, key: {:?} }}",
        authority.file("client.pem").display().to_string(),
        authority.file("client.key").display().to_string()
    );
    let (_origin, _front, _sluice, web) = secured(&authority, asks, &tls(&authority, "10.1.2.3", &pair));
    assert_eq!(Client::connect(web).get("/").text(), "a");
    let (_origin, _front, _sluice, web) = secured(&authority, asks, &tls(&authority, "10.1.2.3", ""));
    assert_eq!(Client::connect(web).get("/").status(), 502);
}

/// Connections after a renewal use what was written; while it cannot be used, what was read before.
#[test]
fn files_that_change_are_read_again() {
    let (authority, next) = (Authority::new(), Authority::new());
    authority.issue("origin", &["shop.internal"]);
    next.issue("origin", &["shop.internal"]);
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::copy(authority.file("ca.pem"), &ca).unwrap();
    let settings =
        format!("{{ server_name: shop.internal, ca: {:?} }}, connections: {{ idle: 0 }}", ca.display().to_string());
    let (_origin, front, sluice, web) = secured(&authority, PLAIN, &settings);
    let get = || Client::connect(web).get("/").status();
    assert_eq!((get(), get(), front.shaken()), (200, 200, 2), "none is kept");
    assert_eq!(front.resumed(), 1, "the second handshake goes on with the first");
    std::fs::write(&ca, "nothing").unwrap();
    until("the file is refused", || sluice.stderr().contains("TLS files cannot be used").then_some(()));
    assert_eq!(get(), 200);
    std::fs::copy(next.file("ca.pem"), &ca).unwrap();
    until("the new authority is trusted, and the old one no more", || (get() == 502).then_some(()));
    std::fs::copy(authority.file("ca.pem"), &ca).unwrap();
    until("the old one is trusted again", || (get() == 200).then_some(()));
}

#[test]
fn a_document_whose_files_are_not_there_is_refused() {
    let origin = Origin::start("a");
    let (sluice, web) = start("", &[origin.address()]);
    let bad = document(web, "tls: { server_name: shop.internal, ca: certs/ca.pem }", &[origin.address()]);
    let file = sluice.folder().join("bad.yaml");
    std::fs::write(&file, bad.to_string()).unwrap();
    let checked = Ran::of(command(SLUICE, &["check", file.to_str().unwrap()])).expect(1);
    checked.assert_says(&["unusable-file", "services[0].tls.ca", "certs/ca.pem is not there"]);
    assert_eq!(Client::connect(web).get("/").status(), 200);
}

/// A real server of HTTP/2 by TLS.
struct Nginx(Child);

impl Drop for Nginx {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn nginx_is_an_origin_of_http2_by_tls() {
    let program = tool("nginx", "nginx");
    let authority = Authority::new();
    authority.issue("origin", &["shop.internal"]);
    let (address, folder) = (free_address(), tempfile::tempdir().unwrap());
    std::fs::write(folder.path().join("large"), pattern(TEN_MEGABYTES)).unwrap();
    let configuration = format!(
        "daemon off; master_process off; error_log stderr; pid {0}/pid; events {{}} http {{ access_log off; \
         client_body_temp_path {0}/b; proxy_temp_path {0}/p; fastcgi_temp_path {0}/f; uwsgi_temp_path {0}/u; \
         scgi_temp_path {0}/s; server {{ listen {address} ssl http2; ssl_certificate {1}; ssl_certificate_key {2}; \
         root {0}; location /protocol {{ return 200 $server_protocol; }} }} }}",
        folder.path().display(),
        authority.file("origin.pem").display(),
        authority.file("origin.key").display(),
    );
    let file = folder.path().join("nginx.conf");
    std::fs::write(&file, configuration).unwrap();
    let child = Command::new(program).arg("-p").arg(folder.path()).arg("-c").arg(&file).stdin(Stdio::null()).spawn();
    let _nginx = Nginx(child.unwrap());
    let settings = tls(&authority, "shop.internal", "");
    let (_sluice, web) = start(&format!("protocol: http2, tls: {settings}"), &[address]);
    until("nginx answers", || (Client::connect(web).get("/protocol").text() == "HTTP/2.0").then_some(()));
    let response = Client::connect(web).get("/large");
    assert!(response.body == pattern(TEN_MEGABYTES), "{} bytes came", response.body.len());
    let report =
        Load::new(web).get("t", "/protocol").expect("HTTP/2.0").connections(16).run_for(Duration::from_secs(1));
    assert_eq!(report.failed(), 0, "{report:?}");
}

/// What an origin looked at none of is sent anew, but an origin that gives up each new connection is not dialled without end.
#[test]
fn an_origin_that_always_says_goaway_is_dialled_as_often_as_tried() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&asked);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let counted = Arc::clone(&counted);
            thread::spawn(move || go_away(stream, &counted));
        }
    });
    let (_sluice, web) = start("protocol: http2, retries: { attempts: 3 }", &[address]);
    assert_eq!(Client::connect(web).get("/").status(), 502);
    // The first is no attempt.
    assert_eq!(asked.load(Ordering::SeqCst), 4);
}

/// Speaks HTTP/2 until it is asked for something, and says that it did not look at it.
fn go_away(mut stream: TcpStream, asked: &AtomicU32) {
    let mut head = [0; 9];
    let mut preface = [0; 24];
    let _ = stream.write_all(&frame(kind::SETTINGS, 0, 0, &[]));
    let _ = stream.read_exact(&mut preface);
    while stream.read_exact(&mut head).is_ok() {
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        let _ = stream.read_exact(&mut payload);
        let answer = match head[3] {
            kind::PING => frame(kind::PING, ACK, 0, &payload),
            kind::SETTINGS if head[4] & ACK == 0 => frame(kind::SETTINGS, ACK, 0, &[]),
            kind::HEADERS => {
                asked.fetch_add(1, Ordering::SeqCst);
                frame(kind::GOAWAY, 0, 0, &[0; 8])
            }
            _ => continue,
        };
        let _ = stream.write_all(&answer);
    }
}
