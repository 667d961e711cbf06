//! What becomes of an attempt that was not good enough: the core's rule is asked, another endpoint chosen, the budget
//! charged, in this order, so that nothing is charged that cannot be used, and an answer in hand is let go only for
//! another attempt that is certain to begin.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use sluice_config::validated::{Limits, Timeouts};
use sluice_proxy_core::endpoint::Flight;
use sluice_proxy_core::outcome::{Ending, Outcome};
use sluice_proxy_core::place;
use sluice_proxy_core::retry::{self, Attempt, Reason, Repeatable, Stop, To};
use sluice_proxy_core::sample::Sample;
use sluice_proxy_core::select::{Ask, Choice, Refusal, Spot, Waiting};
use sluice_proxy_core::split;
use sluice_proxy_core::supply::Lack;
use tokio::time::Instant;

use crate::context::Record;
use crate::grpc;
use crate::keys::Keys;
use crate::live::{Lasting, RouteEntry, ServiceEntry};
use crate::message::{Framing, Known, ResponseHead, Version};
use crate::patience::Deadlines;
use crate::pending::{Pending, Wait};
use crate::upkeep;
use crate::worker::Running;

/// The choices for one request, and what its attempts leave for the next.
#[derive(Debug)]
pub(crate) struct Tries<'a> {
    pub(crate) service: &'a ServiceEntry,
    pub(crate) deadlines: Deadlines<'a>,
    /// A kept connection had been closed by its origin: from then on every attempt dials.
    pub(crate) stale: bool,
    running: &'a Running,
    route: &'a RouteEntry,
    keys: Option<Box<Keys>>,
    /// Apart, since most requests have none.
    behind: Option<Box<Behind>>,
    is_grpc: bool,
    /// For how many seconds the endpoint of this attempt wants to be left alone.
    busy: Cell<u32>,
}

/// What attempts have left for those that follow them.
#[derive(Debug, Default)]
struct Behind {
    excluded: Vec<Spot>,
    /// Of the attempt that runs, where these are bounded.
    slot: Option<RetrySlot>,
}

/// An endpoint for one attempt, and a place there.
#[derive(Debug)]
pub(crate) struct Aim {
    pub(crate) choice: Choice,
    flight: Flight,
    /// Behind the flight, so that it rings when the place is free.
    _bell: Option<Bell>,
}

/// Wakes whoever waits for room when it is dropped.
#[derive(Debug)]
struct Bell(Arc<Pending>);

impl Drop for Bell {
    fn drop(&mut self) {
        self.0.wake();
    }
}

/// Why a request has no endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unplaced {
    /// It may wait for room there.
    Full(Waiting),
    /// It ends.
    For(Ending),
}

/// One of the attempts at once that follow others; dropping it ends the count.
#[derive(Debug)]
struct RetrySlot(Arc<Lasting>);

