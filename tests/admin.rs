//! The admin API from outside: who may ask for what, what is refused and how, and what the audit log has of it.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use sluice_harness::fleet::{Control, control};
use sluice_harness::{Api, Document};

const SLUICE: &str = env!("CARGO_BIN_EXE_sluice");

const ROLES: [&str; 4] = ["viewer", "operator", "admin", "node"];

/// The token of this role.
fn token(role: &str) -> String {
    format!("{role:-<40}")
}

/// One token for each role, whose holder has the role's name with an x.
fn tokens() -> String {
    ROLES.iter().map(|role| format!("x{role} {role} {}\n", token(role))).collect()
}

fn document(weight: u32) -> Document {
    let endpoint: SocketAddr = "127.0.0.1:1".parse().unwrap();
    let document = Document::simple("127.0.0.1:8080".parse().unwrap(), endpoint);
    document.version("v2", weight, &[("here", &[endpoint])])
}

/// A control plane that demands tokens, with a document as revision 1.
fn guarded() -> Control {
    let control = control(SLUICE).tokens(&tokens()).start();
    assert_eq!(admin(&control).apply(document(0)), 1);
    control
}

fn admin(control: &Control) -> Api {
    control.api().token(&token("admin"))
}

/// An address of this machine from which nobody else asks.
fn client(network: u8, number: usize) -> IpAddr {
    Ipv4Addr::new(127, 0, network, u8::try_from(number + 1).unwrap()).into()
}

/// An operation of the committed description.
struct Operation {
    method: String,
    target: String,
    /// Nobody is asked who they are.
    is_open: bool,
    /// Its answer does not end by itself.
    is_stream: bool,
    allowed: Vec<String>,
}

fn description() -> Value {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference/openapi.json");
    serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap()
}

fn operations() -> Vec<Operation> {
    let description = description();
    let paths = description["paths"].as_object().unwrap();
    let methods =
        paths.iter().flat_map(|(path, item)| item.as_object().unwrap().iter().map(move |(m, o)| (path, m, o)));
    let all: Vec<Operation> = methods.map(|(path, method, told)| Operation::of(path, method, told)).collect();
    assert!(all.len() > 20, "only {} operations are described", all.len());
    all
}

impl Operation {
    fn of(path: &str, method: &str, told: &Value) -> Self {
        let words = told["description"].as_str().unwrap();
        let (_, allowed) = words.rsplit_once("Allowed to: ").unwrap_or_else(|| panic!("{path} does not say who may"));
        Self {
            method: method.to_ascii_uppercase(),
            target: filled(path) + if waits(told) { "?timeout=0s" } else { "" },
            is_open: told["security"] == json!([]),
            is_stream: told["responses"]["200"]["content"].get("text/event-stream").is_some(),
            allowed: allowed.trim_end_matches('.').split(", ").map(str::to_owned).collect(),
        }
    }

    fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    fn name(&self) -> String {
        format!("{} {}", self.method, self.path())
    }

    fn call(&self, api: &Api) -> sluice_harness::api::Call {
        api.call(&self.method, &self.target)
    }
}

/// Whether the operation can be told how long to wait.
fn waits(told: &Value) -> bool {
    told["parameters"].as_array().is_some_and(|all| all.iter().any(|one| one["name"] == "timeout"))
}

/// The path with something in place of each parameter.
fn filled(path: &str) -> String {
    let piece = |piece: &str| match piece {
        "{id}" => "1".to_owned(),
        "{service}" => "shop".to_owned(),
        "{node}" => "nobody".to_owned(),
        piece => {
            assert!(!piece.contains('{'), "what is {piece} of {path}?");
            piece.to_owned()
        }
    };
    path.split('/').map(piece).collect::<Vec<_>>().join("/")
}

