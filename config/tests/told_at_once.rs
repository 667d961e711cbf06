//! That no problem hides another, and that none is the echo of another: what is told of a damaged document is exactly
//! what was done to it, place by place.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Value, json};
use sluice_config::problem::Code;
use sluice_config::{Environment, Problems, validate};

/// Good, and every value that a rule compares with another one is written.
fn good() -> Value {
    json!({
        "listeners": [
            { "name": "web", "address": "127.0.0.1:80", "limits": { "connections": 5 } },
            { "name": "ops", "address": "127.0.0.1:81", "limits": { "header_bytes": "16KiB" },
              "proxy_protocol": "required", "trusted_proxies": ["10.0.0.0/8"], "forwarded": "both" },
        ],
        "regions": [
            { "name": "us", "role": "primary", "weight": 1, "capabilities": ["read", "write"] },
            { "name": "eu", "role": "secondary", "weight": 1, "capabilities": ["read"] },
        ],
        "services": [
            {
                "name": "shop", "split": "random", "timeouts": { "connect": "1s", "per_try": "9s", "total": "30s", "idle": "9s" },
                "retries": {
                    "attempts": 2, "causes": ["reset", "timeout"], "statuses": [502, 503], "grpc_statuses": ["internal"],
                    "backoff": { "base": "10ms", "max": "1s" }, "budget": { "ratio": "10%", "min_per_second": 1 },
                    "max_retry_after": "2s", "body": "1KiB",
                },
                "health_check": {
                    "http": { "path": "/h", "host": "a", "method": "GET", "statuses": [200, "300-302"], "body": "ok" },
                    "interval": "2s", "timeout": "1s", "interval_in_doubt": "1s", "interval_without_traffic": "2s", "agent": true,
                    "failure_threshold": 3, "recovery_threshold": 2, "unsteady_threshold": 4, "port": 81,
                },
                "outlier_ejection": {
                    "consecutive_failures": 5, "consecutive_gateway_failures": 4, "interval": "5s",
                    "failure_percentage": { "min_requests": 5 }, "return_on_good_probe": false,
                },
                "breaker": {
                    "endpoint": { "failure_ratio": "40%", "min_requests": 5, "window": "20s" },
                    "pool": { "slow_after": "5s", "slow_ratio": "40%" },
                },
                "limits": {
                    "endpoint": { "requests": 5 }, "pool": { "requests": 9, "pending": 7, "pending_timeout": "2s" },
                },
                "slow_start": { "floor": "5%" },
                "versions": [
                    { "name": "v1", "weight": 1, "endpoints": { "us": ["10.0.0.1:80", "10.0.0.2:80"] } },
                    { "name": "v2", "weight": 0, "endpoints": { "us": [{ "address": "10.0.0.1:80", "weight": 1 }] } },
                ],
            },
            { "name": "cart", "split": "random", "endpoints": { "eu": ["10.0.0.1:80"] } },
            {
                "name": "found", "split": "random", "discovery": { "ttl_min": "1s", "ttl_max": "9s" },
                "endpoints": { "eu": [
                    { "dns": "a.b", "port": 80, "weight": 1, "family": "any" }, { "dns": "_c._tcp.d", "srv": true },
                    { "file": "e.yaml", "zone": "a" },
                ] },
            },
            {
                "name": "near", "zones": { "min_endpoints": 2 }, "discovery": { "ttl_min": "2s" },
                "endpoints": { "eu": [{ "dns": "a.b", "port": 80, "zone": "a" }] },
            },
        ],
        "routes": [
            { "name": "a", "service": "shop", "version": "v1", "match": { "path": "/a" }, "capability": "read" },
            { "name": "b", "service": "cart", "match": { "path": "/b", "methods": ["GET"] } },
            { "name": "c", "service": "shop", "match": { "host": "x", "path": { "exact": "/c" } } },
        ],
        "drain": { "deadline": "1s" },
        "resolver": { "servers": ["10.0.0.2:53"], "timeout": "9s" },
    })
}

