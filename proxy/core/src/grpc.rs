//! Decides what a gRPC status means: which code a failure of ours is told by, and whose fault a code of the origin is.
//!
//! A gRPC call nearly always has the HTTP status 200; how it ended stands in `grpc-status`, behind the body. Judged by
//! its HTTP status a service that answers every call with INTERNAL would be in the best of health.
//!
//! Which codes are the origin's failures follows OpenTelemetry's convention for servers: UNKNOWN, UNIMPLEMENTED, INTERNAL,
//! UNAVAILABLE and DATA_LOSS. RESOURCE_EXHAUSTED is none, as 429 is none: it is how an origin holds one client to its
//! quota. DEADLINE_EXCEEDED is one there and none here: the deadline is chosen by the client, and a client that asks for
//! an answer within a nanosecond could take healthy endpoints out. What an operator holds an origin to is
//! `timeouts.per_try` and `timeouts.total`, and missing those is the origin's failure.
//!
//! Invariants: the sixteen codes that are not OK and `Other` each have a name of their own; only the five above are
//! failures.

use crate::outcome::{Ending, Outcome};

/// A status of gRPC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Code {
    Ok,
    Cancelled,
    Unknown,
    InvalidArgument,
    DeadlineExceeded,
    NotFound,
    AlreadyExists,
    PermissionDenied,
    ResourceExhausted,
    FailedPrecondition,
    Aborted,
    OutOfRange,
    Unimplemented,
    Internal,
    Unavailable,
    DataLoss,
    Unauthenticated,
    /// A number that gRPC does not define, or none.
    Other,
}

impl Code {
    /// In the order of their numbers, from 0; [`Code::Other`] last.
    pub const ALL: [Self; 18] = [
        Self::Ok,
        Self::Cancelled,
        Self::Unknown,
        Self::InvalidArgument,
        Self::DeadlineExceeded,
        Self::NotFound,
        Self::AlreadyExists,
        Self::PermissionDenied,
        Self::ResourceExhausted,
        Self::FailedPrecondition,
        Self::Aborted,
        Self::OutOfRange,
        Self::Unimplemented,
        Self::Internal,
        Self::Unavailable,
        Self::DataLoss,
        Self::Unauthenticated,
        Self::Other,
    ];

    /// Of the value of `grpc-status`.
    #[must_use]
    pub fn parse(text: &[u8]) -> Self {
        let number = match text {
            [one @ b'0'..=b'9'] => one - b'0',
            [b'1', one @ b'0'..=b'6'] => 10 + one - b'0',
            _ => return Self::Other,
        };
        Self::ALL[usize::from(number)]
    }

    /// The number; that of UNKNOWN for [`Code::Other`].
    #[must_use]
    pub const fn number(self) -> u8 {
        if matches!(self, Self::Other) { Self::Unknown as u8 } else { self as u8 }
    }

