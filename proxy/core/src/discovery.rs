//! Decides when a source of endpoints is asked again, and which addresses it stands for.
//!
//! DNS answers lie in three ways that cost peers their traffic: a server that fails for a minute, a zone that is empty
//! for a second while it is reloaded, and a TTL of 0 or of a week. So what is known is only replaced by something better:
//! a failure or an answer without any address leaves the last good set as it is, for as long as it takes. The obvious
//! other rule, to believe every answer, empties a pool by one slip of a name server, and all proxies do it at once.
//! Whoever wants no endpoint takes the source out of the document.
//!
//! A source is asked several questions at a time (A and AAAA, or those of each target of an SRV record), and each is
//! remembered alone: when AAAA fails, what it said before still counts beside the new A records. An answer that the
//! name has no such records is an answer, and takes what that question said before, unless nothing at all would be left.
//!
//! The next time is the smallest TTL, at least the floor and at most the ceiling, less a random tenth so that a fleet
//! does not ask in the same moment, and so that an answer is replaced before it is too old. After trouble the wait begins
//! at the floor and doubles up to [`RETRY_MAX`], at random between the floor and that bound.
//!
//! A lasting set is compared without its order: DNS servers turn their answers around on purpose, and a new revision for
//! each turn would be noise.
//!
//! Invariants: a set that was filled is never empty again; between two questions lie at least the floor and at most the
//! ceiling; no set holds an address twice, or one that is not usable (no address of our own, no unspecified or multicast
//! one, no port 0).

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::Rng;
use sluice_config::name::ZoneName;
use sluice_config::validated::{Discovery, Endpoint, Query, Source, Validated};
use sluice_config::value::Weight;
use sluice_config::{is_nowhere, is_own, limit};

/// After trouble a source is asked again at least this often, if its ceiling allows.
pub const RETRY_MAX: Duration = Duration::from_secs(30);

/// One address of a source.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Found {
    /// Where it is.
    pub address: SocketAddr,
    /// As the answer says it.
    pub weight: Option<Weight>,
    /// As the answer says it.
    pub zone: Option<ZoneName>,
}

/// The addresses of a source, in their order, each once.
pub type Set = Arc<[Found]>;

/// What one question was answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// These, and for how long that holds.
    Found(Vec<Found>, Duration),
    /// There is nothing.
    Nothing(Absence),
    /// Nobody knows.
    Failed(Failure),
}

/// How there is nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absence {
    /// There is no such name.
    Name,
    /// The name has no such records, or none that can be used.
    Records,
    /// The list of the file is empty.
    List,
}

/// Why a question has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// None came in time.
    Timeout,
    /// The server could not find out.
    ServerFailure,
    /// The server does not want to tell.
    Refused,
    /// The server cannot be reached, or none is known.
    Unreachable(String),
    /// What came cannot be used.
    Malformed(String),
    /// The file cannot be read.
    Unreadable(String),
    /// The file does not hold a list of endpoints.
    Unsound(String),
}

/// What stands in the way of a better answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing is there.
    Absent(Absence),
    /// Nothing is known.
    Failed(Failure),
}

impl Trouble {
    /// A stable name for metrics.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Absent(Absence::Name) => "no_name",
            Self::Absent(Absence::Records) => "no_records",
            Self::Absent(Absence::List) => "empty",
            Self::Failed(Failure::Timeout) => "timeout",
            Self::Failed(Failure::ServerFailure) => "server_failure",
            Self::Failed(Failure::Refused) => "refused",
            Self::Failed(Failure::Unreachable(_)) => "unreachable",
            Self::Failed(Failure::Malformed(_)) => "malformed",
            Self::Failed(Failure::Unreadable(_)) => "unreadable",
            Self::Failed(Failure::Unsound(_)) => "unsound",
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = match self {
            Self::Absent(Absence::Name) => "there is no such name",
            Self::Absent(Absence::Records) => "the name has no addresses that can be used",
            Self::Absent(Absence::List) => "the list is empty",
            Self::Failed(Failure::Timeout) => "no answer came in time",
            Self::Failed(Failure::ServerFailure) => "the server failed (SERVFAIL)",
            Self::Failed(Failure::Refused) => "the server refused to answer (REFUSED)",
            Self::Failed(Failure::Unreachable(why)) => return write!(f, "no server can be asked: {why}"),
            Self::Failed(Failure::Malformed(why)) => return write!(f, "the answer cannot be used: {why}"),
            Self::Failed(Failure::Unreadable(why)) => return write!(f, "the file cannot be read: {why}"),
            Self::Failed(Failure::Unsound(why)) => return write!(f, "the file is not a list of endpoints: {why}"),
        };
        f.write_str(words)
    }
}

/// What became of the answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// The set is another one.
    Changed,
    /// It is the same.
    Unchanged,
    /// Some questions were not answered; what they said before still counts.
    Partial(Trouble),
    /// No address came; the last good set goes on.
    Held(Trouble),
    /// No address came, and none was known.
    Missing(Trouble),
}

