//! The audit log: read, and proven to be whole.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::json as schema;
use sluice_control_core::access::Action;

use super::answer::told;
use super::error::Refused;
use super::operation::{Operation, json};
use super::request::Query;
use super::view::{Audit, Verified};
use crate::plane::Plane;

/// Entries on a page, unless it is said.
const PAGE: usize = 100;
/// The most entries on a page.
const MOST: usize = 1_000;

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new((Method::GET, "/v1/audit"), Action::Audit, "listAudit", LIST, list)
            .query(
                "after",
                schema!({"type": "integer", "minimum": 0, "maximum": i64::MAX, "default": 0}),
                "Only entries above this number.",
            )
            .query(
                "limit",
                schema!({"type": "integer", "minimum": 1, "maximum": MOST, "default": PAGE}),
                "At most so many.",
            )
            .answers(json::<Audit>()),
        Operation::new((Method::GET, "/v1/audit/verify"), Action::Audit, "verifyAudit", VERIFY, verify)
            .answers(json::<Verified>()),
    ]
}

const LIST: &str = "What was changed, denied and decided, oldest first, each entry sealed to the one before.";
const VERIFY: &str = "Recomputes every seal, and tells the end of the log or the first entry that does not fit.";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    #[serde(default)]
    after: u64,
    limit: Option<usize>,
}

async fn list(State(plane): State<Arc<Plane>>, Query(page): Query<Page>) -> Result<Response, Refused> {
    let limit = page.limit.unwrap_or(PAGE);
    let in_range = (1..=MOST).contains(&limit) && i64::try_from(page.after).is_ok();
    if !in_range {
        let detail = format!("a limit is 1 to {MOST}, and `after` the number of an entry");
        return Err(Refused::new(StatusCode::BAD_REQUEST, "malformed-query", detail));
    }
    let entries = plane.store().audit(page.after, limit).await?;
    let after = entries.last().map(|last| last.sequence).filter(|_| entries.len() == limit);
    Ok(told(Audit { entries, after }).into_response())
}

async fn verify(State(plane): State<Arc<Plane>>) -> Result<Response, Refused> {
    let (head, broken) = plane.verify_audit().await?;
    Ok(told(Verified { sound: broken.is_none(), head, broken }).into_response())
}
