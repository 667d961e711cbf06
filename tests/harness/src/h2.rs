//! HTTP/2 clients without TLS (prior knowledge): one by the `h2` crate, one that writes frames by hand.

pub mod raw;

use std::future::poll_fn;
use std::net::SocketAddr;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Connection, ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Method, Request, StatusCode};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use crate::wait::DEADLINE;

/// So large that responses that nobody reads yet cannot hold up one that is read. Each stream's window is the standard's.
const CONNECTION_WINDOW: u32 = 16 << 20;

/// One connection, driven in the background. Methods block; what is not here goes by [`Client::block_on`].
#[derive(Debug)]
pub struct Client {
    runtime: Runtime,
    requests: SendRequest<Bytes>,
    connection: Option<JoinHandle<Result<(), h2::Error>>>,
}

/// A whole response.
#[derive(Debug)]
pub struct Response {
    /// Statuses and fields of interim responses, in their order.
    pub interim: Vec<http::Response<()>>,
    /// The final status.
    pub status: StatusCode,
    /// The final head's fields.
    pub fields: HeaderMap,
    /// The content.
    pub body: Vec<u8>,
    /// Behind the body.
    pub trailers: Option<HeaderMap>,
}

impl Response {
    /// The first value of a field of the head as text; empty when absent.
    #[must_use]
    pub fn field(&self, name: &str) -> &str {
        self.fields.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// An exchange under way.
#[derive(Debug)]
pub struct Exchange {
    response: ResponseFuture,
    /// Where the request's body goes.
    pub body: SendStream<Bytes>,
}

impl Client {
    /// A connection.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn connect(to: SocketAddr) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime for a client");
        let (requests, connection) = runtime.block_on(handshake(to));
        let connection = Some(runtime.spawn(connection));
        Self { runtime, requests, connection }
    }

    /// Runs a future of this connection to its end.
    ///
    /// # Panics
    /// When it takes longer than the deadline.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        let limited = async { tokio::time::timeout(DEADLINE, future).await };
        self.runtime.block_on(limited).expect("an answer within the deadline")
    }

    /// Sends a request's head; the body follows when `more`.
    ///
    /// # Errors
    /// What the connection says.
    pub fn begin(&mut self, request: Request<()>, more: bool) -> Result<Exchange, h2::Error> {
        let requests = self.requests.clone();
        let mut ready = self.block_on(requests.ready())?;
        let (response, body) = ready.send_request(request, !more)?;
        self.requests = ready;
        Ok(Exchange { response, body })
    }

    /// Reads the response of an exchange to its end.
    ///
    /// # Errors
    /// How the stream failed.
    pub fn response(&self, exchange: Exchange) -> Result<Response, h2::Error> {
        let Exchange { response, body } = exchange;
        let whole = self.block_on(read(response));
        drop(body);
        whole
    }

    /// Sends a request with this body, and these trailers behind it, while its response is read.
    ///
    /// # Errors
    /// How the stream failed.
    pub fn converse(
        &mut self,
        request: Request<()>,
        body: Bytes,
        trailers: Option<HeaderMap>,
    ) -> Result<Response, h2::Error> {
        let Exchange { response, body: mut stream } = self.begin(request, true)?;
        let sending = async {
            send(&mut stream, body, trailers.is_none()).await?;
            trailers.map_or(Ok(()), |trailers| stream.send_trailers(trailers))
        };
        // A server may answer before it has read all, and then wants no more.
        self.block_on(async { tokio::join!(sending, read(response)) }).1
    }

    /// Sends a GET and reads its response.
    ///
    /// # Panics
    /// When there is no whole response.
    pub fn get(&mut self, path: &str) -> Response {
        let request = request(Method::GET, path);
        let exchange = self.begin(request, false).unwrap_or_else(|e| panic!("cannot send {path}: {e}"));
        self.response(exchange).unwrap_or_else(|e| panic!("no response to {path}: {e}"))
    }

    /// Waits until the server has ended the connection; its reason, unless it ended without an error.
    ///
    /// # Panics
    /// When it does not end within `deadline`.
    pub fn closed(&mut self, deadline: Duration) -> Option<Reason> {
        let connection = self.connection.take().expect("awaited once");
        let limited = async { tokio::time::timeout(deadline, connection).await };
        let ended = self.runtime.block_on(limited).expect("the connection ends within the deadline");
        ended.expect("the connection's task does not panic").err().and_then(|e| e.reason())
    }
}

/// A request for the host `test`.
///
/// # Panics
/// When the path is no path.
#[must_use]
pub fn request(method: Method, path: &str) -> Request<()> {
    let uri = format!("http://test{path}");
    Request::builder().method(method).uri(uri).body(()).expect("a plain request")
}

/// Sends bytes as the peer's window allows.
///
/// # Errors
/// How the stream failed.
pub async fn send(body: &mut SendStream<Bytes>, mut bytes: Bytes, end: bool) -> Result<(), h2::Error> {
    while !bytes.is_empty() {
        body.reserve_capacity(bytes.len());
        let room = poll_fn(|cx| body.poll_capacity(cx)).await.unwrap_or(Err(Reason::STREAM_CLOSED.into()))?;
        let piece = bytes.split_to(room.min(bytes.len()));
        body.send_data(piece, false)?;
    }
    if end { body.send_data(Bytes::new(), true) } else { Ok(()) }
}

/// Reads a response to its end.
///
/// # Errors
/// How the stream failed.
pub async fn read(mut response: ResponseFuture) -> Result<Response, h2::Error> {
    let mut interim = Vec::new();
    let (head, mut stream) = final_head(&mut response, &mut interim).await?.into_parts();
    let mut body = Vec::new();
    while let Some(piece) = data(&mut stream).await? {
        body.extend_from_slice(&piece);
    }
    let trailers = stream.trailers().await?;
    Ok(Response { interim, status: head.status, fields: head.headers, body, trailers })
}

async fn final_head(
    response: &mut ResponseFuture,
    interim: &mut Vec<http::Response<()>>,
) -> Result<http::Response<RecvStream>, h2::Error> {
    poll_fn(|cx| {
        while let Poll::Ready(Some(head)) = response.poll_informational(cx) {
            match head {
                Ok(head) => interim.push(head),
                Err(e) => return Poll::Ready(Err(e)),
            }
        }
        std::pin::Pin::new(&mut *response).poll(cx)
    })
    .await
}

impl Exchange {
    /// Waits for the final head, so that the body can be read piece by piece with [`data`].
    ///
    /// # Errors
    /// How the stream failed.
    pub async fn head(&mut self) -> Result<http::Response<RecvStream>, h2::Error> {
        final_head(&mut self.response, &mut Vec::new()).await
    }
}

/// The next piece of a body, which makes room for another; nothing at its end.
///
/// # Errors
/// How the stream failed.
pub async fn data(stream: &mut RecvStream) -> Result<Option<Bytes>, h2::Error> {
    let Some(piece) = stream.data().await.transpose()? else { return Ok(None) };
    stream.flow_control().release_capacity(piece.len())?;
    Ok(Some(piece))
}

async fn handshake(to: SocketAddr) -> (SendRequest<Bytes>, Connection<TcpStream, Bytes>) {
    let stream = TcpStream::connect(to).await.unwrap_or_else(|e| panic!("no connection to {to}: {e}"));
    stream.set_nodelay(true).expect("a connected socket takes this option");
    let mut client = h2::client::Builder::new();
    let dial = client.initial_connection_window_size(CONNECTION_WINDOW).handshake(stream);
    dial.await.unwrap_or_else(|e| panic!("no HTTP/2 at {to}: {e}"))
}
