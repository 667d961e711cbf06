//! Heads between our own form and that of HTTP/2 on the way to an origin and back. What the `h2` crate leaves to its user is
//! checked here: how many fields an answer has, that their names and values may stand in HTTP/1.1, that no answer is a 101,
//! and that a length is told once and only where there is a body.

use std::fmt::Write as _;

use data_encoding::BASE64;
use h2::ext::Protocol;
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use sluice_proxy_core::outcome::Ending;

use crate::message::{Fields, Framing, Known, RequestHead, ResponseHead, Version, members};
use crate::upstream::Peer;

/// As many fields as an origin of HTTP/1.1 may send.
const MAX_FIELDS: usize = 256;
/// What a server of WebSockets puts behind the key of the client (RFC 6455, section 1.3).
const WEBSOCKET: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A request as it goes to an origin.
pub(super) fn request(head: &RequestHead, peer: &Peer) -> Result<Request<()>, Ending> {
    let method = Method::from_bytes(head.method.as_str().as_bytes()).map_err(|_| Ending::ClientFault)?;
    begin(method, map(&head.fields), head, peer)
}

/// Whether a tunnel is asked for that HTTP/2 has. Any other wish for an upgrade is passed over, as RFC 9110, section 7.8 lets
/// a server: it is the client's choice, so it must not become the origin's failure.
pub(super) fn is_tunnel(head: &RequestHead) -> bool {
    let mut protocols = head.fields.all(Known::Upgrade).flat_map(members);
    head.upgrade && protocols.next().is_some_and(|protocol| protocol.eq_ignore_ascii_case(b"websocket"))
}

/// A request that asks for a WebSocket (RFC 8441). What belongs to the handshake of HTTP/1.1 stays here.
pub(super) fn tunnel(head: &RequestHead, peer: &Peer) -> Result<Request<()>, Ending> {
    let mut fields = map(&head.fields);
    fields.remove(http::header::SEC_WEBSOCKET_KEY);
    fields.remove(http::header::CONTENT_LENGTH);
    let mut request = begin(Method::CONNECT, fields, head, peer)?;
    request.extensions_mut().insert(Protocol::from_static("websocket"));
    Ok(request)
}

fn begin(method: Method, fields: HeaderMap, head: &RequestHead, peer: &Peer) -> Result<Request<()>, Ending> {
    let mut request = Request::new(());
    *request.method_mut() = method;
    *request.uri_mut() = uri(head, peer)?;
    *request.version_mut() = http::Version::HTTP_2;
    *request.headers_mut() = fields;
    Ok(request)
}

/// A client of HTTP/1.0 may name no host; then it is the endpoint's address.
fn uri(head: &RequestHead, peer: &Peer) -> Result<Uri, Ending> {
    let authority = if head.authority().is_empty() { peer.address.as_str() } else { head.authority() };
    let scheme = if peer.reach.is_secure() { Scheme::HTTPS } else { Scheme::HTTP };
    let target = target(head.target()).ok_or(Ending::ClientFault)?;
    let uri = Uri::builder().scheme(scheme).authority(authority).path_and_query(target).build();
    uri.map_err(|_| Ending::ClientFault)
}

/// The `http` crate takes fewer characters than clients send; those are encoded, which means the same.
fn target(text: &str) -> Option<PathAndQuery> {
    if let Ok(target) = PathAndQuery::try_from(text) {
        return Some(target);
    }
    let mut encoded = String::with_capacity(text.len() + 16);
    for byte in text.bytes() {
        if byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    PathAndQuery::try_from(encoded).ok()
}

/// Fields as HTTP/2 takes them. What belongs to one connection was stripped before, but for `te: trailers`, which
/// HTTP/2 keeps; a field that HTTP/2 cannot carry is left out.
fn map(fields: &Fields) -> HeaderMap {
    let mut map = HeaderMap::with_capacity(fields.len());
    for (name, value, known) in fields {
        if known == Known::Host || (known.is_hop_by_hop() && known != Known::Te) {
            continue;
        }
        push(&mut map, name, value);
    }
    map
}

/// Trailers as HTTP/2 takes them. What must not stand there is left out.
pub(super) fn trailers(fields: &Fields) -> HeaderMap {
    let mut map = HeaderMap::with_capacity(fields.len());
    for (name, value, known) in fields {
        if !known.is_forbidden_in_trailers() {
            push(&mut map, name, value);
        }
    }
    map
}

fn push(map: &mut HeaderMap, name: &[u8], value: &[u8]) {
    if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
        map.append(name, value);
    }
}

/// What an answer is the answer to.
#[derive(Debug)]
pub(super) struct Asked {
    /// The method was HEAD.
    pub(super) head: bool,
    /// A WebSocket was asked for, by HTTP/1.1 with this to be answered.
    pub(super) tunnel: Option<Option<String>>,
}

impl Asked {
    pub(super) fn of(head: &RequestHead) -> Self {
        let answer = || head.fields.get_named("sec-websocket-key").map(answer);
        Self { head: head.method == crate::message::Method::Head, tunnel: is_tunnel(head).then(answer) }
    }
}

/// What proves to a client that its key was read (RFC 6455, section 4.2.2).
fn answer(key: &[u8]) -> String {
    BASE64.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key, WEBSOCKET].concat()).as_ref())
}

/// Takes an interim answer.
pub(super) fn interim(status: u16, map: &HeaderMap, head: &mut ResponseHead) -> Result<(), Ending> {
    head.clear();
    fill(status, map, head)?;
    head.fields.remove(Known::ContentLength);
    if head.status == 101 { Err(Ending::BadHead) } else { Ok(()) }
}

