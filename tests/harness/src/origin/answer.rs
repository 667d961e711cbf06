//! What an origin answers, by path.
//!
//! | path | answer |
//! |---|---|
//! | `/healthz` | 200, or 503 when told to be unhealthy |
//! | `/status/N` | status N |
//! | `/bytes/N` | N bytes of [`pattern`] |
//! | `/delay/MS` | the plain answer, MS milliseconds later |
//! | `/sink` | after the whole request: the length of its body |
//! | `/echo` | head at once, then the request's body, chunked, as it comes, and its trailers |
//! | `/echo.Echo/METHOD` | the same as the answer to a call of gRPC, with status 0 |
//! | `/early` | 200 before the body is read, which is read afterwards |
//! | `/hints` | 103 with a Link, then the plain answer |
//! | `/seen` | the head of the request as the body |
//! | `/unframed` | a body that ends with the connection |
//! | `/hang` | nothing |
//! | `/reset` | a reset before the head |
//! | `/reset-body`, `/half-body` | 1,000 of 100,000 bytes, then a reset or an orderly close |
//! | `/half-chunked` | one chunk, then an orderly close without the last chunk |
//! | `/stall` | 1,000 of 100,000 bytes, then nothing |
//! | `/no-continue` | 417 to a request that expects 100-continue |
//! | `/tunnel` | 101, as a server of WebSocket would, then every byte is sent back until the peer's end |
//! | all else | 200, `x-origin: ID`, body `ID` |
//!
//! Every answer carries `x-origin`. A request that expects it gets `100 Continue` before its body is read.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use base64::Engine;
use sha1::{Digest, Sha1};

use super::connection::{Connection, Left, Request};
use super::{Fault, Script, Shared, Then};

/// Where an origin is asked for its health.
pub const HEALTH: &str = "/healthz";

/// Bytes in which a lost, doubled or swapped piece is seen.
#[must_use]
pub fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| ((at.wrapping_mul(2_654_435_761)) >> 13) as u8).collect()
}

pub(crate) async fn answer(connection: &Connection<'_>, request: &mut Request) -> io::Result<Left> {
    let path = request.head.path().to_owned();
    if let Some(script) = connection.shared.scripted(&path) {
        return scripted(connection, request, script).await;
    }
    let (name, argument) = split(&path);
    if let Some(fault) = connection.shared.fault().filter(|_| name != "healthz") {
        return faulty(connection, request, fault).await;
    }
    match name {
        "healthz" => health(connection, request).await,
        "tunnel" => tunnel(connection, request).await,
        "echo" => echo(connection, request, "", "").await,
        "echo.Echo" => echo(connection, request, "content-type: application/grpc\r\n", "grpc-status: 0\r\n").await,
        "early" => early(connection, request).await,
        "hang" | "reset" | "reset-body" | "half-body" | "half-chunked" | "stall" => {
            fail(connection, request, name).await
        }
        "no-continue" => refuse(connection).await,
        "unframed" => unframed(connection, request).await,
        _ => whole(connection, request, name, argument).await,
    }
}

async fn faulty(connection: &Connection<'_>, request: &mut Request, fault: Fault) -> io::Result<Left> {
    match fault {
        Fault::Hangs => fail(connection, request, "hang").await,
        Fault::Resets => fail(connection, request, "reset").await,
        Fault::AnswersHalf => fail(connection, request, "half-body").await,
        Fault::Stalls => fail(connection, request, "stall").await,
        Fault::Answers(status) => whole(connection, request, "status", status.into()).await,
        Fault::IsSlow(late) => whole(connection, request, "delay", late as usize).await,
    }
}

/// `/name/7` is (`name`, 7).
fn split(path: &str) -> (&str, usize) {
    let mut parts = path.trim_start_matches('/').splitn(2, '/');
    let name = parts.next().unwrap_or_default();
    (name, parts.next().and_then(|n| n.parse().ok()).unwrap_or(0))
}

/// Answers that wait for the whole request.
async fn whole(connection: &Connection<'_>, request: &mut Request, name: &str, argument: usize) -> io::Result<Left> {
    let asked = Asked::new(connection.shared);
    invite(connection, request).await?;
    connection.drain(request).await?;
    let id = &connection.shared.id;
    let (status, body) = match name {
        "status" => (u16::try_from(argument).unwrap_or(500), id.clone().into_bytes()),
        "bytes" => (200, pattern(argument)),
        "sink" => (200, request.length.to_string().into_bytes()),
        "seen" => (200, seen(request).into_bytes()),
        _ => (200, id.clone().into_bytes()),
    };
    match name {
        "delay" => tokio::time::sleep(Duration::from_millis(argument as u64)).await,
        "hints" => connection.send(b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n").await?,
        _ => {}
    }
    // Whoever has the answer may ask again at once.
    drop(asked);
    reply(connection, request, status, &body).await
}

/// Counts a request, until its answer is about to be sent.
struct Asked<'a>(&'a Shared);

