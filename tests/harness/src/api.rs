//! A client of the admin API that shows what was answered.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde_json::{Value, json};

use crate::failure::Failure;
use crate::h1::{Client, Response};
use crate::wait::{DEADLINE, until};

/// Where the API is and who asks. Each call has a connection of its own.
#[derive(Debug, Clone)]
pub struct Api {
    to: SocketAddr,
    token: Option<String>,
    from: Option<IpAddr>,
}

/// A request that is being put together.
#[derive(Debug, Clone)]
pub struct Call {
    api: Api,
    method: String,
    target: String,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
}

/// What was answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// What was asked, to tell it.
    asked: String,
    /// As it came.
    pub response: Response,
}

impl Api {
    /// Without a token.
    #[must_use]
    pub const fn new(to: SocketAddr) -> Self {
        Self { to, token: None, from: None }
    }

    /// With this token.
    #[must_use]
    pub fn token(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self
    }

    /// From this address of the machine.
    #[must_use]
    pub const fn from(mut self, from: IpAddr) -> Self {
        self.from = Some(from);
        self
    }

    /// Where it is.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.to
    }

    /// Begins a request.
    #[must_use]
    pub fn call(&self, method: &str, target: &str) -> Call {
        let (method, target) = (method.to_owned(), target.to_owned());
        Call { api: self.clone(), method, target, fields: Vec::new(), body: Vec::new() }
    }

    /// What is told at this place.
    ///
    /// # Panics
    /// When it is not 200 with JSON.
    #[must_use]
    pub fn get(&self, target: &str) -> Value {
        self.call("GET", target).send().expect(200).json()
    }

    /// The text at this place.
    ///
    /// # Panics
    /// When it is not 200.
    #[must_use]
    pub fn text(&self, target: &str) -> String {
        self.call("GET", target).send().expect(200).response.text()
    }

    /// The head's number; 0 when there is none.
    #[must_use]
    pub fn head(&self) -> u64 {
        self.get("/v1/status")["head"]["id"].as_u64().unwrap_or(0)
    }

    /// Waits until the head is this revision or a later one. Returns its number.
    ///
    /// # Panics
    /// When it does not get there.
    pub fn wait_head(&self, revision: u64) -> u64 {
        until(&format!("revision {revision} is the head"), || {
            let head = self.head();
            (head >= revision).then_some(head)
        })
    }

    /// Begins to put a document.
    #[must_use]
    pub fn put(&self, document: impl ToString) -> Call {
        self.call("PUT", "/v1/document?reason=a+test").content("application/yaml", document.to_string())
    }

    /// Puts a document and returns the number of its revision.
    ///
    /// # Panics
    /// When it is refused.
    pub fn apply(&self, document: impl ToString) -> u64 {
        self.put(document).send().expect(200).revision()
    }

    /// Begins to shift a service; `further` are more fields of the request (`{"for": "2s"}`).
    #[must_use]
    pub fn shift_call(&self, service: &str, shares: &[(&str, &str)], further: &Value) -> Call {
        let shares: BTreeMap<&str, &str> = shares.iter().copied().collect();
        let mut body = json!({ "shares": shares, "reason": "a test" });
        for (key, value) in further.as_object().into_iter().flatten() {
            body[key] = value.clone();
        }
        self.call("PUT", &format!("/v1/services/{service}/weights")).json(&body)
    }

    /// Shifts a service and returns the number of the revision.
    ///
    /// # Panics
    /// When it is refused.
    pub fn shift(&self, service: &str, shares: &[(&str, &str)]) -> u64 {
        self.shift_call(service, shares, &Value::Null).send().expect(200).revision()
    }

    /// Goes back to an earlier revision and returns the number of the new one.
    ///
    /// # Panics
    /// When it is refused.
    pub fn roll_back(&self, to: u64, weights: bool) -> u64 {
        let order = json!({ "to": to, "weights": weights, "reason": "a test" });
        self.call("POST", "/v1/rollback").json(&order).send().expect(200).revision()
    }

    /// The service as it is told.
    #[must_use]
    pub fn service(&self, name: &str) -> Value {
        self.get(&format!("/v1/services/{name}"))
    }

    /// Whose the weights of a service are.
    ///
    /// # Panics
    /// When the answer does not say.
    #[must_use]
    pub fn owner(&self, service: &str) -> String {
        self.service(service)["owner"].as_str().expect("a service has an owner").to_owned()
    }

    /// The share of each version of a service, in percent.
    ///
    /// # Panics
    /// When the answer is not of the known form.
    #[must_use]
    pub fn shares(&self, service: &str) -> BTreeMap<String, f64> {
        let told = self.service(service);
        let versions = told["versions"].as_array().expect("a service has versions");
        let name = |version: &Value| version["name"].as_str().expect("a version has a name").to_owned();
        versions.iter().map(|version| (name(version), percent(&version["share"]))).collect()
    }

    /// Waits until every node that is heard runs this revision or a later one. Returns what was told then.
    ///
    /// # Panics
    /// When they do not.
    pub fn wait_applied(&self, revision: u64) -> Value {
        let target = format!("/v1/revisions/{revision}/applied?share=100%25&timeout={}s", DEADLINE.as_secs() / 2);
        let told = self.get(&target);
        assert_eq!(told["reached"], true, "revision {revision} is not everywhere: {told}");
        told
    }

    /// Every node as it is told, by name.
    ///
    /// # Panics
    /// When the answer is not of the known form.
    #[must_use]
    pub fn nodes(&self) -> BTreeMap<String, Value> {
        let told = self.get("/v1/nodes");
        let nodes = told["nodes"].as_array().expect("a list of nodes");
        let name = |node: &Value| node["node"].as_str().expect("a node has a name").to_owned();
        nodes.iter().map(|node| (name(node), node.clone())).collect()
    }

    /// Waits until a node is told as `is` asks. Returns what was told then.
    ///
    /// # Panics
    /// When it is not; what was told last is said.
    pub fn wait_node(&self, what: &str, node: &str, is: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let found = self.eventually(|| {
            last = self.nodes().remove(node).unwrap_or_default();
            is(&last).then(|| last.clone())
        });
        found.unwrap_or_else(|| panic!("node {node}: not {what}: {last}"))
    }

    fn eventually<T>(&self, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
        let start = std::time::Instant::now();
        while start.elapsed() < DEADLINE {
            if let Some(found) = probe() {
                return Some(found);
            }
            crate::wait::pass(Duration::from_millis(20));
        }
        None
    }

    /// Every revision, oldest first.
    ///
    /// # Panics
    /// When the answer is not of the known form.
    #[must_use]
    pub fn revisions(&self) -> Vec<Value> {
        let (mut all, mut target) = (Vec::new(), "/v1/revisions?limit=100".to_owned());
        loop {
            let page = self.get(&target);
            all.extend(page["revisions"].as_array().expect("a list of revisions").iter().cloned());
            let Some(before) = page["before"].as_u64() else { break };
            target = format!("/v1/revisions?limit=100&before={before}");
        }
        all.reverse();
        all
    }

    /// The audit log, oldest first.
    ///
    /// # Panics
    /// When the answer is not of the known form.
    #[must_use]
    pub fn audit(&self) -> Vec<Value> {
        let (mut all, mut after) = (Vec::new(), 0);
        loop {
            let page = self.get(&format!("/v1/audit?limit=500&after={after}"));
            all.extend(page["entries"].as_array().expect("a list of entries").iter().cloned());
            let Some(next) = page["after"].as_u64() else { return all };
            after = next;
        }
    }
}

