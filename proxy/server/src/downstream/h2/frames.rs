//! The heads of frames in a stream of bytes, however it falls into pieces. Payloads are passed over, so reading costs by
//! frames and not by bytes.

use sluice_proxy_core::flood::{Frame, Kind};

/// What every frame begins with.
const HEAD: usize = 9;

/// A piece of what was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    Head(Frame),
    /// Of the frame whose head came last. Not empty.
    Payload(&'a [u8]),
}

/// Reads heads.
#[derive(Debug)]
pub(super) struct Frames {
    head: [u8; HEAD],
    have: usize,
    /// Of the payload, or of what stands before the first frame.
    left: usize,
    before: bool,
}

impl Frames {
    /// Frames that begin after this many bytes.
    pub(super) const fn after(bytes: usize) -> Self {
        Self { head: [0; HEAD], have: 0, left: bytes, before: bytes > 0 }
    }

    /// Takes the next bytes.
    pub(super) fn read(&mut self, mut bytes: &[u8], mut each: impl FnMut(Piece<'_>)) {
        while !bytes.is_empty() {
            if self.left > 0 {
                let (payload, rest) = bytes.split_at(self.left.min(bytes.len()));
                self.left -= payload.len();
                if !self.before {
                    each(Piece::Payload(payload));
                }
                self.before &= self.left > 0;
                bytes = rest;
                continue;
            }
            let (part, rest) = bytes.split_at((HEAD - self.have).min(bytes.len()));
            self.head[self.have..self.have + part.len()].copy_from_slice(part);
            self.have += part.len();
            bytes = rest;
            if self.have == HEAD {
                self.have = 0;
                let frame = parse(&self.head);
                self.left = frame.length as usize;
                each(Piece::Head(frame));
            }
        }
    }
}

const fn parse(head: &[u8; HEAD]) -> Frame {
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    Frame { kind: Kind::of(head[3]), flags: head[4], length }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wire(frames: &[(u8, u8, Vec<u8>)]) -> Vec<u8> {
        let mut bytes = b"before".to_vec();
        for (kind, flags, payload) in frames {
            bytes.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
            bytes.extend_from_slice(&[*kind, *flags, 0x80, 0, 0, 1]);
            bytes.extend_from_slice(payload);
        }
        bytes
    }

    proptest! {
        /// The same frames and payloads, however they fall into pieces.
        #[test]
        fn pieces_change_nothing(
            frames in prop::collection::vec((any::<u8>(), any::<u8>(), prop::collection::vec(any::<u8>(), 0..40)), 0..20),
            cuts in prop::collection::vec(1_usize..30, 1..200),
        ) {
            let bytes = wire(&frames);
            let (mut reader, mut seen) = (Frames::after(6), Vec::<(Frame, Vec<u8>)>::new());
            let (mut rest, mut cuts) = (bytes.as_slice(), cuts.into_iter().cycle());
            while !rest.is_empty() {
                let (piece, behind) = rest.split_at(cuts.next().unwrap_or(1).min(rest.len()));
                reader.read(piece, |piece| match piece {
                    Piece::Head(frame) => seen.push((frame, Vec::new())),
                    Piece::Payload(bytes) => seen.last_mut().unwrap().1.extend_from_slice(bytes),
                });
                rest = behind;
            }
            let expected: Vec<_> = frames
                .into_iter()
                .map(|(kind, flags, payload)| {
                    (Frame { kind: Kind::of(kind), flags, length: payload.len() as u32 }, payload)
                })
                .collect();
            prop_assert_eq!(seen, expected);
        }
    }
}
