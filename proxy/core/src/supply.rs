//! Decides who of a pool may be picked, and with what weight.
//!
//! An endpoint may be given something if nothing bars it and its health checks do not say that it is out. Of those, the verified
//! ones are picked; those not yet probed only while none is verified. Its weight is that of the document times the part
//! of it that it gets now.
//!
//! Panic: when less than a share of the pool's weight is left, either health is not believed (every endpoint is picked
//! but those that an operator took out, since what a few endpoints cannot carry fails for everybody) or the pool counts as
//! having none (so that the requests go elsewhere before the last ones fall, too). Endpoints that are still warming up
//! or unprobed do not lack: a start is no emergency. While the pool's breaker is open nothing is picked, panic or not.
//!
//! Workers and explanations ask the same functions. Each offer must be read once: two readings could disagree and leave
//! nobody.

use sluice_config::validated::{Panic, PanicMode};

use crate::endpoint::{Barrier, FULL, Offer};
use crate::health::Standing;
use crate::outcome::Ending;

/// What a pool has to offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Supply {
    /// Its verified endpoints.
    Verified,
    /// Those not yet probed: none is verified.
    Unprobed,
    /// All but those that an operator took out: too few others are left.
    Panic,
    /// Nothing.
    None(Lack),
}

/// Why a pool has no endpoint for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lack {
    /// No endpoint may be chosen.
    Empty,
    /// So few are left that none is chosen.
    Panic,
    /// Its breaker is open, or no endpoint may be chosen and the breaker of one is.
    Breaker,
    /// Those that may be chosen have no room.
    Full,
    /// Those that may be chosen were tried.
    Tried,
}

impl Lack {
    /// A stable name for metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Panic => "panic",
            Self::Breaker => "breaker",
            Self::Full => "full",
            Self::Tried => "tried",
        }
    }

    /// How a request ends that nobody answers because of it.
    #[must_use]
    pub const fn ending(self) -> Ending {
        match self {
            Self::Breaker => Ending::BreakerOpen,
            Self::Full => Ending::NoRoom,
            Self::Empty | Self::Panic | Self::Tried => Ending::NoEndpoint,
        }
    }
}

impl Supply {
    /// Of a pool: its own offer, the weight and the offer of each endpoint.
    #[must_use]
    pub fn of(pool: Offer, members: impl Iterator<Item = (u32, Offer)> + Clone, panic: Option<Panic>) -> Self {
        if pool.barrier.is_some() {
            return Self::None(Lack::Breaker);
        }
        if let Some(panic) = panic.filter(|panic| is_short(members.clone(), *panic)) {
            let left = members.filter(|(weight, offer)| *weight > 0 && offer.barrier != Some(Barrier::Forced)).count();
            return match panic.then {
                PanicMode::FailOpen if left > 0 => Self::Panic,
                PanicMode::FailOpen => Self::None(Lack::Empty),
                PanicMode::FailClosed => Self::None(Lack::Panic),
            };
        }
        let breaks = |(weight, offer): (u32, Offer)| weight > 0 && offer.barrier == Some(Barrier::Breaker);
        let is_broken = members.clone().any(breaks);
        let usable = members.filter(|(weight, offer)| offer.is_eligible() && *weight > 0 && offer.level > 0);
        match usable.map(|(_, offer)| offer.standing).min() {
            Some(Standing::Verified) => Self::Verified,
            Some(Standing::Unprobed) => Self::Unprobed,
            Some(Standing::Out) | None if is_broken => Self::None(Lack::Breaker),
            Some(Standing::Out) | None => Self::None(Lack::Empty),
        }
    }

    /// The weight with which an endpoint is picked, in thousandths of one of the document; 0 if it is not.
    #[must_use]
    pub fn weight(self, weight: u32, offer: Offer) -> u32 {
        let level = match self {
            Self::Verified if offer.is_eligible() && offer.standing == Standing::Verified => offer.level,
            Self::Unprobed if offer.is_eligible() => offer.level,
            Self::Panic if offer.barrier != Some(Barrier::Forced) => FULL,
            Self::Verified | Self::Unprobed | Self::Panic | Self::None(_) => 0,
        };
        weight * u32::from(level)
    }

