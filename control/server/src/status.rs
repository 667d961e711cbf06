//! The read-only listener of a control plane that runs without a proxy: is it alive, is it ready, how is it, what does it
//! measure. `/live` and `/ready` look at nothing outside the process.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
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
        .fallback(|| async {
            let words = "not found: try /live, /ready, /metrics or /api/health";
            told(StatusCode::NOT_FOUND, &json!({"error": words}))
        })
        .with_state(Arc::clone(plane))
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
    let (status, health) = api::health(&plane).await;
    told(status, &health)
}

async fn metrics(State(plane): State<Arc<Plane>>) -> Response {
    ([(CONTENT_TYPE, METRICS), (CACHE_CONTROL, "no-store")], exposition(&plane)).into_response()
}

/// The control plane's metrics. There are a handful, all read from state that is kept anyway, so there is no registry.
fn exposition(plane: &Plane) -> String {
    let summary = plane.distributor.summary();
    let mut text = String::new();
    let mut family = |name: &str, kind: &str, help: &str, samples: &[(&str, u64)]| {
        writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}").expect("writing to a String cannot fail");
        for (labels, value) in samples {
            writeln!(text, "{name}{labels} {value}").expect("writing to a String cannot fail");
        }
    };
    family("sluice_control_revision", "gauge", "The number of the head.", &[("", plane.head().map_or(0, |id| id.0))]);
    let nodes = [
        ("{state=\"applied\"}", summary.applied as u64),
        ("{state=\"pending\"}", summary.pending as u64),
        ("{state=\"refused\"}", summary.refused as u64),
        ("{state=\"away\"}", summary.away as u64),
    ];
    family("sluice_control_nodes", "gauge", "Proxies by how they stand to the head.", &nodes);
    family("sluice_control_connections", "gauge", "Proxies that are connected.", &[("", summary.connected as u64)]);
    let denied = plane.access.denied();
    family("sluice_control_denied_total", "counter", "Requests of those who may not.", &[("", denied)]);
    if let Some(file) = &plane.file {
        let accepted = u64::from(file.load().accepted);
        family("sluice_document_accepted", "gauge", "Whether the file's document is accepted.", &[("", accepted)]);
    }
    text
}
