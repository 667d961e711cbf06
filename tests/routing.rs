//! Which route, version and region answers: seen from outside, through the running program.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use sluice_harness::h1::Client;
use sluice_harness::load::Load;
use sluice_harness::shares::worst_window;
use sluice_harness::sluice::setup;
use sluice_harness::{Document, Origin, Sluice, free_address};

const SLUICE: &str = env!("CARGO_BIN_EXE_sluice");

/// A proxy whose routes lead each to an origin of its own, named in the rule.
struct Table {
    web: SocketAddr,
    _origins: Vec<Origin>,
    _sluice: Sluice,
}

impl Table {
    /// From rules of (match, origin).
    fn new(rules: &[(&str, &str)]) -> Self {
        let web = free_address();
        let mut document = Document::new().listener("web", web, "").region("here", "");
        let mut origins = Vec::new();
        for (matches, name) in rules {
            let origin = Origin::start(name);
            document = document.service(name, "").version("v1", 100, &[("here", &[origin.address()])]);
            document = document.route(matches, &format!("service: {name}"));
            origins.push(origin);
        }
        Self { web, _origins: origins, _sluice: setup(SLUICE).start(document) }
    }

    /// Asks and checks who answers; the empty name stands for 404.
    fn check(&self, cases: &[(&str, &str)]) {
        let mut client = Client::connect(self.web);
        for (request, origin) in cases {
            let response = client.exchange(&format!("{request}\r\n\r\n"));
            let expected = if origin.is_empty() { 404 } else { 200 };
            assert_eq!((response.status(), response.origin()), (expected, *origin), "{request:?}");
        }
    }
}

#[test]
fn the_most_exact_host_wins() {
    let table = Table::new(&[
        ("{ host: '*.test' }", "wild"),
        ("{ host: shop.test }", "exact"),
        ("{ host: '*.deep.test' }", "deep"),
    ]);
    table.check(&[
        ("GET / HTTP/1.1\r\nHost: shop.test", "exact"),
        ("GET / HTTP/1.1\r\nHost: SHOP.Test", "exact"),
        ("GET / HTTP/1.1\r\nHost: shop.test:8080", "exact"),
        ("GET / HTTP/1.1\r\nHost: a.test", "wild"),
        ("GET / HTTP/1.1\r\nHost: a.b.test", "wild"),
        ("GET / HTTP/1.1\r\nHost: a.shop.test", "wild"),
        ("GET / HTTP/1.1\r\nHost: a.deep.test", "deep"),
        ("GET / HTTP/1.1\r\nHost: deep.test", "wild"),
        ("GET / HTTP/1.1\r\nHost: test", ""),
        ("GET / HTTP/1.1\r\nHost: shop.test.org", ""),
        ("GET http://shop.test/ HTTP/1.1\r\nHost: shop.test", "exact"),
    ]);
}

#[test]
fn the_most_exact_path_wins_and_prefixes_go_by_segment() {
    let table = Table::new(&[
        ("{ path: /a }", "prefix"),
        ("{ path: /a/b }", "longer"),
        ("{ path: { exact: /a } }", "exact"),
        ("{ path: { regex: '/a/[0-9]+' } }", "regex"),
    ]);
    table.check(&[
        ("GET /a HTTP/1.1\r\nHost: t", "exact"),
        ("GET /a?b=/c HTTP/1.1\r\nHost: t", "exact"),
        ("GET /a/x HTTP/1.1\r\nHost: t", "prefix"),
        ("GET /a/b HTTP/1.1\r\nHost: t", "longer"),
        ("GET /a/b/c HTTP/1.1\r\nHost: t", "longer"),
        ("GET /a/bc HTTP/1.1\r\nHost: t", "prefix"),
        ("GET /a/17 HTTP/1.1\r\nHost: t", "regex"),
        ("GET /a/17/x HTTP/1.1\r\nHost: t", "prefix"),
        ("GET /ab HTTP/1.1\r\nHost: t", ""),
        ("GET / HTTP/1.1\r\nHost: t", ""),
        ("GET /A HTTP/1.1\r\nHost: t", ""),
    ]);
}

