use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use proptest::prelude::*;
use sluice_config::validated::{Discovery, Query};
use sluice_proxy_core::discovery::{Answer, Found};
use sluice_proxy_core::endpoint::EndpointId;
use sluice_proxy_core::grpc::Code;
use sluice_proxy_core::health::{Cause, Policy, Standing, Verdict};
use sluice_proxy_core::outlier;
use sluice_proxy_core::sample::{Class, Sample};
use sluice_proxy_core::select::Spot;
use sluice_proxy_core::service::Service;

use super::*;

fn key(route: &str, service: &str, version: &str, region: &str) -> RequestKey {
    RequestKey {
        route: Some(route.to_owned()),
        service: service.parse().ok(),
        version: version.parse().ok(),
        region: region.parse().ok(),
    }
}

fn endpoint(checked: bool, port: u16) -> Arc<Endpoint> {
    let id = EndpointId {
        service: "shop".parse().unwrap(),
        version: "v1".parse().unwrap(),
        region: "west".parse().unwrap(),
        address: ([10, 0, 0, 1], port).into(),
    };
    Arc::new(if checked { Endpoint::checked(id, Arc::default()) } else { Endpoint::unchecked(id, Arc::default()) })
}

fn running(shares: Vec<(Arc<VersionSeries>, f64)>, endpoints: Vec<Arc<Endpoint>>) -> Running {
    Running {
        revision: RevisionId(7),
        digest: Digest::of(b"seven"),
        applied: SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_500),
        shares,
        pools: endpoints.iter().map(|one| (Arc::clone(one.pool()), Arc::default())).collect(),
        endpoints,
    }
}

/// An endpoint that has answered a request, and was spared an ejection.
#[allow(clippy::disallowed_methods, reason = "any moment will do")]
fn answered() -> Arc<Endpoint> {
    let text = r#"
listeners: [{ name: web, address: "127.0.0.1:8080" }]
regions: [{ name: west }]
services: [{ name: shop, versions: [{ name: v1, endpoints: ["10.0.0.1:1"] }] }]
routes: [{ service: shop }]
"#;
    let document = sluice_config::validate(text, &sluice_config::Environment::empty()).unwrap();
    let identities = sluice_proxy_core::service::identities(&document.regions, &document.services);
    let registry = sluice_proxy_core::endpoint::Registry::default().carry(identities);
    let service = Service::new(&document.regions.into(), &document.services[0], &registry);
    let (spot, sample) = (
        Spot { region: 0, version: 0, endpoint: 0 },
        Sample { class: Class::Success, took: Some(Duration::from_millis(2)), busy: None },
    );
    let endpoint = Arc::clone(&service.pool(0, 0)[0].endpoint);
    let flight = endpoint.begin().unwrap();
    service.note(&flight, &spot, &sample, Instant::now(), &mut rand::rng());
    endpoint.pool().suppress(outlier::Cause::ALL[0], outlier::Suppressed::ALL[0]);
    drop(flight);
    endpoint
}

