//! What ends by itself: shifts with an end, and overrides.
//!
//! **The rule.** Weights that have ended are replaced by those before them, and by those before these if they have ended too,
//! step by step; what does not fit the document any more, because a version was removed meanwhile, is replaced by the
//! document's weights, and the reason says so. The obvious other rule, to refuse the removal of every version that some
//! weights of the future name, would let a forgotten `--for` hold a document back for weeks.
//!
//! # Invariants
//! - Confluent: to look at one moment and then at a later one has the effect of looking at the later one only.
//! - Idempotent: after it nothing has ended at the same moment.

use std::collections::BTreeMap;

use sluice_config::name::ServiceName;
use sluice_config::overlay::{LiveWeights, Override, Reason};
use sluice_config::timestamp::Timestamp;
use sluice_config::validated::{Service, Validated};
use sluice_config::value::RevisionId;

use super::{Head, Proposal, fits};
use crate::revision::Kind;

/// The next change that time itself makes, and why; nothing while nothing has ended. Weights and overrides are changes of
/// their own: call it again on top of the revision that was made of this one.
#[must_use]
pub fn expire(head: &Head, now: Timestamp) -> Option<(Proposal, Reason)> {
    expire_weights(head, now).or_else(|| expire_overrides(head, now))
}

fn expire_weights(head: &Head, now: Timestamp) -> Option<(Proposal, Reason)> {
    let mut overlay = head.revision.overlay.clone();
    let (weights, told) = settle(&overlay.weights, &head.written, now);
    overlay.weights = weights;
    let proposal = (!told.is_empty()).then(|| head.propose(Kind::Weights, overlay).ok())??;
    Some((proposal, reason("weights ended as they were set", &told)))
}

fn expire_overrides(head: &Head, now: Timestamp) -> Option<(Proposal, Reason)> {
    let mut overlay = head.revision.overlay.clone();
    let ended: BTreeMap<RevisionId, Override> = overlay.overrides.extract_if(.., |_, one| one.expires <= now).collect();
    let told: Vec<String> =
        ended.iter().map(|(id, one)| format!("{} of revision {id} by {}", one.action, one.author)).collect();
    let proposal = (!told.is_empty()).then(|| head.propose(Kind::Override, overlay).ok())??;
    Some((proposal, reason("overrides expired", &told)))
}

/// The weights of all services as they are at that moment, and in words what ended.
pub(super) fn settle(
    weights: &BTreeMap<ServiceName, LiveWeights>,
    document: &Validated,
    now: Timestamp,
) -> (BTreeMap<ServiceName, LiveWeights>, Vec<String>) {
    let mut told = Vec::new();
    let mut settle_one = |name: &ServiceName, one: &LiveWeights| {
        let ended = one.until.as_ref().is_some_and(|until| until.at <= now);
        if !ended {
            return Some(one.clone());
        }
        let service = document.services.iter().find(|service| service.name == *name);
        let settled = service.and_then(|service| settled(one, service, now));
        told.push(tell(name, one, settled.as_ref(), now));
        settled
    };
    let weights = weights.iter().filter_map(|(name, one)| Some((name.clone(), settle_one(name, one)?))).collect();
    (weights, told)
}

/// The weights of one service as they are at that moment. Nothing: the document's.
pub(super) fn settled(weights: &LiveWeights, service: &Service, now: Timestamp) -> Option<LiveWeights> {
    let mut weights = weights;
    loop {
        match &weights.until {
            Some(until) if until.at <= now => weights = until.then.as_deref().filter(|then| fits(then, service))?,
            Some(_) | None => return Some(weights.clone()),
        }
    }
}

fn tell(service: &ServiceName, ended: &LiveWeights, settled: Option<&LiveWeights>, now: Timestamp) -> String {
    match settled {
        Some(then) => format!("{service} is back to what {} set at {}", then.author, then.since),
        None if lasts_beyond(ended, now) => {
            format!("{service} is back to the document, which lacks a version that had a share before")
        }
        None => format!("{service} is back to the document"),
    }
}

/// Whether some of the weights in line have not ended: then it is the document that they do not fit.
fn lasts_beyond(ended: &LiveWeights, now: Timestamp) -> bool {
    let mut next = Some(ended);
    while let Some(weights) = next {
        match &weights.until {
            Some(until) if until.at <= now => next = until.then.as_deref(),
            Some(_) | None => return true,
        }
    }
    false
}

/// A line of at most [`Reason::MAX`] bytes. What has no place in it is counted.
fn reason(what: &str, told: &[String]) -> Reason {
    const ROOM: usize = Reason::MAX - 20;
    let mut line = format!("{what}: ");
    for (at, one) in told.iter().enumerate() {
        let separator = if at == 0 { "" } else { "; " };
        if line.len() + separator.len() + one.len() > ROOM {
            line.push_str(&format!("{separator}{} more", told.len() - at));
            break;
        }
        line.push_str(separator);
        line.push_str(one);
    }
    line.parse().expect("names and authors are shown, and the room is counted")
}
