use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

/// A text is sound when it begins with `=`; its meaning is what stands before the first `#`.
fn judge(bytes: &[u8]) -> Result<Sound, String> {
    let text = std::str::from_utf8(bytes).unwrap();
    let meaning = text.split('#').next().unwrap();
    if !meaning.starts_with('=') {
        return Err(format!("{text} is bad"));
    }
    Ok(Sound { digest: Digest::of(meaning.as_bytes()), document: meaning.to_owned() })
}

fn source(text: &str) -> FileSource {
    FileSource::begin(text.as_bytes(), judge).unwrap().0
}

fn watch(source: &mut FileSource, text: &str) -> (Effect<String>, Reason) {
    source.step(Reading::Bytes(text.as_bytes()), Cause::Watch, NOW, judge)
}

fn vanish(source: &mut FileSource) -> (Effect<String>, Reason) {
    source.step(Reading::Unreadable(&Unreadable::Missing), Cause::Watch, NOW, judge)
}

const HEAD: RevisionId = RevisionId(1);
const NOW: Duration = Duration::from_secs(100);

#[test]
fn the_first_text_is_revision_1_or_nothing() {
    let (source, revision) = FileSource::begin(b"=a", judge).unwrap();
    assert_eq!((source.runs(), revision.id, revision.document.as_str()), (HEAD, HEAD, "=a"));
    assert!(source.is_settled());
    assert_eq!(FileSource::begin(b"a", judge).unwrap_err(), "a is bad");
}

#[test]
fn a_change_waits_for_a_second_reading() {
    let mut source = source("=a");
    assert_eq!(watch(&mut source, "=b"), (Effect::Keep, Reason::Settling));
    assert!(!source.is_settled());
    let (effect, reason) = watch(&mut source, "=b");
    assert_eq!(reason, Reason::Changed(RevisionId(2), HEAD));
    assert!(matches!(effect, Effect::Issue(r) if r.id == RevisionId(2) && r.document == "=b"));
    assert!(source.is_settled());
}

#[test]
fn what_was_asked_for_does_not_wait() {
    let mut source = source("=a");
    let (_, reason) = source.step(Reading::Bytes(b"=b"), Cause::Asked, NOW, judge);
    assert_eq!(reason, Reason::Changed(RevisionId(2), HEAD));
    assert!(matches!(source.step(Reading::Bytes(b"x"), Cause::Asked, NOW, judge).0, Effect::Tell(_)));
    assert!(matches!(source.step(Reading::Bytes(b"x"), Cause::Asked, NOW, judge).0, Effect::Tell(_)), "asked again");
}

#[test]
fn a_refused_text_is_told_once_and_what_runs_goes_on() {
    let mut source = source("=a");
    watch(&mut source, "x");
    assert_eq!(watch(&mut source, "x"), (Effect::Tell("x is bad".to_owned()), Reason::Refused(HEAD)));
    assert_eq!(watch(&mut source, "x"), (Effect::Keep, Reason::StillRefused(HEAD)));
    assert!(source.is_settled());
    assert_eq!(watch(&mut source, "=a"), (Effect::Keep, Reason::Restored(HEAD)));
    assert_eq!(watch(&mut source, "=a"), (Effect::Keep, Reason::Unchanged(HEAD)));
}

#[test]
fn a_file_that_vanishes_is_told_once_and_its_return_too() {
    let mut source = source("=a");
    assert_eq!(vanish(&mut source), (Effect::Keep, Reason::Settling));
    assert_eq!(vanish(&mut source), (Effect::Keep, Reason::Unreadable(Unreadable::Missing, HEAD)));
    assert_eq!(vanish(&mut source), (Effect::Keep, Reason::StillUnreadable(HEAD)));
    assert_eq!(watch(&mut source, "=a"), (Effect::Keep, Reason::Restored(HEAD)));
}

#[test]
fn an_editor_that_renames_is_not_told_as_a_loss() {
    let mut source = source("=a");
    vanish(&mut source);
    assert_eq!(watch(&mut source, "=a"), (Effect::Keep, Reason::Unchanged(HEAD)));
}

#[test]
fn a_comment_is_no_revision() {
    let mut source = source("=a");
    watch(&mut source, "=a#more");
    assert_eq!(watch(&mut source, "=a#more"), (Effect::Keep, Reason::Reworded(HEAD)));
    assert_eq!(watch(&mut source, "=a#more"), (Effect::Keep, Reason::Unchanged(HEAD)));
}