/// Metrics in which everything that can happen has happened.
#[allow(clippy::disallowed_methods, reason = "what is in flight is to stay so")]
fn busy() -> Metrics {
    let metrics = Metrics::new(2, SERIES_BUDGET);
    metrics.requests(&key("api", "shop", "v1", "west")).record(0, Some(200), Duration::from_millis(3));
    metrics.requests(&key("api", "shop", "v1", "west")).called(Code::Unavailable);
    let pool = metrics.pool(&key("api", "shop", "v1", "west").pool());
    pool.probed(Verdict::Good, Duration::from_millis(2));
    pool.probed(Verdict::Bad(Cause::Status(503)), Duration::from_millis(3));
    pool.moved(Standing::Out);
    pool.ejected("consecutive_failures");
    pool.endpoint_breaker("open");
    pool.pool_breaker("open");
    pool.gave_away("baseline");
    pool.waited("granted");
    let service = metrics.service(&"shop".parse().unwrap());
    std::mem::forget(service.begin(0));
    service.failed("connect_refused");
    service.retried("reset_before_head");
    service.retry_refused("budget_spent");
    let version = metrics.version(&"shop".parse().unwrap(), &"v1".parse().unwrap());
    let start = Instant::now();
    metrics.tick(start);
    version.chosen(0);
    metrics.tick(start + WINDOW);
    let listener = metrics.listener(&"web".parse().unwrap());
    listener.shook("ok");
    listener.rejected("missing");
    listener.h2_cut("ping");
    std::mem::forget(listener.accepted());
    let certificate = "certs/site.pem".to_owned();
    metrics.tell_certificates(vec![Expiry { listener: "web".parse().unwrap(), certificate, at: 1_700_000_002 }]);
    metrics.certificate_read(false);
    metrics.upstream().connected(0, Connect::Ok);
    metrics.upstream().idle_changed(0, 3);
    metrics.refused("bare_lf");
    metrics.body_refused("chunk_size");
    metrics.nominations_ignored(2);
    metrics.ended_by_client("slow_body");
    let overload = metrics.overload();
    overload.shed("memory", 2);
    overload.set_level(1);
    overload.allow_connections(Some(400));
    overload.allow_memory(Some(1 << 30));
    metrics.revision_refused();
    let document = Arc::new(DocumentSeries::default());
    document.set(false, 2);
    metrics.tell_document(document);
    metrics.count_lost_lines(Arc::new(AtomicU64::new(9)));
    let (control, keep) = (Arc::new(ControlSeries::default()), Arc::new(KeepSeries::default()));
    control.opened();
    keep.written(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_001));
    metrics.tell_control(control);
    metrics.tell_keep(keep);
    metrics.tell_discovery(discovered());
    metrics.publish(running(vec![(version, 1.0)], vec![endpoint(true, 1), answered()]));
    metrics
}

/// A source that gave an address, and one of our own.
fn discovered() -> Arc<Board> {
    let board = Arc::new(Board::default());
    let query = Query::File { path: "shop.yaml".to_owned() };
    let own = [SocketAddr::from(([10, 0, 0, 9], 80))];
    let found = [1, 9].map(|last| Found { address: ([10, 0, 0, last], 80).into(), weight: None, zone: None });
    let answer = Answer::Found(found.into(), Duration::from_secs(1));
    board.take(&query, vec![(String::new(), answer)], &Discovery::default(), &own);
    board
}

/// The value of the one series whose name and labels are written so.
fn value(text: &str, series: &str) -> Option<f64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
    rest.parse().ok()
}

/// The label names that each family has in the output, without those of a histogram.
fn labels_seen(text: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut seen = BTreeMap::<String, BTreeSet<String>>::new();
    for line in text.lines().filter(|line| line.starts_with("sluice_")) {
        let (name, rest) = line.split_at(line.find(['{', ' ']).unwrap());
        let name = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        let names =
            rest.trim_start_matches('{').split(',').filter_map(|pair| Some(pair.split_once("=\"")?.0.to_owned()));
        seen.entry(name.to_owned()).or_default().extend(names.filter(|name| name != "le"));
    }
    seen
}

#[test]
fn names_help_and_labels_are_those_promised() {
    let list: String = family::ALL
        .iter()
        .map(|f| format!("{} {:?} [{}]\n    {}\n", f.name, f.kind, f.labels.join(", "), f.help))
        .collect();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/src/metrics/metrics.txt");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(file, &list).unwrap();
    }
    assert_eq!(list, std::fs::read_to_string(file).unwrap(), "UPDATE=1 writes it anew");
}

#[test]
fn every_family_is_exported_with_exactly_its_labels() {
    let text = busy().text();
    let declared: BTreeMap<_, _> = family::ALL
        .iter()
        .map(|f| (f.name.to_owned(), f.labels.iter().map(|label| (*label).to_owned()).collect()))
        .collect();
    assert_eq!(labels_seen(&text), declared);
    for family in family::ALL {
        assert!(text.contains(&format!("# HELP {} {}\n", family.name, family.help)), "{}", family.name);
    }
    assert!(text.contains("process_resident_memory_bytes "));
}

