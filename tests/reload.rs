//! Guarantees 1 and 2: no request is lost by a change of the file, and a bad file changes nothing.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::collections::BTreeMap;
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use sluice_harness::h1::Client;
use sluice_harness::load::{Load, Running};
use sluice_harness::sluice::setup;
use sluice_harness::wait::until;
use sluice_harness::{Document, Origin, Sluice, free_address};

const SLUICE: &str = env!("CARGO_BIN_EXE_sluice");

/// Requests a second that are sent; at least [`HELD`] of them must be answered a second over the whole load.
const RATE: f64 = 5_400.0;
const HELD: f64 = 5_000.0;
const CONNECTIONS: usize = 64;
const CHANGES: usize = 20;
const WORKERS: usize = 2;

/// The load's time: 30 s when the long suites are asked for.
fn load_time() -> Duration {
    Duration::from_secs(if std::env::var_os("SLUICE_FULL").is_some() { 30 } else { 10 })
}

/// Everything that changes under the load, and how each change is proved.
struct Stage {
    web: SocketAddr,
    extra: SocketAddr,
    v1: Origin,
    v2: Origin,
    /// Joins and leaves v2's pool.
    joining: Origin,
    /// Answers the routes that come and go.
    other: Origin,
    /// Weights of v1 and v2, by revision.
    weights: BTreeMap<u64, (u32, u32)>,
    document: Document,
    sluice: Sluice,
}

impl Stage {
    fn new() -> Self {
        let (web, extra) = (free_address(), free_address());
        let [v1, v2, joining, other] = ["v1", "v2", "joining", "other"].map(Origin::start);
        let document = Document::new()
            .listener("web", web, "")
            .region("here", "")
            .service("other", "")
            .version("v1", 100, &[("here", &[other.address()])])
            .service("shop", "")
            .version("v1", 90, &[("here", &[v1.address()])])
            .version("v2", 10, &[("here", &[v2.address()])])
            .route("{ path: / }", "service: shop");
        let sluice = setup(SLUICE).workers(WORKERS).alone().start(&document);
        let weights = BTreeMap::from([(sluice.revision(), (90, 10))]);
        Self { web, extra, v1, v2, joining, other, weights, document, sluice }
    }

    fn apply(&mut self, document: Document, weights: (u32, u32)) {
        self.document = document;
        let revision = self.sluice.change(&self.document);
        self.weights.insert(revision, weights);
    }

    fn current_weights(&self) -> (u32, u32) {
        *self.weights.values().next_back().unwrap()
    }

    /// The kinds of change take turns.
    fn change(&mut self, number: usize, load: &Running) {
        match number % 5 {
            0 => self.change_weights(number, load),
            1 => self.add_route(number),
            2 => self.remove_route(number - 1),
            3 => self.change_endpoints(number, load),
            _ => self.change_listeners(number),
        }
    }

    /// Seen in who answers: the share of v2 in the answers since the change.
    fn change_weights(&mut self, number: usize, load: &Running) {
        let weights = [(50, 50), (99, 1), (0, 100), (30, 70)][number / 5 % 4];
        let document = self.document.clone().weight("shop", "v1", weights.0).weight("shop", "v2", weights.1);
        self.apply(document, weights);
        let before = self.answers();
        load.wait_good(400);
        let after = self.answers();
        let (all, second) = (after.0 - before.0 + after.1 - before.1, after.1 - before.1);
        let due = all as f64 * f64::from(weights.1) / f64::from(weights.0 + weights.1);
        // Requests on their way at either look belong to it or not.
        let slack = (2 * WORKERS + 2 * CONNECTIONS) as f64;
        assert!((second as f64 - due).abs() <= slack, "weights {weights:?}: v2 answered {second} of {all}");
    }

    fn answers(&self) -> (u64, u64) {
        (self.v1.requests(), self.v2.requests() + self.joining.requests())
    }

    /// Seen in who answers the new path.
    fn add_route(&mut self, number: usize) {
        let path = format!("/route-{number}");
        assert_ne!(Client::connect(self.web).get(&path).origin(), "other");
        let document = self.document.clone().route(&format!("{{ path: {path} }}"), "service: other");
        self.apply(document, self.current_weights());
        assert_eq!(Client::connect(self.web).get(&path).origin(), self.other.id());
    }

