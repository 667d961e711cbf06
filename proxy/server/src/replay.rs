//! A request's body, kept as it is taken from the client so that another attempt can have it from the beginning.
//!
//! It is copied, not shared: a kept piece of a read buffer would hold the whole buffer, and a client that sends a byte at
//! a time would make a small body hold thousands of them. What is kept is at most the service's limit; a body that
//! grows beyond it is let go at once, as is any body when its answer is passed on.

use std::cell::RefCell;

use bytes::Bytes;
use sluice_proxy_core::outcome::Ending;
use sluice_proxy_core::retry;

use crate::message::{Fields, Frame, Framing};
use crate::side::Source;

/// What is kept of one request's body; nothing costs nothing.
#[derive(Debug, Default)]
pub(crate) struct Kept(RefCell<Option<Box<Body>>>);

#[derive(Debug)]
struct Body {
    data: Vec<u8>,
    end: Option<End>,
    most: usize,
    due: Due,
}

#[derive(Debug)]
enum End {
    Plain,
    Trailers(Fields),
}

/// What the attempt that runs gets from here before it gets anything from the client.
#[derive(Debug, Clone, Copy)]
enum Due {
    Data,
    End,
    Nothing,
}

impl Kept {
    /// From now on a body in this framing is kept, unless it is known to be longer than `most` bytes.
    pub(crate) fn begin(&self, framing: Framing, most: u32) {
        let is_short = match framing {
            Framing::None => false,
            Framing::Length(length) => length > 0 && length <= u64::from(most),
            Framing::Chunked | Framing::UntilClose => true,
        };
        if most > 0 && is_short {
            let body = Body { data: Vec::new(), end: None, most: most as usize, due: Due::Nothing };
            self.0.replace(Some(Box::new(body)));
        }
    }

    /// Another attempt begins.
    pub(crate) fn rewind(&self) {
        if let Some(body) = &mut *self.0.borrow_mut() {
            body.due = if body.data.is_empty() { body.due_end() } else { Due::Data };
        }
    }

    /// There will be no other attempt.
    pub(crate) fn release(&self) {
        self.0.replace(None);
    }

    /// What there is of the body: `taken`, if any of it was taken from the client, be it its end.
    pub(crate) fn state(&self, framing: Framing, taken: bool) -> retry::Body {
        match (framing.is_empty(), taken, self.0.borrow().is_some()) {
            (true, ..) => retry::Body::None,
            (false, false, _) => retry::Body::Whole,
            (false, true, true) => retry::Body::Kept,
            (false, true, false) => retry::Body::Consumed,
        }
    }

    fn next(&self) -> Option<Frame> {
        let mut kept = self.0.borrow_mut();
        let body = kept.as_mut()?;
        match body.due {
            Due::Data => {
                body.due = body.due_end();
                Some(Frame::Data(Bytes::copy_from_slice(&body.data)))
            }
            Due::End => {
                body.due = Due::Nothing;
                Some(match body.end.as_ref()? {
                    End::Plain => Frame::End,
                    End::Trailers(trailers) => Frame::Trailers(trailers.clone()),
                })
            }
            Due::Nothing => None,
        }
    }

    fn keep(&self, frame: &Frame) {
        let mut kept = self.0.borrow_mut();
        let Some(body) = kept.as_mut() else { return };
        match frame {
            Frame::Data(data) if data.len() > body.most - body.data.len() => *kept = None,
            Frame::Data(data) => body.data.extend_from_slice(data),
            Frame::Trailers(trailers) => body.end = Some(End::Trailers(trailers.clone())),
            Frame::End => body.end = Some(End::Plain),
        }
    }
}

impl Body {
    const fn due_end(&self) -> Due {
        if self.end.is_some() { Due::End } else { Due::Nothing }
    }
}

/// The client's body, and before it what earlier attempts took of it.
#[derive(Debug)]
pub(crate) struct Replay<'a, S> {
    pub(crate) source: &'a mut S,
    pub(crate) kept: &'a Kept,
}

