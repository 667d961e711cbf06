//! TLS towards clients, by curl and OpenSSL: which certificate they are shown, what becomes of files that change, who is let
//! in, and what origins are told.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};

use sluice_harness::control::{Authority, Control, revision};
use sluice_harness::h1::Client;
use sluice_harness::sluice::{Ran, command, setup};
use sluice_harness::tool::tool;
use sluice_harness::wait::until;
use sluice_harness::{Document, Origin, Sluice, free_address};

const SLUICE: &str = env!("CARGO_BIN_EXE_sluice");
/// Certificates of the usual stage, all in the authority's folder: `site` is the first.
const ALL: &str = "certificates: [{ cert: site.pem, key: site.key }, { cert: wild.pem, key: wild.key }]";

/// One origin behind a listener with TLS and one without.
struct Stage {
    authority: Authority,
    origin: Origin,
    sluice: Sluice,
    web: SocketAddr,
    plain: SocketAddr,
}

fn document(web: SocketAddr, plain: SocketAddr, origin: &Origin, tls: &str) -> Document {
    Document::new()
        .listener("web", web, &format!("tls: {{ {tls} }}"))
        .listener("plain", plain, "")
        .region("here", "")
        .service("shop", "")
        .version("v1", 100, &[("here", &[origin.address()])])
        .route("{ path: / }", "service: shop")
}

/// Certificates beside the document, so that paths are relative to it.
fn folder(authority: &Authority) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in fs::read_dir(authority.folder()).unwrap() {
        let path = file.unwrap().path();
        fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    folder
}

fn usual() -> Authority {
    let authority = Authority::new();
    authority.issue("site", &["site.test", "www.site.test"]);
    authority.issue("wild", &["*.wild.test"]);
    authority
}

impl Stage {
    fn new(tls: &str) -> Self {
        Self::with(usual(), 1, tls)
    }

    fn with(authority: Authority, workers: usize, tls: &str) -> Self {
        let (web, plain, origin) = (free_address(), free_address(), Origin::start("a"));
        let folder = folder(&authority);
        fs::write(folder.path().join("sluice.yaml"), document(web, plain, &origin, tls).to_string()).unwrap();
        let sluice = setup(SLUICE).workers(workers).start_in(folder);
        Self { authority, origin, sluice, web, plain }
    }

    fn document(&self, tls: &str) -> Document {
        document(self.web, self.plain, &self.origin, tls)
    }

    /// Brings a file of the authority to where the proxy looks, as careful programs do.
    fn bring(&self, file: &str) {
        self.put(file, &fs::read(self.authority.file(file)).unwrap());
    }

    fn put(&self, file: &str, content: &[u8]) {
        let path = self.sluice.folder().join(file);
        fs::write(path.with_extension("new"), content).unwrap();
        fs::rename(path.with_extension("new"), path).unwrap();
    }

    /// A new certificate in place of the one that had this name.
    fn renew(&self, file: &str, names: &[&str]) {
        self.authority.issue(file, names);
        self.bring(&format!("{file}.key"));
        self.bring(&format!("{file}.pem"));
    }

