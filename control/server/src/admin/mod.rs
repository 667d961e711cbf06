//! Our own listeners: where the API is served, and where the control plane tells how it is.
//!
//! They stay answerable under abuse: a bound on connections, a deadline for every head and every handshake, small
//! buffers. What may be asked on which is decided by the routers that they serve.

mod begun;
mod tls;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tower_service::Service;

use begun::Begun;
pub use tls::{Tls, TlsError};

use crate::api::Peer;

/// Open connections at once; further ones wait in the kernel's queue. Each proxy of a fleet has one.
const CONNECTIONS: usize = 16_384;

/// For a whole head, and for a TLS handshake.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// Between signs of life on an HTTP/2 connection, and how long one may be late.
const PING: Duration = Duration::from_secs(10);

/// The largest head.
const HEAD: usize = 32 << 10;

/// How long to wait when the process has no more sockets: accepting again at once would only spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where a listener is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// An address and a port.
    Tcp(SocketAddr),
    /// A socket in the file system, which only its owner may use.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() {
                Err("write a path after unix:".to_owned())
            } else {
                Ok(Self::Unix(path.into()))
            };
        }
        let refusal = "write an IP address and a port, such as 127.0.0.1:9900, or unix:PATH";
        text.parse().map(Self::Tcp).map_err(|_| refusal.to_owned())
    }
}

/// A socket that accepts connections for a router.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpListener, Option<Tls>),
    Unix(UnixListener, Place),
}

/// A name in the file system, removed when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    path: PathBuf,
    stays: Arc<AtomicBool>,
}

