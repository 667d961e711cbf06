//! One connection of an origin: reads requests, hands them to their answers.

use std::cell::RefCell;
use std::io;
use std::sync::atomic::Ordering;

use tokio::net::TcpStream;

use super::{Seen, Shared, answer};
use crate::body::Body;
use crate::head::{Fields, Head};

/// A connection. Every method takes `&self`, so that an answer can read and write at once.
pub(crate) struct Connection<'a> {
    pub(crate) shared: &'a Shared,
    stream: TcpStream,
    input: RefCell<Vec<u8>>,
}

/// A request whose body may still be on its way.
pub(crate) struct Request {
    pub(crate) head: Head,
    pub(crate) body: Body,
    pub(crate) length: usize,
}

/// How an answer left the connection.
pub(crate) enum Left {
    /// The next request may come.
    Open,
    /// It is to be closed.
    Closed,
    /// It is to be reset.
    Reset,
}

impl<'a> Connection<'a> {
    pub(crate) fn new(stream: TcpStream, shared: &'a Shared) -> Self {
        // Best effort: an origin is only slower without it.
        drop(stream.set_nodelay(true));
        Self { shared, stream, input: RefCell::default() }
    }

    /// Makes the coming drop a reset.
    pub(crate) fn reset(&self) {
        drop(self.stream.set_zero_linger());
    }

    pub(crate) async fn serve(&self) {
        loop {
            let mut request = match self.request().await {
                Ok(Some(request)) => request,
                Ok(None) => return,
                Err(why) => return self.refuse(why).await,
            };
            match self.answer(&mut request).await {
                Ok(Left::Open) if !request.head.closes() => {}
                Ok(Left::Open | Left::Closed) => return,
                Ok(Left::Reset) => return self.reset(),
                Err(_) => {
                    self.shared.aborted.fetch_add(1, Ordering::SeqCst);
                    return;
                }
            }
        }
    }

    async fn answer(&self, request: &mut Request) -> io::Result<Left> {
        let counter = if request.head.path() == answer::HEALTH { &self.shared.probes } else { &self.shared.requests };
        counter.fetch_add(1, Ordering::SeqCst);
        let left = answer::answer(self, request).await;
        if request.head.path() != answer::HEALTH {
            self.shared.note(Seen {
                head: request.head.clone(),
                body_length: request.length,
                trailers: request.body.trailers.clone(),
            });
        }
        left
    }

    async fn refuse(&self, why: String) {
        self.shared.note_malformed(why);
        // The peer may be gone already; what it did wrong is noted.
        drop(self.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await);
    }

    async fn request(&self) -> Result<Option<Request>, String> {
        loop {
            let taken = Head::take(&mut self.input.borrow_mut())?;
            if let Some(head) = taken {
                check(&head)?;
                let body = Body::of_request(&head)?;
                return Ok(Some(Request { head, body, length: 0 }));
            }
            match self.receive().await {
                Ok(0) if self.input.borrow().is_empty() => return Ok(None),
                Ok(0) => return Err("the connection ended within a head".to_owned()),
                Ok(_) => {}
                Err(_) => return Ok(None),
            }
        }
    }

    /// The next bytes of the request's body; nothing at its end.
    pub(crate) async fn piece(&self, request: &mut Request) -> io::Result<Option<Vec<u8>>> {
        let mut bytes = Vec::new();
        loop {
            let done = request.body.take(&mut self.input.borrow_mut(), &mut bytes);
            let done = done.map_err(|why| {
                self.shared.note_malformed(why.clone());
                io::Error::other(why)
            })?;
            if !bytes.is_empty() {
                request.length += bytes.len();
                return Ok(Some(bytes));
            }
            if done {
                return Ok(None);
            }
            self.receive_some().await?;
        }
    }

    /// Reads the request's body to its end.
    pub(crate) async fn drain(&self, request: &mut Request) -> io::Result<Fields> {
        while self.piece(request).await?.is_some() {}
        Ok(request.body.trailers.clone())
    }

    /// What came and was not taken.
    pub(crate) fn rest(&self) -> Vec<u8> {
        std::mem::take(&mut self.input.borrow_mut())
    }

    /// Waits for bytes; their absence is an error.
    pub(crate) async fn receive_some(&self) -> io::Result<()> {
        match self.receive().await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// Waits until the peer closes or resets.
    pub(crate) async fn gone(&self) {
        while matches!(self.receive().await, Ok(count) if count > 0) {}
    }

    /// Waits for bytes; 0 at the end of the connection.
    pub(crate) async fn receive(&self) -> io::Result<usize> {
        let mut piece = [0; 16 * 1024];
        loop {
            self.stream.readable().await?;
            match self.stream.try_read(&mut piece) {
                Ok(count) => {
                    self.input.borrow_mut().extend_from_slice(&piece[..count]);
                    return Ok(count);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Err(e),
            }
        }
    }

    pub(crate) async fn send(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.stream.try_write(bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.stream.writable().await?,
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

/// What makes a request strange although each line of it is plain.
fn check(head: &Head) -> Result<(), String> {
    if head.status != 0 || head.method.is_empty() {
        return Err(format!("not a request: {:?}", head.line));
    }
    match head.all("host").len() {
        1 => Ok(()),
        count => Err(format!("{count} Host fields: {head:?}")),
    }
}
