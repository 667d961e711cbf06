//! How this proxy is, as `/api/health` tells it: from what its loops already know, so that asking costs them nothing.
//!
//! Degraded is what an operator should look at while requests are served; unhealthy is what should take the proxy out of
//! whatever stands before it. So a lost control plane, a disk that takes no writes, a refused revision and a service
//! whose endpoints are all out only degrade, unless every service is out.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwapOption;
use sluice_config::Timestamp;
use sluice_config::health::{Component, Health, Status};
use sluice_config::name::ListenerName;
use sluice_config::value::RevisionId;

use crate::live::{Live, ServiceEntry};
use crate::memory::kilobytes;
use crate::metrics::{ControlSeries, DocumentSeries, KeepSeries};
use crate::overload::Overload;
use crate::resolve::Board;
use crate::tls::Keyring;

/// Further components, of what else runs in this process.
pub type HealthSource = Arc<dyn Fn() -> BTreeMap<String, Component> + Send + Sync>;

/// What of a disk or of memory must be free: a twentieth.
const FREE: f64 = 0.05;

/// Between two looks at the machine's memory.
const LOOK: Duration = Duration::from_secs(5);

/// A revision that was wanted and does not run.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    pub(crate) id: RevisionId,
    pub(crate) problems: Vec<String>,
}

/// What health is read from.
pub(crate) struct Watch {
    pub(crate) began: Instant,
    pub(crate) current: Arc<ArcSwapOption<Live>>,
    /// Absent where the control plane is in this process.
    pub(crate) control: Option<Arc<ControlSeries>>,
    /// Absent where nothing is to be kept.
    pub(crate) keep: Option<(Arc<KeepSeries>, PathBuf)>,
    pub(crate) more: Option<HealthSource>,
    /// Where a document's file is followed in this process.
    pub(crate) document: Option<Arc<DocumentSeries>>,
    /// What listeners show their clients.
    pub(crate) keyring: Option<Arc<Keyring>>,
    /// What is known of the sources of endpoints.
    pub(crate) discovery: Option<Arc<Board>>,
    /// What the process uses of what it may.
    pub(crate) overload: Option<Arc<Overload>>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// A revision has been applied to its end: its listeners are open.
    runs: bool,
    refusal: Option<Refusal>,
    /// Addresses were given for these listeners, which the document does not have.
    unknown: Vec<ListenerName>,
    memory: Option<(Timestamp, Result<(), String>)>,
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("state", &self.state).finish_non_exhaustive()
    }
}

type Found = Result<(), (Status, String)>;

impl Watch {
    pub(crate) fn new(current: Arc<ArcSwapOption<Live>>) -> Self {
        let (began, state) = (Instant::now(), Mutex::default());
        Self {
            began,
            current,
            control: None,
            keep: None,
            more: None,
            document: None,
            keyring: None,
            discovery: None,
            overload: None,
            state,
        }
    }

    /// What was wanted last runs. These listeners, for which an address was given, are not in it.
    pub(crate) fn ran(&self, unknown: Vec<ListenerName>) {
        let mut state = self.state();
        for name in unknown.iter().filter(|name| !state.unknown.contains(name)) {
            tracing::warn!(listener = %name, "--listen names a listener that the document does not have");
        }
        state.unknown = unknown;
        state.refusal = None;
        state.runs = true;
        self.fit(true);
    }

    fn fit(&self, fits: bool) {
        if let Some(document) = &self.document {
            document.fit(fits);
        }
    }

    /// What was wanted last does not run.
    pub(crate) fn refuse(&self, refusal: Refusal) {
        self.state().refusal = Some(refusal);
        self.fit(false);
    }

    fn runs(&self) -> bool {
        self.state().runs
    }

    pub(crate) fn refusal(&self) -> Option<Refusal> {
        self.state().refusal.clone()
    }

    /// Whether requests can be served; if not, why.
    pub(crate) fn ready(&self) -> Result<(), String> {
        if self.runs() {
            return Ok(());
        }
        let control = self.control.as_ref().and_then(|control| control.trouble());
        let refused = self.refusal().map(|refusal| refusal.to_string());
        let why = refused.or_else(|| control.map(|why| format!("no control plane: {why}")));
        Err(format!("no revision runs yet: {}", why.unwrap_or_else(|| "waiting for the control plane".to_owned())))
    }

    /// To be called about once a second.
    pub(crate) fn tick(&self) {
        let now = now();
        let due = self.state().memory.as_ref().is_none_or(|(last, _)| now.since(*last) >= LOOK);
        if due {
            let found = memory();
            self.state().memory = found.map(|found| (now, found));
        }
    }

    /// Everything, now. Looks at nothing outside the process but the free space of one disk.
    pub(crate) fn health(&self) -> Health {
        let mut components = BTreeMap::new();
        self.own(&mut components);
        self.services(&mut components);
        if let Some(more) = &self.more {
            components.extend(more());
        }
        Health::new(components, self.began.elapsed(), env!("CARGO_PKG_VERSION"))
    }

