//! What is known of the service from what was noted and told, and what must therefore hold.

use super::*;

/// What the model knows of one endpoint, or of the pool: only from what was noted and told.
#[derive(Debug, Clone, Default)]
pub(super) struct Model {
    state: Known,
    /// Failures in a row that a closed breaker has counted.
    pub(super) streak: u32,
    /// What it counted, for its window: when, and whether it failed.
    pub(super) counted: Vec<(Instant, bool)>,
    pub(super) trials: BTreeSet<u64>,
    successes: u32,
    half_open_since: Option<Instant>,
    /// Failures in a row that count for an ejection.
    outlier: u32,
    ejected: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Known(Option<State>);

impl Known {
    fn get(self) -> State {
        self.0.unwrap_or(State::Closed)
    }
}

/// An endpoint, or the pool.
pub(super) type Key = Option<SocketAddr>;

pub(super) fn key(endpoint: &Arc<Endpoint>) -> Key {
    Some(endpoint.id().address)
}

fn subject(change: &Change) -> Key {
    match &change.subject {
        Subject::Endpoint(id) => Some(id.address),
        Subject::Pool(_) => None,
    }
}

/// What one sample must do.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Expected {
    ejection: bool,
    own: Option<State>,
    of_pool: Option<State>,
}

impl World {
    /// The reference model: what this sample must do to the endpoint and to the pool.
    pub(super) fn expect(&mut self, attempt: &Attempt, failed: bool) -> Expected {
        let endpoint = attempt.flight.endpoint();
        let id = key(endpoint);
        let policies = attempt.service.policies();
        let mut expected = Expected::default();
        let is_gone = self.is_gone(attempt);
        if policies.outlier.is_some() && !is_gone {
            let model = self.models.entry(id).or_default();
            model.outlier = if failed { model.outlier + 1 } else { 0 };
            expected.ejection = failed && model.outlier.is_multiple_of(STREAK);
        }
        if policies.breaker.is_some() && !is_gone {
            expected.own = self.expect_of_breaker(id, attempt.number, failed);
        }
        if policies.pool_breaker.is_some() {
            expected.of_pool = self.expect_of_breaker(None, attempt.number, failed);
        }
        expected
    }

    /// The state that a breaker must change to. Ratios are not foreseen but judged when they are told.
    fn expect_of_breaker(&mut self, id: Key, number: u64, failed: bool) -> Option<State> {
        let (forced, now) = (self.forced.contains(&id), self.now);
        let model = self.models.entry(id).or_default();
        match model.state.get() {
            State::Open => None,
            State::Closed => {
                model.streak = if failed { model.streak + 1 } else { 0 };
                model.counted.push((now, failed));
                (failed && model.streak >= STREAK && !forced).then_some(State::Open)
            }
            State::HalfOpen if !model.trials.contains(&number) => None,
            State::HalfOpen if failed => Some(State::Open),
            State::HalfOpen => {
                model.successes += 1;
                (model.successes >= CLOSE_AFTER).then_some(State::Closed)
            }
        }
    }

    pub(super) fn judge(&self, attempt: &Attempt, told: &[Change], expected: Expected) {
        let endpoint = attempt.flight.endpoint();
        let id = key(endpoint);
        for (id, expected) in [(id, expected.own), (None, expected.of_pool)] {
            let told = told.iter().filter(|change| subject(change) == id).find_map(|change| match change.turn {
                Turn::Breaker(told) => Some(told),
                Turn::Ejected { .. } | Turn::Returned(_) | Turn::Warming | Turn::Warm => None,
            });
            let by_ratio = told.is_some_and(|told| matches!(told.reason, Reason::Tripped(Cause::Ratio(..))));
            let fits = told.map(|told| told.to) == expected || by_ratio;
            self.assert(fits, || format!("{id:?} was to be {expected:?}, told was {told:?}"));
        }
        let ejected = told.iter().any(|it| matches!(it.turn, Turn::Ejected { .. }));
        self.assert(!ejected || expected.ejection, || format!("{id:?} was ejected for nothing"));
        let counted = self.count_suppressed() > self.suppressed;
        let is_of_this_revision = Arc::ptr_eq(&attempt.service, &self.service);
        if expected.ejection
            && is_of_this_revision
            && self.weights[attempt.spot.endpoint] > 0
            && !self.was_barred(endpoint)
        {
            self.assert(ejected != counted, || format!("{id:?} was neither ejected nor counted, or both"));
        }
    }

    /// Whether something kept it out before this sample. A breaker that this sample opened is not in the model yet.
    fn was_barred(&self, endpoint: &Arc<Endpoint>) -> bool {
        let (view, id) = (endpoint.view(self.now), key(endpoint));
        let model = self.models.get(&id);
        view.standing == Standing::Out && view.force.is_none()
            || view.force == Some(Force::Out)
            || model.is_some_and(|model| model.ejected || model.state.get() == State::Open && view.force.is_none())
    }

    pub(super) fn learn_trial(&mut self, flight: &Flight, number: u64) {
        let endpoint = flight.endpoint();
        for id in [key(endpoint), None] {
            let forced = self.forced.contains(&id) || endpoint.forced() == Some(Force::In) && id.is_some();
            let model = self.models.entry(id).or_default();
            if model.state.get() != State::HalfOpen || forced {
                continue;
            }
            model.trials.insert(number);
            let since = model.half_open_since.unwrap();
            let silent = ((self.now - since).as_millis() / LEAST_OPEN.as_millis()) as usize;
            let most = 1 + model.successes as usize + silent;
            let running = model.trials.len();
            self.assert(running <= most, || format!("{id:?} has {running} trials, at most {most}"));
        }
    }

