//! What changed between two documents, in the words that operators use.
//!
//! Both documents are laid out as flat lists of named things with fields, so one comparison serves every noun. A thing
//! inside of one that was added or removed is not told again. Nothing changed exactly when the digests are equal.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod things;

use crate::validated::Validated;
use things::{Thing, things};

/// One thing that changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// What kind of thing.
    pub noun: Noun,
    /// Which: `web`, `shop`, `shop/v2`, `10.0.0.1:80 of shop/v2 in us-east-1`. Empty for a change of order. Of an override: what
    /// is held, and to what.
    pub name: String,
    /// How.
    #[serde(flatten)]
    pub what: What,
}

/// The kinds of things in a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Noun {
    /// An address that accepts connections.
    Listener,
    /// A place where endpoints are.
    Region,
    /// What is exposed.
    Service,
    /// One variant of a service.
    Version,
    /// One address of a version.
    Endpoint,
    /// A match and what answers it.
    Route,
    /// How the process leaves.
    Drain,
    /// What the whole process may use up.
    Limits,
    /// What an operator holds, by an override.
    Override,
    /// Who is asked for the names of endpoints.
    Resolver,
}

impl Noun {
    const ALL: [Self; 10] = [
        Self::Listener,
        Self::Region,
        Self::Service,
        Self::Version,
        Self::Endpoint,
        Self::Route,
        Self::Drain,
        Self::Limits,
        Self::Override,
        Self::Resolver,
    ];
}

impl fmt::Display for Noun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Listener => "listener",
            Self::Region => "region",
            Self::Service => "service",
            Self::Version => "version",
            Self::Endpoint => "endpoint",
            Self::Route => "route",
            Self::Drain => "drain",
            Self::Limits => "limits",
            Self::Override => "override",
            Self::Resolver => "resolver",
        })
    }
}

/// How a thing changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum What {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// One of its fields has another value.
    Changed {
        /// The field, as it is written in the document.
        field: Cow<'static, str>,
        /// Before.
        from: String,
        /// After.
        to: String,
    },
    /// Things of this kind stand in another order.
    Reordered,
}

/// `listener web added`, `weight of shop/v2 100 -> 5`, `10.0.0.1:80 of shop/v2 in us-east-1 held out no more`.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { noun, name, what } = self;
        match what {
            What::Added if *noun == Noun::Override => write!(f, "{name}"),
            What::Removed if *noun == Noun::Override => write!(f, "{name} no more"),
            What::Added => write!(f, "{noun} {name} added"),
            What::Removed => write!(f, "{noun} {name} removed"),
            What::Reordered => write!(f, "order of {noun}s changed"),
            What::Changed { field, from, to } => match noun {
                Noun::Version | Noun::Endpoint => write!(f, "{field} of {name} {from} -> {to}"),
                Noun::Drain | Noun::Limits | Noun::Resolver => write!(f, "{noun} {field} {from} -> {to}"),
                Noun::Listener | Noun::Region | Noun::Service | Noun::Route | Noun::Override => {
                    write!(f, "{field} of {noun} {name} {from} -> {to}")
                }
            },
        }
    }
}

/// All changes from `old` to `new`: noun by noun, for each first what is gone, then what is new or different in the order
/// of the new document. Linear.
#[must_use]
pub fn diff(old: &Validated, new: &Validated) -> Vec<Change> {
    compare(&things(old), &things(new))
}

/// All that is new when there was no document before.
#[must_use]
pub fn beginning(new: &Validated) -> Vec<Change> {
    let mut changes = compare(&[], &things(new));
    changes.retain(|change| !matches!(change.noun, Noun::Drain | Noun::Limits | Noun::Resolver));
    changes
}

fn compare(old: &[Thing], new: &[Thing]) -> Vec<Change> {
    let (before, after) = (by_key(old), by_key(new));
    let mut changes = Vec::new();
    for noun in Noun::ALL {
        let gone = old.iter().filter(|thing| thing.noun == noun && is_new(thing, &after));
        changes.extend(gone.map(|thing| thing.change(What::Removed)));
        for thing in new.iter().filter(|thing| thing.noun == noun) {
            match before.get(&thing.key()) {
                Some(earlier) => thing.compare(earlier, &mut changes),
                None if is_new(thing, &before) => changes.push(thing.change(What::Added)),
                None => {}
            }
        }
        if is_reordered(noun, (old, &before), (new, &after)) {
            changes.push(Change { noun, name: String::new(), what: What::Reordered });
        }
    }
    changes
}

type Key<'a> = (Noun, &'a str);
type ByKey<'a> = HashMap<Key<'a>, &'a Thing>;

fn by_key(things: &[Thing]) -> ByKey<'_> {
    things.iter().map(|thing| (thing.key(), thing)).collect()
}

/// Whether a thing is not among the others, but what it is inside of is.
fn is_new(thing: &Thing, others: &ByKey<'_>) -> bool {
    let has_parent = thing.inside.as_ref().is_none_or(|(noun, name)| others.contains_key(&(*noun, name.as_str())));
    has_parent && !others.contains_key(&thing.key())
}

/// Whether what is in both lists stands in another order.
fn is_reordered(noun: Noun, old: (&[Thing], &ByKey<'_>), new: (&[Thing], &ByKey<'_>)) -> bool {
    if noun == Noun::Override {
        // They have no order of their own.
        return false;
    }
    let common = |things: &[Thing], others: &ByKey<'_>| -> Vec<String> {
        let common = things.iter().filter(|thing| thing.noun == noun && others.contains_key(&thing.key()));
        common.map(|thing| thing.name.clone()).collect()
    };
    common(old.0, new.1) != common(new.0, old.1)
}

impl Thing {
    fn key(&self) -> Key<'_> {
        (self.noun, &self.name)
    }

    fn change(&self, what: What) -> Change {
        Change { noun: self.noun, name: self.name.clone(), what }
    }

    /// Fields that one of both does not have are `none` there.
    fn compare(&self, earlier: &Self, changes: &mut Vec<Change>) {
        let mut told: HashSet<&str> = HashSet::new();
        let fields = self.fields.iter().chain(&earlier.fields).map(|(field, _)| &**field);
        for field in fields.filter(|field| told.insert(*field)) {
            let (from, to) = (earlier.field(field), self.field(field));
            if from != to {
                changes.push(self.change(What::Changed {
                    field: field.to_owned().into(),
                    from: from.to_owned(),
                    to: to.to_owned(),
                }));
            }
        }
    }

    fn field<'a>(&'a self, name: &str) -> &'a str {
        self.fields.iter().find(|(field, _)| field == name).map_or("none", |(_, value)| value)
    }
}
