//! The API's description (OpenAPI 3.1), made from the same table as its router.

use http::{Method, StatusCode};
use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Map, Value, json};
use sluice_control_core::access::{Action, Role, allows};

use super::error::{PROBLEM_JSON, Refused};
use super::operation::{Content, Operation, Parameter, YAML};

/// The description as JSON text: the committed file `docs/reference/openapi.json`.
#[must_use]
pub fn openapi() -> String {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = settings.into_generator();
    let mut paths = Map::new();
    for operation in super::operations() {
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        path[operation.method.as_str().to_ascii_lowercase()] = describe(&operation, &mut generator);
    }
    let refused = generator.subschema_for::<Refused>();
    let mut schemas = generator.take_definitions(true);
    schemas.extend(document_schemas());
    let description = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Sluice admin API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Changes what a fleet of Sluice proxies does, and tells what it does.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
            "responses": { "Refused": {
                "description": "It was refused: what is wrong, where, and what to do.",
                "content": { PROBLEM_JSON: { "schema": refused } },
            } },
        },
        "security": [{ "token": [] }],
    });
    let mut text = serde_json::to_string_pretty(&description).expect("a description has text keys only");
    text.push('\n');
    text
}

fn describe(operation: &Operation, generator: &mut SchemaGenerator) -> Value {
    let mut described = json!({
        "operationId": operation.name,
        "summary": summary(operation.about),
        "description": format!("{} Allowed to: {}.", operation.about, allowed(operation.action)),
        "responses": responses(operation, generator),
    });
    if !operation.parameters.is_empty() {
        described["parameters"] = operation.parameters.iter().map(parameter).collect();
    }
    if let Some(content) = taken(operation.takes, generator) {
        described["requestBody"] = json!({ "required": true, "content": content });
    }
    if operation.action.is_none() {
        described["security"] = json!([]);
    }
    described
}

fn summary(about: &str) -> &str {
    about.split_once(". ").map_or(about, |(first, _)| first).trim_end_matches('.')
}

/// The roles that may do it, in words.
fn allowed(action: Option<Action>) -> String {
    let Some(action) = action else { return "everybody".to_owned() };
    let roles = Role::ALL.into_iter().filter(|role| allows(*role, action));
    roles.map(|role| role.to_string()).collect::<Vec<_>>().join(", ")
}

fn parameter(parameter: &Parameter) -> Value {
    json!({
        "name": parameter.name,
        "in": parameter.place,
        "required": parameter.place == "path",
        "description": parameter.about,
        "schema": parameter.schema,
    })
}

fn content(content: Content, generator: &mut SchemaGenerator) -> Option<Value> {
    match content {
        Content::Json(schema) => Some(json!({ "application/json": { "schema": schema(generator) } })),
        Content::Document => Some(json!({
            YAML: { "schema": { "type": "object" } },
            "application/json": { "schema": { "type": "object" } },
        })),
        Content::Text(media_type) => Some(json!({ media_type: { "schema": { "type": "string" } } })),
        Content::None => None,
    }
}

/// What is taken is described more exactly than what is told: a document that follows a file may have variables in it,
/// where its schema has numbers.
fn taken(takes: Content, generator: &mut SchemaGenerator) -> Option<Value> {
    match takes {
        Content::Document => Some(json!({ YAML: { "schema": { "$ref": format!("{COMPONENTS}{DOCUMENT}") } } })),
        Content::Json(_) | Content::Text(_) | Content::None => content(takes, generator),
    }
}

/// Where components refer to each other, and what the document's schema is called among them.
const COMPONENTS: &str = "#/components/schemas/";
const DOCUMENT: &str = "Document";

/// The document's own schema, its parts beside it.
fn document_schemas() -> Map<String, Value> {
    let text = serde_json::to_string(&sluice_config::json_schema()).expect("a schema has text keys only");
    let moved = text.replace("#/$defs/", &format!("{COMPONENTS}{DOCUMENT}."));
    let mut document: Map<String, Value> = serde_json::from_str(&moved).expect("only names in it were changed");
    document.remove("$schema");
    let parts = match document.remove("$defs") {
        Some(Value::Object(parts)) => parts,
        _ => Map::new(),
    };
    let mut schemas: Map<String, Value> =
        parts.into_iter().map(|(name, part)| (format!("{DOCUMENT}.{name}"), part)).collect();
    schemas.insert(DOCUMENT.to_owned(), document.into());
    schemas
}

fn responses(operation: &Operation, generator: &mut SchemaGenerator) -> Value {
    let mut responses = Map::new();
    match content(operation.answer, generator) {
        Some(content) => {
            let about = "It is done, or told.";
            if operation.path == "/api/health" {
                let ill = json!({ "description": "It does not do its work.", "content": content.clone() });
                responses.insert("503".to_owned(), ill);
            }
            responses.insert("200".to_owned(), json!({ "description": about, "content": content }));
        }
        None => drop(responses.insert("204".to_owned(), json!({ "description": "It is done." }))),
    }
    for status in refusals(operation) {
        let refused = json!({ "$ref": "#/components/responses/Refused" });
        responses.entry(status.as_str()).or_insert(refused);
    }
    Value::Object(responses)
}

/// Every status that a refusal of this operation can have, in order.
fn refusals(operation: &Operation) -> Vec<StatusCode> {
    let mut all = operation.refusals.clone();
    // Screening comes first for every request, and the router refuses paths that are not text.
    all.extend([StatusCode::BAD_REQUEST, StatusCode::FORBIDDEN]);
    if operation.action.is_some() {
        all.extend([StatusCode::UNAUTHORIZED, StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE]);
    }
    if !matches!(operation.takes, Content::None) {
        all.extend([StatusCode::PAYLOAD_TOO_LARGE, StatusCode::REQUEST_TIMEOUT]);
    }
    if matches!(operation.takes, Content::Json(_)) {
        all.extend([StatusCode::UNSUPPORTED_MEDIA_TYPE, StatusCode::UNPROCESSABLE_ENTITY]);
    }
    if operation.path.contains('{') {
        all.push(StatusCode::NOT_FOUND);
    }
    if operation.method != Method::GET && !matches!(operation.action, Some(Action::Subscribe | Action::Plan)) {
        all.push(StatusCode::CONFLICT);
    }
    all.sort_unstable();
    all.dedup();
    all
}
