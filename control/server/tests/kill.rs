//! A control plane is killed at any moment of its writing, and started again: what its store acknowledged is there, once.
//!
//! The test is its own victim: it starts itself again as a writer that opens the store and commits and records as fast as
//! it can, saying on a pipe what it is about to do and what was acknowledged. It is killed after a number of
//! acknowledgements, and a part of a step's time, that are drawn from a seed. Then the store is opened, looked through
//! and compared with what was said; several victims follow each other on one store. `SLUICE_SEED` repeats the draws,
//! though not the machine's timing; `SLUICE_FULL` makes a thousand runs.
//!
//! A kill takes the process and leaves the kernel's memory: a loss of power is another test, of logs torn at any byte.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use rusqlite::Connection;
use sluice_config::Overlay;
use sluice_config::timestamp::Timestamp;
use sluice_config::value::{Digest, RevisionId};
use sluice_control::store::sqlite::{FILE, SqliteStore};
use sluice_control::store::{Answered, Change, CommitError, Once, Store};
use sluice_control_core::audit::{self, Event, Head, Outcome};
use sluice_control_core::revision::{Document, Kind, Revision};

/// The victim's folder.
const FOLDER: &str = "SLUICE_KILL_FOLDER";
/// Victims that follow each other on one store.
const LIVES: usize = 5;
/// The most acknowledgements that a kill waits for.
const ACKNOWLEDGED: u32 = 6;
/// A victim starts, opens and makes its tables in about so long.
const START: Duration = Duration::from_millis(30);
/// When a victim says nothing for so long, something else is wrong.
const SILENCE: Duration = Duration::from_secs(60);

#[test]
fn what_was_acknowledged_survives_a_kill_at_any_moment() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    if let Some(folder) = std::env::var_os(FOLDER) {
        return runtime.block_on(write(Path::new(&folder)));
    }
    let runs = if std::env::var_os("SLUICE_FULL").is_some() { 1_000 } else { 40 };
    let seed = std::env::var("SLUICE_SEED").ok().map_or_else(rand::random, |seed| seed.parse().unwrap());
    println!("SLUICE_SEED={seed}");
    let mut draws = StdRng::seed_from_u64(seed);
    let mut tally = Tally::default();
    for _ in 0..runs / LIVES {
        let folder = tempfile::tempdir().unwrap();
        let mut known = Known::default();
        for _ in 0..LIVES {
            let moment = kill(folder.path(), &mut draws, &mut known);
            runtime.block_on(compare(folder.path(), &mut known, moment, &mut tally));
        }
        tally.revisions += known.revision;
    }
    println!("{runs} runs: {tally:?}");
    assert!(tally.within_a_commit > 0, "no kill came within a commit: {tally:?}");
}

/// What the victims of one store have said.
#[derive(Debug, Default)]
struct Known {
    /// The last revision that was acknowledged.
    revision: u64,
    /// The last audit entry that was acknowledged.
    entry: u64,
    /// The store's identity, when it was told.
    history: Option<String>,
    /// How long a step takes here.
    step: Duration,
}

/// What a victim was doing when it was killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    Opening,
    Committing,
    Recording,
    Between,
}

/// When the kills came, for whoever reads the test's output.
#[derive(Debug, Default)]
struct Tally {
    while_opening: u32,
    within_a_commit: u32,
    /// Of those, the commits that were whole though nobody had been told.
    of_which_it_was_there: u32,
    within_a_record: u32,
    between: u32,
    revisions: u64,
}

/// The victim: writes until it is killed.
async fn write(folder: &Path) {
    say("open");
    let store = SqliteStore::open(folder).unwrap();
    say(&format!("history {}", store.history()));
    let mut head = store.head().await.unwrap().map_or(0, |head| head.id.0);
    if head > 0 {
        // The last life may not have heard the answer, and asks again.
        let again = store.commit(expected(head), change(head)).await;
        let is_told = matches!(&again, Err(CommitError::Answered(answered)) if answered.revision.0 == head);
        assert!(is_told, "{again:?}");
    }
    loop {
        say("commit");
        let made = store.commit(expected(head + 1), change(head + 1)).await.unwrap();
        head = made.id.0;
        say(&format!("committed {head}"));
        if head.is_multiple_of(2) {
            say("record");
            let entry = store.record(event(head, "denied")).await.unwrap();
            say(&format!("recorded {}", entry.sequence));
        }
    }
}

