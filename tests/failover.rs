//! A region's origins go away under load: what can still be answered is, and the probes' thresholds hold.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::net::SocketAddr;

use sluice_harness::h1::Client;
use sluice_harness::load::Load;
use sluice_harness::metrics::Scrape;
use sluice_harness::sluice::setup;
use sluice_harness::wait::until;
use sluice_harness::{Document, Origin, Sluice, free_address};

const SLUICE: &str = env!("CARGO_BIN_EXE_sluice");

/// Two regions with two endpoints each, probed often.
struct Stage {
    web: SocketAddr,
    west: [Origin; 2],
    east: [Origin; 2],
    sluice: Sluice,
}

impl Stage {
    /// With these regions' further keys and the interval between probes.
    fn new(west: &str, east: &str, interval: &str) -> Self {
        Self::with(west, east, interval, "")
    }

    fn with(west: &str, east: &str, interval: &str, further: &str) -> Self {
        let web = free_address();
        let (first, second) = (["west", "west"].map(Origin::start), ["east", "east"].map(Origin::start));
        let addresses = |origins: &[Origin; 2]| [origins[0].address(), origins[1].address()];
        let health = format!(
            "health_check: {{ http: {{ path: /healthz }}, interval: {interval}, timeout: {interval}, \
             failure_threshold: 3, recovery_threshold: 2{further} }}"
        );
        let document = Document::new()
            .listener("web", web, "")
            .region("west", west)
            .region("east", east)
            .service("shop", &health)
            .version("v1", 100, &[("west", &addresses(&first)), ("east", &addresses(&second))])
            .route("{ path: / }", "service: shop");
        let sluice = setup(SLUICE).workers(2).start(document);
        let stage = Self { web, west: first, east: second, sluice };
        stage.wait_healthy("west", 2.0);
        stage.wait_healthy("east", 2.0);
        stage
    }

    fn healthy(&self, region: &str) -> f64 {
        healthy(&self.sluice.scrape(), region)
    }

    fn wait_healthy(&self, region: &str, count: f64) {
        until(&format!("{count} healthy endpoints in {region}"), || (self.healthy(region) == count).then_some(()));
    }
}

fn healthy(scrape: &Scrape, region: &str) -> f64 {
    scrape.sum("sluice_endpoint_healthy", &[("region", region)]).unwrap_or(0.0)
}

/// Good and bad probes of a region so far.
fn probes(scrape: &Scrape, region: &str) -> (f64, f64) {
    let all = scrape.all("sluice_probes_total", &[]).filter(|series| series.labels["region"] == region);
    all.fold((0.0, 0.0), |(good, bad), series| match series.labels["result"].as_str() {
        "good" => (good + series.value, bad),
        _ => (good, bad + series.value),
    })
}

/// No GET fails whose response head had not been sent: it is tried elsewhere. (One whose head was sent can only be cut.)
#[test]
fn a_region_that_dies_under_load_fails_no_get_without_a_head() {
    let stage = Stage::new("weight: 70", "weight: 30", "200ms");
    let load = Load::new(stage.web).connections(32).rate(2_000.0).trace().start();
    load.wait_good(2_000);
    for origin in &stage.west {
        origin.kill();
    }
    stage.wait_healthy("west", 0.0);
    load.wait_good(1_000);
    let died = stage.west.iter().map(Origin::requests).sum::<u64>();
    load.wait_good(1_000);
    assert_eq!(stage.west.iter().map(Origin::requests).sum::<u64>(), died, "nobody asks the dead");
    for origin in &stage.west {
        origin.revive();
    }
    stage.wait_healthy("west", 2.0);
    let before = stage.west.iter().map(Origin::requests).sum::<u64>();
    load.wait_good(2_000);
    let back = stage.west.iter().map(Origin::requests).sum::<u64>() - before;
    let report = load.finish();
    println!("{report}");
    assert_eq!(report.failed(), report.failed_by("cut"), "{report}");
    assert!(report.by("east") > 0 && report.by("west") > 0, "{report}");
    assert!((1_200..=1_700).contains(&back), "west answered {back} of some 2,000 again");
}

/// A single endpoint's death is its neighbour's work, not another region's.
#[test]
fn an_endpoint_that_dies_is_replaced_by_its_neighbour() {
    let stage = Stage::new("weight: 70", "weight: 30", "200ms");
    let load = Load::new(stage.web).connections(8).rate(1_000.0).trace().start();
    load.wait_good(500);
    stage.west[0].kill();
    stage.wait_healthy("west", 1.0);
    let (west, east) = (stage.west[1].requests(), stage.east.iter().map(Origin::requests).sum::<u64>());
    load.wait_good(1_000);
    let west = stage.west[1].requests() - west;
    let east = stage.east.iter().map(Origin::requests).sum::<u64>() - east;
    let report = load.finish();
    assert_eq!(report.failed(), report.failed_by("cut"), "{report}");
    let share = west as f64 / (west + east) as f64;
    assert!((0.65..0.75).contains(&share), "west had {share}");
}

