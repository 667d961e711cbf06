//! Connections that hold little: what is sent to a client that does not read stops soon, as over a real network.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::wait::DEADLINE;

/// The smallest that a receive buffer can usefully be.
const BUFFER: usize = 4096;
/// Of an ordinary network. Loopback's own is 64 KiB, and the sender's buffer grows with it.
const SEGMENT: u32 = 1400;

/// A connection with a small receive buffer and segments as of an ordinary network.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn narrow(to: SocketAddr) -> TcpStream {
    let dial = || {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
        socket.set_recv_buffer_size(BUFFER)?;
        socket.set_tcp_mss(SEGMENT)?;
        socket.connect_timeout(&to.into(), DEADLINE)?;
        let stream = TcpStream::from(socket);
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_write_timeout(Some(Duration::from_secs(5)))?;
        std::io::Result::Ok(stream)
    };
    dial().unwrap_or_else(|e| panic!("no connection to {to}: {e}"))
}
