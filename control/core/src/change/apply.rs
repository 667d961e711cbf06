//! A document is applied: what of it is an intent, and whether its author may have that.
//!
//! **The rule.** A three-way merge of each service's weights against the document that was applied last. Weights that its
//! author did not change are no intent, and live ones stay. Weights that were changed are one; under another owner they
//! are refused, all of them at once, or taken when `take_weights` says so. The obvious other rule, to compare with what is
//! live, cannot tell an author who wants the old weights back from one who knows nothing of a shift.
//!
//! **What is a change of weights.** Weights are relative: 95 and 5 are 950 and 50. So what is compared is the ratio among the
//! versions of the new document.
//! - A new version with weight 0 changes nothing; with more (the default is 100) it takes from the others, so it is a change.
//! - A version that was removed is no change by itself, whatever its weight was: that of the others says nothing new. Whether
//!   it can go is for the pair to say. If it has a live share, the pair is not sound; if it has none, nothing moves. To count
//!   it as a change would refuse the usual end of a shift, where the version that has nothing left is taken out of the
//!   document, and with `take_weights` would move traffic that nobody spoke of.
//! - A service that is gone is a matter of the pair, too.
//!
//! - A document that now says what is live takes nothing from anybody: it gets its weights back without being asked, unless they
//!   are to end by themselves. So `sluice export` into a repository, and applying what it holds, ends a drift.
//!
//! A text that means what is applied and is written otherwise is stored: what operators read back is what they wrote last.
//!
//! Problems of the pair are told before conflicts of ownership: they need another text, which may settle both.
//!
//! **What `take_weights` takes**: the weights that were changed, and those that no longer fit. The others were not meant.

use sluice_config::name::{ServiceName, VersionName};
use sluice_config::overlay::LiveWeights;
use sluice_config::share::Shares;
use sluice_config::validated::{Service, Validated};
use sluice_config::{Environment, Overlay, read_pair};

use super::{Head, Owned, Proposal, Refusal, Unchanged, Written, fits, laid};
use crate::revision::Kind;

/// The document in place of the head's, with what is live on top of it. It ends a parking: in file mode only a file with
/// another text gets here.
///
/// `environment` is the one that the text was proven with. It is used only to tell problems at their places.
///
/// # Errors
/// [`Refusal::Problems`] when live weights name what it does not have, [`Refusal::Owned`] when it changes weights of others,
/// [`Refusal::Unchanged`] when it is the text that is applied already (and none is parked).
pub fn apply(
    head: Option<&Head>,
    written: &Written,
    take_weights: bool,
    environment: &Environment,
) -> Result<Proposal, Refusal> {
    let overlay = match head {
        None => Overlay::default(),
        Some(head) => merge(head, written, take_weights, environment)?,
    };
    let same = head.filter(|head| head.revision.document == written.document.key());
    if same.is_some_and(|head| head.revision.overlay == overlay && head.revision.parked.is_none()) {
        return Err(Refusal::Unchanged(Unchanged::Document));
    }
    let digest = laid(&written.validated, &overlay)?;
    let document = Some(written.document.clone());
    Ok(Proposal { kind: Kind::Document, document, overlay, digest, restores: None, parked: None })
}

/// What stays of the overlay.
fn merge(head: &Head, written: &Written, take_weights: bool, environment: &Environment) -> Result<Overlay, Refusal> {
    let mut overlay = head.revision.overlay.clone();
    let mut owned = Vec::new();
    overlay.weights.retain(|name, weights| {
        let service = find(&written.validated, name);
        let changes = changes(find(&head.written, name), service);
        let unfit = service.is_none_or(|service| !fits(weights, service));
        if take_weights {
            return changes.is_empty() && !unfit;
        }
        if weights.until.is_none() && !changes.is_empty() && service.is_some_and(|service| agrees(weights, service)) {
            return false;
        }
        if !changes.is_empty() && !unfit {
            owned.push(conflict(name, weights, changes));
        }
        true
    });
    if laid(&written.validated, &overlay).is_err() {
        read_pair(&written.document.source, environment, &overlay).map_err(Refusal::Problems)?;
    }
    if owned.is_empty() { Ok(overlay) } else { Err(Refusal::Owned(owned)) }
}

/// Whether the document says what is live already, as an exported one does: then it may have its weights back.
fn agrees(weights: &LiveWeights, service: &Service) -> bool {
    let said = Shares::of_weights(service.versions.iter().map(|one| (&one.name, u64::from(one.weight.get()))));
    said.as_ref() == Some(&weights.shares)
}

fn find<'a>(document: &'a Validated, name: &ServiceName) -> Option<&'a Service> {
    document.services.iter().find(|service| service.name == *name)
}

fn conflict(service: &ServiceName, weights: &LiveWeights, changes: Vec<String>) -> Owned {
    Owned {
        service: service.clone(),
        owner: weights.owner,
        author: weights.author.clone(),
        since: weights.since,
        reason: weights.reason.clone(),
        changes,
    }
}

/// What the author changed of a service's weights, in words. Empty: they are as they were.
fn changes(before: Option<&Service>, after: Option<&Service>) -> Vec<String> {
    let (Some(before), Some(after)) = (before, after) else { return Vec::new() };
    let weight = |name: &VersionName| before.versions.iter().find(|one| one.name == *name).map(|one| one.weight.get());
    let pairs: Vec<_> = after.versions.iter().map(|one| (&one.name, weight(&one.name), one.weight.get())).collect();
    let total = |weights: &mut dyn Iterator<Item = u32>| weights.map(u64::from).sum::<u64>();
    let old = total(&mut pairs.iter().map(|(_, old, _)| old.unwrap_or(0)));
    let new = total(&mut pairs.iter().map(|(_, _, new)| *new));
    let same = pairs.iter().all(|(_, was, is)| u64::from(was.unwrap_or(0)) * new == u64::from(*is) * old);
    if same && old > 0 {
        return Vec::new();
    }
    let differ = pairs.iter().filter(|(_, was, is)| was.unwrap_or(0) != *is);
    differ
        .map(|(name, was, is)| was.map_or_else(|| format!("{name} (new) {is}"), |was| format!("{name} {was} -> {is}")))
        .collect()
}
