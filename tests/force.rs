//! The operator's hand on endpoints and breakers, from the command to what clients and other operators see.

#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;

use serde_json::{Value, json};
use sluice_harness::fleet::control;
use sluice_harness::h1::Client;
use sluice_harness::load::Load;
use sluice_harness::sluice::{command, setup};
use sluice_harness::wait::until;
use sluice_harness::{Document, Origin, Ran, Sluice, free_address};

const SLUICE: &str = env!("CARGO_BIN_EXE_sluice");

/// A shop of one version with three endpoints in one region and one in another.
struct Stage {
    web: SocketAddr,
    here: [Origin; 3],
    there: Origin,
    document: Document,
    sluice: Sluice,
}

impl Stage {
    /// With further keys of the service.
    fn new(settings: &str) -> Self {
        let web = free_address();
        let (here, there) = (["h1", "h2", "h3"].map(Origin::start), Origin::start("there"));
        let addresses: Vec<SocketAddr> = here.iter().map(Origin::address).collect();
        let document = Document::new()
            .listener("web", web, "")
            .region("here", "role: primary")
            .region("there", "role: standby")
            .service("shop", settings)
            .version("v1", 100, &[("here", &addresses), ("there", &[there.address()])])
            .route("{ path: / }", "service: shop");
        let sluice = setup(SLUICE).start(&document);
        Self { web, here, there, document, sluice }
    }

    fn address(&self, at: usize) -> String {
        self.here[at].address().to_string()
    }

    /// Lays or lifts, and waits until the proxy runs it.
    fn operate(&self, words: &[&str]) -> Ran {
        self.sluice.operate(&[words, &["--wait"]].concat())
    }

    /// Holds an endpoint.
    fn force(&self, at: usize, to: &str, lasts: &str) -> Ran {
        let address = self.address(at);
        self.operate(&["endpoint", "force", "shop", &address, to, "--for", lasts, "--reason", "disk full"]).expect(0)
    }

    fn release(&self, at: usize) {
        self.operate(&["endpoint", "release", "shop", &self.address(at)]).expect(0).assert_says(&["held", "no more"]);
    }

    /// So many requests are shared like this. Where a turn begins is left to chance, so each may have one more or less, but none
    /// where none is meant.
    fn assert_shared(&self, expected: [u64; 4]) {
        let answered = self.ask(expected.iter().sum());
        let fits = |(is, meant): (&u64, &u64)| if *meant == 0 { *is == 0 } else { is.abs_diff(*meant) <= 1 };
        assert!(answered.iter().zip(&expected).all(fits), "{answered:?} is not {expected:?}");
    }

    /// How many of so many requests each endpoint answered.
    fn ask(&self, requests: u64) -> [u64; 4] {
        let before = self.requests();
        let mut client = Client::connect(self.web);
        (0..requests).for_each(|_| assert_eq!(client.get("/").status(), 200));
        let after = self.requests();
        std::array::from_fn(|at| after[at] - before[at])
    }

    fn requests(&self) -> [u64; 4] {
        let [h1, h2, h3] = &self.here;
        [h1, h2, h3, &self.there].map(Origin::requests)
    }

    /// What an operator sees of the endpoint.
    fn seen(&self, at: usize) -> Value {
        let status = self.sluice.status_address().to_string();
        let told =
            self.sluice.operate(&["get", "endpoints", "shop", "--status", &status, "-o", "json"]).expect(0).json();
        let of_pool = told["pools"].as_array().unwrap().iter().find(|pool| pool["region"] == "here").unwrap();
        let mut endpoints = of_pool["endpoints"].as_array().unwrap().iter();
        endpoints.find(|one| one["address"] == self.address(at)).unwrap().clone()
    }

    fn pool(&self, region: &str) -> Value {
        let told: Value = serde_json::from_str(&self.sluice.ask("/api/endpoints").unwrap().text()).unwrap();
        told["pools"].as_array().unwrap().iter().find(|pool| pool["region"] == region).unwrap().clone()
    }
}

#[test]
fn an_endpoint_that_is_forced_out_gets_nothing_until_it_is_released() {
    let stage = Stage::new("");
    stage.assert_shared([10, 10, 10, 0]);
    stage.force(1, "out", "1h").assert_says(&["held out"]);
    stage.assert_shared([15, 0, 15, 0]);
    let seen = stage.seen(1);
    assert_eq!(
        (&seen["eligible"], &seen["obstacle"], &seen["force"]),
        (&json!(false), &json!("forced"), &json!("out"))
    );
    assert_eq!(stage.pool("here")["eligible"], 2);
    stage.sluice.operate(&["get", "overrides"]).expect(0).assert_says(&[
        "force",
        &stage.address(1),
        "disk full",
        "ann",
    ]);
    stage.release(1);
    stage.assert_shared([10, 10, 10, 0]);
    assert_eq!((stage.seen(1)["eligible"].clone(), stage.seen(1)["force"].clone()), (json!(true), Value::Null));
}

