//! A proxy's subscription: one request whose two directions are streams of messages, a line of JSON each.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::{Body, BodyDataStream};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, StatusCode};
use sluice_config::wire::Reply;
use sluice_control_core::access::Action;
use tokio::time::timeout;

use super::caller::Caller;
use super::error::Refused;
use super::operation::{Content, Operation};
use crate::distribute::{Distributor, Link};
use crate::plane::Plane;

/// The media type of the messages.
const NDJSON: &str = "application/x-ndjson";

/// The longest message that a proxy may send: a report of ten thousand pools.
const LINE: usize = 8 << 20;

/// How long a proxy may take to say who it is, and how long it may be silent: it reports more often.
const HELLO: std::time::Duration = std::time::Duration::from_secs(10);
const SILENCE: std::time::Duration = std::time::Duration::from_secs(30);

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new((Method::POST, "/v1/subscribe"), Action::Subscribe, "subscribe", ABOUT, subscribe)
            .takes(Content::Text(NDJSON))
            .answers(Content::Text(NDJSON))
            .at_most(usize::MAX)
            .refuses(&[StatusCode::CONFLICT, StatusCode::UNPROCESSABLE_ENTITY]),
    ]
}

const ABOUT: &str =
    "For proxies: the request is a stream of what the proxy says, the answer a stream of what it shall run.";

async fn subscribe(State(plane): State<Arc<Plane>>, caller: Caller, request: Request) -> Result<Response, Refused> {
    let mut lines = Lines::new(request.into_body());
    let hello = timeout(HELLO, lines.next()).await.ok().flatten();
    let hello = match hello.as_deref().map(serde_json::from_slice::<Reply>) {
        Some(Ok(Reply::Hello(hello))) => hello,
        Some(Err(error)) => return Err(unexpected(&format!("the first message is not understood: {error}"))),
        Some(Ok(_)) | None => return Err(unexpected("a proxy first says who it is")),
    };
    let node = hello.node.clone();
    if let Some(certified) = caller.certified.filter(|name| *name != node.as_str()) {
        let detail = format!("the certificate is that of {certified:?}, and the proxy calls itself {node}");
        return Err(Refused::new(StatusCode::FORBIDDEN, "other-certificate", detail)
            .hint("give the proxy the name that its certificate has as common name: --node"));
    }
    let joined = plane.distributor().join(hello, &caller.who.origin);
    let (link, orders) = joined.map_err(|reason| {
        Refused::new(StatusCode::CONFLICT, "node-not-taken-in", format!("{node} is not taken in: {reason}"))
            .hint("give each proxy a name of its own (--node), and run the same release on all")
    })?;
    tokio::spawn(listen(Arc::clone(plane.distributor()), link, lines));
    let stream = futures_util::stream::unfold(orders, |mut orders| async {
        let order: Bytes = orders.recv().await?;
        Some((Ok::<_, Infallible>(order), orders))
    });
    let mut response = Body::from_stream(stream).into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(NDJSON));
    Ok(response)
}

fn unexpected(words: &str) -> Refused {
    Refused::new(StatusCode::UNPROCESSABLE_ENTITY, "unexpected-message", words)
        .hint("this path is for `sluice proxy --control`")
}

/// Hears a proxy until it goes, falls silent, or says what nobody understands.
async fn listen(distributor: Arc<Distributor>, link: Link, mut lines: Lines) {
    let why = loop {
        let line = match timeout(SILENCE, lines.next()).await {
            Ok(Some(line)) => line,
            Ok(None) => break "it closed the connection",
            Err(_) => break "it was silent for too long",
        };
        match serde_json::from_slice::<Reply>(&line) {
            Ok(reply) => distributor.hear(&link, &reply),
            Err(error) => {
                tracing::error!(node = %link.node(), %error, "a proxy's message is not understood; it is cut off");
                break "it said what is not understood";
            }
        }
    };
    distributor.leave(&link, why);
}

/// The lines of a request's content.
struct Lines {
    content: BodyDataStream,
    buffer: BytesMut,
    /// How far the buffer was searched for the end of a line.
    searched: usize,
}

impl Lines {
    fn new(body: Body) -> Self {
        Self { content: body.into_data_stream(), buffer: BytesMut::new(), searched: 0 }
    }

    /// The next line without its end; nothing at the end of the content, an error or a line that is too long.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            let found = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n');
            if let Some(at) = found {
                let line = self.buffer.split_to(self.searched + at + 1).freeze();
                self.searched = 0;
                return Some(line.slice(..line.len() - 1));
            }
            self.searched = self.buffer.len();
            if self.searched > LINE {
                return None;
            }
            self.buffer.extend_from_slice(&self.content.next().await?.ok()?);
        }
    }
}
