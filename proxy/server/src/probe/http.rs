//! One probe by GET, in the protocol of the service and with its TLS: the same dialling as traffic, a connection of its own
//! each time, so that an endpoint that takes no new connections is found out.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::uri::{Authority, Scheme};
use http::{HeaderValue, Request, Response, Uri, header};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use sluice_config::validated::Protocol;
use sluice_proxy_core::health::{Cause, Verdict};
use tokio_util::task::AbortOnDropHandle;

use super::{Probe, Target};
use crate::upstream::{Dialer, Unreached, Wire, target};

/// What probes call themselves.
const USER_AGENT: HeaderValue = HeaderValue::from_static(concat!("sluice-probe/", env!("CARGO_PKG_VERSION")));
/// How much of an answer's body, and for how long, is read after the verdict: closing on unread bytes would reset the
/// connection and fill the origin's log with errors.
const DRAIN_BYTES: usize = 64 << 10;
const DRAIN_TIME: Duration = Duration::from_secs(1);

/// Sends GET; a final status of 200 to 299 is good.
#[derive(Debug)]
pub struct HttpProbe {
    dialer: Dialer,
}

impl HttpProbe {
    /// Builds the connector, once for all endpoints.
    ///
    /// # Errors
    /// When `/dev/null` cannot be read.
    pub fn new() -> io::Result<Self> {
        Ok(Self { dialer: Dialer::new()? })
    }

    async fn ask(&self, to: &Target) -> Result<u16, Cause> {
        let request = request(to).ok_or(Cause::Malformed)?;
        let wire = self.dialer.dial(&target(to.endpoint.id().address), &to.reach).await;
        let wire = wire.map_err(|error| told(&error, connect_cause(&error)))?;
        let (answer, connection) = match to.reach.protocol {
            Protocol::Http1 => by_h1(wire, request).await,
            Protocol::Http2 => by_h2(wire, request).await,
        }
        .map_err(|error| told(&error, answer_cause(&error)))?;
        let status = answer.status().as_u16();
        tokio::spawn(tokio::time::timeout(DRAIN_TIME, drain(answer, connection)));
        Ok(status)
    }
}

impl Probe for HttpProbe {
    async fn probe(&self, target: &Target) -> Verdict {
        match self.ask(target).await {
            Ok(200..=299) => Verdict::Good,
            Ok(status) => Verdict::Bad(Cause::Status(status)),
            Err(cause) => Verdict::Bad(cause),
        }
    }
}

type Answered = (Response<Incoming>, AbortOnDropHandle<()>);

async fn by_h1(wire: Wire, mut request: Request<Empty<Bytes>>) -> Result<Answered, hyper::Error> {
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

async fn by_h2(wire: Wire, mut request: Request<Empty<Bytes>>) -> Result<Answered, hyper::Error> {
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
fn request(to: &Target) -> Option<Request<Empty<Bytes>>> {
    let check = &to.check.http;
    let host = check.host.clone().unwrap_or_else(|| to.endpoint.id().address.to_string());
    let scheme = if to.reach.is_secure() { Scheme::HTTPS } else { Scheme::HTTP };
    let authority: Authority = host.parse().ok()?;
    let uri = Uri::builder().scheme(scheme).authority(authority).path_and_query(check.path.as_str()).build().ok()?;
    let mut request = Request::new(Empty::new());
    *request.uri_mut() = uri;
    request.headers_mut().insert(header::HOST, host.try_into().ok()?);
    request.headers_mut().insert(header::USER_AGENT, USER_AGENT);
    Some(request)
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

const fn connect_cause(error: &Unreached) -> Cause {
    match error {
        Unreached::Refused => Cause::Refused,
        Unreached::TimedOut => Cause::Timeout,
        Unreached::Failed(_) => Cause::Unreachable,
        Unreached::Tls(_) => Cause::Tls,
    }
}

fn answer_cause(error: &hyper::Error) -> Cause {
    if error.is_parse() { Cause::Malformed } else { Cause::Reset }
}

fn told(error: &dyn std::fmt::Display, cause: Cause) -> Cause {
    tracing::debug!(%error, cause = cause.as_str(), "a probe failed");
    cause
}