/// No request fails by the operator's hand, also where the endpoint is answering when it is laid.
#[test]
fn forces_cost_no_request_under_load() {
    let stage = Stage::new("");
    let load = Load::new(stage.web).connections(8).rate(500.0).start();
    for _ in 0..3 {
        load.wait_good(100);
        let _ = stage.force(0, "out", "1h");
        let before = stage.here[0].requests();
        load.wait_good(100);
        assert!(stage.here[0].requests() - before <= 8, "what was under way, and no more");
        stage.release(0);
        let before = stage.here[0].requests();
        until("it gets its share again", || (stage.here[0].requests() > before + 20).then_some(()));
    }
    let report = load.finish();
    assert_eq!(report.failed(), 0, "{report}");
}

#[test]
fn a_force_ends_by_itself() {
    let stage = Stage::new("");
    let _ = stage.force(2, "out", "5s");
    assert_eq!(stage.ask(20)[2], 0);
    until("the override has ended", || {
        let laid = stage.sluice.api().get("/v1/overrides");
        laid["overrides"].as_object().unwrap().is_empty().then_some(())
    });
    until("the proxy knows", || (stage.seen(2)["force"] == Value::Null).then_some(()));
    stage.assert_shared([10, 10, 10, 0]);
    let last = stage.sluice.api().audit().pop().unwrap();
    assert_eq!((&last["event"]["action"], &last["event"]["author"]), (&json!("expire"), &json!("sluice")));
}

/// A document for an unrelated reason, a restart, a crash: the hand stays where it was laid.
#[test]
fn a_reload_and_a_restart_keep_forces() {
    let mut stage = Stage::new("");
    let _ = stage.force(0, "out", "1h");
    stage.sluice.change(stage.document.clone().route("{ path: /x }", "service: shop"));
    assert_eq!(stage.ask(20)[0], 0);
    stage.sluice.restart();
    assert_eq!(stage.ask(20)[0], 0);
    stage.sluice.crash();
    assert_eq!(stage.ask(20)[0], 0);
    assert_eq!(stage.seen(0)["obstacle"], "forced");
}

/// A revision that does not run has changed nothing: the endpoint that it held out still gets its share.
#[test]
fn a_revision_that_is_given_up_holds_nothing() {
    use sluice_config::overlay::{Action, EndpointForce, Force, Overlay, Override};
    use sluice_config::value::RevisionId;
    use sluice_harness::control::{Control, revision};

    let (web, origins) = (free_address(), ["h1", "h2"].map(Origin::start));
    let addresses = [origins[0].address(), origins[1].address()];
    let document = |certificate: &str| {
        Document::new()
            .listener("web", web, certificate)
            .region("here", "")
            .service("shop", "")
            .version("v1", 100, &[("here", &addresses)])
            .route("{ path: / }", "service: shop")
    };
    let control = Control::start();
    let mut proxy = setup(SLUICE).start_proxy(&["--control", &control.url()]);
    control.run(&revision(1, document("")));
    proxy.wait_ready();
    let endpoint = EndpointForce {
        service: "shop".parse().unwrap(),
        version: "v1".parse().unwrap(),
        region: "here".parse().unwrap(),
        address: addresses[0],
        to: Force::Out,
    };
    let laid = Override {
        action: Action::Endpoint(endpoint),
        author: "ann".parse().unwrap(),
        reason: "why".parse().unwrap(),
        since: "2026-11-26T09:30:00Z".parse().unwrap(),
        expires: "2026-11-26T10:30:00Z".parse().unwrap(),
    };
    let overlay = Overlay { overrides: [(RevisionId(2), laid)].into(), ..Overlay::default() };
    let forced = |id: u64, document: Document| {
        let text = document.to_string();
        let pair = sluice_config::read_pair(&text, &sluice_config::Environment::empty(), &overlay).unwrap();
        sluice_config::wire::Revision { digest: pair.validated.digest, overlay: overlay.clone(), ..revision(id, text) }
    };
    let counts = || {
        let before = [origins[0].requests(), origins[1].requests()];
        let mut client = Client::connect(web);
        (0..10).for_each(|_| assert_eq!(client.get("/").status(), 200));
        [origins[0].requests() - before[0], origins[1].requests() - before[1]]
    };
    let broken = "tls: { certificates: [{ cert: nowhere.pem, key: nowhere.key }] }";
    control.revise(&forced(2, document(broken)));
    control.wait_nack(2);
    assert_eq!(counts(), [5, 5]);
    control.run(&forced(3, document("")));
    assert_eq!(counts(), [0, 10]);
}