#[test]
fn numbers_arrive_at_their_series() {
    let text = busy().text();
    for (series, expected) in [
        (r#"sluice_requests_total{route="api",service="shop",version="v1",region="west",class="2xx"}"#, 1.0),
        (r#"sluice_requests_total{route="api",service="shop",version="v1",region="west",class="5xx"}"#, 0.0),
        (r#"sluice_request_duration_seconds_bucket{service="shop",version="v1",region="west",le="0.0025"}"#, 0.0),
        (r#"sluice_request_duration_seconds_bucket{service="shop",version="v1",region="west",le="0.005"}"#, 1.0),
        (r#"sluice_request_duration_seconds_bucket{service="shop",version="v1",region="west",le="+Inf"}"#, 1.0),
        (r#"sluice_request_duration_seconds_sum{service="shop",version="v1",region="west"}"#, 0.003),
        (r#"sluice_requests_in_flight{service="shop"}"#, 1.0),
        (r#"sluice_failures_total{service="shop",reason="connect_refused"}"#, 1.0),
        (r#"sluice_retries_total{service="shop",reason="reset_before_head"}"#, 1.0),
        (r#"sluice_retries_refused_total{service="shop",reason="budget_spent"}"#, 1.0),
        (r#"sluice_probes_total{service="shop",version="v1",region="west",result="status"}"#, 1.0),
        (r#"sluice_health_transitions_total{service="shop",version="v1",region="west",to="out"}"#, 1.0),
        (r#"sluice_split_observed_ratio{service="shop",version="v1"}"#, 1.0),
        (r#"sluice_connections{listener="web"}"#, 1.0),
        (r#"sluice_proxy_protocol_rejected_total{listener="web",reason="missing"}"#, 1.0),
        (r#"sluice_upstream_connections{state="idle"}"#, 3.0),
        (r#"sluice_tls_handshakes_total{listener="web",result="ok"}"#, 1.0),
        (
            r#"sluice_certificate_expiry_timestamp_seconds{listener="web",certificate="certs/site.pem"}"#,
            1_700_000_002.0,
        ),
        (r#"sluice_certificate_reloads_total{result="refused"}"#, 1.0),
        (r#"sluice_requests_refused_total{reason="bare_lf"}"#, 1.0),
        (r#"sluice_bodies_refused_total{reason="chunk_size"}"#, 1.0),
        ("sluice_connection_nominations_ignored_total", 2.0),
        (r#"sluice_requests_ended_by_client_total{reason="slow_body"}"#, 1.0),
        (r#"sluice_shed_total{reason="memory"}"#, 2.0),
        ("sluice_overload_level", 1.0),
        ("sluice_connections_limit", 400.0),
        ("sluice_memory_limit_bytes", 1_073_741_824.0),
        ("sluice_document_accepted", 0.0),
        ("sluice_revisions_refused_total", 3.0),
        ("sluice_revision", 7.0),
        ("sluice_revision_applied_timestamp_seconds", 1_700_000_000.5),
        ("sluice_access_log_dropped_total", 9.0),
        ("sluice_control_connected", 1.0),
        ("sluice_control_last_contact_seconds", 0.0),
        (r#"sluice_last_known_good_writes_total{result="ok"}"#, 1.0),
        (r#"sluice_last_known_good_writes_total{result="failed"}"#, 0.0),
        ("sluice_last_known_good_timestamp_seconds", 1_700_000_001.0),
    ] {
        assert_eq!(value(&text, series), Some(expected), "{series} in\n{text}");
    }
}

#[test]
fn a_document_is_accepted_until_its_source_says_otherwise() {
    let metrics = Metrics::new(1, SERIES_BUDGET);
    assert_eq!(value(&metrics.text(), "sluice_document_accepted"), None, "without a source");
    let document = Arc::new(DocumentSeries::default());
    metrics.tell_document(Arc::clone(&document));
    assert_eq!(value(&metrics.text(), "sluice_document_accepted"), Some(1.0));
    document.set(false, 1);
    assert_eq!(value(&metrics.text(), "sluice_document_accepted"), Some(0.0));
    document.set(true, 1);
    assert_eq!(value(&metrics.text(), "sluice_document_accepted"), Some(1.0));
    assert_eq!(value(&metrics.text(), "sluice_revisions_refused_total"), Some(1.0));
}

#[test]
fn the_count_of_series_is_that_of_the_lines() {
    let text = busy().text();
    let lines = text.lines().filter(|line| line.starts_with("sluice_")).count();
    assert_eq!(value(&text, "sluice_metrics_series"), Some(lines as f64), "{text}");
}

#[test]
fn what_a_request_did_not_reach_is_an_empty_label() {
    let metrics = Metrics::new(1, SERIES_BUDGET);
    metrics.requests(&RequestKey::default()).record(0, Some(404), Duration::ZERO);
    let series = r#"sluice_requests_total{route="",service="",version="",region="",class="4xx"}"#;
    assert_eq!(value(&metrics.text(), series), Some(1.0));
}

#[test]
fn equal_labels_are_one_series_and_go_on_counting() {
    let metrics = Metrics::new(1, SERIES_BUDGET);
    let first = metrics.requests(&key("api", "shop", "v1", "west"));
    let again = metrics.requests(&key("api", "shop", "v1", "west"));
    assert!(Arc::ptr_eq(&first, &again));
    drop((first, again));
    let later = metrics.requests(&key("api", "shop", "v1", "west"));
    later.record(0, None, Duration::ZERO);
    let other_region = metrics.requests(&key("api", "shop", "v1", "east"));
    assert!(!Arc::ptr_eq(&later, &other_region));
}

#[test]
fn a_series_nobody_holds_leaves_the_output() {
    let metrics = Metrics::new(1, SERIES_BUDGET);
    let start = Instant::now();
    drop(metrics.requests(&key("api", "shop", "v1", "west")));
    metrics.tick(start);
    metrics.tick(start + keyed::KEPT);
    assert!(!metrics.text().contains("sluice_requests_total"));
    // The pool was held by the request's series until now.
    assert!(metrics.text().contains("sluice_request_duration_seconds"));
    metrics.tick(start + keyed::KEPT * 2);
    assert!(!metrics.text().contains("sluice_request_duration_seconds"));
}

#[test]
fn a_report_counts_each_pool_and_never_falls() {
    let metrics = Metrics::new(2, SERIES_BUDGET);
    metrics.publish(running(vec![], vec![endpoint(true, 1), endpoint(false, 2)]));
    let idle = metrics.pools();
    assert_eq!((idle.len(), idle[0].endpoints, idle[0].healthy, idle[0].classes), (1, 2, 2, [0; 6]));
    let one = metrics.requests(&key("api", "shop", "v1", "west"));
    one.record(0, Some(200), Duration::from_micros(5));
    one.record(1, Some(503), Duration::from_micros(5));
    metrics.requests(&key("all", "shop", "v1", "west")).record(0, None, Duration::from_micros(9));
    metrics.requests(&RequestKey::default()).record(0, Some(404), Duration::ZERO);
    let counted = metrics.pools();
    assert_eq!(counted.len(), 1, "what reached no pool is none");
    assert_eq!(counted[0].classes, [0, 1, 0, 0, 1, 1], "over all routes");
    assert_eq!((counted[0].latency.as_slice(), counted[0].latency_sum), ([(5, 2), (9, 1)].as_slice(), 19));
    drop(one);
    metrics.publish(running(vec![], vec![]));
    let start = Instant::now();
    (0..4).for_each(|passed| metrics.tick(start + keyed::KEPT * passed));
    assert!(!metrics.text().contains("sluice_request_duration_seconds"), "the series has left the scrape");
    let kept = metrics.pools();
    assert_eq!((kept[0].classes, kept[0].latency_sum, kept[0].endpoints), (counted[0].classes, 19, 0));
    metrics.requests(&key("api", "shop", "v1", "west")).record(0, Some(200), Duration::from_micros(5));
    let again = metrics.pools();
    assert_eq!(again[0].classes, [0, 2, 0, 0, 1, 1], "it goes on and does not begin again");
    assert_eq!(again[0].latency, [(5, 3), (9, 1)]);
}

#[test]
fn routes_are_folded_before_services_and_no_request_is_lost() {
    let metrics = Metrics::new(1, 200);
    let names: Vec<_> = (0..100).map(|i| key(&format!("r{i}"), "shop", "v1", "west")).collect();
    let held: Vec<_> = names.iter().map(|key| metrics.requests(key)).collect();
    held.iter().for_each(|series| series.record(0, Some(200), Duration::ZERO));
    let text = metrics.text();
    let folded = r#"sluice_requests_total{route="other",service="shop",version="v1",region="west",class="2xx"}"#;
    let apart = text.lines().filter(|line| line.contains("class=\"2xx\"") && line.ends_with(" 1")).count();
    assert_eq!(value(&text, folded), Some((100 - apart) as f64));
    assert_eq!(value(&text, "sluice_metrics_series_refused_total"), Some((100 - apart) as f64));
    assert!(apart > 10 && apart < 30, "{apart}");
}

#[test]
fn past_the_whole_budget_everything_is_other() {
    let metrics = Metrics::new(1, 0);
    for service in ["a", "b"] {
        metrics.requests(&key("r", service, "v1", "west")).record(0, Some(200), Duration::from_secs(1));
        metrics.service(&service.parse().unwrap()).failed("internal");
        metrics.version(&service.parse().unwrap(), &"v1".parse().unwrap()).chosen(0);
    }
    let version = metrics.version(&"a".parse().unwrap(), &"v1".parse().unwrap());
    metrics.publish(running(vec![(version, 0.5)], vec![endpoint(false, 1)]));
    let text = metrics.text();
    let requests = r#"sluice_requests_total{route="other",service="other",version="other",region="other",class="2xx"}"#;
    let latency = r#"sluice_request_duration_seconds_count{service="other",version="other",region="other"}"#;
    assert_eq!(value(&text, requests), Some(2.0));
    assert_eq!(value(&text, latency), Some(2.0));
    assert_eq!(value(&text, r#"sluice_failures_total{service="other",reason="internal"}"#), Some(2.0));
    assert_eq!(value(&text, r#"sluice_split_choices_total{service="other",version="other"}"#), Some(2.0));
    assert!(!text.contains("sluice_split_configured_ratio"));
    assert!(!text.contains("sluice_endpoint_healthy"));
    assert!(value(&text, "sluice_metrics_series_refused_total") > Some(0.0));
}

#[test]
fn a_service_called_other_does_not_break_the_output() {
    let metrics = Metrics::new(1, 40);
    let own = metrics.requests(&key("other", "other", "other", "other"));
    let folded = metrics.requests(&key("x", "y", "z", "w"));
    own.record(0, Some(200), Duration::ZERO);
    folded.record(0, Some(200), Duration::ZERO);
    let text = metrics.text();
    assert_eq!(text.matches("class=\"2xx\"").count(), 1, "{text}");
}

#[test]
fn shares_are_of_the_last_whole_window_and_absent_without_choices() {
    let metrics = Metrics::new(1, SERIES_BUDGET);
    let (shop, cart) = ("shop".parse().unwrap(), "cart".parse().unwrap());
    let [v1, v2] = ["v1", "v2"].map(|version| metrics.version(&shop, &version.parse().unwrap()));
    let idle = metrics.version(&cart, &"v1".parse().unwrap());
    let observed = |version: &str| {
        value(&metrics.text(), &format!("sluice_split_observed_ratio{{service=\"shop\",version=\"{version}\"}}"))
    };
    let start = Instant::now();
    metrics.tick(start);
    (0..3).for_each(|_| v1.chosen(0));
    v2.chosen(0);
    metrics.tick(start + WINDOW - Duration::from_millis(1));
    assert_eq!(observed("v1"), None, "no window is whole yet");
    metrics.tick(start + WINDOW);
    assert_eq!((observed("v1"), observed("v2")), (Some(0.75), Some(0.25)));
    v2.chosen(0);
    metrics.tick(start + WINDOW * 2);
    assert_eq!((observed("v1"), observed("v2")), (Some(0.0), Some(1.0)));
    metrics.tick(start + WINDOW * 3);
    assert_eq!((observed("v1"), observed("v2")), (None, None));
    assert_eq!(idle.observed().get(), None);
}

#[test]
fn a_version_that_left_the_revision_has_no_configured_share() {
    let metrics = Metrics::new(1, SERIES_BUDGET);
    let [v1, v2] = ["v1", "v2"].map(|version| metrics.version(&"shop".parse().unwrap(), &version.parse().unwrap()));
    metrics.publish(running(vec![(Arc::clone(&v1), 0.9), (v2, 0.1)], vec![]));
    assert_eq!(value(&metrics.text(), r#"sluice_split_configured_ratio{service="shop",version="v2"}"#), Some(0.1));
    metrics.publish(running(vec![(v1, 1.0)], vec![]));
    assert_eq!(value(&metrics.text(), r#"sluice_split_configured_ratio{service="shop",version="v1"}"#), Some(1.0));
    assert!(!metrics.text().contains(r#"sluice_split_configured_ratio{service="shop",version="v2"}"#));
}

#[test]
fn an_endpoint_is_told_as_it_stands() {
    let metrics = Metrics::new(1, SERIES_BUDGET);
    let (verified, unprobed, out) = (endpoint(false, 1), endpoint(true, 2), endpoint(true, 3));
    let policy = Policy { failure_threshold: 1, recovery_threshold: 1, ..Policy::default() };
    out.step(Verdict::Bad(Cause::Refused), &policy).unwrap();
    let flights = [verified.begin(), verified.begin()];
    metrics.publish(running(vec![], vec![verified, unprobed, out]));
    let text = metrics.text();
    for (port, healthy, unprobed, in_flight) in [(1, 1.0, 0.0, 2.0), (2, 0.0, 1.0, 0.0), (3, 0.0, 0.0, 0.0)] {
        let labels = format!("{{service=\"shop\",version=\"v1\",region=\"west\",endpoint=\"10.0.0.1:{port}\"}}");
        assert_eq!(value(&text, &format!("sluice_endpoint_healthy{labels}")), Some(healthy));
        assert_eq!(value(&text, &format!("sluice_endpoint_unprobed{labels}")), Some(unprobed));
        assert_eq!(value(&text, &format!("sluice_endpoint_requests_in_flight{labels}")), Some(in_flight));
    }
    drop(flights);
}

#[test]
fn bounds_of_buckets_are_near_what_they_say() {
    let metrics = Metrics::new(1, SERIES_BUDGET);
    let series = metrics.requests(&key("r", "shop", "v1", "west"));
    for bound in collect::BOUNDS {
        series.record(0, Some(200), Duration::from_secs_f64(bound * 31.0 / 32.0 - 1e-6));
        series.record(0, Some(200), Duration::from_secs_f64(bound * 33.0 / 32.0 + 1e-6));
    }
    let text = metrics.text();
    for (place, bound) in collect::BOUNDS.iter().enumerate() {
        let line = format!(
            "sluice_request_duration_seconds_bucket{{service=\"shop\",version=\"v1\",region=\"west\",le=\"{bound}\"}}"
        );
        assert_eq!(value(&text, &line), Some((2 * place + 1) as f64), "{line}");
    }
}

#[test]
fn workers_and_a_scrape_at_once_lose_nothing() {
    let metrics = Metrics::new(2, SERIES_BUDGET);
    std::thread::scope(|scope| {
        for worker in 0..2 {
            let metrics = metrics.clone();
            scope.spawn(move || {
                let series = metrics.requests(&key("api", "shop", "v1", "west"));
                (0..20_000).for_each(|i| series.record(worker, Some(200), Duration::from_micros(i)));
            });
        }
        (0..20).for_each(|_| drop(metrics.text()));
    });
    let text = metrics.text();
    let series = r#"sluice_requests_total{route="api",service="shop",version="v1",region="west",class="2xx"}"#;
    assert_eq!(value(&text, series), Some(40_000.0));
}

proptest! {
    #[test]
    fn no_set_of_labels_grows_past_the_budget(budget in 0usize..400, sets in prop::collection::vec((0u8..20, 0u8..4, 0u8..3), 0..80)) {
        let metrics = Metrics::new(1, budget);
        let held: Vec<_> = sets
            .iter()
            .map(|(route, service, version)| metrics.requests(&key(&format!("r{route}"), &format!("s{service}"), &format!("v{version}"), "west")))
            .collect();
        held.iter().for_each(|series| series.record(0, Some(200), Duration::ZERO));
        let text = metrics.text();
        let lines = text.lines().filter(|line| line.starts_with("sluice_request")).count();
        // The one set called `other` is always there.
        prop_assert!(lines <= budget + REQUEST_LINES + POOL_LINES, "{lines} lines with a budget of {budget}");
        let counted: f64 = text.lines().filter(|line| line.contains("class=\"2xx\"")).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum();
        prop_assert_eq!(counted, sets.len() as f64);
    }
}
