//! How the demo of one proxy looks: regions and versions, what they should get and what they do.

use super::intended::Intended;
use super::plan::{REGION_ENDPOINTS, REGIONS, VERSIONS};
use super::report::{beside, failed, latency, percent};
use super::standing::Standing;
use super::tally::Tally;
use super::view::Picture;
use crate::terminal::{Cell, Paint, Table, Tone, width};

/// Regions and versions now.
pub(super) struct Shares<'a> {
    pub(super) intended: &'a Intended,
    pub(super) tally: &'a Tally,
    pub(super) standing: &'a Standing,
}

impl Picture for Shares<'_> {
    fn lines(&self, clock: &str, columns: usize, paint: Paint) -> Vec<String> {
        let Self { intended: asked, tally, standing } = self;
        let (recent, rate) = tally.recent();
        let mut table = Table::new(&["", ">ENDPOINTS IN", ">INTENDED %", ">OBSERVED %"]);
        let shares = asked.shares(|region| standing.healthy[region] > 0);
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
        lines.extend(table.lines(paint));
        let (p50, p99) = (latency(&recent, 0.5), latency(&recent, 0.99));
        let now = format!("{clock}  {rate:.0} requests/s, p50 {p50}, p99 {p99} (last 3 s)");
        let failed = failed(tally.all.failed).painted(paint);
        let all = format!("{} in all, {failed} failed; revision {}", tally.all.requests, standing.revision);
        lines.extend(joined(now, &all, columns));
        lines
    }

    fn line(&self) -> String {
        let Self { tally, standing, .. } = self;
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
}

/// In one line, or in two where one has no room.
pub(super) fn joined(now: String, all: &str, columns: usize) -> Vec<String> {
    let line = format!("{now}; {all}");
    if width(&line) <= columns { vec![line] } else { vec![now, format!("       {all}")] }
}

fn pair(name: &str, share: Option<f64>, count: u64, all: u64) -> String {
    format!("{name} {}", beside(&percent(count, all), share))
}

fn intended(share: Option<f64>) -> Cell {
    share.map_or_else(|| "edited".into(), |share| format!("{:.1}", share * 100.0).into())
}

/// Endpoints that are in, red where some are out.
pub(super) fn endpoints(healthy: usize) -> Cell {
    let tone = if healthy == REGION_ENDPOINTS { Tone::Good } else { Tone::Bad };
    Cell::new(format!("{healthy}/{REGION_ENDPOINTS}"), tone)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::terminal::{Color, rows};

    #[test]
    fn every_line_has_room_on_a_small_terminal() {
        let standing = Standing { revision: 1_000, healthy: [4, 0, 4], connected: false };
        let mut tally = Tally::default();
        tally.all.requests = 1_000_000;
        tally.all.failed = 1_000_000;
        let intended = Intended::new(PathBuf::new());
        let shares = Shares { intended: &intended, tally: &tally, standing: &standing };
        let lines = |columns| shares.lines("99:59", columns, Color::Always.stdout());
        let small = lines(80);
        assert_eq!(rows(&small, 80), small.len(), "{small:?}");
        assert_eq!(lines(200).len() + 1, small.len());
    }
}
