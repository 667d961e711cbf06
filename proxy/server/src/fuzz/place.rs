//! Targets and authorities. The first byte is the policy of paths and the method; then the authority, a line end, and the
//! target.

use super::first;
use super::path::policy;
use crate::message::{Method, RequestHead};

pub(super) fn check(data: &[u8]) {
    let (kind, rest) = first(data);
    let (authority, target) = rest.split_at(rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len()));
    let mut head = RequestHead::new();
    head.method = if kind & 16 == 0 { Method::Get } else { Method::Options };
    if head.set_authority(authority).is_ok() {
        assert_eq!(head.authority().as_bytes(), authority);
        assert!(!head.host().is_empty() && !head.host().bytes().any(|byte| byte.is_ascii_uppercase()));
    } else {
        assert_eq!((head.authority(), head.host()), ("", ""));
    }
    if head.set_target(target.get(1..).unwrap_or_default()).is_err() || head.normalize_path(policy(kind)).is_err() {
        return;
    }
    check_target(&head);
    let (target, authority) = (head.target().to_owned(), head.authority().to_owned());
    let mut again = RequestHead::new();
    again.method = head.method;
    assert_eq!(again.set_target(target.as_bytes()), Ok(()));
    assert_eq!(again.normalize_path(policy(kind)), Ok(()));
    assert_eq!((again.target(), again.path(), again.query()), (head.target(), head.path(), head.query()));
    assert!(authority.is_empty() || again.set_authority(authority.as_bytes()).is_ok());
}

fn check_target(head: &RequestHead) {
    assert!(head.target() == "*" || head.target().starts_with('/'));
    assert!(head.target().bytes().all(|byte| byte.is_ascii_graphic()) && !head.target().contains('#'));
    let whole = match head.query() {
        Some(query) => format!("{}?{query}", head.path()),
        None => head.path().to_owned(),
    };
    assert_eq!(whole, head.target());
}