impl Drop for RetrySlot {
    fn drop(&mut self) {
        self.0.retrying.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An attempt that was not good enough.
#[derive(Debug, Clone, Copy)]
struct Failed {
    ending: Ending,
    /// A byte of the request may have been sent.
    sent: bool,
    grpc: Option<u16>,
    /// How long the origin asks to wait.
    asked: Option<Duration>,
}

/// The attempt that follows.
#[derive(Debug)]
pub(crate) struct Planned {
    aim: Aim,
    /// Before it.
    pub(crate) wait: Duration,
    /// What the attempt before ended with.
    pub(crate) ending: Ending,
    slot: Option<RetrySlot>,
    /// What ended the one before.
    cause: &'static str,
    exclude: bool,
    stale: bool,
}

impl Failed {
    fn answered(head: &ResponseHead, is_grpc: bool) -> Self {
        let grpc = if is_grpc { grpc::status(&head.fields).map(|code| u16::from(code.number())) } else { None };
        Self { ending: Ending::Status(head.status), sent: true, grpc, asked: asked(head) }
    }
}

impl<'a> Tries<'a> {
    pub(crate) fn new(running: &'a Running, route: &'a RouteEntry, record: &Record<'_>, client: &'a Limits) -> Self {
        let service = &running.live.services[route.service];
        let is_grpc = !service.retries.grpc_statuses.is_empty() && record.progress.call.is_call();
        running.budgets[route.service].borrow_mut().note(record.started.into_std());
        if !record.head.framing.is_empty() {
            let repeatable = Repeatable::of(record.head.method.as_str());
            record.progress.body.begin(record.head.framing, retry::body_limit(&service.retries, repeatable, is_grpc));
        }
        let Timeouts { total, per_try, idle, .. } = service.timeouts;
        let is_call = record.progress.call.is_call();
        // Streams of gRPC go as fast as their two ends please; a connection that reads nothing at all is seen by itself.
        let unhurried = is_call && record.head.version == Version::H2;
        let deadlines = Deadlines { total: record.limit(total), per_try, idle, client: Some(client), unhurried };
        record.progress.declared.set(matches!(record.head.framing, Framing::Length(_)));
        let keys = Keys::of(service, record);
        Self { service, deadlines, stale: false, running, route, keys, behind: None, is_grpc, busy: Cell::new(0) }
    }

    /// Where the first attempt goes. `waited`: where it has been let through.
    pub(crate) fn first(&self, record: &Record<'_>, waited: Option<Waiting>) -> Result<Aim, Unplaced> {
        let aim = self.aim(record, (None, waited), Vec::new()).map_err(|refusal| self.unplaced(record, refusal))?;
        let others = self.waits()
            && waited.is_none()
            && self.service.pending(aim.choice.place().pool()).is_ahead_of(self.route.priority);
        // Room that is free for a moment belongs to whoever has waited for it.
        let Choice { moved, .. } = aim.choice;
        if others { Err(Unplaced::Full(Waiting { place: aim.choice.place(), moved })) } else { Ok(aim) }
    }

    fn unplaced(&self, record: &Record<'_>, refusal: Refusal) -> Unplaced {
        let lost = match refusal {
            Refusal::NoRegion => return Unplaced::For(Ending::NoEndpoint),
            Refusal::Full(waiting) if self.waits() => return Unplaced::Full(waiting),
            // Only a half-open breaker keeps others out where nothing else is bounded.
            Refusal::Full(waiting) => (waiting.home(&self.service.core), Lack::Breaker),
            Refusal::Exhausted(lost) | Refusal::Rejected(lost) => (lost.place.pool(), lost.why),
        };
        self.lose(record, lost.0);
        Unplaced::For(lost.1.ending())
    }

    /// Counts a request that goes nowhere for where it was assigned to.
    fn lose(&self, record: &Record<'_>, pool: (usize, usize)) {
        self.service.pool_series(pool).gave_away("nowhere");
        if self.route.version.is_none() {
            self.service.versions[pool.1].chosen(record.worker.index);
        }
    }

    /// Whether a request may wait for room.
    fn waits(&self) -> bool {
        let limits = &self.service.limits;
        limits.pool.requests.is_some() || limits.endpoint.requests.is_some()
    }

    /// Waits until there may be room in this pool. Wait after wait ends at the same moment.
    pub(crate) async fn wait(
        &self,
        record: &Record<'_>,
        waiting: &Waiting,
        deadline: Instant,
        again: bool,
    ) -> Result<(), Ending> {
        let (region, version) = waiting.place.pool();
        let (pending, limits) = (self.service.pending((region, version)), &self.service.limits.pool);
        let wait = Wait { priority: self.route.priority, deadline, again };
        pending.wait(wait, limits, || self.service.core.has_room(region, version)).await.map_err(|turned| {
            self.service.pool_series((region, version)).waited(turned.as_str());
            self.lose(record, waiting.home(&self.service.core));
            Ending::NoRoom
        })
    }

    /// A request that waited for this pool has its place. Where there is room for more, the next one is woken: what made room
    /// may have made much of it.
    pub(crate) fn granted(&self, (region, version): (usize, usize)) {
        self.service.pool_series((region, version)).waited("granted");
        let pending = self.service.pending((region, version));
        if pending.len() > 0 && self.service.core.has_room(region, version) {
            pending.wake();
        }
    }

    /// When a wait that begins now is over.
    pub(crate) fn patience(&self) -> Instant {
        let until = Instant::now() + self.service.limits.pool.pending_timeout;
        self.deadlines.total.map_or(until, |total| total.min(until))
    }

    /// Whether answers are looked at before they are passed on.
    const fn judges_answers(&self) -> bool {
        !self.service.retries.statuses.is_empty() || self.is_grpc
    }

    /// The attempt that follows this answer, if it is not to be passed on.
    fn after_answer(&self, record: &Record<'_>, choice: &Choice, head: &ResponseHead) -> Option<Box<Planned>> {
        let failed = Failed::answered(head, self.is_grpc);
        let is_listed = self.attempt(record, &failed).is_listed(&self.service.retries);
        if is_listed { self.after(record, choice, &failed) } else { None }
    }

    /// The attempt that follows one without an answer, if there is one. `sent`: a byte of the request may have been.
    pub(crate) fn after_failure(
        &self,
        record: &Record<'_>,
        choice: &Choice,
        ending: Ending,
        sent: bool,
    ) -> Option<Box<Planned>> {
        if record.progress.answered.get().is_some() {
            return None;
        }
        self.after(record, choice, &Failed { ending, sent, grpc: None, asked: None })
    }

    fn after(&self, record: &Record<'_>, choice: &Choice, failed: &Failed) -> Option<Box<Planned>> {
        match self.plan(record, choice, failed) {
            Ok(planned) => Some(Box::new(planned)),
            Err(Stop::NotRetried) => None,
            Err(stop) => {
                self.service.series.retry_refused(stop.as_str());
                None
            }
        }
    }

    fn plan(&self, record: &Record<'_>, choice: &Choice, failed: &Failed) -> Result<Planned, Stop> {
        let policy = &self.service.retries;
        let again = self.attempt(record, failed).judge(policy)?;
        let now = Instant::now();
        let left = self.deadlines.total.map(|deadline| deadline.saturating_duration_since(now));
        let wait = retry::wait(policy, &again, failed.asked, left, &mut *record.worker.rng.borrow_mut())?;
        // The slot of the attempt before, if that followed another one, goes on with this one.
        let holds = self.behind.as_ref().is_some_and(|behind| behind.slot.is_some());
        let slot = if holds { None } else { self.slot()? };
        let aim = self.another(record, choice, again.to).ok_or(Stop::NoEndpoint)?;
        let mut budget = self.running.budgets[self.route.service].borrow_mut();
        if again.is_charged() && !budget.take(&policy.budget, &self.service.lasting.floor, now.into_std()) {
            return Err(Stop::BudgetSpent);
        }
        let cause = if again.reason == Reason::Declared { "grpc_status" } else { failed.ending.judge().reason };
        let stale = failed.ending == Ending::StalePooled;
        Ok(Planned { aim, wait, cause, exclude: again.to != To::Any, stale, ending: failed.ending, slot })
    }

    fn attempt(&self, record: &Record<'_>, failed: &Failed) -> Attempt {
        let progress = &record.progress;
        let taken = progress.bytes_in.get() > 0 || progress.request_whole.get();
        Attempt {
            ending: failed.ending,
            grpc: failed.grpc,
            attempts: record.attempts - u32::from(self.stale),
            stale: self.stale,
            repeatable: Repeatable::of(record.head.method.as_str()),
            sent: failed.sent,
            body: progress.body.state(record.head.framing, taken),
        }
    }

    /// A place among the attempts at once that follow others.
    fn slot(&self) -> Result<Option<RetrySlot>, Stop> {
        let Some(most) = self.service.limits.retries else { return Ok(None) };
        let more = |count: u32| (count < most).then_some(count + 1);
        let counted = self.service.lasting.retrying.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        counted.map_err(|_| Stop::AtOnce)?;
        Ok(Some(RetrySlot(Arc::clone(&self.service.lasting))))
    }

    fn another(&self, record: &Record<'_>, choice: &Choice, to: To) -> Option<Aim> {
        let mut tried = self.behind.as_ref().map(|behind| behind.excluded.clone()).unwrap_or_default();
        tried.extend((to != To::Any).then_some(choice.spot));
        match (self.aim(record, (Some(*choice), None), tried), to) {
            (Ok(other), _) => Some(other),
            (Err(_), To::OtherOrSame) => self.same(choice),
            (Err(_), To::Any | To::Other) => None,
        }
    }

    /// The endpoint of this attempt once more, unless its probes have taken it out meanwhile.
    fn same(&self, choice: &Choice) -> Option<Aim> {
        let version = if self.route.version.is_some() { split::Reason::Pinned } else { split::Reason::Kept };
        let endpoint = &self.service.peer(&choice.spot).endpoint;
        let flight = if self.service.core.may_pick(&choice.spot) { endpoint.begin()? } else { return None };
        Some(self.aimed(Choice { region: place::Reason::Kept, version, ..*choice }, flight))
    }

    /// Chooses until there is a place: between the choice and the place another worker may have taken it.
    fn aim(
        &self,
        record: &Record<'_>,
        (previous, waited): (Option<Choice>, Option<Waiting>),
        mut tried: Vec<Spot>,
    ) -> Result<Aim, Refusal> {
        let mut is_late = false;
        loop {
            let choice = match self.choose(record, (previous, waited), &tried) {
                Ok(choice) => choice,
                // Those that are left were not tried: others were faster.
                Err(Refusal::Exhausted(lost) | Refusal::Rejected(lost)) if is_late && lost.why == Lack::Tried => {
                    return Err(Refusal::Full(Waiting { place: lost.place, moved: None }));
                }
                Err(refusal) => return Err(refusal),
            };
            match self.service.peer(&choice.spot).endpoint.begin() {
                Some(flight) => return Ok(self.aimed(choice, flight)),
                None => tried.push(choice.spot),
            }
            is_late = true;
        }
    }

    fn aimed(&self, choice: Choice, flight: Flight) -> Aim {
        let bell = self.waits().then(|| Bell(Arc::clone(self.service.pending(choice.place().pool()))));
        Aim { choice, flight, _bell: bell }
    }

    fn choose(
        &self,
        record: &Record<'_>,
        (previous, waited): (Option<Choice>, Option<Waiting>),
        tried: &[Spot],
    ) -> Result<Choice, Refusal> {
        let ask = Ask {
            key: self.keys.as_ref().and_then(|keys| keys.endpoint.as_deref()),
            waited,
            now: record.progress.moved.get().into_std(),
            capability: self.route.capability.unwrap_or_else(|| place::capability_of(record.head.method.as_str())),
            sticky_key: self.keys.as_ref().and_then(|keys| keys.split.as_deref()),
            version: self.route.version,
            previous,
            tried,
        };
        let mut selector = self.running.selectors[self.route.service].borrow_mut();
        selector.choose(&self.service.core, &ask, &mut *record.worker.rng.borrow_mut())
    }

    /// Counts how an attempt has gone, for the endpoint and its pool. Without an ending nothing is known.
    pub(crate) fn note(&self, aim: &Aim, ending: Option<Ending>, record: &Record<'_>) {
        let Some(ending) = ending else { return };
        let is_whole = matches!(ending, Ending::Status(_) | Ending::Grpc(_));
        // Of a client that leaves, only what passed after the endpoint had the whole request: before that it was not waited for.
        let from_whole = !record.head.framing.is_empty() || ending.judge().outcome == Outcome::Cancelled;
        let (took, now) = record.progress.answered_after(is_whole, from_whole);
        let busy = Some(self.busy.take()).filter(|seconds| *seconds > 0);
        let busy = busy.map(|seconds| Duration::from_secs(seconds.into()));
        let Some(sample) = Sample::of(ending, record.progress.answered.get().is_some(), took, busy) else { return };
        let (worker, spot) = (record.worker, &aim.choice.spot);
        let changes = self.service.core.note(&aim.flight, spot, &sample, now.into_std(), &mut *worker.rng.borrow_mut());
        changes.iter().for_each(|change| upkeep::tell(change, &worker.metrics));
    }

    /// The planned attempt will be made, after that at `choice`. Answers with where.
    pub(crate) fn take(&mut self, planned: Planned, choice: &Choice, record: &mut Record<'_>) -> Aim {
        self.service.series.retried(planned.cause);
        record.retried(planned.cause);
        self.stale |= planned.stale;
        let behind = self.behind.get_or_insert_default();
        if planned.exclude {
            behind.excluded.push(choice.spot);
        }
        behind.slot = planned.slot.or_else(|| behind.slot.take());
        planned.aim
    }
}

/// The judge of the answer of one attempt.
pub(crate) struct Verdict<'a> {
    tries: &'a Tries<'a>,
    record: &'a Record<'a>,
    choice: &'a Choice,
    planned: Cell<Option<Box<Planned>>>,
}

impl<'a> Verdict<'a> {
    pub(crate) const fn new(tries: &'a Tries<'a>, record: &'a Record<'a>, choice: &'a Choice) -> Self {
        Self { tries, record, choice, planned: Cell::new(None) }
    }

