//! Durations as operators write them: `250ms`, `5s`, `1m30s`, `2h`.
//!
//! A bare number is refused: `timeout: 5` means seconds to one reader and milliseconds to another. Fractions are refused
//! for the same reason that the units are whole: `1s500ms` can be read in one way only.

use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The longest duration that is accepted: 30 days. What is longer is a slip of the keyboard or wants `off`.
pub const MAX: Duration = Duration::from_secs(30 * 24 * 3_600);

/// Units from the longest to the shortest, in milliseconds.
const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Why a text is not a duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DurationError {
    /// Nothing, or something that is not digits and units.
    Malformed,
    /// Digits without a unit.
    NoUnit,
    /// A decimal point.
    Fraction,
    /// A unit other than `h`, `m`, `s` and `ms`.
    UnknownUnit,
    /// Units not from the longest to the shortest, or one of them twice.
    Order,
    /// Zero where time must pass.
    Zero,
    /// Above [`MAX`].
    TooLong,
}

impl fmt::Display for DurationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "is not a duration",
            Self::NoUnit => "has no unit",
            Self::Fraction => "has a fraction",
            Self::UnknownUnit => "has an unknown unit",
            Self::Order => "has its units out of order",
            Self::Zero => "must be longer than nothing",
            Self::TooLong => "is longer than 30 days (720h)",
        })
    }
}

impl std::error::Error for DurationError {}

/// Reads a duration, zero included.
///
/// # Errors
/// When the text is not one or more pairs of digits and unit, from the longest unit to the shortest, of at most [`MAX`].
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    if text.is_empty() || !text.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(DurationError::Malformed);
    }
    let (mut rest, mut total, mut units) = (text, 0_u64, UNITS.as_slice());
    while !rest.is_empty() {
        let (count, unit, after) = part(rest)?;
        let place = units.iter().position(|(name, _)| *name == unit);
        let place = place.ok_or_else(|| unit_error(unit))?;
        let part = count.checked_mul(units[place].1).ok_or(DurationError::TooLong)?;
        total = total.checked_add(part).ok_or(DurationError::TooLong)?;
        (rest, units) = (after, &units[place + 1..]);
    }
    let total = Duration::from_millis(total);
    if total > MAX { Err(DurationError::TooLong) } else { Ok(total) }
}

/// Splits `5s30ms` into 5, `s` and `30ms`.
fn part(text: &str) -> Result<(u64, &str, &str), DurationError> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or(DurationError::NoUnit)?;
    let (number, rest) = text.split_at(digits);
    if rest.starts_with('.') {
        return Err(DurationError::Fraction);
    }
    let end = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
    let (unit, after) = rest.split_at(end);
    if number.is_empty() || unit.is_empty() {
        return Err(DurationError::Malformed);
    }
    Ok((number.parse().map_err(|_| DurationError::TooLong)?, unit, after))
}

fn unit_error(unit: &str) -> DurationError {
    if UNITS.iter().any(|(name, _)| *name == unit) { DurationError::Order } else { DurationError::UnknownUnit }
}

/// Writes a duration so that [`parse`] reads it back; below a millisecond nothing is written.
#[must_use]
pub fn write(duration: Duration) -> String {
    let mut left = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if left == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (unit, length) in UNITS {
        let count = left / length;
        if count > 0 {
            text.push_str(&format!("{count}{unit}"));
        }
        left %= length;
    }
    text
}

fn parse_positive(text: &str) -> Result<Duration, DurationError> {
    let duration = parse(text)?;
    if duration.is_zero() { Err(DurationError::Zero) } else { Ok(duration) }
}

macro_rules! spans {
    ($($(#[$doc:meta])* $name:ident($inner:ty), $format:literal, $read:expr, $write:expr;)+) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub(crate) struct $name(pub(crate) $inner);

        impl TryFrom<String> for $name {
            type Error = DurationError;
            fn try_from(text: String) -> Result<Self, DurationError> {
                let read: fn(&str) -> Result<$inner, DurationError> = $read;
                read(&text).map(Self)
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                let write: fn($inner) -> Self = $write;
                write(value.0)
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
                schemars::json_schema!({ "type": "string", "format": $format })
            }
        }
    )+};
}

spans! {
    /// A duration above zero.
    Span(Duration), "duration", parse_positive, write;
    /// A duration that may be zero.
    SpanOrZero(Duration), "duration-or-zero", parse, write;
    /// A duration above zero, or `off`.
    Timeout(Option<Duration>), "timeout", parse_timeout, |value| value.map_or_else(|| "off".to_owned(), write);
}

fn parse_timeout(text: &str) -> Result<Option<Duration>, DurationError> {
    if text == "off" { Ok(None) } else { parse_positive(text).map(Some) }
}

impl Span {
    pub(crate) const fn seconds(count: u64) -> Self {
        Self(Duration::from_secs(count))
    }
}

impl SpanOrZero {
    pub(crate) const fn seconds(count: u64) -> Self {
        Self(Duration::from_secs(count))
    }
}

impl Timeout {
    pub(crate) const fn seconds(count: u64) -> Self {
        Self(Some(Duration::from_secs(count)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn units_are_read() {
        assert_eq!(parse("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse("2h"), Ok(Duration::from_secs(7_200)));
        assert_eq!(parse("0s"), Ok(Duration::ZERO));
    }

    #[test]
    fn each_refusal_says_why() {
        for (text, error) in [
            ("", DurationError::Malformed),
            ("s", DurationError::Malformed),
            ("-5s", DurationError::Malformed),
            ("5 s", DurationError::Malformed),
            ("5", DurationError::NoUnit),
            ("1m30", DurationError::NoUnit),
            ("1.5s", DurationError::Fraction),
            ("5d", DurationError::UnknownUnit),
            ("5S", DurationError::UnknownUnit),
            ("30s1m", DurationError::Order),
            ("1s1s", DurationError::Order),
            ("721h", DurationError::TooLong),
            ("99999999999999999999s", DurationError::TooLong),
            ("9999999999999999999h", DurationError::TooLong),
        ] {
            assert_eq!(parse(text), Err(error), "{text:?}");
        }
        assert_eq!(parse_positive("0ms"), Err(DurationError::Zero));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(millis in 0_u64..=2_592_000_000) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse(&write(duration)), Ok(duration));
        }

        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = parse(&text);
        }
    }
}
