//! Heads between HTTP/2 and our own form. What the `h2` crate leaves to its user is checked here: forbidden bytes in
//! `:path`, conflicting lengths, an authority that is missing, doubled or at odds with Host, a `:path` that is not a path,
//! a `:scheme` other than that of HTTP, and a `:protocol` that we do not know.

use h2::ext::Protocol;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use sluice_proxy_core::outcome::Ending;

use super::websocket;
use crate::h1::Refused;
use crate::message::{Fields, Framing, Known, Method, RequestHead, Version};

/// The request's head, of at most `most` fields. `ended`: no body follows.
pub(super) fn read(parts: &Parts, ended: bool, most: u16) -> Result<RequestHead, Refused> {
    if count(&parts.headers) > usize::from(most) {
        return Err(Refused { status: 431, reason: "too_many_fields" });
    }
    let mut head = RequestHead::new();
    head.version = Version::H2;
    (head.method, head.upgrade) = method(parts)?;
    if parts.uri.scheme_str().is_some_and(|scheme| !matches!(scheme, "http" | "https")) {
        return Err(Refused::bad("scheme"));
    }
    if parts.headers.get_all(http::header::EXPECT).iter().any(|value| !is_continue(value)) {
        return Err(Refused { status: 417, reason: "expectation" });
    }
    let path = parts.uri.path_and_query().map_or("", http::uri::PathAndQuery::as_str);
    if !(path.starts_with('/') || path == "*" && head.method == Method::Options) {
        return Err(Refused::bad("path_form"));
    }
    head.set_target(path.as_bytes())?;
    head.set_authority(authority(parts)?)?;
    copy_fields(&parts.headers, &mut head.fields)?;
    if head.fields.has_many(Known::ContentType) {
        return Err(Refused::bad("content_type_repeated"));
    }
    head.framing = if head.upgrade { tunnel_framing(&parts.headers)? } else { framing(&parts.headers, ended)? };
    head.keep_alive = true;
    Ok(head)
}

/// How many fields there are. Cookies are one, in however many pieces they came: the compression asks clients to split
/// them (RFC 9113, section 8.2.3), and the size of the whole list is bounded by `header_bytes`.
fn count(headers: &HeaderMap) -> usize {
    headers.len() - headers.get_all(http::header::COOKIE).iter().count().saturating_sub(1)
}

/// The method, and whether it asks for a tunnel: an extended CONNECT (RFC 8441) is the GET that HTTP/1.1 would ask with.
fn method(parts: &Parts) -> Result<(Method, bool), Refused> {
    let method = Method::parse(parts.method.as_str().as_bytes()).ok_or_else(|| Refused::bad("method"))?;
    match (method, parts.extensions.get::<Protocol>()) {
        (Method::Connect, Some(protocol)) if protocol.as_str().eq_ignore_ascii_case(websocket::PROTOCOL) => {
            Ok((Method::Get, true))
        }
        (Method::Connect, Some(_)) => Err(Refused { status: 501, reason: "protocol_not_served" }),
        (Method::Connect | Method::Trace, None) => Err(Refused { status: 501, reason: "method_not_served" }),
        (method, _) => Ok((method, false)),
    }
}

/// What follows an extended CONNECT is no body, so it has no length.
fn tunnel_framing(headers: &HeaderMap) -> Result<Framing, Refused> {
    if headers.contains_key(http::header::CONTENT_LENGTH) {
        return Err(Refused::bad("content_length"));
    }
    Ok(Framing::None)
}

fn is_continue(value: &HeaderValue) -> bool {
    value.as_bytes().eq_ignore_ascii_case(b"100-continue")
}

/// `:authority`, or Host where there is none; both must agree.
fn authority(parts: &Parts) -> Result<&[u8], Refused> {
    let mut hosts = parts.headers.get_all(http::header::HOST).iter();
    let host = hosts.next().map(HeaderValue::as_bytes);
    if hosts.next().is_some() {
        return Err(Refused::bad("host_repeated"));
    }
    match (parts.uri.authority(), host) {
        (Some(authority), Some(host)) if !authority.as_str().as_bytes().eq_ignore_ascii_case(host) => {
            Err(Refused::bad("host_mismatch"))
        }
        (Some(authority), _) => Ok(authority.as_str().as_bytes()),
        (None, Some(host)) => Ok(host),
        (None, None) => Err(Refused::bad("host_missing")),
    }
}

/// Several cookie fields are one (RFC 9113, section 8.2.3); Host is kept as the authority. The `http` crate takes names
/// that are no tokens, such as `a"b`.
fn copy_fields(headers: &HeaderMap, fields: &mut Fields) -> Result<(), Refused> {
    let mut cookies = Vec::new();
    for (name, value) in headers {
        if name == http::header::COOKIE {
            if !cookies.is_empty() {
                cookies.extend_from_slice(b"; ");
            }
            cookies.extend_from_slice(value.as_bytes());
        } else if name != http::header::HOST {
            fields.push_checked(name.as_str().as_bytes(), value.as_bytes())?;
        }
    }
    if !cookies.is_empty() {
        fields.push_checked(b"cookie", &cookies)?;
    }
    Ok(())
}

