//! One request and its response on a connection that is kept, without an allocation when all goes well.

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpStream;

use super::Load;
use crate::body::Body;
use crate::failure::Failure;
use crate::head::Head;
use crate::wait::DEADLINE;

/// A connection when there is one.
#[derive(Default)]
pub(super) struct Connection {
    stream: Option<TcpStream>,
    buffer: Vec<u8>,
    origin: String,
    /// The server had closed the connection, seen before a request was sent on it.
    pub(super) idle_closed: bool,
}

/// What the load must know of a response's head.
struct Outline {
    status: u16,
    /// Of the head, with its empty line.
    length: usize,
    body: Option<usize>,
    closes: bool,
    origin: (usize, usize),
}

impl Connection {
    /// Who answered last.
    pub(super) fn origin(&self) -> &str {
        &self.origin
    }

    pub(super) async fn exchange(&mut self, load: &Load, request: usize) -> Result<(), Failure> {
        let limited = tokio::time::timeout(DEADLINE, self.attempt(load, request)).await;
        let outcome = limited.unwrap_or(Err(Failure::Timeout));
        if outcome.is_err() {
            self.stream = None;
        }
        outcome
    }

    async fn attempt(&mut self, load: &Load, request: usize) -> Result<(), Failure> {
        self.connect(load.to).await?;
        let stream = self.stream.as_ref().expect("connected just now");
        send(stream, &load.requests[request]).await.map_err(|e| Failure::of(&e, false))?;
        self.buffer.clear();
        let outline = loop {
            match outline(&self.buffer)? {
                Some(interim) if interim.status < 200 => drop(self.buffer.drain(..interim.length)),
                Some(outline) => break outline,
                None => receive(stream, &mut self.buffer).await?,
            }
        };
        let body = match outline.body {
            Some(length) => sized(stream, &mut self.buffer, outline.length, length).await?,
            None => unsized_body(stream, self.buffer.clone()).await?,
        };
        self.origin.clear();
        let (from, to) = outline.origin;
        self.origin.push_str(&String::from_utf8_lossy(&self.buffer[from..to]));
        if outline.closes {
            self.stream = None;
        }
        let body = body.as_deref().unwrap_or_else(|| &self.buffer[outline.length..]);
        judge(load, outline.status, self.origin.as_bytes(), body)
    }

    /// Makes sure of a connection on which the server has not said goodbye.
    async fn connect(&mut self, to: SocketAddr) -> Result<(), Failure> {
        if let Some(stream) = &self.stream {
            let mut byte = [0];
            match stream.try_read(&mut byte) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Ok(count) if count > 0 => return Err(Failure::Malformed("bytes nobody asked for".to_owned())),
                Ok(_) | Err(_) => self.idle_closed = true,
            }
        }
        let stream = TcpStream::connect(to).await.map_err(|e| Failure::Connect(e.to_string()))?;
        stream.set_nodelay(true).map_err(|e| Failure::Connect(e.to_string()))?;
        self.stream = Some(stream);
        Ok(())
    }
}

fn judge(load: &Load, status: u16, origin: &[u8], body: &[u8]) -> Result<(), Failure> {
    if status != 200 {
        return Err(Failure::Status(status));
    }
    let expected = load.expected.as_deref().unwrap_or(origin);
    if body == expected {
        return Ok(());
    }
    let shown = String::from_utf8_lossy(&body[..body.len().min(80)]).into_owned();
    Err(Failure::Body(format!("{} bytes, {} expected: {shown:?}", body.len(), expected.len())))
}

/// Reads the rest of a body of known length; it stays in the buffer, behind the head.
async fn sized(
    stream: &TcpStream,
    buffer: &mut Vec<u8>,
    head: usize,
    length: usize,
) -> Result<Option<Vec<u8>>, Failure> {
    while buffer.len() < head + length {
        receive(stream, buffer).await?;
    }
    if buffer.len() > head + length {
        return Err(Failure::Body(format!("{} bytes too many", buffer.len() - head - length)));
    }
    Ok(None)
}

/// Reads a body in any other framing, by the slower way of the other clients; `rest` begins with the head.
async fn unsized_body(stream: &TcpStream, mut rest: Vec<u8>) -> Result<Option<Vec<u8>>, Failure> {
    let mut bytes = Vec::new();
    let head = Head::take(&mut rest).map_err(Failure::Malformed)?.ok_or(Failure::Cut)?;
    let mut body = Body::of_response(&head, "GET").map_err(Failure::Malformed)?;
    while !body.take(&mut rest, &mut bytes).map_err(Failure::Malformed)? {
        match receive(stream, &mut rest).await {
            Err(Failure::Cut | Failure::Closed) if body.ends_with_connection() => break,
            other => other?,
        }
    }
    if rest.is_empty() { Ok(Some(bytes)) } else { Err(Failure::Body(format!("{} bytes too many", rest.len()))) }
}

async fn send(stream: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match stream.try_write(bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => stream.writable().await?,
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Waits for more bytes of a response.
async fn receive(stream: &TcpStream, buffer: &mut Vec<u8>) -> Result<(), Failure> {
    let started = !buffer.is_empty();
    loop {
        buffer.reserve(4096);
        match stream.try_read_buf(buffer) {
            Ok(0) => return Err(if started { Failure::Cut } else { Failure::Closed }),
            Ok(_) => return Ok(()),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                stream.readable().await.map_err(|e| Failure::of(&e, started))?;
            }
            Err(e) => return Err(Failure::of(&e, started)),
        }
    }
}

fn outline(buffer: &[u8]) -> Result<Option<Outline>, Failure> {
    let Some(end) = buffer.windows(4).position(|w| w == b"\r\n\r\n") else { return Ok(None) };
    let malformed = || Failure::Malformed(String::from_utf8_lossy(&buffer[..end]).into_owned());
    let status = buffer.get(9..12).and_then(number).ok_or_else(malformed)?;
    let status = u16::try_from(status).map_err(|_| malformed())?;
    let mut outline = Outline { status, length: end + 4, body: None, closes: false, origin: (0, 0) };
    let mut at = 0;
    for line in buffer[..end].split(|b| *b == b'\n') {
        if let Some(colon) = line.iter().position(|b| *b == b':') {
            let value = line[colon + 1..].trim_ascii();
            let name = &line[..colon];
            if name.eq_ignore_ascii_case(b"content-length") {
                outline.body = Some(number(value).ok_or_else(malformed)?);
            } else if name.eq_ignore_ascii_case(b"connection") {
                outline.closes = value.eq_ignore_ascii_case(b"close");
            } else if name.eq_ignore_ascii_case(b"x-origin") {
                let start = at + colon + 1 + line[colon + 1..].len() - line[colon + 1..].trim_ascii_start().len();
                outline.origin = (start, start + value.len());
            }
        }
        at += line.len() + 1;
    }
    Ok(Some(outline))
}

fn number(digits: &[u8]) -> Option<usize> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}
