//! What is tried again, how often and at what price.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::share::Share;

/// The retries of one service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Retries {
    /// Attempts in all, the first included. 1: nothing is tried again. Default 3.
    pub attempts: u32,
    /// What an attempt may end with to be followed by another; sorted. Default: connect failures and resets.
    pub causes: Vec<RetryCause>,
    /// Statuses that an idempotent request is not content with, 429 or 500 to 599; sorted. Default: none.
    pub statuses: Vec<u16>,
    /// Statuses that a gRPC call is not content with; sorted. Default: none.
    pub grpc_statuses: Vec<GrpcStatus>,
    /// How long to wait before another attempt.
    pub backoff: RetryBackoff,
    /// The longest Retry-After that is waited for. Default 1 s.
    pub max_retry_after: Duration,
    /// How much work may be asked for twice.
    pub budget: RetryBudget,
    /// Most bytes of a request's body that are kept for another attempt. Default 64 KiB.
    pub body: u32,
}

/// A wait of a random length: at most `base`, doubled with each further attempt, and never more than `max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct RetryBackoff {
    /// The most before the first that waits. Default 25 ms.
    pub base: Duration,
    /// The most before any. At least `base`. Default 250 ms.
    pub max: Duration,
}

/// How many requests that an origin may have got already are sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct RetryBudget {
    /// Of the requests of the last 10 s. Default 20 %.
    pub ratio: Share,
    /// And so many in each second, however few requests there are. Default 3.
    pub min_per_second: u32,
}

/// What an attempt ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RetryCause {
    /// No connection could be made.
    ConnectFailure,
    /// The connection ended before the head of an answer.
    Reset,
    /// No head of an answer within `timeouts.per_try`.
    Timeout,
}

/// A status of gRPC that says that a call failed on its way and not for what it asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GrpcStatus {
    /// 1.
    Cancelled,
    /// 2.
    Unknown,
    /// 4.
    DeadlineExceeded,
    /// 8.
    ResourceExhausted,
    /// 10.
    Aborted,
    /// 13.
    Internal,
    /// 14.
    Unavailable,
}

impl RetryCause {
    /// As it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ConnectFailure => "connect_failure",
            Self::Reset => "reset",
            Self::Timeout => "timeout",
        }
    }
}

impl GrpcStatus {
    /// As it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cancelled => "cancelled",
            Self::Unknown => "unknown",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::ResourceExhausted => "resource_exhausted",
            Self::Aborted => "aborted",
            Self::Internal => "internal",
            Self::Unavailable => "unavailable",
        }
    }

    /// As it is sent.
    #[must_use]
    pub const fn code(self) -> u16 {
        match self {
            Self::Cancelled => 1,
            Self::Unknown => 2,
            Self::DeadlineExceeded => 4,
            Self::ResourceExhausted => 8,
            Self::Aborted => 10,
            Self::Internal => 13,
            Self::Unavailable => 14,
        }
    }
}

impl Default for Retries {
    fn default() -> Self {
        Self {
            attempts: 3,
            causes: vec![RetryCause::ConnectFailure, RetryCause::Reset],
            statuses: Vec::new(),
            grpc_statuses: Vec::new(),
            backoff: RetryBackoff { base: Duration::from_millis(25), max: Duration::from_millis(250) },
            max_retry_after: Duration::from_secs(1),
            budget: RetryBudget { ratio: Share::from_percent(20), min_per_second: 3 },
            body: 64 << 10,
        }
    }
}
