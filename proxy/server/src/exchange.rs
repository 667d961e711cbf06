//! One request's way, top to bottom. The only place that knows the order.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use sluice_config::validated::{Limits, Protocol};
use sluice_proxy_core::outcome::Ending;
use sluice_proxy_core::retry::Repeatable;
use sluice_proxy_core::route::RequestView;
use sluice_proxy_core::select::{Choice, Waiting};
use sluice_proxy_core::split;
use tokio::time::Instant;

use crate::alarm::{Alarm, after, nearer};
use crate::client::Client;
use crate::context::Record;
use crate::filter;
use crate::live::{RouteEntry, ServiceEntry};
use crate::message::{Framing, Known, RequestHead};
use crate::relay::{self, Ends, Relayed};
use crate::reply;
use crate::retry::{Aim, Planned, Tries, Unplaced, Verdict};
use crate::side::{Answer, Reply, Sink, Source};
use crate::socket;
use crate::upstream::{Connection, OriginReader, OriginWriter, Peer, SEAT, h2};
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
    if record.client.misdirects(record.head.host()) {
        return Err(Ending::Misdirected);
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
) -> Result<Next, Ending> {
    let service = &running.live.services[route.service];
    let _in_flight = service.series.begin(record.worker.index);
    let mut tries = Tries::new(running, route, record, down.limits);
    let stripped = filter::prepare_request(record.head, record.client, record.said.as_deref(), &record.id);
    if stripped.protected > 0 {
        record.worker.metrics.nominations_ignored(stripped.protected);
    }
    let mut aim = match tries.first(record, None) {
        Ok(aim) => aim,
        Err(Unplaced::For(ending)) => return Err(ending),
        Err(Unplaced::Full(waiting)) => Box::pin(wait_for_room(&tries, waiting, record, down)).await?,
    };
    loop {
        chosen(service, aim.choice, record);
        let planned = match attempt(&tries, &aim, record, down).await {
            Ok(Answered::Whole) => return Ok(after_answer(record)),
            Ok(Answered::Tunnelled) => return Ok(Next::Over),
            Ok(Answered::Refused(planned)) => planned,
            Err(Failed { ending, sent }) => tries.after_failure(record, &aim.choice, ending, sent).ok_or(ending)?,
        };
        let wait = planned.wait;
        aim = tries.take(*planned, &aim.choice, record);
        if !wait.is_zero() {
            Box::pin(pause(wait, down)).await?;
        }
    }
}

/// Waits in the queue of a pool, unless the client leaves first.
async fn wait_for_room<S: Source, R: Reply>(
    tries: &Tries<'_>,
    mut waiting: Waiting,
    record: &Record<'_>,
    down: &mut Downstream<'_, S, R>,
) -> Result<Aim, Ending> {
    let (deadline, mut again) = (tries.patience(), false);
    loop {
        let wait = tries.wait(record, &waiting, deadline, again);
        relay::while_client_stays(down.source, down.reply, wait).await?;
        waiting = match tries.first(record, Some(waiting)) {
            Ok(aim) => {
                tries.granted(waiting.place.pool());
                return Ok(aim);
            }
            Err(Unplaced::For(ending)) => return Err(ending),
            Err(Unplaced::Full(waiting)) => waiting,
        };
        again = true;
    }
}

/// Counts a request for where it was assigned to, wherever it goes.
fn assigned(service: &ServiceEntry, choice: &Choice, worker: usize) {
    let core = &service.core;
    let version = choice.moved.map_or(choice.spot.version, |moved| moved.pool(core).1);
    if choice.version != split::Reason::Pinned {
        service.versions[version].chosen(worker);
    }
    if let Some(moved) = choice.moved {
        service.pool_series(moved.pool(core)).gave_away(moved.to(core, choice.spot.version).as_str());
    }
}

fn chosen(service: &ServiceEntry, choice: Choice, record: &mut Record<'_>) {
    if record.attempts == 0 {
        assigned(service, &choice, record.worker.index);
    }
    record.chosen(choice);
}

/// Waits before another attempt, unless the client leaves first.
async fn pause<S: Source, R: Reply>(wait: Duration, down: &mut Downstream<'_, S, R>) -> Result<(), Ending> {
    let until = after(Instant::now(), Some(wait));
    let gone = relay::while_client_stays(down.source, down.reply, std::future::pending());
    down.alarm.bound(until, gone).await.unwrap_or(Ok(()))
}

/// How the origin answered one attempt.
enum Answered {
    /// The whole answer was passed on.
    Whole,
    /// It switched protocols, and both directions of that have ended.
    Tunnelled,
    /// The answer was not passed on, since this attempt follows.
    Refused(Box<Planned>),
}