    /// As gRPC writes it, for metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Cancelled => "CANCELLED",
            Self::Unknown => "UNKNOWN",
            Self::InvalidArgument => "INVALID_ARGUMENT",
            Self::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Self::NotFound => "NOT_FOUND",
            Self::AlreadyExists => "ALREADY_EXISTS",
            Self::PermissionDenied => "PERMISSION_DENIED",
            Self::ResourceExhausted => "RESOURCE_EXHAUSTED",
            Self::FailedPrecondition => "FAILED_PRECONDITION",
            Self::Aborted => "ABORTED",
            Self::OutOfRange => "OUT_OF_RANGE",
            Self::Unimplemented => "UNIMPLEMENTED",
            Self::Internal => "INTERNAL",
            Self::Unavailable => "UNAVAILABLE",
            Self::DataLoss => "DATA_LOSS",
            Self::Unauthenticated => "UNAUTHENTICATED",
            Self::Other => "other",
        }
    }

    /// Whose doing it is, and a stable name of it in snake case.
    #[must_use]
    pub const fn judge(self) -> (Outcome, &'static str) {
        use Outcome::{Cancelled, ClientFault, OriginFault, Success};
        match self {
            Self::Ok => (Success, "answered"),
            Self::Cancelled => (Cancelled, "grpc_cancelled"),
            Self::Unknown => (OriginFault, "grpc_unknown"),
            Self::InvalidArgument => (ClientFault, "grpc_invalid_argument"),
            Self::DeadlineExceeded => (Cancelled, "grpc_deadline_exceeded"),
            Self::NotFound => (ClientFault, "grpc_not_found"),
            Self::AlreadyExists => (ClientFault, "grpc_already_exists"),
            Self::PermissionDenied => (ClientFault, "grpc_permission_denied"),
            Self::ResourceExhausted => (ClientFault, "grpc_resource_exhausted"),
            Self::FailedPrecondition => (ClientFault, "grpc_failed_precondition"),
            Self::Aborted => (ClientFault, "grpc_aborted"),
            Self::OutOfRange => (ClientFault, "grpc_out_of_range"),
            Self::Unimplemented => (OriginFault, "grpc_unimplemented"),
            Self::Internal => (OriginFault, "grpc_internal"),
            Self::Unavailable => (OriginFault, "grpc_unavailable"),
            Self::DataLoss => (OriginFault, "grpc_data_loss"),
            Self::Unauthenticated => (ClientFault, "grpc_unauthenticated"),
            // An application's own number: it alone knows what it means.
            Self::Other => (ClientFault, "grpc_other"),
        }
    }

    /// What a reply of our own with this HTTP status is told by (gRPC, "HTTP to gRPC Status Code Mapping", and what that
    /// leaves open).
    #[must_use]
    pub const fn of_status(status: u16) -> Self {
        match status {
            400 | 500 => Self::Internal,
            401 => Self::Unauthenticated,
            403 => Self::PermissionDenied,
            404 | 501 => Self::Unimplemented,
            408 => Self::DeadlineExceeded,
            413 | 414 | 431 => Self::ResourceExhausted,
            429 | 502 | 503 | 504 => Self::Unavailable,
            _ => Self::Unknown,
        }
    }

    /// What a call is told that ended like this before an answer began: a deadline of the whole call as such, all else by
    /// the status of our reply.
    #[must_use]
    pub const fn of_ending(ending: Ending) -> Self {
        match (ending, ending.judge().status) {
            (Ending::TotalTimeout | Ending::ClientDeadline, _) => Self::DeadlineExceeded,
            (_, Some(status)) => Self::of_status(status),
            (_, None) => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn numbers_and_names_are_those_of_grpc() {
        for (number, code) in Code::ALL.into_iter().enumerate().take(17) {
            assert_eq!(Code::parse(number.to_string().as_bytes()), code);
            assert_eq!(usize::from(code.number()), number);
        }
        for odd in [&b""[..], b"17", b"-1", b"00", b"01", b"4 ", b"999999999999", b"OK"] {
            assert_eq!(Code::parse(odd), Code::Other, "{odd:?}");
        }
        let names: BTreeSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        let reasons: BTreeSet<_> = Code::ALL.iter().map(|code| code.judge().1).collect();
        assert_eq!((names.len(), reasons.len()), (18, 18));
    }

    #[test]
    fn only_five_codes_are_the_origin_s_failures() {
        let failures: Vec<_> = Code::ALL.iter().filter(|code| Ending::Grpc(**code).judge().failed).collect();
        assert_eq!(
            failures,
            [&Code::Unknown, &Code::Unimplemented, &Code::Internal, &Code::Unavailable, &Code::DataLoss]
        );
    }

    /// A client decides by the code whether it may try again: UNAVAILABLE is what it does that for.
    #[test]
    fn failures_of_ours_have_the_codes_that_clients_act_upon() {
        for (ending, code) in [
            (Ending::NoEndpoint, Code::Unavailable),
            (Ending::ConnectRefused, Code::Unavailable),
            (Ending::PerTryTimeout, Code::Unavailable),
            (Ending::TotalTimeout, Code::DeadlineExceeded),
            (Ending::ClientDeadline, Code::DeadlineExceeded),
            (Ending::ClientTimeout, Code::DeadlineExceeded),
            (Ending::NoRoute, Code::Unimplemented),
            (Ending::ClientFault, Code::Internal),
            (Ending::Internal, Code::Internal),
        ] {
            assert_eq!(Code::of_ending(ending), code, "{ending:?}");
        }
        for (status, code) in [(401, 16), (403, 7), (404, 12), (429, 14), (431, 8), (501, 12), (418, 2)] {
            assert_eq!(Code::of_status(status).number(), code, "{status}");
        }
    }
}
