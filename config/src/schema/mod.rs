//! The document as operators write it: one file for each noun.
//!
//! These types are what the JSON Schema is generated from, and their doc comments are its descriptions. They decide
//! only what can be *written*; what a document *means*, and whether it means anything, is decided in `validate`. A
//! field is here only when something enforces it.

pub(crate) mod balancer;
pub(crate) mod breaker;
pub(crate) mod discovery;
pub(crate) mod document;
pub(crate) mod drain;
pub(crate) mod endpoint;
pub(crate) mod health_check;
pub(crate) mod identity;
pub(crate) mod listener;
pub(crate) mod origin;
pub(crate) mod outlier_ejection;
pub(crate) mod paths;
pub(crate) mod process;
pub(crate) mod region;
pub(crate) mod retries;
pub(crate) mod route;
pub(crate) mod service;
pub(crate) mod service_limits;
pub(crate) mod split;
pub(crate) mod timeouts;
pub(crate) mod tls;
pub(crate) mod version;

pub(crate) use document::Document;

use schemars::transform::RecursiveTransform;
use schemars::{Schema, generate::SchemaSettings};

/// The JSON Schema (draft 2020-12) of the document, generated from the types of this module.
///
/// What it accepts is what the structural part of [`validate`](crate::validate) accepts: the same schema is walked there.
#[must_use]
pub fn json_schema() -> Schema {
    let mut schema = schema_of::<Document>();
    schema.insert("title".into(), "The Sluice document".into());
    schema
}

/// The schema of a list of endpoints in a file of its own.
pub(crate) fn list_schema() -> Schema {
    schema_of::<Vec<endpoint::FileEndpoint>>()
}

fn schema_of<T: schemars::JsonSchema>() -> Schema {
    let settings = SchemaSettings::draft2020_12().with_transform(RecursiveTransform(refuse_null));
    settings.into_generator().into_root_schema_for::<T>()
}

/// An optional field is left out, never written as `null`: a forgotten value must not pass for a decision.
fn refuse_null(schema: &mut Schema) {
    let Some(object) = schema.as_object_mut() else { return };
    if object.get("default").is_some_and(serde_json::Value::is_null) {
        object.remove("default");
    }
    if let Some(serde_json::Value::Array(types)) = object.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            object.insert("type".into(), only);
        }
    }
    if let Some(serde_json::Value::Array(mut choices)) = object.remove("anyOf") {
        choices.retain(|choice| choice.get("type").is_none_or(|name| name != "null"));
        match (choices.len(), choices.first()) {
            (1, Some(serde_json::Value::Object(only))) => object.extend(only.clone()),
            _ => drop(object.insert("anyOf".into(), choices.into())),
        }
    }
}
