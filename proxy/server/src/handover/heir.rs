//! The new process's side.

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::time::Duration;

use super::passage::Passage;
use super::{ClaimError, Given, Inherited, Lot, PROTOCOL, Spare, Taken};

/// How long the old process may take to let go of what only one can hold.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long the old process may take to hear that this one serves. What follows does not depend on it.
const FAREWELL: Duration = Duration::from_secs(5);

/// A process that takes over, until it serves.
#[derive(Debug)]
pub(crate) struct Heir {
    passage: Passage,
    standard_error: Option<OwnedFd>,
}

/// Takes what the process of this number hands over.
pub(super) fn claim(said: String) -> Result<Inherited, ClaimError> {
    let parent = rustix::process::getppid().map(|parent| parent.as_raw_nonzero().to_string());
    if parent.as_ref() != Some(&said) {
        return Err(ClaimError::Stranger(said));
    }
    let passage = passage().map_err(ClaimError::Broken)?;
    take(passage).map_err(ClaimError::Broken)
}

/// The passage is the standard input, which is nothing for this process afterwards.
fn passage() -> io::Result<Passage> {
    let passage = io::stdin().as_fd().try_clone_to_owned()?;
    rustix::stdio::dup2_stdin(std::fs::File::open("/dev/null")?)?;
    Ok(passage.into())
}

fn take(passage: Passage) -> io::Result<Inherited> {
    passage.send(&Taken::Here { protocol: PROTOCOL }, &[])?;
    let mut inherited = Inherited::default();
    let mut standard_error = None;
    loop {
        let (message, sockets) = passage.receive(PATIENCE)?;
        match message {
            Given::Sockets { lots } if lots.len() == sockets.len() => {
                passage.send(&Taken::Took { sockets: sockets.len() }, &[])?;
                for (lot, socket) in lots.into_iter().zip(sockets) {
                    inherited.put(lot, socket, &mut standard_error);
                }
            }
            Given::Sockets { lots } => {
                let words = format!("{} sockets came for {} names", sockets.len(), lots.len());
                return Err(io::Error::new(io::ErrorKind::InvalidData, words));
            }
            Given::Yours => break,
            Given::Go => {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "it was told to go before it had anything"));
            }
        }
    }
    inherited.heir = Some(Heir { passage, standard_error });
    Ok(inherited)
}

impl Inherited {
    fn put(&mut self, lot: Lot, socket: OwnedFd, standard_error: &mut Option<OwnedFd>) {
        match lot {
            Lot::Listener { name, address, worker } => {
                let (name, socket) = (Some(name), TcpListener::from(socket));
                self.listeners.0.push(Spare { name, address, is_activated: false, worker, socket });
            }
            Lot::Status => self.status.push(TcpListener::from(socket)),
            Lot::Beside { name } => self.beside.push((name, socket)),
            Lot::Orders => self.orders = Some(UnixListener::from(socket)),
            Lot::StandardError => *standard_error = Some(socket),
            // The old process has it, too, and whoever waits there is its affair.
            Lot::Unknown => {}
        }
    }
}

impl Heir {
    /// Tells the old process that this one serves, and waits, a short while, until it accepts no more. Blocks.
    pub(crate) fn serve(self) {
        if let Some(standard_error) = &self.standard_error
            && let Err(error) = rustix::stdio::dup2_stderr(standard_error)
        {
            tracing::warn!(%error, "the log goes to the old process, and ends with it");
        }
        let told = self.passage.send(&Taken::Serving, &[]);
        let went = told.and_then(|()| self.passage.receive::<Given>(FAREWELL));
        if let Err(error) = went {
            tracing::warn!(%error, "the process that handed over was not heard of any more; this one serves");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    fn listening() -> (TcpListener, Lot) {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        (socket, Lot::Listener { name: "web".to_owned(), address, worker: 0 })
    }

    #[test]
    fn all_that_is_given_is_acknowledged_and_sorted() {
        let (old, new) = Passage::pair().unwrap();
        let heir = std::thread::spawn(move || take(new.into()));
        assert!(matches!(old.receive(SOON).unwrap().0, Taken::Here { protocol: PROTOCOL }));
        let ((web, web_lot), (status, _)) = (listening(), listening());
        let lots = vec![web_lot, Lot::Status, Lot::Beside { name: "api".to_owned() }, Lot::Unknown];
        old.send(&Given::Sockets { lots }, &[web.as_fd(), status.as_fd(), status.as_fd(), status.as_fd()]).unwrap();
        assert!(matches!(old.receive(SOON).unwrap().0, Taken::Took { sockets: 4 }));
        old.send(&Given::Yours, &[]).unwrap();
        let mut inherited = heir.join().unwrap().unwrap();
        assert_eq!(inherited.listeners.0.len(), 1);
        assert!(inherited.take_beside("api").is_some() && inherited.take_beside("api").is_none());
        let at = status.local_addr().unwrap();
        assert!(inherited.take_status("127.0.0.1:1".parse().unwrap()).is_none() && inherited.take_status(at).is_some());
        let heir = inherited.heir.unwrap();
        let serving = std::thread::spawn(move || heir.serve());
        assert!(matches!(old.receive(SOON).unwrap().0, Taken::Serving));
        old.send(&Given::Go, &[]).unwrap();
        serving.join().unwrap();
    }

    #[test]
    fn names_without_sockets_and_an_end_before_the_time_are_errors() {
        let (old, new) = Passage::pair().unwrap();
        let heir = std::thread::spawn(move || take(new.into()));
        old.send(&Given::Sockets { lots: vec![Lot::Status] }, &[]).unwrap();
        assert!(heir.join().unwrap().unwrap_err().to_string().contains("0 sockets came for 1 names"));
        let (old, new) = Passage::pair().unwrap();
        drop(old);
        assert!(take(new.into()).is_err());
    }

    #[test]
    fn a_process_that_nobody_hands_over_to_says_so() {
        assert!(matches!(claim("1x".to_owned()), Err(ClaimError::Stranger(said)) if said == "1x"));
    }
}
