//! One request's way, top to bottom. The only place that knows the order.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use sluice_config::validated::{Limits, StickyKey};
use sluice_proxy_core::outcome::Ending;
use sluice_proxy_core::place;
use sluice_proxy_core::retry::{Answer, Attempt, Body, Repeatable};
use sluice_proxy_core::route::RequestView;
use sluice_proxy_core::select::{Ask, Choice, Spot};
use sluice_proxy_core::split;
use sluice_proxy_core::sticky;
use tokio::time::Instant;

use crate::alarm::{Alarm, after, nearer};
use crate::client::Client;
use crate::context::Record;
use crate::filter;
use crate::live::{RouteEntry, ServiceEntry};
use crate::message::{Framing, Known, RequestHead, Version};
use crate::metrics::Connect;
use crate::patience::Deadlines;
use crate::relay::{self, Ends, Relayed};
use crate::reply;
use crate::side::{Reply, Source};
use crate::socket;
use crate::upstream::{Connection, OriginReader, OriginWriter, Peer};
use crate::worker::{Running, Worker};

/// How long a reply of our own may take to be sent.
const OWN_REPLY: Duration = Duration::from_secs(5);

/// What becomes of the connection after an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// It may carry another request.
    Request,
    /// It ends properly.
    Close,
    /// Both directions have ended already.
    Over,
    /// It is cut, so that the client cannot take half an answer for a whole one.
    Cut,
}

/// The client's side of one exchange.
#[derive(Debug)]
pub(crate) struct Downstream<'a, S, R> {
    pub(crate) source: &'a mut S,
    pub(crate) reply: &'a mut R,
    pub(crate) alarm: &'a mut Alarm,
    /// Of the listener.
    pub(crate) limits: &'a Limits,
}

/// Serves one request.
pub(crate) async fn exchange<S: Source, R: Reply>(
    worker: &Rc<Worker>,
    client: &Client,
    head: &mut RequestHead,
    down: &mut Downstream<'_, S, R>,
) -> Next {
    let mut record = Record::begin(worker, client, head);
    let running = Rc::clone(&record.running);
    let ended = match admit(&running, &record, down.limits) {
        Ok(route) => {
            record.routed(route);
            proxy(&running, &running.live.routes[route], &mut record, down).await
        }
        Err(ending) => Err(ending),
    };
    conclude(ended, &mut record, down).await
}

/// The route of a request that may have one.
fn admit(running: &Running, record: &Record<'_>, limits: &Limits) -> Result<usize, Ending> {
    if record.worker.overload.refuses() {
        record.worker.overload.shed("memory", 1);
        return Err(Ending::Overload);
    }
    if let (Framing::Length(length), Some(most)) = (record.head.framing, limits.body_bytes)
        && length > most
    {
        return Err(Ending::BodyTooLarge);
    }
    find_route(running, record.head).ok_or(Ending::NoRoute)
}

fn find_route(running: &Running, head: &RequestHead) -> Option<usize> {
    running.live.table.find(&RequestView {
        method: head.method.as_str(),
        host: head.host(),
        path: head.path(),
        query: head.query(),
        fields: &head.fields,
    })
}

/// Tries endpoints until one has answered or no other may be tried.
async fn proxy<S: Source, R: Reply>(
    running: &Running,
    route: &RouteEntry,
    record: &mut Record<'_>,
    down: &mut Downstream<'_, S, R>,
) -> Result<Relayed, Ending> {
    let service = &running.live.services[route.service];
    let _in_flight = service.series.begin(record.worker.index);
    let deadlines = Deadlines {
        total: after(record.started, service.timeouts.total),
        per_try: service.timeouts.per_try,
        idle: service.timeouts.idle,
        client: Some(down.limits),
        unhurried: is_grpc(record.head),
    };
    record.progress.declared.set(matches!(record.head.framing, Framing::Length(_)));
    let sticky = sticky_key(service, record);
    filter::prepare_request(record.head, record.client, record.id());
    let mut tried = Tried::default();
    loop {
        let choice = choose(running, route, record, sticky.as_deref(), &tried)?;
        let ending = match attempt(service, &choice, tried.stale, &deadlines, record, down).await {
            Ok(relayed) => return Ok(relayed),
            Err(ending) => ending,
        };
        if !may_try_again(service, ending, record, &choice, &mut tried) {
            return Err(ending);
        }
    }
}

