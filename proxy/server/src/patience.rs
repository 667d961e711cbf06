//! How long an exchange is waited for, and who is to blame when that was too long.
//!
//! Whose silence it is: a client that does not take what is there, or has not sent what it owes, is slow; otherwise the
//! origin is. A request owes its body while nothing has been answered, and also afterwards where it said how long it is.
//! Otherwise both sides are open and nobody owes anything that we can see. Then it is the turn of whoever did not speak
//! last: the origin's if the client did, and nobody's if the origin did, for there are streams whose clients only listen.

use std::cell::Cell;
use std::time::Duration;

use sluice_config::validated::Limits;
use sluice_proxy_core::outcome::Ending;
use sluice_proxy_core::pace::{Demand, Pace};
use tokio::time::Instant;

use crate::alarm::{after, nearer};
use crate::grpc::Call;
use crate::message::ResponseHead;
use crate::replay::Kept;
use crate::side::Gauge;

/// How long the parts of one attempt may take, and what its client may and must send and take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadlines<'a> {
    /// When the whole exchange must be over.
    pub(crate) total: Option<Instant>,
    /// From the whole request sent to the head of the answer.
    pub(crate) per_try: Option<Duration>,
    /// Without a byte in either direction.
    pub(crate) idle: Option<Duration>,
    /// What the client may send, and how fast it must send and take; nothing where none of that is asked.
    pub(crate) client: Option<&'a Limits>,
    /// The client goes as fast as it pleases.
    pub(crate) unhurried: bool,
}

impl Deadlines<'_> {
    /// None but that something moves.
    pub(crate) const fn idle(idle: Option<Duration>) -> Self {
        Self { total: None, per_try: None, idle, client: None, unhurried: true }
    }

    /// The largest body of a request.
    pub(crate) fn body(&self) -> Option<u64> {
        self.client.and_then(|limits| limits.body_bytes)
    }

    /// How fast the client must send, and take.
    fn demands(&self) -> (Demand, Demand) {
        let Some(limits) = self.client.filter(|_| !self.unhurried) else { return (Demand::NONE, Demand::NONE) };
        let demand = |rate| Demand { rate, grace: limits.min_rate_grace };
        (demand(limits.receive_min_rate), demand(limits.send_min_rate))
    }
}

/// How far an exchange has come. Both directions write to it.
#[derive(Debug)]
pub(crate) struct Progress {
    /// Bytes of body taken from the client.
    pub(crate) bytes_in: Cell<u64>,
    /// Bytes of body given to the client.
    pub(crate) bytes_out: Cell<u64>,
    /// The request's body has been read to its end.
    pub(crate) request_whole: Cell<bool>,
    /// What is kept of the request's body for another attempt.
    pub(crate) body: Kept,
    /// The request's body has been given to the origin of this attempt to its end.
    pub(crate) sent_whole: Cell<bool>,
    /// Bytes of body that this attempt has taken, kept ones too.
    taken: Cell<u64>,
    /// The request said how long its body is.
    pub(crate) declared: Cell<bool>,
    /// The head of the answer, its status, has been passed to the client.
    pub(crate) answered: Cell<Option<u16>>,
    /// Since when the origin owes a head.
    asked: Cell<Option<Instant>>,
    /// When a byte last moved.
    pub(crate) moved: Cell<Instant>,
    /// It came from the client.
    client_spoke: Cell<bool>,
    /// How long the last attempt waited for its head.
    pub(crate) waited: Cell<Option<Duration>>,
    /// What is known of the request as a call of gRPC.
    pub(crate) call: Call,
    begun: Cell<Instant>,
    /// The client is slow to send its body.
    pub(crate) client_sends: Cell<bool>,
    /// The client is slow to take the answer.
    pub(crate) client_takes: Cell<bool>,
    /// The origin is slow to take the request.
    pub(crate) origin_takes: Cell<bool>,
}

