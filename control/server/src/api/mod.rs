//! The admin API: one table of operations, from which the router, the access rules and the OpenAPI description are made.
//!
//! No handler can be reached but by its row, and no row can be written without the action that its caller must be allowed.

mod answer;
mod audit;
mod caller;
mod document;
mod error;
mod events;
mod fleet;
mod openapi;
mod operation;
mod overrides;
mod request;
mod revisions;
mod services;
mod status;
mod subscribe;
pub mod view;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::response::IntoResponse;
use axum::routing::MethodRouter;
use http::StatusCode;

pub use caller::{Access, Peer, TokensError};
pub use error::{ProblemView, Refused};
pub use openapi::openapi;
pub(crate) use status::{judged as health, overrides};

use crate::plane::Plane;
use operation::Operation;

/// The most that a request other than a document may be.
const SMALL: usize = 64 << 10;

/// Every operation there is.
fn operations() -> Vec<Operation> {
    let mut all = status::operations();
    all.extend(document::operations());
    all.extend(revisions::operations());
    all.extend(services::operations());
    all.extend(overrides::operations());
    all.extend(fleet::operations());
    all.extend(events::operations());
    all.extend(audit::operations());
    all.extend(subscribe::operations());
    all
}

/// The API over a control plane.
pub(crate) fn router(plane: &Arc<Plane>) -> Router {
    let mut router = Router::new();
    for operation in operations() {
        let guard = caller::Guard { plane: Arc::clone(plane), action: operation.action };
        let route: MethodRouter<Arc<Plane>> = operation.route;
        let route = route
            .layer(DefaultBodyLimit::max(operation.most.unwrap_or(SMALL)))
            .layer(axum::middleware::from_fn_with_state(guard, caller::admit));
        router = router.route(operation.path, route);
    }
    let strict = axum::middleware::from_fn_with_state(Arc::clone(plane), caller::screen);
    router.method_not_allowed_fallback(wrong_method).fallback(no_such_path).layer(strict).with_state(Arc::clone(plane))
}

async fn no_such_path() -> impl IntoResponse {
    Refused::not_found("there is nothing at this path").hint("GET /v1/openapi.json lists every operation")
}

async fn wrong_method() -> impl IntoResponse {
    Refused::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "this path does not answer this method")
        .hint("GET /v1/openapi.json lists every operation")
}

#[cfg(test)]
mod tests;
