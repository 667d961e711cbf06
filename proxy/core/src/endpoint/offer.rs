//! What an endpoint may be given now, as one number that a worker reads without a lock.

use crate::breaker::State;
use crate::health::Standing;

/// A level that holds nothing back.
pub const FULL: u16 = 1000;

/// What an endpoint may be given now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Offer {
    /// By its health checks; `Verified` while an operator forces it in.
    pub standing: Standing,
    /// Why it is given nothing, whatever its standing.
    pub barrier: Option<Barrier>,
    /// The part of its weight that counts now, in thousandths.
    pub level: u16,
}

impl Offer {
    /// Whether anything speaks against it: `Unprobed` does not where nothing verified exists.
    #[must_use]
    pub const fn is_eligible(&self) -> bool {
        self.barrier.is_none() && !matches!(self.standing, Standing::Out)
    }
}

/// Why an endpoint is given nothing although its health checks may be good. Of several the first is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Barrier {
    /// An operator keeps it out.
    Forced = 1,
    /// It was worse than the rest of its pool.
    Ejected = 2,
    /// Its breaker is open.
    Breaker = 3,
    /// It has said that it wants nothing new.
    Draining = 4,
}

impl Barrier {
    /// A stable name for metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Forced => "forced",
            Self::Ejected => "ejected",
            Self::Breaker => "breaker",
            Self::Draining => "draining",
        }
    }
}

/// What an endpoint says of itself in the answers to its health checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Advice {
    /// The part of its weight that it wants, in thousandths; more than [`FULL`] counts as that.
    pub level: u16,
    /// It wants nothing new.
    pub draining: bool,
}

impl Default for Advice {
    fn default() -> Self {
        Self { level: FULL, draining: false }
    }
}

/// An offer and what else is asked about an endpoint for each request, in one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Word(pub(super) u32);

/// What a word says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) offer: Offer,
    /// Its health checks' own word.
    pub(super) health: Standing,
    /// Its breaker's own.
    pub(super) breaker: State,
    /// Requests are counted against a cap.
    pub(super) capped: bool,
    /// It is in slow start.
    pub(super) warming: bool,
    /// It is ejected, whatever else keeps it out.
    pub(super) ejected: bool,
}

const CAPPED: u32 = 1 << 7;
const WARMING: u32 = 1 << 10;
const EJECTED: u32 = 1 << 11;

impl Word {
    pub(super) fn new(facts: Facts) -> Self {
        let Facts { offer, health, breaker, capped, warming, ejected } = facts;
        let barrier = match offer.barrier {
            None => 0,
            Some(barrier) => barrier as u32,
        };
        let flag = |holds: bool, bit: u32| if holds { bit } else { 0 };
        let flags = flag(capped, CAPPED) | flag(warming, WARMING) | flag(ejected, EJECTED);
        let states = offer.standing as u32 | (health as u32) << 2 | barrier << 4 | (breaker as u32) << 8;
        Self(states | flags | (offer.level as u32) << 16)
    }

    pub(super) const fn offer(self) -> Offer {
        let barrier = match self.0 >> 4 & 0b111 {
            0 => None,
            1 => Some(Barrier::Forced),
            2 => Some(Barrier::Ejected),
            3 => Some(Barrier::Breaker),
            _ => Some(Barrier::Draining),
        };
        Offer { standing: standing(self.0), barrier, level: (self.0 >> 16) as u16 }
    }

    pub(super) const fn health(self) -> Standing {
        standing(self.0 >> 2)
    }

    pub(super) const fn breaker(self) -> State {
        match self.0 >> 8 & 0b11 {
            0 => State::Closed,
            1 => State::Open,
            _ => State::HalfOpen,
        }
    }

    pub(super) const fn is_capped(self) -> bool {
        self.0 & CAPPED != 0
    }

    pub(super) const fn is_warming(self) -> bool {
        self.0 & WARMING != 0
    }

    pub(super) const fn is_ejected(self) -> bool {
        self.0 & EJECTED != 0
    }
}

const fn standing(bits: u32) -> Standing {
    match bits & 0b11 {
        0 => Standing::Verified,
        1 => Standing::Unprobed,
        _ => Standing::Out,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Nothing is lost in the number: without any one of its fields a reader would see another offer.
        #[test]
        fn a_word_keeps_what_it_was_made_of(
            standing in 0_u32..3, health in 0_u32..3, barrier in 0_usize..5, breaker in 0_usize..3, level in 0_u16..=FULL,
            capped: bool, warming: bool, ejected: bool,
        ) {
            let barriers = [None, Some(Barrier::Forced), Some(Barrier::Ejected), Some(Barrier::Breaker), Some(Barrier::Draining)];
            let breaker = [State::Closed, State::Open, State::HalfOpen][breaker];
            let offer = Offer { standing: super::standing(standing), barrier: barriers[barrier], level };
            let facts = Facts { offer, health: super::standing(health), breaker, capped, warming, ejected };
            let word = Word::new(facts);
            let read = Facts {
                offer: word.offer(), health: word.health(), breaker: word.breaker(), capped: word.is_capped(), warming: word.is_warming(),
                ejected: word.is_ejected(),
            };
            prop_assert_eq!(read, facts);
        }
    }
}