impl Progress {
    pub(crate) fn new(now: Instant, call: Call) -> Self {
        Self {
            bytes_in: Cell::new(0),
            bytes_out: Cell::new(0),
            request_whole: Cell::new(false),
            body: Kept::default(),
            sent_whole: Cell::new(false),
            taken: Cell::new(0),
            declared: Cell::new(false),
            answered: Cell::new(None),
            asked: Cell::new(None),
            moved: Cell::new(now),
            client_spoke: Cell::new(true),
            waited: Cell::new(None),
            call,
            begun: Cell::new(now),
            client_sends: Cell::new(false),
            client_takes: Cell::new(false),
            origin_takes: Cell::new(false),
        }
    }

    /// Another endpoint is asked.
    pub(crate) fn begin_attempt(&self) {
        let now = Instant::now();
        self.begun.set(now);
        self.moved.set(now);
        self.asked.set(None);
        self.sent_whole.set(false);
        self.taken.set(0);
        self.body.rewind();
        // The attempt before may have been given up in the middle of a wait.
        self.client_sends.set(false);
        self.client_takes.set(false);
        self.origin_takes.set(false);
    }

    pub(crate) fn answer(&self, head: &ResponseHead) {
        let now = Instant::now();
        self.answered.set(Some(head.status));
        self.call.see(&head.fields);
        self.body.release();
        self.waited.set(Some(now - self.begun.get()));
        self.moved.set(now);
        self.client_spoke.set(false);
    }

    /// How long the origin took to the head of its answer, or has taken in vain, and when that is asked: at the end of an
    /// answer that is whole, or of an attempt that is not. `from_whole`: what passed before the request was whole does not
    /// count, as where a body is sent at the client's pace.
    pub(crate) fn answered_after(&self, is_whole: bool, from_whole: bool) -> (Option<Duration>, Instant) {
        let waited = self.waited.get().filter(|_| self.answered.get().is_some());
        let (waited, now) = match waited.filter(|_| is_whole) {
            // A byte has just moved, so the clock need not be read again.
            Some(waited) => (waited, self.moved.get()),
            None => {
                let now = Instant::now();
                (waited.unwrap_or_else(|| now - self.begun.get()), now)
            }
        };
        (if from_whole { self.without_sending(waited) } else { Some(waited) }, now)
    }

    /// What is left of a wait after the request was whole; none if it was not.
    fn without_sending(&self, waited: Duration) -> Option<Duration> {
        waited.checked_sub(self.asked.get()? - self.begun.get())
    }

    pub(crate) fn took(&self, bytes: usize) {
        self.taken.set(self.taken.get() + bytes as u64);
        self.bytes_in.set(self.bytes_in.get().max(self.taken.get()));
        self.moved.set(Instant::now());
        self.client_spoke.set(true);
    }

    pub(crate) fn gave(&self, bytes: usize) {
        self.bytes_out.set(self.bytes_out.get() + bytes as u64);
        self.moved.set(Instant::now());
        self.client_spoke.set(false);
    }

    pub(crate) fn sent_all(&self) {
        self.request_whole.set(true);
        self.sent_whole.set(true);
        let now = Instant::now();
        self.moved.set(now);
        self.asked.set(Some(now));
    }

    fn deadlines(&self, limits: &Deadlines<'_>) -> [(Option<Instant>, Ending); 3] {
        let asked = self.asked.get().filter(|_| self.answered.get().is_none());
        [
            (asked.and_then(|asked| after(asked, limits.per_try)), Ending::PerTryTimeout),
            (after(self.moved.get(), limits.idle), self.idler()),
            (limits.total, Ending::TotalTimeout),
        ]
    }

    /// The client's next piece is what is waited for.
    const fn awaits_client(&self) -> bool {
        self.client_sends.get() && !self.origin_takes.get()
    }

    /// Whose silence it is when nothing moves.
    const fn idler(&self) -> Ending {
        let owes = self.answered.get().is_none() || self.declared.get();
        if self.client_takes.get() || (self.awaits_client() && owes) {
            Ending::ClientTimeout
        } else if self.awaits_client() && !self.client_spoke.get() {
            Ending::StreamIdle
        } else {
            Ending::IdleTimeout
        }
    }

    /// The nearest deadline.
    pub(crate) fn nearest(&self, limits: &Deadlines<'_>) -> Option<Instant> {
        self.deadlines(limits).into_iter().fold(None, |nearest, (at, _)| nearer(nearest, at))
    }
}

