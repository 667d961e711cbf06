//! Calls of gRPC: their deadline, their status, and failures of ours in their words. What a status means is decided by
//! [`sluice_proxy_core::grpc`].

use std::cell::Cell;
use std::time::Duration;

use bytes::Bytes;
use sluice_proxy_core::grpc::Code;
use sluice_proxy_core::outcome::Ending;
use tokio::time::Instant;

use crate::alarm::{after, nearer};
use crate::message::{Fields, Framing, Known, ResponseHead};
use crate::reply::Own;

const STATUS: &str = "grpc-status";
const TIMEOUT: &str = "grpc-timeout";
const MESSAGE: &str = "grpc-message";

/// What a request is, as far as gRPC goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Kind {
    /// No call.
    #[default]
    None,
    /// A call; its status comes in trailers, or in the head when nothing else comes.
    Call,
    /// A call of gRPC-Web, whose trailers stand in its body.
    Web,
}

impl Kind {
    fn of(content_type: Option<&[u8]>) -> Self {
        let Some(rest) = content_type.and_then(|text| strip_prefix(text, b"application/grpc")) else {
            return Self::None;
        };
        match rest.first() {
            None | Some(b'+' | b';' | b' ') => Self::Call,
            Some(_) if strip_prefix(rest, b"-web").is_some() => Self::Web,
            Some(_) => Self::None,
        }
    }
}

/// Without regard to case, as media types are compared.
fn strip_prefix<'a>(text: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    let (start, rest) = text.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// Whether a request of this content type is a call.
pub(crate) fn is_call(content_type: Option<&[u8]>) -> bool {
    Kind::of(content_type) != Kind::None
}

/// What is known of a request as a call; of any other request nothing, at the cost of one comparison.
#[derive(Debug, Default)]
pub(crate) struct Call {
    kind: Kind,
    status: Cell<Option<Code>>,
    /// The answer is one of gRPC: otherwise its HTTP status is all there is to judge by, since any client can call a request
    /// a call.
    answered: Cell<bool>,
    /// The client's own deadline is the nearest one.
    hurried: Cell<bool>,
}

impl Call {
    /// Of a request with these fields.
    pub(crate) fn of(fields: &Fields) -> Self {
        Self { kind: Kind::of(fields.get(Known::ContentType)), ..Self::default() }
    }

    /// When all of the request must be over, by the client's word or by `total`.
    pub(crate) fn limit(&self, fields: &Fields, started: Instant, total: Option<Instant>) -> Option<Instant> {
        if !self.is_call() {
            return total;
        }
        let wanted = fields.get_named(TIMEOUT).and_then(timeout);
        let wanted = after(started, wanted);
        self.hurried.set(wanted.is_some_and(|wanted| total.is_none_or(|total| wanted < total)));
        nearer(wanted, total)
    }

    /// Whether the request is a call.
    pub(crate) const fn is_call(&self) -> bool {
        !matches!(self.kind, Kind::None)
    }

    /// The status that the client was given.
    pub(crate) const fn status(&self) -> Option<Code> {
        self.status.get()
    }

    /// Looks at the fields of a final head, or at trailers.
    pub(crate) fn see(&self, fields: &Fields) {
        if !self.is_call() {
            return;
        }
        if is_call(fields.get(Known::ContentType)) {
            self.answered.set(true);
        }
        if let Some(status) = status(fields) {
            self.status.set(Some(status));
        }
    }

    /// How an exchange ended whose answer, with this HTTP status, was passed on whole. A call without a status is one that
    /// its client takes for UNKNOWN.
    pub(crate) fn ending(&self, http: u16) -> Ending {
        match (self.kind, self.status.get()) {
            (Kind::None, _) | (Kind::Web, None) => Ending::Status(http),
            _ if http != 200 || !self.answered.get() => Ending::Status(http),
            (Kind::Call | Kind::Web, Some(code)) => Ending::Grpc(code),
            (Kind::Call, None) => {
                self.status.set(Some(Code::Unknown));
                Ending::Grpc(Code::Unknown)
            }
        }
    }

