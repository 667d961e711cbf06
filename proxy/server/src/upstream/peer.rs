//! Whom to dial: one peer for each endpoint, prepared when a revision is compiled.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use pingora_core::upstreams::peer::HttpPeer;
use sluice_proxy_core::endpoint::Endpoint;

use super::Reach;
use super::dial::Unreached;
use super::seats::Seats;

/// How often, in seconds, it is told why an endpoint cannot be reached by TLS.
const TOLD_EVERY: u64 = 60;

/// An endpoint as something to dial. It lives over revisions, as long as the endpoint's identity and what it is spoken to
/// by stay: a connection of another protocol, or by other certificates, is not used again.
#[derive(Debug)]
pub(crate) struct Peer {
    /// Never used again in this process, so that a pool cannot mistake one endpoint for another.
    pub(crate) id: u64,
    /// The state that the core decides by.
    pub(crate) endpoint: Arc<Endpoint>,
    /// The address as text, for logs.
    pub(crate) address: String,
    /// How it is reached.
    pub(crate) reach: Arc<Reach>,
    pub(super) target: HttpPeer,
    /// Its connections.
    pub(super) seats: Arc<Seats>,
    retired: AtomicBool,
    /// When it was last told that the handshake fails, in seconds since 1970.
    told: AtomicU64,
}

impl Peer {
    /// With the seats of the peer that was there before, if one was: its connections may last.
    pub(crate) fn new(endpoint: Arc<Endpoint>, reach: Arc<Reach>, seats: Arc<Seats>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let address = endpoint.id().address;
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            address: address.to_string(),
            target: target(address),
            endpoint,
            reach,
            seats,
            retired: AtomicBool::new(false),
            told: AtomicU64::new(0),
        }
    }

    /// Its connections, for the peer that comes after it.
    pub(crate) fn seats(&self) -> Arc<Seats> {
        Arc::clone(&self.seats)
    }

    /// At most as many as its service allows, from now on.
    pub(crate) fn limit_connections(&self) {
        self.seats.limit(self.reach.most);
    }

    /// No revision names the endpoint any more: its connections are not kept.
    pub(crate) fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
    }

    pub(crate) fn retired(&self) -> bool {
        self.retired.load(Ordering::Relaxed)
    }

    /// Tells why the handshake fails: the reason of a failed request names no certificate. Once a minute, since each of
    /// thousands of requests may dial.
    pub(super) fn tell(&self, error: &Unreached) {
        if !matches!(error, Unreached::Tls(_)) {
            return tracing::debug!(address = self.address, %error, "no connection to the endpoint");
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let told = self.told.load(Ordering::Relaxed);
        let due = now.saturating_sub(told) >= TOLD_EVERY;
        if due && self.told.compare_exchange(told, now, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            let (service, address) = (&self.endpoint.id().service, &self.address);
            tracing::warn!(%service, address, %error, "the TLS handshake with the endpoint fails");
        }
    }
}

/// An address as pingora dials it: in the clear, TLS is laid over it.
pub(crate) fn target(address: std::net::SocketAddr) -> HttpPeer {
    HttpPeer::new(address, false, String::new())
}
