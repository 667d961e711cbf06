//! Guarantee 11, class by class: what is not plain HTTP is refused by the rule that it breaks, whole or byte by byte; the
//! connection closes, the next one is served, and the origin never sees any of it. Near misses are served, and their
//! connections stay in step. The requests stand in `corpus/`.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::net::SocketAddr;

use sluice_harness::h1::Client;
use sluice_harness::h2::raw;
use sluice_harness::sluice::setup;
use sluice_harness::wait::until;
use sluice_harness::{Document, Failure, Origin, Sluice, free_address};

const SLUICE: &str = env!("CARGO_BIN_EXE_sluice");
const H1: &str = include_str!("corpus/malformed.txt");
const H2: &str = include_str!("corpus/malformed_h2.txt");

/// What would be a request of its own if the proxy lost its place.
const SMUGGLED: &[u8] = b"GET /smuggled HTTP/1.1\r\nHost: t\r\n\r\n";
/// The head of a request whose body is chunked.
const CHUNKED: &str = "POST /sink HTTP/1.1~Host: t~Transfer-Encoding: chunked~~";
/// Longer requests are sent in pieces of this length instead of byte by byte.
const PIECE: usize = 997;
/// How many requests are tried at once.
const THREADS: usize = 4;

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome<'a> {
    Refused(u16, &'a str),
    BadBody(&'a str),
    Cut,
    Reset,
    Open,
    Close,
}

#[derive(Debug)]
struct Case<'a> {
    class: &'a str,
    outcome: Outcome<'a>,
    text: &'a str,
}

fn cases(file: &str) -> Vec<Case<'_>> {
    let mut class = "";
    let mut cases = Vec::new();
    for line in file.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(name) => class = name,
            None => {
                let (outcome, text) = line.split_once(" | ").unwrap_or_else(|| panic!("no outcome: {line}"));
                cases.push(Case { class, outcome: outcome_of(outcome), text });
            }
        }
    }
    cases
}

fn outcome_of(text: &str) -> Outcome<'_> {
    match text.split_once(' ').unwrap_or((text, "")) {
        ("body", rule) => Outcome::BadBody(rule),
        ("cut", "") => Outcome::Cut,
        ("reset", "") => Outcome::Reset,
        ("open", "") => Outcome::Open,
        ("close", "") => Outcome::Close,
        (status, rule) => Outcome::Refused(status.parse().unwrap_or_else(|_| panic!("no outcome: {text}")), rule),
    }
}

/// The bytes that a text of the corpus stands for.
fn bytes(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text.strip_prefix("{chunked}").map_or_else(|| text.to_owned(), |body| CHUNKED.to_owned() + body);
    while let Some(first) = rest.chars().next() {
        let (taken, piece) = match first {
            '~' => (1, b"\r\n".to_vec()),
            '\\' => escaped(&rest),
            '{' => repeated(&rest).unwrap_or_else(|| (1, b"{".to_vec())),
            other => (other.len_utf8(), other.to_string().into_bytes()),
        };
        out.extend_from_slice(&piece);
        rest.drain(..taken);
    }
    out
}

fn escaped(text: &str) -> (usize, Vec<u8>) {
    match text.as_bytes()[1] {
        b'n' => (2, b"\n".to_vec()),
        b'r' => (2, b"\r".to_vec()),
        b't' => (2, b"\t".to_vec()),
        b'0' => (2, b"\0".to_vec()),
        b'\\' => (2, b"\\".to_vec()),
        b'x' => (4, vec![u8::from_str_radix(&text[2..4], 16).unwrap()]),
        _ => panic!("no escape: {text}"),
    }
}

/// `{abc*3}`.
fn repeated(text: &str) -> Option<(usize, Vec<u8>)> {
    let end = text.find('}')?;
    let (what, count) = text[1..end].rsplit_once('*')?;
    Some((end + 1, bytes(what).repeat(count.parse().ok()?)))
}

#[test]
fn the_corpus_is_large_enough() {
    for (name, file, least) in [("malformed.txt", H1, 300), ("malformed_h2.txt", H2, 40)] {
        let all = cases(file);
        let refused = |case: &&Case<'_>| !matches!(case.outcome, Outcome::Open | Outcome::Close);
        let count = all.iter().filter(refused).count();
        assert!(count >= least, "{name}: {count} malformed requests are left");
        let mut classes = BTreeMap::<&str, usize>::new();
        all.iter().for_each(|case| *classes.entry(case.class).or_default() += 1);
        assert!(classes.values().all(|count| *count >= 5), "{name}: a class has fewer than five: {classes:?}");
        let mut texts: Vec<&str> = all.iter().map(|case| case.text).collect();
        texts.sort_unstable();
        texts.dedup();
        assert_eq!(texts.len(), all.len(), "{name}: a request stands there twice");
    }
    assert_eq!(bytes("a~\\x00\\\\{b~*2}{c}"), b"a\r\n\0\\b\r\nb\r\n{c}");
}

struct Stage {
    origin: Origin,
    sluice: Sluice,
    web: SocketAddr,
}

