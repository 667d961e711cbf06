use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use rusqlite::Connection;
use tempfile::{TempDir, tempdir};

use super::*;
use crate::store::Once;
use crate::store::conformance::{change, document, event, expected, fill};

struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempdir().unwrap() }
    }

    fn open(&self) -> Result<Arc<SqliteStore>, OpenError> {
        SqliteStore::open(self.folder.path())
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join(FILE)
    }

    /// A store that was filled and closed.
    async fn filled(count: u64) -> Self {
        let place = Self::new();
        fill(&*place.open().unwrap(), count).await;
        place
    }

    /// Changes the closed file by hand.
    fn alter(&self, sql: &str) {
        Connection::open(self.file()).unwrap().execute_batch(sql).unwrap();
    }

    /// What an operator is told when it is opened.
    fn refusal(&self) -> String {
        self.open().unwrap_err().to_string()
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[track_caller]
fn assert_tells(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{word:?} is missing: {text}");
    }
}

#[tokio::test]
async fn what_was_there_is_there_again() {
    let place = Place::new();
    let store = place.open().unwrap();
    let first = Change {
        once: Some(Once { key: "k".to_owned(), request: Digest::of(b"r") }),
        ..change(1, Some(document("a")))
    };
    store.commit(None, first).await.unwrap();
    store.record(event("denied")).await.unwrap();
    let before = (store.history(), store.head().await, store.audit(0, 9).await, store.answered("k").await);
    drop(store);
    let store = place.open().unwrap();
    assert_eq!(*store.news().borrow(), Some(RevisionId(1)));
    let after = (store.history(), store.head().await, store.audit(0, 9).await, store.answered("k").await);
    assert_eq!(after, before);
    assert_eq!(store.document(document("a").key()).await, Ok(Some(Arc::new(document("a")))));
    store.commit(expected(2), change(2, None)).await.unwrap();
}

#[tokio::test]
async fn two_stores_are_two_histories() {
    assert_ne!(Place::new().open().unwrap().history(), Place::new().open().unwrap().history());
}