    fn own(&self, components: &mut BTreeMap<String, Component>) {
        let at = now();
        let mut put = |name: &str, found| {
            components.insert(name.to_owned(), Component::checked(at, Duration::ZERO, found));
        };
        put("revision", self.revision());
        let unknown = self.state().unknown.clone();
        if !unknown.is_empty() {
            put("listen", Err((Status::Degraded, unknown_words(&unknown))));
        }
        if let Some(troubles) = self.keyring.as_ref().and_then(|keyring| keyring.troubles(SystemTime::now())) {
            let found = if troubles.is_empty() { Ok(()) } else { Err((Status::Degraded, troubles.join("; "))) };
            put("certificates", found);
        }
        if let Some(found) = self.discovery.as_ref().and_then(|discovery| discovery.health()) {
            put("discovery", found.map_err(|why| (Status::Degraded, why)));
        }
        if let Some(found) = self.overload.as_ref().and_then(|overload| overload.trouble()) {
            put("overload", found.map_err(|why| (Status::Degraded, why)));
        }
        if let Some(control) = &self.control {
            put("control_plane", control_found(control));
        }
        if let Some((keep, data)) = &self.keep {
            put("last_known_good", keep_found(keep, self.runs()));
            let begun = Instant::now();
            let found = disk(data);
            components.insert("disk".to_owned(), Component::checked(at, begun.elapsed(), found));
        }
        if let Some((at, found)) = &self.state().memory {
            let found = found.clone().map_err(|why| (Status::Degraded, why));
            components.insert("memory".to_owned(), Component::checked(*at, Duration::ZERO, found));
        }
    }

    fn revision(&self) -> Found {
        match (self.runs(), self.refusal()) {
            (true, None) => Ok(()),
            (true, Some(refusal)) => Err((Status::Degraded, format!("{refusal}; what ran before does"))),
            (false, _) => Err((Status::Unhealthy, self.ready().err().unwrap_or_default())),
        }
    }

    fn services(&self, components: &mut BTreeMap<String, Component>) {
        let current = self.current.load();
        let Some(live) = current.as_ref() else { return };
        let at = now();
        let shares: Vec<_> = live.services.iter().map(|service| (service, usable(service))).collect();
        let all_out = shares.iter().all(|(_, (usable, _))| *usable == 0);
        for (service, (usable, all)) in shares {
            let status = if all_out { Status::Unhealthy } else { Status::Degraded };
            let found = match usable {
                0 if all == 0 => Err((status, "no address of its endpoints was found yet".to_owned())),
                0 => Err((status, format!("all of its {all} endpoints are out"))),
                _ if usable * 2 < all => {
                    Err((Status::Degraded, format!("{} of its {all} endpoints are out", all - usable)))
                }
                _ => Ok(()),
            };
            let name = format!("service:{}", service.core.name());
            components.insert(name, Component::checked(at, Duration::ZERO, found));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change is complete in itself.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "revision {} does not run: {}", self.id, self.problems.join("; "))
    }
}

/// How many of a service's endpoints may be chosen, and how many it has.
fn usable(service: &ServiceEntry) -> (usize, usize) {
    let endpoints = || service.endpoints();
    (endpoints().filter(|endpoint| endpoint.offer().is_eligible()).count(), endpoints().count())
}

fn unknown_words(unknown: &[ListenerName]) -> String {
    let names: Vec<&str> = unknown.iter().map(ListenerName::as_str).collect();
    format!("--listen names listeners that the document does not have: {}", names.join(", "))
}

fn control_found(control: &ControlSeries) -> Found {
    if control.connected() {
        return Ok(());
    }
    let since = match control.silent_for(Instant::now()) {
        Some(silence) => format!("no control plane for {} s", silence.as_secs()),
        None => "no control plane yet".to_owned(),
    };
    let why = control.trouble().map(|why| format!(": {why}")).unwrap_or_default();
    Err((Status::Degraded, since + &why))
}

fn keep_found(keep: &KeepSeries, runs: bool) -> Found {
    match keep.trouble() {
        Some(why) => Err((Status::Degraded, why)),
        None if runs && keep.newest().is_none() => {
            Err((Status::Degraded, "what runs is not on the disk yet".to_owned()))
        }
        None => Ok(()),
    }
}

fn disk(data: &std::path::Path) -> Found {
    let told = |why: String| Err((Status::Degraded, format!("{}: {why}", data.display())));
    match rustix::fs::statvfs(data) {
        Err(error) => told(error.to_string()),
        Ok(disk) if disk.f_blocks > 0 && (disk.f_bavail as f64) < disk.f_blocks as f64 * FREE => {
            told(format!("{:.1} % of the disk are free", disk.f_bavail as f64 * 100.0 / disk.f_blocks as f64))
        }
        Ok(_) => Ok(()),
    }
}

/// Whether the machine has memory left; nothing where it does not tell.
fn memory() -> Option<Result<(), String>> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let (all, free) = (kilobytes(&text, "MemTotal:")?, kilobytes(&text, "MemAvailable:")?);
    let share = free as f64 / all as f64;
    Some(if share < FREE { Err(format!("{:.1} % of the machine's memory are free", share * 100.0)) } else { Ok(()) })
}

/// The present moment, for people and files.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
