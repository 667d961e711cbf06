//! Who owns what: a test for each sentence of that section of the design, over the real API and the real command.
//!
//! Sentences about rollouts and regions have their tests where these are.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;

use serde_json::{Value, json};
use sluice_harness::api::percent;
use sluice_harness::fleet::{Control, control};
use sluice_harness::h1::Client;
use sluice_harness::sluice::{OPERATOR, setup};
use sluice_harness::wait::until;
use sluice_harness::{Api, Document, Origin, free_address};

const SLUICE: &str = env!("CARGO_BIN_EXE_sluice");

/// Nobody listens there: these tests are about what is decided.
fn nowhere() -> SocketAddr {
    "127.0.0.1:1".parse().unwrap()
}

/// A shop whose versions v1, v2 and v3 have these weights, and a cart beside it.
fn shop(v1: u32, v2: u32, v3: u32) -> Document {
    let pool: &[(&str, &[SocketAddr])] = &[("here", &[nowhere()])];
    Document::new()
        .listener("web", "127.0.0.1:8080".parse().unwrap(), "")
        .region("here", "")
        .service("cart", "")
        .version("v1", 1, pool)
        .service("shop", "")
        .version("v1", v1, pool)
        .version("v2", v2, pool)
        .version("v3", v3, pool)
        .route("{ path: /cart }", "service: cart")
        .route("{ path: / }", "service: shop")
}

/// The same with another route, so that it is another document whose weights are the same.
fn with_route(document: &Document, path: &str) -> Document {
    document.clone().route(&format!("{{ path: {path} }}"), "service: cart")
}

/// A control plane in API mode with this document as revision 1.
fn applied(document: &Document) -> Control {
    let control = control(SLUICE).start();
    assert_eq!(control.api().apply(document), 1);
    control
}

/// A document in a file, for the command.
fn written(control: &Control, document: impl ToString) -> String {
    let file = control.folder().join("next.yaml");
    fs::write(&file, document.to_string()).unwrap();
    file.to_str().unwrap().to_owned()
}

fn assert_shares(api: &Api, v1: f64, v2: f64, v3: f64) {
    let shares = api.shares("shop");
    assert_eq!((shares["v1"], shares["v2"], shares["v3"]), (v1, v2, v3));
}

/// The kinds of all revisions, oldest first.
fn kinds(api: &Api) -> Vec<String> {
    api.revisions().iter().map(|revision| revision["kind"].as_str().unwrap().to_owned()).collect()
}

fn wait_file(api: &Api, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    until(&format!("the file is {what}"), || {
        let file = api.get("/v1/status")["file"].clone();
        is(&file).then_some(file)
    })
}

#[test]
fn a_control_plane_has_one_source_file_or_api() {
    let by_file = control(SLUICE).file(shop(90, 10, 0)).start();
    let status = by_file.api().get("/v1/status");
    assert_eq!((&status["mode"], &status["head"]["id"]), (&json!("file"), &json!(1)));
    assert_eq!(status["file"]["path"].as_str().unwrap(), by_file.file().to_str().unwrap());
    by_file.operate(&["status"]).expect(0).assert_says(&["file", by_file.file().to_str().unwrap()]);

    let by_api = control(SLUICE).start();
    let status = by_api.api().get("/v1/status");
    assert_eq!((&status["mode"], &status["head"], &status["file"]), (&json!("api"), &Value::Null, &Value::Null));
    assert_eq!(by_api.api().apply(shop(90, 10, 0)), 1);
}

/// By what is answered: `sluice run` is a proxy and its control plane.
#[test]
fn in_file_mode_the_file_is_watched_and_applied() {
    let (web, [one, two]) = (free_address(), ["one", "two"].map(Origin::start));
    let sluice = setup(SLUICE).start(Document::simple(web, one.address()));
    assert_eq!(Client::connect(web).get("/").origin(), "one");
    assert_eq!(sluice.change(Document::simple(web, two.address())), 2);
    assert_eq!(Client::connect(web).get("/").origin(), "two");
    assert_eq!(sluice.api().get("/v1/status")["mode"], "file");
    assert_eq!(kinds(&sluice.api()), ["document", "document"]);
}

