//! HTTP/2 towards clients: floods are cut and cost nothing, WebSocket and gRPC pass, connections end as they should.

#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::ext::Protocol;
use http::{Method, Request};
use sluice_harness::h2::raw::{ACK, Client, END_HEADERS, END_STREAM, block, frame, kind};
use sluice_harness::h2::{self as harness, request};
use sluice_harness::origin::Then;
use sluice_harness::origin::answer::pattern;
use sluice_harness::sluice::setup;
use sluice_harness::wait::until;
use sluice_harness::{Document, Origin, Sluice, free_address, h1};

const SLUICE: &str = env!("CARGO_BIN_EXE_sluice");
const CALM: u32 = 11;

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
            .route("{ host: test }", "service: shop");
        let sluice = setup(SLUICE).start(document);
        Self { origin, sluice, web }
    }

    fn raw(&self) -> Client {
        Client::connect(self.web)
    }

    fn client(&self) -> harness::Client {
        harness::Client::connect(self.web)
    }

    fn cuts(&self, reason: &str) -> f64 {
        self.sluice.metric("sluice_h2_cut_total", &[("listener", "web"), ("reason", reason)])
    }

    fn memory(&self) -> f64 {
        self.sluice.metric("process_resident_memory_bytes", &[])
    }

    /// Others are served, and the origin got nothing that is not plain.
    fn check(&self) {
        assert_eq!(self.client().get("/").status, 200);
        assert_eq!(self.origin.malformed(), Vec::<String>::new());
        assert!(!self.sluice.stderr().contains("panicked"), "{}", self.sluice.stderr());
    }
}

type Field<'a> = (&'a str, &'a [u8]);

fn plain(path: &str) -> [Field<'_>; 4] {
    [(":method", b"GET"), (":scheme", b"http"), (":authority", b"test"), (":path", path.as_bytes())]
}

fn get(stream: u32, path: &str) -> Vec<u8> {
    frame(kind::HEADERS, END_HEADERS | END_STREAM, stream, &block(&plain(path)))
}

fn post(stream: u32, path: &str) -> Vec<u8> {
    frame(kind::HEADERS, END_HEADERS, stream, &block(&plain(path)))
}

fn window(stream: u32, by: u32) -> Vec<u8> {
    frame(kind::WINDOW_UPDATE, 0, stream, &by.to_be_bytes())
}

fn reset(stream: u32) -> Vec<u8> {
    frame(kind::RST_STREAM, 0, stream, &8_u32.to_be_bytes())
}

