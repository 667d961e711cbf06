//! What changed about an endpoint or a pool, and why, as data for logs and metrics.

use std::fmt;
use std::time::Duration;

use crate::breaker;
use crate::endpoint::EndpointId;
use crate::outlier;
use crate::pool::PoolId;

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Of what.
    pub subject: Subject,
    /// Which.
    pub turn: Turn,
}

/// Whose change it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// An endpoint's.
    Endpoint(EndpointId),
    /// A pool's.
    Pool(PoolId),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Endpoint(id) => id.fmt(f),
            Self::Pool(id) => id.fmt(f),
        }
    }
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Its breaker changed its state.
    Breaker(breaker::Transition),
    /// It was ejected.
    Ejected {
        /// Why.
        cause: outlier::Cause,
        /// For how long, unless it is ended before.
        lasts: Duration,
    },
    /// Its ejection ended.
    Returned(outlier::Return),
    /// It begins to get its weight in steps: it is new or back.
    Warming,
    /// It gets its whole weight.
    Warm,
}

impl Turn {
    /// What changed, as a stable name.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Breaker(_) => "breaker",
            Self::Ejected { .. } | Self::Returned(_) => "ejection",
            Self::Warming | Self::Warm => "slow_start",
        }
    }

    /// As it was, as a stable name.
    #[must_use]
    pub const fn from(&self) -> &'static str {
        match self {
            Self::Breaker(transition) => transition.from.as_str(),
            Self::Ejected { .. } => "in",
            Self::Returned(_) => "ejected",
            Self::Warming => "cold",
            Self::Warm => "warming",
        }
    }

    /// As it is, as a stable name.
    #[must_use]
    pub const fn to(&self) -> &'static str {
        match self {
            Self::Breaker(transition) => transition.to.as_str(),
            Self::Ejected { .. } => "ejected",
            Self::Returned(_) => "in",
            Self::Warming => "warming",
            Self::Warm => "warm",
        }
    }

    /// Why, as a stable name.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Breaker(transition) => transition.reason.as_str(),
            Self::Ejected { cause, .. } => cause.as_str(),
            Self::Returned(why) => why.as_str(),
            Self::Warming => "new_or_back",
            Self::Warm => "waited",
        }
    }
}
