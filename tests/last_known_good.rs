//! Guarantee 3: the proxy never needs the control plane to serve. What it ran last is on its disk.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sluice_config::value::Digest;
use sluice_config::wire::{Reply, Revision};
use sluice_harness::control::{Control, revision};
use sluice_harness::h1::Client;
use sluice_harness::sluice::{Setup, setup};
use sluice_harness::wait::until;
use sluice_harness::{Document, Origin, Sluice, free_address};

const SLUICE: &str = env!("CARGO_BIN_EXE_sluice");

/// From the start of the process to the first answer.
const START: Duration = Duration::from_millis(500);

struct Stage {
    web: SocketAddr,
    origins: Vec<Origin>,
    control: Control,
}

impl Stage {
    fn new() -> Self {
        let origins = ["v0", "v1", "v2", "v3", "v4"].map(Origin::start).into();
        Self { web: free_address(), origins, control: Control::start() }
    }

    /// Revision n, by which v(n) answers.
    fn revision(&self, id: usize) -> Revision {
        revision(id as u64, Document::simple(self.web, self.origins[id].address()))
    }

    fn setup() -> Setup {
        setup(SLUICE)
    }

    /// A proxy that has run these revisions and kept them, killed. Returns its folder.
    fn left_behind(&self, revisions: &[usize]) -> Arc<tempfile::TempDir> {
        let proxy = Self::setup().start_proxy(&["--control", &self.control.url()]);
        for id in revisions {
            self.control.run(&self.revision(*id));
        }
        let written = |proxy: &Sluice| proxy.metric("sluice_last_known_good_writes_total", &[("result", "ok")]);
        until("every revision is on the disk", || (written(&proxy) as usize == revisions.len()).then_some(()));
        let folder = proxy.shared_folder();
        assert!(proxy.terminate().success());
        folder
    }

    fn start(&self, folder: &Arc<tempfile::TempDir>) -> Sluice {
        Self::setup().start_proxy_in(&["--control", &self.control.url()], Arc::clone(folder))
    }

    fn answers(&self) -> String {
        until("an answer", || {
            let mut client = Client::try_connect(self.web).ok()?;
            client.try_send("GET / HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n").ok()?;
            Some(client.try_response("GET").ok()?.origin().to_owned())
        })
    }
}

/// The kept files, the newest first.
fn kept(folder: &tempfile::TempDir) -> Vec<PathBuf> {
    let inside = folder.path().join(".sluice/last-known-good");
    let paths = fs::read_dir(inside).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = paths.filter(|path| path.extension().is_some_and(|it| it == "revision")).collect();
    files.sort();
    files.reverse();
    files
}

fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn without_a_control_plane_it_serves_within_half_a_second_what_it_ran_last() {
    let mut stage = Stage::new();
    let folder = stage.left_behind(&[1, 2]);
    stage.control.close();
    let mut times: Vec<Duration> = (0..5)
        .map(|_| {
            let begun = Instant::now();
            let proxy = stage.start(&folder);
            assert_eq!(stage.answers(), "v2");
            let took = begun.elapsed();
            assert_eq!(proxy.health().0, 200);
            assert!(proxy.terminate().success());
            took
        })
        .collect();
    times.sort();
    println!("from the start of the process to the first answer: median {:?}, all {times:?}", times[2]);
    assert!(times[0] < START, "{times:?}");
    stage.control.open();
    let proxy = stage.start(&folder);
    stage.control.run(&stage.revision(3));
    assert_eq!(stage.answers(), "v3");
    drop(proxy);
}

/// A program that knows more settings makes another digest of the same content: an upgrade must not cost what was kept.
#[test]
fn what_an_older_program_kept_is_run() {
    let mut stage = Stage::new();
    let folder = stage.left_behind(&[1, 2]);
    stage.control.close();
    for file in kept(&folder) {
        let text = fs::read_to_string(&file).unwrap();
        let (line, content) = text.split_once('\n').unwrap();
        let mut revision: Revision = serde_json::from_str(content).unwrap();
        revision.digest = Digest::of(b"older");
        let content = serde_json::to_string(&revision).unwrap();
        let (form, _) = line.rsplit_once(' ').unwrap();
        fs::write(&file, format!("{form} {}\n{content}", Digest::of(content.as_bytes()))).unwrap();
    }
    let proxy = stage.start(&folder);
    assert_eq!(stage.answers(), "v2");
    stage.control.open();
    stage.control.run(&stage.revision(3));
    assert_eq!(stage.answers(), "v3");
    drop(proxy);
}

