//! An operator's hand on automation is laid on, or lifted before its time.
//!
//! Every override ends by itself, at most [`Override::MAX`] later: the one that was forgotten is the cause of the next
//! incident. There is no way to make one that does not, and to lay a second is how one is prolonged.

use std::time::Duration;

use sluice_config::overlay::{Action, Author, Override, Reason};
use sluice_config::timestamp::Timestamp;
use sluice_config::value::RevisionId;

use super::shift::check_lasts;
use super::{Head, Proposal, Refusal};
use crate::revision::Kind;

/// Lays an override. Its number is that of the revision that it makes.
///
/// # Errors
/// When it would last for no time, or longer than [`Override::MAX`].
pub fn lay(
    head: &Head,
    action: Action,
    lasts: Duration,
    author: &Author,
    reason: &Reason,
    now: Timestamp,
) -> Result<Proposal, Refusal> {
    check_lasts(Some(lasts), Override::MAX)?;
    let (author, reason) = (author.clone(), reason.clone());
    let laid = Override { action, author, reason, since: now, expires: now.after(lasts) };
    let mut overlay = head.revision.overlay.clone();
    overlay.overrides.insert(head.next(), laid);
    head.propose(Kind::Override, overlay)
}

/// Lifts an override.
///
/// # Errors
/// When there is none of this number.
pub fn lift(head: &Head, id: RevisionId) -> Result<Proposal, Refusal> {
    let mut overlay = head.revision.overlay.clone();
    match overlay.overrides.remove(&id) {
        None => Err(Refusal::NoOverride(id)),
        Some(_) => head.propose(Kind::Override, overlay),
    }
}
