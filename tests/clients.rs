//! Clients that others wrote: curl, nghttp, h2load, a WebSocket library and gRPC; and gRPC's server, as what is probed.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use bytes::Bytes;
use sluice_harness::h2::{self, data, send};
use sluice_harness::origin::answer::pattern;
use sluice_harness::sluice::setup;
use sluice_harness::tool::tool;
use sluice_harness::wait::until;
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

fn web_socket_server() -> (Server, SocketAddr) {
    let child = python(SERVER).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut server = Server(child);
    let mut line = String::new();
    BufReader::new(server.0.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let endpoint = format!("127.0.0.1:{}", line.trim()).parse().unwrap();
    (server, endpoint)
}

#[test]
fn web_sockets_pass() {
    let (_server, endpoint) = web_socket_server();
    let web = free_address();
    let sluice = setup(SLUICE).start(Document::simple(web, endpoint));
    let output = run(python(CLIENT).arg(format!("ws://{web}/chat?room=1")));
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "done");
    let log = sluice.wait_access_log(6);
    assert!(log.iter().all(|line| line["status"] == 101), "{log:?}");
}

/// The server is that of a library: it takes our key, and what it sends back passes.
#[test]
fn web_sockets_pass_over_h2() {
    let (_server, endpoint) = web_socket_server();
    let web = free_address();
    let sluice = setup(SLUICE).start(Document::simple(web, endpoint));
    let mut client = h2::Client::connect(web);
    let mut request = http::Request::connect("http://test/chat")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-protocol", "echo")
        .body(())
        .unwrap();
    request.extensions_mut().insert(::h2::ext::Protocol::from("websocket"));
    let mut exchange = client.begin(request, true).unwrap();
    let (head, seen) = client.block_on(async {
        let (head, mut answer) = exchange.head().await.unwrap().into_parts();
        // A text of five letters, then the end, both masked with nothing.
        send(&mut exchange.body, Bytes::from_static(b"\x81\x85\0\0\0\0hello"), false).await.unwrap();
        let mut seen = Vec::new();
        // A server that has heard the end need not answer what came before it.
        while seen.len() < 7 {
            seen.extend_from_slice(&data(&mut answer).await.unwrap().unwrap());
        }
        send(&mut exchange.body, Bytes::from_static(b"\x88\x82\0\0\0\0\x03\xe8"), false).await.unwrap();
        while let Some(piece) = data(&mut answer).await.unwrap() {
            seen.extend_from_slice(&piece);
        }
        (head, seen)
    });
    assert_eq!((head.status.as_u16(), &head.headers["sec-websocket-protocol"]), (200, &"echo".parse().unwrap()));
    assert_eq!(seen, b"\x81\x05hello\x88\x02\x03\xe8");
    drop(exchange);
    let log = sluice.wait_access_log(1);
    assert_eq!((&log[0]["status"], &log[0]["protocol"]), (&101.into(), &"HTTP/2".into()));
}

/// Fast clients of HTTP/2 are no flood.
#[test]
fn h2load_is_served_whole() {
    let stage = Stage::new();
    let h2load = tool("h2load", "nghttp2-client");
    for path in ["/", "/bytes/100000"] {
        let output = run(Command::new(&h2load).args(["-n", "3000", "-c", "4", "-m", "100"]).arg(stage.url(path)));
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(told.contains("3000 succeeded, 0 failed, 0 errored, 0 timeout"), "{told}");
    }
    assert_eq!(stage.sluice.scrape().sum("sluice_h2_cut_total", &[]), None);
    stage.check();
}

const GRPC: &str = r#"
import sys, time
import grpc

channel = grpc.insecure_channel(sys.argv[1])
unary = channel.unary_unary("/echo.Echo/Unary")
assert unary(b"hello", timeout=30) == b"hello"
assert unary(b"x" * 1_000_000, timeout=30) == b"x" * 1_000_000
assert unary(b"", timeout=30) == b""
assert list(channel.unary_stream("/echo.Echo/Down")(b"one", timeout=30)) == [b"one"]
assert channel.stream_unary("/echo.Echo/Up")(iter([b"one"]), timeout=30) == b"one"
messages = [str(i).encode() for i in range(2_000)]
assert list(channel.stream_stream("/echo.Echo/Both")(iter(messages), timeout=30)) == messages

