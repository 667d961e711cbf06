//! What probes find on real sockets.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use super::*;

/// What a probe finds at this address, for a service of these lines.
async fn asked_with(service: &str, folder: &Path, address: SocketAddr) -> Finding {
    let document = document(service, &[address.port()]);
    let reach = Reach::all(&document, folder, None).unwrap().remove(0);
    let check = Arc::new(document.services[0].health_check.clone().unwrap());
    let target = Target { endpoint: endpoint(address.port()), check, reach };
    ask(&Arc::new(Asker::new().unwrap()), &Arc::new(target)).await
}

async fn asked(check: &str, address: SocketAddr) -> Finding {
    asked_with(&format!("  health_check: {check}"), Path::new("/"), address).await
}

const CHECK: &str = "{ http: { path: \"/healthz?full=1\" } }";

async fn bound() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Takes one connection, reads a head, sends `answer` and closes; answers with the head and the address.
async fn origin(answer: impl AsRef<[u8]> + Send + 'static) -> (SocketAddr, tokio::task::JoinHandle<String>) {
    let (listener, address) = bound().await;
    let served = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        stream.write_all(answer.as_ref()).await.unwrap();
        String::from_utf8(head).unwrap()
    });
    (address, served)
}

async fn probed(check: &str, answer: impl AsRef<[u8]> + Send + 'static) -> Verdict {
    let (address, _served) = origin(answer).await;
    asked(check, address).await.verdict
}

const fn bad(cause: Cause) -> Verdict {
    Verdict::Bad(cause)
}

#[tokio::test]
async fn answers_are_judged_by_their_final_status() {
    let bad = |status| Verdict::Bad(Cause::Status(status));
    for (answer, verdict) in [
        (&b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"[..], Verdict::Good),
        (b"HTTP/1.1 204 No Content\r\n\r\n", Verdict::Good),
        (b"HTTP/1.0 299 Odd\r\n\r\nto the end", Verdict::Good),
        (b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Verdict::Good),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", bad(503)),
        (b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n", bad(302)),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", bad(404)),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", bad(101)),
    ] {
        assert_eq!(probed(CHECK, answer).await, verdict, "{}", answer.escape_ascii());
    }
}

#[tokio::test]
async fn the_document_says_which_statuses_are_good() {
    let check = "{ http: { path: /, statuses: [401, \"200-204\", \"500-502\"] } }";
    let verdicts = [(200, true), (204, true), (205, false), (401, true), (402, false), (501, true), (503, false)];
    for (status, good) in verdicts {
        let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n");
        let expected = if good { Verdict::Good } else { bad(Cause::Status(status)) };
        assert_eq!(probed(check, answer).await, expected, "{status}");
    }
}

#[tokio::test]
async fn a_text_is_looked_for_in_the_body() {
    let check = "{ http: { path: /, body: \"all well\" } }";
    let whole = |body: String| format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nall \r\n4\r\nwell\r\n0\r\n\r\n";
    for (answer, verdict) in [
        (whole("so far all well here".to_owned()), Verdict::Good),
        (chunked.to_owned(), Verdict::Good),
        (whole("all is well".to_owned()), bad(Cause::Text)),
        (whole(String::new()), bad(Cause::Text)),
        (whole("x".repeat((64 << 10) - 8) + "all well"), Verdict::Good),
        (whole("x".repeat((64 << 10) - 7) + "all well"), bad(Cause::Text)),
        // Half an answer: as good as none, unless what is looked for is in it.
        ("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nall we".to_owned(), bad(Cause::Reset)),
        ("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nall well".to_owned(), Verdict::Good),
        ("HTTP/1.1 503 No\r\nContent-Length: 8\r\n\r\nall well".to_owned(), bad(Cause::Status(503))),
    ] {
        let end = answer.len().min(80);
        assert_eq!(probed(check, answer.clone()).await, verdict, "{}", &answer[..end]);
    }
}

#[tokio::test]
async fn what_is_no_answer_is_told_apart() {
    for (answer, cause) in [
        (&b"SSH-2.0-OpenSSH_9.2\r\n\r\n"[..], Cause::Malformed),
        (b"HTTP/1.1 200 OK\r\nContent-Length: a\r\n\r\n", Cause::Malformed),
        (b"", Cause::Reset),
        (b"HTTP/1.1 200 O", Cause::Reset),
    ] {
        assert_eq!(probed(CHECK, answer).await, bad(cause), "{}", answer.escape_ascii());
    }
    let (listener, free) = bound().await;
    drop(listener);
    for check in [CHECK, "{ tcp: {} }"] {
        assert_eq!(asked(check, free).await.verdict, bad(Cause::Refused));
    }
}

/// It takes the connection and says nothing; the system takes it, even if nobody accepts.
#[tokio::test]
async fn an_endpoint_that_hangs_is_given_up_at_the_timeout() {
    let (_listener, address) = bound().await;
    for probe in ["http: { path: / }", "tcp: { send: \"PING\", expect: \"PONG\" }", "tcp: {}, agent: true"] {
        let check = format!("{{ {probe}, timeout: 200ms }}");
        assert_eq!(asked(&check, address).await.verdict, bad(Cause::Timeout), "{probe}");
    }
    let service = "  protocol: http2\n  health_check: { grpc: {}, timeout: 200ms }";
    assert_eq!(asked_with(service, Path::new("/"), address).await.verdict, bad(Cause::Timeout));
}

#[tokio::test]
async fn a_connection_that_is_reset_is_told() {
    let (listener, address) = bound().await;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            // A reset before that would be one of the dial.
            stream.read_u8().await.unwrap();
            stream.set_zero_linger().unwrap();
        }
    });
    for probe in ["http: { path: / }", "tcp: { send: \"PING\", expect: \"PONG\" }"] {
        assert_eq!(asked(&format!("{{ {probe} }}"), address).await.verdict, bad(Cause::Reset), "{probe}");
    }
}