/// Records, where an unknown field hides nothing. In a match it does: nobody knows what such a route would take.
const RECORDS: &[&str] = &[
    "",
    "/listeners/0",
    "/listeners/1",
    "/listeners/1/limits",
    "/regions/0",
    "/regions/1",
    "/services/0",
    "/services/0/timeouts",
    "/services/0/retries",
    "/services/0/retries/backoff",
    "/services/0/retries/budget",
    "/services/0/health_check",
    "/services/0/health_check/http",
    "/services/0/versions/0",
    "/services/0/versions/1",
    "/services/0/versions/1/endpoints/us/0",
    "/services/1",
    "/services/2",
    "/services/2/discovery",
    "/services/3",
    "/services/3/zones",
    "/services/0/outlier_ejection",
    "/services/0/breaker/pool",
    "/services/0/slow_start",
    "/resolver",
    "/routes/0",
    "/routes/1",
    "/routes/2",
    "/drain",
];

/// Optional values that no rule compares with others.
const OPTIONAL: &[(&str, &str)] = &[
    ("/listeners/0/limits/connections", "0"),
    ("/listeners/1/limits/header_bytes", "5"),
    ("/listeners/1/forwarded", "\"all\""),
    ("/services/0/split", "\"stick\""),
    ("/services/1/split", "{ \"sticky\": { \"cookie\": \"a b\" } }"),
    ("/services/0/timeouts/idle", "true"),
    ("/services/0/health_check/http/host", "\"a b\""),
    ("/services/0/health_check/port", "0"),
    ("/services/0/health_check/recovery_threshold", "\"many\""),
    ("/routes/2/match/host", "\"*\""),
    ("/drain/deadline", "null"),
    ("/services/2/endpoints/eu/2/zone", "\"a b\""),
];

