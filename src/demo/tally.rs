//! What the demo's own client saw: counts and latencies, over all, by phase and of the last seconds.

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use sluice_proxy_core::histogram::Histogram;

use super::client::Answer;
use super::origin::{ASKED_FIELD, REGION_FIELD, VERSION_FIELD};
use super::plan::{REGIONS, VERSIONS};

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// 200 with the body that belongs to its region and version.
    Answered(Origin),
    /// Failed by an origin that was asked to, with `--fail`.
    AskedToFail(Origin),
    /// Anything else.
    Failed,
}

/// Who answered, by index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) region: usize,
    pub(super) version: usize,
}

impl Outcome {
    /// Judges an answer by everything a client can check.
    pub(super) fn of(answer: &io::Result<Answer>) -> Self {
        let Ok(answer) = answer else { return Self::Failed };
        let Some(origin) = origin(answer) else { return Self::Failed };
        let body = format!("hello from {}, shop {}\n", REGIONS[origin.region].name, VERSIONS[origin.version]);
        match (answer.status, answer.field(ASKED_FIELD)) {
            _ if answer.body != body.as_bytes() => Self::Failed,
            (200, None) => Self::Answered(origin),
            (500, Some(_)) => Self::AskedToFail(origin),
            _ => Self::Failed,
        }
    }

    const fn origin(self) -> Option<Origin> {
        match self {
            Self::Answered(origin) | Self::AskedToFail(origin) => Some(origin),
            Self::Failed => None,
        }
    }
}

fn origin(answer: &Answer) -> Option<Origin> {
    let (region, version) = (answer.field(REGION_FIELD)?, answer.field(VERSION_FIELD)?);
    Some(Origin {
        region: REGIONS.iter().position(|known| known.name == region)?,
        version: VERSIONS.iter().position(|known| *known == version)?,
    })
}

/// Counts of requests.
#[derive(Debug, Default)]
pub(super) struct Count {
    pub(super) requests: u64,
    pub(super) failed: u64,
    pub(super) asked_to_fail: u64,
    /// Answered requests by region and version.
    answered: [[u64; VERSIONS.len()]; REGIONS.len()],
    pub(super) latency: Histogram,
}

impl Count {
    pub(super) fn add(&mut self, outcome: Outcome, latency: Duration) {
        self.requests += 1;
        self.latency.record(micros(latency));
        match outcome {
            Outcome::Failed => self.failed += 1,
            Outcome::AskedToFail(_) => self.asked_to_fail += 1,
            Outcome::Answered(_) => {}
        }
        if let Some(Origin { region, version }) = outcome.origin() {
            self.answered[region][version] += 1;
        }
    }

    /// Requests that some origin answered.
    pub(super) fn answered(&self) -> u64 {
        self.answered.iter().flatten().sum()
    }

    /// Of the requests that were answered, how many by each region.
    pub(super) fn by_region(&self) -> [u64; REGIONS.len()] {
        self.answered.map(|versions| versions.iter().sum())
    }

    /// Of the requests that were answered, how many by each version.
    pub(super) fn by_version(&self) -> [u64; VERSIONS.len()] {
        std::array::from_fn(|version| self.answered.iter().map(|versions| versions[version]).sum())
    }
}

/// How far back the live view looks.
const WINDOW: Duration = Duration::from_secs(3);

/// All that was seen.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Since the beginning.
    pub(super) all: Count,
    /// Since the last call of [`begin_part`](Self::begin_part).
    part: Count,
    recent: VecDeque<(Instant, Outcome, Duration)>,
    /// The words of the first failure, so that a failed demo says why.
    pub(super) first_failure: Option<String>,
}

impl Tally {
    /// Counts one request.
    pub(super) fn add(&mut self, now: Instant, answer: &io::Result<Answer>, latency: Duration) {
        let outcome = Outcome::of(answer);
        if outcome == Outcome::Failed && self.first_failure.is_none() {
            self.first_failure = Some(words(answer));
        }
        self.all.add(outcome, latency);
        self.part.add(outcome, latency);
        self.recent.push_back((now, outcome, latency));
        while self.recent.front().is_some_and(|(then, ..)| now - *then > WINDOW) {
            self.recent.pop_front();
        }
    }

    /// Ends a part of the story and returns what was seen in it.
    pub(super) fn begin_part(&mut self) -> Count {
        std::mem::take(&mut self.part)
    }

    /// What was seen in the last seconds, and the rate in requests a second.
    pub(super) fn recent(&self) -> (Count, f64) {
        let mut count = Count::default();
        for (_, outcome, latency) in &self.recent {
            count.add(*outcome, *latency);
        }
        let span = match (self.recent.front(), self.recent.back()) {
            (Some((first, ..)), Some((last, ..))) => (*last - *first).as_secs_f64(),
            _ => 0.0,
        };
        (count, if span > 0.0 { (self.recent.len() - 1) as f64 / span } else { 0.0 })
    }
}

fn words(answer: &io::Result<Answer>) -> String {
    match answer {
        Ok(answer) => format!("status {}: {}", answer.status, String::from_utf8_lossy(&answer.body).trim_end()),
        Err(e) => e.to_string(),
    }
}

fn micros(latency: Duration) -> u64 {
    u64::try_from(latency.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::client::Answer;

    fn answer(status: u16, fields: &[(&str, &str)], body: &str) -> io::Result<Answer> {
        Ok(Answer::new(status, fields, body))
    }

    const WEST: [(&str, &str); 2] = [(REGION_FIELD, "us-west-2"), (VERSION_FIELD, "v2")];
    const BODY: &str = "hello from us-west-2, shop v2\n";

    #[test]
    fn only_a_whole_and_true_answer_counts() {
        let origin = Origin { region: 1, version: 1 };
        assert_eq!(Outcome::of(&answer(200, &WEST, BODY)), Outcome::Answered(origin));
        assert_eq!(Outcome::of(&answer(200, &WEST, "hello")), Outcome::Failed);
        assert_eq!(Outcome::of(&answer(500, &WEST, BODY)), Outcome::Failed);
        assert_eq!(Outcome::of(&answer(502, &[], "no endpoint")), Outcome::Failed);
        assert_eq!(Outcome::of(&Err(io::ErrorKind::ConnectionReset.into())), Outcome::Failed);
        let asked = [WEST[0], WEST[1], (ASKED_FIELD, "yes")];
        assert_eq!(Outcome::of(&answer(500, &asked, BODY)), Outcome::AskedToFail(origin));
    }

    #[test]
    fn parts_end_and_the_whole_goes_on() {
        let mut tally = Tally::default();
        let now = Instant::now();
        tally.add(now, &answer(200, &WEST, BODY), Duration::from_millis(1));
        tally.add(now, &answer(404, &[], "nothing\n"), Duration::from_millis(1));
        let part = tally.begin_part();
        assert_eq!((part.requests, part.failed, part.by_region(), part.by_version()), (2, 1, [0, 1, 0], [0, 1]));
        tally.add(now + Duration::from_secs(9), &answer(200, &WEST, BODY), Duration::from_millis(1));
        assert_eq!((tally.begin_part().requests, tally.all.requests), (1, 3));
        assert_eq!(tally.recent().0.requests, 1, "what is long ago is not recent");
        assert_eq!(tally.first_failure.as_deref(), Some("status 404: nothing"));
    }
}
