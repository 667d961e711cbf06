//! Where revisions come from, and what becomes of each: from the control plane, from this proxy's disk, or once more.
//!
//! One loop takes every order, tries it, and answers. What an order means is decided in [`Intake`], what is started from
//! the disk in [`recall`]; here is what these decisions do. Each revision that is tried is noted in the journal first,
//! because it may end the process, and each that runs is written to the disk afterwards. Addresses that are found later
//! are no order: what runs is compiled again with them, and nobody is told.

mod feed;

use std::sync::Arc;
use std::time::Instant;

use sluice_config::Timestamp;
use sluice_config::name::{NodeName, RegionName};
use sluice_config::value::{Digest, Incarnation};
use sluice_config::wire::{self, Hello, Order, Reply, Revision};
use sluice_proxy_core::backoff::pace;
use sluice_proxy_core::intake::{Attempt, Intake, Origin, Reason, Step};
use sluice_proxy_core::recall::{self, Journal, recall};
use tokio::signal::unix::Signal;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::health::{Refusal, Watch};
use crate::keep::{self, Found, Keeper, Taken};
use crate::probe::Prober;
use crate::report::{self, Reports};
use crate::stage::{Stage, Unfit};

pub(crate) use crate::stage::Lent;
pub(crate) use feed::{Arrival, Away, Feed};

/// What the loop does while another process takes over: it takes no order and holds nothing that only one can hold.
#[derive(Debug)]
pub(crate) struct Rest {
    /// Where the sockets that listen go, once all is let go of.
    pub(crate) lent: oneshot::Sender<Vec<Lent>>,
    /// The rest is over when the other end is dropped.
    pub(crate) over: oneshot::Receiver<()>,
}

/// Who this proxy is.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) node: NodeName,
    pub(crate) incarnation: Incarnation,
    pub(crate) region: Option<RegionName>,
}

/// The loop's state.
pub(crate) struct Follower {
    who: Identity,
    stage: Stage,
    prober: Prober,
    watch: Arc<Watch>,
    keeper: Option<Keeper>,
    feed: Feed,
    bell: Signal,
    rests: mpsc::Receiver<Rest>,
    /// Told once something runs.
    served: Option<oneshot::Sender<()>>,
    intake: Intake,
    journal: Journal,
    /// What was kept, to be tried in this order; nothing once something runs.
    kept: Vec<Arc<Revision>>,
    replies: Option<mpsc::Sender<Vec<u8>>>,
    reports: Reports,
}

/// The parts that a follower is made of.
pub(crate) struct Parts {
    pub(crate) who: Identity,
    pub(crate) stage: Stage,
    pub(crate) prober: Prober,
    pub(crate) watch: Arc<Watch>,
    /// Absent where nothing can be kept.
    pub(crate) keeper: Option<Keeper>,
    pub(crate) feed: Feed,
    /// An operator asks for what waits to be tried at once.
    pub(crate) bell: Signal,
    pub(crate) rests: mpsc::Receiver<Rest>,
    /// Who waits for something to run.
    pub(crate) served: oneshot::Sender<()>,
}

impl Follower {
    /// Begins with what was found on the disk: nothing runs yet.
    pub(crate) fn new(parts: Parts, found: Found, now: Timestamp) -> Self {
        let Parts { who, stage, prober, watch, keeper, feed, bell, rests, served } = parts;
        let Found { revisions, mut journal } = found;
        let digests: Vec<Option<Digest>> = revisions.iter().map(|kept| kept.as_ref().map(|it| it.digest)).collect();
        let recall = recall(&digests, &journal, now);
        journal.begin(now, recall.parked.clone());
        let mut revisions: Vec<_> = revisions.into_iter().map(|kept| kept.map(Arc::new)).collect();
        let kept: Vec<_> = recall.order.iter().filter_map(|place| revisions[*place].take()).collect();
        tell_recall(kept.first(), recall.reason);
        let (intake, reports) = (Intake::new(recall.parked), Reports::default());
        let (served, replies) = (Some(served), None);
        Self { who, stage, prober, watch, keeper, feed, bell, rests, served, intake, journal, kept, replies, reports }
    }

    /// Runs what comes, until the process ends.
    ///
    /// # Errors
    /// Why the first revision of a control plane in this process does not run, when nothing else does.
    pub(crate) async fn run(&mut self) -> Result<std::convert::Infallible, String> {
        self.note(None).await;
        match self.feed.is_here() {
            true => self.begin_here().await?,
            false => self.begin_alone().await,
        }
        let mut reports = interval(report::PERIOD);
        reports.set_missed_tick_behavior(MissedTickBehavior::Delay);
        reports.reset();
        let mut again = std::pin::pin!(sleep(pace(&mut rand::rng())));
        loop {
            tokio::select! {
                arrival = self.feed.next() => {
                    let waited = self.intake.is_waiting();
                    self.take(arrival).await;
                    if !waited {
                        again.set(sleep(pace(&mut rand::rng())));
                    }
                }
                () = &mut again, if self.intake.is_waiting() => {
                    self.again().await;
                    again.set(sleep(pace(&mut rand::rng())));
                }
                _ = self.bell.recv() => self.again().await,
                () = self.stage.finder.changed() => self.stage.renew(&mut self.prober).await,
                Some(rest) = self.rests.recv() => self.rest(rest).await,
                _ = reports.tick() => self.report(),
            }
        }
    }

