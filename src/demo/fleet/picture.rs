//! How the demo of a fleet looks: its proxies, what each runs and how it shares its traffic.

use super::plan::{SEATS, Scene};
use crate::demo::picture::joined;
use crate::demo::plan::{REGION_ENDPOINTS, REGIONS, VERSIONS};
use crate::demo::report::{beside, failed, latency, percent};
use crate::demo::standing::Standing;
use crate::demo::tally::Tally;
use crate::demo::view::Picture;
use crate::terminal::{Cell, Paint, Table, Tone, wrap};

/// The fleet now.
pub(super) struct Fleet<'a> {
    pub(super) scene: &'a Scene,
    /// The revision that everybody should run.
    pub(super) revision: u64,
    pub(super) has_control: bool,
    pub(super) standings: &'a [Standing],
    /// What was seen of each proxy, and of all together.
    pub(super) tallies: &'a [Tally],
    pub(super) all: &'a Tally,
}

impl Picture for Fleet<'_> {
    fn lines(&self, clock: &str, columns: usize, paint: Paint) -> Vec<String> {
        let head = ["PROXY", "REGION", ">REVISION", "CONTROL", ">ENDPOINTS IN", ">REQUESTS/S", ">V1 %", ">V2 %"];
        let mut table = Table::new(&head);
        for at in 0..SEATS.len() {
            table.row(self.row(at));
        }
        let mut lines = vec![String::new()];
        lines.extend(table.lines(paint));
        lines.extend(wrap(&format!("observed % (intended): {}", self.shares()), columns));
        let (recent, rate) = self.all.recent();
        let (p50, p99) = (latency(&recent, 0.5), latency(&recent, 0.99));
        let failed = failed(self.all.all.failed).painted(paint);
        let control = if self.has_control { "runs" } else { "is gone" };
        let now = format!("{clock}  {rate:.0} requests/s, p50 {p50}, p99 {p99} (last 3 s)");
        let all = format!("{} in all, {failed} failed; control plane {control}", self.all.all.requests);
        lines.extend(joined(now, &all, columns));
        lines
    }

    fn line(&self) -> String {
        let (recent, rate) = self.all.recent();
        let revisions = self.standings.iter().map(|standing| standing.revision.to_string());
        format!(
            "{rate:.0}/s, failed {}, p50 {}, p99 {}, revisions {}, observed % (intended): {}",
            self.all.all.failed,
            latency(&recent, 0.5),
            latency(&recent, 0.99),
            revisions.collect::<Vec<_>>().join(" "),
            self.shares(),
        )
    }
}

impl Fleet<'_> {
    fn row(&self, at: usize) -> [Cell; 8] {
        let (seat, standing) = (&SEATS[at], &self.standings[at]);
        let (recent, rate) = self.tallies[at].recent();
        let [v1, v2] = recent.by_version().map(|count| percent(count, recent.answered()));
        let up = standing.revision > 0;
        let tone = |good: bool| if good { Tone::Good } else { Tone::Bad };
        let revision = if up { standing.revision.to_string() } else { "-".to_owned() };
        let (control, near) = match (up, standing.connected) {
            (false, _) => ("restarts", false),
            (true, true) => ("connected", true),
            (true, false) => ("alone", false),
        };
        let endpoints: usize = standing.healthy.iter().sum();
        let expected = REGION_ENDPOINTS * REGIONS.len();
        [
            seat.name.into(),
            REGIONS[seat.region].name.into(),
            Cell::new(revision, tone(standing.revision >= self.revision)),
            Cell::new(control, tone(near)),
            Cell::new(format!("{endpoints}/{expected}"), tone(endpoints == expected)),
            format!("{:.0}", if recent.requests > 0 { rate } else { 0.0 }).into(),
            v1.into(),
            v2.into(),
        ]
    }

    /// Of all proxies together.
    fn shares(&self) -> String {
        let (recent, _) = self.all.recent();
        let intended = self.scene.shares();
        let regions = REGIONS.iter().map(|region| region.name).zip(recent.by_region()).zip(intended.regions);
        let versions = VERSIONS.into_iter().zip(recent.by_version()).zip(intended.versions);
        let pair =
            |((name, count), share)| format!("{name} {}", beside(&percent(count, recent.answered()), Some(share)));
        regions.chain(versions).map(pair).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::fleet::plan::STORY;
    use crate::terminal::{Color, rows};

    #[test]
    fn the_table_has_room_on_a_small_terminal() {
        let standings = [Standing { revision: 10_000, healthy: [4, 0, 4], connected: false }; SEATS.len()];
        let tallies: Vec<Tally> = SEATS.iter().map(|_| Tally::default()).collect();
        let mut all = Tally::default();
        all.all.requests = 1_000_000;
        let fleet = Fleet {
            scene: &STORY[0],
            revision: 1,
            has_control: false,
            standings: &standings,
            tallies: &tallies,
            all: &all,
        };
        let lines = fleet.lines("99:59", 80, Color::Always.stdout());
        let (table, rest) = lines.split_at(SEATS.len() + 2);
        assert_eq!(rows(table, 80), table.len(), "{table:#?}");
        assert!(rest.len() >= 2 && table[4].contains("alone"), "{lines:#?}");
    }
}
