//! What is known of the other end of a connection, and what its listener believes of it.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use sluice_config::validated::{Forwarded, Listener, ProxyProtocol};
use sluice_proxy_core::client::Networks;

use crate::listener::Port;
use crate::tls::Session;

/// Whom a listener believes about who the client is, and how it tells origins.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) proxy_protocol: ProxyProtocol,
    pub(crate) trusted: Networks,
    pub(crate) forwarded: Forwarded,
}

impl From<&Listener> for Identity {
    fn from(listener: &Listener) -> Self {
        Self {
            proxy_protocol: listener.proxy_protocol,
            trusted: Networks::new(&listener.trusted_proxies),
            forwarded: listener.forwarded,
        }
    }
}

/// The other end of a connection.
#[derive(Debug)]
pub(crate) struct Client {
    /// Where it connected from, by its own word (PROXY protocol) or the system's.
    pub(crate) address: SocketAddr,
    /// Its IP address as text, for fields and logs.
    pub(crate) ip: String,
    /// The port that it connected to, as text.
    pub(crate) entrance: Box<str>,
    /// Absent where it speaks in the clear.
    pub(crate) tls: Option<Rc<Session>>,
    /// Whether it may be a trusted proxy.
    is_known: bool,
    port: Rc<Port>,
    standing: RefCell<Standing>,
}

/// What was found out by one state of the listener's settings.
#[derive(Debug)]
struct Standing {
    identity: Arc<Identity>,
    trusted: bool,
}

impl Standing {
    fn new(identity: Arc<Identity>, address: SocketAddr) -> Self {
        Self { trusted: identity.trusted.contain(address.ip()), identity }
    }
}

impl Client {
    /// `entrance`: the port that it connected to.
    pub(crate) fn new(port: &Rc<Port>, address: SocketAddr, entrance: u16) -> Self {
        Self {
            address,
            // A listener on [::] sees IPv4 clients as mapped addresses; nobody else knows them by that name.
            ip: address.ip().to_canonical().to_string(),
            entrance: entrance.to_string().into(),
            tls: None,
            is_known: true,
            standing: RefCell::new(Standing::new(port.identity(), address)),
            port: Rc::clone(port),
        }
    }

    /// The scheme of its requests.
    pub(crate) const fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// Whether a request for this host was sent on a connection that was made for another one.
    pub(crate) fn misdirects(&self, host: &str) -> bool {
        self.tls.as_ref().is_some_and(|session| session.misdirects(host))
    }

    /// Somebody whom a proxy carries without saying an address: known by the proxy's, and not believed as the proxy is.
    pub(crate) fn unknown(port: &Rc<Port>, address: SocketAddr, entrance: u16) -> Self {
        Self { is_known: false, ..Self::new(port, address, entrance) }
    }

    /// What its listener believes, if this is one of the trusted proxies. A change of the listener holds from the next
    /// request on, also on connections that there are.
    pub(crate) fn trusted(&self) -> Option<Arc<Identity>> {
        let mut standing = self.standing.borrow_mut();
        if !self.port.has_identity(&standing.identity) {
            *standing = Standing::new(self.port.identity(), self.address);
        }
        (self.is_known && standing.trusted).then(|| Arc::clone(&standing.identity))
    }

    /// How origins are told of it.
    pub(crate) fn forwarded(&self) -> Forwarded {
        self.standing.borrow().identity.forwarded
    }
}
