//! The choice inside of a pool, in trouble: what fails is found out by the traffic that it fails, kept out for a while, and
//! let in again; what is full lets others wait; who is to stay with an endpoint stays.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use sluice_harness::h1::{Client, Response};
use sluice_harness::load::Load;
use sluice_harness::origin::Fault;
use sluice_harness::sluice::setup;
use sluice_harness::wait::until;
use sluice_harness::{Document, Origin, Sluice, free_address};

const SLUICE: &str = env!("CARGO_BIN_EXE_sluice");

const FAULTS: [Fault; 5] = [Fault::Hangs, Fault::Resets, Fault::Answers(500), Fault::AnswersHalf, Fault::IsSlow(400)];

/// So many origins behind one proxy, in one pool of one version.
struct Stage {
    web: SocketAddr,
    origins: Vec<Origin>,
    sluice: Sluice,
}

impl Stage {
    /// With further keys of the service.
    fn new(origins: usize, settings: &str) -> Self {
        let web = free_address();
        let origins: Vec<Origin> = (0..origins).map(|at| Origin::start(&format!("o{at}"))).collect();
        let addresses: Vec<SocketAddr> = origins.iter().map(Origin::address).collect();
        let document = Document::new()
            .listener("web", web, "")
            .region("here", "")
            .service("shop", settings)
            .version("v1", 100, &[("here", &addresses)])
            .route("{ path: / }", "service: shop");
        Self { web, origins, sluice: setup(SLUICE).start(document) }
    }

    fn client(&self) -> Client {
        Client::connect(self.web)
    }

    /// One request on a connection of its own: half an answer costs its connection. Nothing for one that was cut.
    fn ask(&self) -> Option<Response> {
        self.client().send("GET / HTTP/1.1\r\nHost: t\r\n\r\n").try_response("GET").ok()
    }

    /// Asks so often, and answers with how many answers came from each origin.
    fn asked(&self, times: usize) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for _ in 0..times {
            let by = self.ask().map(|answer| format!("{} {}", answer.status(), answer.origin()));
            *counts.entry(by.unwrap_or_else(|| "cut".to_owned())).or_default() += 1;
        }
        counts
    }

    fn requests(&self) -> Vec<u64> {
        self.origins.iter().map(Origin::requests).collect()
    }

    fn gauge(&self, name: &str) -> f64 {
        self.sluice.metric(name, &[])
    }

    fn wait_gauge(&self, name: &str, value: f64) {
        until(&format!("{name} is {value}"), || (self.gauge(name) == value).then_some(()));
    }
}

/// The timeouts and the ejection or breaker under which every fault is one: what is slow is a failure, too.
fn strict(policy: &str) -> String {
    format!("timeouts: {{ per_try: 200ms, idle: 1s }}, retries: {{ attempts: 1 }}, {policy}")
}

const EJECTION: &str = "outlier_ejection: { consecutive_failures: 3, base_time: 1s, max_time: 1s, max_ejected: 30% }";

/// One of three, and three of ten: each is ejected after its third failure, the others take all, and once it is sound it
/// gets its part again.
fn is_ejected_and_returns(origins: usize, bad: usize, fault: Fault) {
    let stage = Stage::new(origins, &strict(EJECTION));
    stage.origins[..bad].iter().for_each(|origin| origin.have(Some(fault)));
    until("every bad one is out", || {
        stage.ask();
        (stage.gauge("sluice_endpoint_ejected") == bad as f64).then_some(())
    });
    let ejections = stage.sluice.metric("sluice_endpoint_ejections_total", &[("reason", "consecutive_failures")]);
    assert!(ejections >= bad as f64, "{ejections}");
    stage.origins[..bad].iter().for_each(|origin| origin.have(None));
    stage.wait_gauge("sluice_endpoint_ejected", 0.0);
    let (before, rounds) = (stage.requests(), 10);
    stage.asked(origins * rounds);
    for (at, (now, before)) in stage.requests().into_iter().zip(before).enumerate() {
        let share = now - before;
        assert!((rounds as u64 - 4..=rounds as u64 + 4).contains(&share), "{fault:?}: o{at} got {share}");
    }
}

