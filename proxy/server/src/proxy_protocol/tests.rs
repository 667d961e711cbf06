use tokio::io::AsyncWriteExt;

use super::*;

proptest::proptest! {
    #[test]
    fn any_bytes_hold(
        piece in 1_u8..20,
        start in proptest::sample::select(vec![&b""[..], b"PROXY ", b"PROXY TCP4 ", b"\r\n\r\n\0\r\nQUIT\n", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"]),
        rest in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..40),
    ) {
        crate::fuzz::run("proxy_protocol", &[&[piece], start, &rest[..]].concat());
    }
}

async fn said(bytes: &[u8]) -> (Result<Said, Rejected>, Vec<u8>) {
    let (mut near, mut far) = tokio::io::duplex(4096);
    far.write_all(bytes).await.unwrap();
    drop(far);
    let said = header(&mut near).await;
    let mut rest = Vec::new();
    near.read_to_end(&mut rest).await.unwrap();
    (said, rest)
}

/// What follows belongs to whoever reads next, whether it came at once or not.
#[tokio::test]
async fn exactly_the_header_is_taken() {
    for header in [
        &b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 443\r\n"[..],
        b"PROXY UNKNOWN\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0f\xc0\x00\x02\x07\x0a\x00\x00\x01\x12\x67\x01\xbb\x04\x00\x00",
    ] {
        let (said, rest) = said(&[header, b"GET / HTTP/1.1\r\n"].concat()).await;
        assert!(said.is_ok(), "{said:?}");
        assert_eq!(rest, b"GET / HTTP/1.1\r\n");
    }
}

#[tokio::test]
async fn an_end_is_told_from_a_silent_one() {
    assert_eq!(said(b"").await.0, Err(Rejected::Silent));
    assert_eq!(said(b"PROXY TCP4 192.0.2.7").await.0, Err(Rejected::Cut));
    assert_eq!(said(b"GET / HTTP/1.1\r\n\r\n").await.0, Err(Rejected::Bad(Bad::Missing)));
}
