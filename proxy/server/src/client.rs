//! What is known of the other end of a connection.

use std::net::SocketAddr;
use std::rc::Rc;

use crate::tls::Session;

/// The other end of a connection.
#[derive(Debug)]
pub(crate) struct Client {
    /// Where it connected from.
    pub(crate) address: SocketAddr,
    /// Its IP address as text, for fields and logs.
    pub(crate) ip: String,
    /// Absent where it speaks in the clear.
    pub(crate) tls: Option<Rc<Session>>,
}

impl Client {
    pub(crate) fn new(address: SocketAddr) -> Self {
        // A listener on [::] sees IPv4 clients as mapped addresses; nobody else knows them by that name.
        Self { address, ip: address.ip().to_canonical().to_string(), tls: None }
    }

    /// The scheme of its requests.
    pub(crate) const fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// Whether a request for this host was sent on a connection that was made for another one.
    pub(crate) fn misdirects(&self, host: &str) -> bool {
        self.tls.as_ref().is_some_and(|session| session.misdirects(host))
    }
}