#[test]
fn one_of_three_is_ejected_for_each_fault_and_returns() {
    FAULTS.into_iter().for_each(|fault| is_ejected_and_returns(3, 1, fault));
}

#[test]
fn three_of_ten_are_ejected_for_each_fault_and_return() {
    FAULTS.into_iter().for_each(|fault| is_ejected_and_returns(10, 3, fault));
}

/// While it is out nothing is sent there, so that no request fails any more.
#[test]
fn what_is_ejected_gets_nothing() {
    let stage = Stage::new(3, &strict("outlier_ejection: { consecutive_failures: 3, base_time: 60s }"));
    stage.origins[0].have(Some(Fault::Answers(500)));
    until("it is out", || {
        stage.ask();
        (stage.gauge("sluice_endpoint_ejected") == 1.0).then_some(())
    });
    let before = stage.origins[0].requests();
    let answers = stage.asked(50);
    assert_eq!(stage.origins[0].requests(), before);
    assert!(answers.keys().all(|answer| answer.starts_with("200")), "{answers:?}");
}

/// What is found out only when nothing moves any more is noted at that moment, not at that of its last byte: else the time out
/// would be over before it begins.
#[test]
fn an_endpoint_that_hangs_in_the_body_is_kept_out() {
    let stage = Stage::new(
        3,
        "timeouts: { idle: 1s }, retries: { attempts: 1 }, \
                              outlier_ejection: { consecutive_failures: 2, base_time: 900ms, max_time: 900ms }",
    );
    stage.origins[0].have(Some(Fault::Stalls));
    until("it is ejected", || {
        stage.ask();
        (stage.gauge("sluice_endpoint_ejections_total") > 0.0).then_some(())
    });
    assert_eq!(stage.gauge("sluice_endpoint_ejected"), 1.0);
}