#[test]
fn put_of_a_document_in_file_mode_is_refused_and_names_the_file() {
    let web = free_address();
    let sluice = setup(SLUICE).start(Document::simple(web, nowhere()));
    let api = sluice.api();
    let file = sluice.file().to_str().unwrap();
    let told = api.put(shop(90, 10, 0)).send().refuses(409, "file-mode");
    assert!(told["detail"].as_str().unwrap().contains(file), "{told}");
    assert!(told["hint"].as_str().unwrap().contains(file), "{told}");
    sluice.operate(&["apply", file]).expect(1).assert_says(&[file, "follows the file"]);
    assert_eq!(api.head(), 1);
    let entry = api.audit().pop().unwrap();
    assert!(entry["event"]["outcome"]["refused"].as_str().unwrap().contains(file), "{entry}");
}

#[test]
fn rollback_restores_the_document_and_parks_the_files_digest_until_its_content_changes_across_restarts() {
    let (web, [one, two, three]) = (free_address(), ["one", "two", "three"].map(Origin::start));
    let at = |origin: &Origin| Document::simple(web, origin.address());
    let mut sluice = setup(SLUICE).start(at(&one));
    sluice.change(at(&two));
    sluice.operate(&["rollback", "1", "--reason", "two is broken", "--wait"]).expect(0).assert_says(&["3"]);
    assert_eq!(Client::connect(web).get("/").origin(), "one");

    let parked = |sluice: &sluice_harness::Sluice| {
        let file = wait_file(&sluice.api(), "parked", |file| file["parked"].is_string());
        assert!(file["standing"].as_str().unwrap().contains("parked"), "{file}");
        sluice.operate(&["status"]).expect(0).assert_says(&["parked"]);
        assert_eq!((sluice.api().head(), Client::connect(web).get("/").origin()), (3, "one"));
    };
    parked(&sluice);
    // Saved again, and read again because somebody asks: it is the same content.
    sluice.rewrite(at(&two));
    sluice.hang_up();
    parked(&sluice);
    sluice.restart();
    parked(&sluice);
    sluice.crash();
    parked(&sluice);
    assert_eq!(sluice.api().get("/v1/revisions/3")["restores"], 1);
    // A change in between carries it on.
    sluice.operate(&["freeze", "--for", "1h", "--reason", "look at it"]).expect(0).assert_says(&["4"]);
    sluice.operate(&["unfreeze"]).expect(0).assert_says(&["5"]);
    sluice.restart();
    wait_file(&sluice.api(), "parked", |file| file["parked"].is_string());
    assert_eq!(sluice.api().head(), 5);

    assert_eq!(sluice.change(at(&three)), 6);
    assert_eq!(Client::connect(web).get("/").origin(), "three");
    let file = wait_file(&sluice.api(), "accepted", |file| file["accepted"] == true);
    assert_eq!(file["parked"], Value::Null);
    assert_eq!(kinds(&sluice.api()), ["document", "document", "document", "override", "override", "document"]);
}

#[test]
fn a_services_weights_have_one_owner_document_or_operator() {
    let control = applied(&shop(90, 10, 0));
    let api = control.api();
    assert_eq!(api.owner("shop"), "document");
    assert_eq!(api.service("shop")["shift"], Value::Null);
    control.operate(&["shift", "shop", "v2=25%", "--reason", "try v2"]).expect(0).assert_says(&["2"]);
    assert_eq!((api.owner("shop"), api.owner("cart")), ("operator".to_owned(), "document".to_owned()));
    let shift = &api.service("shop")["shift"];
    assert!(shift["author"].as_str().unwrap().starts_with(OPERATOR), "{shift}");
    assert_eq!(shift["reason"], "try v2");
    control.operate(&["get", "services"]).expect(0).assert_says(&["operator", OPERATOR, "try v2"]);
    control.operate(&["shift", "shop", "--release", "--reason", "done"]).expect(0).assert_says(&["3"]);
    assert_eq!(api.owner("shop"), "document");
    assert_shares(&api, 90.0, 10.0, 0.0);
}

