//! Limits of clients and of the process: what is above them is refused in words, counted by its reason, and the rest is
//! served.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request};
use sluice_harness::h1::Client;
use sluice_harness::h2;
use sluice_harness::sluice::{Setup, setup};
use sluice_harness::wait::{pass, until};
use sluice_harness::{Document, Failure, Origin, Sluice, free_address};

const SLUICE: &str = env!("CARGO_BIN_EXE_sluice");

/// The shortest wait after which an idle connection may be closed to make room.
const IDLE: Duration = Duration::from_millis(1_100);

struct Stage {
    sluice: Sluice,
    web: SocketAddr,
    origin: Origin,
}

/// With these limits of the listener and of the process, in flow style.
fn document(web: SocketAddr, origin: &Origin, listener: &str, process: &str) -> String {
    let document = Document::new()
        .listener("web", web, &format!("limits: {{ {listener} }}"))
        .region("here", "")
        .service("shop", "")
        .version("v1", 100, &[("here", &[origin.address()])])
        .route("{ path: / }", "service: shop");
    format!("{document}limits: {{ {process} }}\n")
}

impl Stage {
    fn new(listener: &str, process: &str) -> Self {
        Self::by(&setup(SLUICE), listener, process)
    }

    fn by(setup: &Setup, listener: &str, process: &str) -> Self {
        let (web, origin) = (free_address(), Origin::start("a"));
        let sluice = setup.start(document(web, &origin, listener, process));
        Self { sluice, web, origin }
    }

    fn client(&self) -> Client {
        Client::connect(self.web)
    }

    fn served(&self) -> Client {
        let mut client = self.client();
        assert_eq!(client.get("/").status(), 200);
        client
    }

    fn shed(&self, reason: &str) -> f64 {
        self.sluice.metric("sluice_shed_total", &[("reason", reason)])
    }
}

#[test]
fn a_client_has_so_many_connections_and_others_have_theirs() {
    let stage = Stage::new("connections_per_address: 3", "connections: auto");
    let mut held: Vec<Client> = (0..3).map(|_| stage.served()).collect();
    let mut late = stage.client();
    let refusal = late.response();
    assert_eq!((refusal.status(), refusal.text().as_str()), (429, "429 Too Many Requests: connections_per_address\n"));
    assert_eq!(late.closed(), b"");
    let mut other = Client::connect_from(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2)), stage.web);
    assert_eq!(other.get("/").status(), 200);
    assert_eq!(stage.shed("address"), 1.0);
    stage.sluice.wait_stderr("limits.connections_per_address is reached");
    drop(held.pop());
    until("the place is free", || (stage.client().try_response_to("/") == Ok(200)).then_some(()));
}

trait Ask {
    fn try_response_to(&mut self, path: &str) -> Result<u16, Failure>;
}

impl Ask for Client {
    fn try_response_to(&mut self, path: &str) -> Result<u16, Failure> {
        // It may have been closed already.
        drop(self.try_send(format!("GET {path} HTTP/1.1\r\nHost: t\r\n\r\n")));
        self.try_response("GET").map(|response| response.status())
    }
}

#[test]
fn a_body_above_the_limit_is_refused_as_soon_as_that_is_known() {
    let stage = Stage::new("body_bytes: 10KiB", "connections: auto");
    let mut client = stage.client();
    client.send("POST /sink HTTP/1.1\r\nHost: t\r\nContent-Length: 10241\r\nExpect: 100-continue\r\n\r\n");
    let refusal = client.try_response("POST").unwrap();
    assert_eq!((refusal.status(), refusal.interim.len()), (413, 0), "nothing of the body was asked for");
    assert!(refusal.text().starts_with("413 Content Too Large: body_too_large\n"), "{}", refusal.text());
    assert_eq!(client.closed(), b"");
    assert_eq!(stage.origin.requests(), 0);

    let chunk = format!("2000\r\n{}\r\n", "x".repeat(0x2000));
    let mut client = stage.client();
    client.send(format!("POST /sink HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}"));
    drop(client.try_send(&chunk));
    assert_eq!(client.try_response("POST").map(|response| response.status()), Ok(413));
    assert_eq!(client.closed(), b"");

    let whole = format!("Content-Length: 10240\r\n\r\n{}", "x".repeat(10_240));
    let mut client = stage.client();
    assert_eq!(client.exchange(&format!("POST /sink HTTP/1.1\r\nHost: t\r\n{whole}")).text(), "10240");
    assert_eq!(client.get("/").status(), 200, "the connection goes on");
    assert_eq!(stage.sluice.metric("sluice_requests_ended_by_client_total", &[("reason", "body_too_large")]), 2.0);
}