/// `"12.5%"` as 12.5.
///
/// # Panics
/// When it is not a share.
#[must_use]
pub fn percent(share: &Value) -> f64 {
    let text = share.as_str().unwrap_or_else(|| panic!("not a share: {share}"));
    let digits = text.strip_suffix('%').and_then(|digits| digits.parse().ok());
    digits.unwrap_or_else(|| panic!("not a share: {share}"))
}

impl Call {
    /// With this field.
    #[must_use]
    pub fn field(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With this content.
    #[must_use]
    pub fn content(mut self, media_type: &str, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self.field("Content-Type", media_type)
    }

    /// With this JSON as its content.
    #[must_use]
    pub fn json(self, body: &Value) -> Self {
        self.content("application/json", body.to_string())
    }

    /// Only if the head is this revision.
    #[must_use]
    pub fn if_head(self, revision: u64) -> Self {
        self.field("If-Match", &format!("\"{revision}\""))
    }

    /// With this idempotency key.
    #[must_use]
    pub fn key(self, key: &str) -> Self {
        self.field("Idempotency-Key", key)
    }

    fn head(&self) -> String {
        let has = |name: &str| self.fields.iter().any(|(have, _)| have.eq_ignore_ascii_case(name));
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        let mut add = |name: &str, value: &str| head.push_str(&format!("{name}: {value}\r\n"));
        if !has("host") {
            add("Host", &self.api.to.to_string());
        }
        if let Some(token) = &self.api.token {
            add("Authorization", &format!("Bearer {token}"));
        }
        if !self.body.is_empty() || !matches!(self.method.as_str(), "GET" | "HEAD" | "DELETE") {
            add("Content-Length", &self.body.len().to_string());
        }
        self.fields.iter().for_each(|(name, value)| add(name, value));
        head.push_str("Connection: close\r\n\r\n");
        head
    }

    /// Sends it.
    ///
    /// # Errors
    /// How it failed.
    pub fn try_send(&self) -> Result<Answer, Failure> {
        let connect = || match self.api.from {
            Some(from) => Ok(Client::connect_from(from, self.api.to)),
            None => Client::try_connect(self.api.to),
        };
        let mut client = connect().map_err(|e| Failure::Connect(e.to_string()))?;
        // Longer than a wait for a revision.
        client.set_patience(DEADLINE * 2);
        client.try_send(self.head()).map_err(|e| Failure::of(&e, false))?;
        // A server may answer before it has read everything, and close.
        drop(client.try_send(&self.body));
        let response = client.try_response(&self.method)?;
        Ok(Answer { asked: format!("{} {}", self.method, self.target), response })
    }

    /// Sends it.
    ///
    /// # Panics
    /// When there is no whole answer.
    #[must_use = "an answer is to be looked at"]
    pub fn send(&self) -> Answer {
        self.try_send().unwrap_or_else(|e| panic!("no answer to {} {}: {e}", self.method, self.target))
    }
}

impl Answer {
    /// Its status.
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.response.status()
    }

