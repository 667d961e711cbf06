//! The document with the live weights written into it, for the repository where its author keeps it.
//!
//! **The rule.** It is the author's own text: comments, `${NAME}`, order and style stay, and only the weights that differ
//! are written, each in its place. The obvious other rule, to print the effective document, gives a text that nobody wants to
//! have in Git: every default spelled out and every comment lost.
//!
//! **Why that is safe.** The result is read again, and is given back only if it means exactly what is live. Where it does not,
//! since two services share their versions by an alias, say, the effective document is printed after all, and its first line
//! says so.
//!
//! # Invariants
//! - The result validates, in the same environment and without an overlay, to the digest of the pair without overrides.
//! - Without live weights it is the text, byte for byte.

use crate::effective::effective_yaml;
use crate::name::ServiceName;
use crate::overlay::Overlay;
use crate::problem::{Position, Problems};
use crate::share::Shares;
use crate::tree::{self, Entry, Environment, Node, Value};
use crate::validate::{read_pair, validate};
use crate::value::Weight;

const PRINTED: &str = "# The live weights cannot be written into the text as it stands (are they behind an alias?).\n\
                       # This is the effective document, every default and the environment filled in.\n";

/// The text of a document with the live weights in the place of its own.
///
/// # Errors
/// When document and overlay are no sound pair in this environment.
pub fn with_weights(source: &str, environment: &Environment, overlay: &Overlay) -> Result<String, Problems> {
    if overlay.weights.is_empty() {
        return Ok(source.to_owned());
    }
    let live = read_pair(source, environment, &overlay.weights_only())?.validated;
    let written = edits(source, environment, overlay).and_then(|edits| put(source, edits));
    let is_live = |text: &String| validate(text, environment).is_ok_and(|again| again.digest == live.digest);
    Ok(written.filter(is_live).unwrap_or_else(|| format!("{PRINTED}{}", effective_yaml(&live))))
}

/// A piece of the text, in bytes, and what stands in its place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Edit {
    at: usize,
    end: usize,
    put: String,
}

/// What is to be written. Nothing when a place cannot be told.
fn edits(source: &str, environment: &Environment, overlay: &Overlay) -> Option<Vec<Edit>> {
    let root = tree::read(source, environment, &mut Problems::default()).ok()?;
    let text = Text::new(source);
    let mut edits = Vec::new();
    for service in items(root.field("services")) {
        let name: Option<ServiceName> = service.field("name").and_then(Node::text).and_then(|name| name.parse().ok());
        let Some(weights) = name.and_then(|name| overlay.weights.get(&name)) else { continue };
        for version in items(service.field("versions")) {
            edits.extend(edit(&text, version, &weights.shares)?);
        }
    }
    Some(edits)
}

fn items(node: Option<&Node>) -> &[Node] {
    match node.map(|node| &node.value) {
        Some(Value::List(items)) => items,
        Some(_) | None => &[],
    }
}

/// What is to be written for one version, if its weight is another. Nothing at all when its place cannot be told.
fn edit(text: &Text<'_>, version: &Node, shares: &Shares) -> Option<Option<Edit>> {
    let weight = shares.weight(&version.field("name")?.text()?.parse().ok()?);
    match version.field("weight") {
        Some(node) if node.value == Value::Integer(weight.get().into()) => Some(None),
        Some(node) => {
            let at = text.offset(node.at)?;
            Some(Some(Edit { at, end: at + scalar(&text.whole[at..])?, put: weight.to_string() }))
        }
        None if weight == Weight::HUNDRED => Some(None),
        None => {
            let Value::Map(fields) = &version.value else { return None };
            insert(text, version, fields.first()?, weight).map(Some)
        }
    }
}

/// The weight before the first field, in the style of the map.
fn insert(text: &Text<'_>, version: &Node, first: &Entry, weight: Weight) -> Option<Edit> {
    let at = text.offset(first.key_at)?;
    let name = if text.whole[at..].starts_with('"') { "\"weight\"" } else { "weight" };
    let in_braces = text.whole[text.offset(version.at)?..].starts_with('{');
    let put = if in_braces {
        format!("{name}: {weight}, ")
    } else {
        let end = if text.whole[at..].lines().next()?.len() < text.whole[at..].find('\n')? { "\r\n" } else { "\n" };
        let indent = usize::try_from(first.key_at.column.saturating_sub(1)).ok()?;
        format!("{name}: {weight}{end}{}", " ".repeat(indent))
    };
    Some(Edit { at, end: at, put })
}

/// The bytes of the number, or of the reference to the environment, that a text begins with.
fn scalar(text: &str) -> Option<usize> {
    if text.starts_with("${") {
        return text.find('}').map(|at| at + 1);
    }
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '+';
    Some(text.find(|c| !is_part(c)).unwrap_or(text.len())).filter(|length| *length > 0)
}

/// The text with all edits. Nothing when two of them are about the same place and do not agree.
fn put(source: &str, mut edits: Vec<Edit>) -> Option<String> {
    edits.sort();
    edits.dedup();
    if edits.windows(2).any(|two| two[0].at == two[1].at || two[0].end > two[1].at) {
        return None;
    }
    let mut text = String::with_capacity(source.len() + 16 * edits.len());
    let mut done = 0;
    for edit in &edits {
        text.push_str(source.get(done..edit.at)?);
        text.push_str(&edit.put);
        done = edit.end;
    }
    text.push_str(source.get(done..)?);
    Some(text)
}

/// A text whose lines are known.
struct Text<'a> {
    whole: &'a str,
    lines: Vec<usize>,
}

impl<'a> Text<'a> {
    fn new(whole: &'a str) -> Self {
        let starts = whole.match_indices('\n').map(|(at, _)| at + 1);
        Self { whole, lines: std::iter::once(0).chain(starts).collect() }
    }

    /// The byte at a place.
    fn offset(&self, place: Position) -> Option<usize> {
        let start = *self.lines.get(usize::try_from(place.line).ok()?.checked_sub(1)?)?;
        let column = usize::try_from(place.column).ok()?.checked_sub(1)?;
        self.whole[start..].char_indices().nth(column).map(|(at, _)| start + at)
    }
}

#[cfg(test)]
mod tests;
