//! Fields that belong to one connection.
//!
//! RFC 9110, 7.6.1 lets a sender nominate fields in Connection, and a proxy removes those. Taken to the letter it lets
//! any client delete what others add on the way and what origins trust: who the client is, who forwarded it, how the
//! message is framed. So what the proxy knows as end-to-end is protected: a nomination of it is passed over and counted.

use super::{Fields, Known};

/// What [`strip_hop_by_hop`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stripped {
    /// How many fields went.
    pub removed: usize,
    /// How many nominations were passed over because they name a protected field.
    pub protected: usize,
}

/// Removes Connection and what it nominates, Keep-Alive, Proxy-Connection, Transfer-Encoding, TE, HTTP2-Settings, the
/// Proxy-Authorization pair, and Upgrade unless `keep_upgrade`. `TE: trailers` stays, in this form. Trailer stays: it tells
/// the other end what comes. Content-Length stays: the codecs write the framing themselves and pass it over.
///
/// Protected from nomination: every field in [`Known`] that is not hop-by-hop, and all `x-forwarded-*`, `sec-*` and
/// `grpc-*`; and the trace context, without which a trace ends here.
pub fn strip_hop_by_hop(fields: &mut Fields, keep_upgrade: bool) -> Stripped {
    let mut done = Stripped::default();
    if fields.has(Known::Connection) {
        strip_nominated(fields, &mut done);
    }
    let trailers = fields.all(Known::Te).any(wants_trailers);
    done.removed += fields.retain(|_, _, known| !known.is_hop_by_hop() || (keep_upgrade && known == Known::Upgrade));
    if trailers {
        fields.push_known(Known::Te, "trailers");
    }
    done
}

fn strip_nominated(fields: &mut Fields, done: &mut Stripped) {
    let mut unknown = Vec::new();
    for value in fields.all(Known::Connection) {
        for option in members(value) {
            let known = Known::of(option);
            if known.is_hop_by_hop() || is_option(option) {
                continue;
            }
            if known != Known::Other || is_protected(option) {
                done.protected += 1;
            } else {
                unknown.push(option.to_ascii_lowercase());
            }
        }
    }
    if !unknown.is_empty() {
        done.removed += fields.retain(|name, _, _| !unknown.iter().any(|n| n.eq_ignore_ascii_case(name)));
    }
}

/// Options that nominate nothing.
fn is_option(option: &[u8]) -> bool {
    option.eq_ignore_ascii_case(b"close")
}

fn is_protected(name: &[u8]) -> bool {
    let starts = |prefix: &[u8]| name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
    let is = |protected: &[u8]| name.eq_ignore_ascii_case(protected);
    is(b"traceparent") || is(b"tracestate") || starts(b"x-forwarded-") || starts(b"sec-") || starts(b"grpc-")
}

fn wants_trailers(value: &[u8]) -> bool {
    members(value).any(|member| member.eq_ignore_ascii_case(b"trailers"))
}

/// The members of a comma-separated list, empty ones left out.
pub(crate) fn members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|b| *b == b',').map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stripped(list: &[(&str, &str)], keep_upgrade: bool) -> (Vec<String>, Stripped) {
        let mut fields = Fields::new();
        list.iter().for_each(|(name, value)| fields.push(name, value));
        let done = strip_hop_by_hop(&mut fields, keep_upgrade);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        (fields.iter().map(|(name, value, _)| format!("{}={}", text(name), text(value))).collect(), done)
    }

    #[test]
    fn fields_of_the_connection_go() {
        let (left, done) = stripped(
            &[
                ("Connection", "keep-alive, X-Mine"),
                ("Keep-Alive", "timeout=5"),
                ("Proxy-Connection", "close"),
                ("Transfer-Encoding", "chunked"),
                ("TE", "gzip"),
                ("Upgrade", "websocket"),
                ("HTTP2-Settings", "AAMAAABk"),
                ("Proxy-Authorization", "Basic eA=="),
                ("x-mine", "1"),
                ("X-MINE", "2"),
                ("Trailer", "x-sum"),
                ("Accept", "*/*"),
            ],
            false,
        );
        assert_eq!(left, ["Trailer=x-sum", "Accept=*/*"]);
        assert_eq!(done, Stripped { removed: 10, protected: 0 });
    }

    #[test]
    fn no_client_deletes_what_others_rely_on() {
        let protected = [
            "Host",
            "Content-Length",
            "Cookie",
            "Authorization",
            "X-Forwarded-For",
            "x-forwarded-proto",
            "X-Forwarded-Prefix",
            "Forwarded",
            "Client-Cert",
            "Client-Cert-Chain",
            "X-Forwarded-Client-Cert",
            "X-Request-Id",
            "X-Real-IP",
            "Content-Type",
            "Via",
            "Sec-WebSocket-Key",
            "grpc-timeout",
            "traceparent",
            "Tracestate",
        ];
        for name in protected {
            let (left, done) = stripped(&[("Connection", &format!("close,{name}")), (name, "v")], false);
            assert_eq!(left, [format!("{name}=v")]);
            assert_eq!(done, Stripped { removed: 1, protected: 1 });
        }
    }

    #[test]
    fn upgrade_stays_when_asked_and_te_stays_for_trailers() {
        let list = [("Upgrade", "websocket"), ("Connection", "Upgrade, TE"), ("TE", "gzip;q=0.5, Trailers")];
        assert_eq!(stripped(&list, true).0, ["Upgrade=websocket", "te=trailers"]);
        assert_eq!(stripped(&list, false).0, ["te=trailers"]);
    }
}
