//! Names: one type for each kind of thing that has one, so that a region can never stand where a version belongs.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The longest name that is accepted, in bytes. Names become metric labels and file names.
pub const MAX_LENGTH: usize = 63;

/// Why a text is not a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameError {
    /// Nothing was written.
    Empty,
    /// More than [`MAX_LENGTH`] bytes.
    TooLong,
    /// A character other than `a-z`, `A-Z`, `0-9`, `-`, `_` and `.`, or a first character that is not a letter or digit.
    BadCharacter(char),
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("a name must not be empty"),
            Self::TooLong => write!(f, "a name has at most {MAX_LENGTH} characters"),
            Self::BadCharacter(c) => write!(f, "a name must not have {c:?} here"),
        }
    }
}

impl std::error::Error for NameError {}

pub(crate) fn check(text: &str) -> Result<(), NameError> {
    let first = text.chars().next().ok_or(NameError::Empty)?;
    if text.len() > MAX_LENGTH {
        return Err(NameError::TooLong);
    }
    if !first.is_ascii_alphanumeric() {
        return Err(NameError::BadCharacter(first));
    }
    match text.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))) {
        Some(c) => Err(NameError::BadCharacter(c)),
        None => Ok(()),
    }
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(std::sync::Arc<str>);

        impl $name {
            /// The name as it was written.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl std::str::FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                check(text)?;
                Ok(Self(text.into()))
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.as_ref().to_owned()
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
            fn inline_schema() -> bool {
                true
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "format": "name" })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    )+};
}

names! {
    /// The name of a listener.
    ListenerName,
    /// The name of a region.
    RegionName,
    /// The name of a service.
    ServiceName,
    /// The name of a version inside its service.
    VersionName,
    /// The name of a zone inside its region.
    ZoneName,
    /// The name of a running proxy.
    NodeName,
}

/// The name of a region or version that nobody named: the document was written in its short form.
const IMPLIED: &str = "default";

impl RegionName {
    pub(crate) fn implied() -> Self {
        Self(IMPLIED.into())
    }
}

impl VersionName {
    pub(crate) fn implied() -> Self {
        Self(IMPLIED.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_plain() {
        assert!("us-east-1".parse::<RegionName>().is_ok());
        assert_eq!("".parse::<RegionName>(), Err(NameError::Empty));
        assert_eq!("-a".parse::<RegionName>(), Err(NameError::BadCharacter('-')));
        assert_eq!("a b".parse::<RegionName>(), Err(NameError::BadCharacter(' ')));
        assert_eq!("a".repeat(64).parse::<RegionName>(), Err(NameError::TooLong));
    }
}