    /// The control plane is in this process, so its first order is near: the disk is for when that does not run.
    async fn begin_here(&mut self) -> Result<(), String> {
        while self.intake.runs().is_none() {
            let arrival = self.feed.next().await;
            let is_order = matches!(arrival, Arrival::Order(_) | Arrival::Over);
            self.take(arrival).await;
            if is_order && self.intake.runs().is_none() {
                let why = self.watch.refusal().map_or_else(nothing_came, |refusal| refusal.problems.join("; "));
                self.begin_alone().await;
                return if self.intake.runs().is_some() { Ok(()) } else { Err(why) };
            }
        }
        Ok(())
    }

    /// Runs the newest that was kept, or one before it.
    async fn begin_alone(&mut self) {
        for revision in std::mem::take(&mut self.kept) {
            let begun = Instant::now();
            let id = revision.id;
            self.attempt(Attempt { revision, origin: Origin::Disk }).await;
            if self.intake.runs().is_some() {
                tracing::info!(revision = %id, took = ?begun.elapsed(), "serving what this proxy ran last");
                return;
            }
        }
    }

    async fn take(&mut self, arrival: Arrival) {
        match arrival {
            Arrival::Opened(replies) => self.open(replies).await,
            Arrival::Order(order) => self.hear(order).await,
            Arrival::Over => tracing::warn!("the control plane has ended; what runs goes on"),
        }
    }

    /// Says who this is on a new connection, and what was counted so far.
    async fn open(&mut self, replies: mpsc::Sender<Vec<u8>>) {
        self.intake.opened();
        self.replies = Some(replies);
        let hello = Hello {
            protocol: wire::PROTOCOL,
            node: self.who.node.clone(),
            incarnation: self.who.incarnation,
            region: self.who.region.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            runs: self.intake.runs(),
        };
        self.answer(&Reply::Hello(hello)).await;
        self.report();
    }

    async fn hear(&mut self, order: Order) {
        let id = match &order {
            Order::Revision(revision) => revision.id,
            Order::Delta(delta) => delta.id,
        };
        let (step, reason) = self.intake.take(order);
        tell_order(id, reason, self.intake.runs());
        if reason == Reason::Known {
            // What was refused before is not wanted any more.
            self.watch.ran(self.stage.unknown_listeners());
        }
        match step {
            Step::Try(attempt) => self.attempt(attempt).await,
            Step::Answer(reply) => {
                if let Reply::Nack { problems, .. } = &reply {
                    self.watch.refuse(Refusal { id, problems: problems.clone() });
                }
                self.answer(&reply).await;
            }
        }
    }

    async fn again(&mut self) {
        if let Some(attempt) = self.intake.again() {
            self.attempt(attempt).await;
        }
    }

    async fn attempt(&mut self, attempt: Attempt) {
        let before = self.intake.runs().map(|runs| runs.digest);
        self.note(Some(attempt.revision.digest)).await;
        let fit = match self.stage.prepare(&attempt.revision) {
            Ok(fit) => self.stage.discover(fit).await,
            Err(unfit) => Err(unfit),
        };
        let reply = match fit {
            Ok(fit) => {
                self.stage.apply(fit, &mut self.prober).await;
                Some(self.ran(&attempt).await)
            }
            Err(unfit) => {
                self.note(before).await;
                self.refuse(attempt, &unfit)
            }
        };
        if let Some(reply) = reply {
            self.answer(&reply).await;
        }
    }

    async fn ran(&mut self, attempt: &Attempt) -> Reply {
        let first = self.intake.runs().is_none();
        let reply = self.intake.ran(attempt);
        if first {
            tracing::info!(revision = %attempt.revision.id, workers = self.stage.count, "serving");
        }
        self.watch.ran(self.stage.unknown_listeners());
        if let Some(served) = self.served.take() {
            // Nobody waits when the process leaves.
            let _ = served.send(());
        }
        if attempt.origin != Origin::Disk
            && let Some(keeper) = &self.keeper
        {
            keeper.save(&attempt.revision);
        }
        if self.journal.parked != self.intake.parked() {
            self.journal.parked = self.intake.parked().to_vec();
            self.note(Some(attempt.revision.digest)).await;
        }
        reply
    }

