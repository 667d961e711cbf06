//! What was read or written lately, so that the fleet's subscribers do not all go to the disk for one new revision.
//!
//! Of revisions the newest are kept: they are what is asked for again and again, and a reader of old ones displaces none
//! of them. Of documents those used last are kept, and few, because each may be megabytes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use sluice_config::value::{Digest, RevisionId};
use sluice_control_core::revision::{Document, Revision};

/// How many revisions are kept.
const REVISIONS: usize = 256;
/// How many documents are kept.
const DOCUMENTS: usize = 4;

/// Revisions and documents at hand. They never change, so nothing here is ever out of date.
#[derive(Debug, Default)]
pub(super) struct Recent {
    revisions: BTreeMap<RevisionId, Arc<Revision>>,
    /// The one used last is at the end.
    documents: VecDeque<(Digest, Arc<Document>)>,
}

impl Recent {
    pub(super) fn revision(&self, id: RevisionId) -> Option<Arc<Revision>> {
        self.revisions.get(&id).cloned()
    }

    pub(super) fn document(&mut self, key: Digest) -> Option<Arc<Document>> {
        let at = self.documents.iter().position(|(kept, _)| *kept == key)?;
        let found = self.documents.remove(at)?;
        let document = Arc::clone(&found.1);
        self.documents.push_back(found);
        Some(document)
    }

    pub(super) fn keep_revision(&mut self, revision: Arc<Revision>) {
        self.revisions.insert(revision.id, revision);
        if self.revisions.len() > REVISIONS {
            self.revisions.pop_first();
        }
    }

    pub(super) fn keep_document(&mut self, key: Digest, document: Arc<Document>) {
        if self.document(key).is_some() {
            return;
        }
        self.documents.push_back((key, document));
        if self.documents.len() > DOCUMENTS {
            self.documents.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::conformance::{document, revision};

    #[test]
    fn the_newest_revisions_stay() {
        let mut recent = Recent::default();
        let last = REVISIONS as u64 + 10;
        for id in (1..=last).rev() {
            recent.keep_revision(Arc::new(revision(id, &document("a"))));
        }
        assert_eq!(recent.revisions.len(), REVISIONS);
        assert!(recent.revision(RevisionId(10)).is_none());
        assert!(recent.revision(RevisionId(11)).is_some() && recent.revision(RevisionId(last)).is_some());
    }

    #[test]
    fn the_documents_used_last_stay() {
        let mut recent = Recent::default();
        let documents: Vec<_> = (0..=DOCUMENTS).map(|at| Arc::new(document(&at.to_string()))).collect();
        for kept in &documents[..DOCUMENTS] {
            recent.keep_document(kept.key(), Arc::clone(kept));
        }
        assert!(recent.document(documents[0].key()).is_some());
        recent.keep_document(documents[DOCUMENTS].key(), Arc::clone(&documents[DOCUMENTS]));
        assert!(recent.document(documents[0].key()).is_some(), "it was used after the others");
        assert!(recent.document(documents[1].key()).is_none(), "it was used longest ago");
        assert_eq!(recent.documents.len(), DOCUMENTS);
    }
}
