//! The loops around the core's decisions on health: one for each endpoint that is checked.
//!
//! The core says when an endpoint is probed and what the verdicts mean; a loop waits, asks and reports. Loops follow the
//! revision: one whose endpoint and check stay runs on undisturbed, so a reload neither probes everything at once nor
//! forgets how far a streak has come.

mod http;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use sluice_config::validated::HealthCheck;
use sluice_proxy_core::endpoint::{Endpoint, EndpointId};
use sluice_proxy_core::health::{self, Cause, Policy, Reason, Standing, Transition, Verdict};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::metrics::{Metrics, PoolKey, PoolSeries};
use crate::upstream::Reach;

pub use self::http::HttpProbe;

/// An endpoint that is to be probed, and how.
#[derive(Debug, Clone)]
pub struct Target {
    /// Which one; it takes the verdicts.
    pub endpoint: Arc<Endpoint>,
    /// Of its service.
    pub check: HealthCheck,
    /// How endpoints of its service are reached.
    pub(crate) reach: Arc<Reach>,
}

/// Asks an endpoint once. The timeout is the loop's affair: the future is dropped when it is over.
pub trait Probe: Send + Sync + 'static {
    /// What was found there.
    fn probe(&self, target: &Target) -> impl Future<Output = Verdict> + Send;
}

/// Runs the loops. Dropping it stops them all.
#[derive(Debug)]
pub struct Prober<P = HttpProbe> {
    probe: Arc<P>,
    metrics: Metrics,
    loops: BTreeMap<EndpointId, Running>,
}

#[derive(Debug)]
struct Running {
    target: Target,
    /// Stops the loop when dropped.
    _task: AbortOnDropHandle<()>,
}

impl Prober {
    /// A prober that speaks HTTP and has nothing to probe yet.
    ///
    /// # Errors
    /// Those of [`HttpProbe::new`].
    pub fn new(metrics: Metrics) -> io::Result<Self> {
        Ok(Self::with(HttpProbe::new()?, metrics))
    }
}

impl<P: Probe> Prober<P> {
    /// A prober that asks by `probe`.
    #[must_use]
    pub fn with(probe: P, metrics: Metrics) -> Self {
        Self { probe: Arc::new(probe), metrics, loops: BTreeMap::new() }
    }

    /// Probes these endpoints from now on, and no others. Loops whose endpoint and check are as before go on; new ones
    /// probe first within a tenth of their interval. To be called on a Tokio runtime, where the loops then run.
    pub fn retarget(&mut self, targets: Vec<Target>) {
        let mut before = std::mem::take(&mut self.loops);
        for target in targets {
            let id = target.endpoint.id().clone();
            let running = match before.remove(&id) {
                Some(running) if running.target.is(&target) => running,
                Some(_) | None => self.start(target),
            };
            self.loops.insert(id, running);
        }
    }

    fn start(&self, target: Target) -> Running {
        let series = self.metrics.pool(&PoolKey::from(target.endpoint.id()));
        let task = tokio::spawn(watch(target.clone(), Arc::clone(&self.probe), series));
        Running { target, _task: AbortOnDropHandle::new(task) }
    }
}

impl Target {
    /// Whether a loop for one serves the other. An endpoint that left and came back has a new state under an old name.
    fn is(&self, other: &Self) -> bool {
        let same = Arc::ptr_eq(&self.endpoint, &other.endpoint) && Arc::ptr_eq(&self.reach, &other.reach);
        same && self.check == other.check
    }
}

async fn watch<P: Probe>(target: Target, probe: Arc<P>, series: Arc<PoolSeries>) {
    let policy = Policy::from(&target.check);
    let target = Arc::new(target);
    let mut next = health::first_probe(Instant::now().into_std(), &policy, &mut rand::rng());
    loop {
        tokio::time::sleep_until(next.into()).await;
        let begun = Instant::now().into_std();
        let verdict = ask(&probe, &target).await;
        settle(&target.endpoint, verdict, &policy, &series);
        next = health::next_probe(begun, &policy, &mut rand::rng());
    }
}

/// Asks once, in a task of its own: a defect in a probe must cost its verdict and not all later ones.
async fn ask<P: Probe>(probe: &Arc<P>, target: &Arc<Target>) -> Verdict {
    let (timeout, address) = (target.check.timeout, target.endpoint.id().address);
    let (probe, target) = (Arc::clone(probe), Arc::clone(target));
    let task = AbortOnDropHandle::new(tokio::spawn(async move { probe.probe(&target).await }));
    match tokio::time::timeout(timeout, task).await {
        Ok(Ok(verdict)) => verdict,
        Ok(Err(error)) => {
            tracing::error!(%address, %error, "a probe ended by a defect");
            Verdict::Bad(Cause::Malformed)
        }
        Err(_) => Verdict::Bad(Cause::Timeout),
    }
}

fn settle(endpoint: &Endpoint, verdict: Verdict, policy: &Policy, series: &PoolSeries) {
    series.probed(verdict);
    if let Some(transition) = endpoint.step(verdict, policy) {
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
        Reason::Failed(probes, Cause::Status(status)) => {
            format!("bad probes in a row: {probes}, the last: status {status}")
        }
        Reason::Failed(probes, cause) => format!("bad probes in a row: {probes}, the last: {}", cause.as_str()),
        Reason::Unchecked => "its service has no health check any more".to_owned(),
    }
}

#[cfg(test)]
mod tests;