    /// What does not run is told once for each cause: by the control plane in this process, else here.
    fn refuse(&mut self, attempt: Attempt, unfit: &Unfit) -> Option<Reply> {
        self.stage.metrics.revision_refused();
        let (id, origin) = (attempt.revision.id, attempt.origin);
        let problems = unfit.problems();
        let reply = self.intake.failed(attempt, problems.clone(), unfit.fault());
        let is_news = matches!(reply, Some(Reply::Nack { .. })) && !self.feed.is_here() || origin == Origin::Disk;
        if is_news {
            let problems = problems.join("; ");
            tracing::error!(revision = %id, "a revision does not run, what ran before does: {problems}");
        } else {
            tracing::debug!(revision = %id, %unfit, "a revision does not run; what runs goes on");
        }
        if !matches!(reply, Some(Reply::Lost { .. })) {
            self.watch.refuse(Refusal { id, problems });
        }
        reply
    }

    fn report(&mut self) {
        let Some(replies) = &self.replies else { return };
        if let Ok(room) = replies.try_reserve() {
            room.send(serialise(&self.reports.next(&self.stage.metrics)));
        }
    }

    async fn answer(&self, reply: &Reply) {
        if let Some(replies) = &self.replies {
            // Nobody listens any more when the connection or the control plane has ended; the proxy serves on.
            let _ = replies.send(serialise(reply)).await;
        }
    }

    /// Notes what is tried or runs from now on.
    async fn note(&mut self, digest: Option<Digest>) {
        self.journal.turn(digest);
        if let Some(keeper) = &self.keeper {
            keeper.note(&self.journal).await;
        }
    }

    /// Lets go of the disk and of the control plane, and takes both back when the rest is over. Requests do not wait.
    async fn rest(&mut self, rest: Rest) {
        self.feed.rest();
        self.replies = self.replies.take().filter(|_| self.feed.is_here());
        let mut left = self.journal.clone();
        left.leave();
        self.close_disk(&left).await;
        if rest.lent.send(self.stage.lend().await).is_ok() {
            // It ends by being dropped.
            let _ = rest.over.await;
        }
        self.open_disk();
        self.note(self.intake.runs().map(|runs| runs.digest)).await;
        self.feed.resume();
    }

    /// What the disk holds is what this process wrote, but for the journal, which it writes again.
    fn open_disk(&mut self) {
        let Some((series, data)) = &self.watch.keep else { return };
        match keep::open(data, series) {
            Ok((keeper, _)) => self.keeper = keeper,
            Err(Taken(data)) => {
                let why = format!("another process uses {}", data.display());
                tracing::error!("{why}; this one serves on, and keeps nothing");
                series.failed(why);
            }
        }
    }

    async fn close_disk(&mut self, journal: &Journal) {
        if let Some(keeper) = self.keeper.take() {
            keeper.note(journal).await;
            keeper.finish().await;
        }
    }

    /// The process leaves in order.
    pub(crate) async fn leave(&mut self) {
        let mut left = self.journal.clone();
        left.leave();
        self.close_disk(&left).await;
    }
}

fn serialise(reply: &Reply) -> Vec<u8> {
    serde_json::to_vec(reply).expect("names, numbers and texts have a JSON form")
}

fn nothing_came() -> String {
    "the control plane has ended without a revision to run".to_owned()
}

fn tell_recall(first: Option<&Arc<Revision>>, reason: recall::Reason) {
    let Some(first) = first else {
        return tracing::info!("{reason}; waiting for the control plane");
    };
    match reason {
        recall::Reason::Newest | recall::Reason::Nothing => tracing::debug!(revision = %first.id, "kept: {reason}"),
        recall::Reason::Damaged(_) | recall::Reason::Crashed(_) | recall::Reason::NothingElse => {
            tracing::error!(revision = %first.id, "not the newest revision is used from the disk: {reason}");
        }
    }
}

fn tell_order(id: sluice_config::value::RevisionId, reason: Reason, runs: Option<wire::Running>) {
    let revision = id;
    match reason {
        Reason::New | Reason::Known => tracing::debug!(%revision, ?reason, "an order came"),
        Reason::NoBase => {
            tracing::info!(%revision, "a difference to a revision that is not at hand: asking for the whole")
        }
        Reason::Stale(newer) => {
            tracing::warn!(%revision, %newer, "an order is older than what is here, and is refused: is the control plane behind?");
        }
        Reason::OtherHistory(history) => {
            let runs = runs.map(|runs| runs.id.to_string()).unwrap_or_default();
            tracing::warn!(%revision, ran = %runs, %history, "a revision of another store takes the place of what runs: numbers begin anew");
        }
        Reason::Parked | Reason::Doubled => tracing::error!(%revision, ?reason, "a revision is refused"),
    }
}
