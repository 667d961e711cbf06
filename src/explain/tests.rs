use sluice_config::Environment;
use sluice_proxy::explain::{Explanation, Header};

use super::*;

const DOCUMENT: &str = r#"
listeners: [{ name: web, address: "127.0.0.1:8080" }]
regions:
  - { name: us-east-1, role: primary, weight: 70 }
  - { name: us-west-2, weight: 30, capabilities: [read] }
  - { name: eu-west-1, role: standby }
services:
  - name: shop
    split: { sticky: { cookie: user } }
    versions:
      - name: v1
        weight: 90
        endpoints:
          us-east-1: ["10.0.1.10:8080", { address: "10.0.1.11:8080", weight: 3 }]
          us-west-2: ["10.0.2.10:8080"]
          eu-west-1: ["10.0.3.10:8080"]
      - { name: v2, weight: 10, endpoints: { us-east-1: ["10.0.1.20:8080"] } }
      - { name: v3, weight: 0, endpoints: { us-east-1: ["10.0.1.30:8080"] } }
routes:
  - { name: api, match: { host: shop.example.com, path: /api }, service: shop }
  - { name: beta, match: { host: shop.example.com, path: /api, headers: { x-beta: "yes" } }, service: shop, version: v3 }
  - { name: admin, match: { host: shop.example.com, path: /admin }, service: shop, capability: admin }
  - { name: all, match: { host: "*.example.com" }, service: shop }
"#;

fn explain(words: &[&str], headers: &[&str]) -> Explanation {
    let document = sluice_config::validate(DOCUMENT, &Environment::empty()).unwrap();
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    let headers: Vec<Header> = headers.iter().map(|header| header.parse().unwrap()).collect();
    let listener = listener(&document, None).unwrap();
    Explanation::offline(&document, listener, &Typed::read(&words, &headers, None).unwrap()).unwrap()
}

fn table(explanation: &Explanation) -> String {
    show::lines(explanation, Color::Never.stdout()).join("\n")
}

#[test]
fn a_read_may_go_to_every_active_region() {
    insta::assert_snapshot!(table(&explain(&["http://Shop.example.com:8080/api/x?y=1"], &[])));
}

#[test]
fn a_write_goes_where_writes_are_served() {
    insta::assert_snapshot!(table(&explain(&["POST", "/api"], &["Host: shop.example.com"])));
}

#[test]
fn a_route_that_names_a_version_passes_the_split_over() {
    insta::assert_snapshot!(table(&explain(&["http://shop.example.com/api"], &["x-beta: yes"])));
}

#[test]
fn a_request_that_no_route_matches_gets_404() {
    insta::assert_snapshot!(table(&explain(&["http://other.org/"], &[])));
}

#[test]
fn a_key_leads_to_one_version_of_each_region() {
    let explanation = explain(&["http://shop.example.com/"], &["cookie: a=b; user=u1"]);
    let answer = explanation.answer.unwrap();
    assert_eq!(answer.split, "sticky by cookie `user`");
    for placed in answer.regions {
        let shares: Vec<f64> = placed.versions.iter().map(|version| version.share).collect();
        let whole = shares.iter().filter(|share| **share == 1.0).count();
        assert_eq!((whole, shares.iter().sum::<f64>() as usize), if placed.share > 0.0 { (1, 1) } else { (0, 0) });
    }
}

#[test]
fn shares_of_endpoints_add_up() {
    for words in [["GET", "http://shop.example.com/api"], ["POST", "http://a.example.com/"]] {
        let answer = explain(&words, &[]).answer.unwrap();
        let all: f64 = answer.endpoints.iter().map(|endpoint| endpoint.share).sum();
        assert!((all - 1.0).abs() < 1e-9, "{answer:?}");
        assert!(answer.endpoints.iter().all(|endpoint| (endpoint.share == 0.0) == endpoint.why_not.is_some()));
    }
}

#[test]
fn machines_get_the_same() {
    let value = serde_json::to_value(explain(&["http://shop.example.com/admin"], &[])).unwrap();
    assert_eq!(value["answer"]["capability"], "admin");
    assert_eq!(value["answer"]["capability_by"], "route");
    assert_eq!(value["considered"][0]["chosen"], true);
}