    /// curl, which asks for this host and trusts the authority.
    fn curl(&self, host: &str, path: &str, arguments: &[&str]) -> Output {
        let resolve = format!("{host}:{}:{}", self.web.port(), self.web.ip());
        let url = format!("https://{host}:{}{path}", self.web.port());
        Command::new(tool("curl", "curl"))
            .args(["--silent", "--show-error", "--max-time", "30", "--resolve", &resolve, "--cacert"])
            .arg(self.authority.file("ca.pem"))
            .args(arguments)
            .arg(url)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// What curl gets, without a complaint.
    fn get(&self, host: &str, path: &str, arguments: &[&str]) -> String {
        let output = self.curl(host, path, arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{host}{path}: {stderr}\n{}", self.sluice.stderr());
        String::from_utf8(output.stdout).unwrap()
    }

    /// The status that curl gets.
    fn status(&self, host: &str, arguments: &[&str]) -> String {
        let format = ["--output", "/dev/null", "--write-out", "%{response_code}"];
        self.get(host, "/", &[&format, arguments].concat())
    }

    /// OpenSSL's client with these arguments and this input, to its end.
    fn openssl(&self, arguments: &[&str], input: &str) -> String {
        let mut child = self.spawn(arguments);
        // It may have given up already.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let output = child.wait_with_output().unwrap();
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat()
    }

    fn spawn(&self, arguments: &[&str]) -> Child {
        Command::new(tool("openssl", "openssl"))
            .args(["s_client", "-connect", &self.web.to_string(), "-CAfile"])
            .arg(self.authority.file("ca.pem"))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// The common name of the certificate that a client is shown that asks for this name, or for none.
    fn shown(&self, name: Option<&str>) -> String {
        let asked = name.map_or_else(|| vec!["-noservername"], |name| vec!["-servername", name]);
        let told = self.openssl(&asked, "");
        let subject = told.lines().find_map(|line| line.strip_prefix("subject=CN = "));
        subject.unwrap_or_else(|| panic!("no certificate\n{told}")).to_owned()
    }

    fn handshakes(&self, result: &str) -> f64 {
        self.sluice.metric("sluice_tls_handshakes_total", &[("listener", "web"), ("result", result)])
    }

    fn wait_handshakes(&self, result: &str, count: f64) {
        self.sluice.wait_metric("sluice_tls_handshakes_total", &[("listener", "web"), ("result", result)], count);
    }

    /// Paths to a certificate of the authority, as curl takes them.
    fn identity(&self, file: &str) -> [String; 4] {
        let path = |end: &str| self.authority.file(&format!("{file}.{end}")).display().to_string();
        ["--cert".to_owned(), path("pem"), "--key".to_owned(), path("key")]
    }

    fn check(&self) {
        assert_eq!(self.origin.malformed(), Vec::<String>::new());
        assert!(!self.sluice.stderr().contains("panicked"), "{}", self.sluice.stderr());
    }
}

const GET: &str = "GET / HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n\r\n";

#[test]
fn the_certificate_is_that_of_the_name_and_the_first_one_where_none_fits() {
    let stage = Stage::new(ALL);
    for (name, certificate) in [
        (Some("site.test"), "site"),
        (Some("www.site.test"), "site"),
        (Some("a.wild.test"), "wild"),
        (Some("A.Wild.Test"), "wild"),
        (Some("a.b.wild.test"), "site"),
        (Some("wild.test"), "site"),
        (Some("other.test"), "site"),
        (None, "site"),
    ] {
        assert_eq!(stage.shown(name), certificate, "{name:?}");
    }
    assert_eq!(stage.get("www.site.test", "/", &[]), "a");
    assert_eq!(stage.get("x.wild.test", "/", &[]), "a");
    let refused = stage.curl("x.y.wild.test", "/", &[]);
    assert_eq!(refused.status.code(), Some(60), "a wildcard is one label");
    stage.check();
}

#[test]
fn a_name_can_be_demanded() {
    let stage = Stage::new(&format!("{ALL}, require_sni: true"));
    assert_eq!(stage.shown(Some("site.test")), "site");
    for asked in [&["-servername", "other.test"][..], &["-noservername"]] {
        let told = stage.openssl(asked, "");
        assert!(told.contains("unrecognized name"), "{told}");
    }
    stage.wait_handshakes("unrecognized_name", 2.0);
    stage.check();
}

#[test]
fn the_protocol_is_agreed_in_the_handshake() {
    let stage = Stage::new(ALL);
    let version = ["--output", "/dev/null", "--write-out", "%{http_version}"];
    let told = |stage: &Stage, more: &[&str]| stage.get("site.test", "/", &[&version, more].concat());
    assert_eq!(told(&stage, &["--http2"]), "2");
    assert_eq!(told(&stage, &["--http1.1"]), "1.1");
    assert_eq!(told(&stage, &["--no-alpn", "--http1.1"]), "1.1");
    for version in ["--http1.1", "--http2"] {
        let seen = stage.get("site.test", "/seen", &[version]).to_ascii_lowercase();
        assert!(seen.contains("x-forwarded-proto: https\n"), "{seen}");
        let big = stage.get(
            "site.test",
            "/bytes/300000",
            &[version, "--output", "/dev/null", "--write-out", "%{size_download}"],
        );
        assert_eq!(big, "300000");
    }
    let none = stage.openssl(&["-alpn", "ftp"], "");
    assert!(none.contains("no application protocol"), "{none}");
    stage.wait_handshakes("no_protocol", 1.0);
    let revision = stage.sluice.change(stage.document(&format!("{ALL}, http2: false")));
    assert!(revision > 1);
    assert_eq!(told(&stage, &["--http2"]), "1.1");
    stage.check();
}

#[test]
fn the_oldest_version_is_a_setting_that_a_change_of_the_document_moves() {
    let stage = Stage::new(ALL);
    let spoken =
        |version: &str| stage.openssl(&[version, "-servername", "site.test", "-ign_eof"], GET).contains("200 OK");
    assert!(spoken("-tls1_2") && spoken("-tls1_3"));
    stage.sluice.change(stage.document(&format!("{ALL}, min_version: \"1.3\"")));
    assert!(!spoken("-tls1_2") && spoken("-tls1_3"));
    stage.wait_handshakes("version", 1.0);
    stage.check();
}

#[test]
fn a_request_for_another_host_is_misdirected() {
    let stage = Stage::new(ALL);
    for version in ["--http1.1", "--http2"] {
        let asked = |sni: &str, host: &str| stage.status(sni, &[version, "--header", &format!("Host: {host}")]);
        assert_eq!(asked("site.test", "site.test"), "200", "{version}");
        assert_eq!(asked("site.test", "www.site.test:8443"), "200", "the certificate holds it: {version}");
        assert_eq!(asked("a.wild.test", "b.wild.test"), "200", "{version}");
        assert_eq!(asked("site.test", "a.wild.test"), "421", "{version}");
        assert_eq!(asked("site.test", "other.test"), "421", "{version}");
    }
    let told = stage.get("site.test", "/", &["--header", "Host: other.test"]);
    assert!(told.contains("misdirected"), "{told}");
    let nameless = stage.openssl(&["-noservername", "-ign_eof"], &GET.replace("site.test", "other.test"));
    assert!(nameless.contains("200 OK"), "who asks for no name has chosen none\n{nameless}");
    stage.sluice.change(stage.document(&format!("{ALL}, host_mismatch: allow")));
    assert_eq!(stage.status("site.test", &["--header", "Host: other.test"]), "200");
    stage.check();
}

#[test]
fn who_a_client_is_reaches_the_origin_and_nobody_else_can_say_so() {
    let authority = usual();
    authority.issue("ann", &["ann.test", "spiffe://test/ann"]);
    let stage = Stage::with(authority, 1, &format!("{ALL}, client_auth: {{ ca: ca.pem }}"));
    let claims = [
        "--header",
        "Client-Cert: :AAAA:",
        "--header",
        "client-cert-chain: :AAAA:",
        "--header",
        "X-Forwarded-Client-Cert: Subject=\"CN=root\"",
        "--header",
        "Connection: client-cert, x-forwarded-client-cert",
    ];
    let ann = stage.identity("ann");
    let ann: Vec<&str> = ann.iter().map(String::as_str).collect();
    let fields = |seen: &str| -> Vec<String> {
        let lines = seen.lines().filter(|line| line.to_ascii_lowercase().contains("client-cert"));
        lines.map(str::to_owned).collect()
    };
    for version in ["--http1.1", "--http2"] {
        let claims = if version == "--http2" { &claims[..6] } else { &claims };
        let seen = fields(&stage.get("site.test", "/seen", &[&[version], claims, &ann].concat()));
        assert_eq!(seen.len(), 2, "{seen:?}");
        assert!(seen[0].starts_with("client-cert: :MII") && seen[0].ends_with(':'), "{seen:?}");
        assert!(seen[1].starts_with("x-forwarded-client-cert: Hash="), "{seen:?}");
        assert!(seen[1].ends_with(";Subject=\"CN=ann\";DNS=ann.test;URI=spiffe://test/ann"), "{seen:?}");
        assert!(!stage.curl("site.test", "/", &[version]).status.success(), "one is required");
    }
    stage.wait_handshakes("certificate_missing", 2.0);
    let stranger = Authority::new();
    stranger.issue("ann", &["ann.test"]);
    let path = |end: &str| stranger.file(&format!("ann.{end}")).display().to_string();
    let strange = ["--cert", &path("pem"), "--key", &path("key")];
    assert!(!stage.curl("site.test", "/", &strange).status.success(), "another authority's");
    stage.wait_handshakes("certificate_refused", 1.0);
    stage.sluice.change(stage.document(&format!("{ALL}, client_auth: {{ ca: ca.pem, mode: optional }}")));
    assert_eq!(fields(&stage.get("site.test", "/seen", &claims)), Vec::<String>::new());
    assert_eq!(fields(&stage.get("site.test", "/seen", &ann)).len(), 2);
    assert!(!stage.curl("site.test", "/", &strange).status.success(), "what is shown must be good");
    let request = "GET /seen HTTP/1.1\r\nHost: site.test\r\nClient-Cert: :AAAA:\r\nclient-cert-chain: :AAAA:\r\n\
                   X-Forwarded-Client-Cert: a\r\nConnection: client-cert\r\n\r\n";
    assert_eq!(fields(&Client::connect(stage.plain).exchange(request).text()), Vec::<String>::new());
    stage.check();
}

/// A client with an open connection.
struct Open {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Open {
    fn new(stage: &Stage, arguments: &[&str]) -> Self {
        let mut child = stage.spawn(&[&["-servername", "site.test", "-quiet", "-no_ign_eof"], arguments].concat());
        let (input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, input, output }
    }

    /// The body of the answer, whose length is 1.
    fn get(&mut self) -> String {
        self.input.write_all(b"GET / HTTP/1.1\r\nHost: site.test\r\n\r\n").unwrap();
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            assert!(self.output.read_line(&mut line).unwrap() > 0, "the connection is over");
        }
        let mut body = [0];
        self.output.read_exact(&mut body).unwrap();
        String::from_utf8(body.to_vec()).unwrap()
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        drop((self.child.kill(), self.child.wait()));
    }
}

#[test]
fn a_renewed_certificate_is_shown_and_open_connections_stay() {
    let stage = Stage::new(ALL);
    let mut open = Open::new(&stage, &[]);
    assert_eq!(open.get(), "a");
    stage.renew("site", &["site.test", "new.test"]);
    let reloads = |result: &str| stage.sluice.metric("sluice_certificate_reloads_total", &[("result", result)]);
    until("the new one is shown", || (reloads("ok") >= 1.0).then_some(()));
    assert_eq!(stage.get("new.test", "/", &[]), "a");
    assert_eq!(open.get(), "a", "nobody is cut by it");
    assert_eq!(stage.sluice.revision(), 1, "the document has not changed");
    assert_eq!(reloads("refused"), 0.0);
    stage.check();
}

#[test]
fn what_is_no_certificate_changes_nothing_and_is_told() {
    let stage = Stage::new(ALL);
    stage.put("site.pem", b"half a fi");
    stage.sluice.wait_metric("sluice_certificate_reloads_total", &[("result", "refused")], 1.0);
    stage.sluice.wait_stderr("site.pem holds no certificate in PEM form");
    assert_eq!(stage.get("site.test", "/", &[]), "a");
    let (status, health) = stage.sluice.health();
    let told = &health["component_status"]["certificates"];
    assert_eq!((status, told["status"].as_str()), (200, Some("degraded")), "{health}");
    assert!(told["error_message"].as_str().unwrap().contains("what was read before is served"), "{health}");
    let more = stage.document(ALL).listener("more", free_address(), "");
    stage.sluice.change(more);
    assert_eq!(stage.get("site.test", "/", &[]), "a", "another change is not held up by it");
    stage.renew("site", &["site.test"]);
    stage.sluice.hang_up();
    until("all is well", || {
        let health = stage.sluice.health().1;
        (health["component_status"]["certificates"]["status"] == "healthy").then_some(())
    });
    stage.check();
}

#[test]
fn a_certificate_that_ends_is_told() {
    let authority = usual();
    authority.issue_until("old", &["old.test"], 2020);
    let stage =
        Stage::with(authority, 1, "certificates: [{ cert: site.pem, key: site.key }, { cert: old.pem, key: old.key }]");
    let told = stage.sluice.health().1["component_status"]["certificates"]["error_message"].clone();
    assert_eq!(told.as_str(), Some("old.pem has expired"));
    stage.sluice.wait_stderr("old.pem has expired");
    let end = |file: &str| {
        stage
            .sluice
            .metric("sluice_certificate_expiry_timestamp_seconds", &[("listener", "web"), ("certificate", file)])
    };
    assert_eq!((end("old.pem"), end("site.pem")), (1_577_836_800.0, 64_060_588_800.0));
}

#[test]
fn a_document_whose_certificates_cannot_be_used_does_not_run() {
    let stage = Stage::new(ALL);
    let missing = "certificates: [{ cert: site.pem, key: later.key }]";
    stage.sluice.rewrite(stage.document(missing));
    stage.sluice.wait_stderr("later.key is not there");
    assert_eq!(stage.get("a.wild.test", "/", &[]), "a", "what ran before does");
    let check = Ran::of(command(SLUICE, &["check", stage.sluice.file().to_str().unwrap()])).expect(1);
    check.assert_says(&["error[unusable-file]", "later.key is not there", "at: listeners[0].tls.certificates[0].key"]);
    fs::copy(stage.authority.file("wild.key"), stage.sluice.folder().join("later.key")).unwrap();
    let check = Ran::of(command(SLUICE, &["check", stage.sluice.file().to_str().unwrap()])).expect(1);
    check.assert_says(&["later.key is not the key of", "name the key that this certificate was made for"]);
    fs::copy(stage.authority.file("site.key"), stage.sluice.folder().join("later.key")).unwrap();
    let _ = Ran::of(command(SLUICE, &["check", stage.sluice.file().to_str().unwrap()])).expect(0);
    stage.sluice.hang_up();
    until("it heals", || (stage.shown(Some("a.wild.test")) == "site").then_some(()));
    stage.check();
}

#[test]
fn nothing_begins_with_a_certificate_that_cannot_be_used() {
    let folder = tempfile::tempdir().unwrap();
    let (file, data) = (folder.path().join("sluice.yaml"), folder.path().join("data"));
    let origin = Origin::start("a");
    fs::write(&file, document(free_address(), free_address(), &origin, ALL).to_string()).unwrap();
    let (status, admin) = (free_address().to_string(), free_address().to_string());
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let arguments = ["run", &text(&file), "--data", &text(&data), "--status", &status, "--admin", &admin];
    let ran = Ran::of(command(SLUICE, &arguments)).expect(1);
    ran.assert_says(&["listeners[0].tls.certificates[0].cert", "site.pem is not there", "certificates[1].cert"]);
}

#[test]
fn who_says_nothing_in_the_handshake_is_put_out() {
    let stage = Stage::new(&format!("{ALL}, handshake_timeout: 300ms"));
    let mut silent = Client::connect(stage.web);
    assert_eq!(silent.closed(), b"");
    let mut half = Client::connect(stage.web);
    half.send([22, 3, 1, 2, 0, 1, 0]);
    half.closed();
    stage.wait_handshakes("timeout", 2.0);
    stage.sluice.change(stage.document(ALL));
    drop(Client::connect(stage.web));
    stage.wait_handshakes("unused", 1.0);
    let mut junk = Client::connect(stage.web);
    junk.send([0; 64]).closed();
    stage.wait_handshakes("malformed", 1.0);
    assert_eq!(stage.get("site.test", "/", &[]), "a");
    assert_eq!(stage.handshakes("ok"), 1.0);
    stage.check();
}

#[test]
fn http_in_the_clear_is_told_its_mistake_in_the_clear() {
    let stage = Stage::new(ALL);
    let mut client = Client::connect(stage.web);
    let response = client.get("/");
    assert_eq!((response.status(), response.field("connection")), (400, Some("close")));
    assert!(response.text().contains("http_on_tls_port"), "{}", response.text());
    assert_eq!(client.closed(), b"");
    stage.wait_handshakes("plaintext", 1.0);
    assert_eq!(stage.sluice.metric("sluice_requests_refused_total", &[("reason", "http_on_tls_port")]), 1.0);
    stage.check();
}

/// A connection with a session in this file: kept there, or gone on with.
fn session(stage: &Stage, arguments: &[&str], file: &Path) -> bool {
    let base = ["-servername", "site.test", "-ign_eof"];
    let keep = if file.exists() { "-sess_in" } else { "-sess_out" };
    let told = stage.openssl(&[&base, arguments, &[keep, file.to_str().unwrap()]].concat(), GET);
    assert!(told.contains("200 OK"), "{told}");
    told.contains("Reused, ")
}

#[test]
fn a_session_goes_on_at_any_worker_and_over_a_renewal_but_not_under_another_authority() {
    let authority = usual();
    authority.issue("ann", &["ann.test"]);
    let stage = Stage::with(authority, 2, ALL);
    let folder = tempfile::tempdir().unwrap();
    for version in ["-tls1_2", "-tls1_3"] {
        let file = folder.path().join(version);
        assert!(!session(&stage, &[version], &file));
        // Two workers take turns as the kernel likes: of ten, the chance that all came to one is 1 in 500.
        (0..10).for_each(|_| assert!(session(&stage, &[version], &file), "{version}"));
    }
    assert_eq!((stage.handshakes("ok"), stage.handshakes("resumed")), (2.0, 20.0));
    stage.renew("site", &["site.test"]);
    stage.sluice.wait_metric("sluice_certificate_reloads_total", &[("result", "ok")], 1.0);
    assert!(session(&stage, &["-tls1_3"], &folder.path().join("-tls1_3")));
    let asks = |mode: &str| stage.document(&format!("{ALL}, client_auth: {{ ca: ca.pem, mode: {mode} }}"));
    stage.sluice.change(asks("optional"));
    let (pem, key) = (stage.authority.file("ann.pem"), stage.authority.file("ann.key"));
    let ann = ["-tls1_3", "-cert", pem.to_str().unwrap(), "-key", key.to_str().unwrap()];
    assert!(!session(&stage, &ann, &folder.path().join("-tls1_3")), "it was made where nobody was asked");
    let file = folder.path().join("ann");
    assert!(!session(&stage, &ann, &file));
    assert!(session(&stage, &ann, &file));
    stage.put("ca.pem", &fs::read(Authority::new().file("ca.pem")).unwrap());
    stage.sluice.wait_metric("sluice_certificate_reloads_total", &[("result", "ok")], 2.0);
    let told = stage.openssl(
        &[&["-servername", "site.test", "-ign_eof", "-sess_in", file.to_str().unwrap()], &ann[..]].concat(),
        GET,
    );
    assert!(!told.contains("Reused, ") && !told.contains("200 OK"), "the new authority does not know ann\n{told}");
    stage.check();
}

#[test]
fn the_log_tells_the_session() {
    let stage = Stage::new(ALL);
    assert_eq!(stage.get("site.test", "/", &["--tlsv1.3"]), "a");
    assert_eq!(Client::connect(stage.plain).get("/").status(), 200);
    let log = stage.sluice.wait_access_log(2);
    let tls = &log[0]["tls"];
    assert_eq!((tls["version"].as_str(), tls["server_name"].as_str()), (Some("1.3"), Some("site.test")), "{tls}");
    assert!(tls["cipher"].as_str().unwrap().starts_with("TLS_") && tls["resumed"] == false, "{tls}");
    assert!(log[1]["tls"].is_null());
}

/// Only a proper end of the session ends a body that the end of the connection ends.
#[test]
fn a_body_that_was_cut_is_not_taken_for_a_whole_one() {
    let stage = Stage::new(ALL);
    let ask = |path: &str| {
        let request = format!("GET {path} HTTP/1.0\r\nHost: site.test\r\n\r\n");
        stage.openssl(&["-servername", "site.test", "-ign_eof"], &request)
    };
    let whole = ask("/unframed");
    assert!(whole.contains("closed") && !whole.contains("errno") && !whole.contains("unexpected eof"), "{whole}");
    let cut = ask("/half-chunked");
    assert!(cut.contains("hello"), "{cut}");
    assert!(cut.contains("errno") || cut.contains("unexpected eof"), "{cut}");
}

#[test]
fn a_listener_begins_and_ends_to_speak_tls_without_being_bound_anew() {
    let stage = Stage::new(ALL);
    let mut open = Open::new(&stage, &[]);
    assert_eq!(open.get(), "a");
    let clear = Document::new()
        .listener("web", stage.web, "")
        .region("here", "")
        .service("shop", "")
        .version("v1", 100, &[("here", &[stage.origin.address()])])
        .route("{ path: / }", "service: shop");
    stage.sluice.change(clear);
    assert_eq!(Client::connect(stage.web).get("/").status(), 200);
    assert_eq!(open.get(), "a");
    stage.sluice.change(stage.document(ALL));
    assert_eq!(stage.get("site.test", "/", &[]), "a");
    stage.check();
}

#[test]
fn a_proxy_alone_finds_files_where_it_was_told() {
    let authority = usual();
    let (web, plain, origin) = (free_address(), free_address(), Origin::start("a"));
    let control = Control::start();
    let url = control.url();
    let files = authority.folder().display().to_string();
    let proxy = setup(SLUICE).start_proxy(&["--control", &url, "--node", "n1", "--files", &files]);
    control.run(&revision(1, document(web, plain, &origin, ALL)));
    let gone = document(web, plain, &origin, "certificates: [{ cert: gone.pem, key: site.key }]");
    control.revise(&revision(2, gone));
    let (problems, retries) = control.wait_nack(2);
    assert!(retries && problems[0].starts_with("listeners[0].tls.certificates[0].cert: "), "{problems:?}");
    assert!(problems[0].contains("gone.pem is not there"), "{problems:?}");
    let stage = Stage { authority, origin, sluice: proxy, web, plain };
    assert_eq!(stage.get("site.test", "/", &[]), "a", "what ran before does");
}
