use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::*;

/// How often each input is mutated where `MUTATIONS` does not say.
const MUTATIONS: u32 = 200;
/// How many inputs a check has at least.
const INPUTS: usize = 8;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

fn corpus(name: &str) -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(folder().join("corpus").join(name)).unwrap();
    let mut inputs: Vec<_> = entries
        .map(|entry| {
            let path = entry.unwrap().path();
            (path.display().to_string(), std::fs::read(path).unwrap())
        })
        .collect();
    inputs.sort();
    inputs
}

/// Tells the input if its check panics.
struct Tell<'a>(&'a str, &'a [u8]);

impl Drop for Tell<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{} does not hold for {}", self.0, self.1.escape_ascii());
        }
    }
}

/// Any sequence will do, as long as a failure can be had again.
struct Dice(u64);

impl Dice {
    const fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % if end == 0 { 1 } else { end }
    }

    /// Changes a few bytes, takes some out, or puts some in, also from another input.
    fn mutate(&mut self, data: &mut Vec<u8>, other: &[u8]) {
        const TELLING: &[u8] = b"\r\n\t \0:;,/%.?#\\\"=-+09afAF{}[]\x7f\x80\xff";
        for _ in 0..=self.below(3) {
            let at = self.below(data.len() + 1);
            match self.below(6) {
                0 if at < data.len() => data[at] ^= 1 << self.below(8),
                1 if at < data.len() => data[at] = TELLING[self.below(TELLING.len())],
                2 => data.insert(at, TELLING[self.below(TELLING.len())]),
                3 => drop(data.drain(at..(at + self.below(8)).min(data.len()))),
                4 => {
                    let from = self.below(other.len());
                    let piece = other[from..(from + self.below(24)).min(other.len())].to_vec();
                    data.splice(at..at, piece);
                }
                _ => data.truncate(at),
            }
        }
    }
}

#[test]
fn the_corpora_and_mutations_of_them_hold() {
    let failed = |name: &&str| std::panic::catch_unwind(|| try_all(name)).is_err();
    let failed: Vec<&str> = CHECKS.iter().map(|(name, _)| *name).filter(failed).collect();
    assert!(failed.is_empty(), "{failed:?}");
}

fn try_all(name: &str) {
    let inputs = corpus(name);
    assert!(inputs.len() >= INPUTS, "{name} has {} inputs", inputs.len());
    let mutations = std::env::var("MUTATIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(MUTATIONS);
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    for (file, data) in &inputs {
        let tell = Tell(file, data);
        run(name, data);
        drop(tell);
        for _ in 0..mutations {
            let mut mutated = data.clone();
            let other = dice.below(inputs.len());
            dice.mutate(&mut mutated, &inputs[other].1);
            let tell = Tell(name, &mutated);
            run(name, &mutated);
            drop(tell);
        }
    }
}

#[test]
fn each_check_has_a_program_and_a_corpus() {
    let listed: BTreeSet<String> = CHECKS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let manifest = std::fs::read_to_string(folder().join("Cargo.toml")).unwrap();
    let programs =
        manifest.split("[[bin]]\nname = \"").skip(1).filter_map(|rest| Some(rest.split_once('"')?.0.to_owned()));
    assert_eq!(programs.collect::<BTreeSet<_>>(), listed);
    let folders = std::fs::read_dir(folder().join("corpus")).unwrap();
    let folders = folders.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(folders.collect::<BTreeSet<_>>(), listed);
}

#[test]
fn a_check_that_fails_is_seen() {
    let failed = std::panic::catch_unwind(|| run("no such check", b""));
    assert!(failed.is_err());
}