/// Percent, exactly, to 0.0001 %; what is not named keeps its ratio.
#[test]
fn what_a_shift_does_not_name_keeps_its_ratio() {
    let control = applied(&shop(60, 20, 20));
    let api = control.api();
    control.operate(&["shift", "shop", "v3=40%"]).expect(0).assert_says(&["v3"]);
    assert_shares(&api, 45.0, 15.0, 40.0);
    api.shift("shop", &[("v2", "0.0001%")]);
    let shares = api.shares("shop");
    let sum: f64 = shares.values().sum();
    assert_eq!((shares["v2"], (sum * 10_000.0).round()), (0.0001, 1_000_000.0));
    assert!((shares["v1"] / shares["v3"] - 45.0 / 40.0).abs() < 1e-4, "{shares:?}");
    let refused = api.shift_call("shop", &[("v1", "60%"), ("v2", "41%")], &Value::Null).send();
    refused.refuses(422, "above-whole");
    let refused = api.shift_call("shop", &[("v9", "1%")], &Value::Null).send();
    refused.refuses(422, "no-version");
    let refused = api.shift_call("shopp", &[("v1", "1%")], &Value::Null).send();
    let told = refused.refuses(404, "no-service");
    assert!(told["hint"].as_str().unwrap().contains("shop"), "{told}");
    assert_eq!(api.head(), 3);
}

#[test]
fn apply_is_a_three_way_merge_weights_whose_text_did_not_change_stay_as_they_are_live() {
    let control = applied(&shop(90, 10, 0));
    let api = control.api();
    api.shift("shop", &[("v2", "25%")]);
    let next = with_route(&shop(90, 10, 0), "/basket");
    control.operate(&["apply", &written(&control, &next), "--reason", "a route"]).expect(0).assert_says(&["3"]);
    assert_shares(&api, 75.0, 25.0, 0.0);
    assert_eq!(api.owner("shop"), "operator");
    // The same ratio in other numbers means the same, and a new version without a share moves nothing.
    let same = with_route(&shop(180, 20, 0), "/basket").version("v4", 0, &[("here", &[nowhere()])]);
    assert_eq!(api.apply(same), 4);
    assert_shares(&api, 75.0, 25.0, 0.0);
    assert_eq!((api.shares("shop")["v4"], api.owner("shop").as_str()), (0.0, "operator"));
}

#[test]
fn in_file_mode_too_the_live_weights_stay_and_a_changed_weight_is_refused() {
    let control = control(SLUICE).file(shop(90, 10, 0)).start();
    let api = control.api();
    api.shift("shop", &[("v2", "25%")]);
    control.rewrite(with_route(&shop(90, 10, 0), "/basket"));
    api.wait_head(3);
    assert_shares(&api, 75.0, 25.0, 0.0);
    control.rewrite(with_route(&shop(50, 50, 0), "/basket"));
    let file = wait_file(&api, "refused", |file| file["accepted"] == false);
    let standing = file["standing"].as_str().unwrap();
    assert!(standing.contains("shop") && standing.contains("operator"), "{standing}");
    // Once the operator gives them back, the document's hold.
    control.operate(&["shift", "shop", "--release"]).expect(0).assert_says(&["4"]);
    api.wait_head(5);
    assert_shares(&api, 50.0, 50.0, 0.0);
    wait_file(&api, "accepted", |file| file["accepted"] == true);
}

#[test]
fn a_changed_weight_under_another_owner_is_refused_naming_owner_and_reason_unless_take_weights() {
    let control = applied(&shop(90, 10, 0));
    let api = control.api();
    control.operate(&["shift", "shop", "v2=25%", "--reason", "campaign of may"]).expect(0).assert_says(&["2"]);
    let next = shop(50, 50, 0);
    let told = api.put(&next).send().refuses(409, "owned");
    let owned = &told["owned"][0];
    assert_eq!((&owned["service"], &owned["owner"]), (&json!("shop"), &json!("operator")), "{told}");
    assert_eq!(owned["reason"], "campaign of may");
    assert!(owned["author"].as_str().unwrap().starts_with(OPERATOR) && owned["since"].is_string(), "{told}");
    assert!(owned["changes"].as_array().is_some_and(|changes| !changes.is_empty()), "{told}");
    assert!(told["hint"].as_str().unwrap().contains("--take-weights"), "{told}");
    let file = written(&control, &next);
    let words = ["shop", "operator", OPERATOR, "campaign of may", "--take-weights"];
    control.operate(&["apply", &file]).expect(1).assert_says(&words);
    control.operate(&["plan", &file]).expect(1).assert_says(&words);
    assert_eq!(api.head(), 2);
    assert_shares(&api, 75.0, 25.0, 0.0);
    control.operate(&["apply", &file, "--take-weights"]).expect(0).assert_says(&["3"]);
    assert_shares(&api, 50.0, 50.0, 0.0);
    assert_eq!(api.owner("shop"), "document");
}

