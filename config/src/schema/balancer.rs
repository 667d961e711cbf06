//! How an endpoint of a pool is picked.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::duration::Span;
use crate::percentage::Percentage;
use crate::schema::retries::Percent;
use crate::validated::{self, PanicMode};

/// How an endpoint of a pool is picked: by a word, or with the settings of a rule.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Balancer {
    /// With the defaults of the rule.
    Plain(PlainBalancer),
    /// With its settings.
    Tuned(TunedBalancer),
}

/// A rule by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PlainBalancer {
    /// By turns, spread out by weight.
    RoundRobin,
    /// Of two at random the one with fewer requests under way.
    LeastRequest,
    /// Of two at random the one that is expected to answer sooner.
    PeakEwma,
    /// At random, by weight.
    Random,
}

/// A rule with its settings.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub(crate) enum TunedBalancer {
    /// Of some at random the one with the fewest requests under way.
    LeastRequest(LeastRequest),
    /// Of two at random the one that is expected to answer sooner.
    PeakEwma(PeakEwma),
    /// The same key, the same endpoint, while the pool allows.
    Maglev(Maglev),
}

/// Of some at random the one with the fewest requests under way, for its weight.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LeastRequest {
    /// How many are compared. 2 to 16. Default 2.
    #[schemars(range(min = 2, max = 16))]
    pub(crate) choices: u32,
}

/// Of two at random the one that is expected to answer sooner, for its weight.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct PeakEwma {
    /// How fast a slow answer is forgotten: the time in which its part of the average falls to 37 %. Default `10s`.
    pub(crate) decay: Span,
    /// What a failure counts as, in time to an answer. Default `5s`.
    pub(crate) failure_penalty: Span,
}

/// The same key, the same endpoint, while the pool allows.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Maglev {
    /// What is hashed. A request without it is given an endpoint at random.
    pub(crate) key: HashKey,
    /// How far above the average of the pool an endpoint's requests under way may be before the next one on the key's way is taken. At least `100%`. Default: without a bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) bounded_load: Option<Percentage>,
}

/// What is hashed.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub(crate) enum HashKey {
    /// The first value of this field. Case of the name does not matter.
    Header(#[schemars(extend("format" = "header-name"))] String),
    /// The value of this cookie.
    Cookie(#[schemars(extend("format" = "cookie-name"))] String),
    /// The client's address, without the port: the connection's other end, or whom the listener's `trusted_proxies` name.
    ClientAddress,
    /// The request's path, without the query.
    Path,
}

/// How an endpoint that begins to take traffic, or takes it again, is warmed up. Those that are there when the process starts are not.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SlowStart {
    /// For how long its weight rises to the whole. Default `30s`.
    pub(crate) window: Span,
    /// The part of its weight that it begins with. Above `0%` and below `100%`. Default `10%`.
    pub(crate) floor: Percent,
}

/// Endpoints in the proxy's own zone are preferred; what they cannot carry goes to the others.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Zones {
    /// How much more than its healthy part the own zone is trusted with: at `140%` traffic begins to leave it when less than 72 % of it is healthy. At least `100%`. Default `140%`.
    pub(crate) overprovisioning: Percentage,
    /// The fewest endpoints of the own zone, healthy or not, for a preference: below it every zone takes its part. 1 to 1,000. Default 1.
    #[schemars(range(min = 1, max = 1_000))]
    pub(crate) min_endpoints: u32,
}

/// A user stays with an endpoint, by a cookie with a random key that Sluice sets.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Session {
    /// The name of the cookie. Default `sluice-session`.
    #[schemars(extend("format" = "cookie-name"))]
    pub(crate) cookie: String,
    /// How long the browser keeps it. Default: until it is closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_age: Option<Span>,
}

/// What is done when too few endpoints of a pool may be chosen.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Panic {
    /// The share of the pool's weight that may be chosen, below which it is done. Above `0%`. Default `50%`.
    #[serde(default = "half")]
    pub(crate) below: Percent,
    /// `fail_open`: health is not believed, and every endpoint is chosen but those that an operator took out. `fail_closed`: none is chosen, so that `fallback` decides before the last ones fall, too.
    pub(crate) then: PanicMode,
}

const fn half() -> Percent {
    Percent(validated::HALF)
}

impl Default for LeastRequest {
    fn default() -> Self {
        Self { choices: 2 }
    }
}

impl Default for PeakEwma {
    fn default() -> Self {
        Self { decay: Span::seconds(10), failure_penalty: Span::seconds(5) }
    }
}

impl Default for SlowStart {
    fn default() -> Self {
        Self { window: Span::seconds(30), floor: Percent(validated::TENTH) }
    }
}

impl Default for Zones {
    fn default() -> Self {
        Self { overprovisioning: validated::OVERPROVISIONING, min_endpoints: 1 }
    }
}

