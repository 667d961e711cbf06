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
use http::{HeaderMap, HeaderName, StatusCode};
use sluice_config::overlay::Author;
use sluice_control_core::access::{
    self, Action, Attempt, Attempts, Door, Identity, Listen, Role, Stranger, TokenProblems, Tokens, Via,
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
        /// Our own address that it came to.
        at: SocketAddr,
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
    /// Pages that may use it, such as `https://console.example.com`.
    origins: Vec<String>,
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
    /// Tokens from this file, if any are demanded; the control plane is also known by these names, and pages of these
    /// origins may use it.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub fn open(tokens: Option<&Path>, names: Vec<String>, origins: Vec<String>) -> Result<Self, TokensError> {
        let open = |path: &Path| {
            let text = read(path)?;
            let tokens = Tokens::parse(&text).map_err(TokensError::Malformed)?;
            let (tokens, text) = (ArcSwap::from_pointee(tokens), Mutex::new(text));
            Ok(TokenFile { path: path.to_owned(), tokens, text })
        };
        let tokens = tokens.map(open).transpose()?;
        Ok(Self { tokens, names, origins, attempts: Mutex::default(), denied: AtomicU64::new(0) })
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

    /// Whether tokens are demanded.
    #[must_use]
    pub const fn demands_tokens(&self) -> bool {
        self.tokens.is_some()
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
    /// The name in the certificate that they showed, if that is how they are known.
    pub(crate) certified: Option<String>,
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
            let peer = request.extensions().get::<Peer>().cloned();
            let target = format!("{} {}", request.method(), request.uri().path());
            turn_away(&plane, peer, &target, refused).await
        }
    }
}

/// Writes down who was refused before anybody asked who they are, as often as failures are written down.
async fn turn_away(plane: &Plane, peer: Option<Peer>, target: &str, refused: Refused) -> Response {
    let now = plane.began.elapsed();
    if let Some(Peer::Tcp { from, .. }) = &peer {
        let mut attempts = plane.access.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Attempt::Wait(_) = attempts.check(from.ip(), now) {
            plane.access.denied.fetch_add(1, Ordering::Relaxed);
            return refused.into_response();
        }
        attempts.failed(from.ip(), now);
    }
    let author: Author = "unknown".parse().expect("a word is an author");
    let origin = peer.map_or_else(String::new, |peer| peer.origin());
    deny(plane, &Who { author, origin }, target, refused).await
}

