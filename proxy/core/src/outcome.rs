//! Decides what the ending of a request means: whose fault it is, whether the request failed, and what our own reply
//! says. The only classifier: metrics, logs, retries, breakers and rollouts read this one table.
//!
//! A status is judged by its class and not by a list: 5xx is the origin's fault and a failure, 4xx the client's and
//! none. A client that goes away is nobody's fault: counting it against the origin would let impatient clients take
//! healthy endpoints out, counting it as a success would hide stalls. The same holds for a deadline that the client sets
//! (`grpc-timeout`). A call of gRPC is judged by its own status, not by that of HTTP: see [`crate::grpc`].
//!
//! Invariants: `failed` is false for `Success`, `ClientFault` and `Cancelled` and true for the other two; names are
//! stable and distinct, since dashboards know them.

use crate::grpc::Code;

/// How a request, or one attempt of it, ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ending {
    /// The origin's whole answer, with this final status, reached the client.
    Status(u16),
    /// The origin's whole answer to a call of gRPC, with this status, reached the client.
    Grpc(Code),
    /// Nobody listens at the endpoint.
    ConnectRefused,
    /// The connection to the endpoint failed for another reason.
    ConnectFailed,
    /// No connection within the connect timeout.
    ConnectTimeout,
    /// The endpoint's TLS handshake failed: its certificate is not the one that is asked for, or it does not speak the
    /// protocol that it should.
    ConnectTls,
    /// The origin refused the request on an open connection before it looked at it.
    StreamRefused,
    /// The origin's protocol carries no tunnel.
    NoTunnel,
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
    /// The exchange took longer than its client said that it would wait.
    ClientDeadline,
    /// The origin ended its connection in the middle of the body.
    ResetInBody,
    /// The client left before the answer was whole.
    ClientGone,
    /// The client sent a malformed request, in its head or its body.
    ClientFault,
    /// The client's head or body did not arrive in time.
    ClientTimeout,
    /// The client's connection was made for another host.
    Misdirected,
    /// The client's body is larger than it may be.
    BodyTooLarge,
    /// The client sent its body more slowly than it must.
    SlowBody,
    /// The client took the answer more slowly than it must.
    SlowRead,
    /// The answer had begun, the client had not ended its request, and neither had anything more to say.
    StreamIdle,
    /// No route matches.
    NoRoute,
    /// No endpoint is eligible.
    NoEndpoint,
    /// The breaker of its pool is open, and nothing stands in.
    BreakerOpen,
    /// As many requests as may are under way to its pool, and none of them made room in time.
    NoRoom,
    /// The endpoint has as many connections as it may, and none of them became free in time.
    ConnectionLimit,
    /// The process is leaving.
    Draining,
    /// The process is short of memory.
    Overload,
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
    pub const ALL: [Self; 36] = [
        Self::Status(200),
        Self::Status(301),
        Self::Status(404),
        Self::Status(500),
        Self::Grpc(Code::Internal),
        Self::ConnectRefused,
        Self::ConnectFailed,
        Self::ConnectTimeout,
        Self::ConnectTls,
        Self::StreamRefused,
        Self::NoTunnel,
        Self::ResetBeforeHead,
        Self::StalePooled,
        Self::BadHead,
        Self::BadBody,
        Self::PerTryTimeout,
        Self::IdleTimeout,
        Self::TotalTimeout,
        Self::ClientDeadline,
        Self::ResetInBody,
        Self::ClientGone,
        Self::ClientFault,
        Self::ClientTimeout,
        Self::Misdirected,
        Self::BodyTooLarge,
        Self::SlowBody,
        Self::SlowRead,
        Self::StreamIdle,
        Self::NoRoute,
        Self::NoEndpoint,
        Self::BreakerOpen,
        Self::NoRoom,
        Self::ConnectionLimit,
        Self::Draining,
        Self::Overload,
        Self::Internal,
    ];

    /// What it means: the table.
    #[must_use]
    pub const fn judge(self) -> Judgement {
        use Outcome::{Cancelled, ClientFault, OriginFault, OurFault};
        match self {
            Self::Status(status) => judge_status(status),
            Self::Grpc(code) => judge_code(code),
            Self::ConnectRefused => row(OriginFault, Some(502), "connect_refused"),
            Self::ConnectFailed => row(OriginFault, Some(502), "connect_failed"),
            Self::ConnectTimeout => row(OriginFault, Some(504), "connect_timeout"),
            Self::ConnectTls => row(OriginFault, Some(502), "connect_tls"),
            Self::StreamRefused => row(OriginFault, Some(503), "stream_refused"),
            Self::NoTunnel => row(OriginFault, Some(502), "no_tunnel"),
            Self::ResetBeforeHead => row(OriginFault, Some(502), "reset_before_head"),
            Self::StalePooled => row(OriginFault, Some(502), "stale_pooled"),
            Self::BadHead => row(OriginFault, Some(502), "bad_head"),
            Self::BadBody => row(OriginFault, Some(502), "bad_body"),
            Self::PerTryTimeout => row(OriginFault, Some(504), "per_try_timeout"),
            Self::IdleTimeout => row(OriginFault, Some(504), "idle_timeout"),
            Self::TotalTimeout => row(OriginFault, Some(504), "total_timeout"),
            Self::ClientDeadline => row(Cancelled, Some(504), "client_deadline"),
            Self::ResetInBody => row(OriginFault, Some(502), "reset_in_body"),
            Self::ClientGone => row(Cancelled, None, "client_gone"),
            Self::ClientFault => row(ClientFault, Some(400), "client_fault"),
            Self::ClientTimeout => row(ClientFault, Some(408), "client_timeout"),
            Self::Misdirected => row(ClientFault, Some(421), "misdirected"),
            Self::BodyTooLarge => row(ClientFault, Some(413), "body_too_large"),
            Self::SlowBody => row(ClientFault, Some(408), "slow_body"),
            Self::SlowRead => row(ClientFault, Some(408), "slow_read"),
            Self::StreamIdle => row(Cancelled, None, "stream_idle"),
            Self::NoRoute => row(ClientFault, Some(404), "no_route"),
            Self::NoEndpoint => row(OriginFault, Some(503), "no_endpoint"),
            Self::BreakerOpen => row(OriginFault, Some(503), "breaker_open"),
            Self::NoRoom => row(OurFault, Some(503), "no_room"),
            Self::ConnectionLimit => row(OurFault, Some(503), "connection_limit"),
            Self::Draining => row(OurFault, Some(503), "draining"),
            Self::Overload => row(OurFault, Some(503), "overload"),
            Self::Internal => row(OurFault, Some(500), "internal"),
        }
    }
}

