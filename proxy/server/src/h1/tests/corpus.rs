//! Replays the corpus of the fuzz target.

use crate::{h1, message};

#[path = "../../../fuzz/checks.rs"]
mod checks;

#[test]
fn the_corpus_of_the_fuzzer_holds() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/h1");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let data = std::fs::read(&path).unwrap();
        assert!(data.len() > 2, "{} says nothing", path.display());
        checks::check(&data);
        count += 1;
    }
    assert!(count >= 40, "{count} inputs are left in {folder}");
}
