//! The codec from outside: what it refuses, what it reads, and that it reads what it writes.

mod answers;
mod bodies;
mod requests;
mod round_trip;

use bytes::BytesMut;

use super::*;
use crate::message::{Fields, Frame, Framing, RequestHead};

const LIMITS: HeadLimits = HeadLimits { bytes: 32 * 1024, count: 100 };

/// What became of a request with its body.
#[derive(Debug, PartialEq)]
enum Outcome {
    Refused(u16, &'static str),
    Incomplete,
    /// The body's bytes, its trailers in canonical form, and what is left behind it.
    Read(Vec<u8>, String, usize),
}

fn read_request(raw: &[u8]) -> (RequestHead, Outcome) {
    let mut head = RequestHead::new();
    let outcome = match parse_request(raw, &LIMITS, &mut head) {
        Err(refused) => Outcome::Refused(refused.status, refused.reason),
        Ok(None) => Outcome::Incomplete,
        Ok(Some(length)) => read_body(BodyReader::new(head.framing), &raw[length..]),
    };
    (head, outcome)
}

fn read_body(mut reader: BodyReader, raw: &[u8]) -> Outcome {
    let mut buf = BytesMut::from(raw);
    let mut body = Vec::new();
    loop {
        match reader.decode(&mut buf) {
            Err(BadBody(reason)) => return Outcome::Refused(400, reason),
            Ok(None) => return Outcome::Incomplete,
            Ok(Some(Frame::Data(data))) => body.extend_from_slice(&data),
            Ok(Some(Frame::Trailers(fields))) => return Outcome::Read(body, text(&fields), buf.len()),
            Ok(Some(Frame::End)) => return Outcome::Read(body, String::new(), buf.len()),
        }
    }
}

fn text(fields: &Fields) -> String {
    let mut out = Vec::new();
    fields.write(&mut out, |_| true);
    String::from_utf8(out).unwrap()
}

fn chunked(body: &str) -> Outcome {
    read_body(BodyReader::new(Framing::Chunked), body.as_bytes())
}