/// Two origins of which the first hangs, asked by clients that leave after 200 ms until it is found; the other answers all then.
fn is_found_by_clients_that_leave(settings: &str, is_found: impl Fn(&Stage) -> bool) {
    let stage = Stage::new(2, settings);
    stage.origins[0].have(Some(Fault::Hangs));
    until("the one that hangs is found", || {
        let mut client = stage.client();
        client.set_patience(Duration::from_millis(200));
        drop(client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n").try_response("GET"));
        is_found(&stage).then_some(())
    });
    stage.wait_gauge("sluice_requests_in_flight", 0.0);
    assert_eq!(stage.asked(20), BTreeMap::from([("200 o1".to_owned(), 20)]));
}

/// What a client has waited in vain is a slow call.
#[test]
fn clients_that_leave_open_the_breaker_of_an_endpoint_that_hangs() {
    let breaker = "breaker: { endpoint: { consecutive_failures: off, failure_ratio: off, slow_after: 100ms, slow_ratio: 50%, \
                   min_requests: 4, open_time: 60s } }";
    is_found_by_clients_that_leave(breaker, |stage| stage.gauge("sluice_endpoint_breaker") == 2.0);
}

/// The endpoint takes longer than they waited; of one of which nothing is known it is thought that it is as fast as the other.
#[test]
fn clients_that_leave_make_an_endpoint_that_hangs_slow() {
    let both_known = |stage: &Stage| stage.requests().iter().all(|count| *count > 0);
    is_found_by_clients_that_leave("balancer: peak_ewma", both_known);
}

/// The cap: with two of three bad one is ejected and the other is not, and it is told that it was spared.
#[test]
fn a_cap_spares_the_second_of_three_and_says_so() {
    let stage =
        Stage::new(3, &strict("outlier_ejection: { consecutive_failures: 3, base_time: 60s, max_ejected: 30% }"));
    stage.origins[..2].iter().for_each(|origin| origin.have(Some(Fault::Answers(500))));
    until("an ejection is suppressed", || {
        stage.ask();
        (stage.gauge("sluice_endpoint_ejections_suppressed_total") > 0.0).then_some(())
    });
    assert_eq!(stage.gauge("sluice_endpoint_ejected"), 1.0);
}

const BREAKER: &str =
    "breaker: { endpoint: { consecutive_failures: 3, open_time: 300ms, max_open_time: 600ms, close_after: 3 } }";

/// One of one: nothing else could answer, so its breaker spares it what it cannot do, and closes when it can again.
fn breaks_and_closes(fault: Fault) {
    let stage = Stage::new(1, &strict(BREAKER));
    stage.origins[0].have(Some(fault));
    until("its breaker is open", || {
        stage.ask();
        (stage.gauge("sluice_endpoint_breaker") == 2.0).then_some(())
    });
    until("a request that is not sent there", || {
        stage.ask();
        (stage.sluice.metric("sluice_failures_total", &[("reason", "breaker_open")]) >= 1.0).then_some(())
    });
    stage.origins[0].have(None);
    until("its breaker is closed", || {
        stage.ask();
        (stage.gauge("sluice_endpoint_breaker") == 0.0).then_some(())
    });
    assert_eq!(stage.asked(20), BTreeMap::from([("200 o0".to_owned(), 20)]), "{fault:?}");
    let opened = [("of", "endpoint"), ("to", "open")];
    assert!(stage.sluice.metric("sluice_breaker_transitions_total", &opened) >= 1.0);
}

#[test]
fn one_of_one_has_a_breaker_that_closes_again_after_each_fault() {
    FAULTS.into_iter().for_each(breaks_and_closes);
}

/// Two versions in two regions.
struct Wide {
    web: SocketAddr,
    /// v1 east, v1 west, v2 east, v2 west.
    origins: [Origin; 4],
    sluice: Sluice,
}

impl Wide {
    /// v2 has the larger weight in east only if `canary` is 100.
    fn new(settings: &str, canary: u32) -> Self {
        let web = free_address();
        let origins = ["v1 east", "v1 west", "v2 east", "v2 west"].map(Origin::start);
        let at = |index: usize| [origins[index].address()];
        let document = Document::new()
            .listener("web", web, "")
            .region("east", "weight: 100")
            .region("west", "weight: 0")
            .service("shop", settings)
            .version("v1", 100, &[("east", &at(0)), ("west", &at(1))])
            .version("v2", canary, &[("east", &at(2)), ("west", &at(3))])
            .route("{ path: / }", "service: shop");
        Self { web, origins, sluice: setup(SLUICE).start(document) }
    }

    fn answers(&self, times: usize) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for _ in 0..times {
            let answer = Client::connect(self.web).get("/");
            *counts.entry(format!("{} {}", answer.status(), answer.origin())).or_default() += 1;
        }
        counts
    }

    /// Requests until the pool of v2 in east is open.
    fn trip(&self) {
        self.origins[2].have(Some(Fault::Answers(500)));
        let open = [("version", "v2"), ("region", "east")];
        until("the pool's breaker is open", || {
            self.answers(1);
            (self.sluice.metric("sluice_pool_breaker", &open) == 2.0).then_some(())
        });
    }

    fn moved(&self, to: &str) -> f64 {
        self.sluice.metric("sluice_requests_moved_total", &[("version", "v2"), ("to", to)])
    }
}

const POOL_BREAKER: &str =
    "retries: { attempts: 1 }, breaker: { pool: { consecutive_failures: 3, failure_ratio: off, open_time: 60s } }";

/// The share of a version whose pool is broken goes where the policy says, and is counted for the version that it was
/// assigned to.
#[test]
fn a_broken_pool_gives_its_share_to_the_baseline() {
    let wide = Wide::new(&format!("{POOL_BREAKER}, fallback: baseline"), 50);
    wide.trip();
    let before = wide.moved("baseline");
    let answers = wide.answers(60);
    assert_eq!(answers, BTreeMap::from([("200 v1 east".to_owned(), 60)]));
    let moved = wide.moved("baseline") - before;
    assert!((19.0..=21.0).contains(&moved), "a third of them were v2's: {moved}");
}

