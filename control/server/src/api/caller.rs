//! Who asks, and whether they may: the checks before every operation.
//!
//! Screening is for every request: a browser that was lured here has a Host or an Origin that we do not know. Admission is
//! for each operation: by the role of the token or certificate shown, or, where none is demanded, as the machine's own
//! user. Whoever fails is written down, and whoever fails often must wait.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::extract::{FromRequestParts, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{AUTHORIZATION, HOST, ORIGIN};
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use sluice_config::overlay::Author;
use sluice_control_core::access::{
    Action, Attempt, Attempts, Role, TokenProblems, Tokens, is_host_allowed, is_origin_allowed,
};
use sluice_control_core::audit::Outcome;

use super::error::Refused;
use crate::plane::Plane;
use crate::reconcile::Who;

/// The other end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// A machine, and the name in the certificate that it showed.
    Tcp {
        /// Where it is.
        from: SocketAddr,
        /// Whose certificate it showed; it was signed by the CA that was given for clients.
        certificate: Option<String>,
    },
    /// A process of this machine that may use our socket: it runs as our own user, or as root.
    Unix {
        /// As whom it runs.
        user: Option<u32>,
    },
}

impl Peer {
    /// Where it is, for the audit log.
    fn origin(&self) -> String {
        match self {
            Self::Tcp { from, .. } => from.ip().to_string(),
            Self::Unix { .. } => "unix".to_owned(),
        }
    }
}

/// Who may do what, as it was set up.
pub struct Access {
    /// Who is known, by token; absent: whoever reaches a loopback address is the machine's own user.
    tokens: Option<TokenFile>,
    /// Further names that the control plane is known by.
    names: Vec<String>,
    attempts: Mutex<Attempts>,
    denied: AtomicU64,
}

struct TokenFile {
    path: PathBuf,
    tokens: ArcSwap<Tokens>,
    /// Of the text that was read last, to notice another one.
    text: Mutex<String>,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tokens = self.tokens.as_ref().map(|file| &file.path);
        f.debug_struct("Access").field("tokens", &tokens).field("names", &self.names).finish_non_exhaustive()
    }
}

/// Why a file of tokens cannot be used.
#[derive(Debug)]
pub enum TokensError {
    /// It cannot be read.
    Unreadable(std::io::Error),
    /// Others than its owner may read it.
    Open(u32),
    /// What it holds is not tokens.
    Malformed(TokenProblems),
}

impl fmt::Display for TokensError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(error) => error.fmt(f),
            Self::Open(mode) => write!(f, "others may read it (mode {mode:o}): chmod 600 it, and replace its tokens"),
            Self::Malformed(problems) => problems.fmt(f),
        }
    }
}

impl std::error::Error for TokensError {}

impl Access {
    /// Tokens from this file, if any are demanded; the control plane is also known by these names.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub fn open(tokens: Option<&Path>, names: Vec<String>) -> Result<Self, TokensError> {
        let open = |path: &Path| {
            let text = read(path)?;
            let tokens = Tokens::parse(&text).map_err(TokensError::Malformed)?;
            let (tokens, text) = (ArcSwap::from_pointee(tokens), Mutex::new(text));
            Ok(TokenFile { path: path.to_owned(), tokens, text })
        };
        let tokens = tokens.map(open).transpose()?;
        Ok(Self { tokens, names, attempts: Mutex::default(), denied: AtomicU64::new(0) })
    }

    /// Reads the file again if it holds another text. One that cannot be used changes nothing.
    pub(crate) fn refresh(&self) {
        let Some(file) = &self.tokens else { return };
        let mut held = file.text.lock().unwrap_or_else(PoisonError::into_inner);
        let text = match read(&file.path) {
            Ok(text) if text == *held => return,
            Ok(text) => text,
            Err(error) => return tracing::error!(file = %file.path.display(), %error, "tokens cannot be read again"),
        };
        match Tokens::parse(&text) {
            Ok(tokens) => {
                file.tokens.store(Arc::new(tokens));
                tracing::info!(file = %file.path.display(), "tokens were read again");
            }
            Err(error) => tracing::error!(file = %file.path.display(), %error, "tokens stay as they were"),
        }
        *held = text;
    }

    /// How many requests were denied.
    pub(crate) fn denied(&self) -> u64 {
        self.denied.load(Ordering::Relaxed)
    }
}

