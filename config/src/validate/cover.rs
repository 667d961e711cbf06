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

/// The hidden routes, each with one that hides it. Only routes whose match `is_known` hide or are hidden.
pub(super) fn hidden(routes: &[Route], is_known: impl Fn(usize) -> bool) -> Vec<(usize, usize)> {
    let mut search = Search::default();
    let mut hidden = Vec::new();
    for (place, route) in routes.iter().enumerate().filter(|(place, _)| is_known(*place)) {
        if let Some(by) = search.same_path(routes, place) {
            hidden.push((place, by));
        }
        search.add(place, &route.matches);
    }
    let is_found: HashSet<usize> = hidden.iter().map(|(place, _)| *place).collect();
    let all_paths = (0..routes.len()).filter(|place| is_known(*place) && !is_found.contains(place));
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a request says about everything that the routes below look at.
    struct Request {
        host: &'static str,
        path: &'static str,
        method: &'static str,
        header: Option<&'static str>,
        query: Option<&'static str>,
    }

    fn every_request() -> Vec<Request> {
        let mut requests = Vec::new();
        for host in ["a.b", "c.a.b", "other"] {
            for path in ["/", "/x", "/x/y", "/xy"] {
                for method in ["GET", "POST", "PUT"] {
                    for header in [None, Some("1"), Some("2")] {
                        let query = [None, Some("1"), Some("2")];
                        requests.extend(query.map(|query| Request { host, path, method, header, query }));
                    }
                }
            }
        }
        requests
    }

    fn takes(matches: &Match, request: &Request) -> bool {
        let host = match &matches.host {
            HostMatch::Any => true,
            HostMatch::Exact(host) => host == request.host,
            HostMatch::Wildcard(suffix) => request.host.ends_with(&format!(".{suffix}")),
        };
        let path = match &matches.path {
            PathMatch::Exact(path) => path == request.path,
            PathMatch::Prefix(path) if path == "/" => true,
            PathMatch::Prefix(path) => request.path == path || request.path.starts_with(&format!("{path}/")),
            // The two expressions below; compiling them for each request would take minutes.
            PathMatch::Regex(text) => text == ".*" || request.path.starts_with("/x"),
        };
        let holds = |predicates: &[ValueMatch], value: Option<&str>| {
            predicates
                .iter()
                .all(|wanted| value.is_some() && (wanted.value.is_none() || wanted.value.as_deref() == value))
        };
        let method = matches.methods.is_empty() || matches.methods.iter().any(|method| method == request.method);
        host && path && method && holds(&matches.headers, request.header) && holds(&matches.query, request.query)
    }

    /// The order of precedence, as the documentation states it.
    fn rank(place: usize, matches: &Match) -> (u8, usize, u8, usize, usize, usize) {
        let (host, labels) = match &matches.host {
            HostMatch::Exact(_) => (0, 0),
            HostMatch::Wildcard(suffix) => (1, usize::MAX - suffix.len()),
            HostMatch::Any => (2, 0),
        };
        let (path, within) = match &matches.path {
            PathMatch::Exact(_) => (0, 0),
            PathMatch::Regex(_) => (1, place),
            PathMatch::Prefix(path) => (2, usize::MAX - path.len()),
        };
        let predicates = usize::from(!matches.methods.is_empty()) + matches.headers.len() + matches.query.len();
        (host, labels, path, within, usize::MAX - predicates, place)
    }

    fn host() -> impl Strategy<Value = HostMatch> {
        prop::sample::select(vec![
            HostMatch::Any,
            HostMatch::Exact("a.b".to_owned()),
            HostMatch::Wildcard("b".to_owned()),
            HostMatch::Wildcard("a.b".to_owned()),
        ])
    }

    fn path() -> impl Strategy<Value = PathMatch> {
        prop::sample::select(vec![
            PathMatch::Prefix("/".to_owned()),
            PathMatch::Prefix("/x".to_owned()),
            PathMatch::Exact("/x".to_owned()),
            PathMatch::Regex(".*".to_owned()),
            PathMatch::Regex("/x.*".to_owned()),
        ])
    }

    fn predicate() -> impl Strategy<Value = Vec<ValueMatch>> {
        let value = |value: &str| vec![ValueMatch { name: "n".to_owned(), value: Some(value.to_owned()) }];
        let any = vec![ValueMatch { name: "n".to_owned(), value: None }];
        prop::sample::select(vec![vec![], vec![], any, value("1"), value("2")])
    }

    fn route() -> impl Strategy<Value = Route> {
        let methods = prop::sample::select(vec![vec![], vec!["GET"], vec!["GET", "POST"], vec!["POST", "PUT"]]);
        (host(), path(), methods, predicate(), predicate()).prop_map(|(host, path, methods, headers, query)| {
            let methods = methods.into_iter().map(str::to_owned).collect();
            let matches = Match { host, path, methods, headers, query };
            Route {
                name: String::new(),
                matches,
                service: 0,
                version: None,
                capability: None,
                priority: crate::validated::Priority::Normal,
            }
        })
    }

    proptest! {
        #[test]
        fn no_request_reaches_a_hidden_route(routes in prop::collection::vec(route(), 1..12)) {
            let mut order: Vec<usize> = (0..routes.len()).collect();
            order.sort_by_key(|place| rank(*place, &routes[*place].matches));
            let hidden = hidden(&routes, |_| true);
            for request in every_request() {
                let first = order.iter().find(|place| takes(&routes[**place].matches, &request));
                prop_assert!(!hidden.iter().any(|(place, _)| Some(place) == first));
            }
        }

        /// Alone with the route that is said to hide it, a route is still hidden.
        #[test]
        fn the_named_route_is_the_one_that_hides(routes in prop::collection::vec(route(), 1..12)) {
            for (place, by) in hidden(&routes, |_| true) {
                let takes_all = every_request().iter().all(|request| {
                    !takes(&routes[place].matches, request) || takes(&routes[by].matches, request)
                });
                prop_assert!(takes_all && rank(by, &routes[by].matches) < rank(place, &routes[place].matches));
            }
        }
    }
}
