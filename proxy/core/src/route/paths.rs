//! The paths of one host.

use regex::Regex;
use sluice_config::path_regex;
use sluice_config::validated::PathMatch;

use super::{Map, all_mut};

/// The routes of one host by their paths; those of one path in the order of precedence.
#[derive(Debug, Default)]
pub(super) struct Paths {
    exact: Map<Vec<usize>>,
    /// In the order of the document.
    regexes: Vec<(Regex, Vec<usize>)>,
    /// Without the last slash, so `/` is the empty one.
    prefixes: Map<Vec<usize>>,
    /// Slashes in the deepest prefix: no deeper one needs to be looked up.
    deepest: usize,
}

impl Paths {
    pub(super) fn insert(&mut self, path: &PathMatch, route: usize) -> Result<(), regex::Error> {
        match path {
            PathMatch::Exact(path) => self.exact.entry(path.as_str().into()).or_default().push(route),
            PathMatch::Regex(pattern) => self.insert_regex(pattern, route)?,
            PathMatch::Prefix(prefix) => self.insert_prefix(prefix.strip_suffix('/').unwrap_or(prefix), route),
        }
        Ok(())
    }

    fn insert_regex(&mut self, pattern: &str, route: usize) -> Result<(), regex::Error> {
        let regex = path_regex(pattern)?;
        match self.regexes.iter_mut().find(|(known, _)| known.as_str() == regex.as_str()) {
            Some((_, routes)) => routes.push(route),
            None => self.regexes.push((regex, vec![route])),
        }
        Ok(())
    }

    fn insert_prefix(&mut self, prefix: &str, route: usize) {
        self.deepest = self.deepest.max(slashes(prefix).count());
        self.prefixes.entry(prefix.into()).or_default().push(route);
    }

    /// Puts the routes of each path with more predicates first, equals in the order of the document.
    pub(super) fn rank(&mut self, predicates: impl Fn(usize) -> usize) {
        let rank =
            |routes: &mut Vec<usize>| routes.sort_by_key(|route| (std::cmp::Reverse(predicates(*route)), *route));
        all_mut(&mut self.exact).for_each(rank);
        self.regexes.iter_mut().map(|(_, routes)| routes).for_each(rank);
        all_mut(&mut self.prefixes).for_each(rank);
    }

    /// Visits the routes that hold this path, in the order of precedence, until one gives an answer.
    pub(super) fn walk<T>(&self, path: &str, visit: &mut impl FnMut(usize) -> Option<T>) -> Option<T> {
        if let Some(found) = self.exact.get(path).and_then(|routes| routes.iter().copied().find_map(&mut *visit)) {
            return Some(found);
        }
        for (_, routes) in self.regexes.iter().filter(|(regex, _)| regex.is_match(path)) {
            if let Some(found) = routes.iter().copied().find_map(&mut *visit) {
                return Some(found);
            }
        }
        self.walk_prefixes(path, visit)
    }

    fn walk_prefixes<T>(&self, path: &str, visit: &mut impl FnMut(usize) -> Option<T>) -> Option<T> {
        let mut end = self.deepest_end(path);
        loop {
            if let Some(found) = self.prefixes.get(&path[..end]).and_then(|rs| rs.iter().copied().find_map(&mut *visit))
            {
                return Some(found);
            }
            if end == 0 {
                return None;
            }
            end = path[..end].rfind('/').unwrap_or(0);
        }
    }

    /// Where the longest part of the path ends that can be a prefix.
    fn deepest_end(&self, path: &str) -> usize {
        slashes(path).nth(self.deepest).unwrap_or(path.len())
    }
}

fn slashes(path: &str) -> impl Iterator<Item = usize> + '_ {
    path.bytes().enumerate().filter(|(_, byte)| *byte == b'/').map(|(at, _)| at)
}