/// And each attempt is in the audit log: who, from where, what for, and why it was denied.
#[test]
fn every_operation_denies_whoever_shows_no_token_a_wrong_one_or_a_role_too_low() {
    let control = guarded();
    let mut denials = BTreeMap::<(String, String, String, String), usize>::new();
    let guarded: Vec<Operation> = operations().into_iter().filter(|operation| !operation.is_open).collect();
    for (number, operation) in guarded.iter().enumerate() {
        // Failures are limited by address.
        let from = client(1, number);
        let api = control.api().from(from);
        let mut expect = |author: &str, code: &str| {
            let key = (author.to_owned(), from.to_string(), operation.name(), code.to_owned());
            *denials.entry(key).or_default() += 1;
        };
        let answer = operation.call(&api).send();
        assert_eq!(answer.response.field("www-authenticate"), Some("Bearer"), "{}", operation.name());
        answer.refuses(401, "no-token");
        expect("unknown", "no-token");
        operation.call(&api.clone().token(&token("stranger"))).send().refuses(401, "unknown-token");
        expect("unknown", "unknown-token");
        for role in ROLES.iter().filter(|role| !operation.allowed.iter().any(|one| one == *role)) {
            let told = operation.call(&api.clone().token(&token(role))).send().refuses(403, "role-too-low");
            assert!(told["hint"].as_str().unwrap().contains(&operation.allowed[0]), "{told}");
            expect(&format!("x{role}"), "role-too-low");
        }
    }
    let mut told = BTreeMap::new();
    for entry in admin(&control).audit() {
        let event = &entry["event"];
        let Some(code) = event["outcome"]["denied"].as_str() else { continue };
        let text = |name: &str| event[name].as_str().unwrap().to_owned();
        *told.entry((text("author"), text("origin"), text("target"), code.to_owned())).or_default() += 1;
    }
    assert_eq!(told, denials);
    assert_eq!(admin(&control).head(), 1, "and nothing was changed");
    assert_eq!(admin(&control).get("/v1/audit/verify")["sound"], true);
}

#[test]
fn every_operation_admits_each_role_that_it_names() {
    let control = guarded();
    for operation in operations().iter().filter(|operation| !operation.is_open && !operation.is_stream) {
        for role in &operation.allowed {
            let answer = operation.call(&control.api().token(&token(role))).send();
            let status = answer.status();
            assert!(![401, 403, 429].contains(&status) && status < 500, "{} as {role}: {status}", operation.name());
        }
    }
}

#[test]
fn health_and_the_description_are_told_to_everybody() {
    let control = guarded();
    let open: Vec<Operation> = operations().into_iter().filter(|operation| operation.is_open).collect();
    let names: Vec<String> = open.iter().map(Operation::name).collect();
    assert_eq!(names, ["GET /api/health", "GET /v1/openapi.json"]);
    assert_eq!(control.api().get("/api/health")["overall_status"], "healthy");
    assert_eq!(control.api().get("/v1/openapi.json"), description());
}

/// Whoever guesses must wait; whoever knows a token is let in all the same, also behind the same address.
#[test]
fn failures_are_limited_and_do_not_fill_the_audit_log() {
    let control = guarded();
    let api = control.api().from(client(2, 0));
    let guess = |number: usize| api.clone().token(&format!("{number:0>40}")).call("GET", "/v1/status").send();
    let first = (0..60).find(|number| guess(*number).status() == 429).expect("failures are limited");
    assert!(first >= 3, "a few may fail by mistake");
    let answer = guess(60).expect(429);
    assert!(answer.response.field("retry-after").is_some_and(|seconds| seconds.parse::<u64>().unwrap() >= 1));
    let entries = admin(&control).audit().len();
    for number in 61..70 {
        guess(number).refuses(429, "too-many-failures");
    }
    assert_eq!(admin(&control).audit().len(), entries);
    assert_eq!(api.token(&token("viewer")).get("/v1/status")["head"]["id"], 1);
    assert_eq!(control.api().from(client(2, 1)).call("GET", "/v1/status").send().status(), 401);
}

#[test]
fn tokens_are_told_nowhere() {
    let control = guarded();
    control
        .api()
        .token("a-wrong-one-that-is-long-enough-to-be-one")
        .call("GET", "/v1/status")
        .send()
        .refuses(401, "unknown-token");
    let file = control.folder().join("token");
    fs::write(&file, token("admin")).unwrap();
    // Others may read it.
    control.operate(&["status", "--token-file", file.to_str().unwrap()]).expect(1).assert_says(&["chmod 600"]);
    private(&file);
    control.operate(&["status", "--token-file", file.to_str().unwrap()]).expect(0).assert_says(&["API"]);
    control.operate(&["status"]).expect(1).assert_says(&["token"]);
    let everything = format!("{}{:?}", control.stderr(), admin(&control).audit());
    for secret in [token("admin"), "a-wrong-one".to_owned()] {
        assert!(!everything.contains(&secret), "{secret} is told");
    }
}