#[test]
fn methods_fields_and_parameters_decide() {
    let table = Table::new(&[
        ("{ path: /m, methods: [POST, PUT] }", "write"),
        ("{ path: /m }", "any"),
        ("{ path: /m, headers: { X-Beta: 'on' } }", "beta"),
        ("{ path: /m, query: { debug: { present: true } } }", "debug"),
        ("{ path: /m, headers: { x-beta: 'on' }, query: { debug: '2' } }", "both"),
    ]);
    table.check(&[
        ("GET /m HTTP/1.1\r\nHost: t", "any"),
        ("POST /m HTTP/1.1\r\nHost: t\r\nContent-Length: 0", "write"),
        ("PUT /m HTTP/1.1\r\nHost: t\r\nContent-Length: 0", "write"),
        ("DELETE /m HTTP/1.1\r\nHost: t", "any"),
        ("GET /m HTTP/1.1\r\nHost: t\r\nx-BETA: on", "beta"),
        ("GET /m HTTP/1.1\r\nHost: t\r\nX-Beta: off", "any"),
        ("GET /m HTTP/1.1\r\nHost: t\r\nX-Beta: off\r\nX-Beta: on", "any"),
        ("GET /m?debug HTTP/1.1\r\nHost: t", "debug"),
        ("GET /m?x=1&debug=0 HTTP/1.1\r\nHost: t", "debug"),
        ("GET /m?debugger=1 HTTP/1.1\r\nHost: t", "any"),
        ("GET /m?debug=2 HTTP/1.1\r\nHost: t\r\nX-Beta: on", "both"),
        ("GET /m?debug=1&debug=2 HTTP/1.1\r\nHost: t\r\nX-Beta: on", "beta"),
    ]);
}

/// Weight 0 is never chosen, and still reachable by a route that names the version.
#[test]
fn a_version_of_weight_0_is_reached_only_by_its_route() {
    let (web, one, two) = (free_address(), Origin::start("one"), Origin::start("two"));
    let document = Document::new()
        .listener("web", web, "")
        .region("here", "")
        .service("shop", "")
        .version("v1", 100, &[("here", &[one.address()])])
        .version("v2", 0, &[("here", &[two.address()])])
        .route("{ path: / }", "service: shop")
        .route("{ path: /, headers: { x-version: v2 } }", "service: shop, version: v2");
    let _sluice = setup(SLUICE).start(document);
    let mut client = Client::connect(web);
    for _ in 0..200 {
        assert_eq!(client.get("/").origin(), "one");
    }
    let response = client.exchange("GET / HTTP/1.1\r\nHost: t\r\nX-Version: v2\r\n\r\n");
    assert_eq!(response.origin(), "two");
}

/// Two or more versions in one region, each with an origin of its name.
struct Split {
    web: SocketAddr,
    origins: Vec<Origin>,
    document: Document,
}

impl Split {
    fn new(settings: &str, weights: &[(&str, u32)]) -> Self {
        let web = free_address();
        let mut document = Document::new().listener("web", web, "").region("here", "").service("shop", settings);
        let mut origins = Vec::new();
        for (name, weight) in weights {
            let origin = Origin::start(name);
            document = document.version(name, *weight, &[("here", &[origin.address()])]);
            origins.push(origin);
        }
        Self { web, origins, document: document.route("{ path: / }", "service: shop") }
    }
}

const WEIGHTS: &[(&str, u32)] = &[("v1", 70), ("v2", 25), ("v3", 5)];