#[tokio::test]
async fn files_are_for_their_owner_only() {
    let place = Place::new();
    let folder = place.folder.path().join("a/data");
    let store = SqliteStore::open(&folder).unwrap();
    fill(&*store, 1).await;
    assert_eq!(mode(&folder), 0o700);
    for file in fs::read_dir(&folder).unwrap() {
        let path = file.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
    drop(store);
    fs::set_permissions(folder.join(FILE), Permissions::from_mode(0o644)).unwrap();
    let _store = SqliteStore::open(&folder).unwrap();
    assert_eq!(mode(&folder.join(FILE)), 0o600);
}

#[test]
fn a_folder_in_use_is_refused_until_it_is_free() {
    let place = Place::new();
    let store = place.open().unwrap();
    let process = std::process::id().to_string();
    assert_tells(&place.refusal(), &[place.folder.path().to_str().unwrap(), "in use", &process, "--data"]);
    drop(store);
    place.open().unwrap();
}

#[test]
fn a_folder_that_cannot_be_made_is_told() {
    let place = Place::new();
    fs::write(place.folder.path().join("file"), "").unwrap();
    let error = SqliteStore::open(&place.folder.path().join("file/data")).unwrap_err();
    assert!(matches!(error, OpenError::Files { .. }), "{error:?}");
    assert_tells(&error.to_string(), &["file/data"]);
}

#[tokio::test]
async fn a_damaged_file_is_told_with_what_to_do() {
    let place = Place::filled(40).await;
    let sound = fs::read(place.file()).unwrap();
    let middle = sound.len() / 2 / 4096 * 4096;
    let mut page = sound.clone();
    page[middle..middle + 4096].fill(0x5a);
    let half = sound[..middle].to_vec();
    for damaged in [b"not a database at all, but long enough to have a header of one".repeat(100), page, half] {
        fs::write(place.file(), damaged).unwrap();
        assert_tells(&place.refusal(), &["is damaged", place.file().to_str().unwrap(), "backup", "go on"]);
    }
    fs::write(place.file(), sound).unwrap();
    assert_eq!(place.open().unwrap().head().await.unwrap().unwrap().id, RevisionId(40));
}

#[tokio::test]
async fn a_file_that_is_gone_while_its_log_is_not_is_no_new_store() {
    let place = Place::filled(1).await;
    fs::write(place.file(), "").unwrap();
    fs::write(place.folder.path().join("store.db-wal"), "changes").unwrap();
    assert_tells(&place.refusal(), &["is damaged", "log of its last changes"]);
    assert_eq!(fs::read(place.folder.path().join("store.db-wal")).unwrap(), b"changes");
}

#[tokio::test]
async fn a_store_of_another_program_or_a_later_sluice_is_left_alone() {
    let place = Place::new();
    place.alter("CREATE TABLE theirs (x)");
    let before = fs::read(place.file()).unwrap();
    assert_tells(&place.refusal(), &["another program", "--data"]);
    assert_eq!(fs::read(place.file()).unwrap(), before);
    let place = Place::filled(1).await;
    place.alter("PRAGMA user_version = 2");
    assert_tells(&place.refusal(), &["later Sluice", "version 2", "backup"]);
    place.alter("PRAGMA user_version = 0");
    assert_tells(&place.refusal(), &["is damaged", "no tables of version 0"]);
}

#[tokio::test]
async fn what_was_altered_by_hand_is_told_when_it_is_read() {
    let place = Place::filled(1).await;
    place.alter("DROP TRIGGER documents_stay; UPDATE documents SET json = '{}'");
    place.alter("DROP TRIGGER revisions_stay; UPDATE revisions SET content = '{\"id\":1}'");
    let store = place.open().unwrap();
    let Err(StoreError::Corrupt(why)) = store.document(document("a").key()).await else { panic!("it was read") };
    assert_tells(&why, &["digest", place.file().to_str().unwrap(), "backup"]);
    let Err(StoreError::Corrupt(why)) = store.head().await else { panic!("it was read") };
    assert_tells(&why, &["revision 1", "kind"]);
}

#[tokio::test]
async fn nobody_alters_what_is_written_by_mistake() {
    let place = Place::filled(1).await;
    let file = Connection::open(place.file()).unwrap();
    for sql in [
        "UPDATE revisions SET content = ''",
        "DELETE FROM revisions",
        "UPDATE audit SET entry = ''",
        "DELETE FROM audit",
        "UPDATE documents SET json = ''",
    ] {
        let error = file.execute_batch(sql).unwrap_err().to_string();
        assert!(error.contains("never"), "{sql}: {error}");
    }
}

#[tokio::test]
async fn a_document_has_one_row() {
    let place = Place::filled(3).await;
    let store = place.open().unwrap();
    store.commit(expected(4), change(4, Some(document("a")))).await.unwrap();
    let count = store.run(|engine| {
        Ok(engine.connection().query_row("SELECT count(*) FROM documents", (), |row| row.get::<_, i64>(0))?)
    });
    assert_eq!(count.await, Ok(1));
}

async fn set(store: &SqliteStore, name: &'static str, value: i64) {
    let set = move |engine: &mut Engine| Ok(engine.connection().pragma_update(None, name, value)?);
    // Some answer with the new value and some do not; both is well.
    let _ = store.run(set).await;
}

#[track_caller]
fn assert_unavailable<T: fmt::Debug>(result: Result<T, CommitError>, words: &[&str]) {
    let Err(CommitError::Store(StoreError::Unavailable(why))) = result else { panic!("{result:?}") };
    assert_tells(&why, words);
}

#[tokio::test]
async fn a_full_disk_refuses_the_change_and_a_disk_with_room_takes_it() {
    let place = Place::filled(1).await;
    let store = place.open().unwrap();
    set(&store, "max_page_count", 1).await;
    let large = document(&"x".repeat(1 << 20));
    let refused = store.commit(expected(2), change(2, Some(large.clone()))).await;
    assert_unavailable(refused, &["disk is full", "make room", place.file().to_str().unwrap()]);
    assert_eq!(store.head().await.unwrap().unwrap().id, RevisionId(1));
    assert_eq!(store.audit_head().await.unwrap().sequence, 1);
    set(&store, "max_page_count", 1 << 20).await;
    store.commit(expected(2), change(2, Some(large))).await.unwrap();
}

#[tokio::test]
async fn a_disk_that_takes_no_writes_is_told_and_still_read() {
    let place = Place::filled(1).await;
    let store = place.open().unwrap();
    set(&store, "query_only", 1).await;
    assert_unavailable(store.commit(expected(2), change(2, None)).await, &["cannot be written", "mounted"]);
    assert!(store.check().await.is_err());
    assert!(store.record(event("x")).await.is_err());
    assert_eq!(store.head().await.unwrap().unwrap().id, RevisionId(1));
    assert_eq!(store.list(None, 9).await.unwrap().len(), 1);
    set(&store, "query_only", 0).await;
    store.check().await.unwrap();
}

#[tokio::test]
async fn nothing_is_written_to_a_file_that_was_taken_away() {
    let place = Place::filled(1).await;
    let store = place.open().unwrap();
    let away = place.folder.path().join("away");
    fs::rename(place.file(), &away).unwrap();
    assert_unavailable(store.commit(expected(2), change(2, None)).await, &["removed or replaced", "start again"]);
    fs::write(place.file(), "another").unwrap();
    assert!(store.check().await.is_err());
    fs::rename(&away, place.file()).unwrap();
    store.commit(expected(2), change(2, None)).await.unwrap();
}

#[tokio::test]
async fn what_nobody_waits_for_is_done_all_the_same() {
    let place = Place::new();
    let store = place.open().unwrap();
    let mut news = store.news();
    {
        let mut commit = store.commit(None, change(1, Some(document("a"))));
        let polled = std::future::poll_fn(|context| std::task::Poll::Ready(commit.as_mut().poll(context).is_pending()));
        polled.await;
    }
    let done = news.wait_for(|head| *head == Some(RevisionId(1)));
    tokio::time::timeout(Duration::from_secs(60), done).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_panic_costs_its_caller_and_leaves_nothing_behind() {
    let place = Place::filled(1).await;
    let store = place.open().unwrap();
    let broken = store.run(|engine| {
        let _open = engine.connection().unchecked_transaction()?;
        if engine.head().is_ok() { panic!("on purpose") } else { Ok(()) }
    });
    assert!(matches!(broken.await, Err(StoreError::Unavailable(_))));
    store.commit(expected(2), change(2, None)).await.unwrap();
}

/// A loss of power leaves the log of changes with its last writes torn anywhere.
#[tokio::test]
async fn a_write_that_is_torn_anywhere_was_not_made() {
    let place = Place::new();
    let store = place.open().unwrap();
    let log = place.folder.path().join("store.db-wal");
    fill(&*store, 3).await;
    let before = fs::read(&log).unwrap().len();
    store.commit(expected(4), change(4, Some(document(&"x".repeat(9_000))))).await.unwrap();
    let (file, whole) = (fs::read(place.file()).unwrap(), fs::read(&log).unwrap());
    assert!(before < whole.len(), "the fourth change is in the log");
    for end in (before..whole.len()).step_by(509).chain([whole.len() - 1, whole.len()]) {
        let torn = Place::new();
        fs::write(torn.file(), &file).unwrap();
        fs::write(torn.folder.path().join("store.db-wal"), &whole[..end]).unwrap();
        let store = torn.open().unwrap();
        let head = if end == whole.len() { 4 } else { 3 };
        assert_eq!(store.head().await.unwrap().unwrap().id, RevisionId(head), "torn at byte {end}");
        assert_eq!(store.audit_head().await.unwrap().sequence, head);
        store.commit(expected(head + 1), change(head + 1, Some(document("a")))).await.unwrap();
    }
}
