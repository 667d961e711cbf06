//! Decides what the ending of a request means: whose fault it is, whether the request failed, and what our own reply
//! says. The only classifier: metrics, logs, retries, breakers and rollouts read this one table.
//!
//! A status is judged by its class and not by a list: 5xx is the origin's fault and a failure, 4xx the client's and
//! none. A client that goes away is nobody's fault: counting it against the origin would let impatient clients take
//! healthy endpoints out, counting it as a success would hide stalls.
//!
//! Invariants: `failed` is false for `Success`, `ClientFault` and `Cancelled` and true for the other two; names are
//! stable and distinct, since dashboards know them.

/// How a request, or one attempt of it, ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ending {
    /// The origin's whole answer, with this final status, reached the client.
    Status(u16),
    /// Nobody listens at the endpoint.
    ConnectRefused,
    /// The connection to the endpoint failed for another reason.
    ConnectFailed,
    /// No connection within the connect timeout.
    ConnectTimeout,
    /// The origin ended a fresh connection before the head of its answer was whole.
    ResetBeforeHead,
    /// The origin had closed a kept connection: reused, it ended before a byte of an answer.
    StalePooled,
    /// The origin's head was malformed.
    BadHead,
    /// The origin's body was malformed.
    BadBody,
    /// No head within the time for one attempt.
    PerTryTimeout,
    /// The origin sent nothing for the idle timeout.
    IdleTimeout,
    /// The exchange took longer than the total timeout.
    TotalTimeout,
    /// The origin ended its connection in the middle of the body.
    ResetInBody,
    /// The client left before the answer was whole.
    ClientGone,
    /// The client sent a malformed request, in its head or its body.
    ClientFault,
    /// The client's head or body did not arrive in time.
    ClientTimeout,
    /// The client's head is over the listener's limits.
    HeadTooLarge,
    /// The client's request target is over the listener's limits.
    TargetTooLong,
    /// The method cannot be proxied (CONNECT).
    MethodRefused,
    /// The request's transfer coding is unknown.
    CodingUnknown,
    /// The protocol version is unknown.
    VersionUnknown,
    /// No route matches.
    NoRoute,
    /// No endpoint is eligible.
    NoEndpoint,
    /// The process is leaving.
    Draining,
    /// Over a limit of our own.
    Refused,
    /// A defect of ours.
    Internal,
}

/// Whose doing it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Served.
    Success,
    /// The client asked for something that cannot be.
    ClientFault,
    /// The origin failed.
    OriginFault,
    /// Sluice refused or failed.
    OurFault,
    /// The client left.
    Cancelled,
}

impl Outcome {
    /// A stable name for metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::ClientFault => "client_fault",
            Self::OriginFault => "origin_fault",
            Self::OurFault => "our_fault",
            Self::Cancelled => "cancelled",
        }
    }
}

/// What an ending means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judgement {
    /// Whose doing it was.
    pub outcome: Outcome,
    /// Whether it counts as a failed request.
    pub failed: bool,
    /// The status of our own reply, where there is one: it is sent only while no head has been sent.
    pub status: Option<u16>,
    /// A stable name for metrics and logs, in snake case.
    pub reason: &'static str,
}

impl Ending {
    /// Every ending, with one status for each class.
    pub const ALL: [Self; 28] = [
        Self::Status(200),
        Self::Status(301),
        Self::Status(404),
        Self::Status(500),
        Self::ConnectRefused,
        Self::ConnectFailed,
        Self::ConnectTimeout,
        Self::ResetBeforeHead,
        Self::StalePooled,
        Self::BadHead,
        Self::BadBody,
        Self::PerTryTimeout,
        Self::IdleTimeout,
        Self::TotalTimeout,
        Self::ResetInBody,
        Self::ClientGone,
        Self::ClientFault,
        Self::ClientTimeout,
        Self::HeadTooLarge,
        Self::TargetTooLong,
        Self::MethodRefused,
        Self::CodingUnknown,
        Self::VersionUnknown,
        Self::NoRoute,
        Self::NoEndpoint,
        Self::Draining,
        Self::Refused,
        Self::Internal,
    ];

    /// What it means: the table.
    #[must_use]
    pub const fn judge(self) -> Judgement {
        use Outcome::{Cancelled, ClientFault, OriginFault, OurFault};
        match self {
            Self::Status(status) => judge_status(status),
            Self::ConnectRefused => row(OriginFault, Some(502), "connect_refused"),
            Self::ConnectFailed => row(OriginFault, Some(502), "connect_failed"),
            Self::ConnectTimeout => row(OriginFault, Some(504), "connect_timeout"),
            Self::ResetBeforeHead => row(OriginFault, Some(502), "reset_before_head"),
            Self::StalePooled => row(OriginFault, Some(502), "stale_pooled"),
            Self::BadHead => row(OriginFault, Some(502), "bad_head"),
            Self::BadBody => row(OriginFault, Some(502), "bad_body"),
            Self::PerTryTimeout => row(OriginFault, Some(504), "per_try_timeout"),
            Self::IdleTimeout => row(OriginFault, Some(504), "idle_timeout"),
            Self::TotalTimeout => row(OriginFault, Some(504), "total_timeout"),
            Self::ResetInBody => row(OriginFault, Some(502), "reset_in_body"),
            Self::ClientGone => row(Cancelled, None, "client_gone"),
            Self::ClientFault => row(ClientFault, Some(400), "client_fault"),
            Self::ClientTimeout => row(ClientFault, Some(408), "client_timeout"),
            Self::HeadTooLarge => row(ClientFault, Some(431), "head_too_large"),
            Self::TargetTooLong => row(ClientFault, Some(414), "target_too_long"),
            Self::MethodRefused => row(ClientFault, Some(405), "method_refused"),
            Self::CodingUnknown => row(ClientFault, Some(501), "coding_unknown"),
            Self::VersionUnknown => row(ClientFault, Some(505), "version_unknown"),
            Self::NoRoute => row(ClientFault, Some(404), "no_route"),
            Self::NoEndpoint => row(OriginFault, Some(503), "no_endpoint"),
            Self::Draining => row(OurFault, Some(503), "draining"),
            Self::Refused => row(OurFault, Some(503), "refused"),
            Self::Internal => row(OurFault, Some(500), "internal"),
        }
    }
}

const fn judge_status(status: u16) -> Judgement {
    match status {
        ..400 => row(Outcome::Success, None, "answered"),
        400..500 => row(Outcome::ClientFault, None, "answered_4xx"),
        500.. => row(Outcome::OriginFault, None, "answered_5xx"),
    }
}

const fn row(outcome: Outcome, status: Option<u16>, reason: &'static str) -> Judgement {
    let failed = matches!(outcome, Outcome::OriginFault | Outcome::OurFault);
    Judgement { outcome, failed, status, reason }
}