/// Its streams go as fast as their two ends please; a connection that reads nothing at all is seen by itself.
fn is_grpc(head: &RequestHead) -> bool {
    let kind = || head.fields.get(Known::ContentType);
    head.version == Version::H2 && kind().is_some_and(|kind| kind.starts_with(b"application/grpc"))
}

/// What earlier attempts leave for the next.
#[derive(Debug, Default)]
struct Tried {
    last: Option<(Choice, Ending)>,
    excluded: Vec<Spot>,
    /// A kept connection had been closed by its origin: the next attempt dials.
    stale: bool,
}

/// Which endpoint. When none is left after a failure, the failure is what the client is told.
fn choose(
    running: &Running,
    route: &RouteEntry,
    record: &mut Record<'_>,
    sticky_key: Option<&[u8]>,
    tried: &Tried,
) -> Result<Choice, Ending> {
    let service = &running.live.services[route.service];
    let ask = Ask {
        capability: route.capability.unwrap_or_else(|| place::capability_of(record.head.method.as_str())),
        sticky_key,
        version: route.version,
        previous: tried.last.map(|(choice, _)| choice),
        tried: &tried.excluded,
    };
    let chosen = {
        let mut selector = running.selectors[route.service].borrow_mut();
        selector.choose(&service.core, &ask, &mut *record.worker.rng.borrow_mut())
    };
    let choice = chosen.map_err(|_| tried.last.map_or(Ending::NoEndpoint, |(_, ending)| ending))?;
    if matches!(choice.version, split::Reason::Random | split::Reason::Sticky) {
        service.versions[choice.spot.version].chosen(record.worker.index);
    }
    record.chosen(choice);
    Ok(choice)
}

fn may_try_again(
    service: &ServiceEntry,
    ending: Ending,
    record: &mut Record<'_>,
    choice: &Choice,
    tried: &mut Tried,
) -> bool {
    let dialled = matches!(ending, Ending::ConnectRefused | Ending::ConnectFailed | Ending::ConnectTimeout);
    let attempt = Attempt {
        ending,
        attempts: record.attempts - u32::from(tried.stale),
        repeatable: Repeatable::of(record.head.method.as_str()),
        sent: !dialled,
        body: match (record.head.framing.is_empty(), record.progress.bytes_in.get()) {
            (true, _) => Body::None,
            (false, 0) if !record.progress.request_whole.get() => Body::Whole,
            (false, _) => Body::Consumed,
        },
    };
    match attempt.judge() {
        Answer::Again { exclude, .. } if record.progress.answered.get().is_none() => {
            service.series.retried(ending.judge().reason);
            record.retried(ending);
            tried.last = Some((*choice, ending));
            if exclude {
                tried.excluded.push(choice.spot);
            } else {
                tried.stale = true;
            }
            true
        }
        Answer::Again { .. } | Answer::Stop(_) => false,
    }
}

/// Sends the request to one endpoint and its answer to the client. `fresh`: not on a kept connection.
async fn attempt<S: Source, R: Reply>(
    service: &ServiceEntry,
    choice: &Choice,
    fresh: bool,
    deadlines: &Deadlines<'_>,
    record: &Record<'_>,
    down: &mut Downstream<'_, S, R>,
) -> Result<Relayed, Ending> {
    let peer = service.peer(&choice.spot);
    let _flight = peer.endpoint.begin();
    let kept = if fresh { None } else { record.worker.pool.take(peer) };
    let connection = match kept {
        Some(connection) => connection,
        None => Box::pin(dial(peer, service, deadlines, record, down)).await?,
    };
    let mut answer = OriginReader::new(connection.reader, record.head, connection.reused);
    let mut upstream = OriginWriter::new(connection.writer, record.head);
    let mut head = record.worker.spare_head();
    let mut ends =
        Ends { source: &mut *down.source, reply: &mut *down.reply, answer: &mut answer, upstream: &mut upstream };
    record.progress.begin_attempt();
    let relayed = relay::relay(&mut ends, &mut head, &record.progress, deadlines, down.alarm).await;
    record.worker.return_head(head);
    match relayed? {
        Relayed::Whole => keep(peer, answer, upstream, record),
        Relayed::Switched => Box::pin(tunnel(service, answer, upstream, record, down)).await?,
    }
    relayed
}

