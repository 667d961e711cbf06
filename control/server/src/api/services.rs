//! Services and their weights.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::json as schema;
use sluice_config::name::ServiceName;
use sluice_config::overlay::Reason;
use sluice_control_core::access::Action;
use sluice_control_core::change::Shift;

use super::answer::told_at;
use super::error::Refused;
use super::operation::{Operation, json};
use super::request::{Json, Path, Query, Terms};
use super::view::{Changed, Service, Services, ShiftRequest};
use crate::plane::Plane;
use crate::reconcile::{Done, Intent};

pub(super) fn operations() -> Vec<Operation> {
    let name = || schema!({"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"});
    vec![
        Operation::new(
            (Method::GET, "/v1/services"),
            Action::Read,
            "listServices",
            "Every service, its weights and whose they are.",
            list,
        )
        .answers(json::<Services>())
        .refuses(&[StatusCode::CONFLICT]),
        Operation::new((Method::GET, "/v1/services/{service}"), Action::Read, "getService", "One service.", get)
            .path("service", name(), "Its name.")
            .answers(json::<Service>())
            .refuses(&[StatusCode::NOT_FOUND, StatusCode::CONFLICT]),
        Operation::new((Method::PUT, "/v1/services/{service}/weights"), Action::Shift, "shift", SHIFT, shift)
            .path("service", name(), "Its name.")
            .takes(json::<ShiftRequest>())
            .answers(json::<Changed>())
            .refuses(&[StatusCode::NOT_FOUND])
            .changes(),
        Operation::new((Method::DELETE, "/v1/services/{service}/weights"), Action::Shift, "release", RELEASE, release)
            .path("service", name(), "Its name.")
            .query("reason", schema!({"type": "string", "maxLength": 500}), "Why.")
            .answers(json::<Changed>())
            .refuses(&[StatusCode::NOT_FOUND])
            .changes(),
    ]
}

const SHIFT: &str = "Shares a service's new requests among its versions and takes its weights from the document. What is not \
                     named keeps its ratio.";
const RELEASE: &str = "Gives a service's weights back to the document.";

async fn list(State(plane): State<Arc<Plane>>) -> Result<Response, Refused> {
    let current = plane.current()?;
    let services = plane.services(&current);
    Ok(told_at(Services { services }, Some(current.head.revision.id)).into_response())
}

async fn get(State(plane): State<Arc<Plane>>, Path(name): Path<String>) -> Result<Response, Refused> {
    let current = plane.current()?;
    let found = plane.services(&current).into_iter().find(|service| service.name.as_str() == name);
    let service = found.ok_or_else(|| Refused::not_found(format!("there is no service {name:?}")))?;
    Ok(told_at(service, Some(current.head.revision.id)).into_response())
}

async fn shift(
    State(plane): State<Arc<Plane>>,
    Path(service): Path<ServiceName>,
    terms: Terms,
    Json(order): Json<ShiftRequest>,
) -> Result<Response, Refused> {
    let content = serde_json::to_vec(&order).expect("an order has text keys only");
    let shift = Shift { service, shares: order.shares, lasts: order.lasts.map(|lasts| lasts.0) };
    Ok(changed(&terms.write(&plane, Intent::Shift(shift), order.reason, &content).await?))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Why {
    pub(super) reason: Option<Reason>,
}

async fn release(
    State(plane): State<Arc<Plane>>,
    Path(service): Path<ServiceName>,
    Query(why): Query<Why>,
    terms: Terms,
) -> Result<Response, Refused> {
    Ok(changed(&terms.write(&plane, Intent::Release(service), why.reason, b"").await?))
}

/// The answer to a change.
pub(super) fn changed(done: &Done) -> Response {
    let revision = done.revision.as_ref().clone();
    let id = revision.id;
    told_at(Changed { changed: done.changed, revision, note: done.note.clone() }, Some(id)).into_response()
}