#[test]
fn a_broken_pool_that_rejects_gives_its_share_to_nobody() {
    let wide = Wide::new(&format!("{POOL_BREAKER}, fallback: reject"), 50);
    wide.trip();
    let before = wide.moved("nowhere");
    let answers = wide.answers(60);
    let refused = answers["503 "];
    assert!((19..=21).contains(&refused), "a third of them were v2's: {answers:?}");
    assert_eq!(answers["200 v1 east"], 60 - refused);
    assert_eq!(wide.moved("nowhere") - before, refused as f64);
    assert_eq!(wide.sluice.metric("sluice_failures_total", &[("reason", "breaker_open")]), refused as f64);
    let status = wide.sluice.status_address().to_string();
    let told = wide.sluice.operate(&["explain", "--live", "/", "--status", &status]).expect(0);
    told.assert_says(&[
        "Refused: 33.3333 % with 503 Service Unavailable (breaker_open). v2 in east: the breaker of its pool is open",
        "by `fallback: reject` nobody stands in.",
    ]);
}

/// Nothing is left for anybody, and a forced breaker is told from one that opened by itself.
#[test]
fn an_explanation_tells_what_is_refused_and_by_whose_hand() {
    let stage = Stage::new(1, "");
    let force = ["breaker", "force", "shop", "open", "--for", "1h", "--reason", "it loses sessions", "--wait"];
    let _ = stage.sluice.operate(&force).expect(0);
    assert_eq!(stage.client().get("/").status(), 503);
    let status = stage.sluice.status_address().to_string();
    let ask = |more: &[&str]| stage.sluice.operate(&[&["explain", "--live", "/", "--status", &status], more].concat());
    ask(&[]).expect(0).assert_says(&["the breaker of its pool is forced open", "Refused: 100 % with 503"]);
    let unanswered = &ask(&["-o", "json"]).expect(0).json()["answer"]["unanswered"][0];
    assert_eq!((&unanswered["reason"], &unanswered["share"]), (&"breaker_open".into(), &1.0.into()), "{unanswered}");
}

/// What a failure counts as for `peak_ewma` is no time that an answer took.
#[test]
fn an_endpoint_that_fails_fast_is_not_shown_as_slow() {
    let stage = Stage::new(1, "retries: { attempts: 1 }");
    stage.asked(5);
    stage.origins[0].have(Some(Fault::Resets));
    stage.asked(5);
    let shown = stage.gauge("sluice_endpoint_latency_seconds");
    assert!(shown > 0.0 && shown < 1.0, "{shown} s");
}

#[test]
fn a_sticky_user_returns_when_the_version_recovers() {
    let settings = "split: { sticky: { header: x-user } }, retries: { attempts: 1 }, fallback: baseline, \
                    breaker: { pool: { consecutive_failures: 3, failure_ratio: off, open_time: 300ms, max_open_time: 300ms, close_after: 2 } }";
    let wide = Wide::new(settings, 100);
    let by = |user: usize| {
        let request = format!("GET / HTTP/1.1\r\nHost: t\r\nX-User: u{user}\r\n\r\n");
        Client::connect(wide.web).exchange(&request).origin().to_owned()
    };
    let of_v2: Vec<usize> = (0..40).filter(|user| by(*user).starts_with("v2")).collect();
    assert!(of_v2.len() > 5, "{of_v2:?}");
    wide.origins[2].have(Some(Fault::Answers(500)));
    until("they are moved", || of_v2.iter().all(|user| by(*user) == "v1 east").then_some(()));
    wide.origins[2].have(None);
    until("they are back", || of_v2.iter().all(|user| by(*user) == "v2 east").then_some(()));
}

/// As many requests at once as may; the rest wait in turn, and none fails.
#[test]
fn requests_wait_for_room() {
    let stage = Stage::new(2, "limits: { endpoint: { requests: 2 }, pool: { pending_timeout: 10s } }");
    stage.origins.iter().for_each(|origin| origin.have(Some(Fault::IsSlow(5))));
    let load = Load::new(stage.web).connections(32).start();
    load.wait_good(500);
    let report = load.finish();
    assert_eq!(report.failed(), 0, "{report:?}");
    assert!(stage.origins.iter().all(|origin| origin.open_connections() <= 2), "never more than two at once");
    let waited = stage.sluice.metric("sluice_pool_requests_waited_total", &[("result", "granted")]);
    assert!(waited > 100.0, "{waited}");
    stage.wait_gauge("sluice_pool_requests_pending", 0.0);
}

