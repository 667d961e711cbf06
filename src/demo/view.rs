//! What is shown while the demo runs: on a terminal a table that is drawn again and again, elsewhere a line now and then.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use sluice_config::validated::{Capability, Validated};
use sluice_config::{Environment, decode, validate};
use sluice_proxy_core::place::takes_part;

use super::plan::{REGION_ENDPOINTS, REGIONS, VERSIONS};
use super::report::{failed, latency, percent};
use super::standing::Standing;
use super::tally::Tally;
use crate::terminal::{Cell, Paint, Table, Tone};

/// Between two lines where there is no terminal.
const LINE_PERIOD: Duration = Duration::from_secs(5);

/// The shares that the document on disk asks for. It may be the user's own.
#[derive(Debug)]
struct Intended {
    path: PathBuf,
    content: Vec<u8>,
    document: Option<Validated>,
}

impl Intended {
    /// Reads the document again if its text changed. A text that is refused changes no share.
    fn refresh(&mut self) {
        let Ok(content) = sluice_control::read(&self.path) else { return };
        if content != self.content {
            let proven = decode(&content).and_then(|text| validate(text, &Environment::empty()));
            self.document = proven.ok().or_else(|| self.document.take());
            self.content = content;
        }
    }

    /// Of each region, with those that have no endpoint in left out.
    fn regions(&self, standing: &Standing) -> [f64; REGIONS.len()] {
        let weight = |region: usize| {
            let document = self.document.as_ref()?;
            let known = document.regions.iter().find(|known| known.name.as_str() == REGIONS[region].name)?;
            let takes = standing.healthy[region] > 0 && takes_part(known, Capability::Read);
            takes.then(|| known.weight.get())
        };
        shares(std::array::from_fn(weight))
    }

    fn versions(&self) -> [f64; VERSIONS.len()] {
        let weight = |version: usize| {
            let known = &self.document.as_ref()?.services.first()?.versions;
            Some(known.iter().find(|known| known.name.as_str() == VERSIONS[version])?.weight.get())
        };
        shares(std::array::from_fn(weight))
    }
}

fn shares<const N: usize>(weights: [Option<u32>; N]) -> [f64; N] {
    let all: u32 = weights.iter().flatten().sum();
    weights.map(|weight| f64::from(weight.unwrap_or(0)) / f64::from(all.max(1)))
}

/// The screen, or what stands in for it.
#[derive(Debug)]
pub(super) struct View {
    paint: Paint,
    terminal: bool,
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
        let intended = Intended { path, content: Vec::new(), document: None };
        let terminal = io::stdout().is_terminal();
        Self { paint, terminal, began: now, told: now, intended, drawn: Vec::new() }
    }

    /// Tells an event. It stays on the screen.
    ///
    /// # Errors
    /// Nobody reads any more.
    pub(super) fn say(&mut self, words: &str) -> io::Result<()> {
        let line = format!("{}  {words}", self.clock());
        let kept = std::mem::take(&mut self.drawn);
        self.replace(kept.len(), &[vec![line], kept.clone()].concat())?;
        self.drawn = kept;
        Ok(())
    }

    /// Shows how things are.
    ///
    /// # Errors
    /// Nobody reads any more.
    pub(super) fn show(&mut self, tally: &Tally, standing: &Standing) -> io::Result<()> {
        if self.terminal {
            self.intended.refresh();
            let lines = self.lines(tally, standing);
            self.replace(self.drawn.len(), &lines)?;
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
        self.replace(drawn.len(), lines)
    }

    fn replace(&self, old: usize, lines: &[String]) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if old > 0 {
            write!(out, "\x1b[{old}A\r\x1b[J")?;
        }
        for line in lines {
            writeln!(out, "{line}")?;
        }
        out.flush()
    }

    fn lines(&self, tally: &Tally, standing: &Standing) -> Vec<String> {
        let (recent, rate) = tally.recent();
        let mut table = Table::new(&["", ">ENDPOINTS IN", ">INTENDED %", ">OBSERVED %"]);
        let regions = REGIONS.iter().zip(self.intended.regions(standing)).zip(recent.by_region());
        for (((region, share), count), healthy) in regions.zip(standing.healthy) {
            let observed = percent(count, recent.answered()).into();
            table.row([region.name.into(), endpoints(healthy), intended(share), observed]);
        }
        for ((version, share), count) in VERSIONS.iter().zip(self.intended.versions()).zip(recent.by_version()) {
            let name = format!("shop {version}").into();
            table.row([name, Cell::default(), intended(share), percent(count, recent.answered()).into()]);
        }
        let mut lines = vec![String::new()];
        lines.extend(table.lines(self.paint));
        lines.push(format!(
            "{}  {rate:.0} requests/s, p50 {}, p99 {} (last 3 s); {} in all, {} failed; revision {}",
            self.clock(),
            latency(&recent, 0.5),
            latency(&recent, 0.99),
            tally.all.requests,
            failed(tally.all.failed).painted(self.paint),
            standing.revision,
        ));
        lines
    }

    fn line(&self, tally: &Tally, standing: &Standing) -> String {
        let (recent, rate) = tally.recent();
        let all = recent.answered();
        let regions = REGIONS.iter().zip(self.intended.regions(standing)).zip(recent.by_region());
        let regions = regions.map(|((region, share), count)| pair(region.name, share, count, all));
        let versions = VERSIONS.iter().zip(self.intended.versions()).zip(recent.by_version());
        let versions = versions.map(|((version, share), count)| pair(version, share, count, all));
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

fn pair(name: &str, share: f64, count: u64, all: u64) -> String {
    format!("{name} {} ({:.1})", percent(count, all), share * 100.0)
}

fn intended(share: f64) -> Cell {
    format!("{:.1}", share * 100.0).into()
}

fn endpoints(healthy: usize) -> Cell {
    let tone = if healthy == REGION_ENDPOINTS { Tone::Good } else { Tone::Bad };
    Cell::new(format!("{healthy}/{REGION_ENDPOINTS}"), tone)
}