    /// Whether the answer with this final head is not to be passed on, since another attempt follows.
    pub(crate) fn refuses(&self, head: &ResponseHead) -> bool {
        if head.status == 503 {
            let seconds = asked(head).unwrap_or_default().as_secs();
            self.tries.busy.set(u32::try_from(seconds).unwrap_or(u32::MAX));
        }
        if !self.tries.judges_answers() {
            return false;
        }
        let planned = self.tries.after_answer(self.record, self.choice, head);
        let refused = planned.is_some();
        self.planned.set(planned);
        refused
    }

    /// Adds to a head that is passed on what the choice has left for the client.
    pub(crate) fn mark(&self, head: &mut ResponseHead) {
        if let Some(keys) = &self.tries.keys {
            keys.mark(head);
        }
    }

    /// What follows the answer that was refused.
    pub(crate) fn planned(self) -> Box<Planned> {
        self.planned.into_inner().expect("an answer is refused only for a planned attempt")
    }
}

/// What Retry-After says, in seconds or as a date; nothing if it says neither.
fn asked(head: &ResponseHead) -> Option<Duration> {
    let text = std::str::from_utf8(head.fields.get(Known::RetryAfter)?).ok()?;
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(SystemTime::now()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(retry_after: &str) -> ResponseHead {
        let mut head = ResponseHead::new();
        head.fields.push_known(Known::RetryAfter, retry_after);
        head
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        assert_eq!(asked(&answer("2")), Some(Duration::from_secs(2)));
        assert_eq!(asked(&answer("99999999999999999999999")), Some(Duration::from_secs(u64::MAX)));
        let ahead = SystemTime::now() + Duration::from_secs(100);
        let seconds = asked(&answer(&httpdate::fmt_http_date(ahead))).unwrap().as_secs();
        assert!((95..=100).contains(&seconds), "{seconds}");
        assert_eq!(asked(&answer("Sun, 06 Nov 1994 08:49:37 GMT")), Some(Duration::ZERO));
        assert_eq!((asked(&answer("soon")), asked(&answer("-1")), asked(&ResponseHead::new())), (None, None, None));
    }
}