/// One write, so that a kill cannot cut it. The test runner writes to the same pipe.
fn say(what: &str) {
    std::io::stdout().write_all(format!("\nvictim {what}\n").as_bytes()).unwrap();
}

fn expected(id: u64) -> Option<RevisionId> {
    (id > 1).then(|| RevisionId(id - 1))
}

/// Every third has a new one; some documents are larger than a page.
fn document(id: u64) -> Document {
    let number = id / 3;
    let width = usize::try_from(number % 4).unwrap() * 3_000 + 1;
    Document { source: format!("# {number}"), json: format!("{number:0width$}") }
}

fn event(id: u64, action: &str) -> Event {
    Event {
        at: Timestamp::from_millis(id),
        author: "victim".parse().unwrap(),
        origin: "unix".to_owned(),
        action: action.to_owned(),
        target: id.to_string(),
        reason: None,
        outcome: Outcome::Done,
        before: None,
        after: None,
        revision: None,
    }
}

fn change(id: u64) -> Change {
    let document = document(id);
    let revision = Revision {
        id: RevisionId(id),
        kind: Kind::Document,
        parent: expected(id),
        digest: Digest::of(&id.to_le_bytes()),
        document: document.key(),
        overlay: Overlay::default(),
        author: "victim".parse().unwrap(),
        reason: "as fast as it can".parse().unwrap(),
        at: Timestamp::from_millis(id),
        file: None,
        restores: None,
        parked: None,
    };
    Change { revision, document: Some(document), event: event(id, "commit"), once: Some(once(id)) }
}

fn once(id: u64) -> Once {
    Once { key: format!("key{id}"), request: Digest::of(format!("request{id}").as_bytes()) }
}

/// Starts a victim and kills it. Returns what it was doing, as far as it had said.
fn kill(folder: &Path, draws: &mut StdRng, known: &mut Known) -> Moment {
    let (mut victim, said) = start(folder);
    // A third of the kills come before the first.
    let acknowledged = draws.random_range(0..=ACKNOWLEDGED + 2).saturating_sub(2);
    let part = draws.random_range(0.0..1.5);
    let (mut moment, mut heard) = (Moment::Opening, 0);
    while heard < acknowledged {
        let line = said.recv_timeout(SILENCE).expect("the victim writes until it is killed");
        heard += u32::from(known.hear(&line, &mut moment));
    }
    let end = Instant::now() + if heard == 0 { START } else { known.step }.mul_f64(part);
    while let Ok(line) = said.recv_timeout(end.saturating_duration_since(Instant::now())) {
        known.hear(&line, &mut moment);
    }
    victim.kill().unwrap();
    victim.wait().unwrap();
    // What it had said before it died counts, too.
    loop {
        match said.recv_timeout(SILENCE) {
            Ok(line) => known.hear(&line, &mut moment),
            Err(RecvTimeoutError::Disconnected) => return moment,
            Err(RecvTimeoutError::Timeout) => panic!("the victim's pipe outlives it"),
        };
    }
}

