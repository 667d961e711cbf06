use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use sluice_config::{Environment, Problems};

use super::*;
use crate::change::{Proposal, Shift, Wish, apply, lay, roll_back, shift};

/// The file's text with these weights of two versions.
fn text(v1: u32, v2: u32) -> String {
    format!(
        "listeners: [{{ name: web, address: \"127.0.0.1:8080\" }}]\n\
         services: [{{ name: shop, versions: [{{ name: v1, weight: {v1}, endpoints: [\"127.0.0.1:9001\"] }}, \
         {{ name: v2, weight: {v2}, endpoints: [\"127.0.0.1:9002\"] }}] }}]\n\
         routes: [{{ service: shop }}]\n"
    )
}

/// By number: three documents, two of them in other words, a text with problems. Above: a file that cannot be read.
fn content(index: usize) -> Option<String> {
    match index {
        0 => Some(text(95, 5)),
        1 => Some(text(50, 50)),
        2 => Some(text(1, 99)),
        3 => Some(format!("# in other words\n{}", text(95, 5))),
        4 => Some(format!("# in other words\n{}", text(50, 50))),
        5 => Some("services: []".to_owned()),
        _ => None,
    }
}

const CONTENTS: usize = 7;
const SOUND: usize = 5;
const START: Timestamp = Timestamp::from_millis(1_795_685_400_000);
const HOUR: Duration = Duration::from_secs(3_600);

fn judge(bytes: &[u8]) -> Result<Written, Problems> {
    Written::new(std::str::from_utf8(bytes).unwrap(), &Environment::empty())
}

fn digest(index: usize) -> Digest {
    judge(content(index).unwrap().as_bytes()).unwrap().validated.digest
}

/// A file, and the store that its documents go to.
struct World {
    source: FileSource,
    head: Option<Head>,
    now: Timestamp,
    /// What was read and acted on twice in a row.
    before: usize,
    proposed: usize,
    /// Whether the store fails.
    down: bool,
}

impl World {
    /// Begun with the first content.
    fn new() -> Self {
        let source = FileSource::default();
        let mut world = Self { source, head: None, now: START, before: 0, proposed: 0, down: false };
        assert_eq!(world.read(0, Cause::Started), Reason::Applied(RevisionId(1)));
        world
    }

    /// One reading; of a proposal the answer.
    fn read(&mut self, index: usize, cause: Cause) -> Reason {
        let text = content(index);
        let reading =
            text.as_ref().map_or(Reading::Unreadable(&Unreadable::Missing), |text| Reading::Bytes(text.as_bytes()));
        let facts = Facts::of(self.head.as_ref(), self.now);
        let due = self.source.is_due(&facts) || self.source.seen != Some(Content::of(reading));
        let (effect, reason) = self.source.step(reading, cause, &facts, judge);
        assert!(due || effect == Effect::Keep || cause == Cause::Asked, "{reason}");
        let twice = std::mem::replace(&mut self.before, index) == index;
        assert!(effect == Effect::Keep || twice || cause != Cause::Watch, "{reason}");
        assert_eq!(matches!(effect, Effect::Tell(_)), reason == Reason::Refused);
        let Effect::Propose(written) = effect else { return reason };
        assert!(facts.parked != Some(written.text) && (!facts.frozen || cause == Cause::Asked), "{facts:?}");
        self.propose(&written)
    }

    fn propose(&mut self, written: &Written) -> Reason {
        self.proposed += 1;
        if self.down {
            return Reason::Changed;
        }
        let outcome = apply(self.head.as_ref(), written, false, &Environment::empty());
        let answer = outcome.map(|proposal| self.commit(proposal));
        let facts = Facts::of(self.head.as_ref(), self.now);
        self.source.hear(answer.as_ref().copied(), &facts)
    }

    fn watch(&mut self, index: usize) -> Reason {
        self.read(index, Cause::Watch)
    }

    fn twice(&mut self, index: usize) -> Reason {
        self.watch(index);
        self.watch(index)
    }

    fn commit(&mut self, proposal: Proposal) -> RevisionId {
        let (author, reason) = ("ann".parse().unwrap(), "why".parse().unwrap());
        let (revision, document) = proposal.revision(self.head.as_ref(), author, reason, self.now);
        let document = document.map_or_else(|| Arc::clone(&self.head.as_ref().unwrap().document), Arc::new);
        let id = revision.id;
        self.head = Some(Head::new(Arc::new(revision), document).unwrap());
        id
    }

    fn head(&self) -> &Head {
        self.head.as_ref().unwrap()
    }