    fn remove_route(&mut self, number: usize) {
        let path = format!("/route-{number}");
        assert_eq!(Client::connect(self.web).get(&path).origin(), "other");
        self.apply(self.document.clone().without_last_route(), self.current_weights());
        assert_ne!(Client::connect(self.web).get(&path).origin(), "other");
    }

    /// Seen in an endpoint that begins to answer, and in one that stops.
    fn change_endpoints(&mut self, number: usize, load: &Running) {
        let joins = (number / 5).is_multiple_of(2);
        let (both, one) = ([self.v2.address(), self.joining.address()], [self.v2.address()]);
        let addresses: &[SocketAddr] = if joins { &both } else { &one };
        let document = self.document.clone().endpoints("shop", "v2", "here", addresses);
        self.apply(document, self.current_weights());
        // Whoever took the old revision has its answer by then.
        load.wait_good(2 * CONNECTIONS as u64);
        let before = self.joining.requests();
        load.wait_good(1_000);
        let answered = self.joining.requests() - before;
        assert_eq!(answered > 0, joins, "the endpoint answered {answered} requests");
    }

    /// Seen in an address that accepts connections, and refuses them again.
    fn change_listeners(&mut self, number: usize) {
        let added = (number / 5).is_multiple_of(2);
        let document = self.document.clone();
        let document =
            if added { document.listener("extra", self.extra, "") } else { document.without_listener("extra") };
        self.apply(document, self.current_weights());
        if added {
            assert_eq!(Client::connect(self.extra).get("/").status(), 200);
        } else {
            let refused = || TcpStream::connect(self.extra).is_err().then_some(());
            until("the removed listener refuses connections", refused);
        }
    }

    /// Guarantee 4 over each revision's requests, as the access log tells them: 2 per worker.
    fn check_shares(&self, requests: u64) {
        let log = self.sluice.wait_access_log(usize::try_from(requests).unwrap());
        assert_eq!(self.sluice.metric("sluice_access_log_dropped_total", &[]), 0.0);
        let mut windows = BTreeMap::<u64, (u64, u64)>::new();
        for line in log.iter().filter(|line| line["service"] == "shop") {
            let window = windows.entry(line["revision"].as_u64().unwrap()).or_default();
            match line["version"].as_str() {
                Some("v1") => window.0 += 1,
                Some("v2") => window.1 += 1,
                other => panic!("version {other:?}: {line}"),
            }
        }
        assert_eq!(windows.len(), CHANGES + 1, "every revision served: {windows:?}");
        for (revision, (first, second)) in windows {
            let weights = self.weights[&revision];
            let all = (first + second) as f64;
            let due = all * f64::from(weights.1) / f64::from(weights.0 + weights.1);
            let off = (second as f64 - due).abs();
            println!("revision {revision}: weights {weights:?}, {all} requests, off by {off:.2}");
            assert!(off <= 2.0 * WORKERS as f64, "revision {revision}: v2 had {second} of {all}, {due} due");
        }
    }
}

/// The load test: 0 failed requests while the file changes 20 times, each change seen, every window's share exact.
#[test]
fn twenty_changes_under_load_lose_no_request() {
    let mut stage = Stage::new();
    let load = Load::new(stage.web).connections(CONNECTIONS).rate(RATE).start();
    load.wait_good(1_000);
    let due = (load_time().as_secs_f64() * RATE) as u64 / CHANGES as u64;
    for number in 0..CHANGES {
        let next = load.good() + due;
        stage.change(number, &load);
        load.wait_good(next.saturating_sub(load.good()));
    }
    let report = load.finish();
    println!("{report}");
    report.assert_clean();
    assert_eq!(stage.sluice.metric("sluice_failures_total", &[]), 0.0);
    assert!(report.rate() >= HELD, "the load did not hold its rate: {report}");
    assert_eq!(stage.v1.malformed(), Vec::<String>::new());
    stage.check_shares(report.good);
}

