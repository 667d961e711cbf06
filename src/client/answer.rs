//! An answer, read by the types of the API. What a newer server tells beside them is passed over.

use anyhow::Context;
use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sluice_control::api::Refused;

use super::connection::Lost;
use super::failure::{Failure, Rejection};
use crate::cli::Output;

/// The largest answer that is taken: several documents of the largest kind.
const MOST: usize = 64 << 20;

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    status: StatusCode,
    content: Bytes,
}

impl Answer {
    pub(super) async fn whole(response: Response<Incoming>) -> Result<Self, Lost> {
        let (head, body) = response.into_parts();
        let content = Limited::new(body, MOST).collect().await.map_err(|error| Lost::Broken(error.to_string()))?;
        Ok(Self { status: head.status, content: content.to_bytes() })
    }

    /// The answer, unless it is a refusal.
    pub(super) fn accepted(self, form: Output) -> Result<Self, Failure> {
        if self.status.is_success() {
            return Ok(self);
        }
        let value: Option<Value> = serde_json::from_slice(&self.content).ok();
        let refused = value.and_then(|told| Some((understand::<Refused>(told.clone()).ok()?, told)));
        Err(match refused {
            Some((refused, told)) => Rejection::new(refused, told, form).into(),
            None => Failure::Foreign { status: self.status },
        })
    }

    /// What was told, as it was told.
    ///
    /// # Errors
    /// It is not JSON: a control plane is not what answers there.
    pub(crate) fn value(&self) -> anyhow::Result<Value> {
        serde_json::from_slice(&self.content).context("the answer is not JSON; is this the address of a control plane?")
    }

    /// What was told, as this type.
    ///
    /// # Errors
    /// It is not of that type.
    pub(crate) fn read<T: DeserializeOwned + JsonSchema>(&self) -> anyhow::Result<T> {
        understand(self.value()?)
    }

    /// What was told, as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.content).into_owned()
    }
}

/// Reads a value as this type, without the fields that the type does not know.
///
/// Some of the API's types are also those of the store, and refuse what they do not know: there it would be lost. Here it
/// comes from a newer server, and only does not get shown.
///
/// # Errors
/// A field is missing, or is not what it must be.
pub(crate) fn understand<T: DeserializeOwned + JsonSchema>(mut value: Value) -> anyhow::Result<T> {
    let schema = schemars::schema_for!(T).to_value();
    prune(&mut value, &schema, &schema);
    serde_json::from_value(value).with_context(|| {
        format!(
            "the answer is not understood by sluice {}; is the server's version another?",
            env!("CARGO_PKG_VERSION")
        )
    })
}

/// Takes out fields where the schema closes an object.
fn prune(value: &mut Value, schema: &Value, root: &Value) {
    let reference = schema["$ref"].as_str().and_then(|path| root.pointer(path.trim_start_matches('#')));
    let only = |key: &str| {
        let mut some = schema[key].as_array()?.iter().filter(|one| one["type"] != "null");
        some.next().filter(|_| some.next().is_none())
    };
    if let Some(inner) = reference.or_else(|| only("anyOf")) {
        return prune(value, inner, root);
    }
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| prune(item, &schema["items"], root)),
        Value::Object(fields) => {
            let known = &schema["properties"];
            // A map with keys of a form has that instead of what others may be.
            let patterned = schema["patternProperties"].as_object().and_then(|patterns| patterns.values().next());
            let others = patterned.unwrap_or_else(|| &schema["additionalProperties"]);
            if *others == Value::Bool(false) {
                fields.retain(|name, _| known.get(name).is_some());
            }
            fields.iter_mut().for_each(|(name, field)| prune(field, known.get(name).unwrap_or(others), root));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use sluice_control::api::view::{Changed, Overrides};

    use super::*;

    /// An older command line against a newer server.
    #[test]
    fn what_is_not_known_is_passed_over() {
        let weights = json!({ "shares": { "v1": "95%", "v2": "5%" }, "owner": "operator", "author": "ann", "reason": "try",
            "since": "2026-11-26T09:30:00Z", "new": 1,
            "until": { "at": "2026-11-26T11:30:00Z", "new": 2, "then": null } });
        let revision = json!({ "id": 3, "kind": "weights", "parent": 2, "digest": "0".repeat(64), "document": "1".repeat(64),
            "overlay": { "weights": { "shop": weights }, "new": [] }, "author": "ann", "reason": "try",
            "at": "2026-11-26T09:30:00Z", "new": { "a": 1 } });
        let changed: Changed = understand(json!({ "changed": true, "revision": revision, "new": true })).unwrap();
        assert_eq!(changed.revision.overlay.weights.len(), 1);
        let overrides: Overrides = understand(json!({ "overrides": { "7": { "action": "freeze", "author": "ann",
            "reason": "incident", "since": "2026-11-26T09:30:00Z", "expires": "2026-11-26T10:30:00Z", "new": 1 } } }))
        .unwrap();
        assert_eq!(overrides.overrides.len(), 1);
    }

    #[test]
    fn what_is_missing_is_told() {
        let error = understand::<Changed>(json!({ "changed": true })).unwrap_err();
        assert!(format!("{error:#}").contains("revision"), "{error:#}");
    }
}
