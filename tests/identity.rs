//! Who the client is, behind proxies that pass on bytes (PROXY protocol) and such that pass on requests (X-Forwarded-For,
//! Forwarded); what an origin is told of it; and that nobody who is not trusted can choose.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::process::Command;

use sluice_harness::h1::{Client, Response};
use sluice_harness::sluice::setup;
use sluice_harness::tool::tool;
use sluice_harness::wait::until;
use sluice_harness::{Document, Head, Origin, Process, Sluice, free_address, h2};

const SLUICE: &str = env!("CARGO_BIN_EXE_sluice");
const REJECTED: &str = "sluice_proxy_protocol_rejected_total";
/// Version 2 of the PROXY protocol, as far as every header has it.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

struct Stage {
    origin: Origin,
    sluice: Sluice,
    web: SocketAddr,
}

impl Stage {
    /// With these settings of the listener, in flow style.
    fn new(listener: &str) -> Self {
        let (web, origin) = (free_address(), Origin::start("a"));
        origin.record();
        let sluice = setup(SLUICE).start(document(web, origin.address(), listener));
        Self { origin, sluice, web }
    }

    fn from(&self, address: &str) -> Client {
        Client::connect_from(address.parse().unwrap(), self.web)
    }

    fn seen(&self, path: &str) -> Head {
        self.origin.last_seen(path).head
    }

    fn wait_rejected(&self, reason: &str, times: f64) {
        self.sluice.wait_metric(REJECTED, &[("listener", "web"), ("reason", reason)], times);
    }

    fn check(&self) {
        assert_eq!(self.origin.malformed(), Vec::<String>::new());
        assert!(!self.sluice.stderr().contains("panicked"), "{}", self.sluice.stderr());
    }
}

fn document(web: SocketAddr, origin: SocketAddr, listener: &str) -> Document {
    Document::new()
        .listener("web", web, listener)
        .region("here", "")
        .service("shop", "")
        .version("v1", 100, &[("here", &[origin])])
        .route("{ host: shop.test, path: / }", "service: shop")
}

/// A request for this path with these further fields.
fn get(path: &str, fields: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: shop.test\r\n{fields}\r\n")
}

const BY_HEADER: &str = "proxy_protocol: required, trusted_proxies: [127.0.0.1], limits: { header_timeout: 1s }";

/// Version 2 with this command, family and rest.
fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[command, family], &length, rest].concat()
}