#[test]
fn a_shift_takes_ownership_and_does_not_expire() {
    let mut control = applied(&shop(90, 10, 0));
    let api = control.api();
    // To what is live already: nothing moves, and yet they are the operator's from now on.
    control.operate(&["shift", "shop", "v2=10%", "--reason", "hold it"]).expect(0).assert_says(&["2"]);
    assert_eq!(api.owner("shop"), "operator");
    assert_eq!(api.service("shop")["shift"]["until"], Value::Null);
    control.restart();
    assert_eq!((api.owner("shop"), api.head()), ("operator".to_owned(), 2));
    api.put(shop(50, 50, 0)).send().refuses(409, "owned");
}

#[test]
fn a_shift_for_a_time_returns_to_the_weights_before_it() {
    let mut control = applied(&shop(90, 10, 0));
    let api = control.api();
    api.shift("shop", &[("v2", "25%")]);
    control.operate(&["shift", "shop", "v2=50%", "--for", "2s", "--reason", "a peak"]).expect(0).assert_says(&["3"]);
    assert_shares(&api, 50.0, 50.0, 0.0);
    assert!(api.service("shop")["shift"]["until"].is_string());
    api.wait_head(4);
    assert_shares(&api, 75.0, 25.0, 0.0);
    assert_eq!((api.owner("shop"), &api.service("shop")["shift"]["until"]), ("operator".to_owned(), &Value::Null));

    // To the document, where it was the document's; and also when its end comes while nobody is there.
    control.operate(&["shift", "shop", "--release"]).expect(0).assert_says(&["5"]);
    api.shift_call("shop", &[("v3", "100%")], &json!({ "for": "1s" })).send().expect(200).revision();
    control.restart();
    api.wait_head(7);
    assert_shares(&api, 90.0, 10.0, 0.0);
    assert_eq!(api.owner("shop"), "document");
    let last = api.get("/v1/revisions/7");
    assert_eq!((&last["author"], &last["kind"]), (&json!("sluice"), &json!("weights")));
}

#[test]
fn overrides_must_expire() {
    let control = applied(&shop(90, 10, 0));
    let api = control.api();
    let lay = |order: Value| api.call("POST", "/v1/overrides").json(&order).send();
    lay(json!({ "action": "freeze", "reason": "r" })).refuses(422, "malformed-content");
    lay(json!({ "action": "freeze", "for": "2h" })).refuses(422, "malformed-content");
    lay(json!({ "action": "freeze", "reason": "r", "for": "0s" })).refuses(422, "no-time");
    lay(json!({ "action": "freeze", "reason": "r", "for": "72h1ms" })).refuses(422, "too-long");
    control.operate(&["freeze", "--reason", "r"]).expect(2).assert_says(&["--for"]);
    control.operate(&["freeze", "--reason", "r", "--for", "73h"]).expect(1).assert_says(&["72h"]);
    assert_eq!((api.head(), api.get("/v1/overrides")["overrides"].clone()), (1, json!({})));
    let laid = lay(json!({ "action": "freeze", "reason": "longest", "for": "72h" })).expect(200).revision();
    let told = &api.get("/v1/overrides")["overrides"][laid.to_string()];
    assert!(told["expires"].is_string(), "{told}");
    api.call("DELETE", &format!("/v1/overrides/{laid}")).send().expect(200).revision();
}

