//! The two halves of a byte stream on one thread: a reader with a buffer that is given back while nothing waits in it,
//! and a writer that gathers small pieces into one system call.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use pingora_core::protocols::l4::ext::get_tcp_info;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::side::Gauge;

/// A stream that both halves share.
pub(crate) trait Io: AsyncRead + AsyncWrite + Unpin {
    /// Lets the close of the stream be a reset, so that its end cannot be taken for the end of a message.
    fn reset_on_close(&self) {}

    /// Bytes that the other end has acknowledged; nothing where that cannot be told. A stream around another tells that
    /// one's.
    fn taken(&self) -> Option<u64> {
        None
    }
}

impl Io for TcpStream {
    fn reset_on_close(&self) {
        // It fails for a stream that is broken already.
        let _ = self.set_zero_linger();
    }

    fn taken(&self) -> Option<u64> {
        get_tcp_info(self.as_raw_fd()).ok().map(|info| info.tcpi_bytes_acked)
    }
}

impl Io for pingora_core::protocols::Stream {}

/// Read on the stack first: most heads fit, and a waiting connection holds no buffer.
const STACK_READ: usize = 4096;
/// The largest single read into a buffer of its own.
const LARGE_READ: usize = 64 * 1024;
/// Pieces up to this size are copied behind what waits; larger ones are sent from where they are.
const GATHER: usize = 16 * 1024;
/// A writer gives a buffer larger than this back once it is empty.
const KEEP: usize = 4 * 1024;

/// Splits a stream in its two halves.
pub(crate) fn split<S: Io>(io: S) -> (Reader<S>, Writer<S>) {
    let io = Rc::new(RefCell::new(io));
    (
        Reader { io: Rc::clone(&io), buffer: BytesMut::new(), ended: false },
        Writer { io, waiting: Vec::new(), torn: false, sent: false, unflushed: false },
    )
}

/// The reading half.
#[derive(Debug)]
pub(crate) struct Reader<S> {
    io: Rc<RefCell<S>>,
    /// What was read and not yet taken.
    pub(crate) buffer: BytesMut,
    ended: bool,
}

impl<S: Io> Reader<S> {
    /// Reads once, behind what the buffer holds; 0 at the end of the stream. `hint` is how much is expected.
    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>, hint: usize) -> Poll<io::Result<usize>> {
        if self.ended {
            return Poll::Ready(Ok(0));
        }
        let read = if hint <= STACK_READ { self.poll_small(cx) } else { self.poll_large(cx, hint.min(LARGE_READ)) };
        let read = ready!(read);
        self.ended = matches!(read, Ok(0) | Err(_));
        Poll::Ready(read)
    }

    /// As [`Reader::poll_fill`].
    pub(crate) async fn fill(&mut self, hint: usize) -> io::Result<usize> {
        poll_fn(|cx| self.poll_fill(cx, hint)).await
    }

    /// Ready when the stream has ended or broken. What arrives is kept, up to `most` bytes; then it waits for the writer
    /// to find out.
    pub(crate) fn poll_gone(&mut self, cx: &mut Context<'_>, most: usize) -> Poll<()> {
        while self.buffer.len() < most {
            match ready!(self.poll_fill(cx, 0)) {
                Ok(0) | Err(_) => return Poll::Ready(()),
                Ok(_) => {}
            }
        }
        Poll::Pending
    }

    /// The stream itself and what was read of it, once the other half is gone.
    pub(crate) fn into_parts(self) -> Option<(S, BytesMut)> {
        Rc::into_inner(self.io).map(|io| (io.into_inner(), self.buffer))
    }

    /// Whether the stream has ended or broken.
    pub(crate) const fn ended(&self) -> bool {
        self.ended
    }

    /// Gives the buffer back when nothing waits in it.
    pub(crate) fn relax(&mut self) {
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
        }
    }

    fn poll_small(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut space = [const { MaybeUninit::uninit() }; STACK_READ];
        let mut read = ReadBuf::uninit(&mut space);
        ready!(Pin::new(&mut *self.io.borrow_mut()).poll_read(cx, &mut read))?;
        self.buffer.extend_from_slice(read.filled());
        Poll::Ready(Ok(read.filled().len()))
    }

    fn poll_large(&mut self, cx: &mut Context<'_>, size: usize) -> Poll<io::Result<usize>> {
        self.buffer.reserve(size);
        tokio_util::io::poll_read_buf(Pin::new(&mut *self.io.borrow_mut()), cx, &mut self.buffer)
    }
}

/// What the other end has taken of what was written.
#[derive(Debug)]
pub(crate) struct Outlet<S>(Rc<RefCell<S>>);

impl<S: Io> Gauge for Outlet<S> {
    fn taken(&self) -> u64 {
        self.0.borrow().taken().unwrap_or(0)
    }
}

