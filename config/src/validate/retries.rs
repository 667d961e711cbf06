//! Whether retries can do what they promise.

use super::judge::{Judge, repeated};
use crate::duration::write;
use crate::problem::{Code, Path};
use crate::schema::retries as written;
use crate::schema::timeouts::Timeouts;
use crate::share::Share;
use crate::size::Size;
use crate::validated::{Retries, RetryBackoff, RetryBudget, RetryCause};

/// Most of a body that may be kept: each request that waits for its answer may hold so much.
const BODY: Size = Size::kibibytes(1_024);

pub(super) fn resolve(
    judge: &mut Judge<'_>,
    service: &Path,
    retries: &written::Retries,
    timeouts: &Timeouts,
) -> Retries {
    let path = service.clone().field("retries");
    let resolved = Retries {
        attempts: retries.attempts,
        causes: sorted(&retries.causes),
        statuses: sorted(&retries.statuses),
        grpc_statuses: sorted(&retries.grpc_statuses),
        backoff: RetryBackoff { base: retries.backoff.base.0, max: retries.backoff.max.0 },
        max_retry_after: retries.max_retry_after.0,
        budget: RetryBudget { ratio: retries.budget.ratio.0, min_per_second: retries.budget.min_per_second },
        body: u32::try_from(retries.body.get()).unwrap_or(u32::MAX),
    };
    check_values(judge, &path, retries);
    if judge.gaps.lost(service, "retries") {
        return resolved;
    }
    if resolved.attempts == 1 {
        check_alone(judge, &path, &resolved);
    } else {
        check_causes(judge, &path, &resolved);
        check_timeout(judge, service, &path, retries, timeouts);
        check_budget(judge, &path, &resolved);
    }
    resolved
}

fn sorted<T: Copy + Ord>(values: &[T]) -> Vec<T> {
    let mut values = values.to_vec();
    values.sort_unstable();
    values
}

fn check_values(judge: &mut Judge<'_>, path: &Path, retries: &written::Retries) {
    let words = |list: &str| format!("it stands twice in `{list}`");
    let causes = retries.causes.iter().map(|cause| *cause as u16);
    let grpc = retries.grpc_statuses.iter().map(|status| status.code());
    let lists: [(&str, Vec<u16>); 3] =
        [("causes", causes.collect()), ("statuses", retries.statuses.clone()), ("grpc_statuses", grpc.collect())];
    for (list, values) in lists {
        for (later, ..) in repeated(values.into_iter().enumerate()) {
            let path = path.clone().field(list).item(later);
            judge.report(Code::DuplicateValue, path, words(list), Some("remove one of them".to_owned()));
        }
    }
    for (place, status) in retries.statuses.iter().enumerate() {
        if *status != 429 && *status < 500 {
            let hint = "the origin refuses what is asked, and will again: only 429 and 500 to 599 may pass".to_owned();
            let path = path.clone().field("statuses").item(place);
            judge.report(Code::OutOfRange, path, format!("{status} is not tried again"), Some(hint));
        }
    }
    if retries.body > BODY {
        let message = format!("{} is not between 0B and {BODY}", retries.body);
        judge.report(Code::OutOfRange, path.clone().field("body"), message, None);
    }
    let backoff = path.clone().field("backoff");
    let (base, max) = (retries.backoff.base.0, retries.backoff.max.0);
    let is_known = !judge.gaps.lost(&backoff, "base") && !judge.gaps.lost(&backoff, "max");
    if base > max && is_known {
        let message = format!("the first bound {} is above the last, {}", write(base), write(max));
        let hint = Some("raise `max` or lower `base`".to_owned());
        judge.report(Code::Conflict, backoff.field("base"), message, hint);
    }
}

/// One attempt, and settings for others.
fn check_alone(judge: &mut Judge<'_>, path: &Path, resolved: &Retries) {
    let alone = Retries { attempts: 1, ..Retries::default() };
    let set = [
        ("causes", resolved.causes != alone.causes && !judge.gaps.is_damaged(&path.clone().field("causes"))),
        ("statuses", resolved.statuses != alone.statuses),
        ("grpc_statuses", resolved.grpc_statuses != alone.grpc_statuses),
        ("backoff", resolved.backoff != alone.backoff),
        ("max_retry_after", resolved.max_retry_after != alone.max_retry_after),
        ("budget", resolved.budget != alone.budget),
        ("body", resolved.body != alone.body),
    ];
    for (field, _) in set.into_iter().filter(|(_, differs)| *differs) {
        let message = "it has no effect: there is one attempt";
        let hint = "remove it, or let `attempts` be 2 or more".to_owned();
        judge.report(Code::Conflict, path.clone().field(field), message, Some(hint));
    }
}

fn check_causes(judge: &mut Judge<'_>, path: &Path, resolved: &Retries) {
    let none = resolved.causes.is_empty() && resolved.statuses.is_empty() && resolved.grpc_statuses.is_empty();
    let lists = ["causes", "statuses", "grpc_statuses"];
    if none && !lists.iter().any(|list| judge.gaps.is_damaged(&path.clone().field(list))) {
        let hint = "name a cause or a status, or write `attempts: 1`".to_owned();
        judge.report(Code::Conflict, path.clone().field("causes"), "there is nothing to try again after", Some(hint));
    }
}

fn check_timeout(judge: &mut Judge<'_>, service: &Path, path: &Path, retries: &written::Retries, timeouts: &Timeouts) {
    let place = retries.causes.iter().position(|cause| *cause == RetryCause::Timeout);
    let is_known = judge.knows(service, "timeouts", &["per_try"]);
    if let (Some(place), None, true) = (place, timeouts.per_try.0, is_known) {
        let message = "it never comes: `timeouts.per_try` is off";
        let hint = "give `timeouts.per_try` a duration, or remove this cause".to_owned();
        judge.report(Code::Conflict, path.clone().field("causes").item(place), message, Some(hint));
    }
}

/// A budget that lets nothing pass. What no origin can have got is not charged to it.
fn check_budget(judge: &mut Judge<'_>, path: &Path, resolved: &Retries) {
    let is_spent = resolved.budget.ratio == Share::NONE && resolved.budget.min_per_second == 0;
    let is_charged = resolved.causes.iter().any(|cause| *cause != RetryCause::ConnectFailure)
        || !resolved.statuses.is_empty()
        || !resolved.grpc_statuses.is_empty();
    if is_spent && is_charged {
        let message = "it lets nothing be sent again";
        let hint = "give it a ratio, or let `causes` be [connect_failure] and name no statuses".to_owned();
        judge.report(Code::Conflict, path.clone().field("budget"), message, Some(hint));
    }
}
