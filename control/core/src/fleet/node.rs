//! What is known of one node, and what it is sent next.

use sluice_config::name::{NodeName, RegionName};
use sluice_config::timestamp::Timestamp;
use sluice_config::value::{Digest, Incarnation, RevisionId};
use sluice_config::wire::{Hello, Running};

use super::{ANSWER, ConnectionId, Effect, HEARD, Numbered, Reason, Rival};

/// How many problems of a refusal are kept.
const PROBLEMS: usize = 20;
/// How many characters are kept of a text that a node sent.
const CHARACTERS: usize = 1_000;

#[derive(Debug, Clone)]
pub(super) struct Node {
    incarnation: Incarnation,
    pub(super) region: Option<RegionName>,
    pub(super) version: String,
    pub(super) link: Option<Link>,
    /// Of the last connection.
    pub(super) address: String,
    /// Listed since then.
    pub(super) known: Timestamp,
    /// Connected since then, or not since then.
    pub(super) since: Timestamp,
    pub(super) heard: Timestamp,
    /// As it said.
    pub(super) runs: Option<Running>,
    /// Of the digest that is wanted, or absent.
    pub(super) refusal: Option<Refusal>,
    pub(super) rival: Option<Rival>,
}

/// A connection that is held.
#[derive(Debug, Clone)]
pub(super) struct Link {
    pub(super) connection: ConnectionId,
    /// What the next difference may be made to: the text that the node holds.
    base: Option<Running>,
    flight: Option<Flight>,
}

/// An order on its way.
#[derive(Debug, Clone)]
struct Flight {
    sent: Running,
    since: Timestamp,
    whole: bool,
}

/// A digest that is parked.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    pub(super) revision: Numbered,
    pub(super) problems: Vec<String>,
    pub(super) retries: bool,
}

impl Link {
    fn new(connection: ConnectionId, runs: Option<Running>) -> Self {
        Self { connection, base: runs, flight: None }
    }

    /// Takes the order off its way if it is this revision's.
    fn land(&mut self, id: RevisionId) -> Option<Flight> {
        self.flight.take_if(|flight| flight.sent.id == id)
    }
}

impl Node {
    pub(super) fn new(hello: Hello, connection: ConnectionId, address: &str, now: Timestamp) -> Self {
        Self {
            incarnation: hello.incarnation,
            region: hello.region,
            version: cut(&hello.version),
            link: Some(Link::new(connection, hello.runs)),
            address: address.to_owned(),
            known: now,
            since: now,
            heard: now,
            runs: hello.runs,
            refusal: None,
            rival: None,
        }
    }

    /// Takes a new connection. Returns the old one, if it is still held.
    pub(super) fn come_back(
        &mut self,
        hello: Hello,
        connection: ConnectionId,
        address: &str,
        now: Timestamp,
    ) -> (Option<ConnectionId>, Reason) {
        let same = hello.incarnation == self.incarnation;
        let old = self.link.take().map(|link| link.connection);
        let kept = same.then(|| self.refusal.take()).flatten();
        let rival = same.then(|| self.rival.take()).flatten();
        let known = self.known;
        *self = Self { known, rival, refusal: kept, ..Self::new(hello, connection, address, now) };
        (old, if same { Reason::Reconnected } else { Reason::Restarted })
    }

    pub(super) fn is_on(&self, connection: ConnectionId) -> bool {
        self.link.as_ref().is_some_and(|link| link.connection == connection)
    }

    pub(super) fn is_heard(&self, now: Timestamp) -> bool {
        now.since(self.heard) < HEARD
    }

    /// Whether the name is another process's, which is here.
    pub(super) fn is_held_against(&self, hello: &Hello, now: Timestamp) -> bool {
        self.link.is_some() && self.is_heard(now) && self.incarnation != hello.incarnation
    }

    pub(super) fn unlink(&mut self, now: Timestamp) {
        self.link = None;
        self.since = now;
    }

