//! The loops around the core's decisions on health: one for each endpoint that is checked.
//!
//! The core says when an endpoint is probed, when it is a probe's turn and what the verdicts mean; a loop waits, asks and
//! reports. Loops follow the revision: one whose endpoint and check stay runs on undisturbed, so a reload neither probes
//! everything at once nor forgets how far a streak has come. A changed check begins with a new loop; streaks are kept as
//! long as the same thing is asked.

mod asker;
mod gate;
mod grpc;
mod http;
mod ration;
mod search;
mod tcp;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use sluice_config::validated::HealthCheck;
use sluice_proxy_core::endpoint::{Advice, Endpoint, EndpointId};
use sluice_proxy_core::health::{self, Cause, Found, Policy, Reason, Standing, Transition, Verdict, Word};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::metrics::{Metrics, PoolKey, PoolSeries};
use crate::upstream::Reach;

pub use self::asker::Asker;
use self::gate::Gate;

/// An endpoint that is to be probed, and how.
#[derive(Debug, Clone)]
pub struct Target {
    /// Which one; it takes the verdicts.
    pub endpoint: Arc<Endpoint>,
    /// Of its service.
    pub check: Arc<HealthCheck>,
    /// How endpoints of its service are reached.
    pub(crate) reach: Arc<Reach>,
}

/// What a probe found, and what the endpoint said of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finding {
    /// Whether it is as it should be.
    pub verdict: Verdict,
    /// Its own word, if the health check lets it have one and it said it.
    pub word: Option<Word>,
}

impl Finding {
    pub(crate) const fn good() -> Self {
        Self { verdict: Verdict::Good, word: None }
    }

    pub(crate) const fn bad(cause: Cause) -> Self {
        Self { verdict: Verdict::Bad(cause), word: None }
    }
}

/// Asks an endpoint once. The timeout is the loop's affair: the future is dropped when it is over.
pub trait Probe: Send + Sync + 'static {
    /// What was found there.
    fn probe(&self, target: &Target) -> impl Future<Output = Finding> + Send;
}

/// Runs the loops. Dropping it stops them all.
#[derive(Debug)]
pub struct Prober<P = Asker> {
    probe: Arc<P>,
    gate: Arc<Gate>,
    metrics: Metrics,
    loops: BTreeMap<EndpointId, Running>,
    /// By how much the ceiling stretches all intervals, as it was last told.
    stretch: Option<f64>,
}

#[derive(Debug)]
struct Running {
    target: Target,
    /// Stops the loop when dropped.
    _task: AbortOnDropHandle<()>,
}

impl Prober {
    /// A prober that asks over the network and has nothing to probe yet.
    ///
    /// # Errors
    /// Those of [`Asker::new`].
    pub fn new(metrics: Metrics) -> io::Result<Self> {
        Ok(Self::with(Asker::new()?, metrics))
    }
}

impl<P: Probe> Prober<P> {
    /// A prober that asks by `probe`.
    #[must_use]
    pub fn with(probe: P, metrics: Metrics) -> Self {
        let gate = Arc::new(Gate::new(metrics.clone()));
        Self { probe: Arc::new(probe), gate, metrics, loops: BTreeMap::new(), stretch: None }
    }

    /// Probes these endpoints from now on, and no others, all of them together at most `rate` times a second. Loops whose
    /// endpoint and check are as before go on; new ones probe first within a tenth of their interval. To be called on a
    /// Tokio runtime, where the loops then run.
    pub fn retarget(&mut self, targets: Vec<Target>, rate: Option<u32>) {
        self.gate.allow(rate);
        self.tell_stretch(health::stretch(rate, targets.iter().map(|target| target.check.interval)));
        let mut before = std::mem::take(&mut self.loops);
        for target in targets {
            let id = target.endpoint.id().clone();
            let running = match before.remove(&id) {
                Some(running) if running.target.is(&target) => running,
                Some(running) => {
                    running.target.leave(Some(&target));
                    self.start(target)
                }
                None => self.start(target),
            };
            self.loops.insert(id, running);
        }
        before.values().for_each(|running| running.target.leave(None));
    }

    fn start(&self, target: Target) -> Running {
        let series = self.metrics.pool(&PoolKey::from(target.endpoint.id()));
        let (probe, gate) = (Arc::clone(&self.probe), Arc::clone(&self.gate));
        let task = tokio::spawn(watch(target.clone(), probe, gate, series));
        Running { target, _task: AbortOnDropHandle::new(task) }
    }

    /// Tells once when more probes are asked for than may be sent, and once when that is over.
    fn tell_stretch(&mut self, stretch: Option<f64>) {
        match (stretch, self.stretch) {
            (Some(now), before) if before != Some(now) => tracing::warn!(
                factor = format!("{now:.2}"),
                "health checks ask for more probes than limits.probes admits: every interval is longer by this factor"
            ),
            (None, Some(_)) => tracing::info!("limits.probes admits every probe that health checks ask for"),
            (Some(_) | None, _) => {}
        }
        self.stretch = stretch;
    }
}