#[test]
fn who_waits_in_vain_is_told_so() {
    let stage = Stage::new(1, "limits: { pool: { requests: 1, pending: 1, pending_timeout: 100ms } }");
    stage.origins[0].have(Some(Fault::Hangs));
    let mut holder = stage.client();
    holder.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n");
    stage.wait_gauge("sluice_pool_requests_in_flight", 1.0);
    let answer = stage.client().get("/");
    assert_eq!(answer.status(), 503);
    stage.sluice.wait_metric("sluice_failures_total", &[("reason", "no_room")], 1.0);
    assert_eq!(stage.sluice.metric("sluice_pool_requests_waited_total", &[("result", "timeout")]), 1.0);
}

#[test]
fn the_important_go_first() {
    let web = free_address();
    let origin = Origin::start("o");
    let document = Document::new()
        .listener("web", web, "")
        .region("here", "")
        .service("shop", "limits: { pool: { requests: 1, pending: 100, pending_timeout: 20s } }")
        .version("v1", 100, &[("here", &[origin.address()])])
        .route("{ path: / }", "service: shop")
        .route("{ path: /low }", "service: shop, priority: low")
        .route("{ path: /high }", "service: shop, priority: high");
    let sluice = setup(SLUICE).start(document);
    origin.record();
    let mut holder = Client::connect(web);
    holder.send("GET /delay/500 HTTP/1.1\r\nHost: t\r\n\r\n");
    until("the pool is full", || (origin.requests() == 1).then_some(()));
    let mut waiting = Vec::new();
    for (at, path) in ["/low/1", "/mid/1", "/low/2", "/high/1", "/mid/2", "/high/2"].into_iter().enumerate() {
        let mut client = Client::connect(web);
        client.send(format!("GET {path} HTTP/1.1\r\nHost: t\r\n\r\n"));
        sluice.wait_metric("sluice_pool_requests_pending", &[], at as f64 + 1.0);
        waiting.push(client);
    }
    assert_eq!(holder.response().status(), 200);
    waiting.iter_mut().for_each(|client| assert_eq!(client.response().status(), 200));
    // Of each request that it has answered it is noted a moment later.
    until("all are noted", || (origin.seen().len() == 7).then_some(()));
    let order: Vec<String> = origin.seen().iter().skip(1).map(|seen| seen.head.path().to_owned()).collect();
    assert_eq!(order, ["/high/1", "/high/2", "/mid/1", "/mid/2", "/low/1", "/low/2"]);
}

/// What one worker keeps unused does not shut out another.
#[test]
fn connections_to_an_endpoint_are_bounded_over_all_workers() {
    let web = free_address();
    let origin = Origin::start("o");
    let document = Document::new()
        .listener("web", web, "")
        .region("here", "")
        .service("shop", "limits: { endpoint: { connections: 3 } }")
        .version("v1", 100, &[("here", &[origin.address()])])
        .route("{ path: / }", "service: shop");
    let sluice = setup(SLUICE).workers(4).start(document);
    origin.have(Some(Fault::IsSlow(2)));
    let load = Load::new(web).connections(24).start();
    until("requests are served", || (load.good() >= 1_000).then_some(()));
    let report = load.finish();
    assert_eq!(report.failed(), 0, "{report:?}");
    assert_eq!(origin.most_at_once(), 3);
    until("none is too many", || (origin.open_connections() <= 3).then_some(()));
    assert_eq!(sluice.metric("sluice_failures_total", &[("reason", "connection_limit")]), 0.0);
}

