//! The harness against itself: clients and load straight at an origin, without a proxy between them.

use std::io::Write;
use std::time::Duration;

use sluice_harness::h1::Client;
use sluice_harness::load::Load;
use sluice_harness::origin::Then;
use sluice_harness::origin::answer::pattern;
use sluice_harness::{Failure, Origin};

#[test]
fn an_origin_answers_by_path() {
    let origin = Origin::start("a");
    let mut client = Client::connect(origin.address());
    let plain = client.get("/");
    assert_eq!((plain.status(), plain.origin(), plain.text().as_str()), (200, "a", "a"));
    assert_eq!(client.get("/status/503").status(), 503);
    assert_eq!(client.get("/status/204").body, b"");
    assert_eq!(client.get("/bytes/100000").body, pattern(100_000));
    assert_eq!(client.get("/hints").interim[0].status, 103);
    assert_eq!(client.exchange("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").field("content-length"), Some("1"));
    origin.script("/raw", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", Then::Close);
    assert_eq!(client.get("/raw").text(), "hi");
    assert_eq!(client.closed(), b"");
}

#[test]
fn an_origin_echoes_while_it_receives() {
    let origin = Origin::start("a");
    let mut client = Client::connect(origin.address());
    let body = pattern(10 << 20);
    let mut sender = client.sender();
    let sent = body.clone();
    let upload = std::thread::spawn(move || {
        let head = format!("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", sent.len());
        sender.write_all(head.as_bytes()).and_then(|()| sender.write_all(&sent)).unwrap();
    });
    let response = client.response();
    upload.join().unwrap();
    assert!(response.body == body);
    assert_eq!(response.trailers, [("x-length".to_owned(), body.len().to_string())]);
}

#[test]
fn every_way_to_fail_is_told_apart() {
    let origin = Origin::start("a");
    let fail = |path: &str| {
        let mut client = Client::connect(origin.address());
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        client.try_response("GET").unwrap_err()
    };
    assert_eq!(fail("/reset"), Failure::Reset);
    assert_eq!(fail("/reset-body"), Failure::Cut);
    assert_eq!(fail("/half-body"), Failure::Cut);
    assert_eq!(fail("/half-chunked"), Failure::Cut);
    origin.script("/silent", "", Then::Close);
    assert_eq!(fail("/silent"), Failure::Closed);
}

#[test]
fn a_killed_origin_resets_and_comes_back() {
    let origin = Origin::start("a");
    let mut client = Client::connect(origin.address());
    client.get("/");
    origin.kill();
    assert!(Client::try_connect(origin.address()).is_err());
    assert!(client.try_send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").is_err() || client.try_response("GET").is_err());
    origin.revive();
    assert_eq!(Client::connect(origin.address()).get("/").origin(), "a");
}

#[test]
fn a_strict_origin_notes_what_is_malformed() {
    let origin = Origin::start("a");
    let mut client = Client::connect(origin.address());
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_eq!(client.response().status(), 400);
    assert_eq!(origin.malformed().len(), 1);
}

/// The generator must be far cheaper than what it measures.
#[test]
fn load_keeps_its_rate_and_counts_failures() {
    let origin = Origin::start("a");
    let load = Load::new(origin.address()).connections(64).rate(5_000.0).trace().start();
    load.wait_good(2_000);
    origin.set_healthy(false);
    let report = load.finish();
    report.assert_clean();
    assert_eq!(report.by("a"), report.good);
    assert_eq!(report.samples.len() as u64, report.good);
    println!("{report}");

    let running = Load::new(origin.address()).connections(4).start();
    running.wait_good(100);
    origin.kill();
    sluice_harness::wait::until("failures", || (running.failed() > 10).then_some(()));
    let report = running.finish();
    assert!(report.failed_by("connect") > 0, "{report}");
    let wrong = Load::new(origin.address()).expect("b");
    origin.revive();
    let report = wrong.run_for(Duration::from_millis(50));
    assert_eq!((report.good, report.failed()), (0, report.failed_by("body")));
    assert!(report.failed() > 0);
}
