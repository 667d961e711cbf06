//! What is done to the service.

use super::*;

/// What is done to the service, and how often at least in all seeds together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Injection {
    Hang,
    Refuse,
    Fail,
    Stall,
    Half,
    Flap,
    Probe,
    Weights,
    Members,
    Policy,
    ForceEndpoint,
    ForceBreaker,
}

pub(super) const FLOORS: [(Injection, u32); 12] = [
    (Injection::Hang, 1000),
    (Injection::Refuse, 1000),
    (Injection::Fail, 1000),
    (Injection::Stall, 1000),
    (Injection::Half, 1000),
    (Injection::Flap, 1000),
    (Injection::Probe, 5000),
    (Injection::Weights, 500),
    (Injection::Members, 500),
    (Injection::Policy, 500),
    (Injection::ForceEndpoint, 500),
    (Injection::ForceBreaker, 500),
];

impl World {
    pub(super) fn inject(&mut self) {
        for at in 0..self.origins.len() {
            if self.below(40) == 0 && self.origins[at].until <= self.step && !self.origins[at].flaps {
                self.break_origin(at);
            }
        }
        match self.below(120) {
            0 => self.revise(Injection::Weights),
            1 => self.revise(Injection::Members),
            2 => self.revise(Injection::Policy),
            3 | 4 => self.force_endpoint(),
            5 | 6 => self.force_breaker(),
            7 => (0..self.origins.len()).for_each(|at| self.break_origin(at)),
            _ => {}
        }
    }

    fn break_origin(&mut self, at: usize) {
        let (fault, kind) = [
            (Fault::Hang, Injection::Hang),
            (Fault::Refuse, Injection::Refuse),
            (Fault::Fail, Injection::Fail),
            (Fault::Stall, Injection::Stall),
            (Fault::Half, Injection::Half),
        ][self.below(5)];
        let flaps = self.below(4) == 0;
        let lasts = if flaps { 10 } else { 5 + self.below(60) as u32 };
        self.origins[at] = Origin { fault, until: self.step + lasts, flaps, ..self.origins[at] };
        self.count(kind);
        if flaps {
            self.count(Injection::Flap);
        }
    }

    /// Faults end; of those that flap, some come back.
    pub(super) fn flap(&mut self) {
        for at in 0..self.origins.len() {
            if self.origins[at].until > self.step || self.origins[at].fault == Fault::None {
                continue;
            }
            if self.origins[at].flaps && self.below(8) > 0 {
                let fault = if self.below(2) == 0 { Fault::Fail } else { Fault::Stall };
                self.origins[at].fault = fault;
                self.origins[at].until = self.step + 1 + self.below(15) as u32;
                self.count(Injection::Flap);
            } else {
                self.origins[at] = Origin { fault: Fault::None, flaps: false, ..self.origins[at] };
            }
        }
    }

    pub(super) fn probe(&mut self) {
        for at in 0..self.origins.len() {
            if self.step < self.origins[at].next_probe {
                continue;
            }
            self.origins[at].next_probe = self.step + 10;
            let lost = self.step < TROUBLE && self.below(5) == 0;
            if lost {
                self.count(Injection::Probe);
            }
            let bad = lost || matches!(self.origins[at].fault, Fault::Hang | Fault::Refuse);
            let verdict = if bad { Verdict::Bad(health::Cause::Timeout) } else { Verdict::Good };
            self.endpoint(at).step(verdict, &self.health);
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "whatever else is injected is no revision")]
    fn revise(&mut self, kind: Injection) {
        match kind {
            Injection::Weights => {
                (0..self.weights.len()).for_each(|at| self.weights[at] = self.below(5) as u32);
                self.weights[0] = self.weights[0].max(1);
            }
            Injection::Members if self.weights.len() > 1 && self.below(2) == 0 => {
                self.weights.pop();
                self.origins.pop();
                self.weights[0] = self.weights[0].max(1);
            }
            Injection::Members => {
                self.weights.push(1);
                self.origins.push(Origin { fault: Fault::None, until: 0, flaps: false, next_probe: 0 });
            }
            _ => {
                let mut flip = |on: bool| if self.rng.next_u32().is_multiple_of(3) { !on } else { on };
                let Asked { ejection, breaker, pool_breaker, slow_start } = self.asked;
                self.asked = Asked {
                    ejection: flip(ejection),
                    breaker: flip(breaker),
                    pool_breaker: flip(pool_breaker),
                    slow_start: flip(slow_start),
                };
            }
        }
        self.count(kind);
        self.swap();
    }