const CONTENTS: [&str; 7] = ["=a", "=b", "=c", "=a#1", "=b#1", "x", "y"];

/// An index above the contents is a file that cannot be read.
fn read<'a>(index: usize) -> Reading<'a> {
    CONTENTS.get(index).map_or(Reading::Unreadable(&Unreadable::Missing), |text| Reading::Bytes(text.as_bytes()))
}

proptest! {
    #[test]
    fn a_sound_text_read_twice_runs(steps in prop::collection::vec(0..=CONTENTS.len(), 0..40), end in 0..5_usize) {
        let (mut source, mut last) = FileSource::begin(b"=a", judge).unwrap();
        for index in steps.into_iter().chain([end, end]) {
            if let Effect::Issue(next) = source.step(read(index), Cause::Watch, NOW, judge).0 {
                source.hear(&Reply::Ack { id: next.id, digest: next.digest }, NOW);
                last = next;
            }
        }
        prop_assert_eq!(source.runs(), last.id);
        prop_assert_eq!(last.digest, judge(CONTENTS[end].as_bytes()).unwrap().digest);
        prop_assert!(source.is_settled());
    }

    #[test]
    fn the_watch_acts_only_on_what_was_read_twice(steps in prop::collection::vec(0..=CONTENTS.len(), 1..60)) {
        let mut source = source("=a");
        let mut before = 0;
        for index in steps {
            let (effect, reason) = source.step(read(index), Cause::Watch, NOW, judge);
            prop_assert!(effect == Effect::Keep || index == before, "{reason}");
            before = index;
        }
    }

    #[test]
    fn the_third_reading_is_never_news(steps in prop::collection::vec(0..=CONTENTS.len(), 1..40)) {
        let mut source = source("=a");
        for index in steps {
            source.step(read(index), Cause::Watch, NOW, judge);
            source.step(read(index), Cause::Watch, NOW, judge);
            let (effect, reason) = source.step(read(index), Cause::Watch, NOW, judge);
            prop_assert!(effect == Effect::Keep && !reason.is_news(), "{reason}");
        }
    }
}

fn nack(source: &mut FileSource, id: u64, why: &str) -> Reason {
    source.hear(
        &Reply::Nack { id: RevisionId(id), digest: Digest::of(b""), retries: true, problems: vec![why.to_owned()] },
        NOW,
    )
}

fn ack(source: &mut FileSource, id: u64, text: &str) -> Reason {
    let digest = judge(text.as_bytes()).unwrap().digest;
    source.hear(&Reply::Ack { id: RevisionId(id), digest }, NOW)
}

/// A source whose revision 2, `=b`, was refused by the proxy at [`NOW`].
fn refused() -> FileSource {
    let mut source = source("=a");
    watch(&mut source, "=b");
    watch(&mut source, "=b");
    assert_eq!(nack(&mut source, 2, "taken"), Reason::Unfit(RevisionId(2), HEAD));
    source
}

fn step(source: &mut FileSource, text: &str, cause: Cause, now: Duration) -> (Option<u64>, Reason) {
    match source.step(Reading::Bytes(text.as_bytes()), cause, now, judge) {
        (Effect::Issue(revision), reason) => (Some(revision.id.0), reason),
        (Effect::Keep | Effect::Tell(_), reason) => (None, reason),
    }
}

#[test]
fn what_is_sent_runs_when_the_proxy_says_so() {
    let mut source = source("=a");
    watch(&mut source, "=b");
    watch(&mut source, "=b");
    assert_eq!(step(&mut source, "=b", Cause::Asked, NOW), (None, Reason::Awaited(RevisionId(2), HEAD)));
    assert_eq!(source.runs(), HEAD);
    assert_eq!(ack(&mut source, 2, "=b"), Reason::Runs(RevisionId(2)));
    assert_eq!(step(&mut source, "=b", Cause::Asked, NOW), (None, Reason::Unchanged(RevisionId(2))));
}

#[test]
fn a_refusal_by_the_proxy_leaves_what_it_ran() {
    let mut source = refused();
    assert_eq!(source.runs(), HEAD);
    assert_eq!(source.standing(), Standing { accepted: false, refused: 0 });
    assert_eq!(watch(&mut source, "=b"), (Effect::Keep, Reason::StillUnfit(RevisionId(2), HEAD)));
    assert!(!source.is_due(NOW + RETRY - Duration::from_millis(1)) && source.is_due(NOW + RETRY));
}

