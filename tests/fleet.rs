//! Many proxies under one control plane: nothing is lost by a change, by an end of the control plane, or by one proxy that
//! cannot do what the others can.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::collections::BTreeMap;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sluice_harness::fleet::{Control, Proxy, control, proxy};
use sluice_harness::h1::Client;
use sluice_harness::load::{Load, Report, Running};
use sluice_harness::wait::until;
use sluice_harness::{Api, Cable, Document, Fleet, Origin, free_address};

const SLUICE: &str = env!("CARGO_BIN_EXE_sluice");

/// Requests a second that each of the three proxies is sent; together at least [`HELD`] must be answered.
const RATE: f64 = 1_800.0;
const HELD: f64 = 5_000.0;
const CONNECTIONS: usize = 24;
const WORKERS: usize = 1;

/// Each round is 20 shifts, 5 documents, 2 rollbacks and an end of the control plane.
fn rounds() -> usize {
    if std::env::var_os("SLUICE_FULL").is_some() { 10 } else { 2 }
}

/// Where a document says that a listener is; every proxy here has an address of its own.
fn somewhere() -> SocketAddr {
    "127.0.0.1:8080".parse().unwrap()
}

/// Where it says that a second one is.
fn elsewhere() -> SocketAddr {
    "127.0.0.1:8081".parse().unwrap()
}

/// A shop of two versions behind the listener `web`, and a cart.
fn shop(one: &Origin, two: &Origin) -> Document {
    Document::new()
        .listener("web", somewhere(), "")
        .region("here", "")
        .service("cart", "")
        .version("v1", 1, &[("here", &[two.address()])])
        .service("shop", "")
        .version("v1", 90, &[("here", &[one.address()])])
        .version("v2", 10, &[("here", &[two.address()])])
        .route("{ path: / }", "service: shop")
}

/// A fleet under load.
struct Stage {
    fleet: Fleet,
    /// Killed and started again while the control plane is away; has no clients of its own.
    spare: Proxy,
    loads: Vec<Running>,
    document: Document,
    /// The documents that were applied, by revision.
    documents: Vec<u64>,
    /// The share of v2 that is right, by revision.
    shares: BTreeMap<u64, f64>,
    changes: usize,
    _origins: [Origin; 2],
}

impl Stage {
    fn start() -> Self {
        let origins = ["v1", "v2"].map(Origin::start);
        let document = shop(&origins[0], &origins[1]);
        let control = control(SLUICE).alone().start();
        control.api().apply(&document);
        let fleet = Fleet::start(control, 3, &["web", "extra"]);
        let spare = proxy(&fleet.control, "spare").listener("web").listener("extra").start();
        let load = |proxy: &Proxy| Load::new(proxy.listener("web")).connections(CONNECTIONS).rate(RATE).start();
        let loads: Vec<Running> = fleet.proxies.iter().map(load).collect();
        loads.iter().for_each(|load| load.wait_good(500));
        let (documents, shares) = (vec![1], BTreeMap::from([(1, 10.0)]));
        Self { fleet, spare, loads, document, documents, shares, changes: 0, _origins: origins }
    }

    fn api(&self) -> Api {
        self.fleet.control.api()
    }

    fn serve(&self, requests: u64) {
        self.loads.iter().for_each(|load| load.wait_good(requests));
    }

    fn round(&mut self, number: usize) {
        for step in 0..20 {
            self.shift();
            if step % 4 == 3 {
                self.apply();
            }
            if step % 10 == 9 {
                self.roll_back(step == 19);
            }
        }
        self.lose_control(number.is_multiple_of(2));
    }

    /// Every other change is waited for; the rest come as fast as they may, so that some are overtaken.
    fn changed(&mut self, revision: u64) {
        let api = self.api();
        self.shares.insert(revision, api.shares("shop")["v2"]);
        self.changes += 1;
        if self.changes.is_multiple_of(2) {
            api.wait_applied(revision);
            self.serve(100);
        }
    }

    fn shift(&mut self) {
        const SHARES: [(&str, &str); 7] = [
            ("95%", "5%"),
            ("50%", "50%"),
            ("87.5%", "12.5%"),
            ("25%", "75%"),
            ("66.6667%", "33.3333%"),
            ("0%", "100%"),
            ("99%", "1%"),
        ];
        let (first, second) = SHARES[self.changes % SHARES.len()];
        let call = self.api().shift_call("shop", &[("v1", first), ("v2", second)], &Value::Null);
        let told = call.send().expect(200).json();
        self.changed(told["revision"]["id"].as_u64().unwrap());
    }

