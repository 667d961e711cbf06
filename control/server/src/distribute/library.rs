//! The latest revisions as messages: each made once, however many proxies are sent it.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use sluice_config::wire::{Delta, Order, Revision};
use sluice_control_core::fleet::Numbered;

/// How many revisions differences can be made to. A proxy that is further behind is sent the whole.
const KEPT: usize = 8;

/// The latest revisions, and the messages that were made of them.
#[derive(Debug, Default)]
pub(super) struct Library {
    revisions: VecDeque<Arc<Revision>>,
    made: VecDeque<(Numbered, Option<Numbered>, Bytes)>,
}

impl Library {
    /// Keeps a revision, and drops the oldest where there are too many.
    pub(super) fn keep(&mut self, revision: Arc<Revision>) {
        if self.revisions.len() == KEPT {
            self.revisions.pop_front();
        }
        self.revisions.push_back(revision);
    }

    /// A revision as the difference to what a proxy has, where it is at hand, or as a whole.
    pub(super) fn message(&mut self, revision: Numbered, base: Option<Numbered>) -> Option<Bytes> {
        let base = base.filter(|base| self.find(*base).is_some());
        let known = self.made.iter().find(|(id, on, _)| *id == revision && *on == base);
        if let Some((_, _, message)) = known {
            return Some(message.clone());
        }
        let new = self.find(revision)?;
        let order = match base.and_then(|base| self.find(base)) {
            Some(old) => Order::Delta(Delta::between(&old, &new)),
            None => Order::Revision(new.as_ref().clone()),
        };
        let message = serialise(&order);
        if self.made.len() == KEPT {
            self.made.pop_front();
        }
        self.made.push_back((revision, base, message.clone()));
        Some(message)
    }

    fn find(&self, numbered: Numbered) -> Option<Arc<Revision>> {
        let is = |one: &&Arc<Revision>| one.id == numbered.id && one.digest == numbered.digest;
        self.revisions.iter().find(is).map(Arc::clone)
    }
}

/// One line.
fn serialise(order: &Order) -> Bytes {
    let mut line = serde_json::to_vec(order).expect("a revision has text keys only");
    line.push(b'\n');
    line.into()
}

#[cfg(test)]
mod tests {
    use sluice_config::Overlay;
    use sluice_config::value::{Digest, HistoryId, RevisionId};

    use super::*;

    fn revision(id: u64, document: &str) -> (Arc<Revision>, Numbered) {
        let digest = Digest::of(document.as_bytes());
        let numbered = Numbered { id: RevisionId(id), digest };
        let history = HistoryId::from_bits(1);
        let revision =
            Revision { history, id: numbered.id, digest, document: document.to_owned(), overlay: Overlay::default() };
        (Arc::new(revision), numbered)
    }

    fn read(message: &Bytes) -> Order {
        assert_eq!(message.iter().filter(|byte| **byte == b'\n').count(), 1);
        serde_json::from_slice(message).unwrap()
    }

    #[test]
    fn a_difference_is_made_where_the_base_is_at_hand() {
        let mut library = Library::default();
        let ((one, first), (two, second)) = (revision(1, "{\"a\":1}"), revision(2, "{\"a\":2}"));
        library.keep(Arc::clone(&one));
        library.keep(Arc::clone(&two));
        let Order::Delta(delta) = read(&library.message(second, Some(first)).unwrap()) else { panic!("a whole") };
        assert_eq!(delta.apply(&one).unwrap(), *two);
        let other = Numbered { digest: Digest::ZERO, ..first };
        assert_eq!(read(&library.message(second, Some(other)).unwrap()), Order::Revision(two.as_ref().clone()));
        assert!(library.message(other, None).is_none());
    }

    #[test]
    fn a_message_is_made_once_and_old_ones_are_dropped() {
        let mut library = Library::default();
        let (one, first) = revision(1, "{}");
        library.keep(one);
        let message = library.message(first, None).unwrap();
        assert_eq!(message.as_ptr(), library.message(first, None).unwrap().as_ptr());
        for id in 2..=KEPT as u64 + 1 {
            library.keep(revision(id, &id.to_string()).0);
        }
        assert_eq!(library.revisions.len(), KEPT);
        let (_, last) = revision(KEPT as u64 + 1, &(KEPT + 1).to_string());
        assert!(matches!(read(&library.message(last, Some(first)).unwrap()), Order::Revision(_)));
    }
}
