//! The request that is asked about.

use std::net::IpAddr;

use anyhow::{Context, bail};
use http::Uri;
use sluice_config::validated::StickyKey;
use sluice_proxy_core::route::{Fields, RequestView};
use sluice_proxy_core::sticky;

/// A header as typed: `Name: value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    name: String,
    value: String,
}

impl std::str::FromStr for Header {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text.split_once(':').ok_or("write it like `NAME: VALUE`")?;
        let name =
            http::HeaderName::try_from(name.trim()).map_err(|_| format!("`{name}` is not the name of a header"))?;
        Ok(Self { name: name.as_str().to_owned(), value: value.trim().to_owned() })
    }
}

/// A request that was never sent.
#[derive(Debug)]
pub(super) struct Request {
    method: String,
    uri: Uri,
    host: String,
    headers: Headers,
    client: Option<IpAddr>,
}

/// The fields of the request.
#[derive(Debug)]
pub(super) struct Headers(Vec<Header>);

impl Headers {
    fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.0.iter().filter(move |header| header.name == name).map(|header| header.value.as_bytes())
    }
}

impl Fields for Headers {
    fn first(&self, name: &str) -> Option<&[u8]> {
        self.0.iter().find(|header| header.name == name).map(|header| header.value.as_bytes())
    }
}

impl Request {
    /// A request of `[METHOD] URL`.
    pub(super) fn new(words: &[String], headers: &[Header], client: Option<IpAddr>) -> anyhow::Result<Self> {
        let (method, url) = match words {
            [url] => ("GET", url),
            [method, url] => (method.as_str(), url),
            _ => bail!("write it like `GET http://shop.example.com/api`"),
        };
        http::Method::from_bytes(method.as_bytes()).with_context(|| format!("`{method}` is not a method"))?;
        let hint = "write it like `http://shop.example.com/api` or `/api`";
        let uri: Uri = url.parse().with_context(|| format!("`{url}` is not a URL; {hint}"))?;
        if uri.scheme().is_none() && !url.starts_with('/') {
            bail!("`{url}` is not a URL; {hint}");
        }
        let headers = Headers(headers.to_vec());
        let host = host(&uri, &headers)?;
        Ok(Self { method: method.to_owned(), uri, host, headers, client })
    }

    /// As the route table wants it.
    pub(super) fn view(&self) -> RequestView<'_, Headers> {
        RequestView {
            method: &self.method,
            host: &self.host,
            path: self.uri.path(),
            query: self.uri.query(),
            fields: &self.headers,
        }
    }

    /// The method.
    pub(super) fn method(&self) -> &str {
        &self.method
    }

    /// What identifies the user to a sticky split, if the request has it.
    pub(super) fn key(&self, by: &StickyKey) -> Option<Vec<u8>> {
        match by {
            StickyKey::Header(name) => self.headers.first(name).map(<[u8]>::to_vec),
            StickyKey::Cookie(name) => sticky::cookie(self.headers.all("cookie"), name).map(<[u8]>::to_vec),
            StickyKey::ClientAddress => self.client.map(|client| {
                let (bytes, length) = sticky::address(client);
                bytes[..length].to_vec()
            }),
        }
    }

    /// The request in a line.
    pub(super) fn told(&self) -> String {
        let query = self.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
        format!("{} {}{}{query}", self.method, self.host, self.uri.path())
    }
}

/// The host of the URL, else of the Host field, in lower case and without port.
fn host(uri: &Uri, headers: &Headers) -> anyhow::Result<String> {
    let host = match (uri.host(), headers.first("host")) {
        (Some(host), _) => host.to_owned(),
        (None, Some(field)) => {
            let field = String::from_utf8_lossy(field);
            let authority: http::uri::Authority = field.parse().with_context(|| format!("`{field}` is not a host"))?;
            authority.host().to_owned()
        }
        (None, None) => String::new(),
    };
    Ok(host.to_ascii_lowercase())
}
