use super::*;
use crate::message::{Known, Method, ResponseHead};

const PLAIN: Asked = Asked { head: false, upgrade: false };

fn read(text: &str, asked: Asked) -> Result<ResponseHead, &'static str> {
    let raw = text.replace('~', "\r\n");
    let mut head = ResponseHead::new();
    match parse_response(raw.as_bytes(), &LIMITS, asked, &mut head) {
        Ok(Some(length)) if length == raw.len() => Ok(head),
        Ok(_) => Err("incomplete"),
        Err(BadAnswer(reason)) => Err(reason),
    }
}

#[test]
fn bad_answers_are_refused() {
    for (text, reason) in [
        ("HTTP/1.1 200 OK\nX: y~~", "bare_lf"),
        ("HTTP/1.1 200 OK\rX: y~~", "status_line"),
        ("HTTP/1.1 20 OK~~", "status"),
        ("HTTP/1.1 2000 OK~~", "status_line"),
        ("HTTP/1.1 099 OK~~", "status"),
        ("HTTP/1.1  200 OK~~", "status"),
        ("HTTP/2.0 200 OK~~", "status_line"),
        ("HTTP/1.2 200 OK~~", "status_line"),
        ("http/1.1 200 OK~~", "status_line"),
        ("~HTTP/1.1 200 OK~~", "status_line"),
        ("SSH-2.0-OpenSSH_9.2~", "status_line"),
        ("ICY 200 OK~~", "status_line"),
        ("HTTP/1.1 200 O\0K~~", "status_line"),
        ("HTTP/1.1 200 OK~X: a~ b~~", "folded_line"),
        ("HTTP/1.1 200 OK~X y: a~~", "field_name"),
        ("HTTP/1.1 200 OK~X: a\0~~", "field_value"),
        ("HTTP/1.1 200 OK~X: a\n~", "bare_lf"),
        ("HTTP/1.1 200 OK~Content-Length: 1~Transfer-Encoding: chunked~~", "length_and_transfer_encoding"),
        ("HTTP/1.1 200 OK~Content-Length: 1~Content-Length: 1~~", "content_length_repeated"),
        ("HTTP/1.1 200 OK~Content-Length: 1, 1~~", "content_length"),
        ("HTTP/1.1 200 OK~Content-Length: -1~~", "content_length"),
        ("HTTP/1.1 304 Not Modified~Content-Length: x~~", "content_length"),
        ("HTTP/1.1 200 OK~Transfer-Encoding: gzip, chunked~~", "transfer_coding"),
        ("HTTP/1.1 200 OK~Transfer-Encoding: chunked, chunked~~", "transfer_encoding"),
        ("HTTP/1.1 200 OK~Transfer-Encoding: chunked~Transfer-Encoding: chunked~~", "transfer_encoding_repeated"),
        ("HTTP/1.0 200 OK~Transfer-Encoding: chunked~~", "transfer_encoding_in_http10"),
        ("HTTP/1.1 101 Switching Protocols~Connection: upgrade~Upgrade: websocket~~", "upgrade_not_asked"),
        ("HTTP/1.1 200 OK~Content_Length : 4~~", "field_name_disguised"),
        ("HTTP/1.1 200 OK~Content-Length: 1", "incomplete"),
        ("HTTP/1.1 2", "incomplete"),
    ] {
        assert_eq!(read(text, PLAIN).map(|head| head.status), Err(reason), "{text:?}");
    }
}

