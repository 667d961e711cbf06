//! What the demo found: each part of the story against what was intended, and whether all of it held.

use std::time::Duration;

use super::plan::{Phase, REGIONS, VERSIONS};
use super::tally::{Count, Tally};
use crate::terminal::{Cell, Paint, Table, Tone};

/// One part of the story as it went.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) phase: &'static Phase,
    /// From its beginning until the proxy said that it had followed. Absent: it did not, within its time.
    pub(super) followed: Option<Duration>,
    /// Until the proxy had followed.
    pub(super) change: Count,
    /// From then on.
    pub(super) steady: Count,
    /// Whether its shares prove something: not when it was cut short, or the user wrote other ones into the document.
    pub(super) judged: bool,
}

/// How far a count may be from its share: the window's two requests a worker for each of the splits it went through
/// (regions, and versions in each region), and the requests that were under way when the part began or ended.
pub(super) fn slack(workers: usize, under_way: usize) -> u64 {
    (2 * workers * (1 + REGIONS.len()) + 2 * under_way) as u64
}

impl Part {
    /// What did not hold, in words.
    pub(super) fn complaints(&self, slack: u64) -> Vec<String> {
        let name = self.phase.name;
        let mut found = Vec::new();
        let failed = self.change.failed + self.steady.failed;
        if failed > 0 {
            found.push(format!("{name}: {failed} requests failed"));
        }
        if !self.judged {
            return found;
        }
        if self.followed.is_none() {
            found.push(format!("{name}: the proxy had not followed when the part ended"));
        }
        let regions = REGIONS.each_ref().map(|region| region.name);
        found.extend(self.off(&regions, self.phase.region_shares(), self.steady.by_region(), slack));
        found.extend(self.off(&VERSIONS, self.phase.version_shares(), self.steady.by_version(), slack));
        found
    }

    fn off<const N: usize>(&self, names: &[&str; N], shares: [f64; N], counts: [u64; N], slack: u64) -> Vec<String> {
        let all = self.steady.answered() as f64;
        let each = names.iter().zip(shares).zip(counts);
        let off = each.filter(|((_, share), count)| (*count as f64 - share * all).abs() > slack as f64);
        off.map(|((name, share), count)| {
            let expected = share * all;
            format!("{}: {name} answered {count} requests, {expected:.0} ± {slack} were intended", self.phase.name)
        })
        .collect()
    }
}

/// The tables at the end.
pub(super) fn summary(parts: &[Part], tally: &Tally, complaints: &[String], paint: Paint) -> Vec<String> {
    let mut lines = vec![String::new()];
    lines.extend(shares(parts).lines(paint));
    lines.push(String::new());
    let lost = parts.iter().find(|part| part.phase.lost.is_some());
    let back = parts.iter().skip_while(|part| part.phase.lost.is_none()).find(|part| part.phase.lost.is_none());
    if let Some((part, took)) = lost.and_then(|part| Some((part, part.followed?))) {
        lines.push(format!(
            "Region failover: all endpoints out after {}; until then {} requests, {} failed, slowest 1 % above {}.",
            seconds(took),
            part.change.requests,
            part.change.failed,
            latency(&part.change, 0.99),
        ));
    }
    if let Some(took) = back.and_then(|part| part.followed) {
        lines.push(format!("Region return: all endpoints in after {}.", seconds(took)));
    }
    lines.push(total(tally));
    let judged = parts.iter().all(|part| part.judged);
    lines.extend(verdict(tally, complaints, judged, paint));
    lines
}

fn shares(parts: &[Part]) -> Table {
    let mut head = vec!["PART", ">REQUESTS", ">FAILED"];
    head.extend([">us-east-1", ">us-west-2", ">eu-west-1", ">v1", ">v2", ">FOLLOWED AFTER", ">P50", ">P99"]);
    let mut table = Table::new(&head);
    for part in parts {
        let steady = &part.steady;
        let mut row: Vec<Cell> = vec![part.phase.name.into()];
        row.push((part.change.requests + steady.requests).to_string().into());
        row.push(failed(part.change.failed + steady.failed));
        row.extend(pairs(part.phase.region_shares(), steady.by_region(), steady.answered()));
        row.extend(pairs(part.phase.version_shares(), steady.by_version(), steady.answered()));
        row.push(part.followed.map_or_else(|| Cell::new("never", Tone::Bad), |took| seconds(took).into()));
        row.extend([latency(steady, 0.5).into(), latency(steady, 0.99).into()]);
        table.row(row);
    }
    table
}

/// Observed and, in brackets, intended shares in percent.
fn pairs<const N: usize>(intended: [f64; N], counts: [u64; N], all: u64) -> impl Iterator<Item = Cell> {
    let pair = move |(intended, count): (f64, u64)| format!("{} ({:.1})", percent(count, all), intended * 100.0).into();
    intended.into_iter().zip(counts).map(pair)
}