/// An attempt without an answer.
struct Failed {
    ending: Ending,
    /// A byte of the request may have been sent.
    sent: bool,
}

impl Failed {
    const fn unsent(ending: Ending) -> Self {
        Self { ending, sent: false }
    }
}

/// Sends the request to one endpoint and its answer to the client, unless another attempt is better than the answer.
async fn attempt<S: Source, R: Reply>(
    tries: &Tries<'_>,
    aim: &Aim,
    record: &Record<'_>,
    down: &mut Downstream<'_, S, R>,
) -> Result<Answered, Failed> {
    let peer = tries.service.peer(&aim.choice.spot);
    if !tries.stale && Repeatable::of(record.head.method.as_str()) == Repeatable::Never {
        // So that the ends of kept connections are seen that have come and were not looked at yet: this request could not
        // be sent again.
        tokio::task::yield_now().await;
    }
    record.progress.begin_attempt();
    let answered = match peer.reach.protocol {
        Protocol::Http1 => over_h1(tries, aim, record, down).await,
        Protocol::Http2 => Box::pin(over_h2(tries, aim, peer, record, down)).await,
    };
    tries.note(aim, ending(&answered, record), record);
    answered
}

/// What an attempt ended with. That of a tunnel was noted at the switch.
fn ending(answered: &Result<Answered, Failed>, record: &Record<'_>) -> Option<Ending> {
    match answered {
        Ok(Answered::Whole) => record.progress.answered.get().map(|status| record.progress.call.ending(status)),
        Ok(Answered::Tunnelled) => None,
        Ok(Answered::Refused(planned)) => Some(planned.ending),
        Err(_) if record.progress.answered.get() == Some(101) => None,
        Err(failed) => Some(record.progress.call.late(failed.ending)),
    }
}

async fn over_h1<S: Source, R: Reply>(
    tries: &Tries<'_>,
    aim: &Aim,
    record: &Record<'_>,
    down: &mut Downstream<'_, S, R>,
) -> Result<Answered, Failed> {
    let connection =
        connect(tries.service.peer(&aim.choice.spot), tries, record, down).await.map_err(Failed::unsent)?;
    let mut answer = OriginReader::new(connection.reader, record.head, connection.reused);
    let mut upstream = OriginWriter::new(connection.writer, record.head);
    let answered = pass(tries, aim, record, down, (&mut answer, &mut upstream)).await;
    let sent = upstream.sent();
    let at_end = match &answered {
        Ok(Answered::Whole) => true,
        Ok(Answered::Refused(_)) => relay::is_at_hand(&mut answer),
        Ok(Answered::Tunnelled) | Err(_) => false,
    };
    if at_end {
        keep(tries.service.peer(&aim.choice.spot), answer, upstream, record);
    }
    answered.map_err(|ending| Failed { ending, sent })
}

async fn over_h2<S: Source, R: Reply>(
    tries: &Tries<'_>,
    aim: &Aim,
    peer: &Arc<Peer>,
    record: &Record<'_>,
    down: &mut Downstream<'_, S, R>,
) -> Result<Answered, Failed> {
    let slot = record.worker.pool.slot(peer, &record.worker.connector, tries.service.timeouts.connect);
    let patience = if peer.reach.most.is_some() { SEAT } else { Duration::ZERO };
    let slot = while_connecting(slot, patience, tries, down).await.map_err(Failed::unsent)?;
    let (mut answer, mut upstream) = h2::begin(slot, peer, record.head).map_err(Failed::unsent)?;
    let answered = pass(tries, aim, record, down, (&mut answer, &mut upstream)).await;
    answered.map_err(|ending| Failed { ending, sent: !answer.untouched() })
}

/// Relays between the client and an origin, by whatever protocol.
async fn pass<S: Source, R: Reply, A: Answer, U: Sink>(
    tries: &Tries<'_>,
    aim: &Aim,
    record: &Record<'_>,
    down: &mut Downstream<'_, S, R>,
    (answer, upstream): (&mut A, &mut U),
) -> Result<Answered, Ending> {
    let mut head = record.worker.spare_head();
    let verdict = Verdict::new(tries, record, &aim.choice);
    let mut ends =
        Ends { source: &mut *down.source, reply: &mut *down.reply, answer: &mut *answer, upstream: &mut *upstream };
    let relayed = relay::relay(&mut ends, &mut head, &verdict, &record.progress, &tries.deadlines, down.alarm).await;
    record.worker.return_head(head);
    Ok(match relayed? {
        Relayed::Whole => Answered::Whole,
        Relayed::Refused => Answered::Refused(verdict.planned()),
        Relayed::Switched => {
            // How the endpoint answers is known now; the tunnel may stay for hours.
            tries.note(aim, Some(Ending::Status(101)), record);
            Box::pin(tunnel(tries.service, answer, upstream, record, down)).await?;
            Answered::Tunnelled
        }
    })
}

