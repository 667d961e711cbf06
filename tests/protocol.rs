//! What passes between client and origin: framing, trailers, interim answers, both directions at once, tunnels, and
//! how an end that is no proper end is told on.

#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use sluice_harness::h1::{Client, Response};
use sluice_harness::h2::{self, raw};
use sluice_harness::origin::Then;
use sluice_harness::origin::answer::pattern;
use sluice_harness::sluice::setup;
use sluice_harness::wait::until;
use sluice_harness::{Body, Document, Failure, Head, Origin, Sluice, free_address};

const SLUICE: &str = env!("CARGO_BIN_EXE_sluice");

/// One origin behind one proxy.
struct Stage {
    origin: Origin,
    sluice: Sluice,
    web: SocketAddr,
}

impl Stage {
    fn new() -> Self {
        Self::with("")
    }

    /// With further keys of the service.
    fn with(settings: &str) -> Self {
        let (web, origin) = (free_address(), Origin::start("a"));
        origin.record();
        let document = Document::new()
            .listener("web", web, "")
            .region("here", "")
            .service("shop", settings)
            .version("v1", 100, &[("here", &[origin.address()])])
            .route("{ path: / }", "service: shop");
        let sluice = setup(SLUICE).start(document);
        Self { origin, sluice, web }
    }

    fn client(&self) -> Client {
        Client::connect(self.web)
    }

    fn h2(&self) -> h2::Client {
        h2::Client::connect(self.web)
    }

    /// The proxy still serves, and sent the origin nothing that is not plain.
    fn check(&self) {
        assert_eq!(self.client().get("/").status(), 200);
        assert_eq!(self.origin.malformed(), Vec::<String>::new());
    }

    /// Waits until the origin has seen its peer leave this many exchanges.
    fn wait_aborted(&self, count: u64) {
        until("the origin sees that its peer left", || (self.origin.aborted() >= count).then_some(()));
    }
}

fn fields(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn shown(response: &Response) -> (u16, String) {
    (response.status(), response.text())
}

#[test]
fn trailers_pass_both_ways_over_h1() {
    let stage = Stage::new();
    let response = stage.client().exchange(
        "POST /echo HTTP/1.1\r\nHost: t\r\nTE: trailers\r\nTrailer: x-sum\r\nTransfer-Encoding: chunked\r\n\r\n\
         5\r\nhello\r\n0\r\nx-sum: 17\r\n\r\n",
    );
    assert_eq!(shown(&response), (200, "hello".to_owned()));
    assert_eq!(response.trailers, fields(&[("x-sum", "17"), ("x-length", "5")]));
    assert_eq!(stage.origin.last_seen("/echo").trailers, fields(&[("x-sum", "17")]));
    stage.check();
}

#[test]
fn trailers_pass_both_ways_over_h2() {
    let stage = Stage::new();
    let mut client = stage.h2();
    let mut exchange = client.begin(h2::request(Method::POST, "/echo"), true).unwrap();
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "17".parse().unwrap());
    exchange.body.send_data(Bytes::from("hello"), false).unwrap();
    exchange.body.send_trailers(trailers).unwrap();
    let response = client.response(exchange).unwrap();
    assert_eq!((response.status.as_u16(), response.body.as_slice()), (200, &b"hello"[..]));
    let trailers = response.trailers.unwrap();
    assert!(trailers["x-sum"] == "17" && trailers["x-length"] == "5", "{trailers:?}");
    assert_eq!(stage.origin.last_seen("/echo").trailers, fields(&[("x-sum", "17")]));
    stage.check();
}

#[test]
fn early_hints_pass_over_h1() {
    let stage = Stage::new();
    let response = stage.client().get("/hints");
    assert_eq!(shown(&response), (200, "a".to_owned()));
    let hints: Vec<_> = response.interim.iter().map(|head| (head.status, head.field("link"))).collect();
    assert_eq!(hints, [(103, Some("</style.css>; rel=preload"))]);
}

#[test]
fn early_hints_pass_over_h2() {
    let stage = Stage::new();
    let response = stage.h2().get("/hints");
    assert_eq!(response.status, 200);
    let hints: Vec<_> = response.interim.iter().map(|head| (head.status().as_u16(), &head.headers()["link"])).collect();
    assert_eq!(hints, [(103, &"</style.css>; rel=preload".parse().unwrap())]);
}