/// Why a connection is cut, what comes before the flood, and its frames by their number.
type Flood = (&'static str, Vec<u8>, fn(u32) -> Vec<u8>);

fn floods() -> Vec<Flood> {
    vec![
        ("ping", Vec::new(), |_| frame(kind::PING, 0, 0, &[0; 8])),
        ("ping", Vec::new(), |_| frame(kind::PING, ACK, 0, &[0; 8])),
        ("settings", Vec::new(), |_| frame(kind::SETTINGS, 0, 0, &[])),
        ("goaway", Vec::new(), |_| frame(kind::GOAWAY, 0, 0, &[0; 8])),
        ("priority", Vec::new(), |_| frame(kind::PRIORITY, 0, 1, &[0, 0, 0, 0, 7])),
        ("priority", Vec::new(), |_| frame(0x77, 0, 0, b"unknown")),
        ("window_update", Vec::new(), |_| window(0, 1)),
        ("window_update", post(1, "/hang"), |_| window(1, 1)),
        ("continuation", frame(kind::HEADERS, 0, 1, &block(&plain("/"))), |_| frame(kind::CONTINUATION, 0, 1, &[])),
        ("data", post(1, "/hang"), |_| frame(kind::DATA, 0, 1, &[])),
        ("rst_stream", Vec::new(), |at| [get(2 * at + 1, "/hang"), reset(2 * at + 1)].concat()),
        // What makes us reset a stream: a window above its limit, a stream that depends on itself, a malformed head.
        ("stream_errors", Vec::new(), |at| {
            let (stream, most) = (2 * at + 1, 0x7fff_ffff);
            [get(stream, "/hang"), window(stream, most), window(stream, most)].concat()
        }),
        ("stream_errors", Vec::new(), |at| {
            let stream = 2 * at + 1;
            [get(stream, "/hang"), frame(kind::PRIORITY, 0, stream, &[&stream.to_be_bytes()[..], &[7]].concat())]
                .concat()
        }),
        ("stream_errors", Vec::new(), |at| {
            let fields = [&plain("/")[..], &[("connection", b"close")]].concat();
            frame(kind::HEADERS, END_HEADERS | END_STREAM, 2 * at + 1, &block(&fields))
        }),
    ]
}

/// 300,000 frames of each kind, as fast as they can be sent and without reading an answer.
#[test]
fn floods_are_cut_and_counted_and_hold_no_memory() {
    let stage = Stage::new();
    stage.check();
    let before = stage.memory();
    for (at, (reason, first, flood)) in floods().into_iter().enumerate() {
        let counted = stage.cuts_before(reason);
        let mut client = stage.raw();
        client.send_bytes(&first);
        let pieces =
            (0..300).map(|piece| (0..1_000).map(|frame| flood(piece * 1_000 + frame)).collect::<Vec<_>>().concat());
        let taken = pieces.take_while(|piece| client.send_bytes(piece)).count();
        until(&format!("flood {at} is counted as {reason}"), || (stage.cuts_before(reason) > counted).then_some(()));
        assert!(taken < 300, "flood {at} ({reason}) was taken whole");
    }
    until("what was opened is given up", || {
        (stage.sluice.metric("sluice_requests_in_flight", &[]) == 0.0).then_some(())
    });
    let grown = stage.memory() - before;
    assert!(grown < 64e6, "{grown} bytes more");
    assert!(stage.sluice.stderr().contains("an HTTP/2 connection was cut"), "{}", stage.sluice.stderr());
    stage.check();
}

impl Stage {
    /// As [`Stage::cuts`], where there may be none yet.
    fn cuts_before(&self, reason: &str) -> f64 {
        self.sluice.scrape().sum("sluice_h2_cut_total", &[("reason", reason)]).unwrap_or(0.0)
    }
}

/// The client is told why, and the frames within the allowance have been served.
#[test]
fn a_flood_is_told_to_calm_down() {
    let stage = Stage::new();
    let mut client = stage.raw();
    client.send_bytes(&frame(kind::PING, 0, 0, b"answered").repeat(101));
    let last = client.until(|frame| frame.kind == kind::GOAWAY).unwrap();
    assert_eq!(last.code(), Some(CALM));
    assert!(client.until(|_| false).is_none(), "and then the connection ends");
    assert_eq!(stage.cuts("ping"), 1.0);
    let mut client = stage.raw();
    client.send_bytes(&frame(kind::PING, 0, 0, b"answered").repeat(100));
    for _ in 0..100 {
        client.until(|frame| frame.kind == kind::PING && frame.flags & ACK != 0).unwrap();
    }
    client.send_bytes(&get(1, "/"));
    assert_eq!(client.until(|frame| frame.kind == kind::HEADERS).unwrap().status(), 200);
    stage.check();
}

/// A window that is opened byte by byte makes us frame each byte.
#[test]
fn a_window_of_crumbs_is_cut() {
    let stage = Stage::new();
    let mut client = stage.raw();
    client.send_bytes(&frame(kind::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]));
    client.send_bytes(&get(1, "/bytes/100000"));
    let ended = (0..2_000).any(|_| {
        client.send_bytes(&window(1, 1));
        let seen = client.until(|frame| matches!(frame.kind, kind::DATA | kind::GOAWAY));
        seen.is_none_or(|frame| frame.kind == kind::GOAWAY)
    });
    assert!(ended);
    assert_eq!(stage.cuts("crumbs"), 1.0);
    stage.check();
}

/// A window that stays shut holds its request no longer than the idle timeout.
#[test]
fn a_shut_window_is_waited_for_so_long_and_no_longer() {
    let stage = Stage::with("timeouts: { idle: 300ms }");
    let mut client = stage.raw();
    client.send_bytes(&frame(kind::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]));
    client.send_bytes(&get(1, "/bytes/1000000"));
    let last = client.until(|frame| frame.kind == kind::RST_STREAM).unwrap();
    assert_eq!(last.stream, 1);
    let log = stage.sluice.wait_access_log(1);
    assert_eq!(log[0]["error"]["name"], "client_timeout");
    stage.check();
}

