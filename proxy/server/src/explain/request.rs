//! The request that is asked about: built as a client sends it and read by the proxy's own reader, so that both judge it
//! alike.

use std::net::IpAddr;

use sluice_config::validated::{Listener, StickyKey};
use sluice_proxy_core::route::RequestView;
use sluice_proxy_core::sticky;

use crate::h1::{HeadLimits, Refused, parse_request};
use crate::message::{Fields, Known, RequestHead};

/// What a request looks like, for messages.
const HINT: &str = "write it like `http://shop.example.com/api` or `/api`";

/// A header as typed: `Name: value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    name: String,
    value: String,
}

impl std::str::FromStr for Header {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text.split_once(':').ok_or("write it like `NAME: VALUE`")?;
        http::HeaderName::try_from(name.trim()).map_err(|_| format!("`{name}` is not the name of a header"))?;
        if value.chars().any(|c| c.is_control() && c != '\t') {
            return Err(format!("the value of `{name}` holds a control character"));
        }
        Ok(Self { name: name.trim().to_owned(), value: value.trim().to_owned() })
    }
}

impl std::fmt::Display for Header {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.name, self.value)
    }
}

/// A request as it was typed; whether the proxy would take it is not known yet.
#[derive(Debug)]
pub struct Typed<'a> {
    method: &'a str,
    /// Of the URL; a Host header that was given takes its place, as it does with curl.
    authority: Option<&'a str>,
    target: String,
    headers: &'a [Header],
    client: Option<IpAddr>,
}

impl<'a> Typed<'a> {
    /// A request of `[METHOD] URL`.
    ///
    /// # Errors
    /// Words that no client could make a request of.
    pub fn read(words: &'a [String], headers: &'a [Header], client: Option<IpAddr>) -> Result<Self, String> {
        let (method, url) = match words {
            [url] => ("GET", url.as_str()),
            [method, url] => (method.as_str(), url.as_str()),
            _ => return Err(format!("the URL is missing; {HINT}")),
        };
        http::Method::from_bytes(method.as_bytes()).map_err(|_| format!("`{method}` is not a method"))?;
        let (authority, target) = parts(url)?;
        Ok(Self { method, authority, target, headers, client })
    }

    /// Reads the request as the proxy does.
    ///
    /// # Errors
    /// What the proxy would answer instead of looking for a route.
    pub(super) fn judge(&self, listener: &Listener) -> Result<Request, Refused> {
        let limits = &listener.limits;
        let limits = HeadLimits { bytes: limits.header_bytes as usize, count: limits.header_count.into() };
        let mut head = RequestHead::new();
        // The buffer ends with the empty line, so the proxy's reader asks for no more of it.
        parse_request(self.bytes().as_bytes(), &limits, &mut head)?;
        head.normalize_path(listener.paths)?;
        Ok(Request { head, client: self.client })
    }

    /// The request in a line.
    pub(super) fn told(&self) -> String {
        format!("{} {}{}", self.method, self.host().unwrap_or_default(), self.target)
    }

    fn host(&self) -> Option<&str> {
        let field = self.headers.iter().find(|header| header.name.eq_ignore_ascii_case("host"));
        field.map(|header| header.value.as_str()).or(self.authority)
    }

    /// A path alone names no host; only HTTP/1.0 may leave it out.
    fn bytes(&self) -> String {
        let version = if self.host().is_some() { "HTTP/1.1" } else { "HTTP/1.0" };
        let mut text = format!("{} {} {version}\r\n", self.method, self.target);
        if let (Some(host), false) = (self.authority, self.headers.iter().any(|h| h.name.eq_ignore_ascii_case("host")))
        {
            text += &format!("host: {host}\r\n");
        }
        for Header { name, value } in self.headers {
            text += &format!("{name}: {value}\r\n");
        }
        text + "\r\n"
    }
}

/// The authority, if the URL has one, and the target that a client would send.
fn parts(url: &str) -> Result<(Option<&str>, String), String> {
    if !url.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!("`{}` is not a URL: write what is not visible ASCII as %XX", url.escape_debug()));
    }
    if url.starts_with('/') || url == "*" {
        return Ok((None, url.to_owned()));
    }
    let Some((scheme, rest)) = url.split_once("://") else {
        let word = url.bytes().all(|byte| byte.is_ascii_uppercase());
        let fault = if word { "is a method, and the URL is missing" } else { "is not a URL" };
        return Err(format!("`{url}` {fault}; {HINT}"));
    };
    if !["http", "https"].iter().any(|known| known.eq_ignore_ascii_case(scheme)) {
        return Err(format!("`{url}` is neither http nor https; {HINT}"));
    }
    let (authority, target) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    if authority.is_empty() {
        return Err(format!("`{url}` has no host; {HINT}"));
    }
    let root = if target.starts_with('/') { "" } else { "/" };
    Ok((Some(authority), format!("{root}{target}")))
}

/// A request that was never sent, and that the proxy would look for a route for.
#[derive(Debug)]
pub(super) struct Request {
    head: RequestHead,
    client: Option<IpAddr>,
}

impl Request {
    /// As the route table wants it.
    pub(super) fn view(&self) -> RequestView<'_, Fields> {
        RequestView {
            method: self.method(),
            host: self.head.host(),
            path: self.head.path(),
            query: self.head.query(),
            fields: &self.head.fields,
        }
    }

    /// The method.
    pub(super) fn method(&self) -> &str {
        self.head.method.as_str()
    }

    /// What identifies the user to a sticky split, if the request has it.
    pub(super) fn key(&self, by: &StickyKey) -> Option<Vec<u8>> {
        let fields = &self.head.fields;
        match by {
            StickyKey::Header(name) => fields.get_named(name).map(<[u8]>::to_vec),
            StickyKey::Cookie(name) => sticky::cookie(fields.all(Known::Cookie), name).map(<[u8]>::to_vec),
            StickyKey::ClientAddress => self.client.map(|client| {
                let (bytes, length) = sticky::address(client);
                bytes[..length].to_vec()
            }),
        }
    }

    /// The request in a line.
    pub(super) fn told(&self) -> String {
        format!("{} {}{}", self.method(), self.head.host(), self.head.target())
    }
}
