//! The name of one request, in logs, replies and at the origin.

use rand::Rng;

use crate::message::{Fields, Known};

/// Made here, or taken over from a trusted proxy.
#[derive(Debug)]
pub(crate) enum RequestId {
    Made([u8; 32]),
    Taken(Box<[u8]>),
}

impl RequestId {
    /// 128 random bits in hexadecimal digits.
    pub(crate) fn make(rng: &mut impl Rng) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let bits = [rng.next_u64(), rng.next_u64()];
        Self::Made(std::array::from_fn(|at| DIGITS[(bits[at / 16] >> (4 * (at % 16)) & 15) as usize]))
    }

    /// What the request brought, if it names itself once and in a form that is safe wherever an id is written.
    pub(crate) fn take(fields: &Fields) -> Option<Self> {
        let brought = fields.get(Known::XRequestId).filter(|_| !fields.has_many(Known::XRequestId))?;
        let plain = brought.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
        (plain && (8..=128).contains(&brought.len())).then(|| Self::Taken(brought.into()))
    }
}

impl AsRef<[u8]> for RequestId {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Made(id) => id,
            Self::Taken(id) => id,
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn an_id_is_taken_over_when_it_is_plain() {
        let take = |list: &[&str]| {
            let mut fields = Fields::new();
            list.iter().for_each(|id| fields.push("X-Request-ID", id));
            RequestId::take(&fields).map(|id| String::from_utf8(id.as_ref().to_vec()).unwrap())
        };
        let longest = "a".repeat(128);
        for good in ["abcdefgh", "f81d4fae-7dec-11d0-a765-00a0c91e6bf6", "A.b_c-1234", &longest] {
            assert_eq!(take(&[good]).as_deref(), Some(good));
        }
        let long = "a".repeat(129);
        for bad in ["", "abcdefg", "abcdefg h", "abcdefgh\"", "abcdefg\u{e9}", "abcd,efgh", &long] {
            assert_eq!(take(&[bad]), None, "{bad}");
        }
        assert_eq!(take(&["abcdefgh", "abcdefgh"]), None);
        assert_eq!(take(&[]), None);
    }

    #[test]
    fn made_ids_are_plain_and_differ() {
        let mut rng = rand::rngs::SmallRng::seed_from_u64(1);
        let (one, other) = (RequestId::make(&mut rng), RequestId::make(&mut rng));
        assert_ne!(one.as_ref(), other.as_ref());
        assert!(one.as_ref().len() == 32 && one.as_ref().iter().all(u8::is_ascii_hexdigit));
    }
}