fn read(path: &Path) -> Result<String, TokensError> {
    use std::os::unix::fs::PermissionsExt;
    let metadata = std::fs::metadata(path).map_err(TokensError::Unreadable)?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(TokensError::Open(mode));
    }
    std::fs::read_to_string(path).map_err(TokensError::Unreadable)
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) who: Who,
    pub(crate) role: Role,
}

impl Caller {
    /// Who was admitted.
    pub(crate) fn of(parts: &Parts) -> Self {
        parts.extensions.get::<Self>().cloned().expect("every operation is behind admission")
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self::of(parts))
    }
}

/// Refuses what a browser was lured to send.
pub(super) async fn screen(State(plane): State<Arc<Plane>>, request: Request, next: Next) -> Response {
    match check(&plane.access, &request) {
        Ok(()) => next.run(request).await,
        Err(refused) => {
            plane.access.denied.fetch_add(1, Ordering::Relaxed);
            refused.into_response()
        }
    }
}

fn check(access: &Access, request: &Request) -> Result<(), Refused> {
    let over_tcp = !matches!(request.extensions().get::<Peer>(), Some(Peer::Unix { .. }));
    let host = request.uri().authority().map(http::uri::Authority::as_str);
    let host = host.or_else(|| text(request.headers(), HOST)).unwrap_or_default();
    if over_tcp && !is_host_allowed(host, &access.names) {
        let detail = format!("this control plane does not know the name in Host: {host:?}");
        return Err(Refused::new(StatusCode::FORBIDDEN, "unknown-host", detail)
            .hint("ask it by its address or by localhost, or tell it its name with --admin-host"));
    }
    match request.headers().get(ORIGIN).map(|origin| origin.to_str().unwrap_or("null")) {
        Some(origin) if !is_origin_allowed(origin, host) => {
            let detail = format!("a page of another site may not use this control plane: {origin:?}");
            Err(Refused::new(StatusCode::FORBIDDEN, "foreign-origin", detail))
        }
        Some(_) | None => Ok(()),
    }
}

