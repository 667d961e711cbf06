//! Who may ask the control plane for what, and from where.
//!
//! Every request is asked four questions, in this order, and each answer is decided here:
//! is its `Host` one of ours and its `Origin` known ([`host_allowed`], [`origin_allowed`]); has its address failed too
//! often ([`Attempts`]); who is it ([`authenticate`]); and may they do it ([`Identity::may`]).
//!
//! **Roles** are steps for people (a viewer reads, an operator also has a hand on traffic, an admin also changes what is
//! written) and one apart for proxies. An admin may not subscribe: what a proxy is given stands on every machine at the
//! edge, and the token that is lost there must not be one that can change anything; so the two never need to be the same.
//!
//! **Places** that only this machine's administrators reach need no token: a Unix socket with mode 0600, and a loopback
//! address as long as no tokens are set. Whoever may write to those could also read the store.

mod attempts;
mod browser;
mod listen;
mod tokens;

use std::fmt;
use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sluice_config::overlay::Author;

pub use self::attempts::{Attempt, Attempts};
pub use self::browser::{host_allowed, origin_allowed};
pub use self::listen::{Exposed, Listen, listen_policy};
pub use self::tokens::{Defect, TokenProblem, TokenProblems, Tokens};

/// What somebody may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Reads everything and changes nothing.
    Viewer,
    /// Also moves traffic: weights, overrides.
    Operator,
    /// Also changes what is written: documents.
    Admin,
    /// A proxy: subscribes and does nothing else.
    Node,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 4] = [Self::Viewer, Self::Operator, Self::Admin, Self::Node];

    /// The word that stands in a tokens file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
            Self::Node => "node",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Everything that can be asked of the control plane, but for its health and the description of its API, which whoever
/// can connect may read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// To read what runs, ran, is wanted and happens: status, documents, revisions, services, nodes, drift, events.
    Read,
    /// To read the audit log and prove it.
    Audit,
    /// To be told what a document would change.
    Plan,
    /// To set a service's weights, or give them back to the document.
    Shift,
    /// To lay an override, or lift one.
    Override,
    /// To take a node off the list.
    Forget,
    /// To apply a document.
    Apply,
    /// To go back to an earlier revision.
    RollBack,
    /// To be sent revisions and to report, as a proxy.
    Subscribe,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 9] = [
        Self::Read,
        Self::Audit,
        Self::Plan,
        Self::Shift,
        Self::Override,
        Self::Forget,
        Self::Apply,
        Self::RollBack,
        Self::Subscribe,
    ];

    /// The word for logs and the audit log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Audit => "audit",
            Self::Plan => "plan",
            Self::Shift => "shift",
            Self::Override => "override",
            Self::Forget => "forget",
            Self::Apply => "apply",
            Self::RollBack => "roll back",
            Self::Subscribe => "subscribe",
        }
    }

    /// The lowest role that may.
    #[must_use]
    pub const fn needs(self) -> Role {
        match self {
            Self::Read | Self::Audit | Self::Plan => Role::Viewer,
            Self::Shift | Self::Override | Self::Forget => Role::Operator,
            Self::Apply | Self::RollBack => Role::Admin,
            Self::Subscribe => Role::Node,
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Whether a role may do something: the table.
#[must_use]
pub const fn allows(role: Role, action: Action) -> bool {
    match (action.needs(), role) {
        (Role::Viewer, Role::Viewer | Role::Operator | Role::Admin)
        | (Role::Operator, Role::Operator | Role::Admin)
        | (Role::Admin, Role::Admin)
        | (Role::Node, Role::Node) => true,
        (Role::Viewer | Role::Operator | Role::Admin, Role::Node)
        | (Role::Operator | Role::Admin | Role::Node, Role::Viewer)
        | (Role::Admin | Role::Node, Role::Operator)
        | (Role::Node, Role::Admin) => false,
    }
}

/// How somebody was known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Via {
    /// By a token.
    Token,
    /// By being able to open the Unix socket.
    Socket,
    /// By being on this machine, where no tokens are set.
    Loopback,
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// What the audit log calls them.
    pub name: Author,
    /// What they may do.
    pub role: Role,
    /// How they were known.
    pub via: Via,
}

impl Identity {
    /// Whether they may do this. At a place that needs no token, everything: proxies connect there too.
    #[must_use]
    pub const fn may(&self, action: Action) -> bool {
        match self.via {
            Via::Token => allows(self.role, action),
            Via::Socket | Via::Loopback => true,
        }
    }
}

/// Where a request came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Door {
    /// At the Unix socket, from this user of the machine.
    Socket(Author),
    /// At this address of ours.
    Tcp(SocketAddr),
}

/// Why it is not known who asks. All are answered alike, with 401, so that nobody learns which it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stranger {
    /// No `Authorization` came.
    NoToken,
    /// It came, and is not `Bearer` and a token.
    NoBearer,
    /// The token is nobody's.
    WrongToken,
    /// No tokens are set, and the address is not this machine's own.
    Closed,
}

