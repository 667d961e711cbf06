//! Decides what an attempt says about the endpoint that it went to, from how it ended.
//!
//! [`Ending::judge`] stays the only classifier: an attempt speaks against an endpoint only if its ending is the origin's
//! fault. What is left open there is decided here. An answer of 4xx, 429 and their like in gRPC included, speaks for the
//! endpoint: it is alive and answers what it should, and if such answers said nothing, a half-open breaker of a service
//! that is mostly asked for what is not there would never close. So do 501, 505 and gRPC's UNIMPLEMENTED: which method is
//! called is the client's choice. A client that lets the whole time for its request pass says nothing: while it sends, or
//! listens to an answer that has begun, nothing is owed to it. Nor does a kept
//! connection that was closed, since its closing says nothing of the requests on fresh ones, nor a request for a tunnel through
//! HTTP/2, with which a client could take out endpoint after endpoint.
//!
//! A client that leaves before an answer has begun, or whose own deadline passes, says one thing: the endpoint took longer
//! than that. It can make an endpoint look slow, as it is, and never fast or failed. Without that, an endpoint that hangs
//! would look sound to clients that are less patient than the time for an attempt.
//!
//! Gateway failures are those that an endpoint that is gone, hangs or is in front of such a one gives: connections and
//! timeouts, 502, 503, 504 and gRPC's UNAVAILABLE. They are counted apart, since a service may answer 500 for a reason
//! that every other endpoint would have too.
//!
//! Invariant: what is not the origin's fault is no failure.

use std::time::Duration;

use crate::grpc::Code;
use crate::outcome::{Ending, Outcome};

/// What one attempt says about its endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// Good or bad.
    pub class: Class,
    /// From the whole request to the head of the answer, or until it was clear that there is none; none while the client
    /// had more to send, since its own pace would be taken for the endpoint's.
    pub took: Option<Duration>,
    /// For how long the endpoint wants to be left alone: `Retry-After` of 503. That of 429 is about one client: it could slow
    /// endpoint after endpoint down for all others.
    pub busy: Option<Duration>,
}

/// How an attempt speaks about its endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// It answered.
    Success,
    /// It failed.
    Failure,
    /// It, or what it stands in front of, could not be reached, hung or broke off.
    GatewayFailure,
    /// The client left before it had answered: it took longer than that, and nothing else is known.
    Unanswered,
}

impl Class {
    /// Whether it speaks against the endpoint.
    #[must_use]
    pub const fn is_failure(self) -> bool {
        matches!(self, Self::Failure | Self::GatewayFailure)
    }
}

impl Sample {
    /// What this ending says; none if nothing. `answered`: the head of an answer had come.
    #[must_use]
    pub fn of(ending: Ending, answered: bool, took: Option<Duration>, retry_after: Option<Duration>) -> Option<Self> {
        if matches!(ending, Ending::TotalTimeout) && (answered || took.is_none()) {
            return None;
        }
        if ending.judge().outcome == Outcome::Cancelled {
            let waited = took.filter(|_| !answered);
            return waited.map(|took| Self { class: Class::Unanswered, took: Some(took), busy: None });
        }
        let busy = retry_after.filter(|_| matches!(ending, Ending::Status(503)));
        Some(Self { class: classify(ending)?, took, busy })
    }
}

fn classify(ending: Ending) -> Option<Class> {
    match ending.judge().outcome {
        Outcome::Success => Some(Class::Success),
        Outcome::ClientFault => matches!(ending, Ending::Status(_) | Ending::Grpc(_)).then_some(Class::Success),
        Outcome::OriginFault => of_fault(ending),
        Outcome::OurFault | Outcome::Cancelled => None,
    }
}

