//! What comes from a control plane, be it in this process or far away: the same messages by the same name.

use std::fmt;

use sluice_config::wire::Order;
use tokio::sync::mpsc;

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
    Away(mpsc::Receiver<Arrival>),
}

impl fmt::Debug for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feed").field("here", &self.is_here()).finish_non_exhaustive()
    }
}

impl Feed {
    /// Whether the control plane is in this process.
    pub(crate) const fn is_here(&self) -> bool {
        matches!(self, Self::Here { .. })
    }

    /// The next that comes; once it is over, nothing. Nothing is lost when the future is dropped.
    pub(crate) async fn next(&mut self) -> Arrival {
        match self {
            Self::Away(arrivals) => match arrivals.recv().await {
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
