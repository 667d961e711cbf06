//! Ten origins that answer at once, until they are told what to suffer from.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::{local, pauses};

/// What the slow one adds to each answer.
const SLOWNESS: Duration = Duration::from_millis(100);

/// For how long pauses are drawn.
const LONGEST: Duration = Duration::from_secs(600);

/// What they suffer from.
enum Trouble {
    /// Nothing.
    None,
    /// The first one is slow.
    Slow,
    /// Each but the last stands still now and then, counted from a moment.
    Pauses(Instant, Vec<Vec<Duration>>),
}

impl Trouble {
    /// `none`, `slow` or `pauses/SEED`, for so many origins.
    fn read(text: &str, origins: usize) -> Option<Self> {
        match text.split_once('/') {
            None if text == "none" => Some(Self::None),
            None if text == "slow" => Some(Self::Slow),
            Some(("pauses", seed)) => {
                let seed = seed.parse().ok()?;
                let draw = |origin| pauses::draw(seed, origin, LONGEST);
                Some(Self::Pauses(Instant::now(), (0..origins - 1).map(draw).collect()))
            }
            None | Some(_) => None,
        }
    }

    /// How long an answer of this origin waits now.
    fn wait(&self, origin: usize) -> Duration {
        match self {
            Self::Slow if origin == 0 => SLOWNESS,
            Self::None | Self::Slow => Duration::ZERO,
            Self::Pauses(since, starts) => {
                starts.get(origin).map_or(Duration::ZERO, |starts| pauses::rest(starts, since.elapsed()))
            }
        }
    }
}

/// What all connections know.
struct Shared {
    trouble: Mutex<Trouble>,
    origins: usize,
}

impl Shared {
    fn with_trouble<T>(&self, what: impl FnOnce(&mut Trouble) -> T) -> T {
        what(&mut self.trouble.lock().expect("nothing panics while it holds the trouble"))
    }

    /// The answer to a request's path, in its time.
    fn answer(&self, path: &str, origin: usize) -> String {
        if let Some(text) = path.strip_prefix("/begin/") {
            let Some(trouble) = Trouble::read(text, self.origins) else { return reply("400 Bad Request", "unknown") };
            self.with_trouble(|current| *current = trouble);
            return reply("200 OK", "begun");
        }
        thread::sleep(self.with_trouble(|trouble| trouble.wait(origin)));
        reply("200 OK", &origin.to_string())
    }
}

/// Serves until the process ends.
pub(crate) fn serve(ports: &[u16]) {
    let shared = Arc::new(Shared { trouble: Mutex::new(Trouble::None), origins: ports.len() });
    let listen = |port: &u16| TcpListener::bind(local(*port)).unwrap_or_else(|e| panic!("port {port}: {e}"));
    let listeners: Vec<_> = ports.iter().map(listen).collect();
    thread::scope(|scope| {
        for (origin, listener) in listeners.iter().enumerate() {
            let shared = &shared;
            scope.spawn(move || accept(listener, origin, shared));
        }
    });
}

fn accept(listener: &TcpListener, origin: usize, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        let shared = Arc::clone(shared);
        let stream = stream.expect("a connection is accepted");
        // A peer that leaves ends its connection and nothing else.
        thread::spawn(move || drop(converse(&stream, origin, &shared)));
    }
}

/// Answers requests without bodies until the peer leaves.
fn converse(stream: &TcpStream, origin: usize, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut reader, mut writer) = (BufReader::new(stream), stream);
    let mut line = String::new();
    while reader.read_line(&mut line)? > 0 {
        let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
        while line.trim_end() != "" {
            line.clear();
            reader.read_line(&mut line)?;
        }
        line.clear();
        writer.write_all(shared.answer(&path, origin).as_bytes())?;
    }
    Ok(())
}

fn reply(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}