/// Fields that refer to one large field again and again: 60 bytes on the wire, a megabyte decoded.
#[test]
fn a_header_bomb_is_refused_or_cut() {
    let stage = Stage::new();
    let bomb = |stream: u32, times: usize| {
        let field = [b"\x40\x01a\x7f\xa1\x1e".to_vec(), vec![b'x'; 4_000]].concat();
        let block = [block(&plain("/")), field, vec![0xbe; times]].concat();
        frame(kind::HEADERS, END_HEADERS | END_STREAM, stream, &block)
    };
    let mut client = stage.raw();
    client.send_bytes(&bomb(1, 10));
    let head = client.until(|frame| frame.kind == kind::HEADERS).unwrap();
    assert_ne!(head.status(), 200);
    client.send_bytes(&bomb(3, 60));
    assert_eq!(client.until(|frame| frame.kind == kind::GOAWAY).unwrap().code(), Some(CALM));
    until("it is counted", || (stage.cuts_before("header_list") == 1.0).then_some(()));
    // Browsers send a field for each cookie; there may be many, but not without end.
    let crumbs = |count| [plain("/").to_vec(), vec![("cookie", b"a=b".as_slice()); count]].concat();
    let mut client = stage.raw();
    client.send_head(1, &crumbs(400), false);
    assert_eq!(client.until(|frame| frame.kind == kind::HEADERS).unwrap().status(), 200);
    let cookie = stage.origin.last_seen("/").head.field("cookie").unwrap().len();
    assert_eq!(cookie, 400 * 5 - 2);
    client.send_head(3, &crumbs(1_300), false);
    assert_ne!(client.until(|frame| frame.kind == kind::HEADERS).unwrap().status(), 200);
    stage.check();
}

/// Whatever a client allows us, it is served, and what it allows takes no memory by itself.
#[test]
fn absurd_settings_change_nothing() {
    let stage = Stage::new();
    let settings = [(1_u16, u32::MAX), (3, 0), (4, 0x7fff_ffff), (5, 0x00ff_ffff), (6, 0), (0xffff, u32::MAX)];
    let payload = settings.map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()).concat();
    let mut client = stage.raw();
    client.send_bytes(&frame(kind::SETTINGS, 0, 0, &payload));
    client.send_bytes(&get(1, "/bytes/100000"));
    assert_eq!(client.until(|frame| frame.kind == kind::HEADERS).unwrap().status(), 200);
    stage.check();
}

