//! Whether some listener lets a request through whose path is that of a route.

use super::judge::{Judge, section};
use crate::path;
use crate::problem::{Code, quote};
use crate::validated::{Listener, PathMatch, Paths, Route};

/// A route whose path no listener leaves as it is would match nothing.
pub(super) fn check(judge: &mut Judge<'_>, listeners: &[Listener], routes: &[Route]) {
    if !judge.problems.is_empty() || listeners.is_empty() {
        return;
    }
    for (index, route) in routes.iter().enumerate() {
        let (PathMatch::Prefix(path) | PathMatch::Exact(path)) = &route.matches.path else { continue };
        if listeners.iter().any(|listener| is_left(path, listener.paths)) {
            continue;
        }
        let message = format!("no request has the path {}: every listener changes or refuses it", quote(path));
        let hint = "see `paths` of the listeners: `encoded_slashes` and `merge_slashes`".to_owned();
        judge.report(Code::BadPath, section("routes").item(index).field("match").field("path"), message, Some(hint));
    }
}

fn is_left(text: &str, policy: Paths) -> bool {
    let mut bytes = text.as_bytes().to_vec();
    path::normalize(&mut bytes, policy).is_ok_and(|length| bytes[..length] == *text.as_bytes())
}
