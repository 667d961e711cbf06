//! Every operation without a socket: who is let in, what is refused, and that the description tells no lies.

use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use axum::body::Body;
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use proptest::prelude::*;
use serde_json::{Value, json};
use sluice_control_core::access::{Action, Role, allows};
use tower_service::Service;

use super::*;
use crate::clock::Clock;
use crate::control::{Control, Options};
use crate::control::{Link, serve_in_process};
use crate::store::Store;
use crate::store::memory::{Fault, MemoryStore};
use sluice_config::value::{HistoryId, Incarnation};
use sluice_config::wire::{Hello, PROTOCOL, Reply};

const DOCUMENT: &str = r#"
listeners: [{ name: web, address: "127.0.0.1:8080" }]
services:
  - name: shop
    versions:
      - { name: v1, weight: 95, endpoints: ["127.0.0.1:9001"] }
      - { name: v2, weight: 5, endpoints: ["127.0.0.1:9002"] }
routes: [{ service: shop }]
"#;

/// A control plane that writes, and its API.
struct World {
    router: Router,
    plane: Arc<Plane>,
}

fn token(role: Role) -> String {
    format!("{role}-0123456789abcdef0123456789abcdef")
}

/// A file with a token for each role, named after it.
fn tokens(folder: &Path) -> std::path::PathBuf {
    let path = folder.join("tokens");
    let lines = Role::ALL.into_iter().fold(String::new(), |mut text, role| {
        writeln!(text, "{role} {role} {}", token(role)).unwrap();
        text
    });
    let mut file = std::fs::File::create(&path).unwrap();
    file.set_permissions(std::fs::Permissions::from_mode(0o600)).unwrap();
    file.write_all(lines.as_bytes()).unwrap();
    path
}

async fn world(tokens: Option<&Path>) -> World {
    world_over(MemoryStore::new(HistoryId::from_bits(1)), tokens).await
}

async fn world_over(store: Arc<MemoryStore>, tokens: Option<&Path>) -> World {
    let options = Options {
        folder: "/nowhere".into(),
        file: None,
        environment: sluice_config::Environment::empty(),
        admin: Vec::new(),
        tls: None,
        access: Access::open(tokens, Vec::new(), Vec::new()).unwrap(),
        sockets: Vec::new(),
        stands: None,
        clock: Clock::system(),
    };
    let control = Control::over(store, options).await.unwrap();
    let plane = control.plane();
    let router = router(&plane);
    tokio::spawn(control.run());
    World { router, plane }
}

impl World {
    async fn send(&self, request: http::request::Builder, body: &str) -> (StatusCode, Value) {
        let peer = Peer::Tcp {
            at: "127.0.0.1:9900".parse().unwrap(),
            from: "127.0.0.1:4000".parse().unwrap(),
            certificate: None,
        };
        let mut request = request.body(Body::from(body.to_owned())).unwrap();
        request.extensions_mut().insert(peer);
        request.headers_mut().entry("host").or_insert("localhost:9900".parse().unwrap());
        let response = self.router.clone().call(request).await.unwrap();
        let status = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::String(text)))
    }

    async fn apply(&self, text: &str) -> (StatusCode, Value) {
        self.send(Request::put("/v1/document"), text).await
    }

    async fn shift(&self, shares: Value) -> (StatusCode, Value) {
        let order = json!({ "shares": shares, "reason": "try" }).to_string();
        let request = Request::put("/v1/services/shop/weights").header("content-type", "application/json");
        self.send(request, &order).await
    }

    async fn get(&self, path: &str) -> Value {
        let (status, value) = self.send(Request::get(path), "").await;
        assert_eq!(status, StatusCode::OK, "{path}: {value}");
        value
    }
}

/// A path that an operation answers.
fn example(operation: &Operation) -> String {
    let path = operation.path.replace("{id}", "1").replace("{service}", "shop").replace("{node}", "n1");
    let query = if path.ends_with("/applied") { "?timeout=0s" } else { "" };
    format!("http://localhost:9900{path}{query}")
}