#[test]
fn a_breach_of_the_protocol_is_told_and_counted() {
    let stage = Stage::new();
    let mut client = stage.raw();
    client.send_bytes(&get(2, "/"));
    assert_eq!(client.until(|frame| frame.kind == kind::GOAWAY).unwrap().code(), Some(1));
    assert!(client.until(|_| false).is_none());
    until("it is counted", || (stage.cuts_before("protocol_error") == 1.0).then_some(()));
    let mut client = Client::open(stage.web);
    client.send_bytes(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    client.send_bytes(&frame(kind::PING, 0, 0, &[0; 8]));
    assert_eq!(client.until(|frame| frame.kind == kind::GOAWAY).unwrap().code(), Some(1));
    until("it is counted", || (stage.cuts_before("preface") == 1.0).then_some(()));
    let mut client = Client::open(stage.web);
    client.send_bytes(b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n");
    assert!(
        client.until(|frame| frame.kind != kind::SETTINGS).is_none(),
        "a preface that goes wrong ends the connection"
    );
    stage.check();
}

/// Between the two GOAWAY of a drain a request may be on its way: it is served.
#[test]
fn a_request_that_crosses_goaway_is_served() {
    let mut stage = Stage::new();
    let mut client = stage.raw();
    client.send_bytes(&get(1, "/"));
    assert_eq!(client.until(|frame| frame.kind == kind::HEADERS).unwrap().status(), 200);
    stage.sluice.begin_drain();
    let first = client.until(|frame| frame.kind == kind::GOAWAY).unwrap();
    assert_eq!((&first.payload[..4], first.code()), (&0x7fff_ffff_u32.to_be_bytes()[..], Some(0)));
    let ping = client.until(|frame| frame.kind == kind::PING).unwrap();
    client.send_bytes(&get(3, "/delay/200"));
    client.send(kind::PING, ACK, 0, &ping.payload);
    let second = client.until(|frame| frame.kind == kind::GOAWAY).unwrap();
    assert_eq!((&second.payload[..4], second.code()), (&3_u32.to_be_bytes()[..], Some(0)));
    let answer = client.until(|frame| frame.kind == kind::HEADERS).unwrap();
    assert_eq!((answer.stream, answer.status()), (3, 200));
    assert!(client.until(|frame| frame.code().is_some_and(|code| code != 0)).is_none(), "an orderly end");
    drop(client);
    assert_eq!(stage.sluice.wait_exit(Duration::from_secs(10)).code(), Some(0));
}

/// The second GOAWAY waits for the answer to a PING. A client that never gives it does not stay for that.
#[test]
fn a_client_that_answers_no_ping_does_not_outstay_goaway() {
    let mut stage = Stage::new();
    let mut client = stage.raw();
    client.send_bytes(&get(1, "/"));
    assert_eq!(client.until(|frame| frame.kind == kind::HEADERS).unwrap().status(), 200);
    stage.sluice.begin_drain();
    client.until(|frame| frame.kind == kind::GOAWAY).unwrap();
    let (start, mut stream) = (Instant::now(), 3);
    while client.send_bytes(&get(stream, "/delay/50")) && client.until(|frame| frame.stream == stream).is_some() {
        assert!(start.elapsed() < Duration::from_secs(15), "still served by stream {stream}");
        stream += 2;
    }
    assert_eq!(stage.sluice.wait_exit(Duration::from_secs(10)).code(), Some(0));
}

/// HTTP/1.1 takes white space around a value for none, so that it would be another value to routes than to the origin.
#[test]
fn white_space_around_a_value_is_no_part_of_it() {
    let stage = Stage::new();
    let mut client = stage.raw();
    let mut fields = plain("/space").to_vec();
    fields.push(("x-role", b" admin\t"));
    client.send_head(1, &fields, false);
    assert_eq!(client.until(|frame| frame.kind == kind::HEADERS).unwrap().status(), 200);
    assert_eq!(stage.origin.last_seen("/space").head.field("x-role"), Some("admin"));
    stage.check();
}

// WebSocket (RFC 8441).

fn connect(path: &str, protocol: &str) -> Request<()> {
    let mut request =
        Request::connect(format!("http://test{path}")).header("sec-websocket-version", "13").body(()).unwrap();
    request.extensions_mut().insert(Protocol::from(protocol));
    request
}

#[test]
fn a_web_socket_passes_both_ways_and_ends_in_halves() {
    let stage = Stage::new();
    let mut client = stage.client();
    let mut exchange = client.begin(connect("/tunnel", "websocket"), true).unwrap();
    let sent = Bytes::from(pattern(1 << 20));
    let (head, received) = client.block_on(async {
        let (head, mut answer) = exchange.head().await.unwrap().into_parts();
        let mut received = Vec::new();
        let upload = harness::send(&mut exchange.body, sent.clone(), true);
        let download = async {
            while let Some(piece) = harness::data(&mut answer).await.unwrap() {
                received.extend_from_slice(&piece);
            }
        };
        tokio::join!(async { upload.await.unwrap() }, download);
        (head, received)
    });
    assert_eq!(head.status, 200);
    for field in ["sec-websocket-accept", "upgrade", "connection"] {
        assert!(!head.headers.contains_key(field), "{field}: {head:?}");
    }
    assert!(received == sent, "{} bytes came back, and then the end", received.len());
    let seen = stage.origin.last_seen("/tunnel").head;
    assert_eq!((seen.method.as_str(), seen.field("upgrade")), ("GET", Some("websocket")));
    assert_eq!((seen.field("connection"), seen.field("sec-websocket-version")), (Some("upgrade"), Some("13")));
    let log = stage.sluice.wait_access_log(1);
    assert_eq!((&log[0]["status"], &log[0]["protocol"]), (&101.into(), &"HTTP/2".into()));
    assert_eq!((&log[0]["bytes_in"], &log[0]["bytes_out"]), (&(1 << 20).into(), &(1 << 20).into()));
    stage.check();
}

#[test]
fn a_web_socket_s_break_is_told_to_the_other_side() {
    let stage = Stage::new();
    let mut client = stage.client();
    let open = |client: &mut harness::Client| {
        let mut exchange = client.begin(connect("/tunnel", "websocket"), true).unwrap();
        let answer = client.block_on(exchange.head()).unwrap().into_body();
        (exchange, answer)
    };
    let (mut exchange, answer) = open(&mut client);
    assert_eq!(stage.origin.open_connections(), 1);
    exchange.body.send_reset(h2::Reason::CANCEL);
    drop((exchange, answer));
    until("the origin's connection is closed", || (stage.origin.open_connections() == 0).then_some(()));
    let (exchange, mut answer) = open(&mut client);
    stage.origin.kill();
    let error = client.block_on(harness::data(&mut answer)).unwrap_err();
    assert_eq!(error.reason(), Some(h2::Reason::CANCEL));
    drop(exchange);
    stage.origin.revive();
    stage.check();
}

#[test]
fn an_idle_web_socket_ends() {
    let stage = Stage::with("timeouts: { tunnel_idle: 300ms }");
    let mut client = stage.client();
    let mut exchange = client.begin(connect("/tunnel", "websocket"), true).unwrap();
    let mut answer = client.block_on(exchange.head()).unwrap().into_body();
    let ended = client.block_on(harness::data(&mut answer));
    assert!(matches!(ended, Err(_) | Ok(None)), "{ended:?}");
    stage.check();
}

/// A tunnel is open when the origin has understood the question, and not otherwise.
#[test]
fn an_origin_that_opens_no_web_socket_is_not_said_to() {
    let stage = Stage::new();
    let upgraded = "HTTP/1.1 101 X\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: AAAA\r\n\r\n";
    stage.origin.script("/liar", upgraded, Then::Close);
    stage.origin.script("/page", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", Then::Keep);
    stage.origin.script("/no", "HTTP/1.1 403 X\r\ncontent-length: 2\r\n\r\nno", Then::Keep);
    let mut client = stage.client();
    let mut ask = |path: &str, protocol: &str| {
        let exchange = client.begin(connect(path, protocol), true).unwrap();
        client.response(exchange).unwrap().status.as_u16()
    };
    assert_eq!(ask("/liar", "websocket"), 502);
    assert_eq!(ask("/page", "websocket"), 502);
    assert_eq!(ask("/no", "websocket"), 403);
    let requests = stage.origin.requests();
    assert_eq!(ask("/tunnel", "connect-udp"), 501);
    assert_eq!(stage.origin.requests(), requests);
    stage.check();
}

// gRPC.

fn call(path: &str) -> http::request::Builder {
    Request::post(format!("http://test{path}")).header("content-type", "application/grpc").header("te", "trailers")
}

/// The status and the message of an answer without messages.
fn trailers_only(stage: &Stage, request: Request<()>) -> (String, String) {
    let mut client = stage.client();
    let mut exchange = client.begin(request, true).unwrap();
    // The answer may have come already, and ended the stream.
    drop(exchange.body.send_data(Bytes::from_static(b"\0\0\0\0\0"), true));
    let (head, body) = client.block_on(exchange.head()).unwrap().into_parts();
    assert!(body.is_end_stream(), "the head ends the stream");
    assert_eq!((head.status.as_u16(), &head.headers["content-type"]), (200, &"application/grpc".parse().unwrap()));
    let text = |name| head.headers.get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
    (text("grpc-status"), text("grpc-message"))
}

#[test]
fn messages_pass_both_ways_at_once_and_trailers_come_last() {
    let stage = Stage::new();
    let mut client = stage.client();
    let mut exchange = client.begin(call("/echo.Echo/Talk").body(()).unwrap(), true).unwrap();
    let message = Bytes::from_static(b"\0\0\0\0\x05hello");
    let trailers = client.block_on(async {
        let mut answer = exchange.head().await.unwrap().into_body();
        for _ in 0..100 {
            harness::send(&mut exchange.body, message.clone(), false).await.unwrap();
            let mut seen = Vec::new();
            while seen.len() < message.len() {
                seen.extend_from_slice(&harness::data(&mut answer).await.unwrap().unwrap());
            }
            assert_eq!(seen, message);
        }
        harness::send(&mut exchange.body, Bytes::new(), true).await.unwrap();
        while harness::data(&mut answer).await.unwrap().is_some() {}
        answer.trailers().await.unwrap().unwrap()
    });
    assert_eq!(trailers["grpc-status"], "0");
    let seen = stage.origin.last_seen("/echo.Echo/Talk").head;
    assert_eq!((seen.field("te"), seen.field("transfer-encoding")), (Some("trailers"), Some("chunked")));
    stage.sluice.wait_metric("sluice_grpc_calls_total", &[("service", "shop"), ("grpc_status", "OK")], 1.0);
    stage.check();
}

/// The status of HTTP is 200; that of gRPC says that the origin failed.
#[test]
fn a_call_is_judged_by_its_own_status() {
    let stage = Stage::new();
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\n";
    let trailing = format!("{head}transfer-encoding: chunked\r\n\r\n5\r\n\0\0\0\0\0\r\n0\r\ngrpc-status: 14\r\n\r\n");
    stage.origin.script("/down", trailing, Then::Keep);
    stage.origin.script("/none", format!("{head}grpc-status: 5\r\ncontent-length: 0\r\n\r\n"), Then::Keep);
    stage.origin.script("/mute", format!("{head}content-length: 0\r\n\r\n"), Then::Keep);
    let mut client = stage.client();
    let exchange = client.begin(call("/down").body(()).unwrap(), false).unwrap();
    assert_eq!(client.response(exchange).unwrap().trailers.unwrap()["grpc-status"], "14");
    assert_eq!(trailers_only(&stage, call("/none").body(()).unwrap()).0, "5");
    assert_eq!(trailers_only(&stage, call("/mute").body(()).unwrap()).0, "");
    for (status, count) in [("UNAVAILABLE", 1.0), ("NOT_FOUND", 1.0), ("UNKNOWN", 1.0)] {
        stage.sluice.wait_metric("sluice_grpc_calls_total", &[("version", "v1"), ("grpc_status", status)], count);
    }
    let failed = |reason| stage.sluice.scrape().sum("sluice_failures_total", &[("reason", reason)]);
    assert_eq!((failed("grpc_unavailable"), failed("grpc_unknown")), (Some(1.0), Some(1.0)));
    assert_eq!(failed("grpc_not_found"), None, "the client's fault");
    let log = stage.sluice.wait_access_log(3);
    assert_eq!((&log[0]["grpc_status"], &log[0]["outcome"]), (&"UNAVAILABLE".into(), &"origin_fault".into()));
    assert_eq!((&log[1]["grpc_status"], &log[1]["outcome"]), (&"NOT_FOUND".into(), &"client_fault".into()));
    stage.check();
}

/// An impatient client must not take a healthy endpoint out: its deadline is nobody's fault.
#[test]
fn a_call_ends_at_the_client_s_deadline() {
    let stage = Stage::new();
    let request = call("/hang").header("grpc-timeout", "200m").body(()).unwrap();
    let (status, message) = trailers_only(&stage, request);
    assert_eq!(status, "4");
    assert!(message.starts_with("sluice: client_deadline; request id: "), "{message}");
    let log = stage.sluice.wait_access_log(1);
    assert_eq!((&log[0]["error"]["name"], &log[0]["outcome"]), (&"client_deadline".into(), &"cancelled".into()));
    assert_eq!(stage.sluice.scrape().sum("sluice_failures_total", &[]), None);
    until("the origin sees that its peer left", || (stage.origin.aborted() > 0).then_some(()));
    stage.check();
}

#[test]
fn failures_of_ours_are_told_in_the_words_of_grpc() {
    let stage = Stage::with("timeouts: { per_try: 200ms }");
    let (status, message) = trailers_only(&stage, call("/hang").body(()).unwrap());
    assert_eq!((status.as_str(), message.contains("per_try_timeout")), ("14", true), "{message}");
    let elsewhere = Request::post("http://elsewhere/x").header("content-type", "application/grpc");
    assert_eq!(trailers_only(&stage, elsewhere.body(()).unwrap()).0, "12");
    let odd = call("/x").header("expect", "miracles").body(()).unwrap();
    assert_eq!(trailers_only(&stage, odd).0, "2");
    stage.origin.kill();
    let (status, message) = trailers_only(&stage, call("/x").body(()).unwrap());
    assert_eq!(status, "14");
    let id = stage.sluice.wait_access_log(4)[3]["request_id"].as_str().unwrap().to_owned();
    assert!(message.ends_with(&id), "{message} names {id}");
    let mut client = h1::Client::connect(stage.web);
    assert_eq!(client.exchange("GET / HTTP/1.1\r\nHost: test\r\n\r\n").status(), 502, "no call");
}

/// A request without a call in it is answered as ever.
#[test]
fn other_requests_are_not_calls() {
    let stage = Stage::new();
    let mut client = stage.client();
    let exchange = client.begin(request(Method::GET, "/status/500"), false).unwrap();
    assert_eq!(client.response(exchange).unwrap().status, 500);
    assert_eq!(stage.sluice.scrape().sum("sluice_grpc_calls_total", &[]), None);
}
