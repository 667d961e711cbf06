//! A connection to the control plane and the one request on it.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::channel::{Channel, Sender};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_util::task::AbortOnDropHandle;

use super::ControlUrl;
use super::credentials::Credentials;
use super::failure::Failure;

/// For the way to a connection (name, TCP, TLS), and again for the head of the response on it.
pub(super) const DEADLINE: Duration = Duration::from_secs(10);

/// Between two pings, and for the answer to one: a control plane that is gone is noticed within 15 s.
const PING: Duration = Duration::from_secs(5);
const PING_ANSWER: Duration = Duration::from_secs(10);

/// A revision of some megabytes arrives without a wait for each 64 KiB.
const WINDOW: u32 = 1 << 20;

/// The most that is read of a refusal.
const REFUSAL: usize = 64 << 10;

/// Messages are lines of JSON, both ways.
const LINES: HeaderValue = HeaderValue::from_static("application/x-ndjson");

/// A subscription that was asked for. It is answered only when the control plane has read who asks, so the first line
/// must not wait for the answer.
pub(super) struct Subscription {
    /// The lines to the control plane.
    pub(super) out: Sender<Bytes>,
    /// Its answer.
    pub(super) answer: Answer,
    /// Drives the connection; it ends with this.
    _connection: AbortOnDropHandle<()>,
}

/// The lines from the control plane, once it has accepted.
pub(super) type Answer = Pin<Box<dyn Future<Output = Result<Incoming, Failure>> + Send>>;

/// Subscribes.
pub(super) async fn subscribe(url: &ControlUrl, credentials: &Credentials) -> Result<Subscription, Failure> {
    tokio::time::timeout(DEADLINE, async {
        let stream = connect(url).await?;
        match &credentials.tls {
            None => converse(stream, url, credentials).await,
            Some(config) => {
                let name =
                    ServerName::try_from(url.host().to_owned()).map_err(|_| Failure::Name(url.host().to_owned()))?;
                let stream = TlsConnector::from(config.clone()).connect(name, stream).await.map_err(Failure::Tls)?;
                if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
                    return Err(Failure::NotHttp2);
                }
                converse(stream, url, credentials).await
            }
        }
    })
    .await
    .unwrap_or(Err(Failure::Timeout))
}

/// The first of the host's addresses that accepts.
async fn connect(url: &ControlUrl) -> Result<TcpStream, Failure> {
    let resolved = tokio::net::lookup_host((url.host(), url.port())).await.map_err(Failure::Resolve)?;
    let mut last = None;
    for address in resolved.filter(|address| url.tls() || address.ip().is_loopback()) {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                // Only slower without it.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(error) => last = Some((address, error)),
        }
    }
    let nowhere = || (SocketAddr::from(([0, 0, 0, 0], url.port())), io::Error::from(io::ErrorKind::AddrNotAvailable));
    let (address, error) = last.unwrap_or_else(nowhere);
    Err(Failure::Connect(address, error))
}

async fn converse<S>(stream: S, url: &ControlUrl, credentials: &Credentials) -> Result<Subscription, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut requests, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING_ANSWER)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(Failure::Http)?;
    let connection = AbortOnDropHandle::new(tokio::spawn(async move {
        // How it ended is told by the body.
        let _ = connection.await;
    }));
    let (out, body) = Channel::<Bytes, Infallible>::new(1);
    let response = requests.send_request(request(url, credentials, body));
    let answer = Box::pin(async move {
        let response = tokio::time::timeout(DEADLINE, response).await.map_err(|_| Failure::Timeout)?;
        let response = response.map_err(Failure::Http)?;
        if response.status() == StatusCode::OK { Ok(response.into_body()) } else { Err(refusal(response).await) }
    });
    Ok(Subscription { out, answer, _connection: connection })
}

fn request(
    url: &ControlUrl,
    credentials: &Credentials,
    body: Channel<Bytes, Infallible>,
) -> Request<Channel<Bytes, Infallible>> {
    let mut request = Request::new(body);
    *request.method_mut() = Method::POST;
    *request.uri_mut() = url.subscription().parse().expect("a checked URL and a fixed path are a URL");
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, LINES);
    headers.insert(ACCEPT, LINES);
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("sluice/", env!("CARGO_PKG_VERSION"))));
    if let Some(token) = &credentials.authorization {
        headers.insert(AUTHORIZATION, token.clone());
    }
    request
}

/// What the control plane says to a subscription that it does not take.
async fn refusal(response: Response<Incoming>) -> Failure {
    let status = response.status();
    let body = Limited::new(response.into_body(), REFUSAL).collect().await;
    let bytes = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let json: Option<serde_json::Value> = serde_json::from_slice(&bytes).ok();
    let detail = json.and_then(|json| Some(json.get("detail")?.as_str()?.to_owned()));
    Failure::Refused(status, detail)
}
