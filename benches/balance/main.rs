//! What `make bench-balance` stands a proxy between: ten origins that get into trouble on command, and load that is
//! due at fixed moments.
//!
//! Threads that block, no runtime: a runtime's timer counts whole milliseconds, and the answers measured here take
//! less than half of one.

#![allow(clippy::print_stdout, reason = "figures are what it is for")]
#![allow(clippy::disallowed_methods, reason = "each thread serves one connection, so that it may sleep")]

mod load;
mod origins;
mod pauses;

use std::net::SocketAddr;

use clap::Parser;

/// Origins in trouble, and load at a fixed rate
#[derive(Debug, Parser)]
enum Args {
    /// Origins, each at a port of its own; `GET /begin/TROUBLE` at any of them says what they suffer from
    Origins {
        /// Where they listen; the first is the slow one, the last is never in trouble
        #[arg(long, value_delimiter = ',', required = true)]
        ports: Vec<u16>,
    },
    /// Load; for each request a line: the microseconds from when it was due to its answer, the microseconds that it was
    /// sent late, and who answered
    Load(load::Load),
}

fn main() {
    // Best effort: sleeps end some fifty microseconds late without it. Threads inherit it.
    drop(std::fs::write("/proc/self/timerslack_ns", "1"));
    match Args::parse() {
        Args::Origins { ports } => origins::serve(&ports),
        Args::Load(load) => {
            for answer in load.run() {
                println!("{} {} {}", answer.latency.as_micros(), answer.late.as_micros(), answer.origin);
            }
        }
    }
}

/// A port of this machine.
fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}