/// The deadlines of one attempt while it runs.
#[derive(Debug)]
pub(crate) struct Patience<'a, G> {
    progress: &'a Progress,
    limits: &'a Deadlines<'a>,
    gauge: G,
    /// Made when a client is first waited for: most never are.
    paces: Option<Box<Paces>>,
}

/// How fast a client sends and takes.
#[derive(Debug, Default)]
struct Paces {
    receive: Pace,
    send: Pace,
}

impl Paces {
    /// When a client that moves nothing is too slow.
    fn ends(&self, limits: &Deadlines<'_>) -> (Option<Instant>, Option<Instant>) {
        let (receive, send) = limits.demands();
        (self.receive.until(receive).map(Instant::from_std), self.send.until(send).map(Instant::from_std))
    }
}

impl<'a, G: Gauge> Patience<'a, G> {
    /// With the gauge of what the client has taken.
    pub(crate) const fn new(progress: &'a Progress, limits: &'a Deadlines<'a>, gauge: G) -> Self {
        Self { progress, limits, gauge, paces: None }
    }

    /// Until when nothing may happen. To be asked whenever nothing can be done. The clock is read only where a client is,
    /// or was, what is waited for.
    pub(crate) fn ends(&mut self) -> Option<Instant> {
        let (sends, takes) = (self.progress.awaits_client(), self.progress.client_takes.get());
        let waited = self.paces.as_ref().is_some_and(|paces| paces.receive.waits() || paces.send.waits());
        let nearest = self.progress.nearest(self.limits);
        if !(sends || takes || waited) {
            return nearest;
        }
        let (now, (receive, send)) = (Instant::now(), self.limits.demands());
        let paces = self.paces.get_or_insert_default();
        paces.receive.wait(receive, now.into_std(), sends, || self.progress.bytes_in.get());
        if paces.send.wait(send, now.into_std(), takes, || self.gauge.taken()) {
            // Bytes that leave the kernel move the exchange on as well as those that come to it.
            self.progress.moved.set(now);
        }
        let (receive_ends, send_ends) = paces.ends(self.limits);
        nearer(self.progress.nearest(self.limits), nearer(receive_ends, send_ends))
    }

    /// How it ends if that time has come. What the client moved meanwhile is looked at before it is blamed.
    pub(crate) fn over(&mut self) -> Option<Ending> {
        let (now, (receive, send)) = (Instant::now(), self.limits.demands());
        let mut paces_end = (None, None);
        if let Some(paces) = &mut self.paces {
            paces.receive.look(receive, now.into_std(), self.progress.bytes_in.get());
            if paces.send.waits() && paces.send.look(send, now.into_std(), self.gauge.taken()) {
                self.progress.moved.set(now);
            }
            paces_end = paces.ends(self.limits);
        }
        let [per_try, idle, total] = self.progress.deadlines(self.limits);
        let all = [per_try, (paces_end.0, Ending::SlowBody), (paces_end.1, Ending::SlowRead), idle, total];
        let passed = all.into_iter().filter_map(|(at, ending)| Some((at.filter(|at| *at <= now)?, ending)));
        passed.min_by_key(|(at, _)| *at).map(|(_, ending)| ending)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Duration = Duration::from_secs(60);

    const CLIENT: Limits = Limits {
        connections: 1,
        connections_per_address: None,
        header_bytes: 1,
        header_count: 1,
        header_timeout: IDLE,
        keep_alive: IDLE,
        requests_per_connection: None,
        body_bytes: None,
        receive_min_rate: Some(100),
        send_min_rate: Some(100),
        min_rate_grace: Duration::from_secs(10),
    };

    fn limits() -> Deadlines<'static> {
        Deadlines { client: Some(&CLIENT), unhurried: false, ..Deadlines::idle(Some(IDLE)) }
    }

    fn answer() -> ResponseHead {
        ResponseHead { status: 200, ..ResponseHead::new() }
    }

    impl Gauge for &Cell<u64> {
        fn taken(&self) -> u64 {
            self.get()
        }
    }

