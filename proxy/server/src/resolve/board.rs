//! What is known of each source: written by its loop, read by whoever compiles revisions, by a scrape and by health.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sluice_config::validated::{Discovery, Query};
use sluice_config::{Timestamp, endpoints};
use sluice_proxy_core::discovery::{Answer, Known, Reason, Set, Step, Trouble};
use tokio::sync::watch;

use crate::health;

/// Sources that are told of in health; the others are counted.
const TOLD: usize = 5;

/// Everything that is known.
#[derive(Debug)]
pub(crate) struct Board {
    sources: Mutex<BTreeMap<Query, Posted>>,
    /// Advanced by each round of any source.
    rounds: watch::Sender<u64>,
    /// Advanced when a set changes.
    changes: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Posted {
    known: Known,
    trouble: Option<Ailing>,
    /// The last answer that had an address.
    good: Option<Instant>,
    /// Rounds by their result: good ones, and by each trouble.
    results: BTreeMap<&'static str, u64>,
    changes: u64,
    dropped: u64,
    /// What was told of as left out.
    left_out: BTreeSet<SocketAddr>,
}

#[derive(Debug)]
struct Ailing {
    trouble: Trouble,
    since: Timestamp,
}

/// What a scrape is told of one source.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) source: String,
    pub(crate) endpoints: usize,
    pub(crate) age: Option<Duration>,
    pub(crate) results: Vec<(&'static str, u64)>,
    pub(crate) changes: u64,
    pub(crate) dropped: u64,
}

/// The result of a round without trouble, as metrics call it.
const OK: &str = "ok";

impl Default for Board {
    fn default() -> Self {
        let counter = || watch::Sender::new(0);
        Self { sources: Mutex::default(), rounds: counter(), changes: counter() }
    }
}

impl Board {
    /// Takes the answers to a round of questions to a source; says when the next one is.
    pub(crate) fn take(
        &self,
        query: &Query,
        answers: Vec<(String, Answer)>,
        bounds: &Discovery,
        own: &[SocketAddr],
    ) -> Instant {
        let now = Instant::now();
        let (step, changed) = {
            let mut sources = self.sources();
            let posted = sources.entry(query.clone()).or_default();
            let step = posted.known.step(answers, bounds, own, now, &mut rand::rng());
            posted.note(query, &step, now);
            let changed = step.set.is_some();
            (step, changed)
        };
        self.rounds.send_modify(|rounds| *rounds += 1);
        if changed {
            self.changes.send_modify(|changes| *changes += 1);
        }
        step.next
    }

    /// Told after each round.
    pub(super) fn rounds(&self) -> watch::Receiver<u64> {
        self.rounds.subscribe()
    }

    /// Told after each change of a set.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Whether the source has addresses.
    pub(super) fn knows(&self, query: &Query) -> bool {
        self.sources().get(query).is_some_and(|posted| posted.known.set().is_some())
    }

    /// Forgets other sources.
    pub(super) fn retain(&self, wanted: impl Fn(&Query) -> bool) {
        self.sources().retain(|query, _| wanted(query));
    }

    /// What each source stands for.
    pub(super) fn sets(&self) -> BTreeMap<Query, Set> {
        let sources = self.sources();
        let sets = sources.iter().filter_map(|(query, posted)| Some((query.clone(), posted.known.set()?.clone())));
        sets.collect()
    }

    /// Whether every source is well; nothing when there is none.
    pub(crate) fn health(&self) -> Option<Result<(), String>> {
        let sources = self.sources();
        if sources.is_empty() {
            return None;
        }
        let ailing =
            || sources.iter().filter_map(|(query, posted)| Some(posted.words(query, posted.trouble.as_ref()?)));
        let mut told: Vec<String> = ailing().take(TOLD).collect();
        let more = ailing().count().saturating_sub(told.len());
        if more > 0 {
            told.push(format!("and {more} more sources"));
        }
        Some(if told.is_empty() { Ok(()) } else { Err(told.join("; ")) })
    }

