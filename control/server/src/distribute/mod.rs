//! Brings revisions to the proxies and takes in what they say: the shell around the core's fleet.
//!
//! A connection is a pair of channels of serialised messages. Whether they lead to a task that serves a request of
//! another machine or to the proxy in this process makes no difference here.

mod library;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use sluice_config::health;
use sluice_config::name::{NodeName, RegionName, ServiceName};
use sluice_config::overlay::EndpointForce;
use sluice_config::share::Share;
use sluice_config::timestamp::Timestamp;
use sluice_config::value::{Incarnation, RevisionId};
use sluice_config::wire::{Hello, Reply, Revision};
use sluice_control_core::fleet::{Applied, ConnectionId, Effect, Fleet, NodeStanding, Numbered, Reason, Summary};
use sluice_control_core::ingest::{PoolStanding, PoolTotals, Totals};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use crate::clock::Clock;
use crate::events::{Events, News};
use library::Library;

/// Orders that wait for a connection. The core lets one be on its way, and one more is a first order beside it.
const ROOM: usize = 4;

/// Problems of a node that are logged, and characters of each.
const PROBLEMS: usize = 20;
const PROBLEM: usize = 1_000;

/// Over which time rates are told.
const MINUTE: Duration = Duration::from_secs(60);

/// How often silent nodes are looked for.
const TICK: Duration = Duration::from_secs(2);

/// A proxy's connection, to be given back when it ends.
#[derive(Debug)]
pub(crate) struct Link {
    node: NodeName,
    connection: ConnectionId,
    incarnation: Incarnation,
}

impl Link {
    pub(crate) const fn node(&self) -> &NodeName {
        &self.node
    }
}

/// All proxies that follow this control plane.
#[derive(Debug)]
pub(crate) struct Distributor {
    /// When it began, by the wall clock and by one that does not jump: the fleet's time is the first and what has passed
    /// since by the second.
    began: (Timestamp, std::time::Instant),
    events: Events,
    state: Mutex<State>,
    /// Rung whenever a node has said something that may end a wait.
    heard: Notify,
}

#[derive(Debug, Default)]
struct State {
    fleet: Fleet,
    totals: Totals,
    links: BTreeMap<ConnectionId, mpsc::Sender<Bytes>>,
    library: Library,
    last: u64,
}

impl Distributor {
    pub(crate) fn new(clock: &Clock, events: Events) -> Arc<Self> {
        let began = (clock.now(), std::time::Instant::now());
        Arc::new(Self { began, events, state: Mutex::default(), heard: Notify::new() })
    }

    /// Closes what is silent, for as long as it is polled.
    pub(crate) async fn watch(&self) {
        let mut ticks = tokio::time::interval(TICK);
        loop {
            ticks.tick().await;
            let now = self.now();
            let mut state = self.state();
            let effects = state.fleet.tick(now);
            self.carry_out(&mut state, effects);
            drop(state);
            self.heard.notify_waiters();
        }
    }

    /// Every proxy shall run this.
    pub(crate) fn want(&self, revision: &Arc<Revision>) {
        let mut state = self.state();
        state.library.keep(Arc::clone(revision));
        let numbered = Numbered { id: revision.id, digest: revision.digest };
        let (effects, reason) = state.fleet.want(revision.history, numbered, self.now());
        tracing::debug!("{reason}");
        self.carry_out(&mut state, effects);
        drop(state);
        self.heard.notify_waiters();
    }

    /// A proxy has said who it is. Gives what it is sent from now on.
    ///
    /// # Errors
    /// When it cannot be taken in, and why.
    pub(crate) fn join(&self, hello: Hello, address: &str) -> Result<(Link, mpsc::Receiver<Bytes>), Reason> {
        let (orders, receiver) = mpsc::channel(ROOM);
        let mut state = self.state();
        state.last += 1;
        let connection = ConnectionId(state.last);
        let link = Link { node: hello.node.clone(), connection, incarnation: hello.incarnation };
        state.links.insert(connection, orders);
        let (effects, reason) = state.fleet.join(hello, connection, address, self.now());
        let refused = effects
            .iter()
            .any(|effect| matches!(effect, Effect::Close { connection: ours, .. } if *ours == connection));
        self.carry_out(&mut state, effects);
        drop(state);
        self.tell(&link.node, &reason, None);
        if refused { Err(reason) } else { Ok((link, receiver)) }
    }

    /// A proxy has said something.
    pub(crate) fn hear(&self, link: &Link, reply: &Reply) {
        let now = self.now();
        let mut state = self.state();
        let (effects, reason) = state.fleet.hear(&link.node, link.connection, reply, now);
        let counted = matches!(reply, Reply::Report(_));
        if let (Reply::Report(report), Reason::Heard) = (reply, &reason) {
            state.totals.take(&link.node, link.incarnation, report, now);
        }
        self.carry_out(&mut state, effects);
        drop(state);
        if let (Reply::Nack { id, problems, .. }, Reason::Refused(_)) = (reply, &reason) {
            tell_problems(&link.node, *id, problems);
        }
        self.tell(&link.node, &reason, about(reply));
        if !counted {
            self.heard.notify_waiters();
        }
    }

    /// A connection has ended.
    pub(crate) fn leave(&self, link: &Link, why: &str) {
        let mut state = self.state();
        state.links.remove(&link.connection);
        let reason = state.fleet.leave(&link.node, link.connection, self.now());
        drop(state);
        if reason == Reason::Left {
            tracing::info!(node = %link.node, why, "{reason}");
            self.tell_news(&link.node, &format!("{reason}: {why}"), None);
        }
        self.heard.notify_waiters();
    }

