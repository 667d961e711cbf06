//! What the requests of one thread have in common: the revision they run by, the state of its choices, connections to
//! origins. Workers share nothing that a request writes to but counters.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use rand::SeedableRng;
use rand::rngs::SmallRng;
use sluice_config::name::ServiceName;
use sluice_proxy_core::retry::Budget;
use sluice_proxy_core::select::Selector;
use tokio::time::Instant;

use crate::live::{Live, ServiceEntry};
use crate::log::AccessLog;
use crate::message::{RequestHead, ResponseHead};
use crate::metrics::Metrics;
use crate::overload::Overload;
use crate::upstream::{Connector, Dialer, Pool};

/// Heads that wait to be used again, of requests and of answers.
const SPARE_HEADS: usize = 64;
/// A head that took more bytes is not kept: one large request must not cost its buffers for ever.
const SPARE_BYTES: usize = 4 * 1024;

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
    pub(crate) connector: Connector,
    pub(crate) metrics: Metrics,
    pub(crate) log: AccessLog,
    pub(crate) overload: Arc<Overload>,
    pub(crate) pool: Pool,
    pub(crate) rng: RefCell<SmallRng>,
    running: RefCell<Rc<Running>>,
    /// Heads whose buffers are used again.
    #[expect(clippy::vec_box, reason = "a head is lent to an exchange, whose future would otherwise hold it")]
    heads: RefCell<Vec<Box<ResponseHead>>>,
    requests: RefCell<Vec<RequestHead>>,
}

/// The revision that a worker runs, with the worker's own state of its choices.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) live: Arc<Live>,
    /// For each service.
    pub(crate) selectors: Vec<RefCell<Selector>>,
    /// For each service: what of its requests may be sent again.
    pub(crate) budgets: Vec<RefCell<Budget>>,
}

impl Running {
    fn new(live: Arc<Live>, before: Option<&Self>, rng: &mut SmallRng) -> Self {
        let known: BTreeMap<_, _> = before.map(|before| before.by_name().collect()).unwrap_or_default();
        let now = Instant::now().into_std();
        let (mut selectors, mut budgets) = (Vec::new(), Vec::new());
        for service in &live.services {
            let (selector, budget) = match known.get(service.core.name()) {
                Some((old, selector, budget)) => {
                    (selector.borrow().carry(&old.core, &service.core, rng), budget.borrow().clone())
                }
                None => (Selector::new(&service.core, live.zone.as_ref(), rng), Budget::new(now)),
            };
            selectors.push(RefCell::new(selector));
            budgets.push(RefCell::new(budget));
        }
        Self { selectors, budgets, live }
    }

    fn by_name(&self) -> impl Iterator<Item = (&ServiceName, (&ServiceEntry, &RefCell<Selector>, &RefCell<Budget>))> {
        let states = self.selectors.iter().zip(&self.budgets);
        let services = self.live.services.iter().zip(states);
        services.map(|(service, (selector, budget))| (service.core.name(), (service, selector, budget)))
    }
}

impl Worker {
    /// The revision that runs now.
    pub(crate) fn running(&self) -> Rc<Running> {
        Rc::clone(&self.running.borrow())
    }

    /// A head to read an answer into.
    pub(crate) fn spare_head(&self) -> Box<ResponseHead> {
        self.heads.borrow_mut().pop().unwrap_or_default()
    }

    /// Takes a head back.
    pub(crate) fn return_head(&self, head: Box<ResponseHead>) {
        let mut heads = self.heads.borrow_mut();
        if heads.len() < SPARE_HEADS && head.fields.capacity() <= SPARE_BYTES {
            heads.push(head);
        }
    }

    /// A head to read a request into. A connection that waits for one has none.
    pub(crate) fn spare_request(&self) -> RequestHead {
        self.requests.borrow_mut().pop().unwrap_or_default()
    }

    /// Takes a head back.
    pub(crate) fn return_request(&self, head: RequestHead) {
        let mut heads = self.requests.borrow_mut();
        if heads.len() < SPARE_HEADS && head.fields.capacity() <= SPARE_BYTES {
            heads.push(head);
        }
    }

    pub(crate) fn new(index: usize, equipment: Equipment, live: Arc<Live>) -> Self {
        let mut rng = SmallRng::from_rng(&mut rand::rng());
        let running = Running::new(live, None, &mut rng);
        Self {
            index,
            connector: Connector { dialer: equipment.dialer, worker: index, series: equipment.metrics.upstream() },
            pool: Pool::new(index, equipment.metrics.upstream()),
            metrics: equipment.metrics,
            log: equipment.log,
            overload: equipment.overload,
            rng: RefCell::new(rng),
            running: RefCell::new(Rc::new(running)),
            heads: RefCell::default(),
            requests: RefCell::default(),
        }
    }

    /// Runs this revision from now on. Between two requests, so that each sees one from beginning to end.
    pub(crate) fn run(&self, live: Arc<Live>) {
        let running = Running::new(live, Some(&self.running()), &mut self.rng.borrow_mut());
        *self.running.borrow_mut() = Rc::new(running);
        self.pool.sweep(Instant::now());
    }
}
