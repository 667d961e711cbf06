//! The normal form of paths. The first byte is the policy, the rest a target.

use sluice_config::path;
use sluice_config::validated::{DotSegments, EncodedSlashes, Paths};

use super::first;

pub(super) fn check(data: &[u8]) {
    let (kind, target) = first(data);
    if target.first() != Some(&b'/') || !target.iter().all(u8::is_ascii_graphic) {
        return;
    }
    let policy = policy(kind);
    let Ok(found) = path::inspect(target) else { return };
    let written = &target[..found.end];
    let Ok(form) = normal(written, policy) else {
        assert!(!found.plain, "a plain path was refused");
        return;
    };
    assert!(form.len() <= written.len() && form[0] == b'/');
    assert!(!found.plain || form == written, "a plain path was changed");
    assert_eq!(path::inspect(&form).map(|again| again.end), Ok(form.len()));
    assert_eq!(normal(&form, policy).as_ref(), Ok(&form), "the form has another form");
    let text = String::from_utf8_lossy(&form).replace("%2F", "/").replace("%5C", "/");
    assert!(!text.split('/').any(|segment| matches!(segment.split(';').next(), Some("." | ".."))), "{text}");
    assert!(!policy.merge_slashes || !form.windows(2).any(|pair| pair == b"//"));
}

pub(super) const fn policy(kind: u8) -> Paths {
    Paths {
        dot_segments: if kind & 1 == 0 { DotSegments::Resolve } else { DotSegments::Refuse },
        encoded_slashes: match kind >> 1 & 3 {
            0 | 3 => EncodedSlashes::Keep,
            1 => EncodedSlashes::Refuse,
            _ => EncodedSlashes::Decode,
        },
        merge_slashes: kind & 8 == 8,
    }
}

fn normal(path: &[u8], policy: Paths) -> Result<Vec<u8>, &'static str> {
    let mut bytes = path.to_vec();
    let length = path::normalize(&mut bytes, policy)?;
    bytes.truncate(length);
    Ok(bytes)
}
