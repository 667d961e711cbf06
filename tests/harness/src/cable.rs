//! A cable between a client and a server: it counts the bytes that pass, and it can be cut.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// A cable to one server. Dropping it cuts it for good.
#[derive(Debug)]
pub struct Cable {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    to: SocketAddr,
    whole: AtomicBool,
    ended: AtomicBool,
    received: AtomicU64,
    sent: AtomicU64,
    streams: Mutex<Vec<TcpStream>>,
}

impl Cable {
    /// A cable to this server.
    ///
    /// # Panics
    /// When the system refuses a port or a thread.
    #[must_use]
    pub fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared {
            to: server,
            whole: AtomicBool::new(true),
            ended: AtomicBool::new(false),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            streams: Mutex::default(),
        });
        let theirs = Arc::clone(&shared);
        let serve = move || theirs.serve(&listener);
        let thread = std::thread::Builder::new().name("cable".to_owned()).spawn(serve).expect("a thread for a cable");
        Self { address, shared, thread: Some(thread) }
    }

    /// Where clients connect.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Bytes from the server so far.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.shared.received.load(Ordering::Relaxed)
    }

    /// Bytes from clients so far.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::Relaxed)
    }

    /// Cuts it: every connection ends, and new ones come to nothing.
    pub fn cut(&self) {
        self.shared.whole.store(false, Ordering::SeqCst);
        self.shared.hang_up();
    }

    /// Makes it whole again.
    pub fn mend(&self) {
        self.shared.whole.store(true, Ordering::SeqCst);
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        self.shared.hang_up();
        // Wakes the thread that accepts.
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

impl Shared {
    fn serve(self: &Arc<Self>, listener: &TcpListener) {
        while let Ok((client, _)) = listener.accept() {
            if self.ended.load(Ordering::SeqCst) {
                return;
            }
            if self.whole.load(Ordering::SeqCst) {
                self.connect(client);
            }
        }
    }

    /// Joins a client to the server. A server that is not there is a connection that ends at once.
    fn connect(self: &Arc<Self>, client: TcpStream) {
        let Ok(server) = TcpStream::connect(self.to) else { return };
        let pair = || Some((client.try_clone().ok()?, server.try_clone().ok()?));
        let (Some((client_again, server_again)), Some((one, other))) = (pair(), pair()) else { return };
        self.streams.lock().unwrap_or_else(PoisonError::into_inner).extend([one, other]);
        let (up, down) = (Arc::clone(self), Arc::clone(self));
        std::thread::spawn(move || pass(client, server, &up.sent));
        std::thread::spawn(move || pass(server_again, client_again, &down.received));
        if !self.whole.load(Ordering::SeqCst) {
            self.hang_up();
        }
    }

    fn hang_up(&self) {
        for stream in self.streams.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            drop(stream.shutdown(Shutdown::Both));
        }
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, counter: &AtomicU64) {
    let mut piece = vec![0; 64 * 1024];
    loop {
        match from.read(&mut piece) {
            Ok(count) if count > 0 && to.write_all(&piece[..count]).is_ok() => {
                counter.fetch_add(count as u64, Ordering::Relaxed);
            }
            _ => break,
        }
    }
    drop(to.shutdown(Shutdown::Write));
    drop(from.shutdown(Shutdown::Read));
}
