//! Weights are shifted by an operator, or given back to the document.
//!
//! **The rule.** A version that is named gets exactly what is named. The others keep their ratio among themselves, by what
//! is live, in what is left; rounding goes to the largest remainders, so that the whole is 100 % to the millionth. A version
//! without a share gets none by not being named: nobody sends traffic to a version they did not think of. Where one version
//! alone was not named there is nothing to think of, and what is left is its: `v2=0%` takes a whole shift back.
//!
//! A shift takes ownership, also where it changes no share: the document of tomorrow then cannot change what was looked at
//! today.
//!
//! **Shifts with an end** wait below each other: each goes back to the one before it. One that would end no later than the
//! new one is not kept, since nobody would see it again; so a shift that is prolonged again and again stays one.

use std::collections::BTreeMap;
use std::time::Duration;

use sluice_config::name::{ServiceName, VersionName};
use sluice_config::overlay::{Author, LiveWeights, Owner, Reason, Until};
use sluice_config::share::{Share, Shares, apportion};
use sluice_config::timestamp::Timestamp;
use sluice_config::validated::Service;

use super::expiry::settled;
use super::{Head, Proposal, Refusal, Unchanged};
use crate::revision::Kind;

/// The longest that a shift with an end may last: 30 days, the longest duration that is ever written.
pub const LONGEST: Duration = sluice_config::duration::MAX;

/// The most weights of one service that wait below each other for the ones above them to end.
pub const DEEPEST: usize = 8;

/// How an operator wants a service's new choices to be shared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shift {
    /// Whose.
    pub service: ServiceName,
    /// The versions that were named. At least one.
    pub shares: BTreeMap<VersionName, Share>,
    /// How long until the weights before come back. Absent: they stay.
    pub lasts: Option<Duration>,
}

/// The weights of one service, which are the operator's from then on.
///
/// # Errors
/// When something is named that is not there, the shares make no whole, the time is out of its range, or the operator has
/// set just these weights before.
pub fn shift(
    head: &Head,
    order: &Shift,
    author: &Author,
    reason: &Reason,
    now: Timestamp,
) -> Result<Proposal, Refusal> {
    let service = head.find(&order.service)?;
    check_lasts(order.lasts, LONGEST)?;
    let entry = head.revision.overlay.weights.get(&order.service);
    let before = entry.and_then(|entry| settled(entry, service, now));
    let shares = resolve(service, before.as_ref(), &order.shares)?;
    let unchanged = || Err(Refusal::Unchanged(Unchanged::Weights(order.service.clone())));
    let is_set = |before: &LiveWeights| before.shares == shares && before.until.is_none();
    if order.lasts.is_none() && before.as_ref().is_some_and(is_set) {
        return unchanged();
    }
    let until = order.lasts.map(|lasts| until(service, before, now.after(lasts)));
    let weights = LiveWeights {
        shares,
        owner: Owner::Operator,
        author: author.clone(),
        reason: reason.clone(),
        since: now,
        until,
    };
    if entry == Some(&weights) {
        return unchanged();
    }
    if depth(&weights) > DEEPEST {
        return Err(Refusal::TooDeep { service: order.service.clone(), most: DEEPEST });
    }
    let mut overlay = head.revision.overlay.clone();
    overlay.weights.insert(order.service.clone(), weights);
    head.propose(Kind::Weights, overlay)
}

/// The weights of one service are the document's again.
///
/// # Errors
/// When there is no such service, or they are.
pub fn release(head: &Head, service: &ServiceName) -> Result<Proposal, Refusal> {
    head.find(service)?;
    let mut overlay = head.revision.overlay.clone();
    match overlay.weights.remove(service) {
        None => Err(Refusal::Unchanged(Unchanged::Released(service.clone()))),
        Some(_) => head.propose(Kind::Weights, overlay),
    }
}

/// Whether it ends later than at once, and soon enough.
pub(super) fn check_lasts(lasts: Option<Duration>, most: Duration) -> Result<(), Refusal> {
    match lasts {
        Some(lasts) if lasts.as_millis() == 0 => Err(Refusal::NoTime),
        Some(asked) if asked > most => Err(Refusal::TooLong { asked, most }),
        Some(_) | None => Ok(()),
    }
}

fn until(service: &Service, before: Option<LiveWeights>, at: Timestamp) -> Until {
    Until { at, then: before.and_then(|before| settled(&before, service, at)).map(Box::new) }
}

/// How many wait below.
pub(super) fn depth(weights: &LiveWeights) -> usize {
    let below = |weights: &'_ LiveWeights| weights.until.as_ref().and_then(|until| until.then.clone());
    std::iter::successors(below(weights), |next| below(next)).count()
}

/// The whole that the named shares make with what is live.
fn resolve(
    service: &Service,
    live: Option<&LiveWeights>,
    named: &BTreeMap<VersionName, Share>,
) -> Result<Shares, Refusal> {
    if named.is_empty() {
        return Err(Refusal::NothingNamed(service.name.clone()));
    }
    if let Some(name) = named.keys().find(|name| !service.versions.iter().any(|one| one.name == **name)) {
        return Err(Refusal::no_version(name, service));
    }
    let sum: u64 = named.values().map(|share| u64::from(share.ppm())).sum();
    let left = u64::from(Share::WHOLE.ppm()).checked_sub(sum).ok_or(Refusal::AboveWhole(sum))?;
    let others: Vec<_> = service.versions.iter().filter(|version| !named.contains_key(&version.name)).collect();
    let weights = others.iter().map(|version| match live {
        Some(live) => live.shares.of(&version.name).ppm().into(),
        None => version.weight.get().into(),
    });
    let parts = match (left, apportion(left, weights)) {
        (0, _) => Vec::new(),
        (_, Some(parts)) => parts,
        (_, None) if others.len() == 1 => vec![left],
        (_, None) => return Err(nothing_takes(service, left, &others)),
    };
    let rest = others.iter().zip(parts).map(|(version, part)| (version.name.clone(), share(part)));
    let all = named.iter().map(|(name, share)| (name.clone(), *share)).chain(rest);
    Shares::new(all).map_err(|sum| Refusal::AboveWhole(sum.0))
}

/// A part of the whole.
fn share(part: u64) -> Share {
    u32::try_from(part).ok().and_then(Share::from_ppm).unwrap_or(Share::WHOLE)
}

fn nothing_takes(service: &Service, left: u64, others: &[&sluice_config::validated::Version]) -> Refusal {
    let idle = others.iter().map(|version| version.name.clone()).collect();
    Refusal::NothingTakesRest { service: service.name.clone(), left: share(left), idle }
}
