//! What the pages say holds: documents in them validate, links lead somewhere, metrics are called what they are called.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sluice_config::Environment;

#[test]
fn documents_in_the_pages_validate() {
    let mut seen = 0;
    for (page, text) in pages() {
        for document in blocks(&text, "yaml").into_iter().filter(|block| block.starts_with("listeners:")) {
            seen += 1;
            if let Err(problems) = sluice_config::validate(&document, &Environment::empty()) {
                panic!("{}: {problems}\n{document}", page.display());
            }
        }
    }
    assert!(seen >= 8, "only {seen} documents were found in the pages");
}

/// The README shows what `check` says of the document that a newcomer writes first.
#[test]
fn the_readme_shows_what_check_says_of_its_document() {
    let (text, folder) = (read(&root().join("README.md")), tempfile::tempdir().expect("a folder"));
    fs::write(folder.path().join("shop.yaml"), &blocks(&text, "yaml")[0]).expect("a file in it");
    let mut check = Command::new(env!("CARGO_BIN_EXE_sluice"));
    let output = check.args(["check", "shop.yaml"]).current_dir(folder.path()).output().expect("the program runs");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(told.contains("is sound") && text.contains(told.as_ref()), "{told}");
}

#[test]
fn links_lead_somewhere() {
    let mut dead = Vec::new();
    for (page, text) in pages() {
        let folder = page.parent().expect("a page is in a folder");
        dead.extend(
            links(&text).into_iter().filter(|link| !folder.join(link).exists()).map(|link| (page.clone(), link)),
        );
    }
    assert!(dead.is_empty(), "{dead:?}");
}

#[test]
fn metrics_are_called_what_they_are_called() {
    let sources = ["proxy/server/src/metrics/family.rs", "control/server/src/status.rs"];
    let source = sources.map(|file| read(&root().join(file))).concat();
    let mut unknown = Vec::new();
    let mut seen = BTreeSet::new();
    for (page, text) in pages() {
        for metric in metrics(&text) {
            if !source.contains(&format!("\"{metric}\"")) {
                unknown.push((page.clone(), metric.clone()));
            }
            seen.insert(metric);
        }
    }
    assert!(unknown.is_empty(), "{unknown:?}");
    assert!(seen.len() >= 10, "{seen:?}");
}

#[test]
fn the_readers_see_a_sample() {
    let text = "a [b](c/d.md#e) ![f](g.png) [h](https://i) [j](#k)\n```yaml\nlisteners: []\n```\n```sh\nls\n```\n`rate(sluice_x_seconds_bucket[5m])` sluice_config::y";
    assert_eq!(links(text), ["c/d.md", "g.png"]);
    assert_eq!(blocks(text, "yaml"), ["listeners: []\n"]);
    assert_eq!(metrics(text), BTreeSet::from(["sluice_x_seconds".to_owned()]));
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every page of the repository.
fn pages() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for name in ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"] {
        found.push(root().join(name));
    }
    markdown(&root().join("docs"), &mut found);
    markdown(&root().join("benches"), &mut found);
    found.into_iter().map(|path| (path.clone(), read(&path))).collect()
}

fn markdown(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.expect("the folder can be read").path();
        if path.is_dir() {
            markdown(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
}

/// The fenced blocks of this language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    text.split(&fence).skip(1).filter_map(|rest| rest.split_once("```")).map(|(block, _)| block.to_owned()).collect()
}

/// Where the links inside the repository lead, without anchors.
fn links(text: &str) -> Vec<String> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target);
    let inside = targets.filter(|target| !target.contains("://") && !target.starts_with('#'));
    inside.map(|target| target.split('#').next().unwrap_or(target).to_owned()).collect()
}

/// Names such as `sluice_requests_total`, without what a histogram appends; not crates such as `sluice_config`.
fn metrics(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | ':')));
    let metrics = words.filter(|word| word.starts_with("sluice_") && !word.contains("::"));
    metrics
        .map(|word| word.strip_suffix("_bucket").unwrap_or(word).trim_end_matches('_').to_owned())
        .filter(|word| word != "sluice")
        .collect()
}
