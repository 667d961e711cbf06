//! A client of one keep-alive connection: HTTP/1.1, answers of a stated length.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// For one whole request. Longer is a failure.
const DEADLINE: Duration = Duration::from_secs(10);

/// An answer that came whole.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    fields: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Answer {
    #[cfg(test)]
    pub(super) fn new(status: u16, fields: &[(&str, &str)], body: &str) -> Self {
        let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self { status, fields, body: body.as_bytes().to_vec() }
    }

    /// The first value of a field, whose name is lower case.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn length(&self) -> io::Result<usize> {
        let length = self.field("content-length").and_then(|length| length.parse().ok());
        length.ok_or_else(|| refusal("the answer states no length"))
    }
}

/// One connection, opened when it is first needed.
#[derive(Debug)]
pub(super) struct Client {
    address: SocketAddr,
    stream: Option<TcpStream>,
    buffer: Vec<u8>,
}

impl Client {
    /// A client of this server.
    pub(super) const fn new(address: SocketAddr) -> Self {
        Self { address, stream: None, buffer: Vec::new() }
    }

    /// Asks this server from now on.
    pub(super) fn turn_to(&mut self, address: SocketAddr) {
        if self.address != address {
            *self = Self::new(address);
        }
    }

    /// Asks once. There is no second attempt: what fails here failed.
    ///
    /// # Errors
    /// No connection, no whole answer, or not in time. The next request opens a new connection.
    pub(super) async fn get(&mut self, path: &str) -> io::Result<Answer> {
        self.ask(&self.request("GET", path, "", "")).await
    }

    /// Sends content of this media type, once.
    ///
    /// # Errors
    /// As with [`get`](Self::get).
    pub(super) async fn put(&mut self, path: &str, media_type: &str, content: &str) -> io::Result<Answer> {
        let fields = format!("content-type: {media_type}\r\ncontent-length: {}\r\n", content.len());
        self.ask(&self.request("PUT", path, &fields, content)).await
    }

    fn request(&self, method: &str, path: &str, fields: &str, content: &str) -> String {
        let host = self.address;
        format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\nuser-agent: sluice-demo\r\n{fields}\r\n{content}")
    }

    async fn ask(&mut self, request: &str) -> io::Result<Answer> {
        let answer = tokio::time::timeout(DEADLINE, self.exchange(request)).await;
        let answer = answer.unwrap_or_else(|_| Err(refusal("no answer in time")));
        let closes = |answer: &Answer| answer.field("connection").is_some_and(|v| v.eq_ignore_ascii_case("close"));
        if answer.as_ref().map_or(true, closes) {
            self.stream = None;
        }
        answer
    }

    async fn exchange(&mut self, request: &str) -> io::Result<Answer> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => {
                let stream = TcpStream::connect(self.address).await?;
                stream.set_nodelay(true)?;
                none.insert(stream)
            }
        };
        stream.write_all(request.as_bytes()).await?;
        self.buffer.clear();
        loop {
            fill(stream, &mut self.buffer).await?;
            if let Some((head, mut answer)) = parse(&self.buffer)? {
                let end = head + answer.length()?;
                while self.buffer.len() < end {
                    fill(stream, &mut self.buffer).await?;
                }
                answer.body = self.buffer[head..end].to_vec();
                return Ok(answer);
            }
        }
    }
}

async fn fill(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<()> {
    match stream.read_buf(buffer).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

/// The length of the head, and the answer without its body; nothing while the head is not whole.
fn parse(bytes: &[u8]) -> io::Result<Option<(usize, Answer)>> {
    let Some(end) = bytes.windows(4).position(|end| end == b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&bytes[..end]).map_err(|_| refusal("the answer's head is not text"))?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok());
    let status = status.ok_or_else(|| refusal("the answer has no status line"))?;
    let fields: Option<Vec<(String, String)>> = lines.map(field).collect();
    let fields = fields.ok_or_else(|| refusal("the answer has a malformed field"))?;
    Ok(Some((end + 4, Answer { status, fields, body: Vec::new() })))
}

fn field(line: &str) -> Option<(String, String)> {
    let (name, value) = line.split_once(':')?;
    Some((name.to_ascii_lowercase(), value.trim().to_owned()))
}

fn refusal(words: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, words)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// Accepts connections one after the other and answers each request on the n-th with the n-th text.
    async fn server(texts: &'static [&'static [&'static str]]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            for texts in texts {
                let (mut stream, _) = listener.accept().await.unwrap();
                for text in *texts {
                    let mut request = Vec::new();
                    while !request.ends_with(b"\r\n\r\n") {
                        fill(&mut stream, &mut request).await.unwrap();
                    }
                    stream.write_all(text.as_bytes()).await.unwrap();
                }
            }
        });
        address
    }

    #[tokio::test]
    async fn requests_share_a_connection_until_it_closes() {
        let address = server(&[
            &[
                "HTTP/1.1 200 OK\r\nX-Origin: a\r\nContent-Length: 2\r\n\r\nhi",
                "HTTP/1.1 503 No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
            ],
            &["HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes"],
        ]);
        let mut client = Client::new(address.await);
        let first = client.get("/").await.unwrap();
        assert_eq!((first.status, first.field("x-origin"), first.body.as_slice()), (200, Some("a"), &b"hi"[..]));
        assert_eq!(client.get("/").await.unwrap().status, 503);
        assert_eq!(client.get("/").await.unwrap().body, b"yes");
    }

    #[tokio::test]
    async fn an_answer_that_is_cut_is_a_failure() {
        let address = server(&[&["HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhi"], &["HTTP/1.1 200 OK\r\n\r\n"]]);
        let mut client = Client::new(address.await);
        assert_eq!(client.get("/").await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(client.get("/").await.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
