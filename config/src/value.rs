//! Values with a meaning and a range: a number that passed one of these constructors needs no further check.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The share of new choices that something gets, relative to its siblings. 0 is never chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32")]
pub struct Weight(u32);

impl Weight {
    /// The largest weight. A split in parts per million fits.
    pub const MAX: u32 = 1_000_000;
    /// Never chosen.
    pub const ZERO: Self = Self(0);
    /// What an endpoint has by default.
    pub const ONE: Self = Self(1);
    /// What a region or a version has by default.
    pub const HUNDRED: Self = Self(100);

    /// A weight of `value`, or nothing when it is above [`Weight::MAX`].
    #[must_use]
    pub const fn new(value: u32) -> Option<Self> {
        if value <= Self::MAX { Some(Self(value)) } else { None }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl TryFrom<u32> for Weight {
    type Error = String;
    fn try_from(value: u32) -> Result<Self, String> {
        Self::new(value).ok_or_else(|| format!("a weight is at most {}", Self::MAX))
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl schemars::JsonSchema for Weight {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Weight".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "integer", "minimum": 0, "maximum": Self::MAX })
    }
}

/// The number of a revision. One counter orders all changes; the first revision is 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RevisionId(pub u64);

impl fmt::Display for RevisionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

macro_rules! hexadecimal {
    ($($(#[$doc:meta])* $name:ident;)+) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(u64);

        impl $name {
            /// Made of 64 random bits, which the shell draws.
            #[must_use]
            pub const fn from_bits(bits: u64) -> Self {
                Self(bits)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&format!("{:016x}", self.0))
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.to_string()
            }
        }

        impl TryFrom<String> for $name {
            type Error = String;
            fn try_from(text: String) -> Result<Self, String> {
                let refusal = || format!("{text:?} is not 16 hexadecimal digits");
                let is_plain = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
                if !is_plain {
                    return Err(refusal());
                }
                u64::from_str_radix(&text, 16).map(Self).map_err(|_| refusal())
            }
        }
    )+};
}

hexadecimal! {
    /// Which store numbered a revision. A store draws its own when it is made and keeps it; a copy that is restored
    /// elsewhere to go on by itself is another history.
    HistoryId;
    /// Which run of a proxy's process something belongs to: drawn anew at each start, so that counts which begin again
    /// are not taken for counts that fell.
    Incarnation;
}

impl schemars::JsonSchema for RevisionId {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "RevisionId".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "integer", "minimum": 1 })
    }
}

/// SHA-256 over the content of a document in its canonical form: equal digests mean equal behaviour.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 32]);

impl Digest {
    /// All zeros: the digest of nothing that exists, where one must stand.
    pub const ZERO: Self = Self([0; 32]);

    /// The digest of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        use sha2::Digest as _;
        Self(sha2::Sha256::digest(bytes).into())
    }

    /// Its 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl schemars::JsonSchema for Digest {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Digest".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^[0-9a-f]{64}$" })
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

impl TryFrom<String> for Digest {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let refusal = || format!("{text:?} is not a digest of 64 hexadecimal digits");
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(refusal());
        }
        let mut bytes = [0; 32];
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).map_err(|_| refusal())?;
        }
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_64_hexadecimal_digits() {
        let digest = Digest::of(b"");
        assert_eq!(Digest::try_from(digest.to_string()), Ok(digest));
        assert_eq!(digest.as_bytes()[..2], [0xe3, 0xb0]);
        for text in ["", "e3", &"+f".repeat(32), &"é".repeat(32)] {
            assert!(Digest::try_from(text.to_owned()).is_err(), "{text:?}");
        }
    }
}