fn total(tally: &Tally) -> String {
    let all = &tally.all;
    let asked = match all.asked_to_fail {
        0 => String::new(),
        asked => format!(" and {asked} that were asked to fail"),
    };
    let (p50, p99) = (latency(all, 0.5), latency(all, 0.99));
    format!("In all: {} requests, {} failed{asked}, p50 {p50}, p99 {p99}.", all.requests, all.failed)
}

fn verdict(tally: &Tally, complaints: &[String], judged: bool, paint: Paint) -> Vec<String> {
    if complaints.is_empty() {
        let words = match judged {
            true => "No request failed and every share was as intended.",
            false => "No request failed. The shares of parts that were cut short or edited were not judged.",
        };
        return vec![paint.tone(Tone::Good, words)];
    }
    let mut lines = vec![paint.tone(Tone::Bad, "Not everything held:")];
    lines.extend(complaints.iter().map(|complaint| format!("  - {complaint}")));
    lines.extend(tally.first_failure.iter().map(|words| format!("  The first failure: {words}")));
    lines
}

/// A number of failures, red unless it is 0.
pub(super) fn failed(count: u64) -> Cell {
    Cell::new(count.to_string(), if count == 0 { Tone::Plain } else { Tone::Bad })
}

/// A share in percent, without the sign.
pub(super) fn percent(count: u64, all: u64) -> String {
    if all == 0 { "-".to_owned() } else { format!("{:.1}", count as f64 / all as f64 * 100.0) }
}

/// A quantile of the latencies, in a unit that fits.
pub(super) fn latency(count: &Count, quantile: f64) -> String {
    match count.latency.quantile(quantile) {
        None => "-".to_owned(),
        Some(micros) if micros < 1_000 => format!("{micros} µs"),
        Some(micros) => format!("{:.1} ms", micros as f64 / 1e3),
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::super::plan::STORY;
    use super::super::tally::{Origin, Outcome};
    use super::*;
    use crate::terminal::Color;

    fn count(answered: [[u64; 2]; 3], failed: u64) -> Count {
        let mut count = Count::default();
        for (region, versions) in answered.into_iter().enumerate() {
            for (version, requests) in versions.into_iter().enumerate() {
                let outcome = Outcome::Answered(Origin { region, version });
                (0..requests).for_each(|_| count.add(outcome, Duration::from_micros(700)));
            }
        }
        (0..failed).for_each(|_| count.add(Outcome::Failed, Duration::from_millis(3)));
        count
    }

    fn part(phase: usize, steady: Count) -> Part {
        let followed = Some(Duration::from_millis(2_600));
        Part { phase: &STORY[phase], followed, change: Count::default(), steady, judged: true }
    }

    #[test]
    fn shares_within_the_slack_are_as_intended() {
        let good = part(0, count([[570, 30], [285, 15], [95, 5]], 0));
        assert_eq!(good.complaints(0), Vec::<String>::new());
        let off = part(0, count([[580, 20], [285, 15], [95, 5]], 0));
        assert_eq!(off.complaints(10), Vec::<String>::new());
        assert_eq!(off.complaints(9).len(), 2, "both versions are off by ten");
    }

    #[test]
    fn a_failure_is_always_told_and_shares_only_where_they_prove_something() {
        let mut bad = part(2, count([[600, 0], [1, 0], [0, 0]], 3));
        bad.followed = None;
        let complaints = bad.complaints(0);
        assert!(complaints[0].contains("3 requests failed"), "{complaints:?}");
        assert!(complaints[1].contains("had not followed") && complaints.len() == 7, "{complaints:?}");
        bad.judged = false;
        assert_eq!(bad.complaints(0), ["region lost: 3 requests failed"]);
    }

    #[test]
    fn the_summary_is_readable() {
        let mut parts = vec![
            part(0, count([[570, 30], [285, 15], [95, 5]], 0)),
            part(2, count([[643, 214], [0, 0], [107, 36]], 0)),
            part(3, count([[450, 150], [225, 75], [75, 25]], 0)),
        ];
        parts[1].change = count([[60, 20], [3, 1], [10, 3]], 2);
        let mut tally = Tally::default();
        let outcomes = [Outcome::Answered(Origin { region: 0, version: 0 }), Outcome::Failed, Outcome::Failed];
        outcomes.into_iter().for_each(|outcome| tally.all.add(outcome, Duration::from_micros(700)));
        let complaints = parts[1].complaints(50);
        let lines = summary(&parts, &tally, &complaints, Color::Never.stdout());
        insta::assert_snapshot!(lines.join("\n"));
    }
}
