//! What is shown while the demo runs: on a terminal a table that is drawn again and again, elsewhere a line now and then.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::intended::Intended;
use super::plan::{REGION_ENDPOINTS, REGIONS, VERSIONS};
use super::report::{beside, failed, latency, percent};
use super::standing::Standing;
use super::tally::Tally;
use crate::terminal::{Cell, Paint, Table, Tone, columns, rows, width, wrap};

/// Between two lines where there is no terminal.
const LINE_PERIOD: Duration = Duration::from_secs(5);

/// The screen, or what stands in for it.
#[derive(Debug)]
pub(super) struct View {
    paint: Paint,
    began: Instant,
    told: Instant,
    intended: Intended,
    /// The lines at the end of the screen that the next drawing replaces.
    drawn: Vec<String>,
}

impl View {
    /// A view of the document at `path`.
    pub(super) fn new(path: PathBuf, paint: Paint) -> Self {
        let now = Instant::now();
        Self { paint, began: now, told: now, intended: Intended::new(path), drawn: Vec::new() }
    }

    /// Tells an event. It stays on the screen.
    ///
    /// # Errors
    /// Nobody reads any more.
    pub(super) fn say(&mut self, words: &str) -> io::Result<()> {
        let mut prefix = format!("{}  ", self.clock());
        let room = columns().map_or(usize::MAX, |columns| columns.saturating_sub(prefix.len()));
        let said = wrap(words, room).into_iter().map(|line| {
            let indent = " ".repeat(prefix.len());
            std::mem::replace(&mut prefix, indent) + &line
        });
        let said = said.collect();
        let kept = std::mem::take(&mut self.drawn);
        self.replace(&kept, &[said, kept.clone()].concat())?;
        self.drawn = kept;
        Ok(())
    }

    /// Shows how things are.
    ///
    /// # Errors
    /// Nobody reads any more.
    pub(super) fn show(&mut self, tally: &Tally, standing: &Standing) -> io::Result<()> {
        if let Some(columns) = columns() {
            self.intended.refresh();
            let lines = self.lines(tally, standing, columns);
            self.replace(&self.drawn, &lines)?;
            self.drawn = lines;
        } else if self.told.elapsed() >= LINE_PERIOD {
            self.told = Instant::now();
            self.intended.refresh();
            let line = self.line(tally, standing);
            self.say(&line)?;
        }
        Ok(())
    }

    /// The table goes; what comes next is written where it was.
    ///
    /// # Errors
    /// Nobody reads any more.
    pub(super) fn finish(&mut self, lines: &[String]) -> io::Result<()> {
        let drawn = std::mem::take(&mut self.drawn);
        self.replace(&drawn, lines)
    }

    /// What was drawn is measured by the terminal as it is now: one that became narrower has broken lines in two.
    fn replace(&self, drawn: &[String], lines: &[String]) -> io::Result<()> {
        let old = columns().map_or(0, |columns| rows(drawn, columns));
        let mut out = io::stdout().lock();
        if old > 0 {
            write!(out, "\x1b[{old}A\r\x1b[J")?;
        }
        for line in lines {
            writeln!(out, "{line}")?;
        }
        out.flush()
    }

    fn lines(&self, tally: &Tally, standing: &Standing, columns: usize) -> Vec<String> {
        let (recent, rate) = tally.recent();
        let mut table = Table::new(&["", ">ENDPOINTS IN", ">INTENDED %", ">OBSERVED %"]);
        let shares = self.intended.shares(|region| standing.healthy[region] > 0);
        for (at, (region, count)) in REGIONS.iter().zip(recent.by_region()).enumerate() {
            let share = shares.map(|shares| shares.regions[at]);
            let observed = percent(count, recent.answered()).into();
            table.row([region.name.into(), endpoints(standing.healthy[at]), intended(share), observed]);
        }
        for (at, (version, count)) in VERSIONS.iter().zip(recent.by_version()).enumerate() {
            let share = shares.map(|shares| shares.versions[at]);
            let observed = percent(count, recent.answered()).into();
            table.row([format!("shop {version}").into(), Cell::default(), intended(share), observed]);
        }
        let mut lines = vec![String::new()];
        lines.extend(table.lines(self.paint));
        let (p50, p99) = (latency(&recent, 0.5), latency(&recent, 0.99));
        let now = format!("{}  {rate:.0} requests/s, p50 {p50}, p99 {p99} (last 3 s)", self.clock());
        let failed = failed(tally.all.failed).painted(self.paint);
        let all = format!("{} in all, {failed} failed; revision {}", tally.all.requests, standing.revision);
        lines.extend(joined(now, &all, columns));
        lines
    }

    fn line(&self, tally: &Tally, standing: &Standing) -> String {
        let (recent, rate) = tally.recent();
        let all = recent.answered();
        let intended = self.intended.shares(|region| standing.healthy[region] > 0);
        let regions = REGIONS.iter().zip(recent.by_region()).enumerate();
        let regions = regions
            .map(|(at, (region, count))| pair(region.name, intended.map(|shares| shares.regions[at]), count, all));
        let versions = VERSIONS.iter().zip(recent.by_version()).enumerate();
        let versions = versions
            .map(|(at, (version, count))| pair(version, intended.map(|shares| shares.versions[at]), count, all));
        let shares: Vec<String> = regions.chain(versions).collect();
        let endpoints = standing.healthy.map(|healthy| healthy.to_string()).join("+");
        format!(
            "{rate:.0}/s, failed {}, p50 {}, p99 {}, endpoints in {endpoints}, observed % (intended): {}",
            tally.all.failed,
            latency(&recent, 0.5),
            latency(&recent, 0.99),
            shares.join(", "),
        )
    }

    fn clock(&self) -> String {
        let seconds = self.began.elapsed().as_secs();
        format!("{:02}:{:02}", seconds / 60, seconds % 60)
    }
}

/// In one line, or in two where one has no room.
fn joined(now: String, all: &str, columns: usize) -> Vec<String> {
    let line = format!("{now}; {all}");
    if width(&line) <= columns { vec![line] } else { vec![now, format!("       {all}")] }
}

fn pair(name: &str, share: Option<f64>, count: u64, all: u64) -> String {
    format!("{name} {}", beside(&percent(count, all), share))
}

fn intended(share: Option<f64>) -> Cell {
    share.map_or_else(|| "edited".into(), |share| format!("{:.1}", share * 100.0).into())
}

fn endpoints(healthy: usize) -> Cell {
    let tone = if healthy == REGION_ENDPOINTS { Tone::Good } else { Tone::Bad };
    Cell::new(format!("{healthy}/{REGION_ENDPOINTS}"), tone)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terminal::Color;

    #[test]
    fn every_line_has_room_on_a_small_terminal() {
        let view = View::new(PathBuf::new(), Color::Always.stdout());
        let standing = Standing { revision: 1_000, healthy: [4, 0, 4] };
        let mut tally = Tally::default();
        tally.all.requests = 1_000_000;
        tally.all.failed = 1_000_000;
        let small = view.lines(&tally, &standing, 80);
        assert_eq!(rows(&small, 80), small.len(), "{small:?}");
        assert_eq!(view.lines(&tally, &standing, 200).len() + 1, small.len());
    }
}
