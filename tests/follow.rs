//! A proxy alone: what it does with what a control plane sends, and without one.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use sluice_config::value::HistoryId;
use sluice_config::wire::{Order, PROTOCOL, Reply};
use sluice_harness::control::{Authority, Control, mislabelled, revision};
use sluice_harness::h1::Client;
use sluice_harness::sluice::{command, setup};
use sluice_harness::wait::until;
use sluice_harness::{Document, Origin, Sluice, free_address};

const SLUICE: &str = env!("CARGO_BIN_EXE_sluice");

/// One proxy under one control plane, with two origins.
struct Stage {
    web: SocketAddr,
    v1: Origin,
    v2: Origin,
    control: Control,
    proxy: Sluice,
}

impl Stage {
    fn new() -> Self {
        Self::with(Control::start(), &[])
    }

    fn with(control: Control, arguments: &[&str]) -> Self {
        let url = control.url();
        let all = [&["--control", &url, "--node", "n1", "--region", "here"], arguments].concat();
        let proxy = setup(SLUICE).start_proxy(&all);
        Self { web: free_address(), v1: Origin::start("v1"), v2: Origin::start("v2"), control, proxy }
    }

    fn document(&self) -> Document {
        Document::new()
            .listener("web", self.web, "")
            .region("here", "")
            .service("shop", "")
            .version("v1", 100, &[("here", &[self.v1.address()])])
            .version("v2", 0, &[("here", &[self.v2.address()])])
            .route("{ path: / }", "service: shop")
    }

    /// All to v2.
    fn shifted(&self) -> Document {
        self.document().weight("shop", "v1", 0).weight("shop", "v2", 100)
    }

    fn answers(&self) -> String {
        Client::connect(self.web).get("/").origin().to_owned()
    }
}

fn lost(reply: &Reply) -> bool {
    matches!(reply, Reply::Lost { .. })
}

#[test]
fn a_proxy_says_who_it_is_waits_for_a_revision_and_acknowledges_it_once_it_runs() {
    let stage = Stage::new();
    let hello = stage.control.wait_hello(0);
    assert_eq!((hello.protocol, hello.node.as_str(), hello.runs), (PROTOCOL, "n1", None));
    assert_eq!(hello.region.unwrap().as_str(), "here");
    let ready = until("it answers", || stage.proxy.ask("/ready"));
    assert_eq!(ready.status(), 503);
    assert!(ready.text().contains("no revision runs yet"), "{}", ready.text());
    assert_eq!(stage.proxy.health().0, 503);
    stage.control.run(&revision(1, stage.document()));
    assert_eq!(stage.answers(), "v1");
    assert_eq!(stage.proxy.ask("/ready").unwrap().status(), 200);
    let health = until("it is well, with the revision on its disk", || {
        let (status, health) = stage.proxy.health();
        (status == 200 && health["overall_status"] == "healthy").then_some(health)
    });
    for component in ["revision", "control_plane", "last_known_good", "disk", "service:shop"] {
        assert!(health["component_status"][component].is_object(), "{component} in {health}");
    }
}

#[test]
fn a_difference_makes_the_next_revision_also_of_one_that_did_not_run() {
    let stage = Stage::new();
    let (first, second) = (revision(1, stage.document()), revision(2, stage.shifted()));
    stage.control.run(&first);
    stage.control.amend(&first, &second);
    stage.control.wait_ack(2);
    assert_eq!(stage.answers(), "v2");
    let refused = mislabelled(revision(3, stage.document()));
    stage.control.revise(&refused);
    stage.control.wait_nack(3);
    stage.control.amend(&refused, &revision(4, stage.document()));
    stage.control.wait_ack(4);
    assert_eq!(stage.answers(), "v1");
}

#[test]
fn a_difference_without_its_base_is_answered_by_lost_and_the_whole_helps() {
    let stage = Stage::new();
    let (first, second) = (revision(1, stage.document()), revision(2, stage.shifted()));
    stage.control.amend(&first, &second);
    stage.control.wait_answer("lost", lost);
    stage.control.run(&first);
    stage.control.amend(&first, &mislabelled(second.clone()));
    until("lost again", || (stage.control.answers().iter().filter(|it| lost(it)).count() == 2).then_some(()));
    assert_eq!(stage.answers(), "v1", "what ran goes on");
    stage.control.run(&second);
    assert_eq!(stage.answers(), "v2");
}

