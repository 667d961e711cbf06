//! What is tried again and what is not, counted where it matters: at the origins.

#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use sluice_harness::h1::{Client, Response};
use sluice_harness::origin::Then;
use sluice_harness::origin::answer::pattern;
use sluice_harness::sluice::setup;
use sluice_harness::wait::until;
use sluice_harness::{Document, Origin, Sluice, free_address};

const SLUICE: &str = env!("CARGO_BIN_EXE_sluice");
const REFUSED: &str = "sluice_retries_refused_total";

/// So many origins behind one proxy, in one pool.
struct Stage {
    web: SocketAddr,
    origins: Vec<Origin>,
    sluice: Sluice,
}

impl Stage {
    /// With further keys of the service.
    fn new(origins: usize, settings: &str) -> Self {
        Self::with_workers(1, origins, settings)
    }

    fn with_workers(workers: usize, origins: usize, settings: &str) -> Self {
        let web = free_address();
        let origins: Vec<Origin> = (0..origins).map(|at| Origin::start(["one", "two", "three"][at])).collect();
        let addresses: Vec<SocketAddr> = origins.iter().map(Origin::address).collect();
        let document = Document::new()
            .listener("web", web, "")
            .region("here", "")
            .service("shop", settings)
            .version("v1", 100, &[("here", &addresses)])
            .route("{ path: / }", "service: shop");
        Self { web, origins, sluice: setup(SLUICE).workers(workers).start(document) }
    }

    fn client(&self) -> Client {
        Client::connect(self.web)
    }

    /// Requests that reached an origin.
    fn reached(&self) -> u64 {
        self.origins.iter().map(Origin::requests).sum()
    }

    fn refused(&self, reason: &str) -> f64 {
        self.sluice.metric(REFUSED, &[("reason", reason)])
    }
}

fn status(status: u16, fields: &str) -> String {
    format!("HTTP/1.1 {status} X\r\nx-origin: script\r\n{fields}content-length: 5\r\n\r\nsorry")
}

