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
