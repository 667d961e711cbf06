//! A stream whose frames are counted on their way, beneath the `h2` crate, which has no hook for it. What comes is
//! counted before the crate sees it, so of a flood nothing is handed on.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use sluice_proxy_core::flood::{Cut, Floods, Kind};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::frames::{Frames, Piece};
use crate::socket::Io;

/// What stands before a client's first frame.
const PREFACE: usize = 24;
/// How much is read after we have said that no more comes: closing with unread bytes would reset the connection and
/// could take our last frames with it.
const LAST_BYTES: usize = 1024 * 1024;

/// What is known of one connection's frames. Shared by its stream, its task and its streams.
#[derive(Debug)]
pub(super) struct Watch {
    floods: RefCell<Floods>,
    cut: Cell<Option<Cut>>,
    goodbye: RefCell<Goodbye>,
    /// We have said that no more comes.
    shut: Cell<bool>,
    /// The reason was taken.
    told: Cell<bool>,
}

/// The last GOAWAY that we sent.
#[derive(Debug, Default)]
struct Goodbye {
    open: bool,
    payload: Vec<u8>,
}

impl Watch {
    pub(super) fn new(streams: u32) -> Rc<Self> {
        Rc::new(Self {
            floods: RefCell::new(Floods::new(streams, Instant::now())),
            cut: Cell::new(None),
            goodbye: RefCell::default(),
            shut: Cell::new(false),
            told: Cell::new(false),
        })
    }

    /// Why the connection is to be cut.
    pub(super) const fn cut(&self) -> Option<Cut> {
        self.cut.get()
    }

    /// Whether we have said that no more comes.
    pub(super) const fn is_shut(&self) -> bool {
        self.shut.get()
    }

    /// A DATA frame is about to be small because the client's window allows no more.
    pub(super) fn crumb(&self) {
        if let Err(cut) = self.floods.borrow_mut().crumb(Instant::now()) {
            self.cut.set(Some(cut));
        }
    }

    /// Why the connection was cut, as a stable name: by us, or by the `h2` crate for what it counts itself, or for a
    /// breach of the protocol. Nothing when it ended well, or the reason was taken already.
    pub(super) fn take_reason(&self) -> Option<&'static str> {
        if self.told.get() {
            return None;
        }
        let reason = self.cut().map(Cut::as_str).or_else(|| name(&self.goodbye.borrow().payload));
        self.told.set(reason.is_some());
        reason
    }

    fn received(&self, frames: &mut Frames, bytes: &[u8]) {
        let (now, mut floods) = (Instant::now(), self.floods.borrow_mut());
        frames.read(bytes, |piece| {
            if let Piece::Head(frame) = piece
                && let Err(cut) = floods.step(frame, now)
            {
                self.cut.set(Some(cut));
            }
        });
    }

    fn sent(&self, frames: &mut Frames, bytes: &[u8]) {
        let (mut floods, mut goodbye) = (self.floods.borrow_mut(), self.goodbye.borrow_mut());
        frames.read(bytes, |piece| match piece {
            Piece::Head(frame) => {
                goodbye.open = frame.kind == Kind::GoAway;
                if goodbye.open {
                    goodbye.payload.clear();
                }
                floods.sent(frame);
            }
            Piece::Payload(bytes) if goodbye.open => goodbye.payload.extend_from_slice(bytes),
            Piece::Payload(_) => {}
        });
    }
}

/// What a GOAWAY of ours says, by its code and what the `h2` crate adds to it.
fn name(goodbye: &[u8]) -> Option<&'static str> {
    let code = u32::from_be_bytes(*goodbye.get(4..)?.first_chunk()?);
    match (code, &goodbye[8..]) {
        (0, _) => None,
        (_, b"too_many_resets") => Some(Cut::Reset.as_str()),
        (_, b"too_many_continuations") => Some(Cut::Continuation.as_str()),
        (_, b"too_many_internal_resets") => Some("stream_errors"),
        (_, b"too_many_data_frames") => Some("data"),
        (_, b"header_list_way_too_large") => Some("header_list"),
        (1, _) => Some("protocol_error"),
        (3, _) => Some("flow_control_error"),
        (6, _) => Some("frame_size_error"),
        (9, _) => Some("compression_error"),
        _ => Some("other"),
    }
}

