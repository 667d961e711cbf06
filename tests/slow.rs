//! Clients that are slow on purpose: with their head, their body, or reading the answer, over HTTP/1.1 and HTTP/2. Each is
//! cut off and counted by its reason, and an ordinary client beside them sees no error and no wait.
//!
//! 200 of them in an ordinary run, 1,000 with `SLUICE_FULL`.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sluice_harness::h1::Client;
use sluice_harness::h2::raw;
use sluice_harness::sluice::setup;
use sluice_harness::wait::{pass, until};
use sluice_harness::{Document, Origin, Sluice, free_address, narrow};

const SLUICE: &str = env!("CARGO_BIN_EXE_sluice");

/// Slow ones are cut within this time; the limits that the suite sets are 2 s.
const PATIENCE: Duration = Duration::from_secs(60);

/// What an ordinary client may have to wait, on a machine that does other work too.
const SANE: Duration = Duration::from_secs(1);

/// More than the buffers between an origin and a client that does not read hold.
const LARGE: usize = 400_000;

fn crowd() -> usize {
    if std::env::var_os("SLUICE_FULL").is_some() { 1_000 } else { 200 }
}

struct Stage {
    sluice: Sluice,
    web: SocketAddr,
    _origin: Origin,
}

impl Stage {
    fn new(limits: &str, timeouts: &str) -> Self {
        let (web, origin) = (free_address(), Origin::start("a"));
        let document = Document::new()
            .listener("web", web, &format!("limits: {{ {limits} }}"))
            .region("here", "")
            .service("shop", &format!("timeouts: {{ {timeouts} }}"))
            .version("v1", 100, &[("here", &[origin.address()])])
            .route("{ path: / }", "service: shop");
        Self { sluice: setup(SLUICE).start(document), web, _origin: origin }
    }

    fn ended(&self, reason: &str) -> usize {
        self.sluice.metric("sluice_requests_ended_by_client_total", &[("reason", reason)]) as usize
    }

    /// Runs `slow` while an ordinary client asks again and again; that one must not notice.
    fn beside<T>(&self, slow: impl FnOnce() -> T) -> T {
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let ordinary = scope.spawn(|| ordinary(self.web, &over));
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(slow));
            over.store(true, Ordering::Relaxed);
            let mut waits = ordinary.join().unwrap();
            waits.sort_unstable();
            let late = waits[waits.len() * 99 / 100];
            println!("{} ordinary requests, 99th percentile {late:?}", waits.len());
            assert!(late < SANE, "an ordinary client waited {late:?}");
            done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// What was taken is given back, and nobody is left.
    fn check(&self) {
        until("nobody is left", || (self.sluice.metric("sluice_connections", &[]) == 0.0).then_some(()));
        assert_eq!(self.sluice.metric("sluice_requests_in_flight", &[]), 0.0);
        assert!(!self.sluice.stderr().contains("panicked"), "{}", self.sluice.stderr());
    }
}

/// Asks on one connection and on new ones; answers with what each request took.
fn ordinary(web: SocketAddr, over: &AtomicBool) -> Vec<Duration> {
    let mut waits = Vec::new();
    let mut kept = Client::connect(web);
    while !over.load(Ordering::Relaxed) || waits.is_empty() {
        for fresh in [false, true] {
            let start = Instant::now();
            let status = if fresh { Client::connect(web).get("/").status() } else { kept.get("/").status() };
            assert_eq!(status, 200);
            waits.push(start.elapsed());
        }
        pass(Duration::from_millis(10));
    }
    waits
}

/// Sends each of them a byte twice a second until all have been cut.
fn trickle(mut streams: Vec<TcpStream>) {
    let start = Instant::now();
    for stream in &streams {
        stream.set_nonblocking(true).unwrap();
    }
    while !streams.is_empty() {
        streams.retain_mut(|stream| stream.write_all(b"x").is_ok() && is_open(stream));
        assert!(start.elapsed() < PATIENCE, "{} are still open", streams.len());
        pass(Duration::from_millis(500));
    }
    println!("all cut after {:?}", start.elapsed());
}

fn is_open(stream: &mut TcpStream) -> bool {
    let mut space = [0; 4096];
    loop {
        match stream.read(&mut space) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) => return error.kind() == std::io::ErrorKind::WouldBlock,
        }
    }
}

fn begin(web: SocketAddr, text: &str) -> Vec<TcpStream> {
    let begin = |_| {
        let mut stream = TcpStream::connect(web).unwrap();
        stream.write_all(text.as_bytes()).unwrap();
        stream
    };
    (0..crowd()).map(begin).collect()
}

#[test]
fn slow_heads_are_cut() {
    let stage = Stage::new("header_timeout: 2s", "idle: 60s");
    stage.beside(|| trickle(begin(stage.web, "GET / HTTP/1.1\r\nHost: t\r\nX: ")));
    let refused = stage.sluice.metric("sluice_requests_refused_total", &[("reason", "header_timeout")]);
    assert_eq!(refused as usize, crowd());
    stage.check();
}

#[test]
fn slow_bodies_are_cut() {
    let stage = Stage::new("receive_min_rate: 1KiB/s, min_rate_grace: 2s", "idle: 60s");
    let request = "POST /sink HTTP/1.1\r\nHost: t\r\nContent-Length: 100000\r\n\r\n";
    stage.beside(|| trickle(begin(stage.web, request)));
    assert_eq!(stage.ended("slow_body"), crowd());
    stage.check();
}

