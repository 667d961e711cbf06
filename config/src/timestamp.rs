//! Moments as they are stored and told: to the millisecond, in UTC, written as RFC 3339 has it.
//!
//! Cores take the present moment as an argument of this type; only shells read a clock.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The last millisecond of 29 December 9999: soon after it moments have no text of this form.
const LAST: u64 = 253_402_127_999_999;

/// Milliseconds since the beginning of 1970, up to the year 9999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Timestamp(u64);

impl Timestamp {
    /// So many milliseconds after the beginning of 1970; later than the year 9999 is that year's end.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(if millis > LAST { LAST } else { millis })
    }

    /// Milliseconds since the beginning of 1970.
    #[must_use]
    pub const fn millis(self) -> u64 {
        self.0
    }

    /// The moment so much later.
    #[must_use]
    pub fn after(self, wait: Duration) -> Self {
        Self::from_millis(self.0.saturating_add(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)))
    }

    /// The time since an earlier moment; nothing if that one is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// `2026-11-26T09:30:00.000Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = i64::try_from(self.0).expect("the year 9999 fits");
        let moment = jiff::Timestamp::from_millisecond(millis).expect("the year 9999 is the last that has a text");
        f.pad(&format!("{moment:.3}"))
    }
}

/// Why a text is not a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimestampError(String);

impl fmt::Display for TimestampError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not a moment such as 2026-11-26T09:30:00.000Z", self.0)
    }
}

impl std::error::Error for TimestampError {}

/// Any RFC 3339 time with an offset, from 1970 on; what is finer than a millisecond is cut off.
impl FromStr for Timestamp {
    type Err = TimestampError;

    fn from_str(text: &str) -> Result<Self, TimestampError> {
        let refusal = || TimestampError(text.chars().take(60).collect());
        let moment: jiff::Timestamp = text.parse().map_err(|_| refusal())?;
        let millis = u64::try_from(moment.as_millisecond()).map_err(|_| refusal())?;
        Ok(Self::from_millis(millis))
    }
}

impl TryFrom<String> for Timestamp {
    type Error = TimestampError;

    fn try_from(text: String) -> Result<Self, TimestampError> {
        text.parse()
    }
}

impl From<Timestamp> for String {
    fn from(moment: Timestamp) -> Self {
        moment.to_string()
    }
}

impl schemars::JsonSchema for Timestamp {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Timestamp".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "format": "date-time" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_moment_is_told_in_utc_to_the_millisecond() {
        let moment = Timestamp::from_millis(1_795_685_400_007);
        assert_eq!(moment.to_string(), "2026-11-26T09:30:00.007Z");
        assert_eq!("2026-11-26T10:30:00.0079+01:00".parse(), Ok(moment));
        assert_eq!(moment.after(Duration::from_secs(60)).since(moment), Duration::from_secs(60));
        assert_eq!(moment.since(moment.after(Duration::from_secs(1))), Duration::ZERO);
        assert!(Timestamp::from_millis(u64::MAX).to_string().starts_with("9999-"));
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        for text in ["", "yesterday", "2026-11-26", "1969-12-31T23:59:59Z", "2026-13-01T00:00:00Z"] {
            assert!(text.parse::<Timestamp>().is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn each_moment_is_read_back(millis in 0..=LAST) {
            let moment = Timestamp::from_millis(millis);
            prop_assert_eq!(moment.to_string().parse(), Ok(moment));
        }
    }
}
