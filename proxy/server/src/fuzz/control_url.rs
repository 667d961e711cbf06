//! The address of a control plane.

use crate::control::ControlUrl;

pub(super) fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(url) = text.parse::<ControlUrl>() else { return };
    let written = url.to_string();
    assert_eq!(written.parse().as_ref(), Ok(&url), "{text} was written as {written}");
    assert!(!written.contains(['#', '?']) && !url.host().contains(['@', '/', '[']), "{written}");
    assert!(url.subscription().ends_with("/v1/subscribe"));
}
