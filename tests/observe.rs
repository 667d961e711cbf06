//! What can be seen from outside: metrics, the access log, and a real Prometheus that reads them.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use sluice_harness::h1::Client;
use sluice_harness::load::Load;
use sluice_harness::sluice::setup;
use sluice_harness::tool::tool;
use sluice_harness::wait::until;
use sluice_harness::{Document, Origin, Sluice, free_address, h2};

const SLUICE: &str = env!("CARGO_BIN_EXE_sluice");

struct Stage {
    web: SocketAddr,
    v1: Origin,
    v2: Origin,
    sluice: Sluice,
}

impl Stage {
    fn new() -> Self {
        let (web, v1, v2) = (free_address(), Origin::start("v1"), Origin::start("v2"));
        let document = Document::new()
            .listener("web", web, "")
            .region("here", "")
            .service("shop", "timeouts: { per_try: 300ms }")
            .version("v1", 75, &[("here", &[v1.address()])])
            .version("v2", 25, &[("here", &[v2.address()])])
            .route("{ path: / }", "name: all, service: shop")
            .route("{ path: /pinned }", "name: pinned, service: shop, version: v2");
        let sluice = setup(SLUICE).start(document);
        Self { web, v1, v2, sluice }
    }

    fn requests(&self, labels: &[(&str, &str)]) -> f64 {
        self.sluice.metric("sluice_requests_total", labels)
    }
}

#[test]
fn requests_are_counted_by_route_service_version_region_and_class() {
    let stage = Stage::new();
    let mut client = Client::connect(stage.web);
    for _ in 0..400 {
        assert_eq!(client.get("/").status(), 200);
    }
    for _ in 0..7 {
        assert_eq!(client.get("/pinned").origin(), "v2");
    }
    assert_eq!(client.get("/status/404").status(), 404);
    assert_eq!(client.get("/status/500").status(), 500);
    stage.sluice.wait_metric("sluice_requests_total", &[("service", "shop")], 409.0);
    assert_eq!(stage.requests(&[("route", "pinned"), ("version", "v2"), ("region", "here"), ("class", "2xx")]), 7.0);
    assert_eq!(stage.requests(&[("route", "all"), ("class", "2xx")]), 400.0);
    assert_eq!(stage.requests(&[("class", "4xx")]), 1.0);
    assert_eq!(stage.requests(&[("class", "5xx")]), 1.0);
    let (v1, v2) = (stage.requests(&[("version", "v1")]), stage.requests(&[("version", "v2")]));
    assert_eq!((v1, v2), (stage.v1.requests() as f64, stage.v2.requests() as f64), "as the origins count");
    assert_eq!(stage.sluice.metric("sluice_request_duration_seconds_count", &[("service", "shop")]), 409.0);
    let below = |seconds| stage.sluice.metric("sluice_request_duration_seconds_bucket", &[("le", seconds)]);
    assert_eq!(below("+Inf"), 409.0);
}

#[test]
fn the_configured_and_the_chosen_share_are_told() {
    let stage = Stage::new();
    let configured = |version| stage.sluice.metric("sluice_split_configured_ratio", &[("version", version)]);
    assert_eq!((configured("v1"), configured("v2")), (0.75, 0.25));
    let load = Load::new(stage.web).connections(8).start();
    load.wait_good(1_000);
    let report = load.finish();
    let chosen = |version| stage.sluice.metric("sluice_split_choices_total", &[("version", version)]);
    assert_eq!((chosen("v1"), chosen("v2")), (report.by("v1") as f64, report.by("v2") as f64));
}

