//! Whether the tree has the shape of a document: known fields, none missing, values of the right kind.
//!
//! The whole tree is compared, so one run tells every misspelt field and every bad value. What a value says is judged
//! by the parsers behind the schema's `format` keywords, which are those that decode it later.

use crate::format::Format;
use crate::problem::{Code, Path, Position, Problem, Problems, quote};
use crate::shape::{Field, Shape};
use crate::suggestion::{Suggestions, nearest};
use crate::tree::{Entry, Node, Value};

/// Compares the tree with the shape of a document.
pub(crate) fn check<'a>(root: &'a Node, problems: &'a mut Problems, suggestions: &'a mut Suggestions) {
    compare(root, crate::shape::document(), problems, suggestions);
}

/// Compares the tree with any shape.
pub(crate) fn compare<'a>(root: &'a Node, shape: &Shape, problems: &'a mut Problems, suggestions: &'a mut Suggestions) {
    Walk { problems, suggestions, trail: Vec::new() }.value(root, shape);
}

/// A step of the walk. The path of a value is made of these only when a problem needs it.
#[derive(Clone, Copy)]
enum Trail<'a> {
    Field(&'a str),
    Item(usize),
}

struct Walk<'a> {
    problems: &'a mut Problems,
    suggestions: &'a mut Suggestions,
    trail: Vec<Trail<'a>>,
}

impl<'a> Walk<'a> {
    fn report(&mut self, code: Code, at: Position, message: String, hint: Option<String>) {
        self.problems.push(Problem { code, path: self.path(), position: Some(at), message, hint });
    }

    fn path(&self) -> Path {
        self.trail.iter().fold(Path::default(), |path, step| match step {
            Trail::Field(name) => path.field(name),
            Trail::Item(place) => path.item(*place),
        })
    }

    fn inside(&mut self, step: Trail<'a>, visit: impl FnOnce(&mut Self)) {
        self.trail.push(step);
        visit(self);
        self.trail.pop();
    }

    fn value(&mut self, node: &'a Node, shape: &Shape) {
        match (&node.value, shape) {
            (Value::Broken, _) => {}
            (_, Shape::Any(choices)) => self.choice(node, choices),
            (Value::Map(entries), Shape::Record(fields)) => self.record(node, entries, fields),
            (Value::Map(entries), Shape::Dictionary { keys, values, least, most }) => {
                self.size(node, entries.len(), *least, *most);
                self.dictionary(entries, *keys, values);
            }
            (Value::List(items), Shape::List { items: shape, least }) => {
                self.size(node, items.len(), *least, usize::MAX);
                for item in items {
                    self.inside(Trail::Item(item.place), |walk| walk.value(item, shape));
                }
            }
            (Value::Text(text), Shape::Text(format)) => self.text(node.at, text, *format),
            (Value::Text(text), Shape::Word(words)) => self.word(node.at, text, words, &[]),
            (Value::Integer(number), Shape::Integer { least, most }) => {
                if !(*least..=*most).contains(number) {
                    self.out_of_range(node.at, &number.to_string(), *least, *most);
                }
            }
            (Value::Float(number), Shape::Integer { least, most }) if number.fract() == 0.0 => {
                self.out_of_range(node.at, &number.to_string(), *least, *most);
            }
            (Value::Bool(value), Shape::Bool { only }) if only.is_none_or(|only| only == *value) => {}
            _ => self.wrong_type(node, std::slice::from_ref(shape)),
        }
    }

