//! An earlier document is restored.
//!
//! **The rule.** Revision N's document comes back; live weights of others stay where they are, since the document is what
//! was found wrong, not the shift of a colleague. With `with_weights` those of N come back too, and what has ended of them
//! since stays ended. Overrides are never touched: an incident is when both are needed.
//!
//! **Parking.** In file mode the file still holds the text that was rolled back, and would be applied at the next look. So
//! its digest is parked until the file holds another text. It stays parked when the restored document is what the file
//! holds: the same text may mean something else in the environment of the next start.

use std::sync::Arc;

use sluice_config::timestamp::Timestamp;
use sluice_config::value::Digest;
use sluice_config::{Environment, Overlay, validate};

use super::expiry::settle;
use super::{Head, Proposal, Refusal, Unchanged, laid};
use crate::revision::{Document, Kind, Revision};

/// The document of revision `to`. In file mode `file` is the digest of the file's text, if it could be read. Costs a validation, unless
/// the head has the same document.
///
/// # Errors
/// [`Refusal::Unfit`] when weights that stay, or overrides, name what it does not have, [`Refusal::Unchanged`] when the head is the same,
/// [`Refusal::Problems`] when this Sluice does not accept it any more; their places are those in the document's JSON.
pub fn roll_back(
    head: &Head,
    to: &Revision,
    to_document: &Document,
    with_weights: bool,
    file: Option<Digest>,
    now: Timestamp,
) -> Result<Proposal, Refusal> {
    let same = to.document == head.revision.document;
    let written = if same {
        Arc::clone(&head.written)
    } else {
        Arc::new(validate(&to_document.json, &Environment::empty()).map_err(Refusal::Problems)?)
    };
    let live = &head.revision.overlay;
    let weights = if with_weights { settle(&to.overlay.weights, &written, now).0 } else { live.weights.clone() };
    let overlay = Overlay { weights, overrides: live.overrides.clone() };
    if same && overlay == *live {
        return Err(Refusal::Unchanged(Unchanged::Restored(to.id)));
    }
    let digest = laid(&written, &overlay)?;
    let document = (!same).then(|| to_document.clone());
    Ok(Proposal {
        kind: Kind::Document,
        document,
        overlay,
        digest,
        restores: Some(to.id),
        parked: match file {
            // A file that holds what is restored is not in its way.
            Some(text) => Some(text).filter(|text| *text != Digest::of(to_document.source.as_bytes())),
            None => head.revision.parked,
        },
    })
}
