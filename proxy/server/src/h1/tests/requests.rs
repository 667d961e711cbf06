use sluice_config::validated::Paths;

use super::*;
use crate::message::{Known, Method, Version};

/// Whole requests that are refused, by the rule they break. `~` stands for CR LF.
const REFUSED: &[(u16, &str, &[&str])] = &[
    (
        400,
        "bare_lf",
        &[
            "\nGET / HTTP/1.1~Host: a~~",
            "GET / HTTP/1.1\nHost: a~~",
            "GET / HTTP/1.1~Host: a\nX: b~~",
            "GET / HTTP/1.1~Host: a~X: b\n~",
            "GET / HTTP/1.1~Host: a~X\n: b~~",
        ],
    ),
    (
        400,
        "bare_cr",
        &[
            "\rGET / HTTP/1.1~Host: a~~",
            "GET / HTTP/1.1~Host: a\rX: b~~",
            "GET / HTTP/1.1~Host: a~X: b\r\r\n~",
            "GET / HTTP/1.1~Host: a~\rX: b~~",
        ],
    ),
    (400, "version_missing", &["GET /~Host: a~~", "GET HTTP/1.1~Host: a~~", "GET /~", "GET /\n"]),
    (
        400,
        "version_syntax",
        &[
            "GET / HTTP/1~Host: a~~",
            "GET / HTTP/01.01~Host: a~~",
            "GET / HTTP/ 1.1~Host: a~~",
            "GET / http/1.1~Host: a~~",
            "GET / HTTP/1.1 ~Host: a~~",
            "GET / HTTP/1.1\rHost: a~~",
            "GET /a b HTTP/1.1~Host: a~~",
            "GET /  HTTP/1.1~Host: a~~",
            "GET / HTTPS/1.1~Host: a~~",
            "GET / ~Host: a~~~~~~~~~",
        ],
    ),
    (
        505,
        "version",
        &["GET / HTTP/1.2~Host: a~~", "GET / HTTP/9.9~Host: a~~", "PRI * HTTP/2.0~~SM~~", "GET / HTTP/0.9~~"],
    ),
    (
        400,
        "method",
        &[
            "~~GET / HTTP/1.1~Host: a~~",
            " GET / HTTP/1.1~Host: a~~",
            "GET\t/ HTTP/1.1~Host: a~~",
            "G(T / HTTP/1.1~Host: a~~",
            "\0 / HTTP/1.1~Host: a~~",
            "GET~ / HTTP/1.1~Host: a~~",
            "\u{16}\u{3}\u{1}",
            "   ~~",
        ],
    ),
    (400, "method_too_long", &["AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"]),
    (501, "method_case", &["get / HTTP/1.1~Host: a~~", "Post / HTTP/1.1~Host: a~~"]),
    (501, "method_not_served", &["CONNECT a:443 HTTP/1.1~Host: a:443~~", "TRACE / HTTP/1.1~Host: a~~"]),
    (400, "request_line_space", &["GET  / HTTP/1.1~Host: a~~"]),
    (
        400,
        "target_character",
        &[
            "GET /\0 HTTP/1.1~Host: a~~",
            "GET /a\tb HTTP/1.1~Host: a~~",
            "GET /caf\u{e9} HTTP/1.1~Host: a~~",
            "GET /\u{7f} HTTP/1.1~Host: a~~",
        ],
    ),
    (
        400,
        "target_fragment",
        &["GET /a#b HTTP/1.1~Host: a~~", "GET /a?b#c HTTP/1.1~Host: a~~", "GET http://a#b HTTP/1.1~Host: a~~"],
    ),
    (400, "target_backslash", &["GET /a\\b HTTP/1.1~Host: a~~"]),
    (
        400,
        "target_encoding",
        &["GET /% HTTP/1.1~Host: a~~", "GET /%4 HTTP/1.1~Host: a~~", "GET /%zz HTTP/1.1~Host: a~~"],
    ),
    (
        400,
        "target_encoded_control",
        &["GET /%00 HTTP/1.1~Host: a~~", "GET /%0d%0aX:%20y HTTP/1.1~Host: a~~", "GET /%0A HTTP/1.1~Host: a~~"],
    ),
    (
        400,
        "target_form",
        &[
            "GET * HTTP/1.1~Host: a~~",
            "GET a HTTP/1.1~Host: a~~",
            "GET a:80 HTTP/1.1~Host: a~~",
            "GET ftp://a/ HTTP/1.1~Host: a~~",
            "OPTIONS ** HTTP/1.1~Host: a~~",
        ],
    ),
    (400, "host_missing", &["GET / HTTP/1.1~~", "GET http://a/ HTTP/1.1~~"]),
    (400, "host_repeated", &["GET / HTTP/1.1~Host: a~Host: a~~", "GET / HTTP/1.0~Host: a~Host: b~~"]),
    (
        400,
        "host_name",
        &[
            "GET / HTTP/1.1~Host: ~~",
            "GET / HTTP/1.1~Host: u@a~~",
            "GET / HTTP/1.1~Host: a/b~~",
            "GET / HTTP/1.1~Host: a, b~~",
            "GET / HTTP/1.1~Host: a b~~",
            "GET / HTTP/1.1~Host: :80~~",
            "GET / HTTP/1.1~Host: a..b~~",
            "GET http://u@a/ HTTP/1.1~Host: a~~",
            "GET http:///x HTTP/1.1~Host: a~~",
            "GET / HTTP/1.0~Host: [::1~~",
        ],
    ),
    (
        400,
        "host_port",
        &[
            "GET / HTTP/1.1~Host: a:~~",
            "GET / HTTP/1.1~Host: a:x~~",
            "GET / HTTP/1.1~Host: a:65536~~",
            "GET / HTTP/1.1~Host: a:1:2~~",
        ],
    ),
    (
        400,
        "host_mismatch",
        &[
            "GET http://b/ HTTP/1.1~Host: a~~",
            "GET http://a:81/ HTTP/1.1~Host: a~~",
            "GET https://a:80/ HTTP/1.1~Host: a~~",
        ],
    ),
    (
        400,
        "folded_line",
        &[
            "GET / HTTP/1.1~Host: a~X: b~ c~~",
            "GET / HTTP/1.1~Host: a~X: b~\tc~~",
            "GET / HTTP/1.1~ ~Host: a~~",
            "POST / HTTP/1.1~Host: a~Transfer-Encoding:~ chunked~~",
        ],
    ),
    (
        400,
        "space_before_colon",
        &[
            "GET / HTTP/1.1~Host: a~X : b~~",
            "GET / HTTP/1.1~Host : a~~",
            "POST / HTTP/1.1~Host: a~Transfer-Encoding\t: chunked~~",
        ],
    ),
    (400, "field_name_empty", &["GET / HTTP/1.1~Host: a~: b~~"]),
    (
        400,
        "field_name",
        &[
            "GET / HTTP/1.1~Host: a~X[: b~~",
            "GET / HTTP/1.1~Host: a~X\u{e9}: b~~",
            "GET / HTTP/1.1~Host: a~X\0: b~~",
            "GET / HTTP/1.1~Host: a~\u{7f}: b~~",
        ],
    ),
    (400, "field_without_colon", &["GET / HTTP/1.1~Host: a~X~~", "GET / HTTP/1.1~Host~~"]),
    (
        400,
        "field_value",
        &[
            "GET / HTTP/1.1~Host: a~X: a\0b~~",
            "GET / HTTP/1.1~Host: a~X: a\u{7}b~~",
            "GET / HTTP/1.1~Host: a~X: \u{b}~~",
            "GET / HTTP/1.1~Host: a~X: \u{7f}~~",
        ],
    ),
    (
        400,
        "field_name_disguised",
        &[
            "POST / HTTP/1.1~Host: a~Content_Length: 5~~",
            "POST / HTTP/1.1~Host: a~Content-Length: 5~TRANSFER_encoding: chunked~~",
        ],
    ),
    (
        400,
        "length_and_transfer_encoding",
        &[
            "POST / HTTP/1.1~Host: a~Content-Length: 5~Transfer-Encoding: chunked~~",
            "POST / HTTP/1.1~Host: a~Transfer-Encoding: identity~Content-Length: 5~~",
            "POST / HTTP/1.1~Host: a~Transfer-Encoding: ~Content-Length: 5~~",
        ],
    ),
    (
        400,
        "content_length_repeated",
        &[
            "POST / HTTP/1.1~Host: a~Content-Length: 5~content-length: 5~~",
            "POST / HTTP/1.1~Host: a~Content-Length: 5~Content-Length: 6~~",
        ],
    ),
    (
        400,
        "content_length",
        &[
            "POST / HTTP/1.1~Host: a~Content-Length: abc~~",
            "POST / HTTP/1.1~Host: a~Content-Length: +5~~",
            "POST / HTTP/1.1~Host: a~Content-Length: -1~~",
            "POST / HTTP/1.1~Host: a~Content-Length: -0~~",
            "POST / HTTP/1.1~Host: a~Content-Length: 5, 5~~",
            "POST / HTTP/1.1~Host: a~Content-Length: 5,6~~",
            "POST / HTTP/1.1~Host: a~Content-Length: 1 0~~",
            "POST / HTTP/1.1~Host: a~Content-Length: 0x5~~",
            "POST / HTTP/1.1~Host: a~Content-Length: 0o5~~",
            "POST / HTTP/1.1~Host: a~Content-Length: 1_0~~",
            "POST / HTTP/1.1~Host: a~Content-Length: 5.0~~",
            "POST / HTTP/1.1~Host: a~Content-Length: 005~~",
            "POST / HTTP/1.1~Host: a~Content-Length: 00~~",
            "POST / HTTP/1.1~Host: a~Content-Length: ~~",
            "POST / HTTP/1.1~Host: a~Content-Length: 99999999999999999999~~",
            "POST / HTTP/1.1~Host: a~Content-Length: \u{661}~~",
        ],
    ),
    (
        400,
        "transfer_encoding_repeated",
        &["POST / HTTP/1.1~Host: a~Transfer-Encoding: chunked~Transfer-Encoding: chunked~~"],
    ),
    (
        400,
        "transfer_encoding",
        &[
            "POST / HTTP/1.1~Host: a~Transfer-Encoding: chunked, chunked~~",
            "POST / HTTP/1.1~Host: a~Transfer-Encoding: chunked, gzip~~",
            "POST / HTTP/1.1~Host: a~Transfer-Encoding: , chunked~~",
            "POST / HTTP/1.1~Host: a~Transfer-Encoding: chunked,~~",
            "POST / HTTP/1.1~Host: a~Transfer-Encoding: ~~",
        ],
    ),
    (
        501,
        "transfer_coding",
        &[
            "POST / HTTP/1.1~Host: a~Transfer-Encoding: gzip~~",
            "POST / HTTP/1.1~Host: a~Transfer-Encoding: gzip, chunked~~",
            "POST / HTTP/1.1~Host: a~Transfer-Encoding: xchunked~~",
            "POST / HTTP/1.1~Host: a~Transfer-Encoding: identity~~",
            "POST / HTTP/1.1~Host: a~Transfer-Encoding: chunked;x=y~~",
        ],
    ),
    (
        400,
        "transfer_encoding_in_http10",
        &["POST / HTTP/1.0~Host: a~Transfer-Encoding: chunked~~", "POST / HTTP/1.0~Transfer-Encoding: gzip~~"],
    ),
    (
        400,
        "content_type_repeated",
        &["POST / HTTP/1.1~Host: a~Content-Type: text/plain~content-type: text/html~Content-Length: 0~~"],
    ),
    (
        417,
        "expectation",
        &[
            "POST / HTTP/1.1~Host: a~Content-Length: 1~Expect: 200-ok~~",
            "GET / HTTP/1.1~Host: a~Expect: 100-continue, x~~",
        ],
    ),
];

