//! What the requests of one thread have in common: the revision they run by, the state of its choices, connections to
//! origins. Workers share nothing that a request writes to but counters.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use rand::SeedableRng;
use rand::rngs::SmallRng;
use sluice_proxy_core::select::Selector;
use tokio::time::Instant;

use crate::live::Live;
use crate::log::AccessLog;
use crate::message::ResponseHead;
use crate::metrics::Metrics;
use crate::overload::Overload;
use crate::upstream::{Dialer, Pool};

/// Heads that wait to be used again.
const SPARE_HEADS: usize = 64;

/// What every worker is given.
#[derive(Debug, Clone)]
pub(crate) struct Equipment {
    pub(crate) dialer: Arc<Dialer>,
    pub(crate) metrics: Metrics,
    pub(crate) log: AccessLog,
    pub(crate) overload: Arc<Overload>,
}

/// One worker, as its connections see it.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) index: usize,
    pub(crate) dialer: Arc<Dialer>,
    pub(crate) metrics: Metrics,
    pub(crate) log: AccessLog,
    pub(crate) overload: Arc<Overload>,
    pub(crate) pool: Pool,
    pub(crate) rng: RefCell<SmallRng>,
    running: RefCell<Rc<Running>>,
    /// Heads whose buffers are used again.
    heads: RefCell<Vec<ResponseHead>>,
}

/// The revision that a worker runs, with the worker's own state of its choices.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) live: Arc<Live>,
    /// For each service.
    pub(crate) selectors: Vec<RefCell<Selector>>,
}

impl Running {
    fn new(live: Arc<Live>, before: Option<&Self>, rng: &mut SmallRng) -> Self {
        let known: BTreeMap<_, _> = before.map(|before| before.by_name().collect()).unwrap_or_default();
        let selectors = live.services.iter().map(|service| {
            RefCell::new(match known.get(service.core.name()) {
                Some((old, selector)) => selector.borrow().carry(&old.core, &service.core, rng),
                None => Selector::new(&service.core, rng),
            })
        });
        Self { selectors: selectors.collect(), live }
    }

    fn by_name(
        &self,
    ) -> impl Iterator<Item = (&sluice_config::name::ServiceName, (&crate::live::ServiceEntry, &RefCell<Selector>))>
    {
        self.live
            .services
            .iter()
            .zip(&self.selectors)
            .map(|(service, selector)| (service.core.name(), (service, selector)))
    }
}

impl Worker {
    /// The revision that runs now.
    pub(crate) fn running(&self) -> Rc<Running> {
        Rc::clone(&self.running.borrow())
    }

    /// A head to read an answer into.
    pub(crate) fn spare_head(&self) -> ResponseHead {
        self.heads.borrow_mut().pop().unwrap_or_default()
    }

    /// Takes a head back.
    pub(crate) fn return_head(&self, head: ResponseHead) {
        let mut heads = self.heads.borrow_mut();
        if heads.len() < SPARE_HEADS {
            heads.push(head);
        }
    }

    pub(crate) fn new(index: usize, equipment: Equipment, live: Arc<Live>) -> Self {
        let mut rng = SmallRng::from_rng(&mut rand::rng());
        let running = Running::new(live, None, &mut rng);
        Self {
            index,
            dialer: equipment.dialer,
            pool: Pool::new(index, equipment.metrics.upstream()),
            metrics: equipment.metrics,
            log: equipment.log,
            overload: equipment.overload,
            rng: RefCell::new(rng),
            running: RefCell::new(Rc::new(running)),
            heads: RefCell::default(),
        }
    }

    /// Runs this revision from now on. Between two requests, so that each sees one from beginning to end.
    pub(crate) fn run(&self, live: Arc<Live>) {
        let running = Running::new(live, Some(&self.running()), &mut self.rng.borrow_mut());
        *self.running.borrow_mut() = Rc::new(running);
        self.pool.sweep(Instant::now());
    }
}
