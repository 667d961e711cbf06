//! Text to tree, by the events of a YAML scanner. JSON is read by the same way: it is YAML.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, StrInput, Tag};

use super::environment::{Environment, ReferenceError, substitute};
use super::scalar::typed;
use super::surrogate::Joined;
use super::{Entry, Measure, Node, Value};
use crate::limit;
use crate::problem::{Code, Path, Position, Problem, Problems, quote};

/// Maps with more fields than this look for duplicate keys by hash.
const SMALL_MAP: usize = 16;

/// Reads a text into a tree. Problems that leave a tree (duplicate keys, unset variables) go to `problems`.
///
/// # Errors
/// The one problem that leaves no tree.
pub(crate) fn read(text: &str, environment: &Environment, problems: &mut Problems) -> Result<Node, Box<Problem>> {
    check_text(text)?;
    let plain = as_yaml(text);
    let position = |marker: Marker| place(marker.line(), plain.column(marker.line(), marker.col()) + 1);
    let mut reader = Reader::new(environment, problems);
    let mut root = None;
    for event in Parser::<StrInput<'_>>::new_from_str(&plain.text) {
        let (event, span) = event.map_err(|error| syntax(&error, position(*error.marker()), text))?;
        if matches!(event, Event::DocumentStart(_)) && root.is_some() {
            let problem = Problem::new(
                Code::SeveralDocuments,
                Path::default(),
                position(span.start),
                "a second document starts here",
            );
            return Err(Box::new(problem.hint("a file holds one document: remove the line `---`")));
        }
        if let Some(node) = reader.event(event, position(span.start))? {
            root = Some(node);
        }
    }
    match root {
        Some(node) if node.value != Value::Null => Ok(node),
        _ => Err(Box::new(nothing())),
    }
}

fn check_text(text: &str) -> Result<(), Box<Problem>> {
    if text.len() > limit::BYTES {
        let message = format!("the document has {} bytes; {} are the most", text.len(), limit::BYTES);
        return Err(Box::new(Problem::of_file(Code::OverLimit, message)));
    }
    let is_junk = |c: char| {
        (c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{85}' | '\u{7f}'))
            || matches!(c, '\u{fffe}' | '\u{ffff}')
    };
    match text.find(is_junk) {
        None if text.trim_matches(['\u{feff}', ' ', '\t', '\r', '\n']).is_empty() => Err(Box::new(nothing())),
        None => Ok(()),
        Some(at) => {
            let before = &text[..at];
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().unwrap_or(before).chars().count() + 1;
            let junk = text[at..].chars().next().unwrap_or_default();
            let message = format!("the file is not text: it has the character {junk:?}");
            Err(Box::new(
                Problem::new(Code::NotText, Path::default(), place(line, column), message)
                    .hint("is this the right file?"),
            ))
        }
    }
}

fn nothing() -> Problem {
    let hint = "the shortest document has listeners, services and routes";
    Problem::of_file(Code::EmptyDocument, "the document is empty").hint(hint)
}

/// JSON is YAML but for two things: it may be indented by tabs, and it writes some characters as pairs of escapes.
fn as_yaml(text: &str) -> Joined<'_> {
    let starts_flow = text.trim_start_matches(['\u{feff}', ' ', '\t', '\r', '\n']).starts_with(['{', '[']);
    if starts_flow { Joined::new(without_tabs(text)) } else { Joined::unchanged(text.into()) }
}

/// Inside brackets indentation means nothing, so there a tab is a space.
fn without_tabs(text: &str) -> Cow<'_, str> {
    if !text.contains('\t') {
        return text.into();
    }
    let mut indents = true;
    let spaced = text.chars().map(|c| {
        indents = c == '\n' || (indents && matches!(c, ' ' | '\t' | '\r' | '\u{feff}'));
        if indents && c == '\t' { ' ' } else { c }
    });
    spaced.collect::<String>().into()
}

fn syntax(error: &ScanError, at: Position, text: &str) -> Box<Problem> {
    let line = text.lines().nth(usize::try_from(at.line).unwrap_or(0).saturating_sub(1)).unwrap_or_default();
    let problem = Problem::new(Code::Syntax, Path::default(), at, format!("the text is not YAML: {}", error.info()));
    Box::new(if error.info().contains("invalid Unicode character escape") {
        problem.hint("half of a pair such as \\ud83d\\ude00 is no character, and only JSON has pairs: write the character itself")
    } else if line.contains("${") {
        problem.hint("inside { } or [ ] a reference needs quotes: \"${NAME}\"")
    } else if line.trim_start_matches(' ').starts_with('\t') {
        problem.hint("YAML is indented with spaces, not with tabs")
    } else {
        problem
    })
}