fn raw(text: &str) -> Vec<u8> {
    text.replace('~', "\r\n")
        .chars()
        .flat_map(|c| u8::try_from(c).map_or_else(|_| c.to_string().into_bytes(), |b| vec![b]))
        .collect()
}

#[test]
fn malformed_requests_are_refused_by_the_rule_they_break() {
    let mut count = 0;
    for (status, reason, cases) in REFUSED {
        for case in *cases {
            assert_eq!(read_request(&raw(case)).1, Outcome::Refused(*status, reason), "{case:?}");
            count += 1;
        }
    }
    assert!(count >= 120, "the table has shrunk to {count}");
}

#[test]
fn a_refused_request_leaves_nothing_behind() {
    let mut head = RequestHead::new();
    for (_, _, cases) in REFUSED {
        for case in *cases {
            assert!(parse_request(&raw(case), &LIMITS, &mut head).is_err());
            assert_eq!((head.target(), head.authority(), head.host(), head.fields.len()), ("", "", "", 0), "{case:?}");
        }
    }
}

fn accepted(text: &str) -> RequestHead {
    let (head, outcome) = read_request(&raw(text));
    assert!(matches!(outcome, Outcome::Read(..)), "{text:?}: {outcome:?}");
    head
}

#[test]
fn a_request_is_taken_apart() {
    let head = accepted(
        "~GET /a/%2Fb?x=%&y={1}|\\ HTTP/1.1~HOST:Shop.Example.COM.:8080 ~X-A:\t \u{e9} b\t~x-empty:~Cookie: a=b~~",
    );
    assert_eq!((head.method, head.version), (Method::Get, Version::Http11));
    assert_eq!((head.target(), head.path(), head.query()), ("/a/%2Fb?x=%&y={1}|\\", "/a/%2Fb", Some("x=%&y={1}|\\")));
    assert_eq!((head.authority(), head.host()), ("Shop.Example.COM.:8080", "shop.example.com"));
    assert_eq!(head.fields.get_named("x-a"), Some(&b"\xe9 b"[..]));
    assert_eq!(head.fields.get_named("x-empty"), Some(&b""[..]));
    assert_eq!((head.framing, head.keep_alive, head.upgrade), (Framing::None, true, false));
}

