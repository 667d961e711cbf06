//! The committed JSON Schema and the reference page are what the types say. `UPDATE=1 cargo test -p sluice-config --test
//! schema` writes them.

#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

fn hold_current(file: &Path, content: &str) {
    if std::env::var_os("UPDATE").is_some() {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, content).unwrap();
    }
    let committed = fs::read_to_string(file).unwrap_or_default();
    assert!(committed == content, "{} is not current: run this test with UPDATE=1", file.display());
}

fn here(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(file)
}

fn schema() -> Value {
    sluice_config::json_schema().into()
}

#[test]
fn the_committed_schema_is_current() {
    hold_current(&here("schema.json"), &format!("{:#}\n", schema()));
}

#[test]
fn each_field_is_described() {
    let schema = schema();
    let fields = Fields::of(&schema);
    assert!(fields.rows.len() > 40, "{}", fields.rows.len());
    let silent: Vec<_> = fields.rows.iter().filter(|row| row.text.is_empty()).map(|row| &row.path).collect();
    assert!(silent.is_empty(), "{silent:?}");
    let vague = |row: &&Row| !row.required && !row.text.contains("Default") && !row.is_group;
    let vague: Vec<_> = fields.rows.iter().filter(vague).map(|row| &row.path).collect();
    assert!(vague.is_empty(), "optional fields without a stated default: {vague:?}");
}

const SHORTEST: &str = r#"listeners: [{ name: web, address: "127.0.0.1:8080" }]
services: [{ name: shop, endpoints: ["127.0.0.1:9000"] }]
routes: [{ service: shop }]
"#;

fn effective() -> String {
    let document = sluice_config::validate(SHORTEST, &sluice_config::Environment::empty()).unwrap();
    sluice_config::effective_yaml(&document)
}

#[test]
fn the_reference_page_is_current() {
    hold_current(&here("../docs/reference/document.md"), &page(&schema()));
}

/// Every field that may be left out, and what it is then. Each value that is filled in is on the page as it is filled in.
#[test]
fn the_page_of_defaults_is_current_and_whole() {
    let schema = schema();
    let defaults: Vec<Stated> = Fields::of(&schema).rows.iter().filter_map(Row::default_in_words).collect();
    hold_current(&here("../docs/reference/defaults.md"), &page_of_defaults(&defaults));
    let filled = sluice_config::read(&effective(), &sluice_config::Environment::empty()).unwrap().json;
    let mut wrong = Vec::new();
    each_leaf(&serde_json::from_str(&filled).unwrap(), "", &mut |path, value| {
        let given = ["name", "address", "service", "weight"].iter().any(|name| path.ends_with(&format!(".{name}")));
        let told = defaults.iter().find(|one| one.path == path).map(|one| one.words.as_str());
        if !given && !told.is_some_and(|words| says(words, value)) {
            wrong.push(format!("{path} is {value}, and the page says {told:?}"));
        }
    });
    // Its default is a match in words.
    wrong.retain(|line| !line.starts_with("routes[].match."));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

struct Stated {
    path: String,
    kind: String,
    meaning: String,
    words: String,
}

impl Row {
    /// Its default, as its description states it.
    fn default_in_words(&self) -> Option<Stated> {
        let (meaning, words) = self.text.split_once("Default").filter(|_| !self.required)?;
        let words = words.trim_start_matches(':').trim().trim_end_matches('.').replace('|', "\\|");
        let meaning = meaning.trim().replace('|', "\\|").replace('\n', " ");
        Some(Stated { path: self.path.clone(), kind: self.kind.clone(), meaning, words })
    }
}

/// Whether these words begin with this value, however a duration is written.
fn says(words: &str, value: &str) -> bool {
    let first = words.trim_start_matches('`').split(['`', ',', ';', ' ']).next().unwrap_or_default();
    let duration = |text: &str| sluice_config::duration::parse(text).ok();
    first == value || duration(first).is_some_and(|first| Some(first) == duration(value))
        // A list is told in words.
        || matches!(value, "read" | "write" | "admin")
        || words.strip_prefix("`[").is_some_and(|list| list.split(&[',', ' ', ']']).any(|one| one == value))
}

fn each_leaf(value: &Value, path: &str, see: &mut impl FnMut(&str, &str)) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                each_leaf(value, &path, see);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| each_leaf(item, &format!("{path}[]"), see)),
        Value::String(text) => see(path.trim_end_matches("[]"), text),
        Value::Null | Value::Bool(_) | Value::Number(_) => see(path, &value.to_string()),
    }
}