/// A session is begun with a cookie and stays with its endpoint; another's key is another's.
#[test]
fn a_session_stays_with_its_endpoint_by_a_cookie() {
    let stage = Stage::new(5, "session: { cookie: stay, max_age: 1h }");
    let mut origins = BTreeSet::new();
    for _ in 0..30 {
        let first = stage.client().get("/");
        let cookie = first.field("set-cookie").expect("a session begins").to_owned();
        assert!(
            cookie.starts_with("stay=") && cookie.ends_with("; Path=/; HttpOnly; SameSite=Lax; Max-Age=3600"),
            "{cookie}"
        );
        let pair = cookie.split(';').next().unwrap();
        for _ in 0..5 {
            let request = format!("GET / HTTP/1.1\r\nHost: t\r\nCookie: a=b; {pair}\r\n\r\n");
            let next = stage.client().exchange(&request);
            assert_eq!((next.origin(), next.field("set-cookie")), (first.origin(), None));
        }
        origins.insert(first.origin().to_owned());
    }
    assert!(origins.len() > 3, "users are spread: {origins:?}");
    let forged = stage.client().exchange("GET / HTTP/1.1\r\nHost: t\r\nCookie: stay=o1\r\n\r\n");
    assert!(forged.field("set-cookie").is_some(), "a key that is not ours begins a new session");
}

/// Maglev: a key keeps its endpoint; of the keys of an endpoint that is gone each goes elsewhere, and of the others few move.
#[test]
fn a_hashed_key_keeps_its_endpoint() {
    let stage = Stage::new(5, "balancer: { maglev: { key: { header: X-User } } }");
    let by = |user: usize| {
        let request = format!("GET / HTTP/1.1\r\nHost: t\r\nX-User: user-{user}\r\n\r\n");
        stage.client().exchange(&request).origin().to_owned()
    };
    let before: Vec<String> = (0..100).map(by).collect();
    assert_eq!(before, (0..100).map(by).collect::<Vec<_>>());
    let used: BTreeSet<&String> = before.iter().collect();
    assert_eq!(used.len(), 5);
    stage.origins[0].kill();
    let after: Vec<String> = (0..100).map(by).collect();
    for (was, is) in before.iter().zip(&after) {
        assert!(if was == "o0" { is != "o0" } else { is == was }, "{was} became {is}");
    }
    stage.origins[0].revive();
    until("its users are back", || ((0..100).map(by).collect::<Vec<_>>() == before).then_some(()));
}

/// Whoever is slow is given less by the balancers that look.
#[test]
fn a_slow_endpoint_is_given_less_by_the_balancers_that_look() {
    for balancer in ["least_request", "peak_ewma"] {
        let stage = Stage::new(4, &format!("balancer: {balancer}"));
        stage.origins[0].have(Some(Fault::IsSlow(100)));
        let load = Load::new(stage.web).connections(8).start();
        load.wait_good(1_000);
        let report = load.finish();
        assert_eq!(report.failed(), 0, "{report:?}");
        let (slow, all) = (stage.origins[0].requests(), stage.requests().iter().sum::<u64>());
        assert!(slow * 10 < all, "{balancer}: {slow} of {all}");
    }
}

/// An endpoint that is new to the pool is warmed up; those that were there at the start were not.
#[test]
fn a_new_endpoint_is_warmed_up() {
    let stage = Stage::new(2, "slow_start: { window: 60s, floor: 10% }");
    let even = stage.asked(20);
    assert!(even.values().all(|count| *count == 10), "{even:?}");
    let newcomer = Origin::start("new");
    let mut addresses: Vec<SocketAddr> = stage.origins.iter().map(Origin::address).collect();
    addresses.push(newcomer.address());
    let document = Document::new()
        .listener("web", stage.web, "")
        .region("here", "")
        .service("shop", "slow_start: { window: 60s, floor: 10% }")
        .version("v1", 100, &[("here", &addresses)])
        .route("{ path: / }", "service: shop");
    stage.sluice.change(document);
    until("its level is low", || {
        let level =
            stage.sluice.metric("sluice_endpoint_level_ratio", &[("endpoint", &newcomer.address().to_string())]);
        (level > 0.0 && level < 0.5).then_some(())
    });
    let answers = stage.asked(60);
    let share = answers.get("200 new").copied().unwrap_or(0);
    assert!((1..=10).contains(&share), "a third would be 20: {answers:?}");
}