/// A connection that was kept or, if there is none, a new one.
async fn connect<S: Source, R: Reply>(
    peer: &Peer,
    tries: &Tries<'_>,
    record: &Record<'_>,
    down: &mut Downstream<'_, S, R>,
) -> Result<Connection, Ending> {
    if !tries.stale
        && let Some(kept) = record.worker.pool.take(peer)
    {
        return Ok(kept);
    }
    Box::pin(dial(peer, tries, record, down)).await
}

/// Connects, unless the client leaves first.
async fn dial<S: Source, R: Reply>(
    peer: &Peer,
    tries: &Tries<'_>,
    record: &Record<'_>,
    down: &mut Downstream<'_, S, R>,
) -> Result<Connection, Ending> {
    let connector = &record.worker.connector;
    // Before the time for connecting begins: that others have every place is no fault of the endpoint.
    let seat = relay::while_client_stays(down.source, down.reply, connector.seat(peer)).await?;
    let dialled = while_connecting(connector.connect(peer, seat), Duration::ZERO, tries, down).await;
    connector.count(&dialled);
    let (reader, writer) = socket::split(dialled?);
    Ok(Connection { reader, writer, reused: false })
}

/// `further`: beside the time for connecting.
async fn while_connecting<S: Source, R: Reply, T>(
    connecting: impl Future<Output = Result<T, Ending>>,
    further: Duration,
    tries: &Tries<'_>,
    down: &mut Downstream<'_, S, R>,
) -> Result<T, Ending> {
    let connect = after(Instant::now(), Some(tries.service.timeouts.connect + further));
    let deadline = nearer(connect, tries.deadlines.total);
    let late = if deadline == connect { Ending::ConnectTimeout } else { Ending::TotalTimeout };
    let connecting = relay::while_client_stays(down.source, down.reply, connecting);
    down.alarm.bound(deadline, connecting).await.unwrap_or(Err(late))
}

/// Keeps the connection for another exchange if both directions of this one are wholly over.
fn keep(peer: &Arc<Peer>, answer: OriginReader, upstream: OriginWriter, record: &Record<'_>) {
    if !record.progress.sent_whole.get() || !upstream.writer.is_idle() {
        return;
    }
    if let Some(reader) = answer.reclaim() {
        let connection = Connection { reader, writer: upstream.writer, reused: true };
        record.worker.pool.put(peer, connection, record.progress.moved.get());
    }
}

/// Passes raw bytes both ways after a switch of protocols.
async fn tunnel<S: Source, R: Reply, A: Source, U: Sink>(
    service: &ServiceEntry,
    answer: &mut A,
    upstream: &mut U,
    record: &Record<'_>,
    down: &mut Downstream<'_, S, R>,
) -> Result<(), Ending> {
    down.source.switch_to_raw();
    answer.switch_to_raw();
    upstream.switch_to_raw();
    let mut ends = Ends { source: &mut *down.source, reply: &mut *down.reply, answer, upstream };
    match relay::tunnel(&mut ends, &record.progress, service.timeouts.tunnel_idle, down.alarm).await {
        // Nobody is at fault for having nothing more to say.
        Err(Ending::IdleTimeout) => Ok(()),
        ended => ended,
    }
}

/// Tells the client what it has not been told, and says what becomes of its connection.
async fn conclude<S: Source, R: Reply>(
    ended: Result<Next, Ending>,
    record: &mut Record<'_>,
    down: &mut Downstream<'_, S, R>,
) -> Next {
    let answered = record.progress.answered.get();
    let ending = match (ended, answered) {
        (Ok(_), Some(status)) => record.progress.call.ending(status),
        (Ok(_), None) => Ending::Internal,
        (Err(ending), _) => record.progress.call.late(ending),
    };
    record.end(ending);
    match ended {
        Ok(next) => next,
        Err(_) if answered.is_some() => Next::Cut,
        Err(_) => match own_reply(ending, record) {
            Some(own) => send_own(own, record, down).await,
            None => Next::Cut,
        },
    }
}

/// Our own reply, in the words of whoever asked.
fn own_reply(ending: Ending, record: &Record<'_>) -> Option<reply::Own> {
    let own = reply::failure(ending, &record.id, &record.head.fields)?;
    let content_type = record.head.fields.get(Known::ContentType);
    Some(record.progress.call.translate(own, ending, content_type))
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