fn page_of_defaults(defaults: &[Stated]) -> String {
    let mut page = String::from(
        "# All defaults\n\n\
         What each field of the [document](document.md) is when it is left out. Generated from the types in `config/src/schema`; a test\n\
         compares it with what is filled in. `sluice config show FILE --effective` prints your document with all of them.\n\n\
         | field | kind | default | meaning |\n|---|---|---|---|\n",
    );
    for Stated { path, kind, meaning, words } in defaults {
        writeln!(page, "| `{path}` | {kind} | {words} | {meaning} |").unwrap();
    }
    page
}

/// The defaults that the schema states and those that validation fills in come from one place; this holds the sentences too.
#[test]
fn the_stated_defaults_are_those_that_are_filled_in() {
    let effective = effective();
    for row in Fields::of(&schema()).rows {
        let (Some(default), Some(name)) = (row.default, row.path.rsplit('.').next()) else { continue };
        let (true, Some(default)) = (row.path.starts_with("listeners[].limits."), word(&default)) else { continue };
        assert!(effective.contains(&format!("{name}: {default}\n")) || name == "keep_alive", "{name}: {default}");
    }
}

fn word(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

fn page(schema: &Value) -> String {
    let mut page = String::from(
        "# The document: every field\n\n\
         Generated from the types in `config/src/schema`; a test holds it current. `[]` is each item of a list, `<name>` each key of a map.\n\
         The same facts are in [`config/schema.json`](../../config/schema.json), which editors use for completion and checks:\n\
         `# yaml-language-server: $schema=config/schema.json`.\n\n\
         Durations are digits and a unit (`ms`, `s`, `m`, `h`), sizes digits and a unit (`B`, `KiB`, `MiB`, `KB`, `MB`). Values may refer\n\
         to the environment: `${NAME}`, `${NAME:-default}`; `$$` is a dollar sign. References are filled in after the text was parsed, so\n\
         they cannot add fields; inside `{ }` and `[ ]` they need quotes.\n\n",
    );
    page.push_str("| field | kind | |\n|---|---|---|\n");
    for row in Fields::of(schema).rows {
        let required = if row.required { "Required. " } else { "" };
        let text = row.text.replace('\n', " ").replace('|', "\\|");
        writeln!(page, "| `{}` | {} | {required}{text} |", row.path, row.kind).unwrap();
    }
    page.push_str("\n## What is filled in\n\nThe shortest useful document\n\n```yaml\n");
    page.push_str(SHORTEST);
    page.push_str("```\n\nis the same as this one, and `sluice config show --effective` prints it:\n\n```yaml\n");
    page.push_str(&effective());
    page.push_str("```\n\n## How large it may be\n\n");
    page.push_str(&limits());
    page
}

fn limits() -> String {
    use sluice_config::limit as l;
    let rows = [
        (
            "the text, and the document after aliases and the environment were filled in",
            format!("{} MiB", l::BYTES >> 20),
        ),
        ("lists and maps inside each other", l::DEPTH.to_string()),
        ("values and keys, aliases expanded", l::NODES.to_string()),
        ("aliases", l::ALIASES.to_string()),
        ("listeners", l::LISTENERS.to_string()),
        ("certificates of all listeners together", l::CERTIFICATES.to_string()),
        ("regions", l::REGIONS.to_string()),
        ("services", l::SERVICES.to_string()),
        ("versions of one service", l::VERSIONS.to_string()),
        ("endpoints", l::ENDPOINTS.to_string()),
        ("routes", l::ROUTES.to_string()),
        ("routes by regular expression", l::REGEXES.to_string()),
        ("the text of a regular expression", format!("{} bytes", l::REGEX_BYTES)),
        ("a path", format!("{} bytes", l::PATH_BYTES)),
        ("a header or query value", format!("{} bytes", l::VALUE_BYTES)),
        ("the name of a route", format!("{} bytes", l::ROUTE_NAME_BYTES)),
        ("any other name", format!("{} characters", sluice_config::name::MAX_LENGTH)),
    ];
    rows.iter().fold("| what | at most |\n|---|---|\n".to_owned(), |page, (what, most)| {
        page + &format!("| {what} | {most} |\n")
    })
}

struct Row {
    path: String,
    kind: String,
    text: String,
    required: bool,
    default: Option<Value>,
    /// A map whose fields have defaults of their own, or one of several forms.
    is_group: bool,
}

/// Every field of the schema, depth first.
struct Fields<'a> {
    root: &'a Value,
    rows: Vec<Row>,
}