/// An HTTP/1.0 client knows no interim answers.
#[test]
fn early_hints_are_kept_from_http_1_0() {
    let stage = Stage::new();
    let response = stage.client().exchange("GET /hints HTTP/1.0\r\nHost: t\r\n\r\n");
    assert_eq!((shown(&response), response.interim), ((200, "a".to_owned()), Vec::new()));
}

const TEN_MEGABYTES: usize = 10 << 20;

/// The answer begins before the upload goes on, so neither direction waits for the other.
#[test]
fn ten_megabytes_pass_while_the_answer_comes_over_h1() {
    let stage = Stage::new();
    let (mut client, sent) = (stage.client(), pattern(TEN_MEGABYTES));
    client.send(format!("POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: {TEN_MEGABYTES}\r\n\r\n"));
    client.send(&sent[..1_000]);
    let head = client.try_head().unwrap();
    let mut body = Body::of_response(&head, "POST").unwrap();
    let mut sender = client.sender();
    let upload = std::thread::spawn(move || sender.write_all(&pattern(TEN_MEGABYTES)[1_000..]));
    let mut received = Vec::new();
    client.read_body(&mut body, &mut received).unwrap();
    upload.join().unwrap().unwrap();
    assert!(received == sent, "{} bytes came back", received.len());
    assert_eq!(body.trailers, fields(&[("x-length", &TEN_MEGABYTES.to_string())]));
    stage.check();
}