/// What a freeze is for: automation waits, and what waited comes when it ends by itself.
#[test]
fn a_freeze_holds_the_file_back_until_it_expires() {
    let control = control(SLUICE).file(shop(90, 10, 0)).start();
    let api = control.api();
    control.operate(&["freeze", "--for", "3s", "--reason", "an incident"]).expect(0).assert_says(&["2"]);
    control.rewrite(shop(50, 50, 0));
    wait_file(&api, "frozen", |file| file["standing"].as_str().unwrap().contains("fr"));
    control.operate(&["shift", "cart", "v1=100%"]).expect(0).assert_says(&["3"]);
    api.wait_head(5);
    assert_shares(&api, 50.0, 50.0, 0.0);
    assert_eq!(kinds(&api), ["document", "override", "weights", "override", "document"]);
    assert_eq!(api.get("/v1/overrides")["overrides"], json!({}));
}

#[test]
fn drift_reports_where_document_and_live_differ() {
    let control = applied(&shop(90, 10, 0));
    let api = control.api();
    assert_eq!(api.get("/v1/drift")["weights"], json!([]));
    control.operate(&["shift", "shop", "v2=25%", "--reason", "try v2"]).expect(0).assert_says(&["2"]);
    let drift = api.get("/v1/drift");
    let shop = &drift["weights"][0];
    assert_eq!(
        (&shop["service"], &shop["owner"], &shop["reason"]),
        (&json!("shop"), &json!("operator"), &json!("try v2"))
    );
    assert_eq!((percent(&shop["document"]["v2"]), percent(&shop["live"]["v2"])), (10.0, 25.0), "{drift}");
    assert_eq!(control.operate(&["drift", "--output", "json"]).json()["weights"][0]["service"], "shop");
    let said = control.operate(&["drift"]);
    said.assert_says(&["shop", "25%", "10%", OPERATOR, "try v2"]);
}

#[test]
fn export_prints_the_document_with_the_live_weights() {
    let control = control(SLUICE).start();
    let api = control.api();
    let text = format!("# written by hand\n{}", shop(90, 10, 0));
    api.apply(&text);
    assert_eq!(api.text("/v1/export"), text, "without a shift it is the document itself");
    api.shift("shop", &[("v2", "25%")]);
    let exported = control.operate(&["export"]).expect(0).out;
    assert_eq!(exported, api.text("/v1/export"));
    assert!(exported.starts_with("# written by hand\n"), "{exported}");
    assert_eq!(exported.lines().count(), text.lines().count(), "{exported}");
    let before = api.get("/v1/status")["head"]["digest"].clone();
    let file = written(&control, &exported);
    control.operate(&["apply", &file, "--reason", "from live"]).expect(0).assert_says(&["3"]);
    assert_eq!(api.get("/v1/drift")["weights"], json!([]));
    assert_eq!(api.owner("shop"), "document");
    assert_shares(&api, 75.0, 25.0, 0.0);
    assert_eq!(api.get("/v1/status")["head"]["digest"], before, "nothing moved");
    control.operate(&["drift"]).expect(0).assert_says(&["what the document says"]);
}

#[test]
fn sluice_never_edits_the_operators_file() {
    let web = free_address();
    let mut sluice = setup(SLUICE).start(shop(90, 10, 0).without_listener("web").listener("web", web, ""));
    let look = |sluice: &sluice_harness::Sluice| {
        let metadata = fs::metadata(sluice.file()).unwrap();
        let times = (metadata.mtime(), metadata.mtime_nsec(), metadata.ctime(), metadata.ctime_nsec());
        (fs::read(sluice.file()).unwrap(), metadata.ino(), times)
    };
    let before = look(&sluice);
    let api = sluice.api();
    api.shift("shop", &[("v2", "25%")]);
    api.shift_call("shop", &[("v2", "50%")], &json!({ "for": "1s" })).send().expect(200).revision();
    api.wait_head(4);
    sluice.operate(&["freeze", "--for", "1h", "--reason", "r"]).expect(0).assert_says(&["5"]);
    sluice.operate(&["export"]).expect(0).assert_says(&["services:"]);
    sluice.operate(&["rollback", "1", "--weights"]).expect(0).assert_says(&["6"]);
    sluice.restart();
    assert_eq!(look(&sluice), before);
}

