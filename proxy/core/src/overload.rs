//! Decides what a process gives up when its memory runs short.
//!
//! A process that goes over its memory is killed, and every request with it. Long before, it can give up what costs its
//! clients least: first connections on which nothing is under way, with `Connection: close` on the answers of the others,
//! so that memory comes back without a failed request; only then new requests, with a 503 that says when to come again.
//! Requests under way are never given up: what they have cost is spent, and their end gives it back.
//!
//! Each level is left further down than it was reached. Without that the process would close all connections, open them
//! again and close them again: their opening is the dearest part of them.
//!
//! Invariants: the level follows from the last level and what is used, and from no clock; with nothing used it is
//! [`Level::Normal`]; between the two marks of a level it never changes; it is never below what what is used asks for.

/// What is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Level {
    /// Nothing.
    #[default]
    Normal,
    /// Connections that wait for a request, and the others with their answer.
    Shedding,
    /// New requests too.
    Refusing,
}

impl Level {
    /// All of them, from good to bad.
    pub const ALL: [Self; 3] = [Self::Normal, Self::Shedding, Self::Refusing];

    /// A stable name for metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Shedding => "shedding",
            Self::Refusing => "refusing",
        }
    }

    /// The per mille of the limit at which it is reached, and below which it is left again.
    const fn marks(self) -> (u16, u16) {
        match self {
            Self::Normal => (0, 0),
            Self::Shedding => (850, 800),
            Self::Refusing => (950, 900),
        }
    }
}

/// What a process uses of what it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Use {
    /// In bytes.
    pub used: u64,
    /// In bytes.
    pub limit: u64,
}

impl Use {
    /// In per mille of the limit. Of a limit of nothing all is used.
    #[must_use]
    pub fn share(self) -> u16 {
        let share = u128::from(self.used) * 1_000 / u128::from(self.limit.max(1));
        u16::try_from(share).unwrap_or(u16::MAX)
    }
}

/// The level at this use when it was `before`. Without a limit nothing is given up.
#[must_use]
pub fn level(before: Level, now: Option<Use>) -> Level {
    let share = now.map_or(0, Use::share);
    let holds = |level: &Level| {
        let (reached, left) = level.marks();
        share >= if *level <= before { left } else { reached }
    };
    Level::ALL.into_iter().rev().find(holds).unwrap_or_default()
}

/// How many connections may be open for this many files: each may need another to the endpoint that answers it, and
/// `besides` files are for everything else. At least one.
#[must_use]
pub fn connections_for(files: u64, besides: u64) -> u64 {
    (files.saturating_sub(besides) / 2).max(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn at(used: u64) -> Option<Use> {
        Some(Use { used, limit: 1_000 })
    }

    #[test]
    fn levels_are_reached_above_and_left_below() {
        let mut now = Level::Normal;
        let mut seen = Vec::new();
        for used in [0, 849, 850, 810, 800, 799, 849, 950, 949, 900, 899, 800, 799, 2_000, 0] {
            now = level(now, at(used));
            seen.push(now);
        }
        use Level::{Normal as N, Refusing as R, Shedding as S};
        assert_eq!(seen, [N, N, S, S, S, N, N, R, R, R, S, S, N, R, N]);
    }

    #[test]
    fn without_a_limit_nothing_is_given_up() {
        assert_eq!(level(Level::Refusing, None), Level::Normal);
    }

    #[test]
    fn a_limit_of_nothing_is_no_division() {
        assert_eq!(Use { used: u64::MAX, limit: 0 }.share(), u16::MAX);
    }

    #[test]
    fn every_connection_may_need_two_files() {
        assert_eq!(connections_for(1_024, 200), 412);
        assert_eq!(connections_for(100, 200), 1);
    }

    proptest! {
        /// Whatever came before: the level is at least what the use asks for, and once it has settled it stays.
        #[test]
        fn a_level_is_never_below_its_mark_and_settles_at_once(before in 0_usize..3, used in 0_u64..2_000) {
            let next = level(Level::ALL[before], at(used));
            prop_assert!(next >= level(Level::Normal, at(used)));
            prop_assert!(next <= level(Level::Refusing, at(used)));
            prop_assert_eq!(level(next, at(used)), next);
        }

        /// Memory that wavers by less than a mark's width makes one change and no more.
        #[test]
        fn wavering_does_not_flap(middle in 0_u64..1_100, wavers in prop::collection::vec(0_u64..50, 1..100)) {
            let mut now = level(Level::Normal, at(middle));
            let mut changes = 0;
            for by in wavers {
                let next = level(now, at(middle + by));
                changes += usize::from(next != now);
                now = next;
            }
            prop_assert!(changes <= 1, "{} changes", changes);
        }
    }
}
