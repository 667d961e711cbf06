//! The JSON Schema, prepared for walking.
//!
//! Only the keywords that our own types produce are understood. A keyword that is not is an error here, found by a test:
//! a schema that promises more than is checked would be a lie to every editor that uses it.

use std::sync::OnceLock;

use serde_json::{Map, Value as Json};

use crate::format::Format;

/// What a value must look like.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Shape {
    /// A map with these fields only.
    Record(Vec<Field>),
    /// A map with any keys.
    Dictionary {
        keys: Option<Format>,
        values: Box<Self>,
        least: usize,
        most: usize,
    },
    List {
        items: Box<Self>,
        least: usize,
    },
    Text(Option<Format>),
    /// One of these words.
    Word(Vec<String>),
    Integer {
        least: i64,
        most: i64,
    },
    Bool {
        only: Option<bool>,
    },
    /// The first that fits the kind of the value.
    Any(Vec<Self>),
}

/// A field of a record.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) required: bool,
    pub(crate) shape: Shape,
}

/// The shape of the document, made once.
pub(crate) fn document() -> &'static Shape {
    static SHAPE: OnceLock<Shape> = OnceLock::new();
    SHAPE.get_or_init(|| {
        let schema = Json::from(crate::schema::json_schema());
        Builder { root: &schema }.build(&schema).expect("the schema of our own types is understood: a test holds this")
    })
}

/// The shape of a list of endpoints in a file of its own, made once.
pub(crate) fn list() -> &'static Shape {
    static SHAPE: OnceLock<Shape> = OnceLock::new();
    SHAPE.get_or_init(|| {
        let schema = Json::from(crate::schema::list_schema());
        Builder { root: &schema }.build(&schema).expect("the schema of our own types is understood: a test holds this")
    })
}

struct Builder<'a> {
    root: &'a Json,
}

/// Keywords that say nothing about what is accepted.
const REMARKS: [&str; 7] = ["$schema", "$defs", "title", "description", "default", "examples", "$comment"];

type Built<T> = Result<T, String>;

impl Builder<'_> {
    fn build(&self, schema: &Json) -> Built<Shape> {
        let object = schema.as_object().ok_or_else(|| format!("{schema} is not an object"))?;
        if let Some(name) = object.get("$ref").and_then(Json::as_str) {
            let pointer = name.strip_prefix('#').ok_or("only local references")?;
            return self.build(self.root.pointer(pointer).ok_or("a dangling reference")?);
        }
        if let Some(choices) = object.get("anyOf").or_else(|| object.get("oneOf")).and_then(Json::as_array) {
            known(object, &["anyOf", "oneOf"])?;
            return choices.iter().map(|choice| self.build(choice)).collect::<Built<_>>().map(merge);
        }
        if let Some(word) = object.get("const").and_then(Json::as_str) {
            known(object, &["type", "const"])?;
            return Ok(Shape::Word(vec![word.to_owned()]));
        }
        match object.get("type").and_then(Json::as_str) {
            Some("object") => self.map(object),
            Some("array") => self.list(object),
            Some("string") => text(object),
            Some("integer") => integer(object),
            Some("boolean") => {
                known(object, &["type", "const"])?;
                Ok(Shape::Bool { only: object.get("const").and_then(Json::as_bool) })
            }
            other => Err(format!("the type {other:?} is not understood")),
        }
    }

    fn map(&self, object: &Map<String, Json>) -> Built<Shape> {
        match object.get("additionalProperties") {
            Some(Json::Bool(false)) => self.record(object),
            Some(values) => {
                known(object, &["type", "additionalProperties", "propertyNames", "minProperties", "maxProperties"])?;
                let keys = object.get("propertyNames").map(|keys| format(keys.get("format"))).transpose()?.flatten();
                let (least, most) = (count(object, "minProperties", 0), count(object, "maxProperties", usize::MAX));
                Ok(Shape::Dictionary { keys, values: Box::new(self.build(values)?), least, most })
            }
            None => Err("a map that accepts unknown fields".to_owned()),
        }
    }

    fn record(&self, object: &Map<String, Json>) -> Built<Shape> {
        known(object, &["type", "additionalProperties", "properties", "required"])?;
        let required: Vec<_> = object.get("required").and_then(Json::as_array).into_iter().flatten().collect();
        let fields = object.get("properties").and_then(Json::as_object).into_iter().flatten();
        let fields = fields.map(|(name, schema)| {
            let required = required.iter().any(|field| *field == name);
            Ok(Field { name: name.clone(), required, shape: self.build(schema)? })
        });
        fields.collect::<Built<_>>().map(Shape::Record)
    }

    fn list(&self, object: &Map<String, Json>) -> Built<Shape> {
        known(object, &["type", "items", "minItems"])?;
        let items = self.build(object.get("items").ok_or("a list of anything")?)?;
        Ok(Shape::List { items: Box::new(items), least: count(object, "minItems", 0) })
    }
}