impl Reason {
    /// A stable name for metrics and logs.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::Unchanged => "unchanged",
            Self::Partial(_) => "partial",
            Self::Held(_) => "held",
            Self::Missing(_) => "missing",
        }
    }

    /// What stands in the way, if anything does.
    #[must_use]
    pub const fn trouble(&self) -> Option<&Trouble> {
        match self {
            Self::Changed | Self::Unchanged => None,
            Self::Partial(trouble) | Self::Held(trouble) | Self::Missing(trouble) => Some(trouble),
        }
    }
}

/// Why an address of an answer is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unusable {
    /// It is one of our own: what traffic can reach there could change or read what it must not.
    Own,
    /// Nobody can be there.
    Nowhere,
    /// The source brings more than [`limit::DISCOVERED`].
    TooMany,
}

impl Unusable {
    /// What is wrong with it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Own => "it is an address of this process itself",
            Self::Nowhere => "nobody can be there",
            Self::TooMany => "its source has too many",
        }
    }
}

/// What a round of questions came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The new set, if it is another one. Never empty.
    pub set: Option<Set>,
    /// When to ask again.
    pub next: Instant,
    /// Why.
    pub reason: Reason,
    /// What was left out.
    pub dropped: Vec<(SocketAddr, Unusable)>,
}

/// What is known of one source.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// What each question said last that was an answer.
    parts: BTreeMap<String, Vec<Found>>,
    set: Option<Set>,
    /// Rounds with trouble, one after the other.
    troubled: u32,
}

impl Known {
    /// The last good set. Never empty.
    #[must_use]
    pub const fn set(&self) -> Option<&Set> {
        self.set.as_ref()
    }

    /// Takes the answers to a round of questions, each by what was asked. A question that was asked before and is not
    /// asked any more is forgotten. `own` are addresses that no endpoint may be.
    pub fn step(
        &mut self,
        answers: Vec<(String, Answer)>,
        bounds: &Discovery,
        own: &[SocketAddr],
        now: Instant,
        rng: &mut impl Rng,
    ) -> Step {
        let mut round = Round::default();
        for (question, answer) in answers {
            round.take(question, answer, &self.parts, own);
        }
        let set = union(&round.parts, &mut round.dropped);
        let reason = self.settle(set, &mut round);
        let changed = matches!(reason, Reason::Changed) || round.changed;
        let wait = self.wait(round.ttl, reason.trouble().is_some(), bounds, rng);
        let set = self.set.clone().filter(|_| changed);
        Step { set, next: now + wait, reason, dropped: round.dropped }
    }

    fn settle(&mut self, set: Vec<Found>, round: &mut Round) -> Reason {
        // A round that brought no address takes none away either.
        if !round.fresh {
            let trouble = round.trouble.take().unwrap_or(Trouble::Absent(Absence::Records));
            return if self.set.is_some() { Reason::Held(trouble) } else { Reason::Missing(trouble) };
        }
        let same = self.set.as_deref() == Some(set.as_slice());
        self.parts = std::mem::take(&mut round.parts);
        if !same {
            self.set = Some(set.into());
            round.changed = true;
        }
        match round.failed.take() {
            Some(failure) => Reason::Partial(Trouble::Failed(failure)),
            None if same => Reason::Unchanged,
            None => Reason::Changed,
        }
    }

    fn wait(&mut self, ttl: Option<Duration>, troubled: bool, bounds: &Discovery, rng: &mut impl Rng) -> Duration {
        let (floor, ceiling) = (bounds.ttl_min, bounds.ttl_max.max(bounds.ttl_min));
        let whole = ttl.unwrap_or(ceiling).clamp(floor, ceiling);
        let wait = whole.mul_f64(1.0 - fraction(rng) / 10.0).clamp(floor, ceiling);
        if !troubled {
            self.troubled = 0;
            return wait;
        }
        self.troubled = self.troubled.saturating_add(1);
        let most = RETRY_MAX.clamp(floor, ceiling);
        let bound = floor.saturating_mul(1_u32.checked_shl(self.troubled).unwrap_or(u32::MAX)).min(most);
        let again = floor + bound.saturating_sub(floor).mul_f64(fraction(rng));
        // What was answered is not kept longer because something else was not.
        if ttl.is_some() { again.min(wait) } else { again }
    }
}

/// A round of answers while it is taken apart.
#[derive(Default)]
struct Round {
    parts: BTreeMap<String, Vec<Found>>,
    ttl: Option<Duration>,
    /// The first trouble.
    trouble: Option<Trouble>,
    /// The first question without an answer.
    failed: Option<Failure>,
    dropped: Vec<(SocketAddr, Unusable)>,
    /// An address came that can be used.
    fresh: bool,
    changed: bool,
}