    /// A route comes with each document; a listener comes with every second one and goes with the next.
    fn apply(&mut self) {
        let path = format!("/document-{}", self.changes);
        let document = self.document.clone().without_listener("extra");
        let with_listener = self.documents.len().is_multiple_of(2);
        let document = if with_listener { document.listener("extra", elsewhere(), "") } else { document };
        self.document = document.route(&format!("{{ path: {path} }}"), "service: cart");
        let revision = self.api().apply(&self.document);
        self.documents.push(revision);
        self.changed(revision);
        if self.changes.is_multiple_of(2) {
            let web = self.fleet.proxies[0].listener("web");
            assert_eq!(Client::connect(web).get(&path).origin(), "v2");
        }
    }

    fn roll_back(&mut self, weights: bool) {
        let to = self.documents[self.documents.len() - 2];
        let revision = self.api().roll_back(to, weights);
        self.documents.push(revision);
        self.changed(revision);
    }

    /// The control plane dies right after it has said that a change is stored; a proxy is started anew while it is away.
    fn lose_control(&mut self, in_order: bool) {
        self.shift();
        let head = self.api().head();
        self.fleet.control.kill();
        self.serve(500);
        self.spare.wait_ready();
        let (ran, answers) = (self.spare.revision(), self.spare.answer("web"));
        assert!(!answers.is_empty());
        if in_order {
            assert!(self.spare.terminate().success());
        } else {
            self.spare.kill()
        }
        let begun = Instant::now();
        self.spare.spawn();
        until("a proxy serves without its control plane", || (!self.spare.answer("web").is_empty()).then_some(()));
        println!("served {:?} after its start without a control plane, revision {ran}", begun.elapsed());
        self.spare.wait_revision(ran);
        assert_eq!(self.spare.revision(), ran);
        self.serve(500);
        self.fleet.control.start();
        assert_eq!(self.api().head(), head, "nothing that was acknowledged is lost, nothing came by itself");
        self.fleet.wait_all(head);
        self.spare.wait_revision(head);
        self.wait_nodes(head);
    }

    /// Every node is connected and has said that it runs the head.
    fn wait_nodes(&self, head: u64) {
        for node in ["node-1", "node-2", "node-3", "spare"] {
            let runs = |told: &Value| told["connected"] == true && told["running"]["id"] == head;
            let told = self.api().wait_node("running the head", node, runs);
            assert_eq!(told["state"], "applied", "{told}");
        }
    }

    /// The revisions are 1 to the head; each was acknowledged by every node or overtaken there, and none waits.
    fn check_acknowledged(&self) {
        let api = self.api();
        let head = api.head();
        self.wait_nodes(head);
        let ids: Vec<u64> = api.revisions().iter().map(|revision| revision["id"].as_u64().unwrap()).collect();
        assert_eq!(ids, (1..=head).collect::<Vec<_>>());
        assert_eq!(self.shares.keys().copied().collect::<Vec<_>>(), ids, "every revision was somebody's, and once");
        for id in ids {
            let told = api.get(&format!("/v1/revisions/{id}/applied?timeout=0s"));
            let nodes = &told["nodes"];
            assert_eq!((&told["reached"], &nodes["running"]), (&json!(true), &json!(4)), "revision {id}: {told}");
            assert_eq!((&nodes["pending"], &nodes["nacked"]), (&json!([]), &json!([])), "revision {id}: {told}");
        }
        for proxy in self.fleet.proxies.iter().chain([&self.spare]) {
            assert_eq!(proxy.revision(), head, "{}", proxy.node());
            assert_eq!(proxy.status().metric("sluice_revisions_refused_total", &[]), 0.0, "{}", proxy.node());
        }
        assert_eq!(api.get("/v1/audit/verify")["sound"], true);
    }

    /// Each revision's share is exact over what each proxy served by it.
    fn check_shares(&self, reports: &[Report]) {
        for (proxy, report) in self.fleet.proxies.iter().zip(reports) {
            let lines = usize::try_from(report.good).unwrap();
            let log = until("the whole access log", || Some(proxy.access_log()).filter(|log| log.len() >= lines));
            let mut windows = BTreeMap::<u64, [f64; 2]>::new();
            for line in log.iter().filter(|line| line["service"] == "shop") {
                let window = windows.entry(line["revision"].as_u64().unwrap()).or_default();
                window[usize::from(line["version"] == "v2")] += 1.0;
            }
            println!("{} served by {} of {} revisions", proxy.node(), windows.len(), self.shares.len());
            for (revision, [first, second]) in windows {
                let due = (first + second) * self.shares[&revision] / 100.0;
                let off = (second - due).abs();
                let what = format!("{}, revision {revision}: v2 had {second} of {}", proxy.node(), first + second);
                assert!(off <= 2.0 * WORKERS as f64, "{what}, {due} due");
            }
        }
    }
}