impl Default for Session {
    fn default() -> Self {
        Self { cookie: "sluice-session".to_owned(), max_age: None }
    }
}

impl Default for Balancer {
    fn default() -> Self {
        Self::Plain(PlainBalancer::RoundRobin)
    }
}

impl From<&validated::Balancer> for Balancer {
    fn from(balancer: &validated::Balancer) -> Self {
        match balancer {
            validated::Balancer::RoundRobin => Self::Plain(PlainBalancer::RoundRobin),
            validated::Balancer::Random => Self::Plain(PlainBalancer::Random),
            validated::Balancer::LeastRequest { choices } => {
                Self::Tuned(TunedBalancer::LeastRequest(LeastRequest { choices: *choices }))
            }
            validated::Balancer::PeakEwma { decay, failure_penalty } => {
                let tuned = PeakEwma { decay: Span(*decay), failure_penalty: Span(*failure_penalty) };
                Self::Tuned(TunedBalancer::PeakEwma(tuned))
            }
            validated::Balancer::Maglev { key, bounded_load } => {
                Self::Tuned(TunedBalancer::Maglev(Maglev { key: key.into(), bounded_load: *bounded_load }))
            }
        }
    }
}

impl From<&validated::HashKey> for HashKey {
    fn from(key: &validated::HashKey) -> Self {
        match key {
            validated::HashKey::Header(name) => Self::Header(name.clone()),
            validated::HashKey::Cookie(name) => Self::Cookie(name.clone()),
            validated::HashKey::ClientAddress => Self::ClientAddress,
            validated::HashKey::Path => Self::Path,
        }
    }
}

impl From<&HashKey> for validated::HashKey {
    fn from(key: &HashKey) -> Self {
        match key {
            HashKey::Header(name) => Self::Header(name.to_ascii_lowercase()),
            HashKey::Cookie(name) => Self::Cookie(name.clone()),
            HashKey::ClientAddress => Self::ClientAddress,
            HashKey::Path => Self::Path,
        }
    }
}

impl From<&Balancer> for validated::Balancer {
    fn from(balancer: &Balancer) -> Self {
        let least_request = |tuned: &LeastRequest| Self::LeastRequest { choices: tuned.choices };
        let peak_ewma =
            |tuned: &PeakEwma| Self::PeakEwma { decay: tuned.decay.0, failure_penalty: tuned.failure_penalty.0 };
        match balancer {
            Balancer::Plain(PlainBalancer::RoundRobin) => Self::RoundRobin,
            Balancer::Plain(PlainBalancer::Random) => Self::Random,
            Balancer::Plain(PlainBalancer::LeastRequest) => least_request(&LeastRequest::default()),
            Balancer::Plain(PlainBalancer::PeakEwma) => peak_ewma(&PeakEwma::default()),
            Balancer::Tuned(TunedBalancer::LeastRequest(tuned)) => least_request(tuned),
            Balancer::Tuned(TunedBalancer::PeakEwma(tuned)) => peak_ewma(tuned),
            Balancer::Tuned(TunedBalancer::Maglev(tuned)) => {
                Self::Maglev { key: (&tuned.key).into(), bounded_load: tuned.bounded_load }
            }
        }
    }
}

impl From<&validated::SlowStart> for SlowStart {
    fn from(slow: &validated::SlowStart) -> Self {
        Self { window: Span(slow.window), floor: Percent(slow.floor) }
    }
}

impl From<&SlowStart> for validated::SlowStart {
    fn from(slow: &SlowStart) -> Self {
        Self { window: slow.window.0, floor: slow.floor.0 }
    }
}

impl From<&validated::Zones> for Zones {
    fn from(zones: &validated::Zones) -> Self {
        Self { overprovisioning: zones.overprovisioning, min_endpoints: zones.min_endpoints }
    }
}

impl From<&Zones> for validated::Zones {
    fn from(zones: &Zones) -> Self {
        Self { overprovisioning: zones.overprovisioning, min_endpoints: zones.min_endpoints }
    }
}

impl From<&validated::Session> for Session {
    fn from(session: &validated::Session) -> Self {
        Self { cookie: session.cookie.clone(), max_age: session.max_age.map(Span) }
    }
}

impl From<&Session> for validated::Session {
    fn from(session: &Session) -> Self {
        Self { cookie: session.cookie.clone(), max_age: session.max_age.map(|age| age.0) }
    }
}

impl From<&validated::Panic> for Panic {
    fn from(panic: &validated::Panic) -> Self {
        Self { below: Percent(panic.below), then: panic.then }
    }
}

impl From<&Panic> for validated::Panic {
    fn from(panic: &Panic) -> Self {
        Self { below: panic.below.0, then: panic.then }
    }
}