    fn record(&mut self, node: &'a Node, entries: &'a [Entry], fields: &[Field]) {
        let is_free = |field: &&Field| !entries.iter().any(|entry| entry.key == field.name);
        let mut free: Vec<&str> = fields.iter().filter(is_free).map(|field| field.name.as_str()).collect();
        for entry in entries {
            match fields.iter().find(|field| field.name == entry.key) {
                Some(field) => {
                    self.inside(Trail::Field(&entry.key), |walk| walk.value(&entry.node, &field.shape));
                }
                None => self.unknown_field(entry, &mut free, fields),
            }
        }
        for field in fields.iter().filter(|field| field.required && free.contains(&field.name.as_str())) {
            let hint = is_closed(&field.shape).then(|| format!("`{}` is {}", field.name, kind(&field.shape)));
            self.report(Code::MissingField, node.at, format!("the field `{}` is missing", field.name), hint);
        }
    }

    /// `free` are the fields that are not there; one that was meant by a slip is not missing too.
    fn unknown_field(&mut self, entry: &'a Entry, free: &mut Vec<&str>, fields: &[Field]) {
        let meant = self.suggestions.nearest(&entry.key, free.iter().copied());
        free.retain(|name| Some(*name) != meant);
        let hint = meant.map(|name| format!("did you mean `{name}`?")).unwrap_or_else(|| {
            let names: Vec<_> = fields.iter().map(|field| field.name.as_str()).collect();
            format!("the fields here are {}", listed(&names))
        });
        let message = format!("there is no field {} here", quote(&entry.key));
        self.inside(Trail::Field(&entry.key), |walk| {
            walk.report(Code::UnknownField, entry.key_at, message, Some(hint));
        });
    }

    fn dictionary(&mut self, entries: &'a [Entry], keys: Option<Format>, values: &Shape) {
        for entry in entries {
            self.inside(Trail::Field(&entry.key), |walk| {
                walk.text(entry.key_at, &entry.key, keys);
                walk.value(&entry.node, values);
            });
        }
    }

    fn size(&mut self, node: &Node, count: usize, least: usize, most: usize) {
        if count < least {
            let hint = "give it at least one item, or leave the field out if it has a default".to_owned();
            self.report(Code::EmptyList, node.at, "there is nothing in it".to_owned(), Some(hint));
        } else if count > most {
            self.report(Code::OverLimit, node.at, format!("it has {count} fields; {most} are the most"), None);
        }
    }

    fn text(&mut self, at: Position, text: &str, format: Option<Format>) {
        if let Some(Err(refusal)) = format.map(|format| format.check(text)) {
            self.report(refusal.code, at, refusal.message, refusal.hint);
        }
    }

    /// `choices`: all that may stand here, where that is more than words.
    fn word(&mut self, at: Position, text: &str, words: &[String], choices: &[Shape]) {
        if words.iter().any(|word| word == text) {
            return;
        }
        let names = words.iter().map(String::as_str);
        let hint = with_settings(text, choices).or_else(|| self.suggestions.hint(text, names.clone()));
        let further = choices.iter().filter_map(|choice| beside(words, choice)).collect::<Vec<_>>();
        let all: Vec<_> = names.chain(further.iter().map(String::as_str)).collect();
        let message = format!("{} is not possible here", quote(text));
        self.report(Code::UnknownValue, at, message, hint.or_else(|| Some(format!("write {}", listed(&all)))));
    }

    fn out_of_range(&mut self, at: Position, number: &str, least: i64, most: i64) {
        let message = format!("{number} is not between {least} and {most}");
        self.report(Code::OutOfRange, at, message, None);
    }

    fn choice(&mut self, node: &'a Node, choices: &[Shape]) {
        match (choose(&node.value, choices), &node.value) {
            (Choice::Shape(Shape::Word(words)), Value::Text(text)) => {
                self.word(node.at, text, words, choices);
            }
            (Choice::Shape(shape), _) => self.value(node, shape),
            (Choice::OneOf(fields), Value::Map(entries)) => self.one_of(node, entries, &fields, words_of(choices)),
            (Choice::None | Choice::OneOf(_), _) => self.wrong_type(node, choices),
        }
    }