#[test]
fn every_form_of_target_becomes_origin_form() {
    for (line, target, path, query) in [
        ("GET http://A:80/x?y HTTP/1.1", "/x?y", "/x", Some("y")),
        ("GET http://a HTTP/1.1", "/", "/", None),
        ("GET HTTP://a?y HTTP/1.1", "/?y", "/", Some("y")),
        ("GET http://a:080/ HTTP/1.0", "", "", None),
        ("OPTIONS * HTTP/1.1", "*", "*", None),
        ("OPTIONS http://a HTTP/1.1", "*", "*", None),
        ("OPTIONS http://a/ HTTP/1.1", "/", "/", None),
        ("GET //b/x? HTTP/1.1", "//b/x?", "//b/x", Some("")),
    ] {
        let (head, _) = read_request(&raw(&format!("{line}~Host: a~~")));
        assert_eq!((head.target(), head.path(), head.query()), (target, path, query), "{line}");
    }
}

/// The query moves up behind a path that got shorter; a refused path leaves nothing behind.
#[test]
fn a_path_is_brought_into_its_form_in_place() {
    for (target, form, path, query) in [
        ("/a/../b?x=/../y", "/b?x=/../y", "/b", Some("x=/../y")),
        ("/%61?", "/a?", "/a", Some("")),
        ("/a/..", "/", "/", None),
        ("/a%2fb", "/a%2Fb", "/a%2Fb", None),
        ("/plain?%", "/plain?%", "/plain", Some("%")),
        ("http://a?y", "/?y", "/", Some("y")),
    ] {
        let mut head = accepted(&format!("GET {target} HTTP/1.1~Host: a~~"));
        assert_eq!(head.normalize_path(Paths::default()), Ok(()), "{target}");
        assert_eq!((head.target(), head.path(), head.query()), (form, path, query), "{target}");
        assert_eq!(head.normalize_path(Paths::default()), Ok(()), "{target}");
        assert_eq!(head.target(), form);
    }
    let mut head = accepted("OPTIONS * HTTP/1.1~Host: a~~");
    assert_eq!((head.normalize_path(Paths::default()), head.target()), (Ok(()), "*"));
    let mut head = accepted("GET /a/../.. HTTP/1.1~Host: a~~");
    assert_eq!(head.normalize_path(Paths::default()), Err(Refused::bad("target_above_root")));
    assert_eq!((head.target(), head.path(), head.query()), ("", "", None));
}