fn known(object: &Map<String, Json>, keywords: &[&str]) -> Built<()> {
    match object.keys().find(|key| !keywords.contains(&key.as_str()) && !REMARKS.contains(&key.as_str())) {
        Some(key) => Err(format!("the keyword {key:?} is not understood")),
        None => Ok(()),
    }
}

fn text(object: &Map<String, Json>) -> Built<Shape> {
    known(object, &["type", "format", "enum"])?;
    match object.get("enum").and_then(Json::as_array) {
        Some(words) => Ok(Shape::Word(words.iter().filter_map(Json::as_str).map(str::to_owned).collect())),
        None => Ok(Shape::Text(format(object.get("format"))?)),
    }
}

fn format(keyword: Option<&Json>) -> Built<Option<Format>> {
    let Some(keyword) = keyword.and_then(Json::as_str) else { return Ok(None) };
    Format::of(keyword).map(Some).ok_or_else(|| format!("the format {keyword:?} is not understood"))
}

fn integer(object: &Map<String, Json>) -> Built<Shape> {
    known(object, &["type", "minimum", "maximum", "format"])?;
    let bound =
        |name: &str| object.get(name).and_then(Json::as_i64).ok_or_else(|| format!("an integer without {name}"));
    Ok(Shape::Integer { least: bound("minimum")?, most: bound("maximum")? })
}

fn count(object: &Map<String, Json>, keyword: &str, default: usize) -> usize {
    object.get(keyword).and_then(Json::as_u64).map_or(default, |count| usize::try_from(count).unwrap_or(usize::MAX))
}

/// One choice is that choice, choices inside of choices are choices, and words are told together.
fn merge(choices: Vec<Shape>) -> Shape {
    let mut merged: Vec<Shape> = Vec::new();
    for choice in choices {
        let parts = if let Shape::Any(inner) = choice { inner } else { vec![choice] };
        for part in parts {
            let words =
                merged.iter_mut().find_map(|shape| if let Shape::Word(words) = shape { Some(words) } else { None });
            match (part, words) {
                (Shape::Word(more), Some(words)) => words.extend(more),
                (part, _) => merged.push(part),
            }
        }
    }
    match <[Shape; 1]>::try_from(merged) {
        Ok([only]) => only,
        Err(merged) => Shape::Any(merged),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_is_understood() {
        let Shape::Record(fields) = document() else { panic!("the document is a record") };
        let names: Vec<_> = fields.iter().map(|field| (field.name.as_str(), field.required)).collect();
        let expected = [
            ("listeners", true),
            ("regions", false),
            ("services", true),
            ("routes", true),
            ("drain", false),
            ("limits", false),
            ("resolver", false),
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn the_schema_of_a_list_is_understood() {
        assert!(matches!(list(), Shape::List { .. }));
    }

    #[test]
    fn an_unknown_keyword_is_an_error() {
        let schema = serde_json::json!({ "type": "string", "minLength": 3 });
        assert!(Builder { root: &schema }.build(&schema).is_err());
    }
}
