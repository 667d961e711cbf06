//! Every refusal as an answer, in one table: RFC 9457 problem details with what is wrong, where, and what to do.

use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sluice_config::value::RevisionId;
use sluice_config::{Problem, Problems};
use sluice_control_core::change::{Owned, Refusal};

use crate::reconcile::WriteError;
use crate::store::StoreError;

/// The media type of every refusal.
pub(crate) const PROBLEM_JSON: &str = "application/problem+json";

/// Why something was not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Refused {
    /// Always `about:blank`: the status says what kind of problem it is (RFC 9457, 4.2.1).
    #[serde(rename = "type")]
    pub kind: String,
    /// The status in words.
    pub title: String,
    /// The status.
    pub status: u16,
    /// What kind of refusal it is; tools may rely on it.
    pub code: String,
    /// What is wrong, in a sentence.
    pub detail: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Every problem of a document, with its place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<ProblemView>,
    /// How many more problems there are.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub omitted: usize,
    /// The weights that are somebody else's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub owned: Vec<Owned>,
    /// The head, where another one was expected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<RevisionId>,
    /// The seconds after which to try again; also in `Retry-After`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
}

/// A problem of a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProblemView {
    /// What kind of problem.
    pub code: String,
    /// Which value.
    pub path: String,
    /// Its line, from 1; absent when the problem is with the document as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// Its column, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<u32>,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl From<&Problem> for ProblemView {
    fn from(problem: &Problem) -> Self {
        Self {
            code: problem.code.to_string(),
            path: problem.path.to_string(),
            line: problem.position.map(|at| at.line),
            column: problem.position.map(|at| at.column),
            message: problem.message.clone(),
            hint: problem.hint.clone(),
        }
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the form that serde asks for")]
const fn is_zero(count: &usize) -> bool {
    *count == 0
}

impl Refused {
    /// A refusal with this status, stable code and sentence.
    pub(crate) fn new(status: StatusCode, code: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: "about:blank".to_owned(),
            title: status.canonical_reason().unwrap_or("Refused").to_owned(),
            status: status.as_u16(),
            code: code.to_owned(),
            detail: detail.into(),
            hint: None,
            problems: Vec::new(),
            omitted: 0,
            owned: Vec::new(),
            head: None,
            retry_after: None,
        }
    }

    /// With what to do about it.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Something has no such name.
    pub(crate) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", detail)
    }

    fn problems(problems: &Problems) -> Self {
        let count = problems.count();
        let noun = if count == 1 { "problem" } else { "problems" };
        let refused =
            Self::new(StatusCode::UNPROCESSABLE_ENTITY, "unsound-document", format!("the document has {count} {noun}"));
        Self {
            problems: problems.problems.iter().map(ProblemView::from).collect(),
            omitted: problems.omitted,
            ..refused
        }
    }
}

impl From<Problems> for Refused {
    fn from(problems: Problems) -> Self {
        Self::problems(&problems)
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        let refused = if let Refusal::Problems(problems) = &refusal {
            Self::problems(problems)
        } else {
            Self::new(status(&refusal), refusal.code(), refusal.to_string())
        };
        let owned = if let Refusal::Owned(owned) = &refusal { owned.clone() } else { Vec::new() };
        Self { hint: Some(refusal.hint()), owned, ..refused }
    }
}

/// 409 where the present state is in the way, 404 for what is not there, 422 where the request can never be done.
#[allow(clippy::wildcard_enum_match_arm, reason = "what is new is the request's fault until somebody says otherwise")]
const fn status(refusal: &Refusal) -> StatusCode {
    match refusal {
        Refusal::Owned(_) => StatusCode::CONFLICT,
        Refusal::NoService { .. } | Refusal::NoOverride(_) => StatusCode::NOT_FOUND,
        _ => StatusCode::UNPROCESSABLE_ENTITY,
    }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        let refused = Self::new(StatusCode::SERVICE_UNAVAILABLE, "store-unavailable", error.to_string());
        Self { retry_after: Some(1), ..refused }
            .hint("proxies go on with what they run; try again, and see /api/health")
    }
}

impl From<WriteError> for Refused {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Refused(refusal) => (*refusal).into(),
            WriteError::Stale { expected, head } => {
                let detail = match head {
                    Some(head) => format!("revision {expected} was expected, and the head is {head}"),
                    None => format!("revision {expected} was expected, and there is none"),
                };
                let refused = Self::new(StatusCode::PRECONDITION_FAILED, "stale", detail);
                Self { head, ..refused }
                    .hint("read it again, look at what changed, and send the new number in If-Match")
            }
            WriteError::Empty => Self::new(StatusCode::CONFLICT, "no-document", "there is no document yet")
                .hint("apply one first: sluice apply FILE"),
            WriteError::FileMode(file) => Self::new(
                StatusCode::CONFLICT,
                "file-mode",
                format!("this control plane follows the file {file}, so documents are not taken by the API"),
            )
            .hint(format!("change {file}; weights can still be shifted")),
            WriteError::OtherRequest(key) => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency-key-reused",
                format!("the idempotency key {key:?} was used for another request"),
            )
            .hint("a new request needs a new key"),
            WriteError::NoRevision(id) => Self::not_found(format!("there is no revision {id}")),
            WriteError::Busy => Self {
                retry_after: Some(1),
                ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "somebody else changed the head again and again")
            }
            .hint("try again"),
            WriteError::Store(error) => error.into(),
            WriteError::Leaving => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "leaving", "the control plane is leaving").hint("try again")
            }
        }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).expect("a refusal has text keys only");
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(head) = self.head {
            headers.insert(REVISION, head.0.into());
        }
        response
    }
}

/// The number of the head, on answers that depend on it.
pub(crate) const REVISION: HeaderName = HeaderName::from_static("sluice-revision");