    /// Whether it has anything.
    #[must_use]
    pub const fn is_some(self) -> bool {
        !matches!(self, Self::None(_))
    }
}

/// Whether less than the share of the weight is left. A pool without weight is empty, not short.
fn is_short(members: impl Iterator<Item = (u32, Offer)>, panic: Panic) -> bool {
    let (mut all, mut left) = (0_u64, 0_u64);
    for (weight, offer) in members {
        all += u64::from(weight);
        left += u64::from(weight) * u64::from(offer.is_eligible());
    }
    u128::from(left) * 1_000_000 < u128::from(all) * u128::from(panic.below.ppm())
}

#[cfg(test)]
mod tests {
    use sluice_config::share::Share;

    use super::*;

    const OPEN: Offer = Offer { standing: Standing::Verified, barrier: None, level: FULL };
    const UNPROBED: Offer = Offer { standing: Standing::Unprobed, ..OPEN };
    const OUT: Offer = Offer { standing: Standing::Out, ..OPEN };
    const FORCED: Offer = Offer { barrier: Some(Barrier::Forced), ..OPEN };
    const EJECTED: Offer = Offer { barrier: Some(Barrier::Ejected), ..OPEN };

    fn supply(offers: &[Offer], panic: Option<(u32, PanicMode)>) -> (Supply, Vec<u32>) {
        let panic = panic.map(|(percent, then)| Panic { below: Share::from_ppm(percent * 10_000).unwrap(), then });
        let supply = Supply::of(OPEN, offers.iter().map(|offer| (2, *offer)), panic);
        (supply, offers.iter().map(|offer| supply.weight(2, *offer)).collect())
    }

    #[test]
    fn verified_ones_go_first_at_their_level() {
        let warming = Offer { level: 100, ..OPEN };
        assert_eq!(
            supply(&[OPEN, warming, UNPROBED, OUT, FORCED, EJECTED], None),
            (Supply::Verified, vec![2000, 200, 0, 0, 0, 0])
        );
        assert_eq!(supply(&[UNPROBED, OUT, EJECTED], None), (Supply::Unprobed, vec![2000, 0, 0]));
        assert_eq!(supply(&[OUT, EJECTED], None), (Supply::None(Lack::Empty), vec![0, 0]));
        let nothing = Offer { level: 0, ..OPEN };
        assert_eq!(supply(&[nothing, UNPROBED], None), (Supply::Unprobed, vec![0, 2000]));
    }

    #[test]
    fn a_pool_that_is_short_panics_as_it_is_told() {
        let pool = [OPEN, OUT, EJECTED, FORCED];
        assert_eq!(supply(&pool, Some((25, PanicMode::FailOpen))).0, Supply::Verified, "a quarter is not below it");
        assert_eq!(supply(&pool, Some((26, PanicMode::FailOpen))), (Supply::Panic, vec![2000, 2000, 2000, 0]));
        assert_eq!(supply(&pool, Some((26, PanicMode::FailClosed))), (Supply::None(Lack::Panic), vec![0; 4]));
        assert_eq!(supply(&[FORCED], Some((50, PanicMode::FailOpen))).0, Supply::None(Lack::Empty));
        assert_eq!(supply(&[], Some((50, PanicMode::FailClosed))).0, Supply::None(Lack::Empty));
    }

    #[test]
    fn a_start_is_no_emergency() {
        let warming = Offer { level: 100, ..OPEN };
        let pool = [warming, UNPROBED, UNPROBED];
        assert_eq!(supply(&pool, Some((100, PanicMode::FailOpen))), (Supply::Verified, vec![200, 0, 0]));
    }

    #[test]
    fn an_open_breaker_of_the_pool_leaves_nothing() {
        let broken = Offer { barrier: Some(Barrier::Breaker), ..OPEN };
        let panic = Panic { below: Share::WHOLE, then: PanicMode::FailOpen };
        assert_eq!(Supply::of(broken, [(1, OUT)].into_iter(), Some(panic)), Supply::None(Lack::Breaker));
    }
}