/// One plain proxy that can be looked at through the answering origin's name.
struct Simple {
    web: SocketAddr,
    one: Origin,
    two: Origin,
}

impl Simple {
    fn new() -> Self {
        Self { web: free_address(), one: Origin::start("one"), two: Origin::start("two") }
    }

    fn document(&self, origin: &Origin) -> Document {
        Document::simple(self.web, origin.address())
    }

    fn answer(&self) -> String {
        Client::connect(self.web).get("/").origin().to_owned()
    }

    fn wait_answer(&self, name: &str) {
        until(&format!("{name} answers"), || (self.answer() == name).then_some(()));
    }
}

/// Guarantee 2: every bad file is refused with its reason, and what ran before goes on, also under load.
#[test]
fn a_bad_file_never_replaces_a_good_document() {
    let simple = Simple::new();
    let good = simple.document(&simple.one).to_string();
    let sluice = setup(SLUICE).start(&good);
    let revision = sluice.revision();
    let load = Load::new(simple.web).connections(4).rate(500.0).start();
    let bad: [(&str, String, &str); 6] = [
        ("a misspelt field", good.replace("weight:", "wieght:"), "wieght"),
        ("no service", good.replace("service: shop }", "service: shopp }"), "shopp"),
        ("an absurd address", good.replace(&simple.web.to_string(), "127.0.0.1:99999"), "99999"),
        ("half a file", good[..good.len() / 2].to_owned(), ""),
        ("an empty file", String::new(), ""),
        ("junk", "\u{1}\u{2}: [{".to_owned(), ""),
    ];
    for (what, text, told) in bad {
        let before = sluice.stderr().len();
        sluice.rewrite(text);
        let said = until(&format!("a refusal of {what}"), || {
            let said = sluice.stderr()[before..].to_owned();
            (complains(&said) && said.contains(told)).then_some(said)
        });
        assert!(!said.contains("panicked"), "{what}: {said}");
        assert_eq!((sluice.revision(), simple.answer().as_str()), (revision, "one"), "{what}");
    }
    sluice.change(simple.document(&simple.two));
    simple.wait_answer("two");
    load.finish().assert_clean();
}

fn complains(said: &str) -> bool {
    said.contains("WARN") || said.contains("ERROR")
}

/// Whoever watches sees a document that does not run, whoever refused it, and that it runs in the end.
#[test]
fn a_document_that_does_not_run_is_seen_from_outside() {
    let simple = Simple::new();
    let sluice = setup(SLUICE).start(simple.document(&simple.one));
    let first = sluice.revision();
    let wait_accepted = |accepted: f64| {
        let is = || (sluice.metric("sluice_document_accepted", &[]) == accepted).then_some(());
        until(&format!("sluice_document_accepted is {accepted}\n{}", sluice.stderr()), is);
    };
    let refused = || sluice.metric("sluice_revisions_refused_total", &[]);
    wait_accepted(1.0);
    sluice.rewrite("routes: 7");
    wait_accepted(0.0);
    assert_eq!((refused(), sluice.revision()), (1.0, first));
    sluice.rewrite(simple.document(&simple.one));
    wait_accepted(1.0);

    let taken = std::net::TcpListener::bind(free_address()).unwrap();
    let address = taken.local_addr().unwrap();
    let both = simple.document(&simple.two).listener("taken", address, "");
    sluice.rewrite(&both);
    wait_accepted(0.0);
    sluice.wait_stderr(&address.to_string());
    assert_eq!((simple.answer().as_str(), sluice.revision()), ("one", first));
    assert!(refused() >= 2.0);
    drop(taken);
    hang_up(&sluice);
    wait_accepted(1.0);
    sluice.wait_revision(first + 1);
    assert_eq!(Client::connect(address).get("/").origin(), "two");
}

/// A port that is freed is taken by itself.
#[test]
fn an_address_in_use_is_tried_again() {
    let simple = Simple::new();
    let sluice = setup(SLUICE).start(simple.document(&simple.one));
    let taken = std::net::TcpListener::bind(free_address()).unwrap();
    let address = taken.local_addr().unwrap();
    sluice.rewrite(simple.document(&simple.two).listener("taken", address, ""));
    sluice.wait_stderr(&address.to_string());
    assert_eq!(simple.answer(), "one");
    drop(taken);
    simple.wait_answer("two");
    assert_eq!(Client::connect(address).get("/").origin(), "two");
}

