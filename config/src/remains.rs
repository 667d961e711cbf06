//! What can be judged of a document that has problems.
//!
//! A problem must hide no other, so as little as possible is taken out. An unknown field goes alone, and so does an
//! optional field with a bad value. In place of a required value that is missing or bad a stand-in is put, so that what
//! stands beside it is judged on: an item that was set aside whole would hide its other problems, and its name would be
//! missing where it is referred to. Nor may a problem be the mere echo of another, so each place where something went
//! or stands in is remembered as lost, and every rule asks for what it looks at.
//!
//! Invariants: what remains can be decoded, and each value in it that is not lost is as it was written. Linear in the
//! size of the document.

use std::collections::{HashMap, HashSet};

use crate::problem::{Code, Path, Problems};
use crate::shape::{Field, Shape};
use crate::structure::{Choice, choose, kind_fits};
use crate::suggestion::Suggestions;
use crate::tree::{Entry, Node, Value};

/// What was lost, by the paths of what remains.
#[derive(Debug, Default)]
pub(crate) struct Gaps {
    /// Each lost place, with the text that was written there.
    lost: HashMap<Path, Option<String>>,
    /// Lost places and everything around them.
    damaged: HashSet<Path>,
}

impl Gaps {
    /// Whether nothing was lost.
    pub(crate) fn is_empty(&self) -> bool {
        self.lost.is_empty()
    }

    /// Whether the value here is not what was written: a stand-in, a default, or a list or map that misses items.
    pub(crate) fn is_lost(&self, path: &Path) -> bool {
        !self.lost.is_empty() && self.lost.contains_key(path)
    }

    /// Whether this field of the value at `around` is lost.
    pub(crate) fn lost(&self, around: &Path, field: &str) -> bool {
        !self.lost.is_empty() && self.lost.contains_key(&around.clone().field(field))
    }

    /// Whether the value here or anything in it is lost.
    pub(crate) fn is_damaged(&self, path: &Path) -> bool {
        !self.damaged.is_empty() && self.damaged.contains(path)
    }

    /// What is written in place of the lost names among the first `count` items of a list; nothing for what is no text.
    pub(crate) fn lost_names(&self, list: &Path, count: usize) -> Vec<Option<String>> {
        if !self.is_damaged(list) {
            return Vec::new();
        }
        (0..count).filter_map(|index| self.lost.get(&list.clone().item(index).field("name")).cloned()).collect()
    }
}

/// What remains of the document, and what was lost.
pub(crate) fn prune(root: &Node, problems: &Problems) -> (Node, Gaps) {
    let shape = crate::shape::document();
    let twice = problems.problems.iter().filter(|problem| problem.code == Code::DuplicateKey);
    let doubled = twice.map(|problem| &problem.path).collect();
    let mut walk = Walk { gaps: Gaps::default(), suggestions: Suggestions::new(), doubled, trail: Vec::new() };
    let remains = walk.value(root, shape).unwrap_or_else(|| {
        let Shape::Record(fields) = shape else { unreachable!("the document is a record: a test holds this") };
        Node::new(root.at, Value::Map(walk.record(root, &[], fields)))
    });
    (remains, walk.gaps)
}

#[derive(Clone, Copy)]
enum Trail<'a> {
    Field(&'a str),
    /// Where an item is in what remains, and where it was written.
    Item {
        index: usize,
        place: usize,
    },
}

struct Walk<'a> {
    gaps: Gaps,
    suggestions: Suggestions,
    /// The written paths of fields that stand twice: either value may be the one that was meant.
    doubled: HashSet<&'a Path>,
    trail: Vec<Trail<'a>>,
}

impl<'a> Walk<'a> {
    fn inside<T>(&mut self, step: Trail<'a>, visit: impl FnOnce(&mut Self) -> T) -> T {
        self.trail.push(step);
        let result = visit(self);
        self.trail.pop();
        result
    }

    fn lose(&mut self, text: Option<&str>) {
        let mut path = Path::default();
        self.gaps.damaged.insert(path.clone());
        for step in &self.trail {
            path = match step {
                Trail::Field(name) => path.field(name),
                Trail::Item { index, .. } => path.item(*index),
            };
            self.gaps.damaged.insert(path.clone());
        }
        let known = self.gaps.lost.entry(path).or_default();
        *known = known.take().or_else(|| text.map(str::to_owned));
    }

    fn lose_field(&mut self, name: &'a str, text: Option<&str>) {
        self.inside(Trail::Field(name), |walk| walk.lose(text));
    }

    /// The part of a value that has this shape; nothing if none of it has.
    fn value(&mut self, node: &'a Node, shape: &'a Shape) -> Option<Node> {
        let value = match (&node.value, shape) {
            (_, Shape::Any(choices)) => match choose(&node.value, choices) {
                Choice::Shape(shape) => return self.value(node, shape),
                Choice::None | Choice::OneOf(_) => return None,
            },
            (Value::Map(entries), Shape::Record(fields)) => Value::Map(self.record(node, entries, fields)),
            (Value::Map(entries), Shape::Dictionary { values, least, most, .. }) => {
                if !(*least..=*most).contains(&entries.len()) {
                    self.lose(None);
                }
                let known: Vec<_> = entries.iter().filter(|entry| self.is_good_key(entry, shape)).collect();
                Value::Map(known.into_iter().map(|entry| self.present(entry, values)).collect())
            }
            (Value::List(items), Shape::List { items: shape, least }) => Value::List(self.list(items, shape, *least)),
            (value, shape) if fits(value, shape) => value.clone(),
            _ => return None,
        };
        Some(Node { at: node.at, place: node.place, value })
    }