/// A counted stream.
#[derive(Debug)]
pub(super) struct Watched<S> {
    io: S,
    watch: Rc<Watch>,
    received: Frames,
    sent: Frames,
    last_bytes: usize,
}

impl<S: Io> Watched<S> {
    pub(super) fn new(io: S, watch: &Rc<Watch>) -> Self {
        Self {
            io,
            watch: Rc::clone(watch),
            received: Frames::after(PREFACE),
            sent: Frames::after(0),
            last_bytes: LAST_BYTES,
        }
    }

    /// Reads on until the client has ended its side, too.
    fn poll_last(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut space = [0; 4096];
        while self.last_bytes > 0 {
            let mut bytes = ReadBuf::new(&mut space);
            let read = ready!(Pin::new(&mut self.io).poll_read(cx, &mut bytes));
            if read.is_err() || bytes.filled().is_empty() {
                break;
            }
            self.last_bytes = self.last_bytes.saturating_sub(bytes.filled().len());
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: Io> AsyncRead for Watched<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = into.filled().len();
        ready!(Pin::new(&mut this.io).poll_read(cx, into))?;
        this.watch.received(&mut this.received, &into.filled()[before..]);
        if this.watch.cut().is_none() {
            return Poll::Ready(Ok(()));
        }
        // The connection's task looks at the watch when this returns; it reads no more.
        into.set_filled(before);
        Poll::Pending
    }
}

impl<S: Io> AsyncWrite for Watched<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let sent = ready!(Pin::new(&mut this.io).poll_write(cx, data))?;
        this.watch.sent(&mut this.sent, &data[..sent.min(data.len())]);
        Poll::Ready(Ok(sent))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.watch.is_shut() {
            ready!(Pin::new(&mut this.io).poll_shutdown(cx))?;
            this.watch.shut.set(true);
        }
        this.poll_last(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let sent = ready!(Pin::new(&mut this.io).poll_write_vectored(cx, data))?;
        let mut left = sent;
        for piece in data {
            let (part, _) = piece.split_at(left.min(piece.len()));
            this.watch.sent(&mut this.sent, part);
            left -= part.len();
        }
        Poll::Ready(Ok(sent))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn goodbye(code: u32, more: &[u8]) -> Vec<u8> {
        [&[0, 0, 0, 1][..], &code.to_be_bytes(), more].concat()
    }

    #[test]
    fn a_goodbye_is_named_by_what_it_says() {
        for (code, more, expected) in [
            (0, &b""[..], None),
            (1, b"", Some("protocol_error")),
            (9, b"", Some("compression_error")),
            (11, b"too_many_resets", Some("rst_stream")),
            (11, b"too_many_data_frames", Some("data")),
            (11, b"something new", Some("other")),
        ] {
            assert_eq!(name(&goodbye(code, more)), expected, "{code} {more:?}");
        }
        assert_eq!(name(b""), None);
        assert_eq!(name(&[0; 7]), None);
    }

    /// A GOAWAY is read from what was written, however it was written.
    #[test]
    fn a_goodbye_is_found_among_frames() {
        let watch = Watch::new(100);
        let mut frames = Frames::after(0);
        let payload = goodbye(11, b"too_many_internal_resets");
        let mut bytes = vec![0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 11, 0, 0, payload.len() as u8, 7, 0, 0, 0, 0, 0];
        bytes.extend_from_slice(&payload);
        bytes.iter().for_each(|byte| watch.sent(&mut frames, &[*byte]));
        assert_eq!((watch.take_reason(), watch.take_reason()), (Some("stream_errors"), None));
    }
}