def code(path, **settings):
    try:
        channel.unary_unary(path)(b"", **settings)
    except grpc.RpcError as error:
        return error.code(), error.details()

assert code("/hang", timeout=0.3)[0] == grpc.StatusCode.DEADLINE_EXCEEDED
assert code("/reset", timeout=30)[0] == grpc.StatusCode.UNAVAILABLE, code("/reset", timeout=30)
assert "reset_before_head; request id: " in code("/reset", timeout=30)[1]
assert code("/status/503", timeout=30)[0] == grpc.StatusCode.UNAVAILABLE
both = channel.stream_stream("/echo.Echo/Cancelled")
talk = iter([b"first"])
answers = both(talk, timeout=30)
assert next(answers) == b"first"
answers.cancel()
print("done")
"#;

/// The Python that has gRPC's own library.
fn grpc_python() -> PathBuf {
    let link = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/bin/grpc-python");
    fs::read_link(&link).unwrap_or_else(|e| panic!("this suite needs .ci/packages test: {}: {e}", link.display()))
}

/// gRPC's own client, all four kinds of calls, and what it makes of our failures.
#[test]
fn grpc_s_own_client_is_served() {
    let stage = Stage::new();
    let output = run(Command::new(grpc_python()).args(["-c", GRPC]).arg(stage.web.to_string()));
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "done");
    assert_eq!(stage.sluice.scrape().sum("sluice_h2_cut_total", &[]), None);
    stage.check();
}

/// The service of health that every server of gRPC has; it tells SERVING (1) until a line says what else.
const GRPC_HEALTH: &str = r#"
import sys
from concurrent import futures
import grpc

status = 1

def check(request, context):
    # A request for `shop.v1.Cart`, as a message of protobuf.
    if request != b"\x0a\x0cshop.v1.Cart":
        context.abort(grpc.StatusCode.NOT_FOUND, "no such service")
    return bytes([8, status])

server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
method = grpc.unary_unary_rpc_method_handler(check)
server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": method})])
print(server.add_insecure_port("127.0.0.1:0"), flush=True)
server.start()
for line in sys.stdin:
    status = int(line)
"#;

/// gRPC's own server is asked for its health in its own protocol, and believed: SERVING, NOT_SERVING, a service that it does not know.
#[test]
fn grpc_s_own_server_is_probed() {
    let child =
        Command::new(grpc_python()).args(["-c", GRPC_HEALTH]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut server = Server(child.unwrap());
    let mut port = String::new();
    BufReader::new(server.0.stdout.as_mut().unwrap()).read_line(&mut port).unwrap();
    let endpoint = format!("127.0.0.1:{}", port.trim()).parse().unwrap();
    let web = free_address();
    let document = |service: &str| {
        let check = format!("health_check: {{ grpc: {{ service: {service} }}, interval: 200ms, timeout: 200ms }}");
        Document::new()
            .listener("web", web, "")
            .region("here", "")
            .service("cart", &format!("protocol: http2, {check}"))
            .version("v1", 100, &[("here", &[endpoint])])
            .route("{ path: / }", "service: cart")
    };
    let sluice = setup(SLUICE).start(document("shop.v1.Cart"));
    let wait = |what: &str, healthy: f64| {
        until(what, || {
            let (unprobed, now) =
                (sluice.metric("sluice_endpoint_unprobed", &[]), sluice.metric("sluice_endpoint_healthy", &[]));
            (unprobed == 0.0 && now == healthy).then_some(())
        });
    };
    let mut say = |status: &str| server.0.stdin.as_mut().unwrap().write_all(status.as_bytes()).unwrap();
    wait("it serves", 1.0);
    say("2\n");
    wait("it does not serve", 0.0);
    sluice.wait_stderr("the last: not_serving");
    say("1\n");
    wait("it serves again", 1.0);
    sluice.change(document("shop.v1.Till"));
    wait("it knows no such service", 0.0);
    sluice.wait_stderr("the last: gRPC status NOT_FOUND");
}