    /// Holds that it has this status.
    ///
    /// # Panics
    /// Otherwise; the content is told.
    #[must_use = "an answer is to be looked at"]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status(), status, "{}: {}", self.asked, self.response.text());
        self
    }

    /// Holds that it is a refusal of this kind, which says what to do. Returns what it says.
    ///
    /// # Panics
    /// Otherwise; the content is told.
    pub fn refuses(self, status: u16, code: &str) -> Value {
        let answer = self.expect(status);
        assert_eq!(answer.response.field("content-type"), Some("application/problem+json"), "{}", answer.asked);
        let told = answer.json();
        assert_eq!(told["code"], code, "{}: {told}", answer.asked);
        assert_eq!(told["status"], status, "{told}");
        assert!(told["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{told}");
        told
    }

    /// Its content.
    ///
    /// # Panics
    /// When it is not JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.response.body)
            .unwrap_or_else(|e| panic!("{}: {e}: {:?}", self.asked, self.response.text()))
    }

    /// The number of the revision that a change made.
    ///
    /// # Panics
    /// When it made none.
    #[allow(clippy::must_use_candidate, reason = "that a change was made is often all that is asked")]
    pub fn revision(&self) -> u64 {
        let told = self.json();
        assert_eq!(told["changed"], true, "{}: {told}", self.asked);
        told["revision"]["id"].as_u64().unwrap_or_else(|| panic!("{}: {told}", self.asked))
    }
}