/// An operator asks that the file be read.
fn hang_up(sluice: &Sluice) {
    let status = Command::new("kill").arg("-HUP").arg(sluice.process().to_string()).status();
    assert!(status.unwrap().success());
}

#[test]
fn a_file_written_in_place_is_seen() {
    let simple = Simple::new();
    let sluice = setup(SLUICE).start(simple.document(&simple.one));
    fs::write(sluice.file(), simple.document(&simple.two).to_string()).unwrap();
    simple.wait_answer("two");
}

/// Some editors move the old file aside first: for a moment there is none.
#[test]
fn an_editor_that_moves_the_old_file_aside_is_seen() {
    let simple = Simple::new();
    let sluice = setup(SLUICE).start(simple.document(&simple.one));
    fs::rename(sluice.file(), sluice.file().with_extension("yaml~")).unwrap();
    fs::write(sluice.file(), simple.document(&simple.two).to_string()).unwrap();
    simple.wait_answer("two");
}

/// Kubernetes swaps a symbolic link to a folder; the file's own name never changes.
#[test]
fn a_kubernetes_symlink_swap_is_seen() {
    let simple = Simple::new();
    let folder = tempfile::tempdir().unwrap();
    publish(folder.path(), "..2026_01", &simple.document(&simple.one));
    symlink("..data/sluice.yaml", folder.path().join("sluice.yaml")).unwrap();
    let sluice = setup(SLUICE).start_in(folder);
    assert_eq!(simple.answer(), "one");
    publish(sluice.folder(), "..2026_02", &simple.document(&simple.two));
    simple.wait_answer("two");
    fs::remove_dir_all(sluice.folder().join("..2026_01")).unwrap();
    publish(sluice.folder(), "..2026_03", &simple.document(&simple.one));
    simple.wait_answer("one");
}

/// A new folder with the document, and the link `..data` swapped to it in one step.
fn publish(folder: &Path, version: &str, document: &Document) {
    fs::create_dir(folder.join(version)).unwrap();
    fs::write(folder.join(version).join("sluice.yaml"), document.to_string()).unwrap();
    symlink(version, folder.join("..data_tmp")).unwrap();
    fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
}

#[test]
fn a_file_that_vanishes_and_comes_back_is_seen() {
    let simple = Simple::new();
    let sluice = setup(SLUICE).start(simple.document(&simple.one));
    let (revision, before) = (sluice.revision(), sluice.stderr().len());
    fs::remove_file(sluice.file()).unwrap();
    until("it is told that the file is gone", || complains(&sluice.stderr()[before..]).then_some(()));
    assert_eq!((sluice.revision(), simple.answer().as_str()), (revision, "one"));
    sluice.rewrite(simple.document(&simple.two));
    simple.wait_answer("two");
    assert_eq!(sluice.revision(), revision + 1);
}

/// Text that means the same is no change: no revision, and nothing is swapped.
#[test]
fn a_comment_makes_no_revision() {
    let simple = Simple::new();
    let sluice = setup(SLUICE).start(simple.document(&simple.one));
    let revision = sluice.revision();
    sluice.rewrite(format!("# a comment\n{}", simple.document(&simple.one)));
    let next = sluice.change(simple.document(&simple.two));
    simple.wait_answer("two");
    assert_eq!(next, revision + 1);
    assert_eq!(sluice.revision(), next);
}

/// Requests under way on a listener that goes are answered; after them its connections end in order.
#[test]
fn a_removed_listener_answers_what_it_has() {
    let simple = Simple::new();
    let extra = free_address();
    let document = simple.document(&simple.one);
    let sluice = setup(SLUICE).start(document.clone().listener("extra", extra, ""));
    let mut client = Client::connect(extra);
    client.send("GET /delay/1500 HTTP/1.1\r\nHost: t\r\n\r\n");
    until("the request is under way", || (simple.one.requests() > 0).then_some(()));
    sluice.change(document);
    let response = client.response();
    assert_eq!((response.status(), response.origin()), (200, "one"));
    until("the listener refuses connections", || TcpStream::connect(extra).is_err().then_some(()));
    assert_eq!(client.closed(), b"");
    assert_eq!(simple.answer(), "one");
}

