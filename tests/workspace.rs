//! The walls of the house: which crate may use which, what a core may reach, what every crate inherits.
//!
//! The rules stand in the tables at the top. Each check is a function over plain data, and a second test shows it a
//! sample that breaks the rule.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::path::Path;

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package, PackageId};

/// Which of our crates a crate may use. The harness and the benches may use all and are used by none of these.
const ARROWS: &[(&str, &[&str])] = &[
    ("sluice-config", &[]),
    ("sluice-proxy-core", &["sluice-config"]),
    ("sluice-control-core", &["sluice-config", "sluice-proxy-core"]),
    ("sluice-proxy", &["sluice-config", "sluice-proxy-core"]),
    ("sluice-control", &["sluice-config", "sluice-proxy-core", "sluice-control-core"]),
    ("sluice", &["sluice-config", "sluice-proxy-core", "sluice-proxy", "sluice-control-core", "sluice-control"]),
];

/// May use every crate of ours.
const EXEMPT: &[&str] = &["sluice-harness", "sluice-benches"];

/// Decide, and do nothing: no I/O may be in reach.
const CORES: &[(&str, &str)] =
    &[("sluice-config", "config"), ("sluice-proxy-core", "proxy/core"), ("sluice-control-core", "control/core")];

/// What no core may reach, at any depth; with all crates whose name begins with it and a dash.
const OUT_OF_REACH: &[&str] = &[
    "async-std",
    "h2",
    "hickory",
    "hyper",
    "mio",
    "pingora",
    "prometheus",
    "quinn",
    "reqwest",
    "rustix",
    "rustls",
    "socket2",
    "tokio",
    "tracing",
];

/// What only these crates may use to run; with all crates whose name begins with it and a dash.
const KNOWN_ONLY_IN: &[(&str, &[&str])] = &[
    ("pingora", &["sluice-proxy"]),
    ("h2", &["sluice-proxy", "sluice-harness"]),
    ("hickory", &["sluice-proxy", "sluice-harness"]),
    ("hyper", &["sluice-proxy", "sluice-control", "sluice"]),
    ("axum", &["sluice-control"]),
    ("rusqlite", &["sluice-control"]),
    ("prometheus", &["sluice-proxy", "sluice-control"]),
];

/// What a core's own clippy.toml must ban besides the bans of the root's.
const CORE_BANS: &[&str] = &[
    "std::time::Instant::now",
    "std::time::Instant::elapsed",
    "std::time::SystemTime::now",
    "std::time::SystemTime::elapsed",
    "rand::rng",
    "rand::random",
    "rand::rngs::ThreadRng",
    "std::thread_local",
    "std::collections::HashMap::iter",
    "std::collections::HashMap::keys",
    "std::collections::HashMap::values",
    "std::collections::HashMap::drain",
    "std::collections::HashMap::retain",
    "std::collections::HashSet::iter",
    "std::collections::HashSet::drain",
];

#[test]
fn crates_use_only_what_the_arrows_allow() {
    assert_none(broken_arrows(&arrows(&metadata())));
}

#[test]
fn a_broken_arrow_is_seen() {
    let used = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    let sample = [
        used("sluice-proxy", "sluice-config"),
        used("sluice-proxy", "sluice-control"),
        used("sluice-new", "sluice-config"),
    ];
    let broken = broken_arrows(&sample);
    assert_eq!(broken.len(), 2, "{broken:?}");
    assert!(broken[0].contains("sluice-proxy") && broken[0].contains("sluice-control"));
    assert!(broken[1].contains("sluice-new") && broken[1].contains("no row"));
}

#[test]
fn cores_reach_nothing_that_does_io() {
    let graph = graph(&metadata());
    for (core, _) in CORES {
        assert!(graph.contains_key(*core), "{core} is not in the workspace");
        assert_none(out_of_reach(&graph, core));
    }
}

#[test]
fn io_behind_another_crate_is_seen() {
    let sample = BTreeMap::from([
        ("core".to_owned(), vec!["fine".to_owned(), "tokioish".to_owned()]),
        ("fine".to_owned(), vec!["tokio-util".to_owned()]),
    ]);
    assert_eq!(out_of_reach(&sample, "core"), ["core reaches tokio-util through fine"]);
}

#[test]
fn what_one_crate_hides_no_other_uses() {
    let metadata = metadata();
    let uses: Vec<_> = metadata.workspace_packages().into_iter().flat_map(uses).collect();
    assert_none(known_elsewhere(&uses));
}

#[test]
fn a_hidden_crate_in_the_wrong_place_is_seen() {
    let uses = [
        ("sluice", "h2"),
        ("sluice-control", "pingora-http"),
        ("sluice-proxy", "pingora-core"),
        ("sluice", "hyper-util"),
    ];
    let uses = uses.map(|(user, used)| (user.to_owned(), used.to_owned()));
    assert_eq!(known_elsewhere(&uses), ["sluice must not know h2", "sluice-control must not know pingora-http"]);
}

#[test]
fn every_crate_inherits_the_lints_and_stays_private() {
    let metadata = metadata();
    for package in metadata.workspace_packages() {
        let manifest = fs::read_to_string(&package.manifest_path).expect("cargo has just read this manifest");
        assert_eq!(section(&manifest, "lints"), ["workspace = true"], "[lints] of {}", package.name);
        assert_eq!(package.publish.as_deref(), Some(&[][..]), "`publish = false` is missing in {}", package.name);
        assert_eq!(package.license.as_deref(), Some("Apache-2.0"), "licence of {}", package.name);
    }
}

#[test]
fn a_manifest_without_lints_is_seen() {
    assert!(section("[package]\nname = \"x\"\n[dependencies]\nworkspace = true\n", "lints").is_empty());
    assert_eq!(section("[lints]\n\nworkspace = true\n[x]\ny = 1", "lints"), ["workspace = true"]);
}

