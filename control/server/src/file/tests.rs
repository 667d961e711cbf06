use std::os::unix::fs::symlink;

use sluice_config::value::RevisionId;
use sluice_control_core::source::RETRY;

use super::*;

struct Room {
    folder: tempfile::TempDir,
}

/// A document whose one route has this name.
fn document(route: &str) -> String {
    format!(
        "listeners: [{{ name: web, address: '127.0.0.1:8080' }}]\n\
         services: [{{ name: shop, endpoints: ['127.0.0.1:9000'] }}]\n\
         routes: [{{ name: {route}, service: shop }}]\n"
    )
}

impl Room {
    fn new() -> Self {
        let room = Self { folder: tempfile::tempdir().unwrap() };
        std::fs::write(room.path(), document("one")).unwrap();
        room
    }

    fn path(&self) -> PathBuf {
        self.at("sluice.yaml")
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn open(&self) -> FileControl {
        FileControl::open(&self.path(), Environment::empty()).unwrap().1
    }
}

impl FileControl {
    /// Watches for two ticks and returns the document that is to be sent, if any.
    async fn watch_twice(&mut self) -> Option<Revision> {
        self.observe(Cause::Watch).await;
        self.observe(Cause::Watch).await;
        self.pending.take().map(|bytes| whole(&bytes))
    }
}

fn names(revision: &Revision, route: &str) -> bool {
    revision.document.contains(&format!("\"{route}\""))
}

#[test]
fn a_bad_file_opens_nothing_and_shows_its_problems() {
    let room = Room::new();
    std::fs::write(room.path(), "listeners: []\nroute: 1\n").unwrap();
    let Err(OpenError::Refused { content, problems }) = FileControl::open(&room.path(), Environment::empty()) else {
        panic!("it was opened");
    };
    assert!(content.starts_with(b"listeners") && problems.count() > 0);
    let missing = FileControl::open(&room.at("other.yaml"), Environment::empty());
    assert!(matches!(missing, Err(OpenError::Unreadable(Unreadable::Missing))));
}

#[tokio::test]
async fn a_write_in_place_becomes_revision_2() {
    let room = Room::new();
    let mut control = room.open();
    assert_eq!(control.watch_twice().await, None);
    std::fs::write(room.path(), document("two")).unwrap();
    let revision = control.watch_twice().await.unwrap();
    assert!(revision.id.0 == 2 && names(&revision, "two"), "{revision:?}");
    assert_eq!(control.watch_twice().await, None);
}

#[tokio::test]
async fn an_editor_that_renames_is_followed() {
    let room = Room::new();
    let mut control = room.open();
    std::fs::write(room.at("new"), document("two")).unwrap();
    std::fs::rename(room.path(), room.at("sluice.yaml~")).unwrap();
    control.observe(Cause::Watch).await;
    std::fs::rename(room.at("new"), room.path()).unwrap();
    assert!(names(&control.watch_twice().await.unwrap(), "two"));
    std::fs::write(room.path(), document("three")).unwrap();
    assert!(names(&control.watch_twice().await.unwrap(), "three"));
}

/// Kubernetes mounts `sluice.yaml -> ..data/sluice.yaml` and swaps `..data` to another folder.
#[tokio::test]
async fn a_swapped_folder_behind_a_link_is_followed() {
    let room = Room::new();
    for name in ["one", "two"] {
        std::fs::create_dir(room.at(name)).unwrap();
        std::fs::write(room.at(name).join("sluice.yaml"), document(name)).unwrap();
    }
    std::fs::remove_file(room.path()).unwrap();
    symlink("one", room.at("..data")).unwrap();
    symlink("..data/sluice.yaml", room.path()).unwrap();
    let mut control = room.open();
    assert_eq!(control.watch_twice().await, None);
    symlink("two", room.at("..data_tmp")).unwrap();
    std::fs::rename(room.at("..data_tmp"), room.at("..data")).unwrap();
    assert!(names(&control.watch_twice().await.unwrap(), "two"));
}

#[tokio::test]
async fn a_half_written_file_waits_for_its_other_half() {
    let room = Room::new();
    let mut control = room.open();
    let whole = document("two");
    std::fs::write(room.path(), &whole[..whole.len() / 2]).unwrap();
    control.observe(Cause::Watch).await;
    std::fs::write(room.path(), &whole).unwrap();
    control.observe(Cause::Watch).await;
    assert_eq!(control.pending, None);
    control.observe(Cause::Watch).await;
    assert!(control.pending.is_some());
}

#[tokio::test]
async fn a_bad_or_vanished_file_replaces_nothing() {
    let room = Room::new();
    let mut control = room.open();
    std::fs::write(room.path(), "routes: 7").unwrap();
    assert_eq!(control.watch_twice().await, None);
    assert!(control.source.is_settled(), "the problems were told");
    std::fs::remove_file(room.path()).unwrap();
    assert_eq!(control.watch_twice().await, None);
    std::fs::write(room.path(), document("two")).unwrap();
    assert_eq!(control.watch_twice().await.unwrap().id.0, 2, "the bad ones got no number");
}

#[tokio::test]
async fn an_operator_who_asks_does_not_wait() {
    let room = Room::new();
    let mut control = room.open();
    std::fs::write(room.path(), document("two")).unwrap();
    control.observe(Cause::Asked).await;
    assert!(control.pending.is_some());
}

#[tokio::test]
async fn a_change_reaches_the_proxy_and_the_end_of_the_proxy_ends_the_watch() {
    let room = Room::new();
    let control = room.open();
    let (to_proxy, mut revisions) = mpsc::channel(1);
    let (to_control, replies) = mpsc::channel(1);
    let watch = tokio::spawn(control.run(to_proxy, replies, |_| ()));
    std::fs::write(room.path(), document("two")).unwrap();
    let bytes = tokio::time::timeout(Duration::from_secs(20), revisions.recv()).await.unwrap().unwrap();
    let revision = whole(&bytes);
    assert!(names(&revision, "two"));
    let reply = Reply::Ack { id: revision.id, digest: revision.digest };
    to_control.send(serde_json::to_vec(&reply).unwrap()).await.unwrap();
    to_control.send(b"junk".to_vec()).await.unwrap();
    drop(revisions);
    tokio::time::timeout(Duration::from_secs(20), watch).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_proxy_that_is_slow_gets_the_newest_revision_only() {
    let room = Room::new();
    let mut control = room.open();
    for route in ["two", "three"] {
        std::fs::write(room.path(), document(route)).unwrap();
        control.observe(Cause::Asked).await;
    }
    let revision = whole(&control.pending.unwrap());
    assert!(revision.id.0 == 3 && names(&revision, "three"));
}

impl FileControl {
    fn answer(&mut self, reply: &Reply) {
        self.hear(&serde_json::to_vec(reply).unwrap());
    }

    fn taken(&self) -> Option<Revision> {
        self.pending.as_ref().map(|bytes| whole(bytes))
    }
}

fn nack(id: RevisionId) -> Reply {
    Reply::Nack {
        id,
        digest: sluice_config::value::Digest::of(b""),
        retries: true,
        problems: vec!["the address is in use".to_owned()],
    }
}

/// A port that is taken: what runs is what ran, and the document goes out again until the port is free.
#[tokio::test]
async fn what_the_proxy_refuses_goes_out_again_until_it_fits() {
    let room = Room::new();
    let mut control = room.open();
    std::fs::write(room.path(), document("two")).unwrap();
    let second = control.watch_twice().await.unwrap();
    control.answer(&nack(second.id));
    assert_eq!((control.source.runs().0, control.source.standing().accepted), (1, false));
    assert_eq!(control.watch_twice().await, None, "before its time");
    control.began -= RETRY;
    let third = control.watch_twice().await.unwrap();
    assert!(third.id.0 == 3 && third.digest == second.digest, "{third:?}");
    control.answer(&Reply::Ack { id: third.id, digest: third.digest });
    assert_eq!((control.source.runs().0, control.source.standing().accepted), (3, true));
    control.began -= RETRY;
    assert_eq!(control.watch_twice().await, None, "it runs");
}

#[tokio::test]
async fn what_the_proxy_refuses_goes_out_again_when_it_is_saved_or_asked_for() {
    let room = Room::new();
    let mut control = room.open();
    std::fs::write(room.path(), document("two")).unwrap();
    let second = control.watch_twice().await.unwrap();
    control.answer(&nack(second.id));
    std::fs::write(room.at("new"), document("two")).unwrap();
    std::fs::rename(room.at("new"), room.path()).unwrap();
    let third = control.watch_twice().await.unwrap();
    control.answer(&nack(third.id));
    control.observe(Cause::Asked).await;
    assert_eq!((third.id.0, control.taken().unwrap().id.0), (3, 4));
}

/// The whole loop, by the bell: every reply reaches the file's standing.
#[tokio::test]
async fn how_the_file_stands_is_told_after_each_reply() {
    let room = Room::new();
    std::fs::write(room.at("new"), document("two")).unwrap();
    let control = room.open();
    let bell = control.bell();
    let (to_proxy, mut revisions) = mpsc::channel(1);
    let (to_control, replies) = mpsc::channel(1);
    let (told, mut stands) = tokio::sync::watch::channel(None);
    let watch = tokio::spawn(control.run(to_proxy, replies, move |standing| {
        told.send_replace(Some(standing));
    }));
    std::fs::rename(room.at("new"), room.path()).unwrap();
    for accepted in [false, true] {
        bell.notify_one();
        let bytes = tokio::time::timeout(Duration::from_secs(20), revisions.recv()).await.unwrap().unwrap();
        let Order::Revision(Revision { id, digest, .. }) = serde_json::from_slice(&bytes).unwrap() else {
            panic!("a delta")
        };
        let reply = if accepted { Reply::Ack { id, digest } } else { nack(id) };
        to_control.send(serde_json::to_vec(&reply).unwrap()).await.unwrap();
        let told = stands.wait_for(|standing| standing.is_some_and(|standing| standing.accepted == accepted));
        tokio::time::timeout(Duration::from_secs(20), told).await.unwrap().unwrap();
    }
    drop(revisions);
    tokio::time::timeout(Duration::from_secs(20), watch).await.unwrap().unwrap();
}

fn whole(bytes: &[u8]) -> Revision {
    match serde_json::from_slice(bytes).unwrap() {
        Order::Revision(revision) => revision,
        Order::Delta(delta) => panic!("{delta:?}"),
    }
}
