//! A row of the table: where an operation is, who may ask for it, what it takes and what it answers.

use std::sync::Arc;

use axum::handler::Handler;
use axum::routing::{MethodFilter, MethodRouter, on};
use http::{Method, StatusCode};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use sluice_control_core::access::Action;

use crate::plane::Plane;

/// The media type of documents.
pub(crate) const YAML: &str = "application/yaml";

/// What an answer's or a request's content is.
#[derive(Clone, Copy)]
pub(crate) enum Content {
    /// JSON of this shape.
    Json(fn(&mut SchemaGenerator) -> Schema),
    /// A document, in YAML or JSON.
    Document,
    /// Text of this media type.
    Text(&'static str),
    /// Nothing.
    None,
}

/// JSON of this type.
pub(crate) fn json<T: JsonSchema>() -> Content {
    Content::Json(|generator| generator.subschema_for::<T>())
}

/// A value in the path, the query or the header.
#[derive(Clone)]
pub(crate) struct Parameter {
    pub(crate) name: &'static str,
    /// `path`, `query` or `header`.
    pub(crate) place: &'static str,
    pub(crate) about: &'static str,
    pub(crate) schema: serde_json::Value,
}

/// One operation of the API.
pub(crate) struct Operation {
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    /// What its caller must be allowed; absent: everybody is who can connect.
    pub(crate) action: Option<Action>,
    /// Its name in generated clients.
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) parameters: Vec<Parameter>,
    /// Media types and shape of the request's content.
    pub(crate) takes: Content,
    pub(crate) answer: Content,
    /// The statuses of refusals that it can give beside those that each operation can.
    pub(crate) refusals: Vec<StatusCode>,
    /// The most bytes that its request may have.
    pub(crate) most: Option<usize>,
    pub(crate) route: MethodRouter<Arc<Plane>>,
}

impl Operation {
    /// An operation that answers `method` on `path` by `handler`.
    pub(crate) fn new<H, T>(
        (method, path): (Method, &'static str),
        action: impl Into<Option<Action>>,
        name: &'static str,
        about: &'static str,
        handler: H,
    ) -> Self
    where
        H: Handler<T, Arc<Plane>>,
        T: 'static,
    {
        let filter = MethodFilter::try_from(method.clone()).expect("the methods of the table are standard ones");
        Self {
            method,
            path,
            action: action.into(),
            name,
            about,
            parameters: Vec::new(),
            takes: Content::None,
            answer: Content::None,
            refusals: Vec::new(),
            most: None,
            route: on(filter, handler),
        }
    }

    pub(crate) fn path(mut self, name: &'static str, schema: serde_json::Value, about: &'static str) -> Self {
        self.parameters.push(Parameter { name, place: "path", about, schema });
        self
    }

    pub(crate) fn query(mut self, name: &'static str, schema: serde_json::Value, about: &'static str) -> Self {
        self.parameters.push(Parameter { name, place: "query", about, schema });
        self
    }

    pub(crate) fn header(mut self, name: &'static str, schema: serde_json::Value, about: &'static str) -> Self {
        self.parameters.push(Parameter { name, place: "header", about, schema });
        self
    }

    pub(crate) const fn takes(mut self, content: Content) -> Self {
        self.takes = content;
        self
    }

    pub(crate) const fn answers(mut self, content: Content) -> Self {
        self.answer = content;
        self
    }

    pub(crate) fn refuses(mut self, statuses: &[StatusCode]) -> Self {
        self.refusals.extend(statuses);
        self
    }

    /// What every operation that changes something takes: the expected head and the key of its repetition.
    pub(crate) fn changes(self) -> Self {
        self.header(
            "If-Match",
            serde_json::json!({"type": "string", "pattern": "^\"[1-9][0-9]{0,18}\"$"}),
            "The number of the head that the change is made for, in quotes. Another head: 412, and nothing changes.",
        )
        .header(
            "Idempotency-Key",
            serde_json::json!({"type": "string", "pattern": "^[!-~]{1,128}$"}),
            "Tells the request from another one like it: sent again within a day it is not carried out again.",
        )
        .refuses(&[StatusCode::CONFLICT, StatusCode::PRECONDITION_FAILED, StatusCode::UNPROCESSABLE_ENTITY])
    }

    pub(crate) const fn at_most(mut self, bytes: usize) -> Self {
        self.most = Some(bytes);
        self
    }
}