#[tokio::test]
async fn the_request_says_who_asks_and_for_what() {
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let agent = concat!("sluice-probe/", env!("CARGO_PKG_VERSION"));
    let (address, served) = origin(answer).await;
    assert_eq!(asked(CHECK, address).await, Finding::good());
    assert_eq!(
        served.await.unwrap(),
        format!("GET /healthz?full=1 HTTP/1.1\r\nHost: {address}\r\nUser-Agent: {agent}\r\nConnection: close\r\n\r\n")
    );
    let (address, served) = origin(answer).await;
    let check = "{ http: { path: /, host: shop.internal, method: HEAD, headers: { x-why: probe, User-Agent: me } } }";
    assert_eq!(asked(check, address).await, Finding::good());
    assert_eq!(
        served.await.unwrap(),
        "HEAD / HTTP/1.1\r\nHost: shop.internal\r\nUser-Agent: me\r\nX-Why: probe\r\nConnection: close\r\n\r\n"
    );
}

#[tokio::test]
async fn another_port_can_be_asked() {
    let (address, served) = origin(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let check = format!("{{ http: {{ path: / }}, port: {} }}", address.port());
    assert_eq!(asked(&check, ([127, 0, 0, 1], 1).into()).await, Finding::good());
    assert!(served.await.unwrap().contains(&format!("\r\nHost: {address}\r\n")));
}

#[tokio::test]
async fn an_answer_may_hold_a_word() {
    let answer = |status: &str, field: &str| format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n{field}\r\n");
    for (status, field, word) in [
        ("200 OK", "Sluice-Endpoint: 75%\r\n", Some(Word::Weight(750))),
        ("200 OK", "sluice-endpoint: DRAIN\r\n", Some(Word::Drain)),
        ("503 No", "Sluice-Endpoint: ready\r\n", Some(Word::Ready)),
        ("200 OK", "Sluice-Endpoint: down\r\n", None),
        ("200 OK", "", None),
    ] {
        let (address, _served) = origin(answer(status, field)).await;
        assert_eq!(asked("{ http: { path: / }, agent: true }", address).await.word, word, "{field}");
        let (address, _served) = origin(answer(status, field)).await;
        assert_eq!(asked("{ http: { path: / } }", address).await.word, None, "nobody asked for it");
    }
}

/// Answers each connection with these pieces, once it has read so much; and closes if it is told to.
async fn talker(hears: usize, pieces: &'static [&'static str], closes: bool) -> SocketAddr {
    let (listener, address) = bound().await;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut heard = vec![0; hears];
            if stream.read_exact(&mut heard).await.is_err() {
                continue;
            }
            for piece in pieces {
                stream.write_all(piece.as_bytes()).await.unwrap();
                stream.flush().await.unwrap();
                tokio::task::yield_now().await;
            }
            if !closes {
                // Until the other side has closed.
                let _ = stream.read_u8().await;
            }
        }
    });
    address
}