fn request(method: &str, target: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("{method} {target} HTTP/1.1\r\nHost: t\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn send(client: &mut Client, method: &str, target: &str, body: &[u8]) -> Response {
    client.send(request(method, target, body)).try_response(method).unwrap()
}

/// Nothing was sent, so every method may go elsewhere, and the budget has nothing to say.
#[test]
fn a_refused_connect_goes_elsewhere_whatever_the_method() {
    let stage = Stage::new(2, "retries: { causes: [connect_failure], budget: { ratio: 0%, min_per_second: 0 } }");
    stage.origins[0].kill();
    let mut client = stage.client();
    for _ in 0..10 {
        assert_eq!(send(&mut client, "POST", "/sink", b"once").text(), "4");
    }
    assert_eq!(stage.reached(), 10);
    let reason = [("reason", "connect_refused")];
    assert_eq!(stage.sluice.metric("sluice_retries_total", &reason), 5.0, "every second began at the dead one");
    let log = stage.sluice.wait_access_log(10);
    assert!(log.iter().any(|line| line["attempts"] == 2 && line["first_error"] == "connect_refused"), "{log:?}");
}

/// And with one attempt it is told.
#[test]
fn one_attempt_is_one() {
    let stage = Stage::new(2, "retries: { attempts: 1 }");
    stage.origins[0].kill();
    let mut client = stage.client();
    let failed = (0..10).filter(|_| client.get("/").status() == 502).count();
    assert_eq!((failed, stage.reached()), (5, 5));
    assert_eq!(stage.refused("attempts_spent"), 5.0);
}

/// The request may have been carried out: what is idempotent is sent again with its body, a POST never.
#[test]
fn a_reset_is_survived_by_what_may_be_done_twice() {
    let stage = Stage::new(2, "retries: { budget: { ratio: 100%, min_per_second: 99 } }");
    stage.origins[0].script("/echo", "", Then::Reset);
    for method in ["GET", "PUT", "DELETE"] {
        let mut client = stage.client();
        for body in [&b"kept"[..], b""] {
            for _ in 0..4 {
                let answer = send(&mut client, method, "/echo", body);
                assert_eq!((answer.status(), answer.origin(), answer.body.as_slice()), (200, "two", body), "{method}");
            }
        }
    }
    let (before, mut client) = (stage.reached(), stage.client());
    let failed = (0..10).filter(|_| send(&mut client, "POST", "/echo", b"once").status() == 502).count();
    assert_eq!((failed, stage.reached() - before), (5, 10));
    assert_eq!(stage.refused("may_have_been_done"), 5.0);
}

#[test]
fn an_answer_of_a_listed_status_is_tried_elsewhere() {
    let stage = Stage::new(3, "retries: { statuses: [502, 503], budget: { ratio: 100%, min_per_second: 99 } }");
    stage.origins[0].script("/x", status(503, ""), Then::Keep);
    stage.origins[1].script("/x", status(502, ""), Then::Keep);
    let mut client = stage.client();
    for _ in 0..9 {
        assert_eq!(client.get("/x").origin(), "three");
    }
    // A third began at each of them; what follows is drawn from the other two.
    assert!((9 + 6..=9 + 12).contains(&stage.reached()), "{}", stage.reached());
    assert_eq!(stage.sluice.metric("sluice_requests_total", &[("class", "5xx")]), 0.0);
    let answer = client.get("/bytes/1000000");
    assert_eq!((answer.status(), answer.body), (200, pattern(1_000_000)), "others pass as they are");
}

/// When nothing else can be tried, the client gets what the last origin said, whole.
#[test]
fn the_last_answer_is_passed_on() {
    let stage = Stage::new(2, "retries: { statuses: [503], budget: { ratio: 100%, min_per_second: 99 } }");
    for origin in &stage.origins {
        origin.script("/x", status(503, "x-why: tired\r\n"), Then::Keep);
    }
    let answer = stage.client().get("/x");
    assert_eq!((answer.status(), answer.field("x-why"), answer.text()), (503, Some("tired"), "sorry".to_owned()));
    assert_eq!((stage.reached(), stage.refused("attempts_spent")), (3, 1.0));
    let answer = send(&mut stage.client(), "POST", "/x", b"once");
    assert_eq!((answer.status(), answer.text()), (503, "sorry".to_owned()));
    assert_eq!((stage.reached(), stage.refused("may_have_been_done")), (4, 1.0));
}

/// The only endpoint is asked again after a wait, on the connection that the refused answer left clean.
#[test]
fn a_single_endpoint_is_asked_again() {
    let stage = Stage::new(1, "retries: { attempts: 4, statuses: [503], budget: { ratio: 100%, min_per_second: 99 } }");
    stage.origins[0].script("/x", status(503, ""), Then::Keep);
    assert_eq!(stage.client().get("/x").status(), 503);
    assert_eq!((stage.reached(), stage.origins[0].connections()), (4, 1));
}

/// Guarantee 8: while everything fails, origins get at most a fifth more than clients send, and three a second.
#[test]
fn an_outage_is_not_multiplied() {
    let settings = "retries: { attempts: 10, statuses: [503], backoff: { base: 1ms, max: 1ms } }";
    let stage = Stage::with_workers(2, 2, settings);
    for origin in &stage.origins {
        origin.script("/x", status(503, ""), Then::Keep);
    }
    let (start, requests) = (Instant::now(), 400);
    let mut clients: Vec<Client> = (0..8).map(|_| stage.client()).collect();
    for at in 0..requests {
        assert_eq!(clients[at % 8].get("/x").status(), 503);
    }
    let seconds = start.elapsed().as_secs() + 2;
    let again = stage.reached() - requests as u64;
    assert!(again >= 60, "only {again} of {requests} were tried again");
    assert!(again <= requests as u64 / 5 + 3 * seconds, "{again} of {requests} in {seconds} s");
    assert!(stage.refused("budget_spent") > 100.0);
}

#[test]
fn retry_after_is_waited_for_unless_it_is_too_long() {
    let stage = Stage::new(1, "retries: { attempts: 2, statuses: [429] }");
    stage.origins[0].script("/soon", status(429, "Retry-After: 1\r\n"), Then::Keep);
    stage.origins[0].script("/late", status(429, "Retry-After: 2\r\n"), Then::Keep);
    let (start, mut client) = (Instant::now(), stage.client());
    assert_eq!((client.get("/soon").status(), stage.reached()), (429, 2));
    assert!(start.elapsed() >= Duration::from_secs(1));
    let answer = client.get("/late");
    assert_eq!((answer.status(), answer.field("retry-after"), stage.reached()), (429, Some("2"), 3));
    assert_eq!(stage.refused("retry_after"), 1.0);
}

/// To the byte: 64 KiB are kept and sent again as they came, one byte more is not.
#[test]
fn a_body_is_sent_again_up_to_its_limit() {
    let stage = Stage::new(2, "retries: { statuses: [503], budget: { ratio: 100%, min_per_second: 99 } }");
    stage.origins[0].script("/echo", status(503, ""), Then::Keep);
    let (kept, longer) = (pattern(64 << 10), pattern((64 << 10) + 1));
    let chunked = |body: &[u8]| {
        let mut request = b"PUT /echo HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        for piece in body.chunks(10_000) {
            request.extend([format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat());
        }
        [request.as_slice(), b"0\r\nx-check: whole\r\n\r\n"].concat()
    };
    let mut client = stage.client();
    for _ in 0..4 {
        let answer = send(&mut client, "PUT", "/echo", &kept);
        assert!(answer.origin() == "two" && answer.body == kept, "{:?}", answer.head);
        let answer = client.send(chunked(&kept)).response();
        assert!(answer.origin() == "two" && answer.body == kept, "{:?}", answer.head);
        assert!(answer.trailers.iter().any(|(name, value)| name == "x-check" && value == "whole"), "{answer:?}");
    }
    assert!(stage.origins[0].requests() >= 4, "some began at the one that refuses");
    for request in [request("PUT", "/echo", &longer), chunked(&longer)] {
        let answers: Vec<u16> = (0..4).map(|_| client.send(&request).response().status()).collect();
        assert!(answers.contains(&503) && answers.contains(&200), "{answers:?}");
    }
    assert_eq!(stage.refused("body_consumed"), 4.0);
    assert!(stage.origins.iter().all(|origin| origin.malformed().is_empty()));
    let log = stage.sluice.wait_access_log(16);
    assert!(log.iter().all(|line| [kept.len(), longer.len()].iter().any(|size| line["bytes_in"] == *size)), "{log:?}");
}

/// A client that leaves while it is waited ends the request; nobody is asked for it any more.
#[test]
fn a_client_that_leaves_in_the_wait_is_not_waited_for() {
    let stage = Stage::new(1, "retries: { statuses: [503], max_retry_after: 1m }");
    stage.origins[0].script("/x", status(503, "Retry-After: 30\r\n"), Then::Keep);
    let mut client = stage.client();
    client.send("GET /x HTTP/1.1\r\nHost: t\r\n\r\n");
    until("the first attempt", || (stage.reached() == 1).then_some(()));
    until("the wait", || (stage.sluice.metric("sluice_retries_total", &[]) == 1.0).then_some(()));
    client.reset();
    let log = stage.sluice.wait_access_log(1);
    assert_eq!((&log[0]["outcome"], stage.reached()), (&"cancelled".into(), 1), "{log:?}");
}

#[test]
fn a_timeout_is_survived_where_it_is_named_and_the_method_allows_it() {
    let settings = "timeouts: { per_try: 300ms }, retries: { causes: [timeout] }";
    let stage = Stage::new(2, settings);
    stage.origins[0].script("/x", "", Then::Hang);
    let mut client = stage.client();
    for _ in 0..4 {
        assert_eq!(client.get("/x").origin(), "two");
    }
    assert_eq!(stage.sluice.metric("sluice_retries_total", &[("reason", "per_try_timeout")]), 2.0);
    let before = stage.reached();
    let statuses: Vec<u16> = (0..4).map(|_| send(&mut stage.client(), "POST", "/x", b"").status()).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 504).count(), 2, "{statuses:?}");
    assert_eq!(stage.reached() - before, 4);
}