fn place(line: usize, column: usize) -> Position {
    let narrow = |count| u32::try_from(count).unwrap_or(u32::MAX);
    Position { line: narrow(line), column: narrow(column) }
}

/// A list or map that is not finished.
struct Open {
    at: Position,
    anchor: usize,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    Map { entries: Vec<Entry>, key: Option<(String, Position)>, seen: HashSet<String> },
}

struct Reader<'a> {
    environment: &'a Environment,
    problems: &'a mut Problems,
    open: Vec<Open>,
    anchors: BTreeMap<usize, (Node, Measure)>,
    aliases: usize,
    /// What the tree and the copies behind its anchors cost so far.
    cost: Measure,
}

type Outcome<T> = Result<T, Box<Problem>>;

impl<'a> Reader<'a> {
    fn new(environment: &'a Environment, problems: &'a mut Problems) -> Self {
        Self { environment, problems, open: Vec::new(), anchors: BTreeMap::new(), aliases: 0, cost: Measure::default() }
    }

    /// Takes one event; gives the root when it is complete.
    fn event(&mut self, event: Event<'_>, at: Position) -> Outcome<Option<Node>> {
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd => {
                Ok(None)
            }
            Event::Alias(anchor) => self.alias(anchor, at),
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_tag(tag.as_deref(), at)?;
                self.scalar(text, style, anchor, at)
            }
            Event::SequenceStart(anchor, tag) => {
                self.refuse_tag(tag.as_deref(), at)?;
                self.start(Content::List(Vec::new()), anchor, at)
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse_tag(tag.as_deref(), at)?;
                self.start(Content::Map { entries: Vec::new(), key: None, seen: HashSet::new() }, anchor, at)
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
        }
    }

    fn problem(&self, code: Code, at: Position, message: impl Into<String>) -> Problem {
        Problem::new(code, self.path(), at, message)
    }

    /// Where the value is that is being read: made only when a problem needs it.
    fn path(&self) -> Path {
        self.open.iter().fold(Path::default(), |path, open| match &open.content {
            Content::List(items) => path.item(items.len()),
            Content::Map { key: Some((key, _)), .. } => path.field(key),
            Content::Map { key: None, .. } => path,
        })
    }

    fn refuse_tag(&self, tag: Option<&Tag>, at: Position) -> Outcome<()> {
        match tag {
            None => Ok(()),
            Some(tag) => {
                let message = format!("the tag {} is not supported", quote(&tag.to_string()));
                Err(Box::new(
                    self.problem(Code::UnsupportedYaml, at, message)
                        .hint("remove the tag; quotes make a text of a number"),
                ))
            }
        }
    }

    fn expects_key(&self) -> bool {
        matches!(self.open.last(), Some(Open { content: Content::Map { key: None, .. }, .. }))
    }

    fn start(&mut self, content: Content, anchor: usize, at: Position) -> Outcome<Option<Node>> {
        if self.expects_key() {
            return Err(Box::new(self.bad_key(at)));
        }
        if self.open.len() >= limit::DEPTH {
            return Err(Box::new(self.over_limit(at, "lists and maps inside each other", limit::DEPTH)));
        }
        self.spend(Measure { nodes: 1, bytes: 0, depth: 0 }, at)?;
        self.open.push(Open { at, anchor, content });
        Ok(None)
    }

    fn end(&mut self) -> Outcome<Option<Node>> {
        let open = self.open.pop().expect("the parser ends only what it started");
        let value = match open.content {
            Content::List(items) => Value::List(items),
            Content::Map { entries, .. } => Value::Map(entries),
        };
        self.complete(Node::new(open.at, value), open.anchor)
    }

    fn scalar(&mut self, text: Cow<'_, str>, style: ScalarStyle, anchor: usize, at: Position) -> Outcome<Option<Node>> {
        self.spend(Measure { nodes: 1, bytes: text.len(), depth: 0 }, at)?;
        if self.expects_key() {
            return self.key(text.into_owned(), at).map(|()| None);
        }
        let text = if text.contains('$') { self.substituted(&text, at)? } else { Some(text.into_owned()) };
        let value = match (text, style) {
            (None, _) => Value::Broken,
            (Some(text), ScalarStyle::Plain) => typed(text),
            (
                Some(text),
                ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted | ScalarStyle::Literal | ScalarStyle::Folded,
            ) => Value::Text(text),
        };
        self.complete(Node::new(at, value), anchor)
    }

    /// The text with its references filled in; nothing when that is a problem.
    fn substituted(&mut self, text: &str, at: Position) -> Outcome<Option<String>> {
        let problem = match substitute(text, self.environment, limit::BYTES) {
            Ok(result) => {
                self.spend(Measure { nodes: 0, bytes: result.len().saturating_sub(text.len()), depth: 0 }, at)?;
                return Ok(Some(result));
            }
            Err(ReferenceError::TooLong) => return Err(Box::new(self.over_limit(at, "bytes of text", limit::BYTES))),
            Err(ReferenceError::Unset(name)) => self
                .problem(Code::UnsetVariable, at, format!("the environment has no variable {}", quote(&name)))
                .hint("set it, or give a default: ${NAME:-default}"),
            Err(ReferenceError::Malformed(reference)) => self
                .problem(Code::BadReference, at, format!("{} is not a reference to the environment", quote(&reference)))
                .hint("write ${NAME} or ${NAME:-default}; $$ stands for a dollar sign"),
        };
        self.problems.push(problem);
        Ok(None)
    }

    fn key(&mut self, text: String, at: Position) -> Outcome<()> {
        if text == "<<" {
            let problem = self.problem(Code::UnsupportedYaml, at, "merge keys (<<) are not supported");
            return Err(Box::new(problem.hint("an alias may stand for a whole value")));
        }
        if let Some(Open { content: Content::Map { key, .. }, .. }) = self.open.last_mut() {
            *key = Some((text, at));
        }
        Ok(())
    }

    fn bad_key(&self, at: Position) -> Problem {
        self.problem(Code::UnsupportedYaml, at, "the key of a field must be a text")
            .hint("in YAML, { } and [ ] are values: quote a text that starts with one")
    }

    fn alias(&mut self, anchor: usize, at: Position) -> Outcome<Option<Node>> {
        if self.expects_key() {
            return Err(Box::new(self.bad_key(at)));
        }
        self.aliases += 1;
        if self.aliases > limit::ALIASES {
            return Err(Box::new(self.over_limit(at, "aliases", limit::ALIASES)));
        }
        let Some((_, measure)) = self.anchors.get(&anchor) else {
            return Err(Box::new(self.problem(Code::BadAlias, at, "the alias stands inside of what it names")));
        };
        let measure = *measure;
        if self.open.len() + measure.depth > limit::DEPTH {
            return Err(Box::new(self.over_limit(at, "lists and maps inside each other", limit::DEPTH)));
        }
        self.spend(measure, at)?;
        let node = self.anchors[&anchor].0.clone();
        self.complete(node, 0)
    }

    /// Puts a finished value where it belongs.
    fn complete(&mut self, mut node: Node, anchor: usize) -> Outcome<Option<Node>> {
        if anchor > 0 {
            let measure = node.measure();
            self.spend(measure, node.at)?;
            self.anchors.insert(anchor, (node.clone(), measure));
        }
        match self.open.last_mut().map(|open| &mut open.content) {
            None => return Ok(Some(node)),
            Some(Content::List(items)) => {
                node.place = items.len();
                items.push(node);
            }
            Some(Content::Map { entries, key, seen }) => {
                let (key, key_at) = key.take().expect("a value follows its key");
                if is_seen(&key, entries, seen) {
                    self.report_duplicate(&key, key_at);
                } else {
                    entries.push(Entry { key, key_at, node });
                }
            }
        }
        Ok(None)
    }

    fn report_duplicate(&mut self, key: &str, at: Position) {
        let message = format!("the field {} stands here twice", quote(key));
        let problem = Problem::new(Code::DuplicateKey, self.path().field(key), at, message);
        self.problems.push(problem.hint("only one of them can count: remove the other"));
    }

    fn spend(&mut self, part: Measure, at: Position) -> Outcome<()> {
        self.cost.nodes += part.nodes;
        self.cost.bytes += part.bytes;
        if self.cost.nodes > limit::NODES {
            return Err(Box::new(self.over_limit(at, "values", limit::NODES)));
        }
        if self.cost.bytes > limit::BYTES {
            return Err(Box::new(self.over_limit(at, "bytes of text", limit::BYTES)));
        }
        Ok(())
    }

    fn over_limit(&self, at: Position, what: &str, most: usize) -> Problem {
        let message = format!("the document has more than {most} {what}, aliases and environment filled in");
        self.problem(Code::OverLimit, at, message)
    }
}

fn is_seen(key: &str, entries: &[Entry], seen: &mut HashSet<String>) -> bool {
    if entries.len() < SMALL_MAP {
        return entries.iter().any(|entry| entry.key == key);
    }
    if seen.is_empty() {
        seen.extend(entries.iter().map(|entry| entry.key.clone()));
    }
    !seen.insert(key.to_owned())
}