#[test]
fn ten_megabytes_pass_while_the_answer_comes_over_h2() {
    let stage = Stage::new();
    let (mut client, sent) = (stage.h2(), Bytes::from(pattern(TEN_MEGABYTES)));
    let mut exchange = client.begin(h2::request(Method::POST, "/echo"), true).unwrap();
    let received = client.block_on(async {
        h2::send(&mut exchange.body, sent.slice(..1_000), false).await.unwrap();
        let mut answer = exchange.head().await.unwrap().into_body();
        let mut received = Vec::new();
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
    stage.check();
}

/// An origin may answer before it has the whole request; the answer must not wait for the rest, nor get lost.
#[test]
fn an_early_answer_arrives_before_the_upload_ends() {
    let stage = Stage::new();
    let mut client = stage.client();
    client.send("POST /early HTTP/1.1\r\nHost: t\r\nContent-Length: 1000000\r\n\r\n").send([b'x'; 1_000]);
    assert_eq!(shown(&client.try_response("POST").unwrap()), (200, "early".to_owned()));
    let mut client = stage.h2();
    let mut exchange = client.begin(h2::request(Method::POST, "/early"), true).unwrap();
    exchange.body.send_data(Bytes::from_static(b"part"), false).unwrap();
    let response = client.response(exchange).unwrap();
    assert_eq!((response.status.as_u16(), response.body.as_slice()), (200, &b"early"[..]));
    stage.check();
}

#[test]
fn a_client_that_waits_for_100_is_told_to_go_on() {
    let stage = Stage::new();
    let mut client = stage.client();
    client.send("POST /sink HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    assert_eq!(client.try_head().unwrap().status, 100);
    client.send("hello");
    assert_eq!(shown(&client.response()), (200, "5".to_owned()));
    assert_eq!(client.get("/").status(), 200, "the connection is kept");
    stage.check();
}

#[test]
fn a_client_that_waits_for_100_may_be_refused() {
    let stage = Stage::new();
    let mut client = stage.client();
    client.send("POST /no-continue HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    let response = client.response();
    assert_eq!((response.status(), response.interim), (417, Vec::new()));
    stage.check();
}

/// Shorter than HTTP/2's preface, which is awaited on the same port.
#[test]
fn eighteen_bytes_of_http_1_0_are_answered_at_once() {
    let stage = Stage::new();
    let mut client = stage.client();
    client.set_patience(Duration::from_secs(5));
    let response = client.exchange("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(shown(&response), (200, "a".to_owned()));
    assert_eq!(client.closed(), b"");
    stage.check();
}

/// HTTP/1.0 has no chunks: a body of unknown length ends with the connection.
#[test]
fn http_1_0_gets_no_chunks() {
    let stage = Stage::new();
    let mut client = stage.client();
    let response = client.exchange("POST /echo HTTP/1.0\r\nHost: t\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!(shown(&response), (200, "hello".to_owned()));
    assert_eq!(response.field("transfer-encoding"), None);
    assert_eq!(client.closed(), b"");
    stage.check();
}

#[test]
fn http_1_0_may_ask_to_be_kept() {
    let stage = Stage::new();
    let mut client = stage.client();
    for _ in 0..3 {
        let response = client.exchange("GET / HTTP/1.0\r\nHost: t\r\nConnection: keep-alive\r\n\r\n");
        assert_eq!(shown(&response), (200, "a".to_owned()));
        assert!(response.head.all("connection").iter().any(|value| value.eq_ignore_ascii_case("keep-alive")));
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let stage = Stage::new();
    let mut client = stage.client();
    client.send(
        "GET /delay/100 HTTP/1.1\r\nHost: t\r\n\r\n\
         POST /sink HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n\r\nabc\
         POST /echo HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n\
         GET /bytes/3 HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n",
    );
    let answers: Vec<Vec<u8>> = (0..4).map(|_| client.response().body).collect();
    assert_eq!(answers, [b"a".to_vec(), b"3".to_vec(), b"hi".to_vec(), pattern(3)]);
    assert_eq!(client.closed(), b"");
    stage.check();
}

/// However a request falls into packets.
#[test]
fn a_request_in_single_bytes_is_understood() {
    let stage = Stage::new();
    let mut client = stage.client();
    let request = b"POST /echo HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n1\r\n!\r\n0\r\n\r\n";
    for byte in request {
        client.send([*byte]);
    }
    assert_eq!(client.response().text(), "hi!");
    stage.check();
}

#[test]
fn a_response_without_content_leaves_the_connection_in_step() {
    let stage = Stage::new();
    let mut client = stage.client();
    let head = client.exchange("HEAD /bytes/1234 HTTP/1.1\r\nHost: t\r\n\r\n");
    assert_eq!((head.field("content-length"), head.body.len()), (Some("1234"), 0));
    for status in [204, 304] {
        let response = client.get(&format!("/status/{status}"));
        assert_eq!((response.status(), response.body.len()), (status, 0));
        assert_eq!(response.field("transfer-encoding"), None);
    }
    assert_eq!(client.get("/").text(), "a");
    assert_eq!(stage.h2().get("/status/204").status, 204);
    stage.check();
}

#[test]
fn a_body_that_ends_with_the_origin_s_connection_is_framed_anew() {
    let stage = Stage::new();
    let mut client = stage.client();
    assert_eq!(client.get("/unframed").text(), "a");
    assert_eq!(client.get("/").text(), "a", "the client's connection is kept");
    assert_eq!(stage.h2().get("/unframed").body, b"a");
}

#[test]
fn a_tunnel_passes_bytes_both_ways() {
    let stage = Stage::new();
    let mut client = stage.client();
    let upgrade = "GET /tunnel HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    client.send(upgrade).send("early bytes");
    let head = client.try_head().unwrap();
    assert_eq!((head.status, head.field("upgrade")), (101, Some("websocket")));
    assert_eq!(client.raw(11), b"early bytes");
    let bytes = pattern(1 << 20);
    let mut sender = client.sender();
    let upload = std::thread::spawn(move || sender.write_all(&pattern(1 << 20)));
    assert!(client.raw(1 << 20) == bytes);
    upload.join().unwrap().unwrap();
    client.finish();
    assert_eq!(client.closed(), b"", "the origin ends its side and that is passed on");
}

#[test]
fn a_tunnel_s_end_is_told_to_the_client() {
    let stage = Stage::new();
    let mut client = stage.client();
    client.send("GET /tunnel HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(client.try_head().unwrap().status, 101);
    stage.origin.kill();
    assert_eq!(client.closed(), b"");
}

#[test]
fn an_upgrade_may_be_refused() {
    let stage = Stage::new();
    let mut client = stage.client();
    let response = client.exchange("GET / HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(shown(&response), (200, "a".to_owned()));
    assert_eq!(client.get("/").status(), 200);
}

#[test]
fn the_origin_sees_a_client_leave() {
    let stage = Stage::new();
    let leave = |request: &str, reset: bool| {
        let before = stage.origin.aborted();
        let requests = stage.origin.requests();
        let mut client = stage.client();
        client.send(request);
        until("the origin has the request", || (stage.origin.requests() > requests).then_some(()));
        if reset {
            client.reset()
        } else {
            drop(client)
        }
        stage.wait_aborted(before + 1);
    };
    for reset in [false, true] {
        leave("GET /hang HTTP/1.1\r\nHost: t\r\n\r\n", reset);
        leave("GET /stall HTTP/1.1\r\nHost: t\r\n\r\n", reset);
        leave("POST /sink HTTP/1.1\r\nHost: t\r\nContent-Length: 100\r\n\r\npart", reset);
        leave("POST /sink HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", reset);
    }
    stage.check();
}

#[test]
fn the_origin_sees_an_h2_client_leave() {
    let stage = Stage::new();
    for (aborted, path) in [(1, "/hang"), (2, "/stall")] {
        let (mut client, requests) = (stage.h2(), stage.origin.requests());
        let exchange = client.begin(h2::request(Method::GET, path), false).unwrap();
        until("the origin has the request", || (stage.origin.requests() > requests).then_some(()));
        drop(exchange);
        stage.wait_aborted(aborted);
        assert_eq!(client.get("/").status, 200, "only the stream ended");
    }
    stage.check();
}

/// A body that was cut must never look whole.
#[test]
fn a_cut_body_is_passed_on_as_cut() {
    let stage = Stage::new();
    for path in ["/reset-body", "/half-body", "/half-chunked"] {
        // Without chunks only a reset tells an HTTP/1.0 client that a body of unknown length is not whole.
        for version in ["1.1", "1.0"] {
            let mut client = stage.client();
            client.send(format!("GET {path} HTTP/{version}\r\nHost: t\r\n\r\n"));
            let cut = client.try_response("GET").map(|response| response.status());
            // What is noticed before the head has left may still have a status.
            assert!(matches!(cut, Err(Failure::Cut) | Ok(502)), "{path} over HTTP/{version}: {cut:?}");
        }
        let mut client = stage.h2();
        let exchange = client.begin(h2::request(Method::GET, path), false).unwrap();
        let error = client.response(exchange).expect_err(path);
        assert!(error.is_reset(), "{path}: {error}");
        assert_eq!(client.get("/").status, 200, "only the stream ended");
    }
    stage.check();
}

/// Nothing was answered, so the answer is ours: 502 for an origin that breaks off, 504 for one that is silent.
#[test]
fn an_origin_s_failure_before_its_head_has_a_status() {
    let stage = Stage::with("timeouts: { per_try: 300ms }");
    stage.origin.script("/junk", "this is not HTTP\r\n\r\n", Then::Close);
    stage.origin.script("/silent", "", Then::Close);
    let mut client = stage.client();
    for (path, status) in [("/reset", 502), ("/junk", 502), ("/silent", 502), ("/hang", 504)] {
        assert_eq!(client.get(path).status(), status, "{path}");
        assert_eq!(stage.h2().get(path).status, status, "{path} over h2");
    }
    stage.check();
}

/// Both framings, or a doubled one, from an origin: nothing of it reaches a client as if it were sound.
#[test]
fn an_origin_s_conflicting_framing_is_refused() {
    let stage = Stage::new();
    let bad = [
        ("/both", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nHTTP/1"),
        ("/two", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"),
        ("/bad", "HTTP/1.1 200 OK\r\nContent-Length: 0x5\r\n\r\nhello"),
        ("/fold", "HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 0\r\n\r\n"),
        ("/lf", "HTTP/1.1 200 OK\nContent-Length: 0\n\n"),
    ];
    for (path, bytes) in bad {
        stage.origin.script(path, bytes, Then::Close);
        assert_eq!(stage.client().get(path).status(), 502, "{path}");
    }
    stage.check();
}

#[test]
fn a_refused_connection_is_tried_elsewhere() {
    let (web, good, bad) = (free_address(), Origin::start("good"), Origin::start("bad"));
    let document = Document::new()
        .listener("web", web, "")
        .region("here", "")
        .service("shop", "")
        .version("v1", 100, &[("here", &[bad.address(), good.address()])])
        .route("{ path: / }", "service: shop");
    let _sluice = setup(SLUICE).start(document);
    bad.kill();
    let mut client = Client::connect(web);
    for _ in 0..20 {
        let request = "POST /sink HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nhello";
        assert_eq!(shown(&client.exchange(request)), (200, "5".to_owned()), "nothing was sent, so any method may be");
    }
    good.kill();
    let status = client.get("/").status();
    assert!(matches!(status, 502 | 503), "{status}");
}

/// What a hop says to its neighbour stays with the neighbour; who asked is passed on.
#[test]
fn the_request_s_fields_are_passed_on_but_for_the_hop_s_own() {
    let stage = Stage::new();
    stage.client().exchange(
        "GET /seen?q=%20 HTTP/1.1\r\nHost: shop.test\r\nConnection: x-mine, keep-alive\r\nX-Mine: 1\r\n\
         Keep-Alive: timeout=5\r\nProxy-Connection: close\r\nX-Kept: a\r\nX-Kept: b\r\n\r\n",
    );
    let seen = stage.origin.last_seen("/seen").head;
    assert_eq!((seen.target.as_str(), seen.field("host")), ("/seen?q=%20", Some("shop.test")));
    assert_eq!(seen.all("x-kept"), ["a", "b"]);
    for gone in ["x-mine", "keep-alive", "proxy-connection"] {
        assert_eq!(seen.field(gone), None, "{gone}");
    }
    assert_eq!(seen.field("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.field("x-forwarded-proto"), Some("http"));
    assert!(seen.field("x-request-id").is_some_and(|id| id.len() >= 16), "{seen:?}");
}

#[test]
fn h2_requests_arrive_as_h1() {
    let stage = Stage::new();
    let mut client = stage.h2();
    let request = http::Request::get("http://shop.test/seen?x=1").header("cookie", "a=1").header("cookie", "b=2");
    let exchange = client.begin(request.body(()).unwrap(), false).unwrap();
    assert_eq!(client.response(exchange).unwrap().status, 200);
    let seen = stage.origin.last_seen("/seen").head;
    assert_eq!((seen.target.as_str(), seen.field("host")), ("/seen?x=1", Some("shop.test")));
    assert_eq!(seen.all("cookie"), ["a=1; b=2"], "one field, as HTTP/1.1 wants it");
    stage.check();
}

#[test]
fn many_h2_streams_share_a_connection() {
    let stage = Stage::new();
    let mut client = stage.h2();
    let begun: Vec<_> = (0..50)
        .map(|i| client.begin(h2::request(Method::GET, &format!("/bytes/{}", i * 1_000)), false).unwrap())
        .collect();
    for (i, exchange) in begun.into_iter().enumerate() {
        assert_eq!(client.response(exchange).unwrap().body, pattern(i * 1_000));
    }
    stage.check();
}

const PLAIN: [(&str, &[u8]); 4] = [(":method", b"GET"), (":scheme", b"http"), (":authority", b"t"), (":path", b"/")];

fn outcome(web: SocketAddr, path: &[u8], more: &[(&str, &[u8])]) -> raw::Outcome {
    let mut client = raw::Client::connect(web);
    let mut head = PLAIN.to_vec();
    head[3].1 = path;
    head.extend_from_slice(more);
    client.send_head(1, &head, false);
    client.outcome(1)
}

fn assert_refused(what: &str, outcome: raw::Outcome) {
    assert_ne!(outcome, raw::Outcome::Answered(200), "{what}");
    assert_ne!(outcome, raw::Outcome::Answered(0), "{what}: a status other than 400");
}

/// What the h2 library lets through and an HTTP/1 origin would misread.
#[test]
fn h2_requests_that_would_be_misread_are_refused() {
    let stage = Stage::new();
    assert_eq!(outcome(stage.web, b"/", &[]), raw::Outcome::Answered(200));
    for path in [&b"/a b"[..], b"/a\r\nx: y", b"/a\x7f", b"/a\0", b"/a\tb", b""] {
        assert_refused(&format!("path {path:?}"), outcome(stage.web, path, &[]));
    }
    assert_refused("absolute form", outcome(stage.web, b"http://other/", &[]));
    assert_refused("no slash", outcome(stage.web, b"other", &[]));
    assert_refused("another Host", outcome(stage.web, b"/", &[("host", b"other")]));
    assert_refused("two Hosts", outcome(stage.web, b"/", &[("host", b"t"), ("host", b"t")]));
    let lengths: [(&str, &[u8]); 2] = [("content-length", b"0"), ("content-length", b"5")];
    assert_refused("two lengths", outcome(stage.web, b"/", &lengths));
    assert_refused("a length without a body", outcome(stage.web, b"/", &[("content-length", b"5")]));
    assert_refused("a bad length", outcome(stage.web, b"/", &[("content-length", b"+0")]));
    assert_refused("connection", outcome(stage.web, b"/", &[("connection", b"close")]));
    assert_refused("chunked", outcome(stage.web, b"/", &[("transfer-encoding", b"chunked")]));
    assert_refused("a line break", outcome(stage.web, b"/", &[("x", b"a\r\nb: c")]));
    assert_refused("upper case", outcome(stage.web, b"/", &[("X-Upper", b"a")]));
    stage.check();
    assert!(stage.origin.seen().iter().all(|seen| seen.head.path() == "/"), "{:?}", stage.origin.seen());
}

/// A body longer or shorter than its stated length is an attack on whoever reads it next.
#[test]
fn an_h2_body_must_have_its_length() {
    let stage = Stage::new();
    for sent in [b"hell".as_slice(), b"hello!"] {
        let mut client = raw::Client::connect(stage.web);
        let mut head = PLAIN.to_vec();
        head[0].1 = b"POST";
        head[3].1 = b"/sink";
        head.push(("content-length", b"5"));
        client.send_head(1, &head, true);
        client.send(raw::kind::DATA, 1, 1, sent);
        assert_refused(&format!("{sent:?} for 5 bytes"), client.outcome(1));
    }
    stage.check();
}

#[test]
fn an_unused_origin_connection_that_ended_costs_nothing() {
    let stage = Stage::new();
    let mut client = stage.client();
    for _ in 0..10 {
        assert_eq!(client.get("/").status(), 200);
        stage.origin.kill();
        stage.origin.revive();
    }
    let stderr = stage.sluice.stderr();
    assert!(!stderr.contains("panicked"), "{stderr}");
}

/// Interim and final heads are plain, so that any client reads them.
#[test]
fn the_answer_s_head_is_plain() {
    let stage = Stage::new();
    stage.origin.script(
        "/odd",
        "HTTP/1.1 299 Fine\r\nx-origin: a\r\nX-Odd:\t v \r\nKeep-Alive: 5\r\nContent-Length: 0\r\n\r\n",
        Then::Keep,
    );
    let response = stage.client().get("/odd");
    let expected = Head { status: 299, ..Head::default() };
    assert_eq!(response.status(), expected.status);
    assert_eq!((response.field("x-odd"), response.field("keep-alive")), (Some("v"), None));
}

/// An answer to HEAD has no body, one of our own neither: a client of HTTP/2 takes one for a broken connection.
#[test]
fn our_own_answer_to_head_has_no_body_on_h2() {
    let (web, origin) = (free_address(), Origin::start("a"));
    let _sluice = setup(SLUICE).start(Document::simple(web, origin.address()));
    origin.kill();
    let mut client = h2::Client::connect(web);
    let exchange = client.begin(h2::request(Method::HEAD, "/"), false).unwrap();
    let response = client.response(exchange).unwrap();
    assert_eq!((response.status.as_u16(), response.body.as_slice()), (502, &b""[..]));
    assert_ne!(response.field("content-length"), "0");
}

/// What HTTP/1.1 clients may not ask, clients of HTTP/2 may not either.
#[test]
fn trace_reaches_no_origin_by_either_protocol() {
    let (web, origin) = (free_address(), Origin::start("a"));
    let _sluice = setup(SLUICE).start(Document::simple(web, origin.address()));
    let mut client = h2::Client::connect(web);
    let exchange = client.begin(h2::request(Method::TRACE, "/"), false).unwrap();
    assert_eq!(client.response(exchange).unwrap().status.as_u16(), 501);
    let mut client = Client::connect(web);
    client.send("TRACE / HTTP/1.1\r\nHost: t\r\n\r\n");
    assert_eq!(client.response().status(), 501);
    assert_eq!(origin.requests(), 0);
}
