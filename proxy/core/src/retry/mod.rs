//! Decides whether an attempt that was not good enough is followed by another.
//!
//! What counts is not how bad it was but what the origin may already have done. Nothing sent: any request may be tried
//! elsewhere. Something sent: only a method that may be repeated, with a body that is still whole. That law is no
//! setting: whoever could turn it off would, in the outage in which it matters. What an operator chooses is how many
//! attempts there are and after what ([`Retries`]): failed connects and resets by default. Timeouts and statuses are
//! off by default, since an origin that is slow or says 503 is likely overloaded, and work that is done twice is how an
//! overload grows.
//!
//! gRPC is the one place where the law cannot judge: every call is a POST, whatever it does. A call whose whole answer
//! is a status that the operator listed is sent again because listing it says that the calls may be carried out twice;
//! after anything else it is treated as the POST that it is.
//!
//! A kept connection that the origin closed while it was idle says nothing about the endpoint, so that endpoint may be
//! chosen again, on a connection of its own, and the attempt does not count, as in nginx: otherwise one attempt would
//! mean that keeping connections loses requests. Every other end excludes the endpoint. When there is no other, it is
//! asked once more after a reset or an answer, which may be the fate of one request, but not after a failed connect or a
//! timeout, which tell of the endpoint.
//!
//! Waits are of full jitter, as in [`crate::backoff`], and none precedes the first try after a failed connect or a dead
//! connection: the next endpoint has nothing to recover from. What costs an origin work is charged to a [`Budget`];
//! what it cannot have got is not, so that a dead endpoint's share can move at once.
//!
//! Invariants: at most [`Retries::attempts`] attempts that count, and one that does not; a request with a method that is
//! not idempotent is never sent again once a byte of it may have been sent, but for listed gRPC statuses; a consumed
//! body is never needed again; a wait ends before the deadline of the whole exchange, or is not begun.

mod budget;

use std::time::Duration;

use rand::Rng;
use sluice_config::validated::{Retries, RetryBackoff, RetryCause};

use crate::outcome::Ending;

pub use budget::{Budget, Floor, SPAN};

/// How often a request may be carried out, by its method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeatable {
    /// GET, HEAD and OPTIONS: it changes nothing.
    Safe,
    /// PUT, DELETE and TRACE: twice is as once.
    Idempotent,
    /// Any other.
    Never,
}

impl Repeatable {
    /// Of this method.
    #[must_use]
    pub fn of(method: &str) -> Self {
        match method {
            "GET" | "HEAD" | "OPTIONS" => Self::Safe,
            "PUT" | "DELETE" | "TRACE" => Self::Idempotent,
            _ => Self::Never,
        }
    }
}

/// What there is of the request's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// The request has none.
    None,
    /// Not a byte of it was taken from the client's stream.
    Whole,
    /// All that was taken of it is kept.
    Kept,
    /// Some of it was taken, and is not kept.
    Consumed,
}

/// An attempt that failed, or whose answer is in hand, before a byte of an answer went to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    /// How it ended; a status: its answer may still be passed on.
    pub ending: Ending,
    /// The request is a gRPC call, and its whole answer this status.
    pub grpc: Option<u16>,
    /// Attempts so far that count, this one included: all but one on a stale connection.
    pub attempts: u32,
    /// There was one on a stale connection before this one.
    pub stale: bool,
    /// By the request's method.
    pub repeatable: Repeatable,
    /// Whether a byte of the request may have been sent in this attempt.
    pub sent: bool,
    /// What there is of the body.
    pub body: Body,
}

/// Another attempt, and what it costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Again {
    /// Why it is safe.
    pub reason: Reason,
    /// Which endpoints it may go to.
    pub to: To,
    /// The bound of the wait before it is doubled so many times; nothing: there is no wait.
    pub doublings: Option<u32>,
}

/// Why another attempt is safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Nothing was sent.
    NotSent,
    /// The kept connection was dead, and the method may be repeated.
    Stale,
    /// The method may be repeated.
    Repeatable,
    /// The operator says that the call may be repeated.
    Declared,
}