    /// Whose deadline it was.
    pub(crate) const fn late(&self, ending: Ending) -> Ending {
        let late = matches!(ending, Ending::TotalTimeout) && self.hurried.get();
        if late { Ending::ClientDeadline } else { ending }
    }

    /// A reply of ours to a request that ended like this, as its client understands it.
    pub(crate) fn translate(&self, own: Own, ending: Ending, content_type: Option<&[u8]>) -> Own {
        if !self.is_call() {
            return own;
        }
        let code = Code::of_ending(ending);
        self.status.set(Some(code));
        trailers_only(&own, code, ending.judge().reason, content_type)
    }
}

/// The status among these fields.
pub(crate) fn status(fields: &Fields) -> Option<Code> {
    fields.get_named(STATUS).map(Code::parse)
}

/// The reply to a call that was not understood.
pub(crate) fn refusal(own: &Own, reason: &str, content_type: Option<&[u8]>) -> Own {
    trailers_only(own, Code::of_status(own.head.status), reason, content_type)
}

/// A whole answer in one head, of HTTP status 200: the reason and the request's id are its message.
fn trailers_only(own: &Own, code: Code, reason: &str, content_type: Option<&[u8]>) -> Own {
    let mut head = ResponseHead::new();
    head.status = 200;
    head.framing = Framing::None;
    head.keep_alive = own.head.keep_alive;
    let kept = |known| matches!(known, Known::Date | Known::CacheControl | Known::XRequestId);
    for (name, value, _) in own.head.fields.iter().filter(|(_, _, known)| kept(*known)) {
        head.fields.push(name, value);
    }
    let id = own.head.fields.get(Known::XRequestId).unwrap_or_default();
    head.fields.push_known(Known::ContentType, content_type.unwrap_or(b"application/grpc"));
    head.fields.push_known(Known::ContentLength, "0");
    head.fields.push(STATUS, code.number().to_string());
    // Both are of characters that gRPC does not encode.
    head.fields.push(MESSAGE, [b"sluice: ", reason.as_bytes(), b"; request id: ", id].concat());
    Own { head, body: Bytes::new() }
}