impl<'a> Fields<'a> {
    fn of(root: &'a Value) -> Self {
        let mut fields = Self { root, rows: Vec::new() };
        fields.walk(root, "");
        fields
    }

    fn resolve(&self, schema: &'a Value) -> &'a Value {
        match schema["$ref"].as_str() {
            Some(reference) => self.root.pointer(&reference[1..]).unwrap(),
            None => schema,
        }
    }

    fn walk(&mut self, schema: &'a Value, path: &str) {
        let schema = self.resolve(schema);
        for choice in ["anyOf", "oneOf"] {
            schema[choice].as_array().into_iter().flatten().for_each(|schema| self.walk(schema, path));
        }
        if schema["items"].is_object() {
            self.walk(&schema["items"], &format!("{path}[]"));
        }
        if schema["additionalProperties"].is_object() {
            self.walk(&schema["additionalProperties"], &format!("{path}.<name>"));
        }
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            if self.rows.iter().any(|row| row.path == path) {
                continue;
            }
            let required =
                schema["required"].as_array().is_some_and(|required| required.iter().any(|field| field == name));
            let mut row = self.row(path.clone(), required, field);
            if schema["properties"].as_object().is_some_and(|fields| fields.len() == 1) {
                // One of several forms: its description is that of the form.
                let form = schema["description"].as_str().unwrap_or_default();
                (row.required, row.is_group) = (false, true);
                row.text = if row.text.is_empty() { form.to_owned() } else { row.text };
            }
            self.rows.push(row);
            self.walk(field, &path);
        }
    }

    fn row(&self, path: String, required: bool, field: &'a Value) -> Row {
        let target = self.resolve(field);
        let said = |schema: &Value| schema["description"].as_str().unwrap_or_default().to_owned();
        let text = if said(field).is_empty() { said(target) } else { said(field) };
        let default = field.get("default").cloned();
        Row { path, kind: self.kind(field), text, required, default, is_group: target["properties"].is_object() }
    }

    fn kind(&self, schema: &'a Value) -> String {
        let schema = self.resolve(schema);
        let choices = ["anyOf", "oneOf"].iter().find_map(|choice| schema[*choice].as_array());
        if let Some(choices) = choices {
            let mut kinds: Vec<String> = choices.iter().map(|schema| self.kind(schema)).collect();
            kinds.dedup();
            return kinds.join(" or ");
        }
        if let Some(word) = schema.get("const") {
            return format!("`{}`", word.as_str().map_or_else(|| word.to_string(), str::to_owned));
        }
        match (schema["type"].as_str().unwrap(), schema["format"].as_str()) {
            ("string", Some(format)) => format.to_owned(),
            ("string", None) => "text".to_owned(),
            ("array", _) => format!("list of {}", self.kind(&schema["items"])),
            ("object", _) => match schema["properties"].as_object() {
                Some(fields) if fields.len() == 1 => format!("`{{ {}: .. }}`", fields.keys().next().unwrap()),
                _ => "map".to_owned(),
            },
            (kind, _) => kind.to_owned(),
        }
    }
}