#[test]
fn a_refused_document_is_sent_again_after_a_time() {
    let mut source = refused();
    let later = NOW + RETRY;
    assert_eq!(step(&mut source, "=b", Cause::Watch, later), (Some(3), Reason::Again(RevisionId(3), HEAD)));
    assert!(!source.is_due(later + RETRY), "the answer is awaited");
    assert_eq!(nack(&mut source, 3, "taken"), Reason::StillUnfit(RevisionId(3), HEAD));
    assert_eq!(step(&mut source, "=b", Cause::Watch, later), (Some(4), Reason::Again(RevisionId(4), HEAD)));
    assert_eq!(nack(&mut source, 4, "forbidden"), Reason::Unfit(RevisionId(4), HEAD), "for another cause");
    assert_eq!(step(&mut source, "=b", Cause::Watch, later).0, Some(5));
    assert!(!source.standing().accepted, "not before the answer");
    assert_eq!(ack(&mut source, 5, "=b"), Reason::Runs(RevisionId(5)));
    assert_eq!((source.runs().0, source.standing().accepted), (5, true));
}

#[test]
fn a_refused_document_is_sent_again_when_asked_or_written() {
    for cause in [Cause::Asked, Cause::Written] {
        let mut source = refused();
        assert_eq!(step(&mut source, "=b", cause, NOW), (Some(3), Reason::Again(RevisionId(3), HEAD)));
        assert_eq!(nack(&mut source, 3, "taken"), Reason::Unfit(RevisionId(3), HEAD), "who asked is answered");
        assert_eq!(step(&mut source, "=b#more", Cause::Asked, NOW).0, Some(4));
    }
}

#[test]
fn only_what_the_file_holds_is_sent_again() {
    let mut source = refused();
    watch(&mut source, "x");
    watch(&mut source, "x");
    assert!(!source.is_due(NOW + RETRY));
    assert_eq!(step(&mut source, "x", Cause::Watch, NOW + RETRY), (None, Reason::StillRefused(HEAD)));
    assert_eq!(step(&mut source, "=b", Cause::Watch, NOW), (Some(3), Reason::Again(RevisionId(3), HEAD)), "back");
}

#[test]
fn after_a_refusal_the_file_may_go_back_to_what_runs() {
    let mut source = refused();
    watch(&mut source, "=a");
    assert_eq!(watch(&mut source, "=a"), (Effect::Keep, Reason::Restored(HEAD)));
    assert!(source.standing().accepted && source.is_settled());
    assert_eq!(watch(&mut source, "=a"), (Effect::Keep, Reason::Unchanged(HEAD)));
}

#[test]
fn a_reply_that_was_overtaken_decides_nothing() {
    let mut source = source("=a");
    step(&mut source, "=b", Cause::Asked, NOW);
    assert_eq!(step(&mut source, "=a", Cause::Asked, NOW).0, Some(3), "revision 2 may run by now");
    assert_eq!(nack(&mut source, 2, "taken"), Reason::Overtaken(RevisionId(2)));
    assert_eq!(ack(&mut source, 9, "=c"), Reason::Overtaken(RevisionId(9)), "nobody sent it");
    assert_eq!((source.runs(), source.standing().accepted), (HEAD, true));
    assert_eq!(ack(&mut source, 3, "=a"), Reason::Runs(RevisionId(3)));
    assert_eq!(ack(&mut source, 2, "=b"), Reason::Overtaken(RevisionId(2)));
    assert_eq!(source.runs(), RevisionId(3));
}

#[test]
fn refused_texts_are_counted() {
    let mut source = source("=a");
    for _ in 0..3 {
        watch(&mut source, "x");
    }
    assert_eq!(source.standing(), Standing { accepted: false, refused: 1 });
    watch(&mut source, "=a");
    assert_eq!(source.standing(), Standing { accepted: true, refused: 1 });
    vanish(&mut source);
    assert!(source.standing().accepted, "it may be an editor's rename");
    vanish(&mut source);
    assert_eq!(source.standing(), Standing { accepted: false, refused: 1 });
}