#[test]
fn the_body_follows_from_status_method_and_fields() {
    let head = Asked::new(&Method::Head, false);
    for (text, asked, framing, keep_alive) in [
        ("HTTP/1.1 200 OK~Content-Length: 5~~", PLAIN, Framing::Length(5), true),
        ("HTTP/1.1 200~Content-Length: 0~~", PLAIN, Framing::Length(0), true),
        ("HTTP/1.1 200 ~Transfer-Encoding: CHUNKED~~", PLAIN, Framing::Chunked, true),
        ("HTTP/1.1 200 OK~~", PLAIN, Framing::UntilClose, false),
        ("HTTP/1.1 200 OK~Content-Length: 5~Connection: close~~", PLAIN, Framing::Length(5), false),
        ("HTTP/1.0 200 OK~Content-Length: 5~~", PLAIN, Framing::Length(5), false),
        ("HTTP/1.0 200 OK~Content-Length: 5~Connection: keep-alive~~", PLAIN, Framing::Length(5), true),
        ("HTTP/1.1 200 OK~Content-Length: 5~~", head, Framing::None, true),
        ("HTTP/1.1 200 OK~Transfer-Encoding: chunked~~", head, Framing::None, true),
        ("HTTP/1.1 200 OK~~", head, Framing::None, true),
        ("HTTP/1.1 304 Not Modified~Content-Length: 5~~", PLAIN, Framing::None, true),
        ("HTTP/1.1 204 No Content~~", PLAIN, Framing::None, true),
        ("HTTP/1.1 204 No Content~Content-Length: 0~~", PLAIN, Framing::None, true),
        ("HTTP/1.1 204 No Content~Transfer-Encoding: chunked~~", PLAIN, Framing::None, false),
        ("HTTP/1.1 103 Early Hints~Link: </a>~~", PLAIN, Framing::None, true),
        ("HTTP/1.1 999 ~Content-Length: 1~~", PLAIN, Framing::Length(1), true),
    ] {
        let head = read(text, asked).unwrap();
        assert_eq!((head.framing, head.keep_alive), (framing, keep_alive), "{text}");
    }
}

#[test]
fn a_length_stays_where_it_tells_something_and_goes_where_none_may_be() {
    assert!(read("HTTP/1.1 304 x~Content-Length: 5~~", PLAIN).unwrap().fields.has(Known::ContentLength));
    assert!(
        read("HTTP/1.1 200 x~Content-Length: 5~~", Asked { head: true, upgrade: false })
            .unwrap()
            .fields
            .has(Known::ContentLength)
    );
    assert!(!read("HTTP/1.1 204 x~Content-Length: 0~~", PLAIN).unwrap().fields.has(Known::ContentLength));
    assert!(!read("HTTP/1.1 100 x~Content-Length: 0~~", PLAIN).unwrap().fields.has(Known::ContentLength));
}

#[test]
fn an_upgrade_is_the_101_that_was_asked_for() {
    let asked = Asked::new(&Method::Get, true);
    let head = read("HTTP/1.1 101 Switching Protocols~Connection: Upgrade~Upgrade: websocket~~", asked).unwrap();
    assert!(head.upgrade && !head.keep_alive);
    assert_eq!(read("HTTP/1.1 101 x~Upgrade: websocket~~", asked).map(|_| ()), Err("upgrade_unnamed"));
    assert_eq!(read("HTTP/1.1 101 x~Connection: upgrade~~", asked).map(|_| ()), Err("upgrade_unnamed"));
    assert_eq!(read("HTTP/1.0 101 x~Connection: upgrade~Upgrade: a~~", asked).map(|_| ()), Err("upgrade_not_asked"));
    assert!(!read("HTTP/1.1 200 OK~Content-Length: 0~~", asked).unwrap().upgrade);
}

#[test]
fn white_space_before_a_colon_is_taken_away() {
    let head = read("HTTP/1.1 200 OK~Content-Length \t: 5~X-A : b~~", PLAIN).unwrap();
    assert_eq!(head.framing, Framing::Length(5));
    let mut out = Vec::new();
    write_response(&mut out, head.status, &head.fields, head.framing, Persistence::Implied);
    assert_eq!(out, b"HTTP/1.1 200 OK\r\nX-A: b\r\ncontent-length: 5\r\n\r\n");
}

#[test]
fn heads_are_limited() {
    let limits = HeadLimits { bytes: 40, count: 1 };
    let read = |raw: &[u8]| parse_response(raw, &limits, PLAIN, &mut ResponseHead::new());
    assert_eq!(read(b"HTTP/1.1 200 OK\r\nA: b\r\nC: d\r\n\r\n"), Err(BadAnswer("too_many_fields")));
    assert_eq!(read(&[b"HTTP/1.1 200 OK\r\nA: ".as_slice(), &[b'x'; 40]].concat()), Err(BadAnswer("head_too_large")));
    assert_eq!(read(b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n"), Ok(Some(25)));
}
