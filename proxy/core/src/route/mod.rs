//! Decides which route a request takes.
//!
//! The most specific host decides first, then the most specific path, then the predicates; only between equals does the
//! order of the document count. "First match wins" would make each new route a question about all those above it.
//!
//! - Host: exact, then wildcards by the longest suffix, then routes for any host.
//! - Path: exact, then regular expressions in the order of the document, then the longest prefix by segment.
//! - Predicates (methods, headers, query): the route with more of them first, then the order of the document.
//!
//! A path whose routes all fail their predicates gives way to the next path, and a host whose paths all fail to the
//! next wider host: `POST /api` does not hide what `/` offers for GET.
//!
//! The cost does not grow with the number of routes: a few look-ups by hash per host and per segment, and no more of
//! them than the deepest configured path has segments, so a long path costs the sender and not us. Regular expressions
//! are the exception: those of one host are tried one by one (each in time linear in the path). The hash is not keyed,
//! since a client can look up but never insert.
//!
//! Invariants: the answer is the one that a scan over all routes by the order above gives; nothing is allocated.

mod paths;
mod predicate;

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};

use sluice_config::validated::{HostMatch, Match, Route};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use self::paths::Paths;
pub use self::predicate::Miss;

/// The fields of a request's head.
pub trait Fields {
    /// The first value of this field; the name is in lower case.
    fn first(&self, name: &str) -> Option<&[u8]>;
}

/// What a route is found by.
#[derive(Debug)]
pub struct RequestView<'a, F> {
    /// As it was sent: methods are case-sensitive.
    pub method: &'a str,
    /// In lower case and without port; empty if the request has none.
    pub host: &'a str,
    /// Without the query.
    pub path: &'a str,
    /// What follows the `?`.
    pub query: Option<&'a str>,
    /// The head's fields.
    pub fields: &'a F,
}

/// A route that was looked at: its host and path match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Considered<'a> {
    /// Index into the routes.
    pub route: usize,
    /// What was found.
    pub finding: Finding<'a>,
}

/// What was found of a route whose host and path match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding<'a> {
    /// It answers.
    Chosen,
    /// A predicate does not hold.
    Missed(Miss<'a>),
    /// It would answer, if one before it did not.
    Outranked,
}

/// Why a table cannot be built: a regular expression that does not compile, or is too large when compiled.
#[derive(Debug)]
pub struct BadRegex {
    /// Index into the routes.
    pub route: usize,
    /// What is wrong with it.
    pub source: regex::Error,
}

impl fmt::Display for BadRegex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the path of route {} is no regular expression that can be used", self.route)
    }
}

impl std::error::Error for BadRegex {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// The routes of one revision, arranged for look-up.
#[derive(Debug, Default)]
pub struct RouteTable {
    matches: Vec<Match>,
    exact: Map<Paths>,
    wildcards: Map<Paths>,
    any: Paths,
    /// In bytes: no longer suffix needs to be looked up.
    longest_wildcard: usize,
}

impl RouteTable {
    /// The table of these routes. O(routes), plus what regular expressions take to compile.
    ///
    /// # Errors
    /// For a regular expression that does not compile.
    pub fn build(routes: &[Route]) -> Result<Self, BadRegex> {
        let mut table = Self { matches: routes.iter().map(|route| route.matches.clone()).collect(), ..Self::default() };
        for (at, route) in routes.iter().enumerate() {
            let paths = table.paths_of(&route.matches.host);
            paths.insert(&route.matches.path, at).map_err(|source| BadRegex { route: at, source })?;
        }
        let matches = &table.matches;
        let hosts = [&mut table.exact, &mut table.wildcards].into_iter().flat_map(all_mut);
        hosts.chain([&mut table.any]).for_each(|paths| paths.rank(|route| predicate::count(&matches[route])));
        Ok(table)
    }

    /// The index of the route that this request takes.
    #[must_use]
    pub fn find<F: Fields>(&self, request: &RequestView<'_, F>) -> Option<usize> {
        self.walk(request.host, request.path, |route| {
            predicate::first_miss(&self.matches[route], request).is_none().then_some(route)
        })
    }

    /// All routes whose host and path match, in the order of precedence. For people: allocates.
    #[must_use]
    pub fn explain<'a, F: Fields>(&'a self, request: &RequestView<'_, F>) -> Vec<Considered<'a>> {
        let (mut considered, mut chosen) = (Vec::new(), false);
        let _: Option<()> = self.walk(request.host, request.path, |route| {
            let finding = match predicate::first_miss(&self.matches[route], request) {
                Some(miss) => Finding::Missed(miss),
                None if chosen => Finding::Outranked,
                None => Finding::Chosen,
            };
            chosen |= finding == Finding::Chosen;
            considered.push(Considered { route, finding });
            None
        });
        considered
    }

    /// Visits the routes whose host and path match, in the order of precedence, until one gives an answer.
    fn walk<T>(&self, host: &str, path: &str, mut visit: impl FnMut(usize) -> Option<T>) -> Option<T> {
        if let Some(found) = self.exact.get(host).and_then(|paths| paths.walk(path, &mut visit)) {
            return Some(found);
        }
        for suffix in self.suffixes(host) {
            if let Some(found) = self.wildcards.get(suffix).and_then(|paths| paths.walk(path, &mut visit)) {
                return Some(found);
            }
        }
        self.any.walk(path, &mut visit)
    }

    /// What follows each dot, longest first, where one or more labels stand before it.
    fn suffixes<'a>(&self, host: &'a str) -> impl Iterator<Item = &'a str> + use<'a> {
        let from =
            if self.wildcards.is_empty() { host.len() } else { host.len().saturating_sub(self.longest_wildcard + 1) };
        let dots = host.bytes().enumerate().skip(from.max(1)).filter(|(_, byte)| *byte == b'.');
        dots.map(|(at, _)| &host[at + 1..])
    }

    fn paths_of(&mut self, host: &HostMatch) -> &mut Paths {
        match host {
            HostMatch::Any => &mut self.any,
            HostMatch::Exact(name) => self.exact.entry(name.as_str().into()).or_default(),
            HostMatch::Wildcard(suffix) => {
                self.longest_wildcard = self.longest_wildcard.max(suffix.len());
                self.wildcards.entry(suffix.as_str().into()).or_default()
            }
        }
    }
}

type Map<T> = HashMap<Box<str>, T, BuildHasherDefault<OneShot>>;

#[expect(clippy::disallowed_methods, reason = "each value is changed by itself, so the order does not matter")]
fn all_mut<T>(map: &mut Map<T>) -> impl Iterator<Item = &mut T> {
    map.values_mut()
}

/// XXH3 over a whole key at once: a streaming state would cost more to set up than a short key costs to hash.
#[derive(Default)]
struct OneShot(u64);

impl Hasher for OneShot {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64_with_seed(bytes, self.0);
    }

    /// The end mark of a string tells apart parts of a compound key; keys here have one part.
    fn write_u8(&mut self, _: u8) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests;
