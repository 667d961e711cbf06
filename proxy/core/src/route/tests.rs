use proptest::prelude::*;
use sluice_config::validated::{PathMatch, ValueMatch};

use super::*;
use crate::fixture::{route, value};

/// The fields of a head, as a list.
#[derive(Debug, Default)]
struct Head(Vec<(String, String)>);

impl Fields for Head {
    fn first(&self, name: &str) -> Option<&[u8]> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_bytes())
    }
}

#[derive(Debug)]
struct Request {
    method: &'static str,
    host: String,
    path: String,
    query: Option<String>,
    head: Head,
}

impl Request {
    fn get(host: &str, target: &str) -> Self {
        let (path, query) =
            target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query.to_owned())));
        Self { method: "GET", host: host.to_owned(), path: path.to_owned(), query, head: Head::default() }
    }

    fn view(&self) -> RequestView<'_, Head> {
        let Self { method, host, path, query, head } = self;
        RequestView { method, host, path, query: query.as_deref(), fields: head }
    }
}

fn exact(host: &str) -> HostMatch {
    HostMatch::Exact(host.to_owned())
}

fn wildcard(suffix: &str) -> HostMatch {
    HostMatch::Wildcard(suffix.to_owned())
}

fn prefix(path: &str) -> PathMatch {
    PathMatch::Prefix(path.to_owned())
}

fn find(routes: &[Route], host: &str, target: &str) -> Option<usize> {
    RouteTable::build(routes).unwrap().find(&Request::get(host, target).view())
}

#[test]
fn hosts_go_from_exact_over_the_longest_suffix_to_any() {
    let hosts = [HostMatch::Any, wildcard("com"), wildcard("example.com"), exact("shop.example.com")];
    let routes: Vec<Route> = hosts.into_iter().map(|host| route(host, prefix("/"))).collect();
    assert_eq!(find(&routes, "shop.example.com", "/"), Some(3));
    assert_eq!(find(&routes, "a.shop.example.com", "/"), Some(2));
    assert_eq!(find(&routes, "example.com", "/"), Some(1), "a wildcard wants a label of its own");
    assert_eq!(find(&routes, "notexample.com", "/"), Some(1));
    assert_eq!(find(&routes, ".com", "/"), Some(0));
    assert_eq!(find(&routes, "com", "/"), Some(0));
    assert_eq!(find(&routes, "", "/"), Some(0));
    assert_eq!(find(&routes[1..], "example.org", "/"), None);
}

#[test]
fn paths_go_from_exact_over_regex_to_the_longest_prefix() {
    let paths = [
        prefix("/"),
        prefix("/api"),
        prefix("/api/v1"),
        PathMatch::Regex("/api/v[0-9]".to_owned()),
        PathMatch::Exact("/api/v1".to_owned()),
    ];
    let routes: Vec<Route> = paths.into_iter().map(|path| route(HostMatch::Any, path)).collect();
    let find = |target| find(&routes, "h", target);
    assert_eq!(find("/api/v1"), Some(4));
    assert_eq!(find("/api/v2"), Some(3));
    assert_eq!(find("/api/v1/x"), Some(2), "a regular expression holds the whole path");
    assert_eq!(find("/api/v10"), Some(1));
    assert_eq!(find("/api"), Some(1));
    assert_eq!(find("/api/"), Some(1));
    assert_eq!(find("/apix"), Some(0));
    assert_eq!(find("/"), Some(0));
    assert_eq!(find("*"), Some(0));
}

#[test]
fn a_path_whose_predicates_fail_gives_way_to_the_next_path_and_host() {
    let mut routes = vec![
        route(exact("h"), PathMatch::Exact("/api".to_owned())),
        route(exact("h"), prefix("/")),
        route(HostMatch::Any, prefix("/")),
    ];
    routes[0].matches.methods = vec!["POST".to_owned()];
    routes[1].matches.headers = vec![value("x-canary", None)];
    let table = RouteTable::build(&routes).unwrap();
    let mut request = Request::get("h", "/api");
    assert_eq!(table.find(&request.view()), Some(2));
    request.head.0.push(("x-canary".to_owned(), String::new()));
    assert_eq!(table.find(&request.view()), Some(1));
    request.method = "POST";
    assert_eq!(table.find(&request.view()), Some(0));
}

