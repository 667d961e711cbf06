//! What every rule needs: where things are written, and which parts could not be judged.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::Hash;

use crate::problem::{Code, Path, Problem, Problems, Step, quote};
use crate::suggestion::Suggestions;
use crate::tree::{Entry, Node, Value};

const SECTIONS: [&str; 4] = ["listeners", "regions", "services", "routes"];

/// The hand that holds the tree, the problems and the gaps.
pub(super) struct Judge<'a> {
    pub(super) root: &'a Node,
    pub(super) gaps: Gaps,
    pub(super) problems: &'a mut Problems,
    pub(super) suggestions: &'a mut Suggestions,
}

/// What was set aside because its structure is wrong.
#[derive(Debug, Default)]
pub(super) struct Gaps {
    /// Some region, or all of them: nothing is said about regions as a whole.
    pub(super) regions: bool,
    /// Some service without a readable name, or all of them: a name that is not there may be one of these.
    pub(super) services: bool,
    /// The names of services that were set aside.
    pub(super) named: HashSet<String>,
}

impl Gaps {
    /// The document without the items that have problems, and what these were.
    pub(super) fn find<'r>(root: &'r Node, problems: &Problems) -> (Cow<'r, Node>, Self) {
        if problems.is_empty() {
            return (Cow::Borrowed(root), Self::default());
        }
        let (mut whole, mut items) = (BTreeSet::new(), HashSet::new());
        for problem in &problems.problems {
            match problem.path.steps() {
                [Step::Field(section), Step::Item(place), ..] => drop(items.insert((section.as_str(), *place))),
                [Step::Field(section), ..] => drop(whole.insert(section.as_str())),
                _ => {}
            }
        }
        let mut gaps = Self::default();
        let mut sections: Vec<Entry> = Vec::new();
        for name in SECTIONS {
            let sound = gaps.sound_items(root, name, &items, whole.contains(name));
            sections.push(sound);
        }
        if let Some(drain) = root.field("drain").filter(|_| !whole.contains("drain")) {
            sections.push(Entry { key: "drain".to_owned(), key_at: drain.at, node: drain.clone() });
        }
        (Cow::Owned(Node::new(root.at, Value::Map(sections))), gaps)
    }

    fn sound_items(&mut self, root: &Node, name: &str, bad: &HashSet<(&str, usize)>, all_bad: bool) -> Entry {
        let node = root.field(name);
        let at = node.map_or(root.at, |node| node.at);
        let items: &[Node] = match node.map(|node| &node.value) {
            Some(Value::List(items)) => items,
            _ => &[],
        };
        let (gone, sound): (Vec<&Node>, Vec<&Node>) =
            items.iter().partition(|item| all_bad || bad.contains(&(name, item.place)));
        let is_lost = all_bad || (items.is_empty() && name != "regions");
        match name {
            "regions" => self.regions = is_lost || !gone.is_empty(),
            "services" => {
                self.services = is_lost;
                gone.iter().for_each(|service| self.lose_service(service));
            }
            _ => {}
        }
        let value = Value::List(sound.into_iter().cloned().collect());
        Entry { key: name.to_owned(), key_at: at, node: Node::new(at, value) }
    }

    fn lose_service(&mut self, service: &Node) {
        match service.field("name").and_then(Node::text) {
            Some(name) => drop(self.named.insert(name.to_owned())),
            None => self.services = true,
        }
    }
}

impl Judge<'_> {
    pub(super) fn report(&mut self, code: Code, path: Path, message: impl Into<String>, hint: Option<String>) {
        let (path, position) = self.root.locate(path);
        let problem = Problem::new(code, path, position, message);
        self.problems.push(Problem { hint, ..problem });
    }

    /// As [`report`](Self::report), but the place is the name of the field, not its value.
    pub(super) fn report_key(&mut self, code: Code, path: Path, message: impl Into<String>, hint: String) {
        let (path, position) = self.root.locate_key(path);
        self.problems.push(Problem::new(code, path, position, message).hint(hint));
    }

    /// `listeners[0] (line 2)`.
    pub(super) fn place(&self, path: Path) -> String {
        let (path, position) = self.root.locate(path);
        format!("{path} (line {})", position.line)
    }

    /// Reports each name that was used before by one of its siblings, which are the items of the list at `list`.
    pub(super) fn unique_names<'n>(&mut self, list: &Path, what: &str, names: impl Iterator<Item = &'n str>) {
        for (later, first, name) in repeated(names) {
            let other = self.place(list.clone().item(first));
            let message = format!("the {what} name {} is taken by {other}", quote(name));
            self.report(
                Code::DuplicateName,
                list.clone().item(later).field("name"),
                message,
                Some("give it another name".to_owned()),
            );
        }
    }
}

/// The places of values that stood before: (place, place of the first, value). Linear.
pub(super) fn repeated<T: Eq + Hash + Copy>(values: impl Iterator<Item = T>) -> Vec<(usize, usize, T)> {
    let mut seen = HashMap::new();
    let mut repeated = Vec::new();
    for (place, value) in values.enumerate() {
        let first = *seen.entry(value).or_insert(place);
        if first != place {
            repeated.push((place, first, value));
        }
    }
    repeated
}

/// The way to a section of the document.
pub(super) fn section(name: &str) -> Path {
    Path::default().field(name)
}
