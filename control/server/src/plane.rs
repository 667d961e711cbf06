//! The control plane as everything around it sees it: what is, what was, and the way to change it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use sluice_config::health::{self, Component, Health};
use sluice_config::name::{RegionName, ServiceName, VersionName};
use sluice_config::overlay::{LiveWeights, Reason};
use sluice_config::share::{Share, Shares};
use sluice_config::timestamp::Timestamp;
use sluice_config::validated::{self, Validated};
use sluice_config::value::{Digest, RevisionId};
use sluice_config::{Environment, Overlay, effective_yaml};
use sluice_control_core::audit::{self, Broken, Event, Head as AuditHead, Outcome};
use sluice_control_core::change::{self, Refusal};
use sluice_control_core::drift::{self, Drift};
use sluice_control_core::ingest::{Latency, PoolTotals};
use sluice_control_core::plan::{self, Plan};
use sluice_control_core::revision::{Document, Revision};
use tokio::sync::{mpsc, oneshot, watch};

use crate::api::{Access, Refused, view};
use crate::clock::Clock;
use crate::distribute::Distributor;
use crate::events::Events;
use crate::judge::Judge;
use crate::reconcile::{Current, Done, Intent, Request, Who, WriteError};
use crate::store::{Once, Store, StoreError};

/// Audit entries that are verified at a time.
const PAGE: usize = 1_000;

/// Between two looks at the store.
const LOOK: Duration = Duration::from_secs(5);

/// How long a store may take before it counts as ill.
const SLOW: Duration = Duration::from_secs(1);

/// Everything that an operation of the API may need.
#[derive(Debug)]
pub struct Plane {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Clock,
    pub(crate) judge: Judge,
    pub(crate) distributor: Arc<Distributor>,
    pub(crate) events: Events,
    pub(crate) access: Access,
    pub(crate) requests: mpsc::Sender<Request>,
    pub(crate) current: watch::Receiver<Option<Arc<Current>>>,
    /// How the followed file stands; absent in API mode.
    pub(crate) file: Option<Arc<ArcSwap<view::File>>>,
    pub(crate) began: Instant,
    /// How the store was when it was looked at last.
    pub(crate) store_seen: ArcSwapOption<Component>,
}

impl Plane {
    pub(crate) fn store(&self) -> &dyn Store {
        &*self.store
    }

    pub(crate) fn distributor(&self) -> &Arc<Distributor> {
        &self.distributor
    }

