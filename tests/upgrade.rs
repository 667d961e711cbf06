//! A new process takes over from the old one, and a service manager knows of it. Nothing that was asked is lost.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use sluice_harness::control::{Control, revision};
use sluice_harness::h1::Client;
use sluice_harness::load::Load;
use sluice_harness::sluice::{Ran, command, setup};
use sluice_harness::wait::until;
use sluice_harness::{Document, Origin, Sluice, free_address};
use tempfile::TempDir;

const SLUICE: &str = env!("CARGO_BIN_EXE_sluice");

/// Far above what a drain of nothing takes, far below the deadlines that the documents set.
const SOON: Duration = Duration::from_secs(20);

/// A program in a folder of its own that becomes the real one, and may be another at the next start. What it runs is what
/// was typed, as an upgrade finds it.
struct Program {
    folder: TempDir,
}

impl Program {
    /// The real one, after these lines of Python have changed `args` and `env`.
    fn new(body: &str) -> Self {
        let program = Self { folder: TempDir::new().unwrap() };
        program.becomes(&script(body));
        program
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("sluice")
    }

    /// From the next start on.
    fn becomes(&self, text: &str) {
        let aside = self.folder.path().join("aside");
        fs::write(&aside, text).unwrap();
        fs::set_permissions(&aside, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(aside, self.path()).unwrap();
    }

    /// The real one with so many workers.
    fn workers(&self, count: usize) {
        self.becomes(&script(&format!("args[args.index('--workers') + 1] = '{count}'")));
    }

    /// A link to this program.
    fn links_to(&self, path: &str) {
        let aside = self.folder.path().join("aside");
        symlink(path, &aside).unwrap();
        fs::rename(aside, self.path()).unwrap();
    }
}

fn script(body: &str) -> String {
    format!(
        "#!/usr/bin/env python3\nimport os, socket, sys\nargs, env = sys.argv[1:], dict(os.environ)\n{body}\n\
         os.execve('{SLUICE}', [sys.argv[0]] + args, env)\n"
    )
}

/// A process with its successors, all of which end with it.
struct Stage {
    origin: Origin,
    web: SocketAddr,
    sluice: Sluice,
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Some(process) = self.keeper().filter(|process| *process != self.sluice.process()) {
            drop(Successor(process));
        }
    }
}

/// A process that nobody here has started. Dropping it kills it.
struct Successor(u32);

impl Drop for Successor {
    fn drop(&mut self) {
        // It may have ended already.
        drop(Command::new("kill").args(["-9", &self.0.to_string()]).status());
    }
}

impl Stage {
    fn new(program: &Path, workers: usize, drain: &str) -> Self {
        let (web, origin) = (free_address(), Origin::start("a"));
        let document = Document::simple(web, origin.address()).setting(&format!("drain: {{ {drain} }}"));
        Self::with(program, workers, web, origin, &document)
    }

    fn with(program: &Path, workers: usize, web: SocketAddr, origin: Origin, document: &Document) -> Self {
        let sluice = setup(program.to_str().unwrap()).workers(workers).start(document);
        until("upgrades are heard", || sluice.data().join("upgrade.sock").exists().then_some(()));
        Self { origin, web, sluice }
    }

    /// The process that holds the store.
    fn keeper(&self) -> Option<u32> {
        fs::read_to_string(self.sluice.data().join("store.lock")).ok()?.trim().parse().ok()
    }

    fn upgrade(&self, arguments: &[&str]) -> Ran {
        let data = self.sluice.data();
        let all = [&["upgrade", "--data", data.to_str().unwrap()], arguments].concat();
        Ran::of(command(SLUICE, &all))
    }

    /// Upgrades; answers with the number of the new process.
    fn upgraded(&self) -> u32 {
        let told = self.upgrade(&["--output", "json"]).expect(0).json();
        println!("{told}");
        u32::try_from(told["new"].as_u64().unwrap()).unwrap()
    }

    fn serves(&self) {
        assert_eq!(Client::connect(self.web).get("/").origin(), "a");
    }

