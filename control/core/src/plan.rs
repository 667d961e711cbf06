//! What a change would do: to the document, in the words of operators, and to the traffic.
//!
//! **How much moves.** For each service that stays, the share of its new requests that would be answered by another version
//! or in another region: the total variation distance between where they go now and where they would go. It is computed by
//! the proxy's own arithmetic, with every endpoint well: a plan is about what is meant, not about what is broken today.
//! The obvious other figure, how far the weights change, is wrong as soon as a version is not in every region.
//!
//! Requests of routes that name a version are not split, so a shift does not move them. A service that is new or goes away
//! moves nothing; the changes tell it.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sluice_config::diff;
use sluice_config::diff::{Change, beginning};
use sluice_config::name::{RegionName, ServiceName, VersionName};
use sluice_config::validated::{Capability, Service, Validated, Version};
use sluice_proxy_core::service::intended;

/// Less than this is what rounding leaves.
const LEAST: f64 = 1e-9;

/// What a change would do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Plan {
    /// What differs, in the order of [`diff`](sluice_config::diff()).
    pub changes: Vec<Change>,
    /// The requests that would go elsewhere, by service. For a service whose reads and writes move differently there is one
    /// of each.
    pub moves: Vec<Move>,
}

/// The requests of one service that would go elsewhere.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Move {
    /// The service.
    pub service: ServiceName,
    /// Which of its requests: reads, or writes. Absent: all, since both move alike.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<Capability>,
    /// Where they go now.
    pub from: Vec<Part>,
    /// Where they would go.
    pub to: Vec<Part>,
    /// The fraction that would go elsewhere, 0 to 1.
    pub moved: f64,
    /// As many requests a second, by the service's present rate over all kinds, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_second: Option<f64>,
    /// How many routes lead to the service and name no version.
    pub routes: usize,
}

/// What one version in one region gets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Part {
    /// The region.
    pub region: RegionName,
    /// The version.
    pub version: VersionName,
    /// The fraction of the service's requests, 0 to 1.
    pub share: f64,
}

/// What would change. Both are effective documents, with what is live on top. `rates` knows a service's requests a second.
#[must_use]
pub fn plan(before: Option<&Validated>, after: &Validated, rates: &impl Fn(&ServiceName) -> Option<f64>) -> Plan {
    let Some(before) = before else { return Plan { changes: beginning(after), moves: Vec::new() } };
    let old: BTreeMap<&ServiceName, &Service> =
        before.services.iter().map(|service| (&service.name, service)).collect();
    let stays = after.services.iter().filter_map(|service| Some((*old.get(&service.name)?, service)));
    let routes = routes(after);
    let moves = stays.flat_map(|(was, is)| moves((before, was), (after, is)));
    let complete = |found: Move| Move {
        per_second: rates(&found.service).map(|rate| rate * found.moved),
        routes: routes.get(&found.service).copied().unwrap_or(0),
        ..found
    };
    Plan { changes: diff(before, after), moves: moves.map(complete).collect() }
}

/// For each service how many routes lead to it and name no version.
fn routes(document: &Validated) -> BTreeMap<&ServiceName, usize> {
    let mut counts = BTreeMap::new();
    for route in document.routes.iter().filter(|route| route.version.is_none()) {
        *counts.entry(&document.services[route.service].name).or_default() += 1;
    }
    counts
}

fn moves(before: (&Validated, &Service), after: (&Validated, &Service)) -> Vec<Move> {
    let movement = |of| movement(&after.1.name, Some(of), parts(before, of), parts(after, of));
    let (reads, writes) = (movement(Capability::Read), movement(Capability::Write));
    let alike = reads.from == writes.from && reads.to == writes.to;
    let found = if alike { vec![Move { of: None, ..reads }] } else { vec![reads, writes] };
    found.into_iter().filter(|found| found.moved > LEAST).collect()
}

/// By name, since places in lists may differ: what does not get anything is left out.
fn parts((document, service): (&Validated, &Service), of: Capability) -> Vec<Part> {
    let shares = intended(&document.regions, service, of);
    let rows = document.regions.iter().zip(shares);
    let parts = rows.flat_map(|(region, row)| {
        let part = |(version, share): (&Version, f64)| Part {
            region: region.name.clone(),
            version: version.name.clone(),
            share,
        };
        service.versions.iter().zip(row).map(part).collect::<Vec<_>>()
    });
    parts.filter(|part| part.share > LEAST).collect()
}

/// Without its rate and its routes.
fn movement(service: &ServiceName, of: Option<Capability>, from: Vec<Part>, to: Vec<Part>) -> Move {
    let loss: f64 = gained(&to, &from).iter().map(|(_, share)| share).sum();
    let gain: f64 = gained(&from, &to).iter().map(|(_, share)| share).sum();
    Move { service: service.clone(), of, from, to, moved: loss.max(gain), per_second: None, routes: 0 }
}

/// What gets more than before, and how much more.
fn gained<'a>(from: &[Part], to: &'a [Part]) -> Vec<(&'a Part, f64)> {
    let more = to.iter().map(|part| (part, part.share - share(from, part)));
    more.filter(|(_, more)| *more > 0.0).collect()
}

fn share(parts: &[Part], of: &Part) -> f64 {
    let same = |part: &&Part| part.region == of.region && part.version == of.version;
    parts.iter().find(same).map_or(0.0, |part| part.share)
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.changes.is_empty() {
            return f.write_str("nothing changes");
        }
        let changes = self.changes.iter().map(ToString::to_string);
        let moves = self.moves.iter().map(ToString::to_string);
        let none = self.moves.is_empty().then(|| "no traffic moves".to_owned());
        f.write_str(&changes.chain(moves).chain(none).collect::<Vec<_>>().join("\n"))
    }
}