fn start(folder: &Path) -> (Child, Receiver<String>) {
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["what_was_acknowledged_survives_a_kill_at_any_moment", "--exact", "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let pipe = BufReader::new(victim.stdout.take().unwrap());
    let (tell, said) = mpsc::channel();
    thread::spawn(move || {
        let lines = pipe.lines().map_while(Result::ok);
        lines.filter_map(|line| Some(line.strip_prefix("victim ")?.to_owned())).try_for_each(|line| tell.send(line))
    });
    (victim, said)
}

impl Known {
    /// Whether a step was acknowledged.
    fn hear(&mut self, line: &str, moment: &mut Moment) -> bool {
        let (word, value) = line.split_once(' ').unwrap_or((line, ""));
        let number = || value.parse::<u64>().unwrap();
        *moment = match word {
            "open" => Moment::Opening,
            "commit" => Moment::Committing,
            "record" => Moment::Recording,
            _ => Moment::Between,
        };
        match word {
            "committed" => {
                assert_eq!(number(), self.revision + 1, "numbers follow each other over all lives");
                self.revision += 1;
            }
            "recorded" => self.entry = number(),
            "history" => match &self.history {
                Some(known) => assert_eq!(value, known, "a store stays itself"),
                None => self.history = Some(value.to_owned()),
            },
            _ => {}
        }
        matches!(word, "committed" | "recorded")
    }
}

/// What is in the store after the kill is what was acknowledged, and at most the one step that was under way.
async fn compare(folder: &Path, known: &mut Known, moment: Moment, tally: &mut Tally) {
    let store = SqliteStore::open(folder).unwrap();
    let head = store.head().await.unwrap().map_or(0, |head| head.id.0);
    let acknowledged = known.revision;
    assert!(head >= acknowledged, "revision {acknowledged} was acknowledged, and the head is {head}");
    let in_doubt = head - acknowledged;
    assert!(in_doubt <= u64::from(moment == Moment::Committing), "{moment:?}, {known:?}, and the head is {head}");
    revisions(&store, head).await;
    entries(&store, head, known).await;
    let began = Instant::now();
    known.entry = store.record(event(head, "after")).await.unwrap().sequence;
    known.step = began.elapsed();
    known.revision = head;
    drop(store);
    let file = Connection::open(folder.join(FILE)).unwrap();
    let verdict: String = file.query_row("PRAGMA integrity_check", (), |row| row.get(0)).unwrap();
    assert_eq!(verdict, "ok");
    tally.count(moment, in_doubt);
}

impl Tally {
    fn count(&mut self, moment: Moment, in_doubt: u64) {
        match moment {
            Moment::Opening => self.while_opening += 1,
            Moment::Committing => self.within_a_commit += 1,
            Moment::Recording => self.within_a_record += 1,
            Moment::Between => self.between += 1,
        }
        self.of_which_it_was_there += u32::from(in_doubt > 0);
    }
}

/// Each is there once, as it was made, with its document and its answer.
async fn revisions(store: &SqliteStore, head: u64) {
    let mut all = store.list(None, usize::MAX).await.unwrap();
    all.reverse();
    assert_eq!(all.len(), usize::try_from(head).unwrap());
    for (id, kept) in (1..).zip(&all) {
        let made = change(id);
        assert_eq!(**kept, made.revision);
        assert_eq!(store.document(kept.document).await.unwrap().as_deref(), made.document.as_ref());
        let answer = Answered { request: once(id).request, revision: RevisionId(id) };
        assert_eq!(store.answered(&once(id).key).await, Ok(Some(answer)));
    }
    assert_eq!(store.answered(&once(head + 1).key).await, Ok(None));
}

/// The log is sound, has one entry for each revision, and none that was acknowledged is missing.
async fn entries(store: &SqliteStore, head: u64, known: &Known) {
    let entries = store.audit(0, usize::MAX).await.unwrap();
    let end = audit::verify(Head::EMPTY, &entries).unwrap();
    assert!(end.sequence >= known.entry, "{end:?}, {known:?}");
    let of =
        |action: &'static str| entries.iter().map(|entry| &entry.event).filter(move |event| event.action == action);
    let committed: Vec<&str> = of("commit").map(|event| &*event.target).collect();
    assert_eq!(committed, (1..=head).map(|id| id.to_string()).collect::<Vec<_>>());
    let mut denied: Vec<&str> = of("denied").map(|event| &*event.target).collect();
    let all = denied.len();
    denied.dedup();
    assert_eq!(denied.len(), all, "no record is there twice");
}