/// A limit on what is tried again at once holds beside the budget.
#[test]
fn retries_at_once_are_bounded() {
    let settings = "retries: { causes: [timeout], attempts: 2, budget: { ratio: 100%, min_per_second: 1000 } }, \
                    timeouts: { per_try: 200ms }, limits: { retries: 1 }";
    let stage = Stage::new(2, settings);
    stage.origins.iter().for_each(|origin| origin.have(Some(Fault::Hangs)));
    let mut clients: Vec<Client> = (0..6).map(|_| stage.client()).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n");
    }
    clients.iter_mut().for_each(|client| assert_eq!(client.response().status(), 504));
    let refused = stage.sluice.metric("sluice_retries_refused_total", &[("reason", "retries_at_once")]);
    assert!(refused >= 1.0, "{refused}");
    assert!(stage.requests().iter().sum::<u64>() < 12);
}

/// A pool of which too little is left fails as a whole, or is believed to be sound, as the policy says.
#[test]
fn too_small_a_rest_panics_as_the_policy_says() {
    let health = "health_check: { http: { path: /healthz }, interval: 200ms, timeout: 200ms, failure_threshold: 1, recovery_threshold: 1 }";
    for (mode, status) in [("fail_open", 200), ("fail_closed", 503)] {
        let stage = Stage::new(3, &format!("{health}, panic: {{ below: 50%, then: {mode} }}"));
        stage.wait_gauge("sluice_endpoint_healthy", 3.0);
        stage.origins[..2].iter().for_each(|origin| origin.set_healthy(false));
        stage.wait_gauge("sluice_endpoint_healthy", 1.0);
        let answers = stage.asked(30);
        assert!(answers.keys().all(|answer| answer.starts_with(&status.to_string())), "{mode}: {answers:?}");
        assert_eq!(answers.len(), if mode == "fail_open" { 3 } else { 1 }, "{mode}: {answers:?}");
    }
}

/// Endpoints of the proxy's own zone are preferred as long as they carry the load; what they cannot goes to the others.
#[test]
fn the_own_zone_is_preferred_and_spills_when_it_fails() {
    let (web, origins) = (free_address(), ["a1", "a2", "b1", "b2"].map(Origin::start));
    let endpoint = |at: usize, zone: &str| format!("{{ address: \"{}\", zone: {zone} }}", origins[at].address());
    let document = format!(
        "listeners: [{{ name: web, address: \"{web}\" }}]\n\
         services:\n\
         - name: shop\n  zones: {{}}\n  \
           health_check: {{ http: {{ path: /healthz }}, interval: 200ms, timeout: 200ms, failure_threshold: 1, recovery_threshold: 1 }}\n  \
           endpoints: [{}, {}, {}, {}]\n\
         routes: [{{ service: shop }}]\n",
        endpoint(0, "a"),
        endpoint(1, "a"),
        endpoint(2, "b"),
        endpoint(3, "b"),
    );
    let sluice = setup(SLUICE).arguments(&["--zone", "a"]).start(document);
    let healthy = |count: f64| {
        until(&format!("{count} are healthy"), || {
            (sluice.metric("sluice_endpoint_healthy", &[]) == count).then_some(())
        });
    };
    let ask = |times: usize| {
        let before = origins.each_ref().map(Origin::requests);
        (0..times).for_each(|_| assert_eq!(Client::connect(web).get("/").status(), 200));
        let after = origins.each_ref().map(Origin::requests);
        (after[0] + after[1] - before[0] - before[1], after[2] + after[3] - before[2] - before[3])
    };
    healthy(4.0);
    assert_eq!(ask(50), (50, 0));
    origins[0].set_healthy(false);
    healthy(3.0);
    // Half of the zone is trusted with 140 % of a half.
    let (near, far) = ask(100);
    assert!((68..=72).contains(&near) && near + far == 100, "{near} of 100 stay");
    origins[1].set_healthy(false);
    healthy(2.0);
    assert_eq!(ask(20), (0, 20));
    origins[..2].iter().for_each(|origin| origin.set_healthy(true));
    healthy(4.0);
    assert_eq!(ask(50), (50, 0));
}