    /// How one source is, for people.
    pub(crate) fn told(&self, query: &Query) -> endpoints::Source {
        let sources = self.sources();
        let posted = sources.get(query);
        let trouble = posted.and_then(|posted| posted.trouble.as_ref()).map(|ailing| endpoints::Trouble {
            result: ailing.trouble.as_str().to_owned(),
            message: ailing.trouble.to_string(),
            since: ailing.since,
        });
        let endpoints = posted.and_then(|posted| posted.known.set()).map_or(0, |set| set.len());
        endpoints::Source { source: query.to_string(), endpoints, trouble }
    }

    /// What a scrape is told, of the first `most` sources.
    pub(crate) fn rows(&self, most: usize) -> Vec<Row> {
        let sources = self.sources();
        let row = |(query, posted): (&Query, &Posted)| Row {
            source: query.to_string(),
            endpoints: posted.known.set().map_or(0, |set| set.len()),
            age: posted.good.map(|good| good.elapsed()),
            results: posted.results.iter().map(|(result, count)| (*result, *count)).collect(),
            changes: posted.changes,
            dropped: posted.dropped,
        };
        sources.iter().take(most).map(row).collect()
    }

    fn sources(&self) -> MutexGuard<'_, BTreeMap<Query, Posted>> {
        // Each change is complete in itself.
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Posted {
    fn note(&mut self, query: &Query, step: &Step, now: Instant) {
        let result = step.reason.trouble().map_or(OK, Trouble::as_str);
        *self.results.entry(result).or_default() += 1;
        self.changes += u64::from(step.set.is_some());
        self.dropped += step.dropped.len() as u64;
        if matches!(step.reason, Reason::Changed | Reason::Unchanged | Reason::Partial(_)) {
            self.good = Some(now);
        }
        self.tell_dropped(query, step);
        self.tell(query, step);
        self.trouble = step.reason.trouble().map(|trouble| Ailing {
            trouble: trouble.clone(),
            since: self.trouble.as_ref().map_or_else(health::now, |ailing| ailing.since),
        });
    }

    /// What is new is told, and nothing twice.
    fn tell(&self, query: &Query, step: &Step) {
        let endpoints = self.known.set().map_or(0, |set| set.len());
        if step.set.is_some() {
            tracing::info!(source = %query, endpoints, "a source has other addresses");
        }
        match (step.reason.trouble(), &self.trouble) {
            (Some(trouble), before) if before.as_ref().is_none_or(|before| before.trouble != *trouble) => {
                let goes_on = match step.reason {
                    Reason::Partial(_) => "what else it was asked was answered",
                    Reason::Changed | Reason::Unchanged | Reason::Held(_) => "its last good addresses stay",
                    Reason::Missing(_) => "it has no addresses yet",
                };
                tracing::warn!(source = %query, endpoints, result = step.reason.as_str(), "{trouble}; {goes_on}");
            }
            (None, Some(_)) => tracing::info!(source = %query, endpoints, "a source is well again"),
            (Some(_) | None, _) => {}
        }
    }

    fn tell_dropped(&mut self, query: &Query, step: &Step) {
        let left_out: BTreeSet<SocketAddr> = step.dropped.iter().map(|(address, _)| *address).collect();
        for (address, why) in step.dropped.iter().filter(|(address, _)| !self.left_out.contains(address)).take(TOLD) {
            tracing::warn!(source = %query, %address, "an address is not used: {}", why.as_str());
        }
        self.left_out = left_out;
    }

    fn words(&self, query: &Query, ailing: &Ailing) -> String {
        let goes_on = match self.known.set().map_or(0, |set| set.len()) {
            0 => "it has no addresses yet".to_owned(),
            1 => "its last good address stays".to_owned(),
            many => format!("its last {many} good addresses stay"),
        };
        format!("{query}: {} since {}; {goes_on}", ailing.trouble, ailing.since)
    }
}
