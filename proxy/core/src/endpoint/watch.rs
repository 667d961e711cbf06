//! What is behind an endpoint's lock, and what it amounts to.

use sluice_config::validated::SlowStart;

use super::offer::Facts;
use super::{Advice, Barrier, FULL, Force, Offer};
use crate::breaker::{Circuit, State};
use crate::health::{Cause, Health, Standing};
use crate::outlier::{Counted, Ejections, Return};
use crate::slow_start::Ramp;

#[derive(Debug)]
pub(super) struct Watch {
    pub(super) checked: bool,
    pub(super) health: Health,
    /// What the last probe found wrong.
    pub(super) fault: Option<Cause>,
    pub(super) force: Option<Force>,
    pub(super) advice: Advice,
    pub(super) circuit: Circuit,
    pub(super) ejections: Ejections,
    /// Good probes in a row since a bad one, if one was bad since it was ejected.
    pub(super) good_probes: Option<u32>,
    /// An ejection that ended between two ticks is told by the next.
    pub(super) returned: Option<Return>,
    pub(super) ramp: Ramp,
    /// The level of the ramp at the last tick.
    pub(super) risen: u16,
    /// Every endpoint of its pool that could be given requests is in slow start: then none is held back.
    pub(super) alone: bool,
    pub(super) asked: Asked,
    /// Whether nothing but an operator could keep requests from it.
    ready: bool,
    /// It was there when the process began, and has not been ready yet: it is as warm as all others.
    original: bool,
}

/// What the document asks, as of the last tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Asked {
    pub(super) slow_start: Option<SlowStart>,
    pub(super) return_on_good_probe: bool,
    pub(super) breaker_window: Option<std::time::Duration>,
    pub(super) counted: Counted,
}

impl Watch {
    /// Of a new endpoint, which was added to a process that serves already or not.
    pub(super) fn new(checked: bool, added: bool) -> Self {
        let standing = if checked { Standing::Unprobed } else { Standing::Verified };
        Self {
            checked,
            health: Health::new(standing),
            fault: None,
            force: None,
            advice: Advice::default(),
            circuit: Circuit::default(),
            ejections: Ejections::default(),
            good_probes: None,
            returned: None,
            ramp: if added && !checked { Ramp::Due } else { Ramp::Over },
            risen: FULL,
            alone: false,
            asked: Asked::default(),
            ready: !checked,
            original: checked && !added,
        }
    }

    pub(super) fn facts(&self, capped: bool) -> Facts {
        Facts {
            offer: self.offer(),
            health: self.health.standing(),
            breaker: self.circuit.state(),
            capped,
            warming: self.ramp != Ramp::Over,
            ejected: self.ejections.running().is_some(),
        }
    }

    fn offer(&self) -> Offer {
        if self.force == Some(Force::In) {
            return Offer { standing: Standing::Verified, barrier: None, level: FULL };
        }
        Offer { standing: self.health.standing(), barrier: self.barrier(), level: self.level() }
    }

    /// The first of those that hold.
    fn barrier(&self) -> Option<Barrier> {
        let barriers = [
            (self.force == Some(Force::Out), Barrier::Forced),
            (self.ejections.running().is_some(), Barrier::Ejected),
            (self.circuit.state() == State::Open, Barrier::Breaker),
            (self.advice.draining, Barrier::Draining),
        ];
        barriers.into_iter().find_map(|(holds, barrier)| holds.then_some(barrier))
    }

    fn level(&self) -> u16 {
        let risen = if self.alone || self.ramp == Ramp::Over { FULL } else { self.risen };
        (u32::from(risen) * u32::from(self.advice.level) / u32::from(FULL)) as u16
    }

    /// Slow start begins when an endpoint becomes ready, and is over when it is not. Half-open its breaker ramps it already.
    pub(super) fn notice_readiness(&mut self) {
        let ready = self.health.standing() == Standing::Verified
            && self.barrier().is_none()
            && self.circuit.state() == State::Closed;
        if ready == self.ready {
            return;
        }
        self.ready = ready;
        if !ready {
            (self.ramp, self.alone) = (Ramp::Over, false);
        } else if !self.original {
            self.ramp = self.asked.slow_start.map_or(Ramp::Over, |_| Ramp::Due);
            self.risen = self.floor();
        }
        self.original &= !ready;
    }

    /// What slow start begins with.
    pub(super) fn floor(&self) -> u16 {
        self.asked.slow_start.map_or(FULL, |policy| crate::slow_start::floor(&policy))
    }

    /// Good probes end an ejection as they bring back what is out: with so many in a row. Those of a check that has not found
    /// anything bad say nothing: it does not see what requests meet.
    pub(super) fn count_probe(&mut self, good: bool, needed: u32) {
        self.good_probes = if good { self.good_probes.map(|count| count.saturating_add(1)) } else { Some(0) };
        let is_proven = self.good_probes.is_some_and(|count| count >= needed);
        if self.asked.return_on_good_probe && is_proven && self.ejections.end().is_some() {
            self.returned = Some(Return::GoodProbe);
        }
    }
}
