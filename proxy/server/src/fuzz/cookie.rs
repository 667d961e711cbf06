//! The cookie of a sticky split. The first byte is the length of its name, which comes next; then the values of the Cookie
//! fields, a line each.

use sluice_proxy_core::sticky;

use super::first;

pub(super) fn check(data: &[u8]) {
    let (length, rest) = first(data);
    let (name, fields) = rest.split_at(usize::from(length).min(rest.len()));
    let Ok(name) = std::str::from_utf8(name) else { return };
    let fields: Vec<&[u8]> = fields.split(|byte| *byte == b'\n').collect();
    let found = sticky::cookie(fields.iter().copied(), name);
    let Some(value) = found else { return };
    assert!(!value.contains(&b';'));
    let pair = [name.as_bytes(), b"=", value].concat();
    assert!(fields.iter().any(|field| field.windows(pair.len().max(1)).any(|part| part == pair) || pair.is_empty()));
    // Alone it is found as well.
    assert_eq!(sticky::cookie(std::iter::once(pair.as_slice()), name).map(<[u8]>::trim_ascii_end), Some(value.trim_ascii_end()));
}
