//! Our own read-only listener: is the process alive, is it ready, what does it measure.
//!
//! Nothing outside the process is looked at, and nothing can be changed here. It stays answerable under abuse: few
//! connections, small buffers, a deadline for every head, no request body read.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use sluice_config::endpoints::Endpoints;
use sluice_config::health::{Health, Status};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::explain::{Explanation, Question};

/// Open connections at once; further ones wait in the kernel's queue.
const CONNECTIONS: usize = 64;

/// For a whole head, and for how long a connection may be idle.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// For a whole connection: a client that does not read what it asked for must not keep its place.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(300);

/// The largest head; the smallest buffer that hyper takes.
const BUFFER: usize = 8192;

/// How long to wait when the process has no more sockets: accepting again at once would only spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the listener tells.
pub trait StatusSource: Send + Sync {
    /// Whether the process can serve; if not, why.
    ///
    /// # Errors
    /// The reason, for people.
    fn ready(&self) -> Result<(), String>;

    /// How the process is. Bounded in time, and without waiting for anything.
    fn health(&self) -> Health;

    /// The metrics, in the text format of Prometheus.
    fn metrics(&self) -> String;

    /// How the endpoints of a service stand, or of all services.
    ///
    /// # Errors
    /// Nothing runs yet, or there is no such service.
    fn endpoints(&self, service: Option<&str>) -> Result<Endpoints, Untold>;

    /// What would become of a request now.
    ///
    /// # Errors
    /// Nothing runs yet, or the question is none.
    fn explain(&self, question: &Question) -> Result<Explanation, Untold>;
}

/// Why something is not told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Untold {
    /// Nothing runs yet.
    NotReady,
    /// There is no such thing, in words.
    NoSuch(String),
    /// The question cannot be answered, in words.
    Misasked(String),
}

