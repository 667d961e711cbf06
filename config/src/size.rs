//! Sizes as operators write them: `32KiB`, `1MiB`, `1MB`, `512B`.
//!
//! Both families of units are read, and each means what its standard says: `1KiB` is 1,024 bytes, `1KB` is 1,000.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The largest first, so that writing finds the longest unit that divides a size.
const UNITS: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("KB", 1_000),
    ("B", 1),
];

/// Why a text is not a size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SizeError {
    /// Not digits and a unit.
    Malformed,
    /// Digits without a unit.
    NoUnit,
    /// A unit that is not known.
    UnknownUnit,
    /// More than fits.
    TooLarge,
}

impl fmt::Display for SizeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "is not a size",
            Self::NoUnit => "has no unit",
            Self::UnknownUnit => "has an unknown unit",
            Self::TooLarge => "is too large",
        })
    }
}

impl std::error::Error for SizeError {}

/// A number of bytes, written with its unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Size(u64);

impl Size {
    /// `count` bytes.
    #[must_use]
    pub const fn bytes(count: u64) -> Self {
        Self(count)
    }

    /// `count` times 1,024 bytes.
    #[must_use]
    pub const fn kibibytes(count: u64) -> Self {
        Self(count << 10)
    }

    /// The number of bytes.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl std::str::FromStr for Size {
    type Err = SizeError;
    fn from_str(text: &str) -> Result<Self, SizeError> {
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        if number.is_empty() {
            return Err(SizeError::Malformed);
        }
        let count: u64 = number.parse().map_err(|_| SizeError::TooLarge)?;
        if unit.is_empty() {
            return Err(SizeError::NoUnit);
        }
        let (_, scale) = UNITS.iter().find(|(name, _)| *name == unit).ok_or(SizeError::UnknownUnit)?;
        count.checked_mul(*scale).map(Self).ok_or(SizeError::TooLarge)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = UNITS.iter().find(|(_, scale)| self.0 >= *scale && self.0.is_multiple_of(*scale));
        let (unit, scale) = whole.unwrap_or(&UNITS[UNITS.len() - 1]);
        write!(f, "{}{unit}", self.0 / scale)
    }
}

impl TryFrom<String> for Size {
    type Error = SizeError;
    fn try_from(text: String) -> Result<Self, SizeError> {
        text.parse()
    }
}

impl From<Size> for String {
    fn from(size: Size) -> Self {
        size.to_string()
    }
}

impl JsonSchema for Size {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Size".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "format": "size" })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn both_families_of_units_are_read() {
        assert_eq!("32KiB".parse(), Ok(Size(32_768)));
        assert_eq!("1MiB".parse(), Ok(Size(1_048_576)));
        assert_eq!("1MB".parse(), Ok(Size(1_000_000)));
        assert_eq!("512B".parse(), Ok(Size(512)));
    }

    #[test]
    fn each_refusal_says_why() {
        for (text, error) in [
            ("", SizeError::Malformed),
            ("KiB", SizeError::Malformed),
            ("-1KiB", SizeError::Malformed),
            ("32", SizeError::NoUnit),
            ("32K", SizeError::UnknownUnit),
            ("32kib", SizeError::UnknownUnit),
            ("32 KiB", SizeError::UnknownUnit),
            ("99999999999999999999B", SizeError::TooLarge),
            ("18446744073709551615GiB", SizeError::TooLarge),
        ] {
            assert_eq!(text.parse::<Size>(), Err(error), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(count: u64) {
            prop_assert_eq!(Size(count).to_string().parse(), Ok(Size(count)));
        }
    }
}