/// What is wrong although each value alone is good: the place, the new value, the code, and where it is told.
const MEANINGS: &[(&str, &str, Code, &str)] = &[
    ("/listeners/1/name", "\"web\"", Code::DuplicateName, "listeners[1].name"),
    ("/listeners/1/address", "\"0.0.0.0:80\"", Code::SameAddress, "listeners[1].address"),
    ("/listeners/1/trusted_proxies", "[]", Code::MissingField, "listeners[1].proxy_protocol"),
    ("/regions/1/role", "\"primary\"", Code::SeveralPrimaries, "regions[1].role"),
    ("/regions/1/role", "\"standby\"", Code::StandbyWeight, "regions[1].weight"),
    ("/regions/0/capabilities/1", "\"read\"", Code::DuplicateValue, "regions[0].capabilities[1]"),
    ("/services/0/versions/1/name", "\"v1\"", Code::DuplicateName, "services[0].versions[1].name"),
    ("/services/0/versions/0/weight", "0", Code::AllWeightsZero, "services[0].versions"),
    ("/services/0/versions/1/endpoints/us/0/weight", "0", Code::AllWeightsZero, "services[0].versions[1].endpoints.us"),
    ("/services/0/retries/backoff/base", "\"2s\"", Code::Conflict, "services[0].retries.backoff.base"),
    ("/services/0/retries/statuses/0", "430", Code::OutOfRange, "services[0].retries.statuses[0]"),
    ("/services/0/timeouts/per_try", "\"off\"", Code::Conflict, "services[0].retries.causes[1]"),
    ("/services/0/health_check/timeout", "\"3s\"", Code::TimeoutAboveInterval, "services[0].health_check.timeout"),
    (
        "/services/0/health_check/interval_in_doubt",
        "\"3s\"",
        Code::Conflict,
        "services[0].health_check.interval_in_doubt",
    ),
    ("/services/0/health_check/unsteady_threshold", "8", Code::Conflict, "services[0].health_check.unsteady_threshold"),
    ("/services/0/health_check/http/method", "\"HEAD\"", Code::Conflict, "services[0].health_check.http.body"),
    (
        "/services/0/health_check/http/statuses/0",
        "301",
        Code::DuplicateValue,
        "services[0].health_check.http.statuses[1]",
    ),
    (
        "/services/0/versions/0/endpoints/us/1",
        "\"10.0.0.1:80\"",
        Code::DuplicateEndpoint,
        "services[0].versions[0].endpoints.us[1]",
    ),
    ("/services/1/endpoints/eu/0", "\"127.0.0.1:80\"", Code::OwnAddress, "services[1].endpoints.eu[0]"),
    ("/services/1/endpoints/eu/0", "\"0.0.0.0:80\"", Code::BadAddress, "services[1].endpoints.eu[0]"),
    ("/services/1/endpoints", "[\"10.0.0.1:80\"]", Code::Conflict, "services[1].endpoints"),
    ("/services/1/endpoints", "{ \"asia\": [\"10.0.0.1:80\"] }", Code::UndeclaredRegion, "services[1].endpoints.asia"),
    ("/services/2/discovery/ttl_min", "\"10s\"", Code::Conflict, "services[2].discovery.ttl_min"),
    ("/services/2/discovery/ttl_min", "\"1ms\"", Code::OutOfRange, "services[2].discovery.ttl_min"),
    ("/services/2/endpoints/eu/1", "{ \"dns\": \"_c._tcp.d\" }", Code::MissingField, "services[2].endpoints.eu[1]"),
    (
        "/services/2/endpoints/eu/1",
        "{ \"dns\": \"a.b\", \"port\": 80 }",
        Code::DuplicateEndpoint,
        "services[2].endpoints.eu[1]",
    ),
    ("/services/2/endpoints/eu/2/file", "\"\"", Code::BadPath, "services[2].endpoints.eu[2].file"),
    ("/services/2/endpoints/eu/0/dns", "\"10.0.0.1\"", Code::BadHost, "services[2].endpoints.eu[0].dns"),
    ("/resolver/timeout", "\"2m\"", Code::OutOfRange, "resolver.timeout"),
    ("/services/3/endpoints/eu/0", "{ \"dns\": \"a.b\", \"port\": 80 }", Code::Conflict, "services[3].zones"),
    ("/services/3/endpoints/eu/0", "{ \"file\": \"e.yaml\" }", Code::Conflict, "services[3].discovery"),
    (
        "/services/0/outlier_ejection/consecutive_failures",
        "4",
        Code::Conflict,
        "services[0].outlier_ejection.consecutive_gateway_failures",
    ),
    ("/services/0/slow_start/floor", "\"100%\"", Code::OutOfRange, "services[0].slow_start.floor"),
    ("/services/0/breaker/pool/slow_after", "\"11s\"", Code::Conflict, "services[0].breaker.pool.slow_after"),
    (
        "/services/0/breaker/endpoint",
        "{ \"failure_ratio\": \"off\", \"window\": \"20s\" }",
        Code::Conflict,
        "services[0].breaker.endpoint.window",
    ),
    ("/services/0/limits/pool/requests", "4", Code::Conflict, "services[0].limits.endpoint.requests"),
    ("/services/0/limits/pool/pending", "0", Code::Conflict, "services[0].limits.pool.pending_timeout"),
    ("/services/0/limits/pool/pending_timeout", "\"31s\"", Code::Conflict, "services[0].limits.pool.pending_timeout"),
    ("/services/0/limits", "{}", Code::EmptyList, "services[0].limits"),
    ("/routes/0/service", "\"nowhere\"", Code::DanglingReference, "routes[0].service"),
    ("/routes/0/version", "\"nothing\"", Code::DanglingReference, "routes[0].version"),
    ("/routes/0/capability", "\"admin\"", Code::UnservedCapability, "routes[0].capability"),
    ("/routes/1/name", "\"a\"", Code::DuplicateName, "routes[1].name"),
    ("/routes/1/match", "{ \"path\": \"/a\" }", Code::SameMatch, "routes[1]"),
    ("/routes/1/match", "{ \"path\": { \"regex\": \"(\" } }", Code::BadRegex, "routes[1].match.path.regex"),
];

fn told(document: &Value) -> Problems {
    validate(&document.to_string(), &Environment::empty()).unwrap_err()
}

fn places(problems: &Problems) -> Vec<String> {
    problems.problems.iter().map(|problem| problem.path.to_string()).collect()
}

/// `/routes/0/name` as `routes[0].name`.
fn path(pointer: &str) -> String {
    let steps = pointer.split('/').skip(1);
    let path = steps.map(|step| if step.parse::<usize>().is_ok() { format!("[{step}]") } else { format!(".{step}") });
    path.collect::<String>().trim_start_matches('.').to_owned()
}

fn set(document: &mut Value, pointer: &str, value: &str) {
    *document.pointer_mut(pointer).unwrap() = serde_json::from_str(value).unwrap();
}