    /// A map that must have exactly one of these fields, and has not. `words`: what may stand in its place.
    fn one_of(&mut self, node: &'a Node, entries: &'a [Entry], fields: &[&Field], words: &[String]) {
        let names: Vec<&str> = fields.iter().map(|field| field.name.as_str()).collect();
        let mut known = 0;
        for entry in entries {
            match fields.iter().find(|field| field.name == entry.key) {
                Some(field) => {
                    known += 1;
                    self.inside(Trail::Field(&entry.key), |walk| walk.value(&entry.node, &field.shape));
                }
                None => self.unknown_choice(entry, &names, words),
            }
        }
        if known > 1 || entries.is_empty() {
            self.report(Code::Conflict, node.at, format!("exactly one of {} must be here", listed(&names)), None);
        }
    }

    fn unknown_choice(&mut self, entry: &'a Entry, names: &[&str], words: &[String]) {
        let message = format!("there is no field {} here", quote(&entry.key));
        let hint = if words.contains(&entry.key) {
            format!("it has no settings: write {}", entry.key)
        } else {
            let nearest = self.suggestions.hint(&entry.key, names.iter().copied());
            nearest.unwrap_or_else(|| format!("exactly one of {}", listed(names)))
        };
        self.inside(Trail::Field(&entry.key), |walk| {
            walk.report(Code::UnknownField, entry.key_at, message, Some(hint));
        });
    }

    fn wrong_type(&mut self, node: &Node, shapes: &[Shape]) {
        let mut wanted: Vec<String> = shapes.iter().map(kind).collect();
        wanted.dedup();
        let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
        let message = format!("{} is here, where {} is needed", described(&node.value), listed(&wanted));
        let in_field = node.text().and_then(|text| shapes.iter().find_map(|shape| in_its_field(text, shape)));
        self.report(Code::WrongType, node.at, message, in_field.or_else(|| type_hint(&node.value, shapes)));
    }
}

fn type_hint(value: &Value, shapes: &[Shape]) -> Option<String> {
    let format = shapes.iter().find_map(|shape| if let Shape::Text(format) = shape { Some(*format) } else { None });
    match (value, format, shapes) {
        (Value::Null, ..) => Some("give it a value, or leave the field out".to_owned()),
        (Value::Integer(number), Some(Some(Format::Duration | Format::DurationOrZero | Format::Timeout)), _) => {
            Some(format!("write the unit: {number}ms or {number}s"))
        }
        (Value::Integer(number), Some(Some(Format::Size | Format::SizeOrOff | Format::SizeThatFits)), _) => {
            Some(format!("write the unit: {number}B or {number}KiB"))
        }
        (Value::Integer(number), Some(Some(Format::Share)), _) => Some(format!("write the sign: {number}%")),
        (Value::Integer(number), Some(Some(Format::TimesOrOff)), _) => Some(format!("write the unit: {number}/s")),
        (Value::Integer(number), Some(Some(Format::RateOrOff)), _) => {
            Some(format!("write the unit: {number}B/s or {number}KiB/s"))
        }
        (
            Value::Integer(_) | Value::Float(_),
            Some(
                Some(Format::FieldValue | Format::HeaderValue | Format::ProbeText)
                | None
                | Some(Format::Name | Format::RouteName),
            ),
            _,
        ) => Some("a number becomes a text in quotes".to_owned()),
        (Value::Bool(value), Some(Some(Format::FieldValue)), _) => {
            Some(format!("write \"{value}\" for this value, or {{ present: true }} for any value"))
        }
        (Value::Text(text), _, [Shape::Integer { .. }]) if text.parse::<i64>().is_ok() => {
            Some("a number is written without quotes".to_owned())
        }
        (Value::Text(_), _, [Shape::Integer { least, most }]) => Some(format!("a number from {least} to {most}")),
        (Value::Float(number), _, [Shape::Word(words)]) if words.contains(&number.to_string()) => {
            Some(format!("write it in quotes: \"{number}\""))
        }
        (Value::Float(_), _, [Shape::Integer { .. }]) => Some("use whole numbers: multiply all of them".to_owned()),
        (Value::Text(_) | Value::Map(_), _, [Shape::List { .. }]) => {
            Some("a list is written [a, b], or with `- ` before each item".to_owned())
        }
        _ => None,
    }
}