#[test]
fn a_damaged_file_means_the_one_before_it_said_loudly() {
    let mut stage = Stage::new();
    let folder = stage.left_behind(&[1, 2, 3, 4]);
    stage.control.close();
    let files = kept(&folder);
    assert_eq!(files.len(), 3);
    damage(&files[0]);
    let proxy = stage.start(&folder);
    assert_eq!(stage.answers(), "v3");
    proxy.wait_stderr("a last known good revision is damaged and is not used");
    proxy.wait_stderr("newer files are damaged: 1");
    let folder = proxy.kill();
    kept(&folder).iter().skip(1).for_each(|file| damage(file));
    let proxy = stage.start(&folder);
    proxy.wait_stderr("no revision is kept on this disk");
    until("it says what it waits for", || {
        let ready = proxy.ask("/ready")?;
        (ready.status() == 503 && ready.text().contains("no control plane")).then_some(())
    });
    stage.control.open();
    stage.control.run(&stage.revision(1));
    assert_eq!(stage.answers(), "v1");
}

#[test]
fn two_crashes_within_a_minute_mean_the_revision_before_until_something_changes() {
    let mut stage = Stage::new();
    let mut folder = stage.left_behind(&[1, 2]);
    stage.control.close();
    for crash in 0..2 {
        let proxy = stage.start(&folder);
        assert_eq!(stage.answers(), "v2", "crash {crash}");
        folder = proxy.kill();
    }
    let proxy = stage.start(&folder);
    assert_eq!(stage.answers(), "v1");
    proxy.wait_stderr("crashed twice within a minute");
    stage.control.open();
    stage.control.revise(&stage.revision(2));
    let nack = stage.control.wait_answer("a refusal", |reply| matches!(reply, Reply::Nack { .. }));
    let Reply::Nack { digest, problems, retries, .. } = nack else { panic!("not a refusal") };
    assert_eq!((digest, retries), (stage.revision(2).digest, false));
    assert!(problems[0].contains("crashed twice"), "{problems:?}");
    assert_eq!(stage.answers(), "v1");
    assert_eq!(proxy.health().1["component_status"]["revision"]["status"], "degraded");
    stage.control.run(&stage.revision(3));
    assert_eq!(stage.answers(), "v3");
    let mut again = stage.revision(2);
    again.id = sluice_config::value::RevisionId(4);
    stage.control.run(&again);
    assert_eq!(stage.answers(), "v2", "another content ran, so it is tried again");
}

#[test]
fn a_stop_in_order_and_a_start_try_again_what_crashed() {
    let mut stage = Stage::new();
    let mut folder = stage.left_behind(&[1, 2]);
    stage.control.close();
    for _ in 0..2 {
        let proxy = stage.start(&folder);
        assert_eq!(stage.answers(), "v2");
        folder = proxy.kill();
    }
    let proxy = stage.start(&folder);
    assert_eq!(stage.answers(), "v1");
    assert!(proxy.terminate().success());
    let proxy = stage.start(&folder);
    assert_eq!(stage.answers(), "v2");
    drop(proxy);
}

#[test]
fn a_disk_that_takes_nothing_is_told_and_costs_no_request() {
    let stage = Stage::new();
    let proxy = Stage::setup().start_proxy(&["--control", &stage.control.url()]);
    stage.control.run(&stage.revision(1));
    let inside = proxy.folder().join(".sluice/last-known-good");
    fs::rename(&inside, proxy.folder().join("away")).unwrap();
    stage.control.run(&stage.revision(2));
    proxy.wait_metric("sluice_last_known_good_writes_total", &[("result", "failed")], 1.0);
    assert_eq!(stage.answers(), "v2");
    let (status, health) = proxy.health();
    assert_eq!((status, &health["component_status"]["last_known_good"]["status"]), (200, &"degraded".into()));
    fs::rename(proxy.folder().join("away"), &inside).unwrap();
    stage.control.run(&stage.revision(3));
    until("well again", || (proxy.health().1["overall_status"] == "healthy").then_some(()));
}

#[test]
fn two_proxies_do_not_share_a_folder() {
    let stage = Stage::new();
    let first = Stage::setup().start_proxy(&["--control", &stage.control.url()]);
    let _ = stage.control.wait_hello(0);
    let mut second = stage.start(&first.shared_folder());
    assert_eq!(second.wait_exit(Duration::from_secs(20)).code(), Some(1));
    first.wait_stderr("with --data");
}