    /// Why its connection is to be closed, if it is.
    pub(super) fn overdue(&self, now: Timestamp) -> Option<(ConnectionId, Reason)> {
        let link = self.link.as_ref()?;
        let late = link.flight.as_ref().filter(|flight| now.since(flight.since) >= ANSWER);
        let reason = if self.is_heard(now) { Reason::Unanswered(late?.sent.id) } else { Reason::Silent };
        Some((link.connection, reason))
    }

    /// Another digest is wanted than was refused.
    pub(super) fn unpark(&mut self, wanted: Digest) {
        self.refusal.take_if(|refusal| refusal.revision.digest != wanted);
    }

    /// What it is to be sent now.
    pub(super) fn next(&mut self, name: &NodeName, wanted: Running, now: Timestamp) -> Option<Effect> {
        let link = self.link.as_mut()?;
        let parked = self.refusal.as_ref().is_some_and(|refusal| refusal.revision.digest == wanted.digest);
        if link.flight.is_some() || parked || self.runs == Some(wanted) {
            return None;
        }
        let base = link.base.filter(|base| base.history == wanted.history && base.id < wanted.id);
        link.flight = Some(Flight { sent: wanted, since: now, whole: base.is_none() });
        link.base = Some(wanted);
        let (connection, base) = (link.connection, base.map(Numbered::from));
        Some(Effect::Send { node: name.clone(), connection, revision: wanted.into(), base })
    }

    /// It says that it runs this.
    pub(super) fn ack(&mut self, said: Numbered) -> Reason {
        let Some(link) = self.link.as_mut() else { return Reason::Stranger };
        let landed = link.land(said.id);
        // Numbers are of the history of what was sent last, or of what the node brought along.
        let Some(history) = link.base.or(self.runs).map(|last| last.history) else {
            return Reason::Overtaken(said.id);
        };
        let history = landed.as_ref().map_or(history, |flight| flight.sent.history);
        self.runs = Some(Running { history, id: said.id, digest: said.digest });
        match landed {
            Some(flight) if flight.sent.digest != said.digest => self.differ(flight.sent.into(), said),
            Some(_) | None => {
                self.refusal.take_if(|refusal| refusal.revision.digest == said.digest);
                Reason::Runs(said.id)
            }
        }
    }

    fn differ(&mut self, sent: Numbered, said: Numbered) -> Reason {
        let problem = format!("the node made {} of a revision whose digest is {}", said.digest, sent.digest);
        self.refusal = Some(Refusal { revision: sent, problems: vec![problem], retries: false });
        // Nobody knows what that is: it must not count as any revision.
        self.runs = None;
        Reason::Refused(sent.id)
    }

    /// It says that it does not run this.
    pub(super) fn nack(
        &mut self,
        said: Numbered,
        problems: &[String],
        retries: bool,
        wanted: Option<Running>,
    ) -> Reason {
        let landed = self.link.as_mut().and_then(|link| link.land(said.id));
        let revision = landed.map_or(said, |flight| flight.sent.into());
        // What was refused when something else is wanted by now parks nothing.
        if wanted.is_some_and(|wanted| wanted.digest == revision.digest) {
            self.refusal = Some(Refusal { revision, problems: few(problems), retries });
        }
        Reason::Refused(revision.id)
    }

    /// It says that it has no base for this.
    pub(super) fn lose(&mut self, id: RevisionId) -> Reason {
        let Some(link) = self.link.as_mut() else { return Reason::Stranger };
        match link.land(id) {
            None => Reason::Overtaken(id),
            Some(flight) if flight.whole => Reason::Unasked,
            Some(_) => {
                link.base = None;
                Reason::Lost(id)
            }
        }
    }
}

fn cut(text: &str) -> String {
    text.chars().take(CHARACTERS).collect()
}

fn few(problems: &[String]) -> Vec<String> {
    let more = problems.len().saturating_sub(PROBLEMS);
    let told = problems.iter().take(PROBLEMS).map(|problem| cut(problem));
    told.chain((more > 0).then(|| format!("and {more} more"))).collect()
}