#[tokio::test]
async fn a_connection_can_be_asked_and_listened_to() {
    let ping = "{ tcp: { send: \"PING\\r\\n\", expect: +PONG }, timeout: 1s }";
    let greeting = "{ tcp: { expect: \"SSH-2.0\" }, timeout: 1s }";
    for (check, hears, pieces, closes, verdict) in [
        (ping, 6, &["+PO", "NG\r\n"][..], false, Verdict::Good),
        (ping, 6, &["-LOADING\r\n"], true, bad(Cause::Text)),
        (ping, 6, &[], true, bad(Cause::Reset)),
        (greeting, 0, &["SSH-2.0-OpenSSH_9.2\r\n"], false, Verdict::Good),
        (greeting, 0, &["220 mail\r\n"], false, bad(Cause::Timeout)),
        ("{ tcp: {} }", 0, &[], false, Verdict::Good),
        ("{ tcp: { send: x } }", 1, &[], false, Verdict::Good),
    ] {
        let address = talker(hears, pieces, closes).await;
        assert_eq!(asked(check, address).await.verdict, verdict, "{check} {pieces:?}");
    }
}

#[tokio::test]
async fn a_first_line_may_be_a_word() {
    for (check, pieces, closes, verdict, word) in [
        ("{ tcp: {}, agent: true }", &["7", "5%\nmore"][..], false, Verdict::Good, Some(Word::Weight(750))),
        ("{ tcp: {}, agent: true }", &["drain"], true, Verdict::Good, Some(Word::Drain)),
        ("{ tcp: {}, agent: true }", &["up 5%\r\n"], false, Verdict::Good, None),
        ("{ tcp: {}, agent: true }", &[], true, Verdict::Good, None),
        ("{ tcp: { expect: well }, agent: true }", &["ready\r\n", "all well"], false, Verdict::Good, Some(Word::Ready)),
        ("{ tcp: { expect: well }, agent: true }", &["ready\r\nill"], true, bad(Cause::Text), Some(Word::Ready)),
        ("{ tcp: {} }", &["drain\n"], true, Verdict::Good, None),
    ] {
        let address = talker(0, pieces, closes).await;
        assert_eq!(asked(check, address).await, Finding { verdict, word }, "{check} {pieces:?}");
    }
}

/// A certificate for `shop.internal` that is its own authority, in a folder, and an acceptor with it.
fn tls(protocols: &[&[u8]]) -> (tempfile::TempDir, TlsAcceptor) {
    let pair = rcgen::generate_simple_self_signed(["shop.internal".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ca.pem"), pair.cert.pem()).unwrap();
    let key = tokio_rustls::rustls::pki_types::PrivateKeyDer::try_from(pair.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![pair.cert.der().clone()], key)
        .unwrap();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    (folder, TlsAcceptor::from(Arc::new(config)))
}

/// Says `ok` over TLS to whatever is asked.
async fn secure(acceptor: TlsAcceptor) -> SocketAddr {
    let (listener, address) = bound().await;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut heard = [0; 1024];
            if stream.read(&mut heard).await.is_ok_and(|length| length > 0) {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
            }
            let _ = stream.shutdown().await;
        }
    });
    address
}

#[tokio::test]
async fn probes_use_the_tls_of_the_service() {
    let (folder, acceptor) = tls(&[]);
    let address = secure(acceptor).await;
    let of = |name: &str, check: &str| {
        format!("  tls: {{ server_name: {name}, ca: ca.pem }}\n  health_check: {{ {check}, timeout: 1s }}")
    };
    for check in ["http: { path: /, body: ok }", "tcp: {}", "tcp: { send: \"a\", expect: ok }"] {
        let found = asked_with(&of("shop.internal", check), folder.path(), address).await;
        assert_eq!(found.verdict, Verdict::Good, "{check}");
        let found = asked_with(&of("cart.internal", check), folder.path(), address).await;
        assert_eq!(found.verdict, bad(Cause::Tls), "{check}: the certificate is for another name");
    }
    let (clear, _served) = origin(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let found = asked_with(&of("shop.internal", "tcp: {}"), folder.path(), clear).await;
    assert_ne!(found.verdict, Verdict::Good, "the other side speaks in the clear");
}

/// How a scripted health service answers.
#[derive(Clone, Copy)]
struct Answer {
    status: u16,
    /// In the head, in place of a message.
    in_head: bool,
    message: &'static [u8],
    code: Option<&'static str>,
}

const CALL: Answer = Answer { status: 200, in_head: false, message: &[0, 0, 0, 0, 2, 8, 1], code: Some("0") };

type Call = (::http::request::Parts, Bytes);

/// Answers every call like this, by HTTP/2 in the clear; tells each.
async fn health_service(answer: Answer) -> (SocketAddr, mpsc::UnboundedReceiver<Call>) {
    let (listener, address) = bound().await;
    let (tell, calls) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, answer, tell.clone()));
        }
    });
    (address, calls)
}

