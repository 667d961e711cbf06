//! Reading requests: what cannot be read is refused with its place, and nothing unknown is passed over.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, Request};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, IF_MATCH};
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sluice_config::duration;
use sluice_config::overlay::Reason;
use sluice_config::value::{Digest, RevisionId};

use super::caller::Caller;
use super::error::Refused;
use crate::plane::Plane;
use crate::reconcile::{Done, Intent, WriteError};
use crate::store::Once;

/// A request's content as JSON of this type.
pub(crate) struct Json<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Refused;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refused> {
        if !is_json(request.headers()) {
            let refused = Refused::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported-media-type",
                "the content is not said to be JSON",
            );
            return Err(refused.hint("send the header Content-Type: application/json"));
        }
        let bytes = read(request, state).await?;
        serde_json::from_slice(&bytes).map(Self).map_err(|error| malformed(&error))
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
}

fn malformed(error: &serde_json::Error) -> Refused {
    Refused::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "malformed-content",
        format!("the content is not understood: {error}"),
    )
    .hint("GET /v1/openapi.json tells what it must be")
}

/// A request's content as text.
pub(crate) struct Text(pub(crate) Bytes);

impl<S: Send + Sync> FromRequest<S> for Text {
    type Rejection = Refused;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refused> {
        read(request, state).await.map(Self)
    }
}

/// For a whole content: a client that sends slowly must not keep its place.
const CONTENT_TIMEOUT: Duration = Duration::from_secs(30);

async fn read<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, Refused> {
    match tokio::time::timeout(CONTENT_TIMEOUT, Bytes::from_request(request, state)).await {
        Ok(read) => read.map_err(unread),
        Err(_) => {
            let detail = format!("the content was not sent within {CONTENT_TIMEOUT:?}");
            Err(Refused::new(StatusCode::REQUEST_TIMEOUT, "too-slow", detail))
        }
    }
}

fn unread(rejection: BytesRejection) -> Refused {
    match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            Refused::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "the content is larger than this operation takes")
        }
        _ => Refused::new(StatusCode::BAD_REQUEST, "broken-off", "the content could not be read to its end"),
    }
}

/// The query, by this type.
pub(crate) struct Query<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refused> {
        let query = axum::extract::Query::try_from_uri(&parts.uri);
        query.map(|axum::extract::Query(value)| Self(value)).map_err(|rejection| {
            let detail = format!("the query is not understood: {}", rejection.body_text());
            Refused::new(StatusCode::BAD_REQUEST, "malformed-query", detail)
                .hint("GET /v1/openapi.json tells what it must be")
        })
    }
}

/// Values in the path. What is no such value names nothing.
pub(crate) struct Path<T>(pub(crate) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        let path = axum::extract::Path::<T>::from_request_parts(parts, state).await;
        path.map(|axum::extract::Path(value)| Self(value))
            .map_err(|rejection| Refused::not_found(format!("the path names nothing: {}", rejection.body_text())))
    }
}

/// A duration in a request, such as `2h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Lasts(pub Duration);

impl From<Lasts> for String {
    fn from(lasts: Lasts) -> Self {
        duration::write(lasts.0)
    }
}

impl TryFrom<String> for Lasts {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let shown: String = text.chars().take(60).collect();
        duration::parse(&text).map(Self).map_err(|error| format!("{shown:?} {error}: write one such as 30m or 2h"))
    }
}

impl schemars::JsonSchema for Lasts {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Lasts".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^([0-9]+(h|m|s|ms))+$", "examples": ["2h", "30m"] })
    }
}

/// What a request that changes something says beside its content.
pub(crate) struct Terms {
    pub(crate) caller: Caller,
    expected: Option<RevisionId>,
    key: Option<String>,
    target: String,
}

impl<S: Send + Sync> FromRequestParts<S> for Terms {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refused> {
        let caller = Caller::of(parts);
        let expected = parts.headers.get(IF_MATCH).map(expected).transpose()?;
        let key = parts.headers.get("idempotency-key").map(key).transpose()?;
        let target = format!("{} {}", parts.method, parts.uri);
        Ok(Self { caller, expected, key, target })
    }
}

/// `"17"`, as `ETag` gives it.
fn expected(value: &http::HeaderValue) -> Result<RevisionId, Refused> {
    let text = value.to_str().unwrap_or_default().trim();
    let digits = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or_default();
    digits.parse().ok().filter(|id| *id > 0).map(RevisionId).ok_or_else(|| {
        let shown: String = text.chars().take(40).collect();
        Refused::new(StatusCode::BAD_REQUEST, "malformed-if-match", format!("If-Match is {shown:?}, not a revision"))
            .hint("send the number of the head in quotes, as ETag tells it: If-Match: \"17\"")
    })
}

fn key(value: &http::HeaderValue) -> Result<String, Refused> {
    let text = value.to_str().unwrap_or_default();
    if (1..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(text.to_owned());
    }
    Err(Refused::new(
        StatusCode::BAD_REQUEST,
        "malformed-idempotency-key",
        "an idempotency key has 1 to 128 visible ASCII characters",
    ))
}

impl Terms {
    /// Refuses a request that was made for another head than this one.
    pub(crate) const fn check(&self, head: Option<RevisionId>) -> Result<(), WriteError> {
        match (self.expected, head) {
            (Some(expected), Some(head)) if expected.0 == head.0 => Ok(()),
            (Some(expected), head) => Err(WriteError::Stale { expected, head }),
            (None, _) => Ok(()),
        }
    }

    /// Lets the writer do it.
    pub(crate) async fn write(
        self,
        plane: &Arc<Plane>,
        intent: Intent,
        reason: Option<Reason>,
        content: &[u8],
    ) -> Result<Done, Refused> {
        let once = self.key.map(|key| {
            let request = Digest::of(&[self.target.as_bytes(), b"\n", content].concat());
            // One caller's keys are not another's.
            Once { key: format!("{}\n{key}", self.caller.who.author), request }
        });
        let reason = reason.unwrap_or_else(|| "no reason was given".parse().expect("a short sentence is a reason"));
        plane
            .write(intent, self.caller.who, reason, self.expected, once)
            .await
            .map_err(|error: WriteError| error.into())
    }
}