fn private(file: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
}

/// A page in a browser may send anything here. Its own site is told by Host and Origin.
#[test]
fn a_browser_that_was_lured_here_is_refused() {
    let control = control(SLUICE).arguments(&["--admin-host", "control.example.com"]).start();
    let api = control.api();
    api.apply(document(0));
    let port = control.admin().port();
    let ask = |host: &str| api.call("GET", "/v1/status").field("Host", host).send();
    for host in [format!("localhost:{port}"), "127.0.0.1".to_owned(), "control.example.com".to_owned()] {
        assert_eq!(ask(&host).status(), 200, "{host}");
    }
    for host in ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1", ""] {
        ask(host).refuses(403, "unknown-host");
    }
    for origin in ["http://evil.example", "null", "https://127.0.0.1.evil.example"] {
        let read = api.call("GET", "/v1/status").field("Origin", origin).send();
        read.refuses(403, "foreign-origin");
        api.put(document(5)).field("Origin", origin).send().refuses(403, "foreign-origin");
        // Health too: what a page may not know.
        api.call("GET", "/api/health").field("Origin", origin).send().refuses(403, "foreign-origin");
    }
    // What a form can send without asking the browser first is not JSON.
    let form = api.call("POST", "/v1/rollback").content("text/plain", r#"{"to":1}"#).send();
    form.refuses(415, "unsupported-media-type");
    assert_eq!(api.head(), 1);
}

#[test]
fn what_is_not_described_is_not_answered() {
    let control = guarded();
    let api = admin(&control);
    let mut methods = BTreeMap::<String, Vec<String>>::new();
    for operation in operations() {
        methods.entry(operation.path().to_owned()).or_default().push(operation.method);
    }
    for (target, described) in &methods {
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH"] {
            if !described.iter().any(|one| one == method) {
                api.call(method, target).send().refuses(405, "method-not-allowed");
            }
        }
    }
    for path in ["/", "/v1", "/v1/secrets", "/v1/document/", "/v1//status", "/v1/services/shop/weights/x", "/metrics"] {
        api.call("GET", path).send().refuses(404, "not-found");
    }
    api.call("GET", "/v1/revisions?limit=0").send().refuses(400, "malformed-query");
    api.call("GET", "/v1/revisions?limti=5").send().refuses(400, "malformed-query");
    api.call("GET", "/v1/revisions/one").send().refuses(404, "not-found");
}

#[test]
fn content_has_its_limits() {
    let control = guarded();
    let api = admin(&control);
    let large = format!("# {}\n{}", "x".repeat(sluice_config::limit::BYTES), document(5));
    for call in [api.put(&large), api.call("POST", "/v1/plan").content("application/yaml", large.as_str())] {
        call.send().refuses(413, "too-large");
    }
    let reason = "x".repeat(4 << 20);
    for (method, target) in [("PUT", "/v1/services/shop/weights"), ("POST", "/v1/rollback"), ("POST", "/v1/overrides")]
    {
        let call = api.call(method, target).json(&json!({ "reason": reason }));
        call.send().refuses(413, "too-large");
    }
    api.shift_call("shop", &[("v2", "5%")], &json!({ "reason": "x".repeat(501) }))
        .send()
        .refuses(422, "malformed-content");
    api.shift_call("shop", &[("v2", "5%")], &json!({ "raeson": "x" })).send().refuses(422, "malformed-content");
    assert_eq!(api.head(), 1);
}

