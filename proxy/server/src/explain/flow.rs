//! How the requests of one kind flow: where each part of them is assigned to, and who answers it, or why nobody does.
//!
//! The core says where a region's requests are split to, and where a pool's go that it cannot answer itself.

use std::borrow::Cow;

use sluice_proxy_core::breaker::{Force, State};
use sluice_proxy_core::outcome::Ending;
use sluice_proxy_core::place::takes_part;
use sluice_proxy_core::select::{Lost, Refusal};
use sluice_proxy_core::service::{Candidate, Obstacle};
use sluice_proxy_core::split::{Shares, Ticket, rendezvous};
use sluice_proxy_core::supply::Lack;

use super::{Case, Unanswered};

/// Of the requests, 0 to 1, what each pool answers, and what none does.
#[derive(Debug, Default)]
pub(super) struct Flow {
    /// By region and version.
    pools: Vec<Vec<f64>>,
    pub(super) unanswered: Vec<Unanswered>,
}

impl Flow {
    pub(super) fn pool(&self, region: usize, version: usize) -> f64 {
        self.pools[region][version]
    }

    pub(super) fn region(&self, region: usize) -> f64 {
        self.pools[region].iter().sum()
    }
}

impl Case<'_> {
    /// What becomes of the requests, with this key of the user if the split asks for one.
    pub(super) fn flow(&self, candidates: &[Candidate<'_>], key: Option<&[u8]>) -> Flow {
        let (service, versions) = (self.service, self.service.versions());
        let answering = service.answering(self.capability, self.pinned, self.zone, self.now, &mut rand::rng());
        let mut flow = Flow { pools: vec![vec![0.0; versions]; service.regions().len()], ..Flow::default() };
        let placement = self.placement(candidates);
        if placement.iter().all(|share| *share == 0.0) {
            flow.unanswered.push(unplaced());
        }
        for (region, placed) in placement.into_iter().enumerate().filter(|(_, placed)| *placed > 0.0) {
            for (version, split) in self.split(region, key).into_iter().enumerate().filter(|(_, split)| *split > 0.0) {
                match answering[region * versions + version] {
                    Ok((by_region, by_version)) => flow.pools[by_region][by_version] += placed * split,
                    Err(refusal) => {
                        flow.unanswered.push(self.unanswered((region, version), placed * split, refusal));
                    }
                }
            }
        }
        flow
    }

    /// The share of each region. A standby that is open to requests is the only one that is; where none is, they are placed
    /// where they should be answered.
    fn placement(&self, candidates: &[Candidate<'_>]) -> Vec<f64> {
        let regions = self.service.regions();
        let is_open = |c: &Candidate<'_>| matches!(c.obstacle, None | Some(Obstacle::Full | Obstacle::Trial));
        let open = |at: usize| candidates.iter().any(|c| c.region == at && is_open(c));
        let weight = |at: usize| {
            if open(at) && takes_part(&regions[at], self.capability) { regions[at].weight.get() } else { 0 }
        };
        let shares = Shares::of((0..regions.len()).map(weight));
        let standby = || (0..regions.len()).find(|at| open(*at)).or_else(|| self.service.home(self.capability));
        let only = if shares.members() == 0 { standby() } else { None };
        (0..regions.len()).map(|at| if only == Some(at) { 1.0 } else { shares.share(at) }).collect()
    }

    /// The share of each version in one region, whether it can answer there or not.
    fn split(&self, region: usize, key: Option<&[u8]>) -> Vec<f64> {
        let all = 0..self.service.versions();
        let only = |chosen: Option<usize>| all.clone().map(|at| f64::from(u8::from(chosen == Some(at)))).collect();
        let share = |at: usize| self.service.split_in(region).map_or(0.0, |shares| shares.share(at));
        match (self.pinned, key) {
            (Some(version), _) => only(Some(version)),
            (None, Some(key)) => {
                let ticket =
                    |at: usize| (at, Ticket::new(self.service.name(), self.service.version(at), self.weights[at]));
                only(rendezvous(all.clone().filter(|at| share(*at) > 0.0).map(ticket), key))
            }
            (None, None) => all.map(share).collect(),
        }
    }

    fn unanswered(&self, (region, version): (usize, usize), share: f64, refusal: Refusal) -> Unanswered {
        let (ending, why) = match refusal {
            Refusal::NoRegion => return unplaced(),
            Refusal::Full(_) if self.has_limits() => {
                (Lack::Full.ending(), "it waits, and is refused if there is no room in time".into())
            }
            Refusal::Full(_) => (Lack::Breaker.ending(), "a half-open breaker has no place for another trial".into()),
            Refusal::Rejected(Lost { why, .. }) => {
                let lack = self.lack((region, version), why);
                (why.ending(), format!("{lack}, and by `fallback: reject` nobody stands in").into())
            }
            Refusal::Exhausted(Lost { why, .. }) => {
                let lack = self.lack((region, version), why);
                (why.ending(), format!("{lack}, and nobody that may stand in can").into())
            }
        };
        let (version, region) = (self.service.version(version), &self.service.regions()[region].name);
        Unanswered {
            version: Some(version.to_string()),
            region: Some(region.to_string()),
            ..nobody(ending, share, why)
        }
    }

    /// What a pool lacks to answer.
    fn lack(&self, (region, version): (usize, usize), lack: Lack) -> &'static str {
        let breaker = self.service.pool_state(region, version).view().breaker;
        match lack {
            Lack::Breaker if breaker.forced == Some(Force::Open) => "the breaker of its pool is forced open",
            Lack::Breaker if breaker.state == State::Open => "the breaker of its pool is open",
            Lack::Breaker => "the breaker of an endpoint is open, and no other may be chosen",
            Lack::Panic => "too few of its pool may be chosen: by `panic` none is",
            Lack::Full => "its pool has no room",
            Lack::Empty | Lack::Tried => "its pool has no endpoint that may be chosen",
        }
    }

    const fn has_limits(&self) -> bool {
        let policies = self.service.policies();
        policies.pool_requests.is_some() || policies.endpoint_requests.is_some()
    }
}

/// Nowhere is a region to which the requests could be assigned.
fn unplaced() -> Unanswered {
    nobody(Ending::NoEndpoint, 1.0, "no region that serves such requests has a version of the service".into())
}

fn nobody(ending: Ending, share: f64, why: Cow<'static, str>) -> Unanswered {
    let judgement = ending.judge();
    let status = judgement.status.unwrap_or_default();
    Unanswered { version: None, region: None, share, status, reason: judgement.reason.into(), why }
}
