//! Heads between HTTP/2 and our own form. What the `h2` crate leaves to its user is checked here: forbidden bytes in
//! `:path`, conflicting lengths, an authority that is missing, doubled or at odds with Host, and a `:path` that is not a
//! path.

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use sluice_proxy_core::outcome::Ending;

use crate::h1::Refused;
use crate::message::{Fields, Framing, Known, Method, RequestHead, ResponseHead, Version};

/// The request's head, of at most `most` fields. `ended`: no body follows.
pub(super) fn read(parts: &Parts, ended: bool, most: u16) -> Result<RequestHead, Refused> {
    if parts.headers.len() > usize::from(most) {
        return Err(Refused { status: 431, reason: "too_many_fields" });
    }
    let mut head = RequestHead::new();
    head.version = Version::H2;
    head.method = Method::parse(parts.method.as_str().as_bytes()).ok_or_else(|| Refused::bad("method"))?;
    if matches!(head.method, Method::Connect | Method::Trace) {
        return Err(Refused { status: 501, reason: "method_not_served" });
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
    head.framing = framing(&parts.headers, ended)?;
    head.keep_alive = true;
    Ok(head)
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
pub(super) fn status(head: &ResponseHead) -> Result<StatusCode, Ending> {
    StatusCode::from_u16(head.status).map_err(|_| Ending::BadHead)
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
}