/// 0 failed requests on listeners that stay, every change acknowledged by every node or overtaken, every share exact.
#[test]
fn changes_and_ends_of_the_control_plane_under_load_lose_no_request() {
    let mut stage = Stage::start();
    let begun = Instant::now();
    for number in 0..rounds() {
        stage.round(number);
    }
    while begun.elapsed() < Duration::from_secs(10) {
        stage.serve(500);
    }
    let loads = std::mem::take(&mut stage.loads);
    let reports: Vec<Report> = loads.into_iter().map(Running::finish).collect();
    reports.iter().for_each(|report| println!("{report}"));
    println!("{} changes in {:?}", stage.changes, begun.elapsed());
    reports.iter().for_each(Report::assert_clean);
    for proxy in &stage.fleet.proxies {
        assert_eq!(proxy.status().metric("sluice_failures_total", &[]), 0.0, "{}", proxy.node());
    }
    stage.check_acknowledged();
    stage.check_shares(&reports);
    let rate: f64 = reports.iter().map(Report::rate).sum();
    assert!(rate >= HELD, "the load did not hold its rate: {rate}");
}

/// A small fleet that is looked at.
struct Small {
    control: Control,
    one: Origin,
    two: Origin,
}

impl Small {
    fn start() -> Self {
        let [one, two] = ["one", "two"].map(Origin::start);
        let control = control(SLUICE).start();
        control.api().apply(shop(&one, &two));
        Self { control, one, two }
    }

    fn api(&self) -> Api {
        self.control.api()
    }

    fn document(&self) -> Document {
        shop(&self.one, &self.two)
    }

    fn proxy(&self, node: &str) -> Proxy {
        proxy(&self.control, node).listener("web").listener("extra").start()
    }
}

/// Guarantee 2, where only one node can see the problem: an address that its machine uses for something else.
#[test]
fn a_document_that_one_node_cannot_run_is_refused_there_and_shown_and_runs_once_it_can() {
    let small = Small::start();
    let api = small.api();
    let taken = TcpListener::bind(free_address()).unwrap();
    let address = taken.local_addr().unwrap();
    let others = ["node-1", "node-3"].map(|node| small.proxy(node));
    let second = proxy(&small.control, "node-2").listener("web").listener_at("extra", address).start();
    let load = Load::new(second.listener("web")).connections(4).rate(300.0).start();

    let head = api.apply(small.document().listener("extra", elsewhere(), ""));
    let refuses = |told: &Value| told["state"] == "refused";
    let told = api.wait_node("refusing it", "node-2", refuses);
    assert!(told["problems"].to_string().contains(&address.to_string()), "{told}");
    assert_eq!((&told["running"]["id"], &told["wanted"]["id"]), (&json!(1), &json!(head)));
    assert_eq!(told["retries"], true, "an address may get free: {told}");
    assert!(told["age_ms"].is_u64(), "{told}");
    let said = small.control.operate(&["get", "nodes"]).expect(0);
    said.assert_says(&["node-1", "node-2", "node-3", &address.to_string()]);
    let health = api.get("/api/health");
    assert_eq!(health["overall_status"], "degraded", "{health}");

    for other in &others {
        other.wait_revision(head);
        assert!(!other.answer("extra").is_empty(), "{} serves the new listener", other.node());
    }
    let applied = |share: &str| api.get(&format!("/v1/revisions/{head}/applied?share={share}&timeout=1s"));
    let told = applied("100%25");
    assert_eq!(told["reached"], false, "{told}");
    assert_eq!(
        (&told["nodes"]["running"], &told["nodes"]["nacked"][0]["node"]),
        (&json!(2), &json!("node-2")),
        "{told}"
    );
    assert_eq!(applied("60%25")["reached"], true);
    assert_eq!(second.revision(), 1);

    drop(taken);
    second.wait_revision(head);
    api.wait_node("running it", "node-2", |told| told["state"] == "applied");
    assert!(!second.answer("extra").is_empty());
    load.finish().assert_clean();
}