#[test]
fn forcing_the_last_endpoint_out_is_done_and_told() {
    let stage = Stage::new("");
    let _ = stage.force(0, "out", "1h");
    let _ = stage.force(1, "out", "1h");
    let last = stage.force(2, "out", "1h");
    last.assert_says(&["warning: no endpoint of shop/v1 in here is left"]);
    stage.assert_shared([0, 0, 0, 10]);
    let away = stage.operate(&[
        "endpoint",
        "force",
        "shop",
        &stage.there.address().to_string(),
        "out",
        "--for",
        "1h",
        "--reason",
        "all",
    ]);
    away.expect(0).assert_says(&["warning"]);
    assert_eq!(Client::connect(stage.web).get("/").status(), 503);
    stage.release(2);
    stage.assert_shared([0, 0, 10, 0]);
}

/// Forced in, an endpoint gets its share although its probes fail.
#[test]
fn an_endpoint_that_is_forced_in_gets_its_share_whatever_its_health_says() {
    let health = "health_check: { http: { path: /healthz }, interval: 400ms, timeout: 400ms, failure_threshold: 2, \
                  recovery_threshold: 1 }";
    let stage = Stage::new(health);
    until("all are verified", || (stage.pool("here")["eligible"] == 3).then_some(()));
    stage.here[1].set_healthy(false);
    until("its probes fail", || (stage.seen(1)["obstacle"] == "out").then_some(()));
    assert_eq!(stage.seen(1)["health"]["cause"], "status 503");
    stage.assert_shared([10, 0, 10, 0]);
    let _ = stage.force(1, "in", "1h");
    let seen = stage.seen(1);
    assert_eq!(
        (&seen["eligible"], &seen["health"]["standing"], &seen["force"]),
        (&json!(true), &json!("out"), &json!("in"))
    );
    stage.assert_shared([10, 10, 10, 0]);
    stage.release(1);
    stage.assert_shared([10, 0, 10, 0]);
}

#[test]
fn a_breaker_that_is_forced_open_moves_what_it_had_and_closes_when_it_is_released() {
    let stage = Stage::new("");
    let force = |region: &str| {
        let words = ["breaker", "force", "shop", "v1", "open", "--region", region, "--for", "1h", "--reason", "look"];
        stage.operate(&words).expect(0).assert_says(&["breaker of shop/v1", "held open"]);
    };
    force("here");
    stage.assert_shared([0, 0, 0, 10]);
    let pool = stage.pool("here");
    assert_eq!((&pool["breaker"]["state"], &pool["breaker"]["force"]), (&json!("open"), &json!("open")));
    assert_eq!((&pool["eligible"], &pool["healthy"]), (&json!(0), &json!(3)));
    assert_eq!(stage.seen(0)["obstacle"], "pool_breaker");
    force("there");
    assert_eq!(Client::connect(stage.web).get("/").status(), 503);
    let _ = stage.operate(&["breaker", "release", "shop", "--region", "here"]).expect(0);
    stage.assert_shared([10, 10, 10, 0]);
    let _ = stage.operate(&["breaker", "release", "shop"]).expect(0);
    let none = stage.operate(&["breaker", "release", "shop"]).expect(1);
    none.assert_says(&["no override holds a breaker of shop", "sluice get overrides"]);
}

#[test]
fn a_breaker_of_one_endpoint_is_forced_alone() {
    let stage = Stage::new("");
    let address = stage.address(0);
    let words = ["breaker", "force", "shop", "open", "--endpoint", &address, "--for", "1h", "--reason", "look"];
    stage.operate(&words).expect(0).assert_says(&["breaker of", &address]);
    stage.assert_shared([0, 10, 10, 0]);
    let seen = stage.seen(0);
    assert_eq!((&seen["obstacle"], &seen["breaker"]["force"]), (&json!("breaker"), &json!("open")));
    let _ = stage.operate(&["breaker", "release", "shop", "--endpoint", &address]).expect(0);
    stage.assert_shared([10, 10, 10, 0]);
}

