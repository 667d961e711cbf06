//! The field names that the proxy itself looks at.

macro_rules! known {
    ($($length:literal: $($variant:ident $text:literal),+;)+) => {
        /// A field name, recognised once while it was read. Compared without regard to case.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        #[allow(missing_docs)]
        pub enum Known {
            $($($variant,)+)+
            /// Was there and is passed over now.
            Removed,
            /// Any other name.
            Other,
        }

        impl Known {
            /// The known name that these visible characters are, else [`Known::Other`]. One comparison per known name of
            /// this length.
            #[must_use]
            #[inline]
            pub fn of(name: &[u8]) -> Self {
                match name.len() {
                    $($length => {
                        let Some(name) = name.first_chunk::<$length>() else { return Self::Other };
                        $(if same(name, $text) {
                            return Self::$variant;
                        })+
                        Self::Other
                    })+
                    _ => Self::Other,
                }
            }

            /// The name in lower case; empty for [`Known::Removed`] and [`Known::Other`].
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $($(Self::$variant => {
                        match std::str::from_utf8($text) {
                            Ok(text) => text,
                            Err(_) => "",
                        }
                    })+)+
                    Self::Removed | Self::Other => "",
                }
            }
        }

        #[cfg(test)]
        pub(super) const ALL: &[Known] = &[$($(Known::$variant,)+)+];
    };
}

known! {
    2: Te b"te";
    3: Via b"via", Age b"age";
    4: Host b"host", Date b"date", Vary b"vary", ETag b"etag";
    5: Range b"range";
    6: Accept b"accept", Cookie b"cookie", Server b"server", Expect b"expect", Origin b"origin", Pragma b"pragma";
    7: Referer b"referer", Trailer b"trailer", Upgrade b"upgrade", Expires b"expires";
    8: Location b"location", IfMatch b"if-match", IfRange b"if-range";
    9: Forwarded b"forwarded", XRealIp b"x-real-ip";
    10: Connection b"connection", KeepAlive b"keep-alive", SetCookie b"set-cookie", UserAgent b"user-agent";
    11: RetryAfter b"retry-after", ClientCert b"client-cert";
    12: ContentType b"content-type", XRequestId b"x-request-id", MaxForwards b"max-forwards";
    13: Authorization b"authorization", ContentRange b"content-range", CacheControl b"cache-control",
        IfNoneMatch b"if-none-match", LastModified b"last-modified", AcceptRanges b"accept-ranges";
    14: ContentLength b"content-length", Http2Settings b"http2-settings";
    15: AcceptEncoding b"accept-encoding", AcceptLanguage b"accept-language", XForwardedFor b"x-forwarded-for";
    16: ContentEncoding b"content-encoding", ProxyConnection b"proxy-connection",
        XForwardedHost b"x-forwarded-host", XForwardedPort b"x-forwarded-port", WwwAuthenticate b"www-authenticate";
    17: TransferEncoding b"transfer-encoding", XForwardedProto b"x-forwarded-proto",
        IfModifiedSince b"if-modified-since", ClientCertChain b"client-cert-chain";
    18: ProxyAuthenticate b"proxy-authenticate";
    19: ProxyAuthorization b"proxy-authorization", IfUnmodifiedSince b"if-unmodified-since";
    23: XForwardedClientCert b"x-forwarded-client-cert";
}

impl Known {
    /// Its place in the sets of [`super::Fields`]; none for `Removed` and `Other`.
    pub(super) const fn bit(self) -> u64 {
        if matches!(self, Self::Removed | Self::Other) { 0 } else { 1 << self as u8 }
    }

    /// Whether it belongs to one connection and is never forwarded as it came.
    #[must_use]
    pub const fn is_hop_by_hop(self) -> bool {
        matches!(
            self,
            Self::Connection
                | Self::KeepAlive
                | Self::ProxyConnection
                | Self::TransferEncoding
                | Self::Te
                | Self::Upgrade
                | Self::Http2Settings
                | Self::ProxyAuthorization
                | Self::ProxyAuthenticate
        )
    }

    /// Whether it must not stand behind a body: it frames, routes, authenticates, or describes the content, and has
    /// been acted upon by then (RFC 9110, 6.5.1).
    #[must_use]
    pub const fn is_forbidden_in_trailers(self) -> bool {
        !matches!(
            self,
            Self::Removed | Self::Other | Self::Date | Self::Server | Self::Via | Self::ETag | Self::LastModified
        )
    }
}

/// Setting the bit 0x20 folds the case of letters. Of the visible characters no two fall together on one that stands in
/// a known name, but for letters, so the comparison is exact. Compared by words that may overlap.
#[inline]
fn same<const N: usize>(name: &[u8; N], lower: &[u8; N]) -> bool {
    if let (Some(a), Some(b), Some(c), Some(d)) =
        (name.first_chunk::<8>(), name.last_chunk::<8>(), lower.first_chunk::<8>(), lower.last_chunk::<8>())
    {
        let middle = if N > 16 { fold_middle(name) ^ fold_middle(lower) } else { 0 };
        return (fold_long(a) ^ fold_long(c)) | (fold_long(b) ^ fold_long(d)) | middle == 0;
    }
    if let (Some(a), Some(b), Some(c), Some(d)) =
        (name.first_chunk::<4>(), name.last_chunk::<4>(), lower.first_chunk::<4>(), lower.last_chunk::<4>())
    {
        return (fold_short(a) ^ fold_short(c)) | (fold_short(b) ^ fold_short(d)) == 0;
    }
    name.iter().zip(lower).fold(0, |difference, (a, b)| difference | ((a | 0x20) ^ b)) == 0
}

/// The eight bytes from the ninth on, of names that two words do not cover: with them all of up to 24.
fn fold_middle<const N: usize>(name: &[u8; N]) -> u64 {
    name.get(8..16).and_then(<[u8]>::first_chunk).map_or(0, fold_long)
}

const fn fold_long(bytes: &[u8; 8]) -> u64 {
    u64::from_le_bytes(*bytes) | 0x2020_2020_2020_2020
}

const fn fold_short(bytes: &[u8; 4]) -> u32 {
    u32::from_le_bytes(*bytes) | 0x2020_2020
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_name_is_recognised_in_any_case() {
        assert!(ALL.len() <= 64, "the sets of Fields have 64 places");
        assert!(ALL.iter().all(|known| known.as_str().len() <= 24), "three words cover 24 bytes");
        for known in ALL {
            let name = known.as_str();
            assert_eq!(Known::of(name.as_bytes()), *known);
            assert_eq!(Known::of(name.to_ascii_uppercase().as_bytes()), *known);
            let altered = format!("{}!", &name[..name.len() - 1]);
            assert_eq!(Known::of(altered.as_bytes()), Known::Other, "{altered}");
        }
    }

    #[test]
    fn no_other_name_is_taken_for_a_known_name() {
        for (byte, known) in (b'!'..=b'~').flat_map(|byte| ALL.iter().map(move |known| (byte, *known))) {
            for place in 0..known.as_str().len() {
                let mut name = known.as_str().as_bytes().to_vec();
                let same = name[place].eq_ignore_ascii_case(&byte);
                name[place] = byte;
                assert_eq!(Known::of(&name) == known, same, "{:?}", String::from_utf8_lossy(&name));
            }
        }
    }
}
