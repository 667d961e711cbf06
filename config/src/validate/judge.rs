//! What every rule needs: where things are written, and which parts could not be judged.

use std::collections::HashMap;
use std::hash::Hash;

use crate::problem::{Code, Path, Problem, Problems, quote};
use crate::remains::Gaps;
use crate::schema::service::Service;
use crate::suggestion::Suggestions;
use crate::tree::Node;

/// The hand that holds the tree, the problems and the gaps.
pub(super) struct Judge<'a> {
    pub(super) root: &'a Node,
    pub(super) gaps: Gaps,
    pub(super) problems: &'a mut Problems,
    pub(super) suggestions: &'a mut Suggestions,
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

    /// Whether a map without any field is written here.
    pub(super) fn is_empty(&self, path: &Path) -> bool {
        let fields = self.root.get(path).and_then(Node::fields);
        fields.is_some_and(<[_]>::is_empty)
    }

    /// Whether all endpoints and sources of the service at `path` are as they were written.
    pub(super) fn knows_members(&self, path: &Path, service: &Service) -> bool {
        // Beside the one that is there, the other was hardly meant by an unknown field.
        let part = match (&service.versions, &service.endpoints) {
            (Some(_), _) => "versions",
            (None, Some(_)) => "endpoints",
            (None, None) => return false,
        };
        !self.gaps.is_damaged(&path.clone().field(part))
    }

    /// Whether these fields of `around`, which is itself a field of `service`, are as they were written.
    pub(super) fn knows(&self, service: &Path, around: &str, fields: &[&str]) -> bool {
        let path = service.clone().field(around);
        !self.gaps.lost(service, around) && !fields.iter().any(|field| self.gaps.lost(&path, field))
    }

    /// Whether this field of the item at `list` is lost.
    pub(super) fn is_lost(&self, list: &Path, index: usize, field: &str) -> bool {
        self.gaps.is_damaged(list) && self.gaps.lost(&list.clone().item(index), field)
    }

    /// Whether what a name refers to may be among the lost ones: one that cannot be read, is the same, or is near.
    pub(super) fn may_be_lost(&mut self, name: &str, lost: &[Option<String>]) -> bool {
        let texts = lost.iter().flatten().map(String::as_str);
        lost.contains(&None)
            || texts.clone().any(|text| text == name)
            || self.suggestions.nearest(name, texts).is_some()
    }

    /// Reports each name that was used before by one of its siblings, which are the items of the list at `list`.
    pub(super) fn unique_names<'n>(&mut self, list: &Path, what: &str, names: impl Iterator<Item = &'n str>) {
        let known = names.enumerate().filter(|(index, _)| !self.is_lost(list, *index, "name"));
        for (later, first, name) in repeated(known) {
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
pub(super) fn repeated<T: Eq + Hash + Copy>(values: impl Iterator<Item = (usize, T)>) -> Vec<(usize, usize, T)> {
    let mut seen = HashMap::new();
    let mut repeated = Vec::new();
    for (place, value) in values {
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