#[test]
fn a_request_that_is_sent_again_with_its_key_is_not_carried_out_again() {
    let mut control = guarded();
    let api = admin(&control);
    let put = |key: &str, weight: u32| api.put(document(weight)).key(key);
    assert_eq!(put("one", 5).send().expect(200).revision(), 2);
    api.roll_back(1, false);
    control.restart();
    let again = put("one", 5).send().expect(200).json();
    assert_eq!(again["revision"]["id"], 2, "{again}");
    assert_eq!(api.head(), 3, "the answer is what was done, not a second doing");
    put("one", 7).send().refuses(422, "idempotency-key-reused");
    let shift = |api: &Api| api.shift_call("shop", &[("v2", "1%")], &Value::Null).key("one");
    shift(&api).send().refuses(422, "idempotency-key-reused");
    // Another caller's keys are their own.
    assert_eq!(shift(&control.api().token(&token("operator"))).send().expect(200).revision(), 4);
    put("", 9).send().refuses(400, "malformed-idempotency-key");
    let twice = |_| api.shift_call("shop", &[("v2", "2%")], &Value::Null).key("a").send().expect(200).revision();
    let many = [1, 2, 3].map(twice);
    assert_eq!(many, [5, 5, 5]);
}

#[test]
fn a_change_for_another_head_is_refused_and_the_head_is_told() {
    let control = guarded();
    let api = admin(&control);
    let read = api.call("GET", "/v1/document").send().expect(200);
    assert_eq!((read.response.field("etag"), read.response.field("sluice-revision")), (Some("\"1\""), Some("1")));
    assert_eq!(api.put(document(5)).if_head(1).send().expect(200).revision(), 2);
    let stale = api.put(document(7)).if_head(1).send();
    assert_eq!(stale.response.field("sluice-revision"), Some("2"));
    let told = stale.refuses(412, "stale");
    assert_eq!(told["head"], 2);
    assert!(told["hint"].as_str().unwrap().contains("If-Match"), "{told}");
    let calls = [
        api.shift_call("shop", &[("v2", "5%")], &Value::Null),
        api.call("DELETE", "/v1/services/shop/weights"),
        api.call("POST", "/v1/rollback").json(&json!({ "to": 1 })),
        api.call("POST", "/v1/overrides").json(&json!({ "action": "freeze", "for": "1h", "reason": "r" })),
        api.call("DELETE", "/v1/overrides/1"),
    ];
    for call in calls {
        call.if_head(1).send().refuses(412, "stale");
    }
    api.put(document(7)).field("If-Match", "2").send().refuses(400, "malformed-if-match");
    api.put(document(7)).field("If-Match", "*").send().refuses(400, "malformed-if-match");
    assert_eq!(api.head(), 2);
}

#[test]
fn a_dry_run_tells_and_changes_nothing() {
    let control = guarded();
    let api = admin(&control);
    let dry = |text: String| api.call("PUT", "/v1/document?dry_run=true").content("application/yaml", text).send();
    let (entries, text) = (api.audit().len(), api.text("/v1/document"));
    let told = dry(document(50).to_string()).expect(200).json();
    assert_eq!((&told["changed"], &told["revision"]["id"]), (&json!(true), &json!(1)), "{told}");
    assert_eq!(dry(document(0).to_string()).expect(200).json()["changed"], false);
    dry(document(0).to_string().replace("weight: 100", "wieght: 100")).refuses(422, "unsound-document");
    api.shift("shop", &[("v2", "1%")]);
    dry(document(50).to_string()).refuses(409, "owned");
    assert_eq!((api.head(), api.text("/v1/document")), (2, text));
    assert_eq!(api.audit().len(), entries + 1, "only the shift is a change");
}

/// What bad input gets: every problem with its place and what to do; nothing changes; the audit log has the attempt.
#[test]
fn an_unsound_document_is_refused_with_every_problem_and_its_place() {
    let control = guarded();
    let api = admin(&control);
    let text =
        document(5).to_string().replace("weight: 100", "wieght: 100").replace("service: shop }", "service: shap }");
    let told = api.put(&text).send().refuses(422, "unsound-document");
    let problems = told["problems"].as_array().unwrap();
    assert_eq!(problems.len(), 2, "{told}");
    for (problem, (word, hint)) in problems.iter().zip([("wieght", "weight"), ("shap", "shop")]) {
        let line = text.lines().position(|line| line.contains(word)).unwrap() + 1;
        assert_eq!(problem["line"], line, "{problem}");
        assert!(problem["column"].as_u64().is_some_and(|column| column > 1), "{problem}");
        assert!(problem["hint"].as_str().unwrap().contains(hint), "{problem}");
    }
    assert_eq!(api.head(), 1);
    let event = api.audit().pop().unwrap()["event"].clone();
    assert_eq!((&event["author"], &event["origin"]), (&json!("xadmin"), &json!("127.0.0.1")), "{event}");
    assert!(event["outcome"]["refused"].is_string() && event["after"].is_null(), "{event}");
}