async fn serve(stream: TcpStream, answer: Answer, tell: mpsc::UnboundedSender<Call>) {
    let service = hyper::service::service_fn(move |request: ::http::Request<hyper::body::Incoming>| {
        let tell = tell.clone();
        async move {
            let (head, body) = request.into_parts();
            let _ = tell.send((head, body.collect().await.unwrap().to_bytes()));
            let mut trailers = ::http::HeaderMap::new();
            trailers.extend(
                answer.code.map(|code| (::http::HeaderName::from_static("grpc-status"), code.parse().unwrap())),
            );
            let mut response =
                ::http::Response::builder().status(answer.status).header("content-type", "application/grpc");
            if answer.in_head {
                response.headers_mut().unwrap().extend(std::mem::take(&mut trailers));
            }
            let body = Full::new(Bytes::from_static(if answer.in_head { b"" } else { answer.message }));
            let trailers = (!trailers.is_empty()).then_some(Ok(trailers));
            Ok::<_, Infallible>(response.body(body.with_trailers(std::future::ready(trailers))).unwrap())
        }
    });
    let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

const BY_GRPC: &str = "  protocol: http2\n  health_check: { grpc: {}, timeout: 1s }";

#[tokio::test]
async fn a_call_is_good_when_it_says_serving() {
    use sluice_proxy_core::grpc::Code;
    for (answer, verdict) in [
        (CALL, Verdict::Good),
        (Answer { message: &[0, 0, 0, 0, 2, 8, 2], ..CALL }, bad(Cause::NotServing)),
        (Answer { message: &[0, 0, 0, 0, 0], ..CALL }, bad(Cause::NotServing)),
        (Answer { message: &[0, 0, 0, 0, 9, 8, 1], ..CALL }, bad(Cause::Malformed)),
        (Answer { message: &[], ..CALL }, bad(Cause::Malformed)),
        (Answer { in_head: true, code: Some("12"), ..CALL }, bad(Cause::Grpc(Code::Unimplemented))),
        (Answer { code: Some("5"), ..CALL }, bad(Cause::Grpc(Code::NotFound))),
        (Answer { code: None, ..CALL }, bad(Cause::Malformed)),
        (Answer { status: 404, ..CALL }, bad(Cause::Status(404))),
        (Answer { message: &[0; 5000], ..CALL }, bad(Cause::Malformed)),
    ] {
        let (address, _calls) = health_service(answer).await;
        let found = asked_with(BY_GRPC, Path::new("/"), address).await;
        assert_eq!(found.verdict, verdict, "{:?} {:?} {}", answer.message.get(..7), answer.code, answer.status);
    }
}

#[tokio::test]
async fn a_call_says_whose_health_it_asks_for() {
    let (address, mut calls) = health_service(CALL).await;
    let service = "  protocol: http2\n  health_check: { grpc: { service: shop.v1.Cart }, timeout: 1500ms }";
    assert_eq!(asked_with(service, Path::new("/"), address).await, Finding::good());
    let (head, message) = calls.recv().await.unwrap();
    assert_eq!((head.method.as_str(), head.uri.path()), ("POST", "/grpc.health.v1.Health/Check"));
    assert_eq!(head.uri.authority().unwrap().as_str(), address.to_string());
    for (name, value) in [("content-type", "application/grpc"), ("te", "trailers"), ("grpc-timeout", "1500m")] {
        assert_eq!(head.headers[name], value);
    }
    assert_eq!(message[..], [&[0, 0, 0, 0, 14, 0x0a, 12][..], b"shop.v1.Cart"].concat());
}

#[tokio::test]
async fn who_speaks_no_http2_does_not_serve_calls() {
    let (address, _served) = origin(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
    let found = asked_with(BY_GRPC, Path::new("/"), address).await;
    assert!(matches!(found.verdict, Verdict::Bad(Cause::Reset | Cause::Malformed)), "{found:?}");
}

#[tokio::test]
async fn a_real_origin_is_verified_by_the_loop() {
    let (address, served) = origin(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let one = endpoint(address.port());
    let quick = check_of("{ http: { path: / }, interval: 500ms, timeout: 500ms }");
    let mut prober = Prober::new(Metrics::new(1, 1000)).unwrap();
    prober.retarget(vec![with_check(&one, quick)], Some(500));
    served.await.unwrap();
    let verified = async {
        while one.standing() != Standing::Verified {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), verified).await.unwrap();
}
