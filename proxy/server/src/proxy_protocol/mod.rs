//! Who connected, by the word of a proxy that passes bytes on: the PROXY protocol, before anything else, TLS too.
//!
//! Required or off, and only from trusted proxies: where the header may be left out or comes from anybody, clients choose
//! their address. Exactly the header's bytes are taken from the stream.

mod header;

use std::net::SocketAddr;
use std::rc::Rc;

use sluice_config::validated::ProxyProtocol;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::Instant;

pub use header::{Bad, Said, Step, step};

use crate::alarm::{Alarm, after};
use crate::client::Client;
use crate::listener::Port;

/// Why a connection is closed before its first request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rejected {
    /// It comes from an address that is not trusted.
    Untrusted,
    /// What came is no header.
    Bad(Bad),
    /// The header did not come whole in time.
    Late,
    /// The connection ended within it.
    Cut,
    /// It ended before it: whoever looks whether somebody listens does that.
    Silent,
}

impl Rejected {
    /// A stable name for metrics and logs.
    const fn reason(self) -> &'static str {
        match self {
            Self::Untrusted => "untrusted_peer",
            Self::Bad(Bad::Missing) => "missing",
            Self::Bad(Bad::Malformed) => "malformed",
            Self::Bad(Bad::TooLong) => "too_long",
            Self::Late => "timeout",
            Self::Cut => "cut",
            Self::Silent => "silent",
        }
    }
}

/// Finds out who connected; nothing when the connection is to be closed. Where no header is asked for, nothing is read.
pub(crate) async fn accept(
    port: &Rc<Port>,
    stream: &mut (impl AsyncRead + Unpin),
    address: SocketAddr,
) -> Option<Client> {
    let own = port.gate.id.address.port();
    if port.identity().proxy_protocol == ProxyProtocol::Off {
        return Some(Client::new(port, address, own));
    }
    match Box::pin(read(port, stream, address)).await {
        Ok(Said::Carried { source, destination }) => Some(Client::new(port, source, destination.port())),
        Ok(Said::Nothing) => Some(Client::new(port, address, own)),
        Err(rejected) => {
            reject(port, rejected, address);
            None
        }
    }
}

async fn read(port: &Port, stream: &mut (impl AsyncRead + Unpin), address: SocketAddr) -> Result<Said, Rejected> {
    if !port.identity().trusted.contain(address.ip()) {
        return Err(Rejected::Untrusted);
    }
    let now = Instant::now();
    let deadline = after(now, Some(port.limits().header_timeout));
    Alarm::new(now).bound(deadline, header(stream)).await.unwrap_or(Err(Rejected::Late))
}

async fn header(stream: &mut (impl AsyncRead + Unpin)) -> Result<Said, Rejected> {
    let mut read = Vec::new();
    loop {
        let most = match step(&read).map_err(Rejected::Bad)? {
            Step::Read(most) => most,
            Step::Whole(said) => return Ok(said),
        };
        let taken = stream.take(most as u64).read_buf(&mut read).await;
        if !matches!(taken, Ok(1..)) {
            return Err(if read.is_empty() { Rejected::Silent } else { Rejected::Cut });
        }
    }
}

fn reject(port: &Port, rejected: Rejected, address: SocketAddr) {
    if rejected == Rejected::Silent {
        return;
    }
    let reason = rejected.reason();
    port.gate.series.rejected(reason);
    if port.may_complain() {
        let listener = &port.gate.id.name;
        tracing::warn!(%listener, %address, reason, "closed: no PROXY protocol header of a trusted proxy; told every 10 s at most");
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    async fn said(bytes: &[u8]) -> (Result<Said, Rejected>, Vec<u8>) {
        let (mut near, mut far) = tokio::io::duplex(4096);
        far.write_all(bytes).await.unwrap();
        drop(far);
        let said = header(&mut near).await;
        let mut rest = Vec::new();
        near.read_to_end(&mut rest).await.unwrap();
        (said, rest)
    }

    /// What follows belongs to whoever reads next, whether it came at once or not.
    #[tokio::test]
    async fn exactly_the_header_is_taken() {
        for header in [
            &b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 443\r\n"[..],
            b"PROXY UNKNOWN\r\n",
            b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00",
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0f\xc0\x00\x02\x07\x0a\x00\x00\x01\x12\x67\x01\xbb\x04\x00\x00",
        ] {
            let (said, rest) = said(&[header, b"GET / HTTP/1.1\r\n"].concat()).await;
            assert!(said.is_ok(), "{said:?}");
            assert_eq!(rest, b"GET / HTTP/1.1\r\n");
        }
    }

    #[tokio::test]
    async fn an_end_is_told_from_a_silent_one() {
        assert_eq!(said(b"").await.0, Err(Rejected::Silent));
        assert_eq!(said(b"PROXY TCP4 192.0.2.7").await.0, Err(Rejected::Cut));
        assert_eq!(said(b"GET / HTTP/1.1\r\n\r\n").await.0, Err(Rejected::Bad(Bad::Missing)));
    }
}
