//! Heads of requests and answers.

use sluice_config::validated::Paths;

use super::place::Place;
use super::{Fields, Framing, Known, Method, Refused, Version};

/// The head of a request. Made once and filled again and again: `clear` keeps the buffers.
#[derive(Debug, Clone, Default)]
pub struct RequestHead {
    /// What is asked.
    pub method: Method,
    /// The version it was read in.
    pub version: Version,
    place: Place,
    /// All fields as they came, hop-by-hop ones too.
    pub fields: Fields,
    /// How the body ends. Never `UntilClose`.
    pub framing: Framing,
    /// Whether the client lets the connection be used again.
    pub keep_alive: bool,
    /// Whether the client asks for another protocol: HTTP/1.1, GET, no body, `Connection: upgrade`, and an `Upgrade`
    /// that names exactly one protocol other than `h2c`. Otherwise an Upgrade field is to be passed over.
    pub upgrade: bool,
}

impl RequestHead {
    /// An empty head. Allocates nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets everything and keeps the buffers.
    pub fn clear(&mut self) {
        self.method = Method::Get;
        self.version = Version::Http11;
        self.place.clear();
        self.fields.clear();
        self.framing = Framing::None;
        self.keep_alive = false;
        self.upgrade = false;
    }

    /// Path and query in origin-form, or `*`. Visible ASCII.
    #[must_use]
    pub fn target(&self) -> &str {
        self.place.target()
    }

    /// The path, still percent-encoded; begins with `/`, or is `*`.
    #[must_use]
    pub fn path(&self) -> &str {
        self.place.path()
    }

    /// What stands behind the first `?`.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.place.query()
    }

    /// Host and port as the client named them (Host, absolute-form or `:authority`). Empty only for HTTP/1.0 without Host.
    #[must_use]
    pub fn authority(&self) -> &str {
        self.place.authority()
    }

    /// The host in lower case, without the port and without a dot at the end; IPv6 addresses in brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        self.place.host()
    }

    /// Takes a target in any form but that of CONNECT. An absolute-form target names the authority too.
    /// `method` must be set before.
    ///
    /// # Errors
    /// A target that is not one, or not one for this method.
    pub fn set_target(&mut self, text: &[u8]) -> Result<(), Refused> {
        if !text.iter().all(u8::is_ascii_graphic) {
            return Err(Refused::bad("target_character"));
        }
        self.place.set_target(&self.method, text, None)
    }

    /// Brings the path into the normal form of this policy: what is routed, logged and sent from here on. To be called once,
    /// before anything looks at the path. Costs one look where the path is plain; allocates nothing.
    ///
    /// # Errors
    /// A path that the policy refuses. There is no target then.
    pub fn normalize_path(&mut self, policy: Paths) -> Result<(), Refused> {
        self.place.normalize(policy)
    }

    /// Takes `host [":" port]`.
    ///
    /// # Errors
    /// Anything else: user names, paths, lists, ports that are none, an empty host.
    pub fn set_authority(&mut self, text: &[u8]) -> Result<(), Refused> {
        self.place.set_authority(text)
    }

    /// Takes a target that was found visible, and the Host field, which is missing only in HTTP/1.0.
    pub(crate) fn set_place(&mut self, target: &[u8]) -> Result<(), Refused> {
        let host = self.fields.get(Known::Host);
        if let Some(host) = host {
            self.place.set_authority(host)?;
        }
        self.place.set_target(&self.method, target, host)
    }
}

/// The head of an answer. Made once and filled again and again.
#[derive(Debug, Clone, Default)]
pub struct ResponseHead {
    /// 100 to 999.
    pub status: u16,
    /// The version it was read in.
    pub version: Version,
    /// All fields as they came, hop-by-hop ones too; without Content-Length where the status allows none.
    pub fields: Fields,
    /// How the body ends.
    pub framing: Framing,
    /// Whether the origin lets the connection be used again.
    pub keep_alive: bool,
    /// Whether this is the 101 that was asked for: the connection is a tunnel from here on.
    pub upgrade: bool,
}

impl ResponseHead {
    /// An empty head. Allocates nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets everything and keeps the buffers.
    pub fn clear(&mut self) {
        self.status = 0;
        self.version = Version::Http11;
        self.fields.clear();
        self.framing = Framing::None;
        self.keep_alive = false;
        self.upgrade = false;
    }
}
