//! Where addresses come from that are not written down.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::name::ZoneName;
use crate::value::Weight;

/// A source of endpoints of a pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Source {
    /// What is asked. Unique in its pool.
    pub query: Query,
    /// Of each address for which the answer says none. Default 1.
    pub weight: Weight,
    /// Of each address for which the answer says none.
    pub zone: Option<ZoneName>,
}

/// What is asked for addresses. The same question has the same answer wherever it stands in the document.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Query {
    /// The addresses of a name.
    Dns {
        /// Lower case, without the dot at its end.
        name: String,
        /// Of each address.
        port: u16,
        /// Which addresses.
        family: Family,
    },
    /// The targets of a service's name, and their addresses.
    Srv {
        /// Lower case, without the dot at its end.
        name: String,
        /// Which addresses.
        family: Family,
    },
    /// The list in a file.
    File {
        /// As it is written.
        path: String,
    },
}

impl Query {
    /// Whether an address like this may be in its answer.
    #[must_use]
    pub const fn may_find(&self, address: SocketAddr) -> bool {
        match self {
            Self::Dns { port, family, .. } => *port == address.port() && family.has(address),
            Self::Srv { family, .. } => family.has(address),
            Self::File { .. } => true,
        }
    }
}

/// Which addresses of a name are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// A and AAAA.
    #[default]
    Any,
    /// A.
    Ipv4,
    /// AAAA.
    Ipv6,
}

impl Family {
    /// The word in the document.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
        }
    }

    const fn has(self, address: SocketAddr) -> bool {
        match self {
            Self::Any => true,
            Self::Ipv4 => address.is_ipv4(),
            Self::Ipv6 => address.is_ipv6(),
        }
    }
}

/// `dns shop.internal:8080`, `srv _http._tcp.shop.internal`, `file endpoints/shop.yaml`; different for different queries.
impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = match self {
            Self::Dns { name, port, family } => {
                write!(f, "dns {name}:{port}")?;
                *family
            }
            Self::Srv { name, family } => {
                write!(f, "srv {name}")?;
                *family
            }
            Self::File { path } => return write!(f, "file {path}"),
        };
        match family {
            Family::Any => Ok(()),
            Family::Ipv4 | Family::Ipv6 => write!(f, " {}", family.as_str()),
        }
    }
}

/// How often the names of a service are asked for again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Discovery {
    /// The shortest time between two questions. Default 1 s; at least 100 ms.
    pub ttl_min: Duration,
    /// The longest. Default 5 min; at least `ttl_min`.
    pub ttl_max: Duration,
}

impl Default for Discovery {
    fn default() -> Self {
        Self { ttl_min: Duration::from_secs(1), ttl_max: Duration::from_secs(300) }
    }
}

/// Who is asked for names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Resolver {
    /// None: those of `/etc/resolv.conf`.
    pub servers: Vec<SocketAddr>,
    /// For one question, over all servers and tries. Default 2 s.
    pub timeout: Duration,
}

impl Default for Resolver {
    fn default() -> Self {
        Self { servers: Vec::new(), timeout: Duration::from_secs(2) }
    }
}