#[test]
fn what_is_refused_changes_nothing_and_is_told_with_its_digest() {
    let stage = Stage::new();
    stage.control.run(&revision(1, stage.document()));
    let bad = mislabelled(revision(2, stage.shifted()));
    stage.control.revise(&bad);
    let (problems, retries) = stage.control.wait_nack(2);
    assert!(problems[0].contains("digest") && !retries, "{problems:?}");
    let mut unsound = revision(3, stage.document());
    unsound.document = unsound.document.replace("\"service\"", "\"srevice\"");
    stage.control.revise(&unsound);
    let (problems, retries) = stage.control.wait_nack(3);
    assert!(problems.iter().any(|problem| problem.contains("srevice")) && !retries, "{problems:?}");
    let named = |reply: &Reply| matches!(reply, Reply::Nack { digest, .. } if *digest == unsound.digest);
    stage.control.wait_answer("the announced digest", named);
    assert_eq!(stage.answers(), "v1");
    let (status, health) = stage.proxy.health();
    assert_eq!((status, health["component_status"]["revision"]["status"].as_str().unwrap()), (200, "degraded"));
    assert_eq!(stage.proxy.metric("sluice_revision", &[]), 1.0);
    assert_eq!(stage.proxy.metric("sluice_revisions_refused_total", &[]), 2.0);
}

#[test]
fn an_address_in_use_is_tried_again_by_the_proxy_and_then_acknowledged() {
    let stage = Stage::new();
    stage.control.run(&revision(1, stage.document()));
    let other = free_address();
    let taken = TcpListener::bind(other).unwrap();
    stage.control.revise(&revision(2, stage.shifted().listener("more", other, "")));
    let (problems, retries) = stage.control.wait_nack(2);
    assert!(retries && problems[0].contains("another process listens"), "{problems:?}");
    assert_eq!(stage.answers(), "v1");
    drop(taken);
    stage.proxy.hang_up();
    stage.control.wait_ack(2);
    assert_eq!(Client::connect(other).get("/").origin(), "v2");
}

#[test]
fn an_address_that_is_free_again_is_found_without_being_told() {
    let stage = Stage::new();
    stage.control.run(&revision(1, stage.document()));
    let other = free_address();
    let taken = TcpListener::bind(other).unwrap();
    stage.control.revise(&revision(2, stage.document().listener("more", other, "")));
    stage.control.wait_nack(2);
    drop(taken);
    stage.control.wait_ack(2);
    let nacks = stage.control.answers().iter().filter(|reply| matches!(reply, Reply::Nack { .. })).count();
    assert_eq!(nacks, 1, "a cause is told once");
}

#[test]
fn an_older_revision_is_refused_and_one_of_another_store_is_run_and_told() {
    let stage = Stage::new();
    stage.control.run(&revision(7, stage.document()));
    stage.control.revise(&revision(6, stage.shifted()));
    stage.proxy.wait_stderr("older than what is here");
    assert_eq!((stage.answers().as_str(), stage.proxy.revision()), ("v1", 7));
    let mut other = revision(3, stage.shifted());
    other.history = HistoryId::from_bits(2);
    stage.control.run(&other);
    assert_eq!((stage.answers().as_str(), stage.proxy.revision()), ("v2", 3));
    stage.proxy.wait_stderr("another store");
}

#[test]
fn a_control_plane_that_dies_changes_nothing_and_is_found_again() {
    let mut stage = Stage::new();
    let first = revision(1, stage.document());
    stage.control.run(&first);
    stage.control.close();
    until("the loss is seen", || (stage.proxy.metric("sluice_control_connected", &[]) == 0.0).then_some(()));
    assert_eq!(stage.answers(), "v1");
    let (status, health) = stage.proxy.health();
    assert_eq!((status, health["component_status"]["control_plane"]["status"].as_str().unwrap()), (200, "degraded"));
    assert!(stage.proxy.scrape().sum("sluice_control_last_contact_seconds", &[]).is_some());
    stage.control.open();
    let hello = stage.control.wait_hello(1);
    assert_eq!(hello.runs.map(|runs| (runs.id.0, runs.digest)), Some((1, first.digest)));
    assert_eq!(hello.incarnation, stage.control.wait_hello(0).incarnation);
    let second = revision(2, stage.shifted());
    stage.control.amend(&first, &second);
    stage.control.wait_ack(second.id.0);
    assert_eq!(stage.answers(), "v2", "what runs is the base of the first difference");
}

