//! Bounds as operators write them: a number, a size or a rate, or the word `off`; where the process can find out by
//! itself what fits, also `auto`.
//!
//! `off` is a word and never 0: nothing at all and no limit are opposites, and a zero has meant both.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::size::{Size, SizeError};

/// The most that a count may be bounded at.
pub(crate) const MOST: u32 = 10_000_000;

const OFF: &str = "off";
const AUTO: &str = "auto";

/// `auto` in YAML.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Auto {
    Auto,
}

/// `off` in YAML.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Off {
    Off,
}

/// At most so many, or `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Most {
    Off(Off),
    Count(u32),
}

/// At most so many, as many as fit (`auto`), or `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum MostThatFits {
    Auto(Auto),
    Off(Off),
    Count(u32),
}

impl Most {
    pub(crate) const OFF: Self = Self::Off(Off::Off);

    pub(crate) const fn get(self) -> Option<u32> {
        match self {
            Self::Off(_) => None,
            Self::Count(count) => Some(count),
        }
    }

    pub(crate) fn of(count: Option<u32>) -> Self {
        count.map_or(Self::OFF, Self::Count)
    }
}

/// Reads `off` or what `read` reads.
fn unless_off<T, E>(text: &str, read: impl FnOnce(&str) -> Result<T, E>) -> Result<Option<T>, E> {
    if text == OFF { Ok(None) } else { read(text).map(Some) }
}

fn or_off<T: fmt::Display>(value: Option<T>) -> String {
    value.map_or_else(|| OFF.to_owned(), |value| value.to_string())
}

/// A size above nothing, or `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct SizeOrOff(pub(crate) Option<Size>);

/// A size above nothing, what fits (`auto`), or `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) enum SizeThatFits {
    Auto,
    Off,
    Size(Size),
}

/// Bytes for each second of time, above nothing: `240B/s`, `1KiB/s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rate(pub(crate) Size);

/// A rate, or `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct RateOrOff(pub(crate) Option<Rate>);

/// So many times in each second: `500/s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Times(pub(crate) u32);

/// So many times in each second, or `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct TimesOrOff(pub(crate) Option<Times>);

/// The most times in a second: below that a machine can tell them apart.
const MOST_TIMES: u32 = 1_000_000;

/// Why a text is no bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BoundError {
    /// The part that is a size is none.
    Size(SizeError),
    /// Not of a second.
    NoSecond,
    /// Nothing.
    Zero,
    /// The part that is a number is none.
    NoNumber,
    /// More than [`MOST_TIMES`].
    TooOften,
}

impl fmt::Display for BoundError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size(error) => error.fmt(f),
            Self::NoSecond => f.write_str("does not end with `/s`"),
            Self::Zero => f.write_str("must be above nothing"),
            Self::NoNumber => f.write_str("is not a number for each second"),
            Self::TooOften => write!(f, "is more than {MOST_TIMES}/s"),
        }
    }
}

fn positive(text: &str) -> Result<Size, BoundError> {
    let size: Size = text.parse().map_err(BoundError::Size)?;
    if size.get() == 0 { Err(BoundError::Zero) } else { Ok(size) }
}

impl std::str::FromStr for Rate {
    type Err = BoundError;
    fn from_str(text: &str) -> Result<Self, BoundError> {
        positive(text.strip_suffix("/s").ok_or(BoundError::NoSecond)?).map(Self)
    }
}

impl std::str::FromStr for Times {
    type Err = BoundError;
    fn from_str(text: &str) -> Result<Self, BoundError> {
        let number = text.strip_suffix("/s").ok_or(BoundError::NoSecond)?;
        if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(BoundError::NoNumber);
        }
        match number.parse() {
            Ok(0) => Err(BoundError::Zero),
            Ok(times) if times <= MOST_TIMES => Ok(Self(times)),
            Ok(_) | Err(_) => Err(BoundError::TooOften),
        }
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/s", self.0)
    }
}

impl std::str::FromStr for TimesOrOff {
    type Err = BoundError;
    fn from_str(text: &str) -> Result<Self, BoundError> {
        unless_off(text, str::parse).map(Self)
    }
}

impl fmt::Display for TimesOrOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&or_off(self.0))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/s", self.0)
    }
}