#[test]
fn more_predicates_come_first_then_the_document() {
    let mut routes = vec![route(HostMatch::Any, prefix("/")); 4];
    routes[1].matches.query = vec![value("a", Some("1"))];
    routes[2].matches.query = vec![value("a", None)];
    routes[3].matches.query = vec![value("a", Some("1")), value("b", None)];
    let table = RouteTable::build(&routes).unwrap();
    let find = |target| table.find(&Request::get("h", target).view());
    assert_eq!(find("/?b&a=1"), Some(3));
    assert_eq!(find("/?a=1"), Some(1));
    assert_eq!(find("/?a=2&a=1"), Some(2), "the first parameter of a name counts");
    assert_eq!(find("/?b=1"), Some(0));
}

#[test]
fn parameters_are_compared_decoded() {
    let mut routes = vec![route(HostMatch::Any, prefix("/"))];
    routes[0].matches.query = vec![value("q", Some("a b/ü%"))];
    assert_eq!(find(&routes, "h", "/?q=a+b%2F%C3%bc%"), Some(0));
    assert_eq!(find(&routes, "h", "/?%71=a%20b/ü%25"), Some(0));
    assert_eq!(find(&routes, "h", "/?q=a+b"), None);
    assert_eq!(find(&routes, "h", "/?q=a+b%2F%C3%bc%zz"), None);
}