/// What cannot heal by itself waits for another document, and is not sent again until then.
#[test]
fn a_document_that_one_node_can_never_run_waits_there_for_another_document() {
    let small = Small::start();
    let api = small.api();
    let first = small.proxy("node-1");
    let address = free_address();
    let second = proxy(&small.control, "node-2").listener_at("web", address).listener_at("extra", address).start();
    let file = small.control.folder().join("next.yaml");
    fs::write(&file, small.document().listener("extra", elsewhere(), "").to_string()).unwrap();
    let ran = small.control.operate(&["apply", file.to_str().unwrap(), "--wait", "--timeout", "10s"]);
    ran.expect(1).assert_says(&["node-2", &address.to_string()]);
    let told = api.wait_node("refusing it", "node-2", |told| told["state"] == "refused");
    assert_eq!((&told["retries"], &told["running"]["id"]), (&json!(false), &json!(1)), "{told}");
    assert!(!second.answer("web").is_empty());
    first.wait_revision(2);

    api.shift("cart", &[("v1", "100%")]);
    let head = api.roll_back(1, false);
    for proxy in [&first, &second] {
        proxy.wait_revision(head);
    }
    api.wait_applied(head);
}

/// A weight in a large document is a few hundred bytes on the way to a proxy.
#[test]
fn a_shift_of_a_large_document_is_a_small_message() {
    let small = Small::start();
    let large = (0..2_000).fold(small.document(), |document, number| {
        document.route(&format!("{{ host: h{number}.test, path: /p/{number} }}"), "service: cart")
    });
    small.api().apply(&large);
    let cable = Cable::to(small.control.admin());
    let one = proxy(&small.control, "node-1").through(cable.address()).listener("web").start();
    one.wait_revision(2);
    let whole = cable.received();
    let shifts = ["25%", "50%", "75%"];
    for (number, share) in shifts.iter().enumerate() {
        small.api().shift("shop", &[("v2", share)]);
        one.wait_revision(3 + number as u64);
    }
    let deltas = cable.received() - whole;
    println!("the whole revision: {whole} bytes; {} shifts: {deltas} bytes", shifts.len());
    assert!(whole > 100_000, "{whole}");
    assert!(deltas < 3 * 2_000, "{deltas}");

    // A new connection begins with the whole.
    cable.cut();
    small.api().shift("shop", &[("v2", "5%")]);
    cable.mend();
    one.wait_revision(6);
    let before = cable.received();
    small.api().shift("shop", &[("v2", "6%")]);
    one.wait_revision(7);
    assert!(cable.received() - before < 2_000);
}

#[test]
fn a_proxy_without_a_revision_waits_for_its_control_plane() {
    let mut small = Small::start();
    small.control.kill();
    let mut one = proxy(&small.control, "node-1").listener("web").spawn();
    until("it is alive", || one.status().is_well("/live").then_some(()));
    assert!(!one.status().is_well("/ready"), "it has nothing to serve");
    small.control.start();
    one.wait_ready();
    assert_eq!((one.revision(), one.answer("web").is_empty()), (1, false));
}

#[test]
fn two_nodes_of_one_name_are_seen_and_the_first_stays() {
    let small = Small::start();
    let first = small.proxy("node-1");
    let second = proxy(&small.control, "node-1").listener("web").spawn();
    second.wait_stderr("the name is taken");
    let told = small.api().wait_node("wanted by another", "node-1", |told| told["rival"].is_object());
    assert_eq!((&told["connected"], &told["state"]), (&json!(true), &json!("applied")), "{told}");
    assert!(!second.status().is_well("/ready"));
    small.api().shift("shop", &[("v2", "50%")]);
    first.wait_revision(2);
    assert_eq!(small.api().nodes().len(), 1);
}

/// A store that was restored from a backup knows less than the proxies do. They do not turn back.
#[test]
fn a_control_plane_that_is_behind_does_not_turn_proxies_back() {
    let mut small = Small::start();
    let one = small.proxy("node-1");
    small.control.terminate();
    let backup = tempfile::tempdir().unwrap();
    copy(&small.control.data(), backup.path());
    small.control.start();
    let ahead = small.api().shift("shop", &[("v2", "100%")]);
    one.wait_revision(ahead);
    small.control.terminate();
    fs::remove_dir_all(small.control.data()).unwrap();
    copy(backup.path(), &small.control.data());
    small.control.start();
    assert_eq!(small.api().head(), 1);
    let told = small.api().wait_node("refusing it", "node-1", |told| told["state"] == "refused");
    assert_eq!(told["running"]["id"], ahead, "{told}");
    assert!(told["problems"].to_string().contains("does not turn back"), "{told}");
    one.wait_stderr("older");
    assert_eq!((one.revision(), one.answer("web").as_str()), (ahead, "two"));
    // Once it is ahead again it is followed.
    small.api().shift("shop", &[("v2", "50%")]);
    let again = small.api().shift("shop", &[("v1", "100%")]);
    assert!(again > ahead);
    one.wait_revision(again);
    assert_eq!(one.answer("web"), "one");
}

