//! Answers: JSON with the number of the head.

use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderValue};
use serde::Serialize;
use sluice_config::value::RevisionId;

use super::error::REVISION;

/// JSON, with the head that it was made from.
pub(crate) struct Told<T> {
    pub(crate) value: T,
    pub(crate) head: Option<RevisionId>,
}

/// JSON that no revision is behind.
pub(crate) const fn told<T>(value: T) -> Told<T> {
    Told { value, head: None }
}

/// JSON made from this head.
pub(crate) const fn told_at<T>(value: T, head: Option<RevisionId>) -> Told<T> {
    Told { value, head }
}

impl<T: Serialize> IntoResponse for Told<T> {
    fn into_response(self) -> Response {
        let mut body = serde_json::to_vec(&self.value).expect("an answer has text keys only");
        body.push(b'\n');
        let mut response = body.into_response();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        mark(&mut response, self.head);
        response
    }
}

/// Text of this media type, with the head that it was made from.
pub(crate) fn text(body: String, media_type: &'static str, head: Option<RevisionId>) -> Response {
    let mut response = body.into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    mark(&mut response, head);
    response
}

fn mark(response: &mut Response, head: Option<RevisionId>) {
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(head) = head {
        headers.insert(REVISION, head.0.into());
        let tag = HeaderValue::from_str(&format!("\"{head}\"")).expect("digits in quotes are a header value");
        headers.insert(ETAG, tag);
    }
}