#[test]
fn an_h2_body_above_the_limit_is_refused_too() {
    let stage = Stage::new("body_bytes: 10KiB", "connections: auto");
    let mut client = h2::Client::connect(stage.web);
    let request = |length: Option<usize>| {
        let request = Request::builder().method(Method::POST).uri("http://t/sink");
        length.map_or_else(
            || Request::builder().method(Method::POST).uri("http://t/sink"),
            |n| request.header("content-length", n),
        )
    };
    let told = client.begin(request(Some(10_241)).body(()).unwrap(), true).unwrap();
    assert_eq!(client.response(told).unwrap().status, 413);
    let mut passed = client.begin(request(None).body(()).unwrap(), true).unwrap();
    for _ in 0..3 {
        passed.body.send_data(Bytes::from(vec![b'x'; 5_000]), false).unwrap();
    }
    assert_eq!(client.response(passed).unwrap().status, 413);
    assert_eq!(client.get("/").status, 200, "other streams go on");
}

#[test]
fn a_connection_carries_so_many_requests() {
    let stage = Stage::new("requests_per_connection: 3", "connections: auto");
    let mut client = stage.client();
    let connection = |client: &mut Client| client.get("/").field("connection").map(str::to_owned);
    assert_eq!([connection(&mut client), connection(&mut client)], [None, None]);
    assert_eq!(connection(&mut client).as_deref(), Some("close"));
    assert_eq!(client.closed(), b"");
    let mut client = h2::Client::connect(stage.web);
    for _ in 0..3 {
        assert_eq!(client.get("/").status, 200);
    }
    client.closed(Duration::from_secs(10));
}

/// Whoever waits for a request makes room for one who has one, the longest first; who carries one does not.
#[test]
fn idle_connections_make_room_when_the_process_is_full() {
    let stage = Stage::new("connections: 100", "connections: 4");
    let mut busy = stage.client();
    busy.send("GET /hang HTTP/1.1\r\nHost: t\r\n\r\n");
    let mut oldest = stage.served();
    pass(Duration::from_millis(50));
    let mut rest = [stage.served(), stage.served()];
    pass(IDLE);
    let mut late = stage.client();
    assert_eq!(late.get("/").status(), 200);
    assert_eq!(oldest.closed(), b"");
    for client in &mut rest {
        assert_eq!(client.get("/").status(), 200, "only as many as needed were closed");
    }
    assert_eq!(stage.shed("idle_for_process"), 1.0);
    assert_eq!(stage.sluice.metric("sluice_connections_limit", &[]), 4.0);
    busy.set_patience(Duration::from_millis(50));
    assert_eq!(busy.try_response("GET").map(drop), Err(Failure::Timeout), "still under way");
}

#[test]
fn idle_connections_make_room_when_the_listener_is_full() {
    let stage = Stage::new("connections: 3", "connections: auto");
    let mut silent = stage.client();
    let mut h2 = h2::Client::connect(stage.web);
    assert_eq!(h2.get("/").status, 200);
    let mut used = stage.served();
    pass(IDLE);
    for _ in 0..3 {
        let mut late = stage.client();
        assert_eq!(late.get("/").status(), 200);
        late.send("GET /hang HTTP/1.1\r\nHost: t\r\n\r\n");
        let _: &mut _ = Box::leak(Box::new(late));
    }
    assert_eq!((silent.closed(), used.closed()), (Vec::new(), Vec::new()));
    h2.closed(Duration::from_secs(10));
    assert_eq!(stage.shed("idle_for_listener"), 3.0);
}