/// Of an ending that is the origin's fault.
const fn of_fault(ending: Ending) -> Option<Class> {
    match ending {
        Ending::NoEndpoint
        | Ending::BreakerOpen
        | Ending::NoRoom
        | Ending::ConnectionLimit
        | Ending::StalePooled
        | Ending::NoTunnel => None,
        Ending::Status(501 | 505) | Ending::Grpc(Code::Unimplemented) => Some(Class::Success),
        Ending::Status(502..=504)
        | Ending::Grpc(Code::Unavailable)
        | Ending::ConnectRefused
        | Ending::ConnectFailed
        | Ending::ConnectTimeout
        | Ending::ConnectTls
        | Ending::StreamRefused
        | Ending::ResetBeforeHead
        | Ending::ResetInBody
        | Ending::PerTryTimeout
        | Ending::IdleTimeout
        | Ending::TotalTimeout => Some(Class::GatewayFailure),
        Ending::Status(_)
        | Ending::Grpc(_)
        | Ending::BadHead
        | Ending::BadBody
        | Ending::ClientDeadline
        | Ending::ClientGone
        | Ending::ClientFault
        | Ending::ClientTimeout
        | Ending::Misdirected
        | Ending::BodyTooLarge
        | Ending::SlowBody
        | Ending::SlowRead
        | Ending::StreamIdle
        | Ending::NoRoute
        | Ending::Draining
        | Ending::Overload
        | Ending::Internal => Some(Class::Failure),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(ending: Ending) -> Option<Class> {
        Sample::of(ending, false, Some(Duration::ZERO), None).map(|sample| sample.class)
    }

    /// Fails if anything but the origin's fault is taken for a failure: clients could then take endpoints out.
    #[test]
    fn only_the_origins_faults_speak_against_an_endpoint() {
        for ending in Ending::ALL {
            let is_fault = ending.judge().outcome == Outcome::OriginFault;
            let is_failure = class(ending).is_some_and(Class::is_failure);
            let was_sent =
                !matches!(ending, Ending::NoEndpoint | Ending::BreakerOpen | Ending::NoRoom | Ending::ConnectionLimit);
            let says_nothing = !was_sent || matches!(ending, Ending::StalePooled | Ending::NoTunnel);
            let is_chosen = matches!(ending, Ending::Status(501 | 505) | Ending::Grpc(Code::Unimplemented));
            assert_eq!(is_failure, is_fault && !says_nothing && !is_chosen, "{ending:?}");
        }
    }

    #[test]
    fn an_answer_that_blames_the_client_speaks_for_the_endpoint() {
        for ending in [Ending::Status(404), Ending::Status(429), Ending::Grpc(Code::NotFound)] {
            assert_eq!(class(ending), Some(Class::Success), "{ending:?}");
        }
        for ending in [Ending::ClientFault, Ending::ClientTimeout, Ending::Overload] {
            assert_eq!(class(ending), None, "{ending:?}");
        }
    }

    #[test]
    fn a_client_that_leaves_tells_how_long_it_had_waited() {
        let took = Some(Duration::from_secs(2));
        for ending in [Ending::ClientGone, Ending::ClientDeadline] {
            let sample = Sample { class: Class::Unanswered, took, busy: None };
            assert_eq!(Sample::of(ending, false, took, None), Some(sample), "{ending:?}");
            assert_eq!(Sample::of(ending, true, took, None), None, "the answer had begun: {ending:?}");
            assert_eq!(Sample::of(ending, false, None, None), None, "it still sent: {ending:?}");
        }
    }

    /// Fails if clients that take their time, or call what is not there, speak against endpoints.
    #[test]
    fn what_a_client_chooses_takes_no_endpoint_out() {
        let took = Some(Duration::from_secs(9));
        assert!(Sample::of(Ending::TotalTimeout, false, took, None).unwrap().class.is_failure());
        assert_eq!(Sample::of(Ending::TotalTimeout, true, took, None), None, "it listened");
        assert_eq!(Sample::of(Ending::TotalTimeout, false, None, None), None, "it still sent");
        for ending in [Ending::Status(501), Ending::Status(505), Ending::Grpc(Code::Unimplemented)] {
            assert_eq!(class(ending), Some(Class::Success), "{ending:?}");
        }
    }

    #[test]
    fn gateways_failures_are_told_from_the_services_own() {
        assert_eq!([500, 502, 503, 504, 599].map(|status| class(Ending::Status(status)).unwrap()), {
            use Class::{Failure, GatewayFailure};
            [Failure, GatewayFailure, GatewayFailure, GatewayFailure, Failure]
        });
        assert_eq!(class(Ending::ResetInBody), Some(Class::GatewayFailure));
        assert_eq!(class(Ending::BadBody), Some(Class::Failure));
        assert_eq!(class(Ending::Grpc(Code::Internal)), Some(Class::Failure));
        assert_eq!(class(Ending::Grpc(Code::Unavailable)), Some(Class::GatewayFailure));
    }

    #[test]
    fn only_503_names_a_time() {
        let busy = |status| Sample::of(Ending::Status(status), true, None, Some(Duration::from_secs(3))).unwrap().busy;
        assert_eq!([200, 429, 500, 503].map(busy).map(|busy| busy.is_some()), [false, false, false, true]);
    }
}
