//! Why an endpoint of a pool was picked. Which one is decided by the service's [`crate::balance`], among those of the pool's
//! [`crate::supply`], in the [`crate::zone`] that is preferred.

/// Why this endpoint. Of several reasons the first of this list is told that is not [`Self::Verified`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The balancer's choice among the verified ones.
    Verified,
    /// The pool has so few left that all are picked but those that an operator took out.
    Panic,
    /// Among those not yet probed: the pool has none verified.
    Unprobed,
    /// In another zone than the proxy's, which cannot take it all.
    OtherZone,
    /// The request's key led to another endpoint, which could not take it.
    NextKey,
    /// The request's key led to it.
    Key,
}

impl Reason {
    /// A stable name for metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Panic => "panic",
            Self::Unprobed => "unprobed",
            Self::OtherZone => "other_zone",
            Self::NextKey => "next_key",
            Self::Key => "key",
        }
    }
}
