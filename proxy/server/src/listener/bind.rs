//! Sockets that listen: one for each worker on the same address, among which the kernel spreads connections.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that may wait to be accepted; the kernel lowers it to its own limit.
const BACKLOG: i32 = 4096;

/// Why a listener's address cannot be used.
#[derive(Debug)]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    /// What the system said.
    pub source: io::Error,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot listen on {}: {}", self.address, self.source)?;
        f.write_str(advice(self.source.kind()))
    }
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

const fn advice(kind: io::ErrorKind) -> &'static str {
    if matches!(kind, io::ErrorKind::AddrInUse) {
        "; another process listens there: stop it, or choose another port"
    } else if matches!(kind, io::ErrorKind::PermissionDenied) {
        "; ports below 1024 need CAP_NET_BIND_SERVICE: grant it, or choose another port"
    } else if matches!(kind, io::ErrorKind::AddrNotAvailable) {
        "; no interface of this machine has that address"
    } else {
        ""
    }
}

/// As many sockets on `address` as there are workers.
pub(crate) fn bind(address: SocketAddr, workers: usize) -> Result<Vec<TcpListener>, BindError> {
    let sockets = (0..workers).map(|_| open(address, true));
    sockets.collect::<io::Result<_>>().map_err(|source| BindError { address, source })
}

/// Sockets that were open before, for this many workers: every socket has a worker, so that no connection waits where nobody
/// accepts, and every worker has a socket. Socket j goes to worker j mod N; workers beyond the sockets get further ones on
/// the same address, or, where the system refuses that, share what is there.
pub(crate) fn deal(
    sockets: Vec<TcpListener>,
    address: SocketAddr,
    workers: usize,
) -> io::Result<Vec<Vec<TcpListener>>> {
    let mut dealt: Vec<Vec<TcpListener>> = (0..workers).map(|_| Vec::new()).collect();
    let count = sockets.len();
    for (number, socket) in sockets.into_iter().enumerate() {
        dealt[number % workers].push(socket);
    }
    for worker in count..workers {
        let further = open(address, true).or_else(|error| {
            match dealt.get(worker % count.max(1)).and_then(|there| there.first()) {
                Some(shared) => shared.try_clone(),
                None => Err(error),
            }
        });
        dealt[worker].push(further?);
    }
    Ok(dealt)
}

/// Whether another process listens on `address`. Sockets that share a port would hide that.
pub(crate) fn is_taken(address: SocketAddr) -> Result<(), BindError> {
    open(address, false).map(drop).map_err(|source| BindError { address, source })
}

fn open(address: SocketAddr, shared: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sockets(count: usize) -> (Vec<TcpListener>, SocketAddr) {
        let first = open("127.0.0.1:0".parse().unwrap(), true).unwrap();
        let address = first.local_addr().unwrap();
        let further = (1..count).map(|_| open(address, true).unwrap());
        (std::iter::once(first).chain(further).collect(), address)
    }

    #[test]
    fn every_socket_has_a_worker_and_every_worker_a_socket() {
        for (given, workers) in [(1, 1), (2, 1), (5, 2), (3, 3), (1, 3), (2, 5)] {
            let (given, address) = sockets(given);
            let count = given.len();
            let dealt = deal(given, address, workers).unwrap();
            let each: Vec<usize> = dealt.iter().map(Vec::len).collect();
            let expected: Vec<usize> = (0..workers).map(|worker| (count + workers - 1 - worker) / workers).collect();
            if count >= workers {
                assert_eq!(each, expected);
            } else {
                assert_eq!(each, vec![1; workers]);
            }
            assert!(dealt.iter().flatten().all(|socket| socket.local_addr().unwrap() == address));
        }
    }

    /// A service manager may open a socket that shares its port with nobody.
    #[test]
    fn workers_share_what_the_system_gives_but_once() {
        let alone = open("127.0.0.1:0".parse().unwrap(), false).unwrap();
        let address = alone.local_addr().unwrap();
        let dealt = deal(vec![alone], address, 3).unwrap();
        assert_eq!(dealt.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1, 1]);
        let client = std::net::TcpStream::connect(address).unwrap();
        assert_eq!(dealt[2][0].accept().unwrap().1, client.local_addr().unwrap());
    }
}
