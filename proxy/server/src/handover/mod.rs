//! From one process to the next: sockets that listen live on, and only those.
//!
//! An upgrade starts the program once more. The old process gives the new one every socket that listens, with its name, and
//! goes on serving meanwhile; only when the new one says that it serves does the old one drain. Both hold the same
//! sockets of the kernel, not copies: no connection that waits in a queue is lost, whoever of the two closes first. What
//! is not handed over is what belongs to one process: connections stay where they are and end there.
//!
//! What two processes cannot hold at once, the store, the last known good and the admin listener, is let go of before the new
//! one is told that it may take it, and taken back if the new one fails. Requests never wait for any of it.
//!
//! The way between the two is an unnamed pair of sockets, one of which is the new process's standard input: nobody else
//! can speak on it, and it breaks when either process ends, however that happens. `successor` is the old one's side,
//! `heir` the new one's, `passage` the messages. `order` is how an operator asks for it, `activation` takes sockets that
//! a service manager has opened.

mod activation;
mod heir;
mod order;
mod passage;
mod program;
mod successor;

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

pub(crate) use heir::Heir;
pub(crate) use order::{Orders, Outcome};
pub use order::{UpgradeError, Upgraded, upgrade};
pub(crate) use successor::Estate;

use crate::listener::ListenerId;

/// In the environment of a process that takes over: the number of the one that hands over.
const VARIABLE: &str = "SLUICE_TAKE_OVER";

/// Of the messages between the two. Another number is another language.
const PROTOCOL: u32 = 1;

/// What a socket is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Lot {
    /// Clients.
    Listener {
        /// The listener's name.
        name: String,
        /// Where it is bound.
        address: SocketAddr,
        /// The worker that accepted on it.
        worker: usize,
    },
    /// Health and metrics.
    Status,
    /// What runs beside the proxy; the name is its own affair.
    Beside {
        /// Under which it is asked for.
        name: String,
    },
    /// Operators who ask for an upgrade.
    Orders,
    /// No socket: the standard error of the process, which the new one takes for its own once it serves.
    StandardError,
    /// A newer version's.
    #[serde(other)]
    Unknown,
}

/// A message of the old process.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
enum Given {
    /// With as many sockets as there are lots.
    Sockets { lots: Vec<Lot> },
    /// That was all, and nothing is held any more that only one process can hold.
    Yours,
    /// The old process serves no more.
    Go,
}

/// A message of the new process.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
enum Taken {
    /// It is there, and has taken nothing yet.
    Here { protocol: u32 },
    /// So many sockets have come with the last message.
    Took { sockets: usize },
    /// It serves its first revision on all of its listeners.
    Serving,
}

/// A socket of a listener, from before this process.
#[derive(Debug)]
pub(crate) struct Spare {
    name: Option<String>,
    address: SocketAddr,
    /// A service manager opened it: it knows listeners by their names only.
    is_activated: bool,
    worker: usize,
    socket: TcpListener,
}

/// What this process was given at its start. Nothing, as a rule.
#[derive(Debug, Default)]
pub struct Inherited {
    pub(crate) listeners: Spares,
    pub(crate) status: Vec<TcpListener>,
    pub(crate) orders: Option<UnixListener>,
    pub(crate) heir: Option<Heir>,
    beside: Vec<(String, OwnedFd)>,
}

/// Why what was given cannot be taken.
#[derive(Debug)]
pub enum ClaimError {
    /// The environment says that another process hands over, which has not started this one.
    Stranger(String),
    /// The process that hands over speaks another language, or has ended.
    Broken(io::Error),
    /// What the service manager gave is no socket that Sluice can accept on.
    Activation(io::Error),
}

impl fmt::Display for ClaimError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stranger(said) => write!(
                f,
                "the environment has {VARIABLE}={said}, and no such process has started this one; it is for `sluice \
                 upgrade` only: unset it"
            ),
            Self::Broken(error) => write!(f, "cannot take over from the process that hands over: {error}"),
            Self::Activation(error) => {
                write!(f, "cannot use the sockets that the service manager opened: {error}; give stream sockets of TCP")
            }
        }
    }
}

impl std::error::Error for ClaimError {}

impl Inherited {
    /// Takes what a process that hands over, or a service manager, has given. To be called once, before any thread is
    /// started. For an upgrade it waits until the old process has let go of its store.
    ///
    /// # Errors
    /// Something was to be given and cannot be taken.
    pub fn claim() -> Result<Self, ClaimError> {
        match std::env::var(VARIABLE) {
            Ok(said) => heir::claim(said),
            Err(_) => activation::claim().map_err(ClaimError::Activation),
        }
    }

    /// The socket that was handed over under this name by what runs beside the proxy.
    pub fn take_beside(&mut self, name: &str) -> Option<OwnedFd> {
        let at = self.beside.iter().position(|(known, _)| known == name)?;
        Some(self.beside.swap_remove(at).1)
    }

