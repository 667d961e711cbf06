//! How an endpoint is connected to. TCP is pingora's connector, TLS is rustls by the service's own configuration.

use std::fmt;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use pingora_core::ErrorType;
use pingora_core::connectors::{ConnectorOptions, TransportConnector};
use pingora_core::upstreams::peer::HttpPeer;
use sluice_config::validated::Protocol;
use sluice_proxy_core::outcome::Ending;
use tokio::sync::watch;
use tokio_rustls::rustls::{self, CertificateError, InvalidMessage};

use super::reach::{H2, Reach};
use super::seats::Seat;
use super::{Peer, Wire};
use crate::metrics::{Connect, UpstreamSeries};

/// Pingora's connector is given no certificates, since it dials in the clear only. Given no file it would read all of the
/// system's, and panic where `SSL_CERT_FILE` names a missing one.
const NO_CERTIFICATES: &str = "/dev/null";

/// How long a connection is waited for where an endpoint has as many as it may.
pub(crate) const SEAT: Duration = Duration::from_secs(1);

/// Why there is no connection.
#[derive(Debug)]
pub(crate) enum Unreached {
    /// Nobody listens there.
    Refused,
    /// The system gave up waiting.
    TimedOut,
    /// Anything else before TLS.
    Failed(String),
    /// The handshake failed, or agreed on another protocol than the service's.
    Tls(String),
}

impl Unreached {
    pub(crate) const fn ending(&self) -> Ending {
        match self {
            Self::Refused => Ending::ConnectRefused,
            Self::TimedOut => Ending::ConnectTimeout,
            Self::Failed(_) => Ending::ConnectFailed,
            Self::Tls(_) => Ending::ConnectTls,
        }
    }
}

impl fmt::Display for Unreached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("nobody listens there"),
            Self::TimedOut => f.write_str("no answer"),
            Self::Failed(why) | Self::Tls(why) => f.write_str(why),
        }
    }
}

/// The connector, built once.
pub(crate) struct Dialer {
    connector: TransportConnector,
    /// Changes when a worker finds no seat at an endpoint.
    crowded: watch::Sender<()>,
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialer").finish_non_exhaustive()
    }
}

impl Dialer {
    /// The connector of the process.
    ///
    /// # Errors
    /// When `/dev/null` cannot be read.
    pub(crate) fn new() -> io::Result<Self> {
        File::open(NO_CERTIFICATES)?;
        // Its own pool is not used.
        let mut options = ConnectorOptions::new(1);
        options.ca_file = Some(NO_CERTIFICATES.to_owned());
        Ok(Self { connector: TransportConnector::new(Some(options)), crowded: watch::Sender::default() })
    }

    /// Rings when connections that wait for a request must go, since others cannot be opened.
    pub(crate) fn bell(&self) -> watch::Receiver<()> {
        self.crowded.subscribe()
    }

    /// Connects, TLS included; the caller bounds the time.
    pub(crate) async fn dial(&self, target: &HttpPeer, reach: &Reach) -> Result<Wire, Unreached> {
        let stream = self.connector.new_stream(target).await.map_err(|error| classify(&error))?;
        let Some((connector, name)) = reach.tls() else { return Ok(Wire::plain(stream)) };
        let stream = connector.connect(name, stream).await.map_err(|error| Unreached::Tls(told(&error)))?;
        let chosen = stream.get_ref().1.alpn_protocol();
        match (reach.protocol, chosen) {
            (Protocol::Http2, Some(H2)) | (Protocol::Http1, _) => Ok(Wire::tls(stream)),
            (Protocol::Http2, _) => Err(Unreached::Tls("it does not choose HTTP/2 (ALPN h2)".to_owned())),
        }
    }
}

/// The innermost cause: what rustls says stands inside of an I/O error. What operators meet most is said in words that
/// lead to the mistake.
fn told(error: &io::Error) -> String {
    let Some(cause) = error.get_ref() else { return error.to_string() };
    match cause.downcast_ref::<rustls::Error>() {
        Some(rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType)) => {
            "what it answers is no TLS: it speaks in the clear, or this is another port".to_owned()
        }
        Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            "its certificate was signed by nobody whom `tls.ca` names (without it, whom the system trusts), or it leaves out the certificates between"
                .to_owned()
        }
        Some(_) | None => cause.to_string(),
    }
}

fn classify(error: &pingora_core::Error) -> Unreached {
    let kind = error.etype();
    if matches!(kind, ErrorType::ConnectRefused) {
        Unreached::Refused
    } else if matches!(kind, ErrorType::ConnectTimedout) {
        Unreached::TimedOut
    } else {
        Unreached::Failed(error.to_string())
    }
}

/// Dials for one worker, and counts it.
#[derive(Debug, Clone)]
pub(crate) struct Connector {
    pub(crate) dialer: Arc<Dialer>,
    pub(crate) worker: usize,
    pub(crate) series: Arc<UpstreamSeries>,
}

impl Connector {
    /// Connects; the caller bounds the time and tells [`Connector::count`] how it ended.
    pub(crate) async fn connect(&self, peer: &Peer, seat: Seat) -> Result<Wire, Ending> {
        match self.dialer.dial(&peer.target, &peer.reach).await {
            Ok(mut wire) => {
                wire.seat = Some(seat);
                wire.counted = Some(self.series.opened(self.worker, peer.reach.protocol));
                Ok(wire)
            }
            Err(error) => {
                peer.tell(&error);
                Err(error.ending())
            }
        }
    }

    /// A place among the connections that the endpoint may have.
    pub(crate) async fn seat(&self, peer: &Peer) -> Result<Seat, Ending> {
        let ask = || {
            // Without workers nobody keeps any.
            let _ = self.dialer.crowded.send(());
        };
        let seat = peer.seats.take(ask);
        tokio::time::timeout(SEAT, seat).await.map_err(|_| Ending::ConnectionLimit)
    }

    /// Counts a dial by its end.
    pub(crate) fn count<T>(&self, dialled: &Result<T, Ending>) {
        self.series.connected(self.worker, end(dialled));
    }
}

const fn end<T>(dialled: &Result<T, Ending>) -> Connect {
    match dialled {
        Ok(_) => Connect::Ok,
        Err(Ending::ConnectRefused) => Connect::Refused,
        Err(Ending::ConnectTimeout) => Connect::Timeout,
        Err(Ending::ConnectTls) => Connect::Tls,
        Err(_) => Connect::Failed,
    }
}
