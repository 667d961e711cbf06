//! What holds for every text: no panic, and what was accepted is the same again in each of its written forms.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use sluice_config::{Environment, Source, decode, diff, effective_yaml, read, validate};

/// Everything that the schema has, at least once.
const FULL: &str = include_str!("good/full.yaml");
const SHORTEST: &str = include_str!("good/shortest.yaml");

fn accepted(text: &str, environment: &Environment) -> Source {
    match read(text, environment) {
        Ok(source) => source,
        Err(problems) => panic!("{text}\n{}", problems.render("text", text)),
    }
}

fn assert_same_again(source: &Source) {
    let other = Environment::from_iter([("HOME", "elsewhere")]);
    let json = accepted(&source.json, &other);
    assert_eq!(json.validated, source.validated);
    assert_eq!(json.json, source.json);
    let yaml = effective_yaml(&source.validated);
    let again = accepted(&yaml, &other);
    assert_eq!(again.validated, source.validated, "{yaml}");
    assert_eq!(effective_yaml(&again.validated), yaml);
}

#[test]
fn good_documents_are_the_same_in_each_form() {
    let environment = Environment::from_iter([("PORT", "8080"), ("WEIGHT", "5"), ("VALUE", "a $$ ${b} \"c\"")]);
    for text in [FULL, SHORTEST] {
        assert_same_again(&accepted(text, &environment));
    }
}

#[test]
fn the_full_document_is_as_it_was_agreed() {
    let environment = Environment::from_iter([("PORT", "8080"), ("WEIGHT", "5"), ("VALUE", "a $$ ${b} \"c\"")]);
    insta::with_settings!({ snapshot_path => "good", prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!("full", effective_yaml(&accepted(FULL, &environment).validated));
    });
}

#[test]
fn json_is_accepted_with_tabs_too() {
    let json = accepted(SHORTEST, &Environment::empty()).json;
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    let indented = serde_json::to_string_pretty(&value).unwrap().replace("  ", "\t");
    assert!(indented.contains("\n\t\""));
    assert_eq!(accepted(&indented, &Environment::empty()).json, json);
    let marked = format!("\u{feff}{indented}").replace('\n', "\r\n");
    assert_eq!(accepted(&marked, &Environment::empty()).json, json);
}

/// Pieces that YAML and the document give a meaning to.
const PIECES: &[&str] = &[
    "listeners",
    "regions",
    "services",
    "routes",
    "drain",
    "name",
    "address",
    "match",
    "path",
    "weight",
    ":",
    ": ",
    "- ",
    "\n",
    "\n  ",
    "\n    ",
    "{",
    "}",
    "[",
    "]",
    ",",
    "\"",
    "'",
    "&a ",
    "*a",
    "!t ",
    "|",
    ">",
    "? ",
    "#",
    "---\n",
    "...\n",
    "%YAML 1.2\n",
    "${A}",
    "$",
    "\t",
    "\\u00",
    "\\",
    "~",
    "5",
    "5s",
    "127.0.0.1:80",
    "\u{feff}",
    "\u{85}",
    "\u{2028}",
    "é",
    "\0",
    "<<",
    "\r",
    "0x",
    "1e9",
    "-",
];

fn scraps() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(PIECES), 0..60).prop_map(|pieces| pieces.concat())
}

/// A good document with some of its bytes replaced, removed, doubled or moved.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let edit = (any::<prop::sample::Index>(), 0_usize..20, prop::sample::select(PIECES));
    prop::collection::vec(edit, 1..8).prop_map(|edits| {
        let mut text = FULL.as_bytes().to_vec();
        for (at, length, piece) in edits {
            let at = at.index(text.len());
            let end = (at + length).min(text.len());
            text.splice(at..end, piece.bytes());
        }
        text
    })
}

fn try_all(bytes: &[u8]) {
    let environment = Environment::from_iter([("A", "x: y"), ("PORT", "8080"), ("WEIGHT", "5")]);
    let Ok(text) = decode(bytes) else { return };
    match read(text, &environment) {
        Ok(source) => assert_same_again(&source),
        Err(problems) => {
            assert!(problems.count() > 0);
            assert!(problems.render("text", text).contains("problem"));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        try_all(&bytes);
    }

    #[test]
    fn no_text_panics(text in any::<String>()) {
        try_all(text.as_bytes());
    }

    #[test]
    fn no_scraps_panic(text in scraps()) {
        try_all(text.as_bytes());
    }

    #[test]
    fn no_damaged_document_panics(bytes in damaged()) {
        try_all(&bytes);
    }

    #[test]
    fn a_value_cannot_change_the_structure(value in any::<String>()) {
        let text = format!("{SHORTEST}drain: {{ deadline: '${{VALUE}}' }}\n");
        if let Err(problems) = read(&text, &Environment::from_iter([("VALUE", value)])) {
            prop_assert_eq!(problems.count(), 1);
            prop_assert_eq!(problems.problems[0].path.to_string(), "drain.deadline");
        }
    }
}

/// Documents that are all good, small enough that two of them are often nearly the same.
fn good() -> impl Strategy<Value = String> {
    let weights = (0_u32..3, 1_u32..3, prop::bool::ANY, prop::bool::ANY);
    let details = (
        prop::sample::select(&["random", "{sticky: client_address}", "{sticky: {header: X-User}}"]),
        1_u32..3,
        prop::bool::ANY,
    );
    let value = prop::sample::select(&["plain", "5", "true", "${b}", "$$", "a: b", "é \\ \"'"]);
    (weights, details, value).prop_map(|((v1, v2, has_eu, swapped), (split, deadline, health), value)| {
        let eu = if has_eu { ", eu: [\"10.0.0.2:80\"]" } else { "" };
        let health = if health { "health_check: { http: { path: /h } }" } else { "timeouts: { idle: off }" };
        let value = serde_json::to_string(&value.replace('$', "$$")).unwrap();
        let mut routes = ["- { service: shop, match: { path: /a } }".to_owned(), format!("- {{ service: shop, version: v2, match: {{ headers: {{ x: {value} }} }} }}")];
        if swapped {
            routes.reverse();
        }
        format!(
            "listeners: [{{ name: web, address: '0.0.0.0:80' }}]\nregions: [{{ name: us, role: primary }}, {{ name: eu }}]\n\
             services:\n- name: shop\n  split: {split}\n  {health}\n  versions:\n\
             \x20 - {{ name: v1, weight: {v1}, endpoints: {{ us: [\"10.0.0.1:80\"]{eu} }} }}\n\
             \x20 - {{ name: v2, weight: {v2}, endpoints: {{ us: [{{ address: \"10.0.0.3:80\", weight: {v2} }}] }} }}\n\
             routes:\n{}\ndrain: {{ deadline: {deadline}s }}\n",
            routes.join("\n")
        )
    })
}

proptest! {
    #[test]
    fn good_documents_survive_each_form(text in good()) {
        assert_same_again(&accepted(&text, &Environment::empty()));
    }

    #[test]
    fn nothing_changed_exactly_when_the_digests_are_equal(old in good(), new in good()) {
        let old = validate(&old, &Environment::empty()).unwrap();
        let new = validate(&new, &Environment::empty()).unwrap();
        prop_assert_eq!(diff(&old, &new).is_empty(), old.digest == new.digest);
        prop_assert_eq!(old == new, old.digest == new.digest);
    }
}

#[test]
fn the_fuzz_corpus_is_replayed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/validate");
    let mut count = 0;
    for entry in fs::read_dir(folder).unwrap() {
        try_all(&fs::read(entry.unwrap().path()).unwrap());
        count += 1;
    }
    assert!(count >= 40, "{count} files");
}
