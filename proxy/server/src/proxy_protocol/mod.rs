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

pub(crate) use header::{Bad, Said, Step, step};

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
        Ok(Said::Own) => Some(Client::new(port, address, own)),
        Ok(Said::Unknown) => Some(Client::unknown(port, address, own)),
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
mod tests;