#[test]
fn what_is_under_way_is_told() {
    let stage = Stage::new();
    let mut clients: Vec<Client> = (0..3).map(|_| Client::connect(stage.web)).collect();
    for client in &mut clients {
        client.send("POST /sink HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\n");
    }
    let in_flight = |count: f64| {
        let all = ["sluice_requests_in_flight", "sluice_endpoint_requests_in_flight"];
        until(&format!("{count} requests in flight"), || {
            all.iter().all(|name| stage.sluice.metric(name, &[("service", "shop")]) == count).then_some(())
        });
    };
    in_flight(3.0);
    assert_eq!(stage.sluice.metric("sluice_connections", &[("listener", "web")]), 3.0);
    clients[0].send("hello");
    assert_eq!(clients[0].response().text(), "5");
    in_flight(2.0);
    drop(clients);
    in_flight(0.0);
    until("no connection", || (stage.sluice.metric("sluice_connections", &[]) == 0.0).then_some(()));
}

/// A failure is counted with its reason; the client's own faults are not failures of ours.
#[test]
fn failures_and_refusals_are_counted_by_reason() {
    let stage = Stage::new();
    let mut client = Client::connect(stage.web);
    assert_eq!(client.get("/hang").status(), 504);
    assert_eq!(stage.sluice.wait_metric("sluice_failures_total", &[("service", "shop")], 1.0), 1.0);
    Client::connect(stage.web).send("junk\r\n\r\n").closed();
    assert_eq!(stage.sluice.wait_metric("sluice_requests_refused_total", &[], 1.0), 1.0);
    assert_eq!(stage.sluice.metric("sluice_failures_total", &[]), 1.0);
}

#[test]
fn the_process_and_its_revision_are_told() {
    let stage = Stage::new();
    assert_eq!(stage.sluice.revision(), 1);
    for name in ["process_cpu_seconds_total", "process_resident_memory_bytes", "sluice_build_info"] {
        assert!(stage.sluice.scrape().sum(name, &[]).is_some(), "{name}");
    }
    for (path, status) in [("/live", 200), ("/ready", 200), ("/nothing", 404)] {
        assert_eq!(stage.sluice.ask(path).unwrap().status(), status, "{path}");
    }
}

fn field<'a>(line: &'a Value, name: &str) -> &'a str {
    line[name].as_str().unwrap_or_else(|| panic!("no {name} in {line}"))
}

#[test]
fn each_request_is_one_line_of_json() {
    let stage = Stage::new();
    let mut client = Client::connect(stage.web);
    client.exchange(
        "POST /pinned?page=2 HTTP/1.1\r\nHost: shop.test\r\nUser-Agent: test \"1\"\\\r\nContent-Length: 5\r\n\r\nhello",
    );
    client.get("/hang");
    h2::Client::connect(stage.web).get("/pinned");
    let log = stage.sluice.wait_access_log(3);
    assert_eq!(log.len(), 3);
    let line = &log[0];
    let expected = [
        ("method", "POST"),
        ("host", "shop.test"),
        ("path", "/pinned"),
        ("query", "page=2"),
        ("protocol", "HTTP/1.1"),
        ("ip_address", "127.0.0.1"),
        ("user_agent", "test \"1\"\\"),
        ("route", "pinned"),
        ("service", "shop"),
        ("version", "v2"),
        ("region", "here"),
        ("level", "info"),
    ];
    for (name, value) in expected {
        assert_eq!(field(line, name), value, "{line}");
    }
    assert_eq!(field(line, "endpoint"), stage.v2.address().to_string());
    let numbers = ["status", "bytes_in", "bytes_out", "attempts", "revision"].map(|name| line[name].as_u64());
    assert_eq!(numbers, [200, 5, 2, 1, 1].map(Some), "{line}");
    assert!(line["duration_ms"].as_f64().is_some_and(|ms| ms > 0.0), "{line}");
    assert!(field(line, "timestamp").ends_with('Z') && field(line, "request_id").len() >= 16, "{line}");
    assert_eq!((log[1]["status"].as_u64(), field(&log[1], "level")), (Some(504), "error"), "{}", log[1]);
    assert!(log[1]["duration_ms"].as_f64().is_some_and(|ms| ms >= 300.0), "{}", log[1]);
    assert!(field(&log[2], "protocol").starts_with("HTTP/2"), "{}", log[2]);
    assert_ne!(field(&log[0], "request_id"), field(&log[1], "request_id"));
}