/// A program that starts Sluice with so many files to open.
fn with_files(folder: &std::path::Path, files: u32) -> Setup {
    let path = folder.join("few-files");
    fs::write(&path, format!("#!/bin/sh\nulimit -n {files}\nexec {SLUICE} \"$@\"\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    setup(path.to_str().unwrap())
}

/// Each connection may need a file more for the endpoint that answers it: so many are left that clients cannot take all.
#[test]
fn a_crowd_cannot_take_all_files() {
    let folder = tempfile::tempdir().unwrap();
    let stage = Stage::by(&with_files(folder.path(), 300), "connections: 20000", "connections: auto");
    assert_eq!(stage.sluice.metric("sluice_connections_limit", &[]), 50.0);
    let crowd: Vec<Client> = (0..1_000).map(|_| stage.client()).collect();
    let start = Instant::now();
    let mut client = stage.client();
    assert_eq!(client.get("/").status(), 200, "the silent ones have made room");
    println!("served after {:?}", start.elapsed());
    assert!(stage.sluice.metric("sluice_connections", &[]) <= 52.0);
    assert!(!stage.sluice.stderr().contains("cannot accept"), "{}", stage.sluice.stderr());
    drop(crowd);
    assert_eq!(stage.served().get("/").status(), 200);
}

/// Without that reserve the files do run out. That is told now and then, costs no processor, and ends with the crowd.
#[test]
fn without_files_accepting_rests_and_recovers() {
    let folder = tempfile::tempdir().unwrap();
    let stage = Stage::by(&with_files(folder.path(), 120), "connections: 20000", "connections: off");
    let crowd: Vec<Client> = (0..1_000).map(|_| stage.client()).collect();
    stage.sluice.wait_stderr("cannot accept");
    let before = cpu(stage.sluice.process());
    pass(Duration::from_secs(2));
    let spent = cpu(stage.sluice.process()) - before;
    assert!(spent < Duration::from_millis(700), "{spent:?} of processor time in 2 s of waiting");
    assert!(stage.shed("idle_for_files") > 0.0);
    drop(crowd);
    until("somebody is served", || (stage.client().try_response_to("/") == Ok(200)).then_some(()));
    let complaints = stage.sluice.stderr().matches("cannot accept").count();
    assert!(complaints <= 4, "{complaints} complaints");
}

/// The processor time of a process.
fn cpu(process: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let after_name = stat.rsplit_once(')').unwrap().1;
    let ticks: u64 = after_name.split_whitespace().skip(11).take(2).map(|n| n.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}

/// Short of memory: first keep-alive goes, then new requests, politely; health and metrics stay; and it heals.
#[test]
fn a_process_without_memory_refuses_politely_and_recovers() {
    let stage = Stage::new("connections: 100", "memory: off");
    let mut idle = stage.served();
    let resident = stage.sluice.metric("process_resident_memory_bytes", &[]) as u64;
    pass(IDLE);
    let limit = |share: u64| format!("memory: {}KiB", (resident * 100 / share) >> 10);
    let with = |process: &str| document(stage.web, &stage.origin, "connections: 100", process);
    stage.sluice.change(with(&limit(88)));
    stage.sluice.wait_metric("sluice_overload_level", &[], 1.0);
    if stage.sluice.metric("sluice_overload_level", &[]) < 2.0 {
        let answer = stage.client().get("/");
        assert_eq!((answer.status(), answer.field("connection")), (200, Some("close")));
    }
    assert_eq!(idle.closed(), b"");
    stage.sluice.change(with(&limit(103)));
    stage.sluice.wait_metric("sluice_overload_level", &[], 2.0);
    let mut client = stage.client();
    let refusal = client.get("/");
    assert_eq!(
        (refusal.status(), refusal.field("connection"), refusal.field("retry-after")),
        (503, Some("close"), Some("1"))
    );
    assert!(refusal.text().starts_with("503 Service Unavailable: overload\n"), "{}", refusal.text());
    assert_eq!(client.closed(), b"");
    let mut h2 = h2::Client::connect(stage.web);
    assert_eq!(h2.get("/").status, 503);
    h2.closed(Duration::from_secs(10));
    let (status, health) = stage.sluice.health();
    assert_eq!((status, health["overall_status"].as_str()), (200, Some("degraded")));
    let words = health["component_status"]["overload"]["error_message"].as_str().unwrap_or_default();
    assert!(words.contains("new requests are answered 503"), "{health}");
    assert!(stage.shed("memory") >= 2.0 && stage.shed("idle_for_memory") >= 1.0);
    stage.sluice.wait_stderr("short of memory");
    stage.sluice.change(with("memory: off"));
    until("requests are served again", || (stage.client().try_response_to("/") == Ok(200)).then_some(()));
    assert_eq!(stage.sluice.metric("sluice_overload_level", &[]), 0.0);
}

/// Thousands of connections with a head and half a body come and go: what they took is given back.
#[test]
fn a_burst_of_connections_gives_its_memory_back() {
    let full = std::env::var_os("SLUICE_FULL").is_some();
    let count = if full { 2_000 } else { 400 };
    let stage = Stage::new("connections: 20000", "connections: off");
    let resident = || stage.sluice.metric("process_resident_memory_bytes", &[]) as u64 >> 20;
    drop(stage.served());
    let start = resident();
    let field = "x".repeat(8_000);
    let head = format!("POST /sink HTTP/1.1\r\nHost: t\r\nX: {field}\r\nContent-Length: 60000\r\n\r\n");
    let half = "y".repeat(30_000);
    let mut peak = start;
    for _ in 0..2 {
        let mut crowd: Vec<Client> = (0..count).map(|_| stage.client()).collect();
        for client in &mut crowd {
            client.send(&head).send(&half);
        }
        until("all are under way", || {
            (stage.sluice.metric("sluice_requests_in_flight", &[]) >= f64::from(count)).then_some(())
        });
        peak = peak.max(resident());
        for client in &mut crowd {
            client.send(&half);
        }
        for client in &mut crowd {
            assert_eq!(client.try_response("POST").map(|response| response.text()), Ok("60000".to_owned()));
        }
        peak = peak.max(resident());
        drop(crowd);
        until("all have left", || (stage.sluice.metric("sluice_connections", &[]) == 0.0).then_some(()));
    }
    let most = start + 8 + u64::try_from(count).unwrap() / 100;
    // The allocator gives back what a thread has freed when that thread next allocates.
    let left = until(&format!("memory is back, from {peak} MiB to {most}"), || {
        drop(stage.served());
        Some(resident()).filter(|now| *now <= most)
    });
    println!("{count} connections: {start} MiB before, {peak} MiB at the most, {left} MiB after");
}