    fn shift(&mut self, share: &str) {
        let shares = [("v2".parse().unwrap(), share.parse().unwrap())].into();
        let order = Shift { service: "shop".parse().unwrap(), shares, lasts: None };
        let (author, reason) = ("ann".parse().unwrap(), "try v2".parse().unwrap());
        if let Ok(proposal) = shift(self.head(), &order, &author, &reason, self.now) {
            self.commit(proposal);
        }
    }

    fn freeze(&mut self) {
        let (author, reason) = ("ann".parse().unwrap(), "incident".parse().unwrap());
        let laid = lay(self.head(), &Wish::Freeze, HOUR, &author, &reason, self.now).unwrap();
        self.commit(laid);
    }

    /// To a document with the weights of another content, while the file holds what was read last.
    fn roll_back(&mut self, to: &Head, file: usize) {
        let file = content(file).map(|text| Digest::of(text.as_bytes()));
        if let Ok(proposal) = roll_back(self.head(), &to.revision, &to.document, true, file, self.now) {
            self.commit(proposal);
        }
    }
}

#[test]
fn a_change_waits_for_a_second_reading() {
    let mut world = World::new();
    assert_eq!(world.watch(0), Reason::Unchanged);
    assert_eq!(world.watch(1), Reason::Settling);
    assert!(world.source.is_due(&Facts::of(world.head.as_ref(), START)));
    assert_eq!(world.watch(1), Reason::Applied(RevisionId(2)));
    assert_eq!(world.watch(1), Reason::Unchanged);
    assert!(!world.source.is_due(&Facts::of(world.head.as_ref(), START)));
}

#[test]
fn what_was_asked_for_does_not_wait() {
    let mut world = World::new();
    assert_eq!(world.read(1, Cause::Asked), Reason::Applied(RevisionId(2)));
    assert_eq!(world.read(5, Cause::Asked), Reason::Refused);
    assert_eq!(world.read(5, Cause::Asked), Reason::Refused, "asked again");
}

#[test]
fn what_a_process_starts_with_is_what_the_store_has() {
    let mut world = World::new();
    world.source = FileSource::default();
    assert_eq!(world.read(3, Cause::Started), Reason::Unchanged, "in other words");
    assert_eq!(world.proposed, 1);
}

#[test]
fn a_refused_text_is_told_once_and_its_return_too() {
    let mut world = World::new();
    assert_eq!(world.twice(5), Reason::Refused);
    assert_eq!(world.watch(5), Reason::StillRefused);
    assert_eq!(world.source.standing(), Standing { accepted: false, refused: 1, held_back: None });
    assert_eq!(world.watch(0), Reason::Restored);
    assert_eq!(world.watch(0), Reason::Unchanged);
    assert_eq!(world.source.standing(), Standing { accepted: true, refused: 1, held_back: None });
}

#[test]
fn a_file_that_vanishes_is_told_once_and_an_editors_rename_never() {
    let mut world = World::new();
    assert_eq!(world.watch(6), Reason::Settling);
    assert_eq!(world.watch(0), Reason::Unchanged, "a rename");
    assert_eq!(world.twice(6), Reason::Unreadable(Unreadable::Missing));
    assert_eq!(world.watch(6), Reason::StillUnreadable);
    assert_eq!(world.watch(0), Reason::Restored);
}

#[test]
fn a_comment_is_no_revision() {
    let mut world = World::new();
    assert_eq!(world.twice(3), Reason::Reworded);
    assert_eq!(world.watch(3), Reason::Unchanged);
    assert_eq!(world.head().revision.id, RevisionId(1));
}

#[test]
fn what_a_rollback_parked_is_not_applied_until_the_file_changes_across_restarts_too() {
    let mut world = World::new();
    let first = world.head().clone();
    world.twice(1);
    world.roll_back(&first, 1);
    for _ in 0..2 {
        assert_eq!(world.watch(1), Reason::Parked);
        assert_eq!(world.watch(1), Reason::StillParked);
        assert_eq!(world.read(1, Cause::Asked), Reason::Parked, "who asks is told");
        assert_eq!(world.source.standing().held_back, Some(HeldBack::Parked));
        world.source = FileSource::default();
        world.watch(1);
    }
    assert_eq!(world.twice(4), Reason::Applied(RevisionId(4)), "another text of the same document");
    assert_eq!(world.head().revision.parked, None);
}

#[test]
fn the_text_of_what_was_restored_ends_the_parking() {
    let mut world = World::new();
    let first = world.head().clone();
    world.twice(1);
    world.roll_back(&first, 1);
    world.watch(1);
    assert_eq!(world.twice(0), Reason::Applied(RevisionId(4)), "by a revision, so that it holds across restarts");
    assert_eq!(world.twice(1), Reason::Applied(RevisionId(5)));
}

