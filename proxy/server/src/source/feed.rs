//! What comes from a control plane, be it in this process or far away: the same messages by the same name.

use std::fmt;
use std::io;
use std::sync::Arc;

use sluice_config::wire::Order;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use crate::control::{ControlOptions, Subscriber};
use crate::metrics::ControlSeries;

/// What may come.
pub(crate) enum Arrival {
    /// There is a connection, and replies go here.
    Opened(mpsc::Sender<Vec<u8>>),
    /// An order on the connection that was opened last.
    Order(Order),
    /// Nothing will come any more.
    Over,
}

/// Where it comes from.
pub(crate) enum Feed {
    /// A control plane in this process, that serialises its messages all the same.
    Here {
        /// Its orders.
        revisions: mpsc::Receiver<Vec<u8>>,
        /// To be opened first.
        replies: Option<mpsc::Sender<Vec<u8>>>,
        /// The channel was closed, and this was told.
        over: bool,
    },
    /// One on the network.
    Away(Away),
}

/// A control plane on the network, and the task that keeps the connection to it.
pub(crate) struct Away {
    options: ControlOptions,
    series: Arc<ControlSeries>,
    arrivals: mpsc::Receiver<Arrival>,
    /// Ends with this. Absent while it rests.
    subscriber: Option<AbortOnDropHandle<()>>,
}

impl Away {
    /// Begins to ask for a connection.
    ///
    /// # Errors
    /// The system gives no signal.
    pub(crate) fn open(options: ControlOptions, series: Arc<ControlSeries>) -> io::Result<Self> {
        let (sender, arrivals) = mpsc::channel(1);
        let bell = signal(SignalKind::hangup())?;
        let subscriber = Subscriber { options: options.clone(), series: Arc::clone(&series), arrivals: sender, bell };
        let subscriber = Some(AbortOnDropHandle::new(tokio::spawn(subscriber.run())));
        Ok(Self { options, series, arrivals, subscriber })
    }
}

impl fmt::Debug for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feed").field("here", &self.is_here()).finish_non_exhaustive()
    }
}

impl Feed {
    /// Nothing comes any more, and nothing is asked for: another process of the same name may.
    pub(crate) fn rest(&mut self) {
        if let Self::Away(away) = self {
            away.subscriber = None;
        }
    }

    /// It comes again after a rest.
    pub(crate) fn resume(&mut self) {
        if let Self::Away(away) = self {
            match Away::open(away.options.clone(), Arc::clone(&away.series)) {
                Ok(opened) => *away = opened,
                Err(error) => {
                    tracing::error!(%error, "the control plane is not asked any more; start the process again")
                }
            }
        }
    }

    /// Whether the control plane is in this process.
    pub(crate) const fn is_here(&self) -> bool {
        matches!(self, Self::Here { .. })
    }

    /// The next that comes; once it is over, nothing. Nothing is lost when the future is dropped.
    pub(crate) async fn next(&mut self) -> Arrival {
        match self {
            Self::Away(away) => match away.arrivals.recv().await {
                Some(arrival) => arrival,
                None => std::future::pending().await,
            },
            Self::Here { over: true, .. } => std::future::pending().await,
            Self::Here { revisions, replies, over } => {
                if let Some(replies) = replies.take() {
                    return Arrival::Opened(replies);
                }
                let order = next_order(revisions).await;
                *over = order.is_none();
                order.map_or(Arrival::Over, Arrival::Order)
            }
        }
    }
}

async fn next_order(revisions: &mut mpsc::Receiver<Vec<u8>>) -> Option<Order> {
    loop {
        match serde_json::from_slice(&revisions.recv().await?) {
            Ok(order) => return Some(order),
            Err(error) => tracing::error!(%error, "a message is no order; what runs goes on"),
        }
    }
}
