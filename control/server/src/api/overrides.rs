//! Overrides: an operator's hands on automation.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{Method, StatusCode};
use serde_json::json as schema;
use sluice_config::value::RevisionId;
use sluice_control_core::access::Action;

use super::answer::told_at;
use super::error::Refused;
use super::operation::{Operation, json};
use super::request::{Json, Path, Query, Terms};
use super::services::{Why, changed};
use super::view::{Changed, OverrideRequest, Overrides};
use crate::plane::Plane;
use crate::reconcile::Intent;

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new(
            (Method::GET, "/v1/overrides"),
            Action::Read,
            "listOverrides",
            "The overrides that are laid.",
            list,
        )
        .answers(json::<Overrides>())
        .refuses(&[StatusCode::CONFLICT]),
        Operation::new((Method::POST, "/v1/overrides"), Action::Override, "layOverride", LAY, lay)
            .takes(json::<OverrideRequest>())
            .answers(json::<Changed>())
            .changes(),
        Operation::new(
            (Method::DELETE, "/v1/overrides/{id}"),
            Action::Override,
            "liftOverride",
            "Lifts an override.",
            lift,
        )
        .path(
            "id",
            schema!({"type": "integer", "minimum": 1, "maximum": i64::MAX}),
            "Its number: the revision that laid it.",
        )
        .query("reason", schema!({"type": "string", "maxLength": 500}), "Why.")
        .answers(json::<Changed>())
        .refuses(&[StatusCode::NOT_FOUND])
        .changes(),
    ]
}

const LAY: &str = "Lays an override: a freeze, an endpoint that is held in or out, a breaker that is held open or closed. One that \
                   holds the same takes the place of the older. It ends by itself, after 72 hours at the latest.";

async fn list(State(plane): State<Arc<Plane>>) -> Result<Response, Refused> {
    let current = plane.current()?;
    let overrides = super::status::overrides(&current);
    Ok(told_at(Overrides { overrides }, Some(current.head.revision.id)).into_response())
}

async fn lay(
    State(plane): State<Arc<Plane>>,
    terms: Terms,
    Json(order): Json<OverrideRequest>,
) -> Result<Response, Refused> {
    let content = serde_json::to_vec(&order).expect("an order has text keys only");
    let intent = Intent::Lay { wish: order.action, lasts: order.lasts.0 };
    Ok(changed(&terms.write(&plane, intent, Some(order.reason), &content).await?))
}

async fn lift(
    State(plane): State<Arc<Plane>>,
    Path(id): Path<RevisionId>,
    Query(why): Query<Why>,
    terms: Terms,
) -> Result<Response, Refused> {
    Ok(changed(&terms.write(&plane, Intent::Lift(id), why.reason, b"").await?))
}
