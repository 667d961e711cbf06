use super::*;

fn body(data: &str) -> Outcome {
    Outcome::Read(data.as_bytes().to_vec(), String::new(), 0)
}

#[test]
fn chunks_are_put_together() {
    assert_eq!(chunked("5\r\nhello\r\n6;a=b\r\n world\r\n0\r\n\r\n"), body("hello world"));
    assert_eq!(chunked("000A\r\n0123456789\r\n0;x=\"y\"\r\n\r\n"), body("0123456789"));
    assert_eq!(chunked("0\r\n\r\nGET /"), Outcome::Read(Vec::new(), String::new(), 5));
    let with = chunked("1\r\nx\r\n0\r\nX-Sum:  abc \r\ngrpc-status: 0\r\n\r\n");
    assert_eq!(with, Outcome::Read(b"x".to_vec(), "X-Sum: abc\r\ngrpc-status: 0\r\n".to_owned(), 0));
}

#[test]
fn broken_chunks_are_refused() {
    for (text, reason) in [
        ("5\r\nhello!!\r\n0\r\n\r\n", "chunk_end"),
        ("5\r\nhello0\r\n\r\n", "chunk_end"),
        ("5\r\nhello\n0\r\n\r\n", "chunk_end"),
        ("5\r\nhello\rx", "chunk_end"),
        ("5\rhello\r\n0\r\n\r\n", "chunk_size"),
        ("\r\n", "chunk_size"),
        ("0\r\n\n", "bare_lf"),
        ("0\r\n\rx", "bare_cr"),
        ("0\r\nX: a\n\r\n", "bare_lf"),
        ("0\r\nX : a\r\n\r\n", "space_before_colon"),
        ("0\r\nX: a\r\n b\r\n\r\n", "folded_line"),
        ("0\r\nX\r\n\r\n", "field_without_colon"),
        ("0\r\nContent-Length: 5\r\n\r\n", "trailer_forbidden"),
        ("0\r\ntransfer-encoding: chunked\r\n\r\n", "trailer_forbidden"),
        ("0\r\nHost: a\r\n\r\n", "trailer_forbidden"),
        ("0\r\nAuthorization: a\r\n\r\n", "trailer_forbidden"),
        ("0\r\nContent-Type: a\r\n\r\n", "trailer_forbidden"),
        ("0\r\nCookie: a\r\n\r\n", "trailer_forbidden"),
        ("0\r\nX-Forwarded-For: a\r\n\r\n", "trailer_forbidden"),
    ] {
        assert_eq!(chunked(text), Outcome::Refused(400, reason), "{text:?}");
    }
}

#[test]
fn trailers_are_limited() {
    let many = format!("0\r\n{}\r\n", "a: b\r\n".repeat(65));
    assert_eq!(chunked(&many), Outcome::Refused(400, "trailers_too_many"));
    let large = format!("0\r\na: {}", "b".repeat(9000));
    assert_eq!(chunked(&large), Outcome::Refused(400, "trailers_too_large"));
    assert_eq!(chunked(&format!("{large}\r\n\r\n")), Outcome::Refused(400, "trailers_too_large"));
}

#[test]
fn extensions_without_end_are_refused() {
    let chunk = format!("1;a={}\r\nx\r\n", "b".repeat(2000));
    assert_eq!(chunked(&chunk.repeat(20)), Outcome::Incomplete);
    assert_eq!(chunked(&chunk.repeat(40)), Outcome::Refused(400, "chunk_overhead"));
    assert_eq!(chunked(&"1\r\nx\r\n".repeat(100_000)), Outcome::Incomplete);
    assert_eq!(chunked(&format!("1;a={}", "b".repeat(65_536))), Outcome::Refused(400, "chunk_line_too_long"));
    assert_eq!(chunked(&format!("1;a=\"{}", "b".repeat(65_536))), Outcome::Refused(400, "chunk_line_too_long"));
}

#[test]
fn an_answer_loses_forbidden_trailers_only() {
    let read = |raw: &str| read_body(BodyReader::of_answer(Framing::Chunked), raw.as_bytes());
    assert_eq!(read("0\r\nContent-Length: 5\r\nX: y\r\n\r\n"), Outcome::Read(Vec::new(), "X: y\r\n".to_owned(), 0));
    assert_eq!(read("0\r\nSet-Cookie: a\r\n\r\n"), body(""));
}

#[test]
fn not_one_byte_behind_the_body_is_taken() {
    let read = |framing| read_body(BodyReader::new(framing), b"hello world");
    assert_eq!(read(Framing::Length(5)), Outcome::Read(b"hello".to_vec(), String::new(), 6));
    assert_eq!(read(Framing::Length(0)), Outcome::Read(Vec::new(), String::new(), 11));
    assert_eq!(read(Framing::None), Outcome::Read(Vec::new(), String::new(), 11));
    assert_eq!(read(Framing::Length(12)), Outcome::Incomplete);
    assert_eq!(read(Framing::UntilClose), Outcome::Incomplete);
}

#[test]
fn only_a_body_until_close_may_end_with_the_connection() {
    let at_eof = |framing, raw: &str| {
        let (mut reader, mut buf) = (BodyReader::new(framing), BytesMut::from(raw));
        while let Ok(Some(Frame::Data(_))) = reader.decode(&mut buf) {}
        reader.eof().is_ok()
    };
    assert!(at_eof(Framing::UntilClose, "abc") && at_eof(Framing::UntilClose, ""));
    assert!(at_eof(Framing::Length(3), "abc") && at_eof(Framing::None, ""));
    assert!(!at_eof(Framing::Length(4), "abc"));
    for cut in ["", "5", "5\r\n", "5\r\nhel", "5\r\nhello", "5\r\nhello\r\n", "0\r\n", "0\r\nX: y\r\n"] {
        assert!(!at_eof(Framing::Chunked, cut), "{cut:?}");
    }
    assert!(at_eof(Framing::Chunked, "0\r\n\r\n"));
}

#[test]
fn a_reader_tells_what_it_wants() {
    let mut reader = BodyReader::new(Framing::Length(10));
    let mut buf = BytesMut::from("abc");
    assert_eq!(reader.wants(), Some(10));
    assert!(matches!(reader.decode(&mut buf), Ok(Some(Frame::Data(data))) if data == "abc"));
    assert!(reader.wants() == Some(7) && !reader.is_done());
    buf.extend_from_slice(b"defghijX");
    assert!(matches!(reader.decode(&mut buf), Ok(Some(Frame::Data(data))) if data == "defghij"));
    assert!(reader.wants() == Some(0) && reader.is_done());
    assert!(matches!(reader.decode(&mut buf), Ok(Some(Frame::End))));
    assert!(matches!(reader.decode(&mut buf), Ok(Some(Frame::End))));
    assert_eq!(&buf[..], b"X");
}