#[test]
fn the_workspace_forbids_unsafe_code_and_unwinds() {
    let manifest = read("Cargo.toml");
    assert!(section(&manifest, "workspace.lints.rust").contains(&"unsafe_code = \"forbid\""));
    assert!(section(&manifest, "profile.release").contains(&"panic = \"unwind\""));
}

#[test]
fn cores_repeat_the_root_bans_and_add_their_own() {
    let root = bans(&read("clippy.toml"));
    for (core, folder) in CORES {
        let own = bans(&read(&format!("{folder}/clippy.toml")));
        let missing = missing_bans(&root, &own);
        assert!(missing.is_empty(), "{folder}/clippy.toml of {core} does not ban {missing:?}");
    }
}

#[test]
fn a_missing_ban_is_seen() {
    let root = bans("  { path = \"std::process::exit\", reason = \"r\" },\n");
    let own: BTreeSet<String> = CORE_BANS.iter().skip(1).map(|&path| path.to_owned()).collect();
    assert_eq!(missing_bans(&root, &own), ["std::process::exit", CORE_BANS[0]]);
}

fn assert_none(problems: Vec<String>) {
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn metadata() -> Metadata {
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    MetadataCommand::new()
        .manifest_path(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"))
        .other_options(["--locked".to_owned(), "--filter-platform".to_owned(), platform])
        .exec()
        .expect("cargo metadata answers for the workspace it runs in")
}

/// (user, used) for everything that a member needs to build and to run.
fn uses(member: &Package) -> Vec<(String, String)> {
    let used = member.dependencies.iter().filter(|used| used.kind != DependencyKind::Development);
    used.map(|used| (member.name.to_string(), used.name.clone())).collect()
}

/// The uses of one crate of ours by another.
fn arrows(metadata: &Metadata) -> Vec<(String, String)> {
    let members: BTreeSet<String> =
        metadata.workspace_packages().iter().map(|member| member.name.to_string()).collect();
    let uses = metadata.workspace_packages().into_iter().flat_map(uses);
    uses.filter(|(_, used)| members.contains(used)).collect()
}

fn broken_arrows(arrows: &[(String, String)]) -> Vec<String> {
    let judge = |(user, used): &(String, String)| {
        if EXEMPT.contains(&user.as_str()) {
            return None;
        }
        match ARROWS.iter().find(|(name, _)| name == user) {
            None => Some(format!("{user} has no row in the table of arrows")),
            Some((_, allowed)) if !allowed.contains(&used.as_str()) => Some(format!("{user} must not use {used}")),
            Some(_) => None,
        }
    };
    arrows.iter().filter_map(judge).collect()
}

/// Every package of the resolved graph with the packages it uses to run.
fn graph(metadata: &Metadata) -> BTreeMap<String, Vec<String>> {
    let names: BTreeMap<&PackageId, String> =
        metadata.packages.iter().map(|one| (&one.id, one.name.to_string())).collect();
    let resolve = metadata.resolve.as_ref().expect("cargo metadata was asked for dependencies");
    let mut graph = BTreeMap::<String, Vec<String>>::new();
    for node in &resolve.nodes {
        let runs =
            node.deps.iter().filter(|used| used.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal));
        // Two versions of one package share a row: what either reaches, the name reaches.
        graph.entry(names[&node.id].clone()).or_default().extend(runs.map(|used| names[&used.pkg].clone()));
    }
    graph
}

fn out_of_reach(graph: &BTreeMap<String, Vec<String>>, core: &str) -> Vec<String> {
    let mut seen = BTreeSet::from([core.to_owned()]);
    let mut next = VecDeque::from([core.to_owned()]);
    let mut problems = Vec::new();
    while let Some(user) = next.pop_front() {
        for used in graph.get(&user).into_iter().flatten().filter(|used| seen.insert((*used).clone())) {
            if does_io(used) {
                problems.push(format!("{core} reaches {used} through {user}"));
            }
            next.push_back(used.clone());
        }
    }
    problems
}

fn known_elsewhere(uses: &[(String, String)]) -> Vec<String> {
    let misplaced = |(user, used): &&(String, String)| {
        KNOWN_ONLY_IN.iter().any(|(family, users)| belongs_to(used, family) && !users.contains(&user.as_str()))
    };
    uses.iter().filter(misplaced).map(|(user, used)| format!("{user} must not know {used}")).collect()
}

fn does_io(name: &str) -> bool {
    OUT_OF_REACH.iter().any(|family| belongs_to(name, family))
}

/// Whether this is the crate `family`, or one whose name begins with it and a dash.
fn belongs_to(name: &str, family: &str) -> bool {
    name.strip_prefix(family).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

/// The lines of one table of a TOML file, without blank lines and comments.
fn section<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    let lines = text.lines().map(str::trim).skip_while(|line| *line != format!("[{name}]")).skip(1);
    lines.take_while(|line| !line.starts_with('[')).filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
}

/// Every `path = "..."` of a clippy.toml.
fn bans(text: &str) -> BTreeSet<String> {
    let path = |line: &str| line.split_once("path = \"")?.1.split_once('"').map(|(path, _)| path.to_owned());
    text.lines().filter_map(path).collect()
}

/// What a core does not ban and must. It needs no ban of a crate that it cannot reach.
fn missing_bans(root: &BTreeSet<String>, own: &BTreeSet<String>) -> Vec<String> {
    let of_std = root.iter().map(String::as_str).filter(|path| path.starts_with("std::"));
    of_std.chain(CORE_BANS.iter().copied()).filter(|path| !own.contains(*path)).map(str::to_owned).collect()
}
