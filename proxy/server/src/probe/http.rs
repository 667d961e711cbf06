//! One probe by a request, in the protocol of the service.

use std::time::Duration;

use bytes::Bytes;
use http::uri::{Authority, Scheme};
use http::{HeaderName, HeaderValue, Method, Request, Response, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use sluice_config::validated::{HttpProbe, ProbeMethod, Protocol};
use sluice_proxy_core::health::{Cause, Word};
use tokio_util::task::AbortOnDropHandle;

use super::asker::told;
use super::ration::Rationed;
use super::search::Search;
use super::{Finding, Target};

/// What probes call themselves.
pub(super) const USER_AGENT: HeaderValue =
    HeaderValue::from_static(concat!("sluice-probe/", env!("CARGO_PKG_VERSION")));
/// The field in which an endpoint says what it wants.
const WORD: &str = "sluice-endpoint";
/// How much of a body is looked through.
const BODY_BYTES: usize = 64 << 10;
/// How much of an answer's body, and for how long, is read after the verdict: closing on unread bytes would reset the
/// connection and fill the origin's log with errors.
const DRAIN_BYTES: usize = 64 << 10;
pub(super) const DRAIN_TIME: Duration = Duration::from_secs(1);

/// The head of an answer whose body is still to come, and the connection that it comes on.
pub(super) type Answered = (Response<Incoming>, AbortOnDropHandle<()>);

/// Sends the request and judges the answer by its status and, where that is asked for, its body.
pub(super) async fn ask(wire: Rationed, to: &Target, probe: &HttpProbe) -> Result<Finding, Cause> {
    let request = request(to, probe).ok_or(Cause::Malformed)?;
    let (mut answer, connection) = send(wire, to.reach.protocol, request).await?;
    let word = answer.headers().get(WORD).filter(|_| to.check.agent).and_then(word);
    let verdict = judge(&mut answer, probe).await;
    tokio::spawn(tokio::time::timeout(DRAIN_TIME, drain(answer, connection)));
    Ok(Finding { verdict: verdict.into(), word })
}

async fn judge(answer: &mut Response<Incoming>, probe: &HttpProbe) -> Result<(), Cause> {
    let status = answer.status().as_u16();
    if !probe.statuses.iter().any(|range| range.holds(status)) {
        return Err(Cause::Status(status));
    }
    let mut search = Search::new(probe.body.as_deref(), BODY_BYTES);
    while !search.found() && !search.is_full() {
        let Some(frame) = answer.body_mut().frame().await else { break };
        let frame = frame.map_err(|error| told(&error, answer_cause(&error)))?;
        search.read(frame.data_ref().map_or(&[], |data| data));
    }
    if search.found() { Ok(()) } else { Err(Cause::Text) }
}

fn word(field: &HeaderValue) -> Option<Word> {
    let word = Word::parse(field.as_bytes());
    if word.is_none() {
        tracing::debug!(?field, "an endpoint says what is no word: NN%, drain or ready");
    }
    word
}

/// Sends a request on a new connection; answers with the final head.
pub(super) async fn send(wire: Rationed, protocol: Protocol, request: Request<Full<Bytes>>) -> Result<Answered, Cause> {
    let answered = match protocol {
        Protocol::Http1 => by_h1(wire, request).await,
        Protocol::Http2 => by_h2(wire, request).await,
    };
    answered.map_err(|error| told(&error, answer_cause(&error)))
}

async fn by_h1(wire: Rationed, mut request: Request<Full<Bytes>>) -> Result<Answered, hyper::Error> {
    let mut builder = http1::Builder::new();
    builder.title_case_headers(true);
    let (mut requests, connection) = builder.handshake(TokioIo::new(wire)).await?;
    let connection = drive(connection);
    let fields = request.headers_mut();
    fields.insert(header::CONNECTION, HeaderValue::from_static("close"));
    let target = request.uri().path_and_query().cloned();
    *request.uri_mut() = target.map(Uri::from).unwrap_or_default();
    Ok((requests.send_request(request).await?, connection))
}

async fn by_h2(wire: Rationed, mut request: Request<Full<Bytes>>) -> Result<Answered, hyper::Error> {
    let (mut requests, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(wire)).await?;
    let connection = drive(connection);
    // The authority says it.
    request.headers_mut().remove(header::HOST);
    Ok((requests.send_request(request).await?, connection))
}

/// Runs a connection for as long as its handle lives.
fn drive(connection: impl Future<Output = Result<(), hyper::Error>> + Send + 'static) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "the connection of a probe ended");
        }
    }))
}

/// Nothing for a host or path that cannot be asked for.
fn request(to: &Target, probe: &HttpProbe) -> Option<Request<Full<Bytes>>> {
    let mut request = Request::new(Full::default());
    *request.method_mut() = match probe.method {
        ProbeMethod::Get => Method::GET,
        ProbeMethod::Head => Method::HEAD,
    };
    *request.uri_mut() = uri(to, probe.host.as_deref(), &probe.path)?;
    let fields = request.headers_mut();
    let host = probe.host.clone().unwrap_or_else(|| to.address().to_string());
    fields.insert(header::HOST, host.try_into().ok()?);
    fields.insert(header::USER_AGENT, USER_AGENT);
    for (name, value) in &probe.headers {
        fields.insert(HeaderName::try_from(name).ok()?, HeaderValue::from_bytes(value.as_bytes()).ok()?);
    }
    Some(request)
}

/// Where a request goes. Without a host it is the address that is asked.
pub(super) fn uri(to: &Target, host: Option<&str>, path: &str) -> Option<Uri> {
    let scheme = if to.reach.is_secure() { Scheme::HTTPS } else { Scheme::HTTP };
    let authority: Authority = host.map_or_else(|| to.address().to_string().parse(), str::parse).ok()?;
    Uri::builder().scheme(scheme).authority(authority).path_and_query(path).build().ok()
}

async fn drain(mut answer: Response<Incoming>, connection: AbortOnDropHandle<()>) {
    let mut left = DRAIN_BYTES;
    while let Some(Ok(frame)) = answer.body_mut().frame().await {
        let read = frame.data_ref().map_or(0, Bytes::len);
        let Some(rest) = left.checked_sub(read) else { break };
        left = rest;
    }
    drop(connection);
}

pub(super) fn answer_cause(error: &hyper::Error) -> Cause {
    if error.is_parse() { Cause::Malformed } else { Cause::Reset }
}
