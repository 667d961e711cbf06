//! Decides whether a failed attempt may be followed by another.
//!
//! What counts is not how bad the failure was but what the origin may already have done. Nothing sent: any request may
//! be tried elsewhere. Sent: only a method that may be repeated, with a body that is still whole. A timeout is not
//! retried even then: the origin is likely still at work, and doing slow work twice is how an overload grows.
//!
//! A kept connection that the origin closed while it was idle says nothing about the endpoint, so that endpoint may be
//! chosen again, on a connection of its own, and the attempt does not count; every other retried failure excludes it.
//!
//! Invariants: at most [`MAX_ATTEMPTS`] attempts that count, and one that does not; a request with a method that is not idempotent is never sent again
//! once a byte of it may have been sent; a consumed body is never needed again.

use crate::outcome::Ending;

/// Attempts in all, the first included: the third leaves a pool in which two endpoints have failed.
pub const MAX_ATTEMPTS: u32 = 3;

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
    /// Some of it was taken, and is not kept.
    Consumed,
}

/// An attempt that failed before a byte of an answer went to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    /// How it ended.
    pub ending: Ending,
    /// Attempts so far that count, this one included: all but one on a stale connection.
    pub attempts: u32,
    /// By the request's method.
    pub repeatable: Repeatable,
    /// Whether a byte of the request may have been sent in this attempt.
    pub sent: bool,
    /// What there is of the body.
    pub body: Body,
}

/// Whether there is another attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Yes.
    Again {
        /// Why it is safe.
        reason: Again,
        /// Whether the endpoint counts as tried, so that another must be chosen.
        exclude: bool,
    },
    /// No.
    Stop(Stop),
}

/// Why another attempt is safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Again {
    /// Nothing was sent.
    NotSent,
    /// The kept connection was dead, and the method may be repeated.
    Stale,
    /// The request changes nothing and has no body.
    Safe,
}

/// Why there is no other attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stop {
    /// As many as there may be were made.
    AttemptsSpent,
    /// Another attempt would not help, or would do slow work twice.
    NotRetried,
    /// It may have been carried out, and must not be twice.
    MayHaveBeenDone,
    /// The body is gone.
    BodyConsumed,
}

impl Again {
    /// A stable name for metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotSent => "not_sent",
            Self::Stale => "stale",
            Self::Safe => "safe",
        }
    }
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
        }
    }
}

impl Attempt {
    /// Whether it may be followed by another.
    #[must_use]
    pub fn judge(&self) -> Answer {
        match self.ending {
            Ending::ConnectRefused | Ending::ConnectFailed | Ending::ConnectTimeout => self.again(Again::NotSent, true),
            Ending::StalePooled => self.judge_stale(),
            Ending::ResetBeforeHead => self.judge_reset(),
            Ending::Status(_)
            | Ending::BadHead
            | Ending::BadBody
            | Ending::PerTryTimeout
            | Ending::IdleTimeout
            | Ending::TotalTimeout
            | Ending::ResetInBody
            | Ending::ClientGone
            | Ending::ClientFault
            | Ending::ClientTimeout
            | Ending::BodyTooLarge
            | Ending::SlowBody
            | Ending::SlowRead
            | Ending::StreamIdle
            | Ending::NoRoute
            | Ending::NoEndpoint
            | Ending::Draining
            | Ending::Overload
            | Ending::Internal => Answer::Stop(Stop::NotRetried),
        }
    }

    fn judge_stale(&self) -> Answer {
        match (self.sent, self.repeatable) {
            (false, _) => self.again(Again::NotSent, false),
            (true, Repeatable::Never) => Answer::Stop(Stop::MayHaveBeenDone),
            (true, Repeatable::Safe | Repeatable::Idempotent) => self.again(Again::Stale, false),
        }
    }

    fn judge_reset(&self) -> Answer {
        match (self.sent, self.repeatable, self.body) {
            (false, _, _) => self.again(Again::NotSent, true),
            (true, Repeatable::Safe, Body::None) => self.again(Again::Safe, true),
            (true, Repeatable::Safe, Body::Whole | Body::Consumed)
            | (true, Repeatable::Idempotent | Repeatable::Never, _) => Answer::Stop(Stop::MayHaveBeenDone),
        }
    }

