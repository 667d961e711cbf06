//! Which routes no request can reach, because an earlier one takes everything that they match.
//!
//! A route is earlier by this order: exact host before longer wildcard before any host; exact path before regular
//! expressions in the order of the document before longer prefix; more predicates before fewer; the order of the document.
//! A route that is earlier *and* matches at least as much therefore has the same host, since a wider host is later. Then
//! there are two cases:
//!
//! * the same path. The earlier one has no fewer predicates, and each of its predicates follows from one of the later's.
//!   So both have predicates on the same names, and each predicate of the earlier one is the same or wider (any value in
//!   place of one, more methods).
//! * a regular expression that matches every path, earlier in the document than another expression, or before any
//!   prefix. Its predicates must each follow from those of the later one, which may have more.
//!
//! Sound, not complete: a route that several others cover only together is not found. The work for each route is bounded,
//! so that a document of 200,000 routes with one path stays linear.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::validated::{HostMatch, Match, PathMatch, Route, ValueMatch};

/// How many earlier routes one route is compared with in each of the two cases.
const COMPARISONS: usize = 64;

/// The hidden routes, each with one that hides it.
pub(super) fn hidden(routes: &[Route]) -> Vec<(usize, usize)> {
    let mut search = Search::default();
    let mut hidden = Vec::new();
    for (place, route) in routes.iter().enumerate() {
        if let Some(by) = search.same_path(routes, place) {
            hidden.push((place, by));
        }
        search.add(place, &route.matches);
    }
    let is_found: HashSet<usize> = hidden.iter().map(|(place, _)| *place).collect();
    let all_paths = (0..routes.len()).filter(|place| !is_found.contains(place));
    let by_expression: Vec<_> =
        all_paths.filter_map(|place| Some((place, search.every_path(routes, place)?))).collect();
    hidden.extend(by_expression);
    hidden.sort_unstable();
    hidden
}

/// What two routes must share to be compared: all but the values.
#[derive(PartialEq, Eq, Hash)]
struct Frame<'a> {
    host: &'a HostMatch,
    path: &'a PathMatch,
    has_methods: bool,
    headers: Vec<&'a str>,
    query: Vec<&'a str>,
}

/// The values of the predicates in order; nothing for any value.
type Values<'a> = Vec<Option<&'a str>>;

/// Which predicates accept any value, and for each such pattern the routes by their values.
type Patterns<'a> = BTreeMap<Vec<bool>, HashMap<Values<'a>, Vec<usize>>>;

#[derive(Default)]
struct Search<'a> {
    frames: HashMap<Frame<'a>, Patterns<'a>>,
    /// Expressions that match every path, by host.
    expressions: HashMap<&'a HostMatch, Vec<usize>>,
}

impl<'a> Search<'a> {
    fn add(&mut self, place: usize, matches: &'a Match) {
        let values = values(matches);
        let pattern = values.iter().map(Option::is_none).collect();
        let patterns = self.frames.entry(frame(matches)).or_default();
        patterns.entry(pattern).or_default().entry(values).or_default().push(place);
        if matches!(&matches.path, PathMatch::Regex(text) if matches_all(text)) {
            self.expressions.entry(&matches.host).or_default().push(place);
        }
    }

    /// An earlier route with this route's path that covers it. Only routes before it in the document were added.
    fn same_path(&self, routes: &'a [Route], place: usize) -> Option<usize> {
        let matches = &routes[place].matches;
        let own = values(matches);
        let patterns = self.frames.get(&frame(matches))?;
        let candidates = patterns.iter().take(COMPARISONS).filter_map(|(pattern, by_values)| {
            let widened: Values<'_> =
                own.iter().zip(pattern).map(|(value, any)| if *any { None } else { *value }).collect();
            by_values.get(&widened)
        });
        let mut candidates = candidates.flatten().take(COMPARISONS);
        candidates.find(|earlier| accepts_methods(&routes[**earlier].matches, matches)).copied()
    }

    /// An expression that takes every path of this route's host, and comes before it.
    fn every_path(&self, routes: &[Route], place: usize) -> Option<usize> {
        let matches = &routes[place].matches;
        let expressions = self.expressions.get(&matches.host)?;
        let is_earlier = |expression: usize| match matches.path {
            PathMatch::Exact(_) => false,
            PathMatch::Regex(_) => expression < place && routes[expression].matches.path != matches.path,
            PathMatch::Prefix(_) => true,
        };
        let mut earlier = expressions.iter().take(COMPARISONS).filter(|expression| is_earlier(**expression));
        earlier.find(|expression| follows(&routes[**expression].matches, matches)).copied()
    }
}

fn frame(matches: &Match) -> Frame<'_> {
    Frame {
        host: &matches.host,
        path: &matches.path,
        has_methods: !matches.methods.is_empty(),
        headers: matches.headers.iter().map(|header| header.name.as_str()).collect(),
        query: matches.query.iter().map(|parameter| parameter.name.as_str()).collect(),
    }
}

fn values(matches: &Match) -> Values<'_> {
    matches.headers.iter().chain(&matches.query).map(|predicate| predicate.value.as_deref()).collect()
}

/// Whether the wide match takes every method of the narrow one. Methods are sorted.
fn accepts_methods(wide: &Match, narrow: &Match) -> bool {
    let has = |method: &String| wide.methods.binary_search(method).is_ok();
    wide.methods.is_empty() || (!narrow.methods.is_empty() && narrow.methods.iter().all(has))
}

/// Whether each predicate of the wide match follows from those of the narrow one.
fn follows(wide: &Match, narrow: &Match) -> bool {
    let holds = |wide: &ValueMatch, narrow: &[ValueMatch]| {
        narrow.iter().any(|own| own.name == wide.name && (wide.value.is_none() || wide.value == own.value))
    };
    accepts_methods(wide, narrow)
        && wide.headers.iter().all(|header| holds(header, &narrow.headers))
        && wide.query.iter().all(|parameter| holds(parameter, &narrow.query))
}

/// Whether an expression certainly matches every path. Others may too; these are what people write.
fn matches_all(text: &str) -> bool {
    let text = text.strip_prefix('^').unwrap_or(text);
    let text = text.strip_suffix('$').unwrap_or(text);
    matches!(text, ".*" | "/.*" | ".+" | "(.*)" | "(/.*)" | "/(.*)" | "(?:.*)")
}