/// A word in place of a map that has a field for it, and must have it.
fn in_its_field(text: &str, shape: &Shape) -> Option<String> {
    let is_meant = |field: &&Field| {
        let words = words_of(std::slice::from_ref(&field.shape));
        field.required && words.iter().any(|word| word == text)
    };
    let field = fields_of(shape).iter().find(is_meant)?;
    Some(format!("write {{ {}: {text} }}", field.name))
}

/// What is written in place of a word that is the name of a map of settings.
fn with_settings(text: &str, choices: &[Shape]) -> Option<String> {
    let choice = choices.iter().find(|choice| matches!(fields_of(choice), [only] if only.name == text))?;
    Some(format!("write {}", example(choice)))
}

/// What may stand beside words: a number, or a map of settings that is none of the words with more to say.
fn beside(words: &[String], choice: &Shape) -> Option<String> {
    match (choice, fields_of(choice)) {
        (Shape::Integer { .. }, _) => Some("a number".to_owned()),
        (_, [only]) if !words.contains(&only.name) => Some(kind(choice)),
        _ => None,
    }
}

/// A value of this shape, as it may be written.
fn example(shape: &Shape) -> String {
    match shape {
        Shape::Record(fields) => {
            let required = fields.iter().filter(|field| field.required);
            let fields: Vec<_> = required.map(|field| format!("{}: {}", field.name, example(&field.shape))).collect();
            if fields.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", fields.join(", ")) }
        }
        Shape::Word(words) => words.first().cloned().unwrap_or_default(),
        Shape::Any(choices) => choices.first().map(example).unwrap_or_default(),
        Shape::Dictionary { .. } | Shape::List { .. } | Shape::Text(_) | Shape::Integer { .. } | Shape::Bool { .. } => {
            "..".to_owned()
        }
    }
}

/// Whether what may stand here can be listed.
fn is_closed(shape: &Shape) -> bool {
    match shape {
        Shape::Word(_) => true,
        Shape::Any(choices) => !words_of(choices).is_empty(),
        Shape::Record(_)
        | Shape::Dictionary { .. }
        | Shape::List { .. }
        | Shape::Text(_)
        | Shape::Integer { .. }
        | Shape::Bool { .. } => false,
    }
}

/// The words among several shapes.
fn words_of(shapes: &[Shape]) -> &[String] {
    shapes
        .iter()
        .find_map(|shape| if let Shape::Word(words) = shape { Some(words.as_slice()) } else { None })
        .unwrap_or_default()
}

/// Whether a value is of the kind of a shape: a map, a list, a text, a number or a truth value.
pub(crate) fn kind_fits(value: &Value, shape: &Shape) -> bool {
    match shape {
        Shape::Record(_) | Shape::Dictionary { .. } => matches!(value, Value::Map(_)),
        Shape::List { .. } => matches!(value, Value::List(_)),
        Shape::Text(_) | Shape::Word(_) => matches!(value, Value::Text(_)),
        Shape::Integer { .. } => matches!(value, Value::Integer(_) | Value::Float(_)),
        Shape::Bool { .. } => matches!(value, Value::Bool(_)),
        Shape::Any(choices) => choices.iter().any(|choice| kind_fits(value, choice)),
    }
}