impl Round {
    fn take(&mut self, question: String, answer: Answer, before: &BTreeMap<String, Vec<Found>>, own: &[SocketAddr]) {
        let found = match answer {
            Answer::Found(found, ttl) => {
                self.ttl = Some(self.ttl.map_or(ttl, |least| least.min(ttl)));
                let found: Vec<Found> = found.into_iter().filter(|one| self.is_usable(one.address, own)).collect();
                self.fresh |= !found.is_empty();
                found
            }
            Answer::Nothing(absence) => {
                self.trouble.get_or_insert(Trouble::Absent(absence));
                Vec::new()
            }
            Answer::Failed(failure) => {
                // A failure says more than an absence: what is absent may be found where nobody could look.
                if !matches!(self.trouble, Some(Trouble::Failed(_))) {
                    self.trouble = Some(Trouble::Failed(failure.clone()));
                }
                self.failed.get_or_insert(failure);
                before.get(&question).cloned().unwrap_or_default()
            }
        };
        match self.parts.entry(question) {
            Entry::Vacant(part) => drop(part.insert(found)),
            Entry::Occupied(mut part) => part.get_mut().extend(found),
        }
    }

    fn is_usable(&mut self, address: SocketAddr, own: &[SocketAddr]) -> bool {
        let unusable = if own.iter().any(|own| is_own(*own, address)) {
            Unusable::Own
        } else if is_nowhere(address) {
            Unusable::Nowhere
        } else {
            return true;
        };
        self.dropped.push((address, unusable));
        false
    }
}

/// Every address once, in order; of several with one address the one with the largest weight.
fn union(parts: &BTreeMap<String, Vec<Found>>, dropped: &mut Vec<(SocketAddr, Unusable)>) -> Vec<Found> {
    let mut all: Vec<Found> = parts.values().flatten().cloned().collect();
    all.sort_by(|one, other| (one.address, other.weight).cmp(&(other.address, one.weight)));
    all.dedup_by_key(|one| one.address);
    let over = all.len().min(limit::DISCOVERED);
    dropped.extend(all.drain(over..).map(|one| (one.address, Unusable::TooMany)));
    all
}

fn fraction(rng: &mut impl Rng) -> f64 {
    f64::from(rng.next_u32()) / f64::from(u32::MAX)
}

/// An SRV record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The lowest is meant first.
    pub priority: u16,
    /// Among those of one priority.
    pub weight: u16,
    /// Where the service listens.
    pub port: u16,
    /// Whose addresses are meant; `.` says that the service is not offered.
    pub host: String,
}

/// The targets of the lowest priority, each with its weight. RFC 2782 gives a target of weight 0 a very small chance
/// beside others and an even one among its like; here it counts as 1, the smallest weight that is chosen at all. Those of
/// higher priorities are for when none of these can be reached, which is what regions and fallbacks decide here.
#[must_use]
pub fn preferred(targets: &[Target]) -> Vec<(&Target, Weight)> {
    let offered = || targets.iter().filter(|target| target.host != ".");
    let first = offered().map(|target| target.priority).min();
    let weight = |target: &Target| Weight::new(target.weight.max(1).into()).unwrap_or(Weight::ONE);
    offered().filter(|target| Some(target.priority) == first).map(|target| (target, weight(target))).collect()
}

/// Each query of a document once, with the shortest bounds of the services that ask it.
#[must_use]
pub fn queries(document: &Validated) -> BTreeMap<Query, Discovery> {
    let mut all: BTreeMap<Query, Discovery> = BTreeMap::new();
    for service in &document.services {
        let (ttl_min, ttl_max) = (service.discovery.ttl_min, service.discovery.ttl_max);
        for source in service.versions.iter().flat_map(|version| &version.pools).flat_map(|pool| &pool.sources) {
            let bounds = all.entry(source.query.clone()).or_insert(service.discovery);
            bounds.ttl_min = bounds.ttl_min.min(ttl_min);
            bounds.ttl_max = bounds.ttl_max.min(ttl_max);
        }
    }
    all
}

/// Adds to each pool what its sources stand for. What the document has itself comes first and is not changed; an address
/// that is there already is not added again, and one of the document's own listeners not at all.
pub fn fill(document: &mut Validated, sets: &BTreeMap<Query, Set>) {
    let listeners: Vec<SocketAddr> = document.listeners.iter().map(|listener| listener.address).collect();
    let is_ours = |address| listeners.iter().any(|own| is_own(*own, address));
    for service in &mut document.services {
        for pool in service.versions.iter_mut().flat_map(|version| &mut version.pools) {
            let mut seen: std::collections::BTreeSet<SocketAddr> =
                pool.endpoints.iter().map(|endpoint| endpoint.address).collect();
            for source in &pool.sources {
                let found = sets.get(&source.query).into_iter().flat_map(|set| set.iter());
                let new = found.filter(|one| !is_ours(one.address) && seen.insert(one.address));
                let new = new.map(|one| endpoint(source, one));
                pool.endpoints.extend(new);
            }
        }
    }
}

fn endpoint(source: &Source, found: &Found) -> Endpoint {
    Endpoint {
        address: found.address,
        weight: found.weight.unwrap_or(source.weight),
        zone: found.zone.clone().or_else(|| source.zone.clone()),
    }
}

#[cfg(test)]
mod tests;
