//! How an endpoint of a pool is picked, and where a request goes when there is none.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::percentage::Percentage;
use crate::share::Share;

/// A half of a whole.
pub const HALF: Share = Share::from_percent(50);
/// A tenth of a whole.
pub const TENTH: Share = Share::from_percent(10);
/// What a zone is trusted with when nothing is said: 140 %.
pub const OVERPROVISIONING: Percentage = Percentage::new(140).expect("140 is a percentage in its range");

/// How an endpoint of a pool is picked.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Balancer {
    /// By turns, spread out by weight.
    #[default]
    RoundRobin,
    /// Of `choices` at random (2 to 16, default 2) the one with the fewest requests under way for its weight.
    LeastRequest {
        /// How many are compared.
        choices: u32,
    },
    /// Of two at random the one that is expected to answer sooner, for its weight.
    PeakEwma {
        /// The time in which the part of a slow answer in the average falls to 37 %. Default 10 s.
        decay: Duration,
        /// What a failure counts as. Default 5 s.
        failure_penalty: Duration,
    },
    /// The same key, the same endpoint, while the pool allows.
    Maglev {
        /// What is hashed.
        key: HashKey,
        /// How far above the pool's average an endpoint's requests under way may be; at least 100 %. Absent: no bound.
        bounded_load: Option<Percentage>,
    },
    /// At random, by weight.
    Random,
}

/// What is hashed to pick an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HashKey {
    /// The first value of this field (lower case).
    Header(String),
    /// The value of this cookie.
    Cookie(String),
    /// The client's address, without the port.
    ClientAddress,
    /// The path, without the query.
    Path,
}

/// How an endpoint that begins to take traffic is warmed up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct SlowStart {
    /// For how long its weight rises. Default 30 s.
    pub window: Duration,
    /// The part of its weight that it begins with, above 0. Default 10 %.
    pub floor: Share,
}

/// How far the proxy's own zone is preferred.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Zones {
    /// How much more than its healthy part the own zone is trusted with. At least 100 %. Default 140 %.
    pub overprovisioning: Percentage,
    /// The fewest endpoints of the own zone for a preference. Default 1.
    pub min_endpoints: u32,
}

/// A user stays with an endpoint, by a cookie with a random key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Session {
    /// The name of the cookie. Default `sluice-session`.
    pub cookie: String,
    /// How long the browser keeps it; absent: until it is closed.
    pub max_age: Option<Duration>,
}

/// What is done when too few endpoints of a pool may be chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Panic {
    /// The share of the pool's weight below which it is done, above 0. Default 50 %.
    pub below: Share,
    /// What is done.
    pub then: PanicMode,
}

/// What is done when too few endpoints of a pool may be chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PanicMode {
    /// Every endpoint is chosen but those that an operator took out.
    FailOpen,
    /// None is chosen.
    FailClosed,
}

impl PanicMode {
    /// The word of the document.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FailOpen => "fail_open",
            Self::FailClosed => "fail_closed",
        }
    }
}

/// Where a request goes when the pool that it was given has no endpoint for it, or the pool's breaker is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Fallback {
    /// To the same version in another region; when it is nowhere, to the baseline.
    #[default]
    OtherRegion,
    /// To the baseline in the same region; when it is not there, to the baseline in another.
    Baseline,
    /// Nowhere: it is refused with a 503.
    Reject,
}

impl Fallback {
    /// The word of the document.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OtherRegion => "other_region",
            Self::Baseline => "baseline",
            Self::Reject => "reject",
        }
    }
}