impl Place {
    fn of(path: &Path, stays: bool) -> Self {
        Self { path: path.to_owned(), stays: Arc::new(AtomicBool::new(stays)) }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.stays.load(Ordering::Relaxed) {
            // Somebody may have taken it away already.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl Socket {
    /// Takes the address.
    ///
    /// # Errors
    /// When the system refuses it.
    pub(crate) async fn bind(address: &Address, tls: Option<Tls>) -> io::Result<Self> {
        match address {
            Address::Tcp(address) => Ok(Self::Tcp(TcpListener::bind(address).await?, tls)),
            Address::Unix(path) => Ok(Self::Unix(bind_unix(path).await?, Place::of(path, false))),
        }
    }

    /// Goes on with a socket that listens there already. Its name in the file system stays ([`stays`](Self::stays)): it
    /// may have another owner still.
    ///
    /// # Errors
    /// When the system refuses it.
    pub(crate) fn adopt(address: &Address, socket: OwnedFd, tls: Option<Tls>) -> io::Result<Self> {
        match address {
            Address::Tcp(_) => {
                let socket = std::net::TcpListener::from(socket);
                socket.set_nonblocking(true)?;
                Ok(Self::Tcp(TcpListener::from_std(socket)?, tls))
            }
            Address::Unix(path) => {
                let socket = std::os::unix::net::UnixListener::from(socket);
                socket.set_nonblocking(true)?;
                Ok(Self::Unix(UnixListener::from_std(socket)?, Place::of(path, true)))
            }
        }
    }

    /// The same socket, for whoever goes on with it.
    ///
    /// # Errors
    /// When the system has no more descriptors.
    pub(crate) fn share(&self) -> io::Result<OwnedFd> {
        match self {
            Self::Tcp(listener, _) => listener.as_fd().try_clone_to_owned(),
            Self::Unix(listener, _) => listener.as_fd().try_clone_to_owned(),
        }
    }

    /// While this is set, the name in the file system stays when the socket is closed here: another has it.
    pub(crate) fn stays(&self) -> Option<Arc<AtomicBool>> {
        if let Self::Unix(_, place) = self { Some(Arc::clone(&place.stays)) } else { None }
    }

    /// Where it is, with the port that the kernel chose.
    pub(crate) fn address(&self) -> io::Result<Address> {
        match self {
            Self::Tcp(listener, _) => listener.local_addr().map(Address::Tcp),
            Self::Unix(_, place) => Ok(Address::Unix(place.path.clone())),
        }
    }

    /// Serves the router until dropped.
    pub(crate) async fn serve(self, router: Router) {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            match self.accept().await {
                Ok(accepted) => {
                    let router = router.clone();
                    tokio::spawn(async move {
                        accepted.converse(router).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "the admin listener cannot accept");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Tcp(listener, tls) => {
                let (stream, from) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok(Accepted::Tcp { at: stream.local_addr()?, stream, from, tls: tls.clone() })
            }
            Self::Unix(listener, _) => listener.accept().await.map(|(stream, _)| Accepted::Unix(stream)),
        }
    }
}

/// A socket that an ended process left behind is taken over. One that answers is not, nor anything that is no socket.
async fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    if std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
        match UnixStream::connect(path).await {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path)?,
            Ok(_) | Err(_) => return Err(io::ErrorKind::AddrInUse.into()),
        }
    }
    // Between the bind and the change of mode somebody could connect, so it is made in a folder of its own.
    let aside = path.with_extension(format!("{}.new", std::process::id()));
    std::fs::DirBuilder::new().mode(0o700).create(&aside)?;
    let listener = place_unix(&aside.join("s"), path);
    std::fs::remove_dir_all(&aside)?;
    listener
}

fn place_unix(aside: &Path, path: &Path) -> io::Result<UnixListener> {
    let listener = UnixListener::bind(aside)?;
    std::fs::set_permissions(aside, std::fs::Permissions::from_mode(0o600))?;
    // Unlike a rename, a link replaces nothing.
    std::fs::hard_link(aside, path)?;
    Ok(listener)
}

enum Accepted {
    Tcp { stream: TcpStream, at: SocketAddr, from: SocketAddr, tls: Option<Tls> },
    Unix(UnixStream),
}

impl Accepted {
    async fn converse(self, router: Router) {
        match self {
            Self::Tcp { stream, at, from, tls: None } => {
                converse(stream, Peer::Tcp { at, from, certificate: None }, router).await
            }
            Self::Tcp { stream, at, from, tls: Some(tls) } => {
                match tokio::time::timeout(HEADER_TIMEOUT, tls.accept(stream)).await {
                    Ok(Ok((stream, certificate))) => {
                        converse(stream, Peer::Tcp { at, from, certificate }, router).await
                    }
                    Ok(Err(error)) => tracing::debug!(%from, %error, "no TLS on the admin listener"),
                    Err(_) => tracing::debug!(%from, "a TLS handshake on the admin listener took too long"),
                }
            }
            Self::Unix(stream) => {
                let user = stream.peer_cred().ok().map(|credentials| credentials.uid());
                converse(stream, Peer::Unix { user }, router).await;
            }
        }
    }
}

async fn converse(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, peer: Peer, router: Router) {
    let answer = service_fn(move |mut request: http::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(peer.clone());
        router.clone().call(request)
    });
    let mut server = Builder::new(TokioExecutor::new());
    server.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).max_buf_size(HEAD);
    server
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING)
        .max_header_list_size(HEAD as u32)
        .max_concurrent_streams(64);
    // How a client breaks off, or breaks the rules, is its own affair.
    let _ = server.serve_connection(TokioIo::new(Begun::new(stream, HEADER_TIMEOUT)), answer).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_back() {
        for text in ["127.0.0.1:9900", "[::1]:9900", "unix:/run/sluice/admin.sock"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        for text in ["", "localhost:9900", "9900", "unix:"] {
            assert!(text.parse::<Address>().is_err(), "{text:?}");
        }
    }

    #[tokio::test]
    async fn a_socket_is_its_owner_s_and_one_left_behind_is_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        let address = Address::Unix(path.clone());
        let socket = Socket::bind(&address, None).await.unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(Socket::bind(&address, None).await.is_err(), "somebody answers there");
        let shared = socket.share().unwrap();
        socket.stays().unwrap().store(true, Ordering::Relaxed);
        drop(socket);
        let socket = Socket::adopt(&address, shared, None).unwrap();
        socket.stays().unwrap().store(false, Ordering::Relaxed);
        assert!(std::os::unix::net::UnixStream::connect(&path).is_ok(), "whoever goes on with it has the name, too");
        drop(socket);
        assert!(!path.exists());
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "left behind");
        drop(Socket::bind(&address, None).await.unwrap());
        std::fs::write(&path, "a file").unwrap();
        assert!(Socket::bind(&address, None).await.is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "a file", "what is no socket is left alone");
    }
}