#[test]
fn what_is_not_there_is_refused_and_nothing_is_removed_under_a_hand() {
    let stage = Stage::new("");
    let refused = |words: &[&str], said: &[&str]| {
        let terms = ["--for", "1h", "--reason", "look"];
        stage.sluice.operate(&[words, &terms].concat()).expect(1).assert_says(said);
    };
    refused(&["endpoint", "force", "shop", "10.9.9.9:80", "out"], &["error[no-endpoint]", "it has", &stage.address(0)]);
    refused(&["endpoint", "force", "shap", "10.9.9.9:80", "out"], &["error[no-service]", "did you mean `shop`?"]);
    refused(&["breaker", "force", "shop", "v1", "open", "--region", "moon"], &["error[no-pool]", "shop/v1 in here"]);
    let _ = stage.force(2, "out", "1h");
    let without =
        stage.document.clone().endpoints("shop", "v1", "here", &[stage.here[0].address(), stage.here[1].address()]);
    stage.sluice.rewrite(&without);
    let standing = until("the file is refused", || {
        let file = stage.sluice.api().get("/v1/status")["file"].clone();
        (file["accepted"] == false).then_some(file)
    });
    assert!(standing["standing"].as_str().unwrap().contains("sluice endpoint release shop"), "{standing}");
    stage.release(2);
    until("the file is applied", || (stage.sluice.api().get("/v1/status")["file"]["accepted"] == true).then_some(()));
    stage.sluice.wait_revision(4);
    stage.assert_shared([10, 10, 0, 0]);
}

/// What probes say only proxies know: the control plane goes by their reports.
#[test]
fn who_takes_the_last_endpoint_that_probes_keep_in_is_warned() {
    let stage =
        Stage::new("health_check: { http: { path: /healthz }, interval: 200ms, timeout: 200ms, failure_threshold: 1 }");
    stage.here[..2].iter().for_each(|origin| origin.set_healthy(false));
    until("one is left by reports", || {
        let told = stage.sluice.api().get("/v1/services");
        let pools = told["services"][0]["versions"][0]["pools"].as_array().unwrap();
        pools.iter().any(|pool| pool["region"] == "here" && pool["healthy"] == 1).then_some(())
    });
    stage
        .force(2, "out", "1h")
        .assert_says(&["warning: by the last report only one of the 3 endpoints of shop/v1 in here"]);
}

#[test]
fn who_holds_closed_what_is_no_breaker_is_warned() {
    let stage = Stage::new("");
    let words = ["breaker", "force", "shop", "closed", "--for", "1h", "--reason", "look"];
    stage.operate(&words).expect(0).assert_says(&["warning: shop has no breaker of its pools", "this holds nothing"]);
}

#[test]
fn a_running_proxy_explains_a_request_with_its_endpoints_as_they_are() {
    let stage = Stage::new("");
    let _ = stage.force(1, "out", "1h");
    let status = stage.sluice.status_address().to_string();
    let ask = |words: &[&str]| stage.sluice.operate(&[&["explain", "--live", "--status", &status], words].concat());
    let told = ask(&["http://shop.test/api", "-o", "json"]).expect(0).json();
    assert_eq!(told["revision"], 2);
    let endpoints = told["answer"]["endpoints"].as_array().unwrap();
    let of = |address: &str| endpoints.iter().find(|one| one["endpoint"] == address).unwrap();
    assert_eq!(of(&stage.address(0))["share"], 0.5);
    assert_eq!(of(&stage.address(1))["why_not"], "an operator holds it out");
    ask(&["POST", "http://shop.test/api"]).expect(0).assert_says(&["an operator holds it out", "Live: as revision 2"]);
    ask(&["TRACE", "http://shop.test/"]).expect(0).assert_says(&["501 Not Implemented"]);
    ask(&["/", "--listener", "wob"]).expect(1).assert_says(&["no listener `wob`; it has web"]);
    ask(&["GET"]).expect(2).assert_says(&["the URL is missing"]);
    let file = stage.sluice.file().to_str().unwrap();
    let offline = stage.sluice.operate(&["explain", file, "/"]).expect(0);
    offline.assert_says(&["Offline: every endpoint counts as verified", "33.3333 %"]);
}

#[test]
fn who_asks_where_nobody_answers_is_told_where_it_was_looked() {
    let nowhere = free_address().to_string();
    let stage = Stage::new("");
    for words in [&["get", "endpoints", "--status", &nowhere][..], &["explain", "--live", "/", "--status", &nowhere]] {
        stage.sluice.operate(words).expect(5).assert_says(&["no proxy answers", &nowhere, "--status"]);
    }
    let status = stage.sluice.status_address().to_string();
    let other = stage.sluice.operate(&["get", "endpoints", "cart", "--status", &status]).expect(1);
    other.assert_says(&["there is no service `cart`; what runs has shop"]);
    let admin = stage.sluice.admin_address().to_string();
    stage.sluice.operate(&["get", "endpoints", "--status", &admin]).expect(5).assert_says(&["no status listener"]);
}

#[test]
fn a_control_plane_says_that_only_proxies_tell_of_endpoints() {
    let control = control(SLUICE).start();
    let status = control.status().0.to_string();
    for words in [&["get", "endpoints", "--status", &status][..], &["explain", "--live", "/", "--status", &status]] {
        Ran::of(command(SLUICE, words)).expect(1).assert_says(&["this is a control plane", "--status"]);
    }
}