    /// A socket for health and metrics at this address.
    pub(crate) fn take_status(&mut self, address: SocketAddr) -> Option<TcpListener> {
        let at = self.status.iter().position(|socket| socket.local_addr().is_ok_and(|local| local == address))?;
        Some(self.status.swap_remove(at))
    }
}

/// Sockets of listeners that no listener has taken yet.
#[derive(Debug, Default)]
pub(crate) struct Spares(Vec<Spare>);

impl Spares {
    /// Whether there is one for this listener.
    pub(crate) fn fit(&self, id: &ListenerId) -> bool {
        self.0.iter().any(|spare| spare.fits(id))
    }

    /// All for this listener, in the order of the workers that had them.
    pub(crate) fn take(&mut self, id: &ListenerId) -> Vec<TcpListener> {
        let (mut taken, left): (Vec<_>, Vec<_>) = self.0.drain(..).partition(|spare| spare.fits(id));
        self.0 = left;
        taken.sort_by_key(|spare| spare.worker);
        taken.into_iter().map(|spare| spare.socket).collect()
    }

    /// Closes what no listener wanted, and tells of it. An old process that has them, too, serves what waits there.
    pub(crate) fn close(&mut self) {
        for spare in self.0.drain(..) {
            let name = spare.name.as_deref().unwrap_or_default();
            if spare.is_activated {
                tracing::warn!(name, address = %spare.address, "no listener has the name or the address of this socket; it is closed");
            } else if spare.worker == 0 {
                tracing::info!(listener = name, address = %spare.address, "this listener is no more; its last connections end where they are");
            }
        }
    }
}

impl Spare {
    /// The same address is the same listener, whatever its name is now. A service manager's socket may have the name
    /// alone, and another form of the address.
    fn fits(&self, id: &ListenerId) -> bool {
        let named = self.is_activated && self.name.as_deref() == Some(id.name.as_str());
        named || self.address == id.address
    }
}

/// What the process asks of whatever else runs in it and holds what a successor needs.
#[derive(Debug)]
pub enum Beside {
    /// Let go of it all, and answer with the sockets to hand over, each by a name of its own. Everything is let go of when
    /// the answer comes.
    Release(oneshot::Sender<Vec<(String, OwnedFd)>>),
    /// There is no successor after all: take it back.
    Resume,
    /// This process serves: what it was given is its own from now on.
    Serving,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spare(name: Option<&str>, is_activated: bool, worker: usize) -> Spare {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        Spare { name: name.map(str::to_owned), address, is_activated, worker, socket }
    }

    fn id(name: &str, address: SocketAddr) -> ListenerId {
        ListenerId { name: name.parse().unwrap(), address }
    }

    #[test]
    fn a_socket_goes_to_its_address_and_an_activated_one_to_its_name_too() {
        let elsewhere: SocketAddr = "127.0.0.1:1".parse().unwrap();
        let (handed, activated, unnamed) =
            (spare(Some("web"), false, 0), spare(Some("api"), true, 0), spare(None, true, 0));
        let (at, unnamed_at) = (handed.address, unnamed.address);
        let mut spares = Spares(vec![handed, activated, unnamed]);
        assert!(spares.fit(&id("renamed", at)) && !spares.fit(&id("web", elsewhere)), "it has moved");
        assert!(spares.fit(&id("api", elsewhere)) && spares.fit(&id("any", unnamed_at)));
        assert_eq!(spares.take(&id("api", elsewhere)).len(), 1);
        assert!(!spares.fit(&id("api", elsewhere)));
        assert_eq!(spares.0.len(), 2);
    }

    #[test]
    fn the_order_of_workers_is_kept() {
        let mut spares = Spares::default();
        let address = "127.0.0.1:1".parse().unwrap();
        for worker in [2, 0, 1] {
            spares.0.push(Spare { address, ..spare(Some("web"), false, worker) });
        }
        let order: Vec<SocketAddr> = [1, 2, 0].map(|at: usize| spares.0[at].socket.local_addr().unwrap()).into();
        let taken = spares.take(&id("web", address));
        assert_eq!(taken.iter().map(|socket| socket.local_addr().unwrap()).collect::<Vec<_>>(), order);
    }

    #[test]
    fn a_lot_of_a_newer_version_is_understood_as_unknown() {
        let lot: Lot = serde_json::from_str(r#"{"kind":"quic","name":"web"}"#).unwrap();
        assert_eq!(lot, Lot::Unknown);
        let listener = Lot::Listener { name: "web".to_owned(), address: "[::1]:80".parse().unwrap(), worker: 3 };
        let text = serde_json::to_string(&listener).unwrap();
        assert_eq!(serde_json::from_str::<Lot>(&text).unwrap(), listener);
    }
}
