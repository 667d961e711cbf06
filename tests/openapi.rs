//! The API does what its description says, and nothing that its description does not: a fuzzer reads
//! `docs/reference/openapi.json`, asks a running control plane what that allows and much that it does not, and judges
//! every answer by it.
//!
//! `/v1/subscribe` and `/v1/events` are left out: their answers are streams without an end, which the fuzzer would wait
//! for. Who may do what is asked in `tests/admin.rs`; here whoever asks may do everything.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use sluice_harness::fleet::control;
use sluice_harness::{Document, Subscribers, free_address};

const SLUICE: &str = env!("CARGO_BIN_EXE_sluice");

/// What is held of every answer: no failure of ours, and a status, a media type, fields and content as described.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,\
                      response_schema_conformance";

/// Names and numbers that mean something, so that not every request ends at a name that is not there.
const KNOWN: &str = r#"
[dictionaries]
services = { values = ["shop", "cart"] }
nodes = { values = ["simulated-0"] }
revisions = { values = [1, 2, 3] }

[parameters]
"path.service" = { dictionary = "services", probability = 0.8 }
"path.node" = { dictionary = "nodes", probability = 0.8 }
"path.id" = { dictionary = "revisions", probability = 0.5 }
"query.from" = { dictionary = "revisions", probability = 0.5 }
"query.revision" = { dictionary = "revisions", probability = 0.5 }
"#;

#[test]
fn every_answer_is_one_that_the_description_tells() {
    let control = control(SLUICE).start();
    let api = control.api();
    api.apply(document());
    api.shift("shop", &[("v2", "7%")]);
    let _node = Subscribers::connect(control.admin(), 1);
    fuzz(control.folder(), &format!("http://{}", control.admin()));
    assert_eq!(api.get("/v1/audit/verify")["sound"], true);
}

fn document() -> Document {
    let endpoint = || [free_address()];
    let document = Document::new().listener("web", free_address(), "").region("here", "");
    let document = ["shop", "cart"].into_iter().fold(document, |document, service| {
        let document = document.service(service, "");
        document.version("v1", 95, &[("here", &endpoint())]).version("v2", 5, &[("here", &endpoint())])
    });
    document.route("{ path: /cart }", "service: cart").route("{ path: / }", "service: shop")
}

fn fuzz(folder: &Path, url: &str) {
    let full = std::env::var_os("SLUICE_FULL").is_some();
    let seconds = if full { 900 } else { 40 };
    let description = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference/openapi.json");
    let known = folder.join("known.toml");
    fs::write(&known, KNOWN).unwrap();
    let fuzzer = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/bin/openapi-fuzzer");
    assert!(fuzzer.exists(), "this suite needs {}: run `.ci/packages test`", fuzzer.display());
    let mut command = Command::new(fuzzer);
    command.arg("--no-color").arg("--config-file").arg(&known).arg("run").arg(description).args(["--url", url]);
    command.args(["--checks", CHECKS, "--max-time", &seconds.to_string(), "--request-timeout", "10"]);
    command.args(["--exclude-path", "/v1/subscribe", "--exclude-path", "/v1/events"]);
    command.args(["--continue-on-failure", "--generation-database", "none", "--warnings", "off"]);
    if !full {
        // What is run for every change must not fail by a chance that the change has no part in.
        command.args(["--seed", "20261126"]);
    }
    let output = command.current_dir(folder).stdin(Stdio::null()).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}\n{}", String::from_utf8_lossy(&output.stderr));
    let generated = told.lines().skip_while(|line| !line.starts_with("Test cases:")).nth(1).unwrap_or_default();
    let cases = generated.split_whitespace().next().and_then(|count| count.parse().ok()).unwrap_or(0);
    println!("{cases} cases in {seconds} s");
    assert!(cases > 200, "the fuzzer has hardly asked anything:\n{told}");
}
