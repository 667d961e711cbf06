//! What the whole process uses of what it may: connections over all listeners, and memory. The decisions are in
//! [`sluice_proxy_core::overload`]; here they are measured for, told and passed to the workers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};

use rustix::process::{Resource, getrlimit};
use sluice_config::size::Size;
use sluice_config::validated::{Bound, ProcessLimits};
use sluice_proxy_core::overload::{self, Level, Use};
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, watch};

use crate::metrics::OverloadSeries;

/// Files of the process that are no connection: listeners, logs, probes, status, what a runtime needs for each worker.
const BESIDES: u64 = 200;
/// Without a limit.
const NO_LIMIT: u64 = u64::MAX;

/// What idle connections are ended for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Want {
    /// A listener has as many connections as it may have.
    Listener,
    /// The process has.
    #[default]
    Process,
    /// The process may open no more files.
    Files,
    /// The process is short of memory.
    Memory,
}

impl Want {
    /// A stable name for metrics.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Listener => "idle_for_listener",
            Self::Process => "idle_for_process",
            Self::Files => "idle_for_files",
            Self::Memory => "idle_for_memory",
        }
    }
}

/// Shared by all workers.
#[derive(Debug)]
pub(crate) struct Overload {
    level: AtomicU8,
    /// Connections open now, and how many may be.
    open: AtomicU64,
    most: AtomicU64,
    /// Connections for the files that the process may open.
    fitting: Option<u64>,
    /// In bytes; what is used is 0 until it was first measured.
    used: AtomicU64,
    limit: AtomicU64,
    freed: Notify,
    bell: watch::Sender<Want>,
    series: Arc<OverloadSeries>,
}

impl Overload {
    pub(crate) fn new(series: Arc<OverloadSeries>) -> Self {
        let files = getrlimit(Resource::Nofile).current;
        Self {
            level: AtomicU8::new(0),
            open: AtomicU64::new(0),
            most: AtomicU64::new(NO_LIMIT),
            fitting: files.map(|files| overload::connections_for(files, BESIDES)),
            used: AtomicU64::new(0),
            limit: AtomicU64::new(NO_LIMIT),
            freed: Notify::new(),
            bell: watch::Sender::default(),
            series,
        }
    }

    /// What is given up now.
    pub(crate) fn level(&self) -> Level {
        let at = usize::from(self.level.load(Relaxed));
        Level::ALL.get(at).copied().unwrap_or_default()
    }

    /// Whether connections end with the answer under way.
    pub(crate) fn sheds(&self) -> bool {
        self.level.load(Relaxed) >= Level::Shedding as u8
    }

    /// Whether new requests are refused.
    pub(crate) fn refuses(&self) -> bool {
        self.level.load(Relaxed) >= Level::Refusing as u8
    }

    /// Counts what was given up.
    pub(crate) fn shed(&self, reason: &'static str, count: usize) {
        self.series.shed(reason, count as u64);
    }

    /// Counts idle connections that were ended.
    pub(crate) fn ended(&self, want: Want, count: usize) {
        self.shed(want.as_str(), count);
    }

    /// Whether the process has as many connections as it may have.
    pub(crate) fn is_full(&self) -> bool {
        self.open.load(Relaxed) >= self.most.load(Relaxed)
    }

    /// One more connection.
    pub(crate) fn enter(&self) {
        self.open.fetch_add(1, Relaxed);
    }

    /// One connection less.
    pub(crate) fn leave(&self) {
        self.open.fetch_sub(1, Relaxed);
        self.free();
    }

    /// Whoever waits for room looks again.
    pub(crate) fn free(&self) {
        self.freed.notify_waiters();
    }

