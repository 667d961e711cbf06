//! Why a change is not made, as data: what is wrong, and what to do instead.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sluice_config::duration::write;
use sluice_config::name::{RegionName, ServiceName, VersionName};
use sluice_config::overlay::{Action, Author, LiveWeights, Override, Owner, Reason};
use sluice_config::share::Share;
use sluice_config::timestamp::Timestamp;
use sluice_config::validated::{Service, Validated};
use sluice_config::value::RevisionId;
use sluice_config::{Dangling, Problems, nearest};

/// Why a change is not made. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The document is not sound, or not with what is live on top of it. Places are those in its source.
    Problems(Problems),
    /// There is no such service.
    NoService {
        /// As it was asked for.
        service: ServiceName,
        /// What may have been meant.
        nearest: Option<ServiceName>,
    },
    /// The service has no such version.
    NoVersion {
        /// The service.
        service: ServiceName,
        /// As it was asked for.
        version: VersionName,
        /// What may have been meant.
        nearest: Option<VersionName>,
        /// What there is.
        versions: Vec<VersionName>,
    },
    /// No override has this number.
    NoOverride(RevisionId),
    /// A service, or a version of it, has no endpoints in a region.
    NoPool {
        /// The service.
        service: ServiceName,
        /// Its version, if one was named.
        version: Option<VersionName>,
        /// As it was asked for.
        region: RegionName,
        /// What there is: `shop/v1 in us-east-1`.
        pools: Vec<String>,
    },
    /// Nothing has an endpoint of this address.
    NoEndpoint {
        /// As it was asked for.
        address: SocketAddr,
        /// Where it was looked for: a service, a version or a pool.
        of: String,
        /// What there is.
        there: Vec<SocketAddr>,
        /// What is asked for others, none of which can have this address.
        sources: Vec<String>,
    },
    /// There is more than one that may be meant.
    Ambiguous {
        /// What was named.
        what: String,
        /// At least two.
        among: Vec<String>,
    },
    /// The document changes weights that are not its own. Every such service.
    Owned(Vec<Owned>),
    /// Live weights or overrides name what the document to go back to does not have. All of them.
    Unfit(Vec<Unfit>),
    /// It is as it is wanted already.
    Unchanged(Unchanged),
    /// No version was named to shift to.
    NothingNamed(ServiceName),
    /// The shares that were named add up to more than the whole: to so many millionths.
    AboveWhole(u64),
    /// The named shares leave something, and no other version has a share that it could be added to.
    NothingTakesRest {
        /// The service.
        service: ServiceName,
        /// What is left.
        left: Share,
        /// The versions that were not named. None: all were.
        idle: Vec<VersionName>,
    },
    /// It would last for no time.
    NoTime,
    /// It would last for longer than it may.
    TooLong {
        /// As it was asked for.
        asked: Duration,
        /// The longest.
        most: Duration,
    },
    /// Too many weights would wait below each other for the ones above them to end.
    TooDeep {
        /// The service.
        service: ServiceName,
        /// The most.
        most: usize,
    },
}

/// A service whose weights a document changes without owning them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Owned {
    /// The service.
    pub service: ServiceName,
    /// Whose its weights are.
    pub owner: Owner,
    /// Who set them.
    pub author: Author,
    /// Since when.
    pub since: Timestamp,
    /// Why.
    pub reason: Reason,
    /// What the document changes: `v2 5 -> 50`.
    pub changes: Vec<String>,
}

/// What is live and does not fit a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unfit {
    /// Live weights.
    Weights {
        /// The service.
        service: ServiceName,
        /// The version that the document does not have, and its share. Absent: it does not have the service.
        version: Option<(VersionName, Share)>,
        /// Whose the weights are.
        owner: Owner,
        /// Who set them.
        author: Author,
        /// Since when.
        since: Timestamp,
        /// Why.
        reason: Reason,
    },
    /// An override.
    Override {
        /// Its number.
        id: RevisionId,
        /// What it does.
        action: Action,
        /// What is missing, in words.
        told: String,
    },
}

