//! HTTP/1.1 conformance and request smuggling, by a table of cases that is kept outside the repository.
//!
//! `SLUICE_CONFORMANCE` names the folder with `h1_table.py` and `echo_backend.py`. Without it nothing is run, and said so.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use sluice_harness::sluice::setup;
use sluice_harness::tool::tool;
use sluice_harness::wait::until;
use sluice_harness::{Document, free_address};

const SLUICE: &str = env!("CARGO_BIN_EXE_sluice");

/// Of the scored cases, how many must pass.
const PASSED: u32 = 150;
const SCORED: u32 = 161;

struct Backend(Child);

impl Drop for Backend {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn start_backend(folder: &Path, address: SocketAddr, log: &Path) -> Backend {
    let mut command = Command::new(tool("python3", "python3"));
    command.arg(folder.join("echo_backend.py")).arg(address.port().to_string()).arg(log);
    let backend = Backend(command.stdin(Stdio::null()).spawn().unwrap());
    until("the backend listens", || TcpStream::connect(address).ok());
    backend
}

/// `http1 PASS/SCORED pass, ...` as (PASS, SCORED).
fn summary(line: &str) -> Option<(u32, u32)> {
    let (passed, scored) = line.strip_prefix("http1 ")?.split_whitespace().next()?.split_once('/')?;
    Some((passed.parse().ok()?, scored.parse().ok()?))
}

#[test]
fn the_table_of_cases_holds() {
    let Some(folder) = std::env::var_os("SLUICE_CONFORMANCE").map(PathBuf::from) else {
        println!("not run: SLUICE_CONFORMANCE does not name the folder of the cases");
        return;
    };
    let (web, endpoint, own) = (free_address(), free_address(), tempfile::tempdir().unwrap());
    let log = own.path().join("backend.log");
    let _backend = start_backend(&folder, endpoint, &log);
    let _sluice = setup(SLUICE).start(Document::simple(web, endpoint));
    let mut table = Command::new(tool("python3", "python3"));
    table.arg(folder.join("h1_table.py")).arg(web.to_string()).env("MAX_FAIL", "1000");
    let output = table.stdin(Stdio::null()).output().unwrap();
    let (told, failures) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{told}\n{failures}");
    let (passed, scored) = told.lines().find_map(summary).expect("a line of the sum");
    assert_eq!(scored, SCORED);
    assert!(passed >= PASSED, "{passed} of {scored} pass, at least {PASSED} must");
    let bad = |line: &&str| {
        let entry: Value = serde_json::from_str(line).unwrap();
        entry.get("bad").is_some_and(|bad| !bad.is_null() && *bad != Value::Bool(false))
    };
    let text = fs::read_to_string(&log).unwrap();
    assert!(text.lines().count() > 50, "the backend was asked {} times", text.lines().count());
    assert_eq!(
        text.lines().filter(bad).collect::<Vec<_>>(),
        Vec::<&str>::new(),
        "what is not plain reached the origin"
    );
}