    fn list(&mut self, items: &'a [Node], shape: &'a Shape, least: usize) -> Vec<Node> {
        let mut kept = Vec::with_capacity(items.len());
        for item in items {
            let step = Trail::Item { index: kept.len(), place: item.place };
            kept.extend(self.inside(step, |walk| walk.value(item, shape)));
        }
        if kept.len() < items.len() || items.len() < least {
            self.lose(None);
        }
        kept
    }

    fn is_good_key(&mut self, entry: &'a Entry, shape: &Shape) -> bool {
        let Shape::Dictionary { keys, .. } = shape else { return true };
        let is_good = keys.is_none_or(|format| format.check(&entry.key).is_ok());
        if !is_good {
            self.lose(None);
        }
        is_good
    }

    /// An entry that must have a value.
    fn present(&mut self, entry: &'a Entry, shape: &'a Shape) -> Entry {
        let node = self.inside(Trail::Field(&entry.key), |walk| {
            walk.note_doubled();
            walk.value(&entry.node, shape).unwrap_or_else(|| {
                walk.lose(entry.node.text());
                Node::new(entry.node.at, stand_in(shape))
            })
        });
        Entry { key: entry.key.clone(), key_at: entry.key_at, node }
    }

    fn record(&mut self, node: &Node, entries: &'a [Entry], fields: &'a [Field]) -> Vec<Entry> {
        let mut kept = Vec::with_capacity(fields.len());
        let mut absent: Vec<&'a Field> = Vec::new();
        for field in fields {
            match entries.iter().find(|entry| entry.key == field.name) {
                Some(entry) if field.required || is_list(&field.shape) => kept.push(self.present(entry, &field.shape)),
                Some(entry) => kept.extend(self.optional(entry, &field.shape)),
                None => absent.push(field),
            }
        }
        let unknown = entries.iter().filter(|entry| !fields.iter().any(|field| field.name == entry.key));
        unknown.for_each(|entry| self.unknown(entry, &absent));
        for field in absent.into_iter().filter(|field| field.required) {
            self.lose_field(&field.name, None);
            let node = Node::new(node.at, stand_in(&field.shape));
            kept.push(Entry { key: field.name.clone(), key_at: node.at, node });
        }
        kept
    }

    fn optional(&mut self, entry: &'a Entry, shape: &'a Shape) -> Option<Entry> {
        let node = self.inside(Trail::Field(&entry.key), |walk| {
            walk.note_doubled();
            let node = walk.value(&entry.node, shape);
            if node.is_none() {
                walk.lose(entry.node.text());
            }
            node
        })?;
        Some(Entry { key: entry.key.clone(), key_at: entry.key_at, node })
    }

    /// It may have been meant for a field that is not there: the one with the nearest name, or one that its value fits.
    fn unknown(&mut self, entry: &'a Entry, absent: &[&'a Field]) {
        self.lose_field(&entry.key, None);
        let meant = self.suggestions.nearest(&entry.key, absent.iter().map(|field| field.name.as_str()));
        for field in absent {
            if Some(field.name.as_str()) == meant || fits(&entry.node.value, &field.shape) {
                self.lose_field(&field.name, entry.node.text());
            }
        }
    }

    fn note_doubled(&mut self) {
        if self.doubled.is_empty() {
            return;
        }
        let written = self.trail.iter().fold(Path::default(), |path, step| match step {
            Trail::Field(name) => path.field(name),
            Trail::Item { place, .. } => path.item(*place),
        });
        if self.doubled.contains(&written) {
            self.lose(None);
        }
    }
}

/// Whether a value has the shape, as far as this can be told without looking into lists and maps.
fn fits(value: &Value, shape: &Shape) -> bool {
    match (value, shape) {
        (value, Shape::Any(choices)) => choices.iter().any(|choice| fits(value, choice)),
        (Value::Text(text), Shape::Text(format)) => format.is_none_or(|format| format.check(text).is_ok()),
        (Value::Text(text), Shape::Word(words)) => words.contains(text),
        (Value::Integer(number), Shape::Integer { least, most }) => (*least..=*most).contains(number),
        (Value::Float(_), Shape::Integer { .. }) => false,
        (Value::Bool(value), Shape::Bool { only }) => only.is_none_or(|only| only == *value),
        (value, shape) => kind_fits(value, shape),
    }
}

/// Whether a list may stand here. A list that is emptied still says that its field is there; other optional fields are
/// left out, and their defaults stand in.
fn is_list(shape: &Shape) -> bool {
    match shape {
        Shape::List { .. } => true,
        Shape::Any(choices) => choices.iter().any(is_list),
        Shape::Record(_)
        | Shape::Dictionary { .. }
        | Shape::Text(_)
        | Shape::Word(_)
        | Shape::Integer { .. }
        | Shape::Bool { .. } => false,
    }
}

/// The least value of a shape. It only makes decoding possible: where it stands is lost, so no rule looks at it.
fn stand_in(shape: &Shape) -> Value {
    let at = crate::problem::Position { line: 1, column: 1 };
    match shape {
        Shape::Record(fields) => {
            let required = fields.iter().filter(|field| field.required);
            let entry = |field: &Field| Entry {
                key: field.name.clone(),
                key_at: at,
                node: Node::new(at, stand_in(&field.shape)),
            };
            Value::Map(required.map(entry).collect())
        }
        Shape::Dictionary { .. } => Value::Map(Vec::new()),
        Shape::List { .. } => Value::List(Vec::new()),
        Shape::Text(format) => Value::Text(format.map_or("x", crate::format::Format::least).to_owned()),
        Shape::Word(words) => words.first().cloned().map_or(Value::Null, Value::Text),
        Shape::Integer { least, .. } => Value::Integer(*least),
        Shape::Bool { only } => Value::Bool(only.unwrap_or_default()),
        Shape::Any(choices) => choices.first().map_or(Value::Null, stand_in),
    }
}
