//! Addresses that nobody else uses.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

/// Below the range from which the kernel takes ports for outgoing connections: a port from there could be taken
/// between its choice and its use, or while a killed origin is away.
const FIRST: u16 = 15_000;
const PORTS: u16 = 17_000;

/// Between the first ports of two processes that start one after the other: more than a suite takes.
const SPREAD: u64 = 131;

static TAKEN: AtomicU16 = AtomicU16::new(0);

/// A loopback address on which nothing listens and that this process has not given out before.
///
/// # Panics
/// When no port is free.
#[must_use]
pub fn free_address() -> SocketAddr {
    let spread = (u64::from(std::process::id()) * SPREAD % u64::from(PORTS)) as u16;
    for _ in 0..PORTS {
        let step = TAKEN.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + (spread + step % PORTS) % PORTS;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no free port between {FIRST} and {}", FIRST + PORTS)
}
