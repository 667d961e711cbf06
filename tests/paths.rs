//! One path, one route, however it is spelt: what a listener's policy makes of a path is what routes see and what the origin
//! gets. No spelling passes by a route.

#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;

use sluice_harness::h1::Client;
use sluice_harness::h2::{self, raw};
use sluice_harness::sluice::setup;
use sluice_harness::wait::until;
use sluice_harness::{Document, Origin, Sluice, free_address};

const SLUICE: &str = env!("CARGO_BIN_EXE_sluice");

/// `/admin` and `/a%2Fb` are kept apart from everything else.
struct Stage {
    public: Origin,
    admin: Origin,
    sluice: Sluice,
    web: SocketAddr,
}

impl Stage {
    fn new(policy: &str) -> Self {
        let (web, public, admin) = (free_address(), Origin::start("public"), Origin::start("admin"));
        public.record();
        admin.record();
        let document = Self::document(web, policy, &public, &admin);
        Self { sluice: setup(SLUICE).start(document), web, public, admin }
    }

    fn document(web: SocketAddr, policy: &str, public: &Origin, admin: &Origin) -> Document {
        Document::new()
            .listener("web", web, &format!("paths: {{ {policy} }}"))
            .region("here", "")
            .service("public", "")
            .version("v1", 100, &[("here", &[public.address()])])
            .service("admin", "")
            .version("v1", 100, &[("here", &[admin.address()])])
            .route("{ path: / }", "service: public")
            .route("{ path: /admin }", "service: admin")
            .route("{ path: { regex: '/own/[a-z]+' } }", "service: admin")
    }

    fn client(&self) -> Client {
        Client::connect(self.web)
    }

    /// Who answers a path, and what they were asked for; the rule where it is refused.
    fn ask(&self, target: &str) -> (String, String) {
        let before = self.seen();
        let mut client = self.client();
        client.send(format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n"));
        let answer = client.response();
        if answer.status() == 400 {
            let text = answer.text();
            let rule = text.split([' ', '\n', '"']).find(|word| word.starts_with("target_"));
            return (String::new(), rule.unwrap().to_owned());
        }
        assert_eq!(answer.status(), 200, "{target}: {}", answer.text());
        self.told(answer.origin(), &before)
    }

    fn ask_h2(&self, path: &str) -> (String, String) {
        let before = self.seen();
        let answer = h2::Client::connect(self.web).get(path);
        assert_eq!(answer.status, 200, "{path}");
        self.told(answer.field("x-origin"), &before)
    }

    /// Targets that the origins were asked for.
    fn seen(&self) -> [Vec<String>; 2] {
        [&self.public, &self.admin].map(|origin| origin.seen().into_iter().map(|seen| seen.head.target).collect())
    }

    /// An origin notes a request when its answer is on the way.
    fn told(&self, origin: &str, before: &[Vec<String>; 2]) -> (String, String) {
        let at = usize::from(origin == "admin");
        let target = until("the origin has told", || self.seen()[at].get(before[at].len()).cloned());
        (origin.to_owned(), target)
    }

    /// (target, who answers, what they are asked for), or (target, "", the rule), by both protocols.
    fn check(&self, table: &[(&str, &str, &str)]) {
        for (target, origin, seen) in table {
            assert_eq!(self.ask(target), ((*origin).to_owned(), (*seen).to_owned()), "{target}");
            if origin.is_empty() {
                let plain: [(&str, &[u8]); 4] =
                    [(":method", b"GET"), (":scheme", b"http"), (":authority", b"t"), (":path", target.as_bytes())];
                let mut client = raw::Client::connect(self.web);
                client.send_head(1, &plain, false);
                assert_eq!(client.outcome(1), raw::Outcome::Answered(400), "{target} by HTTP/2");
            } else {
                assert_eq!(self.ask_h2(target), ((*origin).to_owned(), (*seen).to_owned()), "{target} by HTTP/2");
            }
        }
        assert_eq!((self.public.malformed(), self.admin.malformed()), (Vec::new(), Vec::new()));
    }
}

#[test]
fn dot_segments_and_spellings_are_resolved_before_routing() {
    Stage::new("").check(&[
        ("/admin", "admin", "/admin"),
        ("/x/../admin/y?q=/../z", "admin", "/admin/y?q=/../z"),
        ("/./admin", "admin", "/admin"),
        ("/%61dmin", "admin", "/admin"),
        ("/x/%2e%2E/admin", "admin", "/admin"),
        ("/adm%69n/%7e", "admin", "/admin/~"),
        ("/admin/..", "public", "/"),
        ("/admin/../public", "public", "/public"),
        ("/own/%61b", "admin", "/own/ab"),
        ("/own/x/../y", "admin", "/own/y"),
        ("/admin%2f", "public", "/admin%2F"),
        ("/a%5cb%c3", "public", "/a%5Cb%C3"),
        ("//admin", "public", "//admin"),
        ("/%2561dmin", "public", "/%2561dmin"),
        ("/x/../../admin", "", "target_above_root"),
        ("/public/..%2fadmin", "", "target_encoded_dot_segment"),
        ("/public%5c..%5cadmin", "", "target_encoded_dot_segment"),
        ("/public/..;/admin", "", "target_dot_parameter"),
    ]);
}

#[test]
fn what_may_not_be_is_refused() {
    Stage::new("dot_segments: refuse, encoded_slashes: refuse").check(&[
        ("/admin", "admin", "/admin"),
        ("/%61dmin", "admin", "/admin"),
        ("/x/../admin", "", "target_dot_segment"),
        ("/%2e/admin", "", "target_dot_segment"),
        ("/admin%2Fx", "", "target_encoded_slash"),
        ("/admin%5cx", "", "target_encoded_slash"),
        ("//admin", "public", "//admin"),
    ]);
}

#[test]
fn encoded_slashes_can_be_slashes_and_slashes_be_merged() {
    Stage::new("encoded_slashes: decode, merge_slashes: true").check(&[
        ("/admin%2fx", "admin", "/admin/x"),
        ("/public%2F..%2fadmin", "admin", "/admin"),
        ("//admin///x//", "admin", "/admin/x/"),
        ("/%2fadmin", "admin", "/admin"),
        ("/a%5cb", "", "target_backslash"),
        ("/..%2fadmin", "", "target_above_root"),
    ]);
}

/// The policy belongs to the revision: connections that are open follow it.
#[test]
fn a_connection_follows_the_policy_of_the_revision() {
    let stage = Stage::new("");
    let mut client = stage.client();
    assert_eq!(client.get("//admin").origin(), "public");
    stage.sluice.change(Stage::document(stage.web, "merge_slashes: true", &stage.public, &stage.admin));
    assert_eq!(client.get("//admin").origin(), "admin");
    assert_eq!(stage.client().get("//admin").origin(), "admin");
}

/// A command tells what the proxy does.
#[test]
fn explain_reads_paths_as_the_proxy_does() {
    let stage = Stage::new("");
    let told = |url: &str| {
        let file = stage.sluice.file().to_str().unwrap();
        let ran = sluice_harness::Ran::of(sluice_harness::sluice::command(
            SLUICE,
            &["explain", file, url, "--output", "json"],
        ));
        ran.expect(0).json()
    };
    assert_eq!(told("http://test/x/../%61dmin")["answer"]["service"], "admin");
    assert_eq!(told("http://test/public/..%2fadmin")["refused"]["reason"], "target_encoded_dot_segment");
}