impl Ending {
    /// What it means, in words for people.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Status(..400) => "the origin's whole answer was passed on",
            Self::Status(400..500) => "the origin says that the request is at fault",
            Self::Status(500..) => "the origin says that it failed",
            Self::Grpc(Code::Ok) => "the origin's whole answer was passed on",
            Self::Grpc(_) => "the origin says by its gRPC status why the call failed",
            Self::ConnectRefused => "nobody listens at the endpoint",
            Self::ConnectFailed => "no connection to the endpoint could be made",
            Self::ConnectTimeout => "no connection to the endpoint within the connect timeout",
            Self::ConnectTls => "the TLS handshake with the endpoint failed",
            Self::StreamRefused => "the origin refused the request before it looked at it",
            Self::NoTunnel => "the origin's HTTP/2 carries no tunnel such as a WebSocket",
            Self::ResetBeforeHead => "the origin ended its connection before the head of an answer",
            Self::StalePooled => "the origin had closed the connection that was kept for reuse",
            Self::BadHead => "the head of the origin's answer is malformed",
            Self::BadBody => "the body of the origin's answer is malformed",
            Self::PerTryTimeout => "no head of an answer within the time for one attempt",
            Self::IdleTimeout => "the origin moved no byte within the idle timeout",
            Self::TotalTimeout => "the exchange took longer than the total timeout",
            Self::ClientDeadline => "the exchange took longer than the client said that it would wait",
            Self::ResetInBody => "the origin ended its connection in the middle of the answer",
            Self::ClientGone => "the client left before the answer was whole",
            Self::ClientFault => "the body of the request is malformed",
            Self::ClientTimeout => "the client moved no byte within the idle timeout",
            Self::Misdirected => "the client's TLS connection was made for another host",
            Self::BodyTooLarge => "the body of the request is larger than the listener allows",
            Self::SlowBody => "the client sent its body more slowly than the listener asks for",
            Self::SlowRead => "the client took the answer more slowly than the listener asks for",
            Self::StreamIdle => "nobody had anything more to say within the idle timeout",
            Self::NoRoute => "no route matches the request",
            Self::NoEndpoint => "no endpoint may take the request",
            Self::BreakerOpen => "the breaker of the pool is open",
            Self::NoRoom => "as many requests as may are under way to the pool",
            Self::ConnectionLimit => "the endpoint has as many connections as it may",
            Self::Draining => "the process left before the exchange was over",
            Self::Overload => "the process is short of memory",
            Self::Internal => "a defect of the proxy",
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

const fn judge_code(code: Code) -> Judgement {
    let (outcome, reason) = code.judge();
    row(outcome, None, reason)
}

const fn row(outcome: Outcome, status: Option<u16>, reason: &'static str) -> Judgement {
    let failed = matches!(outcome, Outcome::OriginFault | Outcome::OurFault);
    Judgement { outcome, failed, status, reason }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// A failed request everywhere in the project: connect error, reset, timeout, wrong body, unexpected status.
    #[test]
    fn what_failed_is_somebodys_fault_but_the_clients() {
        for ending in Ending::ALL {
            let judgement = ending.judge();
            let at_fault = matches!(judgement.outcome, Outcome::OriginFault | Outcome::OurFault);
            assert_eq!(judgement.failed, at_fault, "{ending:?}");
        }
        for ending in
            [Ending::ConnectRefused, Ending::ResetInBody, Ending::TotalTimeout, Ending::BadBody, Ending::NoEndpoint]
        {
            assert!(ending.judge().failed, "{ending:?}");
        }
        assert!(!Ending::ClientGone.judge().failed);
    }

    #[test]
    fn names_are_distinct_and_in_snake_case() {
        let names: BTreeSet<_> = Ending::ALL.iter().map(|ending| ending.judge().reason).collect();
        // The two statuses below 400 share one.
        assert_eq!(names.len(), Ending::ALL.len() - 1);
        assert!(
            names.iter().all(|name| name.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_'))
        );
    }

    /// Whatever fails before a head was sent has a reply; only what the origin answered or nobody waits for has none.
    #[test]
    fn every_failure_of_ours_has_a_reply() {
        for ending in Ending::ALL {
            let silent =
                matches!(ending, Ending::Status(_) | Ending::Grpc(_) | Ending::ClientGone | Ending::StreamIdle);
            assert_eq!(ending.judge().status.is_none(), silent, "{ending:?}");
            assert!(ending.judge().status.is_none_or(|status| (400..600).contains(&status)));
        }
    }

    #[test]
    fn replies_tell_timeouts_from_failures_and_refusals() {
        let status = |ending: Ending| ending.judge().status.unwrap();
        assert_eq!(status(Ending::ConnectTimeout), 504);
        assert_eq!(status(Ending::PerTryTimeout), 504);
        assert_eq!(status(Ending::ConnectRefused), 502);
        assert_eq!(status(Ending::NoEndpoint), 503);
        assert_eq!(status(Ending::NoRoute), 404);
        assert_eq!(status(Ending::ClientTimeout), 408);
        assert_eq!(status(Ending::ClientFault), 400);
        assert_eq!(status(Ending::BodyTooLarge), 413);
        assert_eq!(status(Ending::Overload), 503);
    }

    proptest! {
        /// A status is judged by its class, also one that nobody has defined.
        #[test]
        fn a_status_is_judged_by_its_class(status in 100_u16..1000) {
            let judgement = Ending::Status(status).judge();
            prop_assert_eq!(judgement.failed, status >= 500);
            prop_assert_eq!(judgement.outcome == Outcome::ClientFault, (400..500).contains(&status));
            prop_assert_eq!(judgement.outcome == Outcome::Success, status < 400);
        }
    }
}