/// A wait that the whole exchange cannot outlive is not begun: the answer in hand is better than a timeout.
#[test]
fn the_total_deadline_beats_the_wait() {
    let stage = Stage::new(1, "timeouts: { total: 15s }, retries: { statuses: [503], max_retry_after: 1m }");
    stage.origins[0].script("/x", status(503, "Retry-After: 20\r\n"), Then::Keep);
    let (start, answer) = (Instant::now(), stage.client().get("/x"));
    assert_eq!((answer.status(), answer.origin()), (503, "script"));
    assert!(start.elapsed() < Duration::from_secs(10));
    assert_eq!((stage.reached(), stage.refused("no_time")), (1, 1.0));
}

/// A call is a POST, but a status that the operator lists says that it may be made again; one that is not listed is
/// passed on.
#[test]
fn a_call_is_made_again_after_a_listed_status() {
    let stage = Stage::new(2, "retries: { grpc_statuses: [unavailable], budget: { ratio: 100%, min_per_second: 99 } }");
    let refusal = |code: u16| {
        format!("HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ngrpc-status: {code}\r\ncontent-length: 0\r\n\r\n")
    };
    stage.origins[0].script("/echo", refusal(14), Then::Keep);
    stage.origins[0].script("/seen", refusal(13), Then::Keep);
    let call = |client: &mut Client, path: &str, content: &str| {
        let head =
            format!("POST {path} HTTP/1.1\r\nHost: t\r\nContent-Type: {content}\r\nContent-Length: 4\r\n\r\ncall");
        client.send(head).try_response("POST").unwrap()
    };
    let mut client = stage.client();
    for _ in 0..4 {
        assert_eq!(call(&mut client, "/echo", "application/grpc").text(), "call");
    }
    assert_eq!(stage.sluice.metric("sluice_retries_total", &[("reason", "grpc_status")]), 2.0);
    for (path, content) in [("/seen", "application/grpc"), ("/echo", "text/plain")] {
        let refused = (0..4).filter(|_| call(&mut client, path, content).field("grpc-status").is_some()).count();
        assert_eq!(refused, 2, "{path} {content}");
    }
}

/// What is not read of a refused answer does not reach the next request.
#[test]
fn a_long_refused_answer_leaves_nothing_behind() {
    let stage = Stage::new(2, "retries: { statuses: [500], budget: { ratio: 100%, min_per_second: 99 } }");
    let long = [b"HTTP/1.1 500 X\r\ncontent-length: 300000\r\n\r\n".as_slice(), &pattern(300_000)].concat();
    stage.origins[0].script("/x", long, Then::Keep);
    let mut client = stage.client();
    for _ in 0..6 {
        assert_eq!(client.get("/x").origin(), "two");
        assert_eq!(client.get("/").status(), 200);
    }
}
