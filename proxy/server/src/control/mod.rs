//! The proxy's side of its connection to a control plane: one request of HTTP/2 whose bodies, both ways, are lines.
//!
//! It never gives up and never hurries: each failure is followed by a wait of [`Backoff`], each cause is told once. What
//! runs is not touched by any of it.

mod credentials;
mod dial;
mod failure;
pub(crate) mod lines;
mod url;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use http_body_util::channel::Sender;
use hyper::body::Incoming;
use sluice_config::wire::Order;
use sluice_proxy_core::backoff::{Backoff, STABLE};
use tokio::signal::unix::Signal;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::metrics::ControlSeries;
use crate::source::Arrival;
use credentials::Credentials;
use dial::{Answer, Subscription};
use failure::Failure;
use lines::{LONGEST, Lines, TooLong};

pub use credentials::CredentialFiles;
pub use url::{ControlUrl, UrlError};

/// Replies that may wait for the connection: more than one of each kind at any moment.
const REPLIES: usize = 16;

/// How long the control plane may take no messages before the connection counts as dead.
const STALL: Duration = Duration::from_secs(10);

/// Which control plane, and how it is spoken to.
#[derive(Debug, Clone)]
pub struct ControlOptions {
    /// Where it is.
    pub url: ControlUrl,
    /// What this proxy shows, and whom it trusts.
    pub credentials: CredentialFiles,
}

/// Keeps a connection to the control plane.
pub(crate) struct Subscriber {
    pub(crate) options: ControlOptions,
    pub(crate) series: Arc<ControlSeries>,
    /// Where what comes goes.
    pub(crate) arrivals: mpsc::Sender<Arrival>,
    /// An operator asks for a try at once, and for the token to be read again.
    pub(crate) bell: Signal,
}

impl Subscriber {
    /// Until whoever takes the arrivals is gone.
    pub(crate) async fn run(mut self) {
        let (mut backoff, mut told) = (Backoff::default(), None);
        loop {
            let (failure, lasted) = self.connect().await;
            if matches!(failure, Failure::Leaving) {
                return;
            }
            self.tell(&failure, lasted, &mut told);
            backoff.held(lasted);
            let wait =
                if matches!(failure, Failure::Renewed) { Duration::ZERO } else { backoff.step(&mut rand::rng()) };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                _ = self.bell.recv() => {}
            }
        }
    }

    /// One connection to its end. Answers with why it ended, or was not made, and how long it lasted.
    async fn connect(&mut self) -> (Failure, Duration) {
        let (credentials, subscription) = match self.subscribe().await {
            Ok(made) => made,
            Err(failure) => return (failure, Duration::ZERO),
        };
        let begun = Instant::now();
        (self.converse(credentials, subscription).await, begun.elapsed())
    }

    async fn subscribe(&self) -> Result<(Credentials, Subscription), Failure> {
        let credentials = self.credentials().await?;
        let subscription = dial::subscribe(&self.options.url, &credentials).await?;
        Ok((credentials, subscription))
    }

    /// Reads files away from this thread: they may be on a network.
    async fn credentials(&self) -> Result<Credentials, Failure> {
        let (files, tls) = (self.options.credentials.clone(), self.options.url.tls());
        let reading = tokio::task::spawn_blocking(move || files.read(tls));
        match tokio::time::timeout(dial::DEADLINE, reading).await {
            Ok(Ok(read)) => Ok(read?),
            Ok(Err(_)) | Err(_) => Err(Failure::Timeout),
        }
    }

    async fn converse(&mut self, credentials: Credentials, mut subscription: Subscription) -> Failure {
        let (replies, mut outgoing) = mpsc::channel(REPLIES);
        if self.arrivals.send(Arrival::Opened(replies)).await.is_err() {
            return Failure::Leaving;
        }
        let (mut inbox, mut waiting) = (None, None);
        loop {
            let end = tokio::select! {
                reply = outgoing.recv() => match reply {
                    Some(reply) => send(&mut subscription.out, reply).await,
                    None => Err(Failure::Leaving),
                },
                body = &mut subscription.answer, if inbox.is_none() => body.map(|body| inbox = Some(self.accepted(body))),
                order = order(&mut inbox), if waiting.is_none() => order.map(|order| waiting = Some(order)),
                permit = self.arrivals.reserve(), if waiting.is_some() => match (permit, waiting.take()) {
                    (Ok(permit), Some(order)) => { permit.send(Arrival::Order(order)); Ok(()) }
                    (Ok(_), None) => Ok(()),
                    (Err(_), _) => Err(Failure::Leaving),
                },
                _ = self.bell.recv() => self.renew(&credentials).await,
            };
            match end {
                Ok(()) => {}
                Err(Failure::Ended) if inbox.is_none() => return last_word(&mut subscription.answer).await,
                Err(failure) => return failure,
            }
        }
    }

    fn accepted(&self, body: Incoming) -> Inbox {
        self.series.opened();
        tracing::info!(control = %self.options.url, "connected to the control plane");
        Inbox { lines: Lines::new(LONGEST), body }
    }

    /// Reads the token again. One that has changed needs a connection of its own.
    async fn renew(&self, used: &Credentials) -> Result<(), Failure> {
        match self.credentials().await {
            Ok(now) if now.authorization != used.authorization => Err(Failure::Renewed),
            Ok(_) => Ok(()),
            Err(failure) => {
                tracing::warn!("the connection to the control plane stays as it is: {failure}");
                Ok(())
            }
        }
    }

    fn tell(&self, failure: &Failure, lasted: Duration, told: &mut Option<String>) {
        let why = failure.to_string();
        let url = &self.options.url;
        if told.as_ref() == Some(&why) && lasted < STABLE {
            tracing::debug!(control = %url, "still no control plane: {why}");
        } else {
            tracing::warn!(control = %url, "no control plane: {why}; what runs goes on, and it is tried again until it answers");
        }
        self.series.lost(std::time::Instant::now(), why.clone());
        *told = Some(why);
    }
}

/// The control plane's messages.
struct Inbox {
    lines: Lines,
    body: Incoming,
}

impl Inbox {
    /// The next one. Nothing is lost when the future is dropped.
    async fn order(&mut self) -> Result<Order, Failure> {
        loop {
            if let Some(line) = self.lines.next().map_err(|TooLong| Failure::TooLong)? {
                return serde_json::from_slice(&line).map_err(Failure::Unknown);
            }
            let frame = self.body.frame().await.ok_or(Failure::Ended)?.map_err(Failure::Http)?;
            if let Some(bytes) = frame.data_ref() {
                self.lines.push(bytes);
            }
        }
    }
}

/// The next message. There is none before the subscription is accepted.
async fn order(inbox: &mut Option<Inbox>) -> Result<Order, Failure> {
    match inbox {
        Some(inbox) => inbox.order().await,
        None => std::future::pending().await,
    }
}

/// What the control plane said when it ended a subscription that it had not accepted: a refusal ends the way for messages,
/// and that may be seen before the refusal is read.
async fn last_word(answer: &mut Answer) -> Failure {
    match tokio::time::timeout(STALL, answer).await {
        Ok(Err(failure)) => failure,
        Ok(Ok(_)) | Err(_) => Failure::Ended,
    }
}

async fn send(out: &mut Sender<Bytes>, mut line: Vec<u8>) -> Result<(), Failure> {
    line.push(b'\n');
    match tokio::time::timeout(STALL, out.send_data(line.into())).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(Failure::Ended),
        Err(_) => Err(Failure::Stalled),
    }
}
