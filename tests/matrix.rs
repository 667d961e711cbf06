//! Every protocol of clients with every protocol of origins: each exchange works through each of the 16 pairs, and the
//! connection is in step behind it.

#![allow(clippy::unwrap_used)]

use std::fmt::Debug;
use std::io::Write;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request};
use sluice_harness::control::Authority;
use sluice_harness::h1;
use sluice_harness::h2::{self, data, send};
use sluice_harness::origin::answer::pattern;
use sluice_harness::origin::h2::Manner;
use sluice_harness::origin::{Front, H2Origin, Hands};
use sluice_harness::sluice::setup;
use sluice_harness::wait::until;
use sluice_harness::{Document, Origin, Sluice, Veil, free_address};

const SLUICE: &str = env!("CARGO_BIN_EXE_sluice");
const LARGE: usize = 10 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    H1,
    H1Tls,
    H2,
    H2Tls,
}

const PROTOCOLS: [Protocol; 4] = [Protocol::H1, Protocol::H1Tls, Protocol::H2, Protocol::H2Tls];

impl Protocol {
    const fn is_h2(self) -> bool {
        matches!(self, Self::H2 | Self::H2Tls)
    }

    const fn is_tls(self) -> bool {
        matches!(self, Self::H1Tls | Self::H2Tls)
    }
}

enum Behind {
    H1(Origin),
    H2(H2Origin),
}

impl Behind {
    /// Exchanges that it saw its peer give up.
    fn given_up(&self) -> u64 {
        match self {
            Self::H1(origin) => origin.aborted(),
            Self::H2(origin) => origin.cancelled(),
        }
    }

    fn requests(&self) -> u64 {
        match self {
            Self::H1(origin) => origin.requests(),
            Self::H2(origin) => origin.requests(),
        }
    }

    /// Where a call of gRPC is answered with its status.
    const fn grpc(&self) -> &'static str {
        match self {
            Self::H1(_) => "/echo.Echo/Call",
            Self::H2(_) => "/trailers",
        }
    }
}

/// One proxy before one kind of origin, and where clients of each protocol reach it.
struct Stage {
    origin: Behind,
    plain: SocketAddr,
    veils: [Veil; 2],
    _front: Option<Front>,
    _sluice: Sluice,
}

impl Stage {
    fn new(upstream: Protocol) -> Self {
        let authority = Authority::new();
        authority.issue("site", &["test"]);
        authority.issue("shop", &["shop.test"]);
        let origin = if upstream.is_h2() {
            Behind::H2(H2Origin::start("a", Manner::default()))
        } else {
            Behind::H1(Origin::start("a"))
        };
        let mut address = match &origin {
            Behind::H1(origin) => origin.address(),
            Behind::H2(origin) => origin.address(),
        };
        let mut front = None;
        let mut settings = vec![format!("protocol: {}", if upstream.is_h2() { "http2" } else { "http1" })];
        if upstream.is_tls() {
            let protocols: &[&str] = if upstream.is_h2() { &["h2"] } else { &["http/1.1"] };
            let hands = Hands { file: "shop", protocols, clients: false };
            let started = Front::start(&authority, hands, address);
            address = started.address();
            front = Some(started);
            let ca = authority.file("ca.pem");
            settings.push(format!("tls: {{ server_name: shop.test, ca: {} }}", ca.display()));
        }
        let (plain, secure) = (free_address(), free_address());
        let (cert, key) = (authority.file("site.pem"), authority.file("site.key"));
        let pair = format!("tls: {{ certificates: [{{ cert: {}, key: {} }}] }}", cert.display(), key.display());
        let document = Document::new()
            .listener("plain", plain, "")
            .listener("secure", secure, &pair)
            .region("here", "")
            .service("shop", &settings.join(", "))
            .version("v1", 100, &[("here", &[address])])
            .route("{ path: / }", "service: shop");
        let sluice = setup(SLUICE).start(document);
        let veils = ["http/1.1", "h2"].map(|protocol| Veil::start(&authority, secure, "test", protocol));
        Self { origin, plain, veils, _front: front, _sluice: sluice }
    }

