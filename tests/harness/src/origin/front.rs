//! TLS in front of an origin: takes handshakes and passes bytes on, so that every origin can be one with TLS.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;

use crate::control::Authority;

/// Takes TLS on a port of its own. Dropping it ends it.
#[derive(Debug)]
pub struct Front {
    address: SocketAddr,
    shaken: Arc<Shaken>,
    _runtime: Runtime,
}

#[derive(Debug, Default)]
struct Shaken {
    good: AtomicU64,
    resumed: AtomicU64,
    bad: AtomicU64,
}

/// How a front shakes hands.
#[derive(Debug, Clone, Copy)]
pub struct Hands<'a> {
    /// Whose certificate is shown, as [`Authority::issue`] named it.
    pub file: &'a str,
    /// What ALPN offers, best first.
    pub protocols: &'a [&'a str],
    /// Only clients with a certificate of the same authority are let in.
    pub clients: bool,
}

impl Front {
    /// Starts one before this address.
    ///
    /// # Panics
    /// When the system refuses.
    #[must_use]
    pub fn start(authority: &Authority, hands: Hands<'_>, to: SocketAddr) -> Self {
        let acceptor = authority.server(hands.file, hands.protocols, hands.clients);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime for a front");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port for a front");
        let (address, shaken) = (listener.local_addr().expect("a bound port"), Arc::new(Shaken::default()));
        runtime.spawn(accept(listener, acceptor, to, Arc::clone(&shaken)));
        Self { address, shaken, _runtime: runtime }
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Handshakes that went well so far.
    #[must_use]
    pub fn shaken(&self) -> u64 {
        self.shaken.good.load(Ordering::SeqCst)
    }

    /// Of those, the ones that went on with an earlier session.
    #[must_use]
    pub fn resumed(&self) -> u64 {
        self.shaken.resumed.load(Ordering::SeqCst)
    }

    /// Handshakes that failed so far.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.shaken.bad.load(Ordering::SeqCst)
    }
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, to: SocketAddr, shaken: Arc<Shaken>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(pass(stream, acceptor.clone(), to, Arc::clone(&shaken)));
    }
}

async fn pass(stream: TcpStream, acceptor: TlsAcceptor, to: SocketAddr, shaken: Arc<Shaken>) {
    // Best effort: it is only slower without it.
    drop(stream.set_nodelay(true));
    let Ok(mut outside) = acceptor.accept(stream).await else {
        shaken.bad.fetch_add(1, Ordering::SeqCst);
        return;
    };
    shaken.good.fetch_add(1, Ordering::SeqCst);
    if outside.get_ref().1.handshake_kind() == Some(tokio_rustls::rustls::HandshakeKind::Resumed) {
        shaken.resumed.fetch_add(1, Ordering::SeqCst);
    }
    if let Ok(mut inside) = TcpStream::connect(to).await {
        drop(inside.set_nodelay(true));
        // Either may cut it.
        drop(copy_bidirectional(&mut outside, &mut inside).await);
    }
}