/// Which of several shapes a value is compared with.
pub(crate) enum Choice<'a> {
    Shape(&'a Shape),
    /// A map of these fields, of which it has none, several, or others too.
    OneOf(Vec<&'a Field>),
    /// None is of its kind.
    None,
}

/// The first choice of the right kind. Maps are told apart by their fields, first by those that only one of them needs.
pub(crate) fn choose<'a>(value: &Value, choices: &'a [Shape]) -> Choice<'a> {
    let fitting: Vec<&Shape> = choices.iter().filter(|shape| kind_fits(value, shape)).collect();
    match (fitting.as_slice(), value) {
        ([], _) => Choice::None,
        ([first, _, ..], Value::Map(entries)) => {
            let named = meant(entries, &fitting);
            match (named, exclusive(&fitting)) {
                (_, Some(fields)) if entries.len() != 1 || named.is_none() => Choice::OneOf(fields),
                (named, _) => Choice::Shape(named.unwrap_or(first)),
            }
        }
        ([first, ..], _) => Choice::Shape(first),
    }
}

/// Which record a map was meant to be: the one with a required field that is here; else the one with the most of its fields
/// here, of equals the one whose required field is nearly here. Nothing if no field of any is.
fn meant<'a>(entries: &[Entry], shapes: &[&'a Shape]) -> Option<&'a Shape> {
    let has = |field: &Field| entries.iter().any(|entry| entry.key == field.name);
    let needs = |shape: &&Shape| fields_of(shape).iter().any(|field| field.required && has(field));
    if let Some(needs) = shapes.iter().find(|shape| needs(shape)) {
        return Some(needs);
    }
    let is_near = |field: &Field| entries.iter().any(|entry| nearest(&entry.key, [field.name.as_str()]).is_some());
    let score = |shape: &Shape| {
        let fields = fields_of(shape);
        let here = fields.iter().filter(|field| has(field)).count();
        (here, fields.iter().any(|field| field.required && is_near(field)))
    };
    // The last of equals is the first in the list.
    let best = shapes.iter().rev().max_by_key(|shape| score(shape))?;
    (score(best).0 > 0).then_some(best)
}

fn fields_of(shape: &Shape) -> &[Field] {
    if let Shape::Record(fields) = shape { fields } else { &[] }
}

/// The fields, when each choice is a record of one field.
fn exclusive<'a>(choices: &[&'a Shape]) -> Option<Vec<&'a Field>> {
    let field = |shape: &&'a Shape| {
        let Shape::Record(fields) = shape else { return None };
        if let [only] = fields.as_slice() { Some(only) } else { None }
    };
    choices.iter().map(field).collect()
}

fn kind(shape: &Shape) -> String {
    match shape {
        Shape::Record(fields) => match fields.as_slice() {
            [only] => format!("{{ {}: .. }}", only.name),
            _ => "a map".to_owned(),
        },
        Shape::Dictionary { .. } => "a map".to_owned(),
        Shape::List { .. } => "a list".to_owned(),
        Shape::Text(Some(format)) => format.sample().to_owned(),
        Shape::Text(None) => "a text".to_owned(),
        Shape::Word(words) => listed(&words.iter().map(String::as_str).collect::<Vec<_>>()),
        Shape::Integer { .. } => "a whole number".to_owned(),
        Shape::Bool { only: Some(only) } => only.to_string(),
        Shape::Bool { only: None } => "true or false".to_owned(),
        Shape::Any(choices) => {
            let kinds: Vec<_> = choices.iter().flat_map(kinds).collect();
            listed(&kinds.iter().map(String::as_str).collect::<Vec<_>>())
        }
    }
}

/// Each word is a kind of its own.
fn kinds(shape: &Shape) -> Vec<String> {
    if let Shape::Word(words) = shape { words.clone() } else { vec![kind(shape)] }
}

fn described(value: &Value) -> String {
    match value {
        Value::Broken | Value::Null => "nothing".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Integer(number) => format!("the number {number}"),
        Value::Float(number) => format!("the number {number}"),
        Value::Text(text) => format!("the text {}", quote(text)),
        Value::List(_) => "a list".to_owned(),
        Value::Map(_) => "a map".to_owned(),
    }
}

/// `a`, `a or b`, `a, b or c`.
fn listed(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [only] => (*only).to_owned(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}