    /// The next revision. What it knows of endpoints that stay must be what the one before knew.
    fn swap(&mut self) {
        let before: Vec<_> =
            self.endpoints().map(|it| (it.id().clone(), it.view(self.now), it.latency(self.now))).collect();
        let (regions, service, registry, health) = compile(&self.weights, self.asked, &self.registry);
        for (id, view, latency) in before {
            let Some(now) = registry.find(&id) else { continue };
            let same = now.view(self.now).breaker == view.breaker
                && now.view(self.now).ejected == view.ejected
                && now.view(self.now).ejections == view.ejections
                && now.view(self.now).standing == view.standing
                && now.in_flight() == view.in_flight
                && now.latency(self.now) == latency;
            self.assert(same, || format!("{id} lost what it was through: {view:?} {:?}", now.view(self.now)));
        }
        let service = Arc::new(service);
        self.selector = self.selector.carry(&self.service, &service, &mut self.rng);
        (self.regions, self.service, self.registry, self.health) = (regions, service, registry, health);
        let known: BTreeSet<Key> = self.endpoints().map(key).collect();
        self.models.retain(|at, _| known.contains(at) || at.is_none());
        self.forced.retain(|at| known.contains(at) || at.is_none());
        self.forget();
        // The first tick of a revision releases what has no policy any more.
        let told = self.service.tick(self.now, &mut self.rng);
        self.learn(&told);
    }

    /// A breaker that comes or goes forgets what was counted.
    fn forget(&mut self) {
        let on = (self.asked.breaker, self.asked.pool_breaker);
        let was = std::mem::replace(&mut self.was_on, on);
        for (at, model) in &mut self.models {
            let changed = if at.is_none() { was.1 != on.1 } else { was.0 != on.0 };
            if changed {
                model.streak = 0;
                model.counted.clear();
            }
        }
    }

    fn force_endpoint(&mut self) {
        let at = self.below(self.origins.len());
        let force = [None, Some(Force::In), Some(Force::Out)][self.below(3)];
        self.force(at, force);
        self.count(Injection::ForceEndpoint);
    }

    /// No trials are counted while an endpoint is forced in: those of before are forgotten.
    fn force(&mut self, at: usize, force: Option<Force>) {
        let endpoint = Arc::clone(self.endpoint(at));
        if endpoint.forced() == Some(Force::In) || force == Some(Force::In) {
            self.models.entry(key(&endpoint)).or_default().trials.clear();
        }
        endpoint.force(force);
    }

    fn force_breaker(&mut self) {
        let force = [None, Some(breaker::Force::Open), Some(breaker::Force::Closed)][self.below(3)];
        let at = self.below(self.origins.len() + 1);
        let (id, told) = if at == self.origins.len() {
            let pool = self.service.pool_state(0, 0);
            (None, pool.force_breaker(force, self.now))
        } else {
            (key(self.endpoint(at)), self.endpoint(at).force_breaker(force, self.now))
        };
        if force.is_some() {
            self.forced.insert(id)
        } else {
            self.forced.remove(&id)
        };
        self.learn(&told.into_iter().collect::<Vec<_>>());
        self.count(Injection::ForceBreaker);
    }

    /// The last fault is over, the last force is taken back, every policy is on.
    pub(super) fn make_peace(&mut self) {
        self.origins
            .iter_mut()
            .for_each(|it| *it = Origin { fault: Fault::None, until: 0, flaps: false, next_probe: it.next_probe });
        self.weights.iter_mut().for_each(|it| *it = (*it).max(1));
        self.asked = Asked { ejection: true, breaker: true, pool_breaker: true, slow_start: true };
        self.swap();
        for at in 0..self.origins.len() {
            self.force(at, None);
            let told = self.endpoint(at).force_breaker(None, self.now);
            self.learn(&told.into_iter().collect::<Vec<_>>());
        }
        let told = self.service.pool_state(0, 0).force_breaker(None, self.now);
        self.learn(&told.into_iter().collect::<Vec<_>>());
        self.forced.clear();
    }
}