#[test]
fn the_authority_of_the_last_request_is_not_this_ones() {
    let mut head = RequestHead::new();
    for (text, authority, host) in [
        ("GET / HTTP/1.1~Host: A~~", "A", "a"),
        ("GET / HTTP/1.0~~", "", ""),
        ("GET / HTTP/1.1~Host: A~~", "A", "a"),
        ("GET / HTTP/1.1~Host: [::1]:80~~", "[::1]:80", "[::1]"),
        ("GET http://b/ HTTP/1.0~~", "b", "b"),
    ] {
        assert!(parse_request(&raw(text), &LIMITS, &mut head).unwrap().is_some());
        assert_eq!((head.authority(), head.host()), (authority, host), "{text}");
        assert!(parse_request(b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", &LIMITS, &mut head).is_err());
    }
}

#[test]
fn the_connection_stays_when_the_client_says_so() {
    for (text, keep_alive) in [
        ("GET / HTTP/1.1~Host: a~~", true),
        ("GET / HTTP/1.1~Host: a~Connection: Close~~", false),
        ("GET / HTTP/1.1~Host: a~Connection: x, close~~", false),
        ("GET / HTTP/1.1~Host: a~Connection: keep-alive~Connection: close~~", false),
        ("GET / HTTP/1.0~~", false),
        ("GET / HTTP/1.0~Connection: Keep-Alive~~", true),
        ("GET / HTTP/1.0~Connection: keep-alive, close~~", false),
    ] {
        assert_eq!(accepted(text).keep_alive, keep_alive, "{text}");
    }
}

#[test]
fn an_upgrade_is_one_protocol_on_a_bare_get() {
    let asks = |line: &str, fields: &str| accepted(&format!("{line}~Host: a~{fields}~~")).upgrade;
    assert!(asks("GET / HTTP/1.1", "Connection: keep-alive, Upgrade~Upgrade: WebSocket"));
    assert!(asks("GET / HTTP/1.1", "Connection: upgrade~Upgrade: foo/2~Content-Length: 0"));
    for (line, fields) in [
        ("GET / HTTP/1.1", "Upgrade: websocket"),
        ("GET / HTTP/1.1", "Connection: upgrade"),
        ("GET / HTTP/1.1", "Connection: upgrade~Upgrade: "),
        ("GET / HTTP/1.1", "Connection: upgrade~Upgrade: h2c"),
        ("GET / HTTP/1.1", "Connection: upgrade~Upgrade: websocket, h2c"),
        ("GET / HTTP/1.1", "Connection: upgrade~Upgrade: websocket~Upgrade: h2c"),
        ("GET / HTTP/1.1", "Connection: upgrade~Upgrade: a b"),
        ("GET / HTTP/1.0", "Connection: upgrade~Upgrade: websocket"),
        ("POST / HTTP/1.1", "Connection: upgrade~Upgrade: websocket"),
        ("GET / HTTP/1.1", "Connection: upgrade~Upgrade: websocket~Content-Length: 1~~x"),
        ("GET / HTTP/1.1", "Connection: upgrade~Upgrade: websocket~Transfer-Encoding: chunked~~0~"),
    ] {
        assert!(!asks(line, fields), "{line} {fields}");
    }
}

#[test]
fn what_an_http10_client_expects_is_not_passed_on() {
    for (text, stays) in [
        ("POST / HTTP/1.1~Host: a~Expect: 100-Continue~Content-Length: 1~~x", true),
        ("GET / HTTP/1.1~Host: a~Expect: 100-continue~~", true),
        ("POST / HTTP/1.0~Expect: 100-continue~Content-Length: 1~~x", false),
        ("POST / HTTP/1.0~Expect: anything~Content-Length: 1~~x", false),
    ] {
        assert_eq!(accepted(text).fields.has(Known::Expect), stays, "{text}");
    }
}

#[test]
fn heads_are_limited_in_bytes_and_fields() {
    let small = HeadLimits { bytes: 60, count: 2 };
    let refused =
        |text: &str| parse_request(&raw(text), &small, &mut RequestHead::new()).map_err(|r| (r.status, r.reason));
    let long = "x".repeat(60);
    assert_eq!(refused("GET / HTTP/1.1~Host: a~X: b~~"), Ok(Some(33)));
    assert_eq!(refused("GET / HTTP/1.1~Host: a~X: b~Y: c~~"), Err((431, "too_many_fields")));
    assert_eq!(refused(&format!("GET /{long}")), Err((414, "target_too_long")));
    assert_eq!(refused(&format!("~GET /{long}")), Err((414, "target_too_long")));
    assert_eq!(refused(&format!("GET / HTTP/1.1~Host: a~X: {long}")), Err((431, "head_too_large")));
    assert_eq!(refused(&format!("GET / HTTP/1.1~Host: a~X: {long}~~")), Err((431, "head_too_large")));
    assert_eq!(refused(&format!("GET / HTTP/1.1~Host: a~{long}")), Err((431, "head_too_large")));
    // A fault behind the limit does not count, whether it has arrived or not.
    assert_eq!(refused(&format!("GET / HTTP/1.1~Host: a~X: {long}~Host: b~~")), Err((431, "head_too_large")));
    let exact = format!("GET / HTTP/1.1~Host: a~X: {}~~", "x".repeat(28));
    assert_eq!(refused(&exact), Ok(Some(60)));
}

#[test]
fn known_names_are_known_in_any_case() {
    let head = accepted("POST / HTTP/1.1~hOST: a~CONTENT-length: 0~cOOKIE: x~~");
    assert_eq!(head.framing, Framing::Length(0));
    assert!(head.fields.has(Known::Cookie));
}