    pub(crate) const fn events(&self) -> &Events {
        &self.events
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The number of the head.
    pub(crate) fn head(&self) -> Option<RevisionId> {
        self.current.borrow().as_ref().map(|current| current.head.revision.id)
    }

    /// The head and what it means.
    pub(crate) fn current(&self) -> Result<Arc<Current>, WriteError> {
        self.current.borrow().clone().ok_or(WriteError::Empty)
    }

    /// Asks the writer, and waits for its answer.
    pub(crate) async fn write(
        &self,
        intent: Intent,
        who: Who,
        reason: Reason,
        expected: Option<RevisionId>,
        once: Option<Once>,
    ) -> Result<Done, WriteError> {
        let (reply, answer) = oneshot::channel();
        let request = Request { intent, who, reason, expected, once, reply };
        self.requests.send(request).await.map_err(|_| WriteError::Leaving)?;
        answer.await.map_err(|_| WriteError::Leaving)?
    }

    /// A stored revision and its document.
    pub(crate) async fn stored(&self, id: RevisionId) -> Result<(Arc<Revision>, Arc<Document>), WriteError> {
        let revision = self.store.get(id).await?.ok_or(WriteError::NoRevision(id))?;
        let missing = || StoreError::Corrupt(format!("the document of revision {id} is missing"));
        let document = self.store.document(revision.document).await?.ok_or_else(missing)?;
        Ok((revision, document))
    }

    /// The digest that nodes tell of a stored revision: that of this program, if the pair is sound to it.
    pub(crate) async fn digest(&self, id: RevisionId) -> Result<Digest, WriteError> {
        let (revision, document) = self.stored(id).await?;
        let read = self.judge.stored(&document.json, &revision.overlay);
        Ok(read.map_or(revision.digest, |validated| validated.digest))
    }

    /// A stored document with every default.
    pub(crate) fn effective(&self, document: &Document) -> Result<String, Refused> {
        let validated = self.judge.stored(&document.json, &Overlay::default())?;
        Ok(effective_yaml(&validated))
    }

    /// Whether a document would be applied, and the head that it would follow.
    pub(crate) fn try_apply(&self, text: &str, take_weights: bool) -> Result<(Revision, bool), Refused> {
        if let Some(file) = &self.file {
            return Err(WriteError::FileMode(file.load().path.clone()).into());
        }
        let current = self.current()?;
        let written = self.judge.sent(text)?;
        let changed = match change::apply(Some(&current.head), &written, take_weights, &Environment::empty()) {
            Ok(_) => true,
            Err(Refusal::Unchanged(_)) => false,
            Err(refusal) => return Err(refusal.into()),
        };
        Ok((current.head.revision.as_ref().clone(), changed))
    }

    /// What applying a document would change.
    pub(crate) fn plan(&self, text: &str, take_weights: bool) -> Result<(Plan, Option<RevisionId>), Refused> {
        let current = self.current.borrow().clone();
        let written = self.judge.sent(text)?;
        let head = current.as_ref().map(|current| &*current.head);
        let live = current.as_ref().map(|current| Arc::clone(&current.live));
        let after = match change::apply(head, &written, take_weights, &Environment::empty()) {
            Ok(proposal) => Arc::new(self.judge.stored(&written.document.json, &proposal.overlay)?),
            Err(Refusal::Unchanged(_)) => live.clone().ok_or(WriteError::Empty)?,
            Err(refusal) => return Err(refusal.into()),
        };
        let rates = |service: &_| self.distributor.rate(service);
        Ok((plan::plan(live.as_deref(), &after, &rates), head.map(|head| head.revision.id)))
    }

    /// What changed between two revisions, in words.
    pub(crate) async fn diff(&self, from: RevisionId, to: RevisionId) -> Result<Vec<String>, Refused> {
        let (old, new) = (self.effect(from).await?, self.effect(to).await?);
        Ok(sluice_config::diff(&old, &new).iter().map(ToString::to_string).collect())
    }

    async fn effect(&self, id: RevisionId) -> Result<Validated, Refused> {
        let (revision, document) = self.stored(id).await?;
        Ok(self.judge.stored(&document.json, &revision.overlay)?)
    }

    /// The document with the live weights written in.
    pub(crate) fn export(&self, current: &Current) -> String {
        let (source, overlay) = (&current.head.document.source, &current.head.revision.overlay);
        let environment = if self.file.is_some() { self.judge.environment().clone() } else { Environment::empty() };
        // A text that means something else by now (a variable is gone) is told as what runs.
        sluice_config::export::with_weights(source, &environment, overlay)
            .unwrap_or_else(|_| effective_yaml(&current.live))
    }

    pub(crate) fn drift(current: &Current) -> Drift {
        drift::drift(&current.head)
    }

    /// Every service as it is live.
    pub(crate) fn services(&self, current: &Current) -> Vec<view::Service> {
        let pools = self.distributor.pools();
        let pools: BTreeMap<PoolKey<'_>, &PoolTotals> =
            pools.iter().map(|pool| ((&pool.service, &pool.version, &pool.region), pool)).collect();
        current.head.written.services.iter().map(|written| self.service(current, written, &pools)).collect()
    }

    fn service(
        &self,
        current: &Current,
        written: &validated::Service,
        pools: &BTreeMap<PoolKey<'_>, &PoolTotals>,
    ) -> view::Service {
        let live = current.head.revision.overlay.weights.get(&written.name);
        let weights = written.versions.iter().map(|version| (&version.name, u64::from(version.weight.get())));
        let document = Shares::of_weights(weights);
        let share = |version: &VersionName| document.as_ref().map_or(Share::NONE, |shares| shares.of(version));
        let pool = |version: &validated::Version, pool: &validated::Pool| {
            let region = &current.live.regions[pool.region].name;
            told(region, pool, pools.get(&(&written.name, &version.name, region)).copied())
        };
        let version = |version: &validated::Version| view::Version {
            name: version.name.clone(),
            share: live.map_or_else(|| share(&version.name), |live| live.shares.of(&version.name)),
            document_share: share(&version.name),
            pools: version.pools.iter().map(|one| pool(version, one)).collect(),
        };
        view::Service {
            name: written.name.clone(),
            owner: live.map_or(view::WeightsOwner::Document, |live| live.owner.into()),
            shift: live.map(shift),
            versions: written.versions.iter().map(version).collect(),
            requests_per_second: self.distributor.rate(&written.name),
        }
    }

    pub(crate) fn status(&self) -> view::Status {
        let current = self.current.borrow().clone();
        view::Status {
            history: self.store.history(),
            mode: if self.file.is_some() { view::Mode::File } else { view::Mode::Api },
            head: current.as_ref().map(|current| current.head.revision.as_ref().clone()),
            file: self.file.as_ref().map(|file| file.load().as_ref().clone()),
            overrides: current.as_ref().map(|current| crate::api::overrides(current)).unwrap_or_default(),
            nodes: self.distributor.summary(),
            uptime_seconds: self.began.elapsed().as_secs(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    /// Writes down something that changed no revision.
    pub(crate) async fn record(&self, who: &Who, action: &str, target: &str) -> Result<(), StoreError> {
        let outcome = Outcome::Done;
        self.record_outcome(who, action, target, outcome).await
    }

    pub(crate) async fn record_outcome(
        &self,
        who: &Who,
        action: &str,
        target: &str,
        outcome: Outcome,
    ) -> Result<(), StoreError> {
        let event = Event {
            at: self.now(),
            author: who.author.clone(),
            origin: who.origin.clone(),
            action: action.to_owned(),
            target: target.to_owned(),
            reason: None,
            outcome,
            before: None,
            after: None,
            revision: None,
        };
        self.store.record(event).await.map(drop)
    }

    /// The end of the audit log, or of what is sound of it, and where it is broken. What is written meanwhile is not looked at.
    pub(crate) async fn verify_audit(&self) -> Result<(AuditHead, Option<Broken>), StoreError> {
        let end = self.store.audit_head().await?;
        let mut head = AuditHead::EMPTY;
        while head.sequence < end.sequence {
            let entries = self.store.audit(head.sequence, PAGE).await?;
            for entry in entries.iter().filter(|entry| entry.sequence <= end.sequence) {
                match audit::verify(head, [entry]) {
                    Ok(next) => head = next,
                    Err(broken) => return Ok((head, Some(broken))),
                }
            }
            if entries.is_empty() {
                let broken = Broken { sequence: head.sequence + 1, cause: audit::Cause::Sequence };
                return Ok((head, Some(broken)));
            }
        }
        Ok((head, None))
    }

    /// How the control plane is: its store, its file, its fleet.
    #[must_use]
    pub fn health(&self) -> Health {
        Health::new(self.components(), self.began.elapsed(), env!("CARGO_PKG_VERSION"))
    }

    /// Looks at the store again and again, for as long as it is polled: whoever asks for the health must not wait for a
    /// disk, nor write to it as often as they ask.
    pub(crate) async fn watch_store(&self) {
        let mut ticks = tokio::time::interval(LOOK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.store_seen.store(Some(Arc::new(self.look_at_store().await)));
        }
    }

    async fn look_at_store(&self) -> Component {
        let begun = Instant::now();
        let found = match tokio::time::timeout(SLOW, self.store.check()).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err((health::Status::Unhealthy, error.to_string())),
            Err(_) => Err((health::Status::Unhealthy, format!("the store has not answered within {SLOW:?}"))),
        };
        if let Err((_, words)) = &found {
            tracing::error!("{words}");
        }
        Component::checked(self.now(), begun.elapsed(), found)
    }

    /// Every part, as it was looked at last.
    #[must_use]
    pub fn components(&self) -> BTreeMap<String, Component> {
        use health::Status;
        let begun = Instant::now();
        let mut components = BTreeMap::new();
        if let Some(store) = &*self.store_seen.load() {
            components.insert("store".to_owned(), store.as_ref().clone());
        }
        let mut add = |name: &str, found| {
            components.insert(name.to_owned(), Component::checked(self.now(), begun.elapsed(), found));
        };
        if let Some(file) = &self.file {
            let file = file.load();
            let found = if file.accepted { Ok(()) } else { Err((Status::Degraded, file.standing.clone())) };
            add("document", found);
        }
        let counts = self.distributor.summary();
        let found = match (counts.refused, counts.away) {
            (0, 0) => Ok(()),
            (refused, away) => {
                let words = format!("{refused} nodes refused what they shall run, {away} are away");
                Err((Status::Degraded, words))
            }
        };
        add("fleet", found);
        for (region, found) in self.distributor.regions() {
            add(&format!("region:{region}"), found);
        }
        components
    }
}

type PoolKey<'a> = (&'a ServiceName, &'a VersionName, &'a RegionName);

fn shift(live: &LiveWeights) -> view::ShiftView {
    view::ShiftView {
        author: live.author.clone(),
        reason: live.reason.clone(),
        since: live.since,
        until: live.until.as_ref().map(|until| until.at),
    }
}

fn told(region: &RegionName, pool: &validated::Pool, seen: Option<&PoolTotals>) -> view::Pool {
    view::Pool {
        region: region.clone(),
        // What sources bring is known to the proxies that ask them.
        endpoints: match seen {
            Some(seen) if !pool.sources.is_empty() => usize::try_from(seen.endpoints).unwrap_or(usize::MAX),
            Some(_) | None => pool.endpoints.len(),
        },
        healthy: seen.map(|seen| seen.healthy),
        requests: seen.map_or([0; 6], |seen| seen.classes),
        latency: seen.map_or_else(Latency::default, |seen| seen.latency),
    }
}