impl<'a> Asked<'a> {
    fn new(shared: &'a Shared) -> Self {
        let now = shared.asked.fetch_add(1, Ordering::SeqCst) + 1;
        shared.most_asked.fetch_max(now, Ordering::SeqCst);
        Self(shared)
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.0.asked.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Sends 100 Continue to a request that waits for it.
async fn invite(connection: &Connection<'_>, request: &Request) -> io::Result<()> {
    match request.head.field("expect") {
        Some(_) => connection.send(b"HTTP/1.1 100 Continue\r\n\r\n").await,
        None => Ok(()),
    }
}

fn seen(request: &Request) -> String {
    let lines = request.head.fields.iter().map(|(name, value)| format!("{name}: {value}\n"));
    format!("{}\n{}", request.head.line, lines.collect::<String>())
}

/// A whole response with a length, as its method and status allow.
async fn reply(connection: &Connection<'_>, request: &Request, status: u16, body: &[u8]) -> io::Result<Left> {
    let id = &connection.shared.id;
    let mut bytes = match status {
        204 => format!("HTTP/1.1 204 X\r\nx-origin: {id}\r\n\r\n").into_bytes(),
        _ => format!("HTTP/1.1 {status} X\r\nx-origin: {id}\r\ncontent-length: {}\r\n\r\n", body.len()).into_bytes(),
    };
    if request.head.method != "HEAD" && !matches!(status, 204 | 304) {
        bytes.extend_from_slice(body);
    }
    connection.send(&bytes).await?;
    Ok(Left::Open)
}

async fn health(connection: &Connection<'_>, request: &Request) -> io::Result<Left> {
    let healthy = connection.shared.healthy.load(Ordering::SeqCst);
    reply(connection, request, if healthy { 200 } else { 503 }, b"").await
}

async fn scripted(connection: &Connection<'_>, request: &mut Request, script: Script) -> io::Result<Left> {
    connection.drain(request).await?;
    connection.send(&script.bytes).await?;
    Ok(match script.then {
        Then::Keep => Left::Open,
        Then::Close => Left::Closed,
        Then::Reset => Left::Reset,
        Then::Hang => hang(connection).await?,
    })
}

async fn hang(connection: &Connection<'_>) -> io::Result<Left> {
    connection.gone().await;
    Err(io::ErrorKind::ConnectionAborted.into())
}

async fn fail(connection: &Connection<'_>, request: &mut Request, how: &str) -> io::Result<Left> {
    connection.drain(request).await?;
    let id = &connection.shared.id;
    let framing = if how == "half-chunked" { "transfer-encoding: chunked" } else { "content-length: 100000" };
    let head = format!("HTTP/1.1 200 OK\r\nx-origin: {id}\r\n{framing}\r\n\r\n");
    match how {
        "hang" => return hang(connection).await,
        "reset" => return Ok(Left::Reset),
        "half-chunked" => connection.send(format!("{head}5\r\nhello\r\n").as_bytes()).await?,
        _ => connection.send(&[head.as_bytes(), &pattern(1_000)].concat()).await?,
    }
    match how {
        "stall" => hang(connection).await,
        // A reset throws away what the peer has not read yet: let it read.
        "reset-body" => {
            tokio::time::sleep(Duration::from_millis(50)).await;
            Ok(Left::Reset)
        }
        _ => Ok(Left::Closed),
    }
}

async fn refuse(connection: &Connection<'_>) -> io::Result<Left> {
    let id = &connection.shared.id;
    let text = format!("HTTP/1.1 417 X\r\nx-origin: {id}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    connection.send(text.as_bytes()).await?;
    Ok(Left::Closed)
}

async fn unframed(connection: &Connection<'_>, request: &mut Request) -> io::Result<Left> {
    connection.drain(request).await?;
    let id = &connection.shared.id;
    connection.send(format!("HTTP/1.1 200 OK\r\nx-origin: {id}\r\nconnection: close\r\n\r\n{id}").as_bytes()).await?;
    Ok(Left::Closed)
}

async fn early(connection: &Connection<'_>, request: &mut Request) -> io::Result<Left> {
    reply(connection, request, 200, b"early").await?;
    connection.drain(request).await?;
    Ok(Left::Open)
}

async fn echo(connection: &Connection<'_>, request: &mut Request, fields: &str, end: &str) -> io::Result<Left> {
    invite(connection, request).await?;
    let id = &connection.shared.id;
    let head = format!("HTTP/1.1 200 OK\r\nx-origin: {id}\r\n{fields}transfer-encoding: chunked\r\n\r\n");
    connection.send(head.as_bytes()).await?;
    while let Some(piece) = connection.piece(request).await? {
        let chunk = [format!("{:x}\r\n", piece.len()).as_bytes(), &piece, b"\r\n"].concat();
        connection.send(&chunk).await?;
    }
    let trailers = request.body.trailers.iter().map(|(name, value)| format!("{name}: {value}\r\n"));
    let end = format!("0\r\n{}{end}x-length: {}\r\n\r\n", trailers.collect::<String>(), request.length);
    connection.send(end.as_bytes()).await?;
    Ok(Left::Open)
}

/// RFC 6455, section 1.3.
fn accept(key: &str) -> String {
    let digest = Sha1::digest(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11"));
    base64::engine::general_purpose::STANDARD.encode(digest)
}

async fn tunnel(connection: &Connection<'_>, request: &Request) -> io::Result<Left> {
    let Some(protocol) = request.head.field("upgrade") else {
        return reply(connection, request, 426, b"upgrade").await;
    };
    let id = &connection.shared.id;
    let key = request.head.field("sec-websocket-key");
    let accept = key.map(|key| format!("sec-websocket-accept: {}\r\n", accept(key))).unwrap_or_default();
    let head =
        format!("HTTP/1.1 101 X\r\nx-origin: {id}\r\nconnection: upgrade\r\nupgrade: {protocol}\r\n{accept}\r\n");
    connection.send(head.as_bytes()).await?;
    loop {
        connection.send(&connection.rest()).await?;
        if connection.receive().await? == 0 {
            return Ok(Left::Closed);
        }
    }
}
