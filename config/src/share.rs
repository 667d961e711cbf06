//! Shares of a whole, to the millionth, and how a whole is shared among versions.
//!
//! Percent is what operators type; parts per million is what is stored, so that no share is ever rounded on its way.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::name::VersionName;
use crate::value::Weight;

/// A share of a whole: 0 to 100 %, in steps of 0.0001 %. Written with its sign: `5%`, `0.0125%`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Share(u32);

/// Why a text is not a share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShareError {
    /// Not digits, a decimal point and a percent sign.
    Malformed,
    /// A number without the percent sign.
    NoSign,
    /// Above 100 %.
    TooLarge,
    /// More than four digits after the decimal point.
    TooFine,
}

impl fmt::Display for ShareError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "is not a share such as 5% or 0.25%",
            Self::NoSign => "has no percent sign",
            Self::TooLarge => "is more than 100%",
            Self::TooFine => "is finer than 0.0001%",
        })
    }
}

impl std::error::Error for ShareError {}

impl Share {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Everything.
    pub const WHOLE: Self = Self(1_000_000);

    /// So many parts per million; nothing when there are more than a million.
    #[must_use]
    pub const fn from_ppm(ppm: u32) -> Option<Self> {
        if ppm <= Self::WHOLE.0 { Some(Self(ppm)) } else { None }
    }

    /// So many percent, at most 100.
    pub(crate) const fn from_percent(percent: u8) -> Self {
        Self(if percent < 100 { percent as u32 * 10_000 } else { Self::WHOLE.0 })
    }

    /// Parts per million.
    #[must_use]
    pub const fn ppm(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.0 / 10_000, self.0 % 10_000);
        let fraction = format!("{part:04}");
        match fraction.trim_end_matches('0') {
            "" => f.pad(&format!("{whole}%")),
            digits => f.pad(&format!("{whole}.{digits}%")),
        }
    }
}

impl FromStr for Share {
    type Err = ShareError;

    fn from_str(text: &str) -> Result<Self, ShareError> {
        let number = text.strip_suffix('%').map(str::trim_end);
        let Some(number) = number else {
            let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
            return Err(if is_number { ShareError::NoSign } else { ShareError::Malformed });
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(fraction) {
            return Err(ShareError::Malformed);
        }
        let fraction = fraction.trim_end_matches('0');
        if fraction.len() > 4 {
            return Err(ShareError::TooFine);
        }
        let whole: u32 = whole.parse().map_err(|_| ShareError::TooLarge)?;
        let part: u32 = format!("{fraction:0<4}").parse().map_err(|_| ShareError::Malformed)?;
        let ppm = whole.checked_mul(10_000).and_then(|ppm| ppm.checked_add(part)).ok_or(ShareError::TooLarge)?;
        Self::from_ppm(ppm).ok_or(ShareError::TooLarge)
    }
}

impl TryFrom<String> for Share {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map_err(|error| format!("{:?} {error}", text.chars().take(60).collect::<String>()))
    }
}

impl From<Share> for String {
    fn from(share: Share) -> Self {
        share.to_string()
    }
}

impl schemars::JsonSchema for Share {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Share".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^[0-9]{1,3}(\\.[0-9]{1,4})? *%$" })
    }
}

/// How a service's new choices are shared among its versions. They add up to 100 %; what is not named has nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(try_from = "BTreeMap<VersionName, Share>", into = "BTreeMap<VersionName, Share>")]
#[schemars(with = "BTreeMap<String, Share>")]
pub struct Shares(BTreeMap<VersionName, Share>);

/// Shares that are not a whole: what they add up to, in parts per million.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAWhole(pub u64);

impl fmt::Display for NotAWhole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the shares add up to {}%, not to 100%", self.0 as f64 / 10_000.0)
    }
}

impl std::error::Error for NotAWhole {}

impl Shares {
    /// These shares; versions with none are left out.
    ///
    /// # Errors
    /// When they do not add up to 100 %.
    pub fn new(shares: impl IntoIterator<Item = (VersionName, Share)>) -> Result<Self, NotAWhole> {
        let shares: BTreeMap<_, _> = shares.into_iter().filter(|(_, share)| *share > Share::NONE).collect();
        let sum: u64 = shares.values().map(|share| u64::from(share.0)).sum();
        if sum == u64::from(Share::WHOLE.0) { Ok(Self(shares)) } else { Err(NotAWhole(sum)) }
    }

    /// The shares that relative weights mean, rounded to the millionth so that they add up (largest remainder; of equals
    /// the first). Nothing when all weights are 0.
    #[must_use]
    pub fn of_weights<'a>(weights: impl IntoIterator<Item = (&'a VersionName, u64)>) -> Option<Self> {
        let weights: Vec<(&VersionName, u64)> = weights.into_iter().collect();
        let parts = apportion(u64::from(Share::WHOLE.0), weights.iter().map(|(_, weight)| *weight))?;
        let share = |part: u64| u32::try_from(part).ok().and_then(Share::from_ppm).unwrap_or(Share::WHOLE);
        let named = weights.iter().zip(parts).map(|((name, _), part)| ((*name).clone(), share(part)));
        Self::new(named).ok()
    }

    /// A version's share.
    #[must_use]
    pub fn of(&self, version: &VersionName) -> Share {
        self.0.get(version).copied().unwrap_or(Share::NONE)
    }

    /// Every version that has a share, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&VersionName, Share)> {
        self.0.iter().map(|(name, share)| (name, *share))
    }

    /// The same as relative weights, in the smallest numbers that are shares in percent or a tenth, hundredth and so on
    /// of one: 95 % and 5 % are 95 and 5, 99.5 % and 0.5 % are 995 and 5.
    #[must_use]
    pub fn weight(&self, version: &VersionName) -> Weight {
        let fits = |divisor: &u32| self.0.values().all(|share| share.0.is_multiple_of(*divisor));
        let divisor = [10_000, 1_000, 100, 10].into_iter().find(fits).unwrap_or(1);
        Weight::new(self.of(version).0 / divisor).unwrap_or(Weight::ZERO)
    }
}

