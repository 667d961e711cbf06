//! Every refusal, word for word: one file for each, and beside it the report that its author gets.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use sluice_config::problem::{self, Code};
use sluice_config::{
    Environment, Overlay, Problems, UnusableFile, decode, read_pair, refuse_endpoints, refuse_files, validate,
};

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    files
}

fn refuse(file: &Path) -> (String, Problems) {
    let bytes = fs::read(file).unwrap();
    let environment = Environment::from_iter([("NUMBER_AS_TEXT", "many"), ("HOST", "nowhere")]);
    let own = ["127.0.0.1:9900".parse().unwrap()];
    let problems = decode(&bytes).and_then(|text| {
        read_pair(text, &environment, &overlay(file))?;
        refuse_endpoints(text, &environment, &own)?;
        refuse_files(text, &environment, &[unusable()])
    });
    let problems = problems.expect_err("each of them is refused");
    (String::from_utf8_lossy(&bytes).into_owned(), problems)
}

/// What somebody found who looked at the files of a sound document.
fn unusable() -> UnusableFile {
    let pair = problem::Path::default().field("listeners").item(0).field("tls").field("certificates").item(0);
    let message = "there is no file certs/site.key".to_owned();
    UnusableFile { path: pair.field("key"), message, hint: "put it there, or correct the path".to_owned() }
}

/// What was changed live, where a file beside the document says so.
fn overlay(file: &Path) -> Overlay {
    let beside = fs::read_to_string(file.with_extension("overlay.json"));
    beside.map_or_else(|_| Overlay::default(), |text| serde_json::from_str(&text).unwrap())
}

#[test]
fn each_refusal_is_told_as_it_was_agreed() {
    for file in files() {
        let (text, problems) = refuse(&file);
        let name = file.file_stem().unwrap().to_str().unwrap();
        insta::with_settings!({ snapshot_path => "golden", prepend_module_to_snapshot => false, omit_expression => true }, {
            insta::assert_snapshot!(name, problems.render(&format!("{name}.yaml"), &text));
        });
    }
}

#[test]
fn each_code_has_a_golden_file() {
    let problems = files().iter().flat_map(|file| refuse(file).1.problems).collect::<Vec<_>>();
    let told: BTreeSet<Code> = problems.iter().map(|problem| problem.code).collect();
    let missing: Vec<_> = Code::ALL.iter().filter(|code| !told.contains(code)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn each_position_is_in_the_text() {
    for file in files() {
        let (text, problems) = refuse(&file);
        for problem in &problems.problems {
            let Some(position) = problem.position else { continue };
            let lines = text.lines().count();
            assert!((1..=lines + 1).contains(&(position.line as usize)), "{}: {problem}", file.display());
            let line = text.lines().nth(position.line as usize - 1).unwrap_or_default();
            assert!(
                (1..=line.chars().count() + 1).contains(&(position.column as usize)),
                "{}: {problem}",
                file.display()
            );
        }
    }
}

#[test]
fn problems_are_machine_readable() {
    let problems = validate("listeners: 5", &Environment::empty()).unwrap_err();
    let all = serde_json::to_value(&problems).unwrap();
    let first = all["problems"].as_array().unwrap().last().unwrap();
    assert_eq!(first["code"], "wrong-type");
    assert_eq!(first["path"], "listeners");
    assert_eq!((first["line"].as_u64(), first["column"].as_u64()), (Some(1), Some(12)));
}