/// The writing half.
#[derive(Debug)]
pub(crate) struct Writer<S> {
    io: Rc<RefCell<S>>,
    /// What waits to be sent.
    pub(crate) waiting: Vec<u8>,
    /// A write was given up half way: what has left is not known, so nothing may follow it.
    torn: bool,
    /// A byte has left since [`Writer::begin`].
    sent: bool,
    /// The stream may hold bytes back until it is flushed: TLS does.
    unflushed: bool,
}

impl<S: Io> Writer<S> {
    /// Begins another message, of which no byte has left.
    pub(crate) const fn begin(&mut self) {
        self.sent = false;
    }

    /// Whether a byte of it has left.
    pub(crate) const fn sent(&self) -> bool {
        self.sent
    }

    /// Sends this piece: copied behind what waits while that is small, otherwise sent now together with it.
    pub(crate) async fn send(&mut self, data: Bytes) -> io::Result<()> {
        if self.waiting.len() + data.len() <= GATHER {
            self.waiting.extend_from_slice(&data);
            return Ok(());
        }
        let sent = self.send_both(&data).await;
        self.relax();
        sent
    }

    /// Whether nothing waits.
    pub(crate) const fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Sends all that waits.
    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        if !self.waiting.is_empty() {
            let sent = self.send_both(&[]).await;
            self.relax();
            sent?;
        }
        if self.unflushed {
            poll_fn(|cx| Pin::new(&mut *self.io.borrow_mut()).poll_flush(cx)).await?;
            self.unflushed = false;
        }
        Ok(())
    }

    /// Where what is taken is told.
    pub(crate) fn outlet(&self) -> Outlet<S> {
        Outlet(Rc::clone(&self.io))
    }

    /// As [`Io::reset_on_close`].
    pub(crate) fn reset_on_close(&self) {
        self.io.borrow().reset_on_close();
    }

    /// Sends all that waits and says that no more comes.
    pub(crate) async fn shut(&mut self) -> io::Result<()> {
        self.flush().await?;
        poll_fn(|cx| Pin::new(&mut *self.io.borrow_mut()).poll_shutdown(cx)).await
    }

    /// A call that is dropped half way leaves the stream torn: it refuses all that would follow.
    async fn send_both(&mut self, data: &[u8]) -> io::Result<()> {
        if std::mem::replace(&mut self.torn, true) {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let (mut first, mut second) = (self.waiting.as_slice(), data);
        while !first.is_empty() || !second.is_empty() {
            let sent = poll_fn(|cx| poll_write(&self.io, cx, first, second)).await?;
            if sent == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            (self.sent, self.unflushed) = (true, true);
            let of_first = sent.min(first.len());
            first = &first[of_first..];
            second = &second[sent - of_first..];
        }
        self.torn = false;
        Ok(())
    }

    fn relax(&mut self) {
        self.waiting.clear();
        if self.waiting.capacity() > KEEP {
            self.waiting = Vec::new();
        }
    }
}

fn poll_write<S: Io>(io: &RefCell<S>, cx: &mut Context<'_>, first: &[u8], second: &[u8]) -> Poll<io::Result<usize>> {
    let mut io = io.borrow_mut();
    let io = Pin::new(&mut *io);
    match (first.is_empty(), second.is_empty()) {
        (_, true) => io.poll_write(cx, first),
        (true, false) => io.poll_write(cx, second),
        (false, false) => io.poll_write_vectored(cx, &[IoSlice::new(first), IoSlice::new(second)]),
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::Waker;

    use tokio::io::{AsyncReadExt, DuplexStream};

    use super::*;

    impl Io for DuplexStream {}

    /// A flush that was given up after some bytes had left must not begin again from the first: the client would take
    /// the second beginning for the rest of its body.
    #[tokio::test]
    async fn bytes_of_a_flush_that_was_given_up_are_not_sent_twice() {
        let (near, mut far) = tokio::io::duplex(8);
        let (reader, mut writer) = split(near);
        writer.waiting.extend_from_slice(b"0123456789abcdef");
        let mut cx = Context::from_waker(Waker::noop());
        assert!(pin!(writer.flush()).as_mut().poll(&mut cx).is_pending());
        let mut seen = [0; 8];
        far.read_exact(&mut seen).await.unwrap();
        assert!(writer.flush().await.is_err());
        drop((reader, writer));
        let mut rest = Vec::new();
        far.read_to_end(&mut rest).await.unwrap();
        assert_eq!((&seen, rest.as_slice()), (b"01234567", &b""[..]));
    }

    /// What the stream refuses whole has not left: even a request that must not be sent twice may be sent elsewhere.
    #[tokio::test]
    async fn a_message_of_which_no_byte_was_taken_is_not_sent() {
        let (near, mut far) = tokio::io::duplex(64);
        let (_reader, mut writer) = split(near);
        writer.waiting.extend_from_slice(b"first");
        writer.flush().await.unwrap();
        assert!(writer.sent());
        far.read_exact(&mut [0; 5]).await.unwrap();
        drop(far);
        writer.begin();
        writer.waiting.extend_from_slice(b"second");
        assert!(writer.flush().await.is_err());
        assert!(!writer.sent());
    }
}