impl From<&Dangling<'_>> for Unfit {
    fn from(dangling: &Dangling<'_>) -> Self {
        match dangling {
            Dangling::Weights { service, version, weights } => {
                let LiveWeights { owner, author, since, reason, .. } = weights;
                Self::Weights {
                    service: (*service).clone(),
                    version: version.map(|(version, share)| (version.clone(), share)),
                    owner: *owner,
                    author: author.clone(),
                    since: *since,
                    reason: reason.clone(),
                }
            }
            Dangling::Override { id, by: Override { action, .. }, .. } => {
                Self::Override { id: *id, action: action.clone(), told: dangling.to_string() }
            }
        }
    }
}

impl Unfit {
    /// What to do about it.
    fn hint(&self) -> String {
        match self {
            Self::Weights { .. } => {
                "restore the weights of that revision too with --weights, or shift to versions it has first".to_owned()
            }
            Self::Override { id, action, .. } => format!("lift the override first: {}", action.lift(*id)),
        }
    }
}

/// What is as it is wanted already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unchanged {
    /// The document means what the head's means.
    Document,
    /// The service has these weights, and they are the operator's.
    Weights(ServiceName),
    /// The service's weights are the document's.
    Released(ServiceName),
    /// The head has the document, and the weights if they were asked for.
    Restored(RevisionId),
}

impl Refusal {
    /// A stable name for tools, in kebab-case.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Problems(_) => "problems",
            Self::NoService { .. } => "no-service",
            Self::NoVersion { .. } => "no-version",
            Self::NoOverride(_) => "no-override",
            Self::NoPool { .. } => "no-pool",
            Self::NoEndpoint { .. } => "no-endpoint",
            Self::Ambiguous { .. } => "ambiguous",
            Self::Owned(_) => "owned",
            Self::Unfit(_) => "unfit",
            Self::Unchanged(_) => "unchanged",
            Self::NothingNamed(_) => "nothing-named",
            Self::AboveWhole(_) => "above-whole",
            Self::NothingTakesRest { .. } => "nothing-takes-rest",
            Self::NoTime => "no-time",
            Self::TooLong { .. } => "too-long",
            Self::TooDeep { .. } => "too-deep",
        }
    }

    /// What to do instead.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Problems(_) => "correct the document; nothing was changed".to_owned(),
            Self::NoService { nearest: Some(name), .. } => format!("did you mean `{name}`?"),
            Self::NoService { nearest: None, .. } => "`sluice get services` lists them".to_owned(),
            Self::NoVersion { nearest: Some(name), .. } => format!("did you mean `{name}`?"),
            Self::NoVersion { versions, .. } => format!("it has {}", list(versions)),
            Self::NoOverride(_) => "`sluice get overrides` lists them; it may have expired".to_owned(),
            Self::NoPool { pools, .. } => format!("there is {}", list(pools)),
            Self::NoEndpoint { there, of, sources, .. } => match (&there[..], &sources[..]) {
                ([], []) => format!("{of} has no endpoints"),
                ([..], []) => format!("it has {}", few(there)),
                ([], [..]) => format!("it has those of {}", few(sources)),
                ([..], [..]) => format!("it has {} and those of {}", few(there), few(sources)),
            },
            Self::Ambiguous { among, .. } => format!("name one of {}", list(among)),
            Self::Owned(_) => {
                "leave these weights as they were in the document, or take them back with --take-weights".to_owned()
            }
            Self::Unfit(unfit) => {
                let mut hints: Vec<String> = unfit.iter().map(Unfit::hint).collect();
                hints.dedup();
                hints.join("; ")
            }
            Self::Unchanged(_) => "there is nothing to do".to_owned(),
            Self::NothingNamed(service) => format!("name a version and its share: shift {service} VERSION=5%"),
            Self::AboveWhole(_) => {
                "lower them to 100% or less; what is not named keeps its ratio in the rest".to_owned()
            }
            Self::NothingTakesRest { idle, .. } if idle.is_empty() => "let the shares add up to 100%".to_owned(),
            Self::NothingTakesRest { left, idle, .. } => format!("name which of {} gets the {left}", list(idle)),
            Self::NoTime => "give a duration such as 30m or 2h".to_owned(),
            Self::TooLong { most, .. } => format!("give at most {}", write(*most)),
            Self::TooDeep { .. } => "shift without an end, or give the weights back to the document first".to_owned(),
        }
    }

    pub(super) fn no_service(service: &ServiceName, document: &Validated) -> Self {
        let names = || document.services.iter().map(|one| &one.name);
        let near = nearest(service.as_str(), names().map(ServiceName::as_str));
        let nearest = near.and_then(|near| names().find(|name| name.as_str() == near)).cloned();
        Self::NoService { service: service.clone(), nearest }
    }

    pub(super) fn no_version(version: &VersionName, service: &Service) -> Self {
        let versions: Vec<VersionName> = service.versions.iter().map(|one| one.name.clone()).collect();
        let near = nearest(version.as_str(), versions.iter().map(VersionName::as_str));
        let nearest = near.and_then(|near| versions.iter().find(|name| name.as_str() == near)).cloned();
        Self::NoVersion { service: service.name.clone(), version: version.clone(), nearest, versions }
    }
}