/// Guarantee 4: with one worker every window of the requests holds its share within 2.
#[test]
fn every_window_of_one_worker_holds_its_share() {
    let split = Split::new("", WEIGHTS);
    let _sluice = setup(SLUICE).start(&split.document);
    let mut client = Client::connect(split.web);
    let answers: Vec<String> = (0..4_000).map(|_| client.get("/").origin().to_owned()).collect();
    for (name, weight) in WEIGHTS {
        let worst = worst_window(&answers, f64::from(*weight) / 100.0, |answer| answer == name);
        assert!(worst <= 2.0, "{name}: {worst}");
    }
}

/// Guarantee 4: with two workers, within 4; connections are spread over them by the kernel.
#[test]
fn every_window_of_two_workers_holds_its_share() {
    let split = Split::new("", WEIGHTS);
    let _sluice = setup(SLUICE).workers(2).start(&split.document);
    let mut clients: Vec<Client> = (0..16).map(|_| Client::connect(split.web)).collect();
    let answers: Vec<String> = (0..4_000).map(|i| clients[i * 7 % 16].get("/").origin().to_owned()).collect();
    for (name, weight) in WEIGHTS {
        let worst = worst_window(&answers, f64::from(*weight) / 100.0, |answer| answer == name);
        assert!(worst <= 4.0, "{name}: {worst}");
    }
}

/// Guarantee 4 when answers overtake each other: from rest to rest all requests are one window.
#[test]
fn the_share_of_a_whole_load_is_exact() {
    let split = Split::new("", WEIGHTS);
    let _sluice = setup(SLUICE).workers(2).start(&split.document);
    let load = Load::new(split.web).connections(32).start();
    load.wait_good(3_000);
    let report = load.finish();
    report.assert_clean();
    for (name, weight) in WEIGHTS {
        let due = report.good as f64 * f64::from(*weight) / 100.0;
        assert!((report.by(name) as f64 - due).abs() <= 4.0, "{name}: {} of {report}", report.by(name));
    }
    assert!(split.origins.iter().all(|origin| origin.malformed().is_empty()));
}

/// Regions share as versions do.
#[test]
fn every_window_holds_its_region_s_share() {
    let web = free_address();
    let regions = [("west", 70), ("east", 30)];
    let origins: Vec<Origin> = regions.iter().map(|(name, _)| Origin::start(name)).collect();
    let document = Document::new()
        .listener("web", web, "")
        .region("west", "weight: 70")
        .region("east", "weight: 30")
        .service("shop", "")
        .version("v1", 100, &[("west", &[origins[0].address()]), ("east", &[origins[1].address()])])
        .route("{ path: / }", "service: shop");
    let _sluice = setup(SLUICE).start(document);
    let mut client = Client::connect(web);
    let answers: Vec<String> = (0..2_000).map(|_| client.get("/").origin().to_owned()).collect();
    for (name, weight) in regions {
        let worst = worst_window(&answers, f64::from(weight) / 100.0, |answer| answer == name);
        assert!(worst <= 2.0, "{name}: {worst}");
    }
}

