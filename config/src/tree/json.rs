//! The tree as JSON: what is decoded, and what a control plane hands to proxies after the environment was filled in.

use serde::Serialize;
use serde::ser::{SerializeMap as _, Serializer};

use super::{Node, Value};

/// How texts with `$` are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dollars {
    /// As they are: for decoding.
    Bare,
    /// So that reading the JSON as a document, with any environment, gives the same tree.
    Escaped,
}

/// The tree as JSON text on one line.
pub(crate) fn to_json(node: &Node, dollars: Dollars) -> String {
    serde_json::to_string(&AsJson(node, dollars)).expect("a tree has text keys and finite numbers only")
}

/// Writes a text so that substitution gives it back: `$` is doubled where it would be taken for a reference or an escape.
pub(crate) fn escape_references(text: &str) -> String {
    if text.contains("${") || text.contains("$$") { text.replace('$', "$$") } else { text.to_owned() }
}

struct AsJson<'a>(&'a Node, Dollars);

impl Serialize for AsJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(node, dollars) = self;
        match &node.value {
            Value::Broken | Value::Null => serializer.serialize_unit(),
            Value::Bool(value) => serializer.serialize_bool(*value),
            Value::Integer(value) => serializer.serialize_i64(*value),
            Value::Float(value) => serializer.serialize_f64(*value),
            Value::Text(text) if *dollars == Dollars::Escaped => serializer.serialize_str(&escape_references(text)),
            Value::Text(text) => serializer.serialize_str(text),
            Value::List(items) => serializer.collect_seq(items.iter().map(|item| Self(item, *dollars))),
            Value::Map(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for entry in entries {
                    map.serialize_entry(&entry.key, &Self(&entry.node, *dollars))?;
                }
                map.end()
            }
        }
    }
}