/// The id that a client sends is passed on and logged, so that a request can be followed through several hops.
#[test]
fn a_request_id_is_the_same_everywhere() {
    let stage = Stage::new();
    stage.v2.record();
    Client::connect(stage.web).get("/pinned");
    let log = stage.sluice.wait_access_log(1);
    let seen = stage.v2.last_seen("/pinned").head;
    assert_eq!(seen.field("x-request-id"), Some(field(&log[0], "request_id")));
}

#[test]
fn load_leaves_as_many_lines_as_requests() {
    let stage = Stage::new();
    let load = Load::new(stage.web).connections(16).rate(2_000.0).start();
    load.wait_good(2_000);
    let report = load.finish();
    report.assert_clean();
    let log = stage.sluice.wait_access_log(usize::try_from(report.good).unwrap());
    assert_eq!((log.len() as u64, stage.sluice.metric("sluice_access_log_dropped_total", &[])), (report.good, 0.0));
}

/// A running Prometheus; killed when dropped.
struct Prometheus {
    child: Child,
    address: SocketAddr,
}

impl Prometheus {
    fn start(folder: &Path, target: SocketAddr) -> Self {
        let (address, config) = (free_address(), folder.join("prometheus.yml"));
        let text = format!(
            "global: {{ scrape_interval: 1s }}\n\
             scrape_configs: [{{ job_name: sluice, static_configs: [{{ targets: ['{target}'] }}] }}]\n"
        );
        fs::write(&config, text).unwrap();
        let child = Command::new(tool("prometheus", "prometheus"))
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("tsdb").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.join("prometheus.log")).unwrap())
            .spawn()
            .unwrap();
        Self { child, address }
    }

    /// The values of an instant query by the label `version`; nothing while it does not answer.
    fn query(&self, query: &str) -> Option<Vec<(String, f64)>> {
        let encoded: String = query.bytes().map(|b| format!("%{b:02x}")).collect();
        let mut client = Client::try_connect(self.address).ok()?;
        let path = format!("/api/v1/query?query={encoded}");
        client.try_send(format!("GET {path} HTTP/1.1\r\nHost: prometheus\r\nConnection: close\r\n\r\n")).ok()?;
        let body: Value = serde_json::from_slice(&client.try_response("GET").ok()?.body).ok()?;
        let results = body["data"]["result"].as_array()?;
        let pair = |result: &Value| {
            let version = result["metric"]["version"].as_str()?.to_owned();
            Some((version, result["value"][1].as_str()?.parse().ok()?))
        };
        // Requests that ended before they had a version have an empty label, which Prometheus takes for none.
        let mut pairs: Vec<_> = results.iter().filter_map(pair).collect();
        pairs.sort_by(|a, b| a.0.cmp(&b.0));
        Some(pairs)
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// What an operator would ask: the share of requests per version.
#[test]
fn a_real_prometheus_tells_the_share_per_version() {
    let stage = Stage::new();
    let folder = tempfile::tempdir().unwrap();
    let prometheus = Prometheus::start(folder.path(), stage.sluice.status_address());
    let load = Load::new(stage.web).connections(4).rate(200.0).start();
    load.wait_good(400);
    load.finish().assert_clean();
    let (v1, v2) = (stage.requests(&[("version", "v1")]), stage.requests(&[("version", "v2")]));
    let share = "sum by (version) (sluice_requests_total{service=\"shop\"}) \
                 / on () group_left sum (sluice_requests_total{service=\"shop\"})";
    let expected = vec![("v1".to_owned(), v1 / (v1 + v2)), ("v2".to_owned(), v2 / (v1 + v2))];
    until("Prometheus tells the share per version", || (prometheus.query(share)? == expected).then_some(()));
    assert!((expected[1].1 - 0.25).abs() < 0.01, "{expected:?}");
    let observed = prometheus.query("sum by (version) (sluice_split_configured_ratio)").unwrap();
    assert_eq!(observed, [("v1".to_owned(), 0.75), ("v2".to_owned(), 0.25)]);
}