#[test]
fn explain_tells_each_route_whose_host_and_path_match() {
    let mut routes =
        vec![route(HostMatch::Any, prefix("/")), route(exact("h"), prefix("/a")), route(exact("h"), prefix("/b"))];
    routes.extend([route(exact("h"), prefix("/a/b")), route(exact("h"), PathMatch::Exact("/a/b".to_owned()))]);
    routes[3].matches.headers = vec![value("x", Some("1"))];
    routes[4].matches.methods = vec!["POST".to_owned()];
    let table = RouteTable::build(&routes).unwrap();
    let found: Vec<_> = table.explain(&Request::get("h", "/a/b").view()).iter().map(|c| (c.route, c.finding)).collect();
    let expected = [
        (4, Finding::Missed(Miss::Method)),
        (3, Finding::Missed(Miss::Header("x"))),
        (1, Finding::Chosen),
        (0, Finding::Outranked),
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_bad_regular_expression_names_its_route() {
    let routes = [route(HostMatch::Any, prefix("/")), route(HostMatch::Any, PathMatch::Regex("(".to_owned()))];
    assert_eq!(RouteTable::build(&routes).unwrap_err().route, 1);
}

/// The rule of the module's documentation, written as a scan: the smallest rank of all that match.
fn find_by_scan(routes: &[Route], request: &Request) -> Option<usize> {
    let matching = routes.iter().enumerate().filter(|(_, route)| matches(&route.matches, request));
    matching.min_by_key(|(at, route)| rank(routes, *at, route)).map(|(at, _)| at)
}

type Rank = (usize, usize, usize, usize, usize, usize);

fn rank(routes: &[Route], at: usize, route: &Route) -> Rank {
    let Match { host, path, .. } = &route.matches;
    let (host_kind, host_length) = match host {
        HostMatch::Exact(_) => (0, 0),
        HostMatch::Wildcard(suffix) => (1, usize::MAX - suffix.len()),
        HostMatch::Any => (2, 0),
    };
    let (path_kind, path_order) = match path {
        PathMatch::Exact(_) => (0, 0),
        PathMatch::Regex(_) => {
            (1, routes.iter().position(|other| other.matches.host == *host && other.matches.path == *path).unwrap())
        }
        PathMatch::Prefix(prefix) => (2, usize::MAX - prefix.trim_end_matches('/').len()),
    };
    (host_kind, host_length, path_kind, path_order, usize::MAX - predicate::count(&route.matches), at)
}

fn matches(matches: &Match, request: &Request) -> bool {
    let host = match &matches.host {
        HostMatch::Any => true,
        HostMatch::Exact(host) => *host == request.host,
        HostMatch::Wildcard(suffix) => {
            request.host.strip_suffix(suffix.as_str()).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
        }
    };
    let path = match &matches.path {
        PathMatch::Exact(path) => *path == request.path,
        PathMatch::Regex(pattern) => regex::Regex::new(&format!("^(?:{pattern})$")).unwrap().is_match(&request.path),
        PathMatch::Prefix(prefix) => {
            let rest = request.path.strip_prefix(prefix.trim_end_matches('/'));
            rest.is_some_and(|rest| prefix == "/" || rest.is_empty() || rest.starts_with('/'))
        }
    };
    let method = matches.methods.is_empty() || matches.methods.iter().any(|method| method == request.method);
    let holds = |wanted: &ValueMatch, found: Option<&str>| {
        found.is_some_and(|found| wanted.value.as_deref().is_none_or(|value| value == found))
    };
    let headers = matches.headers.iter().all(|wanted| {
        holds(wanted, request.head.0.iter().find(|(name, _)| *name == wanted.name).map(|(_, value)| value.as_str()))
    });
    let parameters: Vec<_> = request.query.as_deref().unwrap_or("").split('&').collect();
    let query = matches.query.iter().all(|wanted| {
        let pair = parameters.iter().find(|pair| pair.split('=').next() == Some(&wanted.name));
        holds(wanted, pair.map(|pair| pair.split_once('=').map_or("", |(_, value)| value)))
    });
    host && path && method && headers && query
}

fn a_host() -> impl Strategy<Value = HostMatch> {
    prop_oneof![
        Just(HostMatch::Any),
        "(a|b)(\\.(a|b)){0,2}".prop_map(HostMatch::Exact),
        "(a|b)(\\.(a|b)){0,2}".prop_map(HostMatch::Wildcard),
    ]
}

fn a_path() -> impl Strategy<Value = PathMatch> {
    prop_oneof![
        1 => "(/(a|ab|b)){1,3}".prop_map(PathMatch::Exact),
        3 => "((/(a|ab|b)){1,3}/?)|/".prop_map(PathMatch::Prefix),
        1 => prop::sample::select(vec!["/a.*", "/[ab]+", "(/a)+/?", "/a/b|/b"]).prop_map(|p| PathMatch::Regex(p.to_owned())),
    ]
}

fn a_value() -> impl Strategy<Value = ValueMatch> {
    ("x|y", prop::option::of("1|2")).prop_map(|(name, wanted)| value(&name, wanted.as_deref()))
}

prop_compose! {
    fn a_route()(
        host in a_host(),
        path in a_path(),
        methods in prop::sample::subsequence(vec!["GET", "POST"], 0..=1),
        headers in prop::collection::vec(a_value(), 0..2),
        query in prop::collection::vec(a_value(), 0..2),
    ) -> Route {
        let mut route = route(host, path);
        route.matches.methods = methods.into_iter().map(str::to_owned).collect();
        (route.matches.headers, route.matches.query) = (headers, query);
        route
    }
}

prop_compose! {
    fn a_request()(
        method in prop::sample::select(vec!["GET", "POST"]),
        host in "((a|b)(\\.(a|b)){0,3})?",
        path in "((/(a|ab|b)){0,4}/?)|\\*|//a",
        query in prop::option::of("((x|y)(=(1|2))?(&(x|y)(=(1|2))?)?)?"),
        head in prop::collection::vec(("x|y", "1|2"), 0..3),
    ) -> Request {
        Request { method, host, path, query, head: Head(head) }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// The table answers as a scan over all routes by the written order would, and explain agrees with find.
    #[test]
    fn the_table_answers_as_a_scan_would(
        routes in prop::collection::vec(a_route(), 0..40), requests in prop::collection::vec(a_request(), 1..20),
    ) {
        let table = RouteTable::build(&routes).unwrap();
        for request in &requests {
            let found = table.find(&request.view());
            prop_assert_eq!(found, find_by_scan(&routes, request), "{:?}", request);
            let considered = table.explain(&request.view());
            let chosen = considered.iter().find(|c| c.finding == Finding::Chosen).map(|c| c.route);
            prop_assert_eq!(chosen, found);
            let matching = routes.iter().filter(|route| {
                let bare = Match { methods: vec![], headers: vec![], query: vec![], ..route.matches.clone() };
                matches(&bare, request)
            });
            prop_assert_eq!(considered.len(), matching.count());
        }
    }

    /// No request, however odd, panics.
    #[test]
    fn odd_requests_are_survived(host in ".*", path in ".*", query in prop::option::of(".*"), routes in prop::collection::vec(a_route(), 0..10)) {
        let table = RouteTable::build(&routes).unwrap();
        let request = Request { method: "GET", host, path, query, head: Head::default() };
        let _ = table.find(&request.view());
    }
}