/// Which endpoints another attempt may go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum To {
    /// Any that was not excluded before, this one too.
    Any,
    /// Another.
    Other,
    /// Another, or this one if there is none.
    OtherOrSame,
}

/// Why there is no other attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stop {
    /// As many as there may be were made.
    AttemptsSpent,
    /// The service is not to be tried again after this.
    NotRetried,
    /// It may have been carried out, and must not be twice.
    MayHaveBeenDone,
    /// The body is gone.
    BodyConsumed,
    /// There is no endpoint to try.
    NoEndpoint,
    /// The budget is spent.
    BudgetSpent,
    /// As many other attempts are under way as may be.
    AtOnce,
    /// The whole exchange would be over before the wait is.
    NoTime,
    /// The origin asks for a longer wait than is allowed.
    RetryAfter,
}

impl Stop {
    /// A stable name for metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AttemptsSpent => "attempts_spent",
            Self::NotRetried => "not_retried",
            Self::MayHaveBeenDone => "may_have_been_done",
            Self::BodyConsumed => "body_consumed",
            Self::NoEndpoint => "no_endpoint",
            Self::BudgetSpent => "budget_spent",
            Self::AtOnce => "retries_at_once",
            Self::NoTime => "no_time",
            Self::RetryAfter => "retry_after",
        }
    }
}

impl Attempt {
    /// Whether it may be followed by another, as far as the request and the policy go: where to, when and at what price
    /// is for the caller to find out with [`wait`] and [`Budget::take`].
    ///
    /// # Errors
    /// Why it may not.
    pub fn judge(&self, policy: &Retries) -> Result<Again, Stop> {
        match self.ending {
            Ending::ConnectRefused | Ending::ConnectFailed | Ending::ConnectTimeout | Ending::ConnectTls => {
                self.caused(policy, RetryCause::ConnectFailure)?;
                self.again(policy, Reason::NotSent, To::Other)
            }
            // Nothing of the endpoint is at fault, so no cause is asked for.
            Ending::ConnectionLimit => self.again(policy, Reason::NotSent, To::Other),
            Ending::StalePooled if !self.stale => self.judge_stale(),
            Ending::ResetBeforeHead | Ending::StreamRefused | Ending::StalePooled => {
                self.caused(policy, RetryCause::Reset)?;
                self.repeat(policy, To::OtherOrSame)
            }
            Ending::PerTryTimeout => {
                self.caused(policy, RetryCause::Timeout)?;
                self.repeat(policy, To::Other)
            }
            Ending::Status(status) => self.judge_answer(policy, status),
            Ending::Grpc(_)
            | Ending::BadHead
            | Ending::BadBody
            | Ending::IdleTimeout
            | Ending::TotalTimeout
            | Ending::ClientDeadline
            | Ending::ResetInBody
            | Ending::ClientGone
            | Ending::ClientFault
            | Ending::ClientTimeout
            | Ending::NoTunnel
            | Ending::Misdirected
            | Ending::BodyTooLarge
            | Ending::SlowBody
            | Ending::SlowRead
            | Ending::StreamIdle
            | Ending::Overload
            | Ending::NoRoute
            | Ending::NoEndpoint
            | Ending::BreakerOpen
            | Ending::NoRoom
            | Ending::Draining
            | Ending::Internal => Err(Stop::NotRetried),
        }
    }

    /// Whether this answer is one that the policy does not pass on at once.
    #[must_use]
    pub fn is_listed(&self, policy: &Retries) -> bool {
        self.is_declared(policy)
            || matches!(self.ending, Ending::Status(status) if policy.statuses.binary_search(&status).is_ok())
    }

    fn is_declared(&self, policy: &Retries) -> bool {
        self.grpc.is_some_and(|code| policy.grpc_statuses.iter().any(|status| status.code() == code))
    }

    fn caused(&self, policy: &Retries, cause: RetryCause) -> Result<(), Stop> {
        if policy.causes.contains(&cause) { Ok(()) } else { Err(Stop::NotRetried) }
    }