impl<S: Source> Source for Replay<'_, S> {
    async fn frame(&mut self) -> Result<Frame, Ending> {
        if let Some(frame) = self.kept.next() {
            return Ok(frame);
        }
        let frame = self.source.frame().await?;
        self.kept.keep(&frame);
        Ok(frame)
    }

    async fn gone(&mut self) -> Ending {
        self.source.gone().await
    }

    fn switch_to_raw(&mut self) {
        self.source.switch_to_raw();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    /// A client that has sent these frames, and no others yet.
    struct Sent(VecDeque<Frame>);

    impl Source for Sent {
        async fn frame(&mut self) -> Result<Frame, Ending> {
            self.0.pop_front().ok_or(Ending::ClientGone)
        }
        async fn gone(&mut self) -> Ending {
            Ending::ClientGone
        }
        fn switch_to_raw(&mut self) {}
    }

    /// One attempt that takes so many frames: the data it got, and whether it got the end.
    fn take(kept: &Kept, source: &mut Sent, frames: usize) -> (Vec<u8>, bool) {
        kept.rewind();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut replay = Replay { source, kept };
        let mut got = Vec::new();
        for _ in 0..frames {
            match runtime.block_on(replay.frame()) {
                Ok(Frame::Data(data)) => got.extend_from_slice(&data),
                Ok(Frame::End | Frame::Trailers(_)) => return (got, true),
                Err(_) => break,
            }
        }
        (got, false)
    }

    fn sent(pieces: &[Vec<u8>]) -> Sent {
        let data = pieces.iter().map(|piece| Frame::Data(piece.clone().into()));
        Sent(data.chain([Frame::End]).collect())
    }

    proptest! {
        /// However far earlier attempts came, the last one gets the whole body if it is within the limit; beyond it the
        /// body is known to be consumed.
        #[test]
        fn each_attempt_gets_the_body_from_its_beginning(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..50), 0..10),
            earlier in prop::collection::vec(0_usize..12, 0..4),
            most in 1_u32..300,
        ) {
            let (kept, mut source, whole) = (Kept::default(), sent(&pieces), pieces.concat());
            kept.begin(Framing::Chunked, most);
            for frames in earlier {
                let (got, _) = take(&kept, &mut source, frames);
                if kept.state(Framing::Chunked, true) == retry::Body::Consumed {
                    prop_assert!(whole.len() > most as usize);
                    return Ok(());
                }
                prop_assert!(got.len() <= most as usize && whole.starts_with(&got));
            }
            prop_assert_eq!(take(&kept, &mut source, usize::MAX), (whole, true));
        }
    }

    #[test]
    fn the_limit_is_exact_and_a_longer_body_is_let_go() {
        for (length, state) in [(64, retry::Body::Kept), (65, retry::Body::Consumed)] {
            let (kept, mut source) = (Kept::default(), sent(&[vec![1; 60], vec![2; length - 60]]));
            kept.begin(Framing::Chunked, 64);
            take(&kept, &mut source, usize::MAX);
            assert_eq!(kept.state(Framing::Chunked, true), state, "{length}");
        }
    }

    #[test]
    fn nothing_is_kept_that_cannot_be_sent_again() {
        for (framing, most) in
            [(Framing::None, 64), (Framing::Length(0), 64), (Framing::Length(65), 64), (Framing::Chunked, 0)]
        {
            let kept = Kept::default();
            kept.begin(framing, most);
            assert!(kept.0.borrow().is_none(), "{framing:?}");
        }
        let kept = Kept::default();
        kept.begin(Framing::Length(64), 64);
        assert_eq!(kept.state(Framing::Length(64), false), retry::Body::Whole);
        kept.release();
        assert_eq!(kept.state(Framing::Length(64), true), retry::Body::Consumed);
    }
}
