//! The document as a tree of values, each of which knows where it is written.
//!
//! YAML libraries that decode straight into types lose either the positions or all problems but the first. So the text
//! becomes this tree first (`reading`), the tree is compared with the schema as a whole (`structure`), and only a tree
//! without problems is decoded.
//!
//! Invariants: no deeper than [`limit::DEPTH`](crate::limit::DEPTH), so recursion over it is safe; no larger than
//! [`limit::NODES`](crate::limit::NODES) values and [`limit::BYTES`](crate::limit::BYTES) bytes of text, aliases expanded.

mod environment;
mod json;
mod reading;
mod scalar;
mod surrogate;

pub use environment::Environment;
pub(crate) use json::{Dollars, escape_references, to_json};
pub(crate) use reading::read;

use crate::problem::{Path, Position, Step};

/// A value and where it is written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) at: Position,
    /// Its place in its list, as written; 0 outside of lists. It survives when items before it are left out.
    pub(crate) place: usize,
    pub(crate) value: Value,
}

/// What a node holds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    /// A problem was already reported here.
    Broken,
    Null,
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A field of a map.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_at: Position,
    pub(crate) node: Node,
}

impl Node {
    pub(crate) const fn new(at: Position, value: Value) -> Self {
        Self { at, place: 0, value }
    }

    /// The field of a map. Linear in the number of fields.
    pub(crate) fn field(&self, name: &str) -> Option<&Self> {
        self.entry(name).map(|entry| &entry.node)
    }

    fn entry(&self, name: &str) -> Option<&Entry> {
        self.fields()?.iter().find(|entry| entry.key == name)
    }

    /// The text of a scalar.
    pub(crate) fn text(&self) -> Option<&str> {
        if let Value::Text(text) = &self.value { Some(text) } else { None }
    }

    /// Where the last field of this path is named; the path as by [`locate`](Self::locate).
    pub(crate) fn locate_key(&self, path: Path) -> (Path, Position) {
        let (located, at) = self.locate(path.clone());
        let (steps, Some(Step::Field(name))) = (path.steps(), path.steps().last()) else { return (located, at) };
        let around = steps[..steps.len() - 1].iter().try_fold(self, |node, step| node.step(step));
        (located, around.and_then(|node| node.entry(name)).map_or(at, |entry| entry.key_at))
    }

    /// The fields of a map, as written.
    pub(crate) fn fields(&self) -> Option<&[Entry]> {
        if let Value::Map(entries) = &self.value { Some(entries) } else { None }
    }

    /// The value of this path.
    pub(crate) fn get(&self, path: &Path) -> Option<&Self> {
        path.steps().iter().try_fold(self, |node, step| node.step(step))
    }

    pub(crate) fn step(&self, step: &Step) -> Option<&Self> {
        match (step, &self.value) {
            (Step::Field(name), _) => self.field(name),
            (Step::Item(index), Value::List(items)) => items.get(*index),
            (Step::Item(_), _) => None,
        }
    }

    /// Where the value of this path is written, or the nearest value around it; the path comes back with the places
    /// of items as they were written.
    pub(crate) fn locate(&self, mut path: Path) -> (Path, Position) {
        let (mut node, mut at) = (Some(self), self.at);
        for step in path.steps_mut() {
            node = node.and_then(|node| node.step(step));
            if let (Step::Item(index), Some(item)) = (step, node) {
                *index = item.place;
            }
            at = node.map_or(at, |node| node.at);
        }
        (path, at)
    }

    /// Values and keys of the whole subtree, bytes of text in it, and its depth.
    pub(crate) fn measure(&self) -> Measure {
        match &self.value {
            Value::Text(text) => Measure { nodes: 1, bytes: text.len(), depth: 0 },
            Value::List(items) => Measure::around(items.iter().map(Self::measure)),
            Value::Map(entries) => Measure::around(entries.iter().map(|entry| {
                let inner = entry.node.measure();
                Measure { nodes: inner.nodes + 1, bytes: inner.bytes + entry.key.len(), depth: inner.depth }
            })),
            Value::Broken | Value::Null | Value::Bool(_) | Value::Integer(_) | Value::Float(_) => {
                Measure { nodes: 1, bytes: 0, depth: 0 }
            }
        }
    }
}

/// How large a subtree is.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Measure {
    pub(crate) nodes: usize,
    pub(crate) bytes: usize,
    /// 0 for a scalar, 1 for a list of scalars.
    pub(crate) depth: usize,
}

impl Measure {
    fn around(inner: impl Iterator<Item = Self>) -> Self {
        inner.fold(Self { nodes: 1, bytes: 0, depth: 1 }, |sum, part| Self {
            nodes: sum.nodes + part.nodes,
            bytes: sum.bytes + part.bytes,
            depth: sum.depth.max(part.depth + 1),
        })
    }
}