/// Chunks by HTTP/1.1 and frames by HTTP/2: a body without a length has no other rule.
#[test]
fn slow_bodies_over_h2_are_cut() {
    let stage = Stage::new("receive_min_rate: 1KiB/s, min_rate_grace: 2s, keep_alive: 2s", "idle: 60s");
    let request = [(":method", &b"POST"[..]), (":scheme", b"http"), (":authority", b"t"), (":path", b"/sink")];
    stage.beside(|| {
        let mut clients: Vec<raw::Client> = (0..crowd() / 4)
            .map(|_| {
                let mut client = raw::Client::connect(stage.web);
                for stream in [1, 3, 5, 7] {
                    client.send_head(stream, &request, true);
                }
                client
            })
            .collect();
        let start = Instant::now();
        while stage.ended("slow_body") < crowd() / 4 * 4 {
            for client in &mut clients {
                for stream in [1, 3, 5, 7] {
                    client.send(raw::kind::DATA, 0, stream, b"x");
                }
            }
            assert!(start.elapsed() < PATIENCE, "{} are cut", stage.ended("slow_body"));
            pass(Duration::from_millis(500));
        }
    });
    stage.check();
}

#[test]
fn slow_readers_are_cut() {
    let stage = Stage::new("send_min_rate: 1KiB/s, min_rate_grace: 2s", "idle: 60s");
    stage.beside(|| {
        let ask = |_| {
            let mut stream = narrow(stage.web);
            stream.write_all(format!("GET /bytes/{LARGE} HTTP/1.1\r\nHost: t\r\n\r\n").as_bytes()).unwrap();
            stream
        };
        let mut streams: Vec<TcpStream> = (0..crowd()).map(ask).collect();
        let start = Instant::now();
        while stage.ended("slow_read") < crowd() {
            // A few bytes now and then are no speed.
            for stream in &mut streams {
                stream.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
                drop(stream.read(&mut [0; 50]));
            }
            assert!(start.elapsed() < PATIENCE, "{} are cut", stage.ended("slow_read"));
            pass(Duration::from_millis(100));
        }
        println!("all cut after {:?}", start.elapsed());
    });
    stage.check();
}

/// Over HTTP/2 there are two ways not to read: to open no window, and to open it and leave the bytes in the socket.
#[test]
fn slow_readers_over_h2_are_cut() {
    let stage = Stage::new("send_min_rate: 1KiB/s, min_rate_grace: 2s, keep_alive: 2s", "idle: 60s");
    let path = format!("/bytes/{LARGE}");
    let request = [(":method", &b"GET"[..]), (":scheme", b"http"), (":authority", b"t"), (":path", path.as_bytes())];
    stage.beside(|| {
        let half = crowd() / 2;
        let mut shut: Vec<raw::Client> = (0..half).map(|_| raw::Client::connect(stage.web)).collect();
        // SETTINGS_INITIAL_WINDOW_SIZE of 16 MiB, and as much for the connection.
        let wide = |_| {
            let mut client = raw::Client::over(narrow(stage.web), &[0, 4, 1, 0, 0, 0]);
            client.send(8, 0, 0, &(1_u32 << 24).to_be_bytes());
            client
        };
        let mut deaf: Vec<raw::Client> = (0..half).map(wide).collect();
        shut.iter_mut().chain(&mut deaf).for_each(|client| client.send_head(1, &request, false));
        for client in &mut shut {
            client.set_patience(PATIENCE);
            let mut outcome = client.outcome(1);
            while matches!(outcome, raw::Outcome::Answered(_)) {
                outcome = client.outcome(1);
            }
            assert_eq!(outcome, raw::Outcome::Reset(2));
        }
        until("those who read nothing are cut", || {
            (stage.sluice.metric("sluice_connections", &[]) <= 2.0 + half as f64).then_some(())
        });
        drop(shut);
    });
    let cut = stage.sluice.metric("sluice_shed_total", &[("reason", "slow_read")]) as usize;
    assert!(cut > 0 && stage.ended("slow_read") >= crowd() / 2, "{cut} connections and {}", stage.ended("slow_read"));
    stage.check();
}

/// Slow is not too slow: whoever keeps the rate is served to the end, however long it takes, also where the idle deadline is
/// shorter than a buffer takes to drain.
#[test]
fn honest_slow_clients_are_served() {
    let stage = Stage::new("receive_min_rate: 1KiB/s, send_min_rate: 1KiB/s, min_rate_grace: 2s", "idle: 2s");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut stream = narrow(stage.web);
            stream.write_all(b"GET /bytes/200000 HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n").unwrap();
            let (start, mut got, mut piece) = (Instant::now(), 0, vec![0; 8_000]);
            loop {
                let read = stream.read(&mut piece).unwrap();
                got += read;
                if read == 0 {
                    break;
                }
                pass(Duration::from_secs_f64(read as f64 / 16_000.0));
            }
            println!("{got} bytes read in {:?}", start.elapsed());
            assert!(got > 200_000, "only {got} bytes came");
        });
        scope.spawn(|| {
            let mut client = Client::connect(stage.web);
            client.send("POST /sink HTTP/1.1\r\nHost: t\r\nContent-Length: 20000\r\n\r\n");
            for _ in 0..20 {
                client.send("x".repeat(1_000));
                pass(Duration::from_millis(300));
            }
            assert_eq!(client.try_response("POST").unwrap().text(), "20000");
        });
    });
    assert_eq!((stage.ended("slow_body"), stage.ended("slow_read"), stage.ended("client_timeout")), (0, 0, 0));
}
