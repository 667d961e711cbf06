//! One probe by HTTP/1.1 over pingora's client: the same dialling as traffic, a connection of its own each time, so
//! that an endpoint that takes no new connections is found out.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use pingora_core::connectors::ConnectorOptions;
use pingora_core::connectors::http::v1::Connector;
use pingora_core::protocols::http::v1::client::HttpSession;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{BError, ErrorType};
use pingora_http::RequestHeader;
use sluice_config::validated::HealthCheck;
use sluice_proxy_core::health::{Cause, Verdict};

use super::Probe;

/// What probes call themselves.
const USER_AGENT: &str = concat!("sluice-probe/", env!("CARGO_PKG_VERSION"));

/// The certificates that probes trust: none, since they speak plain HTTP. Given no file, the connector reads all
/// certificates of the system, and panics where `SSL_CERT_FILE` names a missing one.
const NO_CERTIFICATES: &str = "/dev/null";

/// How much of an answer's body, and for how long, is read after the verdict: closing on unread bytes would reset the
/// connection and fill the origin's log with errors.
const DRAIN_BYTES: usize = 64 << 10;
const DRAIN_TIME: Duration = Duration::from_secs(1);

/// Sends GET; a final status of 200 to 299 is good.
pub struct HttpProbe {
    connector: Connector,
}

impl std::fmt::Debug for HttpProbe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpProbe").finish_non_exhaustive()
    }
}

impl HttpProbe {
    /// Builds the connector, once for all endpoints.
    ///
    /// # Errors
    /// When `/dev/null` cannot be read.
    pub fn new() -> io::Result<Self> {
        File::open(NO_CERTIFICATES)?;
        // Connections are not kept, so the pool needs no room.
        let mut options = ConnectorOptions::new(1);
        options.ca_file = Some(NO_CERTIFICATES.to_owned());
        Ok(Self { connector: Connector::new(Some(options)) })
    }

    async fn ask(&self, address: SocketAddr, check: &HealthCheck) -> Result<u16, Cause> {
        let request = request(address, check).map_err(|error| told(&error, Cause::Malformed))?;
        let peer = HttpPeer::new(address, false, String::new());
        let connected = self.connector.get_http_session(&peer).await;
        let (mut session, _) = connected.map_err(|error| told(&error, connect_cause(&error)))?;
        let status = converse(&mut session, request).await.map_err(|error| told(&error, answer_cause(&error)))?;
        tokio::spawn(tokio::time::timeout(DRAIN_TIME, drain(session)));
        Ok(status)
    }
}

impl Probe for HttpProbe {
    async fn probe(&self, address: SocketAddr, check: &HealthCheck) -> Verdict {
        match self.ask(address, check).await {
            Ok(200..=299) => Verdict::Good,
            Ok(status) => Verdict::Bad(Cause::Status(status)),
            Err(cause) => Verdict::Bad(cause),
        }
    }
}

fn request(address: SocketAddr, check: &HealthCheck) -> Result<RequestHeader, BError> {
    let mut request = RequestHeader::build("GET", check.http.path.as_bytes(), None)?;
    let host = check.http.host.clone().unwrap_or_else(|| address.to_string());
    request.insert_header("Host", host)?;
    request.insert_header("User-Agent", USER_AGENT)?;
    request.insert_header("Connection", "close")?;
    Ok(request)
}

/// The final status.
async fn converse(session: &mut HttpSession, request: RequestHeader) -> Result<u16, BError> {
    session.write_request_header(Box::new(request)).await?;
    loop {
        session.read_response().await?;
        match session.get_status() {
            // Nobody asked to switch protocols: 101 is final, and bad.
            Some(status) if status.is_informational() && status != 101 => {}
            Some(status) => return Ok(status.as_u16()),
            None => return Err(pingora_core::Error::new(ErrorType::InvalidHTTPHeader)),
        }
    }
}

async fn drain(mut session: HttpSession) {
    let mut left = DRAIN_BYTES;
    while let Ok(Some(bytes)) = session.read_body_bytes().await {
        let Some(rest) = left.checked_sub(bytes.len()) else { return };
        left = rest;
    }
}

fn connect_cause(error: &BError) -> Cause {
    if *error.etype() == ErrorType::ConnectRefused {
        Cause::Refused
    } else if *error.etype() == ErrorType::ConnectTimedout {
        Cause::Timeout
    } else {
        Cause::Unreachable
    }
}

fn answer_cause(error: &BError) -> Cause {
    let ended = [ErrorType::ReadError, ErrorType::WriteError, ErrorType::ConnectionClosed];
    if ended.contains(error.etype()) { Cause::Reset } else { Cause::Malformed }
}

fn told(error: &BError, cause: Cause) -> Cause {
    tracing::debug!(%error, cause = cause.as_str(), "a probe failed");
    cause
}