fn check(access: &Access, request: &Request) -> Result<(), Refused> {
    if request.headers().get_all(HOST).iter().count() > 1 {
        return Err(Refused::new(StatusCode::BAD_REQUEST, "several-hosts", "the request has more than one Host"));
    }
    let listen = match request.extensions().get::<Peer>() {
        Some(Peer::Tcp { at, .. }) => Listen::Tcp(*at),
        Some(Peer::Unix { .. }) | None => Listen::Socket,
    };
    let authority = request.uri().authority().map(http::uri::Authority::as_str);
    let host = authority.or_else(|| text(request.headers(), HOST));
    if !access::host_allowed(host, listen, &access.names) {
        let detail = format!("this control plane does not know the name in Host: {:?}", host.unwrap_or_default());
        return Err(Refused::new(StatusCode::FORBIDDEN, "unknown-host", detail)
            .hint("ask it by its address or by localhost, or tell it its name with --admin-host"));
    }
    let origin = request.headers().get(ORIGIN).map(|origin| origin.to_str().unwrap_or("null"));
    if !access::origin_allowed(origin, &access.origins) {
        let detail = format!("a page of {:?} may not use this control plane", origin.unwrap_or_default());
        return Err(Refused::new(StatusCode::FORBIDDEN, "foreign-origin", detail)
            .hint("programs send no Origin; a page of yours is allowed with --admin-origin"));
    }
    Ok(())
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// What admission needs.
#[derive(Debug, Clone)]
pub(super) struct Guard {
    pub(super) plane: Arc<Plane>,
    /// What the caller must be allowed; absent: everybody is.
    pub(super) action: Option<Action>,
}

/// Lets those in who may.
pub(super) async fn admit(State(guard): State<Guard>, mut request: Request, next: Next) -> Response {
    let Guard { plane, action } = guard;
    let Some(action) = action else { return next.run(request).await };
    let peer = request.extensions().get::<Peer>().cloned().expect("every connection says whose it is");
    let target = format!("{} {}", request.method(), request.uri().path());
    match identify(&plane, &peer, request.headers()) {
        Ok(identity) if identity.may(action) => {
            let certified = certified(&peer, request.headers()).map(str::to_owned);
            let caller = Caller { who: who(&identity, &peer, request.headers()), certified };
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Ok(identity) => {
            let who = who(&identity, &peer, request.headers());
            deny(&plane, &who, &target, too_low(&identity, action)).await
        }
        Err(Denial::Wait(wait)) => {
            plane.access.denied.fetch_add(1, Ordering::Relaxed);
            wait_for(wait).into_response()
        }
        Err(Denial::Stranger(stranger)) => {
            let author: Author = "unknown".parse().expect("a word is an author");
            deny(&plane, &Who { author, origin: peer.origin() }, &target, strange(stranger)).await
        }
    }
}

/// Why nobody was let in.
enum Denial {
    /// It is not known who asks.
    Stranger(Stranger),
    /// That was so too often from there.
    Wait(Duration),
}

/// Whoever shows a token that is known is let in, however often others behind the same address have failed: one proxy with an
/// old token must keep neither its neighbours nor an operator out, and a token cannot be guessed at any rate.
fn identify(plane: &Plane, peer: &Peer, headers: &HeaderMap) -> Result<Identity, Denial> {
    let local: Author = "local".parse().expect("a word is an author");
    let (door, from) = match peer {
        Peer::Unix { user } => (Door::Socket(user_of(*user)), None),
        Peer::Tcp { at, from, .. } => (Door::Tcp(*at), Some(from.ip())),
    };
    if let Peer::Tcp { certificate: Some(name), .. } = peer
        && !headers.contains_key(AUTHORIZATION)
        && let Ok(name) = format!("{name} (certificate)").parse()
    {
        return Ok(Identity { name, role: Role::Node, via: Via::Token });
    }
    let access = &plane.access;
    let now = plane.began.elapsed();
    let tokens = access.tokens.as_ref().map(|file| file.tokens.load());
    let authorization = headers.get(AUTHORIZATION).map(|value| value.to_str().unwrap_or_default());
    let found = access::authenticate(&door, tokens.as_ref().map(|tokens| &***tokens), authorization, &local);
    let Some(from) = from else { return found.map_err(Denial::Stranger) };
    let mut attempts = access.attempts.lock().unwrap_or_else(PoisonError::into_inner);
    match (found, attempts.check(from, now)) {
        (Ok(identity), _) => {
            if identity.via == Via::Token {
                attempts.succeeded(from, now);
            }
            Ok(identity)
        }
        (Err(_), Attempt::Wait(wait)) => Err(Denial::Wait(wait)),
        (Err(stranger), Attempt::Allowed) => {
            attempts.failed(from, now);
            Err(Denial::Stranger(stranger))
        }
    }
}

/// The name in the certificate by which somebody is known: where there is no token.
fn certified<'a>(peer: &'a Peer, headers: &HeaderMap) -> Option<&'a str> {
    match peer {
        Peer::Tcp { certificate, .. } => certificate.as_deref().filter(|_| !headers.contains_key(AUTHORIZATION)),
        Peer::Unix { .. } => None,
    }
}

fn user_of(user: Option<u32>) -> Author {
    let words = user.map_or_else(|| "unknown user".to_owned(), |user| format!("uid {user}"));
    words.parse().expect("a number is an author")
}

/// Where whoever is not asked for a token says who they are. It is written down as said, not as known.
const CLAIM: HeaderName = HeaderName::from_static("sluice-author");

fn who(identity: &Identity, peer: &Peer, headers: &HeaderMap) -> Who {
    let claim = text(headers, CLAIM).filter(|_| identity.via != Via::Token);
    let known = match identity.via {
        Via::Socket | Via::Token => identity.name.as_str(),
        Via::Loopback => "not verified",
    };
    let claimed = claim.and_then(|claim| format!("{claim} ({known})").parse().ok());
    Who { author: claimed.unwrap_or_else(|| identity.name.clone()), origin: peer.origin() }
}

fn too_low(identity: &Identity, action: Action) -> Refused {
    let (name, role) = (&identity.name, identity.role);
    Refused::new(StatusCode::FORBIDDEN, "role-too-low", format!("{name} has the role {role}, which may not {action}"))
        .hint(format!("it takes the role {}", action.needs()))
}

fn strange(stranger: Stranger) -> Refused {
    let code = match stranger {
        Stranger::NoToken => "no-token",
        Stranger::NoBearer => "no-bearer",
        Stranger::WrongToken => "unknown-token",
        Stranger::Closed => "no-tokens-set",
    };
    Refused::new(StatusCode::UNAUTHORIZED, code, stranger.to_string())
        .hint("send Authorization: Bearer TOKEN; the command sluice reads it from --token-file")
}

fn wait_for(wait: Duration) -> Refused {
    let seconds = wait.as_secs() + 1;
    let words = format!("too many requests with a wrong token or none came from there: wait {seconds} s");
    let refused = Refused::new(StatusCode::TOO_MANY_REQUESTS, "too-many-failures", words);
    Refused { retry_after: Some(seconds), ..refused }
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