/// Values of every kind: what stands under an unknown name must not matter.
fn anything() -> impl Strategy<Value = Value> {
    prop::sample::select(vec![
        json!(null),
        json!(true),
        json!(5),
        json!(2.5),
        json!("5s"),
        json!([]),
        json!({ "a": 1 }),
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn every_problem_is_told_at_once_and_none_is_an_echo(
        meaning in prop::sample::select(MEANINGS),
        unknown in prop::collection::btree_map(prop::sample::select(RECORDS), anything(), 0..6),
        optional in prop::sample::subsequence(OPTIONAL, 0..=OPTIONAL.len()),
    ) {
        let mut document = good();
        let (pointer, value, code, place) = meaning;
        set(&mut document, pointer, value);
        let mut expected = BTreeSet::from([place.to_owned()]);
        for (pointer, value) in optional {
            set(&mut document, pointer, value);
            let inner = if value.contains("cookie") { ".sticky.cookie" } else { "" };
            expected.insert(path(pointer) + inner);
        }
        for (record, value) in unknown {
            if let Some(fields) = document.pointer_mut(record).and_then(Value::as_object_mut) {
                fields.insert("unheard_of".to_owned(), value);
                expected.insert(path(&format!("{record}/unheard_of")));
            }
        }
        let problems = told(&document);
        let told = places(&problems);
        prop_assert!(problems.problems.iter().any(|problem| problem.code == code));
        prop_assert_eq!(told.len(), expected.len(), "{}", problems);
        prop_assert_eq!(told.into_iter().collect::<BTreeSet<_>>(), expected, "{}", problems);
    }

    /// Whatever is put in place of whatever: what remains is decoded, so this never ends in a defect of ours.
    #[test]
    fn what_remains_can_always_be_decoded(places in prop::collection::vec((any::<prop::sample::Index>(), anything()), 1..5)) {
        let mut document = good();
        for (place, value) in places {
            let pointers = pointers(&document);
            *document.pointer_mut(&pointers[place.index(pointers.len())]).unwrap() = value;
        }
        if let Err(problems) = validate(&document.to_string(), &Environment::empty()) {
            let defect = problems.problems.iter().find(|problem| problem.message.contains("cannot be decoded"));
            prop_assert!(defect.is_none(), "{}", problems);
        }
    }

    /// One bad value is one problem.
    #[test]
    fn a_bad_value_has_no_echo(place in any::<prop::sample::Index>()) {
        let mut document = good();
        let pointers = pointers(&document);
        *document.pointer_mut(&pointers[place.index(pointers.len())]).unwrap() = json!(2.5);
        prop_assert_eq!(places(&told(&document)), [path(&pointers[place.index(pointers.len())])]);
    }

    /// And one missing value, or a misspelt field, at most one.
    #[test]
    fn a_misspelt_field_has_no_echo(place in any::<prop::sample::Index>()) {
        let mut document = good();
        let fields: Vec<_> = pointers(&document).into_iter().filter(|pointer| !pointer.ends_with(char::is_numeric)).collect();
        let (around, name) = fields[place.index(fields.len())].rsplit_once('/').unwrap_or_default();
        let Some(fields) = document.pointer_mut(around).and_then(Value::as_object_mut) else { return Ok(()) };
        let Some(value) = fields.remove(name) else { return Ok(()) };
        fields.insert(format!("{name}x"), value);
        let problems = told(&document);
        prop_assert_eq!(problems.count(), 1, "{}", problems);
    }
}

/// Every value of the document.
fn pointers(document: &Value) -> Vec<String> {
    let mut found = vec![String::new()];
    let inner: Vec<(String, &Value)> = match document {
        Value::Array(items) => items.iter().enumerate().map(|(place, item)| (place.to_string(), item)).collect(),
        Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), value)).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    };
    for (step, value) in inner {
        found.extend(pointers(value).into_iter().map(|pointer| format!("/{step}{pointer}")));
    }
    found
}

#[test]
fn a_field_that_stands_twice_has_no_echo() {
    let text = good().to_string();
    let text = text.replace("\"timeout\":\"1s\"", "\"timeout\":\"3s\",\"timeout\":\"1s\"");
    let problems = validate(&text, &Environment::empty()).unwrap_err();
    assert_eq!(places(&problems), ["services[0].health_check.timeout"], "{problems}");
}

#[test]
fn a_variable_that_is_not_set_has_no_echo() {
    let mut document = good();
    set(&mut document, "/services/0/name", "\"${NAME}\"");
    set(&mut document, "/listeners/0/address", "\"${NAME}\"");
    set(&mut document, "/listeners/1/name", "\"web\"");
    assert_eq!(places(&told(&document)), ["listeners[0].address", "listeners[1].name", "services[0].name"]);
}