    /// Ready when there may be room again.
    pub(crate) fn freed(&self) -> Notified<'_> {
        self.freed.notified()
    }

    /// Asks every worker to end idle connections.
    pub(crate) fn ask(&self, want: Want) {
        self.bell.send_replace(want);
    }

    /// Where a worker hears what it is asked for.
    pub(crate) fn bell(&self) -> watch::Receiver<Want> {
        self.bell.subscribe()
    }

    /// From now on these limits hold.
    pub(crate) fn set(&self, limits: &ProcessLimits) {
        let most = match limits.connections {
            Bound::Auto => self.fitting,
            Bound::Off => None,
            Bound::At(most) => Some(u64::from(most)),
        };
        self.most.store(most.unwrap_or(NO_LIMIT), Relaxed);
        self.series.allow_connections(most);
        self.free();
    }

    /// To be called about once a second with the memory that is used and the one there is, each where it is known.
    pub(crate) fn measure(&self, limits: &ProcessLimits, used: Option<u64>, group: Option<u64>) {
        let limit = match limits.memory {
            Bound::Auto => group.map(|bytes| bytes / 10 * 9),
            Bound::Off => None,
            Bound::At(bytes) => Some(bytes),
        };
        self.used.store(used.unwrap_or(0), Relaxed);
        self.limit.store(limit.unwrap_or(NO_LIMIT), Relaxed);
        self.series.allow_memory(limit);
        let before = self.level();
        let next = overload::level(before, self.memory());
        self.level.store(next as u8, Relaxed);
        self.series.set_level(next as u8);
        if next != before {
            self.tell(before, next);
        }
        if next > Level::Normal {
            self.ask(Want::Memory);
        }
    }

    /// The memory that is used of what may be; nothing without a limit.
    fn memory(&self) -> Option<Use> {
        let limit = self.limit.load(Relaxed);
        (limit != NO_LIMIT).then(|| Use { used: self.used.load(Relaxed), limit })
    }

    fn tell(&self, before: Level, next: Level) {
        let memory = self.memory().map(words).unwrap_or_default();
        let (from, to) = (before.as_str(), next.as_str());
        if next > before {
            tracing::warn!(from, to, memory, "short of memory: {}", consequence(next));
        } else {
            tracing::info!(from, to, memory, "memory has come back");
        }
    }

    /// How the process is, for people; nothing while its memory has no limit.
    pub(crate) fn trouble(&self) -> Option<Result<(), String>> {
        let memory = self.memory()?;
        let level = self.level();
        let trouble = || format!("{}: {}", words(memory), consequence(level));
        Some(if level == Level::Normal { Ok(()) } else { Err(trouble()) })
    }
}

fn words(memory: Use) -> String {
    let mebibytes = |bytes: u64| Size::kibibytes(bytes >> 20 << 10);
    format!("{} of {} used", mebibytes(memory.used), mebibytes(memory.limit))
}

const fn consequence(level: Level) -> &'static str {
    match level {
        Level::Normal => "nothing is given up",
        Level::Shedding => "idle connections are closed, and the others with their answer",
        Level::Refusing => "new requests are answered 503, and connections are closed with their answer",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn limits(connections: Bound<u32>, memory: Bound<u64>) -> ProcessLimits {
        ProcessLimits { connections, memory, probes: None }
    }

    #[test]
    fn a_limit_of_memory_is_the_document_s_or_nine_tenths_of_the_group_s() {
        let overload = Overload::new(Arc::default());
        let mut bell = overload.bell();
        let auto = limits(Bound::Auto, Bound::Auto);
        overload.measure(&auto, Some(860 * MIB), None);
        assert_eq!((overload.level(), overload.trouble()), (Level::Normal, None), "no group has a limit");
        overload.measure(&auto, Some(860 * MIB), Some(1_000 * MIB));
        assert!(overload.refuses(), "860 of 900");
        assert!(bell.has_changed().unwrap() && *bell.borrow_and_update() == Want::Memory);
        assert!(overload.trouble().unwrap().unwrap_err().starts_with("860MiB of 900MiB used: "));
        overload.measure(&limits(Bound::Auto, Bound::At(1_000 * MIB)), Some(860 * MIB), Some(1_000 * MIB));
        assert!(overload.sheds() && !overload.refuses(), "860 of 1,000");
        overload.measure(&limits(Bound::Auto, Bound::Off), Some(860 * MIB), Some(1_000 * MIB));
        assert_eq!(overload.level(), Level::Normal);
        bell.borrow_and_update();
        overload.measure(&limits(Bound::Auto, Bound::At(1_000 * MIB)), Some(100 * MIB), None);
        assert!(!bell.has_changed().unwrap());
        assert_eq!(overload.trouble(), Some(Ok(())));
    }

    #[test]
    fn a_limit_of_connections_holds_from_the_document_that_names_it() {
        let overload = Overload::new(Arc::default());
        (0..3).for_each(|_| overload.enter());
        assert!(!overload.is_full());
        overload.set(&limits(Bound::At(3), Bound::Auto));
        assert!(overload.is_full());
        overload.leave();
        assert!(!overload.is_full());
        overload.enter();
        overload.set(&limits(Bound::Off, Bound::Auto));
        assert!(!overload.is_full());
    }
}