/// A tunnel that is open when its route's weights change stays open.
#[test]
fn a_tunnel_outlives_a_change() {
    let simple = Simple::new();
    let sluice = setup(SLUICE).start(simple.document(&simple.one));
    let mut client = Client::connect(simple.web);
    client.send("GET /tunnel HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n");
    assert_eq!(client.try_head().unwrap().status, 101);
    sluice.change(simple.document(&simple.two));
    simple.wait_answer("two");
    client.send("still here");
    assert_eq!(client.raw(10), b"still here");
}

/// Guarantee 5: an endpoint that is out stays out over a change that keeps it.
#[test]
fn an_endpoint_s_health_outlives_a_change() {
    let (web, good, bad) = (free_address(), Origin::start("good"), Origin::start("bad"));
    bad.set_healthy(false);
    let health = "health_check: { http: { path: /healthz }, interval: 100ms, timeout: 100ms }";
    let document = Document::new()
        .listener("web", web, "")
        .region("here", "")
        .service("shop", health)
        .version("v1", 100, &[("here", &[good.address(), bad.address()])])
        .route("{ path: / }", "service: shop");
    let sluice = setup(SLUICE).start(&document);
    let out = || {
        let (good, bad) = (good.address().to_string(), bad.address().to_string());
        let healthy = |endpoint: &str| sluice.metric("sluice_endpoint_healthy", &[("endpoint", endpoint)]) == 1.0;
        let unprobed = sluice.metric("sluice_endpoint_unprobed", &[]);
        (healthy(&good) && !healthy(&bad) && unprobed == 0.0).then_some(())
    };
    until("one endpoint is verified and one is out", out);
    let mut client = Client::connect(web);
    for i in 0..5 {
        sluice.change(document.clone().route(&format!("{{ path: /new-{i} }}"), "service: shop"));
        for _ in 0..40 {
            assert_eq!(client.get("/").origin(), "good");
        }
    }
}

/// Every line of the log names the revision that decided, so that a change can be told apart afterwards.
#[test]
fn a_request_sees_one_revision() {
    let simple = Simple::new();
    let sluice = setup(SLUICE).start(simple.document(&simple.one));
    let first = sluice.revision();
    assert_eq!(simple.answer(), "one");
    let second = sluice.change(simple.document(&simple.two));
    simple.wait_answer("two");
    let log = sluice.wait_access_log(2);
    let by: Vec<(u64, &Value)> =
        log.iter().map(|line| (line["revision"].as_u64().unwrap(), &line["endpoint"])).collect();
    let (one, two) = (simple.one.address().to_string(), simple.two.address().to_string());
    assert_eq!((by[0].0, by[0].1.as_str()), (first, Some(one.as_str())));
    assert_eq!((by[by.len() - 1].0, by[by.len() - 1].1.as_str()), (second, Some(two.as_str())));
}

/// Another name on the same address is another listener to metrics and limits, and the same sockets to the kernel: none of
/// them is closed with a connection in its queue.
#[test]
fn a_listener_that_is_renamed_under_load_loses_no_connection() {
    let (web, origin) = (free_address(), Origin::start("a"));
    let named = |name: &str| {
        Document::new()
            .listener(name, web, "")
            .region("here", "")
            .service("shop", "")
            .version("v1", 100, &[("here", &[origin.address()])])
            .route("{ path: / }", "service: shop")
    };
    let sluice = setup(SLUICE).workers(WORKERS).start(named("first"));
    let load = Load::new(web).connections(32).rate(1_000.0).start();
    for name in ["second", "third", "first", "second"] {
        sluice.change(named(name));
        load.wait_good(500);
        sluice.wait_metric("sluice_connections_total", &[("listener", name)], 1.0);
    }
    load.finish().assert_clean();
}