    fn wait_gone(&mut self) {
        assert_eq!(self.sluice.wait_exit(SOON).code(), Some(0), "{}", self.sluice.stderr());
    }

    /// Every connection is accepted: with a socket that nobody accepts on, some would hang.
    fn every_connection_is_served(&self) {
        for _ in 0..64 {
            self.serves();
        }
    }
}

fn is_alive(process: u32) -> bool {
    Path::new(&format!("/proc/{process}/stat")).exists()
}

/// Guarantee 1: keep-alive clients at full speed, and new connections, see no failure.
#[test]
fn an_upgrade_under_load_fails_no_request() {
    let full = std::env::var_os("SLUICE_FULL").is_some();
    let (rate, rounds) = if full { (5_000.0, 5) } else { (1_000.0, 1) };
    let mut stage = Stage::new(Path::new(SLUICE), 2, "deadline: 60s");
    let load = Load::new(stage.web).connections(32).rate(rate).start();
    load.wait_good(1_000);
    let mut old = stage.sluice.process();
    for _ in 0..rounds {
        let new = stage.upgraded();
        assert_eq!(stage.keeper(), Some(new));
        load.wait_good(2_000);
        until("the old process is gone", || (stage.sluice.has_ended() && !is_alive(old)).then_some(()));
        old = new;
    }
    let report = load.finish();
    println!("{report}");
    report.assert_clean();
    assert_eq!(stage.origin.malformed(), Vec::<String>::new());
    assert_eq!(stage.sluice.ask("/ready").unwrap().status(), 200);
    stage.sluice.operate(&["shift", "shop", "v1=100%"]).expect(0).assert_says(&["revision"]);
}

#[test]
fn the_number_of_workers_may_change() {
    for (before, after) in [(2, 1), (1, 3)] {
        let program = Program::new("");
        let mut stage = Stage::new(&program.path(), before, "deadline: 10s");
        program.workers(after);
        stage.upgraded();
        stage.every_connection_is_served();
        stage.wait_gone();
        stage.every_connection_is_served();
    }
}

#[test]
fn a_signal_upgrades_too() {
    let mut stage = Stage::new(Path::new(SLUICE), 1, "deadline: 10s");
    stage.sluice.signal("USR2");
    stage.wait_gone();
    assert_ne!(stage.keeper(), Some(stage.sluice.process()));
    stage.serves();
}

/// What cannot start changes nothing: requests are served, the control plane works, and the next try may succeed.
#[test]
fn a_program_that_does_not_start_leaves_the_old_process_serving() {
    let program = Program::new("");
    let mut stage = Stage::new(&program.path(), 2, "deadline: 10s");
    let load = Load::new(stage.web).connections(4).rate(200.0).start();
    program.links_to("/bin/false");
    stage.upgrade(&[]).expect(1).assert_says(&["ended before it served", "the old process serves as before"]);
    program.becomes(&script("print('it is broken', file=sys.stderr); sys.exit(3)"));
    stage.upgrade(&[]).expect(1).assert_says(&["exit status: 3", "it is broken"]);
    // It has taken everything, and then cannot run.
    program.becomes(&script("args[args.index('--access-log') + 1] = '/nowhere/access.log'"));
    stage.upgrade(&[]).expect(1).assert_says(&["cannot open the access log"]);
    let process = Some(stage.sluice.process());
    until("it has its store again", || (stage.keeper() == process).then_some(()));
    program.becomes(&script(""));
    until("the API answers again", || (stage.sluice.operate(&["status"]).code == 0).then_some(()));
    stage.sluice.operate(&["shift", "shop", "v1=100%"]).expect(0).assert_says(&["revision"]);
    assert_eq!(stage.sluice.health().1["overall_status"], "healthy", "{}", stage.sluice.stderr());
    load.wait_good(100);
    load.finish().assert_clean();
    stage.upgraded();
    stage.wait_gone();
    stage.serves();
}