#[test]
fn every_change_has_an_author_a_reason_and_digests_before_and_after_in_the_audit_log() {
    let control = guarded();
    let operator = control.api().token(&token("operator"));
    let head =
        operator.shift_call("shop", &[("v2", "5%")], &json!({ "reason": "try v2" })).send().expect(200).revision();
    let event = admin(&control).audit().pop().unwrap()["event"].clone();
    assert_eq!((&event["author"], &event["reason"]), (&json!("xoperator"), &json!("try v2")));
    assert_eq!((&event["outcome"], &event["revision"]), (&json!("done"), &json!(head)));
    let digest = |id: u64| operator.get(&format!("/v1/revisions/{id}"))["digest"].clone();
    assert_eq!((&event["before"], &event["after"]), (&digest(1), &digest(2)));
    assert_eq!(operator.get("/v1/revisions/2")["author"], "xoperator");
}

#[test]
fn the_audit_log_is_verified_and_an_entry_that_was_altered_by_hand_is_found() {
    let control = history();
    let verified = control.operate(&["audit", "verify"]).expect(0);
    let end = control.api().audit().pop().unwrap();
    verified.assert_says(&[end["hash"].as_str().unwrap()]);

    let altered = "update audit set entry = replace(entry, 'try v2', 'try v3') where entry like '%try v2%'";
    let removed = "delete from audit where sequence = 3";
    let again = "update audit set entry = (select entry from audit where sequence = 2) where sequence = 3";
    for (change, sound, broken) in [(altered, 1, 2), (removed, 2, 4), (again, 2, 2)] {
        let mut control = history();
        control.terminate();
        by_hand(&control.data().join("store.db"), change);
        control.start();
        let told = control.api().get("/v1/audit/verify");
        assert_eq!((&told["sound"], &told["broken"]["sequence"]), (&json!(false), &json!(broken)), "{change}: {told}");
        assert_eq!(told["head"]["sequence"], sound, "{change}: {told}");
        control.operate(&["audit", "verify"]).expect(1).assert_says(&["broken", &broken.to_string()]);
    }
}

/// A program that knows more settings makes another digest of what an older one stored, and goes on with it.
#[test]
fn what_an_older_program_stored_goes_on() {
    let mut control = history();
    let head = control.api().get("/v1/revisions/5")["digest"].as_str().unwrap().to_owned();
    control.terminate();
    let change =
        format!("update revisions set content = replace(content, '{head}', '{}') where id = 5", "0".repeat(64));
    by_hand(&control.data().join("store.db"), &change);
    control.start();
    let status = control.api().get("/v1/status");
    assert_eq!(status["head"]["digest"], *head, "{status}");
    let shifted = control.api().shift("shop", &[("v2", "40%")]);
    assert_eq!(control.api().get(&format!("/v1/revisions/{shifted}"))["parent"], 5);
}

/// Five changes, the second with a reason of its own.
fn history() -> Control {
    let control = control(SLUICE).start();
    let api = control.api();
    api.apply(document(0));
    api.shift_call("shop", &[("v2", "5%")], &json!({ "reason": "try v2" })).send().expect(200).revision();
    for share in ["10%", "20%", "30%"] {
        api.shift("shop", &[("v2", share)]);
    }
    control
}

/// Changes a store as somebody with the file and without our program does.
fn by_hand(file: &Path, change: &str) {
    let script = "import sqlite3, sys\n\
        db = sqlite3.connect(sys.argv[1])\n\
        for (name,) in db.execute(\"select name from sqlite_master where type = 'trigger'\").fetchall():\n\
        \x20   db.execute('drop trigger ' + name)\n\
        changed = db.execute(sys.argv[2]).rowcount\n\
        db.commit()\n\
        assert changed == 1, changed\n";
    let python = "/usr/bin/python3";
    assert!(Path::new(python).exists(), "this suite needs {python}: apt-get install python3");
    let output = Command::new(python).args(["-c", script]).arg(file).arg(change).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