impl Stage {
    fn new() -> Self {
        let (web, origin) = (free_address(), Origin::start("a"));
        origin.record();
        let document = Document::new()
            .listener("web", web, "")
            .region("here", "")
            .service("shop", "")
            .version("v1", 100, &[("here", &[origin.address()])])
            .route("{ path: / }", "service: shop");
        let sluice = setup(SLUICE).start(document);
        Self { origin, sluice, web }
    }

    fn client(&self) -> Client {
        Client::connect(self.web)
    }

    /// Tries all of them; how many were wrong, and what.
    fn judge(&self, all: &[Case<'_>], check: impl Fn(&Self, &Case<'_>) -> Result<(), String> + Sync) {
        let check = &check;
        let wrong: Vec<String> = std::thread::scope(|scope| {
            let each = |part: usize| {
                let mine = all.iter().skip(part).step_by(THREADS);
                scope.spawn(move || {
                    let told =
                        |case: &Case<'_>, why| format!("[{}] {:?} {}\n    {why}", case.class, case.outcome, case.text);
                    mine.filter_map(|case| check(self, case).err().map(|why| told(case, why))).collect::<Vec<_>>()
                })
            };
            let threads: Vec<_> = (0..THREADS).map(each).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        assert!(wrong.is_empty(), "{} of {} wrong:\n{}", wrong.len(), all.len(), wrong.join("\n"));
    }

    /// The origin got nothing that is not plain, and nothing that was hidden in what was refused.
    fn check_origin(&self) {
        assert_eq!(self.origin.malformed(), Vec::<String>::new());
        let hidden = |path: &str| path.contains("smuggled");
        let seen = self.origin.seen();
        assert!(!seen.iter().any(|seen| hidden(&seen.head.target)), "{seen:?}");
        assert!(!self.sluice.stderr().contains("panicked"), "{}", self.sluice.stderr());
    }

    /// Each refusal was counted by its rule, `times` for each request.
    fn check_counts(&self, metric: &str, all: &[Case<'_>], rule: fn(Outcome<'_>) -> Option<&str>, times: usize) {
        let mut expected = BTreeMap::<&str, usize>::new();
        for case in all {
            if let Some(rule) = rule(case.outcome) {
                *expected.entry(rule).or_default() += times;
            }
        }
        for (rule, count) in expected {
            let counted = self.sluice.wait_metric(metric, &[("reason", rule)], count as f64);
            assert_eq!(counted, count as f64, "{metric} of {rule}");
        }
    }
}

const fn refused(outcome: Outcome<'_>) -> Option<&str> {
    if let Outcome::Refused(_, rule) = outcome { Some(rule) } else { None }
}

const fn bad_body(outcome: Outcome<'_>) -> Option<&str> {
    if let Outcome::BadBody(rule) = outcome { Some(rule) } else { None }
}

/// How a request is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pace {
    Whole,
    Drip,
}

/// Sends as fast as that; the proxy may have refused it already and be gone.
fn send(client: &mut Client, request: &[u8], pace: Pace) {
    let piece = match pace {
        Pace::Whole => request.len(),
        Pace::Drip if request.len() > 2 * PIECE => PIECE,
        Pace::Drip => 1,
    };
    for piece in request.chunks(piece.max(1)) {
        if client.try_send(piece).is_err() {
            return;
        }
    }
}

fn check_h1(stage: &Stage, case: &Case<'_>, pace: Pace) -> Result<(), String> {
    let request = bytes(case.text);
    let method = String::from_utf8_lossy(&request);
    let method = method.trim_start().split(' ').next().unwrap_or_default();
    let mut client = stage.client();
    match case.outcome {
        Outcome::Refused(status, rule) => {
            send(&mut client, &[&request, SMUGGLED].concat(), pace);
            check_refusal(&mut client, status, Some(rule))?;
        }
        Outcome::BadBody(_) => {
            send(&mut client, &[&request, SMUGGLED].concat(), pace);
            check_refusal(&mut client, 400, None)?;
        }
        Outcome::Cut => {
            send(&mut client, &request, pace);
            client.finish();
            check_cut(&mut client)?;
        }
        Outcome::Open => check_open(&mut client, &request, method, pace)?,
        Outcome::Close => {
            send(&mut client, &[&request, SMUGGLED].concat(), pace);
            check_last(&mut client, method)?;
        }
        Outcome::Reset => return Err("HTTP/1.1 has no resets".to_owned()),
    }
    let next = stage.client().get("/").status();
    if next == 200 { Ok(()) } else { Err(format!("the next connection got {next}")) }
}

fn check_refusal(client: &mut Client, status: u16, rule: Option<&str>) -> Result<(), String> {
    let answer = client.try_response("GET").map_err(|failure| failure.to_string())?;
    let rest = client.closed();
    let text = answer.text();
    let mut words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let named = rule.is_none_or(|rule| words.any(|word| word == rule));
    if answer.status() == status && named && answer.head.closes() && rest.is_empty() {
        return Ok(());
    }
    Err(format!("{answer:?} {:?}, then {:?}", answer.text(), String::from_utf8_lossy(&rest)))
}

fn check_cut(client: &mut Client) -> Result<(), String> {
    match client.try_response("GET").map(|answer| answer.status()) {
        Err(Failure::Closed | Failure::Reset) => Ok(()),
        Ok(status) if status >= 400 => {
            client.closed();
            Ok(())
        }
        other => Err(format!("{other:?}")),
    }
}

/// The request and what follows it are answered, each by its own answer.
fn check_open(client: &mut Client, request: &[u8], method: &str, pace: Pace) -> Result<(), String> {
    let next = b"GET /status/207 HTTP/1.1\r\nHost: t\r\n\r\n";
    send(client, &[request, next].concat(), pace);
    let first = client.try_response(method).map_err(|failure| format!("first: {failure}"))?;
    let second = client.try_response("GET").map_err(|failure| format!("second: {failure}"))?;
    let third = client.exchange("GET /status/208 HTTP/1.1\r\nHost: t\r\n\r\n");
    let statuses = [first.status(), second.status(), third.status()];
    if statuses == [200, 207, 208] { Ok(()) } else { Err(format!("{statuses:?} {:?}", first.text())) }
}

fn check_last(client: &mut Client, method: &str) -> Result<(), String> {
    let answer = client.try_response(method).map_err(|failure| failure.to_string())?;
    let rest = client.closed();
    if answer.status() == 200 && rest.is_empty() { Ok(()) } else { Err(format!("{answer:?}, then {rest:?}")) }
}

#[test]
fn each_malformed_request_is_refused_by_its_rule_and_near_misses_are_served() {
    let stage = Stage::new();
    let all = cases(H1);
    stage.judge(&all, |stage, case| check_h1(stage, case, Pace::Whole));
    stage.judge(&all, |stage, case| check_h1(stage, case, Pace::Drip));
    stage.check_origin();
    stage.check_counts("sluice_requests_refused_total", &all, refused, 2);
    stage.check_counts("sluice_bodies_refused_total", &all, bad_body, 2);
}

/// The fields of a case, and whether a body follows.
fn fields(text: &str) -> (Vec<(String, Vec<u8>)>, bool) {
    let base = [(":method", "GET"), (":scheme", "http"), (":authority", "t"), (":path", "/")];
    let mut fields: Vec<(String, Vec<u8>)> =
        base.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect();
    let mut data = false;
    let whole = text.find("*101}").map_or_else(|| text.to_owned(), |_| "x: y~".repeat(101) + "z: z");
    for part in whole.split('~') {
        if part == "{data}" {
            data = true;
        } else if let Some(name) = part.strip_prefix('-') {
            fields.retain(|(known, _)| known != name);
        } else {
            let (own, part) = part.strip_prefix('!').map_or((false, part), |part| (true, part));
            let colon = part[1..].find(':').unwrap_or_else(|| panic!("no field: {part}")) + 1;
            let (name, value) = (part[..colon].to_owned(), bytes(part[colon + 1..].trim_start_matches(' ')));
            match fields.iter_mut().find(|(known, _)| !own && *known == name && name.starts_with(':')) {
                Some((_, known)) => *known = value,
                None => fields.push((name, value)),
            }
        }
    }
    (fields, data)
}

fn check_h2(stage: &Stage, case: &Case<'_>) -> Result<(), String> {
    let (fields, data) = fields(case.text);
    let fields: Vec<(&str, &[u8])> = fields.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
    let mut client = raw::Client::connect(stage.web);
    client.send_head(1, &fields, data);
    if data {
        client.send(raw::kind::DATA, 1, 1, b"hello");
    }
    let outcome = client.outcome(1);
    match (case.outcome, outcome) {
        // Only some statuses have an index of their own in HPACK; the others are told as 0.
        (Outcome::Refused(400, _), raw::Outcome::Answered(400)) => check_step(&mut client),
        (Outcome::Refused(417 | 431 | 501, _), raw::Outcome::Answered(0)) => check_step(&mut client),
        (Outcome::Open, raw::Outcome::Answered(200)) => check_step(&mut client),
        (Outcome::Reset, raw::Outcome::Reset(_) | raw::Outcome::GoAway(_)) => Ok(()),
        (_, outcome) => Err(format!("{outcome:?}")),
    }
}

/// Another stream of the connection is answered.
fn check_step(client: &mut raw::Client) -> Result<(), String> {
    let plain: [(&str, &[u8]); 4] =
        [(":method", b"GET"), (":scheme", b"http"), (":authority", b"t"), (":path", b"/status/204")];
    client.send_head(3, &plain, false);
    let outcome = client.outcome(3);
    if matches!(outcome, raw::Outcome::Answered(204)) { Ok(()) } else { Err(format!("the next stream: {outcome:?}")) }
}

#[test]
fn each_malformed_request_of_http2_is_refused_and_near_misses_are_served() {
    let stage = Stage::new();
    let all = cases(H2);
    stage.judge(&all, check_h2);
    until("others are served", || (stage.client().get("/").status() == 200).then_some(()));
    stage.check_origin();
    stage.check_counts("sluice_requests_refused_total", &all, refused, 1);
}