/// Answers on `listener` until `shutdown` ends: `/live` (always 200), `/ready` (200, or 503 with the reason), `/metrics`,
/// `/api/health` (200 for healthy and degraded, 503 for unhealthy), `/api/endpoints` (of one service with `?service=`) and
/// `/api/explain` (of a [`Question`] in the query). GET and HEAD only. Connections that are open then are closed: end `shutdown` last.
pub async fn serve(listener: TcpListener, source: Arc<dyn StatusSource>, shutdown: impl Future<Output = ()>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = tokio::task::JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &places) => accepted,
            // Reaps what has ended; while there is nothing to reap the branch is off.
            Some(_) = connections.join_next() => continue,
            () = &mut shutdown => return,
        };
        match accepted {
            Ok((stream, place)) => drop(connections.spawn(converse(stream, Arc::clone(&source), place))),
            Err(error) => {
                tracing::warn!(%error, "the status listener cannot accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, place))
}

async fn converse(stream: TcpStream, source: Arc<dyn StatusSource>, _place: tokio::sync::OwnedSemaphorePermit) {
    let answer = service_fn(move |request| std::future::ready(Ok::<_, Infallible>(respond(&request, source.as_ref()))));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(stream), answer);
    // How a client breaks off, or breaks the rules, is its own affair.
    let _ = tokio::time::timeout(CONNECTION_TIMEOUT, connection).await;
}

fn respond(request: &Request<Incoming>, source: &dyn StatusSource) -> Response<Full<Bytes>> {
    let uri = request.uri();
    let mut response = answer(request.method(), uri.path(), uri.query().unwrap_or_default(), source);
    if has_body(request.headers()) {
        // The body is not read, so nothing after it can be.
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

fn has_body(headers: &HeaderMap) -> bool {
    headers.contains_key(http::header::TRANSFER_ENCODING)
        || headers.get(http::header::CONTENT_LENGTH).is_some_and(|length| length != "0")
}

/// What is said to this method and path. HEAD gets what GET gets; hyper leaves the body out.
fn answer(method: &Method, path: &str, query: &str, source: &dyn StatusSource) -> Response<Full<Bytes>> {
    if !matches!(path, "/live" | "/ready" | "/metrics" | "/api/health" | "/api/endpoints" | "/api/explain") {
        let paths = "not found: try /live, /ready, /metrics, /api/health, /api/endpoints or /api/explain";
        return json(StatusCode::NOT_FOUND, &serde_json::json!({"error": paths}));
    }
    if !matches!(*method, Method::GET | Method::HEAD) {
        let mut refusal =
            json(StatusCode::METHOD_NOT_ALLOWED, &serde_json::json!({"error": "only GET and HEAD are answered"}));
        refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refusal;
    }
    match path {
        "/metrics" => reply(StatusCode::OK, prometheus::TEXT_FORMAT, source.metrics()),
        "/ready" => ready(source.ready()),
        "/api/health" => health(&source.health()),
        "/api/endpoints" => {
            let service = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "service");
            looked(source.endpoints(service.as_ref().map(|(_, service)| &**service)))
        }
        "/api/explain" => {
            looked(Question::read(query).map_err(Untold::Misasked).and_then(|asked| source.explain(&asked)))
        }
        _ => json(StatusCode::OK, &serde_json::json!({"status": "live"})),
    }
}

fn ready(state: Result<(), String>) -> Response<Full<Bytes>> {
    match state {
        Ok(()) => json(StatusCode::OK, &serde_json::json!({"status": "ready"})),
        Err(reason) => {
            json(StatusCode::SERVICE_UNAVAILABLE, &serde_json::json!({"status": "not_ready", "reason": reason}))
        }
    }
}

fn health(health: &Health) -> Response<Full<Bytes>> {
    let status = match health.overall_status {
        Status::Healthy | Status::Degraded => StatusCode::OK,
        Status::Unhealthy => StatusCode::SERVICE_UNAVAILABLE,
    };
    let body = serde_json::to_string(health).expect("names, numbers and texts have a JSON form");
    reply(status, "application/json", body + "\n")
}

/// What was found, or why nothing was.
fn looked<T: Serialize>(found: Result<T, Untold>) -> Response<Full<Bytes>> {
    let (status, error) = match found {
        Ok(found) => {
            let body = serde_json::to_string(&found).expect("names, numbers and texts have a JSON form");
            return reply(StatusCode::OK, "application/json", body + "\n");
        }
        Err(Untold::NotReady) => (StatusCode::SERVICE_UNAVAILABLE, "no revision runs yet".to_owned()),
        Err(Untold::NoSuch(words)) => (StatusCode::NOT_FOUND, words),
        Err(Untold::Misasked(words)) => (StatusCode::BAD_REQUEST, words),
    };
    json(status, &serde_json::json!({"error": error}))
}

fn json(status: StatusCode, body: &serde_json::Value) -> Response<Full<Bytes>> {
    reply(status, "application/json", format!("{body}\n"))
}

fn reply(status: StatusCode, media_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::Mutex;

    use proptest::prelude::*;
    use sluice_config::Timestamp;
    use sluice_config::health::Component;
    use sluice_config::value::RevisionId;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::oneshot;

    use super::*;

    struct Scripted(Mutex<Result<(), String>>);

    impl StatusSource for Scripted {
        fn ready(&self) -> Result<(), String> {
            self.0.lock().unwrap().clone()
        }

        fn health(&self) -> Health {
            let found =
                self.ready().map_err(|why| (if why == "worse" { Status::Degraded } else { Status::Unhealthy }, why));
            let component = Component::checked(Timestamp::from_millis(7), Duration::ZERO, found);
            Health::new([("revision".to_owned(), component)].into(), Duration::from_secs(9), "1")
        }

        fn metrics(&self) -> String {
            "up 1\n".to_owned()
        }

        fn endpoints(&self, service: Option<&str>) -> Result<Endpoints, Untold> {
            match service {
                Some(other) if other != "shop" => Err(Untold::NoSuch(format!("there is no service `{other}`"))),
                Some(_) | None => {
                    Ok(Endpoints { revision: RevisionId(7), at: Timestamp::from_millis(7), pools: Vec::new() })
                }
            }
        }

        fn explain(&self, _: &Question) -> Result<Explanation, Untold> {
            Err(Untold::NotReady)
        }
    }

    /// A listener that answers until the sender is dropped.
    async fn start(state: Result<(), String>) -> (SocketAddr, oneshot::Sender<()>, tokio::task::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let source = Arc::new(Scripted(Mutex::new(state)));
        let task = tokio::spawn(serve(listener, source, async move { drop(stopped.await) }));
        (address, stop, task)
    }

    async fn send(address: SocketAddr, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut text = Vec::new();
        // A reset after the answer is the listener's right when the request was not to be read.
        let _ = stream.read_to_end(&mut text).await;
        String::from_utf8_lossy(&text).into_owned()
    }

    async fn ask(address: SocketAddr, line: &str) -> String {
        send(address, format!("{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes()).await
    }

    #[tokio::test]
    async fn each_path_says_its_part() {
        let (address, _stop, _task) = start(Ok(())).await;
        let live = ask(address, "GET /live").await;
        assert!(live.starts_with("HTTP/1.1 200 ") && live.ends_with("\r\n\r\n{\"status\":\"live\"}\n"), "{live}");
        let ready = ask(address, "GET /ready?verbose").await;
        assert!(ready.starts_with("HTTP/1.1 200 ") && ready.ends_with("{\"status\":\"ready\"}\n"), "{ready}");
        let metrics = ask(address, "GET /metrics").await;
        assert!(metrics.contains("content-type: text/plain; version=0.0.4\r\n"), "{metrics}");
        assert!(metrics.ends_with("\r\n\r\nup 1\n"), "{metrics}");
    }

    #[tokio::test]
    async fn endpoints_are_told_and_questions_are_judged() {
        let (address, _stop, _task) = start(Ok(())).await;
        let all = ask(address, "GET /api/endpoints").await;
        assert!(all.starts_with("HTTP/1.1 200 ") && all.contains("content-type: application/json\r\n"), "{all}");
        assert!(all.ends_with("{\"revision\":7,\"at\":\"1970-01-01T00:00:00.007Z\",\"pools\":[]}\n"), "{all}");
        assert!(ask(address, "GET /api/endpoints?service=shop").await.starts_with("HTTP/1.1 200 "));
        let other = ask(address, "GET /api/endpoints?service=c%20art").await;
        assert!(other.starts_with("HTTP/1.1 404 ") && other.contains("no service `c art`"), "{other}");
        assert!(ask(address, "POST /api/endpoints").await.starts_with("HTTP/1.1 405 "), "nothing can be changed here");
        assert!(ask(address, "GET /api/explain?url=/api").await.starts_with("HTTP/1.1 503 "));
        for bad in ["", "?url=api", "?url=/&shoe=44", "?url=/&header=x", "?url=/&client=me"] {
            let refused = ask(address, &format!("GET /api/explain{bad}")).await;
            assert!(refused.starts_with("HTTP/1.1 400 "), "{bad}: {refused}");
        }
    }

    #[tokio::test]
    async fn unready_says_why_and_is_still_live() {
        let (address, _stop, _task) = start(Err("no \"revision\" yet".to_owned())).await;
        let ready = ask(address, "GET /ready").await;
        assert!(ready.starts_with("HTTP/1.1 503 "), "{ready}");
        assert!(ready.ends_with("{\"status\":\"not_ready\",\"reason\":\"no \\\"revision\\\" yet\"}\n"), "{ready}");
        assert!(ask(address, "GET /live").await.starts_with("HTTP/1.1 200 "));
    }

    #[tokio::test]
    async fn health_is_503_only_when_unhealthy() {
        for (state, status, word) in [
            (Ok(()), "200", "\"overall_status\":\"healthy\""),
            (Err("worse".to_owned()), "200", "\"overall_status\":\"degraded\""),
            (Err("dead".to_owned()), "503", "\"error_message\":\"dead\""),
        ] {
            let (address, _stop, _task) = start(state).await;
            let health = ask(address, "GET /api/health").await;
            assert!(health.starts_with(&format!("HTTP/1.1 {status} ")) && health.contains(word), "{health}");
            assert!(health.contains("\"uptime_seconds\":9"), "{health}");
        }
    }

    #[tokio::test]
    async fn head_has_the_length_and_not_the_body() {
        let (address, _stop, _task) = start(Ok(())).await;
        let head = ask(address, "HEAD /metrics").await;
        assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("content-length: 5\r\n"), "{head}");
        assert!(head.ends_with("\r\n\r\n"), "{head}");
    }

    #[tokio::test]
    async fn everything_else_is_refused() {
        let (address, _stop, _task) = start(Ok(())).await;
        for path in ["/", "/live/", "/metrics/x", "/%6Cive", "*"] {
            let refusal = ask(address, &format!("OPTIONS {path}")).await;
            assert!(
                refusal.starts_with("HTTP/1.1 404 ") && refusal.contains("\r\n\r\n{\"error\":"),
                "{path}: {refusal}"
            );
        }
        for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "BREW"] {
            let refusal = ask(address, &format!("{method} /metrics")).await;
            assert!(refusal.starts_with("HTTP/1.1 405 ") && refusal.contains("allow: GET, HEAD\r\n"), "{refusal}");
        }
    }

    #[tokio::test]
    async fn a_body_is_not_waited_for() {
        let (address, _stop, _task) = start(Ok(())).await;
        let answer = send(address, b"POST /live HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nx").await;
        assert!(answer.starts_with("HTTP/1.1 405 ") && answer.contains("connection: close\r\n"), "{answer}");
    }

    #[tokio::test]
    async fn a_connection_serves_request_after_request() {
        let (address, _stop, _task) = start(Ok(())).await;
        let two = b"GET /live HTTP/1.1\r\nHost: x\r\n\r\nGET /ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        assert_eq!(send(address, two).await.matches("HTTP/1.1 200 ").count(), 2);
    }

    #[tokio::test]
    async fn shutdown_ends_the_listener() {
        let (address, stop, task) = start(Ok(())).await;
        assert!(ask(address, "GET /live").await.starts_with("HTTP/1.1 200 "));
        drop(stop);
        task.await.unwrap();
        assert!(TcpStream::connect(address).await.is_err());
    }

    #[tokio::test]
    async fn a_head_over_the_limit_is_refused() {
        let (address, _stop, _task) = start(Ok(())).await;
        let long = format!("GET /live HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "a".repeat(3 * BUFFER));
        let answer = send(address, long.as_bytes()).await;
        assert!(!answer.contains("200 OK"), "{answer}");
        assert!(ask(address, "GET /live").await.starts_with("HTTP/1.1 200 "));
    }

    #[tokio::test]
    async fn silent_connections_wait_in_line_and_are_put_out() {
        let (address, _stop, _task) = start(Ok(())).await;
        let mut silent = Vec::new();
        for _ in 0..CONNECTIONS {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        let mut last = TcpStream::connect(address).await.unwrap();
        last.write_all(b"GET /live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        // Stopped clocks jump to the next deadline as soon as nothing else can happen.
        tokio::time::pause();
        let begun = tokio::time::Instant::now();
        last.read_to_string(&mut answer).await.unwrap();
        assert!(begun.elapsed() < 2 * HEADER_TIMEOUT, "{:?}", begun.elapsed());
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn no_input_stops_the_listener(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let (address, _stop, task) = start(Ok(())).await;
                let mut stream = TcpStream::connect(address).await.unwrap();
                stream.write_all(&bytes).await.unwrap();
                drop(stream);
                assert!(ask(address, "GET /live").await.starts_with("HTTP/1.1 200 "));
                assert!(!task.is_finished());
            });
        }
    }
}