#[test]
fn a_frozen_document_is_proposed_when_the_freeze_ends() {
    let mut world = World::new();
    world.freeze();
    assert_eq!(world.twice(1), Reason::Frozen);
    assert_eq!(world.watch(1), Reason::StillFrozen);
    assert_eq!(world.source.standing(), Standing { accepted: true, refused: 0, held_back: Some(HeldBack::Frozen) });
    assert_eq!(world.twice(5), Reason::Refused, "problems are told");
    assert_eq!(world.read(2, Cause::Asked), Reason::Applied(RevisionId(3)), "what operators ask for is done");
    assert_eq!(world.twice(1), Reason::Frozen);
    world.now = START.after(HOUR);
    assert!(world.source.is_due(&Facts::of(world.head.as_ref(), world.now)));
    assert_eq!(world.watch(1), Reason::Applied(RevisionId(4)));
}

#[test]
fn a_declined_document_is_told_once_and_tried_when_the_owner_changes() {
    let mut world = World::new();
    world.shift("25%");
    assert!(matches!(world.twice(1), Reason::Declined(why) if why.contains("operator")));
    assert_eq!((world.watch(1), world.proposed), (Reason::StillDeclined, 2));
    assert!(!world.source.standing().accepted);
    assert!(matches!(world.read(1, Cause::Asked), Reason::Declined(_)), "who asks is told");
    let given = crate::change::release(world.head(), &"shop".parse().unwrap()).unwrap();
    world.commit(given);
    assert!(world.source.is_due(&Facts::of(world.head.as_ref(), START)));
    assert_eq!(world.watch(1), Reason::Applied(RevisionId(4)));
}

#[test]
fn a_proposal_without_an_answer_is_made_again() {
    let mut world = World::new();
    world.down = true;
    assert_eq!(world.twice(1), Reason::Changed);
    assert_eq!(world.watch(1), Reason::Changed);
    world.down = false;
    assert_eq!(world.watch(1), Reason::Applied(RevisionId(2)));
    assert_eq!(world.source.hear(Ok(RevisionId(9)), &Facts::default()), Reason::Settling, "nobody asked");
    assert_eq!(world.watch(1), Reason::Unchanged);
}

/// What happens around a file.
#[derive(Debug, Clone)]
enum Event {
    Read(usize, Cause),
    Restart,
    Shift(u32),
    Freeze,
    RollBack,
    Down(bool),
    Wait,
}

fn event() -> impl Strategy<Value = Event> {
    let cause = prop_oneof![8 => Just(Cause::Watch), 1 => Just(Cause::Asked)];
    prop_oneof![
        12 => (0..CONTENTS, cause).prop_map(|(index, cause)| Event::Read(index, cause)),
        1 => Just(Event::Restart),
        1 => (0..100_u32).prop_map(Event::Shift),
        1 => Just(Event::Freeze),
        1 => Just(Event::RollBack),
        1 => any::<bool>().prop_map(Event::Down),
        1 => Just(Event::Wait),
    ]
}

impl World {
    /// The invariants are asserted at each reading.
    fn live(&mut self, events: &[Event]) {
        let first = self.head().clone();
        for event in events {
            match event {
                Event::Read(index, cause) => drop(self.read(*index, *cause)),
                Event::Restart => {
                    self.source = FileSource::default();
                    self.read(self.before, Cause::Started);
                }
                Event::Shift(share) => self.shift(&format!("{share}%")),
                Event::Freeze => self.freeze(),
                Event::RollBack => self.roll_back(&first, self.before),
                Event::Down(down) => self.down = *down,
                Event::Wait => self.now = self.now.after(HOUR),
            }
        }
    }
}

proptest! {
    #[test]
    fn the_third_reading_is_never_news(events in prop::collection::vec(event(), 0..30), end in 0..CONTENTS) {
        let mut world = World::new();
        world.live(&events);
        world.down = false;
        world.twice(end);
        let proposed = world.proposed;
        let reason = world.watch(end);
        prop_assert!(!reason.is_news() && world.proposed == proposed, "{reason}");
        prop_assert!(!world.source.is_due(&Facts::of(world.head.as_ref(), world.now)));
    }

    /// Whatever happened before: once nothing holds it back, what the file holds is live.
    #[test]
    fn a_sound_text_read_twice_is_live_unless_it_is_held_back(
        events in prop::collection::vec(event(), 0..30),
        end in 0..SOUND,
    ) {
        let mut world = World::new();
        world.live(&events);
        world.down = false;
        world.now = world.now.after(HOUR);
        let last = world.twice(end);
        let parked = world.head().revision.parked == Some(Digest::of(content(end).unwrap().as_bytes()));
        let live = world.head().written.digest == digest(end);
        let declined = !world.source.standing().accepted;
        prop_assert_eq!(live, !declined && (!parked || digest(end) == digest(0)), "{}", last);
    }
}
