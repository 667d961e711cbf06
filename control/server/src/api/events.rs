//! What happens, as it happens: server-sent events.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::Stream;
use http::Method;
use sluice_control_core::access::Action;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use super::operation::{Content, Operation};
use crate::events::News;
use crate::plane::Plane;

/// How often a silent stream shows that it is alive.
const ALIVE: Duration = Duration::from_secs(15);

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new((Method::GET, "/v1/events"), Action::Read, "streamEvents", ABOUT, stream)
            .answers(Content::Text("text/event-stream")),
    ]
}

const ABOUT: &str = "What happens from now on: `revision`, `node` and `file`. An event is a hint to look; `missed` says that \
                     some were lost to a slow reader.";

async fn stream(State(plane): State<Arc<Plane>>) -> Response {
    let news = follow(plane.events().listen());
    Sse::new(news).keep_alive(KeepAlive::new().interval(ALIVE)).into_response()
}

fn follow(news: broadcast::Receiver<News>) -> impl Stream<Item = Result<Event, Infallible>> {
    futures_util::stream::unfold(news, |mut news| async {
        let event = match news.recv().await {
            Ok(News::Revision(revision)) => event("revision", revision.as_ref()),
            Ok(News::File { what }) => event("file", &what),
            Ok(node @ News::Node { .. }) => event("node", &node),
            Err(RecvError::Lagged(missed)) => event("missed", &missed),
            Err(RecvError::Closed) => return None,
        };
        Some((Ok(event), news))
    })
}

fn event(name: &str, data: &impl serde::Serialize) -> Event {
    let data = serde_json::to_string(data).expect("news have text keys only");
    Event::default().event(name).data(data)
}