impl fmt::Display for Stranger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoToken => "a token is needed: send `Authorization: Bearer TOKEN`",
            Self::NoBearer => "the Authorization header is not `Bearer TOKEN`",
            Self::WrongToken => "the token is not known",
            Self::Closed => "no tokens are set, so that only this machine may ask: name a file of tokens at the start",
        })
    }
}

impl std::error::Error for Stranger {}

/// Who asks, by where they came in and the value of `Authorization`. `local` is what somebody on this machine is called
/// who needs no token. Where tokens are set, every address needs one.
///
/// # Errors
/// When that is not known.
pub fn authenticate(
    door: &Door,
    tokens: Option<&Tokens>,
    authorization: Option<&str>,
    local: &Author,
) -> Result<Identity, Stranger> {
    match (door, tokens) {
        (Door::Socket(user), _) => Ok(Identity { name: user.clone(), role: Role::Admin, via: Via::Socket }),
        (Door::Tcp(_), Some(tokens)) => {
            let token = bearer(authorization.ok_or(Stranger::NoToken)?).ok_or(Stranger::NoBearer)?;
            let (name, role) = tokens.find(token).ok_or(Stranger::WrongToken)?;
            Ok(Identity { name: name.clone(), role, via: Via::Token })
        }
        (Door::Tcp(address), None) if listen::is_loopback(address.ip()) => {
            Ok(Identity { name: local.clone(), role: Role::Admin, via: Via::Loopback })
        }
        (Door::Tcp(_), None) => Err(Stranger::Closed),
    }
}

/// The token in `Bearer TOKEN`. The scheme is written in any case.
fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn author(text: &str) -> Author {
        text.parse().unwrap()
    }

    #[test]
    fn each_role_may_what_the_table_says() {
        let may = |role: Role| -> Vec<&str> {
            Action::ALL.into_iter().filter(|action| allows(role, *action)).map(Action::as_str).collect()
        };
        assert_eq!(may(Role::Viewer), ["read", "audit", "plan"]);
        assert_eq!(may(Role::Operator), ["read", "audit", "plan", "shift", "override", "forget"]);
        let admin = ["read", "audit", "plan", "shift", "override", "forget", "apply", "roll_back"];
        assert_eq!(may(Role::Admin), admin);
        assert_eq!(may(Role::Node), ["subscribe"]);
    }

    #[test]
    fn the_lowest_role_that_may_is_the_one_that_is_needed() {
        for action in Action::ALL {
            let lowest = Role::ALL.into_iter().find(|role| allows(*role, action));
            assert_eq!(lowest, Some(action.needs()));
        }
    }

    const TOKEN: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn who_asks_is_known_by_a_token_or_by_the_place() {
        let tokens = Tokens::parse(&format!("ann operator {TOKEN}\n")).unwrap();
        let ask = |door: &Door, tokens: Option<&Tokens>, authorization: Option<&str>| {
            let identity = authenticate(door, tokens, authorization, &author("local"));
            identity.map(|one| (one.name.to_string(), one.role, one.via))
        };
        let near = Door::Tcp("127.0.0.1:9900".parse().unwrap());
        let far = Door::Tcp("10.0.0.1:9900".parse().unwrap());
        let right = format!("Bearer {TOKEN}");
        let ann = Ok(("ann".to_owned(), Role::Operator, Via::Token));
        for door in [&near, &far] {
            assert_eq!(ask(door, Some(&tokens), Some(&right)), ann);
            assert_eq!(ask(door, Some(&tokens), Some(&format!("bearer  {TOKEN} "))), ann);
            assert_eq!(ask(door, Some(&tokens), None), Err(Stranger::NoToken));
            assert_eq!(ask(door, Some(&tokens), Some("Bearer wrong")), Err(Stranger::WrongToken));
            for other in ["", "Bearer", TOKEN, "Basic YW5uOng="] {
                assert_eq!(ask(door, Some(&tokens), Some(other)), Err(Stranger::NoBearer), "{other:?}");
            }
        }
        assert_eq!(ask(&near, None, None), Ok(("local".to_owned(), Role::Admin, Via::Loopback)));
        assert_eq!(ask(&far, None, Some(&right)), Err(Stranger::Closed));
        let socket = Door::Socket(author("root"));
        assert_eq!(ask(&socket, Some(&tokens), None), Ok(("root".to_owned(), Role::Admin, Via::Socket)));
    }

    #[test]
    fn a_place_without_tokens_serves_proxies_too_and_an_admins_token_does_not() {
        let admin = |via| Identity { name: author("ann"), role: Role::Admin, via };
        assert!(admin(Via::Socket).may(Action::Subscribe) && admin(Via::Loopback).may(Action::Subscribe));
        assert!(!admin(Via::Token).may(Action::Subscribe) && admin(Via::Token).may(Action::Apply));
    }
}