    fn address(&self, downstream: Protocol) -> SocketAddr {
        match downstream {
            Protocol::H1 | Protocol::H2 => self.plain,
            Protocol::H1Tls => self.veils[0].address(),
            Protocol::H2Tls => self.veils[1].address(),
        }
    }
}

/// What is asked.
#[derive(Debug, Clone)]
struct Ask {
    method: Method,
    path: &'static str,
    fields: Vec<(&'static str, &'static str)>,
    body: Option<Vec<u8>>,
    /// The request tells how long its body is.
    told: bool,
    trailer: Option<(&'static str, &'static str)>,
}

impl Ask {
    const fn get(path: &'static str) -> Self {
        Self { method: Method::GET, path, fields: Vec::new(), body: None, told: false, trailer: None }
    }

    const fn post(path: &'static str, body: Vec<u8>) -> Self {
        Self { method: Method::POST, path, fields: Vec::new(), body: Some(body), told: false, trailer: None }
    }

    /// In HTTP/1.1.
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = format!("{} {} HTTP/1.1\r\nHost: test\r\n", self.method, self.path).into_bytes();
        for (name, value) in &self.fields {
            bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        match &self.body {
            None => bytes.extend_from_slice(b"\r\n"),
            Some(body) if self.told => {
                bytes.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
                bytes.extend_from_slice(body);
            }
            Some(body) => {
                bytes.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
                for piece in body.chunks(10_000) {
                    let chunk = [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat();
                    bytes.extend_from_slice(&chunk);
                }
                let trailer = self.trailer.map(|(name, value)| format!("{name}: {value}\r\n")).unwrap_or_default();
                bytes.extend_from_slice(format!("0\r\n{trailer}\r\n").as_bytes());
            }
        }
        bytes
    }

    fn request(&self) -> Request<()> {
        let mut request = h2::request(self.method.clone(), self.path);
        for (name, value) in &self.fields {
            request.headers_mut().append(*name, HeaderValue::from_static(value));
        }
        if let Some(body) = self.body.as_ref().filter(|_| self.told) {
            request.headers_mut().insert("content-length", HeaderValue::from(body.len()));
        }
        request
    }
}

/// What came.
#[derive(Debug, Default, PartialEq, Eq)]
struct Got {
    interim: Vec<u16>,
    status: u16,
    body: Vec<u8>,
    trailers: Vec<(String, String)>,
}

impl Got {
    fn trailer(&self, name: &str) -> Option<&str> {
        self.trailers.iter().find(|(have, _)| have == name).map(|(_, value)| value.as_str())
    }
}

fn exchange(stage: &Stage, downstream: Protocol, ask: &Ask) -> Result<Got, String> {
    let address = stage.address(downstream);
    let got = if downstream.is_h2() { over_h2(address, ask) } else { over_h1(address, ask) }?;
    Ok(got)
}

fn told(error: impl Debug) -> String {
    format!("{error:?}")
}

fn over_h1(address: SocketAddr, ask: &Ask) -> Result<Got, String> {
    let mut client = h1::Client::connect(address);
    let (mut sender, bytes) = (client.sender(), ask.bytes());
    let response = std::thread::scope(|scope| {
        // An origin may answer before it has read all, and then wants no more.
        scope.spawn(move || drop(sender.write_all(&bytes)));
        client.try_response(ask.method.as_str())
    });
    let response = response.map_err(told)?;
    let closes = response.field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
    if !closes {
        assert_eq!(client.get("/").status(), 200, "the connection is in step");
    }
    Ok(Got {
        interim: response.interim.iter().map(|head| head.status).collect(),
        status: response.status(),
        trailers: response.trailers.iter().map(|(name, value)| (name.to_lowercase(), value.clone())).collect(),
        body: response.body,
    })
}

fn over_h2(address: SocketAddr, ask: &Ask) -> Result<Got, String> {
    let mut client = h2::Client::connect(address);
    let trailers = ask.trailer.map(|(name, value)| {
        HeaderMap::from_iter([(name.parse::<http::HeaderName>().unwrap(), HeaderValue::from_static(value))])
    });
    let response = match &ask.body {
        None => {
            let exchange = client.begin(ask.request(), false).map_err(told)?;
            client.response(exchange)
        }
        Some(body) => client.converse(ask.request(), Bytes::from(body.clone()), trailers),
    };
    let response = response.map_err(told)?;
    assert_eq!(client.get("/").status, 200, "the connection is in step");
    let trailers = response.trailers.unwrap_or_default();
    Ok(Got {
        interim: response.interim.iter().map(|head| head.status().as_u16()).collect(),
        status: response.status.as_u16(),
        trailers: trailers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect(),
        body: response.body,
    })
}

/// Does this on every pair, and tells all that failed.
fn each_pair(check: impl Fn(&Stage, Protocol) -> Result<(), String> + Sync) {
    let mut wrong = Vec::new();
    for upstream in PROTOCOLS {
        let stage = Stage::new(upstream);
        for downstream in PROTOCOLS {
            if let Err(why) = check(&stage, downstream) {
                wrong.push(format!("{downstream:?} to {upstream:?}: {why}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn holds(is: bool, got: &Got) -> Result<(), String> {
    let shown = Got { body: got.body.iter().copied().take(80).collect(), ..Got::default() };
    let whole = (got.status, &got.interim, &got.trailers, got.body.len(), shown.body);
    if is { Ok(()) } else { Err(format!("{whole:?}")) }
}

#[test]
fn small_requests_are_answered() {
    each_pair(|stage, downstream| {
        let got = exchange(stage, downstream, &Ask::get("/"))?;
        holds(got.status == 200 && got.body == b"a", &got)
    });
}

#[test]
fn ten_megabytes_pass_both_ways_at_once() {
    let body = pattern(LARGE);
    each_pair(|stage, downstream| {
        let ask = Ask { told: true, ..Ask::post("/echo", body.clone()) };
        let got = exchange(stage, downstream, &ask)?;
        holds(got.status == 200 && got.body == body, &got)
    });
}

#[test]
fn bodies_of_unknown_length_pass() {
    let body = pattern(300_000);
    each_pair(|stage, downstream| {
        let got = exchange(stage, downstream, &Ask::post("/echo", body.clone()))?;
        holds(got.status == 200 && got.body == body, &got)
    });
}

#[test]
fn trailers_pass_both_ways() {
    each_pair(|stage, downstream| {
        let ask = Ask {
            fields: vec![("te", "trailers"), ("trailer", "x-sum")],
            trailer: Some(("x-sum", "42")),
            ..Ask::post("/echo", b"hello".to_vec())
        };
        let got = exchange(stage, downstream, &ask)?;
        let is = got.body == b"hello" && got.trailer("x-sum") == Some("42") && got.trailer("x-length") == Some("5");
        holds(is, &got)
    });
}

/// The client waits for a word before it sends its body: the origin's 100, or its answer.
#[test]
fn a_client_that_expects_to_continue_is_told() {
    each_pair(|stage, downstream| {
        let address = stage.address(downstream);
        let got = if downstream.is_h2() {
            let ask = Ask { fields: vec![("expect", "100-continue")], ..Ask::post("/echo", b"hello".to_vec()) };
            over_h2(address, &ask)?
        } else {
            let mut client = h1::Client::connect(address);
            client.send("POST /echo HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
            let first = client.try_head().map_err(told)?;
            client.send("hello");
            let head = if first.status == 100 { client.try_head().map_err(told)? } else { first };
            let mut body = sluice_harness::Body::of_response(&head, "POST")?;
            let mut got = Got { status: head.status, ..Got::default() };
            client.read_body(&mut body, &mut got.body).map_err(told)?;
            got
        };
        holds(got.status == 200 && got.body == b"hello", &got)
    });
}

#[test]
fn early_hints_pass() {
    each_pair(|stage, downstream| {
        let got = exchange(stage, downstream, &Ask::get("/hints"))?;
        holds(got.interim == [103] && got.status == 200 && got.body == b"a", &got)
    });
}

/// The answer is whole though the request was not read to its end.
#[test]
fn an_early_answer_is_whole() {
    let body = pattern(1 << 20);
    each_pair(|stage, downstream| {
        let ask = Ask { told: true, ..Ask::post("/early", body.clone()) };
        let got = exchange(stage, downstream, &ask)?;
        holds(got.status == 200 && got.body == b"early", &got)
    });
}

#[test]
fn a_client_that_leaves_is_seen_by_the_origin() {
    each_pair(|stage, downstream| {
        let address = stage.address(downstream);
        let (before, asked) = (stage.origin.given_up(), stage.origin.requests());
        let arrives = || until("the origin is asked", || (stage.origin.requests() > asked).then_some(()));
        if downstream.is_h2() {
            let mut client = h2::Client::connect(address);
            let exchange = client.begin(h2::request(Method::GET, "/hang"), false).map_err(told)?;
            arrives();
            drop((exchange, client));
            until("the origin sees it", || (stage.origin.given_up() > before).then_some(()));
        } else {
            let mut client = h1::Client::connect(address);
            client.send("GET /hang HTTP/1.1\r\nHost: test\r\n\r\n");
            arrives();
            drop(client);
            until("the origin sees it", || (stage.origin.given_up() > before).then_some(()));
        }
        Ok(())
    });
}

/// Half an answer is not taken for a whole one.
#[test]
fn an_origin_that_leaves_is_seen_by_the_client() {
    each_pair(|stage, downstream| {
        let ask = Ask::get("/reset-body");
        match exchange(stage, downstream, &ask) {
            Ok(got) => Err(format!("{} with {} bytes", got.status, got.body.len())),
            Err(_) => {
                let got = exchange(stage, downstream, &Ask::get("/"))?;
                holds(got.status == 200, &got)
            }
        }
    });
}

#[test]
fn calls_of_grpc_end_with_their_status() {
    each_pair(|stage, downstream| {
        let fields = vec![("te", "trailers"), ("content-type", "application/grpc")];
        let ask = Ask { fields, ..Ask::post(stage.origin.grpc(), b"\0\0\0\0\0".to_vec()) };
        let got = exchange(stage, downstream, &ask)?;
        holds(got.status == 200 && got.trailer("grpc-status") == Some("0"), &got)
    });
}

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

#[test]
fn web_sockets_pass_bytes_both_ways() {
    let bytes = pattern(100_000);
    each_pair(|stage, downstream| {
        let address = stage.address(downstream);
        let seen = if downstream.is_h2() {
            let mut client = h2::Client::connect(address);
            let request = Request::connect("http://test/tunnel").header("sec-websocket-version", "13");
            let mut request = request.body(()).unwrap();
            request.extensions_mut().insert(::h2::ext::Protocol::from("websocket"));
            let mut tunnel = client.begin(request, true).map_err(told)?;
            client.block_on(async {
                let (head, mut answer) = tunnel.head().await.map_err(told)?.into_parts();
                if head.status != 200 {
                    return Err(format!("{}", head.status));
                }
                send(&mut tunnel.body, Bytes::from(bytes.clone()), false).await.map_err(told)?;
                let mut seen = Vec::new();
                while seen.len() < bytes.len() {
                    let piece = data(&mut answer).await.map_err(told)?.ok_or("the tunnel has ended")?;
                    seen.extend_from_slice(&piece);
                }
                Ok(seen)
            })?
        } else {
            let mut client = h1::Client::connect(address);
            client.send(format!(
                "GET /tunnel HTTP/1.1\r\nHost: test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
            ));
            let head = client.try_head().map_err(told)?;
            if head.status != 101 {
                return Err(format!("{}", head.status));
            }
            let (mut sender, sent) = (client.sender(), bytes.clone());
            std::thread::scope(|scope| {
                scope.spawn(move || sender.write_all(&sent).unwrap());
                client.raw(bytes.len())
            })
        };
        if seen == bytes { Ok(()) } else { Err(format!("{} other bytes", seen.len())) }
    });
}
