//! Requests that are due at fixed moments, whether or not those before them were answered.
//!
//! Each thread holds a connection and takes the next moment that nobody has taken. A slow answer keeps its own thread
//! and no other; latency counts from the moment the request was due, so that one that had to wait for a free thread,
//! or was sent late, is not made to look quick.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Barrier;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;

/// So many users take turns.
const USERS: u32 = 1_000;

/// From the moment when all are connected to the first request.
const START: Duration = Duration::from_millis(20);

/// What is sent, how often, over how many connections.
#[derive(Debug, Args)]
pub(crate) struct Load {
    /// To whom
    #[arg(long)]
    to: SocketAddr,
    /// Requests a second
    #[arg(long)]
    rate: u32,
    /// Seconds that are not counted, before those that are
    #[arg(long, default_value = "1")]
    lead: u32,
    /// Seconds that are counted
    #[arg(long)]
    seconds: u32,
    /// Kept connections: the most requests that can be under way
    #[arg(long, default_value = "128")]
    connections: usize,
}

/// What became of a request.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    /// From when it was due until its answer was whole.
    pub(crate) latency: Duration,
    /// From when it was due until it was sent: what this program itself adds.
    pub(crate) late: Duration,
    /// Who answered.
    pub(crate) origin: String,
}

impl Load {
    /// The answers to the requests that count. A single failed request ends the program.
    pub(crate) fn run(&self) -> Vec<Answer> {
        let (ready, next, start) = (Barrier::new(self.connections), AtomicU32::new(0), std::sync::OnceLock::new());
        let client = || {
            let mut client = Client::connect(self.to).unwrap_or_else(|e| panic!("cannot connect to {}: {e}", self.to));
            ready.wait();
            let start = *start.get_or_init(|| Instant::now() + START);
            self.take_turns(&mut client, &next, start)
        };
        thread::scope(|scope| {
            let threads: Vec<_> = (0..self.connections).map(|_| scope.spawn(client)).collect();
            threads.into_iter().flat_map(|thread| thread.join().expect("every request is answered")).collect()
        })
    }

    fn take_turns(&self, client: &mut Client, next: &AtomicU32, start: Instant) -> Vec<Answer> {
        let (lead, all) = (self.rate * self.lead, self.rate * (self.lead + self.seconds));
        let mut answers = Vec::new();
        loop {
            let turn = next.fetch_add(1, Ordering::Relaxed);
            if turn >= all {
                return answers;
            }
            let due = start + Duration::from_secs_f64(f64::from(turn) / f64::from(self.rate));
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let late = due.elapsed();
            let origin = client.ask(turn % USERS).unwrap_or_else(|e| panic!("request {turn} failed: {e}"));
            if turn >= lead {
                answers.push(Answer { latency: due.elapsed(), late, origin });
            }
        }
    }
}

/// A connection that is kept.
struct Client {
    stream: TcpStream,
    reader: BufReader<TcpStream>,
    line: String,
}

impl Client {
    fn connect(to: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(to)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        Ok(Self { reader: BufReader::new(stream.try_clone()?), stream, line: String::new() })
    }

    /// Who answered this user's request.
    fn ask(&mut self, user: u32) -> io::Result<String> {
        let request = format!("GET / HTTP/1.1\r\nHost: test\r\nX-User: user-{user}\r\n\r\n");
        self.stream.write_all(request.as_bytes())?;
        self.read_line()?;
        if self.line.split(' ').nth(1) != Some("200") {
            return Err(io::Error::other(format!("it was answered {:?}", self.line)));
        }
        let length = self.read_fields()?;
        let mut body = vec![0; length];
        self.reader.read_exact(&mut body)?;
        String::from_utf8(body).map_err(io::Error::other)
    }

    /// The length of the body.
    fn read_fields(&mut self) -> io::Result<usize> {
        let mut length = None;
        loop {
            self.read_line()?;
            let Some((name, value)) = self.line.split_once(':') else { break };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().ok();
            }
        }
        length.ok_or_else(|| io::Error::other("the answer tells no length"))
    }

    fn read_line(&mut self) -> io::Result<()> {
        self.line.clear();
        match self.reader.read_line(&mut self.line)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}