/// Shares `whole` out by weights, exactly: each gets its part rounded down, and what is left goes to the largest
/// remainders, of equals to the first (Hamilton's method). Nothing when all weights are 0.
pub fn apportion(whole: u64, weights: impl IntoIterator<Item = u64>) -> Option<Vec<u64>> {
    let weights: Vec<u128> = weights.into_iter().map(u128::from).collect();
    let total: u128 = weights.iter().sum();
    if total == 0 {
        return None;
    }
    let narrow = |part: u128| u64::try_from(part).unwrap_or(u64::MAX);
    let mut parts: Vec<u64> = weights.iter().map(|weight| narrow(u128::from(whole) * weight / total)).collect();
    let mut order: Vec<usize> = (0..weights.len()).collect();
    order.sort_by_key(|place| std::cmp::Reverse(u128::from(whole) * weights[*place] % total));
    let left = whole - parts.iter().sum::<u64>();
    order.iter().take(usize::try_from(left).unwrap_or(usize::MAX)).for_each(|place| parts[*place] += 1);
    Some(parts)
}

impl TryFrom<BTreeMap<VersionName, Share>> for Shares {
    type Error = NotAWhole;

    fn try_from(shares: BTreeMap<VersionName, Share>) -> Result<Self, NotAWhole> {
        Self::new(shares)
    }
}

impl From<Shares> for BTreeMap<VersionName, Share> {
    fn from(shares: Shares) -> Self {
        shares.0
    }
}

/// `v1=95% v2=5%`.
impl fmt::Display for Shares {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<String> = self.iter().map(|(name, share)| format!("{name}={share}")).collect();
        f.pad(&words.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(text: &str) -> VersionName {
        text.parse().unwrap()
    }

    fn shares(parts: &[(&str, &str)]) -> Shares {
        Shares::new(parts.iter().map(|(version, share)| (name(version), share.parse().unwrap()))).unwrap()
    }

    #[test]
    fn shares_are_written_in_percent() {
        for (text, ppm) in [("0%", 0), ("5%", 50_000), ("0.0001%", 1), ("12.5%", 125_000), ("100%", 1_000_000)] {
            assert_eq!(text.parse().map(Share::ppm), Ok(ppm));
            assert_eq!(Share::from_ppm(ppm).unwrap().to_string(), text);
        }
        assert_eq!("5 %".parse::<Share>().map(Share::ppm), Ok(50_000));
        assert_eq!("5.00000%".parse::<Share>().map(Share::ppm), Ok(50_000));
    }

    #[test]
    fn what_is_no_share_is_refused() {
        for (text, error) in [
            ("5", ShareError::NoSign),
            ("", ShareError::Malformed),
            ("%", ShareError::Malformed),
            ("-1%", ShareError::Malformed),
            ("1.%", ShareError::Malformed),
            (".5%", ShareError::Malformed),
            ("100.0001%", ShareError::TooLarge),
            ("99999999999%", ShareError::TooLarge),
            ("0.00001%", ShareError::TooFine),
        ] {
            assert_eq!(text.parse::<Share>(), Err(error), "{text:?}");
        }
    }

    #[test]
    fn shares_are_a_whole() {
        assert_eq!(shares(&[("v1", "95%"), ("v2", "5%"), ("v3", "0%")]).to_string(), "v1=95% v2=5%");
        assert_eq!(Shares::new([(name("v1"), "95%".parse().unwrap())]), Err(NotAWhole(950_000)));
        assert!(serde_json::from_str::<Shares>(r#"{"v1":"40%"}"#).is_err());
    }

    #[test]
    fn shares_become_small_weights() {
        let weights = |shares: &Shares| ["v1", "v2"].map(|version| shares.weight(&name(version)).get());
        assert_eq!(weights(&shares(&[("v1", "95%"), ("v2", "5%")])), [95, 5]);
        assert_eq!(weights(&shares(&[("v1", "99.5%"), ("v2", "0.5%")])), [995, 5]);
        assert_eq!(weights(&shares(&[("v1", "99.9999%"), ("v2", "0.0001%")])), [999_999, 1]);
        assert_eq!(weights(&shares(&[("v1", "100%")])), [100, 0]);
    }

    proptest! {
        #[test]
        fn what_is_shared_out_is_the_whole_and_nearly_the_weight(
            whole in 0_u64..2_000_000,
            weights in prop::collection::vec(0_u64..1_000_000, 1..20),
        ) {
            let total: u64 = weights.iter().sum();
            let parts = apportion(whole, weights.clone());
            prop_assert_eq!(parts.is_none(), total == 0);
            for (part, weight) in parts.iter().flatten().zip(&weights) {
                let exact = whole as f64 * *weight as f64 / total as f64;
                prop_assert!((*part as f64 - exact).abs() < 1.0 + 1e-6);
                prop_assert!(*weight > 0 || *part == 0);
            }
            prop_assert_eq!(parts.map_or(whole, |parts| parts.iter().sum()), whole);
        }

        #[test]
        fn each_share_is_read_back(ppm in 0_u32..=1_000_000) {
            let share = Share::from_ppm(ppm).unwrap();
            prop_assert_eq!(share.to_string().parse(), Ok(share));
        }
    }
}
