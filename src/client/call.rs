//! One request.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, IF_MATCH, USER_AGENT};
use http::{HeaderValue, Method, Request};
use http_body_util::Full;
use serde::Serialize;
use sluice_config::overlay::Author;
use sluice_config::value::RevisionId;

use super::server::Server;
use super::token::Token;

/// How long a whole answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// One request.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    method: Method,
    path: String,
    query: Vec<(&'static str, String)>,
    content: Option<(&'static str, Bytes)>,
    expected: Option<RevisionId>,
    /// Drawn for what changes something: however often it arrives, it is done once.
    key: Option<String>,
    pub(super) patience: Duration,
}

impl Call {
    fn new(method: Method, path: impl Into<String>) -> Self {
        let key = (method != Method::GET).then(|| format!("{:032x}", rand::random::<u128>()));
        let (query, patience) = (Vec::new(), PATIENCE);
        Self { method, path: path.into(), query, content: None, expected: None, key, patience }
    }

    /// Reads.
    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path)
    }

    /// Sets.
    pub(crate) fn put(path: impl Into<String>) -> Self {
        Self::new(Method::PUT, path)
    }

    /// Does.
    pub(crate) fn post(path: impl Into<String>) -> Self {
        Self::new(Method::POST, path)
    }

    /// Takes away.
    pub(crate) fn delete(path: impl Into<String>) -> Self {
        Self::new(Method::DELETE, path)
    }

    /// With this in the query, if there is something.
    pub(crate) fn query(mut self, name: &'static str, value: Option<impl ToString>) -> Self {
        self.query.extend(value.map(|value| (name, value.to_string())));
        self
    }

    /// With this in the query if it is so.
    pub(crate) fn flag(self, name: &'static str, holds: bool) -> Self {
        self.query(name, holds.then_some("true"))
    }

    /// With this as content.
    pub(crate) fn json(mut self, value: &impl Serialize) -> Self {
        let text = serde_json::to_vec(value).expect("what the API takes has text keys only");
        self.content = Some(("application/json", text.into()));
        self
    }

    /// With a document as content.
    pub(crate) fn document(mut self, text: impl Into<Bytes>) -> Self {
        self.content = Some(("application/yaml", text.into()));
        self
    }

    /// Only if this revision is the head.
    pub(crate) const fn expecting(mut self, head: Option<RevisionId>) -> Self {
        self.expected = head;
        self
    }

    /// With this much more time for the answer.
    pub(crate) fn patience(mut self, more: Duration) -> Self {
        self.patience += more;
        self
    }

    /// Whether it may be asked again when the answer is lost.
    pub(super) const fn is_repeatable(&self) -> bool {
        self.key.is_some() || matches!(self.method, Method::GET)
    }

    pub(super) fn request(
        &self,
        server: &Server,
        token: Option<&Token>,
        author: Option<&Author>,
    ) -> Request<Full<Bytes>> {
        let (media_type, content) = self.content.clone().unwrap_or_default();
        let mut request = Request::new(Full::new(content));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.target().parse().expect("names and an encoded query are a target");
        let headers = request.headers_mut();
        let mut set = |name: http::HeaderName, value: &str| {
            // What is no header value is a user's name at most, and the server does without it.
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name, value);
            }
        };
        set(HOST, &host(server));
        set(USER_AGENT, concat!("sluice/", env!("CARGO_PKG_VERSION")));
        set(ACCEPT, "*/*");
        if !media_type.is_empty() {
            set(CONTENT_TYPE, media_type);
        }
        if let Some(head) = self.expected {
            set(IF_MATCH, &format!("\"{head}\""));
        }
        if let Some(key) = &self.key {
            set(http::HeaderName::from_static("idempotency-key"), key);
        }
        if let Some(author) = author {
            set(http::HeaderName::from_static("sluice-author"), author.as_str());
        }
        if let Some(token) = token {
            headers.insert(AUTHORIZATION, token.header());
        }
        request
    }

    fn target(&self) -> String {
        if self.query.is_empty() {
            return self.path.clone();
        }
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(&self.query).finish();
        format!("{}?{query}", self.path)
    }
}

fn host(server: &Server) -> String {
    match server {
        Server::Unix(_) => "localhost".to_owned(),
        Server::Plain(place) | Server::Tls(place) => place.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_says_who_what_and_on_top_of_what() {
        let call = Call::put("/v1/document")
            .query("reason", Some("try v2 & see"))
            .query("share", None::<String>)
            .flag("take_weights", true)
            .flag("dry_run", false)
            .expecting(Some(RevisionId(17)))
            .document("a: 1");
        let server: Server = "http://[::1]:9900".parse().unwrap();
        let author: Author = "ann".parse().unwrap();
        let request = call.request(&server, None, Some(&author));
        assert_eq!(request.uri(), "/v1/document?reason=try+v2+%26+see&take_weights=true");
        let header = |name: &str| request.headers()[name].to_str().unwrap().to_owned();
        assert_eq!((header("host").as_str(), header("if-match").as_str()), ("[::1]:9900", "\"17\""));
        assert_eq!(
            (header("sluice-author"), header("content-type")),
            ("ann".to_owned(), "application/yaml".to_owned())
        );
        let again = call.request(&server, None, None);
        assert_eq!(header("idempotency-key"), again.headers()["idempotency-key"].to_str().unwrap());
        assert!(!again.headers().contains_key("sluice-author"));
        assert!(!Call::get("/v1/status").request(&server, None, None).headers().contains_key("idempotency-key"));
    }
}