#[tokio::test]
async fn every_operation_asks_who_it_is_and_what_they_may() {
    let folder = tempfile::tempdir().unwrap();
    let file = tokens(folder.path());
    for operation in operations() {
        let Some(action) = operation.action else { continue };
        // Each with failures of its own: too many are answered otherwise.
        let world = world(Some(&file)).await;
        let ask = |authorization: Option<String>| {
            let request = Request::builder().method(operation.method.clone()).uri(example(&operation));
            match authorization {
                Some(value) => request.header("authorization", value),
                None => request,
            }
        };
        let what = format!("{} {}", operation.method, operation.path);
        let (status, refused) = world.send(ask(None), "").await;
        assert_eq!((status, &refused["code"]), (StatusCode::UNAUTHORIZED, &json!("no-token")), "{what}");
        let (status, refused) = world.send(ask(Some("Bearer nobody-0123456789abcdef0123456".to_owned())), "").await;
        assert_eq!((status, &refused["code"]), (StatusCode::UNAUTHORIZED, &json!("unknown-token")), "{what}");
        for role in Role::ALL.into_iter().filter(|role| !allows(*role, action)) {
            let (status, refused) = world.send(ask(Some(format!("Bearer {}", token(role)))), "").await;
            assert_eq!((status, &refused["code"]), (StatusCode::FORBIDDEN, &json!("role-too-low")), "{what} {role}");
        }
        let denied = Role::ALL.into_iter().filter(|role| !allows(*role, action)).count() + 2;
        let entries = world.plane.store().audit(0, 100).await.unwrap();
        assert_eq!(entries.len(), denied, "{what}: each denial is in the audit log");
    }
}

#[tokio::test]
async fn who_may_is_let_in() {
    let folder = tempfile::tempdir().unwrap();
    let file = tokens(folder.path());
    let world = world(Some(&file)).await;
    for operation in
        operations().into_iter().filter(|one| !one.path.ends_with("/events") && !one.path.ends_with("/subscribe"))
    {
        for role in Role::ALL {
            let may = operation.action.is_none_or(|action| allows(role, action));
            let request = Request::builder().method(operation.method.clone()).uri(example(&operation));
            let request = request.header("authorization", format!("Bearer {}", token(role)));
            let (status, _) = world.send(request, "").await;
            let let_in = status != StatusCode::UNAUTHORIZED && status != StatusCode::FORBIDDEN;
            assert_eq!(let_in, may, "{} {} {role}: {status}", operation.method, operation.path);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    /// Whatever is asked without a token is answered only where the table says that everybody may.
    #[test]
    fn no_handler_is_reachable_without_a_policy(
        method in prop::sample::select(vec!["GET", "PUT", "POST", "DELETE", "PATCH", "OPTIONS", "HEAD", "TRACE"]),
        path in prop::sample::select(operations().iter().map(|one| one.path).collect::<Vec<_>>()),
        tail in "(/|/[a-z]{1,3}|\\?[a-z]=1)?",
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let world = world(Some(&tokens(folder.path()))).await;
            let path = path.replace("{id}", "1").replace("{service}", "shop").replace("{node}", "n1");
            let (status, _) = world.send(Request::builder().method(method).uri(format!("{path}{tail}")), "").await;
            let open = operations().into_iter().any(|one| one.action.is_none() && path == one.path);
            let refused = [StatusCode::UNAUTHORIZED, StatusCode::NOT_FOUND, StatusCode::METHOD_NOT_ALLOWED];
            assert!(open || refused.contains(&status), "{method} {path}{tail}: {status}");
        });
    }
}

#[tokio::test]
async fn too_many_failures_must_wait() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(Some(&tokens(folder.path()))).await;
    let mut statuses = Vec::new();
    for _ in 0..12 {
        statuses.push(world.send(Request::get("/v1/status"), "").await.0);
    }
    assert_eq!(statuses[..10], [StatusCode::UNAUTHORIZED; 10]);
    assert_eq!(statuses[10..], [StatusCode::TOO_MANY_REQUESTS; 2]);
    assert_eq!(world.plane.store().audit(0, 100).await.unwrap().len(), 10, "what is told to wait is only counted");
}

