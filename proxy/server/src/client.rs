//! What is known of the other end of a connection.

use std::net::SocketAddr;

/// The other end of a connection.
#[derive(Debug)]
pub(crate) struct Client {
    /// Where it connected from.
    pub(crate) address: SocketAddr,
    /// Its IP address as text, for fields and logs.
    pub(crate) ip: String,
}

impl Client {
    pub(crate) fn new(address: SocketAddr) -> Self {
        // A listener on [::] sees IPv4 clients as mapped addresses; nobody else knows them by that name.
        Self { address, ip: address.ip().to_canonical().to_string() }
    }
}