#[test]
fn what_is_no_request_says_what_would_be_one() {
    let error = |words: &[&str]| {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        Typed::read(&words, &[], None).unwrap_err()
    };
    assert!(error(&["shop.example.com/api"]).contains("http://shop.example.com/api"));
    assert!(error(&["GET"]).contains("URL is missing"));
    assert!(error(&["G ET", "/"]).contains("not a method"));
    assert!(error(&["ftp://shop.example.com/"]).contains("neither http nor https"));
    assert!(error(&["http:///api"]).contains("no host"));
    assert!(error(&["http://shop.example.com/a b"]).contains("%XX"));
    assert!(error(&["/caf\u{e9}"]).contains("%XX"));
    assert!("bad name: x".parse::<Header>().unwrap_err().contains("bad name"));
    assert!("x: a\r\nhost: b".parse::<Header>().unwrap_err().contains("control"));
}

/// The status and the rule are those of the proxy's own reader.
#[test]
fn what_the_proxy_refuses_is_refused() {
    let refused = |words: &[&str], headers: &[&str]| {
        let explanation = explain(words, headers);
        assert!(explanation.considered.is_empty() && explanation.answer.is_none(), "{explanation:?}");
        let refusal = explanation.refused.unwrap();
        (refusal.status, refusal.reason.into_owned())
    };
    let url = "http://shop.example.com/api";
    assert_eq!(refused(&["TRACE", url], &[]), (501, "method_not_served".to_owned()));
    assert_eq!(refused(&["CONNECT", url], &[]), (501, "method_not_served".to_owned()));
    assert_eq!(refused(&["get", url], &[]), (501, "method_case".to_owned()));
    assert_eq!(refused(&["http://a,b/"], &[]), (400, "host_name".to_owned()));
    assert_eq!(refused(&["http://shop.example.com:99999/"], &[]), (400, "host_port".to_owned()));
    assert_eq!(refused(&["http://shop.example.com/%00"], &[]), (400, "target_encoded_control".to_owned()));
    assert_eq!(refused(&[url], &["Host: a", "Host: b"]), (400, "host_repeated".to_owned()));
    assert_eq!(refused(&[url], &["Expect: more"]), (417, "expectation".to_owned()));
    let told = table(&explain(&["TRACE", url], &[]));
    assert!(told.contains("501 Not Implemented (method_not_served)"), "{told}");
}

/// Case, port and a dot at the end name no other host, and a Host header takes the place of the URL's.
#[test]
fn the_host_is_read_as_the_proxy_reads_it() {
    let route = |words: &[&str], headers: &[&str]| explain(words, headers).answer.map(|answer| answer.route);
    for url in ["http://SHOP.example.com/api", "http://shop.example.com./api", "HTTPS://shop.example.com:443/api?x"] {
        assert_eq!(route(&[url], &[]).as_deref(), Some("api"), "{url}");
    }
    assert_eq!(route(&["http://127.0.0.1:8080/api"], &["host: shop.example.com"]).as_deref(), Some("api"));
    assert_eq!(route(&["http://shop.example.com"], &[]).as_deref(), Some("all"));
    assert_eq!(route(&["/api"], &[]), None);
}

/// One path is one route, however it is spelt.
#[test]
fn the_path_is_read_as_the_listener_reads_it() {
    for url in
        ["http://shop.example.com/admin/../api", "http://shop.example.com/%61pi", "http://shop.example.com/./api/"]
    {
        assert_eq!(explain(&[url], &[]).answer.map(|answer| answer.route).as_deref(), Some("api"), "{url}");
    }
    let refused = |url: &str| explain(&[url], &[]).refused.unwrap().reason;
    assert_eq!(refused("http://shop.example.com/../api"), "target_above_root");
    assert_eq!(refused("http://shop.example.com/api/..%2fadmin"), "target_encoded_dot_segment");
    let document = sluice_config::validate(DOCUMENT, &Environment::empty()).unwrap();
    assert_eq!(listener(&document, Some("web")).unwrap().name.as_str(), "web");
    assert!(listener(&document, Some("wbe")).unwrap_err().contains("it has web"));
}
