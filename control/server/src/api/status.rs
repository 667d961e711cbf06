//! What the control plane is, how it is, and how to talk to it.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{Method, StatusCode};
use sluice_config::health::Health;
use sluice_config::overlay::Override;
use sluice_control_core::access::Action;
use sluice_control_core::drift::Drift;

use super::answer::{text, told, told_at};
use super::error::Refused;
use super::operation::{Content, Operation, json};
use super::view;
use crate::plane::Plane;
use crate::reconcile::Current;

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new(
            (Method::GET, "/v1/status"),
            Action::Read,
            "getStatus",
            "What the control plane is and how it stands.",
            get,
        )
        .answers(json::<view::Status>()),
        Operation::new((Method::GET, "/v1/drift"), Action::Read, "getDrift", DRIFT, drift)
            .answers(json::<Drift>())
            .refuses(&[StatusCode::CONFLICT]),
        Operation::new((Method::GET, "/api/health"), None, "getHealth", HEALTH, health).answers(json::<Health>()),
        Operation::new((Method::GET, "/v1/openapi.json"), None, "getOpenApi", "This description.", description)
            .answers(Content::Json(|_| schemars::json_schema!({"type": "object"}))),
    ]
}

const DRIFT: &str = "Where what is live is not what the document says: whose weights, since when, and why.";
const HEALTH: &str =
    "Whether the control plane is well. 200 while it does its work, 503 (with the same content) when it does not.";

async fn get(State(plane): State<Arc<Plane>>) -> Response {
    told_at(plane.status(), plane.head()).into_response()
}

async fn drift(State(plane): State<Arc<Plane>>) -> Result<Response, Refused> {
    let current = plane.current()?;
    Ok(told_at(Plane::drift(&current), Some(current.head.revision.id)).into_response())
}

async fn health(State(plane): State<Arc<Plane>>) -> Response {
    let (status, health) = judged(&plane);
    (status, told(health)).into_response()
}

/// The health of a control plane, and the status that tells it.
pub(crate) fn judged(plane: &Plane) -> (StatusCode, Health) {
    use sluice_config::health::Status::{Degraded, Healthy, Unhealthy};
    let health = plane.health();
    let status = match health.overall_status {
        Healthy | Degraded => StatusCode::OK,
        Unhealthy => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, health)
}

async fn description() -> Response {
    text(super::openapi(), "application/json", None)
}

/// The overrides that are laid, by their number.
pub(crate) fn overrides(current: &Current) -> BTreeMap<u64, Override> {
    current.head.revision.overlay.overrides.iter().map(|(id, one)| (id.0, one.clone())).collect()
}
