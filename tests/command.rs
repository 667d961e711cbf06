//! The command line: what it says to right and wrong input, and with which exit code.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use sluice_harness::control::Authority;
use sluice_harness::sluice::{command, setup};
use sluice_harness::{Document, Origin, free_address};
use tempfile::TempDir;

const SLUICE: &str = env!("CARGO_BIN_EXE_sluice");

/// What a run of the program left behind.
struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("plain text");
        Self { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
    }
}

fn sluice(arguments: &[&str]) -> Ran {
    command(SLUICE, arguments).into()
}

/// A folder with this document, and the document's path.
fn written(text: impl ToString) -> (TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sluice.yaml");
    fs::write(&file, text.to_string()).unwrap();
    let path = file.to_str().unwrap().to_owned();
    (folder, path)
}

fn sound() -> Document {
    let endpoint = "127.0.0.1:1".parse().unwrap();
    Document::simple("127.0.0.1:8080".parse().unwrap(), endpoint).version("v2", 0, &[("here", &[endpoint])])
}

fn assert_plain(text: &str) {
    assert!(!text.contains('\x1b'), "colours without a terminal: {text:?}");
    assert!(!text.contains("panicked"), "{text}");
}

#[test]
fn check_accepts_a_sound_document() {
    let (_folder, file) = written(sound());
    let ran = sluice(&["check", &file]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    assert!(ran.out.contains("sound"), "{}", ran.out);
    let ran = sluice(&["check", &file, "--output", "json"]);
    let value: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((ran.code, &value["sound"]), (0, &Value::Bool(true)));
}

/// All problems at once, each with its place.
#[test]
fn check_tells_every_problem_with_its_place() {
    let text = sound().to_string().replace("weight: 100", "wieght: 100").replace("service: shop }", "service: shap }");
    let (_folder, file) = written(&text);
    let ran = sluice(&["check", &file]);
    assert_eq!(ran.code, 1);
    for told in ["wieght", "`weight`", "shap", "sluice.yaml:7:", "sluice.yaml:15:"] {
        assert!(ran.err.contains(told), "no {told:?} in {}", ran.err);
    }
    assert_plain(&ran.err);
    let ran = sluice(&["check", &file, "--output", "json"]);
    let value: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((ran.code, &value["sound"]), (1, &Value::Bool(false)));
    assert_eq!(value["problems"].as_array().map(Vec::len), Some(2), "{value}");
}

/// Whatever stands where a document should, the answer is an error that names it.
#[test]
fn no_document_is_an_error_everywhere() {
    let (folder, empty) = written("");
    let binary = folder.path().join("binary");
    fs::write(&binary, [0, 159, 146, 150, 0]).unwrap();
    let directory = folder.path().to_str().unwrap();
    let missing = folder.path().join("missing.yaml");
    let cases = [missing.to_str().unwrap(), directory, &empty, binary.to_str().unwrap()];
    for file in cases {
        let commands = [&["check", file][..], &["config", "show", file], &["explain", file, "/"], &["apply", file]];
        let ran = commands.map(sluice).into_iter().chain([run_file(file, &free_address().to_string())]);
        for ran in ran {
            assert_eq!(ran.code, 1, "{file}: {}", ran.err);
            assert!(ran.err.contains(file), "{file}: {}", ran.err);
            assert_plain(&ran.err);
        }
    }
}

#[test]
fn wrong_usage_ends_with_2() {
    let (_folder, file) = written(sound());
    let wrong: [&[&str]; 14] = [
        &[],
        &["check"],
        &["chekc", &file],
        &["check", &file, "extra"],
        &["check", &file, "--output", "xml"],
        &["run", &file, "--workers", "0"],
        &["run", &file, "--workers", "many"],
        &["run", &file, "--status", "nowhere"],
        &["run", &file, "--log-level", "blah"],
        &["explain", &file],
        &["explain", &file, "GET"],
        &["explain", &file, "ftp://shop.test/"],
        &["explain", &file, "G ET", "http://shop.test/"],
        &["config", "hide", &file],
    ];
    for arguments in wrong {
        let ran = sluice(arguments);
        assert_eq!(ran.code, 2, "{arguments:?}: {}{}", ran.out, ran.err);
        assert!(!ran.err.is_empty(), "{arguments:?}");
        assert_plain(&ran.err);
    }
}

#[test]
fn help_and_version_end_with_0() {
    for arguments in [&["--help"][..], &["--version"], &["run", "--help"]] {
        let ran = sluice(arguments);
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{arguments:?}");
        assert!(ran.out.contains("sluice"), "{}", ran.out);
    }
}

/// Every default is printed, and what is printed is a sound document that means the same.
#[test]
fn config_show_effective_is_a_document_of_its_own() {
    let (folder, file) = written(sound());
    let ran = sluice(&["config", "show", &file, "--effective"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    for default in ["keep_alive", "header_timeout", "per_try", "tunnel_idle", "linger"] {
        assert!(ran.out.contains(default), "no {default} in {}", ran.out);
    }
    let again = folder.path().join("effective.yaml");
    fs::write(&again, &ran.out).unwrap();
    let once_more = sluice(&["config", "show", again.to_str().unwrap(), "--effective"]);
    assert_eq!((once_more.code, once_more.out), (0, ran.out));
    let json = sluice(&["config", "show", &file, "--output", "json"]);
    assert!(serde_json::from_str::<Value>(&json.out).is_ok_and(|value| value["services"][0]["name"] == "shop"));
}

#[test]
fn explain_tells_who_would_answer_and_why() {
    let pinned = "{ path: /beta, methods: [POST], headers: { x-beta: 'on' } }";
    let (_folder, file) = written(sound().route(pinned, "name: beta, service: shop, version: v2"));
    let json = |arguments: &[&str]| -> Value {
        let ran = sluice(&[&["explain", &file, "--output", "json"], arguments].concat());
        assert_eq!(ran.code, 0, "{arguments:?}: {}", ran.err);
        serde_json::from_str(&ran.out).unwrap()
    };
    let told = json(&["POST", "http://shop.test/beta?x=1", "-H", "X-Beta: on"]).to_string();
    assert!(told.contains("beta") && told.contains("v2"), "{told}");
    let told = json(&["http://shop.test/beta"]).to_string();
    assert!(told.contains("v1"), "{told}");
    let table = sluice(&["explain", &file, "/"]);
    assert_eq!(table.code, 0, "{}", table.err);
    assert!(table.out.contains("shop"), "{}", table.out);
    assert_plain(&table.out);
}

#[test]
fn explain_tells_what_the_proxy_refuses() {
    let (_folder, file) = written(sound());
    let ran = sluice(&["explain", &file, "TRACE", "http://shop.test/"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    assert!(ran.out.contains("501") && ran.out.contains("method_not_served"), "{}", ran.out);
}

#[test]
fn explain_tells_when_no_route_matches() {
    let endpoint = "127.0.0.1:1".parse().unwrap();
    let document = Document::new()
        .listener("web", "127.0.0.1:8080".parse().unwrap(), "")
        .region("here", "")
        .service("shop", "")
        .version("v1", 100, &[("here", &[endpoint])])
        .route("{ host: shop.test }", "service: shop");
    let (_folder, file) = written(document);
    let ran = sluice(&["explain", &file, "http://other.test/"]);
    assert!(ran.out.contains("404") || ran.out.contains("no route"), "{}{}", ran.out, ran.err);
}

/// The environment fills the document in; what is missing is named.
#[test]
fn the_environment_fills_a_document_in() {
    let text = sound().to_string().replace("name: shop,", "name: \"${SLUICE_TEST_NAME}\",");
    let (_folder, file) = written(text.replace("service: shop", "service: \"${SLUICE_TEST_NAME}\""));
    let run = |name: Option<&str>| -> Ran {
        let mut command = Command::new(SLUICE);
        command.args(["config", "show", &file]).stdin(Stdio::null()).env_remove("SLUICE_TEST_NAME");
        command.envs(name.map(|name| ("SLUICE_TEST_NAME", name))).output().unwrap().into()
    };
    let ran = run(Some("books"));
    assert!(ran.code == 0 && ran.out.contains("books"), "{}{}", ran.out, ran.err);
    let ran = run(None);
    assert!(ran.code == 1 && ran.err.contains("SLUICE_TEST_NAME"), "{}{}", ran.out, ran.err);
}

fn run_file(file: &str, status: &str) -> Ran {
    let data = tempfile::tempdir().unwrap();
    let (data, admin) = (data.path().to_str().unwrap(), free_address().to_string());
    sluice(&[
        "run",
        file,
        "--status",
        status,
        "--access-log",
        "off",
        "--workers",
        "1",
        "--data",
        data,
        "--admin",
        &admin,
    ])
}

#[test]
fn run_refuses_a_bad_document_and_tells_its_problems() {
    let (_folder, file) = written(sound().to_string().replace("weight: 100", "wieght: 100"));
    let ran = run_file(&file, &free_address().to_string());
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("wieght") && ran.err.contains("weight"), "{}", ran.err);
    assert_plain(&ran.err);
}

#[test]
fn an_address_in_use_is_a_clear_error() {
    let taken = TcpListener::bind(free_address()).unwrap();
    let address = taken.local_addr().unwrap();
    let (_folder, file) = written(Document::simple(address, "127.0.0.1:1".parse().unwrap()));
    let ran = run_file(&file, &free_address().to_string());
    assert_eq!(ran.code, 1, "{}", ran.err);
    assert!(ran.err.contains(&address.to_string()) && ran.err.contains("in use"), "{}", ran.err);
    let (_folder, file) = written(Document::simple(free_address(), "127.0.0.1:1".parse().unwrap()));
    let ran = run_file(&file, &address.to_string());
    assert_eq!(ran.code, 1, "{}", ran.err);
    assert!(ran.err.contains(&address.to_string()) && ran.err.contains("in use"), "{}", ran.err);
}

/// Two proxies on one address would share its connections without a word: each socket is one of a group.
#[test]
fn a_second_proxy_on_the_same_address_is_refused() {
    let (web, origin) = (free_address(), Origin::start("a"));
    let document = Document::simple(web, origin.address());
    let _first = setup(SLUICE).start(&document);
    let (_folder, file) = written(&document);
    let ran = run_file(&file, &free_address().to_string());
    assert_eq!(ran.code, 1, "{}", ran.err);
    assert!(ran.err.contains(&web.to_string()), "{}", ran.err);
}

/// `sluice explain ... | head` is no failure.
#[test]
fn a_reader_that_leaves_is_no_failure() {
    let (_folder, file) = written(sound());
    let script = format!("{SLUICE} config show {file} --effective; echo $? >&2");
    let output = Command::new("sh").args(["-c", &format!("({script}) | true")]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.trim() == "0", "{told}");
}

/// An example with the files that it names.
fn example_with_files(example: &Path) -> TempDir {
    let (authority, folder) = (Authority::new(), TempDir::new().unwrap());
    fs::copy(example, folder.path().join("example.yaml")).unwrap();
    let certs = folder.path().join("certs");
    fs::create_dir(&certs).unwrap();
    for name in ["site", "edge"] {
        authority.issue(name, &["shop.example.com"]);
        for file in [format!("{name}.pem"), format!("{name}.key")] {
            fs::copy(authority.file(&file), certs.join(file)).unwrap();
        }
    }
    for name in ["clients.pem", "origins.pem"] {
        fs::copy(authority.file("ca.pem"), certs.join(name)).unwrap();
    }
    folder
}

#[test]
fn the_examples_are_sound() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy");
    let mut found = 0;
    let mut folders = vec![folder];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if fs::read_to_string(&path).is_ok_and(|text| text.contains("\nservices:")) {
                let beside = example_with_files(&path);
                let ran = sluice(&["check", beside.path().join("example.yaml").to_str().unwrap()]);
                assert_eq!(ran.code, 0, "{}: {}", path.display(), ran.err);
                found += 1;
            }
        }
    }
    assert!(found > 0, "deploy/ has examples");
}

/// Something that gives every request this answer, and where it is.
fn answering(status: &'static str, content: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = Vec::new();
            while !head.windows(4).any(|four| four == b"\r\n\r\n") {
                let mut part = [0; 4096];
                let count = stream.read(&mut part).unwrap();
                assert!(count > 0, "a whole head");
                head.extend_from_slice(&part[..count]);
            }
            let length = content.len();
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{content}");
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    format!("http://{address}")
}

#[test]
fn no_control_plane_ends_with_5_and_tells_where_it_was_looked_for() {
    let (_folder, file) = written(sound());
    let nowhere = format!("http://{}", free_address());
    let commands: [&[&str]; 6] = [
        &["status"],
        &["apply", &file],
        &["shift", "shop", "v2=5%"],
        &["get", "nodes"],
        &["events"],
        &["rollback", "1", "--output", "json"],
    ];
    for arguments in commands {
        let ran = sluice(&[arguments, &["--server", &nowhere]].concat());
        assert_eq!(ran.code, 5, "{arguments:?}: {}", ran.err);
        for told in [nowhere.as_str(), "nobody listens", "--server", "sluice run"] {
            assert!(ran.err.contains(told), "{arguments:?}: no {told:?} in {}", ran.err);
        }
        assert_plain(&ran.err);
    }
    let ran = sluice(&["status", "--server", "unix:/nowhere/admin.sock"]);
    assert!(ran.code == 5 && ran.err.contains("no such socket"), "{}", ran.err);
}

#[test]
fn a_refusal_ends_with_1_and_says_what_to_do() {
    let refusal = r#"{"type":"about:blank","title":"Not Found","status":404,"code":"no-service",
        "detail":"there is no service shap","hint":"did you mean `shop`?","from_a_newer_server":1}"#;
    let server = answering("404 Not Found", refusal);
    let ran = sluice(&["shift", "shap", "v2=5%", "--server", &server]);
    assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{}", ran.err);
    assert!(ran.err.contains("error[no-service]") && ran.err.contains("did you mean `shop`?"), "{}", ran.err);
    assert_plain(&ran.err);
    let ran = sluice(&["shift", "shap", "v2=5%", "--server", &server, "--output", "json"]);
    let value: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((ran.code, &value["code"]), (1, &Value::from("no-service")));
}

