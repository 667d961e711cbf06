//! What the demo found: each part of the story against what was intended, and whether all of it held.

use std::time::Duration;

use super::intended::Shares;
use super::plan::{Phase, REGIONS, VERSIONS};
use super::tally::{Count, Tally};
use crate::terminal::{Cell, Paint, Table, Tone, width, wrap};

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
    /// What the document asked for. Absent, and `edited`: it changed meanwhile, or more than its weights decides.
    pub(super) intended: Option<Shares>,
    /// Whether the document is the user's, or was in between.
    pub(super) edited: bool,
    /// Whether it was not cut short.
    pub(super) whole: bool,
}

/// How far a count may be from its share: the window's two requests a worker for each of the splits it went through
/// (regions, and versions in each region), and the requests that were under way when the part began or ended.
pub(super) fn slack(workers: usize, under_way: usize) -> u64 {
    (2 * workers * (1 + REGIONS.len()) + 2 * under_way) as u64
}

impl Part {
    /// Whether its shares prove something: those of a document that the user wrote may hold from any moment on.
    const fn is_judged(&self) -> bool {
        self.whole && !self.edited
    }

    /// What did not hold, in words.
    pub(super) fn complaints(&self, slack: u64) -> Vec<String> {
        let name = self.phase.name;
        let mut found = Vec::new();
        let failed = self.change.failed + self.steady.failed;
        if failed > 0 {
            found.push(format!("{name}: {failed} requests failed"));
        }
        if !self.is_judged() {
            return found;
        }
        if self.followed.is_none() {
            found.push(format!("{name}: {} had not followed when the part ended", self.phase.follower));
        }
        if let Some(Shares { regions, versions }) = self.intended {
            let names = REGIONS.each_ref().map(|region| region.name);
            found.extend(self.off(&names, regions, self.steady.by_region(), slack));
            found.extend(self.off(&VERSIONS, versions, self.steady.by_version(), slack));
        }
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

/// The tables at the end and what is told below them, in lines of so many columns, if that is bounded.
pub(super) fn summary(
    parts: &[Part],
    told: &[String],
    tally: &Tally,
    complaints: &[String],
    columns: Option<usize>,
    paint: Paint,
) -> Vec<String> {
    let mut lines = vec![String::new()];
    lines.extend(tables(parts, columns, paint));
    lines.push(String::new());
    let mut text = told.to_vec();
    text.push(total(tally));
    let judged = parts.iter().all(Part::is_judged);
    text.extend(verdict(tally, complaints, judged, paint));
    lines.extend(text.iter().flat_map(|line| wrap(line, columns.unwrap_or(usize::MAX))));
    lines
}

/// How long the region took to go and to come back.
pub(super) fn changes(parts: &[Part]) -> Vec<String> {
    let mut lines = Vec::new();
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
    lines
}

const NAME: &str = "PART";
const COUNTS: [&str; 2] = [">REQUESTS", ">FAILED"];
const SHARES: [&str; 5] = [">us-east-1", ">us-west-2", ">eu-west-1", ">v1", ">v2"];
const TIMES: [&str; 3] = [">FOLLOWED AFTER", ">P50", ">P99"];

/// One table, or two where one has no room.
fn tables(parts: &[Part], columns: Option<usize>, paint: Paint) -> Vec<String> {
    let whole =
        table(parts, &[&COUNTS[..], &SHARES, &TIMES], |part| [counts(part), shares(part), times(part)].concat());
    let whole = whole.lines(paint);
    if whole.iter().all(|line| columns.is_none_or(|columns| width(line) <= columns)) {
        return whole;
    }
    let upper = table(parts, &[&COUNTS[..], &TIMES], |part| [counts(part), times(part)].concat());
    let lower = table(parts, &[&SHARES[..]], shares);
    [upper.lines(paint), vec![String::new()], lower.lines(paint)].concat()
}

fn table(parts: &[Part], heads: &[&[&'static str]], cells: impl Fn(&Part) -> Vec<Cell>) -> Table {
    let mut table = Table::new(&[&[NAME][..], &heads.concat()].concat());
    for part in parts {
        table.row(std::iter::once(part.phase.name.into()).chain(cells(part)));
    }
    table
}

fn counts(part: &Part) -> Vec<Cell> {
    let requests = part.change.requests + part.steady.requests;
    vec![requests.to_string().into(), failed(part.change.failed + part.steady.failed)]
}

/// Observed and, in brackets, intended shares in percent.
fn shares(part: &Part) -> Vec<Cell> {
    let steady = &part.steady;
    let counts = steady.by_region().into_iter().chain(steady.by_version());
    let known = part.intended.map(|shares| shares.regions.into_iter().chain(shares.versions));
    let intended = known.into_iter().flatten().map(Some).chain(std::iter::repeat(None));
    let cell = |(count, intended)| beside(&percent(count, steady.answered()), intended).into();
    counts.zip(intended).map(cell).collect()
}

/// An observed share and an intended one, in percent. One that is not known was edited.
pub(super) fn beside(observed: &str, intended: Option<f64>) -> String {
    match intended {
        Some(share) => format!("{observed} ({:.1})", share * 100.0),
        None => format!("{observed} edited"),
    }
}

fn times(part: &Part) -> Vec<Cell> {
    let followed = match part.followed {
        Some(took) => seconds(took).into(),
        None if part.is_judged() => Cell::new("never", Tone::Bad),
        None => "-".into(),
    };
    vec![followed, latency(&part.steady, 0.5).into(), latency(&part.steady, 0.99).into()]
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

/// A time in seconds.
pub(super) fn seconds(time: Duration) -> String {
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
        let versions = if phase == 0 { [0.95, 0.05] } else { [0.75, 0.25] };
        let regions = if phase == 2 { [60.0 / 70.0, 0.0, 10.0 / 70.0] } else { [0.6, 0.3, 0.1] };
        let intended = Some(Shares { regions, versions });
        let phase = &STORY[phase];
        Part { phase, followed, change: Count::default(), steady, intended, edited: false, whole: true }
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
        bad.edited = true;
        assert_eq!(bad.complaints(0), ["region lost: 3 requests failed"]);
        (bad.edited, bad.whole) = (false, false);
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
        let lines = |columns| summary(&parts, &changes(&parts), &tally, &complaints, columns, Color::Never.stdout());
        insta::assert_snapshot!(lines(None).join("\n"));
        assert_eq!(lines(Some(200)), lines(None));
        let narrow = lines(Some(80));
        assert!(narrow.iter().all(|line| width(line) <= 80), "{narrow:#?}");
        insta::assert_snapshot!("narrow", narrow.join("\n"));
    }

    #[test]
    fn shares_of_an_edited_document_are_its_own() {
        let mut edited = part(1, count([[540, 60], [270, 30], [90, 10]], 0));
        edited.edited = true;
        edited.intended = Some(Shares { regions: [0.6, 0.3, 0.1], versions: [0.9, 0.1] });
        edited.followed = None;
        let shown = |part: &Part| tables(std::slice::from_ref(part), None, Color::Never.stdout())[1].clone();
        let line = shown(&edited);
        assert!(line.contains("10.0 (10.0)") && !line.contains("25.0") && !line.contains("never"), "{line}");
        edited.intended = None;
        assert!(shown(&edited).contains("90.0 edited"));
    }
}
