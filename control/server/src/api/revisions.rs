//! Revisions: listed, shown, compared, gone back to, and how far each has got.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::json as schema;
use sluice_config::value::RevisionId;
use sluice_control_core::access::Action;
use sluice_control_core::fleet::Numbered;
use sluice_control_core::revision::Revision;

use super::answer::{told, told_at};
use super::error::Refused;
use super::operation::{Operation, json};
use super::request::{Json, Lasts, Path, Query, Terms};
use super::view::{Changed, Difference, Progress, Revisions, RollBack};
use crate::plane::Plane;
use crate::reconcile::Intent;

/// Revisions on a page, unless it is said.
const PAGE: usize = 50;
/// The most revisions on a page.
const MOST: usize = 500;
/// How long it is waited for a revision to get as far as asked, unless it is said.
const PATIENCE: Duration = Duration::from_secs(30);
/// The longest that is waited.
const LONGEST: Duration = Duration::from_secs(600);

pub(super) fn operations() -> Vec<Operation> {
    let number = || schema!({"type": "integer", "minimum": 1, "maximum": i64::MAX});
    vec![
        Operation::new(
            (Method::GET, "/v1/revisions"),
            Action::Read,
            "listRevisions",
            "Every change, newest first.",
            list,
        )
        .query("before", number(), "Only revisions below this one.")
        .query(
            "limit",
            schema!({"type": "integer", "minimum": 1, "maximum": MOST, "default": PAGE}),
            "At most so many.",
        )
        .answers(json::<Revisions>()),
        Operation::new((Method::GET, "/v1/revisions/{id}"), Action::Read, "getRevision", "One change.", get)
            .path("id", number(), "Its number.")
            .answers(json::<Revision>())
            .refuses(&[StatusCode::NOT_FOUND]),
        Operation::new((Method::GET, "/v1/revisions/{id}/diff"), Action::Read, "diffRevisions", DIFF, diff)
            .path("id", number(), "The newer one.")
            .query("from", number(), "The older one. Default: the one before.")
            .answers(json::<Difference>())
            .refuses(&[StatusCode::NOT_FOUND]),
        Operation::new((Method::GET, "/v1/revisions/{id}/applied"), Action::Read, "awaitRevision", WAIT, applied)
            .path("id", number(), "Its number.")
            .query(
                "share",
                schema!({"type": "string", "pattern": "^[0-9]{1,3}(\\.[0-9]{1,4})?%$", "default": "100%"}),
                SHARE,
            )
            .query(
                "timeout",
                schema!({"type": "string", "pattern": "^([0-9]+(h|m|s|ms))+$", "default": "30s"}),
                "How long to wait; 0s looks once. At most 10m.",
            )
            .answers(json::<Progress>())
            .refuses(&[StatusCode::NOT_FOUND]),
        Operation::new((Method::POST, "/v1/rollback"), Action::RollBack, "rollBack", ROLLBACK, roll_back)
            .takes(json::<RollBack>())
            .answers(json::<Changed>())
            .refuses(&[StatusCode::NOT_FOUND])
            .changes(),
    ]
}

const DIFF: &str = "What changed between two revisions, in words.";
const WAIT: &str = "Waits until a share of the nodes runs this revision or a later one, and tells how far it got.";
const SHARE: &str = "Of the nodes that were heard from in the last 30 seconds.";
const ROLLBACK: &str = "Goes back to an earlier document by a new revision. In file mode the file's present text is parked \
                        until it changes.";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    before: Option<RevisionId>,
    limit: Option<usize>,
}

async fn list(State(plane): State<Arc<Plane>>, Query(page): Query<Page>) -> Result<Response, Refused> {
    let limit = page.limit.unwrap_or(PAGE);
    let in_range = (1..=MOST).contains(&limit) && page.before.is_none_or(|before| i64::try_from(before.0).is_ok());
    if !in_range {
        let detail = format!("a limit is 1 to {MOST}, and `before` the number of a revision");
        return Err(Refused::new(StatusCode::BAD_REQUEST, "malformed-query", detail));
    }
    let found = plane.store().list(page.before, limit).await?;
    let revisions: Vec<Revision> = found.iter().map(|revision| revision.as_ref().clone()).collect();
    let before = revisions.last().map(|last| last.id).filter(|id| id.0 > 1 && revisions.len() == limit);
    Ok(told_at(Revisions { revisions, before }, plane.head()).into_response())
}

async fn get(State(plane): State<Arc<Plane>>, Path(id): Path<RevisionId>) -> Result<Response, Refused> {
    let (revision, _) = plane.stored(id).await?;
    Ok(told(revision.as_ref().clone()).into_response())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Against {
    from: Option<RevisionId>,
}

async fn diff(
    State(plane): State<Arc<Plane>>,
    Path(to): Path<RevisionId>,
    Query(against): Query<Against>,
) -> Result<Response, Refused> {
    let (newer, _) = plane.stored(to).await?;
    let from = against.from.or(newer.parent);
    let from = from.ok_or_else(|| Refused::not_found(format!("there is no revision before revision {to}")))?;
    let changes = plane.diff(from, to).await?;
    Ok(told(Difference { from, to, changes }).into_response())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Patience {
    share: Option<sluice_config::share::Share>,
    timeout: Option<Lasts>,
}

async fn applied(
    State(plane): State<Arc<Plane>>,
    Path(id): Path<RevisionId>,
    Query(patience): Query<Patience>,
) -> Result<Response, Refused> {
    let digest = plane.digest(id).await?;
    let share = patience.share.unwrap_or(sluice_config::share::Share::WHOLE);
    let timeout = patience.timeout.map_or(PATIENCE, |lasts| lasts.0).min(LONGEST);
    let numbered = Numbered { id, digest };
    let nodes = plane.distributor().wait_applied(numbered, share, timeout).await;
    let progress = Progress { revision: id, reached: nodes.reaches(share), nodes };
    Ok(told_at(progress, plane.head()).into_response())
}

async fn roll_back(
    State(plane): State<Arc<Plane>>,
    terms: Terms,
    Json(order): Json<RollBack>,
) -> Result<Response, Refused> {
    let content = serde_json::to_vec(&order).expect("an order has text keys only");
    let intent = Intent::RollBack { to: order.to, weights: order.weights };
    let done = terms.write(&plane, intent, order.reason, &content).await?;
    Ok(super::services::changed(&done))
}
