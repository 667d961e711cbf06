use proptest::prelude::*;

use super::*;
use crate::message::{Known, Method, ResponseHead};

type Pair = (Vec<u8>, Vec<u8>);

/// What is meant by a request, whatever bytes it came in.
fn meaning(head: &RequestHead) -> (String, String, String, Vec<Pair>, Framing) {
    let ours = [Known::Host, Known::Connection, Known::ContentLength, Known::TransferEncoding];
    let fields = head.fields.iter().filter(|(_, _, known)| !ours.contains(known));
    (
        head.method.as_str().to_owned(),
        head.target().to_owned(),
        head.authority().to_owned(),
        fields.map(|(name, value, _)| (name.to_vec(), value.to_vec())).collect(),
        head.framing,
    )
}

fn rewritten(head: &RequestHead) -> Vec<u8> {
    let mut out = Vec::new();
    let line = (&head.method, head.target(), head.authority());
    write_request(&mut out, line, &head.fields, head.framing, Persistence::Implied);
    out
}

/// Pieces that make requests, good and bad ones.
fn almost_request() -> impl Strategy<Value = Vec<u8>> {
    let start = prop::sample::select(vec![
        "GET / HTTP/1.1\r\n",
        "POST /a?b HTTP/1.1\r\n",
        "\r\nPUT /%41 HTTP/1.1\r\n",
        "OPTIONS * HTTP/1.1\r\n",
        "PURGE http://a/x HTTP/1.1\r\n",
        "GET / HTTP/1.0\r\n",
        "HEAD http://a HTTP/1.1\r\n",
        "GET /\r\n",
        "get / HTTP/1.1\r\n",
        "GET  / HTTP/1.1\r\n",
    ]);
    let field = prop::sample::select(vec![
        "Host: a\r\n",
        "Host: a:80\r\n",
        "HOST:a\r\n",
        "Content-Length: 5\r\n",
        "Content-Length: 0\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Connection: close, x-y\r\n",
        "X-Y:\t 1 \t\r\n",
        "x-y: 2\r\n",
        "x-empty:\r\n",
        "x-tab: a\tb\r\n",
        "X : y\r\n",
        " fold\r\n",
        "X: a\n",
        "Upgrade: websocket\r\n",
        "TE: trailers\r\n",
        "Cookie: a=b\r\n",
        "Expect: 100-continue\r\n",
        "\u{e9}: x\r\n",
        "x: \u{e9}\r\n",
    ]);
    let tail = prop::sample::select(vec![
        "\r\n",
        "\r\nhello",
        "\r\n5\r\nhello\r\n0\r\n\r\n",
        "\r\n5;a=b\r\nhello\r\n0\r\nx-t: 1\r\n\r\n",
        "",
        "\n",
    ]);
    (start, prop::collection::vec(field, 0..7), tail)
        .prop_map(|(start, fields, tail)| [start, "Host: a\r\n", &fields.concat(), tail].concat().into_bytes())
}

