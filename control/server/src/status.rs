//! The read-only listener of a control plane that runs without a proxy: is it alive, is it ready, how is it, what does it
//! measure. `/live` and `/ready` look at nothing outside the process.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use prometheus::{IntCounter, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder};
use serde_json::json;

use crate::api;
use crate::plane::Plane;

/// The text format of Prometheus.
const METRICS: &str = "text/plain; version=0.0.4";

pub(crate) fn router(plane: &Arc<Plane>) -> Router {
    Router::new()
        .route("/live", get(|| async { told(StatusCode::OK, &json!({"status": "live"})) }))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .route("/api/health", get(health))
        .route("/api/endpoints", get(elsewhere))
        .route("/api/explain", get(elsewhere))
        .fallback(|| async {
            let words = "not found: try /live, /ready, /metrics or /api/health";
            told(StatusCode::NOT_FOUND, &json!({"error": words}))
        })
        .with_state(Arc::clone(plane))
}

/// What only a proxy knows.
async fn elsewhere() -> Response {
    let words =
        "this is a control plane, and only proxies tell of endpoints: ask the status listener of one (--status)";
    told(StatusCode::NOT_FOUND, &json!({"error": words}))
}

fn told(status: StatusCode, value: &impl serde::Serialize) -> Response {
    let mut body = serde_json::to_string(value).expect("an answer has text keys only");
    body.push('\n');
    (status, [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")], body).into_response()
}

/// A control plane is ready when there is something for proxies to run.
async fn ready(State(plane): State<Arc<Plane>>) -> Response {
    match plane.head() {
        Some(_) => told(StatusCode::OK, &json!({"status": "ready"})),
        None => {
            let words = "there is no document yet: apply one";
            told(StatusCode::SERVICE_UNAVAILABLE, &json!({"status": "not_ready", "reason": words}))
        }
    }
}

async fn health(State(plane): State<Arc<Plane>>) -> Response {
    let (status, health) = api::health(&plane);
    told(status, &health)
}

async fn metrics(State(plane): State<Arc<Plane>>) -> Response {
    ([(CONTENT_TYPE, METRICS), (CACHE_CONTROL, "no-store")], exposition(&plane)).into_response()
}

/// The control plane's metrics, all read from state that is kept anyway.
fn exposition(plane: &Plane) -> String {
    let registry = Registry::new();
    let summary = plane.distributor.summary();
    let gauge = |name: &str, help: &str, value: u64| {
        let gauge = IntGauge::new(name, help).expect("the names of the table are names of metrics");
        gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        let _ = registry.register(Box::new(gauge));
    };
    gauge("sluice_control_revision", "The number of the head.", plane.head().map_or(0, |id| id.0));
    gauge("sluice_control_connections", "Proxies that are connected.", summary.connected as u64);
    if let Some(file) = &plane.file {
        let accepted = u64::from(file.load().accepted);
        gauge("sluice_document_accepted", "Whether the file's document is accepted.", accepted);
    }
    let nodes =
        IntGaugeVec::new(Opts::new("sluice_control_nodes", "Proxies by how they stand to the head."), &["state"])
            .expect("the names of the table are names of metrics");
    for (state, count) in [
        ("applied", summary.applied),
        ("pending", summary.pending),
        ("refused", summary.refused),
        ("away", summary.away),
    ] {
        nodes.with_label_values(&[state]).set(i64::try_from(count).unwrap_or(i64::MAX));
    }
    let _ = registry.register(Box::new(nodes));
    let denied = IntCounter::new("sluice_control_denied_total", "Requests of those who may not.");
    let denied = denied.expect("the names of the table are names of metrics");
    denied.inc_by(plane.access.denied());
    let _ = registry.register(Box::new(denied));
    TextEncoder::new().encode_to_string(&registry.gather()).unwrap_or_default()
}
