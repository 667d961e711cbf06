//! The document: read, applied, and what applying it would change.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::json as schema;
use sluice_config::overlay::Reason;
use sluice_config::value::RevisionId;
use sluice_control_core::access::Action;
use sluice_control_core::plan::Plan;

use super::answer::{text, told_at};
use super::error::Refused;
use super::operation::{Content, Operation, YAML, json};
use super::request::{Query, Terms, Text};
use super::view::Changed;
use crate::plane::Plane;
use crate::reconcile::Intent;

pub(super) fn operations() -> Vec<Operation> {
    let dry = schema!({"type": "boolean", "default": false});
    let take = || schema!({"type": "boolean", "default": false});
    vec![
        Operation::new(
            (Method::GET, "/v1/document"),
            Action::Read,
            "getDocument",
            "The document, as its author wrote it.",
            get,
        )
        .query("revision", schema!({"type": "integer", "minimum": 1}), "That of this revision instead of the head's.")
        .query("form", form_schema(), "As it was written, as JSON with its variables filled in, or with every default.")
        .answers(Content::Document)
        .refuses(&[StatusCode::NOT_FOUND, StatusCode::CONFLICT]),
        Operation::new((Method::PUT, "/v1/document"), Action::Apply, "putDocument", APPLY, put)
            .query("take_weights", take(), TAKE)
            .query("dry_run", dry, "Tell whether it would be done, and do nothing.")
            .query("reason", schema!({"type": "string", "maxLength": 500}), "Why.")
            .takes(Content::Document)
            .answers(json::<Changed>())
            .at_most(sluice_config::limit::BYTES)
            .changes(),
        Operation::new((Method::POST, "/v1/plan"), Action::Plan, "planDocument", PLAN, plan)
            .query("take_weights", take(), TAKE)
            .takes(Content::Document)
            .answers(json::<Plan>())
            .at_most(sluice_config::limit::BYTES)
            .refuses(&[StatusCode::CONFLICT, StatusCode::UNPROCESSABLE_ENTITY]),
        Operation::new((Method::GET, "/v1/export"), Action::Read, "exportDocument", EXPORT, export)
            .answers(Content::Document)
            .refuses(&[StatusCode::CONFLICT]),
    ]
}

const APPLY: &str = "Applies a document: a three-way merge against the last applied one. Weights whose text did not change \
                     stay as they are live; a changed weight that is somebody else's is refused.";
const TAKE: &str = "Let weights that are an operator's become the document's again.";
const PLAN: &str = "What applying this document would change, and how much traffic would move.";
const EXPORT: &str = "The document with the live weights written in, for version control.";

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Form {
    #[default]
    Source,
    Json,
    Effective,
}

fn form_schema() -> serde_json::Value {
    schema!({"type": "string", "enum": ["source", "json", "effective"], "default": "source"})
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    revision: Option<RevisionId>,
    #[serde(default)]
    form: Form,
}

async fn get(State(plane): State<Arc<Plane>>, Query(which): Query<Which>) -> Result<Response, Refused> {
    let head = plane.current()?.head.revision.id;
    let id = which.revision.unwrap_or(head);
    let (_, document) = plane.stored(id).await?;
    Ok(match which.form {
        Form::Source => text(document.source.clone(), YAML, Some(head)),
        Form::Json => text(document.json.clone(), "application/json", Some(head)),
        Form::Effective => text(plane.effective(&document)?, YAML, Some(head)),
    })
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct How {
    #[serde(default)]
    take_weights: bool,
    #[serde(default)]
    dry_run: bool,
    reason: Option<Reason>,
}

async fn put(
    State(plane): State<Arc<Plane>>,
    Query(how): Query<How>,
    terms: Terms,
    Text(body): Text,
) -> Result<Response, Refused> {
    let text = String::from(sluice_config::decode(&body)?);
    if how.dry_run {
        terms.check(plane.head())?;
        let (head, changed) = plane.try_apply(&text, how.take_weights)?;
        return Ok(told_at(Changed { changed, revision: head.clone(), note: None }, Some(head.id)).into_response());
    }
    let intent = Intent::Apply { text, take_weights: how.take_weights };
    let done = terms.write(&plane, intent, how.reason, &body).await?;
    Ok(super::services::changed(&done))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Planned {
    #[serde(default)]
    take_weights: bool,
}

async fn plan(
    State(plane): State<Arc<Plane>>,
    Query(how): Query<Planned>,
    Text(body): Text,
) -> Result<Response, Refused> {
    let text = sluice_config::decode(&body)?;
    let (plan, head) = plane.plan(text, how.take_weights)?;
    Ok(told_at(plan, head).into_response())
}

async fn export(State(plane): State<Arc<Plane>>) -> Result<Response, Refused> {
    let current = plane.current()?;
    Ok(text(plane.export(&current), YAML, Some(current.head.revision.id)))
}
