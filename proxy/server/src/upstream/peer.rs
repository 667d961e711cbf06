//! Whom to dial: one peer for each endpoint, prepared when a revision is compiled, and the one connector of the process.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use pingora_core::ErrorType;
use pingora_core::connectors::TransportConnector;
use pingora_core::protocols::Stream;
use pingora_core::upstreams::peer::HttpPeer;
use sluice_proxy_core::endpoint::Endpoint;
use sluice_proxy_core::outcome::Ending;

/// An endpoint as something to dial. It lives as long as the endpoint's identity, over revisions.
#[derive(Debug)]
pub(crate) struct Peer {
    /// Never used again in this process, so that a pool cannot mistake one endpoint for another.
    pub(crate) id: u64,
    /// The state that the core decides by.
    pub(crate) endpoint: Arc<Endpoint>,
    /// The address as text, for logs.
    pub(crate) address: String,
    target: HttpPeer,
    retired: AtomicBool,
}

impl Peer {
    pub(crate) fn new(endpoint: Arc<Endpoint>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let address = endpoint.id().address;
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            address: address.to_string(),
            target: HttpPeer::new(address, false, String::new()),
            endpoint,
            retired: AtomicBool::new(false),
        }
    }

    /// No revision names the endpoint any more: its connections are not kept.
    pub(crate) fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
    }

    pub(crate) fn retired(&self) -> bool {
        self.retired.load(Ordering::Relaxed)
    }
}

/// Why the process cannot dial at all.
#[derive(Debug)]
pub enum DialError {
    /// `SSL_CERT_FILE` names a file that cannot be read.
    NoCertificates(PathBuf, std::io::Error),
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCertificates(path, error) => write!(
                f,
                "SSL_CERT_FILE names {}, which cannot be read: {error}; unset it or let it name a bundle of certificates",
                path.display()
            ),
        }
    }
}

impl std::error::Error for DialError {}

/// The connector, built once: building it reads all of the system's certificates.
pub(crate) struct Dialer {
    connector: TransportConnector,
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialer").finish_non_exhaustive()
    }
}

impl Dialer {
    /// Pingora panics over a missing `SSL_CERT_FILE`, so that is looked at first.
    pub(crate) fn new() -> Result<Self, DialError> {
        if let Some(path) = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from) {
            std::fs::File::open(&path).map_err(|error| DialError::NoCertificates(path, error))?;
        }
        Ok(Self { connector: TransportConnector::new(None) })
    }

    /// Connects; the caller bounds the time.
    pub(crate) async fn dial(&self, peer: &Peer) -> Result<Stream, Ending> {
        self.connector.new_stream(&peer.target).await.map_err(|error| classify(&error))
    }
}

fn classify(error: &pingora_core::Error) -> Ending {
    let kind = error.etype();
    if matches!(kind, ErrorType::ConnectRefused) {
        Ending::ConnectRefused
    } else if matches!(kind, ErrorType::ConnectTimedout) {
        Ending::ConnectTimeout
    } else {
        Ending::ConnectFailed
    }
}