#[test]
fn one_upgrade_at_a_time_and_none_for_ever() {
    let program = Program::new("");
    let stage = Stage::new(&program.path(), 1, "deadline: 10s");
    program.becomes("#!/bin/sh\nexec sleep 600\n");
    std::thread::scope(|scope| {
        let first = scope.spawn(|| stage.upgrade(&["--deadline", "4s"]));
        stage.sluice.wait_stderr("started process");
        stage.upgrade(&[]).expect(1).assert_says(&["under way"]);
        first.join().unwrap().expect(1).assert_says(&["did not serve within 4s"]);
    });
    stage.serves();
    assert_eq!(stage.keeper(), Some(stage.sluice.process()));
}

#[test]
fn nobody_to_upgrade_is_said() {
    let folder = TempDir::new().unwrap();
    let ran = Ran::of(command(SLUICE, &["upgrade", "--data", folder.path().to_str().unwrap()]));
    ran.expect(5).assert_says(&["no process serves", "--data"]);
}

/// More sockets than one message takes.
#[test]
fn many_listeners_are_handed_over() {
    let (origin, web) = (Origin::start("a"), free_address());
    let mut document = Document::simple(web, origin.address()).setting("drain: { deadline: 10s }");
    let further: Vec<SocketAddr> = (1..64).map(|_| free_address()).collect();
    for (number, address) in further.iter().enumerate() {
        document = document.listener(&format!("web{number}"), *address, "");
    }
    let mut stage = Stage::with(Path::new(SLUICE), 4, web, origin, &document);
    stage.upgraded();
    stage.wait_gone();
    for address in further {
        assert_eq!(Client::connect(address).get("/").origin(), "a");
    }
}

/// A tunnel belongs to its process: a reload leaves it alone, an upgrade gives it until the deadline.
#[test]
fn an_open_tunnel_survives_a_reload_and_ends_with_the_deadline_of_an_upgrade() {
    let mut stage = Stage::new(Path::new(SLUICE), 1, "deadline: 2s");
    let mut tunnel = Client::connect(stage.web);
    tunnel.send("GET /tunnel HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n");
    assert_eq!(tunnel.try_head().unwrap().status, 101);
    let mut echo = |text: &str| {
        tunnel.send(text);
        assert_eq!(tunnel.raw(text.len()), text.as_bytes());
    };
    echo("before");
    stage.sluice.hang_up();
    echo("after a reload");
    let begun = Instant::now();
    stage.upgraded();
    echo("after an upgrade");
    stage.wait_gone();
    assert!(begun.elapsed() >= Duration::from_secs(2), "{:?}", begun.elapsed());
    tunnel.closed();
    stage.serves();
}

/// A proxy of a fleet: the new process runs what the old one ran, and then is the node that the control plane knows.
#[test]
fn a_proxy_alone_is_upgraded() {
    let (control, origin, web) = (Control::start(), Origin::start("a"), free_address());
    let url = control.url();
    let mut proxy = setup(SLUICE).start_proxy(&["--control", &url, "--node", "n1", "--region", "here"]);
    let before = control.wait_hello(0);
    control.run(&revision(1, Document::simple(web, origin.address()).setting("drain: { deadline: 10s }")));
    let data = proxy.folder().join(".sluice");
    until("upgrades are heard", || data.join("upgrade.sock").exists().then_some(()));
    let load = Load::new(web).connections(8).rate(400.0).start();
    let ran = Ran::of(command(SLUICE, &["upgrade", "--data", data.to_str().unwrap(), "--output", "json"])).expect(0);
    let _successor = Successor(u32::try_from(ran.json()["new"].as_u64().unwrap()).unwrap());
    assert_eq!(proxy.wait_exit(SOON).code(), Some(0), "{}", proxy.stderr());
    load.wait_good(400);
    load.finish().assert_clean();
    let after = control.wait_hello(1);
    assert_eq!((after.node.as_str(), after.runs.map(|runs| runs.id.0)), ("n1", Some(1)));
    assert_ne!(before.incarnation, after.incarnation);
    control.run(&revision(2, Document::simple(web, origin.address())));
    assert_eq!(Client::connect(web).get("/").origin(), "a");
}

