//! When nothing is sent for a while to what fails.

use std::time::Duration;

use serde::Serialize;

use crate::share::Share;

/// The share of slow requests that opens a breaker when none is said.
pub const SLOW_RATIO: Share = Share::from_percent(80);

/// The breakers of one service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Breakers {
    /// Of each endpoint. Default: none.
    pub endpoint: Option<Breaker>,
    /// Of each pool. Default: none.
    pub pool: Option<Breaker>,
}

/// When a breaker opens, for how long, and how it closes again. At least one of the three reasons to open is looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Breaker {
    /// Failures in a row that open it; absent: not looked at. Default 5 for an endpoint, none for a pool.
    pub consecutive_failures: Option<u32>,
    /// The share of failures within the window that opens it, above 0; absent: not looked at. Default 50 %.
    pub failure_ratio: Option<Share>,
    /// The fewest requests within the window for a ratio. Default 20.
    pub min_requests: u32,
    /// How far back is looked, 1 s to 10 min. Default 10 s.
    pub window: Duration,
    /// Which requests are slow, and how many are too many; absent: not looked at.
    pub slow: Option<SlowCalls>,
    /// How long it is open the first time. Default 5 s.
    pub open_time: Duration,
    /// The longest that it is open; at least `open_time`. Default 60 s.
    pub max_open_time: Duration,
    /// Successes in the half-open state that close it. Default 10.
    pub close_after: u32,
}

/// Which requests are slow, and how many are too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct SlowCalls {
    /// A longer time to the head of an answer is slow.
    pub after: Duration,
    /// The share of slow requests that opens the breaker, above 0. Default 80 %.
    pub ratio: Share,
}

impl Breaker {
    /// What opens the breaker of an endpoint when nothing is said.
    pub const STREAK: u32 = 5;
}

impl Default for Breaker {
    /// That of an endpoint.
    fn default() -> Self {
        Self {
            consecutive_failures: Some(Self::STREAK),
            failure_ratio: Some(Share::from_percent(50)),
            min_requests: 20,
            window: Duration::from_secs(10),
            slow: None,
            open_time: Duration::from_secs(5),
            max_open_time: Duration::from_secs(60),
            close_after: 10,
        }
    }
}
