//! Answers of a control plane, for tests of what is printed.

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sluice_config::Timestamp;
use sluice_control_core::revision::Revision;

/// When the answers are looked at.
pub(crate) fn now() -> Timestamp {
    "2026-11-26T10:00:00Z".parse().unwrap()
}

/// An answer as its type.
pub(crate) fn read<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

/// A revision of this number and kind.
pub(crate) fn revision(id: u64, kind: &str) -> Revision {
    read(revision_value(id, kind))
}

/// The same as it is told.
pub(crate) fn revision_value(id: u64, kind: &str) -> Value {
    json!({
        "id": id, "kind": kind, "parent": id - 1, "digest": "26774e1a6ecc".repeat(6)[..64], "document": "d".repeat(64),
        "overlay": { "weights": { "shop": weights() } }, "author": "ann", "reason": "try v2 on a few",
        "at": "2026-11-26T09:56:48Z",
    })
}

/// Weights that an operator set, for two hours.
pub(crate) fn weights() -> Value {
    json!({
        "shares": { "v1": "95%", "v2": "5%" }, "owner": "operator", "author": "ann", "reason": "try v2 on a few",
        "since": "2026-11-26T09:56:48Z", "until": { "at": "2026-11-26T11:56:48Z" },
    })
}

/// How long requests took.
pub(crate) fn latency() -> Value {
    json!({ "mean_us": 950, "p50_us": 900, "p90_us": 1_000, "p99_us": 3_000 })
}

/// A freeze.
pub(crate) fn freeze() -> Value {
    json!({ "action": "freeze", "author": "bob", "reason": "incident 7", "since": "2026-11-26T09:30:00Z",
            "expires": "2026-11-26T10:30:00Z" })
}

/// An endpoint that is held out.
pub(crate) fn force() -> Value {
    let endpoint = json!({ "service": "shop", "version": "v1", "region": "us-east-1", "address": "10.0.1.10:8080",
                           "to": "out" });
    json!({ "action": { "endpoint": endpoint }, "author": "ann", "reason": "disk full", "since": "2026-11-26T09:45:00Z",
            "expires": "2026-11-26T11:45:00Z" })
}