impl Target {
    /// The address that is asked.
    pub(crate) fn address(&self) -> SocketAddr {
        let mut address = self.endpoint.id().address;
        if let Some(port) = self.check.port {
            address.set_port(port);
        }
        address
    }

    /// Whether a loop for one serves the other. An endpoint that left and came back has a new state under an old name.
    fn is(&self, other: &Self) -> bool {
        let same = Arc::ptr_eq(&self.endpoint, &other.endpoint) && Arc::ptr_eq(&self.reach, &other.reach);
        same && self.check == other.check
    }

    /// What no longer counts when another target of the same name, or none, takes the place: a word that nobody asks for
    /// any more, and what was found by another question.
    fn leave(&self, next: Option<&Self>) {
        if self.check.agent && !next.is_some_and(|next| next.check.agent) {
            self.endpoint.advise(Advice::default());
        }
        let asks = |target: &Self| (target.check.probe.clone(), target.check.port);
        if next.is_some_and(|next| asks(next) != asks(self)) {
            self.endpoint.ask_anew();
        }
    }
}

async fn watch<P: Probe>(target: Target, probe: Arc<P>, gate: Arc<Gate>, series: Arc<PoolSeries>) {
    let policy = Policy::from(target.check.as_ref());
    let target = Arc::new(target);
    let mut next = health::first_probe(Instant::now().into_std(), &policy, &mut rand::rng());
    loop {
        tokio::time::sleep_until(next.into()).await;
        gate.pass(policy.interval).await;
        let begun = Instant::now();
        let finding = ask(&probe, &target).await;
        series.probed(finding.verdict, begun.elapsed());
        settle(&target.endpoint, finding, &policy, &series);
        let (standing, traffic) = (target.endpoint.standing(), target.endpoint.take_traffic());
        let found = Found { verdict: finding.verdict, standing, traffic };
        next = health::next_probe(begun.into_std(), &found, &policy, &mut rand::rng());
    }
}

/// Asks once, in a task of its own: a defect in a probe must cost its verdict and not all later ones.
async fn ask<P: Probe>(probe: &Arc<P>, target: &Arc<Target>) -> Finding {
    let (timeout, address) = (target.check.timeout, target.address());
    let (probe, target) = (Arc::clone(probe), Arc::clone(target));
    let task = AbortOnDropHandle::new(tokio::spawn(async move { probe.probe(&target).await }));
    match tokio::time::timeout(timeout, task).await {
        Ok(Ok(finding)) => finding,
        Ok(Err(error)) => {
            tracing::error!(%address, %error, "a probe ended by a defect");
            Finding::bad(Cause::Malformed)
        }
        Err(_) => Finding::bad(Cause::Timeout),
    }
}

fn settle(endpoint: &Endpoint, finding: Finding, policy: &Policy, series: &PoolSeries) {
    if let Some(word) = finding.word {
        endpoint.advise(word.advice());
    }
    if let Some(transition) = endpoint.step(finding.verdict, policy) {
        series.moved(transition.to);
        tell(endpoint.id(), transition);
    }
}

fn tell(id: &EndpointId, Transition { from, to, reason }: Transition) {
    let (from, to, reason) = (from.as_str(), to, describe(reason));
    let EndpointId { service, version, region, address } = id;
    match to {
        Standing::Out => tracing::warn!(%service, %version, %region, %address, from, reason, "endpoint is out"),
        Standing::Verified | Standing::Unprobed => {
            tracing::info!(%service, %version, %region, %address, from, reason, "endpoint takes traffic");
        }
    }
}

fn describe(reason: Reason) -> String {
    match reason {
        Reason::FirstGood => "its first good probe".to_owned(),
        Reason::Recovered(probes) => format!("good probes in a row: {probes}"),
        Reason::Failed(probes, cause) => format!("bad probes in a row: {probes}, the last: {}", name(cause)),
        Reason::Unsteady(probes, cause) => {
            format!("bad probes among the last {}: {probes}, the last: {}", health::WINDOW, name(cause))
        }
        Reason::Unchecked => "its service has no health check any more".to_owned(),
    }
}

fn name(cause: Cause) -> String {
    match cause {
        Cause::Status(status) => format!("status {status}"),
        Cause::Grpc(code) => format!("gRPC status {}", code.as_str()),
        Cause::Refused
        | Cause::Unreachable
        | Cause::Tls
        | Cause::Timeout
        | Cause::Reset
        | Cause::Malformed
        | Cause::Text
        | Cause::NotServing => cause.as_str().to_owned(),
    }
}

#[cfg(test)]
mod tests;
