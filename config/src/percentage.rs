//! Factors as operators write them: `140%`, `300%`. Unlike a share they may be above the whole.

use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// The largest factor that is accepted.
const MOST: u32 = 10_000;

/// A factor in whole percent, 1 to 10,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Percentage(u32);

/// Why a text is no factor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PercentageError {
    /// Not digits and a percent sign.
    Malformed,
    /// A number without the percent sign.
    NoSign,
    /// Not 1 to 10,000.
    Range,
}

impl fmt::Display for PercentageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "is not a percentage such as 140%",
            Self::NoSign => "has no percent sign",
            Self::Range => "is not between 1% and 10000%",
        })
    }
}

impl std::error::Error for PercentageError {}

impl Percentage {
    /// Nothing if it is not 1 to 10,000.
    #[must_use]
    pub const fn new(percent: u32) -> Option<Self> {
        if percent >= 1 && percent <= MOST { Some(Self(percent)) } else { None }
    }

    /// 140 for `140%`.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// 1.4 for `140%`.
    #[must_use]
    pub fn factor(self) -> f64 {
        f64::from(self.0) / 100.0
    }
}

impl fmt::Display for Percentage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

impl FromStr for Percentage {
    type Err = PercentageError;

    fn from_str(text: &str) -> Result<Self, PercentageError> {
        let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        let Some(digits) = text.strip_suffix('%') else {
            return Err(if is_number(text) { PercentageError::NoSign } else { PercentageError::Malformed });
        };
        if !is_number(digits) {
            return Err(PercentageError::Malformed);
        }
        digits.parse().ok().and_then(Self::new).ok_or(PercentageError::Range)
    }
}

impl TryFrom<String> for Percentage {
    type Error = PercentageError;
    fn try_from(text: String) -> Result<Self, PercentageError> {
        text.parse()
    }
}

impl From<Percentage> for String {
    fn from(value: Percentage) -> Self {
        value.to_string()
    }
}

impl JsonSchema for Percentage {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Percentage".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "percentage" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentage_has_its_sign_and_is_whole() {
        assert_eq!("140%".parse(), Ok(Percentage(140)));
        assert_eq!("1%".parse::<Percentage>().unwrap().to_string(), "1%");
        for (text, error) in [
            ("140", PercentageError::NoSign),
            ("%", PercentageError::Malformed),
            ("1.4%", PercentageError::Malformed),
            ("-1%", PercentageError::Malformed),
            ("0%", PercentageError::Range),
            ("10001%", PercentageError::Range),
            ("99999999999999999999%", PercentageError::Range),
        ] {
            assert_eq!(text.parse::<Percentage>(), Err(error), "{text:?}");
        }
        assert_eq!(Percentage(150).factor(), 1.5);
    }
}
