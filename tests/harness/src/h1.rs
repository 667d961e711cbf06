//! An HTTP/1 client that shows bytes.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use crate::body::Body;
use crate::failure::Failure;
use crate::head::{Fields, Head};
use crate::wait::DEADLINE;

/// One connection. Nothing is retried and nothing is sent that the suite did not write.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    input: Vec<u8>,
}

/// A final response and what came before it.
#[derive(Debug, Clone)]
pub struct Response {
    /// Interim responses (1xx), in their order.
    pub interim: Vec<Head>,
    /// The final head.
    pub head: Head,
    /// Decoded.
    pub body: Vec<u8>,
    /// Behind a chunked body.
    pub trailers: Fields,
}

impl Response {
    /// The final status.
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.head.status
    }

    /// The first value of a field of the head.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        self.head.field(name)
    }

    /// Which origin answered, by its own word; empty when none did.
    #[must_use]
    pub fn origin(&self) -> &str {
        self.field("x-origin").unwrap_or_default()
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Client {
    /// A connection.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn connect(to: SocketAddr) -> Self {
        Self::try_connect(to).unwrap_or_else(|e| panic!("no connection to {to}: {e}"))
    }

    /// A connection.
    ///
    /// # Errors
    /// What the system says when there is none.
    pub fn try_connect(to: SocketAddr) -> io::Result<Self> {
        Self::over(TcpStream::connect_timeout(&to, DEADLINE)?)
    }

    /// A connection from another loopback address, so that the proxy sees another client.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn connect_from(from: IpAddr, to: SocketAddr) -> Self {
        let dial = || -> io::Result<Self> {
            let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
            socket.bind(&SocketAddr::new(from, 0).into())?;
            socket.connect(&to.into())?;
            Self::over(socket.into())
        };
        dial().unwrap_or_else(|e| panic!("no connection from {from} to {to}: {e}"))
    }

    /// Over a connection that is there.
    ///
    /// # Errors
    /// What the system says when it refuses an option.
    pub fn over(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_write_timeout(Some(DEADLINE))?;
        Ok(Self { stream, input: Vec::new() })
    }

    /// Another handle on the connection, to send on while this one receives.
    ///
    /// # Panics
    /// When the system has no more handles.
    #[must_use]
    pub fn sender(&self) -> TcpStream {
        self.stream.try_clone().expect("a handle for the connection")
    }

    /// The own end's address.
    ///
    /// # Panics
    /// Never: a connection has one.
    #[must_use]
    pub fn local_address(&self) -> SocketAddr {
        self.stream.local_addr().expect("a connected socket has an address")
    }

    /// Sends these bytes.
    ///
    /// # Panics
    /// When they cannot be sent.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.try_send(bytes).unwrap_or_else(|e| panic!("cannot send: {e}"));
        self
    }

    /// Sends these bytes.
    ///
    /// # Errors
    /// What the system says when they cannot be sent.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// Sends nothing more, but goes on receiving. The other end may be gone already.
    pub fn finish(&mut self) {
        drop(self.stream.shutdown(Shutdown::Write));
    }

    /// Leaves with a reset, as a crashed client does.
    ///
    /// # Panics
    /// When the system refuses the option.
    pub fn reset(self) {
        socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).expect("a socket takes this option");
    }

    /// Sends a GET of this target for the host `test` and reads its response.
    ///
    /// # Panics
    /// When there is no whole response.
    pub fn get(&mut self, target: &str) -> Response {
        self.get_host("test", target)
    }

    /// Sends a GET of this target for this host and reads its response.
    ///
    /// # Panics
    /// When there is no whole response.
    pub fn get_host(&mut self, host: &str, target: &str) -> Response {
        self.exchange(&format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"))
    }

    /// Sends a request as it is written and reads its response.
    ///
    /// # Panics
    /// When there is no whole response.
    pub fn exchange(&mut self, request: &str) -> Response {
        self.send(request);
        let method = request.split(' ').next().unwrap_or_default();
        self.try_response(method).unwrap_or_else(|e| panic!("no response to {request:?}: {e}"))
    }

    /// Reads a response to a GET.
    ///
    /// # Panics
    /// When there is no whole response.
    pub fn response(&mut self) -> Response {
        self.try_response("GET").unwrap_or_else(|e| panic!("no response: {e}"))
    }

    /// Reads a response to a request with this method.
    ///
    /// # Errors
    /// How it failed.
    pub fn try_response(&mut self, method: &str) -> Result<Response, Failure> {
        let mut interim = Vec::new();
        let head = loop {
            let head = self.try_head()?;
            if head.status >= 200 || head.status == 101 {
                break head;
            }
            interim.push(head);
        };
        let mut body = Body::of_response(&head, method).map_err(Failure::Malformed)?;
        let mut bytes = Vec::new();
        self.read_body(&mut body, &mut bytes)?;
        Ok(Response { interim, head, body: bytes, trailers: body.trailers })
    }

    /// Reads one head, interim or final.
    ///
    /// # Errors
    /// How it failed.
    pub fn try_head(&mut self) -> Result<Head, Failure> {
        loop {
            if let Some(head) = Head::take(&mut self.input).map_err(Failure::Malformed)? {
                return Ok(head);
            }
            let started = !self.input.is_empty();
            match self.receive() {
                Ok(0) => return Err(if started { Failure::Cut } else { Failure::Closed }),
                Ok(_) => {}
                Err(e) => return Err(Failure::of(&e, started)),
            }
        }
    }

    /// Reads until this body is complete.
    ///
    /// # Errors
    /// How it failed; what came before it is in `bytes`.
    pub fn read_body(&mut self, body: &mut Body, bytes: &mut Vec<u8>) -> Result<(), Failure> {
        while !body.take(&mut self.input, bytes).map_err(Failure::Malformed)? {
            match self.receive() {
                Ok(0) if body.ends_with_connection() => return Ok(()),
                Ok(0) => return Err(Failure::Cut),
                Ok(_) => {}
                Err(e) => return Err(Failure::of(&e, true)),
            }
        }
        Ok(())
    }

    /// Reads exactly this many raw bytes, as behind a tunnel's 101.
    ///
    /// # Panics
    /// When they do not come.
    pub fn raw(&mut self, count: usize) -> Vec<u8> {
        while self.input.len() < count {
            let got = self.receive().unwrap_or_else(|e| panic!("{count} bytes awaited: {e}"));
            assert!(got > 0, "closed after {} of {count} bytes", self.input.len());
        }
        self.input.drain(..count).collect()
    }

    /// Waits until the other end closes or resets; what it sent before is the answer.
    ///
    /// # Panics
    /// When the connection stays open.
    pub fn closed(&mut self) -> Vec<u8> {
        loop {
            match self.receive() {
                Ok(0) => break,
                Ok(_) => {}
                Err(e) => {
                    let failure = Failure::of(&e, true);
                    assert_ne!(failure, Failure::Timeout, "the connection was left open");
                    break;
                }
            }
        }
        std::mem::take(&mut self.input)
    }

    /// How long a read may take.
    ///
    /// # Panics
    /// When the duration is zero.
    pub fn set_patience(&mut self, patience: Duration) {
        self.stream.set_read_timeout(Some(patience)).expect("a duration above zero");
    }

    fn receive(&mut self) -> io::Result<usize> {
        let mut piece = [0; 16 * 1024];
        loop {
            match self.stream.read(&mut piece) {
                Ok(count) => {
                    self.input.extend_from_slice(&piece[..count]);
                    return Ok(count);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }
}