#[tokio::test]
async fn a_browser_that_was_lured_here_is_refused() {
    let world = world(None).await;
    let (status, refused) = world.send(Request::get("/v1/status").header("host", "evil.example.com"), "").await;
    assert_eq!((status, &refused["code"]), (StatusCode::FORBIDDEN, &json!("unknown-host")));
    let (status, refused) =
        world.send(Request::get("/v1/status").header("origin", "https://evil.example.com"), "").await;
    assert_eq!((status, &refused["code"]), (StatusCode::FORBIDDEN, &json!("foreign-origin")));
    assert_eq!(world.send(Request::get("/v1/status").header("host", "127.0.0.1:9900"), "").await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_document_is_applied_once_and_shifts_are_on_top_of_it() {
    let world = world(None).await;
    assert_eq!(world.send(Request::get("/v1/document"), "").await.0, StatusCode::CONFLICT, "there is none yet");
    let (status, done) = world.apply(DOCUMENT).await;
    assert_eq!((status, &done["changed"], &done["revision"]["id"]), (StatusCode::OK, &json!(true), &json!(1)));
    let (_, done) = world.apply(DOCUMENT).await;
    assert_eq!((&done["changed"], &done["revision"]["id"]), (&json!(false), &json!(1)));
    let (status, done) = world.shift(json!({ "v2": "20%" })).await;
    assert_eq!((status, &done["revision"]["kind"]), (StatusCode::OK, &json!("weights")), "{done}");
    let service = world.get("/v1/services/shop").await;
    assert_eq!(service["owner"], "operator");
    assert_eq!(service["versions"][1]["share"], "20%");
    assert_eq!(service["versions"][1]["document_share"], "5%");
    let (status, refused) = world.apply(&DOCUMENT.replace("weight: 5,", "weight: 50,")).await;
    assert_eq!((status, &refused["code"]), (StatusCode::CONFLICT, &json!("owned")), "{refused}");
    assert_eq!(refused["owned"][0]["service"], "shop");
    assert_eq!(world.get("/v1/revisions?limit=1").await["revisions"][0]["id"], 2);
    assert_eq!(world.get("/v1/revisions/2/diff").await["changes"].as_array().unwrap().len(), 2);
    assert!(world.get("/v1/audit/verify").await["sound"].as_bool().unwrap());
}

#[tokio::test]
async fn what_is_wrong_with_a_document_is_told_with_its_place_and_changes_nothing() {
    let world = world(None).await;
    world.apply(DOCUMENT).await;
    let (status, refused) = world.apply(&DOCUMENT.replace("weight: 5", "wieght: 5")).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(refused["problems"][0]["line"], 7);
    assert_eq!(refused["problems"][0]["path"], "services[0].versions[1].wieght");
    assert_eq!(world.plane.head().unwrap().0, 1);
    let entries = world.plane.store().audit(0, 10).await.unwrap();
    assert_eq!(entries.len(), 2, "the attempt is in the audit log");
}

#[tokio::test]
async fn the_expected_head_and_the_key_of_a_repetition_are_kept() {
    let world = world(None).await;
    world.apply(DOCUMENT).await;
    let shift = |share: &str| json!({ "shares": { "v2": share } }).to_string();
    let request = || Request::put("/v1/services/shop/weights").header("content-type", "application/json");
    let (status, refused) = world.send(request().header("if-match", "\"7\""), &shift("9%")).await;
    assert_eq!((status, &refused["head"]), (StatusCode::PRECONDITION_FAILED, &json!(1)));
    let (_, first) = world.send(request().header("idempotency-key", "k"), &shift("9%")).await;
    world.shift(json!({ "v2": "30%" })).await;
    let (status, again) = world.send(request().header("idempotency-key", "k"), &shift("9%")).await;
    assert_eq!((status, &again), (StatusCode::OK, &first), "it is not carried out again");
    let (status, _) = world.send(request().header("idempotency-key", "k"), &shift("8%")).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(world.get("/v1/services/shop").await["versions"][1]["share"], "30%");
}

/// What was done and not answered is done: it runs, and is not written down as refused.
#[tokio::test]
async fn an_answer_of_the_store_that_was_lost_is_looked_up() {
    let store = MemoryStore::new(HistoryId::from_bits(1));
    let world = world_over(Arc::clone(&store), None).await;
    world.apply(DOCUMENT).await;
    store.faults().fail_writes(100, Fault::After);
    let (status, done) = world.shift(json!({ "v2": "20%" })).await;
    assert_eq!((status, &done["revision"]["id"]), (StatusCode::OK, &json!(2)), "{done}");
    store.faults().heal();
    assert_eq!(world.get("/v1/services/shop").await["versions"][1]["share"], "20%");
    assert_eq!(store.audit(0, 10).await.unwrap().len(), 2);
    // The health looks at the store, too.
    store.faults().fail_writes(100, Fault::Before);
    let (status, _) = world.shift(json!({ "v2": "30%" })).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    store.faults().heal();
    assert_eq!(world.shift(json!({ "v2": "30%" })).await.1["revision"]["id"], 3);
}

/// Somebody else may have the name when the process begins; and whatever closes the link, the control plane goes on.
#[tokio::test]
async fn a_link_in_one_process_that_is_refused_or_closed_is_opened_again() {
    let world = world(None).await;
    world.apply(DOCUMENT).await;
    let hello = |bits| Hello {
        protocol: PROTOCOL,
        node: "local".parse().unwrap(),
        incarnation: Incarnation::from_bits(bits),
        region: None,
        version: String::new(),
        runs: None,
    };
    let (other, _orders) = world.plane.distributor().join(hello(1), "elsewhere").unwrap();
    let (orders, mut ordered) = tokio::sync::mpsc::channel(1);
    let (replies, replied) = tokio::sync::mpsc::channel(1);
    let plane = Arc::clone(&world.plane);
    tokio::spawn(async move { serve_in_process(plane, &mut Link::new(orders, replied)).await });
    replies.send(serde_json::to_vec(&Reply::Hello(hello(2))).unwrap()).await.unwrap();
    world.plane.distributor().leave(&other, "it went");
    let order = tokio::time::timeout(std::time::Duration::from_secs(20), ordered.recv()).await;
    assert!(order.unwrap().unwrap().starts_with(b"{\"revision\""));
}

/// A report that makes no sense must not take the health down with it.
#[tokio::test]
async fn an_absurd_report_is_told_and_breaks_nothing() {
    let world = world(None).await;
    world.apply(DOCUMENT).await;
    let hello =
        json!({ "hello": { "protocol": PROTOCOL, "node": "n", "incarnation": "00000000000000aa", "version": "" } });
    let Reply::Hello(hello) = serde_json::from_value(hello).unwrap() else { panic!("no hello") };
    let (link, _orders) = world.plane.distributor().join(hello, "elsewhere").unwrap();
    let most = u64::MAX;
    let report = json!({ "report": { "sequence": 1, "pools": [{ "service": "shop", "version": "v1", "region": "default",
        "classes": [most, most, most, most, most, most], "latency": [[0, most], [1, most]], "latency_sum": most,
        "endpoints": u32::MAX, "healthy": u32::MAX }] } });
    world.plane.distributor().hear(&link, &serde_json::from_value(report).unwrap());
    assert_eq!(world.get("/v1/services/shop").await["versions"][0]["pools"][0]["requests"][1], most);
    world.get("/api/health").await;
}

#[tokio::test]
async fn a_dry_run_and_a_plan_change_nothing() {
    let world = world(None).await;
    world.apply(DOCUMENT).await;
    let other = DOCUMENT.replace("weight: 5,", "weight: 95,");
    let (status, told) = world.send(Request::put("/v1/document?dry_run=true"), &other).await;
    assert_eq!((status, &told["changed"]), (StatusCode::OK, &json!(true)));
    let stale = Request::put("/v1/document?dry_run=true").header("if-match", "\"7\"");
    assert_eq!(world.send(stale, &other).await.0, StatusCode::PRECONDITION_FAILED);
    let (status, plan) = world.send(Request::post("/v1/plan"), &other).await;
    let moved = plan["moves"][0]["moved"].as_f64().unwrap_or_default();
    assert!(status == StatusCode::OK && (moved - 0.45).abs() < 1e-6, "{plan}");
    assert_eq!(world.plane.head().unwrap().0, 1);
}

#[tokio::test]
async fn an_override_needs_a_time_and_a_reason_and_is_lifted_by_its_number() {
    let world = world(None).await;
    world.apply(DOCUMENT).await;
    let lay = || Request::post("/v1/overrides").header("content-type", "application/json");
    for bad in [
        json!({ "action": "freeze", "reason": "incident" }),
        json!({ "action": "freeze", "for": "1h" }),
        json!({ "action": "freeze", "for": "73h", "reason": "incident" }),
        json!({ "action": "freeze", "for": "0s", "reason": "incident" }),
        json!({ "action": "thaw", "for": "1h", "reason": "incident" }),
    ] {
        let (status, refused) = world.send(lay(), &bad.to_string()).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{bad}: {refused}");
    }
    let order = json!({ "action": "freeze", "for": "1h", "reason": "incident" });
    let (status, done) = world.send(lay(), &order.to_string()).await;
    assert_eq!((status, &done["revision"]["kind"]), (StatusCode::OK, &json!("override")));
    assert_eq!(world.get("/v1/overrides").await["overrides"]["2"]["action"], "freeze");
    assert_eq!(world.send(Request::delete("/v1/overrides/7"), "").await.0, StatusCode::NOT_FOUND);
    assert_eq!(world.send(Request::delete("/v1/overrides/2"), "").await.0, StatusCode::OK);
    assert_eq!(world.get("/v1/overrides").await["overrides"], json!({}));
}

#[tokio::test]
async fn an_endpoint_is_forced_by_what_is_unique_and_told_by_its_whole_identity() {
    let world = world(None).await;
    world.apply(DOCUMENT).await;
    let lay = || Request::post("/v1/overrides").header("content-type", "application/json");
    let order = |action: Value| json!({ "action": action, "for": "1h", "reason": "disk full" }).to_string();
    for (bad, code) in [
        (json!({ "endpoint": { "service": "shop", "address": "127.0.0.1:9009", "to": "out" } }), "no-endpoint"),
        (json!({ "endpoint": { "service": "shap", "address": "127.0.0.1:9001", "to": "out" } }), "no-service"),
        (json!({ "endpoint": { "service": "shop", "address": "127.0.0.1:9001", "to": "off" } }), "malformed-content"),
        (json!({ "breaker": { "service": "shop", "to": "open" } }), "ambiguous"),
        (json!({ "breaker": { "service": "shop", "version": "v1", "region": "moon", "to": "open" } }), "no-pool"),
        (json!({ "breaker": { "service": "shop", "version": "v3", "to": "open" } }), "no-version"),
    ] {
        let (status, refused) = world.send(lay(), &order(bad)).await;
        assert!(status.is_client_error() && refused["code"] == code && refused["hint"].is_string(), "{refused}");
    }
    let out = order(json!({ "endpoint": { "service": "shop", "address": "127.0.0.1:9001", "to": "out" } }));
    let stale = lay().header("if-match", "\"9\"");
    assert_eq!(world.send(stale, &out).await.0, StatusCode::PRECONDITION_FAILED);
    let once = || lay().header("if-match", "\"1\"").header("idempotency-key", "k1");
    let (status, done) = world.send(once(), &out).await;
    assert_eq!((status, &done["revision"]["id"]), (StatusCode::OK, &json!(2)), "{done}");
    assert!(done["note"].as_str().unwrap().starts_with("no endpoint of shop/v1 in default is left"), "{done}");
    assert_eq!(world.send(once(), &out).await.1["revision"]["id"], 2, "sent again, it is done once");
    let held = world.get("/v1/overrides").await["overrides"]["2"]["action"].clone();
    let whole =
        json!({ "service": "shop", "version": "v1", "region": "default", "address": "127.0.0.1:9001", "to": "out" });
    assert_eq!(held, json!({ "endpoint": whole }));
    let without = DOCUMENT.replace("127.0.0.1:9001", "127.0.0.1:9003");
    let put = Request::put("/v1/document").header("content-type", "application/yaml");
    let (status, refused) = world.send(put, &without).await;
    let problem = &refused["problems"][0];
    assert_eq!((status, &problem["code"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("named-by-overlay")), "{refused}");
    assert!(problem["hint"].as_str().unwrap().contains("sluice endpoint release shop 127.0.0.1:9001"), "{problem}");
    let changes = world.get("/v1/revisions/2/diff").await["changes"].clone();
    assert_eq!(changes, json!(["127.0.0.1:9001 of shop/v1 in default held out"]));
    let entries = world.get("/v1/audit").await["entries"].as_array().unwrap().clone();
    let told = |entry: &Value| (entry["event"]["action"].clone(), entry["event"]["target"].clone());
    assert!(entries.iter().any(|one| told(one) == (json!("force-endpoint"), json!("127.0.0.1:9001 of shop out"))));
    assert_eq!(world.send(Request::delete("/v1/overrides/2"), "").await.0, StatusCode::OK);
}

#[tokio::test]
async fn health_is_told_to_everybody() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(Some(&tokens(folder.path()))).await;
    let health = loop {
        let health = world.get("/api/health").await;
        if health["component_status"]["store"].is_object() {
            break health;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(health["overall_status"], "healthy");
    assert_eq!(health["component_status"]["store"]["status"], "healthy");
}

#[test]
fn the_committed_description_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/openapi.json");
    let current = openapi();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &current).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == current, "run the tests with UPDATE=1 and look at the change of docs/reference/openapi.json");
}

#[test]
fn each_operation_is_described_once() {
    let described: Value = serde_json::from_str(&openapi()).unwrap();
    let mut names = std::collections::BTreeSet::new();
    for operation in operations() {
        let method = operation.method.as_str().to_ascii_lowercase();
        assert_eq!(described["paths"][operation.path][&method]["operationId"], operation.name);
        assert!(names.insert(operation.name), "{} stands twice", operation.name);
        let path = operation.path;
        assert!(path.starts_with("/v1/") || path == "/api/health", "{path}");
        assert!(operation.method == Method::GET || operation.action != Some(Action::Read), "{path} changes something");
    }
}