/// What happens to a source and the proxy that it speaks to.
#[derive(Debug, Clone)]
enum Event {
    Read(usize, Cause),
    /// The proxy answers the eldest revision that it has not: whether it fits, and with which problem it does not.
    Answer(Option<u8>),
    Wait,
}

fn event() -> impl Strategy<Value = Event> {
    let cause = prop_oneof![8 => Just(Cause::Watch), 1 => Just(Cause::Written), 1 => Just(Cause::Asked)];
    prop_oneof![
        6 => (0..=CONTENTS.len(), cause).prop_map(|(index, cause)| Event::Read(index, cause)),
        3 => prop::option::of(0..2_u8).prop_map(Event::Answer),
        1 => Just(Event::Wait),
    ]
}

struct World {
    source: FileSource,
    now: Duration,
    last: Revision,
    /// Whether the proxy refused `last`.
    last_refused: bool,
    unanswered: VecDeque<Revision>,
    runs: Revision,
}

impl World {
    fn new() -> Self {
        let (source, first) = FileSource::begin(b"=a", judge).unwrap();
        let (last, unanswered) = (first.clone(), VecDeque::new());
        Self { source, now: NOW, last, last_refused: false, unanswered, runs: first }
    }

    fn read(&mut self, index: usize, cause: Cause) {
        let Effect::Issue(next) = self.source.step(read(index), cause, self.now, judge).0 else { return };
        assert_eq!(next.id.0, self.last.id.0 + 1);
        assert!(next.digest != self.last.digest || self.last_refused, "{next:?}");
        assert!(next.document.starts_with('='));
        self.last_refused = false;
        self.unanswered.push_back(next.clone());
        self.last = next;
    }

    fn answer(&mut self, problem: Option<u8>) {
        let Some(revision) = self.unanswered.pop_front() else { return };
        let reply = match problem {
            None => Reply::Ack { id: revision.id, digest: revision.digest },
            Some(problem) => Reply::Nack {
                id: revision.id,
                digest: revision.digest,
                retries: true,
                problems: vec![problem.to_string()],
            },
        };
        self.source.hear(&reply, self.now);
        match problem {
            None => self.runs = revision,
            Some(_) => self.last_refused |= revision.id == self.last.id,
        }
    }

    fn live(&mut self, events: Vec<Event>) {
        for event in events {
            match event {
                Event::Read(index, cause) => self.read(index, cause),
                Event::Answer(problem) => self.answer(problem),
                Event::Wait => self.now += RETRY,
            }
            assert_eq!(self.source.runs(), self.runs.id);
        }
    }
}

proptest! {
    #[test]
    fn revisions_count_up_and_what_runs_is_what_the_proxy_said(events in prop::collection::vec(event(), 0..80)) {
        World::new().live(events);
    }

    /// Whatever was refused before: what heals runs by itself, without an operator and without a write.
    #[test]
    fn what_the_file_holds_runs_once_the_proxy_accepts_it(
        events in prop::collection::vec(event(), 0..80),
        end in 0..5_usize,
    ) {
        let mut world = World::new();
        world.live(events);
        for _ in 0..3 {
            while !world.unanswered.is_empty() {
                world.answer(None);
            }
            world.now += RETRY;
            world.read(end, Cause::Watch);
        }
        prop_assert_eq!(world.runs.digest, judge(CONTENTS[end].as_bytes()).unwrap().digest);
        prop_assert!(world.source.standing().accepted && !world.source.is_due(world.now + RETRY));
    }

    /// The log of a port that stays taken is one line for each cause.
    #[test]
    fn a_refusal_is_told_once_while_its_cause_stays(causes in prop::collection::vec(0..2_u8, 1..20)) {
        let mut world = World::new();
        world.read(1, Cause::Watch);
        world.read(1, Cause::Watch);
        let mut before = None;
        for cause in causes {
            let id = world.unanswered.pop_front().unwrap().id;
            let reason = world.source.hear(&Reply::Nack { id, digest: Digest::of(b""), retries: true, problems: vec![cause.to_string()] }, world.now);
            prop_assert_eq!(reason.is_news(), before != Some(cause));
            before = Some(cause);
            world.last_refused = true;
            world.read(1, Cause::Watch);
            prop_assert!(world.unanswered.is_empty(), "before its time");
            world.now += RETRY;
            world.read(1, Cause::Watch);
        }
    }
}