    /// Takes what was told into the model. What is told must follow from what is known.
    pub(super) fn learn(&mut self, told: &[Change]) {
        for change in told {
            *self.turns.entry((change.turn.as_str(), change.turn.reason())).or_insert(0) += 1;
            let id = subject(change);
            let (now, seed) = (self.now, self.seed);
            let model = self.models.entry(id).or_default();
            match change.turn {
                Turn::Breaker(told) => {
                    assert_eq!(told.from, model.state.get(), "seed {seed}: {id:?} {told:?}");
                    model.check_cause(told.reason, now, seed, id);
                    model.state = Known(Some(told.to));
                    (model.streak, model.successes) = (0, 0);
                    model.counted.clear();
                    model.trials.clear();
                    model.half_open_since = (told.to == State::HalfOpen).then_some(now);
                }
                Turn::Ejected { lasts, .. } => {
                    assert!(!model.ejected, "seed {seed}: {id:?} was ejected twice");
                    assert!(lasts <= Duration::from_secs(5), "seed {seed}: {id:?} for {lasts:?}");
                    (model.ejected, model.outlier) = (true, 0);
                }
                Turn::Returned(_) => {
                    assert!(model.ejected, "seed {seed}: {id:?} was not ejected");
                    (model.ejected, model.outlier) = (false, 0);
                }
                Turn::Warming | Turn::Warm => {}
            }
        }
    }

    /// A request found nobody: then nobody could have taken it.
    pub(super) fn check_refusal(&self) {
        let pool = self.service.pool_state(0, 0);
        if pool.offer().barrier.is_some() || !pool.has_room() {
            return;
        }
        let usable = || {
            let members = self.service.pool(0, 0).iter().filter(|it| it.weight > 0);
            members.map(|it| (&it.endpoint, it.endpoint.offer())).filter(|(_, offer)| offer.is_eligible())
        };
        let best = usable().map(|(_, offer)| offer.standing).min();
        for (endpoint, offer) in usable().filter(|(_, offer)| Some(offer.standing) == best) {
            self.assert(!endpoint.has_room(), || format!("{} could have taken it: {offer:?}", endpoint.id()));
        }
    }

    /// What holds at any time.
    pub(super) fn check(&self) {
        let mut running: BTreeMap<Key, u32> = BTreeMap::new();
        for attempt in &self.attempts {
            *running.entry(None).or_insert(0) += 1;
            if !self.is_gone(attempt) {
                *running.entry(key(attempt.flight.endpoint())).or_insert(0) += 1;
            }
        }
        let none = Model::default();
        for endpoint in self.endpoints() {
            let (at, view) = (key(endpoint), endpoint.view(self.now));
            let model = self.models.get(&at).unwrap_or(&none);
            self.assert(view.breaker.state == model.state.get(), || format!("{at:?}: untold {view:?} {model:?}"));
            // Probes end ejections between ticks.
            self.assert(view.ejected.is_none() || model.ejected, || format!("{at:?}: an ejection was not told"));
            let expected = running.get(&at).copied().unwrap_or(0);
            self.assert(view.in_flight == expected, || format!("{at:?}: {expected} in flight, not {view:?}"));
            let levels = if self.asked.slow_start { 100..=1000 } else { 1000..=1000 };
            self.assert(levels.contains(&view.offer.level), || format!("{at:?}: {view:?}"));
        }
        let pool = self.service.pool_state(0, 0).in_flight();
        let expected = running.get(&None).copied().unwrap_or(0);
        self.assert(pool == expected, || format!("{pool} in flight to the pool, not {expected}"));
    }

    /// What holds after each ejection by the running revision.
    pub(super) fn check_caps(&self) {
        let weighted = || self.service.pool(0, 0).iter().filter(|it| it.weight > 0);
        let ejected = weighted().filter(|it| it.endpoint.is_ejected()).count();
        let most = (weighted().count() * 3 / 10).max(1);
        self.assert(ejected <= most, || format!("{ejected} are ejected, at most {most}"));
        self.assert(weighted().any(|it| it.endpoint.offer().is_eligible()), || "the last was ejected".to_owned());
    }
}

impl Model {
    /// What is said to have opened a breaker must have happened.
    fn check_cause(&self, reason: Reason, now: Instant, seed: u64, id: Key) {
        match reason {
            Reason::Tripped(Cause::Ratio(failed, total)) => {
                assert!(total >= 10 && failed * 2 >= total, "seed {seed}: {id:?} {reason:?}");
                let within = |span: Duration| self.counted.iter().filter(|(at, _)| now - *at < span).count();
                let fits = within(WINDOW * 9 / 10) <= total as usize && total as usize <= within(WINDOW);
                assert!(fits, "seed {seed}: {id:?} {reason:?}, {} within", within(WINDOW));
            }
            Reason::Tripped(Cause::Consecutive(streak)) => assert!(streak >= STREAK, "seed {seed}: {id:?} {reason:?}"),
            Reason::Tripped(Cause::Slow(..)) => panic!("seed {seed}: {id:?} knows no slow calls"),
            Reason::TrialFailed
            | Reason::Waited
            | Reason::Recovered(_)
            | Reason::Forced
            | Reason::Released
            | Reason::Removed => {}
        }
    }
}
