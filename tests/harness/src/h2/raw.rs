//! HTTP/2 frames written by hand, for what a well-behaved library refuses to send.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::wait::DEADLINE;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Of DATA and HEADERS: nothing follows on the stream.
pub const END_STREAM: u8 = 0x1;
/// Of HEADERS and CONTINUATION: the block is whole.
pub const END_HEADERS: u8 = 0x4;
/// Of DATA and HEADERS: the first byte says how many of the last are padding.
pub const PADDED: u8 = 0x8;
/// Of HEADERS: the stream's place among others comes first.
pub const PRIORITISED: u8 = 0x20;
/// Of SETTINGS and PING: the answer to one.
pub const ACK: u8 = 0x1;

/// Types of frames.
pub mod kind {
    /// Content.
    pub const DATA: u8 = 0;
    /// A head or trailers.
    pub const HEADERS: u8 = 1;
    /// A stream's place among others.
    pub const PRIORITY: u8 = 2;
    /// The end of one stream.
    pub const RST_STREAM: u8 = 3;
    /// What the peer allows.
    pub const SETTINGS: u8 = 4;
    /// An answer that nobody asked for.
    pub const PUSH_PROMISE: u8 = 5;
    /// Is anybody there?
    pub const PING: u8 = 6;
    /// The end of the connection.
    pub const GOAWAY: u8 = 7;
    /// Room for more.
    pub const WINDOW_UPDATE: u8 = 8;
    /// More of a block.
    pub const CONTINUATION: u8 = 9;
}

/// A frame as it was on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// One of [`kind`] or another.
    pub kind: u8,
    /// As sent.
    pub flags: u8,
    /// 0 is the connection.
    pub stream: u32,
    /// As sent.
    pub payload: Vec<u8>,
}

/// What became of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A response with this status, when it is one that HPACK has an index for; otherwise 0.
    Answered(u16),
    /// RST_STREAM with this code.
    Reset(u32),
    /// GOAWAY with this code.
    GoAway(u32),
    /// The connection ended.
    Closed,
}

/// A connection after the preface.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
}

impl Client {
    /// Connects and sends the preface with empty settings.
    ///
    /// # Panics
    /// When there is no connection.
    #[must_use]
    pub fn connect(to: SocketAddr) -> Self {
        let mut client = Self::open(to);
        client.send_bytes(PREFACE);
        client.send(kind::SETTINGS, 0, 0, &[]);
        client
    }

    /// Connects and sends nothing.
    ///
    /// # Panics
    /// When there is no connection.
    #[must_use]
    pub fn open(to: SocketAddr) -> Self {
        let stream = TcpStream::connect(to).unwrap_or_else(|e| panic!("no connection to {to}: {e}"));
        stream.set_read_timeout(Some(DEADLINE)).expect("a duration above zero");
        stream.set_write_timeout(Some(DEADLINE)).expect("a duration above zero");
        stream.set_nodelay(true).expect("a connected socket takes this option");
        Self { stream }
    }

    /// Sends the preface with these settings, as they are on the wire.
    ///
    /// # Panics
    /// When the connection takes nothing.
    #[must_use]
    pub fn over(stream: TcpStream, settings: &[u8]) -> Self {
        let mut client = Self { stream };
        client.send_bytes(PREFACE);
        client.send(kind::SETTINGS, 0, 0, settings);
        client
    }

    /// How long a read may take.
    ///
    /// # Panics
    /// When the duration is zero.
    pub fn set_patience(&mut self, patience: std::time::Duration) {
        self.stream.set_read_timeout(Some(patience)).expect("a duration above zero");
    }

    /// Sends one frame. A connection that is gone is found out by reading.
    pub fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.send_bytes(&frame(kind, flags, stream, payload));
    }

    /// Sends bytes; whether they were taken.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Sends a head of these fields, each literally, and says that nothing follows unless `more`.
    pub fn send_head(&mut self, stream: u32, fields: &[(&str, &[u8])], more: bool) {
        self.send(kind::HEADERS, END_HEADERS | if more { 0 } else { END_STREAM }, stream, &block(fields));
    }

    /// Reads on until a frame passes, which is given back; nothing when the connection ends first.
    ///
    /// # Panics
    /// When none comes.
    pub fn until(&mut self, mut passes: impl FnMut(&Frame) -> bool) -> Option<Frame> {
        loop {
            let frame = self.frame()?;
            if passes(&frame) {
                return Some(frame);
            }
        }
    }

    /// The next frame; nothing at the end of the connection.
    ///
    /// # Panics
    /// When none comes.
    pub fn frame(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.fill(&mut head)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        self.fill(&mut payload)?;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff;
        let frame = Frame { kind: head[3], flags: head[4], stream, payload };
        if frame.kind == kind::SETTINGS && frame.flags & ACK == 0 {
            self.send(kind::SETTINGS, ACK, 0, &[]);
        }
        Some(frame)
    }

    /// Reads on until something has become of this stream.
    ///
    /// # Panics
    /// When nothing does.
    pub fn outcome(&mut self, stream: u32) -> Outcome {
        loop {
            let Some(frame) = self.frame() else { return Outcome::Closed };
            match frame.kind {
                kind::GOAWAY => return Outcome::GoAway(code(&frame.payload, 4)),
                kind::RST_STREAM if frame.stream == stream => return Outcome::Reset(code(&frame.payload, 0)),
                kind::HEADERS if frame.stream == stream => return Outcome::Answered(status(&frame.payload)),
                _ => {}
            }
        }
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Option<()> {
        match self.stream.read_exact(bytes) {
            Ok(()) => Some(()),
            Err(e) => {
                let waited = matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut);
                assert!(!waited, "no frame within {DEADLINE:?}");
                None
            }
        }
    }
}

impl Frame {
    /// The code of a RST_STREAM or GOAWAY.
    #[must_use]
    pub fn code(&self) -> Option<u32> {
        match self.kind {
            kind::RST_STREAM => Some(code(&self.payload, 0)),
            kind::GOAWAY => Some(code(&self.payload, 4)),
            _ => None,
        }
    }

    /// The status of a head, as [`Outcome::Answered`] has it.
    #[must_use]
    pub fn status(&self) -> u16 {
        status(&self.payload)
    }
}

/// One frame's bytes.
#[must_use]
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// A block of these fields, each literally.
#[must_use]
pub fn block(fields: &[(&str, &[u8])]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0x10);
        literal(name.as_bytes(), &mut block);
        literal(value, &mut block);
    }
    block
}

/// A string without Huffman coding.
fn literal(text: &[u8], block: &mut Vec<u8>) {
    if text.len() < 127 {
        block.push(text.len() as u8);
    } else {
        block.push(127);
        let mut rest = text.len() - 127;
        while rest >= 128 {
            block.push((rest % 128) as u8 | 128);
            rest /= 128;
        }
        block.push(rest as u8);
    }
    block.extend_from_slice(text);
}

fn code(payload: &[u8], at: usize) -> u32 {
    payload.get(at..at + 4).map_or(0, |b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]))
}

/// The status of a head that begins with an entry of HPACK's static table.
fn status(block: &[u8]) -> u16 {
    match block.first() {
        Some(0x88) => 200,
        Some(0x89) => 204,
        Some(0x8a) => 206,
        Some(0x8b) => 304,
        Some(0x8c) => 400,
        Some(0x8d) => 404,
        Some(0x8e) => 500,
        _ => 0,
    }
}