    fn again(&self, reason: Again, exclude: bool) -> Answer {
        if self.attempts >= MAX_ATTEMPTS {
            return Answer::Stop(Stop::AttemptsSpent);
        }
        match self.body {
            Body::Consumed => Answer::Stop(Stop::BodyConsumed),
            Body::None | Body::Whole => Answer::Again { reason, exclude },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPEATABLE: [Repeatable; 3] = [Repeatable::Safe, Repeatable::Idempotent, Repeatable::Never];
    const BODIES: [Body; 3] = [Body::None, Body::Whole, Body::Consumed];

    fn every_attempt() -> impl Iterator<Item = Attempt> {
        let endings = Ending::ALL.into_iter();
        endings.flat_map(|ending| {
            (1..=MAX_ATTEMPTS).flat_map(move |attempts| {
                REPEATABLE.into_iter().flat_map(move |repeatable| {
                    [false, true].into_iter().flat_map(move |sent| {
                        BODIES.into_iter().map(move |body| Attempt { ending, attempts, repeatable, sent, body })
                    })
                })
            })
        })
    }

    const fn cannot_have_sent(ending: Ending) -> bool {
        matches!(ending, Ending::ConnectRefused | Ending::ConnectFailed | Ending::ConnectTimeout)
    }

    fn again(attempt: &Attempt) -> bool {
        matches!(attempt.judge(), Answer::Again { .. })
    }

    /// Guarantee 8: a request whose method is not idempotent, and that may have been sent, is never sent again.
    #[test]
    fn what_may_have_been_done_is_not_done_again() {
        for attempt in
            every_attempt().filter(|a| a.sent && a.repeatable == Repeatable::Never && !cannot_have_sent(a.ending))
        {
            assert!(!again(&attempt), "{attempt:?}");
        }
    }

    #[test]
    fn attempts_are_bounded_and_a_consumed_body_ends_them() {
        for attempt in every_attempt().filter(|a| a.attempts >= MAX_ATTEMPTS || a.body == Body::Consumed) {
            assert!(!again(&attempt), "{attempt:?}");
        }
    }

    #[test]
    fn only_what_says_nothing_of_slow_work_is_retried() {
        let retried = |e| cannot_have_sent(e) || matches!(e, Ending::StalePooled | Ending::ResetBeforeHead);
        for attempt in every_attempt().filter(|a| !retried(a.ending)) {
            assert_eq!(attempt.judge(), Answer::Stop(Stop::NotRetried));
        }
    }

    #[test]
    fn a_failed_connect_is_tried_elsewhere_whatever_the_method() {
        for attempt in every_attempt().filter(|a| cannot_have_sent(a.ending) && a.attempts < MAX_ATTEMPTS) {
            let expected = match attempt.body {
                Body::Consumed => Answer::Stop(Stop::BodyConsumed),
                Body::None | Body::Whole => Answer::Again { reason: Again::NotSent, exclude: true },
            };
            assert_eq!(attempt.judge(), expected);
        }
    }

    #[test]
    fn a_stale_connection_does_not_exclude_its_endpoint() {
        let stale = Attempt {
            ending: Ending::StalePooled,
            attempts: 1,
            repeatable: Repeatable::Idempotent,
            sent: true,
            body: Body::Whole,
        };
        assert_eq!(stale.judge(), Answer::Again { reason: Again::Stale, exclude: false });
    }

    #[test]
    fn a_reset_is_survived_by_a_get_without_body_only() {
        let reset = |method, body| {
            let repeatable = Repeatable::of(method);
            Attempt { ending: Ending::ResetBeforeHead, attempts: 1, repeatable, sent: true, body }.judge()
        };
        assert_eq!(reset("GET", Body::None), Answer::Again { reason: Again::Safe, exclude: true });
        for (method, body) in [("GET", Body::Whole), ("PUT", Body::None), ("POST", Body::None), ("get", Body::None)] {
            assert_eq!(reset(method, body), Answer::Stop(Stop::MayHaveBeenDone), "{method}");
        }
    }
}
