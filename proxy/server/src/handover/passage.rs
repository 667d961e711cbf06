//! Messages between two processes, each with the sockets that belong to it.
//!
//! A packet is a message: what is not whole is not there. The kernel takes at most 253 descriptors in one, so a message has
//! at most [`MOST`], and each is acknowledged before the next, since what the other side could not take must not
//! be lost in silence.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Sockets in one message.
pub(super) const MOST: usize = 200;

/// The longest message: [`MOST`] names of the greatest length, and room.
const LONGEST: usize = 128 << 10;

/// One end.
#[derive(Debug)]
pub(super) struct Passage(OwnedFd);

impl From<OwnedFd> for Passage {
    fn from(end: OwnedFd) -> Self {
        Self(end)
    }
}

impl Passage {
    /// Both ends. The second is for another process.
    pub(super) fn pair() -> io::Result<(Self, OwnedFd)> {
        let (near, far) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((Self(near), far))
    }

    /// Sends a message with these sockets, at most [`MOST`]. Blocks while the other side does not read.
    pub(super) fn send(&self, message: &impl Serialize, sockets: &[BorrowedFd<'_>]) -> io::Result<()> {
        if sockets.len() > MOST {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "more sockets than one message takes"));
        }
        let bytes = serde_json::to_vec(message)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !sockets.is_empty() {
            // The room is that of the most.
            control.push(SendAncillaryMessage::ScmRights(sockets));
        }
        let sent =
            rustix::io::retry_on_intr(|| sendmsg(&self.0, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL))?;
        if sent == bytes.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }

    /// The next message, with its sockets. Blocks for at most so long.
    ///
    /// # Errors
    /// The other process has ended ([`io::ErrorKind::UnexpectedEof`]), is late ([`io::ErrorKind::TimedOut`]), or does not
    /// speak this language.
    pub(super) fn receive<M: DeserializeOwned>(&self, patience: Duration) -> io::Result<(M, Vec<OwnedFd>)> {
        set_socket_timeout(&self.0, Timeout::Recv, Some(patience.max(Duration::from_millis(1))))?;
        let mut bytes = vec![0; LONGEST];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = rustix::io::retry_on_intr(|| {
            recvmsg(&self.0, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)
        });
        let received = received.map_err(late)?;
        let sockets: Vec<OwnedFd> = control.drain().filter_map(rights).flatten().collect();
        if received.bytes == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the other process has ended"));
        }
        if received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a message came without a part of it"));
        }
        Ok((serde_json::from_slice(&bytes[..received.bytes])?, sockets))
    }
}

impl AsFd for Passage {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn rights(message: RecvAncillaryMessage<'_>) -> Option<Vec<OwnedFd>> {
    if let RecvAncillaryMessage::ScmRights(sockets) = message { Some(sockets.collect()) } else { None }
}

fn late(error: rustix::io::Errno) -> io::Error {
    if matches!(error, rustix::io::Errno::AGAIN) {
        return io::Error::new(io::ErrorKind::TimedOut, "the other process does not answer");
    }
    error.into()
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    #[test]
    fn sockets_arrive_in_their_order_and_go_on_accepting() {
        let (near, far) = Passage::pair().unwrap();
        let far = Passage::from(far);
        let sockets: Vec<TcpListener> = (0..MOST).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let borrowed: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
        near.send(&"these", &borrowed).unwrap();
        let (word, taken): (String, _) = far.receive(SOON).unwrap();
        assert_eq!((word.as_str(), taken.len()), ("these", MOST));
        for (given, taken) in sockets.iter().zip(taken) {
            let taken = TcpListener::from(taken);
            assert_eq!(taken.local_addr().unwrap(), given.local_addr().unwrap());
            let mut client = TcpStream::connect(given.local_addr().unwrap()).unwrap();
            client.write_all(b"x").unwrap();
            let mut byte = [0];
            taken.accept().unwrap().0.read_exact(&mut byte).unwrap();
        }
    }

    #[test]
    fn more_than_fit_are_refused_and_not_lost() {
        let (near, _far) = Passage::pair().unwrap();
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let error = near.send(&"these", &vec![socket.as_fd(); MOST + 1]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn an_end_that_is_gone_and_one_that_is_silent_are_told_apart() {
        let (near, far) = Passage::pair().unwrap();
        let kind = |passage: &Passage, patience| passage.receive::<String>(patience).unwrap_err().kind();
        assert_eq!(kind(&near, Duration::from_millis(1)), io::ErrorKind::TimedOut);
        drop(far);
        assert_eq!(kind(&near, SOON), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn another_language_is_refused() {
        let (near, far) = Passage::pair().unwrap();
        near.send(&7, &[]).unwrap();
        assert!(Passage::from(far).receive::<String>(SOON).is_err());
    }
}