    /// Takes a node that is away off the list.
    ///
    /// # Errors
    /// When there is none, or it is here.
    pub(crate) fn forget(&self, node: &NodeName) -> Result<(), Reason> {
        let mut state = self.state();
        let effects = state.fleet.forget(node, self.now())?;
        self.carry_out(&mut state, effects);
        Ok(())
    }

    /// Every node.
    pub(crate) fn standing(&self) -> Vec<NodeStanding> {
        self.state().fleet.standing(self.now())
    }

    /// How many nodes stand how.
    pub(crate) fn summary(&self) -> Summary {
        self.state().fleet.summary(self.now())
    }

    /// Waits until so large a share of the nodes runs a revision, the time is up, or those that refused it make that
    /// impossible.
    pub(crate) async fn wait_applied(&self, revision: Numbered, share: Share, timeout: Duration) -> Applied {
        let deadline = Instant::now() + timeout;
        loop {
            let heard = self.heard.notified();
            let applied = self.state().fleet.applied(revision, self.now());
            let hopeless =
                applied.heard > 0 && applied.pending.is_empty() && !applied.nacked.iter().any(|one| one.retries);
            if applied.reaches(share) || hopeless || tokio::time::timeout_at(deadline, heard).await.is_err() {
                return applied;
            }
        }
    }

    /// Requests per second of a service over the last minute; absent while nobody reports.
    pub(crate) fn rate(&self, service: &ServiceName) -> Option<f64> {
        self.state().totals.rate(service, MINUTE, self.now())
    }

    /// What was counted, by pool.
    pub(crate) fn pools(&self) -> Vec<PoolTotals> {
        self.state().totals.pools()
    }

    /// How the pool of an endpoint stands, by reports.
    pub(crate) fn pool_standing(&self, force: &EndpointForce) -> Option<PoolStanding> {
        self.state().totals.standing(&force.service, &force.version, &force.region)
    }

    /// How each region is, by the endpoints that proxies see in it.
    pub(crate) fn regions(&self) -> BTreeMap<RegionName, Result<(), (health::Status, String)>> {
        let mut seen: BTreeMap<RegionName, (u64, u64)> = BTreeMap::new();
        for pool in self.pools() {
            let (endpoints, healthy) = seen.entry(pool.region).or_default();
            *endpoints += u64::from(pool.endpoints);
            *healthy += u64::from(pool.healthy);
        }
        let judge = |(endpoints, healthy): (u64, u64)| match healthy {
            0 if endpoints > 0 => Err((health::Status::Degraded, format!("none of {endpoints} endpoints is healthy"))),
            _ if healthy < endpoints => {
                Err((health::Status::Degraded, format!("{healthy} of {endpoints} endpoints are healthy")))
            }
            _ => Ok(()),
        };
        seen.into_iter().map(|(region, counts)| (region, judge(counts))).collect()
    }

    fn now(&self) -> Timestamp {
        let (wall, begun) = self.began;
        wall.after(begun.elapsed())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // What panicked under the lock left a state that the next message brings in order again.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn carry_out(&self, state: &mut State, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Send { node, connection, revision, base } => {
                    if !send(state, &node, connection, revision, base) {
                        // It has taken nothing for several orders: it must begin anew.
                        state.links.remove(&connection);
                        state.fleet.leave(&node, connection, self.now());
                    }
                }
                Effect::Close { node, connection, reason } => {
                    if state.links.remove(&connection).is_some() && reason.is_fault() {
                        tracing::warn!(%node, "{reason}");
                    }
                }
                Effect::Forget { node } => state.totals.forget(&node),
            }
        }
    }

    fn tell(&self, node: &NodeName, reason: &Reason, revision: Option<RevisionId>) {
        if matches!(reason, Reason::Heard | Reason::Overtaken(_) | Reason::Stranger) {
            return;
        }
        if reason.is_fault() {
            tracing::warn!(%node, "{reason}");
        } else if matches!(reason, Reason::Runs(_)) {
            tracing::debug!(%node, "{reason}");
        } else {
            tracing::info!(%node, "{reason}");
        }
        self.tell_news(node, &reason.to_string(), revision);
    }

    fn tell_news(&self, node: &NodeName, what: &str, revision: Option<RevisionId>) {
        self.events.tell(News::Node { node: node.clone(), what: what.to_owned(), revision });
    }
}

/// What a node says is told as far as a person reads it, each problem in a line: it may be hostile.
fn tell_problems(node: &NodeName, revision: RevisionId, problems: &[String]) {
    for problem in problems.iter().take(PROBLEMS) {
        let cut: String = problem.chars().take(PROBLEM).collect();
        tracing::error!(%node, revision = revision.0, "{}", cut.escape_debug());
    }
    if problems.len() > PROBLEMS {
        tracing::error!(%node, revision = revision.0, "and {} more problems", problems.len() - PROBLEMS);
    }
}

/// The revision that a message is about.
const fn about(reply: &Reply) -> Option<RevisionId> {
    match reply {
        Reply::Ack { id, .. } | Reply::Nack { id, .. } | Reply::Lost { id } => Some(*id),
        Reply::Hello(_) | Reply::Report(_) => None,
    }
}

/// Puts a revision on its way. Whether it could be.
fn send(
    state: &mut State,
    node: &NodeName,
    connection: ConnectionId,
    revision: Numbered,
    base: Option<Numbered>,
) -> bool {
    let Some(message) = state.library.message(revision, base) else {
        tracing::error!(%node, revision = revision.id.0, "a revision that is to be sent is not at hand");
        return false;
    };
    // A connection that has ended is told of by whoever held it.
    state.links.get(&connection).is_none_or(|link| link.try_send(message).is_ok())
}