/// A listener that the new document does not have goes with the old process; one that is new is there.
#[test]
fn the_document_may_change_with_the_upgrade() {
    let (origin, web, other, renamed) = (Origin::start("a"), free_address(), free_address(), free_address());
    let document = Document::simple(web, origin.address())
        .listener("other", other, "")
        .listener("first", renamed, "")
        .setting("drain: { deadline: 10s }");
    let program = Program::new("");
    let mut stage = Stage::with(&program.path(), 2, web, origin, &document);
    let changed = document.without_listener("other").without_listener("first").listener("second", renamed, "");
    let file = stage.sluice.file().to_owned();
    program.becomes(&script(&format!("open({file:?}, 'w').write({:?})", changed.to_string())));
    stage.upgraded();
    stage.wait_gone();
    stage.serves();
    until("the new listener serves", || TcpStream::connect(renamed).ok());
    assert_eq!(Client::connect(renamed).get("/").origin(), "a");
    until("the old listener is gone", || TcpStream::connect(other).is_err().then_some(()));
}

/// A socket that hears what a service manager would.
struct Manager {
    folder: TempDir,
    socket: UnixDatagram,
}

impl Manager {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        Self { folder, socket }
    }

    /// A program that tells it.
    fn program(&self, further: &str) -> Program {
        Program::new(&format!("env['NOTIFY_SOCKET'] = '{}'\n{further}", self.folder.path().join("notify").display()))
    }

    /// The next message that holds this.
    fn hears(&self, words: &str) -> String {
        let mut heard = Vec::new();
        loop {
            let mut bytes = [0; 4096];
            let length = self.socket.recv(&mut bytes).unwrap_or_else(|e| panic!("{words:?} not in {heard:?}: {e}"));
            let text = String::from_utf8(bytes[..length].to_vec()).unwrap();
            if text.contains(words) {
                return text;
            }
            heard.push(text);
        }
    }
}

#[test]
fn a_service_manager_is_told() {
    let manager = Manager::new();
    let program = manager.program("env['WATCHDOG_USEC'] = '400000'");
    let mut stage = Stage::new(&program.path(), 1, "deadline: 10s");
    manager.hears("READY=1");
    manager.hears("WATCHDOG=1");
    stage.sluice.hang_up();
    assert!(manager.hears("RELOADING=1").contains("MONOTONIC_USEC="));
    manager.hears("READY=1");
    let new = stage.upgraded();
    // The old process names the new one before that speaks.
    manager.hears(&format!("MAINPID={new}"));
    manager.hears("READY=1");
    stage.wait_gone();
    manager.hears("WATCHDOG=1");
    Command::new("kill").args(["-TERM", &new.to_string()]).status().unwrap();
    manager.hears("STOPPING=1");
}

/// A manager opens the sockets; they go to listeners by name, and else by address. Both alone and shared ones are served.
#[test]
fn sockets_of_a_service_manager_are_taken() {
    let (origin, named, placed) = (Origin::start("a"), free_address(), free_address());
    let body = format!(
        "def listen(port):\n    one = socket.socket()\n    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)\n    \
         one.bind(('127.0.0.1', port))\n    one.listen(64)\n    return one\n\
         if 'SLUICE_TAKE_OVER' not in env:\n    kept = [listen({}), listen({}), listen(0)]\n    \
         for number, one in enumerate(kept):\n        os.dup2(one.fileno(), 100 + number)\n    \
         for number in range(3):\n        os.dup2(100 + number, 3 + number, inheritable=True)\n    \
         env.update(LISTEN_FDS='3', LISTEN_PID=str(os.getpid()), LISTEN_FDNAMES='web::nobody')",
        named.port(),
        placed.port(),
    );
    let program = Program::new(&body);
    let document =
        Document::simple(named, origin.address()).listener("second", placed, "").setting("drain: { deadline: 10s }");
    let mut stage = Stage::with(&program.path(), 2, named, origin, &document);
    stage.every_connection_is_served();
    assert_eq!(Client::connect(placed).get("/").origin(), "a");
    stage.sluice.wait_stderr("no listener has the name or the address");
    stage.upgraded();
    stage.wait_gone();
    stage.every_connection_is_served();
}