    /// It is no attempt, so it is bounded by there being no second. An origin of HTTP/2 can give up each new connection, too,
    /// and would be dialled without end: from the second time on it is a reset like any other.
    fn judge_stale(&self) -> Result<Again, Stop> {
        let reason = match (self.sent, self.repeatable) {
            (false, _) => Reason::NotSent,
            (true, Repeatable::Never) => return Err(Stop::MayHaveBeenDone),
            (true, Repeatable::Safe | Repeatable::Idempotent) => Reason::Stale,
        };
        self.whole()?;
        Ok(Again { reason, to: To::Any, doublings: None })
    }

    fn judge_answer(&self, policy: &Retries, status: u16) -> Result<Again, Stop> {
        if self.is_declared(policy) {
            return self.again(policy, Reason::Declared, To::OtherOrSame);
        }
        if policy.statuses.binary_search(&status).is_err() {
            return Err(Stop::NotRetried);
        }
        // Who answered has had the request.
        Self { sent: true, ..*self }.repeat(policy, To::OtherOrSame)
    }

    fn repeat(&self, policy: &Retries, to: To) -> Result<Again, Stop> {
        match (self.sent, self.repeatable) {
            (false, _) => self.again(policy, Reason::NotSent, to),
            (true, Repeatable::Safe | Repeatable::Idempotent) => self.again(policy, Reason::Repeatable, to),
            (true, Repeatable::Never) => Err(Stop::MayHaveBeenDone),
        }
    }

    fn again(&self, policy: &Retries, reason: Reason, to: To) -> Result<Again, Stop> {
        if self.attempts >= policy.attempts {
            return Err(Stop::AttemptsSpent);
        }
        self.whole()?;
        let before = self.attempts.saturating_sub(1);
        let at_once = reason == Reason::NotSent && before == 0;
        Ok(Again { reason, to, doublings: (!at_once).then_some(before) })
    }

    const fn whole(&self) -> Result<(), Stop> {
        match self.body {
            Body::Consumed => Err(Stop::BodyConsumed),
            Body::None | Body::Whole | Body::Kept => Ok(()),
        }
    }
}

impl Again {
    /// Whether an origin may have got the request already, so that it costs work twice.
    #[must_use]
    pub fn is_charged(&self) -> bool {
        self.reason != Reason::NotSent
    }
}

/// How much of a request's body is kept for another attempt; nothing where there can be none once some of it was sent.
#[must_use]
pub fn body_limit(policy: &Retries, repeatable: Repeatable, is_grpc: bool) -> u32 {
    let repeats = repeatable != Repeatable::Never || (is_grpc && !policy.grpc_statuses.is_empty());
    if policy.attempts > 1 && repeats { policy.body } else { 0 }
}

/// How long to wait before another attempt: as long as the origin asked for, and a random time more so that those who
/// were refused together do not come back together.
///
/// # Errors
/// When the origin asks for too long, or nothing of the exchange would be `left`.
pub fn wait(
    policy: &Retries,
    again: &Again,
    asked: Option<Duration>,
    left: Option<Duration>,
    rng: &mut impl Rng,
) -> Result<Duration, Stop> {
    let asked = asked.unwrap_or_default();
    if asked > policy.max_retry_after {
        return Err(Stop::RetryAfter);
    }
    let jitter = again.doublings.map_or(Duration::ZERO, |doublings| jitter(&policy.backoff, doublings, rng));
    let wait = asked + jitter;
    if left.is_some_and(|left| left <= wait) { Err(Stop::NoTime) } else { Ok(wait) }
}

fn jitter(backoff: &RetryBackoff, doublings: u32, rng: &mut impl Rng) -> Duration {
    let bound = backoff.base.saturating_mul(1_u32.checked_shl(doublings).unwrap_or(u32::MAX)).min(backoff.max);
    bound.mul_f64(f64::from(rng.next_u32()) / f64::from(u32::MAX))
}

// In its tables, what is not named is not tried again.
#[cfg(test)]
#[allow(clippy::wildcard_enum_match_arm)]
mod tests;
