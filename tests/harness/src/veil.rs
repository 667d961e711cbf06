//! TLS behind a client: takes what a client says in the clear and says it to a server by TLS, so that every client of this
//! crate can be one with TLS.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::ring};

use crate::control::Authority;

/// Takes plain connections on a port of its own. Dropping it ends it.
#[derive(Debug)]
pub struct Veil {
    address: SocketAddr,
    _runtime: Runtime,
}

impl Veil {
    /// Starts one before this server, which is asked for `name` and offered only this protocol.
    ///
    /// # Panics
    /// When the system refuses.
    #[must_use]
    pub fn start(authority: &Authority, to: SocketAddr, name: &str, protocol: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime for a veil");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port for a veil");
        let address = listener.local_addr().expect("a bound port");
        let name = ServerName::try_from(name.to_owned()).expect("a suite's names are names");
        runtime.spawn(accept(listener, connector(authority, protocol), to, name));
        Self { address, _runtime: runtime }
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

fn connector(authority: &Authority, protocol: &str) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    let root = PemObject::from_pem_file(authority.file("ca.pem")).expect("the authority's certificate");
    roots.add(root).expect("a certificate of our own");
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().expect("versions that the provider knows");
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    TlsConnector::from(Arc::new(config))
}

async fn accept(listener: TcpListener, connector: TlsConnector, to: SocketAddr, name: ServerName<'static>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(pass(stream, connector.clone(), to, name.clone()));
    }
}

async fn pass(mut inside: TcpStream, connector: TlsConnector, to: SocketAddr, name: ServerName<'static>) {
    // Best effort: it is only slower without it.
    drop(inside.set_nodelay(true));
    let Ok(stream) = TcpStream::connect(to).await else { return };
    drop(stream.set_nodelay(true));
    if let Ok(mut outside) = connector.connect(name, stream).await {
        // Either may cut it.
        drop(copy_bidirectional(&mut inside, &mut outside).await);
    }
}
