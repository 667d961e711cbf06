//! What attempts and time do to an endpoint. Per attempt only atomic numbers are written; the lock is taken only when
//! something may change.

use std::time::{Duration, Instant};

use rand::Rng;

use super::watch::Asked;
use super::{Endpoint, Flight, Ordering, Watch, millis};
use crate::breaker::{State, Transition};
use crate::change::{Change, Subject, Turn};
use crate::outlier::{Cause, Counted, Ejected};
use crate::policies::Policies;
use crate::sample::{Class, Sample};
use crate::slow_start::Ramp;

impl Flight {
    /// Counts how the attempt went; answers with why the endpoint should be ejected, which is for its pool to decide.
    pub(crate) fn note(&self, sample: &Sample, policies: &Policies, now: Instant) -> Option<Cause> {
        self.endpoint.note_latency(sample, policies, now);
        self.endpoint.attempts.note(sample, policies.outlier.as_ref()?)
    }

    /// Counts how the attempt went for the pool's breaker.
    pub(crate) fn note_pool(
        &self,
        sample: &Sample,
        policies: &Policies,
        now: Instant,
        rng: &mut impl Rng,
    ) -> Option<Change> {
        self.endpoint.pool.note(self.of_pool, sample, policies, now, rng)
    }

    /// Counts how the attempt went for the endpoint's breaker.
    pub(crate) fn note_breaker(
        &self,
        sample: &Sample,
        policies: &Policies,
        now: Instant,
        rng: &mut impl Rng,
    ) -> Option<Change> {
        let (endpoint, policy) = (&*self.endpoint, policies.breaker.as_ref()?);
        let event = endpoint.gate.note(endpoint.breaker(), self.own, sample, policy, now)?;
        let mut watch = endpoint.watch();
        let told = watch.circuit.step(event, policy, now, rng);
        endpoint.settle(&mut watch, told)
    }
}

impl Endpoint {
    fn note_latency(&self, sample: &Sample, policies: &Policies, now: Instant) {
        if let Some(penalty) = policies.latency_penalty {
            self.note_slowness(sample, penalty, policies.latency_decay, now);
        }
        match (sample.class, sample.took) {
            (Class::Success, Some(took)) => self.latency.note_answer(took, policies.latency_decay, now),
            (Class::Failure | Class::GatewayFailure | Class::Unanswered, Some(waited)) => {
                self.latency.note_wait(waited, now);
            }
            (_, None) => {}
        }
        if let Some(busy) = sample.busy {
            self.latency.keep_away(busy, now);
        }
    }

    fn note_slowness(&self, sample: &Sample, penalty: Duration, decay: Duration, now: Instant) {
        match sample.took.max(sample.class.is_failure().then_some(penalty)) {
            Some(took) if sample.class == Class::Unanswered => self.latency.note_longer(took, decay, now),
            Some(took) => self.latency.note(took, decay, now),
            None => {}
        }
    }

    /// Takes what the document asks.
    pub(crate) fn adopt(&self, policies: &Policies) {
        let mut watch = self.watch();
        self.adopt_locked(&mut watch, policies);
        self.publish(&mut watch);
    }

    fn adopt_locked(&self, watch: &mut Watch, policies: &Policies) {
        self.gate.room.set_limit(policies.endpoint_requests);
        self.latency_decay.store(millis(policies.latency_decay), Ordering::Relaxed);
        let asked = Asked {
            slow_start: policies.slow_start,
            return_on_good_probe: policies.outlier.as_ref().is_some_and(|policy| policy.return_on_good_probe),
            breaker_window: policies.breaker.as_ref().map(|policy| policy.window),
            counted: policies.outlier.as_ref().map_or(Counted::Nothing, Counted::of),
        };
        if asked.breaker_window != watch.asked.breaker_window {
            self.gate.forget();
        }
        if asked.counted != watch.asked.counted {
            // Attempts whose times were not counted would make the endpoint look fast.
            self.attempts.take();
        }
        watch.asked = asked;
        if watch.ramp == Ramp::Due {
            watch.risen = watch.floor();
        }
    }

    /// Takes the time, and tells what it and probes have changed since. O(1).
    pub(crate) fn tick(&self, policies: &Policies, now: Instant, rng: &mut impl Rng, told: &mut Vec<Change>) {
        let mut watch = self.watch();
        self.adopt_locked(&mut watch, policies);
        let transition = self.gate.tick(&mut watch.circuit, policies.breaker.as_ref(), now, rng);
        let waited = watch.ejections.step(policies.outlier.as_ref(), now);
        let returned = watch.returned.take().or(waited);
        if returned.is_some() {
            self.attempts.clear();
        }
        told.extend(returned.map(|why| self.change(Turn::Returned(why))));
        told.extend(self.settle(&mut watch, transition));
        told.extend(step_ramp(&mut watch, now).map(|turn| self.change(turn)));
        self.publish(&mut watch);
        let ramp_due = watch.ramp.due(policies.slow_start.as_ref(), now);
        [watch.circuit.due(), watch.ejections.due(), ramp_due].into_iter().for_each(|due| self.pool.schedule(due));
    }

    /// Leaves it out for a while, if it is not left out already.
    pub(crate) fn eject(&self, cause: Cause, policies: &Policies, now: Instant) -> Option<Change> {
        let policy = policies.outlier.as_ref()?;
        let mut watch = self.watch();
        let Ejected { since, until, .. } = watch.ejections.eject(cause, policy, now)?;
        watch.good_probes = None;
        self.attempts.clear();
        self.publish(&mut watch);
        self.pool.schedule(Some(until));
        Some(self.change(Turn::Ejected { cause, lasts: until.saturating_duration_since(since) }))
    }

    /// Says whether every endpoint of its pool that could be given requests is in slow start.
    pub(crate) fn set_alone(&self, alone: bool) {
        let mut watch = self.watch();
        watch.alone = alone;
        self.publish(&mut watch);
    }

    pub(crate) fn is_warming(&self) -> bool {
        self.word().is_warming()
    }

    /// Whether it may be given its whole weight and is used to it.
    pub(crate) fn is_warm(&self) -> bool {
        let (word, offer) = (self.word(), self.offer());
        let is_proven = offer.standing == super::Standing::Verified && offer.barrier.is_none() && offer.level > 0;
        is_proven && word.breaker() == State::Closed && !word.is_warming()
    }

    pub(crate) const fn attempts(&self) -> &crate::outlier::Tally {
        &self.attempts
    }

    pub(super) fn settle(&self, watch: &mut Watch, told: Option<Transition>) -> Option<Change> {
        if told.is_some_and(|told| told.to == State::Closed) {
            self.gate.forget();
        }
        self.publish(watch);
        self.pool.schedule(watch.circuit.due());
        told.map(|told| self.change(Turn::Breaker(told)))
    }

    fn change(&self, turn: Turn) -> Change {
        Change { subject: Subject::Endpoint(self.id.clone()), turn }
    }
}

fn step_ramp(watch: &mut Watch, now: Instant) -> Option<Turn> {
    let (was, policy) = (watch.ramp, watch.asked.slow_start);
    watch.ramp.step(policy.as_ref(), now);
    watch.risen = watch.ramp.level(policy.as_ref(), now);
    match (was, watch.ramp) {
        (Ramp::Due, Ramp::Since(_)) => Some(Turn::Warming),
        (Ramp::Since(_), Ramp::Over) => Some(Turn::Warm),
        (Ramp::Over, _) | (Ramp::Due, Ramp::Over | Ramp::Due) | (Ramp::Since(_), Ramp::Since(_) | Ramp::Due) => None,
    }
}
