//! Documents that are as large as they may be, and one larger; and that judging them stays linear.

#![allow(clippy::unwrap_used)]
// How long judging takes is what is tested here.
#![allow(clippy::disallowed_methods)]

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use sluice_config::problem::Code;
use sluice_config::{Environment, Problems, Validated, limit};

fn validate(text: &str) -> Result<Validated, Problems> {
    sluice_config::validate(text, &Environment::empty())
}

struct Sizes {
    listeners: usize,
    regions: usize,
    services: usize,
    versions: usize,
    endpoints: usize,
    routes: usize,
}

const SMALL: Sizes = Sizes { listeners: 1, regions: 1, services: 1, versions: 1, endpoints: 1, routes: 1 };

fn document(sizes: &Sizes) -> String {
    let mut text = "listeners:\n".to_owned();
    (0..sizes.listeners).for_each(|n| writeln!(text, "- {{name: l{n}, address: '127.0.0.1:{}'}}", n + 1).unwrap());
    text.push_str("regions:\n");
    (0..sizes.regions).for_each(|n| writeln!(text, "- name: r{n}").unwrap());
    text.push_str("services:\n");
    for service in 0..sizes.services {
        writeln!(text, "- name: s{service}\n  versions:").unwrap();
        for version in 0..sizes.versions {
            writeln!(text, "  - name: v{version}\n    endpoints:\n      r0:").unwrap();
            let address = |n: usize| format!("10.{}.{}.{}:80", n / 65_536, n / 256 % 256, n % 256);
            (0..sizes.endpoints).for_each(|n| writeln!(text, "      - {}", address(n)).unwrap());
        }
    }
    text.push_str("routes:\n");
    (0..sizes.routes).for_each(|n| writeln!(text, "- {{match: {{path: /{n}}}, service: s0}}").unwrap());
    text
}

#[test]
fn each_limit_holds_exactly() {
    let cases: [(&str, Sizes, Sizes); 5] = [
        (
            "listeners",
            Sizes { listeners: limit::LISTENERS, ..SMALL },
            Sizes { listeners: limit::LISTENERS + 1, ..SMALL },
        ),
        ("regions", Sizes { regions: limit::REGIONS, ..SMALL }, Sizes { regions: limit::REGIONS + 1, ..SMALL }),
        ("services", Sizes { services: limit::SERVICES, ..SMALL }, Sizes { services: limit::SERVICES + 1, ..SMALL }),
        ("versions", Sizes { versions: limit::VERSIONS, ..SMALL }, Sizes { versions: limit::VERSIONS + 1, ..SMALL }),
        (
            "endpoints",
            Sizes { endpoints: limit::ENDPOINTS, ..SMALL },
            Sizes { endpoints: limit::ENDPOINTS + 1, ..SMALL },
        ),
    ];
    for (what, most, more) in cases {
        assert!(validate(&document(&most)).is_ok(), "{what}");
        let problems = validate(&document(&more)).unwrap_err();
        assert_eq!(problems.problems.len(), 1, "{what}");
        assert_eq!(problems.problems[0].code, Code::OverLimit, "{what}");
        assert!(problems.problems[0].message.contains(what), "{}", problems.problems[0].message);
    }
}

#[test]
fn trusted_networks_have_a_limit() {
    let network = |n: usize| format!("10.0.{}.{}, ", n / 256, n % 256);
    let list = |count: usize| (0..count).map(network).collect::<String>();
    let text = |count| {
        let identity = format!("- {{name: l0, trusted_proxies: [{}], ", list(count));
        document(&SMALL).replacen("- {name: l0, ", &identity, 1)
    };
    assert!(validate(&text(limit::NETWORKS)).is_ok());
    let problems = validate(&text(limit::NETWORKS + 1)).unwrap_err();
    assert_eq!(problems.problems[0].code, Code::OverLimit, "{problems}");
}

#[test]
fn certificates_have_a_limit_over_all_listeners() {
    let listener = |name: &str, port, count| {
        let pair = |n| format!("{{cert: {name}{n}.pem, key: a.key}}");
        let pairs: Vec<_> = (0..count).map(pair).collect();
        format!("- {{name: {name}, address: '127.0.0.1:{port}', tls: {{certificates: [{}]}}}}\n", pairs.join(","))
    };
    let with = |more| {
        let listeners =
            format!("listeners:\n{}{}", listener("x", 81, 1), listener("y", 82, limit::CERTIFICATES - 1 + more));
        document(&SMALL).replace("listeners:\n", &listeners)
    };
    assert!(validate(&with(0)).is_ok());
    let problems = validate(&with(1)).unwrap_err();
    assert_eq!(problems.problems[0].message, "there are 1001 certificates; 1000 are the most");
}