/// Feeds a body in pieces of these lengths.
fn read_in_pieces(framing: Framing, raw: &[u8], cuts: &[usize]) -> Outcome {
    let mut reader = BodyReader::new(framing);
    let (mut buf, mut body, mut rest) = (BytesMut::new(), Vec::new(), raw);
    let mut cuts = cuts.iter().cycle();
    loop {
        match reader.decode(&mut buf) {
            Err(BadBody(reason)) => return Outcome::Refused(400, reason),
            Ok(Some(Frame::Data(data))) => body.extend_from_slice(&data),
            Ok(Some(Frame::Trailers(fields))) => return Outcome::Read(body, text(&fields), buf.len() + rest.len()),
            Ok(Some(Frame::End)) => return Outcome::Read(body, String::new(), buf.len() + rest.len()),
            Ok(None) if rest.is_empty() => return Outcome::Incomplete,
            Ok(None) => {
                let (now, later) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
                buf.extend_from_slice(now);
                rest = later;
            }
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(raw in prop::collection::vec(any::<u8>(), 0..300), until_close: bool) {
        let _ = read_request(&raw);
        let asked = Asked { head: until_close, upgrade: !until_close };
        let _ = parse_response(&raw, &LIMITS, asked, &mut ResponseHead::new());
        let _ = read_body(BodyReader::new(Framing::Chunked), &raw);
        let _ = read_body(BodyReader::of_answer(Framing::Length(100)), &raw);
    }

    #[test]
    fn a_head_says_the_same_whichever_way_it_arrives(raw in almost_request()) {
        let mut head = RequestHead::new();
        let whole = parse_request(&raw, &LIMITS, &mut head);
        for cut in 0..raw.len() {
            let part = parse_request(&raw[..cut], &LIMITS, &mut head);
            match whole {
                Ok(Some(length)) => prop_assert_eq!(part, Ok((cut >= length).then_some(length))),
                Ok(None) => prop_assert_eq!(part, Ok(None)),
                Err(refused) => prop_assert!(part == Ok(None) || part == Err(refused), "{:?} at {}: {:?}", refused, cut, part),
            }
        }
    }

    #[test]
    fn what_is_accepted_is_accepted_again_and_means_the_same(raw in almost_request()) {
        let (first, outcome) = read_request(&raw);
        if first.fields.is_empty() {
            return Ok(());
        }
        let written = rewritten(&first);
        let mut second = RequestHead::new();
        prop_assert_eq!(parse_request(&written, &LIMITS, &mut second), Ok(Some(written.len())), "{:?}", outcome);
        prop_assert_eq!(meaning(&second), meaning(&first));
        let again = rewritten(&second);
        prop_assert_eq!(String::from_utf8_lossy(&again), String::from_utf8_lossy(&written));
    }

    #[test]
    fn bodies_come_back_from_any_chunks_in_any_pieces(
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..400), 0..8),
        cuts in prop::collection::vec(1usize..50, 1..8),
        trailer in prop::option::of("[a-z ]{0,20}"),
    ) {
        let mut raw = Vec::new();
        for piece in &pieces {
            write_chunk_head(&mut raw, piece.len());
            raw.extend_from_slice(piece);
            raw.extend_from_slice(CHUNK_END);
        }
        let mut trailers = Fields::new();
        match &trailer {
            Some(value) => {
                trailers.push("x-sum", value.trim());
                write_trailers(&mut raw, &trailers);
            }
            None => write_last_chunk(&mut raw),
        }
        raw.extend_from_slice(b"next");
        let expected = Outcome::Read(pieces.concat(), text(&trailers), 4);
        prop_assert_eq!(read_in_pieces(Framing::Chunked, &raw, &cuts), expected);
        prop_assert_eq!(read_in_pieces(Framing::Length(raw.len() as u64 - 4), &raw, &cuts), Outcome::Read(raw[..raw.len() - 4].to_vec(), String::new(), 4));
    }

    #[test]
    fn a_body_says_the_same_in_any_pieces(raw in "[0-9a-f;=\"x\r\n ]{0,60}", cuts in prop::collection::vec(1usize..5, 1..5)) {
        let raw = raw.replace('\n', "\r\n");
        let whole = read_body(BodyReader::new(Framing::Chunked), raw.as_bytes());
        prop_assert_eq!(read_in_pieces(Framing::Chunked, raw.as_bytes(), &cuts), whole);
    }

    #[test]
    fn answers_come_back_as_they_were_written(status in 200u16..600, length in any::<u64>(), value in "[!-~]{0,30}") {
        prop_assume!(status != 204 && status != 304);
        let length = length >> 1;
        let mut fields = Fields::new();
        fields.push("X-Value", &value);
        fields.push_known(Known::ContentLength, "7");
        let mut out = BytesMut::new();
        write_response(&mut out, status, &fields, Framing::Length(length), Persistence::Close);
        let mut head = ResponseHead::new();
        let asked = Asked::new(&Method::Get, false);
        prop_assert_eq!(parse_response(&out, &LIMITS, asked, &mut head), Ok(Some(out.len())));
        prop_assert_eq!((head.status, head.framing, head.keep_alive), (status, Framing::Length(length), false));
        prop_assert_eq!(head.fields.get_named("x-value"), Some(value.as_bytes()));
    }
}

#[test]
fn heads_are_written_in_one_way() {
    let (head, _) = read_request(b"POST http://Shop:80?q HTTP/1.1\r\nX-A:1\r\nHost: shop\r\nTE: trailers\r\nTransfer-Encoding: Chunked\r\nConnection: close\r\nX-B: 2\r\n\r\n0\r\n\r\n");
    let expected = "POST /?q HTTP/1.1\r\nhost: Shop:80\r\nX-A: 1\r\nTE: trailers\r\nX-B: 2\r\ntransfer-encoding: chunked\r\nconnection: te\r\n\r\n";
    assert_eq!(String::from_utf8(rewritten(&head)).unwrap(), expected);
    let mut out = Vec::new();
    let mut fields = Fields::new();
    fields.push_known(Known::ContentLength, "5");
    write_response(&mut out, 304, &fields, Framing::None, Persistence::KeepAlive);
    write_response(&mut out, 418, &Fields::new(), Framing::UntilClose, Persistence::Close);
    let expected = "HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\nconnection: keep-alive\r\n\r\nHTTP/1.1 418 \r\nconnection: close\r\n\r\n";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}