/// A request goes only where its kind is served: reads by method, writes, and what a route demands.
#[test]
fn a_region_gets_only_what_it_serves() {
    let web = free_address();
    let [reader, writer, keeper] = ["reader", "writer", "keeper"].map(Origin::start);
    let pools: [(&str, &[SocketAddr]); 3] =
        [("r", &[reader.address()]), ("w", &[writer.address()]), ("k", &[keeper.address()])];
    let document = Document::new()
        .listener("web", web, "")
        .region("r", "capabilities: [read]")
        .region("w", "capabilities: [write]")
        .region("k", "capabilities: [admin]")
        .service("shop", "")
        .version("v1", 100, &pools)
        .route("{ path: / }", "service: shop")
        .route("{ path: /admin }", "service: shop, capability: admin");
    let _sluice = setup(SLUICE).start(document);
    let mut client = Client::connect(web);
    for method in ["GET", "HEAD", "OPTIONS"] {
        assert_eq!(client.exchange(&format!("{method} / HTTP/1.1\r\nHost: t\r\n\r\n")).origin(), "reader");
    }
    for method in ["POST", "PUT", "PATCH", "DELETE"] {
        let request = format!("{method} / HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(client.exchange(&request).origin(), "writer");
    }
    assert_eq!(client.get("/admin").origin(), "keeper");
}

fn ask_as(client: &mut Client, field: &str) -> String {
    client.exchange(&format!("GET / HTTP/1.1\r\nHost: t\r\n{field}\r\n\r\n")).origin().to_owned()
}

/// Guarantee 4: the same user, the same version, on whatever connection and worker; raising a weight only moves users
/// into that version.
#[test]
fn a_sticky_user_stays_and_moves_only_into_a_raised_version() {
    let split = Split::new("split: { sticky: { header: X-User } }", &[("v1", 60), ("v2", 30), ("v3", 10)]);
    let sluice = setup(SLUICE).workers(2).start(&split.document);
    let users: Vec<String> = (0..300).map(|i| format!("X-User: user-{i}")).collect();
    let place = || -> BTreeMap<&str, String> {
        let mut clients: Vec<Client> = (0..8).map(|_| Client::connect(split.web)).collect();
        users.iter().enumerate().map(|(i, user)| (user.as_str(), ask_as(&mut clients[i % 8], user))).collect()
    };
    let before = place();
    assert_eq!(before, place(), "the same users, asked again");
    sluice.change(split.document.clone().weight("shop", "v2", 120));
    let after = place();
    let moved: Vec<_> = users.iter().filter(|user| before[user.as_str()] != after[user.as_str()]).collect();
    assert!(!moved.is_empty() && moved.len() < users.len() / 2, "{} of {} moved", moved.len(), users.len());
    assert!(moved.iter().all(|user| after[user.as_str()] == "v2"));
    for (name, share) in [("v1", 0.6), ("v2", 0.3), ("v3", 0.1)] {
        let count = before.values().filter(|version| *version == name).count() as f64;
        // Hashing is no exact split: five standard deviations of a coin.
        let spread = 5.0 * (300.0_f64 * share * (1.0 - share)).sqrt();
        assert!((count - 300.0 * share).abs() < spread, "{name}: {count}");
    }
}

#[test]
fn a_sticky_user_is_known_by_the_cookie() {
    let split = Split::new("split: { sticky: { cookie: user } }", &[("v1", 50), ("v2", 50)]);
    let _sluice = setup(SLUICE).start(&split.document);
    let mut client = Client::connect(split.web);
    let mut seen = BTreeMap::<String, usize>::new();
    for i in 0..60 {
        let first = ask_as(&mut client, &format!("Cookie: a=1; user=u{i}; b={i}"));
        let again = ask_as(&mut client, &format!("Cookie: user=u{i}; superuser=x"));
        assert_eq!(first, again, "user {i}");
        *seen.entry(first).or_default() += 1;
    }
    assert_eq!(seen.len(), 2, "{seen:?}");
    let strangers: Vec<String> = (0..1_000).map(|_| client.get("/").origin().to_owned()).collect();
    assert!(worst_window(&strangers, 0.5, |answer| answer == "v1") <= 2.0, "without the cookie: at random");
}

#[test]
fn a_sticky_user_is_known_by_the_address() {
    let split = Split::new("split: { sticky: client_address }", &[("v1", 50), ("v2", 50)]);
    let _sluice = setup(SLUICE).workers(2).start(&split.document);
    let ask = |last: u8| {
        let from = IpAddr::V4(Ipv4Addr::new(127, 0, 0, last));
        Client::connect_from(from, split.web).get("/").origin().to_owned()
    };
    let first: Vec<String> = (1..=60).map(ask).collect();
    let again: Vec<String> = (1..=60).map(ask).collect();
    assert_eq!(first, again);
    assert!(first.iter().any(|version| version == "v1") && first.iter().any(|version| version == "v2"));
}
