use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sluice_config::Overlay;
use sluice_config::value::{Digest, HistoryId, RevisionId};

use super::folder::{Damage, KEPT};
use super::*;

/// A revision whose every part tells its number, so that a mix of two is seen. Some are large: a write has many moments.
fn revision(id: u64) -> Revision {
    let document = format!("{id:08} ").repeat(1 + usize::try_from(id % 5).unwrap() * 100_000);
    let digest = Digest::of(document.as_bytes());
    Revision { history: HistoryId::from_bits(id), id: RevisionId(id), digest, document, overlay: Overlay::default() }
}

fn is_whole(revision: &Revision) -> bool {
    *revision == self::revision(revision.id.0)
}

fn ids(folder: &Folder) -> Vec<u64> {
    folder.read().unwrap().iter().map(|kept| kept.revision.as_ref().unwrap().id.0).collect()
}

#[test]
fn the_last_three_are_kept_and_only_their_owner_reads_them() {
    let data = tempfile::tempdir().unwrap();
    let mut folder = Folder::open(data.path()).unwrap();
    assert!(ids(&folder).is_empty());
    (1..=5).for_each(|id| folder.save(&revision(id)).unwrap());
    assert_eq!(ids(&folder), [5, 4, 3]);
    drop(folder);
    let mut folder = Folder::open(data.path()).unwrap();
    folder.save(&revision(6)).unwrap();
    assert_eq!(ids(&folder), [6, 5, 4], "it goes on after a start");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let inside = data.path().join("last-known-good");
    assert_eq!(mode(&inside), 0o700);
    for entry in fs::read_dir(&inside).unwrap() {
        assert_eq!(mode(&entry.unwrap().path()), 0o600);
    }
}

#[test]
fn damage_is_seen_wherever_it_is() {
    let data = tempfile::tempdir().unwrap();
    let mut folder = Folder::open(data.path()).unwrap();
    folder.save(&revision(1)).unwrap();
    let path = folder.read().unwrap()[0].path.clone();
    let whole = fs::read(&path).unwrap();
    for place in [0, 3, 17, 18, 40, 82, 83, 100, whole.len() - 1] {
        let mut bytes = whole.clone();
        bytes[place] ^= 1;
        fs::write(&path, bytes).unwrap();
        assert!(folder.read().unwrap()[0].revision.is_err(), "a flipped bit in byte {place}");
    }
    for length in [0, 1, 18, 83, whole.len() / 2, whole.len() - 1] {
        fs::write(&path, &whole[..length]).unwrap();
        assert!(folder.read().unwrap()[0].revision.is_err(), "cut to {length} bytes");
    }
    let content = b"{}";
    fs::write(&path, format!("sluice-revision 1 {}\n{{}}", Digest::of(content))).unwrap();
    assert!(matches!(folder.read().unwrap()[0].revision, Err(Damage::Content(_))));
    fs::write(&path, [&whole[..16], b"2", &whole[17..]].concat()).unwrap();
    assert!(matches!(folder.read().unwrap()[0].revision, Err(Damage::Form)), "a later form is not guessed at");
}

#[test]
fn two_processes_do_not_share_a_folder() {
    let data = tempfile::tempdir().unwrap();
    let series = Arc::new(KeepSeries::default());
    let first = open(data.path(), &series).unwrap();
    assert!(open(data.path(), &series).is_err());
    drop(first);
}

#[tokio::test]
async fn a_write_that_fails_is_counted_and_the_next_may_succeed() {
    let data = tempfile::tempdir().unwrap();
    let series = Arc::new(KeepSeries::default());
    let (keeper, _) = open(data.path(), &series).unwrap();
    let keeper = keeper.unwrap();
    let inside = data.path().join("last-known-good");
    fs::rename(&inside, data.path().join("away")).unwrap();
    keeper.save(&Arc::new(revision(1)));
    keeper.note(&Journal::default()).await;
    assert_eq!(series.writes(), [("ok", 0), ("failed", 1)]);
    assert!(series.trouble().unwrap().contains("revision 1 is not kept"));
    fs::rename(data.path().join("away"), &inside).unwrap();
    keeper.save(&Arc::new(revision(2)));
    keeper.finish().await;
    assert_eq!((series.writes(), series.trouble()), ([("ok", 1), ("failed", 1)], None));
}

#[test]
fn a_folder_that_cannot_be_made_is_no_reason_not_to_serve() {
    let data = tempfile::tempdir().unwrap();
    let file = data.path().join("file");
    fs::write(&file, "").unwrap();
    let series = Arc::new(KeepSeries::default());
    let (keeper, found) = open(&file, &series).unwrap();
    assert!(keeper.is_none() && found.revisions.is_empty());
    assert!(series.trouble().is_some());
}

