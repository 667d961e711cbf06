//! The HTTP/1 codec. The first byte of an input chooses what the rest is: a request with its body, an answer, or a chunked
//! body. The second is the length of the pieces in which it arrives.

use bytes::BytesMut;

use crate::h1::{
    Asked, BodyReader, HeadLimits, Persistence, parse_request, parse_response, write_request, write_response,
};
use crate::message::{Fields, Frame, Framing, Known, RequestHead, ResponseHead};

const LIMITS: HeadLimits = HeadLimits { bytes: 16 * 1024, count: 64 };

pub(super) fn check(data: &[u8]) {
    let [kind, piece, raw @ ..] = data else { return };
    let piece = usize::from(*piece).max(1);
    match kind % 4 {
        0 => check_request(raw, piece),
        1 => check_answer(raw, piece, Asked { head: false, upgrade: false }),
        2 => check_answer(raw, piece, Asked { head: piece % 2 == 0, upgrade: true }),
        _ => check_body(Framing::Chunked, raw, piece),
    }
}

fn check_request(raw: &[u8], piece: usize) {
    let mut head = RequestHead::new();
    let Ok(Some(length)) = parse_request(raw, &LIMITS, &mut head) else { return };
    assert!(length <= raw.len() && length <= LIMITS.bytes + 2);
    assert!(head.target() == "*" || head.target().starts_with('/'));
    check_fields(&head.fields);
    check_body(head.framing, &raw[length..], piece);

    let write = |head: &RequestHead| {
        let mut out = Vec::new();
        let line = (&head.method, head.target(), head.authority());
        write_request(&mut out, line, &head.fields, head.framing, Persistence::Implied);
        out
    };
    let written = write(&head);
    let unlimited = HeadLimits { bytes: usize::MAX, count: usize::MAX };
    let mut again = RequestHead::new();
    if head.authority().is_empty() {
        return;
    }
    assert_eq!(parse_request(&written, &unlimited, &mut again), Ok(Some(written.len())));
    assert_eq!((again.method, again.target(), again.host()), (head.method, head.target(), head.host()));
    assert_eq!(again.framing, head.framing);
    assert_eq!(write(&again), written);
}

fn check_answer(raw: &[u8], piece: usize, asked: Asked) {
    let mut head = ResponseHead::new();
    let Ok(Some(length)) = parse_response(raw, &LIMITS, asked, &mut head) else { return };
    assert!(length <= raw.len() && length <= LIMITS.bytes);
    assert!((100..1000).contains(&head.status));
    check_fields(&head.fields);
    check_body(head.framing, &raw[length..], piece);

    let mut written = Vec::new();
    write_response(&mut written, head.status, &head.fields, head.framing, Persistence::Upgrade);
    let unlimited = HeadLimits { bytes: usize::MAX, count: usize::MAX };
    let mut again = ResponseHead::new();
    assert_eq!(parse_response(&written, &unlimited, asked, &mut again), Ok(Some(written.len())));
    assert_eq!((again.status, again.framing), (head.status, head.framing));
}

fn check_fields(fields: &Fields) {
    assert_eq!(fields.iter().count(), fields.len());
    for (name, value, known) in fields {
        assert!(!name.is_empty() && name.iter().all(u8::is_ascii_graphic) && !name.contains(&b':'));
        assert!(value.iter().all(|b| *b == b'\t' || (*b >= 0x20 && *b != 0x7f)));
        assert_eq!(known, Known::of(name));
    }
}

/// Whole or in pieces, a body says the same.
fn check_body(framing: Framing, raw: &[u8], piece: usize) {
    assert_eq!(read(framing, raw, usize::MAX), read(framing, raw, piece));
}

#[derive(Debug, PartialEq, Eq)]
struct Body {
    data: Vec<u8>,
    trailers: Vec<(Vec<u8>, Vec<u8>)>,
    /// How it ended: with so many bytes left, broken, or not.
    end: Result<Option<usize>, &'static str>,
}

fn read(framing: Framing, raw: &[u8], piece: usize) -> Body {
    let mut reader = BodyReader::new(framing);
    let (mut buf, mut rest) = (BytesMut::new(), raw);
    let mut body = Body { data: Vec::new(), trailers: Vec::new(), end: Ok(None) };
    loop {
        match reader.decode(&mut buf) {
            Ok(Some(Frame::Data(data))) => {
                assert!(!data.is_empty());
                body.data.extend_from_slice(&data);
                continue;
            }
            Ok(Some(Frame::Trailers(fields))) => {
                check_fields(&fields);
                body.trailers = fields.iter().map(|(name, value, _)| (name.to_vec(), value.to_vec())).collect();
                body.end = Ok(Some(buf.len() + rest.len()));
            }
            Ok(Some(Frame::End)) => body.end = Ok(Some(buf.len() + rest.len())),
            Err(bad) => body.end = Err(bad.0),
            Ok(None) if !rest.is_empty() => {
                let (now, later) = rest.split_at(piece.min(rest.len()));
                buf.extend_from_slice(now);
                rest = later;
                continue;
            }
            Ok(None) => assert!(!reader.is_done()),
        }
        return body;
    }
}
