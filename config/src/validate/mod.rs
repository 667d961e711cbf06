//! Text in; a proven document or all of its problems out.
//!
//! Three steps: the text becomes a tree (`tree`), the whole tree is compared with the schema (`structure`), and what it
//! means is judged here. A problem in one part must not hide those in another, so what has no proper
//! structure is taken out as narrowly as can be and the rest is judged (`remains`); what would be judged by a part that was
//! taken out is not judged at all, so that no problem is told that is only the echo of another.
//!
//! Linear in the size of the document, except for the handful of listeners, which are compared pair by pair.

mod balance;
mod cover;
mod discovery;
mod files;
mod health_check;
mod judge;
mod limits;
mod list;
mod listeners;
mod overlay;
mod own;
mod paths;
mod process;
mod regex;
mod regions;
mod retries;
mod routes;
mod services;

pub use files::{UnusableFile, refuse_files};
pub use list::endpoint_list;
pub use listeners::collide;
pub use overlay::{Dangling, Gone, lay};
pub use own::{is_nowhere, is_own, refuse_endpoints};
pub use regex::path_regex;

use std::borrow::Cow;

use crate::effective;
use crate::limit;
use crate::overlay::Overlay;
use crate::problem::{Code, Path, Position, Problem, Problems};
use crate::remains::{Gaps, prune};
use crate::schema::Document;
use crate::suggestion::Suggestions;
use crate::tree::{self, Dollars, Environment, Node};
use crate::validated::{Drain, Validated};
use crate::value::Digest;
use judge::Judge;

/// A proven pair of document and overlay, and the document's text with the environment filled in.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Source {
    /// What was proven: the document as it is with the overlay. Its digest is the pair's.
    pub validated: Validated,
    /// Of the effective document without the overlay.
    pub document: Digest,
    /// The document as JSON, every `${NAME}` replaced. It validates to the same digest with any environment: this is what
    /// a [`Revision`](crate::wire::Revision) carries.
    pub json: String,
}

/// Proves a document, YAML or JSON.
///
/// # Errors
/// All problems, in the order of the text.
pub fn validate(text: &str, environment: &Environment) -> Result<Validated, Problems> {
    read(text, environment).map(|source| source.validated)
}

/// Proves a document, and gives its substituted text too.
///
/// # Errors
/// As [`validate`].
pub fn read(text: &str, environment: &Environment) -> Result<Source, Problems> {
    read_pair(text, environment, &Overlay::default())
}

/// Proves a document together with what was changed live on top of it.
///
/// # Errors
/// As [`validate`], and for each name in the overlay that the document does not have.
pub fn read_pair(text: &str, environment: &Environment, overlay: &Overlay) -> Result<Source, Problems> {
    let mut problems = Problems::default();
    let root = match tree::read(text, environment, &mut problems) {
        Ok(root) => root,
        Err(fatal) => {
            problems.push(*fatal);
            return Err(problems.sorted());
        }
    };
    let mut suggestions = Suggestions::new();
    crate::structure::check(&root, &mut problems, &mut suggestions);
    let validated = judge(&root, overlay, &mut problems, &mut suggestions);
    let json = tree::to_json(&root, Dollars::Escaped);
    if json.len() > limit::BYTES {
        let message =
            format!("the document has more than {} bytes as JSON, aliases and environment filled in", limit::BYTES);
        problems.push(Problem::of_file(Code::OverLimit, message));
    }
    match validated {
        Some(mut validated) if problems.is_empty() => {
            let document = validated.digest;
            overlay::put(&mut validated, overlay);
            Ok(Source { validated, document, json })
        }
        _ => Err(problems.sorted()),
    }
}

/// The text of a file, which must be UTF-8.
///
/// # Errors
/// One problem, at the first byte that is not.
pub fn decode(bytes: &[u8]) -> Result<&str, Problems> {
    std::str::from_utf8(bytes).map_err(|error| {
        let before = &bytes[..error.valid_up_to()];
        let count = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let line = count(&before.iter().copied().filter(|byte| *byte == b'\n').collect::<Vec<_>>()).saturating_add(1);
        let last = before.rsplit(|byte| *byte == b'\n').next().unwrap_or(before);
        let column = u32::try_from(String::from_utf8_lossy(last).chars().count()).unwrap_or(u32::MAX).saturating_add(1);
        let message = format!("the file is not text: byte {:#04x} is not UTF-8", bytes[error.valid_up_to()]);
        Problem::new(Code::NotText, Path::default(), Position { line, column }, message)
            .hint("is this the right file?")
            .into()
    })
}

/// What the document means. Nothing comes back when too much of it is missing.
fn judge(root: &Node, overlay: &Overlay, problems: &mut Problems, suggestions: &mut Suggestions) -> Option<Validated> {
    if problems.omitted > 0 {
        return None;
    }
    let (remains, gaps) = if problems.is_empty() {
        (Cow::Borrowed(root), Gaps::default())
    } else {
        let (remains, gaps) = prune(root, problems);
        (Cow::Owned(remains), gaps)
    };
    let document: Document = match serde_json::from_str(&tree::to_json(&remains, Dollars::Bare)) {
        Ok(document) => document,
        Err(error) => {
            // The schema and the types are one, so this is a defect of ours; it is still an answer, not a panic.
            problems.push(Problem::of_file(Code::WrongType, format!("the document cannot be decoded: {error}")));
            return None;
        }
    };
    let mut judge = Judge { root: &remains, gaps, problems, suggestions };
    limits::check(&mut judge, &document).then(|| resolve(&mut judge, &document, overlay))
}

fn resolve(judge: &mut Judge<'_>, document: &Document, overlay: &Overlay) -> Validated {
    let listeners = listeners::resolve(judge, &document.listeners);
    let regions = regions::resolve(judge, &document.regions);
    let services = services::resolve(judge, &document.services, &regions);
    own::check(judge, &listeners);
    let routes = routes::resolve(judge, document, &regions, &services);
    paths::check(judge, &listeners, &routes);
    let drain = &document.drain;
    let drain = Drain { delay: drain.delay.0, deadline: drain.deadline.0, linger: drain.linger.0 };
    let limits = process::resolve(judge, &document.limits);
    overlay::check(judge, &services, &regions, overlay);
    let resolver = discovery::resolver(judge, document);
    let digest = Digest::of(&[]);
    let mut validated = Validated { listeners, regions, services, routes, drain, limits, resolver, digest };
    // References are indices, which a document with problems may not have.
    if judge.problems.is_empty() {
        validated.digest = effective::digest(&validated);
    }
    validated
}