#[test]
fn a_journal_is_read_back_and_junk_is_none() {
    let data = tempfile::tempdir().unwrap();
    let folder = Folder::open(data.path()).unwrap();
    let mut journal = Journal::default();
    journal.begin(sluice_config::Timestamp::from_millis(7), vec![Digest::of(b"x")]);
    journal.turn(Some(Digest::of(b"y")));
    folder.write_journal(&journal).unwrap();
    assert_eq!(folder.journal(), Some(journal));
    fs::write(data.path().join("last-known-good/boots"), "junk").unwrap();
    assert_eq!(folder.journal(), None);
}

const CHILD: &str = "SLUICE_TEST_KEEP_CHILD";

/// Writes for ever, and says of each write that it is acknowledged. Runs only as the child of the test below.
#[test]
#[allow(clippy::print_stdout, reason = "it is how the parent hears")]
fn the_child_that_is_killed() {
    let Some(data) = std::env::var_os(CHILD) else { return };
    let mut folder = Folder::open(Path::new(&data)).unwrap();
    let newest = ids(&folder).first().copied().unwrap_or(0);
    println!("\nBEGIN {newest}");
    for id in newest + 1.. {
        folder.save(&revision(id)).unwrap();
        println!("\nACK {id}");
    }
}

/// A kill at any moment of a write: what is found is whole, and never older than the last acknowledged write.
#[test]
#[allow(clippy::print_stdout, reason = "the seed of a failure is what finds it again")]
fn a_kill_at_any_moment_leaves_the_last_acknowledged_write_or_a_later_one() {
    let full = std::env::var_os("SLUICE_FULL").is_some();
    let kills = if full { 1_000 } else { 40 };
    let seed = std::env::var("SLUICE_SEED").map_or_else(|_| rand::rng().random(), |seed| seed.parse().unwrap());
    println!("{kills} kills, SLUICE_SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let data = tempfile::tempdir().unwrap();
    let mut unfinished = 0;
    for kill in 0..kills {
        let acknowledged = run_and_kill(data.path(), &mut rng);
        let inside = data.path().join("last-known-good");
        let names = fs::read_dir(&inside).unwrap().map(|entry| entry.unwrap().path());
        unfinished += names.filter(|name| name.extension().is_some_and(|it| it == "unfinished")).count();
        let folder = Folder::open(data.path()).unwrap();
        let kept = folder.read().unwrap();
        assert!(kept.len() <= KEPT + 1, "kill {kill} of seed {seed}");
        for one in &kept {
            let revision = one.revision.as_ref().unwrap_or_else(|e| panic!("kill {kill} of seed {seed}: {e}"));
            assert!(is_whole(revision), "kill {kill} of seed {seed}: a mix in {}", one.path.display());
        }
        let newest = kept.first().map_or(0, |kept| kept.revision.as_ref().unwrap().id.0);
        assert!(newest >= acknowledged, "kill {kill} of seed {seed}: {newest} is older than {acknowledged}");
        assert!(newest <= acknowledged + 1, "kill {kill} of seed {seed}: {newest} was never written");
    }
    println!("{unfinished} kills were inside a write");
    assert!(!full || unfinished > 0, "no kill met a write; seed {seed}");
}

/// Runs the child for a few acknowledged writes and a random time more. Returns the last acknowledged write.
fn run_and_kill(data: &Path, rng: &mut StdRng) -> u64 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "keep::tests::the_child_that_is_killed", "--nocapture", "--test-threads=1"])
        .env(CHILD, data)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let number = |line: &str| line.split_once(' ').and_then(|(_, number)| number.parse::<u64>().ok());
    let mut acknowledged = 0;
    let mut wait = rng.random_range(1..4);
    while wait > 0 {
        let line = lines.next().expect("the child writes until it is killed").unwrap();
        if line.starts_with("BEGIN ") || line.starts_with("ACK ") {
            acknowledged = number(&line).unwrap();
            wait -= 1;
        }
    }
    // A moment of the next write, not a wait for anything: half of them while its bytes go out, half over all its steps.
    let longest = if rng.random() { 1_500 } else { 8_000 };
    let until = std::time::Instant::now() + Duration::from_micros(rng.random_range(0..longest));
    while std::time::Instant::now() < until {}
    child.kill().unwrap();
    child.wait().unwrap();
    let rest = lines.map_while(Result::ok).filter(|line| line.starts_with("ACK "));
    rest.filter_map(|line| number(&line)).last().unwrap_or(acknowledged)
}