/// Numbers of another store say nothing: what it has is run, and told loudly.
#[test]
fn another_history_is_followed_and_told_loudly() {
    let mut small = Small::start();
    let one = small.proxy("node-1");
    let before = small.api().shift("shop", &[("v2", "100%")]);
    one.wait_revision(before);
    let history = small.api().get("/v1/status")["history"].clone();
    small.control.terminate();
    fs::remove_dir_all(small.control.data()).unwrap();
    small.control.start();
    assert_ne!(small.api().get("/v1/status")["history"], history);
    assert_eq!(one.answer("web"), "two", "an empty control plane takes nothing away");
    small.api().apply(small.document().weight("shop", "v1", 1).weight("shop", "v2", 0));
    until("the other history's revision runs", || (one.revision() == 1).then_some(()));
    assert_eq!(one.answer("web"), "one");
    let stderr = one.stderr();
    let loud = |line: &&str| line.contains("WARN") && line.contains("history");
    assert!(stderr.lines().find(loud).is_some(), "{stderr}");
}

/// A proxy that is cut off sees for itself which endpoints answer, and reads spill to another region.
#[test]
fn a_proxy_that_is_cut_off_ejects_endpoints_and_spills_reads() {
    let [east, west] = ["east", "west"].map(Origin::start);
    let health = "health_check: { http: { path: /healthz }, interval: 100ms, timeout: 100ms }";
    let document = Document::new()
        .listener("web", somewhere(), "")
        .region("east", "weight: 50")
        .region("west", "weight: 50")
        .service("shop", health)
        .version("v1", 1, &[("east", &[east.address()]), ("west", &[west.address()])])
        .route("{ path: / }", "service: shop");
    let control = control(SLUICE).start();
    control.api().apply(document);
    let cable = Cable::to(control.admin());
    let one = proxy(&control, "node-1").through(cable.address()).region("east").listener("web").start();
    one.status().wait_metric("sluice_endpoint_healthy", &[], 2.0);
    let load = Load::new(one.listener("web")).connections(4).rate(300.0).start();
    load.wait_good(200);
    cable.cut();
    control.api().wait_node("away or cut off", "node-1", |told| told["connected"] == false);
    east.kill();
    until("the endpoint is out", || (one.status().metric("sluice_endpoint_healthy", &[]) == 1.0).then_some(()));
    load.wait_good(200);
    let report = load.finish();
    println!("{report}");
    report.assert_clean();
    assert_eq!(one.answer("web"), "west");
    let health = one.status().ask("/api/health").unwrap();
    assert_eq!(health.status(), 200, "{}", health.text());
    let told: Value = serde_json::from_str(&health.text()).unwrap();
    assert_eq!(told["component_status"]["control_plane"]["status"], "degraded", "{told}");
}

#[test]
fn only_a_node_s_token_subscribes() {
    let token = |letter: &str| letter.repeat(40);
    let lines = format!("ann admin {}\nedge node {}\nvic viewer {}\n", token("a"), token("n"), token("v"));
    let [one, two] = ["one", "two"].map(Origin::start);
    let control = control(SLUICE).tokens(&lines).start();
    let api = control.api().token(&token("a"));
    api.apply(shop(&one, &two));
    let known = proxy(&control, "node-1").token(&token("n")).listener("web").start();
    assert_eq!(known.revision(), 1);
    for (node, shown, status) in [("node-2", token("v"), "403"), ("node-3", token("x"), "401")] {
        let refused = proxy(&control, node).token(&shown).listener("web").spawn();
        refused.wait_stderr(status);
        assert!(!refused.stderr().contains(&shown), "a token is never told");
    }
    let nodes = api.nodes();
    assert_eq!(nodes.keys().map(String::as_str).collect::<Vec<_>>(), ["node-1"]);
    let denied = |entry: &Value| entry["event"]["target"] == "POST /v1/subscribe";
    assert!(api.audit().iter().filter(|entry| denied(entry)).count() >= 2);
    assert!(!control.stderr().contains(&token("x")));
}

/// Copies the files of a folder.
fn copy(from: &std::path::Path, to: &std::path::Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}