#[test]
fn a_header_says_who_connected() {
    let stage = Stage::new(BY_HEADER);
    let v4 = [192, 0, 2, 7, 10, 0, 0, 1, 0x12, 0x67, 0x01, 0xbb];
    let tlv = [&v4[..], &[0x04, 0, 3, 0, 0, 0, 0x03, 0, 4, 0, 0, 0, 0]].concat();
    let mut v6 = [0; 36];
    v6[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
    v6[15] = 7;
    let own = stage.web.port().to_string();
    let cases: [(&str, Vec<u8>, &str, &str); 8] = [
        ("/v1", b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 443\r\n".to_vec(), "192.0.2.7", "443"),
        ("/v1-6", b"PROXY TCP6 2001:db8::7 ::1 4711 443\r\n".to_vec(), "2001:db8::7", "443"),
        ("/v1-unknown", b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1", &own),
        ("/v2", v2(0x21, 0x11, &v4), "192.0.2.7", "443"),
        ("/v2-tlv", v2(0x21, 0x11, &tlv), "192.0.2.7", "443"),
        ("/v2-6", v2(0x21, 0x21, &v6), "2001:db8::7", "0"),
        ("/v2-local", v2(0x20, 0x00, &[]), "127.0.0.1", &own),
        ("/v2-unix", v2(0x21, 0x31, &[0; 216]), "127.0.0.1", &own),
    ];
    for (at, (path, header, ip, port)) in cases.into_iter().enumerate() {
        // At once, and byte by byte: the same.
        let mut client = stage.from("127.0.0.1");
        let request = get(path, if path == "/v2-local" { "" } else { "X-Forwarded-For: 203.0.113.9\r\n" });
        if at % 2 == 0 {
            client.send([&header[..], request.as_bytes()].concat());
        } else {
            header.chunks(1).for_each(|byte| client.try_send(byte).unwrap());
            client.send(&request);
        }
        assert_eq!(client.response().status(), 200, "{path}");
        // A second request on the connection has the same client.
        assert_eq!(client.exchange(&get(path, "")).status(), 200, "{path}");
        let seen = stage.seen(path);
        assert_eq!((seen.field("x-real-ip"), seen.field("x-forwarded-port")), (Some(ip), Some(port)), "{path}");
        let log = stage.sluice.wait_access_log(2 * (at + 1));
        assert_eq!(log.last().unwrap()["ip_address"], ip, "{path}");
    }
    // Whom the balancer does not know is not believed as the balancer itself is.
    let ask = |path: &str, header: &[u8]| {
        let request = get(path, "X-Forwarded-For: 203.0.113.9\r\n");
        let mut client = stage.from("127.0.0.1");
        assert_eq!(client.send([header, request.as_bytes()].concat()).response().status(), 200);
        stage.seen(path).field("x-real-ip").map(str::to_owned)
    };
    assert_eq!(ask("/unknown", b"PROXY UNKNOWN\r\n").as_deref(), Some("127.0.0.1"));
    assert_eq!(ask("/local", &v2(0x20, 0x00, &[])).as_deref(), Some("203.0.113.9"));
    stage.check();
}

#[test]
fn http2_may_follow_a_header() {
    let stage = Stage::new(BY_HEADER);
    let mut client = stage.from("127.0.0.1");
    // The preface and an empty SETTINGS frame.
    client.send("PROXY TCP4 192.0.2.7 10.0.0.1 4711 443\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
    // The other side's SETTINGS: length, kind 4, no flags, stream 0.
    let settings = client.raw(9);
    assert_eq!(&settings[3..9], [4, 0, 0, 0, 0, 0]);
}

#[test]
fn whoever_does_not_send_a_good_header_is_cut_off() {
    let stage = Stage::new(BY_HEADER);
    let before = stage.origin.requests();
    let cases: [(&str, Vec<u8>); 6] = [
        ("missing", get("/", "").into_bytes()),
        ("missing", b"\x16\x03\x01\x02\x00".to_vec()),
        ("malformed", b"PROXY TCP4 192.0.2.7 10.0.0.1 4711\r\n".to_vec()),
        ("malformed", v2(0x21, 0x12, &[0; 12])),
        ("too_long", format!("PROXY UNKNOWN {}", "x".repeat(200)).into_bytes()),
        ("too_long", [SIGNATURE, &[0x21, 0x11, 0xff, 0xff]].concat()),
    ];
    for (at, (reason, bytes)) in cases.into_iter().enumerate() {
        let mut client = stage.from("127.0.0.1");
        client.send(bytes);
        assert_eq!(client.closed(), b"", "{reason}");
        stage.wait_rejected(reason, (at % 2 + 1) as f64);
    }
    // A header that stands still, and one that ends.
    let mut slow = stage.from("127.0.0.1");
    slow.send("PROXY TCP4 192.0.2.7");
    let mut cut = stage.from("127.0.0.1");
    cut.send("PROXY TCP4 192.0.2.7").finish();
    assert_eq!((cut.closed(), slow.closed()), (Vec::new(), Vec::new()));
    stage.wait_rejected("cut", 1.0);
    stage.wait_rejected("timeout", 1.0);
    // Whoever only looks whether somebody listens is no fault.
    stage.from("127.0.0.1").finish();
    // A good header from an address that is not trusted.
    let mut stranger = stage.from("127.0.0.9");
    let good = "PROXY TCP4 192.0.2.7 10.0.0.1 4711 443\r\n";
    stranger.send(good.to_owned() + &get("/", ""));
    assert_eq!(stranger.closed(), b"");
    stage.wait_rejected("untrusted_peer", 1.0);
    stage.sluice.wait_stderr("no PROXY protocol header of a trusted proxy");
    assert_eq!(stage.origin.requests(), before, "nothing reached the origin");
    assert_eq!(stage.from("127.0.0.1").exchange(&(good.to_owned() + &get("/", ""))).status(), 200);
    assert_eq!(stage.sluice.metric(REJECTED, &[("listener", "web")]), 9.0);
    stage.check();
}

/// HAProxy itself as the sender, its health checks (`LOCAL`) too.
#[test]
fn haproxy_is_understood() {
    let stage = Stage::new(BY_HEADER);
    let fronts = [free_address(), free_address(), free_address()];
    let senders =
        ["send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c check check-send-proxy inter 100ms"];
    let mut config =
        "defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 20s\n  timeout server 20s\n".to_owned();
    for (at, (front, sender)) in fronts.iter().zip(senders).enumerate() {
        config += &format!("listen l{at}\n  bind {front}\n  server s {} {sender}\n", stage.web);
    }
    let folder = tempfile::tempdir().unwrap();
    let (file, said) = (folder.path().join("haproxy.cfg"), folder.path().join("stderr"));
    fs::write(&file, config).unwrap();
    let mut command = Command::new(tool("haproxy", "haproxy"));
    let mut haproxy = Process::start("haproxy", command.arg("-db").arg("-f").arg(&file), &said);
    for (at, front) in fronts.into_iter().enumerate() {
        let from: IpAddr = format!("127.0.0.{}", at + 20).parse().unwrap();
        until("HAProxy to listen", || Client::try_connect(front).ok());
        let path = format!("/h{at}");
        let mut client = Client::connect_from(from, front);
        assert_eq!(client.exchange(&get(&path, "X-Forwarded-For: 203.0.113.9\r\n")).status(), 200);
        assert_eq!(stage.seen(&path).field("x-forwarded-for"), Some(from.to_string().as_str()));
    }
    haproxy.assert_runs();
    assert_eq!(stage.sluice.metric(REJECTED, &[("listener", "web")]), 0.0);
    stage.check();
}

const CLAIMS: &str = "X-Forwarded-For: 203.0.113.9, 192.0.2.7\r\nX-Forwarded-For: 127.0.0.3\r\nX-Forwarded-Proto: https\r\n\
                      X-Forwarded-Host: front.test\r\nX-Forwarded-Port: 443\r\nForwarded: for=198.51.100.1\r\n\
                      X-Real-IP: 198.51.100.2\r\nX-Request-Id: from-the-front-1\r\n";

#[test]
fn the_word_of_a_trusted_proxy_is_believed_and_no_other() {
    let stage = Stage::new("trusted_proxies: [127.0.0.1, 127.0.0.2/31]");
    let ask = |from: &str, path: &str| {
        let answer = stage.from(from).exchange(&get(path, CLAIMS));
        assert_eq!(answer.status(), 200);
        stage.seen(path)
    };
    let trusted = ask("127.0.0.2", "/trusted");
    assert_eq!(trusted.all("x-forwarded-for"), ["203.0.113.9, 192.0.2.7, 127.0.0.3, 127.0.0.2"]);
    let (proto, host, port) = ("x-forwarded-proto", "x-forwarded-host", "x-forwarded-port");
    let told = |seen: &Head| [proto, host, port].map(|name| seen.all(name).join("|"));
    assert_eq!(told(&trusted), ["https", "front.test", "443"]);
    assert_eq!(trusted.all("x-real-ip"), ["192.0.2.7"]);
    assert_eq!(trusted.all("x-request-id"), ["from-the-front-1"]);
    assert_eq!(trusted.field("forwarded"), None);

    let stranger = ask("127.0.0.9", "/stranger");
    assert_eq!(stranger.all("x-forwarded-for"), ["127.0.0.9"]);
    assert_eq!(told(&stranger), ["http", "shop.test", &stage.web.port().to_string()]);
    assert_eq!(stranger.all("x-real-ip"), ["127.0.0.9"]);
    assert_eq!(stranger.all("x-request-id").len(), 1);
    assert_ne!(stranger.field("x-request-id"), Some("from-the-front-1"));
    assert_eq!(stranger.field("forwarded"), None);

    let log = stage.sluice.wait_access_log(2);
    let told = |line: usize| (log[line]["ip_address"].as_str().unwrap(), log[line]["request_id"].as_str().unwrap());
    assert_eq!(told(0), ("192.0.2.7", "from-the-front-1"));
    assert_eq!(told(1), ("127.0.0.9", stranger.field("x-request-id").unwrap()));
    // An id that is not safe to write is not taken over, whoever sends it.
    let odd = "X-Request-Id: a\"b{c}d;e'f\r\n";
    stage.from("127.0.0.1").exchange(&get("/odd", odd));
    assert_eq!(stage.seen("/odd").field("x-request-id").map(str::len), Some(32));
    stage.check();
}

#[test]
fn origins_may_be_told_by_forwarded() {
    let stage = Stage::new("trusted_proxies: [127.0.0.1], forwarded: rfc7239");
    let ask = |from: &str, path: &str, fields: &str| {
        assert_eq!(stage.from(from).exchange(&get(path, fields)).status(), 200);
        let seen = stage.seen(path);
        assert_eq!(seen.field("x-forwarded-for"), None);
        seen.field("forwarded").unwrap_or_default().to_owned()
    };
    assert_eq!(ask("127.0.0.9", "/a", CLAIMS), "for=127.0.0.9;host=shop.test;proto=http");
    let claim = "Forwarded: for=\"open, for=\"[2001:db8::7]:1\";proto=https;host=front.test\r\n";
    assert_eq!(
        ask("127.0.0.1", "/b", claim),
        "for=\"[2001:db8::7]:1\";proto=https;host=front.test, for=127.0.0.1;host=shop.test;proto=http"
    );
    assert_eq!(stage.seen("/b").field("x-real-ip"), Some("2001:db8::7"));
    stage.check();
}

/// Trust is of the revision: who is trusted no more is not believed any more, on the connection that there is.
#[test]
fn a_change_of_trust_holds_on_open_connections() {
    let stage = Stage::new("trusted_proxies: [127.0.0.2, 127.0.0.3]");
    let mut client = stage.from("127.0.0.2");
    client.exchange(&get("/before", CLAIMS));
    assert_eq!(stage.seen("/before").field("x-real-ip"), Some("192.0.2.7"));
    stage.sluice.change(document(stage.web, stage.origin.address(), ""));
    client.exchange(&get("/after", CLAIMS));
    assert_eq!(stage.seen("/after").field("x-real-ip"), Some("127.0.0.2"));
    stage.check();
}

/// Users are known by who they are, not by the load balancer that they all come through.
#[test]
fn a_sticky_split_knows_the_client_behind_a_proxy() {
    let (web, one, two) = (free_address(), Origin::start("one"), Origin::start("two"));
    let document = Document::new()
        .listener("web", web, "trusted_proxies: [127.0.0.1]")
        .region("here", "")
        .service("shop", "split: { sticky: client_address }")
        .version("v1", 50, &[("here", &[one.address()])])
        .version("v2", 50, &[("here", &[two.address()])])
        .route("{ path: / }", "service: shop");
    let _sluice = setup(SLUICE).start(document);
    let mut client = Client::connect_from("127.0.0.1".parse().unwrap(), web);
    let mut ask = |user: usize, spoof: usize| {
        let fields = format!("X-Forwarded-For: 203.0.113.{spoof}, 192.0.2.{user}\r\n");
        client.exchange(&get("/", &fields)).origin().to_owned()
    };
    let first: Vec<String> = (0..40).map(|user| ask(user, 1)).collect();
    let again: Vec<String> = (0..40).map(|user| ask(user, user)).collect();
    assert_eq!(first, again);
    assert!(first.contains(&"one".to_owned()) && first.contains(&"two".to_owned()), "{first:?}");
}

/// A trace that somebody began goes through, whole or broken, and no Connection field deletes it.
#[test]
fn a_trace_context_is_passed_on_as_it_came() {
    let stage = Stage::new("limits: { connections: 100 }");
    let context = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\ntracestate: a=1,b=2\r\ntracestate: c=3\r\n";
    stage.from("127.0.0.9").exchange(&get("/whole", &format!("{context}Connection: traceparent, tracestate\r\n")));
    let seen = stage.seen("/whole");
    assert_eq!(seen.all("traceparent"), ["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"]);
    assert_eq!(seen.all("tracestate"), ["a=1,b=2", "c=3"]);
    stage.from("127.0.0.9").exchange(&get("/broken", "traceparent: 00-zz\r\n"));
    assert_eq!(stage.seen("/broken").all("traceparent"), ["00-zz"]);
    stage.from("127.0.0.9").exchange(&get("/none", ""));
    assert_eq!(stage.seen("/none").field("traceparent"), None);
    stage.check();
}

/// The head without what differs from one reply to the next.
fn shown(response: &Response) -> String {
    let id = response.field("x-request-id").unwrap_or_default();
    let keep = |(name, _): &&(String, String)| !name.eq_ignore_ascii_case("date");
    let fields: Vec<String> =
        response.head.fields.iter().filter(keep).map(|(name, value)| format!("{name}: {value}\n")).collect();
    let text = format!("{}\n{}\n{}", response.status(), fields.concat(), response.text());
    if id.is_empty() { text } else { text.replace(id, "ID") }
}

#[test]
fn replies_of_ours_are_in_the_form_that_is_asked_for() {
    let stage = Stage::new("limits: { connections: 100 }");
    let ask =
        |fields: &str| stage.from("127.0.0.9").exchange(&format!("GET / HTTP/1.1\r\nHost: other.test\r\n{fields}\r\n"));
    let reply = |form: &str, length: usize, body: &str| {
        format!(
            "404\ncontent-type: {form}\ncache-control: no-store\nx-request-id: ID\nvary: Accept\ncontent-length: {length}\n\n{body}"
        )
    };
    let text = reply("text/plain; charset=utf-8", 69, "404 Not Found: no_route\nrequest id: ID\n");
    assert_eq!(shown(&ask("")), text);
    assert_eq!(shown(&ask("Accept: text/html,application/xhtml+xml,*/*;q=0.8\r\n")), text);
    let json = "{\"error\":{\"status\":404,\"reason\":\"no_route\",\"message\":\"no route matches the request\",\
                \"request_id\":\"ID\"}}\n";
    assert_eq!(shown(&ask("Accept: application/json\r\n")), reply("application/json", 134, json));
    // HEAD has the head alone, and the connection goes on.
    let mut client = stage.from("127.0.0.9");
    let head = client.exchange("HEAD / HTTP/1.1\r\nHost: other.test\r\nAccept: application/json\r\n\r\n");
    assert_eq!((head.status(), head.body.len(), head.field("content-type")), (404, 0, Some("application/json")));
    assert_eq!(client.exchange(&get("/", "")).status(), 200);
    // What is not understood is not believed either.
    let refused = ask("Accept: application/json\r\nX: a\rb\r\n");
    assert_eq!((refused.status(), refused.field("content-type")), (400, Some("text/plain; charset=utf-8")));
    assert_eq!((refused.field("server"), refused.field("via")), (None, None));
    // With no endpoint left.
    stage.origin.kill();
    let mut client = h2::Client::connect(stage.web);
    let request = http::Request::get("http://shop.test/").header("accept", "application/json");
    let exchange = client.begin(request.body(()).unwrap(), false).unwrap();
    let answer = client.response(exchange).unwrap();
    let told: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(told["error"]["status"], answer.status.as_u16());
    assert_eq!(told["error"]["request_id"], answer.field("x-request-id"));
    stage.check();
}

/// CGI and its heirs make one name of `X-Real-IP` and `X_Real_IP`, so the second would be the client's word in our name.
#[test]
fn a_name_that_frameworks_fold_into_ours_is_removed() {
    let stage = Stage::new("");
    let names =
        ["Client_Cert", "X_Real_IP", "x-forwarded_for", "X.Forwarded.Proto", "X_Request_Id", "X_Forwarded_Client_Cert"];
    let fields: String = names.iter().map(|name| format!("{name}: forged\r\n")).collect();
    stage.from("127.0.0.1").exchange(&get("/head", &format!("{fields}x_other: kept\r\n")));
    let head = stage.seen("/head");
    assert!(head.fields.iter().all(|(_, value)| value != "forged"), "{head:?}");
    assert_eq!(head.field("x_other"), Some("kept"));

    let chunked = "Transfer-Encoding: chunked\r\n";
    let head = get("/trailers", chunked).replacen("GET", "POST", 1);
    stage.from("127.0.0.1").exchange(&format!("{head}1\r\na\r\n0\r\n{fields}x_other: kept\r\n\r\n"));
    assert_eq!(stage.origin.last_seen("/trailers").trailers, [("x_other".to_owned(), "kept".to_owned())]);
    stage.check();
}