    /// Runs the clock to each deadline, with `each` once a second; answers with how it ended, and when.
    async fn run(patience: &mut Patience<'_, &Cell<u64>>, mut each: impl FnMut()) -> (Ending, u64) {
        let start = Instant::now();
        let mut second = start;
        loop {
            let ends = patience.ends().unwrap();
            if ends > second + Duration::from_secs(1) {
                second += Duration::from_secs(1);
                tokio::time::sleep_until(second).await;
                each();
                continue;
            }
            tokio::time::sleep_until(ends).await;
            if let Some(ending) = patience.over() {
                return (ending, start.elapsed().as_secs());
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_trickles_its_body_is_cut_off_and_a_slow_origin_costs_it_nothing() {
        let (progress, taken, limits) = (Progress::new(Instant::now(), Call::default()), Cell::new(0), limits());
        progress.client_sends.set(true);
        let mut patience = Patience::new(&progress, &limits, &taken);
        assert_eq!(run(&mut patience, || progress.took(1)).await, (Ending::SlowBody, 10));
        let progress = Progress::new(Instant::now(), Call::default());
        progress.client_sends.set(true);
        progress.origin_takes.set(true);
        let mut patience = Patience::new(&progress, &limits, &taken);
        assert_eq!(run(&mut patience, || {}).await, (Ending::IdleTimeout, 60));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_slowly_from_the_kernel_is_not_silent() {
        let (progress, taken) = (Progress::new(Instant::now(), Call::default()), Cell::new(0));
        progress.answer(&answer());
        progress.client_takes.set(true);
        let limits = Deadlines { total: Some(Instant::now() + Duration::from_secs(1_000)), ..limits() };
        let mut patience = Patience::new(&progress, &limits, &taken);
        assert_eq!(run(&mut patience, || taken.set(taken.get() + 100)).await, (Ending::TotalTimeout, 1_000));
        let limits = Deadlines { total: None, ..limits };
        let mut patience = Patience::new(&progress, &limits, &taken);
        let (ending, after) = run(&mut patience, || taken.set(taken.get() + 10)).await;
        assert_eq!((ending, after), (Ending::SlowRead, 11));
    }

    #[tokio::test(start_paused = true)]
    async fn without_rates_any_byte_that_is_taken_keeps_the_idle_deadline_away() {
        let (progress, taken) = (Progress::new(Instant::now(), Call::default()), Cell::new(0));
        progress.answer(&answer());
        progress.client_takes.set(true);
        let limits = Deadlines::idle(Some(Duration::from_secs(5)));
        let mut patience = Patience::new(&progress, &limits, &taken);
        let mut left = 100;
        let taking = || {
            left -= 1;
            taken.set(taken.get() + u64::from(left > 0));
        };
        let (ending, after) = run(&mut patience, taking).await;
        assert_eq!(ending, Ending::ClientTimeout);
        assert!((100..110).contains(&after), "{after}");
    }

    #[test]
    fn silence_is_told_by_whose_turn_it_is() {
        let idler = |prepare: fn(&Progress)| {
            let progress = Progress::new(std::time::Instant::now().into(), Call::default());
            prepare(&progress);
            progress.idler()
        };
        let open = |progress: &Progress| progress.client_sends.set(true);
        assert_eq!(idler(|_| {}), Ending::IdleTimeout);
        assert_eq!(idler(open), Ending::ClientTimeout);
        let spoke = |progress: &Progress| {
            progress.client_sends.set(true);
            progress.answered.set(Some(200));
        };
        assert_eq!(idler(spoke), Ending::IdleTimeout, "the client spoke last");
        let listens = |progress: &Progress| {
            progress.client_sends.set(true);
            progress.answered.set(Some(200));
            progress.client_spoke.set(false);
        };
        assert_eq!(idler(listens), Ending::StreamIdle);
        let uploads = |progress: &Progress| {
            progress.client_sends.set(true);
            progress.answered.set(Some(200));
            progress.declared.set(true);
        };
        assert_eq!(idler(uploads), Ending::ClientTimeout, "it said how much it sends");
        assert_eq!(idler(|progress| progress.client_takes.set(true)), Ending::ClientTimeout);
    }
}