fn framing(headers: &HeaderMap, ended: bool) -> Result<Framing, Refused> {
    let mut lengths = headers.get_all(http::header::CONTENT_LENGTH).iter();
    let length = lengths.next().map(|value| parse_length(value.as_bytes())).transpose()?;
    if lengths.next().is_some() {
        return Err(Refused::bad("content_length_repeated"));
    }
    match length {
        Some(0) | None if ended => Ok(Framing::None),
        Some(_) if ended => Err(Refused::bad("content_length_mismatch")),
        Some(length) => Ok(Framing::Length(length)),
        None => Ok(Framing::Chunked),
    }
}

fn parse_length(text: &[u8]) -> Result<u64, Refused> {
    let plain =
        |text: &&str| text.bytes().all(|byte| byte.is_ascii_digit()) && (text.len() == 1 || !text.starts_with('0'));
    let digits = std::str::from_utf8(text).ok().filter(plain);
    digits.and_then(|digits| digits.parse().ok()).ok_or_else(|| Refused::bad("content_length"))
}

/// Trailers in our own form.
pub(super) fn trailers(map: &HeaderMap) -> Result<Fields, Refused> {
    let mut fields = Fields::new();
    for (name, value) in map {
        fields.push_checked(name.as_str().as_bytes(), value.as_bytes())?;
    }
    Ok(fields)
}

/// The fields of an answer that opened a tunnel: without those that only HTTP/1.1 opens one with.
pub(super) fn map_of_tunnel(fields: &Fields) -> HeaderMap {
    let mut map = map(fields);
    map.remove(websocket::ACCEPT);
    map
}

/// Fields as HTTP/2 takes them. What belongs to one connection was stripped before; a field that HTTP/2 cannot carry is
/// left out.
pub(super) fn map(fields: &Fields) -> HeaderMap {
    let mut map = HeaderMap::with_capacity(fields.len());
    for (name, value, known) in fields {
        if known.is_hop_by_hop() {
            continue;
        }
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            map.append(name, value);
        }
    }
    map
}

/// The status of an answer.
pub(super) fn status(status: u16) -> Result<StatusCode, Ending> {
    StatusCode::from_u16(status).map_err(|_| Ending::BadHead)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(name: &[u8], value: &[u8]) -> Parts {
        let request = http::Request::builder().uri("http://a.b/").body(()).unwrap();
        let mut parts = request.into_parts().0;
        parts.headers.append(HeaderName::from_lowercase(name).unwrap(), HeaderValue::from_bytes(value).unwrap());
        parts
    }

    /// What `http` takes for a name must not reach an origin of HTTP/1.1, where it is none.
    #[test]
    fn a_field_that_http1_cannot_carry_is_refused() {
        assert_eq!(read(&parts(b"a\"b", b"x"), true, 100).unwrap_err(), Refused::bad("field_name"));
        assert!(read(&parts(b"a-b", b"x\ty\xff"), true, 100).is_ok());
    }

    fn connect(protocol: Option<&str>, fields: &[(&'static str, &str)]) -> Result<RequestHead, Refused> {
        let mut request = http::Request::connect("http://a.b/chat");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let mut parts = request.body(()).unwrap().into_parts().0;
        if let Some(protocol) = protocol {
            parts.extensions.insert(Protocol::from(protocol));
        }
        read(&parts, false, 100)
    }

    #[test]
    fn only_a_web_socket_is_connected() {
        let head = connect(Some("WebSocket"), &[("sec-websocket-version", "13")]).unwrap();
        assert_eq!((head.method, head.upgrade, head.framing), (Method::Get, true, Framing::None));
        assert_eq!(connect(None, &[]).unwrap_err().reason, "method_not_served");
        assert_eq!(connect(Some("connect-udp"), &[]).unwrap_err().reason, "protocol_not_served");
        assert_eq!(connect(Some("websocket"), &[("content-length", "0")]).unwrap_err().reason, "content_length");
    }

    #[test]
    fn a_scheme_of_another_protocol_is_refused() {
        let request = http::Request::builder().uri("ftp://a.b/").body(()).unwrap();
        assert_eq!(read(&request.into_parts().0, true, 100).unwrap_err(), Refused::bad("scheme"));
    }

    /// Browsers send one field for each cookie.
    #[test]
    fn pieces_of_a_cookie_are_one_field() {
        let mut parts = parts(b"a", b"b");
        for at in 0..200 {
            parts.headers.append(http::header::COOKIE, HeaderValue::from(at));
        }
        assert!(read(&parts, true, 2).is_ok());
        assert_eq!(read(&parts, true, 1).unwrap_err().status, 431);
    }
}