#[test]
fn what_is_validated_is_the_pair_removing_a_version_that_live_weights_name_is_refused() {
    let pool: &[(&str, &[SocketAddr])] = &[("here", &[nowhere()])];
    let two = |names: [&str; 2]| {
        let document = Document::new().listener("web", "127.0.0.1:8080".parse().unwrap(), "").region("here", "");
        let document = document.service("shop", "").version(names[0], 1, pool).version(names[1], 0, pool);
        document.route("{ path: / }", "service: shop")
    };
    let control = applied(&two(["v1", "v2"]));
    let api = control.api();
    api.shift_call("shop", &[("v2", "25%")], &json!({ "reason": "try v2" })).send().expect(200).revision();
    let without = two(["v1", "v3"]);
    let told = api.put(&without).send().refuses(422, "unsound-document");
    let problem = &told["problems"][0];
    assert!(problem["message"].as_str().unwrap().contains("v2"), "{told}");
    let (line, column) = (problem["line"].as_u64().unwrap(), problem["column"].as_u64().unwrap());
    assert!(line > 1 && column > 1, "{told}");
    let place = format!("next.yaml:{line}:{column}");
    let file = written(&control, &without);
    control.operate(&["apply", &file]).expect(1).assert_says(&["v2", &place]);
    control.operate(&["plan", &file]).expect(1).assert_says(&["v2", &place]);
    assert_eq!(api.head(), 2);
    // A version without a share goes.
    api.shift("shop", &[("v1", "100%")]);
    assert_eq!(api.apply(&without), 4);
}

#[test]
fn rollback_restores_the_document_and_with_weights_its_weights_too() {
    let control = applied(&shop(90, 10, 0));
    let api = control.api();
    api.shift("shop", &[("v2", "25%")]);
    api.apply(with_route(&shop(90, 10, 0), "/basket"));
    api.shift("shop", &[("v2", "60%")]);
    control.operate(&["rollback", "2", "--reason", "the route was wrong"]).expect(0).assert_says(&["5"]);
    assert!(!api.text("/v1/document").contains("/basket"));
    assert_shares(&api, 40.0, 60.0, 0.0);
    control.operate(&["rollback", "2", "--weights"]).expect(0).assert_says(&["6"]);
    assert_shares(&api, 75.0, 25.0, 0.0);
    control.operate(&["rollback", "1", "--weights"]).expect(0).assert_says(&["7"]);
    assert_shares(&api, 90.0, 10.0, 0.0);
    assert_eq!(api.owner("shop"), "document");
    let last = api.get("/v1/revisions/7");
    assert_eq!((&last["restores"], &last["parent"]), (&json!(1), &json!(6)));
    control.operate(&["rollback", "99"]).expect(1).assert_says(&["99"]);
}

#[test]
fn history_shows_every_revision_of_every_kind() {
    let mut control = applied(&shop(90, 10, 0));
    let api = control.api();
    control.operate(&["shift", "shop", "v2=25%", "--reason", "try v2"]).expect(0).assert_says(&["2"]);
    control.operate(&["freeze", "--for", "1h", "--reason", "an incident"]).expect(0).assert_says(&["3"]);
    control.operate(&["unfreeze", "--reason", "it is over"]).expect(0).assert_says(&["4"]);
    let file = written(&control, with_route(&shop(90, 10, 0), "/basket"));
    control.operate(&["apply", &file, "--reason", "a route"]).expect(0).assert_says(&["5"]);
    control.operate(&["rollback", "1", "--reason", "no route"]).expect(0).assert_says(&["6"]);
    control.restart();
    assert_eq!(kinds(&api), ["document", "weights", "override", "override", "document", "document"]);
    let told = control.operate(&["history", "--output", "json"]).expect(0).json();
    let ids: Vec<u64> = told["revisions"].as_array().unwrap().iter().map(|one| one["id"].as_u64().unwrap()).collect();
    assert_eq!(ids, [6, 5, 4, 3, 2, 1]);
    let all =
        ["document", "weights", "override", "try v2", "an incident", "it is over", "a route", "no route", OPERATOR];
    control.operate(&["history"]).expect(0).assert_says(&all);
    control.operate(&["diff", "5"]).expect(0).assert_says(&["/basket"]);
    control.operate(&["diff", "1", "6"]).expect(0).assert_says(&["shop"]);
}