#[test]
fn routes_have_a_limit() {
    let text = document(&Sizes { routes: 0, ..SMALL }).replace("routes:\n", "routes: [");
    let text = text + &"{service: s0},".repeat(limit::ROUTES + 1) + "]";
    let problems = validate(&text).unwrap_err();
    assert_eq!(problems.problems[0].message, "there are 200001 routes; 200000 are the most");
}

#[test]
fn expressions_have_a_limit() {
    let mut text = document(&Sizes { routes: 0, ..SMALL });
    (0..limit::REGEXES).for_each(|n| writeln!(text, "- {{match: {{path: {{regex: /{n}}}}}, service: s0}}").unwrap());
    assert!(validate(&text).is_ok());
    text.push_str("- {match: {path: {regex: /x}}, service: s0}\n- {match: {path: {regex: /y}}, service: s0}\n");
    let problems = validate(&text).unwrap_err();
    assert_eq!(problems.problems.iter().map(|problem| problem.code).collect::<Vec<_>>(), [Code::OverLimit]);
}

#[test]
fn a_text_over_its_limit_is_not_read() {
    let problems = validate(&" ".repeat(limit::BYTES + 1)).unwrap_err();
    assert_eq!(problems.problems[0].code, Code::OverLimit);
}

#[test]
fn a_document_that_grows_over_its_limit_is_refused() {
    let value = "v".repeat(4_000);
    let mut text = document(&SMALL);
    (0..2_200)
        .for_each(|n| writeln!(text, "- {{service: s0, match: {{path: /p{n}, headers: {{x: '${{V}}'}}}}}}").unwrap());
    let problems = sluice_config::validate(&text, &Environment::from_iter([("V", value)])).unwrap_err();
    assert_eq!(problems.problems[0].code, Code::OverLimit);
}

#[test]
fn problems_beyond_their_limit_are_counted() {
    let text = document(&Sizes { routes: 0, ..SMALL }) + &"- {service: nowhere}\n".repeat(limit::PROBLEMS + 5);
    let problems = validate(&text).unwrap_err();
    assert_eq!(problems.problems.len(), limit::PROBLEMS);
    // Each is dangling, and all but the first match the same.
    assert_eq!(problems.count(), 2 * (limit::PROBLEMS + 5) - 1);
    assert!(problems.render("a.yaml", &text).ends_with("a.yaml: 2009 problems; 1009 are not shown\n"));
}

/// Ten times the routes may cost at most forty times the time: a quadratic pass would cost a hundred times.
fn assert_linear(what: &str, text: impl Fn(usize) -> String) {
    let time = |routes: usize| {
        let text = text(routes);
        let run = || {
            let start = Instant::now();
            let _ = std::hint::black_box(validate(&text));
            start.elapsed()
        };
        (0..2).map(|_| run()).min().unwrap()
    };
    let (small, large) = (time(500), time(5_000));
    assert!(large < small * 40 + Duration::from_millis(50), "{what}: {small:?} for 500 and {large:?} for 5,000");
}

#[test]
fn judging_is_linear() {
    let with = |line: fn(usize) -> String| {
        move |routes: usize| (0..routes).fold(document(&Sizes { routes: 0, ..SMALL }), |text, n| text + &line(n))
    };
    assert_linear("by path", with(|n| format!("- {{match: {{path: /{n}}}, service: s0}}\n")));
    assert_linear("by host", with(|n| format!("- {{match: {{host: h{n}.example.com}}, service: s0}}\n")));
    assert_linear("by header", with(|n| format!("- {{match: {{headers: {{x: v{n}}}}}, service: s0}}\n")));
    assert_linear("by method", with(|n| format!("- {{match: {{methods: [GET, M{n}]}}, service: s0}}\n")));
    assert_linear("twins", with(|_| "- {service: s0}\n".to_owned()));
    assert_linear("dangling", with(|n| format!("- {{match: {{path: /{n}}}, service: x{n}}}\n")));
    let damaged = with(|n| format!("- {{match: {{path: /{n}}}, service: s0, version: v0}}\n"));
    assert_linear("damaged", |routes| damaged(routes).replace("name: l0", "name: l0, colour: red"));
    let bad = |n: usize| if n < 900 { "name: 5, " } else { "" };
    let route = move |n| format!("- {{{}match: {{path: /{n}}}, service: x{n}}}\n", bad(n));
    assert_linear("damaged often", |routes| {
        (0..routes)
            .fold(document(&Sizes { routes: 0, ..SMALL }), |text, n| text + &route(n))
            .replace("- name: s0", "- name: 5")
    });
    assert_linear("misspelt", with(|n| format!("- {{mtch: {{path: /{n}}}, service: s0}}\n")));
    assert_linear("keys", with(|n| format!("- {{service: s0, match: {{path: /{n}, headers: {{a{n}: x}}}}}}\n")));
}