#[test]
fn a_message_that_is_not_known_ends_the_connection_and_not_what_runs() {
    let stage = Stage::new();
    stage.control.run(&revision(1, stage.document()));
    stage.control.send_line(r#"{"reboot":{}}"#);
    let _ = stage.control.wait_hello(1);
    stage.proxy.wait_stderr("a message that this proxy does not know");
    assert_eq!(stage.answers(), "v1");
}

#[test]
fn a_refused_subscription_is_told_once_with_its_reason() {
    let control = Control::start();
    control.refuse(Some((401, "this token is not known")));
    let stage = Stage::with(control, &[]);
    stage.proxy.wait_stderr("401 Unauthorized: this token is not known");
    until("some tries", || (stage.control.requests().len() >= 4).then_some(()));
    assert_eq!(stage.proxy.stderr().matches("this token is not known").count(), 1, "{}", stage.proxy.stderr());
    assert!(stage.proxy.ask("/ready").unwrap().text().contains("this token is not known"));
    stage.control.refuse(None);
    stage.control.run(&revision(1, stage.document()));
}

#[test]
fn the_token_is_sent_and_a_new_one_after_sighup() {
    let folder = tempfile_folder();
    let token = folder.path().join("token");
    let write = |text: &str| {
        fs::write(&token, text).unwrap();
        fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
    };
    write("first\n");
    let stage = Stage::with(Control::start(), &["--token-file", token.to_str().unwrap()]);
    let _ = stage.control.wait_hello(0);
    assert_eq!(stage.control.requests()[0]["authorization"], "Bearer first");
    write("second\n");
    stage.proxy.hang_up();
    let _ = stage.control.wait_hello(1);
    assert_eq!(stage.control.requests()[1]["authorization"], "Bearer second");
    fs::set_permissions(&token, fs::Permissions::from_mode(0o644)).unwrap();
    stage.proxy.hang_up();
    stage.proxy.wait_stderr("can be read by others");
}

#[test]
fn over_tls_both_sides_are_proven() {
    let authority = Authority::new();
    let files: Vec<String> =
        ["ca.pem", "client.pem", "client.key"].iter().map(|name| authority.file(name).display().to_string()).collect();
    let proven = ["--ca", &files[0], "--cert", &files[1], "--key", &files[2]];
    let stage = Stage::with(Control::start_tls(&authority), &proven);
    stage.control.run(&revision(1, stage.document()));
    assert_eq!(stage.answers(), "v1");
    let stranger = Stage::with(Control::start_tls(&authority), &[]);
    stranger.proxy.wait_stderr("no control plane");
    assert!(stranger.control.requests().is_empty(), "a server that nobody vouches for is sent nothing");
    let unproven = Stage::with(Control::start_tls(&authority), &["--ca", &files[0]]);
    unproven.proxy.wait_stderr("no control plane");
    assert!(unproven.control.requests().is_empty(), "a client without a certificate is not heard");
}

#[test]
fn a_listener_is_bound_where_this_node_was_told() {
    let (mine, spare) = (free_address(), free_address());
    let (here, other) = (format!("web={mine}"), format!("extra={spare}"));
    let stage = Stage::with(Control::start(), &["--listen", &here, "--listen", &other]);
    stage.control.run(&revision(1, stage.document()));
    assert_eq!(Client::connect(mine).get("/").origin(), "v1");
    assert!(Client::try_connect(stage.web).is_err(), "the document's address is not bound");
    stage.proxy.wait_stderr("--listen names a listener that the document does not have");
    assert_eq!(stage.proxy.health().1["component_status"]["listen"]["status"], "degraded");
    stage
        .control
        .revise(&revision(2, stage.document().listener("extra", free_address(), "").listener("both", mine, "")));
    let (problems, retries) = stage.control.wait_nack(2);
    assert!(!retries && problems[0].contains("are both on"), "{problems:?}");
    stage.control.run(&revision(3, stage.document().listener("extra", free_address(), "")));
    assert_eq!(Client::connect(spare).get("/").origin(), "v1");
    assert!(stage.proxy.health().1["component_status"]["listen"].is_null());
}

#[test]
fn reports_say_what_was_answered_and_never_less() {
    let stage = Stage::new();
    stage.control.run(&revision(1, stage.document()));
    (0..7).for_each(|_| assert_eq!(stage.answers(), "v1"));
    let report = until("a report of seven", || {
        let of_v1 = |report: &sluice_config::wire::Report| {
            report.pools.iter().any(|pool| pool.version.as_str() == "v1" && pool.classes[1] == 7)
        };
        stage.control.reports().into_iter().find(of_v1)
    });
    let pool = report.pools.iter().find(|pool| pool.version.as_str() == "v1").unwrap();
    assert_eq!((pool.endpoints, pool.healthy), (1, 1));
    assert_eq!(pool.latency.iter().map(|(_, count)| count).sum::<u64>(), 7);
    let sequences: Vec<u64> = stage.control.reports().iter().map(|report| report.sequence).collect();
    assert!(sequences.is_sorted() && sequences[0] == 1, "{sequences:?}");
}

#[test]
fn orders_that_pass_by_leave_a_stale_one_with_no_effect_under_a_storm() {
    let stage = Stage::new();
    let mut last = revision(1, stage.document());
    stage.control.run(&last);
    for id in 2..=40 {
        let document = if id % 2 == 0 { stage.shifted() } else { stage.document() };
        let next = revision(id, document);
        stage.control.amend(&last, &next);
        last = next;
    }
    stage.control.wait_ack(40);
    let acks = stage.control.answers().iter().filter(|reply| matches!(reply, Reply::Ack { .. })).count();
    assert_eq!((acks, stage.answers().as_str()), (40, "v2"), "each is acknowledged");
}

#[test]
fn what_cannot_be_meant_is_refused_before_anything_runs() {
    for (arguments, words) in [
        (vec!["--control", "http://control.example.com"], "use https://"),
        (vec!["--control", "control:9900"], "https://control.example.com:9900"),
        (vec!["--control", "http://127.0.0.1:1", "--cert", "c.pem"], "--key"),
        (vec!["--control", "http://127.0.0.1:1", "--listen", "web"], "web=127.0.0.1:8080"),
        (vec!["--control", "http://127.0.0.1:1", "--listen", "a=127.0.0.1:1", "--listen", "a=127.0.0.1:2"], "twice"),
    ] {
        let output = command(SLUICE, &[&["proxy"], arguments.as_slice()].concat());
        let stderr = String::from_utf8_lossy(&output.stderr).replace('\n', " ");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {stderr}");
        assert!(stderr.contains(words), "{arguments:?}: {stderr}");
    }
}

#[test]
fn a_proxy_without_a_revision_leaves_at_once() {
    let mut stage = Stage::new();
    let _ = stage.control.wait_hello(0);
    stage.proxy.begin_drain();
    assert!(stage.proxy.wait_exit(Duration::from_secs(10)).success());
}

/// A control plane that accepts and then is silent, or takes nothing, holds nothing up.
#[test]
fn a_control_plane_that_stalls_holds_up_nothing_that_is_served() {
    let stage = Stage::new();
    stage.control.run(&revision(1, stage.document()));
    let half = serde_json::to_string(&Order::Revision(revision(2, stage.shifted()))).unwrap();
    stage.control.send_part(&half[..half.len() / 2]);
    (0..20).for_each(|_| assert_eq!(stage.answers(), "v1"));
    assert_eq!(stage.proxy.metric("sluice_control_connected", &[]), 1.0);
    stage.control.send_part(format!("{}\n", &half[half.len() / 2..]));
    stage.control.wait_ack(2);
}

fn tempfile_folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}