fn text(headers: &HeaderMap, name: http::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// What admission needs.
#[derive(Debug, Clone)]
pub(super) struct Guard {
    pub(super) plane: Arc<Plane>,
    pub(super) action: Action,
}

/// Lets those in who may.
pub(super) async fn admit(State(guard): State<Guard>, mut request: Request, next: Next) -> Response {
    let Guard { plane, action } = guard;
    if action == Action::Health {
        return next.run(request).await;
    }
    let peer = request.extensions().get::<Peer>().cloned().expect("every connection says whose it is");
    let target = format!("{} {}", request.method(), request.uri().path());
    match identify(&plane, &peer, request.headers()) {
        Ok(caller) if caller.role.allows(action) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Ok(caller) => deny(&plane, &caller.who, &target, too_low(&caller, action)).await,
        Err(refused) if refused.status == StatusCode::TOO_MANY_REQUESTS.as_u16() => {
            plane.access.denied.fetch_add(1, Ordering::Relaxed);
            refused.into_response()
        }
        Err(refused) => {
            let author: Author = "unknown".parse().expect("a word is an author");
            deny(&plane, &Who { author, origin: peer.origin() }, &target, refused).await
        }
    }
}

fn too_low(caller: &Caller, action: Action) -> Refused {
    let (author, role) = (&caller.who.author, caller.role);
    let allowed: Vec<String> =
        Role::ALL.iter().filter(|role| role.allows(action)).map(ToString::to_string).collect();
    Refused::new(StatusCode::FORBIDDEN, "role-too-low", format!("{author} is {role}, who may not do this"))
        .hint(format!("it takes the role {}", allowed.join(" or ")))
}

async fn deny(plane: &Plane, who: &Who, target: &str, refused: Refused) -> Response {
    plane.access.denied.fetch_add(1, Ordering::Relaxed);
    tracing::warn!(author = %who.author, origin = who.origin, target, code = refused.code, "denied");
    let outcome = Outcome::Denied(refused.code.clone());
    if let Err(error) = plane.record_outcome(who, "request", target, outcome).await {
        tracing::error!(%error, "a denial could not be written to the audit log");
    }
    refused.into_response()
}

fn identify(plane: &Plane, peer: &Peer, headers: &HeaderMap) -> Result<Caller, Refused> {
    let origin = peer.origin();
    let claimed = || text(headers, CLAIM).and_then(|text| text.parse::<Author>().ok());
    let as_admin = |words: String| {
        let author = words.parse().unwrap_or_else(|_| "local".parse().expect("a word is an author"));
        Caller { who: Who { author, origin: origin.clone() }, role: Role::Admin }
    };
    match (peer, &plane.access.tokens) {
        (Peer::Unix { user }, _) => {
            let user = user.map_or_else(|| "unknown".to_owned(), |user| user.to_string());
            Ok(as_admin(claimed().map_or(format!("uid {user}"), |name| format!("{name} (uid {user})"))))
        }
        (Peer::Tcp { certificate: Some(name), .. }, _) if text(headers, AUTHORIZATION).is_none() => {
            let author = name.parse().map_err(|_| nameless())?;
            Ok(Caller { who: Who { author, origin }, role: Role::Node })
        }
        (Peer::Tcp { from, .. }, Some(file)) => by_token(plane, file, *from, headers),
        (Peer::Tcp { .. }, None) => {
            Ok(as_admin(claimed().map_or_else(|| "local (not verified)".to_owned(), |name| format!("{name} (not verified)"))))
        }
    }
}

/// Where whoever is not asked for a token says who they are. It is written down as not verified.
const CLAIM: http::HeaderName = http::HeaderName::from_static("sluice-author");

fn nameless() -> Refused {
    Refused::new(StatusCode::UNAUTHORIZED, "nameless-certificate", "the certificate's common name is no author")
}

fn by_token(plane: &Plane, file: &TokenFile, from: SocketAddr, headers: &HeaderMap) -> Result<Caller, Refused> {
    let shown = text(headers, AUTHORIZATION).and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    let origin = from.ip().to_string();
    match shown.and_then(|token| file.tokens.load().find(token)) {
        Some(identity) => Ok(Caller { who: Who { author: identity.name, origin }, role: identity.role }),
        None => Err(unknown(plane, &origin, shown.is_some())),
    }
}

/// Whoever fails often is told to wait, which costs neither us nor the audit log anything. Whoever then shows a token that
/// is known is let in all the same: an attacker behind the same address must not keep an operator out.
fn unknown(plane: &Plane, origin: &str, shown: bool) -> Refused {
    let mut attempts = plane.access.attempts.lock().unwrap_or_else(PoisonError::into_inner);
    if let Attempt::Wait(wait) = attempts.fail(origin, plane.now()) {
        return wait_for(wait);
    }
    let (code, words) =
        if shown { ("unknown-token", "this token is not known") } else { ("no-token", "a token is needed") };
    Refused::new(StatusCode::UNAUTHORIZED, code, words)
        .hint("send Authorization: Bearer TOKEN; sluice reads it from --token-file")
}

fn wait_for(wait: Duration) -> Refused {
    let seconds = wait.as_secs().max(1);
    let words = format!("too many requests with a wrong token or none: wait {seconds} s");
    let refused = Refused::new(StatusCode::TOO_MANY_REQUESTS, "too-many-failures", words);
    Refused { retry_after: Some(seconds), ..refused }
}
