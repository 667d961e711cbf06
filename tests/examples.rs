//! What lies under `deploy/` is what Sluice accepts: every example document validates and means what its first lines say.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use sluice_config::validated::{Capability, Role, Service, Split, StickyKey};
use sluice_config::{Environment, Validated};

#[test]
fn every_example_validates() {
    let examples = examples();
    assert!(examples.len() >= 6, "{examples:?}");
    for path in examples {
        let name = path.file_stem().and_then(|stem| stem.to_str()).expect("examples have plain names");
        let document = document(name);
        assert!(!document.routes.is_empty(), "{name}");
    }
}

#[test]
fn a_misspelt_example_would_be_seen() {
    let text = read("deploy/examples/minimal.yaml").replace("services", "servces");
    assert!(sluice_config::validate(&text, &Environment::empty()).is_err());
}

#[test]
fn minimal_is_one_of_each() {
    let document = document("minimal");
    assert_eq!(
        (document.listeners.len(), document.regions.len(), document.services.len(), document.routes.len()),
        (1, 1, 1, 1)
    );
}

#[test]
fn weights_send_one_request_in_twenty_to_the_canary() {
    assert_eq!(weights(&document("weights").services[0]), [("v1", 95), ("v2", 5)]);
}

#[test]
fn regions_are_two_active_and_a_standby_without_share() {
    let document = document("regions");
    let regions: Vec<_> = document.regions.iter().map(|region| (region.role, region.weight.get())).collect();
    assert_eq!(regions, [(Role::Primary, 70), (Role::Secondary, 30), (Role::Standby, 0)]);
    let admin: Vec<bool> =
        document.regions.iter().map(|region| region.capabilities.serves(Capability::Admin)).collect();
    assert_eq!(admin, [true, false, false]);
    assert!(document.routes.iter().any(|route| route.capability == Some(Capability::Admin)));
}

#[test]
fn sticky_is_by_cookie() {
    assert_eq!(document("sticky").services[0].split, Split::Sticky(StickyKey::Cookie("session".to_owned())));
}

#[test]
fn header_routing_names_a_version_that_the_split_never_gives() {
    let document = document("header-routing");
    let testers = document.routes.iter().find(|route| route.version.is_some()).expect("one route names a version");
    assert_eq!(testers.matches.headers[0].name, "x-preview");
    let version = &document.services[testers.service].versions[testers.version.expect("it was found by its version")];
    assert_eq!(version.weight.get(), 0);
}

#[test]
fn full_shows_every_field_of_the_schema() {
    let schema = serde_json::to_value(sluice_config::json_schema()).expect("a schema is JSON");
    let text = read("deploy/examples/full.yaml");
    let missing: Vec<String> = fields(&schema).into_iter().filter(|field| !mentions(&text, field)).collect();
    assert!(missing.is_empty(), "deploy/examples/full.yaml does not show {missing:?}");
    assert!(!mentions("ports: 1", "port") && mentions("{ port: 1 }", "port"));
}

#[test]
fn the_unit_waits_longer_than_a_drain() {
    let unit = read("deploy/sluice.service");
    let line =
        unit.lines().find_map(|line| line.strip_prefix("TimeoutStopSec=")).expect("the unit says how long it waits");
    let seconds = line.strip_suffix('s').and_then(|digits| digits.parse().ok()).expect("the time is in seconds");
    let drain = document("minimal").drain;
    assert!(Duration::from_secs(seconds) > drain.delay + drain.deadline);
}

/// systemd's own look at the units; the program that they start need not be installed here.
#[test]
fn systemd_takes_the_units() {
    for unit in ["sluice.service", "sluice-proxy.service", "sluice-control.service"] {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let installed = |text: String| text.replace("/usr/local/bin/sluice", "/bin/true");
        let place = |name: &str| {
            let path = folder.path().join(name);
            fs::write(&path, installed(read(&format!("deploy/{name}")))).expect("the folder was just made");
            path
        };
        let mut units = vec![place(unit)];
        if unit == "sluice.service" {
            units.push(place("sluice.socket"));
        }
        let verify = Command::new("systemd-analyze").arg("verify").arg("--man=no").args(units).output();
        let verified = verify.expect("this test needs systemd-analyze: apt-get install systemd");
        let said = String::from_utf8_lossy(&verified.stderr);
        let ours: Vec<&str> = said.lines().filter(|line| line.contains("sluice")).collect();
        assert!(verified.status.success() && ours.is_empty(), "{unit}: {said}");
    }
}

#[test]
fn the_image_and_the_unit_run_a_document_at_the_documented_place() {
    assert!(read("deploy/Dockerfile").contains(r#"CMD ["run", "/etc/sluice/sluice.yaml","#));
    assert!(read("deploy/sluice.service").contains("ExecStart=/usr/local/bin/sluice run /etc/sluice/sluice.yaml\n"));
}

#[test]
fn prometheus_takes_the_scrape_configuration() {
    let check = |text: &str| {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let path = folder.path().join("prometheus.yml");
        fs::write(&path, text).expect("the folder was just made");
        let promtool = Command::new("promtool").args(["check", "config"]).arg(&path).output();
        promtool.expect("this test needs promtool: apt-get install prometheus")
    };
    let text = read("deploy/prometheus.yml");
    let checked = check(&text);
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    assert!(!check(&text.replace("targets", "tragets")).status.success());
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn examples() -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join("deploy/examples")).expect("the examples are part of the checkout");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("the folder can be read").path()).collect();
    paths.sort();
    paths
}

/// The example of this name, proven without any variable set.
fn document(name: &str) -> Validated {
    let text = read(&format!("deploy/examples/{name}.yaml"));
    sluice_config::validate(&text, &Environment::empty()).unwrap_or_else(|problems| panic!("{name}: {problems}"))
}

fn weights(service: &Service) -> Vec<(&str, u32)> {
    service.versions.iter().map(|version| (version.name.as_str(), version.weight.get())).collect()
}

/// The names of all properties, at any depth.
fn fields(schema: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
        found.extend(properties.keys().cloned());
    }
    let inner = schema.as_object().into_iter().flat_map(|object| object.values());
    let listed = schema.as_array().into_iter().flatten();
    found.extend(inner.chain(listed).flat_map(fields));
    found
}

/// Whether `field:` stands somewhere as a whole word.
fn mentions(text: &str, field: &str) -> bool {
    let key = format!("{field}:");
    text.match_indices(&key).any(|(at, _)| !text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
}