#[test]
fn what_is_no_control_plane_is_told() {
    for (status, content) in [("404 Not Found", "nothing here"), ("200 OK", "<html></html>")] {
        let ran = sluice(&["status", "--server", &answering(status, content)]);
        assert_eq!(ran.code, 1, "{}", ran.err);
        assert!(ran.err.contains("control plane"), "{}", ran.err);
    }
}

/// All problems are found here: nothing is sent.
#[test]
fn an_unsound_document_is_never_sent() {
    let (_folder, file) = written(sound().to_string().replace("weight: 100", "wieght: 100"));
    for command in ["apply", "plan"] {
        let ran = sluice(&[command, &file, "--server", "unix:/nowhere/admin.sock"]);
        assert_eq!(ran.code, 1, "{}", ran.err);
        assert!(ran.err.contains("wieght") && ran.err.contains("sluice.yaml:7:"), "{}", ran.err);
    }
}

/// Problems that only the control plane can know are shown in the local text.
#[test]
fn a_document_s_problems_are_shown_in_its_text() {
    let refusal = r#"{"type":"about:blank","title":"Unprocessable Content","status":422,"code":"problems","detail":"1 problem",
        "problems":[{"code":"named-by-overlay","path":"services[0]","line":1,"column":1,"message":"v3 has 5% live"}]}"#;
    let server = answering("422 Unprocessable Content", refusal);
    let (_folder, file) = written(sound());
    let ran = sluice(&["apply", &file, "--server", &server]);
    assert_eq!(ran.code, 1);
    let first = sound().to_string().lines().next().unwrap().to_owned();
    for told in ["error[named-by-overlay]: v3 has 5% live", "sluice.yaml:1:1", first.as_str(), "^"] {
        assert!(ran.err.contains(told), "no {told:?} in {}", ran.err);
    }
}

