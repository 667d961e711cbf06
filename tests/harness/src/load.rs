//! Load over keep-alive connections that counts every failed request.
//!
//! One thread, whatever the number of connections, so that it takes little from the proxy it shares cores with.
//! A client behaves as a real one: it opens a new connection when the server announced the end of the old one, or when
//! it sees before sending that the server has closed it. A connection that ends after a request was sent and before
//! its response is whole is a failed request; nothing is sent again.

mod exchange;
mod report;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::task::LocalSet;

use crate::failure::Failure;
use crate::wait::{pass, until};
use exchange::Connection;
pub use report::{Report, Sample};

/// What is sent, how often and over how many connections.
#[derive(Debug, Clone)]
pub struct Load {
    to: SocketAddr,
    requests: Vec<Vec<u8>>,
    connections: usize,
    rate: Option<f64>,
    traced: bool,
    expected: Option<Vec<u8>>,
}

/// Load under way.
#[derive(Debug)]
pub struct Running {
    stop: Arc<AtomicBool>,
    progress: Arc<Progress>,
    thread: JoinHandle<Report>,
}

#[derive(Debug, Default)]
struct Progress {
    good: AtomicU64,
    failed: AtomicU64,
}

impl Load {
    /// GETs of `/` for the host `test` over one connection, each as soon as the one before it was answered.
    #[must_use]
    pub fn new(to: SocketAddr) -> Self {
        Self { to, requests: Vec::new(), connections: 1, rate: None, traced: false, expected: None }
    }

    /// Over this many connections.
    #[must_use]
    pub const fn connections(mut self, connections: usize) -> Self {
        self.connections = connections;
        self
    }

    /// This many requests a second over all connections, whether or not the answers keep up (as one connection
    /// carries one request at a time, latency is measured from the moment a request was due).
    #[must_use]
    pub const fn rate(mut self, per_second: f64) -> Self {
        self.rate = Some(per_second);
        self
    }

    /// Adds a GET to the ones that take turns.
    #[must_use]
    pub fn get(self, host: &str, target: &str) -> Self {
        self.request(&format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"))
    }

    /// Adds a request, head and body as they are sent, to the ones that take turns.
    #[must_use]
    pub fn request(mut self, bytes: &str) -> Self {
        self.requests.push(bytes.as_bytes().to_vec());
        self
    }

    /// The body that is right; otherwise it is the answering origin's name.
    #[must_use]
    pub fn expect(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.expected = Some(body.into());
        self
    }

    /// Keeps a [`Sample`] of every good request.
    #[must_use]
    pub const fn trace(mut self) -> Self {
        self.traced = true;
        self
    }

    /// Starts.
    ///
    /// # Panics
    /// When the system refuses a thread.
    #[must_use]
    pub fn start(mut self) -> Running {
        if self.requests.is_empty() {
            self = self.get("test", "/");
        }
        let (stop, progress) = (Arc::<AtomicBool>::default(), Arc::<Progress>::default());
        let (seen_stop, told) = (Arc::clone(&stop), Arc::clone(&progress));
        let run = move || self.run(&seen_stop, &told);
        let thread = std::thread::Builder::new().name("load".to_owned()).spawn(run).expect("a thread for load");
        Running { stop, progress, thread }
    }

    /// Runs it for this long.
    #[must_use]
    pub fn run_for(self, time: Duration) -> Report {
        let running = self.start();
        pass(time);
        running.finish()
    }

    fn run(self, stop: &Arc<AtomicBool>, progress: &Arc<Progress>) -> Report {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime for load");
        let report = Rc::new(RefCell::new(Report::default()));
        let (tasks, start, load) = (LocalSet::new(), Instant::now(), Rc::new(self));
        for number in 0..load.connections {
            let client = Client {
                load: Rc::clone(&load),
                report: Rc::clone(&report),
                progress: Arc::clone(progress),
                stop: Arc::clone(stop),
                number,
                start,
            };
            tasks.spawn_local(client.run());
        }
        runtime.block_on(tasks);
        let mut report = report.take();
        report.finish(start.elapsed());
        report
    }
}

impl Running {
    /// Good responses so far.
    #[must_use]
    pub fn good(&self) -> u64 {
        self.progress.good.load(Ordering::Relaxed)
    }

    /// Failed requests so far.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.progress.failed.load(Ordering::Relaxed)
    }

    /// Waits for this many more good responses.
    ///
    /// # Panics
    /// When they do not come.
    pub fn wait_good(&self, more: u64) {
        let goal = self.good() + more;
        until(&format!("{more} more good responses"), || (self.good() >= goal).then_some(()));
    }

    /// Lets every client finish its request and tells what happened.
    ///
    /// # Panics
    /// When the load's thread panicked.
    #[must_use]
    pub fn finish(self) -> Report {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().expect("the load's thread does not panic")
    }

    /// Whether every client has stopped by itself.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }
}

/// One connection's worth of load.
struct Client {
    load: Rc<Load>,
    report: Rc<RefCell<Report>>,
    progress: Arc<Progress>,
    stop: Arc<AtomicBool>,
    number: usize,
    start: Instant,
}

impl Client {
    async fn run(self) {
        let mut connection = Connection::default();
        let mut turn = self.number;
        while !self.stop.load(Ordering::Relaxed) {
            let due = self.wait_turn(turn).await;
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            self.once(&mut connection, turn, due).await;
            turn += self.load.connections;
        }
    }

    /// The moment this turn's request is due, once it has come.
    async fn wait_turn(&self, turn: usize) -> Instant {
        let Some(rate) = self.load.rate else { return Instant::now() };
        let due = self.start + Duration::from_secs_f64(turn as f64 / rate);
        if due > Instant::now() {
            tokio::time::sleep_until(due.into()).await;
        }
        due
    }

    async fn once(&self, connection: &mut Connection, turn: usize, due: Instant) {
        let request = turn / self.load.connections % self.load.requests.len();
        let outcome = connection.exchange(&self.load, request).await;
        self.record(connection, request, due, &outcome);
        if outcome.is_err() {
            // A refused connection fails at once: without a pause a closed loop would only spin.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    fn record(&self, connection: &mut Connection, request: usize, due: Instant, outcome: &Result<(), Failure>) {
        let mut report = self.report.borrow_mut();
        report.reconnects += u64::from(std::mem::take(&mut connection.idle_closed));
        let ended = self.start.elapsed();
        if let Err(failure) = outcome {
            self.progress.failed.fetch_add(1, Ordering::Relaxed);
            return report.fail(failure, ended);
        }
        self.progress.good.fetch_add(1, Ordering::Relaxed);
        let begun = due - self.start;
        let origin = report.good(connection.origin(), ended.saturating_sub(begun));
        if self.load.traced {
            report.samples.push(Sample { begun, ended, origin, request, connection: self.number });
        }
    }
}
