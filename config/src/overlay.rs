//! What was changed live, on top of the document: weights that are not the document's, and overrides.
//!
//! An overlay names things of a document, so the two are proven together, as a pair (see [`read_pair`](crate::read_pair)).
//! It is stored and sent as JSON; times in it are absolute, so that it means the same wherever and whenever it is read.

mod action;

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::name::ServiceName;
use crate::share::Shares;
use crate::timestamp::Timestamp;
use crate::value::RevisionId;

pub use action::{Action, BreakerForce, Circuit, EndpointForce, Force};

/// What stands over a document.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Overlay {
    /// The services whose weights are not the document's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(with = "BTreeMap<String, LiveWeights>")]
    pub weights: BTreeMap<ServiceName, LiveWeights>,
    /// An operator's hands on automation, by the revision that laid each.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(with = "BTreeMap<u64, Override>")]
    pub overrides: BTreeMap<RevisionId, Override>,
}

impl Overlay {
    /// Nothing was changed live.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.weights.is_empty() && self.overrides.is_empty()
    }

    /// What proxies act by of the overrides, the oldest first: where two overlap, the later one holds.
    pub fn forces(&self) -> impl Iterator<Item = (RevisionId, &Override)> {
        self.overrides.iter().filter(|(_, one)| one.action.is_force()).map(|(id, one)| (*id, one))
    }

    /// The same weights, and no override.
    #[must_use]
    pub fn weights_only(&self) -> Self {
        Self { weights: self.weights.clone(), overrides: BTreeMap::new() }
    }

    /// The earliest moment at which something in it ends by itself.
    #[must_use]
    pub fn next_end(&self) -> Option<Timestamp> {
        let weights = self.weights.values().filter_map(|weights| Some(weights.until.as_ref()?.at));
        weights.chain(self.overrides.values().map(|one| one.expires)).min()
    }
}

/// The weights of one service that the document does not own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LiveWeights {
    /// How new choices are shared.
    pub shares: Shares,
    /// Whose they are.
    pub owner: Owner,
    /// Who set them.
    pub author: Author,
    /// Why.
    pub reason: Reason,
    /// When.
    pub since: Timestamp,
    /// When they end by themselves, and what comes then. Absent: they stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Until>,
}

/// How weights end by themselves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Until {
    /// When.
    pub at: Timestamp,
    /// What was there before and comes back. Absent: the document's weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub then: Option<Box<LiveWeights>>,
}

/// Whose a service's weights are, if not the document's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Owner {
    /// An operator's, by `shift`.
    Operator,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Operator => "operator",
        })
    }
}

/// An operator's hand on automation. It always ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Override {
    /// What it does.
    pub action: Action,
    /// Who laid it.
    pub author: Author,
    /// Why.
    pub reason: Reason,
    /// When.
    pub since: Timestamp,
    /// When it ends by itself: at most [`Override::MAX`] after it was laid.
    pub expires: Timestamp,
}

impl Override {
    /// The longest that an override may last: 72 hours, so that one laid on a Friday evening is looked at on Monday.
    pub const MAX: std::time::Duration = std::time::Duration::from_secs(72 * 3_600);
}

/// Why a text is not an author or a reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WordsError {
    /// Nothing but spaces.
    Empty,
    /// More bytes than these.
    TooLong(usize),
    /// A line break or another character that is not shown.
    Control,
}

impl fmt::Display for WordsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("must not be empty"),
            Self::TooLong(most) => write!(f, "has at most {most} bytes"),
            Self::Control => f.write_str("must be one line of characters that are shown"),
        }
    }
}

impl std::error::Error for WordsError {}

macro_rules! words {
    ($($(#[$doc:meta])* $name:ident, $most:literal;)+) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The most bytes.
            pub const MAX: usize = $most;

            /// As it was written.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = WordsError;
            fn from_str(text: &str) -> Result<Self, WordsError> {
                let text = text.trim();
                match text {
                    "" => Err(WordsError::Empty),
                    _ if text.len() > $most => Err(WordsError::TooLong($most)),
                    _ if text.chars().any(char::is_control) => Err(WordsError::Control),
                    _ => Ok(Self(text.to_owned())),
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = String;
            fn try_from(text: String) -> Result<Self, String> {
                text.parse().map_err(|error: WordsError| format!("it {error}"))
            }
        }

        impl From<$name> for String {
            fn from(words: $name) -> Self {
                words.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
            fn inline_schema() -> bool {
                true
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "minLength": 1, "maxLength": $most })
            }
        }
    )+};
}

words! {
    /// Who changed something: a token's name, a user of the machine, or a part of Sluice.
    Author, 128;
    /// Why something was changed, in a line.
    Reason, 500;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authors_and_reasons_are_one_line() {
        assert_eq!(" ann ".parse::<Author>().unwrap().as_str(), "ann");
        assert_eq!("  ".parse::<Reason>(), Err(WordsError::Empty));
        assert_eq!("a\nb".parse::<Reason>(), Err(WordsError::Control));
        assert_eq!("a\u{1b}[31m".parse::<Author>(), Err(WordsError::Control));
        assert_eq!("a".repeat(129).parse::<Author>(), Err(WordsError::TooLong(128)));
    }

    #[test]
    fn an_overlay_is_read_back_and_refuses_what_it_does_not_know() {
        let text = r#"{"weights":{"shop":{"shares":{"v1":"95%","v2":"5%"},"owner":"operator","author":"ann",
            "reason":"try v2","since":"2026-11-26T09:30:00.000Z","until":{"at":"2026-11-26T11:30:00.000Z"}}},
            "overrides":{"7":{"action":"freeze","author":"ann","reason":"incident","since":"2026-11-26T09:30:00.000Z",
            "expires":"2026-11-26T10:00:00.000Z"}}}"#;
        let overlay: Overlay = serde_json::from_str(text).unwrap();
        assert_eq!(overlay.next_end(), Some("2026-11-26T10:00:00Z".parse().unwrap()));
        let again: Overlay = serde_json::from_str(&serde_json::to_string(&overlay).unwrap()).unwrap();
        assert_eq!(again, overlay);
        assert!(serde_json::from_str::<Overlay>(r#"{"wieghts":{}}"#).is_err());
        assert!(serde_json::from_str::<Overlay>("{}").unwrap().is_empty());
    }
}