/// Connects, unless the client leaves first.
async fn dial<S: Source, R: Reply>(
    peer: &Peer,
    service: &ServiceEntry,
    deadlines: &Deadlines<'_>,
    record: &Record<'_>,
    down: &mut Downstream<'_, S, R>,
) -> Result<Connection, Ending> {
    let connect = after(Instant::now(), Some(service.timeouts.connect));
    let deadline = nearer(connect, deadlines.total);
    let late = if deadline == connect { Ending::ConnectTimeout } else { Ending::TotalTimeout };
    let dialled = relay::while_client_stays(down.source, down.reply, record.worker.dialer.dial(peer));
    let dialled = down.alarm.bound(deadline, dialled).await.unwrap_or(Err(late));
    record.worker.metrics.upstream().connected(record.worker.index, connect_end(&dialled));
    let (reader, writer) = socket::split(dialled?);
    Ok(Connection { reader, writer, reused: false })
}

const fn connect_end<T>(dialled: &Result<T, Ending>) -> Connect {
    match dialled {
        Ok(_) => Connect::Ok,
        Err(Ending::ConnectRefused) => Connect::Refused,
        Err(Ending::ConnectTimeout) => Connect::Timeout,
        Err(_) => Connect::Failed,
    }
}

/// Keeps the connection for another exchange if both directions of this one are wholly over.
fn keep(peer: &Arc<Peer>, answer: OriginReader, upstream: OriginWriter, record: &Record<'_>) {
    if !record.progress.request_whole.get() || !upstream.writer.is_idle() {
        return;
    }
    if let Some(reader) = answer.reclaim() {
        let connection = Connection { reader, writer: upstream.writer, reused: true };
        record.worker.pool.put(peer, connection, record.progress.moved.get());
    }
}

async fn tunnel<S: Source, R: Reply>(
    service: &ServiceEntry,
    mut answer: OriginReader,
    mut upstream: OriginWriter,
    record: &Record<'_>,
    down: &mut Downstream<'_, S, R>,
) -> Result<(), Ending> {
    down.source.switch_to_raw();
    answer.switch_to_raw();
    upstream.switch_to_raw();
    let mut ends =
        Ends { source: &mut *down.source, reply: &mut *down.reply, answer: &mut answer, upstream: &mut upstream };
    match relay::tunnel(&mut ends, &record.progress, service.timeouts.tunnel_idle, down.alarm).await {
        // Nobody is at fault for having nothing more to say.
        Err(Ending::IdleTimeout) => Ok(()),
        ended => ended,
    }
}

/// Tells the client what it has not been told, and says what becomes of its connection.
async fn conclude<S: Source, R: Reply>(
    ended: Result<Relayed, Ending>,
    record: &mut Record<'_>,
    down: &mut Downstream<'_, S, R>,
) -> Next {
    let answered = record.progress.answered.get();
    let ending = match (ended, answered) {
        (Ok(_), Some(status)) => Ending::Status(status),
        (Ok(_), None) => Ending::Internal,
        (Err(ending), _) => ending,
    };
    record.end(ending);
    match ended {
        Ok(Relayed::Switched) => Next::Over,
        Ok(Relayed::Whole) => after_answer(record),
        Err(_) if answered.is_some() => Next::Cut,
        Err(ending) => match reply::failure(ending, &record.id()) {
            Some(own) => send_own(own, record, down).await,
            None => Next::Cut,
        },
    }
}

/// A connection whose request was not read to its end cannot carry another.
fn after_answer(record: &Record<'_>) -> Next {
    let whole = record.progress.request_whole.get() || record.head.framing.is_empty();
    if whole { Next::Request } else { Next::Close }
}

async fn send_own<S: Source, R: Reply>(
    own: reply::Own,
    record: &mut Record<'_>,
    down: &mut Downstream<'_, S, R>,
) -> Next {
    let (status, bytes) = (own.head.status, own.body.len());
    if after_answer(record) == Next::Close {
        down.reply.last();
    }
    let deadline = after(Instant::now(), Some(OWN_REPLY));
    match down.alarm.bound(deadline, own.send(down.reply)).await {
        Some(Ok(())) => {
            record.replied(status);
            record.progress.gave(bytes);
            after_answer(record)
        }
        Some(Err(_)) | None => Next::Cut,
    }
}

/// What a sticky split holds on to.
fn sticky_key(service: &ServiceEntry, record: &Record<'_>) -> Option<Vec<u8>> {
    let fields = &record.head.fields;
    match service.core.sticky()? {
        StickyKey::Header(name) => fields.get_named(name).map(<[u8]>::to_vec),
        StickyKey::Cookie(name) => sticky::cookie(fields.all(Known::Cookie), name).map(<[u8]>::to_vec),
        StickyKey::ClientAddress => {
            let (bytes, length) = sticky::address(record.client.address.ip());
            Some(bytes[..length].to_vec())
        }
    }
}