/// A number of at most eight digits and a unit (gRPC over HTTP/2, "Timeout"). What is none is passed over, as origins do.
fn timeout(text: &[u8]) -> Option<Duration> {
    let (unit, digits) = text.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits.iter().fold(0, |sum: u64, digit| sum * 10 + u64::from(digit - b'0'));
    match unit {
        b'H' => Some(Duration::from_secs(number * 3_600)),
        b'M' => Some(Duration::from_secs(number * 60)),
        b'S' => Some(Duration::from_secs(number)),
        b'm' => Some(Duration::from_millis(number)),
        b'u' => Some(Duration::from_micros(number)),
        b'n' => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reply;
    use crate::request_id::RequestId;

    fn fields(list: &[(&str, &str)]) -> Fields {
        let mut fields = Fields::new();
        list.iter().for_each(|(name, value)| fields.push(name, value));
        fields
    }

    fn call(content_type: &str) -> Call {
        Call::of(&fields(&[("content-type", content_type)]))
    }

    #[test]
    fn calls_are_known_by_their_content_type() {
        for (content_type, expected) in [
            ("application/grpc", Kind::Call),
            ("Application/gRPC+proto", Kind::Call),
            ("application/grpc; charset=x", Kind::Call),
            ("application/grpc-web+proto", Kind::Web),
            ("application/grpc-web-text", Kind::Web),
            ("application/grpcx", Kind::None),
            ("application/json", Kind::None),
            ("application/grp", Kind::None),
        ] {
            assert_eq!(Kind::of(Some(content_type.as_bytes())), expected, "{content_type}");
        }
        assert_eq!(Kind::of(None), Kind::None);
    }

    #[test]
    fn timeouts_are_read_as_grpc_writes_them() {
        for (text, expected) in [
            ("1H", Some(Duration::from_secs(3_600))),
            ("2M", Some(Duration::from_secs(120))),
            ("99999999S", Some(Duration::from_secs(99_999_999))),
            ("250m", Some(Duration::from_millis(250))),
            ("7u", Some(Duration::from_micros(7))),
            ("0n", Some(Duration::ZERO)),
        ] {
            assert_eq!(timeout(text.as_bytes()), expected, "{text}");
        }
        for text in ["", "S", "1", "1s", "-1S", "1 S", "123456789S", "1.5S", "S1", "1SS"] {
            assert_eq!(timeout(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn the_nearer_deadline_counts_and_is_named() {
        let start = Instant::now();
        let total = Some(start + Duration::from_secs(10));
        let begin = |list: &[(&str, &str)], total| {
            let fields = fields(list);
            let call = Call::of(&fields);
            (call.limit(&fields, start, total), call.late(Ending::TotalTimeout))
        };
        let grpc = ("content-type", "application/grpc");
        let soon = Some(start + Duration::from_secs(1));
        assert_eq!(begin(&[grpc, ("grpc-timeout", "1S")], total), (soon, Ending::ClientDeadline));
        assert_eq!(begin(&[grpc, ("grpc-timeout", "1S")], None), (soon, Ending::ClientDeadline));
        assert_eq!(begin(&[grpc, ("grpc-timeout", "1H")], total), (total, Ending::TotalTimeout));
        assert_eq!(begin(&[grpc, ("grpc-timeout", "soon")], total), (total, Ending::TotalTimeout));
        assert_eq!(begin(&[("grpc-timeout", "1S")], total), (total, Ending::TotalTimeout), "no call");
    }

    #[test]
    fn a_call_ends_with_its_own_status() {
        let asked = call("application/grpc");
        asked.see(&fields(&[("content-type", "application/grpc")]));
        asked.see(&fields(&[("grpc-status", "14")]));
        assert_eq!(asked.ending(200), Ending::Grpc(Code::Unavailable));
        assert_eq!(asked.ending(503), Ending::Status(503), "an answer that is no gRPC");
        let silent = call("application/grpc");
        assert_eq!(silent.ending(200), Ending::Status(200), "any client can call a request a call");
        silent.see(&fields(&[("content-type", "application/grpc")]));
        assert_eq!(silent.ending(200), Ending::Grpc(Code::Unknown));
        assert_eq!(call("application/grpc-web").ending(200), Ending::Status(200));
        let other = call("text/plain");
        other.see(&fields(&[("grpc-status", "14")]));
        assert_eq!(other.ending(200), Ending::Status(200));
    }

    /// A head that ends the stream, with nothing that gRPC would have to encode in its message.
    #[test]
    fn a_failure_of_ours_is_told_in_one_head() {
        let asked = call("application/grpc+proto");
        for ending in Ending::ALL {
            let Some(own) = reply::failure(ending, &RequestId::Made([b'a'; 32]), &Fields::new()) else { continue };
            let own = asked.translate(own, ending, Some(b"application/grpc+proto"));
            let field = |name| own.head.fields.get_named(name).unwrap_or_default();
            assert_eq!((own.head.status, own.body.len()), (200, 0));
            assert_eq!(field("grpc-status"), Code::of_ending(ending).number().to_string().as_bytes());
            assert_eq!(field("content-type"), b"application/grpc+proto");
            let message = field("grpc-message");
            assert!(message.iter().all(|byte| matches!(byte, b' '..=b'~') && *byte != b'%'), "{ending:?}");
            assert!(message.ends_with(&[b'a'; 32]) && !field("x-request-id").is_empty());
        }
        assert_eq!(asked.status(), Some(Code::Internal));
    }
}
