//! Clients that others wrote: curl, nghttp and a WebSocket library.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use sluice_harness::origin::answer::pattern;
use sluice_harness::sluice::setup;
use sluice_harness::tool::tool;
use sluice_harness::{Document, Origin, Sluice, free_address};

const SLUICE: &str = env!("CARGO_BIN_EXE_sluice");
const VERSIONS: [&str; 2] = ["--http1.1", "--http2-prior-knowledge"];

struct Stage {
    origin: Origin,
    web: SocketAddr,
    sluice: Sluice,
}

impl Stage {
    fn new() -> Self {
        let (web, origin) = (free_address(), Origin::start("a"));
        let sluice = setup(SLUICE).start(Document::simple(web, origin.address()));
        Self { origin, web, sluice }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.web)
    }

    fn check(&self) {
        assert_eq!(self.origin.malformed(), Vec::<String>::new());
        assert!(!self.sluice.stderr().contains("panicked"));
    }
}

fn run(command: &mut Command) -> Output {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {:?}\n{stderr}", output.status);
    output
}

fn curl(arguments: &[&str]) -> Vec<u8> {
    run(Command::new(tool("curl", "curl")).args(["--silent", "--show-error", "--max-time", "30"]).args(arguments))
        .stdout
}

#[test]
fn curl_gets_bodies_over_both_versions() {
    let stage = Stage::new();
    for version in VERSIONS {
        assert_eq!(curl(&[version, &stage.url("/")]), b"a");
        assert!(curl(&[version, &stage.url("/bytes/1000000")]) == pattern(1_000_000));
        let format = "%{http_version} %{response_code}";
        let told = curl(&[version, "--head", "--output", "/dev/null", "--write-out", format, &stage.url("/bytes/5")]);
        let expected = if version == "--http1.1" { "1.1 200" } else { "2 200" };
        assert_eq!(String::from_utf8(told).unwrap(), expected);
        assert_eq!(curl(&[version, &stage.url("/status/204")]), b"");
        assert_eq!(curl(&[version, &stage.url("/hints")]), b"a");
    }
    // curl 7.88 cannot use an HTTP/2 connection of prior knowledge twice, whatever the server.
    assert_eq!(curl(&[VERSIONS[0], &stage.url("/"), &stage.url("/status/204"), &stage.url("/hints")]), b"aa");
    stage.check();
}

/// curl asks with `Expect: 100-continue` over HTTP/1.1, and its chunks are its own.
#[test]
fn curl_sends_ten_megabytes_over_both_versions() {
    let stage = Stage::new();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("upload");
    fs::write(&file, pattern(10 << 20)).unwrap();
    let upload = format!("@{}", file.display());
    for version in VERSIONS {
        let echoed = curl(&[version, "--data-binary", &upload, "-H", "Expect: 100-continue", &stage.url("/echo")]);
        assert!(echoed == pattern(10 << 20), "{version}: {} bytes", echoed.len());
        let put = ["--upload-file", file.to_str().unwrap(), "-H", "Transfer-Encoding: chunked"];
        assert_eq!(curl(&[&[version][..], &put, &[&stage.url("/sink")]].concat()), (10 << 20).to_string().as_bytes());
    }
    stage.check();
}

/// What was cut must be an error for curl too.
#[test]
fn curl_notices_a_cut_body() {
    let stage = Stage::new();
    for (version, codes) in VERSIONS.into_iter().zip([&[18, 56][..], &[92, 18, 56][..]]) {
        let mut command = Command::new(tool("curl", "curl"));
        command.args(["--silent", "--max-time", "30", version, "--output", "/dev/null", &stage.url("/half-body")]);
        let code = command.status().unwrap().code().unwrap();
        assert!(codes.contains(&code), "{version}: curl ended with {code}");
    }
}

#[test]
fn nghttp_multiplexes_and_reads_trailers() {
    let stage = Stage::new();
    let nghttp = tool("nghttp", "nghttp2-client");
    let urls: Vec<String> = (0..20).map(|i| stage.url(&format!("/bytes/{}", i * 1_000 + 1))).collect();
    let output = run(Command::new(&nghttp).arg("--timeout=30s").args(&urls));
    let expected: usize = (0..20).map(|i| i * 1_000 + 1).sum();
    assert_eq!(output.stdout.len(), expected);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("body");
    fs::write(&file, b"hello").unwrap();
    let mut command = Command::new(&nghttp);
    command.args(["--verbose", "--no-content-length", "--trailer=x-sum: 17", "--timeout=30s"]);
    let output = run(command.arg("--data").arg(&file).arg(stage.url("/echo")));
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(shown.contains(":status: 200") && shown.contains("x-length: 5"), "{shown}");
    assert!(shown.contains("recv (stream_id=13") && shown.matches("x-sum: 17").count() >= 2, "{shown}");
    stage.check();
}

/// A WebSocket server and client of one library, with the proxy between them.
const SERVER: &str = r#"
import asyncio, websockets

async def echo(socket):
    async for message in socket:
        if message == "close me":
            await socket.close(4001, "as you wish")
            return
        await socket.send(message)

async def main():
    async with websockets.serve(echo, "127.0.0.1", 0, max_size=None, subprotocols=["echo"]) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.Future()

asyncio.run(main())
"#;

const CLIENT: &str = r#"
import asyncio, os, sys, websockets

async def one(url):
    async with websockets.connect(url, max_size=None, subprotocols=["echo"]) as socket:
        assert socket.subprotocol == "echo", socket.subprotocol
        for message in ["", "text", "x" * 100_000, os.urandom(2_000_000)]:
            await socket.send(message)
            assert await socket.recv() == message
        await socket.send(["frag", "men", "ted"])
        assert await socket.recv() == "fragmented"
        await (await socket.ping(b"are you there"))
        for i in range(1_000):
            await socket.send(str(i))
        for i in range(1_000):
            assert await socket.recv() == str(i)

async def closed(url):
    async with websockets.connect(url) as socket:
        await socket.send("close me")
        await socket.wait_closed()
        assert (socket.close_code, socket.close_reason) == (4001, "as you wish"), socket.close_code

async def main(url):
    await asyncio.wait_for(asyncio.gather(*[one(url) for _ in range(5)], closed(url)), 60)

asyncio.run(main(sys.argv[1]))
print("done")
"#;

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// The system's Python with its packaged library, whatever other Python stands first in the path.
fn python(script: &str) -> Command {
    let python = "/usr/bin/python3";
    assert!(Path::new(python).exists(), "this suite needs {python}: apt-get install python3");
    let import = Command::new(python).args(["-c", "import websockets"]).stderr(Stdio::null()).status().unwrap();
    assert!(import.success(), "this suite needs a WebSocket library: apt-get install python3-websockets");
    let mut command = Command::new(python);
    command.args(["-c", script]);
    command
}

#[test]
fn web_sockets_pass() {
    let child = python(SERVER).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut server = Server(child);
    let mut line = String::new();
    BufReader::new(server.0.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let endpoint: SocketAddr = format!("127.0.0.1:{}", line.trim()).parse().unwrap();
    let web = free_address();
    let sluice = setup(SLUICE).start(Document::simple(web, endpoint));
    let output = run(python(CLIENT).arg(format!("ws://{web}/chat?room=1")));
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "done");
    let log = sluice.wait_access_log(6);
    assert!(log.iter().all(|line| line["status"] == 101), "{log:?}");
}