fn list<T: fmt::Display>(things: &[T]) -> String {
    things.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// The first of them, and how many more there are.
fn few<T: fmt::Display>(things: &[T]) -> String {
    const TOLD: usize = 8;
    match things.len().checked_sub(TOLD) {
        None | Some(0) => list(things),
        Some(more) => format!("{} and {more} more", list(&things[..TOLD])),
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Problems(problems) => problems.fmt(f),
            Self::NoService { service, .. } => write!(f, "there is no service {service}"),
            Self::NoVersion { service, version, .. } => write!(f, "the service {service} has no version {version}"),
            Self::NoOverride(id) => write!(f, "there is no override {id}"),
            Self::NoPool { service, version, region, .. } => {
                let version = version.as_ref().map(|version| format!("/{version}")).unwrap_or_default();
                write!(f, "{service}{version} has no endpoints in {region}")
            }
            Self::NoEndpoint { address, of, sources, .. } if sources.is_empty() => {
                write!(f, "{of} has no endpoint {address}")
            }
            Self::NoEndpoint { address, of, .. } => {
                write!(f, "{of} has no endpoint {address}, and none of its sources can find one")
            }
            Self::Ambiguous { what, among } => write!(f, "{what} may be that of {}", list(among)),
            Self::Owned(owned) => f.write_str(&lines(owned)),
            Self::Unfit(unfit) => f.write_str(&lines(unfit)),
            Self::Unchanged(what) => what.fmt(f),
            Self::NothingNamed(service) => write!(f, "no version of {service} was named to shift to"),
            Self::AboveWhole(millionths) => {
                write!(f, "the shares add up to {}%, which is more than 100%", *millionths as f64 / 10_000.0)
            }
            Self::NothingTakesRest { service, left, idle } if idle.is_empty() => {
                write!(f, "the shares leave {left} of {service} to nobody: every version was named")
            }
            Self::NothingTakesRest { service, left, .. } => {
                write!(f, "the shares leave {left} of {service} to nobody: no other version has a share now")
            }
            Self::NoTime => f.write_str("it would end at once"),
            Self::TooLong { asked, most } => write!(f, "{} is longer than {}", write(*asked), write(*most)),
            Self::TooDeep { service, most } => {
                write!(f, "{most} weights of {service} wait for others to end already; there may not be more")
            }
        }
    }
}

fn lines<T: fmt::Display>(things: &[T]) -> String {
    things.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// `the weights of shop are the operator's (ann, since 2026-11-26T09:30:00.000Z: try v2), and the document changes v2 5 -> 50`
impl fmt::Display for Owned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { service, owner, author, since, reason, changes } = self;
        write!(f, "the weights of {service} are the {owner}'s ({author}, since {since}: {reason}), ")?;
        write!(f, "and the document changes {}", list(changes))
    }
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Weights { service, version, owner, author, since, reason } => {
                let owned = format!("its weights are the {owner}'s ({author}, since {since}: {reason})");
                match version {
                    Some((version, share)) => {
                        write!(f, "the document has no version {version} of {service}, which has {share}: {owned}")
                    }
                    None => write!(f, "the document has no service {service}: {owned}"),
                }
            }
            Self::Override { told, .. } => f.write_str(told),
        }
    }
}

impl fmt::Display for Unchanged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Document => f.write_str("the document means what is applied already"),
            Self::Weights(service) => write!(f, "the weights of {service} are these already, and the operator's"),
            Self::Released(service) => write!(f, "the weights of {service} are the document's already"),
            Self::Restored(id) => write!(f, "what runs is as it was in revision {id} already"),
        }
    }
}

impl std::error::Error for Refusal {}