/// Takes the final answer. `ended`: no body follows.
pub(super) fn last(
    (status, map): (u16, &HeaderMap),
    ended: bool,
    asked: &Asked,
    head: &mut ResponseHead,
) -> Result<(), Ending> {
    head.clear();
    fill(status, map, head)?;
    head.keep_alive = true;
    match (&asked.tunnel, status) {
        (Some(answer), 200..300) => {
            switch(answer.as_deref(), head);
            Ok(())
        }
        (_, ..200) => Err(Ending::BadHead),
        (_, 204) => {
            head.fields.remove(Known::ContentLength);
            Ok(())
        }
        (_, 304) => Ok(()),
        _ if asked.head || ended => Ok(()),
        _ => {
            head.framing = framing(&head.fields)?;
            Ok(())
        }
    }
}

/// Makes the answer to an extended CONNECT into the one that a client of HTTP/1.1 waits for.
fn switch(answer: Option<&str>, head: &mut ResponseHead) {
    head.status = 101;
    head.upgrade = true;
    head.keep_alive = false;
    head.fields.remove(Known::ContentLength);
    head.fields.push_known(Known::Upgrade, "websocket");
    if let Some(answer) = answer {
        head.fields.push("sec-websocket-accept", answer);
    }
}

fn fill(status: u16, map: &HeaderMap, head: &mut ResponseHead) -> Result<(), Ending> {
    if map.len() > MAX_FIELDS {
        return Err(Ending::BadHead);
    }
    head.status = status;
    head.version = Version::H2;
    copy(map, &mut head.fields).ok_or(Ending::BadHead)?;
    if head.fields.has_many(Known::ContentLength) { Err(Ending::BadHead) } else { Ok(()) }
}

/// Fields in our own form; nothing when one of them may not stand in HTTP/1.1.
pub(super) fn copy(map: &HeaderMap, fields: &mut Fields) -> Option<()> {
    map.iter().try_for_each(|(name, value)| fields.push_checked(name.as_str().as_bytes(), value.as_bytes()).ok())
}

fn framing(fields: &Fields) -> Result<Framing, Ending> {
    let Some(text) = fields.get(Known::ContentLength) else { return Ok(Framing::Chunked) };
    let length = std::str::from_utf8(text).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    length.and_then(|text| text.parse().ok()).map(Framing::Length).ok_or(Ending::BadHead)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map_of(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        fields.iter().map(pair).collect()
    }

    fn answered(status: u16, fields: &[(&'static str, &'static str)], ended: bool) -> Result<ResponseHead, Ending> {
        let mut head = ResponseHead::new();
        let asked = Asked { head: false, tunnel: None };
        last((status, &map_of(fields)), ended, &asked, &mut head).map(|()| head)
    }

    #[test]
    fn the_end_of_a_body_is_known_by_its_length_or_by_the_stream() {
        let framing = |fields, ended| answered(200, fields, ended).unwrap().framing;
        assert_eq!(framing(&[("content-length", "5")], false), Framing::Length(5));
        assert_eq!(framing(&[], false), Framing::Chunked);
        assert_eq!(framing(&[], true), Framing::None);
        assert_eq!(answered(304, &[("content-length", "5")], true).unwrap().framing, Framing::None);
        let empty = answered(204, &[("content-length", "5")], true).unwrap();
        assert!(empty.framing == Framing::None && !empty.fields.has(Known::ContentLength));
    }

    #[test]
    fn what_no_answer_may_be_is_refused() {
        assert_eq!(answered(101, &[], true).unwrap_err(), Ending::BadHead);
        assert_eq!(answered(199, &[], false).unwrap_err(), Ending::BadHead);
        assert_eq!(answered(200, &[("content-length", "x")], false).unwrap_err(), Ending::BadHead);
        let mut twice = map_of(&[("content-length", "5")]);
        twice.append("content-length", HeaderValue::from_static("5"));
        let asked = Asked { head: false, tunnel: None };
        assert!(last((200, &twice), false, &asked, &mut ResponseHead::new()).is_err());
        let mut many = HeaderMap::new();
        for _ in 0..=MAX_FIELDS {
            many.append("a", HeaderValue::from_static("b"));
        }
        assert!(last((200, &many), false, &asked, &mut ResponseHead::new()).is_err());
    }

    #[test]
    fn a_tunnel_is_answered_as_its_client_asked() {
        let mut head = RequestHead::new();
        head.upgrade = true;
        head.fields.push_known(Known::Upgrade, "websocket");
        // The example of RFC 6455.
        head.fields.push("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
        let mut answer = ResponseHead::new();
        last((200, &map_of(&[("sec-websocket-protocol", "chat")])), false, &Asked::of(&head), &mut answer).unwrap();
        assert!(answer.status == 101 && answer.upgrade);
        assert_eq!(answer.fields.get_named("sec-websocket-accept"), Some(&b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="[..]));
        assert_eq!(answer.fields.get_named("sec-websocket-protocol"), Some(&b"chat"[..]));
        last((403, &map_of(&[])), false, &Asked::of(&head), &mut answer).unwrap();
        assert!(answer.status == 403 && !answer.upgrade);
    }

    #[test]
    fn characters_that_cannot_be_sent_are_encoded() {
        assert_eq!(target("/a?b={c}").unwrap(), "/a?b={c}");
        assert_eq!(target("/a<b>`c?d\"e").unwrap(), "/a%3Cb%3E%60c?d%22e");
        assert_eq!(target("*").unwrap(), "*");
    }

    #[test]
    fn te_stays_and_what_belongs_to_a_connection_goes() {
        let mut fields = Fields::new();
        for (name, value) in [("Host", "a"), ("TE", "trailers"), ("Upgrade", "x"), ("X-A", "1"), ("Connection", "te")] {
            fields.push(name, value);
        }
        assert_eq!(map(&fields), map_of(&[("te", "trailers"), ("x-a", "1")]));
    }
}