impl std::str::FromStr for SizeThatFits {
    type Err = BoundError;
    fn from_str(text: &str) -> Result<Self, BoundError> {
        match text {
            AUTO => Ok(Self::Auto),
            OFF => Ok(Self::Off),
            size => positive(size).map(Self::Size),
        }
    }
}

impl std::str::FromStr for SizeOrOff {
    type Err = BoundError;
    fn from_str(text: &str) -> Result<Self, BoundError> {
        unless_off(text, positive).map(Self)
    }
}

impl std::str::FromStr for RateOrOff {
    type Err = BoundError;
    fn from_str(text: &str) -> Result<Self, BoundError> {
        unless_off(text, str::parse).map(Self)
    }
}

impl fmt::Display for SizeThatFits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str(AUTO),
            Self::Off => f.write_str(OFF),
            Self::Size(size) => size.fmt(f),
        }
    }
}

impl fmt::Display for SizeOrOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&or_off(self.0))
    }
}

impl fmt::Display for RateOrOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&or_off(self.0))
    }
}

macro_rules! texts {
    ($($name:ident, $format:literal;)+) => {$(
        impl TryFrom<String> for $name {
            type Error = BoundError;
            fn try_from(text: String) -> Result<Self, BoundError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.to_string()
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
            fn inline_schema() -> bool {
                true
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "format": $format })
            }
        }
    )+};
}

texts! {
    SizeOrOff, "size-or-off";
    SizeThatFits, "size-that-fits";
    RateOrOff, "rate-or-off";
    TimesOrOff, "times-or-off";
}

/// `off` in a schema of several choices.
pub(crate) fn off_word() -> Schema {
    json_schema!({ "type": "string", "const": OFF })
}

macro_rules! counts {
    ($($name:ident, [$($word:expr),+];)+) => {$(
        impl JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
            fn inline_schema() -> bool {
                true
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "anyOf": [
                    $({ "type": "string", "const": $word },)+
                    { "type": "integer", "minimum": 1, "maximum": MOST }
                ] })
            }
        }
    )+};
}

counts! {
    Most, [OFF];
    MostThatFits, [AUTO, OFF];
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_rate_is_a_size_for_each_second() {
        assert_eq!("240B/s".parse(), Ok(Rate(Size::bytes(240))));
        assert_eq!("1KiB/s".parse(), Ok(Rate(Size::bytes(1_024))));
        for (text, error) in [
            ("240B", BoundError::NoSecond),
            ("240/s", BoundError::Size(SizeError::NoUnit)),
            ("240B/m", BoundError::NoSecond),
            ("0B/s", BoundError::Zero),
            ("/s", BoundError::Size(SizeError::Malformed)),
        ] {
            assert_eq!(text.parse::<Rate>(), Err(error), "{text:?}");
        }
    }

    #[test]
    fn times_are_a_number_for_each_second() {
        assert_eq!("500/s".parse(), Ok(Times(500)));
        assert_eq!("off".parse(), Ok(TimesOrOff(None)));
        for (text, error) in [
            ("500", BoundError::NoSecond),
            ("/s", BoundError::NoNumber),
            ("+5/s", BoundError::NoNumber),
            ("5B/s", BoundError::NoNumber),
            ("0/s", BoundError::Zero),
            ("1000001/s", BoundError::TooOften),
            ("99999999999/s", BoundError::TooOften),
        ] {
            assert_eq!(text.parse::<Times>(), Err(error), "{text:?}");
        }
    }

    #[test]
    fn words_stand_for_no_bound_and_for_what_fits() {
        assert_eq!("off".parse(), Ok(SizeOrOff(None)));
        assert_eq!("off".parse(), Ok(RateOrOff(None)));
        assert_eq!("auto".parse(), Ok(SizeThatFits::Auto));
        assert_eq!("off".parse(), Ok(SizeThatFits::Off));
        assert_eq!("0B".parse::<SizeOrOff>(), Err(BoundError::Zero));
        assert!("auto".parse::<SizeOrOff>().is_err());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(bytes in 1_u64..) {
            let size = Size::bytes(bytes);
            prop_assert_eq!(SizeThatFits::Size(size).to_string().parse(), Ok(SizeThatFits::Size(size)));
            prop_assert_eq!(RateOrOff(Some(Rate(size))).to_string().parse(), Ok(RateOrOff(Some(Rate(size)))));
        }
    }
}