/// `12.5% of the requests of shop move, about 50 a second, on 2 routes`, then each part whose share changes.
impl fmt::Display for Move {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of the {} of {} move", percent(self.moved), self.kind(), self.service)?;
        if let Some(rate) = self.per_second {
            write!(f, ", about {rate:.1} a second")?;
        }
        write!(f, ", on {} route{}", self.routes, if self.routes == 1 { "" } else { "s" })?;
        let gone = self.from.iter().filter(|part| share(&self.to, part) == 0.0);
        for part in self.to.iter().chain(gone) {
            let (was, is) = (share(&self.from, part), share(&self.to, part));
            if (was - is).abs() > LEAST {
                write!(f, "\n  {} in {}: {} -> {}", part.version, part.region, percent(was), percent(is))?;
            }
        }
        Ok(())
    }
}

impl Move {
    const fn kind(&self) -> &'static str {
        match self.of {
            None => "requests",
            Some(Capability::Read) => "reads",
            Some(Capability::Write) => "writes",
            Some(Capability::Admin) => "admin requests",
        }
    }
}

/// As people read it: at most four digits behind the point.
fn percent(share: f64) -> String {
    let digits = format!("{:.4}", share * 100.0);
    format!("{}%", digits.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sluice_config::{Environment, validate};

    use super::*;

    /// Three regions; v2 is not in the standby.
    fn document(east: u32, west: &str, v2: u32) -> Validated {
        let text = format!(
            r#"
listeners: [{{ name: web, address: "127.0.0.1:8080" }}]
regions:
  - {{ name: east, role: primary, weight: {east} }}
  - {{ name: west, weight: 30, capabilities: {west} }}
  - {{ name: spare, role: standby }}
services:
  - name: shop
    versions:
      - {{ name: v1, weight: 95, endpoints: {{ east: ["10.0.1.1:80"], west: ["10.0.2.1:80"], spare: ["10.0.3.1:80"] }} }}
      - {{ name: v2, weight: {v2}, endpoints: {{ east: ["10.0.1.2:80"], west: ["10.0.2.2:80"] }} }}
routes: [{{ service: shop }}, {{ match: {{ path: /next }}, service: shop, version: v2 }}]
"#
        );
        validate(&text, &Environment::empty()).unwrap_or_else(|problems| panic!("{problems}"))
    }

    const ALL: &str = "[read, write, admin]";

    fn told(before: &Validated, after: &Validated) -> String {
        plan(Some(before), after, &|_| Some(200.0)).to_string()
    }

    #[test]
    fn a_plan_is_told_in_lines() {
        insta::assert_snapshot!(told(&document(70, ALL, 5), &document(70, ALL, 31)), @r"
        weight of shop/v2 5 -> 31
        19.6032% of the requests of shop move, about 39.2 a second, on 1 route
          v1 in east: 66.5% -> 52.7778%
          v2 in east: 3.5% -> 17.2222%
          v1 in west: 28.5% -> 22.619%
          v2 in west: 1.5% -> 7.381%
        ");
        insta::assert_snapshot!(told(&document(70, ALL, 5), &document(70, "[read]", 5)), @r"
        capabilities of region west [read, write, admin] -> [read]
        30% of the writes of shop move, about 60.0 a second, on 1 route
          v1 in east: 66.5% -> 95%
          v2 in east: 3.5% -> 5%
          v1 in west: 28.5% -> 0%
          v2 in west: 1.5% -> 0%
        ");
        insta::assert_snapshot!(told(&document(70, ALL, 5), &document(70, ALL, 5)), @"nothing changes");
    }

    #[test]
    fn a_first_document_is_new_as_a_whole() {
        let plan = plan(None, &document(70, ALL, 5), &|_| None);
        insta::assert_snapshot!(plan, @r"
        listener web added
        region east added
        region west added
        region spare added
        service shop added
        route */ added
        route */next added
        no traffic moves
        ");
    }

    #[test]
    fn a_plan_is_data() {
        let plan = plan(Some(&document(30, ALL, 95)), &document(0, ALL, 95), &|_| None);
        insta::assert_snapshot!(serde_json::to_string(&plan.moves[0]).unwrap(), @r#"{"service":"shop","from":[{"region":"east","version":"v1","share":0.25},{"region":"east","version":"v2","share":0.25},{"region":"west","version":"v1","share":0.25},{"region":"west","version":"v2","share":0.25}],"to":[{"region":"west","version":"v1","share":0.5},{"region":"west","version":"v2","share":0.5}],"moved":0.5,"routes":1}"#);
    }

    proptest! {
        /// What moves is at most all, is the same in both directions, and nothing exactly when shares are equal.
        #[test]
        fn what_moves_is_a_distance(east in (0..100_u32, 0..100_u32), v2 in (0..200_u32, 0..200_u32)) {
            let (one, two) = (document(east.0, ALL, v2.0), document(east.1, ALL, v2.1));
            let moved = |from, to| plan(Some(from), to, &|_| None).moves.first().map_or(0.0, |found: &Move| found.moved);
            prop_assert!((moved(&one, &two) - moved(&two, &one)).abs() < LEAST);
            prop_assert!((0.0..=1.0 + LEAST).contains(&moved(&one, &two)));
            let same = east.0 == east.1 && v2.0 == v2.1;
            prop_assert!(!same || moved(&one, &two) == 0.0);
            let share = |v2: u32| f64::from(v2) / f64::from(95 + v2);
            if east.0 == east.1 {
                prop_assert!((moved(&one, &two) - (share(v2.0) - share(v2.1)).abs()).abs() < LEAST);
            }
        }
    }
}