#[test]
fn a_token_file_that_others_may_read_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    fs::write(&file, "secret-token-1").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let ran = sluice(&["status", "--server", "unix:/nowhere/a", "--token-file", file.to_str().unwrap()]);
    assert_eq!(ran.code, 1, "{}", ran.err);
    assert!(ran.err.contains("chmod 600") && !ran.err.contains("secret"), "{}", ran.err);
}

#[test]
fn a_token_is_drawn_anew_each_time() {
    let token = || -> Value {
        let ran = sluice(&["token", "ann", "operator", "--output", "json"]);
        assert_eq!(ran.code, 0, "{}", ran.err);
        serde_json::from_str(&ran.out).unwrap()
    };
    let (one, two) = (token(), token());
    assert_ne!(one["token"], two["token"]);
    assert!(one["line"].as_str().is_some_and(|line| line.starts_with("ann operator sha256:")), "{one}");
}

#[test]
fn an_address_that_others_reach_needs_tokens() {
    let (folder, file) = written(sound());
    let data = folder.path().join("data");
    for command in ["run", "control"] {
        let ran = sluice(&[command, &file, "--admin", "0.0.0.0:0", "--data", data.to_str().unwrap()]);
        assert_eq!(ran.code, 2, "{}", ran.err);
        assert!(ran.err.contains("--admin-tokens"), "{}", ran.err);
    }
}