/// Out with the third bad probe in a row and not before; back with the second good one and not before.
#[test]
fn the_thresholds_of_probes_hold() {
    let stage = Stage::new("weight: 70", "weight: 30", "400ms");
    stage.west[1].kill();
    stage.wait_healthy("west", 1.0);
    let (_, bad_before) = probes_of_first(&stage);
    stage.west[0].set_healthy(false);
    let out = until("the endpoint is out", || {
        let (_, bad) = probes_of_first(&stage);
        let out = stage.healthy("west") == 0.0;
        assert!(out || bad - bad_before <= 3.0, "{} bad probes, and still in", bad - bad_before);
        out.then_some(probes_of_first(&stage).1 - bad_before)
    });
    // A probe more may have ended between the two readings, never fewer.
    assert!((3.0..=4.0).contains(&out), "out after {out} bad probes");
    let (good_before, _) = probes_of_first(&stage);
    stage.west[0].set_healthy(true);
    let back = until("the endpoint is back", || {
        let (good, _) = probes_of_first(&stage);
        let back = stage.healthy("west") == 1.0;
        assert!(back || good - good_before <= 2.0, "{} good probes, and still out", good - good_before);
        back.then_some(probes_of_first(&stage).0 - good_before)
    });
    assert!((2.0..=3.0).contains(&back), "back after {back} good probes");
}

/// As answered by the first endpoint of the west itself: (good, bad). The other one is dead and answers nothing.
fn probes_of_first(stage: &Stage) -> (f64, f64) {
    let scrape = stage.sluice.scrape();
    let refused = scrape.sum("sluice_probes_total", &[("region", "west"), ("result", "refused")]).unwrap_or(0.0);
    let (good, bad) = probes(&scrape, "west");
    (good, bad - refused)
}

/// Two bad probes between good ones take nothing out.
#[test]
fn a_good_probe_starts_the_count_anew() {
    let stage = Stage::with("weight: 70", "weight: 30", "300ms", ", unsteady_threshold: off");
    for _ in 0..3 {
        let (_, before) = probes(&stage.sluice.scrape(), "west");
        stage.west[0].set_healthy(false);
        until("two bad probes", || (probes(&stage.sluice.scrape(), "west").1 >= before + 2.0).then_some(()));
        stage.west[0].set_healthy(true);
        let (good, _) = probes(&stage.sluice.scrape(), "west");
        until("good probes of both", || (probes(&stage.sluice.scrape(), "west").0 >= good + 3.0).then_some(()));
        assert_eq!(stage.healthy("west"), 2.0);
    }
}

/// A standby takes requests only when no active region can serve them.
#[test]
fn a_standby_waits_until_it_is_needed() {
    let stage = Stage::new("role: primary", "role: standby", "200ms");
    let mut client = Client::connect(stage.web);
    for _ in 0..100 {
        assert_eq!(client.get("/").origin(), "west");
    }
    for origin in &stage.west {
        origin.set_healthy(false);
    }
    stage.wait_healthy("west", 0.0);
    for _ in 0..20 {
        assert_eq!(client.get("/").origin(), "east");
    }
    stage.west[0].set_healthy(true);
    stage.wait_healthy("west", 1.0);
    assert_eq!(client.get("/").origin(), "west");
}

/// Guarantee 8: a request that may have been sent and is not idempotent is never sent again.
#[test]
fn a_post_that_may_have_been_sent_is_not_sent_again() {
    let (web, one, two) = (free_address(), Origin::start("one"), Origin::start("two"));
    let document = Document::new()
        .listener("web", web, "")
        .region("here", "")
        .service("shop", "")
        .version("v1", 100, &[("here", &[one.address(), two.address()])])
        .route("{ path: / }", "service: shop");
    let sluice = setup(SLUICE).start(document);
    let mut client = Client::connect(web);
    for sent in 1..=10 {
        let response = client.exchange("POST /reset HTTP/1.1\r\nHost: t\r\nContent-Length: 1\r\n\r\nx");
        assert_eq!(response.status(), 502);
        assert_eq!(one.requests() + two.requests(), sent);
    }
    assert_eq!(sluice.metric("sluice_retries_total", &[]), 0.0);
}

/// All regions dead is a clear answer at once, not a wait.
#[test]
fn nothing_left_is_answered_with_503() {
    let stage = Stage::new("", "", "200ms");
    for origin in stage.west.iter().chain(&stage.east) {
        origin.kill();
    }
    stage.wait_healthy("west", 0.0);
    stage.wait_healthy("east", 0.0);
    let mut client = Client::connect(stage.web);
    assert_eq!(client.get("/").status(), 503);
    stage.east[0].revive();
    stage.wait_healthy("east", 1.0);
    assert_eq!(client.get("/").origin(), "east");
}
