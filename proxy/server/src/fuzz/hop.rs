//! What is stripped from a head before it goes on. The input is fields as HTTP/1 writes them; the first byte says whether an
//! upgrade goes with them.

use super::first;
use crate::h1::{HeadLimits, parse_request};
use crate::message::{Fields, Known, RequestHead, strip_hop_by_hop};

const LIMITS: HeadLimits = HeadLimits { bytes: 16 * 1024, count: 64 };

pub(super) fn check(data: &[u8]) {
    let (kind, fields) = first(data);
    let raw = [b"GET / HTTP/1.1\r\nHost: t\r\n", fields, b"\r\n\r\n"].concat();
    let mut head = RequestHead::new();
    if !matches!(parse_request(&raw, &LIMITS, &mut head), Ok(Some(_))) {
        return;
    }
    let keep_upgrade = kind & 1 == 1;
    let ends = |fields: &Fields| fields.iter().filter(|(_, _, known)| is_kept(*known)).count();
    let before = ends(&head.fields);
    strip_hop_by_hop(&mut head.fields, keep_upgrade);
    assert_eq!(ends(&head.fields), before, "a field that others rely on went");
    for (_, value, known) in &head.fields {
        let excepted = (known == Known::Te && value == b"trailers") || (known == Known::Upgrade && keep_upgrade);
        let allowed = excepted || !known.is_hop_by_hop();
        assert!(allowed, "{known:?} is of one connection");
    }
    let left = head.fields.len();
    strip_hop_by_hop(&mut head.fields, keep_upgrade);
    assert_eq!(head.fields.len(), left, "once is enough");
}

const fn is_kept(known: Known) -> bool {
    !matches!(known, Known::Other | Known::Removed) && !known.is_hop_by_hop()
}
